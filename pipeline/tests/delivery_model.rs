//! The delivery core against a model of Kafka's log, group and transactions, under random schedules.
//!
//! Every schedule mixes arrivals, completions in any order, commits, aborts, unknown outcomes, revocations, lost
//! partitions and a second member that takes over. At its end, whatever happened, each partition's output must be
//! exactly its input: every record once, in order.
//!
//! `FRAMELANE_SCHEDULES=1000000 cargo test -p pipeline --test delivery_model` runs more of them.

use pipeline::ordering::{Action, Batch, CommitPolicy, Delivery, Event, LaneId, Weight};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use std::collections::BTreeMap;
use std::time::Duration;

const PARTITIONS: usize = 3;
const RECORDS: usize = 12;
const WINDOW: usize = 5;

/// The output of one record: which partition and offset it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Output {
    partition: usize,
    offset: i64,
}

impl Weight for Output {
    fn bytes(&self) -> usize {
        10
    }
}

/// One step, as two bytes of the schedule: what, and on which of the possible targets.
type Step = (u8, u8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// Outputs without offsets.
    SkipOffsets,
    /// Offsets one too far.
    CommitOneMore,
    /// An abort is taken for a commit.
    NoRewind,
    /// An unknown outcome is taken for an abort, without asking.
    NoRecovery,
}

struct World {
    mutation: Mutation,
    delivery: Delivery<Output>,
    now: Duration,
    // Kafka's side
    input: Vec<Vec<i64>>,
    output: Vec<Vec<i64>>,
    committed: Vec<Option<i64>>,
    // Our member's side
    lanes: BTreeMap<LaneId, Lane>,
    next_lane: LaneId,
    calls: Vec<(LaneId, Output)>,
    writing: Option<Batch<Output>>,
    /// A lane of the batch was lost since it was made: Kafka refuses the batch.
    fenced: bool,
    recovering: Option<Vec<LaneId>>,
}

#[derive(Debug)]
struct Lane {
    partition: usize,
    next: usize,
    slots: usize,
    live: bool,
}

impl World {
    fn new(mutation: Mutation) -> Self {
        // Offsets with holes, different in each partition.
        let offsets = |p: usize| (0..RECORDS).map(|i| (i + i / (p + 2)) as i64).collect();
        Self {
            mutation,
            delivery: Delivery::new(CommitPolicy {
                linger: Duration::from_millis(5),
                max_records: 4,
                max_bytes: 1000,
            }),
            now: Duration::ZERO,
            input: (0..PARTITIONS).map(offsets).collect(),
            output: vec![Vec::new(); PARTITIONS],
            committed: vec![None; PARTITIONS],
            lanes: BTreeMap::new(),
            next_lane: 1,
            calls: Vec::new(),
            writing: None,
            fenced: false,
            recovering: None,
        }
    }

    fn handle(&mut self, event: Event<Output>) {
        for action in self.delivery.handle(event, self.now) {
            match action {
                Action::Write(batch) => {
                    assert!(self.writing.is_none(), "two batches at once");
                    self.writing = Some(batch);
                    self.fenced = false;
                }
                Action::Hold { .. } => panic!("outputs are as large as inputs here"),
                Action::Recover { lanes } => self.recovering = Some(lanes),
                Action::Release { lane, slots, .. } => {
                    if let Some(lane) = self.lanes.get_mut(&lane) {
                        lane.slots -= slots;
                    }
                }
                Action::Gone { lane } => {
                    self.lanes.remove(&lane);
                }
                Action::Conflict { .. } => panic!("a conflict that nobody caused: {action:?}"),
            }
        }
    }

    fn owner(&self, partition: usize) -> Option<LaneId> {
        let mut lanes = self.lanes.iter();
        lanes
            .find(|(_, lane)| lane.partition == partition)
            .map(|(id, _)| *id)
    }

    fn position(&self, partition: usize) -> usize {
        let committed = self.committed[partition].unwrap_or(0);
        self.input[partition].partition_point(|offset| *offset < committed)
    }

    fn assign(&mut self, partition: usize) {
        if self.owner(partition).is_some() {
            return;
        }
        let next = self.position(partition);
        let lane = self.next_lane;
        self.next_lane += 1;
        let start = self.committed[partition].unwrap_or(0);
        self.lanes.insert(
            lane,
            Lane {
                partition,
                next,
                slots: 0,
                live: true,
            },
        );
        self.handle(Event::Assigned { lane, start });
    }

    fn arrive(&mut self, lane: LaneId) {
        let Some(state) = self.lanes.get_mut(&lane) else {
            return;
        };
        if !state.live || state.slots >= WINDOW || state.next >= RECORDS {
            return;
        }
        let (partition, offset) = (state.partition, self.input[state.partition][state.next]);
        state.next += 1;
        state.slots += 1;
        self.calls.push((lane, Output { partition, offset }));
        self.handle(Event::Arrived {
            lane,
            offset,
            bytes: 10,
        });
    }

    fn complete(&mut self, at: usize, twice: bool) {
        let (lane, output) = if twice {
            self.calls[at].clone()
        } else {
            self.calls.remove(at)
        };
        self.handle(Event::Completed {
            lane,
            offset: output.offset,
            output,
        });
    }

    /// Kafka's half of a commit.
    fn apply(&mut self, batch: &Batch<Output>) {
        for output in &batch.outputs {
            self.output[output.partition].push(output.offset);
        }
        for part in &batch.lanes {
            let partition = self.lanes[&part.lane].partition;
            match self.mutation {
                Mutation::SkipOffsets => {}
                Mutation::CommitOneMore => self.committed[partition] = Some(part.next_offset + 1),
                _ => self.committed[partition] = Some(part.next_offset),
            }
        }
    }

    fn decide(&mut self, outcome: u8) {
        let Some(batch) = self.writing.take() else {
            return;
        };
        let outcome = if self.fenced {
            1 + outcome % 2 * 2
        } else {
            outcome % 4
        };
        match outcome {
            0 => {
                self.apply(&batch);
                self.handle(Event::Committed);
            }
            1 if self.mutation == Mutation::NoRewind => self.handle(Event::Committed),
            1 => self.handle(Event::Aborted),
            committed_or_not => {
                if committed_or_not == 2 {
                    self.apply(&batch);
                }
                let event = if self.mutation == Mutation::NoRecovery {
                    Event::Aborted
                } else {
                    Event::Unknown
                };
                self.handle(event);
            }
        }
    }

    fn recover(&mut self) {
        let Some(lanes) = self.recovering.take() else {
            return;
        };
        let committed = lanes
            .into_iter()
            .filter_map(|id| Some((id, self.committed[self.lanes.get(&id)?.partition])))
            .collect();
        self.handle(Event::Recovered { committed });
    }

    fn lose(&mut self, lane: LaneId) {
        self.fenced |= self.writing.is_some();
        self.handle(Event::Lost { lanes: vec![lane] });
    }

    /// Another member works on a partition that is not ours.
    fn other_member(&mut self, partition: usize, records: usize) {
        if self.owner(partition).is_some() {
            return;
        }
        let from = self.position(partition);
        let to = (from + records).min(RECORDS);
        self.output[partition].extend(&self.input[partition][from..to].to_vec());
        if to > from {
            self.committed[partition] = Some(self.input[partition][to - 1] + 1);
        }
    }

    fn step(&mut self, (what, which): Step) {
        let which_lane = |world: &Self| {
            let n = world.lanes.len();
            world
                .lanes
                .keys()
                .nth(usize::from(which) % n.max(1))
                .copied()
        };
        let partition = usize::from(which) % PARTITIONS;
        match what % 16 {
            0 => self.assign(partition),
            1..=4 => {
                if let Some(lane) = which_lane(self) {
                    self.arrive(lane);
                }
            }
            5..=8 if !self.calls.is_empty() => {
                self.complete(usize::from(which) % self.calls.len(), what >= 240);
            }
            9 => {
                self.now += Duration::from_millis(u64::from(which % 8));
                self.handle(Event::Tick);
            }
            10 | 11 => self.decide(which),
            12 => self.recover(),
            13 => {
                if let Some(id) = which_lane(self) {
                    if let Some(lane) = self.lanes.get_mut(&id) {
                        lane.live = false;
                    }
                    self.handle(Event::Revoking { lanes: vec![id] });
                    if which >= 128 {
                        self.handle(Event::DrainExpired { lanes: vec![id] });
                    }
                }
            }
            14 => match which_lane(self) {
                Some(lane) if which % 3 == 0 => self.lose(lane),
                _ => self.other_member(partition, usize::from(which) % 4),
            },
            _ => {}
        }
    }

    /// Everything heals: the rest must get through.
    fn finish(&mut self) {
        for _ in 0..PARTITIONS * RECORDS * 4 {
            (0..PARTITIONS).for_each(|partition| self.assign(partition));
            let lanes: Vec<LaneId> = self.lanes.keys().copied().collect();
            lanes.into_iter().for_each(|lane| self.arrive(lane));
            while !self.calls.is_empty() {
                self.complete(self.calls.len() - 1, false);
            }
            self.now += Duration::from_millis(10);
            self.handle(Event::Tick);
            self.recover();
            if self.fenced {
                self.decide(0);
            } else if let Some(batch) = self.writing.take() {
                self.apply(&batch);
                self.handle(Event::Committed);
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for partition in 0..PARTITIONS {
            let (input, output) = (&self.input[partition], &self.output[partition]);
            prop_assert_eq!(input, output, "partition {}", partition);
            let behind_last = input.last().map(|offset| offset + 1);
            prop_assert_eq!(self.committed[partition], behind_last);
        }
        Ok(())
    }
}

fn run(schedules: u32, mutation: Mutation) -> Result<(), String> {
    let config = Config {
        cases: schedules,
        failure_persistence: None,
        ..Config::default()
    };
    let steps = prop::collection::vec(any::<Step>(), 0..160);
    TestRunner::new(config)
        .run(&steps, |steps| {
            let mut world = World::new(mutation);
            steps.into_iter().for_each(|step| world.step(step));
            world.finish();
            world.check()
        })
        .map_err(|error| error.to_string())
}

#[test]
fn every_record_leaves_once_and_in_order_under_any_schedule() {
    let schedules = std::env::var("FRAMELANE_SCHEDULES").map_or(100_000, |text| {
        text.parse().expect("FRAMELANE_SCHEDULES is a number")
    });
    run(schedules, Mutation::None).unwrap();
}

#[test]
fn a_lane_that_another_instance_has_moved_is_given_up_at_once() {
    let mut world = World::new(Mutation::None);
    world.assign(0);
    (0..3).for_each(|_| world.arrive(1));
    while !world.calls.is_empty() {
        world.complete(0, false);
    }
    world.now = Duration::from_millis(10);
    world.handle(Event::Tick);
    let batch = world.writing.take().expect("three outputs are ready");
    world.delivery.handle(Event::Unknown, world.now);
    let moved = batch.lanes[0].next_offset + 7;
    let committed = vec![(1, Some(moved))];
    let actions = world
        .delivery
        .handle(Event::Recovered { committed }, world.now);
    assert!(matches!(
        actions[..],
        [Action::Conflict { .. }, Action::Gone { lane: 1 }]
    ));
}

#[test]
fn the_model_catches_a_delivery_that_cheats() {
    let mutations = [
        Mutation::SkipOffsets,
        Mutation::CommitOneMore,
        Mutation::NoRewind,
        Mutation::NoRecovery,
    ];
    for mutation in mutations {
        let found = std::panic::catch_unwind(|| run(2_000, mutation));
        assert!(!matches!(found, Ok(Ok(()))), "{mutation:?} went unnoticed");
    }
}
