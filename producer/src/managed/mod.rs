//! The sources that a registry declares for this host, while it declares them.
//!
//! ```text
//! registry --> slots (one for each source) --> source::run, each in a task of its own
//!                ^ turn: only one producer of a host is at work
//! ```
//! [`slot`] and [`opening`] decide, and are pure. While the registry cannot be heard, and while it is not known whose turn
//! it is, nothing is decided: what runs goes on.

pub mod freeze;
pub mod opening;
pub mod predecessor;
pub mod report;
pub mod slot;
pub mod sources;
pub mod spec;
pub mod turn;

use crate::config::ManagedConfig;
use crate::progress::REPORT_EVERY;
use anyhow::Context;
use freeze::Freeze;
use opening::Now;
use pipeline::kafka::KafkaConfig;
use pipeline::say;
use registry::instance::{InstanceIdentity, Service};
use registry::model::{Key, Kind};
use registry::{Registry, Reporter};
use slot::Phase;
use sources::{Crew, Sources};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use turn::{Turn, TurnEvent};

/// The rhythm in which it looks for what time alone changes.
const LOOK: Duration = Duration::from_millis(250);

/// Whether this producer is the one at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Another is, or nobody yet.
    StandingBy,
    AtWork,
    /// It was; Kafka may have given its turn to another meanwhile.
    InDoubt,
}

struct Managed {
    crew: Crew,
    registry: Registry,
    reporter: Reporter,
    sources: Sources,
    place: Place,
    /// That another producer has the host's turn.
    has_said_standing_by: bool,
    freeze: Freeze,
    last_lines: Instant,
}

/// Runs until `shutdown`.
pub async fn run(
    kafka: KafkaConfig,
    settings: ManagedConfig,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let registry = Registry::open(&kafka, &settings.registry).await?;
    let reporter = registry.reporter(InstanceIdentity {
        service: Service::Producer,
        host: settings.host.clone(),
        name: String::new(),
    })?;
    let mut turn = Turn::join(&kafka, &settings.registry, &settings.host).await?;
    let crew = Crew {
        registry: settings.registry,
        host: settings.host,
        own_id: reporter.instance().id,
    };
    let mut managed = Managed {
        registry,
        reporter,
        sources: Sources::new(kafka, crew.clone()),
        crew,
        place: Place::StandingBy,
        has_said_standing_by: false,
        freeze: Freeze::default(),
        last_lines: Instant::now(),
    };
    let result = managed.serve(&mut turn, &shutdown).await;
    let failures = managed.close_all("its producer ends").await;
    // Another takes over when the sources have ended, not before.
    turn.close().await;
    managed.reporter.close().await;
    result?;
    anyhow::ensure!(
        failures.is_empty(),
        "not every source ended well: {}",
        failures.join("; ")
    );
    Ok(())
}

impl Managed {
    async fn serve(&mut self, turn: &mut Turn, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let mut changes = self.registry.changes();
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                event = turn.next() => self.take_turn(event).await?,
                _ = self.sources.ended() => {} // it is logged, and its slot knows
                changed = changes.changed() => changed.context("following the registry")?,
                _ = looks.tick() => {}
            }
            self.follow().await;
            self.report();
        }
    }

    async fn take_turn(&mut self, event: TurnEvent) -> anyhow::Result<()> {
        let host = &self.crew.host;
        match event {
            TurnEvent::Ours => {
                tracing::info!(host, "this producer is at work");
                self.place = Place::AtWork;
                self.sources.begin_turn(Instant::now());
            }
            TurnEvent::Leaves(done) => {
                self.stand_by().await;
                drop(done);
            }
            TurnEvent::InDoubt if self.place == Place::AtWork => {
                tracing::warn!(
                    host,
                    "Kafka was not heard for too long: what runs goes on, nothing is opened or closed"
                );
                self.place = Place::InDoubt;
            }
            TurnEvent::InDoubt => {}
            TurnEvent::Failed(fault) => return Err(fault.into()),
        }
        Ok(())
    }

    /// Whoever takes over waits for each until it hears that it is closed.
    async fn close_all(&mut self, why: &str) -> Vec<String> {
        let reporter = &self.reporter;
        let tell = |sources: &mut Sources| tell(sources, reporter);
        self.sources.close_all(why, tell).await
    }

    async fn stand_by(&mut self) {
        self.say_standing_by();
        self.place = Place::StandingBy;
        // What failed is logged; the sources are another's now.
        let why = "another producer of its host takes over";
        drop(self.close_all(why).await);
        self.freeze = Freeze::default(); // the time that took was no freeze
    }

    fn say_standing_by(&mut self) {
        let host = &self.crew.host;
        tracing::info!(
            host,
            "another producer of this host is at work; standing by"
        );
        self.has_said_standing_by = true;
    }

    async fn follow(&mut self) {
        let now = Now::read();
        let is_turn_known = self.freeze.is_turn_known(now);
        let view = self.registry.view();
        if view.away_since().is_some() {
            return; // nobody knows who watches, or what was declared since
        }
        match self.place {
            Place::AtWork if is_turn_known => self.sources.follow(&view, now),
            Place::InDoubt if self.crew.is_another_at_work(&view) => self.stand_by().await,
            Place::StandingBy
                if !self.has_said_standing_by && self.crew.is_another_at_work(&view) =>
            {
                self.say_standing_by();
            }
            Place::AtWork | Place::InDoubt | Place::StandingBy => {}
        }
    }

    fn report(&mut self) {
        let since = self.last_lines.elapsed();
        if since >= REPORT_EVERY {
            self.last_lines = Instant::now();
            for (_, slot) in self.sources.slots() {
                if let Some(run) = slot.run_mut() {
                    run.fps = run.meter.fps(&run.progress);
                    say(run.progress.line(run.fps));
                }
            }
        }
        tell(&mut self.sources, &self.reporter);
    }
}

/// Says in the registry what each source does.
fn tell(sources: &mut Sources, reporter: &Reporter) {
    let mut said = Vec::new();
    let mut applied = Vec::new();
    for (name, slot) in sources.slots() {
        said.push(report::running_source(name, slot));
        if let (Ok(name), false) = (name.parse(), matches!(slot.phase(), Phase::Stopping(..))) {
            applied.push((Key::new(Kind::Source, name), slot.version()));
        }
    }
    reporter.update(|instance| {
        instance.sources = said;
        instance.applied.clear();
        applied
            .iter()
            .for_each(|(key, version)| instance.apply(key, *version));
    });
}
