//! Brokers, Kafka and the network between them, moved by a schedule.

use crate::coverage::{Coverage, Event};
use crate::engine::Engine;
use crate::feed::Feed;
use crate::kafka::{PARTITIONS, Packet, Request, Response};
use crate::outside::{Cheat, Outside};
use crate::step::{Setup, Step};
use crate::writer::{Report, Writer};
use std::time::Duration;

struct Broker {
    engine: Engine,
    feed: Feed,
    writer: Writer,
    report: Option<Report>,
    now: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Walk,
    Run,
}

pub struct World {
    setup: Setup,
    brokers: Vec<Option<Broker>>,
    out: Outside,
}

impl Broker {
    fn start(name: usize, setup: Setup) -> Self {
        Self {
            engine: Engine::new(),
            feed: Feed::new(name, setup.is_static & (1 << name) != 0),
            writer: Writer::open(name),
            report: None,
            now: Duration::ZERO,
        }
    }

    fn read(&mut self, out: &mut Outside) -> Result<(), String> {
        self.engine.read(&mut self.feed, self.now, out)
    }

    fn take_report(&mut self, out: &mut Outside) -> Result<(), String> {
        match self.report.take() {
            Some(report) => self.engine.take_in(report, &mut self.feed, self.now, out),
            None => Ok(()),
        }
    }

    fn reply(&mut self, at: u8, again: bool, out: &mut Outside) -> Result<(), String> {
        self.engine
            .reply(at.into(), again, &mut self.feed, self.now, out)
    }

    fn tick(&mut self, out: &mut Outside) -> Result<(), String> {
        self.now += Duration::from_millis(6);
        self.engine.tick(&mut self.feed, self.now, out)
    }

    fn write(&mut self, out: &mut Outside) {
        if self.report.is_none() {
            let is_late = out.takes_the_stamp_late() && self.feed.id().is_some();
            let stamp_now = is_late.then(|| self.feed.metadata());
            self.report = self
                .writer
                .step(&mut self.engine.command, stamp_now, self.now, out);
        }
    }

    fn client(&mut self, out: &mut Outside) {
        if self.writer.is_open() {
            self.feed.client(out);
        }
    }

    fn serve(&mut self, out: &mut Outside) {
        if self.writer.is_open() {
            self.feed.serve(out);
        }
    }
}

impl World {
    pub fn new(setup: Setup, cheat: Cheat, is_traced: bool) -> Self {
        Self {
            setup,
            brokers: (0..setup.brokers)
                .map(|name| Some(Broker::start(name, setup)))
                .collect(),
            out: Outside::new(cheat, is_traced),
        }
    }

    pub fn coverage(&self) -> &Coverage {
        &self.out.coverage
    }

    pub fn into_trace(self) -> Vec<String> {
        self.out.trace.unwrap_or_default()
    }

    /// Does the step, if it is possible now.
    pub fn step(&mut self, step: Step) -> Result<(), String> {
        if let Some(trace) = &mut self.out.trace {
            trace.push(format!("{step:?}"));
        }
        match step {
            Step::Deliver { packet } => self.deliver(packet, true),
            Step::DeliverAndLoseTheAnswer { packet } => self.deliver(packet, false),
            Step::Drop { packet } => {
                self.lose(packet);
                Ok(())
            }
            Step::Marker { marker } => self.write_marker(marker),
            Step::TransactionTimesOut { name } => {
                if self
                    .out
                    .kafka
                    .time_out(usize::from(name) % self.setup.brokers)
                {
                    self.out.count(Event::TransactionTimedOut);
                }
                Ok(())
            }
            Step::SessionEnds { member } => {
                let members = &self.out.kafka.group.members;
                if let Some(member) = members.get(usize::from(member) % members.len().max(1)) {
                    let id = member.id;
                    self.out.kafka.group.remove(id);
                }
                Ok(())
            }
            Step::Rebalance { rotation } => {
                self.out.kafka.group.rotate(rotation.into());
                Ok(())
            }
            Step::LateMembersAreExpelled => {
                if self.out.kafka.group.expel_late_members() {
                    self.out.count(Event::LateMemberExpelled);
                }
                self.next_generation();
                Ok(())
            }
            Step::Crash { broker } => {
                self.crash(broker);
                Ok(())
            }
            Step::Start { broker } => {
                self.start(broker);
                Ok(())
            }
            Step::Run { broker } => self.run(broker, Pace::Run),
            Step::Walk { broker } => self.run(broker, Pace::Walk),
            of_one => self.step_of_one(of_one),
        }
    }

    fn broker(&mut self, broker: u8) -> (Option<&mut Broker>, &mut Outside) {
        let at = usize::from(broker) % self.setup.brokers;
        (self.brokers[at].as_mut(), &mut self.out)
    }

    fn step_of_one(&mut self, step: Step) -> Result<(), String> {
        let (Step::Feed { broker }
        | Step::Client { broker }
        | Step::Heartbeat { broker }
        | Step::Read { broker, .. }
        | Step::ReadAgain { broker, .. }
        | Step::Engine { broker }
        | Step::Report { broker }
        | Step::Reply { broker, .. }
        | Step::ReplyTwice { broker, .. }
        | Step::Tick { broker }
        | Step::Write { broker }
        | Step::DrainExpires { broker }
        | Step::Break { broker }
        | Step::TimeOut { broker, .. }
        | Step::RefuseRecord { broker }
        | Step::Stop { broker }) = step
        else {
            return Ok(());
        };
        let (Some(broker), out) = self.broker(broker) else {
            return Ok(()); // it is down
        };
        match step {
            Step::Feed { .. } => broker.serve(out),
            Step::Client { .. } => broker.client(out),
            Step::Heartbeat { .. } => broker.feed.heartbeat(out),
            Step::Read { partition, .. } => {
                broker
                    .feed
                    .read(usize::from(partition) % PARTITIONS, false, out);
            }
            Step::ReadAgain { partition, .. } => {
                broker
                    .feed
                    .read(usize::from(partition) % PARTITIONS, true, out);
            }
            Step::Engine { .. } => return broker.read(out),
            Step::Report { .. } => return broker.take_report(out),
            Step::Reply { call, .. } => return broker.reply(call, false, out),
            Step::ReplyTwice { call, .. } => return broker.reply(call, true, out),
            Step::Tick { .. } => return broker.tick(out),
            Step::Write { .. } => broker.write(out),
            Step::DrainExpires { .. } => {
                return broker.engine.end_drain(&mut broker.feed, broker.now, out);
            }
            Step::Break { .. } => broker.writer.lose_connection(out),
            Step::TimeOut { times, .. } if broker.report.is_none() => {
                broker.report = broker.writer.time_out(times.into(), &mut broker.now, out);
            }
            Step::RefuseRecord { .. } => broker.writer.refuse_record(out),
            Step::Stop { .. } if broker.writer.is_open() => broker.feed.leave(),
            _ => {}
        }
        self.next_generation();
        Ok(())
    }

    fn next_generation(&mut self) {
        let group = &mut self.out.kafka.group;
        if group.next_generation() {
            let text = format!("{group:?}");
            self.out.say(|| text);
        }
    }

    /// One thing of each kind, in the order in which one follows from another.
    fn run(&mut self, broker: u8, pace: Pace) -> Result<(), String> {
        let (Some(one), out) = self.broker(broker) else {
            return Ok(());
        };
        one.client(out);
        one.serve(out);
        for partition in 0..PARTITIONS {
            one.feed.read(partition, false, out);
        }
        while !one.feed.events.is_empty() {
            one.read(out)?;
        }
        if pace == Pace::Run {
            one.reply(0, false, out)?;
            one.reply(1, false, out)?;
        }
        one.take_report(out)?;
        one.tick(out)?;
        self.next_generation();
        self.leave(broker);
        self.ask(broker, pace)?;
        self.write_marker(broker)
    }

    /// The writer and its requests. One that others can tell stays on its way, for what may happen to it.
    fn ask(&mut self, broker: u8, pace: Pace) -> Result<(), String> {
        // Bounded, because Kafka may answer that it is to be asked again.
        for turn in 0..8 {
            let (Some(one), out) = self.broker(broker) else {
                return Ok(());
            };
            if turn == 0 || one.writer.awaited().is_none() {
                one.write(out);
            }
            let awaited = one.writer.awaited();
            let at = |packet: &Packet| Some(packet.number) == awaited;
            let Some(at) = self.out.network.iter().position(at) else {
                return Ok(());
            };
            let can_be_told = matches!(
                self.out.network[at].request,
                Request::InitProducerId { .. }
                    | Request::TxnOffsetCommit { .. }
                    | Request::EndTxn(_)
            );
            if turn > 0 && (can_be_told || pace == Pace::Walk) {
                return Ok(());
            }
            self.deliver_at(at, true)?;
        }
        Ok(())
    }

    fn leave(&mut self, broker: u8) {
        let at = usize::from(broker) % self.setup.brokers;
        if self.brokers[at]
            .as_ref()
            .is_some_and(|one| one.feed.has_left)
        {
            self.brokers[at] = None;
        }
    }

    fn deliver(&mut self, packet: u8, is_answered: bool) -> Result<(), String> {
        match self.out.network.len() {
            0 => Ok(()),
            count => self.deliver_at(usize::from(packet) % count, is_answered),
        }
    }

    fn deliver_at(&mut self, at: usize, is_answered: bool) -> Result<(), String> {
        let packet = self.out.network.remove(at);
        let waits = self.brokers[packet.name]
            .as_mut()
            .is_some_and(|broker| broker.writer.of(packet.number).is_some());
        if !waits {
            self.note_stray(&packet);
        }
        let out = &mut self.out;
        let response = out.kafka.handle(&packet, &mut out.coverage);
        out.say(|| format!("Kafka answers #{} with {response:?}", packet.number));
        let Some(broker) = &mut self.brokers[packet.name] else {
            return Ok(());
        };
        if waits && is_answered {
            broker.writer.hear(&packet, response, out);
        } else if waits {
            if let (Request::EndTxn(_), Response::Done) = (&packet.request, response) {
                out.count(Event::CommitDecidedWhileTheClientAskedOn);
            }
            if let Some(producer) = broker.writer.of(packet.number) {
                producer.lose_connection(out);
            }
        }
        Ok(())
    }

    /// A request that nobody waits for any more arrives.
    fn note_stray(&mut self, packet: &Packet) {
        let (name, kafka) = (packet.name, &self.out.kafka);
        let is_inside_another = kafka.is_ongoing(name) && kafka.epoch(name) != packet.epoch;
        let event = match packet.request {
            Request::EndTxn(_) if is_inside_another => Event::StrayEndTxnInsideAnotherTransaction,
            Request::EndTxn(_) => Event::StrayEndTxnAfterItsTransaction,
            Request::TxnOffsetCommit { .. } => Event::StrayOffsetsOfAnEarlierTransaction,
            Request::Produce { .. } => Event::StrayRecordsOfAnEarlierTransaction,
            _ => return,
        };
        self.out.count(event);
    }

    fn lose(&mut self, packet: u8) {
        let count = self.out.network.len();
        if count == 0 {
            return;
        }
        let packet = self.out.network.remove(usize::from(packet) % count);
        if let Some(broker) = &mut self.brokers[packet.name]
            && let Some(producer) = broker.writer.of(packet.number)
        {
            producer.lose_connection(&self.out);
        }
    }

    fn write_marker(&mut self, marker: u8) -> Result<(), String> {
        let out = &mut self.out;
        match out.kafka.markers.len() {
            0 => Ok(()),
            count => out
                .kafka
                .write_marker(usize::from(marker) % count, &mut out.coverage),
        }
    }

    fn crash(&mut self, broker: u8) {
        let at = usize::from(broker) % self.setup.brokers;
        let Some(broker) = self.brokers[at].take() else {
            return;
        };
        if broker.writer.is_committing() {
            self.out.count(Event::CrashBetweenCommitAndItsAnswer);
        } else if broker.writer.is_recovering() {
            self.out.count(Event::CrashWhileRecovering);
        } else if broker.writer.is_in_transaction() {
            self.out.count(Event::CrashInsideATransaction);
        }
    }

    fn start(&mut self, broker: u8) {
        let at = usize::from(broker) % self.setup.brokers;
        if self.brokers[at].is_none() {
            self.brokers[at] = Some(Broker::start(at, self.setup));
        }
    }

    /// Everything heals: the rest must get through, whatever is still on its way.
    pub fn finish(&mut self) -> Result<(), String> {
        const ROUNDS: usize = 400;
        if let Some(trace) = &mut self.out.trace {
            trace.push("everything heals".to_owned());
        }
        for round in 0..ROUNDS {
            for broker in 0..self.setup.brokers {
                self.start(broker as u8);
                self.run(broker as u8, Pace::Run)?;
            }
            self.write_marker(0)?;
            if round % 4 == 0 {
                self.deliver_a_stray()?;
            }
            if round % 64 == 63 {
                // A static member that stops between being told to give a partition up and joining without it leaves that
                // partition to nobody: its place is kept, so its return starts no rebalance.
                self.out.kafka.group.rebalance();
                self.time_out_what_strays_began();
            }
            if round % 16 == 0 {
                self.forget_the_dead();
                for broker in self.brokers.iter_mut().flatten() {
                    broker
                        .engine
                        .end_drain(&mut broker.feed, broker.now, &mut self.out)?;
                }
            }
            if self.is_over() {
                return Ok(());
            }
        }
        Err(format!(
            "it does not come to an end: {}",
            self.out.kafka.state()
        ))
    }

    /// A request that comes late may begin a transaction of a broker that has no more to write. It holds up whoever has the
    /// partition now, until Kafka ends it.
    fn time_out_what_strays_began(&mut self) {
        for (name, broker) in self.brokers.iter().enumerate() {
            if broker.as_ref().is_none_or(|broker| broker.writer.is_idle())
                && self.out.kafka.time_out(name)
            {
                self.out.count(Event::TransactionTimedOut);
            }
        }
    }

    /// Sessions of members that are no more end.
    fn forget_the_dead(&mut self) {
        let alive: Vec<_> = self.brokers.iter().flatten().map(|b| b.feed.id()).collect();
        let members = &self.out.kafka.group.members;
        let dead: Vec<_> = members
            .iter()
            .map(|member| member.id)
            .filter(|id| !alive.contains(&Some(*id)))
            .collect();
        dead.into_iter()
            .for_each(|id| self.out.kafka.group.remove(id));
    }

    fn deliver_a_stray(&mut self) -> Result<(), String> {
        let awaited: Vec<_> = self
            .brokers
            .iter()
            .flatten()
            .filter_map(|broker| broker.writer.awaited())
            .collect();
        let is_stray = |packet: &Packet| !awaited.contains(&packet.number);
        match self.out.network.iter().position(is_stray) {
            Some(at) => self.deliver_at(at, true),
            None => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let is_idle = |broker: &Broker| broker.writer.is_idle() && broker.report.is_none();
        self.out.network.is_empty()
            && self.out.kafka.is_complete()
            && self.brokers.iter().flatten().all(is_idle)
    }
}
