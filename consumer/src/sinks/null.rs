//! Takes everything and does nothing: what reading alone costs.

use super::{Flow, Sink, SinkError};
use crate::delivery::Delivery;

/// The sink.
#[derive(Debug)]
pub struct Null;

impl Sink for Null {
    fn take(&mut self, _: &Delivery) -> Result<Flow, SinkError> {
        Ok(Flow::GoOn)
    }
}
