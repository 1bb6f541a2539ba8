use super::super::key::Place;
use super::*;
use proptest::prelude::*;

fn one(source: &str, epoch: u64, sequence: u64) -> Key {
    Key::At {
        source: source.to_owned(),
        epoch,
        place: Place::One(sequence),
    }
}

fn end(source: &str, epoch: u64) -> Key {
    Key::At {
        source: source.to_owned(),
        epoch,
        place: Place::End,
    }
}

/// Places, each with the branches that had a record there.
type Rows = Vec<(Key, Vec<bool>)>;

/// The places of every row, with the branches that had a record there, when the branches' records come in this order.
fn rows(merge: &mut Merge<Key>, arrivals: &[(usize, Key)], bound: usize) -> Rows {
    let (rows, end) = rows_until(merge, arrivals, bound);
    assert_eq!(end, None);
    rows
}

/// As [`rows`], and why there is no way on, if so.
fn rows_until(
    merge: &mut Merge<Key>,
    arrivals: &[(usize, Key)],
    bound: usize,
) -> (Rows, Option<Next<Key>>) {
    let mut pending: Vec<VecDeque<Key>> = vec![VecDeque::new(); merge.branches.len()];
    let mut rows = Vec::new();
    let drain = |merge: &mut Merge<Key>, pending: &mut Vec<VecDeque<Key>>, rows: &mut Vec<_>| {
        loop {
            for (branch, waiting) in pending.iter_mut().enumerate() {
                while merge.waiting(branch) < bound
                    && let Some(key) = waiting.pop_front()
                {
                    merge.push(branch, key.clone(), key);
                }
            }
            let full: Vec<bool> = (0..pending.len())
                .map(|n| merge.waiting(n) >= bound)
                .collect();
            match merge.next(|branch| full[branch]) {
                Next::Row(row) => {
                    let with = row.iter().map(Option::is_some).collect();
                    let key = row.into_iter().flatten().next().unwrap();
                    rows.push((key, with));
                }
                Next::Skipped(_) => {}
                Next::Wait(_) => return None,
                end => return Some(end),
            }
        }
    };
    for (branch, key) in arrivals {
        pending[*branch].push_back(key.clone());
        if let Some(end) = drain(merge, &mut pending, &mut rows) {
            return (rows, Some(end));
        }
    }
    (rows, None)
}

/// Round by round from each branch.
fn in_turn(branches: &[Vec<Key>]) -> Vec<(usize, Key)> {
    let longest = branches.iter().map(Vec::len).max().unwrap_or(0);
    let round = |n: usize| {
        let nth = move |(branch, keys): (usize, &Vec<Key>)| Some((branch, keys.get(n)?.clone()));
        branches.iter().enumerate().filter_map(nth)
    };
    (0..longest).flat_map(round).collect()
}

/// A stream of several sources and epochs, as a partition has it.
fn stream() -> impl Strategy<Value = Vec<Key>> {
    let step = (0..3_usize, 0..40_u32);
    prop::collection::vec(step, 1..120).prop_map(|steps| {
        let mut next = [(1, 0), (1, 0), (1, 0)];
        let name = |source: usize| ["a", "b", "c"][source];
        let key = |(source, kind): (usize, u32)| {
            let (epoch, sequence) = &mut next[source];
            if kind == 0 {
                let key = end(name(source), *epoch);
                (*epoch, *sequence) = (*epoch + 1, 0);
                return key;
            }
            let first = *sequence;
            let (place, long) = match kind {
                1 => (Place::Gap { first, count: 3 }, 3),
                _ => (Place::One(first), 1),
            };
            *sequence += long;
            Key::At {
                source: name(source).to_owned(),
                epoch: *epoch,
                place,
            }
        };
        steps.into_iter().map(key).collect()
    })
}

/// The stream, and for each place which of three branches have it.
fn damaged() -> impl Strategy<Value = Vec<(Key, [bool; 3])>> {
    let has = prop::array::uniform3(prop::bool::weighted(0.85));
    stream().prop_flat_map(move |keys| {
        let len = keys.len();
        let all = prop::collection::vec(has, len);
        all.prop_map(move |has| keys.clone().into_iter().zip(has).collect())
    })
}

proptest! {
    #[test]
    fn whole_branches_come_out_as_the_stream_they_came_from(keys in stream(), seed in any::<u64>()) {
        let branches = vec![keys.clone(); 3];
        let arrivals = shuffled(&branches, seed);
        let rows = rows(&mut Merge::new([true, false, false]), &arrivals, 8);
        let expected: Vec<_> = keys.into_iter().map(|key| (key, vec![true; 3])).collect();
        prop_assert_eq!(rows, expected);
    }

    #[test]
    fn what_some_branches_lost_comes_once_in_its_place_with_those_that_have_it(
        places in damaged(), seeds in prop::array::uniform2(any::<u64>())
    ) {
        // Behind the damage all have something in common: without that, nobody could know what comes first.
        let common: Vec<_> = (0..3).map(|n| one("z", 1, n)).collect();
        let has = |branch: usize| {
            let own = places.iter().filter(move |(_, has)| has[branch]).map(|(key, _)| key.clone());
            own.chain(common.clone()).collect::<Vec<_>>()
        };
        let branches = [has(0), has(1), has(2)];
        let bound = places.len() + common.len();
        let outcomes = seeds.map(|seed| {
            rows(&mut Merge::new([true; 3]), &shuffled(&branches, seed), bound)
        });
        prop_assert_eq!(&outcomes[0], &outcomes[1], "it depends on when records arrive");
        let is_there = |(_, has): &&(Key, [bool; 3])| has.contains(&true);
        let mut expected: Vec<_> = places.iter().filter(is_there)
            .map(|(key, has)| (key.clone(), has.to_vec())).collect();
        expected.extend(common.into_iter().map(|key| (key, vec![true; 3])));
        let mut found = outcomes[0].clone();
        // Places that no branch has between them may change their order: nothing says what it was.
        let by_name = |one: &(Key, Vec<bool>), other: &(Key, Vec<bool>)| {
            one.0.to_string().cmp(&other.0.to_string())
        };
        for source in ["a", "b", "c", "z"] {
            let of = |rows: &[(Key, Vec<bool>)]| rows.iter()
                .filter(|(key, _)| matches!(key, Key::At { source: own, .. } if own == source))
                .cloned().collect::<Vec<_>>();
            prop_assert_eq!(of(&found), of(&expected), "source {}", source);
        }
        found.sort_by(by_name);
        expected.sort_by(by_name);
        prop_assert_eq!(found, expected);
    }
}

proptest! {
    #[test]
    fn branches_of_different_orders_end_in_an_error_and_nothing_is_doubled(
        keys in stream(), seeds in prop::array::uniform4(any::<u64>()),
        lost in prop::array::uniform3(prop::collection::vec(prop::bool::weighted(0.05), 120)),
        bound in 2..40_usize, restart in 0..120_usize,
    ) {
        // Each branch merges the sources anew: all of them keep each source's order, and none another's.
        let sources = ["a", "b", "c"].map(|name| {
            let own = keys.iter().filter(|key| matches!(key, Key::At { source, .. } if source == name));
            own.cloned().collect::<Vec<_>>()
        });
        let branches: Vec<Vec<Key>> = (0..3).map(|n| {
            let merged = shuffled(&sources, seeds[n]).into_iter().map(|(_, key)| key);
            merged.zip(&lost[n]).filter(|(_, is_lost)| !**is_lost).map(|(key, _)| key).collect()
        }).collect();
        let arrivals = shuffled(&branches, seeds[3]);
        let (first, _) = rows_until(&mut Merge::new([true; 3]), &arrivals, bound);
        let is_once = |rows: &[(Key, Vec<bool>)]| {
            let mut seen = HashSet::new();
            rows.iter().all(|(key, _)| seen.insert(key.clone()))
        };
        prop_assert!(is_once(&first), "{first:?}");
        // Nor is it doubled by one that goes on behind any of these rows.
        let mut merge = Merge::new([true; 3]);
        let mut kept: Vec<_> = first.into_iter().take(restart).collect();
        let mut left = [0; 3];
        for (key, with) in &kept {
            for branch in 0..3 {
                left[branch] += usize::from(with[branch]);
                merge.branches[branch].passed.written(key, with[branch]);
            }
        }
        let rest: Vec<_> = branches.iter().zip(left).map(|(keys, left)| keys[left..].to_vec()).collect();
        let (rows, _) = rows_until(&mut merge, &shuffled(&rest, seeds[3]), bound);
        kept.extend(rows);
        prop_assert!(is_once(&kept), "{kept:?}");
    }
}

#[test]
fn the_same_frames_in_different_orders_are_said_to_be_that() {
    let (a, b, c) = (|n| one("a", 1, n), |n| one("b", 1, n), |n| one("c", 1, n));
    // Both heads are behind the other's.
    let mut merge = Merge::new([true; 2]);
    for (first, second) in [(a(0), b(0)), (b(0), a(0)), (a(1), a(1))] {
        merge.push(0, first, ());
        merge.push(1, second, ());
    }
    assert_eq!(merge.next(|_| false), Next::Crossed(a(0), 1));
    // One comes long after the others had it.
    let later = [vec![a(0), c(0), c(1), c(2)], vec![c(0), c(1), a(0), c(2)]];
    let (rows, end) = rows_until(&mut Merge::new([true; 2]), &in_turn(&later), 2);
    let places: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
    assert_eq!(places, [a(0), c(0), c(1)]);
    assert_eq!(end, Some(Next::Crossed(a(0), 1)));
}

/// The branches' records, each branch's in its order.
fn shuffled(branches: &[Vec<Key>], seed: u64) -> Vec<(usize, Key)> {
    let mut rest: Vec<VecDeque<Key>> = branches.iter().cloned().map(Into::into).collect();
    let mut state = seed | 1;
    let mut arrivals = Vec::new();
    while rest.iter().any(|branch| !branch.is_empty()) {
        // xorshift: which branch is next is all that is wanted of it
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let branch = (state % branches.len() as u64) as usize;
        if let Some(key) = rest[branch].pop_front() {
            arrivals.push((branch, key));
        }
    }
    arrivals
}

#[test]
fn a_branch_begins_where_the_first_one_is() {
    let first: Vec<_> = (5..8).map(|n| one("a", 1, n)).collect();
    let second: Vec<_> = (0..8).map(|n| one("a", 1, n)).collect();
    let mut merge = Merge::new([true, false]);
    let rows = rows(&mut merge, &in_turn(&[first.clone(), second]), 4);
    let expected: Vec<_> = first.into_iter().map(|key| (key, vec![true; 2])).collect();
    assert_eq!(rows, expected);
    assert!(merge.is_aligned(1));
}

#[test]
fn a_branch_that_was_begun_later_holds_up_nothing() {
    let first: Vec<_> = (0..8).map(|n| one("a", 1, n)).collect();
    let second: Vec<_> = (6..8).map(|n| one("a", 1, n)).collect();
    let rows = rows(
        &mut Merge::new([true, false]),
        &in_turn(&[first, second]),
        4,
    );
    let with: Vec<_> = rows.iter().map(|(_, with)| with[1]).collect();
    assert_eq!(with, [false, false, false, false, false, false, true, true]);
}

#[test]
fn a_branch_that_was_begun_in_a_later_epoch_holds_up_nothing() {
    let old: Vec<_> = (0..20).map(|n| one("a", 1, n)).collect();
    let new: Vec<_> = (0..3).map(|n| one("a", 2, n)).collect();
    let first = [old, new.clone()].concat();
    let rows = rows(&mut Merge::new([true, false]), &in_turn(&[first, new]), 4);
    assert_eq!(rows.len(), 23);
    assert!(
        rows.iter()
            .all(|(key, with)| with[1] == matches!(key, Key::At { epoch: 2, .. }))
    );
}

#[test]
fn the_last_records_of_an_older_epoch_may_follow_the_first_of_a_newer() {
    let newer = [one("a", 2, 0), one("a", 1, 57), one("a", 2, 1)];
    let without = newer[1..].to_vec();
    for branches in [[newer.to_vec(), without.clone()], [without, newer.to_vec()]] {
        let rows = rows(&mut Merge::new([true; 2]), &in_turn(&branches), 3);
        let keys: Vec<_> = rows.into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, newer);
    }
}

#[test]
fn a_gap_that_is_a_branchs_own_stands_alone_and_at_once() {
    let mut merge = Merge::new([true, true]);
    let second = [Key::Own, one("a", 1, 9)];
    let first = [one("a", 1, 8), one("a", 1, 9)];
    let rows = rows(&mut merge, &in_turn(&[first.to_vec(), second.to_vec()]), 4);
    let expected = [
        (Key::Own, vec![false, true]),
        (first[0].clone(), vec![true, false]),
        (first[1].clone(), vec![true, true]),
    ];
    assert_eq!(rows, expected);
}

#[test]
fn branches_of_different_streams_are_told_apart_from_slow_ones() {
    let mut merge = Merge::new([true, true]);
    for n in 0..3 {
        merge.push(0, one("a", 1, n), n);
        merge.push(1, one("b", 1, n), n);
    }
    assert_eq!(merge.next(|_| false), Next::Wait(vec![0, 1]));
    assert!(matches!(merge.next(|_| true), Next::Stuck(..)));
}
