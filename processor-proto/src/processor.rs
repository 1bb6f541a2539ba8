//! What a processor is: a frame in, what was seen in it out.

use std::{future::Future, net::SocketAddr, time::Duration};

use prost_types::Struct;
use thiserror::Error;
use tonic::{
    codegen::http,
    transport::server::{TcpConnectInfo, TlsConnectInfo},
};
use tonic_types::{ErrorDetails, StatusExt};

use crate::v1;

/// A step of a pipeline. Calls run concurrently, in no order; the pipeline restores the order.
///
/// For work that keeps a core busy implement [`BlockingProcessor`](crate::BlockingProcessor) and wrap it in
/// [`OnThreads`](crate::OnThreads): more than half a millisecond of work in `process` delays every other call.
pub trait Processor: Send + Sync + 'static {
    /// Names the results of this processor, e.g. "faces".
    fn name(&self) -> &str;

    /// The version that results carry.
    fn version(&self) -> &str {
        "unversioned"
    }

    /// What callers can ask, and brokers do about once a second.
    fn describe(&self) -> v1::DescribeResponse {
        v1::DescribeResponse {
            name: self.name().into(),
            version: self.version().into(),
            max_in_flight: 0, // not said
            needs_pixels: true,
            ..v1::DescribeResponse::default()
        }
    }

    /// Looks at one frame. Its content is inline or missing, and it keeps what `frame.proto` promises.
    ///
    /// The future is dropped when the caller gives up or its deadline passes.
    fn process(
        &self,
        frame: v1::Frame,
    ) -> impl Future<Output = Result<Processed, ProcessError>> + Send;

    /// The same, with the caller known: for processors that are to be fair between callers.
    fn process_for(
        &self,
        _caller: Caller,
        frame: v1::Frame,
    ) -> impl Future<Output = Result<Processed, ProcessError>> + Send {
        self.process(frame)
    }
}

/// Who calls: one connection. Calls that came by none (in-process ones) are all of one caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Caller(Option<SocketAddr>);

impl Caller {
    /// The connection whose other end is there.
    pub fn at(peer: SocketAddr) -> Self {
        Self(Some(peer))
    }

    /// Who made the request that has these extensions.
    pub(crate) fn of(extensions: &http::Extensions) -> Self {
        let plain = extensions.get::<TcpConnectInfo>();
        let by_tls = || {
            Some(
                extensions
                    .get::<TlsConnectInfo<TcpConnectInfo>>()?
                    .get_ref(),
            )
        };
        let connection = plain.or_else(by_tls);
        Self(connection.and_then(TcpConnectInfo::remote_addr))
    }
}

/// What a processor found in a frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Processed {
    pub(crate) detections: Vec<v1::Detection>,
    pub(crate) attributes: Option<Struct>,
    pub(crate) picture: Option<v1::Picture>,
    pub(crate) took: Option<Duration>,
}

impl Processed {
    /// Looked, and found nothing to say.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Adds one thing seen.
    pub fn detection(mut self, detection: v1::Detection) -> Self {
        self.detections.push(detection);
        self
    }

    /// Adds all things seen.
    pub fn detections(mut self, detections: impl IntoIterator<Item = v1::Detection>) -> Self {
        self.detections.extend(detections);
        self
    }

    /// Adds a text, number or truth value that has no box.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        let fields = &mut self.attributes.get_or_insert_default().fields;
        let kind = match value.into() {
            Attribute::Text(text) => prost_types::value::Kind::StringValue(text),
            Attribute::Number(number) => prost_types::value::Kind::NumberValue(number),
            Attribute::Truth(truth) => prost_types::value::Kind::BoolValue(truth),
        };
        fields.insert(name.into(), prost_types::Value { kind: Some(kind) });
        self
    }

    /// Replaces the frame's picture from this stage on.
    pub fn picture(mut self, picture: v1::Picture) -> Self {
        self.picture = Some(picture);
        self
    }

    /// The things seen so far.
    pub fn seen(&self) -> &[v1::Detection] {
        &self.detections
    }

    /// The picture that replaces the frame's, if any.
    pub fn new_picture(&self) -> Option<&v1::Picture> {
        self.picture.as_ref()
    }

    /// How long the work itself took, where that is less than the call (e.g. without waiting for a thread).
    pub fn took(mut self, took: Duration) -> Self {
        self.took = Some(took);
        self
    }
}

/// The value of an attribute of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    Text(String),
    Number(f64),
    Truth(bool),
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<f64> for Attribute {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Attribute {
    fn from(truth: bool) -> Self {
        Self::Truth(truth)
    }
}

impl v1::Detection {
    /// A thing seen with the given confidence (0 to 1, or 0 for none) in a box of pixels.
    pub fn new(label: impl Into<String>, confidence: f32, seen_in: v1::Box) -> Self {
        Self {
            r#box: Some(seen_in),
            label: label.into(),
            confidence,
            ..Self::default()
        }
    }
}

/// Why a frame has no result from this call: each variant tells the caller to do something else.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ProcessError {
    /// This frame can never be processed. The caller does not try again, but for once with the picture if it left that out.
    #[error("{0}")]
    InvalidFrame(String),
    /// Too much at once. The caller tries again later or elsewhere, and counts no failure.
    #[error("{0}")]
    Busy(String),
    /// The same, and when it is worth to try again.
    #[error("{why}")]
    Full { why: String, retry_after: Duration },
    /// It went wrong this time. The caller counts a failure and tries elsewhere.
    #[error("{0}")]
    Failed(String),
}

impl From<ProcessError> for tonic::Status {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::InvalidFrame(why) => Self::invalid_argument(why),
            ProcessError::Busy(why) => Self::resource_exhausted(why),
            ProcessError::Full { why, retry_after } => Self::with_error_details(
                tonic::Code::ResourceExhausted,
                why,
                ErrorDetails::with_retry_info(Some(retry_after)),
            ),
            ProcessError::Failed(why) => Self::internal(why),
        }
    }
}
