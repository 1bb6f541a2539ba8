//! The capture thread: takes pictures at the right pace, gives them their ids, hands them on.

use crate::encode::Captured;
use crate::handover::{Abandoned, Ending, Giver};
use crate::input::{Input, InputError};
use crate::overload::Waiting;
use crate::pace::Pacer;
use crate::progress::Progress;
use crate::worker::Pause;
use pipeline::v1::FrameId;
use pipeline::wire::now_unix_ns;
use std::sync::Arc;
use std::time::Instant;

/// One run of a source, from its first frame (or the first after those that Kafka holds already) to its end.
pub struct Capture {
    /// Where pictures come from.
    pub input: Box<dyn Input>,
    /// The first frame's id.
    pub first: FrameId,
    /// The source ends before the frame with this sequence.
    pub end: Option<u64>,
    /// None: as fast as the rest takes them, or the input has its own pace.
    pub pacer: Option<Pacer>,
    /// To the encoders.
    pub giver: Giver<Captured>,
    /// Waits, and the stop.
    pub pause: Pause,
    /// What was dropped.
    pub progress: Arc<Progress>,
}

impl Capture {
    /// Runs to the end and tells the encoders why it ended.
    pub fn run(mut self) {
        // If the encoders are gone, the publisher has ended and says why.
        if let Ok(ending) = self.until_end() {
            self.giver.end(ending);
        }
    }

    fn until_end(&mut self) -> Result<Ending, Abandoned> {
        let mut id = self.first.clone();
        match self.skip(id.sequence) {
            Ok(None) => {}
            Ok(Some(ending)) => return Ok(ending),
            Err(fault) => return Ok(Ending::Failed(fault.to_string())),
        }
        loop {
            if self.end.is_some_and(|end| id.sequence >= end) {
                return Ok(Ending::Finished);
            }
            match self.capture(&id) {
                Ok(Next::Frame(frame)) => self.hand_on(frame)?,
                Ok(Next::End(ending)) => return Ok(ending),
                Err(fault) => return Ok(Ending::Failed(format!("frame {id}: {fault}"))),
            }
            id.sequence += 1;
        }
    }

    /// Steps over the frames that Kafka holds already.
    fn skip(&mut self, frames: u64) -> Result<Option<Ending>, InputError> {
        for n in 0..frames {
            if self.pause.is_stopped() {
                return Ok(Some(Ending::Stopped));
            }
            if self.input.advance()?.is_none() {
                return Err(InputError::Failed(format!(
                    "it has only {n} frames, but Kafka holds {frames} of it: is it another file than the one that was \
                     begun with?"
                )));
            }
        }
        Ok(None)
    }

    fn capture(&mut self, id: &FrameId) -> Result<Next, InputError> {
        let moment = self.input.advance()?;
        if self.pause.is_stopped() {
            return Ok(Next::End(Ending::Stopped));
        }
        let Some(moment) = moment else {
            return Ok(Next::End(Ending::Finished));
        };
        if let Some(pacer) = &mut self.pacer {
            self.pause.wait(pacer.wait_for(moment.pts, Instant::now()));
            if self.pause.is_stopped() {
                return Ok(Next::End(Ending::Stopped));
            }
        }
        let captured_unix_ns = moment.captured_unix_ns.unwrap_or_else(now_unix_ns);
        let picture = self.input.picture(id)?;
        Ok(Next::Frame(Waiting {
            sequence: id.sequence,
            captured_unix_ns,
            bytes: picture.bytes(),
            frame: Captured {
                pts: moment.pts,
                picture,
            },
        }))
    }

    fn hand_on(&self, frame: Waiting<Captured>) -> Result<(), Abandoned> {
        let dropped = self.giver.give(frame)?;
        if dropped > 0 {
            self.progress.dropped(dropped);
        }
        Ok(())
    }
}

enum Next {
    Frame(Waiting<Captured>),
    End(Ending),
}
