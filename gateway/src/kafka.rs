//! Questions to Kafka, off the async runtime, by a client that is replaced when it does not answer.

use pipeline::kafka::{Admin, KafkaConfig, KafkaFault};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// Questions at once. Each holds a thread, for up to half a minute if Kafka is away.
const MOST_QUESTIONS: usize = 8;
/// After this time whoever asked is told that there is no answer. The question itself goes on.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug)]
pub struct Kafka {
    config: KafkaConfig,
    admin: Arc<Mutex<Option<Arc<Admin>>>>,
    questions: Arc<Semaphore>,
}

impl Kafka {
    /// # Errors
    /// As [`Admin::connect`]: a gateway that cannot reach Kafka at its start has wrong settings, most likely.
    pub async fn connect(config: KafkaConfig) -> Result<Self, KafkaFault> {
        let kafka = Self {
            config: config.clone(),
            admin: Arc::default(),
            questions: Arc::new(Semaphore::new(MOST_QUESTIONS)),
        };
        let connecting = tokio::task::spawn_blocking(move || Admin::connect(&config));
        let admin = connecting.await.unwrap_or_else(|_| Err(panicked()))?;
        *lock(&kafka.admin) = Some(Arc::new(admin));
        Ok(kafka)
    }

    pub fn config(&self) -> &KafkaConfig {
        &self.config
    }

    /// Asks on a thread of its own.
    ///
    /// # Errors
    /// The question's own, or that there was no answer in time.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Admin) -> Result<T, KafkaFault> + Send + 'static,
    ) -> Result<T, KafkaFault> {
        let silent = || {
            let servers = self.config.bootstrap_servers();
            KafkaFault::Failed(format!(
                "Kafka at {servers} has not answered for {PATIENCE:?}"
            ))
        };
        let asked = async {
            let permit = Arc::clone(&self.questions).acquire_owned().await;
            let (slot, config) = (Arc::clone(&self.admin), self.config.clone());
            let asking = tokio::task::spawn_blocking(move || {
                let _permit = permit; // held as long as the thread
                let present = lock(&slot).clone();
                let admin = match present {
                    Some(admin) => admin,
                    None => {
                        let fresh = Arc::new(Admin::connect(&config)?);
                        *lock(&slot) = Some(Arc::clone(&fresh));
                        fresh
                    }
                };
                let answer = question(&admin);
                if answer.as_ref().is_err_and(may_be_the_client) {
                    // A client can lose all nodes and never find them again; a new one does.
                    *lock(&slot) = None;
                }
                answer
            });
            asking.await.unwrap_or_else(|_| Err(panicked()))
        };
        tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_| Err(silent()))
    }
}

fn may_be_the_client(fault: &KafkaFault) -> bool {
    matches!(
        fault,
        KafkaFault::Request { .. } | KafkaFault::Unreachable { .. } | KafkaFault::Read { .. }
    )
}

fn panicked() -> KafkaFault {
    KafkaFault::Failed("a question to Kafka panicked".to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
