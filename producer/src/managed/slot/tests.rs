use super::*;
use crate::args::SourceArgs;

fn declared(count: u64, opening: Opening) -> Result<Declared, String> {
    let args = SourceArgs {
        topic: Some("t".to_owned()),
        pattern: Some("160x120@10".parse().unwrap()),
        count: Some(count),
        ..SourceArgs::default()
    };
    let config = SourceConfig::try_from(args).unwrap();
    Ok(Declared {
        config: Arc::new(config),
        opening,
    })
}

fn run(config: Arc<SourceConfig>, begun: Instant) -> Run {
    Run {
        config,
        stop: CancellationToken::new(),
        progress: Arc::new(Progress::new("t", "t", "wait")),
        meter: Meter::default(),
        fps: 0.0,
        begun,
        turn: RunTurn::This,
    }
}

/// Steps, and starts what is to be started. True if something was.
fn step(slot: &mut Slot, watchers: usize, now: Now) -> bool {
    let wanted = slot.step(watchers, now);
    let starts = wanted.is_some();
    if let Some(config) = wanted {
        slot.started(run(config, now.instant));
    }
    starts
}

fn later(now: Now, pause: Duration) -> Now {
    Now {
        instant: now.instant + pause,
        ..now
    }
}

#[test]
fn only_what_changes_a_source_restarts_it() {
    let (mut slot, now) = (Slot::default(), Now::read());
    slot.declare(declared(5, Opening::Always), 1);
    assert!(step(&mut slot, 0, now));
    let close_after = Duration::from_secs(1);
    slot.declare(declared(5, Opening::OnDemand { close_after }), 2);
    assert!(!step(&mut slot, 1, now));
    assert!(matches!(slot.phase(), Phase::Running(_)));
    slot.declare(declared(6, Opening::Always), 3);
    assert!(!step(&mut slot, 1, now));
    assert!(matches!(slot.phase(), Phase::Stopping(run, _) if run.stop.is_cancelled()));
    slot.ended(Outcome::Done, now.instant);
    assert!(step(&mut slot, 1, now));
}

#[test]
fn what_came_to_its_end_runs_again_only_when_it_changes_or_is_opened_anew() {
    let (mut slot, now) = (Slot::default(), Now::read());
    let close_after = Duration::ZERO;
    let on_demand = || Opening::OnDemand { close_after };
    slot.declare(declared(5, on_demand()), 1);
    assert!(!step(&mut slot, 0, now));
    assert!(step(&mut slot, 1, now));
    slot.ended(Outcome::Done, now.instant);
    assert!(!step(&mut slot, 1, now));
    assert!(matches!(slot.phase(), Phase::Ended(_)));
    let now = later(now, Duration::from_secs(1));
    assert!(!step(&mut slot, 0, now));
    assert!(matches!(slot.phase(), Phase::Closed(_)));
    assert!(step(&mut slot, 1, now), "watched again");
    slot.ended(Outcome::Done, now.instant);
    slot.declare(declared(6, on_demand()), 2);
    assert!(step(&mut slot, 1, now), "changed");
}

#[test]
fn a_failure_is_tried_again_ever_later_and_at_once_when_the_settings_change() {
    let (mut slot, mut now) = (Slot::default(), Now::read());
    slot.declare(declared(5, Opening::Always), 1);
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert!(step(&mut slot, 0, now));
        slot.ended(Outcome::Failed("no camera".to_owned()), now.instant);
        now = later(now, Duration::from_millis(pause * 1_000 - 1));
        assert!(!step(&mut slot, 0, now), "{pause}");
        now = later(now, Duration::from_millis(1));
    }
    assert!(step(&mut slot, 0, now));
    slot.ended(Outcome::Failed("no camera".to_owned()), now.instant);
    slot.declare(declared(6, Opening::Always), 2);
    assert!(step(&mut slot, 0, now));
    now = later(now, LONG_RUN);
    slot.ended(Outcome::Failed("unplugged".to_owned()), now.instant);
    assert!(step(&mut slot, 0, later(now, FIRST_PAUSE)));
}

#[test]
fn refused_settings_fail_a_source_that_does_not_run_and_leave_one_that_does() {
    let (mut slot, now) = (Slot::default(), Now::read());
    slot.declare(Err("quality 700".to_owned()), 1);
    assert!(!step(&mut slot, 1, now));
    assert!(matches!(slot.phase(), Phase::Failed { why, .. } if why == "quality 700"));
    slot.declare(declared(5, Opening::Always), 2);
    assert!(step(&mut slot, 1, now));
    slot.declare(Err("quality 800".to_owned()), 3);
    assert!(!step(&mut slot, 1, now));
    assert!(matches!(slot.phase(), Phase::Running(run) if !run.stop.is_cancelled()));
    assert_eq!(slot.refusal(), Some("quality 800"));
}

#[test]
fn what_was_taken_over_waits_for_a_change_and_what_was_deleted_goes() {
    let (mut slot, now) = (Slot::default(), Now::read());
    slot.declare(declared(5, Opening::Always), 1);
    assert!(step(&mut slot, 0, now));
    let taken_over = Outcome::TakenOver("by another".to_owned(), Taker::Stranger);
    slot.ended(taken_over, now.instant);
    assert!(!step(&mut slot, 0, later(now, LONG_RUN)));
    slot.declare(declared(6, Opening::Always), 2);
    assert!(step(&mut slot, 0, now));
    slot.withdraw();
    assert!(!step(&mut slot, 0, now) && !slot.is_gone());
    slot.ended(Outcome::Done, now.instant);
    assert!(slot.is_gone());
}

#[test]
fn what_another_of_the_host_took_over_is_opened_when_the_turn_comes_back() {
    let (mut slot, now) = (Slot::default(), Now::read());
    let taken_over = || Outcome::TakenOver("by the heir".to_owned(), Taker::Stranger);
    slot.declare(declared(5, Opening::Always), 1);
    assert!(step(&mut slot, 0, now));
    slot.ended(taken_over(), now.instant);
    assert!(!step(&mut slot, 0, later(now, LONG_RUN)));
    slot.begin_turn();
    assert!(step(&mut slot, 0, now));
    // It hears of it only when the turn is its own again.
    slot.begin_turn();
    assert!(!step(&mut slot, 0, now), "it runs");
    slot.ended(taken_over(), now.instant);
    assert!(step(&mut slot, 0, now));
    // But who takes it over within the turn keeps it.
    slot.ended(taken_over(), now.instant);
    assert!(!step(&mut slot, 0, later(now, LONG_RUN)));
}

#[test]
fn what_another_of_the_crew_took_within_the_turn_is_opened_once_nobody_has_it() {
    let (mut slot, now) = (Slot::default(), Now::read());
    let taken_over = || Outcome::TakenOver("by one that woke".to_owned(), Taker::Crew);
    slot.declare(declared(5, Opening::Always), 1);
    assert!(step(&mut slot, 0, now));
    slot.ended(taken_over(), now.instant);
    let seen = later(now, FREE_AFTER - Duration::from_millis(1));
    assert!(!step(&mut slot, 0, seen), "it may not have spoken yet");
    assert!(slot.waits_until_free());
    slot.has_another(seen.instant);
    let freed = later(seen, FREE_AFTER);
    assert!(!step(&mut slot, 0, later(seen, FREE_AFTER / 2)));
    assert!(step(&mut slot, 0, freed), "without another turn");
    slot.ended(taken_over(), freed.instant);
    slot.begin_turn();
    assert!(step(&mut slot, 0, freed), "with another turn at once");
}
