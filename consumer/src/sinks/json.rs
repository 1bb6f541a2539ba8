//! A record as a JSON line: everything that it says.

use crate::delivery::{Content, Delivery};
use pipeline::json::{self, Extent, Line};
use pipeline::kafka::TopicPartition;

/// The line of a record on its way to the sinks.
pub fn line(delivery: &Delivery) -> Line<'_> {
    of(&delivery.tp, delivery.offset, &delivery.content)
}

/// The line of a record that lies there and holds this.
pub fn of<'a>(lane: &'a TopicPartition, offset: i64, content: &'a Content) -> Line<'a> {
    let content = match content {
        Content::Message(message) => json::Content::Message(message),
        Content::Undecodable(error) => json::Content::Undecodable {
            source: None,
            error,
        },
        Content::Absent { source, why } => json::Content::Absent { source, error: why },
    };
    Line::new(lane, offset, content, Extent::Full)
}
