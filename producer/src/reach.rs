//! Notices that Kafka's client has lost all nodes, and tells it where they are. It says nothing of that, and never asks again
//! (librdkafka 2.12, its issue 5430; a Kafka that stalls for some seconds is enough): records would wait until they are given up.

use crate::epoch::Watch;
use pipeline::kafka::{KafkaConfig, LOOK_EVERY, Silence, Verdict, Writer, answers_a_new_client};
use std::sync::Arc;
use std::time::Instant;

/// Resolves when the writer's client has no connection any more although a new one gets one, and telling it the addresses did
/// not help; never otherwise.
pub async fn lost(writer: Arc<Writer>, kafka: KafkaConfig, topic: String, watch: &Watch) {
    let mut silence = Silence::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (asked, anew, topic) = (Arc::clone(&writer), kafka.clone(), topic.clone());
        let look = move || {
            if asked.is_connected(&topic) {
                silence.end();
                return (silence, Verdict::Wait);
            }
            // Asking the new one takes its time, in which this one may have come back.
            let only_anew = || answers_a_new_client(&anew) && !asked.is_connected(&topic);
            let verdict = silence.goes_on(Instant::now(), only_anew);
            (silence, verdict)
        };
        // Asking blocks.
        let Ok((looked, verdict)) = tokio::task::spawn_blocking(look).await else {
            return std::future::pending().await; // the runtime ends
        };
        silence = looked;
        match verdict {
            Verdict::Wait => {}
            Verdict::Tell => {
                // The client of the watch may be lost too, and hear of a newer start after this one has sent what it holds.
                watch.confirm_newest().await;
                writer.tell_addresses(&kafka);
                silence.was_told(Instant::now());
            }
            Verdict::Lost => return,
        }
    }
}
