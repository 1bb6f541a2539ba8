//! Invariant 6: what is committed is what was processed, no more and no less.

use super::Check;
use super::view::View;
use std::collections::BTreeMap;

pub fn committed_is_behind_the_last_processed(view: &View<'_>) -> Check {
    let mut check = Check::new(6, "the committed offset is the last processed one plus one");
    let mut last: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    let topics = std::iter::once(&view.input).chain(&view.outputs);
    for record in topics.flat_map(|topic| topic.records) {
        let known = last.entry((&record.topic, record.partition)).or_default();
        *known = (*known).max(record.offset);
    }
    for committed in &view.history.committed {
        let Some(last) = last.get(&(committed.topic.as_str(), committed.partition)) else {
            continue; // an empty partition: there is nothing to commit
        };
        let expected = last + 1;
        check.that(committed.offset == Some(expected), || {
            format!(
                "group {} has committed {:?} of {}[{}], expected {expected}",
                committed.group, committed.offset, committed.topic, committed.partition
            )
        });
    }
    check
}
