//! A running start looks out for newer ones.

use super::{Claim, TakenOver, claim_in, newest_claim, settled_claims};
use pipeline::kafka::{Admin, Feed, FeedEvent, KafkaConfig, KafkaFault};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Looks out for newer claims of a source.
#[derive(Debug)]
pub struct Watch {
    newer: watch::Receiver<Option<Claim>>,
    /// Asks for all claims to be read again by a new client; answered when they are.
    again: mpsc::Sender<oneshot::Sender<()>>,
    /// Ends the watch when it is dropped.
    closing: DropGuard,
    task: JoinHandle<()>,
}

impl Watch {
    pub(super) fn start(kafka: KafkaConfig, feed: Feed, key: String, own: Claim) -> Self {
        let (newer_to, newer) = watch::channel(None);
        let (again, asked) = mpsc::channel(1);
        let closing = CancellationToken::new();
        let watcher = Watcher {
            kafka,
            key,
            own,
            newer_to,
        };
        let task = tokio::spawn(watcher.run(feed, asked, closing.clone()));
        Self {
            newer,
            again,
            closing: closing.drop_guard(),
            task,
        }
    }

    /// Resolves when a newer claim appears; never otherwise.
    pub fn taken_over(&self) -> impl Future<Output = TakenOver> + Send + use<> {
        let mut newer = self.newer.clone();
        async move {
            loop {
                if let Some(claim) = newer.borrow_and_update().clone() {
                    return TakenOver { newer: claim };
                }
                if newer.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Resolves when all claims there are now have been read by a new client, which watches from then on, and none of them is
    /// newer; never if one is.
    pub async fn confirm_newest(&self) {
        let (done_to, done) = oneshot::channel();
        let has_read = self.again.send(done_to).await.is_ok() && done.await.is_ok();
        if !has_read || self.newer.borrow().is_some() {
            std::future::pending().await
        }
    }

    /// Ends the watch.
    pub async fn close(self) {
        drop(self.closing);
        if let Err(cause) = self.task.await {
            tracing::error!(%cause, "the watch for newer claims panicked");
        }
    }
}

/// Between two tries to read the claims.
const READ_AGAIN: Duration = Duration::from_secs(2);

struct Watcher {
    kafka: KafkaConfig,
    key: String,
    own: Claim,
    newer_to: watch::Sender<Option<Claim>>,
}

impl Watcher {
    /// Watches until told to end. A feed can fail (its client may lose Kafka for good), and hear nothing before it does: then,
    /// or when it is asked to, another reads the claims again, for whoever started meanwhile must not be overlooked.
    async fn run(
        self,
        mut feed: Feed,
        mut asked: mpsc::Receiver<oneshot::Sender<()>>,
        closing: CancellationToken,
    ) {
        loop {
            let asked_by = tokio::select! {
                () = closing.cancelled() => break,
                fault = self.watch(&mut feed) => match fault {
                    Some(fault) => {
                        tracing::warn!(%fault, key = self.key, "reading the claims of this source again");
                        None
                    }
                    None => break,
                },
                Some(done) = asked.recv() => Some(done),
            };
            let meanwhile = async {
                self.watch(&mut feed).await; // what it still brings counts
                std::future::pending().await
            };
            let next = tokio::select! {
                () = closing.cancelled() => break,
                next = self.read_again_at_last() => next,
                next = meanwhile => next,
            };
            // Aside, as a client that is lost takes its time to close.
            tokio::spawn(std::mem::replace(&mut feed, next).close());
            if let Some(done) = asked_by {
                let _ = done.send(()); // nobody may wait any more
            }
        }
        feed.close().await;
    }

    /// As [`Watcher::read_again`], as soon as Kafka lets it.
    async fn read_again_at_last(&self) -> Feed {
        loop {
            match self.read_again().await {
                Ok(feed) => return feed,
                Err(fault) => {
                    tracing::debug!(%fault, key = self.key, "the claims of this source cannot be read yet");
                }
            }
            tokio::time::sleep(READ_AGAIN).await;
        }
    }

    /// A feed that has brought all claims there are.
    async fn read_again(&self) -> Result<Feed, KafkaFault> {
        let kafka = self.kafka.clone();
        let opening =
            tokio::task::spawn_blocking(move || settled_claims(&Admin::connect(&kafka)?, &kafka))
                .await;
        let mut feed = opening.map_err(|cause| KafkaFault::Failed(cause.to_string()))??;
        // Claims that are older than the own one come before it.
        match newest_claim(&mut feed, &self.key).await {
            Ok(newest) => {
                self.heed(newest);
                Ok(feed)
            }
            Err(fault) => {
                feed.close().await;
                Err(fault)
            }
        }
    }

    /// None if the feed has ended.
    async fn watch(&self, feed: &mut Feed) -> Option<KafkaFault> {
        let control = feed.control();
        loop {
            match feed.next().await? {
                FeedEvent::Record { lane, record } => {
                    control.release(lane, 1, record.memory_bytes());
                    self.heed(claim_in(record.key.as_deref(), &record.payload, &self.key));
                }
                FeedEvent::Expired { lane, .. } => control.release(lane, 1, 0),
                FeedEvent::Revoked { done, .. } => drop(done),
                FeedEvent::Failed(fault) => return Some(fault),
                FeedEvent::Assigned(_) | FeedEvent::ReachedEnd { .. } => {}
            }
        }
    }

    fn heed(&self, claim: Option<Claim>) {
        if let Some(claim) = claim.filter(|claim| *claim != self.own) {
            self.newer_to.send_replace(Some(claim));
        }
    }
}
