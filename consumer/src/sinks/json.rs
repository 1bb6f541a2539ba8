//! A record as a JSON line: everything that it says.

use crate::delivery::{Content, Delivery};
use pipeline::json::{self, Extent, Line};

/// The line of a record on its way to the sinks.
pub fn line(delivery: &Delivery) -> Line<'_> {
    let content = match &delivery.content {
        Content::Message(message) => json::Content::Message(message),
        Content::Undecodable(error) => json::Content::Undecodable {
            source: None,
            error,
        },
        Content::Absent { source, why } => json::Content::Absent { source, error: why },
    };
    Line::new(&delivery.tp, delivery.offset, content, Extent::Full)
}
