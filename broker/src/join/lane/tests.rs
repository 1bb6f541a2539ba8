use super::*;
use crate::output::Origin;
use pipeline::trace::TraceContext;
use pipeline::v1;
use processor_proto::envelope::Kind;
use proptest::prelude::*;

const BOUNDS: LaneBounds = LaneBounds {
    lane_records: 8,
    lane_bytes: 1_000_000,
    total_bytes: 1_000_000,
};

fn topics() -> Vec<Arc<str>> {
    vec!["a".into(), "b".into(), "c".into()]
}

/// A branch as it lies in its topic: offsets have holes, as those of transactions do.
fn branch(skip: u64, frames: u64) -> Vec<(i64, u64)> {
    (skip..frames)
        .map(|sequence| ((sequence * 3 + skip) as i64, sequence))
        .collect()
}

fn record(topic: &str, offset: i64, sequence: u64) -> Read {
    let input = Origin {
        lane: TopicPartition::new(topic, 4),
        offset,
        timestamp_ms: 0,
        trace: TraceContext::root(),
    };
    let frame = v1::Frame {
        id: Some(v1::FrameId::new("s", 1, sequence)),
        ..Default::default()
    };
    Read {
        part: Part {
            input,
            message: Kind::Frame(frame),
            entered_unix_ns: 0,
        },
        next_offset: offset + 1,
        bytes: 10,
        at: Instant::now(),
    }
}

/// One life of a lane: goes on from these bookmarks, reads in an order of its own, and commits after some rows. What it has
/// written and committed, and the bookmarks.
fn live(
    branches: &[Vec<(i64, u64)>],
    bookmarks: &[Bookmark],
    reads: &[usize],
    commit_after: usize,
) -> (Vec<u64>, Vec<Bookmark>) {
    let topics = topics();
    let first = bookmarks.first();
    let note = first.map_or_else(Note::default, |bookmark| Note::read(&bookmark.note));
    let start = first.map_or(0, |bookmark| bookmark.next_offset);
    let mut lane = JoinLane::new(&topics, 4, 100, start, &note, BOUNDS);
    let mut next: Vec<usize> = Vec::new();
    for (n, topic) in topics.iter().enumerate() {
        let known = note.branches.get(&**topic);
        let start = if n == 0 {
            start
        } else {
            known.map_or(0, |at| at.next_offset)
        };
        if n > 0 {
            lane.opened(topic, 100 + n as LaneId, start);
        }
        let is_before = |(offset, _): &&(i64, u64)| *offset < start;
        next.push(branches[n].iter().take_while(is_before).count());
    }
    let mut rows = Vec::new();
    for branch in reads.iter().copied().chain((0..300).map(|n| n % 3)) {
        if let Some((offset, sequence)) = branches[branch].get(next[branch])
            && lane.merge.waiting(branch) < BOUNDS.lane_records
        {
            next[branch] += 1;
            lane.read(branch, record(&topics[branch], *offset, *sequence));
        }
        loop {
            match lane.next() {
                Step::Write(row) => {
                    let part = row.parts.iter().flatten().next().unwrap();
                    rows.push(part.message.id().unwrap().sequence);
                }
                Step::Skip(_) => {}
                Step::Wait => break,
                Step::Stuck(why) => panic!("{why}"),
            }
        }
    }
    rows.truncate(commit_after.min(rows.len()));
    let bookmarks = match rows.len() {
        0 => bookmarks.to_vec(),
        committed => lane.bookmarks(committed as i64, 1),
    };
    (rows, bookmarks)
}

proptest! {
    #[test]
    fn whatever_is_committed_between_two_lives_every_row_is_written_once(
        begins in prop::array::uniform2(0..6_u64),
        reads in prop::collection::vec(prop::collection::vec(0..3_usize, 0..60), 1..5),
        commits in prop::collection::vec(0..30_usize, 5),
    ) {
        let frames = 40;
        // The first branch leads; the second may have begun earlier or later, the third later.
        let branches = [branch(2, frames), branch(begins[0], frames), branch(begins[1], frames)];
        let mut bookmarks = Vec::new();
        let mut written = Vec::new();
        for (reads, commit) in reads.iter().zip(commits) {
            let (rows, next) = live(&branches, &bookmarks, reads, commit);
            written.extend(rows);
            bookmarks = next;
        }
        let (rows, bookmarks) = live(&branches, &bookmarks, &[], usize::MAX);
        written.extend(rows);
        prop_assert_eq!(written, (2..frames).collect::<Vec<_>>());
        for (bookmark, branch) in bookmarks.iter().zip(&branches) {
            let (last, _) = branch.last().unwrap();
            prop_assert_eq!(bookmark.next_offset, last + 1, "{:?}", bookmark);
        }
    }
}

/// A lane whose branches have had these many frames each.
fn lane_with(frames: u64) -> JoinLane {
    let topics = topics();
    let mut lane = JoinLane::new(&topics, 4, 100, 0, &Note::default(), BOUNDS);
    lane.opened("b", 101, 0);
    lane.opened("c", 102, 0);
    for sequence in 0..frames {
        for (n, topic) in topics.iter().enumerate() {
            lane.read(n, record(topic, sequence as i64, sequence));
        }
        assert!(matches!(lane.next(), Step::Write(_)));
    }
    lane
}

#[test]
fn after_an_unknown_outcome_the_offsets_of_all_branches_say_what_became_of_a_batch() {
    let mut lane = lane_with(5);
    assert_eq!(lane.row_of(3, &[Some(3), Some(3), Some(3)]), Ok(Some(3)));
    assert_eq!(lane.row_of(3, &[None, None, None]), Ok(None));
    assert_eq!(lane.row_of(3, &[Some(0), None, None]), Ok(None));
    assert_eq!(lane.row_of(3, &[Some(4), Some(4), Some(4)]), Err(4));
    let freed = Freed {
        records: 3,
        bytes: 30,
    };
    assert_eq!(lane.done(3), [freed; 3]);
    assert_eq!(lane.row_of(5, &[Some(3), Some(3), Some(3)]), Ok(None));
    assert_eq!(lane.row_of(5, &[Some(5), Some(5), Some(5)]), Ok(Some(5)));
}

#[test]
fn bookmarks_name_every_branch_and_each_has_the_whole_note() {
    let lane = lane_with(2);
    let bookmarks = lane.bookmarks(2, 7);
    let found: Vec<_> = bookmarks
        .iter()
        .map(|bookmark| {
            (
                bookmark.tp.to_string(),
                bookmark.next_offset,
                bookmark.note.as_str(),
            )
        })
        .collect();
    let note = "revision=7 a=2 b=2 c=2";
    let expected = ["a[4]", "b[4]", "c[4]"].map(|tp| (tp.to_owned(), 2, note));
    assert_eq!(found, expected);
    assert_eq!(lane.bookmarks(9, 7), []);
}

#[test]
fn the_branches_that_hold_the_others_up_are_named() {
    let mut lane = lane_with(1);
    assert!(matches!(lane.next(), Step::Wait));
    assert!(lane.waits_for().is_empty(), "nobody waits for anybody");
    lane.read(0, record("a", 1, 1));
    lane.read(2, record("c", 1, 1));
    assert!(matches!(lane.next(), Step::Wait));
    assert_eq!(lane.waits_for(), ["b".into()]);
    assert_eq!(lane.waiting(), 2);
}

#[test]
fn what_was_written_without_a_branch_is_not_written_again_after_a_restart() {
    let topics = topics();
    let read = |lane: &mut JoinLane, n: usize, offset: i64, sequence: u64, source: &str| {
        let mut record = record(&topics[n], offset, sequence);
        if let Kind::Frame(frame) = &mut record.part.message {
            frame.id = Some(v1::FrameId::new(source, 1, sequence));
        }
        lane.read(n, record);
    };
    let mut lane = JoinLane::new(&topics[..2], 4, 100, 0, &Note::default(), BOUNDS);
    lane.opened("b", 101, 0);
    // The second has the frames of s and t the other way round, farther apart than it is looked.
    read(&mut lane, 0, 0, 0, "s");
    read(&mut lane, 0, 1, 0, "t");
    read(&mut lane, 1, 0, 0, "t");
    let Step::Write(row) = lane.next() else {
        panic!("nothing says yet that something is wrong");
    };
    assert!(row.parts[1].is_none());
    let bookmarks = lane.bookmarks(1, 1);
    let note = Note::read(&bookmarks[0].note);
    let mut lane = JoinLane::new(
        &topics[..2],
        4,
        100,
        bookmarks[0].next_offset,
        &note,
        BOUNDS,
    );
    lane.opened("b", 101, bookmarks[1].next_offset);
    read(&mut lane, 0, 1, 0, "t");
    read(&mut lane, 1, 0, 0, "t");
    assert!(matches!(lane.next(), Step::Write(_)));
    read(&mut lane, 1, 1, 0, "s");
    read(&mut lane, 0, 2, 1, "s");
    let Step::Stuck(why) = lane.next() else {
        panic!("it is doubled");
    };
    assert!(why.contains("b has s/1/0 in another place"), "{why}");
}
