//! One message of the records that the branches have of one place: pure, and the same for the same records.

use crate::args::ContentMode;
use crate::output::{Destination, ERROR_CHARACTERS, Origin, Output};
use pipeline::{envelope, excerpt, v1, wire};
use processor_proto::envelope::Kind;
use std::sync::Arc;
use v1::frame::Content;

/// The stage's name in a frame's stamps.
pub const STAGE: &str = "join";

/// What one branch has of a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    pub input: Origin,
    pub message: Kind,
    /// When it was read.
    pub entered_unix_ns: i64,
}

/// Makes records of rows.
#[derive(Debug)]
pub struct Joiner {
    /// In the order of the branches.
    pub topics: Arc<[Arc<str>]>,
    pub content: ContentMode,
    pub destination: Destination,
}

impl Joiner {
    /// The record in the place of these, at least one of which is there.
    pub fn output(&self, row: &[Option<Part>]) -> Output {
        let first = |is_wanted: fn(&&Part) -> bool| row.iter().flatten().find(is_wanted);
        let base = first(|part| matches!(part.message, Kind::Frame(_)));
        let base = base
            .or_else(|| first(|_| true))
            .expect("a row has a record");
        let message = self.message(row, base);
        let trace = base.input.trace.child();
        let outcome = match &message {
            Kind::Frame(_) if row.iter().any(Option::is_none) => "skipped",
            Kind::Frame(_) => "ok",
            other => other.word(),
        };
        let record = [
            Some(message.clone()),
            without_picture(&message, &base.input),
        ]
        .into_iter()
        .flatten()
        .find_map(|message| {
            let record = self
                .destination
                .record(&base.input, &message, &trace)
                .ok()?;
            envelope::check_parts(&record.payload).ok()?;
            Some(record)
        });
        let Some(record) = record else {
            return Output {
                outcome: "error",
                ..self
                    .destination
                    .pass_on(&base.input, &too_large(&message, &base.input))
            };
        };
        Output {
            input: base.input.clone(),
            records: Arc::new([record]),
            outcome,
        }
    }

    fn message(&self, row: &[Option<Part>], base: &Part) -> Kind {
        let mut frame = match &base.message {
            Kind::Frame(frame) => frame.clone(),
            Kind::Gap(gap) => return Kind::Gap(self.gap(row, gap)),
            other => return other.clone(),
        };
        let missing = self.missing(row);
        frame.results = together(&results(row, &missing));
        frame.stamps = stamps(row);
        if self.content == ContentMode::Reference && frame.inline().is_some() {
            let reference = wire::reference_to(&base.input.lane, base.input.offset);
            frame.content = Some(Content::Reference(reference));
        }
        Kind::Frame(frame)
    }

    /// For each branch without the frame, the result that says so.
    fn missing(&self, row: &[Option<Part>]) -> Vec<v1::Result> {
        let parts = row.iter().zip(self.topics.iter());
        parts
            .map(|(part, topic)| {
                let (status, error) = match part.as_ref().map(|part| &part.message) {
                    Some(Kind::Gap(gap)) => (v1::Status::Error, gap.detail.clone()),
                    _ => (
                        v1::Status::Skipped,
                        format!("{topic} has no record of this frame"),
                    ),
                };
                let mut result = v1::Result {
                    processor: topic.to_string(),
                    error,
                    ..Default::default()
                };
                result.set_status(status);
                result
            })
            .collect()
    }

    /// A gap in every branch that has the place: with what each says of it, if they do not say the same.
    fn gap(&self, row: &[Option<Part>], base: &v1::Gap) -> v1::Gap {
        let details: Vec<(&Arc<str>, &str)> = self
            .topics
            .iter()
            .zip(row)
            .filter_map(|(topic, part)| match &part.as_ref()?.message {
                Kind::Gap(gap) => Some((topic, gap.detail.as_str())),
                _ => None,
            })
            .collect();
        if details.iter().all(|(_, detail)| *detail == base.detail) {
            return base.clone();
        }
        let details = details
            .iter()
            .map(|(topic, detail)| format!("{topic}: {detail}"));
        let detail = details.collect::<Vec<_>>().join("; ");
        v1::Gap {
            detail: excerpt(&detail, ERROR_CHARACTERS),
            ..base.clone()
        }
    }
}

/// What each branch says of the frame; for one that does not have it, that.
fn results<'a>(row: &'a [Option<Part>], missing: &'a [v1::Result]) -> Vec<&'a [v1::Result]> {
    let parts = row.iter().zip(missing);
    parts
        .map(
            |(part, missing)| match part.as_ref().map(|part| &part.message) {
                Some(Kind::Frame(frame)) => &frame.results[..],
                _ => std::slice::from_ref(missing),
            },
        )
        .collect()
}

/// What the branches have, in their order. What a branch shares with one before it, both have from the stages before they
/// parted: that counts once.
fn together<T: PartialEq + Clone>(branches: &[&[T]]) -> Vec<T> {
    let shared = |one: &[T], other: &[T]| {
        let pairs = one.iter().zip(other);
        pairs.take_while(|(one, other)| one == other).count()
    };
    let mut all = Vec::new();
    for (n, branch) in branches.iter().enumerate() {
        let before = branches[..n].iter().map(|other| shared(branch, other));
        all.extend_from_slice(&branch[before.max().unwrap_or(0)..]);
    }
    all
}

fn stamps(row: &[Option<Part>]) -> Vec<v1::Stamp> {
    let frames = row.iter().flatten().filter_map(|part| match &part.message {
        Kind::Frame(frame) => Some(&frame.stamps[..]),
        _ => None,
    });
    let mut stamps = together(&frames.collect::<Vec<_>>());
    let entered = row.iter().flatten().map(|part| part.entered_unix_ns);
    stamps.push(v1::Stamp {
        stage: STAGE.to_owned(),
        entered_unix_ns: entered.min().unwrap_or_default(),
        left_unix_ns: wire::now_unix_ns(),
    });
    stamps
}

/// The frame without its picture, for one that does not fit into a record with all its results.
fn without_picture(message: &Kind, input: &Origin) -> Option<Kind> {
    let Kind::Frame(frame) = message else {
        return None;
    };
    let mut frame = frame.clone();
    frame.content = Some(Content::Missing(v1::Missing {
        reason: v1::missing::Reason::Omitted.into(),
        last_known: Some(wire::reference_to(&input.lane, input.offset)),
    }));
    Some(Kind::Frame(frame))
}

fn too_large(message: &Kind, input: &Origin) -> Kind {
    Kind::Gap(v1::Gap {
        first: message.id().cloned(),
        count: 1,
        reason: v1::gap::Reason::ProcessingFailed.into(),
        detail: "the results of all branches together do not fit into one record".to_owned(),
        origin: Some(wire::reference_to(&input.lane, input.offset)),
    })
}

#[cfg(test)]
mod tests;
