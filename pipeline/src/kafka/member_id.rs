//! The id that the group has given this member. The Rust client does not offer it, librdkafka does.
#![allow(unsafe_code)]

use rdkafka::bindings;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use std::ffi::{CStr, c_void};

/// None while the consumer is no member of its group.
pub(super) fn member_id<C: ConsumerContext>(consumer: &BaseConsumer<C>) -> Option<String> {
    // SAFETY: the client is alive for as long as the consumer is borrowed. The string is ours until we free it with the
    // function that librdkafka's documentation names.
    let id = unsafe {
        let id = bindings::rd_kafka_memberid(consumer.client().native_ptr());
        if id.is_null() {
            return None;
        }
        let copy = CStr::from_ptr(id).to_string_lossy().into_owned();
        bindings::rd_kafka_mem_free(consumer.client().native_ptr(), id.cast::<c_void>());
        copy
    };
    (!id.is_empty()).then_some(id)
}
