//! Which topics exist: a subscription to one that does not would be found only at the client's next look, seconds later.

use pipeline::kafka::{Admin, KafkaConfig};
use std::collections::{HashMap, HashSet};
use tokio::task::JoinHandle;

/// What is known of topics. A topic that was found once is not asked for again.
#[derive(Debug)]
pub struct Topics {
    kafka: KafkaConfig,
    /// None: not connected, or it is asking.
    admin: Option<Admin>,
    known: HashMap<String, bool>,
    asking: Option<JoinHandle<Answers>>,
}

/// What came of a question.
#[derive(Debug, Default)]
struct Answers {
    /// Whoever answered everything is asked again. A client can lose all nodes and never find them again; a new one does.
    admin: Option<Admin>,
    /// Topics, and whether they exist.
    topics: Vec<(String, bool)>,
}

impl Topics {
    /// Nothing is known yet.
    pub fn new(kafka: KafkaConfig) -> Self {
        Self {
            kafka,
            admin: None,
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
        if let Some(asked) = self.asking.take_if(|asking| asking.is_finished()) {
            let answers = asked.await.unwrap_or_default();
            self.admin = answers.admin;
            self.known.extend(answers.topics);
        }
        let missing = wanted.iter().filter(|topic| self.has(topic) != Some(true));
        let missing: Vec<String> = missing.cloned().collect();
        if missing.is_empty() || self.asking.is_some() {
            return;
        }
        let (kafka, admin) = (self.kafka.clone(), self.admin.take());
        self.asking = Some(tokio::task::spawn_blocking(move || {
            let admin = admin.map_or_else(|| Admin::connect(&kafka), Ok);
            admin.map_or_else(
                |fault| {
                    tracing::warn!(%fault, "it is not known which of the assigned topics exist; asking again");
                    Answers::default()
                },
                |admin| ask(admin, missing),
            )
        }));
    }
}

fn ask(admin: Admin, missing: Vec<String>) -> Answers {
    let mut topics = Vec::new();
    let mut has_answered = true;
    for topic in missing {
        match admin.topic(&topic) {
            Ok(found) => topics.push((topic, found.is_some())),
            Err(fault) => {
                has_answered = false;
                tracing::warn!(topic, %fault, "it is not known whether it exists; asking again");
                if !fault.is_denied() {
                    break; // it may be the client, which would be as silent about the others
                }
            }
        }
    }
    Answers {
        admin: has_answered.then_some(admin),
        topics,
    }
}
