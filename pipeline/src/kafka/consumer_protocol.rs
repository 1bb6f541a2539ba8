//! What members of a group tell each other through Kafka, as DescribeGroups shows it: the consumer protocol, of which only
//! the partitions are read here. `None` is something else: a consumer of another kind.

use super::TopicPartition;

/// What a member was given (ConsumerProtocolAssignment: version, then topics with their partitions).
pub(super) fn assigned(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = bytes;
    let _version = take::<2>(&mut rest)?;
    partitions(&mut rest)
}

/// What a member said it had when it joined (ConsumerProtocolSubscription: version, topics, user data and, from version 1
/// on, topics with their partitions).
pub(super) fn claimed(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    let mut rest = bytes;
    let version = i16::from_be_bytes(take(&mut rest)?);
    for _ in 0..i32::from_be_bytes(take(&mut rest)?) {
        text(&mut rest)?;
    }
    let user_data = i32::from_be_bytes(take(&mut rest)?);
    rest = rest.get(usize::try_from(user_data).unwrap_or(0)..)?; // -1: none
    match version {
        0 => Some(Vec::new()),
        _ => partitions(&mut rest),
    }
}

fn partitions(rest: &mut &[u8]) -> Option<Vec<TopicPartition>> {
    let mut found = Vec::new();
    for _ in 0..i32::from_be_bytes(take(rest)?) {
        let topic = text(rest)?;
        for _ in 0..i32::from_be_bytes(take(rest)?) {
            let partition = i32::from_be_bytes(take(rest)?);
            found.push(TopicPartition::new(topic, partition));
        }
    }
    Some(found)
}

fn text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let length = usize::try_from(i16::from_be_bytes(take(rest)?)).ok()?;
    let (text, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    std::str::from_utf8(text).ok()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_a(partitions: &[i32]) -> Vec<TopicPartition> {
        let lane = |partition: &i32| TopicPartition::new("a", *partition);
        partitions.iter().map(lane).collect()
    }

    #[test]
    fn an_assignment_is_read_as_kafka_writes_it() {
        let mut bytes = vec![0, 1, 0, 0, 0, 2];
        bytes.extend([0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]);
        bytes.extend([0, 2, b'b', b'c', 0, 0, 0, 0]);
        bytes.extend([0xff; 4]); // no user data
        assert_eq!(assigned(&bytes), Some(of_a(&[3, 4])));
        assert_eq!(assigned(&bytes[..12]), None);
        assert_eq!(assigned(&[]), None);
    }

    #[test]
    fn a_claim_is_read_behind_topics_and_user_data() {
        let topics = [0, 0, 0, 1, 0, 1, b'a'];
        let owned = [0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 1, 0, 0, 0, 7];
        let generation = [0, 0, 0, 9];
        for user_data in [&[0xff; 4][..], &[0, 0, 0, 3, 1, 2, 3]] {
            let bytes = [&[0, 2], &topics[..], user_data, &owned, &generation].concat();
            assert_eq!(claimed(&bytes), Some(of_a(&[7])));
            let cut = bytes.len() - generation.len() - 1;
            assert_eq!(claimed(&bytes[..cut]), None);
        }
        let first_version = [&[0, 0], &topics[..], &[0xff; 4]].concat();
        assert_eq!(claimed(&first_version), Some(Vec::new()));
    }
}
