//! What OpenCV can compute on here, looked for once at the start and told to people.

use opencv::core;
use opencv::prelude::*;
use std::fmt;

/// Where pictures are scaled. Decoding and encoding are the CPU's in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    Cpu,
    /// A device that OpenCV drives by OpenCL: a GPU, or what `OPENCV_OPENCL_DEVICE` names.
    OpenCl {
        device: String,
    },
}

impl Hardware {
    /// The OpenCL device that OpenCV chooses, if there is one. `OPENCV_OPENCL_DEVICE=disabled` leaves all to the CPU.
    pub fn find() -> opencv::Result<Self> {
        if !core::have_opencl()? {
            return Ok(Self::Cpu);
        }
        core::set_use_opencl(true)?;
        // False if OpenCL is installed and no device is usable.
        if !core::use_opencl()? {
            return Ok(Self::Cpu);
        }
        let device = core::Device::get_default()?;
        Ok(Self::OpenCl {
            device: device.name()?,
        })
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(f, "CPU (no OpenCL device)"),
            Self::OpenCl { device } => write!(f, "OpenCL device {device}"),
        }
    }
}

/// Whether this OpenCV could use CUDA, in its own words. What is scaled here goes through OpenCL, which drives the same
/// cards; OpenCV's CUDA functions are not called.
pub fn cuda() -> opencv::Result<String> {
    let build = core::get_build_information()?;
    let line = build.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == "NVIDIA CUDA").then(|| value.trim().to_owned())
    });
    Ok(match line.as_deref() {
        None | Some("NO") => "not in this OpenCV".to_owned(),
        Some(version) => format!("{version} (not used)"),
    })
}
