//! What an alert says. The same frame always gives the same bytes, in every run.

use super::hold::Moment;
use crate::delivery::Delivery;
use crate::sinks::json;
use pipeline::json::Line;
use pipeline::v1::{FrameId, Result as StageResult, Status};
use prost_types::value::Kind as ValueKind;
use prost_types::{Struct, Value};
use serde::Serialize;
use std::sync::Arc;

/// The name under which a frame in a topic of alerts tells why it is there.
const PROCESSOR: &str = "monitor";

/// A frame at which a condition has held for long enough.
#[derive(Debug, Clone)]
pub struct Alert {
    /// The frame: also what makes the alert known as the same one when it comes again.
    pub frame: FrameId,
    /// The condition, as it was given.
    pub condition: Arc<str>,
    /// The first frame of those in a row at which it holds, nanoseconds since the Unix epoch.
    pub since_unix_ns: i64,
    /// This frame, nanoseconds since the Unix epoch.
    pub time_unix_ns: i64,
}

/// What became of a record when it was compared with the condition.
#[derive(Debug, Clone, Default)]
pub enum Judged {
    /// There is no condition.
    #[default]
    Unwatched,
    /// No alert: not a frame, or the condition does not hold, not for long enough, or too soon after the last alert.
    Quiet,
    /// An alert.
    Raised(Arc<Alert>),
}

/// Field names are a contract: scripts read them.
#[derive(Serialize)]
struct AlertLine<'a> {
    id: String,
    condition: &'a str,
    time: String,
    since_unix_ns: i64,
    held_ms: i64,
    frame: Line<'a>,
}

impl Alert {
    /// Of a frame.
    pub fn new(frame: Moment<'_>, sequence: u64, condition: &Arc<str>, since_unix_ns: i64) -> Self {
        Self {
            frame: FrameId::new(frame.source, frame.epoch, sequence),
            condition: Arc::clone(condition),
            since_unix_ns,
            time_unix_ns: frame.time_ns,
        }
    }

    /// `source/epoch/sequence`: the same in every run.
    pub fn id(&self) -> String {
        self.frame.to_string()
    }

    /// The alert with its frame as one JSON line, without the line's end.
    pub fn line(&self, delivery: &Delivery) -> Vec<u8> {
        self.line_of(json::line(delivery))
    }

    fn line_of(&self, frame: Line<'_>) -> Vec<u8> {
        let line = AlertLine {
            id: self.id(),
            condition: &self.condition,
            time: rfc3339(self.time_unix_ns),
            since_unix_ns: self.since_unix_ns,
            held_ms: self.held_ms(),
            frame,
        };
        serde_json::to_vec(&line).expect("texts and numbers")
    }

    fn held_ms(&self) -> i64 {
        self.time_unix_ns.saturating_sub(self.since_unix_ns) / 1_000_000
    }

    /// What the frame says of it in a topic.
    pub fn result(&self) -> StageResult {
        let number = |number: i64| ValueKind::NumberValue(number as f64);
        let fields = [
            (
                "condition",
                ValueKind::StringValue(self.condition.to_string()),
            ),
            // As a text: the numbers here are of 53 bits.
            (
                "since_unix_ns",
                ValueKind::StringValue(self.since_unix_ns.to_string()),
            ),
            ("held_ms", number(self.held_ms())),
        ];
        let fields = fields.map(|(name, kind)| (name.to_owned(), Value { kind: Some(kind) }));
        StageResult {
            processor: PROCESSOR.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            status: Status::Ok.into(),
            attempts: 1,
            attributes: Some(Struct {
                fields: fields.into_iter().collect(),
            }),
            ..StageResult::default()
        }
    }
}

impl Delivery {
    /// True for what sinks show that keep frames: all, or with a condition only what it lets through.
    pub fn passes(&self) -> bool {
        !matches!(self.judged, Judged::Quiet)
    }

    /// The alert that it is.
    pub fn alert(&self) -> Option<&Arc<Alert>> {
        match &self.judged {
            Judged::Raised(alert) => Some(alert),
            Judged::Unwatched | Judged::Quiet => None,
        }
    }

    /// What a condition is asked about; None if it is no frame.
    pub(super) fn json(&self) -> Option<serde_json::Value> {
        self.frame()?;
        // Through the text, so that numbers are those that people see: 0.6 is not 0.6000000238418579.
        let text = serde_json::to_vec(&json::line(self)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// UTC, to the millisecond.
pub fn rfc3339(unix_ns: i64) -> String {
    match jiff::Timestamp::from_nanosecond(i128::from(unix_ns)) {
        Ok(time) => format!("{time:.3}"),
        Err(_) => unix_ns.to_string(), // before or after all that people have dates for
    }
}
