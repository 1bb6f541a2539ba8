//! The part of a source's sequence that a record accounts for.

use pipeline::envelope::Kind;
use pipeline::v1::FrameId;
use std::sync::Arc;

/// `count` sequence numbers from `first` on. An end accounts for none; it stands behind its epoch's last frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The source.
    pub source: Arc<str>,
    /// Its epoch.
    pub epoch: u64,
    /// The first sequence number.
    pub first: u64,
    /// How many in a row; 0 for an end, and for a gap of unknown length.
    pub count: u64,
    /// What kind of record says so.
    pub what: What,
}

/// The kinds of records, as far as order is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// One frame.
    Frame,
    /// Frames that are missing and said to be.
    Gap,
    /// No later frame of the epoch.
    End,
}

impl Span {
    /// None for a gap that stands for a record of which nothing is known.
    pub fn of(message: &Kind) -> Option<Self> {
        let id = message.id().filter(|id| id.epoch > 0)?;
        let (first, count, what) = match message {
            Kind::Frame(_) => (id.sequence, 1, What::Frame),
            Kind::Gap(gap) => (id.sequence, gap.count, What::Gap),
            Kind::End(end) if end.empty => (0, 0, What::End),
            Kind::End(_) => (id.sequence.saturating_add(1), 0, What::End),
        };
        Some(Self::new(id, first, count, what))
    }

    fn new(id: &FrameId, first: u64, count: u64, what: What) -> Self {
        Self {
            source: id.source_id.as_str().into(),
            epoch: id.epoch,
            first,
            count,
            what,
        }
    }

    /// The sequence number behind the span.
    pub fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}
