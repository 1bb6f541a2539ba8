//! What `frame.proto` promises, checked. Unknown enum values pass: they are a later version's, to be carried on.

use super::{DecodeError, FrameProblem, MAX_NOTICE_BYTES};
use crate::{
    excerpt::excerpt,
    ids::is_source_id,
    v1::{Codec, Frame, FrameId, Gap, Reference, frame::Content, gap},
};

/// Characters of a name that is none, in an error.
const SHOWN: usize = 64;

/// An end or a gap is passed on as it is, so it must fit wherever a frame fits.
pub(super) fn notice(kind: &'static str, bytes: usize) -> Result<(), DecodeError> {
    if bytes > MAX_NOTICE_BYTES {
        return Err(DecodeError::NoticeTooLarge { kind, bytes });
    }
    Ok(())
}

pub(super) fn id(kind: &'static str, id: Option<&FrameId>) -> Result<(), DecodeError> {
    let id = id.ok_or(DecodeError::NoId { kind })?;
    source_id(&id.source_id)?;
    if id.epoch == 0 {
        return Err(DecodeError::EpochZero { id: id.clone() });
    }
    Ok(())
}

fn source_id(source_id: &str) -> Result<(), DecodeError> {
    if !is_source_id(source_id) {
        return Err(DecodeError::BadSourceId {
            source_id: excerpt(source_id, SHOWN),
        });
    }
    Ok(())
}

pub(super) fn gap(gap: &Gap) -> Result<(), DecodeError> {
    // They stand for records of which nothing may be known, not even whose they were.
    if matches!(
        gap.reason(),
        gap::Reason::Undecodable | gap::Reason::Expired
    ) {
        return match &gap.first {
            Some(first) if !first.source_id.is_empty() => source_id(&first.source_id),
            _ => Ok(()),
        };
    }
    id("gap", gap.first.as_ref())?;
    match &gap.first {
        Some(first) if first.sequence.checked_add(gap.count).is_none() => {
            Err(DecodeError::GapTooLong {
                first: first.clone(),
                count: gap.count,
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn frame(frame: &Frame) -> Result<(), DecodeError> {
    id("frame", frame.id.as_ref())?;
    frame
        .lineage
        .iter()
        .try_for_each(|parent| id("frame's lineage", Some(parent)))?;
    time(frame)
        .and_then(|()| content(frame))
        .map_err(|problem| DecodeError::BadFrame {
            id: frame.id.clone().expect("checked above"),
            problem,
        })
}

fn time(frame: &Frame) -> Result<(), FrameProblem> {
    match &frame.time_base {
        Some(base) if base.num == 0 || base.den == 0 => Err(FrameProblem::TimeBase {
            num: base.num,
            den: base.den,
        }),
        None if frame.pts != 0 => Err(FrameProblem::NoTimeBase { pts: frame.pts }),
        _ => Ok(()),
    }
}

fn content(frame: &Frame) -> Result<(), FrameProblem> {
    match &frame.content {
        None => Err(FrameProblem::NoContent),
        Some(Content::Inline(picture)) => inline(frame, picture.len() as u64),
        Some(Content::Reference(reference)) => self::reference(reference),
        Some(Content::Missing(missing)) => missing.last_known.iter().try_for_each(self::reference),
    }
}

fn inline(frame: &Frame, found: u64) -> Result<(), FrameProblem> {
    let (width, height) = (frame.width, frame.height);
    if frame.codec == Codec::Unspecified as i32 {
        return Err(FrameProblem::NoCodec);
    }
    if width == 0 || height == 0 {
        return Err(FrameProblem::NoPixels { width, height });
    }
    if found == 0 {
        return Err(FrameProblem::EmptyContent);
    }
    if frame.codec == Codec::Raw as i32 {
        let bytes_per_pixel = frame
            .pixel_format()
            .bytes_per_pixel()
            .ok_or(FrameProblem::NoPixelFormat)?;
        // Saturates far above any content there can be.
        let expected =
            (u64::from(width) * u64::from(height)).saturating_mul(bytes_per_pixel.into());
        if expected != found {
            return Err(FrameProblem::RawLength { expected, found });
        }
    }
    Ok(())
}

fn reference(reference: &Reference) -> Result<(), FrameProblem> {
    if reference.topic.is_empty() || reference.partition < 0 || reference.offset < 0 {
        return Err(FrameProblem::Reference {
            reference: Reference {
                topic: excerpt(&reference.topic, SHOWN),
                ..*reference
            },
        });
    }
    Ok(())
}
