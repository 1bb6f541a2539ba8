//! Single cases that were wrong once, or that schedules reach seldom.

use crate::kafka::Output;
use pipeline::ordering::{
    Action, Answer, Assignee, CALL_TIMEOUT, Call, CommitPolicy, Delivery, Event, Next, Offsets,
    Outcome, Transactions,
};
use std::time::Duration;

const NOW: Duration = Duration::from_secs(1);

/// The core with lane 1, which writes what is done at once, in batches of so many records of 10 bytes.
fn delivery(max_records: usize) -> Delivery<Output> {
    let mut delivery = Delivery::new(CommitPolicy {
        linger: Duration::ZERO,
        max_records,
        max_bytes: 10 * max_records,
        max_lane_bytes: 10 * max_records,
    });
    delivery.handle(Event::Assigned { lane: 1, start: 0 }, NOW);
    delivery
}

/// Takes a record of 10 bytes in, which is done at once.
fn pass(delivery: &mut Delivery<Output>, offset: i64) -> Vec<Action<Output>> {
    let (lane, bytes) = (1, 10);
    let arrived = Event::Arrived {
        lane,
        offset,
        bytes,
    };
    delivery.handle(arrived, NOW);
    let output = Output {
        partition: 0,
        offset,
        lane,
        attempt: 1,
    };
    let completed = Event::Completed {
        lane,
        offset,
        output,
    };
    delivery.handle(completed, NOW)
}

#[test]
fn a_lane_that_another_member_has_moved_is_given_up_at_once() {
    let mut delivery = delivery(100);
    let actions = pass(&mut delivery, 0);
    assert!(
        matches!(actions[..], [Action::Release { .. }, Action::Write(_)]),
        "{actions:?}"
    );
    delivery.handle(Event::Unknown, NOW);
    let committed = vec![(1, Some(7))];
    let actions = delivery.handle(Event::Recovered { committed }, NOW);
    let expected = [
        Action::Conflict {
            lane: 1,
            written: 1,
            committed: 7,
        },
        Action::Gone { lane: 1 },
    ];
    assert_eq!(actions, expected);
}

/// Takes in these while a batch is on its way.
fn fill(delivery: &mut Delivery<Output>, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        pass(delivery, offset);
    }
}

/// The offsets of the batch that follows from an event.
fn batch_after(delivery: &mut Delivery<Output>, event: Event<Output>) -> Vec<i64> {
    let actions = delivery.handle(event, NOW);
    let batch = actions.into_iter().find_map(|action| match action {
        Action::Write(batch) => Some(batch),
        _ => None,
    });
    let outputs = batch.into_iter().flat_map(|batch| batch.outputs);
    outputs.map(|output| output.offset).collect()
}

/// On a slow link a batch may not fit into the time of a transaction. As it was, it never would.
#[test]
fn a_batch_that_fails_is_written_in_smaller_ones_which_grow_again() {
    let mut delivery = delivery(64);
    fill(&mut delivery, 0..9); // the first one is on its way
    let mut after = |event| batch_after(&mut delivery, event);
    assert_eq!(after(Event::Committed), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(after(Event::Aborted), [1, 2, 3, 4]);
    assert_eq!(after(Event::Aborted), [1, 2]);
    assert!(after(Event::Unknown).is_empty(), "the group is asked first");
    let committed = vec![(1, Some(1))];
    assert_eq!(after(Event::Recovered { committed }), [1]);
    assert_eq!(after(Event::Aborted), [1], "nothing is smaller");
    assert_eq!(after(Event::Committed), [2, 3]);
    assert_eq!(after(Event::Committed), [4, 5, 6, 7]);
    assert_eq!(after(Event::Committed), [8]);
    fill(&mut delivery, 9..17);
    let mut after = |event| batch_after(&mut delivery, event);
    assert_eq!(after(Event::Committed), [9, 10, 11, 12, 13, 14, 15, 16]);
}

/// The client can be between two member ids when it gets partitions. Kafka takes transactional offsets that name no member
/// without asking whose they are.
#[test]
fn a_client_without_a_member_id_commits_nothing() {
    let mut assignee = Assignee::nobody();
    assert!(!assignee.may_speak(Some(&1)), "no lanes yet");
    assignee.assigned(None);
    assert!(!assignee.may_speak(None));
    assert!(!assignee.may_speak(Some(&1)));
    assignee.assigned(Some(1));
    assert!(assignee.may_speak(Some(&1)));
    assert!(!assignee.may_speak(None) && assignee.is_expelled(None));
    assert!(!assignee.may_speak(Some(&2)) && assignee.is_expelled(Some(&2)));
}

/// Makes a transaction whose calls end as told, the slow one after so long.
fn transaction(
    rules: &mut Transactions,
    offsets: Offsets,
    answers: &[(Call, Answer)],
    slow: Option<Call>,
) -> Outcome {
    let mut now = Duration::ZERO;
    let mut call = rules.start(offsets, false, now);
    for (expected, answer) in answers {
        assert_eq!(call, *expected);
        if slow == Some(call) {
            now += CALL_TIMEOUT;
        }
        match rules.answered(*answer, false, now) {
            Next::Call(next) => call = next,
            Next::End(outcome) => return outcome,
        }
    }
    panic!("not over: {call:?}");
}

const COMMITTED: [(Call, Answer); 4] = [
    (Call::Begin, Answer::Done),
    (Call::SendRecords, Answer::Done),
    (Call::SendOffsets, Answer::Done),
    (Call::Commit, Answer::Done),
];

#[test]
fn the_producer_is_replaced_after_any_slow_call_whose_request_could_come_again() {
    for slow in [Call::SendOffsets, Call::Commit] {
        let mut rules = Transactions::new();
        let outcome = transaction(&mut rules, Offsets::With, &COMMITTED, Some(slow));
        assert_eq!(outcome, Outcome::Committed);
        let next = rules.start(Offsets::With, false, Duration::ZERO);
        assert_eq!(next, Call::Replace, "after a slow {slow:?}");
    }
    let mut rules = Transactions::new();
    transaction(&mut rules, Offsets::With, &COMMITTED, None);
    let next = rules.start(Offsets::With, false, Duration::ZERO);
    assert_eq!(next, Call::Begin);
}

#[test]
fn an_abort_without_offsets_is_sure_only_if_nothing_can_come_again() {
    let aborted = [
        (Call::Begin, Answer::Done),
        (Call::SendRecords, Answer::Failed),
        (Call::Abort, Answer::Done),
    ];
    let mut rules = Transactions::new();
    let outcome = transaction(&mut rules, Offsets::Without, &aborted, None);
    assert_eq!(outcome, Outcome::Aborted);
    let outcome = transaction(&mut rules, Offsets::Without, &aborted, Some(Call::Abort));
    assert_eq!(outcome, Outcome::Unknown);
}
