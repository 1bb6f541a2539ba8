//! Makes a planned fault happen, ends it, and waits until the pipeline goes on.

use super::crew::Crew;
use super::pipeline::{CONSUMER, Names, broker_name, processor_name};
use super::world::World;
use crate::kafka::{Arrivals, Intruder};
use crate::ledger::FaultLine;
use crate::plan::{Fault, LetGo, Plan, PlannedFault, Seat, Step, Trigger};
use crate::proxy::{Api, Point, Reaction, Side};
use anyhow::Result;
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For what a fault waits for; without it the run is vacuous.
const TRIGGER: Duration = Duration::from_secs(40);
/// The liveness bound, and a little more to measure how much it was missed by.
const RECOVERY: Duration = Duration::from_secs(75);
/// A step of a fault that another process has to take.
const STEP: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// What a fault acts on.
pub struct Scene<'a> {
    pub plan: &'a Plan,
    pub names: &'a Names,
    pub world: &'a mut World,
    pub crew: &'a Crew,
    pub arrivals: &'a Arc<Arrivals>,
    pub begin: Instant,
    /// Beginning of each fault and the recovery from it: times in which a stall is no wonder.
    pub disturbed: Vec<(Instant, Instant)>,
    pub consumer_kills: u64,
}

/// Asks again and again until it is so; false if it is not in time.
fn comes_true(limit: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(LOOK); // between two looks
    }
    true
}

impl Scene<'_> {
    /// Plays one fault. An error means that the conductor itself could not do its part.
    pub fn play(&mut self, planned: &PlannedFault) -> Result<FaultLine> {
        let due = self.wait_for(planned);
        let start = Instant::now();
        let fired = self.act(&planned.fault)? && due;
        let end = Instant::now();
        let recovered = match planned.fault {
            Fault::KillConsumer { .. } => self.consumer_goes_on(end),
            _ => self.output_goes_on(start, end),
        };
        let until = recovered.unwrap_or_else(Instant::now);
        self.disturbed.push((start, until));
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Ok(FaultLine {
            row: planned.row,
            what: described(&planned.fault),
            fired,
            start_ms: ms(start - self.begin),
            end_ms: ms(end - self.begin),
            recovered_ms: recovered.map(|at| ms(at.saturating_duration_since(end))),
            longest_gap_ms: ms(self.arrivals.longest_gap(start, until)),
        })
    }

    fn wait_for(&self, planned: &PlannedFault) -> bool {
        match planned.after {
            Trigger::Ms(ms) => {
                std::thread::sleep(Duration::from_millis(ms)); // the trigger itself
                true
            }
            Trigger::Outputs(count) => {
                let wanted = self.arrivals.count() + count as usize;
                self.arrivals.wait_for(wanted, TRIGGER)
            }
            Trigger::Commits(count) => {
                let stage = stage_of(&planned.fault);
                let commits = || self.world.seen(stage, Api::EndTxn, Side::Response);
                let before = commits();
                comes_true(TRIGGER, || commits() >= before + count)
            }
        }
    }

    fn output_goes_on(&self, before: Instant, since: Instant) -> Option<Instant> {
        let arrivals = self.arrivals;
        comes_true(RECOVERY, || arrivals.flow_again(before, since).is_some());
        arrivals.flow_again(before, since)
    }

    fn consumer_goes_on(&self, since: Instant) -> Option<Instant> {
        let length = || std::fs::metadata(self.names.live()).map_or(0, |file| file.len());
        // What was not safely on disk is cut off at the next start, so the file may shrink first.
        let mut shortest = length();
        let goes_on = comes_true(RECOVERY, || {
            let now = length();
            shortest = shortest.min(now);
            now > shortest
        });
        goes_on.then(|| Instant::now().max(since))
    }

    /// True if what was planned took place.
    fn act(&mut self, fault: &Fault) -> Result<bool> {
        let pause = |ms: u64| std::thread::sleep(Duration::from_millis(ms)); // the fault's own duration
        match fault {
            Fault::KillBroker { seat, down_ms } => {
                self.crew.kill9(&broker_name(*seat))?;
                pause(*down_ms);
                self.crew.start(&broker_name(*seat))?;
            }
            Fault::KillBrokerAt { seat, step, let_go } => {
                return self.kill_at(*seat, *step, *let_go);
            }
            Fault::StopBroker { seat, ms } => {
                self.crew.signal(&broker_name(*seat), Signal::SIGSTOP)?;
                pause(*ms);
                self.crew.signal(&broker_name(*seat), Signal::SIGCONT)?;
            }
            Fault::KillKafkaNode { node, down_ms } => {
                self.world.kill_node(*node)?;
                pause(*down_ms);
                self.world.restart_node(*node)?;
            }
            Fault::KillAllKafka { down_ms } => {
                self.world.kill_all_nodes()?;
                pause(*down_ms);
                self.world.restart_all_nodes()?;
            }
            Fault::Cut { seat, way, ms } => {
                self.world.cut(*seat, *way);
                pause(*ms);
                self.world.heal(*seat);
            }
            Fault::Slow {
                seat,
                latency_ms,
                bytes_per_s,
                ms,
            } => {
                let latency = Duration::from_millis(*latency_ms);
                self.world.slow(*seat, latency, *bytes_per_s);
                pause(*ms);
                self.world.heal(*seat);
            }
            Fault::StrayEndTxn { seat } => return Ok(self.stray_end_txn(*seat)),
            Fault::KillProcessor {
                stage,
                replica,
                down_ms,
            } => {
                self.crew.kill9(&processor_name(*stage, *replica))?;
                pause(*down_ms);
                self.crew.start(&processor_name(*stage, *replica))?;
            }
            Fault::KillAllProcessors { stage, down_ms } => {
                let names = (0..self.plan.stages[*stage].replicas)
                    .map(|replica| processor_name(*stage, replica));
                let names: Vec<String> = names.collect();
                names.iter().try_for_each(|name| self.crew.kill9(name))?;
                pause(*down_ms);
                names.iter().try_for_each(|name| self.crew.start(name))?;
            }
            Fault::KillConsumer { down_ms } => {
                self.crew.kill9(CONSUMER)?;
                self.consumer_kills += 1;
                pause(*down_ms);
                self.crew.start(CONSUMER)?;
            }
            Fault::Rebalances {
                stage,
                times,
                every_ms,
            } => return self.rebalances(*stage, *times, Duration::from_millis(*every_ms)),
            Fault::RollingRestart { stage } => return self.rolling_restart(*stage),
            Fault::KillBrokerInRebalance { seat, joiner } => {
                return self.kill_in_rebalance(*seat, *joiner);
            }
        }
        Ok(true)
    }

    fn kill_at(&self, seat: Seat, step: Step, let_go: LetGo) -> Result<bool> {
        let (api, side) = packet(step);
        let point = match side {
            Side::Request => Point::request(api),
            Side::Response => Point::response(api),
        };
        let points = self.world.points(seat);
        let held = points.on(point, Reaction::Pause);
        let fired = held.wait(TRIGGER);
        self.crew.kill9(&broker_name(seat))?;
        if let_go == LetGo::BeforeRestart {
            held.release();
        }
        let successor = points.on(Point::response(Api::InitProducerId), Reaction::Note);
        self.crew.start(&broker_name(seat))?;
        // The dead broker's packet arrives when its successor has taken its place.
        let taken_over = let_go == LetGo::BeforeRestart || successor.wait(STEP);
        held.release();
        Ok(fired && taken_over)
    }

    /// The client's own try again decides the transaction; the first request arrives when the next one is written.
    fn stray_end_txn(&self, seat: Seat) -> bool {
        let points = self.world.points(seat);
        let stray = points.on(Point::request(Api::EndTxn), Reaction::HoldAlone);
        if !stray.wait(TRIGGER) {
            return false;
        }
        let next = points.on(Point::request(Api::EndTxn).nth(2), Reaction::Pause);
        let written = next.wait(STEP);
        stray.release();
        let answered = stray.answer(STEP).is_some();
        next.release();
        written && answered
    }

    fn rebalances(&self, stage: usize, times: u64, every: Duration) -> Result<bool> {
        let joins = || self.world.seen(stage, Api::JoinGroup, Side::Request);
        let before = joins();
        let topic = self.names.read_by(stage);
        let intruder = Intruder::new(&self.world.client(), &self.names.group(stage), &topic)?;
        for _ in 0..times {
            intruder.visit(every)?;
        }
        Ok(joins() > before)
    }

    fn kill_in_rebalance(&self, seat: Seat, joiner: usize) -> Result<bool> {
        let joiner = Seat {
            broker: joiner,
            ..seat
        };
        let points = self.world.points(seat);
        // The group first notices that the other one is gone, and gives all to this one.
        let alone = points.on(Point::response(Api::SyncGroup), Reaction::Note);
        self.crew.stop(&broker_name(joiner))?;
        let is_alone = alone.wait(STEP);
        // The first join says what it has, the second one that it has given up what the other is to get.
        let given_up = points.on(Point::request(Api::JoinGroup).nth(2), Reaction::Pause);
        self.crew.start(&broker_name(joiner))?;
        let fired = given_up.wait(STEP);
        self.crew.kill9(&broker_name(seat))?;
        let back = points.on(Point::response(Api::SyncGroup), Reaction::Note);
        self.crew.start(&broker_name(seat))?;
        let is_back = back.wait(STEP);
        given_up.release();
        Ok(is_alone && fired && is_back)
    }

    fn rolling_restart(&self, stage: usize) -> Result<bool> {
        let mut all_joined = true;
        for broker in 0..self.plan.stages[stage].brokers {
            let seat = Seat { stage, broker };
            self.crew.stop(&broker_name(seat))?;
            let joined = self
                .world
                .points(seat)
                .on(Point::response(Api::SyncGroup), Reaction::Note);
            self.crew.start(&broker_name(seat))?;
            all_joined &= joined.wait(STEP);
        }
        Ok(all_joined)
    }
}

fn stage_of(fault: &Fault) -> usize {
    match fault {
        Fault::KillBroker { seat, .. }
        | Fault::KillBrokerAt { seat, .. }
        | Fault::StopBroker { seat, .. }
        | Fault::Cut { seat, .. }
        | Fault::Slow { seat, .. }
        | Fault::StrayEndTxn { seat }
        | Fault::KillBrokerInRebalance { seat, .. } => seat.stage,
        Fault::KillProcessor { stage, .. }
        | Fault::KillAllProcessors { stage, .. }
        | Fault::Rebalances { stage, .. }
        | Fault::RollingRestart { stage } => *stage,
        Fault::KillKafkaNode { .. } | Fault::KillAllKafka { .. } | Fault::KillConsumer { .. } => 0,
    }
}

fn packet(step: Step) -> (Api, Side) {
    match step {
        Step::AddPartitionsRequest => (Api::AddPartitionsToTxn, Side::Request),
        Step::AddPartitionsResponse => (Api::AddPartitionsToTxn, Side::Response),
        Step::ProduceRequest => (Api::Produce, Side::Request),
        Step::ProduceResponse => (Api::Produce, Side::Response),
        Step::AddOffsetsRequest => (Api::AddOffsetsToTxn, Side::Request),
        Step::AddOffsetsResponse => (Api::AddOffsetsToTxn, Side::Response),
        Step::TxnOffsetCommitRequest => (Api::TxnOffsetCommit, Side::Request),
        Step::TxnOffsetCommitResponse => (Api::TxnOffsetCommit, Side::Response),
        Step::EndTxnRequest => (Api::EndTxn, Side::Request),
        Step::EndTxnResponse => (Api::EndTxn, Side::Response),
    }
}

/// A fault in a few words.
fn described(fault: &Fault) -> String {
    match fault {
        Fault::KillBroker { seat, down_ms } => {
            format!("kill -9 of {}, down {down_ms} ms", broker_name(*seat))
        }
        Fault::KillBrokerAt { seat, step, let_go } => {
            format!(
                "kill -9 of {} at {step:?}, packet let go {let_go:?}",
                broker_name(*seat)
            )
        }
        Fault::StopBroker { seat, ms } => format!("SIGSTOP of {} for {ms} ms", broker_name(*seat)),
        Fault::KillKafkaNode { node, down_ms } => {
            format!("kill -9 of Kafka node {node}, down {down_ms} ms")
        }
        Fault::KillAllKafka { down_ms } => format!("kill -9 of all Kafka nodes, down {down_ms} ms"),
        Fault::Cut { seat, way, ms } => {
            format!(
                "network of {} cut ({way:?}) for {ms} ms",
                broker_name(*seat)
            )
        }
        Fault::Slow {
            seat,
            latency_ms,
            bytes_per_s,
            ms,
        } => {
            let name = broker_name(*seat);
            format!("network of {name} at {latency_ms} ms and {bytes_per_s} B/s for {ms} ms")
        }
        Fault::StrayEndTxn { seat } => {
            format!(
                "an EndTxn of {} arrives in the next transaction",
                broker_name(*seat)
            )
        }
        Fault::KillProcessor {
            stage,
            replica,
            down_ms,
        } => format!(
            "kill -9 of {}, down {down_ms} ms",
            processor_name(*stage, *replica)
        ),
        Fault::KillAllProcessors { stage, down_ms } => {
            format!("kill -9 of all processors of stage {stage}, down {down_ms} ms")
        }
        Fault::KillConsumer { down_ms } => format!("kill -9 of the consumer, down {down_ms} ms"),
        Fault::Rebalances {
            stage,
            times,
            every_ms,
        } => format!("{times} rebalances of stage {stage}, one each {every_ms} ms"),
        Fault::KillBrokerInRebalance { seat, .. } => {
            format!(
                "kill -9 of {} while it gives partitions up",
                broker_name(*seat)
            )
        }
        Fault::RollingRestart { stage } => format!("rolling restart of stage {stage}"),
    }
}
