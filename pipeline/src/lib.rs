//! What producer, broker and consumer share: Kafka, the ordering core, and the manners of a service.
//!
//! - [`kafka`]: the only place that names the Kafka client.
//! - [`instance`]: a name that a restarted process gets back.
//! - [`json`]: a record as JSON, for people, scripts and pages.
//! - [`ordering`]: the ordered window and the delivery protocol, pure and synchronous.
//! - [`overlay`]: how detections look where they are drawn.
//! - [`wire`]: an Envelope to a Kafka record and back.
//! - [`resolve`]: pictures that lie in other records.
//! - [`picture_code`]: the frame id as a bar code in the picture.
//! - [`service`]: command line to exit code: logging, signals, metrics.
//! - [`trace`]: W3C trace context.

pub mod instance;
pub mod json;
pub mod kafka;
pub mod ordering;
pub mod overlay;
pub mod picture_code;
pub mod resolve;
pub mod service;
pub mod trace;
pub mod wire;

pub use processor_proto::{check_whole, envelope, excerpt, print, say, v1};
