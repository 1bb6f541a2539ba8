//! Notices that Kafka's client has lost all nodes for good. It says nothing of that, and never asks again (librdkafka 2.12,
//! its issue 5430; a Kafka that stalls for some seconds is enough): records would wait until they are given up.

use pipeline::kafka::{KafkaConfig, KafkaFault, RECONNECT_GRACE, Writer};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two looks.
const RHYTHM: Duration = Duration::from_secs(5);
/// Without a connection for so long, a new client is tried: if it gets one, it is not Kafka that is away.
const PATIENCE: Duration = Duration::from_secs(15);

/// Resolves when the writer's client has no connection any more although a new one gets one; never otherwise.
pub async fn lost(writer: Arc<Writer>, kafka: KafkaConfig, topic: String) {
    let mut away_since = None;
    let mut another_connects_since = None::<Instant>;
    loop {
        tokio::time::sleep(RHYTHM).await;
        let (writer, own_topic) = (Arc::clone(&writer), topic.clone());
        if is_so(move || Ok(writer.is_connected(&own_topic))).await {
            away_since = None;
            another_connects_since = None;
            continue;
        }
        let since = *away_since.get_or_insert_with(Instant::now);
        let is_back_for = another_connects_since.map(|since| since.elapsed());
        if since.elapsed() < PATIENCE || is_back_for.is_some_and(|time| time < RECONNECT_GRACE) {
            continue;
        }
        let (kafka, own_topic) = (kafka.clone(), topic.clone());
        let another = is_so(move || Ok(Writer::new(&kafka)?.is_connected(&own_topic))).await;
        match (another, is_back_for) {
            (true, Some(_)) => return,
            (true, None) => another_connects_since = Some(Instant::now()),
            (false, _) => another_connects_since = None,
        }
    }
}

/// Looks on a thread that may block.
async fn is_so(look: impl FnOnce() -> Result<bool, KafkaFault> + Send + 'static) -> bool {
    matches!(tokio::task::spawn_blocking(look).await, Ok(Ok(true)))
}
