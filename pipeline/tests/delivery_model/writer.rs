//! The broker's writer thread (`broker/src/writer.rs`) over the model's producer: the real rules decide every call.

use crate::coverage::Event;
use crate::group::Stamp;
use crate::kafka::{Output, Packet, Response};
use crate::outside::Outside;
use crate::producer::{Content, Producer};
use pipeline::ordering::{
    Answer, CALL_TIMEOUT, Call, LaneId, Next, Offsets, Outcome, Recovery, Transactions,
};
use std::time::Duration;

#[derive(Debug)]
pub enum Command {
    Write {
        outputs: Vec<Output>,
        offsets: Vec<(usize, i64)>,
        stamp: Option<Stamp>,
    },
    Recover {
        lanes: Vec<(LaneId, usize)>,
    },
}

#[derive(Debug)]
pub enum Report {
    Outcome(Outcome),
    Recovered(Vec<(LaneId, Option<i64>)>),
}

#[derive(Debug)]
enum Job {
    /// Before the service reads anything.
    Opening,
    Writing {
        content: Content,
        call: Call,
    },
    Recovering {
        lanes: Vec<(LaneId, usize)>,
        step: Recovery,
    },
}

#[derive(Debug)]
pub struct Writer {
    name: usize,
    /// None until the first is open.
    producer: Option<Producer>,
    /// The one that is to take its place.
    opening: Option<Producer>,
    rules: Transactions,
    job: Option<Job>,
}

impl Writer {
    pub fn open(name: usize) -> Self {
        Self {
            name,
            producer: None,
            opening: Some(Producer::open(name)),
            rules: Transactions::new(),
            job: Some(Job::Opening),
        }
    }

    pub fn is_open(&self) -> bool {
        self.producer.is_some()
    }

    pub fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// The thread's next move, and the requests that follow from it.
    pub fn step(
        &mut self,
        command: &mut Option<Command>,
        // Of a broker that takes it late.
        stamp_now: Option<Stamp>,
        now: Duration,
        out: &mut Outside,
    ) -> Option<Report> {
        if let (Some(Job::Writing { content, .. }), Some(stamp)) = (&mut self.job, stamp_now) {
            content.stamp = stamp;
        }
        let report = match &mut self.job {
            None => self.take(command.take()?, now, out),
            Some(Job::Recovering {
                lanes,
                step: Recovery::ReadCommitted,
            }) => {
                let committed: Option<Vec<_>> = lanes
                    .iter()
                    .map(|(lane, partition)| Some((*lane, out.kafka.fetch_offset(*partition)?)))
                    .collect();
                committed.and_then(|committed| self.recovery_answered(Ok(()), committed))
            }
            Some(_) => {
                let answer = self.current().and_then(Producer::take_answer);
                answer.and_then(|answer| self.answered(answer, now, out))
            }
        };
        if let Some(producer) = self.current() {
            producer.send(out);
        }
        report
    }

    fn current(&mut self) -> Option<&mut Producer> {
        self.opening.as_mut().or(self.producer.as_mut())
    }

    fn take(&mut self, command: Command, now: Duration, out: &mut Outside) -> Option<Report> {
        match command {
            Command::Write {
                outputs,
                offsets,
                stamp,
            } => {
                let Some(stamp) = stamp else {
                    out.count(Event::AbortedWithoutAStamp);
                    return Some(Report::Outcome(Outcome::Aborted));
                };
                let content = Content {
                    outputs,
                    offsets,
                    stamp,
                };
                let is_disturbed = self.is_disturbed();
                let call = self.rules.start(Offsets::With, is_disturbed, now);
                self.begin(call, content, out);
            }
            Command::Recover { lanes } => {
                let step = Recovery::start();
                self.job = Some(Job::Recovering { lanes, step });
                self.begin_recovery();
            }
        }
        None
    }

    fn is_disturbed(&self) -> bool {
        self.producer
            .as_ref()
            .is_some_and(|producer| producer.is_disturbed)
    }

    fn begin(&mut self, call: Call, content: Content, out: &mut Outside) {
        out.say(|| format!("{} calls {call:?}", self.name));
        if call == Call::Replace {
            out.count(Event::ProducerReplacedAfterADisturbance);
            self.opening = Some(Producer::open(self.name));
        } else if let Some(producer) = &mut self.producer {
            producer.begin_call(call, &content);
        }
        self.job = Some(Job::Writing { content, call });
    }

    fn begin_recovery(&mut self) {
        if let Some(Job::Recovering {
            step: Recovery::Replace,
            ..
        }) = self.job
        {
            self.opening = Some(Producer::open(self.name));
        }
    }

    fn answered(&mut self, answer: Answer, now: Duration, out: &mut Outside) -> Option<Report> {
        let opened = self.opening.take();
        if answer == Answer::Done && opened.is_some() {
            self.producer = opened;
        }
        match self.job.take()? {
            Job::Opening => {
                if answer != Answer::Done {
                    *self = Self::open(self.name); // the service is started again
                }
                None
            }
            Job::Writing { content, call } => {
                out.say(|| format!("{} hears {answer:?} to {call:?}", self.name));
                let is_disturbed = self.is_disturbed();
                match self.rules.answered(answer, is_disturbed, now) {
                    Next::Call(call) => {
                        self.begin(call, content, out);
                        None
                    }
                    Next::End(outcome) => {
                        out.say(|| format!("{}: {outcome:?}", self.name));
                        out.count(match outcome {
                            Outcome::Committed => Event::Committed,
                            Outcome::Aborted => Event::Aborted,
                            Outcome::Unknown => return Some(Report::Outcome(outcome)),
                        });
                        Some(Report::Outcome(outcome))
                    }
                }
            }
            Job::Recovering { lanes, step } => {
                self.job = Some(Job::Recovering { lanes, step });
                if answer == Answer::Done {
                    self.rules = Transactions::new();
                }
                let result = (answer == Answer::Done).then_some(()).ok_or(());
                self.recovery_answered(result, Vec::new())
            }
        }
    }

    fn recovery_answered(
        &mut self,
        result: Result<(), ()>,
        committed: Vec<(LaneId, Option<i64>)>,
    ) -> Option<Report> {
        let Some(Job::Recovering { lanes, step }) = self.job.take() else {
            return None;
        };
        match step.after(result) {
            Some(step) => {
                self.job = Some(Job::Recovering { lanes, step });
                self.begin_recovery();
                None
            }
            None => Some(Report::Recovered(committed)),
        }
    }

    /// The present call takes longer than it may.
    pub fn time_out(
        &mut self,
        times: u32,
        now: &mut Duration,
        out: &mut Outside,
    ) -> Option<Report> {
        if let Some(Job::Recovering {
            step: Recovery::ReadCommitted,
            ..
        }) = self.job
        {
            return self.recovery_answered(Err(()), Vec::new());
        }
        let producer = self.current()?;
        let is_sending = producer.is_sending_records();
        let answer = producer.time_out()?;
        if is_sending {
            out.count(Event::DeliveryFailed);
        }
        *now += CALL_TIMEOUT * times;
        self.answered(answer, *now, out)
    }

    pub fn hear(&mut self, packet: &Packet, response: Response, out: &mut Outside) {
        if let Some(producer) = self.of(packet.number) {
            producer.hear(packet, response, out);
            if response != Response::Concurrent {
                producer.send(out);
            }
        }
    }

    pub fn of(&mut self, number: u32) -> Option<&mut Producer> {
        let both = [&mut self.opening, &mut self.producer];
        both.into_iter()
            .flatten()
            .find(|producer| producer.awaits(number))
    }

    /// The request that the present call waits for.
    pub fn awaited(&self) -> Option<u32> {
        self.opening.as_ref().or(self.producer.as_ref())?.awaited()
    }

    pub fn lose_connection(&mut self, out: &Outside) {
        if let Some(producer) = self.current() {
            producer.lose_connection(out);
        }
    }

    pub fn refuse_record(&mut self, out: &mut Outside) {
        if let Some(producer) = self.current()
            && producer.refuse_record()
        {
            out.count(Event::RecordRefusedByTheClient);
        }
    }

    pub fn is_committing(&self) -> bool {
        self.producer.as_ref().is_some_and(Producer::is_committing)
    }

    pub fn is_in_transaction(&self) -> bool {
        self.producer
            .as_ref()
            .is_some_and(Producer::is_in_transaction)
    }

    pub fn is_recovering(&self) -> bool {
        matches!(self.job, Some(Job::Recovering { .. }))
    }
}
