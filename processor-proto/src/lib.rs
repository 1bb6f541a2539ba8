//! Framelane's messages (`framelane.v1`) and the SDK for processors.
//!
//! A leaf crate: it knows neither Kafka nor OpenCV. See `proto/framelane/v1/` for every field and its unit.
//!
//! - [`envelope`]: a Kafka record's bytes to a checked message and back.
//! - [`Processor`] and [`serve`]: one trait method, and a gRPC service with health, limits, drain and metrics.
//! - [`OnThreads`]: the same for work that keeps a core busy.
//!
//! A whole processor:
//! ```no_run
//! use processor_proto::{ProcessError, Processed, Processor, ServeConfig, serve, shutdown_on_signals, v1};
//!
//! struct Weight;
//!
//! impl Processor for Weight {
//!     fn name(&self) -> &str {
//!         "weight"
//!     }
//!
//!     async fn process(&self, frame: v1::Frame) -> Result<Processed, ProcessError> {
//!         let no_picture = || ProcessError::InvalidFrame("the frame has no picture".into());
//!         let picture = frame.inline().ok_or_else(no_picture)?;
//!         Ok(Processed::nothing().attribute("bytes", picture.len() as f64))
//!     }
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let config = ServeConfig { listen: "127.0.0.1:50051".parse()?, ..ServeConfig::default() };
//!     serve(Weight, config, shutdown_on_signals()?).await?;
//!     Ok(())
//! }
//! ```

mod answering;
mod counted;
pub mod envelope;
mod excerpt;
mod ids;
mod processor;
mod reason;
mod say;
mod server;
mod shutdown;
pub mod target;
mod threads;
mod whole;
mod words;

/// The largest Kafka record (key, headers and payload) that any part of Framelane writes or reads.
///
/// A 4K JPEG at high quality is 2-4 MB. Topic, node, producer, consumer and gRPC limits all derive from this one
/// number, because a frame that passes one and not the next would be lost half-way.
pub const MAX_RECORD_BYTES: usize = 8 << 20;

pub use counted::Counts;
pub use excerpt::excerpt;
pub use processor::{Attribute, Caller, ProcessError, Processed, Processor};
pub use reason::reason;
pub use say::{print, say};
pub use server::{
    MAX_MESSAGE_BYTES, ServeConfig, ServeError, Server, ServerTls, Stopped, TlsError, serve,
};
pub use shutdown::shutdown_on_signals;
pub use threads::{BlockingProcessor, OnThreads, Threads};
pub use whole::{NotWhole, check_whole};

/// The messages and the gRPC service, generated from `proto/framelane/v1/*.proto`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("framelane.v1");

    /// The compiled .proto files, for gRPC reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/framelane.v1.bin"));
}
