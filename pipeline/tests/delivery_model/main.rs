//! The real delivery protocol against a model of Kafka, under random schedules.
//!
//! Two or three brokers work on the partitions of one group. Each consists of the real ordering core, the real rules of
//! transactions, recovery and membership (`pipeline::ordering`), and small imitations of what is around them: engine, feed,
//! writer thread, Kafka's client. Kafka has logs with open and aborted data, a transaction coordinator, a group with
//! generations. Every request is a packet that may be answered, lose its answer, get lost, or stay on its way while its
//! sender asks again, times out, crashes or begins the next transaction.
//!
//! During every schedule: a reader of committed records sees each partition's input, in order, nothing twice; the group's
//! offsets are never ahead of the outputs, and no transaction is half visible. At its end, when everything heals, all of
//! the input has come out, and the offset behind it is committed.
//!
//! `FRAMELANE_SCHEDULES=1000000 cargo test -p pipeline --test delivery_model` runs more of them, other ones each time. `FRAMELANE_CHEAT=NAME` (see
//! [`Cheat`]) shows the counter-example that a mistake leads to.

mod coverage;
mod engine;
mod feed;
mod group;
mod kafka;
mod log;
mod outside;
mod producer;
mod regressions;
mod step;
mod world;
mod writer;

use coverage::Coverage;
use outside::Cheat;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use std::cell::RefCell;
use step::{Focus, Schedule, schedules};
use world::World;

fn run((setup, steps): &Schedule, cheat: Cheat, is_traced: bool) -> (World, Result<(), String>) {
    let mut world = World::new(*setup, cheat, is_traced);
    let result = steps
        .iter()
        .try_for_each(|step| world.step(*step))
        .and_then(|()| world.finish());
    (world, result)
}

/// What to look at, and how long.
#[derive(Clone, Copy)]
struct Search {
    focus: Focus,
    cheat: Cheat,
    schedules: u32,
    /// Steps to shorten one that fails.
    shrinks: u32,
    seeds: Seeds,
}

/// Runs so many random schedules. The error is a short schedule that fails, and what happens in it.
fn explore(search: Search, rng: TestRng) -> Result<Coverage, String> {
    let coverage = RefCell::new(Coverage::new());
    let config = Config {
        cases: search.schedules,
        failure_persistence: None,
        max_shrink_iters: search.shrinks,
        ..Config::default()
    };
    let result = TestRunner::new_with_rng(config, rng).run(&schedules(search.focus), |schedule| {
        let (world, result) = run(&schedule, search.cheat, false);
        coverage.borrow_mut().add(world.coverage());
        result.map_err(TestCaseError::fail)
    });
    match result {
        Ok(()) => Ok(coverage.into_inner()),
        Err(TestError::Fail(_, schedule)) => Err(describe(&schedule, search.cheat)),
        Err(TestError::Abort(why)) => Err(why.to_string()),
    }
}

/// The counter-example as a person reads it: steps in one line each, then what each led to.
fn describe(schedule: &Schedule, cheat: Cheat) -> String {
    const LINES: usize = 400;
    let (world, result) = run(schedule, cheat, true);
    let why = result.err().unwrap_or_default();
    let mut trace = world.into_trace();
    if trace.len() > LINES {
        trace.truncate(LINES);
        trace.push("(and so on)".to_owned());
    }
    let (setup, steps) = schedule;
    let steps: Vec<_> = steps.iter().map(|step| format!("    {step:?}\n")).collect();
    let (steps, trace) = (steps.concat(), trace.join("\n"));
    format!("{why}\nthe schedule, {setup:?}:\n{steps}what happens:\n{trace}\n=> {why}")
}

/// As [`explore`], on all processors.
fn explore_in_parallel(search: Search) -> Result<Coverage, String> {
    let threads = std::thread::available_parallelism().map_or(2, |n| n.get() as u32);
    let share = Search {
        schedules: search.schedules.div_ceil(threads),
        ..search
    };
    let mut coverage = Coverage::new();
    let results = std::thread::scope(|scope| {
        let start = |thread| {
            let rng = search.seeds.rng(thread);
            scope.spawn(move || explore(share, rng))
        };
        let all: Vec<_> = (0..threads).map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join();
        all.into_iter().map(join).collect::<Vec<_>>()
    });
    for result in results {
        coverage.add(&result.map_err(|_| "the model panicked".to_owned())??);
    }
    Ok(coverage)
}

/// Where random schedules come from.
#[derive(Clone, Copy)]
enum Seeds {
    /// The same ones in every run on as many processors, so that a change of the code is the only reason for another result.
    Fixed,
    New,
}

impl Seeds {
    fn rng(self, thread: u32) -> TestRng {
        let algorithm = RngAlgorithm::ChaCha;
        match self {
            Self::Fixed => TestRng::from_seed(algorithm, &[thread as u8; 32]),
            Self::New => TestRng::from_seed(algorithm, &rand::random::<[u8; 32]>()),
        }
    }
}

/// Enough to reach every situation many times: 10 seconds of one processor.
const ENOUGH: u32 = 300_000;
/// Enough to shorten a schedule as far as it goes.
const SHRINKS: u32 = 20_000;

/// `FRAMELANE_SCHEDULES`, or `ENOUGH`.
fn thorough_search(focus: Focus) -> Search {
    let (schedules, seeds) = match std::env::var("FRAMELANE_SCHEDULES") {
        Ok(text) => {
            let count = text.parse().expect("FRAMELANE_SCHEDULES is a number");
            (count, Seeds::New)
        }
        Err(_) => (ENOUGH, Seeds::Fixed),
    };
    Search {
        focus,
        cheat: Cheat::None,
        schedules,
        shrinks: SHRINKS,
        seeds,
    }
}

#[test]
fn every_record_leaves_once_and_in_order_under_any_schedule() {
    let search = thorough_search(Focus::All);
    let schedules = search.schedules;
    match explore_in_parallel(search) {
        Ok(coverage) => {
            println!("{schedules} schedules reached\n{coverage}");
            let never = coverage.never();
            let is_thorough = schedules >= ENOUGH;
            assert!(
                never.is_empty() || !is_thorough,
                "no schedule reached {never:?}"
            );
        }
        Err(counter_example) => panic!("{counter_example}"),
    }
}

#[test]
fn every_record_leaves_once_and_in_order_whichever_static_members_die_and_return() {
    if let Err(counter_example) = explore_in_parallel(thorough_search(Focus::Members)) {
        panic!("{counter_example}");
    }
}

/// What holds does so because of this rule: without it the model finds a counter-example.
fn assert_needed(cheat: Cheat, focus: Focus) {
    const MOST: u32 = 1_000_000;
    let is_shown = std::env::var("FRAMELANE_CHEAT").is_ok_and(|name| name == format!("{cheat:?}"));
    let search = Search {
        focus,
        cheat,
        schedules: MOST,
        shrinks: if is_shown { SHRINKS } else { 0 },
        seeds: Seeds::New,
    };
    match explore_in_parallel(search) {
        Ok(_) => panic!("{cheat:?} went unnoticed in {MOST} schedules"),
        Err(counter_example) if is_shown => println!("{counter_example}"),
        Err(_) => {}
    }
}

#[test]
fn the_stamp_must_be_taken_when_the_batch_is_made() {
    assert_needed(Cheat::StampOfTheCommit, Focus::All);
}

#[test]
fn a_changed_member_id_must_be_noticed() {
    assert_needed(Cheat::IgnoredExpulsion, Focus::All);
}

#[test]
fn a_reply_must_count_for_the_lane_that_asked() {
    assert_needed(Cheat::RepliesOfEarlierLanes, Focus::All);
}

#[test]
fn a_broken_connection_must_be_noticed() {
    assert_needed(Cheat::UnnoticedDisturbance, Focus::All);
}

#[test]
fn a_static_member_must_not_start_with_what_others_claim() {
    assert_needed(Cheat::OldClaims, Focus::Members);
}

#[test]
fn kafka_must_verify_transactions() {
    assert_needed(Cheat::NoVerification, Focus::All);
}
