//! Invariant 4: order, within each source and against the input.

use super::Check;
use super::view::{Key, Keyed, View};
use std::collections::{BTreeMap, HashMap};

/// How far a source has come.
#[derive(Debug, Default)]
struct Source {
    partition: i32,
    epoch: u64,
    next: u64,
    has_ended: bool,
}

pub fn sequences_grow_without_a_gap(view: &View<'_>) -> Check {
    let mut check = Check::new(4, "each source's sequence grows by one, epoch by epoch");
    for (stage, output) in view.outputs.iter().enumerate() {
        within_sources(&mut check, stage, output);
        against_input(&mut check, stage, view.input_of(stage), output);
    }
    check
}

fn within_sources(check: &mut Check, stage: usize, output: &Keyed<'_>) {
    let mut sources: HashMap<&str, Source> = HashMap::new();
    for (record, key) in output.iter() {
        let (source, epoch, sequence, is_end) = match key {
            Key::Frame(source, epoch, sequence) => (source, *epoch, *sequence, false),
            Key::End(source, epoch, sequence) => (source, *epoch, *sequence, true),
            _ => continue,
        };
        let known = sources.entry(source).or_insert_with(|| Source {
            partition: record.partition,
            ..Source::default()
        });
        check.that(known.partition == record.partition, || {
            format!(
                "{key} behind stage {stage}: in partition {} after {}",
                record.partition, known.partition
            )
        });
        if epoch > known.epoch {
            (known.epoch, known.next, known.has_ended) = (epoch, 0, false);
        }
        let expected = if is_end {
            known.next.wrapping_sub(1)
        } else {
            known.next
        };
        let fits = epoch == known.epoch && sequence == expected && !known.has_ended;
        check.that(fits, || {
            let end = if known.has_ended {
                ", which has ended"
            } else {
                ""
            };
            format!(
                "{key} at {}: expected {source}/{}/{expected}{end}",
                record.place(),
                known.epoch
            )
        });
        // From here on what follows is compared with what is there, not with what should have been.
        if epoch == known.epoch {
            known.next = known.next.max(sequence + 1);
            known.has_ended |= is_end;
        }
    }
}

/// Behind a stage each partition holds what is before it, in the same order.
fn against_input(check: &mut Check, stage: usize, input: &Keyed<'_>, output: &Keyed<'_>) {
    let by_partition = |topic: &Keyed<'_>| {
        let mut lanes: BTreeMap<i32, Vec<Key>> = BTreeMap::new();
        for (record, key) in topic.iter() {
            lanes.entry(record.partition).or_default().push(key.clone());
        }
        lanes
    };
    let (before, behind) = (by_partition(input), by_partition(output));
    for (partition, before) in &before {
        let behind = behind.get(partition).map_or(&[][..], Vec::as_slice);
        let differs = before.iter().zip(behind).position(|(a, b)| a != b);
        check.that(
            differs.is_none() && before.len() == behind.len(),
            || match differs {
                Some(at) => format!(
                    "stage {stage}, partition {partition}: {} where {} belongs (record {at})",
                    behind[at], before[at]
                ),
                None => format!(
                    "stage {stage}, partition {partition}: {} records before it, {} behind it",
                    before.len(),
                    behind.len()
                ),
            },
        );
    }
}
