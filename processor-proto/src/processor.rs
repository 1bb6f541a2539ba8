//! What a processor is: a frame in, what was seen in it out.

use std::{future::Future, time::Duration};

use prost_types::Struct;
use thiserror::Error;

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

    /// What callers can ask before they send frames.
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
    /// This frame can never be processed. The caller does not try again.
    #[error("{0}")]
    InvalidFrame(String),
    /// Too much at once. The caller tries again later or elsewhere, and counts no failure.
    #[error("{0}")]
    Busy(String),
    /// It went wrong this time. The caller counts a failure and tries elsewhere.
    #[error("{0}")]
    Failed(String),
}

impl From<ProcessError> for tonic::Status {
    fn from(error: ProcessError) -> Self {
        match error {
            ProcessError::InvalidFrame(why) => Self::invalid_argument(why),
            ProcessError::Busy(why) => Self::resource_exhausted(why),
            ProcessError::Failed(why) => Self::internal(why),
        }
    }
}
