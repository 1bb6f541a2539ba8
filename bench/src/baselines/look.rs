//! A processor without delay that takes the pictures. `processor echo` says that it needs none, and is sent none.

use anyhow::Result;
use processor_proto::{ProcessError, Processed, Processor, ServeConfig, Server, v1};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to serve.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    pub listen: SocketAddr,
    /// Write the listening address to this file
    #[arg(long)]
    pub port_file: PathBuf,
    /// Ask for calls of up to so many frames
    #[arg(long, default_value_t = 1)]
    pub batch: u32,
}

/// A batch's first frame waits so long for others.
const BATCH_WAIT_US: u32 = 1_000;

struct Look {
    batch: u32,
}

impl Processor for Look {
    fn name(&self) -> &str {
        "look"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn describe(&self) -> v1::DescribeResponse {
        v1::DescribeResponse {
            name: self.name().into(),
            version: self.version().into(),
            max_in_flight: 1024,
            needs_pixels: true,
            max_batch: self.batch,
            max_batch_wait_us: BATCH_WAIT_US,
        }
    }

    async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
        match frame.inline() {
            Some(_) => Ok(Processed::nothing()),
            None => Err(ProcessError::InvalidFrame(
                "a frame without its picture".into(),
            )),
        }
    }
}

/// Serves until SIGTERM.
///
/// # Errors
/// The address cannot be had.
pub fn run(args: &Args) -> Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let shutdown = processor_proto::shutdown_on_signals()?;
        let server = Server::bind(ServeConfig {
            listen: args.listen,
            ..ServeConfig::default()
        })?;
        // Renamed, so that nobody reads half an address.
        let temporary = args.port_file.with_extension("tmp");
        std::fs::write(&temporary, server.local_addr().to_string())?;
        std::fs::rename(&temporary, &args.port_file)?;
        let look = Look { batch: args.batch };
        server.run(look, shutdown).await?;
        Ok(())
    })
}
