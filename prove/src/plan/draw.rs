//! From a seed to a plan. Each part has dice of its own: a run restricted to some rows keeps its workload.

use super::{
    Content, Fault, LetGo, Membership, Plan, PlannedFault, Seat, StagePlan, Step, Trigger, Way,
    Workload,
};
use crate::behaviour::Behaviour;
use crate::dice::{Dice, drawn};

/// The rows of the fault matrix that a seeded run can make happen.
pub const ROWS: &[u32] = &[
    1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 24, 25, 29,
];

/// Rows that are actions of the conductor, with their weight in a draw. Those that take long have less of it.
const ACTIONS: &[(u32, usize)] = &[
    (1, 4),
    (2, 6),
    (3, 1),
    (4, 4),
    (5, 1),
    (6, 3),
    (7, 1),
    (8, 3),
    (12, 2),
    (17, 1),
    (25, 2),
    (29, 2),
];

/// Actions of one run, beside the consumer's deaths.
const ACTIONS_PER_RUN: usize = 3;

/// What a person chose.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    pub nodes: usize,
    /// None: the seed chooses.
    pub rows: Option<Vec<u32>>,
}

/// The plan of a seed.
pub fn draw(seed: u64, choice: &Choice) -> Plan {
    let dice = |part: u64| Dice::new(drawn(seed, &[part]));
    let rows = rows(&mut dice(1), choice);
    let stages = stages(seed, &mut dice(2), &rows);
    Plan {
        seed,
        nodes: choice.nodes,
        workload: workload(&mut dice(3), &rows),
        faults: faults(&mut dice(4), &rows, &stages, choice.nodes),
        stages,
    }
}

fn rows(dice: &mut Dice, choice: &Choice) -> Vec<u32> {
    let possible = |row: u32| row != 4 || choice.nodes > 1;
    if let Some(rows) = &choice.rows {
        return rows.iter().copied().filter(|row| possible(*row)).collect();
    }
    let mut tickets: Vec<u32> = ACTIONS
        .iter()
        .filter(|(row, _)| possible(*row))
        .flat_map(|(row, weight)| std::iter::repeat_n(*row, *weight))
        .collect();
    let mut rows = Vec::new();
    for _ in 0..ACTIONS_PER_RUN {
        let row = *dice.pick(&tickets);
        rows.push(row);
        tickets.retain(|ticket| *ticket != row);
    }
    let others = [10, 11, 13, 14, 16, 18, 19, 20];
    rows.extend(others.into_iter().filter(|_| dice.chance(0.5)));
    rows
}

fn workload(dice: &mut Dice, rows: &[u32]) -> Workload {
    let steps = dice.within(2_000..=2_400);
    let first = dice.within(200..=800);
    let second = first + dice.within(400..=900);
    let deaths = if dice.chance(0.5) {
        vec![first, second]
    } else {
        vec![first]
    };
    Workload {
        partitions: dice.within(2..=4) as i32,
        sources: dice.within(3..=6),
        steps_per_s: dice.within(110..=170),
        steps,
        deaths,
        largest_picture_bytes: *dice.pick(&[2_000, 5_000, 9_000]),
        transaction_every: dice.within(60..=150),
        garbage_every: rows.contains(&18).then(|| dice.within(80..=200)),
        bomb_every: rows.contains(&19).then(|| dice.within(80..=200)),
    }
}

fn stages(seed: u64, dice: &mut Dice, rows: &[u32]) -> Vec<StagePlan> {
    let needs_two = [3, 29].iter().any(|row| rows.contains(row));
    let two_stages = dice.chance(0.5);
    let first = StagePlan {
        processor: "first".to_owned(),
        brokers: if needs_two || dice.chance(0.5) { 2 } else { 1 },
        replicas: 2,
        content: *dice.pick(&[Content::Inline, Content::Reference]),
        membership: *dice.pick(&[Membership::Static, Membership::Static, Membership::Dynamic]),
        in_flight: dice.within(4..=16) as usize,
        window: window(dice, rows),
        behaviour: misbehaviour(drawn(seed, &[21]), dice, rows),
    };
    let second = StagePlan {
        processor: "second".to_owned(),
        brokers: 1,
        replicas: 1,
        content: *dice.pick(&[Content::Inline, Content::Reference]),
        membership: Membership::Static,
        in_flight: 16,
        window: 64,
        behaviour: Behaviour::good(drawn(seed, &[22])),
    };
    let count = if two_stages { 2 } else { 1 };
    [first, second].into_iter().take(count).collect()
}

/// Frames without an answer stop their lane for the deadline: the smaller the window, the more often it stands, and the
/// pipeline must keep up with the workload.
fn window(dice: &mut Dice, rows: &[u32]) -> usize {
    if rows.contains(&11) || rows.contains(&16) {
        *dice.pick(&[128, 256])
    } else {
        *dice.pick(&[32, 64, 256])
    }
}

fn misbehaviour(seed: u64, dice: &mut Dice, rows: &[u32]) -> Behaviour {
    let mut rate = |row: u32, low: f64, high: f64| {
        let part = dice.within(0..=100) as f64 / 100.0;
        if rows.contains(&row) {
            low + part * (high - low)
        } else {
            0.0
        }
    };
    let (slow, hang) = (rate(10, 0.005, 0.02), rate(11, 0.003, 0.006));
    let (wrong_id, oversize) = (rate(13, 0.01, 0.05), rate(14, 0.004, 0.01));
    let late = rate(16, 0.003, 0.006);
    Behaviour {
        p50_ms: *dice.pick(&[2, 5, 10]),
        p99_ms: *dice.pick(&[30, 80, 150]),
        error: dice.within(0..=4) as f64 / 100.0,
        slow,
        slow_ms: 500,
        hang,
        wrong_id,
        oversize,
        late,
        unusable: if dice.chance(0.5) { 1.0 } else { 0.0 },
        poison_every: dice.within(60..=150),
        killers: if rows.contains(&20) {
            dice.within(1..=2)
        } else {
            0
        },
        ..Behaviour::good(seed)
    }
}

fn faults(dice: &mut Dice, rows: &[u32], stages: &[StagePlan], nodes: usize) -> Vec<PlannedFault> {
    let mut all: Vec<PlannedFault> = rows
        .iter()
        .filter(|row| ACTIONS.iter().any(|(action, _)| action == *row))
        .map(|row| PlannedFault {
            row: *row,
            after: trigger(dice),
            fault: fault(dice, *row, stages, nodes),
        })
        .collect();
    // Whatever else is chosen: without a consumer that was killed nothing would be known of its sink.
    let deaths = if rows.contains(&24) { 3 } else { 1 };
    for _ in 0..deaths {
        let at = dice.within(0..=all.len() as u64) as usize;
        let down_ms = dice.within(0..=800);
        let death = PlannedFault {
            row: 24,
            after: Trigger::Outputs(dice.within(20..=200)),
            fault: Fault::KillConsumer { down_ms },
        };
        all.insert(at, death);
    }
    all
}

fn trigger(dice: &mut Dice) -> Trigger {
    match dice.within(0..=3) {
        0 | 1 => Trigger::Commits(dice.within(3..=60)),
        2 => Trigger::Outputs(dice.within(20..=250)),
        _ => Trigger::Ms(dice.within(100..=1_500)),
    }
}

const STEPS: &[Step] = &[
    Step::AddPartitionsRequest,
    Step::AddPartitionsResponse,
    Step::ProduceRequest,
    Step::ProduceResponse,
    Step::AddOffsetsRequest,
    Step::AddOffsetsResponse,
    Step::TxnOffsetCommitRequest,
    Step::TxnOffsetCommitResponse,
    Step::EndTxnRequest,
    Step::EndTxnResponse,
];

fn fault(dice: &mut Dice, row: u32, stages: &[StagePlan], nodes: usize) -> Fault {
    let stage = dice.within(0..=stages.len() as u64 - 1) as usize;
    let broker = dice.within(0..=stages[stage].brokers as u64 - 1) as usize;
    let seat = Seat { stage, broker };
    let first = Seat {
        stage: 0,
        broker: dice.within(0..=stages[0].brokers as u64 - 1) as usize,
    };
    match row {
        1 => Fault::KillBroker {
            seat,
            down_ms: dice.within(0..=1_500),
        },
        2 => Fault::KillBrokerAt {
            seat,
            step: *dice.pick(STEPS),
            let_go: *dice.pick(&[LetGo::BeforeRestart, LetGo::AfterRestart]),
        },
        3 => Fault::StopBroker {
            seat: first,
            ms: dice.within(1_000..=9_000),
        },
        4 => Fault::KillKafkaNode {
            node: dice.within(0..=nodes as u64 - 1) as usize,
            down_ms: dice.within(500..=3_000),
        },
        5 => Fault::KillAllKafka {
            down_ms: dice.within(0..=2_000),
        },
        6 => Fault::Cut {
            seat,
            way: *dice.pick(&[Way::ToKafka, Way::ToClient, Way::Both]),
            ms: dice.within(1_000..=5_000),
        },
        7 => Fault::Slow {
            seat,
            latency_ms: dice.within(100..=500),
            bytes_per_s: 125_000,
            ms: dice.within(3_000..=6_000),
        },
        8 => Fault::StrayEndTxn { seat },
        12 => Fault::KillProcessor {
            stage,
            replica: dice.within(0..=stages[stage].replicas as u64 - 1) as usize,
            down_ms: dice.within(0..=1_000),
        },
        17 => Fault::KillAllProcessors {
            stage,
            down_ms: dice.within(1_000..=4_000),
        },
        25 => Fault::Rebalances {
            stage: 0,
            times: dice.within(4..=8),
            every_ms: 500,
        },
        _ => Fault::RollingRestart { stage: 0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(nodes: usize) -> Choice {
        Choice { nodes, rows: None }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_also_by_way_of_its_file() {
        let plan = draw(3, &choice(1));
        assert_eq!(plan, draw(3, &choice(1)));
        assert_ne!(plan, draw(4, &choice(1)));
        let json = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }

    #[test]
    fn a_hundred_seeds_reach_every_row() {
        let mut reached: Vec<u32> = (0..100)
            .flat_map(|seed| draw(seed, &choice(3)).rows())
            .collect();
        reached.sort_unstable();
        reached.dedup();
        assert_eq!(reached, ROWS);
    }

    #[test]
    fn rows_that_were_chosen_are_all_there_and_the_workload_stays() {
        let restricted = Choice {
            nodes: 1,
            rows: Some(vec![1, 14]),
        };
        for seed in 0..20 {
            let plan = draw(seed, &restricted);
            assert_eq!(plan.rows(), [1, 14, 15, 24]);
            assert_eq!(plan.workload.deaths, draw(seed, &choice(1)).workload.deaths);
        }
    }
}
