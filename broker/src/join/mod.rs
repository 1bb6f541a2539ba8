//! Frames put together of what several topics have of them: the way back from branches to one stream.
//!
//! ```text
//! Feed of the first topic (group) ──▶ engine ──▶ merge: a row per place ──▶ message ──▶ writer thread (transactions)
//! feed per lane: the same partition     ▲ ▲        (pure)                   (pure)         with all topics' offsets
//!   of the other topics ────────────────┘ └── reports ───────────────────────────────────────┘
//! ```
//! The group shares the partitions of the first topic; who has one reads the same partition of the others, from where the
//! note beside the first one's offset says. Offsets of all topics are committed with the output.

mod branches;
mod engine;
pub(crate) mod key;
mod lane;
mod merge;
mod message;
pub(crate) mod passed;
mod writing;

pub use engine::JoinEngine;

use crate::args::{Args, Guarantee};
use crate::note::Note;
use pipeline::service::ConfigError;

/// The topics, if they can be joined with these settings.
pub fn check_topics(topics: &[String], args: &Args) -> Result<Vec<String>, ConfigError> {
    let wrong = |text: String| Err(ConfigError(text));
    let is_twice = |(n, topic): (usize, &String)| topics[..n].contains(topic);
    if topics.len() < 2 {
        return wrong(format!(
            "--join {} joins nothing: name at least two topics",
            topics.join(" ")
        ));
    }
    if let Some((_, twice)) = topics.iter().enumerate().find(|one| is_twice(*one)) {
        return wrong(format!("--join {twice} is given twice"));
    }
    for topic in topics {
        if !pipeline::envelope::is_source_id(topic) {
            return wrong(format!(
                "--join {topic:?} cannot be a topic: a join takes names, no patterns"
            ));
        }
        if *topic == args.output {
            return wrong(format!(
                "--join {topic} is what this broker writes: every frame would go round for ever"
            ));
        }
    }
    if !Note::fits(topics) {
        return wrong(format!(
            "--join: {} topics with names this long do not fit into what Kafka keeps beside an offset: join some of them \
             first, or shorten the names",
            topics.len()
        ));
    }
    if args.delivery == Guarantee::AtLeastOnce {
        return wrong(
            "--delivery at-least-once does not go with --join: the offsets of all topics are committed with the output"
                .to_owned(),
        );
    }
    Ok(topics.to_vec())
}
