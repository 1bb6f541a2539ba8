//! What Kafka says of a consumer group and its members (DescribeGroups). The Rust client offers this too, but takes an
//! answer for an error as soon as one node is silent, which need not be the one that knows the group.
#![allow(unsafe_code)]

use rdkafka::bindings::{
    rd_kafka_group_info, rd_kafka_group_list, rd_kafka_group_list_destroy,
    rd_kafka_group_member_info, rd_kafka_list_groups, rd_kafka_resp_err_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GroupState {
    /// False while its members join: what is said of them is then of no generation.
    pub is_stable: bool,
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub id: String,
    /// What it said when it joined, and what it was given: see `consumer_protocol`.
    pub metadata: Vec<u8>,
    pub assignment: Vec<u8>,
}

/// None if there is no such group. Takes the whole time if a node is silent.
pub(super) fn group_state<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    group: &str,
    at_most: Duration,
) -> KafkaResult<Option<GroupState>> {
    let name = CString::new(group)?;
    let timeout = c_int::try_from(at_most.as_millis()).unwrap_or(c_int::MAX);
    let mut list: *const rd_kafka_group_list = ptr::null();
    // SAFETY: client and name live through the call. The list, if there is one, is ours until we destroy it.
    let code = unsafe {
        let client = consumer.client().native_ptr();
        rd_kafka_list_groups(client, name.as_ptr(), &raw mut list, timeout)
    };
    if list.is_null() {
        return Err(KafkaError::GroupListFetch(code.into()));
    }
    // SAFETY: librdkafka gave us the list, whose pointers and counts are valid until it is destroyed, once, behind this.
    let state = unsafe {
        let groups = slice((*list).groups, (*list).group_cnt);
        let state = groups.first().map(|group| copy(group));
        rd_kafka_group_list_destroy(list);
        state
    };
    match (state, code) {
        (Some(state), _) => Ok(Some(state)),
        (None, rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR) => Ok(None),
        (None, code) => Err(KafkaError::GroupListFetch(code.into())),
    }
}

/// # Safety
/// The group and all that it points to are as librdkafka made them.
unsafe fn copy(group: &rd_kafka_group_info) -> GroupState {
    // SAFETY: as the caller promises.
    unsafe {
        GroupState {
            is_stable: text(group.state) == "Stable",
            members: slice(group.members, group.member_cnt)
                .iter()
                .map(|member| copy_member(member))
                .collect(),
        }
    }
}

/// # Safety
/// As [`copy`].
unsafe fn copy_member(member: &rd_kafka_group_member_info) -> Member {
    let bytes = |start: *mut c_void, length| {
        // SAFETY: as the caller promises.
        unsafe { slice(start.cast::<u8>(), length) }.to_vec()
    };
    Member {
        // SAFETY: as the caller promises.
        id: unsafe { text(member.member_id) },
        metadata: bytes(member.member_metadata, member.member_metadata_size),
        assignment: bytes(member.member_assignment, member.member_assignment_size),
    }
}

/// # Safety
/// `start` is null or points to `length` values that outlive `'a`.
unsafe fn slice<'a, T>(start: *const T, length: c_int) -> &'a [T] {
    match usize::try_from(length) {
        // SAFETY: as the caller promises.
        Ok(length) if !start.is_null() => unsafe { std::slice::from_raw_parts(start, length) },
        _ => &[],
    }
}

/// # Safety
/// `start` is null or points to a string that ends with a zero.
unsafe fn text(start: *const c_char) -> String {
    match start.is_null() {
        true => String::new(),
        // SAFETY: as the caller promises.
        false => unsafe { CStr::from_ptr(start) }
            .to_string_lossy()
            .into_owned(),
    }
}
