//! Epochs that never repeat: claims of a source in a compacted topic.
//!
//! A start of a source (1) opens the source's transactional id, which makes Kafka refuse every older claim that is
//! still on its way, (2) reads the claims that are there, (3) writes its own, with the next epoch, in a transaction.
//! So whoever starts when, epochs are unique and grow. The newest claim wins: a running producer watches the topic and
//! stops when a newer one appears. Between the two, for some tens of milliseconds, records of the older epoch may
//! follow the first ones of the newer, and for as long as the older one hears nothing: up to some 40 s if its watching client has
//! lost Kafka while its writing one has not. Each (epoch, sequence) still is one frame only.

mod watch;

pub use watch::Watch;

use pipeline::kafka::{
    Admin, Feed, FeedEvent, KafkaConfig, KafkaFault, LaneBounds, Outgoing, Position, StartPolicy,
    TopicPartition, TopicSpec, TransactionFault, TransactionalWriter,
};
use pipeline::wire::now_unix_ns;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// The topic of the claims: one partition, compacted, keyed `topic/source_id`.
pub const CLAIMS_TOPIC: &str = "framelane.sources";

/// Claims are small; this only bounds what waits between two looks.
const CLAIM_BOUNDS: LaneBounds = LaneBounds {
    lane_records: 1_000,
    lane_bytes: 4 << 20,
    total_bytes: 4 << 20,
};

/// A start of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The source's id.
    pub source: String,
    /// The topic it writes to.
    pub topic: String,
    /// From 1.
    pub epoch: u64,
    /// Where it runs.
    pub host: String,
    /// The process there.
    pub pid: u32,
    /// When, nanoseconds since the Unix epoch. With host and pid it tells two starts apart.
    pub started_unix_ns: i64,
    /// True if it goes on in an epoch that an earlier start began.
    pub resumed: bool,
    /// True if frames are written in transactions that a newer claim fences.
    #[serde(default)]
    pub transactional: bool,
    /// Where all frames go, unless they are spread: the source stays there, also if the topic gets more partitions.
    #[serde(default)]
    pub partition: Option<i32>,
    /// What is read, as far as resuming depends on it. Empty for live sources.
    #[serde(default)]
    pub input: String,
    /// The managed producer that began it. None if it was started by hand.
    #[serde(default)]
    pub by: Option<Member>,
}

/// A managed producer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// All managed producers of its host.
    pub crew: String,
    /// Its own among all processes ever.
    pub instance: String,
}

#[cfg(test)]
impl Claim {
    /// A start of source cam0 in topic yard.
    pub(crate) fn sample() -> Self {
        Self {
            source: "cam0".to_owned(),
            topic: "yard".to_owned(),
            epoch: 7,
            host: "edge".to_owned(),
            pid: 42,
            started_unix_ns: 1,
            resumed: false,
            transactional: true,
            partition: None,
            input: "file clip.avi".to_owned(),
            by: None,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pid {} (epoch {})", self.host, self.pid, self.epoch)
    }
}

/// A newer start took the source over.
#[derive(Debug, Clone, thiserror::Error)]
#[error(
    "taken over by {newer}: this one stops. If both are meant to run, give each its own --source-id"
)]
pub struct TakenOver {
    /// The claim that wins.
    pub newer: Claim,
}

/// Why a source could not be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A newer start was faster.
    #[error(transparent)]
    TakenOver(#[from] TakenOver),
    /// Kafka.
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
    /// The claim was not written.
    #[error("claiming an epoch failed: {fault}. Was the source started twice at the same moment?")]
    NotWritten {
        /// Why.
        fault: TransactionFault,
    },
    /// A task of ours panicked.
    #[error("a task panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// A source whose older starts are fenced; its claims have been read and none is written yet.
pub struct Opened {
    kafka: KafkaConfig,
    key: String,
    writer: TransactionalWriter,
    feed: Feed,
    /// The newest claim so far.
    pub previous: Option<Claim>,
}

/// Fences older starts of the source and reads the claims. `replication` is for the claims topic, if it has to be made.
pub async fn open(
    kafka: &KafkaConfig,
    topic: &str,
    source_id: &str,
    replication: Option<i32>,
) -> Result<Opened, ClaimError> {
    let key = format!("{topic}/{source_id}");
    let (kafka, id) = (kafka.clone(), format!("framelane.source/{key}"));
    let opening = tokio::task::spawn_blocking(move || {
        let admin = Admin::connect(&kafka)?;
        admin.ensure_topic(&TopicSpec {
            replication,
            compacted: true,
            ..TopicSpec::frames(CLAIMS_TOPIC, 1)
        })?;
        let writer = TransactionalWriter::open(&kafka, &id)?;
        let feed = settled_claims(&admin, &kafka)?;
        Ok::<_, KafkaFault>((kafka, writer, feed))
    });
    let (kafka, writer, mut feed) = opening.await??;
    let previous = newest_claim(&mut feed, &key).await?;
    Ok(Opened {
        kafka,
        key,
        writer,
        feed,
        previous,
    })
}

/// The claims of all sources, from the first one on. What was written before now is decided before its end is read: claims of
/// a source that come later are newer. Blocks.
fn settled_claims(admin: &Admin, kafka: &KafkaConfig) -> Result<Feed, KafkaFault> {
    let lane = TopicPartition::new(CLAIMS_TOPIC, 0);
    admin.settled_end(&lane)?;
    let from_start = StartPolicy::new(Position::Earliest);
    Feed::assign(kafka, &[lane], from_start, CLAIM_BOUNDS)
}

/// Reads to the end.
async fn newest_claim(feed: &mut Feed, key: &str) -> Result<Option<Claim>, KafkaFault> {
    let control = feed.control();
    let mut newest: Option<Claim> = None;
    loop {
        match feed.next().await {
            Some(FeedEvent::Record { lane, record }) => {
                control.release(lane, 1, record.memory_bytes());
                newest = claim_in(record.key.as_deref(), &record.payload, key).or(newest);
            }
            Some(FeedEvent::Expired { lane, .. }) => control.release(lane, 1, 0),
            Some(FeedEvent::ReachedEnd { .. }) => return Ok(newest),
            None => {
                return Err(KafkaFault::Failed(format!(
                    "reading {CLAIMS_TOPIC} ended early"
                )));
            }
            Some(FeedEvent::Failed(fault)) => return Err(fault),
            Some(FeedEvent::Assigned(_) | FeedEvent::Revoked { .. }) => {}
        }
    }
}

/// The claim of this key in a record. Records of other keys, and such that are not ours at all, are none.
fn claim_in(record_key: Option<&[u8]>, payload: &[u8], key: &str) -> Option<Claim> {
    if record_key? != key.as_bytes() {
        return None;
    }
    let claim = serde_json::from_slice(payload);
    claim
        .inspect_err(|cause| tracing::warn!(key, %cause, "a record in {CLAIMS_TOPIC} is no claim"))
        .ok()
}

/// What a start wants to claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A new epoch.
    Next,
    /// This one again, to go on in it.
    Resume(u64),
}

/// What a claim says of its start; see [`Claim`].
#[derive(Debug, Clone)]
pub struct Start {
    /// Which epoch.
    pub wanted: Wanted,
    /// What is read.
    pub input: String,
    /// Where all frames go.
    pub partition: Option<i32>,
    /// Whether frames are written in transactions.
    pub transactional: bool,
    /// The managed producer that begins it.
    pub by: Option<Member>,
}

impl Opened {
    /// Writes the claim and begins to watch for newer ones.
    pub async fn claim(
        self,
        topic: &str,
        source_id: &str,
        start: Start,
    ) -> Result<(Claim, TransactionalWriter, Watch), ClaimError> {
        let claim = Claim {
            source: source_id.to_owned(),
            topic: topic.to_owned(),
            epoch: match start.wanted {
                Wanted::Next => self.previous.map_or(0, |previous| previous.epoch) + 1,
                Wanted::Resume(epoch) => epoch,
            },
            host: host_name(),
            pid: std::process::id(),
            started_unix_ns: now_unix_ns(),
            resumed: matches!(start.wanted, Wanted::Resume(_)),
            transactional: start.transactional,
            partition: start.partition,
            input: start.input,
            by: start.by,
        };
        let record = record_of(&self.key, &claim);
        let mut writer = self.writer;
        let (writer, written) = tokio::task::spawn_blocking(move || {
            let written = writer.commit(&[record], None);
            (writer, written)
        })
        .await?;
        let watch = Watch::start(self.kafka, self.feed, self.key, claim.clone());
        if let Err(fault) = written {
            // The usual reason is a newer start: say so if its claim is there in a moment.
            let newer = tokio::time::timeout(FENCE_LOOK, watch.taken_over()).await;
            watch.close().await;
            return Err(match (newer, fault) {
                (Ok(newer), _) => newer.into(),
                (Err(_), TransactionFault::Aborted(why) | TransactionFault::Unknown(why))
                    if why.is_denied() =>
                {
                    why.into()
                }
                (Err(_), fault) => ClaimError::NotWritten { fault },
            });
        }
        Ok((claim, writer, watch))
    }
}

impl Opened {
    /// Claims nothing after all.
    pub async fn close(self) {
        let Self { writer, feed, .. } = self;
        feed.close().await;
        // It waits for a thread of its own.
        let _ = tokio::task::spawn_blocking(move || drop(writer)).await;
    }
}

/// How long a start that was refused looks for the claim of the one that came after it.
pub const FENCE_LOOK: Duration = Duration::from_secs(3);

fn record_of(key: &str, claim: &Claim) -> Outgoing {
    let json = serde_json::to_vec(claim).expect("a claim has only text and numbers");
    Outgoing {
        topic: CLAIMS_TOPIC.into(),
        partition: Some(0),
        key: key.to_owned().into(),
        timestamp_ms: claim.started_unix_ns / 1_000_000,
        headers: Vec::new(),
        payload: json.into(),
    }
}

/// The machine's name.
pub fn host_name() -> String {
    nix::unistd::gethostname().map_or_else(
        |_| "unknown".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_found_by_its_key() {
        let record = record_of("yard/cam0", &Claim::sample());
        let find = |key| claim_in(Some(&record.key), &record.payload, key);
        assert_eq!(find("yard/cam0"), Some(Claim::sample()));
        assert_eq!(find("yard/cam"), None);
        assert_eq!(claim_in(None, &record.payload, "yard/cam0"), None);
    }

    #[test]
    fn foreign_records_and_older_fields_do_no_harm() {
        let key = Some(&b"yard/cam0"[..]);
        assert_eq!(claim_in(key, b"not json", "yard/cam0"), None);
        let minimal = br#"{"source":"cam0","topic":"yard","epoch":7,"host":"edge","pid":42,"started_unix_ns":1,"resumed":false}"#;
        let read = claim_in(key, minimal, "yard/cam0").unwrap();
        assert_eq!((read.epoch, read.transactional, read.by), (7, false, None));
    }

    #[test]
    fn a_take_over_names_the_one_that_took_over() {
        let error = TakenOver {
            newer: Claim::sample(),
        }
        .to_string();
        assert!(error.contains("edge pid 42 (epoch 7)"), "{error}");
        assert!(error.contains("--source-id"), "{error}");
    }
}
