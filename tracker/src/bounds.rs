//! Boxes in pixels, and how much two of them have in common.

/// A box: the upper left corner and the size, in pixels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    /// Left edge.
    pub x: f64,
    /// Upper edge.
    pub y: f64,
    /// To the right.
    pub width: f64,
    /// Downwards.
    pub height: f64,
}

/// Beyond this no picture reaches, and sums of squares still are exact enough.
const FARTHEST_PX: f64 = 1e6;

impl Bounds {
    /// True for a box that an object can have.
    pub fn is_sane(&self) -> bool {
        let all = [self.x, self.y, self.width, self.height];
        let is_near = all.iter().all(|v| v.is_finite() && v.abs() < FARTHEST_PX);
        is_near && self.width > 0.0 && self.height > 0.0
    }

    /// Intersection over union: 0 for strangers, 1 for the same box.
    pub fn iou(&self, other: &Self) -> f64 {
        let wide = (self.x + self.width).min(other.x + other.width) - self.x.max(other.x);
        let high = (self.y + self.height).min(other.y + other.height) - self.y.max(other.y);
        if wide <= 0.0 || high <= 0.0 {
            return 0.0;
        }
        let shared = wide * high;
        shared / (self.width * self.height + other.width * other.height - shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(x: f64) -> Bounds {
        Bounds {
            x,
            y: 0.0,
            width: 10.0,
            height: 10.0,
        }
    }

    #[test]
    fn overlap_is_the_shared_part_of_what_both_cover() {
        assert_eq!(at(0.0).iou(&at(0.0)), 1.0);
        assert_eq!(at(0.0).iou(&at(5.0)), 50.0 / 150.0);
        assert_eq!(at(0.0).iou(&at(10.0)), 0.0);
    }

    #[test]
    fn boxes_of_no_object_are_told_apart() {
        assert!(at(3.0).is_sane());
        for bad in [f64::NAN, f64::INFINITY, 1e30] {
            assert!(!at(bad).is_sane(), "{bad}");
        }
        assert!(
            !Bounds {
                width: 0.0,
                ..at(0.0)
            }
            .is_sane()
        );
    }
}
