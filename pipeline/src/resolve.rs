//! Pictures that lie in other records: content by reference made whole again, when somebody needs the pixels.
//!
//! Each referenced partition is read in step: references of an ordered stream grow, so this is a merge of two sequential
//! reads, not a lookup per frame.

mod readers;

use crate::kafka::{KafkaConfig, KafkaFault, Lookup, LookupError, TopicPartition};
use crate::v1::{Frame, FrameId, Missing, Reference, frame::Content, missing::Reason};
use crate::wire;
use processor_proto::envelope::Kind;
use readers::Readers;
use tokio::sync::oneshot;

pub use readers::MOST_WORKERS;

/// Fetches referenced pictures. Cheap while nothing refers to anything.
#[derive(Debug)]
pub struct Resolver {
    readers: Readers,
}

#[derive(Debug)]
struct Request {
    /// Whose picture it is.
    frame: Option<FrameId>,
    reference: Reference,
    answer: oneshot::Sender<Result<Content, KafkaFault>>,
}

/// A picture that is on its way: await it or [`Resolving::wait`] for it.
#[derive(Debug)]
pub struct Resolving(oneshot::Receiver<Result<Content, KafkaFault>>);

impl Resolving {
    /// The content: inline, or missing if retention has removed it or its topic is no more. An error means that Kafka
    /// could not be asked.
    pub async fn content(self) -> Result<Content, KafkaFault> {
        self.0.await.unwrap_or_else(|_| Err(ended()))
    }

    /// As [`Resolving::content`], on a thread without a runtime.
    pub fn wait(self) -> Result<Content, KafkaFault> {
        self.0.blocking_recv().unwrap_or_else(|_| Err(ended()))
    }
}

fn ended() -> KafkaFault {
    KafkaFault::Failed("the reader of referenced pictures has ended".to_owned())
}

impl Resolver {
    /// Reads from the same Kafka as everything else.
    pub fn new(config: KafkaConfig) -> Self {
        Self {
            readers: Readers::new(config),
        }
    }

    /// Starts to fetch the picture, or returns None if the frame refers to nothing. Call it in the order of the frames.
    pub fn resolve(&self, frame: &Frame) -> Option<Resolving> {
        let Some(Content::Reference(reference)) = &frame.content else {
            return None;
        };
        let lane = TopicPartition::new(reference.topic.as_str(), reference.partition);
        let (answer, resolving) = oneshot::channel();
        let request = Request {
            frame: frame.id.clone(),
            reference: reference.clone(),
            answer,
        };
        if is_topic_name(&reference.topic) {
            self.readers.ask(lane, request);
        } else {
            let content = absent(&request);
            let _ = request.answer.send(Ok(content)); // we hold the other end
        }
        Some(Resolving(resolving))
    }
}

/// Kafka's rule. Names that break it are not worth a question, or a place in memory: they may have megabytes.
fn is_topic_name(name: &str) -> bool {
    let is_legal = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    (1..=249).contains(&name.len()) && !matches!(name, "." | "..") && name.bytes().all(is_legal)
}

/// What a reference into a partition that does not exist (any more) stands for.
fn absent(request: &Request) -> Content {
    missing(request, Reason::Expired)
}

fn missing(request: &Request, reason: Reason) -> Content {
    Content::Missing(Missing {
        reason: reason.into(),
        last_known: Some(request.reference.clone()),
    })
}

/// What lies where a reference points to.
enum Found {
    Content(Content),
    /// A record that the reference cannot mean: its writer was mistaken, or the reader still has the records of a topic that
    /// was made anew.
    NotIt,
}

fn fetch(lookup: &mut Lookup, request: &Request) -> Result<Found, KafkaFault> {
    match lookup.read(request.reference.offset) {
        Ok(record) => Ok(match wire::from_record(&record) {
            Ok(Kind::Frame(Frame {
                id,
                content: Some(content @ (Content::Inline(_) | Content::Missing(_))),
                ..
            })) if id == request.frame => Found::Content(content),
            _ => Found::NotIt,
        }),
        Err(LookupError::Expired { .. }) => Ok(Found::Content(missing(request, Reason::Expired))),
        Err(LookupError::Kafka(fault)) => Err(fault),
    }
}
