//! What comes out: how fast, how late, and whether all of it.

mod output;
mod progress;
mod spread;
mod verify;

pub use output::{Arrival, Output, Seen};
pub use progress::{Rate, follow};
pub use spread::Spread;
pub use verify::verify;
