//! Checks that pixels and frame ids belong together.

use super::{Flow, Sink, SinkError};
use crate::delivery::Delivery;
use crate::picture::PictureVerdict;

/// The sink.
#[derive(Debug, Default)]
pub struct Verify {
    frames: u64,
    mismatches: u64,
}

impl Sink for Verify {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        match delivery.picture_verdict()? {
            PictureVerdict::Unchecked => {}
            PictureVerdict::Fits => self.frames += 1,
            PictureVerdict::Mismatch => {
                self.frames += 1;
                self.mismatches += 1;
            }
        }
        Ok(Flow::GoOn)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        if self.mismatches == 0 {
            tracing::info!(frames = self.frames, "every picture names its frame");
            return Ok(());
        }
        Err(SinkError::Mismatch {
            mismatches: self.mismatches,
            frames: self.frames,
        })
    }
}
