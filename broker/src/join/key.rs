//! Where a record stands in its stream: what records of several branches have in common if they are of one frame.

use processor_proto::envelope::Kind;
use processor_proto::v1::{self, gap};

/// A record's place. Equal keys in several branches mean the same place of the stream they come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A place in a source's epoch.
    At {
        source: String,
        epoch: u64,
        place: Place,
    },
    /// A record that never told whose it was, by where it lies.
    Unnamed(v1::Reference),
    /// Only this branch lost something, and nobody knows what: no other branch has this record.
    Own,
}

/// In the order in which an epoch has them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A frame, or the Gap that stands in the place of one frame: the sequence.
    One(u64),
    /// A Gap of more frames, or of nobody knows how many.
    Gap { first: u64, count: u64 },
    /// The epoch's end.
    End,
}

impl Place {
    /// Sequences first: a longer Gap comes behind the frame that it begins with, if another branch has that.
    fn order(&self) -> (u64, &Self) {
        match self {
            Self::One(first) | Self::Gap { first, .. } => (*first, self),
            Self::End => (u64::MAX, self),
        }
    }
}

impl Key {
    /// The place of a message that was decoded (so that it has what `frame.proto` promises).
    pub fn of(message: &Kind) -> Self {
        let at = |id: &v1::FrameId, place| Self::At {
            source: id.source_id.clone(),
            epoch: id.epoch,
            place,
        };
        let unnamed = v1::FrameId::default();
        let id = message.id().unwrap_or(&unnamed);
        match message {
            Kind::Frame(_) => at(id, Place::One(id.sequence)),
            Kind::End(_) => at(id, Place::End),
            Kind::Gap(gap) if gap.reason() == gap::Reason::Expired => Self::Own,
            Kind::Gap(gap) if id.epoch == 0 => gap.origin.clone().map_or(Self::Own, Self::Unnamed),
            Kind::Gap(gap) if gap.count == 1 => at(id, Place::One(id.sequence)),
            Kind::Gap(gap) => at(
                id,
                Place::Gap {
                    first: id.sequence,
                    count: gap.count,
                },
            ),
        }
    }

    /// Which of two places of the same epoch comes first; None if they are not of one epoch.
    pub fn before_in_epoch(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (
                Self::At {
                    source,
                    epoch,
                    place,
                },
                Self::At {
                    source: other_source,
                    epoch: other_epoch,
                    place: other_place,
                },
            ) if (source, epoch) == (other_source, other_epoch) => {
                Some(place.order() < other_place.order())
            }
            _ => None,
        }
    }

    /// Surely before the other in their source.
    pub fn is_older_than(&self, other: &Self) -> bool {
        let by_place = || self.before_in_epoch(other);
        self.before_in_source(other).or_else(by_place) == Some(true)
    }

    /// Which of two epochs of one source comes first; None if they are the same or not of one source.
    pub fn before_in_source(&self, other: &Self) -> Option<bool> {
        match (self, other) {
            (
                Self::At { source, epoch, .. },
                Self::At {
                    source: other_source,
                    epoch: other_epoch,
                    ..
                },
            ) if source == other_source && epoch != other_epoch => Some(epoch < other_epoch),
            _ => None,
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At {
                source,
                epoch,
                place: Place::One(at) | Place::Gap { first: at, .. },
            } => write!(f, "{source}/{epoch}/{at}"),
            Self::At { source, epoch, .. } => write!(f, "the end of {source}/{epoch}"),
            Self::Unnamed(reference) => write!(f, "the record of {reference}"),
            Self::Own => f.write_str("a gap that names no frame"),
        }
    }
}
