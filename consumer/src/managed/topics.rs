//! Which topics exist: a subscription to one that does not would be found only at the client's next look, seconds later.

use pipeline::kafka::{Admin, KafkaFault};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::task::JoinHandle;

/// What is known of topics. A topic that was found once is not asked for again.
#[derive(Debug)]
pub struct Topics {
    admin: Arc<Admin>,
    known: HashMap<String, bool>,
    asking: Option<JoinHandle<Vec<Answer>>>,
}

/// A topic, and whether it exists.
type Answer = (String, Result<bool, KafkaFault>);

impl Topics {
    /// Nothing is known yet.
    pub fn new(admin: Admin) -> Self {
        Self {
            admin: Arc::new(admin),
            known: HashMap::new(),
            asking: None,
        }
    }

    /// Whether it exists; None while nobody knows.
    pub fn has(&self, topic: &str) -> Option<bool> {
        self.known.get(topic).copied()
    }

    /// Takes in the last answer, if it has come, and asks for those of these that were not there. Kafka offers no way to be
    /// told of new ones.
    pub async fn look(&mut self, wanted: &HashSet<String>) {
        if let Some(answer) = self.asking.take_if(|asking| asking.is_finished()) {
            for (topic, found) in answer.await.unwrap_or_default() {
                match found {
                    Ok(found) => drop(self.known.insert(topic, found)),
                    Err(fault) => {
                        tracing::warn!(topic, %fault, "it is not known whether it exists")
                    }
                }
            }
        }
        let missing = wanted.iter().filter(|topic| self.has(topic) != Some(true));
        let missing: Vec<String> = missing.cloned().collect();
        if missing.is_empty() || self.asking.is_some() {
            return;
        }
        let admin = Arc::clone(&self.admin);
        self.asking = Some(tokio::task::spawn_blocking(move || {
            let ask = |topic: String| {
                let found = admin.topic(&topic).map(|found| found.is_some());
                (topic, found)
            };
            missing.into_iter().map(ask).collect()
        }));
    }
}
