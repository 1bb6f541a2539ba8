//! What the other members of a group had when it last shared its partitions out.

use super::TopicPartition;
use super::consumer_protocol::claimed;
use super::group_state::group_state;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use std::collections::BTreeSet;
use std::time::Duration;

/// Enough for a node far away; a node that is silent must not keep the feed's thread from its rebalances.
const ASK: Duration = Duration::from_secs(4);

/// Everything that members other than `id` claimed when they joined the present generation; None while they join the next.
pub(super) fn claimed_by_others<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    id: &str,
) -> KafkaResult<Option<BTreeSet<TopicPartition>>> {
    let state = group_state(consumer, group, ASK)?;
    let stable = state.filter(|state| state.is_stable);
    Ok(stable.map(|stable| {
        let others = stable.members.iter().filter(|member| member.id != id);
        others
            .filter_map(|other| claimed(&other.metadata))
            .flatten()
            .collect()
    }))
}
