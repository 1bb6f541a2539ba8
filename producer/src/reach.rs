//! Notices that Kafka's client has lost all nodes, and tells it where they are. It says nothing of that, and never asks again
//! (librdkafka 2.12, its issue 5430; a Kafka that stalls for some seconds is enough): records would wait until they are given up.

use pipeline::kafka::{KafkaConfig, LOOK_EVERY, Silence, Verdict, Writer};
use std::sync::Arc;
use std::time::Instant;

/// Resolves when the writer's client has no connection any more although a new one gets one, and telling it the addresses did
/// not help; never otherwise.
pub async fn lost(writer: Arc<Writer>, kafka: KafkaConfig, topic: String) {
    let mut silence = Silence::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (writer, kafka, topic) = (Arc::clone(&writer), kafka.clone(), topic.clone());
        let look = move || {
            let another = || Writer::new(&kafka).is_ok_and(|other| other.is_connected(&topic));
            if writer.is_connected(&topic) {
                silence.end();
                return (silence, Verdict::Wait);
            }
            let verdict = silence.goes_on(Instant::now(), another);
            if verdict == Verdict::Tell {
                writer.tell_addresses(&kafka);
            }
            (silence, verdict)
        };
        // Asking blocks.
        let Ok((looked, verdict)) = tokio::task::spawn_blocking(look).await else {
            return std::future::pending().await; // the runtime ends
        };
        if verdict == Verdict::Lost {
            return;
        }
        silence = looked;
    }
}
