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
    "what is known of {sources} sources of {tp} takes {bytes} bytes, Kafka keeps {MAX_NOTE_BYTES} with an offset: start the \
     same command with a shorter --cooldown (sources that are quiet after an alert count), or with another --for or --when \
     (it then begins here with nothing known); and give the topic more partitions, so that each has fewer sources"
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

/// The text of what is known under the rule, which has this name here.
pub fn write(
    tp: &TopicPartition,
    name: &str,
    rule: Rule,
    watches: &Watches,
) -> Result<String, TooMany> {
    let all = text(name, watches.sources.iter());
    if all.len() <= MAX_NOTE_BYTES {
        return Ok(all);
    }
    let active = text(name, watches.active(rule));
    match active.len() {
        bytes if bytes > MAX_NOTE_BYTES => Err(TooMany {
            tp: tp.clone(),
            sources: watches.active(rule).count(),
            bytes,
        }),
        _ => Ok(active),
    }
}

fn text<'a>(name: &str, watches: impl Iterator<Item = (&'a String, &'a Watch)>) -> String {
    let sources = watches.map(|(source, watch)| {
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
        rule: name.to_owned(),
        sources: sources.collect(),
    };
    serde_json::to_string(&note).expect("numbers and names")
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
    use std::time::Duration;

    const QUIET: Rule = Rule {
        hold: Duration::ZERO,
        cooldown: Duration::from_secs(3600),
    };

    /// Every other one has a streak, two of three have had an alert.
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
        let text = write(&tp, &rule, QUIET, &watches(6)).unwrap();
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
        assert!(write(&tp, "r", QUIET, &watches(40)).is_ok());
        let error = write(&tp, "r", QUIET, &watches(200)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("167 sources of cams[7]"), "{error}");
    }

    /// Started again as the error says, it must not end at the same record again.
    #[test]
    fn a_shorter_cooldown_makes_room() {
        let tp = TopicPartition::new("cams", 7);
        let mut many = watches(200);
        for (source, watch) in &mut many.sources {
            watch.alerted_ns = Some(1_763_745_601_000_000_000);
            watch.streak = watch.streak.filter(|_| source.len() == "cam0".len());
        }
        assert!(write(&tp, "r", QUIET, &many).is_err());
        let rule = Rule::default();
        let kept = read(&write(&tp, "r", rule, &many).unwrap(), "r").unwrap();
        let names: Vec<&str> = kept.sources.keys().map(String::as_str).collect();
        assert_eq!(names, ["cam0", "cam2", "cam4", "cam6", "cam8"]);
    }
}
