//! One object as far as it is known.

use crate::bounds::Bounds;
use crate::kalman::Axis;

/// An object that was seen at least once.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Track {
    /// Counts from 1; 0 until the object was seen often enough to be believed.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// What it is; it only ever matches detections of the same label.
    #[prost(string, tag = "2")]
    pub label: String,
    /// Frames in which it was seen, up to the number that makes it believed.
    #[prost(uint32, tag = "3")]
    pub(crate) hits: u32,
    /// Frames since it was last seen.
    #[prost(uint32, tag = "4")]
    pub unseen: u32,
    #[prost(message, required, tag = "5")]
    centre_x: Axis,
    #[prost(message, required, tag = "6")]
    centre_y: Axis,
    #[prost(message, required, tag = "7")]
    width: Axis,
    #[prost(message, required, tag = "8")]
    height: Axis,
}

/// A box that shrinks while nobody looks still has an area.
const LEAST_SIZE_PX: f64 = 1.0;

impl Track {
    pub(crate) fn begin(label: &str, seen: &Bounds) -> Self {
        let Bounds {
            x,
            y,
            width,
            height,
        } = *seen;
        Self {
            id: 0,
            label: label.to_owned(),
            hits: 1,
            unseen: 0,
            centre_x: Axis::begin(x + width / 2.0, width),
            centre_y: Axis::begin(y + height / 2.0, height),
            width: Axis::begin(width, width),
            height: Axis::begin(height, height),
        }
    }

    /// True if it has an id.
    pub fn is_confirmed(&self) -> bool {
        self.id > 0
    }

    /// Where it is now, as far as is known.
    pub fn bounds(&self) -> Bounds {
        let (width, height) = self.size();
        Bounds {
            x: self.centre_x.position - width / 2.0,
            y: self.centre_y.position - height / 2.0,
            width,
            height,
        }
    }

    fn size(&self) -> (f64, f64) {
        let at_least = |axis: &Axis| axis.position.max(LEAST_SIZE_PX);
        (at_least(&self.width), at_least(&self.height))
    }

    /// A frame passes.
    pub(crate) fn predict(&mut self) {
        if self.unseen > 0 {
            // What hides an object also changed how large it looked last: that change must not go on.
            self.width.velocity = 0.0;
            self.height.velocity = 0.0;
        }
        let (width, height) = self.size();
        self.centre_x.predict(width);
        self.centre_y.predict(height);
        self.width.predict(width);
        self.height.predict(height);
        self.unseen += 1;
    }

    /// It was seen here.
    pub(crate) fn update(&mut self, seen: &Bounds) {
        let (width, height) = self.size();
        self.centre_x.update(seen.x + seen.width / 2.0, width);
        self.centre_y.update(seen.y + seen.height / 2.0, height);
        self.width.update(seen.width, width);
        self.height.update(seen.height, height);
        self.hits = self.hits.saturating_add(1);
        self.unseen = 0;
    }
}
