use super::*;
use proptest::prelude::*;
use prost::Message;

fn seen(label: &str, x: f64, confidence: f32) -> Detection<'_> {
    Detection {
        label,
        confidence,
        bounds: Bounds {
            x,
            y: 100.0,
            width: 40.0,
            height: 80.0,
        },
    }
}

/// A tracker that follows one person who walks 4 px a frame, seen in frames 0..10.
fn following() -> Tracker {
    let mut tracker = Tracker::default();
    for frame in 0..10_u32 {
        tracker.observe(frame.into(), &[seen("person", f64::from(frame) * 4.0, 0.9)]);
    }
    tracker
}

#[test]
fn an_object_gets_its_id_in_the_third_frame_and_keeps_it() {
    let mut tracker = Tracker::default();
    let mut ids = Vec::new();
    for frame in 0..5_u32 {
        let detection = seen("person", f64::from(frame) * 4.0, 0.9);
        ids.extend(tracker.observe(frame.into(), &[detection]));
    }
    assert_eq!(ids, [None, None, Some(1), Some(1), Some(1)]);
}

#[test]
fn it_keeps_its_id_over_gaps_weak_detections_and_a_detector_that_fails() {
    let mut tracker = following();
    tracker.coast_to(14); // frames 10 to 13 are missing
    assert_eq!(tracker.observe(14, &[seen("person", 56.0, 0.9)]), [Some(1)]);
    assert_eq!(tracker.observe(15, &[seen("person", 60.0, 0.2)]), [Some(1)]);
    assert_eq!(tracker.observe(16, &[]), []);
    assert_eq!(
        tracker.observe(25, &[seen("person", 100.0, 0.9)]),
        [Some(1)]
    );
}

#[test]
fn it_is_forgotten_after_two_seconds_however_long_the_gap() {
    let mut tracker = following();
    tracker.coast_to(u64::MAX - 1);
    assert_eq!(tracker.tracks(), []);
    let mut tracker = following();
    let last = 9 + u64::from(MAX_UNSEEN_FRAMES);
    let at = |frame: u64| 4.0 * frame as f64;
    assert_eq!(
        tracker.observe(last, &[seen("person", at(last), 0.9)]),
        [Some(1)]
    );
    let mut tracker = following();
    assert_eq!(
        tracker.observe(last + 1, &[seen("person", at(last + 1), 0.9)]),
        [None]
    );
}

#[test]
fn ids_are_never_given_twice_and_labels_never_mixed() {
    let mut tracker = following();
    assert_eq!(tracker.observe(10, &[seen("dog", 40.0, 0.9)]), [None]);
    tracker.observe(11, &[seen("dog", 44.0, 0.9)]);
    assert_eq!(tracker.observe(12, &[seen("dog", 48.0, 0.9)]), [Some(2)]);
    tracker.coast_to(1_000);
    for frame in 1_000..1_002 {
        tracker.observe(frame, &[seen("dog", 0.0, 0.9)]);
    }
    assert_eq!(tracker.observe(1_002, &[seen("dog", 0.0, 0.9)]), [Some(3)]);
}

#[test]
fn false_alarms_and_weak_detections_begin_nothing() {
    let mut tracker = Tracker::default();
    for frame in 0..100_u32 {
        let alarm = seen("person", f64::from(frame % 7) * 100.0, 0.9);
        assert_eq!(tracker.observe(frame.into(), &[alarm]), [None]);
    }
    let mut tracker = Tracker::default();
    for frame in 0..10 {
        assert_eq!(tracker.observe(frame, &[seen("person", 0.0, 0.4)]), [None]);
    }
}

#[test]
fn a_late_frame_changes_nothing() {
    let mut tracker = following();
    let before = tracker.clone();
    assert_eq!(tracker.observe(9, &[seen("person", 500.0, 0.9)]), [None]);
    tracker.coast_to(3);
    assert_eq!(tracker, before);
}

#[test]
fn a_crowd_beyond_its_bounds_costs_no_more_than_its_bounds() {
    let mut tracker = Tracker::default();
    for frame in 0..6_u32 {
        let crowd: Vec<_> = (0..600_u32)
            .map(|at| seen("person", f64::from(at) * 50.0, 0.5 + at as f32 / 2_000.0))
            .collect();
        let ids = tracker.observe(frame.into(), &crowd);
        let followed = ids.iter().filter(|id| id.is_some()).count();
        assert_eq!(followed, if frame < 2 { 0 } else { MAX_DETECTIONS });
        assert!(ids[..600 - MAX_DETECTIONS].iter().all(Option::is_none));
    }
    assert!(tracker.encoded_len() < 100_000);
}

/// A frame as it may come: anything at all as a box, every kind of confidence, gaps and late frames.
fn any_step() -> impl Strategy<Value = (u64, Vec<(f64, f64, f64, f32)>)> {
    let number = prop_oneof![
        8 => -50.0..700.0_f64,
        1 => Just(f64::NAN),
        1 => Just(-0.0),
        1 => Just(1e300),
    ];
    let detection = (number, 0.0..300.0_f64, 0.0..200.0_f64, 0.0..1.0_f32);
    let ahead = prop_oneof![10 => Just(1_u64), 1 => Just(0), 1 => 2_u64..50];
    (ahead, prop::collection::vec(detection, 0..8))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn a_tracker_that_is_saved_and_loaded_at_any_frame_goes_on_the_same_bit_by_bit(
        steps in prop::collection::vec(any_step(), 1..60)
    ) {
        let (mut straight, mut reloaded) = (Tracker::default(), Tracker::default());
        let mut sequence = 0;
        for (ahead, boxes) in &steps {
            sequence += ahead;
            let detections: Vec<_> = boxes
                .iter()
                .map(|&(x, y, size, confidence)| Detection {
                    label: if size > 150.0 { "person" } else { "dog" },
                    confidence,
                    bounds: Bounds { x, y, width: size, height: size * 2.0 },
                })
                .collect();
            let ids = straight.observe(sequence, &detections);
            prop_assert_eq!(&reloaded.observe(sequence, &detections), &ids);
            let mut given: Vec<_> = ids.into_iter().flatten().collect();
            let count = given.len();
            given.sort_unstable();
            given.dedup();
            prop_assert_eq!(given.len(), count, "one id, two places");
            let bytes = reloaded.encode_to_vec();
            prop_assert_eq!(&bytes, &straight.encode_to_vec());
            reloaded = Tracker::decode(&bytes[..]).unwrap();
        }
    }
}
