//! A record as JSON: what viewers are told of it, and no more than they can look at.

use pipeline::envelope::Kind;
use pipeline::json::{self, Extent, Line, Most};
use pipeline::kafka::TopicPartition;

/// Nobody looks at more, and a hostile record holds millions.
const VIEWED: Most = Most {
    results: 100,
    detections: 1_000,
    stamps: 100,
    labels: 100,
};
/// What is told of a frame whose results are too much.
const NO_RESULTS: Most = Most {
    results: 0,
    labels: 0,
    ..VIEWED
};
/// What a viewer is sent beside a picture, at most; results that make more are left out.
const MAX_BYTES: usize = 256 << 10;

/// What a record says, or why it says nothing.
#[derive(Debug)]
pub enum Content {
    Message(Kind),
    Undecodable { source: String, error: String },
}

/// The JSON object of a record.
pub fn of(lane: &TopicPartition, offset: i64, content: &Content) -> String {
    let content = match content {
        Content::Message(message) => json::Content::Message(message),
        Content::Undecodable { source, error } => json::Content::Undecodable {
            source: Some(source),
            error,
        },
    };
    let write = |most| {
        serde_json::to_string(&Line::new(lane, offset, content, Extent::Viewed(most)))
            .expect("names are texts, and numbers are numbers or null")
    };
    let json = write(VIEWED);
    if json.len() <= MAX_BYTES {
        return json;
    }
    write(NO_RESULTS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::v1::{Detection, Frame, FrameId, Result as StageResult};

    fn frame(detections: usize, label: &str) -> Content {
        let detection = Detection {
            label: label.to_owned(),
            confidence: f32::NAN,
            ..Detection::default()
        };
        Content::Message(Kind::Frame(Frame {
            id: Some(FrameId::new("cam0", 2, 7)),
            results: vec![StageResult {
                processor: "people".to_owned(),
                detections: vec![detection; detections],
                ..StageResult::default()
            }],
            ..Frame::default()
        }))
    }

    fn parse(content: &Content) -> serde_json::Value {
        let json = of(&TopicPartition::new("t", 3), 12, content);
        assert!(json.len() <= MAX_BYTES, "{} bytes", json.len());
        serde_json::from_str(&json).expect("it is JSON")
    }

    #[test]
    fn a_frame_says_where_it_lies_and_what_was_found() {
        let line = parse(&frame(2, "person"));
        assert_eq!(
            (&line["kind"], &line["topic"], &line["offset"]),
            (&"frame".into(), &"t".into(), &12.into())
        );
        assert_eq!(line["results"][0]["detections"][1]["label"], "person");
        assert!(
            line["results"][0]["detections"][0]["confidence"].is_null(),
            "JSON knows no NaN"
        );
        assert!(line["results_left_out"].is_null());
    }

    #[test]
    fn a_hostile_frame_is_cut_down_and_says_so() {
        assert_eq!(parse(&frame(5_000, "x"))["results_left_out"], true);
        let long = parse(&frame(900, &"y".repeat(10_000)));
        assert_eq!(long["results_left_out"], true);
        assert_eq!(long["results"].as_array().map(Vec::len), Some(0));
    }
}
