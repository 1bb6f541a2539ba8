//! Against a real server: who shares a call, and what becomes of those who leave.

use super::*;
use crate::calls::replica::Replica;
use futures::future::join_all;
use processor_proto::v1::{self, Codec, PixelFormat, frame::Content};
use processor_proto::{Counts, ProcessError, Processed, Processor, ServeConfig, Server};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// Never answers to sequence 99, refuses 98.
struct Moods;

impl Processor for Moods {
    fn name(&self) -> &str {
        "moods"
    }

    async fn process(&self, frame: Frame) -> Result<Processed, ProcessError> {
        match frame.id.map(|id| id.sequence) {
            Some(99) => std::future::pending().await,
            Some(98) => Err(ProcessError::InvalidFrame("upside down".into())),
            _ => Ok(Processed::nothing()),
        }
    }
}

struct Lab {
    balancer: Arc<Balancer>,
    batcher: Arc<Batcher>,
    counts: Arc<Counts>,
    _stop: DropGuard,
}

/// A replica that wants batches of three, and waits for them longer than a test takes.
fn lab() -> Lab {
    let server = Server::bind(ServeConfig::default()).unwrap();
    let (address, counts) = (server.local_addr(), server.counts());
    let shutdown = CancellationToken::new();
    tokio::spawn(server.run(Moods, shutdown.clone()));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let balancer = Arc::new(Balancer::default());
    let id = balancer.add(Replica::new(endpoint.connect_lazy(), address, Some(4)));
    balancer.change(id, |replica| {
        replica.is_up = true;
        replica.batch = BatchLimits {
            frames: 3,
            wait: 10 * LONG,
        };
    });
    Lab {
        batcher: Arc::new(Batcher::new(Arc::clone(&balancer), LONG)),
        balancer,
        counts,
        _stop: shutdown.drop_guard(),
    }
}

fn frame(source: &str, sequence: u64, bytes: u32) -> Frame {
    Frame {
        id: Some(FrameId::new(source, 1, sequence)),
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Gray8.into(),
        width: bytes,
        height: 1,
        content: Some(Content::Inline(vec![7; bytes as usize].into())),
        ..v1::Frame::default()
    }
}

impl Lab {
    /// The frame's part, in a task of its own, as each frame has one.
    fn begin(&self, lane: LaneId, frame: Frame) -> tokio::task::JoinHandle<Part> {
        let batcher = Arc::clone(&self.batcher);
        tokio::spawn(async move { batcher.call(lane, &frame, &Progress::default()).await })
    }

    async fn until(&self, condition: impl Fn(&Self) -> bool) {
        let wait = async {
            while !condition(self) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, wait)
            .await
            .expect("no end in sight");
    }

    fn waiting(&self) -> usize {
        let open = lock(&self.batcher.open);
        let alive = |member: &&Member| member.strong_count() > 0;
        open.as_ref().map_or(0, |open| {
            lock(&open.batch.state).members.iter().filter(alive).count()
        })
    }

    fn in_flight(&self) -> usize {
        self.balancer.summary().2
    }
}

fn word(part: &Part) -> String {
    match part {
        Part::Done { response, .. } => response.id.clone().unwrap_or_default().to_string(),
        Part::Failed(failure) => format!("{failure:?}"),
        Part::NotBatched => "alone".to_owned(),
    }
}

async fn words(tasks: impl IntoIterator<Item = tokio::task::JoinHandle<Part>>) -> Vec<String> {
    let parts = tokio::time::timeout(LONG, join_all(tasks)).await.unwrap();
    parts
        .iter()
        .map(|part| word(part.as_ref().unwrap()))
        .collect()
}

#[tokio::test]
async fn frames_of_several_lanes_share_a_call_and_each_gets_its_own_answer() {
    let lab = lab();
    let frames = [
        (1, frame("a", 0, 2)),
        (2, frame("b", 98, 2)),
        (3, frame("c", 5, 2)),
    ];
    let parts = words(frames.map(|(lane, frame)| lab.begin(lane, frame))).await;
    assert_eq!(parts, ["a/1/0", "Refused(\"upside down\")", "c/1/5"]);
    assert_eq!((lab.counts.ok(), lab.counts.not_ok()), (1, 0));
}

#[tokio::test]
async fn a_frame_does_not_wait_for_company_longer_than_for_an_answer() {
    let mut lab = lab();
    let deadline = Duration::from_millis(50);
    lab.batcher = Arc::new(Batcher::new(Arc::clone(&lab.balancer), deadline));
    // The replica wants to wait for minutes. Whether the call then makes it in time is not the question here.
    let parts = words([lab.begin(1, frame("a", 0, 2))]).await;
    assert!(["a/1/0", "TimedOut"].contains(&&*parts[0]), "{parts:?}");
}

#[tokio::test]
async fn a_frame_that_leaves_before_the_call_is_not_in_it_and_the_others_are_answered() {
    let lab = lab();
    let leaves = lab.begin(1, frame("a", 99, 2)); // would never be answered
    lab.until(|lab| lab.waiting() == 1).await;
    let stays = lab.begin(2, frame("b", 0, 2));
    lab.until(|lab| lab.waiting() == 2).await;
    leaves.abort();
    lab.until(|lab| lab.waiting() == 1).await;
    // Its place counts: one more makes the batch full.
    let stay = [stays, lab.begin(2, frame("b", 1, 2))];
    assert_eq!(words(stay).await, ["b/1/0", "b/1/1"]);
}

#[tokio::test]
async fn the_rest_drives_the_call_when_its_first_frame_leaves_and_the_last_one_ends_it() {
    let lab = lab();
    let [first, second, third] = [0, 1, 99].map(|sequence| lab.begin(1, frame("a", sequence, 2)));
    lab.until(|lab| lab.counts.in_flight() == 1).await;
    first.abort();
    second.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert_eq!(lab.in_flight(), 1, "one frame still wants its answer");
    third.abort();
    lab.until(|lab| lab.in_flight() == 0).await;
    lab.until(|lab| lab.counts.in_flight() == 0).await;
}

#[tokio::test]
async fn frames_that_are_too_much_for_a_message_go_in_calls_of_their_own() {
    let lab = lab();
    let large = MAX_RECORD_BYTES as u32 * 2 / 3;
    let first = lab.begin(1, frame("a", 0, large));
    lab.until(|lab| lab.waiting() == 1).await;
    let second = [
        lab.begin(2, frame("b", 0, large)),
        lab.begin(2, frame("b", 1, 2)),
        lab.begin(2, frame("b", 2, 2)),
    ];
    assert_eq!(words([first]).await, ["a/1/0"]);
    assert_eq!(words(second).await, ["b/1/0", "b/1/1", "b/1/2"]);
    assert_eq!(lab.counts.ok(), 2);
}

#[tokio::test]
async fn replicas_that_want_none_get_none() {
    let lab = lab();
    lab.balancer
        .change(0, |replica| replica.batch = BatchLimits::SINGLE);
    assert_eq!(words([lab.begin(1, frame("a", 0, 2))]).await, ["alone"]);
}

#[test]
fn what_a_replica_asks_for_is_bounded() {
    assert_eq!(BatchLimits::described(0, 0), BatchLimits::SINGLE);
    assert_eq!(
        BatchLimits::described(u32::MAX, 5).frames,
        BatchLimits::MOST_FRAMES
    );
}
