//! Overlapping boxes that mean the same thing, reduced to the best one.

use processor_proto::v1::{Box, Detection};

/// Boxes that share more than this part of the smaller one mean the same thing. The smaller one, not the union:
/// a detector finds a torso inside a person as well.
const SAME: f32 = 0.55;

/// Keeps the most confident of each group of overlapping detections, the most confident first.
pub fn best_of_overlapping(mut detections: Vec<Detection>) -> Vec<Detection> {
    // Ties by place, so that the same picture always gets the same answer.
    detections.sort_by(|a, b| {
        let place = |d: &Detection| d.r#box.unwrap_or_default();
        b.confidence
            .total_cmp(&a.confidence)
            .then(place(a).y.total_cmp(&place(b).y))
            .then(place(a).x.total_cmp(&place(b).x))
    });
    let mut kept: Vec<Detection> = Vec::new();
    for detection in detections {
        let seen_in = detection.r#box.unwrap_or_default();
        let known = kept
            .iter()
            .any(|other| shared(&seen_in, &other.r#box.unwrap_or_default()) > SAME);
        if !known {
            kept.push(detection);
        }
    }
    kept
}

/// The shared area as a part of the smaller box: 0 to 1.
fn shared(a: &Box, b: &Box) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    let smaller = (a.width * a.height).min(b.width * b.height);
    if width <= 0.0 || height <= 0.0 || smaller <= 0.0 {
        return 0.0;
    }
    width * height / smaller
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(confidence: f32, [x, y, width, height]: [f32; 4]) -> Detection {
        Detection::new(
            "it",
            confidence,
            Box {
                x,
                y,
                width,
                height,
            },
        )
    }

    #[test]
    fn the_most_confident_of_a_group_stays() {
        let weak = seen(0.4, [2.0, 2.0, 10.0, 20.0]);
        let strong = seen(0.9, [0.0, 0.0, 10.0, 20.0]);
        let inside = seen(0.5, [2.0, 5.0, 5.0, 8.0]);
        let apart = seen(0.1, [30.0, 0.0, 10.0, 20.0]);
        let kept = best_of_overlapping(vec![weak, apart.clone(), inside, strong.clone()]);
        assert_eq!(kept, [strong, apart]);
    }

    #[test]
    fn neighbours_that_touch_both_stay() {
        let left = seen(0.9, [0.0, 0.0, 10.0, 20.0]);
        let right = seen(0.8, [7.0, 0.0, 10.0, 20.0]);
        assert_eq!(best_of_overlapping(vec![left, right]).len(), 2);
    }
}
