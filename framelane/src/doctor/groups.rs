//! Consumer groups: who works, who is behind.

use super::finding::Findings;
use super::seconds;
use super::transactions::Ends;
use pipeline::kafka::{GroupState, Inspector, KafkaFault, TopicPartition};
use registry::{Name, View, group_of_consumer};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Fewer records than this are no backlog: a transaction's marker alone is one.
const BACKLOG: i64 = 100;

/// A group and how far it is behind, in records, for each partition that it has progress in.
#[derive(Debug)]
pub struct Group {
    state: GroupState,
    behind: BTreeMap<TopicPartition, i64>,
    /// The command that works for it, if it is declared.
    command: Option<String>,
}

pub type Groups = BTreeMap<String, Group>;

/// Groups without progress anywhere are left out: nothing is to be lost there. A declared consumer only has to read what is
/// assigned to it.
pub fn look(
    inspector: &Inspector,
    ends: &Ends,
    registry: &str,
    view: &View,
) -> Result<Groups, KafkaFault> {
    let lanes: Vec<TopicPartition> = ends.keys().cloned().collect();
    let assigned: BTreeMap<String, BTreeSet<&str>> = view
        .assignments()
        .map(|one| {
            let sources = one.spec.sources.iter();
            let topics = sources.filter_map(|name| view.topic_of(name));
            (
                group_of_consumer(registry, &one.name),
                topics.map(Name::as_str).collect(),
            )
        })
        .collect();
    let mut groups = Groups::new();
    for state in inspector.groups()? {
        let committed = inspector.committed(&state.name, &lanes)?;
        let wanted = assigned.get(&state.name);
        let committed = committed
            .into_iter()
            .filter(|(lane, _)| wanted.is_none_or(|topics| topics.contains(&*lane.topic)));
        let behind = committed.filter_map(|(lane, offset)| {
            let (end, _) = ends.get(&lane)?;
            Some((lane, (end - offset).max(0)))
        });
        let behind: BTreeMap<_, _> = behind.collect();
        if !behind.is_empty() || !state.members.is_empty() {
            let command = command_of(&state.name, registry, view);
            let group = Group {
                state,
                behind,
                command,
            };
            groups.insert(group.state.name.clone(), group);
        }
    }
    Ok(groups)
}

fn command_of(group: &str, registry: &str, view: &View) -> Option<String> {
    let mut assignments = view.assignments().map(|one| &one.name);
    if let Some(name) = assignments.find(|name| group_of_consumer(registry, name) == group) {
        return Some(format!("consumer --managed --name {name}"));
    }
    let stage = group.strip_prefix(registry)?.strip_prefix('/')?;
    let (pipeline, _) = stage.split_once('/')?;
    view.pipeline(pipeline)
        .map(|_| "broker --managed".to_owned())
}

pub fn compare(first: &Groups, second: &Groups, between: Duration, findings: &mut Findings) {
    for (name, now) in second {
        let Some(before) = first.get(name) else {
            continue;
        };
        let about = format!("group {name}");
        let total = |group: &Group| group.behind.values().sum::<i64>();
        let (behind, behind_before) = (total(now), total(before));
        let is_moving = |group: &Group| group.state.state.ends_with("Rebalance");
        let mut wrong =
            |what: String, mend: String| findings.wrong_with("groups", &*about, what, mend);
        if is_moving(now) && is_moving(before) {
            wrong(
                format!(
                    "it has been rebalancing for at least {}: nobody works meanwhile",
                    seconds(between)
                ),
                "one of its members joins again and again, or does not answer: look at their logs"
                    .to_owned(),
            );
        } else if now.state.members.is_empty() && behind > BACKLOG {
            wrong(
                format!(
                    "it has no member, and {behind} records wait ({})",
                    worst(&now.behind)
                ),
                match &now.command {
                    // Whoever deletes the group of what is declared has all of it done again.
                    Some(command) => format!("start it: {command}"),
                    None => format!(
                        "start its broker or consumer; if it is not needed any more: kafka-consumer-groups.sh \
                         --bootstrap-server HOST:PORT --delete --group {name}"
                    ),
                },
            );
        } else if behind > BACKLOG && behind > behind_before {
            wrong(
                format!(
                    "it falls behind: {behind} records wait, {} more than {} ago ({})",
                    behind - behind_before,
                    seconds(between),
                    worst(&now.behind)
                ),
                "more processors (--processor), more brokers with the same group, or fewer frames (--fps at the source)".to_owned(),
            );
        }
        if matches!(now.state.state.as_str(), "" | "Unknown") {
            findings.note(
                "groups",
                &*about,
                "Kafka does not say in which state it is".to_owned(),
                "kafka-consumer-groups.sh --bootstrap-server HOST:PORT --describe --state --group NAME".to_owned(),
            );
        }
    }
}

/// The partition with the most.
fn worst(behind: &BTreeMap<TopicPartition, i64>) -> String {
    let worst = behind.iter().max_by_key(|(_, records)| **records);
    worst.map_or_else(String::new, |(lane, records)| {
        format!("most in {lane}: {records}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::kafka::Member;

    fn group(state: &str, members: usize, behind: i64) -> Groups {
        let member = Member {
            id: "m".into(),
            client: "c".into(),
            host: "h".into(),
        };
        let state = GroupState {
            name: "g".into(),
            state: state.into(),
            members: vec![member; members],
        };
        let behind = BTreeMap::from([(TopicPartition::new("t", 0), behind)]);
        Groups::from([(
            "g".to_owned(),
            Group {
                state,
                behind,
                command: None,
            },
        )])
    }

    fn found(first: &Groups, second: &Groups) -> usize {
        let mut findings = Findings::default();
        compare(first, second, Duration::from_secs(3), &mut findings);
        findings.wrong()
    }

    #[test]
    fn groups_that_stand_still_or_fall_behind_are_wrong() {
        assert_eq!(found(&group("Stable", 1, 500), &group("Stable", 1, 400)), 0);
        assert_eq!(found(&group("Stable", 1, 400), &group("Stable", 1, 500)), 1);
        assert_eq!(found(&group("Stable", 1, 3), &group("Stable", 1, 9)), 0);
        assert_eq!(found(&group("Empty", 0, 500), &group("Empty", 0, 500)), 1);
        assert_eq!(found(&group("Empty", 0, 3), &group("Empty", 0, 3)), 0);
        assert_eq!(
            found(
                &group("PreparingRebalance", 2, 0),
                &group("CompletingRebalance", 2, 0)
            ),
            1
        );
        assert_eq!(
            found(&group("PreparingRebalance", 2, 0), &group("Stable", 2, 0)),
            0
        );
    }

    #[test]
    fn nobody_is_told_to_delete_the_progress_of_what_is_declared() {
        let mut groups = group("Empty", 0, 500);
        for group in groups.values_mut() {
            group.command = Some("broker --managed".to_owned());
        }
        let mut findings = Findings::default();
        compare(&groups, &groups, Duration::from_secs(3), &mut findings);
        assert_eq!(findings.list()[0].mend, "start it: broker --managed");
    }
}
