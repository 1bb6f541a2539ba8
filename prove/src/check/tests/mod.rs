//! A right history satisfies every check; for each invariant there are wrong ones that name it.

mod right;

use super::{Ceilings, Check, judge};
use crate::behaviour::Answer;
use crate::frames::{DOOMED, Item, Picture};
use crate::history::{History, Message, ProcessEnd, Record};
use crate::ledger::{Outcome, PublishLine, SeenLine};
use processor_proto::envelope::Kind;
use right::{history, record_of};

/// The numbers of the checks that do not hold.
fn violated(history: &History) -> Vec<u32> {
    let checks = judge(history, &Ceilings::default());
    let broken = checks.iter().filter(|check| !check.holds());
    broken.map(|check| check.number).collect()
}

/// Asserts that a history that was spoilt in this way violates this invariant.
#[track_caller]
fn assert_caught(number: u32, spoil: impl FnOnce(&mut History)) {
    let mut history = history();
    spoil(&mut history);
    let numbers = violated(&history);
    assert!(
        numbers.contains(&number),
        "{number} holds; violated: {numbers:?}"
    );
}

/// The place of a frame in the output of a stage.
fn at(history: &History, stage: usize, source: &str, sequence: u64) -> usize {
    let is_it = |record: &Record| match &record.message {
        Message::Frame(frame) => {
            let id = frame.id.as_ref().unwrap();
            id.source_id == source && id.sequence == sequence
        }
        _ => false,
    };
    history.stages[stage].output.iter().position(is_it).unwrap()
}

/// Changes a frame of the last output and writes its record anew.
fn change_frame(
    history: &mut History,
    sequence: u64,
    change: impl FnOnce(&mut processor_proto::v1::Frame),
) {
    let place = at(history, 1, "s0", sequence);
    let record = history.stages[1].output[place].clone();
    let Message::Frame(mut frame) = record.message.clone() else {
        panic!("a frame");
    };
    change(&mut frame);
    let changed = record_of(&record.topic, record.offset, &record, &Kind::Frame(*frame));
    history.stages[1].output[place] = changed;
}

#[test]
fn a_right_history_satisfies_every_check_and_each_looked_at_something() {
    let checks = judge(&history(), &Ceilings::default());
    let numbers: Vec<u32> = checks.iter().map(|check| check.number).collect();
    assert_eq!(numbers, (0..=13).collect::<Vec<_>>());
    for check in checks {
        assert_eq!(check.words, Vec::<String>::new(), "{}", check.number);
        assert!(check.checked > 0, "{}", check.number);
    }
}

#[test]
fn a_fault_that_did_not_happen_makes_the_run_vacuous() {
    assert_caught(0, |history| history.faults[0].fired = false);
    assert_caught(0, |history| history.faults.clear());
    assert_caught(0, |history| history.plan.stages[0].behaviour.hang = 0.01);
    assert_caught(0, |history| {
        history.publish.retain(|line| match line {
            PublishLine::Intent {
                item: Item::Frame { picture, .. },
                ..
            } => *picture == Picture::Sound,
            _ => true,
        });
    });
}

#[test]
fn invariant_1_a_lost_and_a_doubled_frame_are_named() {
    assert_caught(1, |history| {
        let place = at(history, 1, "s0", 12);
        history.stages[1].output.remove(place);
    });
    assert_caught(1, |history| {
        let place = at(history, 1, "s0", 12);
        let mut again = history.stages[1].output[place].clone();
        again.offset += 1_000;
        history.stages[1].output.push(again);
    });
    // The last of a source: its sequence shows no hole.
    assert_caught(1, |history| {
        let place = at(history, 1, "s1", 4);
        history.stages[1].output.remove(place);
    });
}

#[test]
fn invariant_2_an_output_that_nobody_sent_and_one_that_was_aborted_are_named() {
    assert_caught(2, |history| {
        change_frame(history, 3, |frame| frame.id.as_mut().unwrap().sequence = 99);
    });
    assert_caught(2, |history| {
        change_frame(history, 3, |frame| {
            frame.id.as_mut().unwrap().source_id = DOOMED.to_owned();
            frame.id.as_mut().unwrap().sequence = 0;
        });
    });
    // Seen by a processor, though it never came out.
    assert_caught(2, |history| {
        history.seen.push(SeenLine {
            source: DOOMED.to_owned(),
            sequence: 1,
            ..history.seen[0].clone()
        });
    });
}

#[test]
fn invariant_3_an_unknown_send_that_comes_out_twice_is_named() {
    assert_caught(3, |history| {
        for stage in 0..2 {
            let place = at(history, stage, "s1", 5);
            let mut again = history.stages[stage].output[place].clone();
            again.offset += 1_000;
            history.stages[stage].output.push(again);
        }
    });
    assert_caught(3, |history| {
        let place = at(history, 0, "s1", 5);
        history.stages[0].output.remove(place);
    });
}

#[test]
fn invariant_4_frames_that_changed_places_are_named() {
    let swap = |history: &mut History, one: usize, other: usize| {
        let output = &mut history.stages[1].output;
        let (a, b) = (output[one].offset, output[other].offset);
        output.swap(one, other);
        (output[one].offset, output[other].offset) = (a, b);
    };
    assert_caught(4, |history| {
        let (one, other) = (at(history, 1, "s0", 11), at(history, 1, "s0", 12));
        swap(history, one, other);
    });
    // Of two sources that share a partition: each is in order by itself.
    assert_caught(4, |history| {
        let (one, other) = (at(history, 1, "s0", 24), at(history, 1, "committed", 0));
        swap(history, one, other);
    });
}

#[test]
fn invariant_5_a_result_of_another_frame_and_a_stale_reply_are_named() {
    assert_caught(5, |history| {
        change_frame(history, 3, |frame| {
            let place = frame.results[0].attributes.as_mut().unwrap();
            place.fields.remove("sum");
        });
    });
    assert_caught(5, |history| {
        change_frame(history, 3, |frame| frame.results[1].attempts += 1);
    });
    assert_caught(5, |history| {
        change_frame(history, 3, |frame| frame.pts += 1);
    });
    assert_caught(5, |history| {
        change_frame(history, 3, |frame| {
            frame.results.pop();
        });
    });
    assert_caught(5, |history| {
        let place = at(history, 1, "s0", 3);
        history.stages[1].output[place]
            .headers
            .retain(|(name, _)| name != "framelane-sequence");
    });
    assert_caught(5, |history| history.plan.stages[0].behaviour.wrong_id = 1.0);
}

#[test]
fn invariant_6_an_offset_too_far_or_not_far_enough_is_named() {
    for by in [1, -1] {
        assert_caught(6, |history| {
            let offset = history.committed[0].offset.as_mut().unwrap();
            *offset += by;
        });
    }
    assert_caught(6, |history| history.committed[1].offset = None);
}

#[test]
fn invariant_7_half_a_transaction_and_a_letter_without_its_frame_are_named() {
    assert_caught(7, |history| {
        let place = at(history, 1, "committed", 1);
        history.stages[1].output.remove(place);
    });
    assert_caught(7, |history| {
        history.stages[0].dead_letters.pop();
    });
    assert_caught(7, |history| {
        let letter = history.stages[0].dead_letters[0].clone();
        history.stages[0].dead_letters.push(letter);
    });
}

/// A file without one of its lines.
fn without_line(file: &mut Vec<u8>, line: usize) {
    let text = String::from_utf8(std::mem::take(file)).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.remove(line);
    *file = (lines.join("\n") + "\n").into_bytes();
}

#[test]
fn invariant_8_a_consumer_that_saw_something_else_is_named() {
    assert_caught(8, |history| without_line(&mut history.live, 5));
    assert_caught(8, |history| {
        let text = String::from_utf8(history.live.clone()).unwrap();
        history.live = text
            .replacen("\"sequence\":4,", "\"sequence\":5,", 1)
            .into_bytes();
    });
    assert_caught(8, |history| {
        let place = at(history, 1, "s0", 3);
        history.stages[1].output.remove(place);
    });
}

#[test]
fn invariant_9_replays_that_differ_in_a_byte_are_named() {
    assert_caught(9, |history| {
        let text = String::from_utf8(history.replays[1].clone()).unwrap();
        history.replays[1] = text.replacen("ok", "OK", 1).into_bytes();
    });
    assert_caught(9, |history| history.replays.truncate(1));
    assert_caught(9, |history| {
        history
            .replays
            .iter_mut()
            .for_each(|file| without_line(file, 0))
    });
}

#[test]
fn invariant_10_a_torn_a_doubled_and_a_missing_line_are_named() {
    assert_caught(10, |history| {
        history.live.pop();
    });
    assert_caught(10, |history| without_line(&mut history.live, 3));
    assert_caught(10, |history| {
        let text = String::from_utf8(history.live.clone()).unwrap();
        let line = text.lines().next().unwrap();
        history.live = format!("{line}\n{text}").into_bytes();
    });
    assert_caught(10, |history| history.consumer_kills = 0);
}

#[test]
fn invariant_11_a_pipeline_that_stands_still_is_named() {
    assert_caught(11, |history| history.faults[0].recovered_ms = Some(61_000));
    assert_caught(11, |history| history.faults[0].recovered_ms = None);
    assert_caught(11, |history| history.drained_ms = None);
    assert_caught(11, |history| history.longest_stall_ms = 70_000);
}

#[test]
fn invariant_12_what_grows_beyond_its_ceiling_is_named() {
    assert_caught(12, |history| history.samples[0].rss_kib = 9 << 20);
    assert_caught(12, |history| history.samples[0].descriptors = 5_000);
    assert_caught(12, |history| history.seen[0].in_flight = 50);
}

#[test]
fn invariant_13_a_panic_and_an_end_that_nobody_ordered_are_named() {
    assert_caught(13, |history| {
        let line = "thread 'main' panicked at broker/src/engine.rs:1:1:".to_owned();
        history.logs[0].lines.push(line);
    });
    assert_caught(13, |history| {
        history.ends.push(ProcessEnd {
            process: "consumer".to_owned(),
            status: "exit status: 1".to_owned(),
            is_expected: false,
        });
    });
}

#[test]
fn a_check_that_looked_at_nothing_does_not_hold() {
    let check = Check::new(3, "of nothing").closed();
    assert!(!check.holds());
    assert_caught(3, |history| {
        let unknown = |line: &PublishLine| match line {
            PublishLine::Answer { outcome, .. } => *outcome == Outcome::Unknown,
            PublishLine::Intent { item, .. } => item
                .id()
                .is_some_and(|id| id.sequence == 6 && id.source_id == "s1"),
            _ => false,
        };
        history.publish.retain(|line| !unknown(line));
        history.publish.push(PublishLine::Answer {
            number: 38,
            outcome: Outcome::Ok,
        });
    });
}

#[test]
fn a_history_survives_its_file() {
    let history = history();
    let text = serde_json::to_string(&history).unwrap();
    let read: History = serde_json::from_str(&text).unwrap();
    assert_eq!(read.input, history.input);
    assert_eq!(violated(&read), Vec::<u32>::new());
}

#[test]
fn answers_that_were_planned_make_their_rows_happen() {
    let mut history = history();
    history.plan.stages[0].behaviour.late = 0.5;
    history.seen[0].answer = Answer::Late;
    assert!(!violated(&history).contains(&0));
}
