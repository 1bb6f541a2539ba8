//! What becomes of a frame when its calls are over: pure, from frame and outcome to the records in its place.

use crate::args::{ContentMode, OnFailure};
use crate::calls::Outcome;
use crate::output::{Destination, ERROR_CHARACTERS, Origin, Output};
use pipeline::kafka::Outgoing;
use pipeline::{excerpt, v1, wire};
use processor_proto::envelope::{self, Kind};
use std::time::Duration;
use v1::frame::Content;

/// The choices of the command line that matter here.
#[derive(Debug, Clone)]
pub struct Policy {
    pub content: ContentMode,
    pub on_failure: OnFailure,
    pub destination: Destination,
}

/// A frame whose calls are over.
#[derive(Debug)]
pub struct Processed {
    pub input: Origin,
    /// As it was read: the content may be a reference.
    pub frame: v1::Frame,
    pub outcome: Outcome,
    /// Used for a result that the processor did not make itself.
    pub processor: String,
    pub entered_unix_ns: i64,
    /// From taking the frame from Kafka to the end of its calls.
    pub elapsed: Duration,
}

/// What goes out, or the reason to stop before this frame.
#[derive(Debug)]
pub enum Decision {
    Write(Output),
    Halt(String),
}

impl Policy {
    pub fn decide(&self, processed: Processed) -> Decision {
        let Processed {
            input,
            mut frame,
            outcome,
            processor,
            entered_unix_ns,
            elapsed,
        } = processed;
        let (result, picture) = result_of(outcome, &processor, elapsed);
        frame.stamps.push(v1::Stamp {
            stage: format!("broker:{}", result.processor),
            entered_unix_ns,
            left_unix_ns: wire::now_unix_ns(),
        });
        let (record, result) = self.record(&input, &frame, result, picture);
        let failed = is_failure(&result);
        let record = match record {
            Some(record) if !failed || self.passes_failures() => record,
            _ => return self.without_frame(&input, &frame, &result),
        };
        let letter = (failed && self.on_failure == OnFailure::DeadLetter)
            .then(|| {
                self.destination
                    .dead_letter(&input, record.clone(), &result.error)
            })
            .flatten();
        Decision::Write(Output {
            input,
            outcome: result.status().word(),
            records: std::iter::once(record).chain(letter).collect(),
        })
    }

    fn passes_failures(&self) -> bool {
        matches!(
            self.on_failure,
            OnFailure::ErrorResult | OnFailure::DeadLetter
        )
    }

    /// A failed frame that does not go on: the reason to stop, or a Gap in its place.
    fn without_frame(&self, input: &Origin, frame: &v1::Frame, result: &v1::Result) -> Decision {
        let id = frame.id.clone().unwrap_or_default();
        if self.on_failure == OnFailure::Halt {
            return Decision::Halt(format!(
                "frame {id} at {input} failed after {} calls: {}",
                result.attempts, result.error
            ));
        }
        let gap = Kind::Gap(v1::Gap {
            first: Some(id),
            count: 1,
            reason: v1::gap::Reason::ProcessingFailed.into(),
            detail: excerpt(&result.error, ERROR_CHARACTERS),
            origin: Some(wire::reference_to(&input.lane, input.offset)),
        });
        Decision::Write(Output {
            outcome: result.status().word(),
            ..self.destination.pass_on(input, &gap)
        })
    }

    /// The frame with its result, and the result that went into it. If the reply does not make a valid frame that fits
    /// into a record, the frame goes on as it came, with an error in the reply's place; if even that is too large,
    /// without its picture. None if it fits in no way.
    fn record(
        &self,
        input: &Origin,
        frame: &v1::Frame,
        result: v1::Result,
        picture: Option<v1::Picture>,
    ) -> (Option<Outgoing>, v1::Result) {
        let mut whole = frame.clone();
        self.set_content(&mut whole, picture, input);
        let error = match self.try_record(input, whole, &result) {
            Ok(record) => return (Some(record), result),
            Err(error) => error,
        };
        let result = unusable(result, &error);
        let mut unchanged = frame.clone();
        self.set_content(&mut unchanged, None, input);
        let mut bare = frame.clone();
        bare.content = Some(Content::Missing(v1::Missing {
            reason: v1::missing::Reason::Omitted.into(),
            last_known: Some(wire::reference_to(&input.lane, input.offset)),
        }));
        let record = [unchanged, bare]
            .into_iter()
            .find_map(|frame| self.try_record(input, frame, &result).ok());
        (record, result)
    }

    fn try_record(
        &self,
        input: &Origin,
        mut frame: v1::Frame,
        result: &v1::Result,
    ) -> Result<Outgoing, String> {
        frame.results.push(result.clone());
        let message = Kind::Frame(frame);
        message.check().map_err(|error| error.to_string())?;
        let record = self
            .destination
            .record(input, &message, &input.trace.child())
            .map_err(|error| error.to_string())?;
        envelope::check_parts(&record.payload).map_err(|error| error.to_string())?;
        Ok(record)
    }

    fn set_content(&self, frame: &mut v1::Frame, picture: Option<v1::Picture>, input: &Origin) {
        if let Some(picture) = picture {
            frame.codec = picture.codec;
            frame.pixel_format = picture.pixel_format;
            frame.width = picture.width;
            frame.height = picture.height;
            frame.content = Some(Content::Inline(picture.content));
        } else if self.content == ContentMode::Reference && frame.inline().is_some() {
            // A reference stays as it is: it names the record that has the pixels, not one that names another.
            let reference = wire::reference_to(&input.lane, input.offset);
            frame.content = Some(Content::Reference(reference));
        }
    }
}

/// The result that the frame carries from here on, and the picture that replaces its own.
fn result_of(
    outcome: Outcome,
    processor: &str,
    elapsed: Duration,
) -> (v1::Result, Option<v1::Picture>) {
    let timing = |call: Duration, processing_ns| v1::Timing {
        queued_ns: as_ns(elapsed.saturating_sub(call)),
        call_ns: as_ns(call),
        processing_ns,
    };
    match outcome {
        Outcome::Done {
            response,
            attempts,
            call,
        } => {
            let mut result = response.result.unwrap_or_default();
            if result.processor.is_empty() {
                processor.clone_into(&mut result.processor);
            }
            if result.status() == v1::Status::Unspecified {
                result.set_status(v1::Status::Ok);
            }
            let processing_ns = result.timing.map_or(0, |timing| timing.processing_ns);
            result.attempts = attempts;
            result.timing = Some(timing(call, processing_ns));
            (result, response.picture)
        }
        Outcome::Failed {
            status,
            error,
            attempts,
            call,
        } => {
            let mut result = v1::Result {
                processor: processor.to_owned(),
                attempts,
                error,
                timing: Some(timing(call, 0)),
                ..Default::default()
            };
            result.set_status(status);
            (result, None)
        }
    }
}

/// SKIPPED is no failure of the processor: there was nothing to look at.
fn is_failure(result: &v1::Result) -> bool {
    matches!(result.status(), v1::Status::Error | v1::Status::Timeout)
}

fn unusable(reply: v1::Result, error: &str) -> v1::Result {
    let mut result = v1::Result {
        processor: reply.processor,
        version: reply.version,
        attempts: reply.attempts,
        timing: reply.timing,
        error: format!("the reply cannot be used: {error}"),
        ..Default::default()
    };
    result.set_status(v1::Status::Error);
    result
}

fn as_ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
