//! The client's side of transactions, as librdkafka 2.12 does it (`rdkafka_txnmgr.c`, `rdkafka_request.c`): requests are
//! repeated until they are answered, a connection that breaks leaves its requests on their way, a call that takes too long
//! returns while its request goes on, and the first serious error decides what calls may come.

use crate::coverage::Event;
use crate::group::Stamp;
use crate::kafka::{Ending, Epoch, Output, PARTITIONS, Packet, Partitions, Request, Response};
use crate::outside::Outside;
use pipeline::ordering::{Answer, Call};
use std::collections::VecDeque;

/// What is to be written.
#[derive(Debug, Clone)]
pub struct Content {
    pub outputs: Vec<Output>,
    pub offsets: Vec<(usize, i64)>,
    pub stamp: Stamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    InTransaction,
    /// Only an abort is possible.
    Abortable,
    Committing,
    Aborting,
    Fatal,
}

#[derive(Debug)]
struct Asking {
    call: Call,
    /// The first is being asked for.
    plan: VecDeque<Request>,
    awaited: Option<u32>,
    answer: Option<Answer>,
}

#[derive(Debug)]
pub struct Producer {
    name: usize,
    epoch: Epoch,
    state: State,
    /// A connection has broken since it was made.
    pub is_disturbed: bool,
    /// Partitions of this transaction that the coordinator knows.
    registered: Partitions,
    /// The coordinator may know of this transaction.
    has_asked: bool,
    sequence: [i32; PARTITIONS],
    /// Records may be missing from the sequence: it begins anew, with a new epoch.
    needs_bump: bool,
    asking: Option<Asking>,
}

impl Producer {
    /// Begins to open; the answer is that of a call to replace.
    pub fn open(name: usize) -> Self {
        let init = Request::InitProducerId { from: None };
        Self {
            name,
            epoch: -1,
            state: State::Ready,
            is_disturbed: false,
            registered: 0,
            has_asked: false,
            sequence: [0; PARTITIONS],
            needs_bump: false,
            asking: Some(Asking {
                call: Call::Replace,
                plan: VecDeque::from([init]),
                awaited: None,
                answer: None,
            }),
        }
    }

    pub fn begin_call(&mut self, call: Call, content: &Content) {
        if let Some(asking) = &self.asking
            && asking.call == call
        {
            return; // resumed
        }
        let mut asking = Asking {
            call,
            plan: VecDeque::new(),
            awaited: None,
            answer: None,
        };
        match self.requests(call, content) {
            Ok(plan) => asking.plan = plan,
            Err(answer) => asking.answer = Some(answer),
        }
        self.asking = Some(asking);
        self.finish_if_done();
    }

    /// What the call asks Kafka for, or its answer if the client gives one by itself.
    fn requests(&mut self, call: Call, content: &Content) -> Result<VecDeque<Request>, Answer> {
        let plan = match (call, self.state) {
            (_, State::Fatal) => return Err(Answer::Failed),
            (Call::Begin, State::Ready) => {
                self.state = State::InTransaction;
                VecDeque::new()
            }
            (Call::SendRecords, State::InTransaction) => self.records(&content.outputs),
            (Call::SendOffsets, State::InTransaction) => VecDeque::from([
                Request::AddOffsets,
                Request::TxnOffsetCommit {
                    stamp: content.stamp,
                    offsets: content.offsets.clone(),
                },
            ]),
            (Call::Commit, State::InTransaction) => {
                self.state = State::Committing;
                let end = self.has_asked.then_some(Request::EndTxn(Ending::Commit));
                end.into_iter().collect()
            }
            (Call::SendOffsets | Call::Commit, State::Abortable) => return Err(Answer::MustAbort),
            (Call::Abort, State::InTransaction | State::Abortable) => {
                self.state = State::Aborting;
                let end = self.has_asked.then_some(Request::EndTxn(Ending::Abort));
                let from = Some(self.epoch);
                let bump = self.needs_bump.then_some(Request::InitProducerId { from });
                end.into_iter().chain(bump).collect()
            }
            // "Operation not valid in state": a call that does not fit what went before.
            _ => return Err(Answer::Failed),
        };
        Ok(plan)
    }

    fn records(&self, outputs: &[Output]) -> VecDeque<Request> {
        let mut partitions: Partitions = 0;
        let mut plan = VecDeque::new();
        for partition in 0..PARTITIONS {
            let outputs: Vec<Output> = outputs
                .iter()
                .filter(|output| output.partition == partition)
                .copied()
                .collect();
            if !outputs.is_empty() {
                partitions |= 1 << partition;
                plan.push_back(Request::Produce {
                    partition,
                    sequence: self.sequence[partition],
                    outputs,
                });
            }
        }
        if partitions & !self.registered != 0 {
            plan.push_front(Request::AddPartitions { partitions });
        }
        plan
    }

    /// Sends the next request, if there is one and none is awaited.
    pub fn send(&mut self, out: &mut Outside) {
        let Some(asking) = &mut self.asking else {
            return;
        };
        let (None, None, Some(request)) = (asking.answer, asking.awaited, asking.plan.front())
        else {
            return;
        };
        self.has_asked |= !matches!(request, Request::InitProducerId { .. });
        asking.awaited = Some(out.send(self.name, self.epoch, request.clone()));
    }

    pub fn awaits(&self, number: u32) -> bool {
        self.asking
            .as_ref()
            .is_some_and(|asking| asking.awaited == Some(number))
    }

    pub fn awaited(&self) -> Option<u32> {
        self.asking.as_ref().and_then(|asking| asking.awaited)
    }

    /// An answer that a broken connection has not delivered: the request is sent again.
    pub fn lose_connection(&mut self, out: &Outside) {
        if let Some(asking) = &mut self.asking
            && asking.awaited.take().is_some()
        {
            self.is_disturbed = out.notices_broken_connections();
        }
    }

    pub fn hear(&mut self, packet: &Packet, response: Response, out: &mut Outside) {
        let Some(asking) = &mut self.asking else {
            return;
        };
        asking.awaited = None;
        if response == Response::Concurrent {
            return; // asked again after a while
        }
        let failure = match (&packet.request, response) {
            (Request::InitProducerId { .. }, Response::Epoch(epoch)) => {
                self.epoch = epoch;
                self.sequence = [0; PARTITIONS];
                self.needs_bump = false;
                None
            }
            (request, Response::Done) => {
                match request {
                    Request::AddPartitions { partitions } => self.registered |= partitions,
                    Request::Produce {
                        partition, outputs, ..
                    } => self.sequence[*partition] += outputs.len() as i32,
                    _ => {}
                }
                None
            }
            (Request::Produce { .. }, Response::OutOfOrderSequence) => {
                self.needs_bump = true;
                Some((State::Abortable, Answer::Failed))
            }
            (Request::Produce { .. }, Response::InvalidTxnState) => {
                Some((State::Abortable, Answer::Failed))
            }
            (Request::TxnOffsetCommit { .. }, Response::NotOfThisGeneration) => {
                Some((State::Abortable, Answer::MustAbort))
            }
            _ => {
                out.count(Event::ProducerFenced);
                Some((State::Fatal, Answer::Failed))
            }
        };
        match failure {
            Some((state, answer)) => {
                self.state = state;
                asking.answer = Some(answer);
                asking.plan.clear();
            }
            None => {
                asking.plan.pop_front();
                self.finish_if_done();
            }
        }
    }

    fn finish_if_done(&mut self) {
        let Some(asking) = &mut self.asking else {
            return;
        };
        if asking.plan.is_empty() && asking.answer.is_none() {
            asking.answer = Some(Answer::Done);
            if let Call::Commit | Call::Abort = asking.call {
                self.state = State::Ready;
                self.registered = 0;
                self.has_asked = false;
            }
        }
    }

    pub fn take_answer(&mut self) -> Option<Answer> {
        let answer = self.asking.as_ref().and_then(|asking| asking.answer)?;
        self.asking = None;
        Some(answer)
    }

    /// The present call returns before it has an answer.
    pub fn time_out(&mut self) -> Option<Answer> {
        let asking = self.asking.as_ref()?;
        if asking.answer.is_some() {
            return None;
        }
        match asking.call {
            // The same call again goes on with it.
            Call::Commit | Call::Abort => Some(Answer::TryAgain),
            Call::SendOffsets => {
                self.asking = None;
                Some(Answer::TryAgain)
            }
            Call::SendRecords => {
                self.fail_delivery();
                self.asking = None;
                Some(Answer::Failed)
            }
            Call::Replace | Call::Begin => {
                self.asking = None;
                Some(Answer::Failed)
            }
        }
    }

    /// Records were given up after they were sent.
    fn fail_delivery(&mut self) {
        self.state = State::Abortable;
        self.needs_bump = true;
    }

    /// The client does not take a record (its queue is full, for example). It does not count that as a failed delivery.
    pub fn refuse_record(&mut self) -> bool {
        match &mut self.asking {
            Some(asking) if asking.call == Call::SendRecords && asking.answer.is_none() => {
                // What was taken before is purged by the abort.
                asking.plan.clear();
                asking.answer = Some(Answer::Failed);
                self.needs_bump |= asking.awaited.take().is_some();
                true
            }
            _ => false,
        }
    }

    pub fn is_sending_records(&self) -> bool {
        matches!(&self.asking, Some(asking) if asking.call == Call::SendRecords && asking.answer.is_none())
    }

    /// The end of the transaction is on its way, and unknown to the client.
    pub fn is_committing(&self) -> bool {
        self.state == State::Committing
    }

    pub fn is_in_transaction(&self) -> bool {
        self.state != State::Ready && self.state != State::Fatal
    }
}
