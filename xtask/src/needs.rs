//! What has to be on the machine before the workspace can be built and run, and how to see that it is.
//!
//! Looked for by what it does (a command, a library), not by package: any system that has it will do.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// One thing that is needed, with the Debian or Ubuntu package that brings it.
#[derive(Debug)]
pub struct Need {
    pub package: &'static str,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    /// On the PATH.
    Command(&'static str),
    /// A library that pkg-config knows, headers included.
    Library(&'static str),
    /// One of these folders or files exists.
    Path(&'static [&'static str]),
    /// libclang has no .pc file: a shared library in one of the usual places, or where `LIBCLANG_PATH` says.
    Libclang,
    /// A Java that Kafka runs on.
    Java,
    /// A Python that can make environments.
    Python,
}

const fn need(package: &'static str, proof: Proof) -> Need {
    Need { package, proof }
}

const NEEDS: &[Need] = &[
    // Before the libraries: it is what finds them.
    need("pkg-config", Proof::Command("pkg-config")),
    need("g++", Proof::Command("c++")),
    need("make", Proof::Command("make")),
    need("cmake", Proof::Command("cmake")),
    need("clang", Proof::Command("clang")),
    need("libclang-dev", Proof::Libclang),
    need("libopencv-dev", Proof::Library("opencv4")),
    need(
        "opencv-data",
        Proof::Path(&[
            "/usr/share/opencv4/haarcascades",
            "/usr/local/share/opencv4/haarcascades",
        ]),
    ),
    need("libturbojpeg0-dev", Proof::Library("libturbojpeg")),
    need("libssl-dev", Proof::Library("openssl")),
    need("libcurl4-openssl-dev", Proof::Library("libcurl")),
    need("zlib1g-dev", Proof::Library("zlib")),
    need(JAVA_PACKAGE, Proof::Java),
    need("maven", Proof::Command("mvn")),
    need("python3-venv", Proof::Python),
];

/// For the tests of the web page alone: everything else works without one, and some systems have no such package.
pub const BROWSER_PACKAGE: &str = "chromium";
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

pub fn has_browser() -> bool {
    BROWSERS.into_iter().any(has_command)
}

/// The oldest Java that runs Kafka 4; where a distribution no longer has it, its default is newer.
pub const JAVA_PACKAGE: &str = "openjdk-17-jre-headless";
pub const JAVA_PACKAGE_ELSE: &str = "default-jre-headless";

/// The packages that would bring what is not here.
pub fn missing() -> Vec<&'static str> {
    NEEDS
        .iter()
        .filter(|need| !need.proof.holds())
        .map(|need| need.package)
        .collect()
}

impl Proof {
    fn holds(&self) -> bool {
        match self {
            Self::Command(name) => has_command(name),
            Self::Library(name) => succeeds(Command::new("pkg-config").args(["--exists", name])),
            Self::Path(paths) => paths.iter().any(|path| Path::new(path).exists()),
            Self::Libclang => {
                env::var_os("LIBCLANG_PATH").is_some()
                    || libclang_folders().any(|folder| holds_libclang(&folder))
            }
            Self::Java => kafka_node::find_java().is_ok(),
            Self::Python => {
                has_command("python3")
                    && succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
            }
        }
    }
}

/// Whether the PATH has this command.
pub fn has_command(name: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(name).is_file()))
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn libclang_folders() -> impl Iterator<Item = PathBuf> {
    let debian = entries(Path::new("/usr/lib"))
        .filter(|path| name(path).starts_with("llvm-"))
        .map(|path| path.join("lib"));
    let multiarch =
        entries(Path::new("/usr/lib")).filter(|path| name(path).ends_with("-linux-gnu"));
    debian
        .chain(multiarch)
        .chain([PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")])
}

/// `libclang.so` or `libclang-14.so.1`, but not the C++ library `libclang-cpp.so`.
fn holds_libclang(folder: &Path) -> bool {
    entries(folder).any(|path| {
        let name = name(&path);
        name.starts_with("libclang") && !name.starts_with("libclang-cpp") && name.contains(".so")
    })
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
}

fn name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}
