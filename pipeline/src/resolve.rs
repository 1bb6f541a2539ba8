//! Pictures that lie in other records: content by reference made whole again, when somebody needs the pixels.
//!
//! One thread per referenced partition reads in step: references of an ordered stream grow, so this is a merge of two
//! sequential reads, not a lookup per frame.

use crate::kafka::{KafkaConfig, KafkaFault, Lookup, LookupError, TopicPartition};
use crate::v1::{Frame, Missing, Reference, frame::Content, missing::Reason};
use crate::wire;
use processor_proto::envelope::Kind;
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::sync::oneshot;

/// Fetches referenced pictures. Cheap while nothing refers to anything.
#[derive(Debug)]
pub struct Resolver {
    config: KafkaConfig,
    /// Requests are bounded by the frames in their callers' windows.
    readers: Mutex<HashMap<TopicPartition, Sender<Request>>>,
}

#[derive(Debug)]
struct Request {
    reference: Reference,
    answer: oneshot::Sender<Result<Content, KafkaFault>>,
}

/// A picture that is on its way: await it or [`Resolving::wait`] for it.
#[derive(Debug)]
pub struct Resolving(oneshot::Receiver<Result<Content, KafkaFault>>);

impl Resolving {
    /// The content: inline, or missing if retention has removed it. An error means that Kafka could not be asked.
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
            config,
            readers: Mutex::default(),
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
            reference: reference.clone(),
            answer,
        };
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = readers
            .entry(lane.clone())
            .or_insert_with(|| spawn_reader(self.config.clone(), lane));
        // A reader ends only with its sender; if its thread panicked, the answer channel says so.
        let _ = reader.send(request);
        Some(Resolving(resolving))
    }
}

fn spawn_reader(config: KafkaConfig, lane: TopicPartition) -> Sender<Request> {
    let (sender, requests) = channel();
    std::thread::Builder::new()
        .name(format!("resolve {lane}"))
        .spawn(move || read(&config, &lane, &requests))
        .expect("the process may start a thread");
    sender
}

fn read(config: &KafkaConfig, lane: &TopicPartition, requests: &Receiver<Request>) {
    let mut open = None;
    for request in requests {
        if request.answer.is_closed() {
            continue; // the frame's lane has gone
        }
        let outcome = match &mut open {
            Some(lookup) => fetch(lookup, &request.reference),
            None => Lookup::open(config, lane.clone())
                .and_then(|lookup| fetch(open.insert(lookup), &request.reference)),
        };
        let _ = request.answer.send(outcome);
    }
}

fn fetch(lookup: &mut Lookup, reference: &Reference) -> Result<Content, KafkaFault> {
    let missing = |reason: Reason| {
        Content::Missing(Missing {
            reason: reason.into(),
            last_known: Some(reference.clone()),
        })
    };
    match lookup.read(reference.offset) {
        Ok(record) => Ok(match wire::from_record(&record) {
            Ok(Kind::Frame(Frame {
                content: Some(content @ (Content::Inline(_) | Content::Missing(_))),
                ..
            })) => content,
            // Not what a reference may point to: whoever wrote it was mistaken, and asking again changes nothing.
            _ => missing(Reason::Unspecified),
        }),
        Err(LookupError::Expired { .. }) => Ok(missing(Reason::Expired)),
        Err(LookupError::Kafka(fault)) => Err(fault),
    }
}
