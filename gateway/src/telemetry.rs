//! What can be scraped.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Says what each metric means.
pub fn describe() {
    describe_gauge!(
        "framelane_gateway_viewers",
        Unit::Count,
        "Viewers now, by way: mjpeg, websocket, events"
    );
    describe_gauge!(
        "framelane_gateway_partitions_read",
        Unit::Count,
        "Partitions that are read now, because somebody watches"
    );
    describe_counter!(
        "framelane_gateway_records_read_total",
        Unit::Count,
        "Records read from Kafka for live views"
    );
    describe_counter!(
        "framelane_gateway_frames_sent_total",
        Unit::Count,
        "Records given to viewers, by way"
    );
    describe_counter!(
        "framelane_gateway_bytes_sent_total",
        Unit::Bytes,
        "Bytes given to viewers, by way"
    );
    describe_counter!(
        "framelane_gateway_frames_skipped_total",
        Unit::Count,
        "Records that viewers missed because they were too slow, by way"
    );
    describe_counter!(
        "framelane_gateway_viewers_refused_total",
        Unit::Count,
        "Viewers for whom there was no seat"
    );
    describe_counter!(
        "framelane_gateway_viewers_stalled_total",
        Unit::Count,
        "Connections closed because nothing was taken"
    );
    describe_counter!(
        "framelane_gateway_tokens_refused_total",
        Unit::Count,
        "Tokens that opened nothing"
    );
    describe_histogram!(
        "framelane_gateway_frame_age_seconds",
        Unit::Seconds,
        "From a frame's capture to its arrival at the gateway"
    );
}
