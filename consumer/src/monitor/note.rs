//! What is known of a partition's sources as a text: Kafka keeps it with the group's offset, so that both are always of the
//! same moment.

use super::hold::{Rule, Streak, Watch, Watches};
use pipeline::kafka::{MAX_NOTE_BYTES, TopicPartition};
use serde::{Deserialize, Serialize};

/// Grows with every change of what is written, or of what follows from it.
const FORMAT: u32 = 1;

/// Too many sources for one partition.
#[derive(Debug, thiserror::Error)]
#[error(
    "what is known of {sources} sources of {tp} takes {bytes} bytes, Kafka keeps {MAX_NOTE_BYTES} with an offset: spread \
     the sources over more partitions, or shorten --cooldown"
)]
pub struct TooMany {
    tp: TopicPartition,
    sources: usize,
    bytes: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    #[serde(rename = "framelane-monitor")]
    format: u32,
    /// Of the condition and `--for`: with others, what is known is of no use.
    rule: String,
    /// Only sources of which something is known.
    sources: Vec<Entry>,
}

/// Source, epoch, since, newest, last alert. Times are nanoseconds since the Unix epoch.
#[derive(Serialize, Deserialize)]
struct Entry(
    String,
    Option<u64>,
    Option<i64>,
    Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<i64>,
);

/// Tells one condition from another, in every version and on every machine (FNV-1a, 64 bits).
pub fn name_of(condition: &str, rule: Rule) -> String {
    let text = format!("{} {condition}", rule.hold.as_nanos());
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{hash:016x}")
}

/// The text of what is known.
pub fn write(tp: &TopicPartition, rule: &str, watches: &Watches) -> Result<String, TooMany> {
    let sources = watches.sources.iter().map(|(source, watch)| {
        let streak = watch.streak;
        Entry(
            source.clone(),
            streak.map(|streak| streak.epoch),
            streak.map(|streak| streak.since_ns),
            streak.map(|streak| streak.last_ns),
            watch.alerted_ns,
        )
    });
    let note = Note {
        format: FORMAT,
        rule: rule.to_owned(),
        sources: sources.collect(),
    };
    let text = serde_json::to_string(&note).expect("numbers and names");
    match text.len() {
        bytes if bytes > MAX_NOTE_BYTES => Err(TooMany {
            tp: tp.clone(),
            sources: watches.sources.len(),
            bytes,
        }),
        _ => Ok(text),
    }
}

/// What a text says; None if it is none of this condition's.
pub fn read(text: &str, rule: &str) -> Option<Watches> {
    let note: Note = serde_json::from_str(text).ok()?;
    if note.format != FORMAT || note.rule != rule {
        return None;
    }
    let sources = note.sources.into_iter().map(|entry| {
        let Entry(source, epoch, since_ns, last_ns, alerted_ns) = entry;
        let streak = match (epoch, since_ns, last_ns) {
            (Some(epoch), Some(since_ns), Some(last_ns)) => Some(Streak {
                epoch,
                since_ns,
                last_ns,
            }),
            _ => None,
        };
        (source, Watch { streak, alerted_ns })
    });
    Some(Watches {
        sources: sources.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watches(sources: usize) -> Watches {
        let streak = Streak {
            epoch: 3,
            since_ns: 1_763_745_600_000_000_001,
            last_ns: 1_763_745_602_000_000_000,
        };
        let watch = |number: usize| Watch {
            streak: number.is_multiple_of(2).then_some(streak),
            alerted_ns: (!number.is_multiple_of(3)).then_some(1_763_745_601_000_000_000),
        };
        Watches {
            sources: (0..sources)
                .map(|n| (format!("cam{n}"), watch(n)))
                .collect(),
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_by_its_own_condition_only() {
        let tp = TopicPartition::new("t", 0);
        let rule = name_of("true", Rule::default());
        let text = write(&tp, &rule, &watches(6)).unwrap();
        assert_eq!(read(&text, &rule), Some(watches(6)));
        assert_eq!(read(&text, &name_of("false", Rule::default())), None);
        for foreign in [
            "",
            "{}",
            "somebody's",
            r#"{"framelane-monitor":0,"rule":"","sources":[]}"#,
        ] {
            assert_eq!(read(foreign, ""), None, "{foreign}");
        }
    }

    #[test]
    fn what_kafka_would_refuse_is_an_error_that_names_the_partition() {
        let tp = TopicPartition::new("cams", 7);
        assert!(write(&tp, "r", &watches(40)).is_ok());
        let error = write(&tp, "r", &watches(200)).unwrap_err().to_string();
        assert!(error.contains("200 sources of cams[7]"), "{error}");
    }
}
