//! Gives the detections of one source's frames stable track ids.
//!
//! ```text
//! frame n: predict every track -> match with detections in stages -> update, begin, forget
//! ```
//! [`Tracker::observe`] is a function of the tracker's state and the frame alone: no clock, no randomness, no order of a
//! hash map, and only operations that IEEE 754 rounds the same way on every machine. The state is itself a protobuf
//! message whose numbers are kept bit by bit: a tracker that was saved and loaded goes on exactly as the one that was not.
//!
//! The method is that of SORT (Bewley et al., arXiv 1602.00763), with the second matching stage for weak detections of
//! ByteTrack (Zhang et al., arXiv 2110.06864) and box filters that scale with width and height as in BoT-SORT (Aharon et
//! al., arXiv 2206.14651). Enlarging the boxes of objects that come back (C-BIoU, arXiv 2211.14317) was tried: it mixed up
//! more ids than it brought back. `cargo run -p tracker --example quality` shows how good the tracks are.

mod assignment;
mod bounds;
mod kalman;
mod track;
mod tracker;

pub use assignment::best_pairs;
pub use bounds::Bounds;
pub use track::Track;
pub use tracker::{Detection, MAX_UNSEEN_FRAMES, Tracker};
