use super::*;
use pipeline::kafka::TopicPartition;
use pipeline::trace::TraceContext;

fn joiner() -> Joiner {
    Joiner {
        topics: ["s.people".into(), "s.faces".into(), "s.plates".into()].into(),
        content: ContentMode::Inline,
        destination: Destination {
            topic: "s.all".into(),
            partitions: 1,
            dead_letter: None,
        },
    }
}

fn result(processor: &str) -> v1::Result {
    let mut result = v1::Result {
        processor: processor.to_owned(),
        attempts: 1,
        ..Default::default()
    };
    result.set_status(v1::Status::Ok);
    result
}

fn part(topic: &str, message: Kind) -> Option<Part> {
    Some(Part {
        input: Origin {
            lane: TopicPartition::new(topic, 0),
            offset: 9,
            timestamp_ms: 5,
            trace: TraceContext::root(),
        },
        message,
        entered_unix_ns: 7,
    })
}

/// A frame with these results, each by a stage that also stamped it.
fn frame(processors: &[&str]) -> Kind {
    let mut frame = v1::Frame {
        id: Some(v1::FrameId::new("s", 1, 4)),
        width: 2,
        height: 1,
        results: processors.iter().map(|name| result(name)).collect(),
        content: Some(Content::Inline(vec![1, 2].into())),
        ..Default::default()
    };
    frame.set_codec(v1::Codec::Raw);
    frame.set_pixel_format(v1::PixelFormat::Gray8);
    let stamp = |name: &&str| v1::Stamp {
        stage: format!("broker:{name}"),
        ..Default::default()
    };
    frame.stamps = processors.iter().map(stamp).collect();
    Kind::Frame(frame)
}

fn gap(count: u64, detail: &str) -> Kind {
    Kind::Gap(v1::Gap {
        first: Some(v1::FrameId::new("s", 1, 4)),
        count,
        reason: v1::gap::Reason::ProcessingFailed.into(),
        detail: detail.to_owned(),
        origin: None,
    })
}

fn written(joiner: &Joiner, row: &[Option<Part>]) -> Kind {
    let output = joiner.output(row);
    let [record] = &output.records[..] else {
        panic!("one record takes the place of a row")
    };
    envelope::decode(record.payload.clone()).unwrap()
}

fn processors(message: &Kind) -> Vec<(String, v1::Status)> {
    let Kind::Frame(frame) = message else {
        panic!("{message:?}")
    };
    let results = frame.results.iter();
    results
        .map(|one| (one.processor.clone(), one.status()))
        .collect()
}

#[test]
fn results_come_in_the_order_of_the_branches_and_what_they_share_comes_once() {
    let row = [
        part("s.people", frame(&["blur", "people"])),
        part("s.faces", frame(&["blur", "crop", "faces"])),
        part("s.plates", frame(&["blur", "crop", "plates"])),
    ];
    let joined = written(&joiner(), &row);
    let names: Vec<_> = processors(&joined)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["blur", "people", "crop", "faces", "plates"]);
    let Kind::Frame(joined) = joined else {
        unreachable!()
    };
    let stages: Vec<_> = joined
        .stamps
        .iter()
        .map(|stamp| stamp.stage.as_str())
        .collect();
    let expected = [
        "broker:blur",
        "broker:people",
        "broker:crop",
        "broker:faces",
        "broker:plates",
        "join",
    ];
    assert_eq!(stages, expected);
    assert_eq!(joined.inline().unwrap().as_ref(), [1, 2]);
}

#[test]
fn a_branch_without_the_frame_is_named_in_its_place() {
    let row = [
        part("s.people", gap(1, "no people today")),
        None,
        part("s.plates", frame(&["plates"])),
    ];
    let output = joiner().output(&row);
    assert_eq!(output.outcome, "skipped");
    let joined = written(&joiner(), &row);
    let expected = [
        ("s.people".to_owned(), v1::Status::Error),
        ("s.faces".to_owned(), v1::Status::Skipped),
        ("plates".to_owned(), v1::Status::Ok),
    ];
    assert_eq!(processors(&joined), expected);
    let Kind::Frame(joined) = joined else {
        unreachable!()
    };
    assert_eq!(joined.results[0].error, "no people today");
}

#[test]
fn a_place_without_a_frame_is_a_gap_with_what_the_branches_say_of_it() {
    let same = [
        part("s.people", gap(1, "late")),
        part("s.faces", gap(1, "late")),
    ];
    let Kind::Gap(joined) = written(&joiner(), &same) else {
        panic!("not a gap")
    };
    assert_eq!((joined.count, joined.detail.as_str()), (1, "late"));
    let different = [
        part("s.people", gap(1, "late")),
        part("s.faces", gap(1, "broken")),
    ];
    let Kind::Gap(joined) = written(&joiner(), &different) else {
        panic!("not a gap")
    };
    assert_eq!(joined.detail, "s.people: late; s.faces: broken");
}

#[test]
fn by_reference_the_picture_stays_where_the_first_branch_has_it() {
    let joiner = Joiner {
        content: ContentMode::Reference,
        ..joiner()
    };
    let row = [part("s.people", frame(&["people"])), None, None];
    let Kind::Frame(joined) = written(&joiner, &row) else {
        panic!("not a frame")
    };
    assert_eq!(joined.reference().unwrap().to_string(), "s.people[0]@9");
}

#[test]
fn a_frame_too_large_with_all_its_results_goes_on_without_its_picture() {
    let mut large = vec![frame(&["people"]), frame(&["faces"])];
    for message in &mut large {
        let Kind::Frame(frame) = message else {
            unreachable!()
        };
        frame.results[0].error = "x".repeat(wire::MAX_ENVELOPE_BYTES / 2 - 500);
    }
    let faces = large.pop();
    let people = large.pop();
    let row = [
        part("s.people", people.unwrap()),
        part("s.faces", faces.unwrap()),
        None,
    ];
    let mut row = row.to_vec();
    if let Some(Part {
        message: Kind::Frame(frame),
        ..
    }) = &mut row[0]
    {
        frame.content = Some(Content::Inline(vec![0; 2000].into()));
        (frame.width, frame.height) = (2000, 1);
    }
    let Kind::Frame(joined) = written(&joiner(), &row) else {
        panic!("not a frame")
    };
    assert_eq!(joined.content_word(), "missing");
    assert_eq!(joined.results.len(), 3);
}
