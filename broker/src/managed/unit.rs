//! Keeps one piece of work running: begins it, changes it, rolls it over, begins it again when it failed.
//!
//! ```text
//! Waiting ─▶ Starting ─▶ Running ─▶ Rolling (the old one runs on until the new processor is up) ─▶ Starting
//!    ▲                      │ failed
//!    └──── Failed ◀─────────┘ (again after a pause, or when something changes)
//! ```
//! Nothing is begun before its processor is up: in its group it would take partitions from those who can work.

use super::plan::{Essence, Ready, Wanted};
use super::processors::{CalledProcessor, ProcessorSettings, Processors};
use crate::args::StageConfig;
use crate::engine::Halted;
use crate::report::StageReport;
use crate::run::{Fence, StageContext, Superseded, run_stage};
use crate::status::Show;
use pipeline::kafka::{KafkaFault, SharedMemory};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// Pause before a stage that failed is begun again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A stage that has run for this long has recovered from what was before.
const RECOVERED: Duration = Duration::from_secs(30);

/// Between two looks how the processors are that a stage waits for.
const LOOK: Duration = Duration::from_secs(1);

/// How a stage is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Starting,
    Running,
    /// For what the text says: nothing can be done here.
    Waiting(String),
    /// The old version runs on until the new one can take over.
    Rolling(String),
    /// It was tried; it is tried again.
    Failed(String),
}

/// What a stage is and how it goes.
#[derive(Debug, Clone)]
pub struct UnitReport {
    pub state: State,
    /// The revision of the registry that it follows.
    pub revision: u64,
    /// What was declared and is not followed, and why.
    pub refused: Option<String>,
    pub stage: StageReport,
}

/// What all stages of a process share.
#[derive(Debug, Clone)]
pub struct Env {
    pub memory: SharedMemory,
    pub processors: Arc<Processors>,
    /// A stage has something new to say.
    pub news: Arc<Notify>,
}

/// One piece of work and who keeps it.
pub struct Unit {
    wanted: watch::Receiver<Wanted>,
    env: Env,
    report: watch::Sender<UnitReport>,
    stop: CancellationToken,
    pause: Duration,
    /// What it ran as last, and the revision that said so: what it goes on as while what is declared cannot be used, or is
    /// not up yet. None: what is declared is all there is.
    last: Option<(Ready, u64)>,
    /// That of the stage that begins next: its replicas are known and up by then.
    next_processor: Option<Arc<CalledProcessor>>,
}

/// The stage itself.
struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    reports: watch::Receiver<StageReport>,
    fence: Fence,
    ready: Ready,
    processor: Option<Arc<CalledProcessor>>,
    since: Instant,
}

/// What is to be done after a stage has ended.
enum Next {
    Begin,
    Pause,
    /// Only another essence than this helps.
    Halt(Essence),
    End,
}

type Ended = Result<anyhow::Result<()>, JoinError>;

impl Unit {
    pub fn new(
        wanted: watch::Receiver<Wanted>,
        env: Env,
        report: watch::Sender<UnitReport>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            wanted,
            env,
            report,
            stop,
            pause: FIRST_PAUSE,
            last: None,
            next_processor: None,
        }
    }

    /// Runs until it is stopped; then everything of it has ended.
    pub async fn keep(mut self) {
        while !self.stop.is_cancelled() {
            let wanted = self.wanted.borrow_and_update().clone();
            let mut is_rolling = false;
            let refused = match wanted.work {
                Ok(ready) => {
                    match &self.last {
                        None => {
                            if !self.comes_up(&ready, wanted.revision).await {
                                continue;
                            }
                            self.last = Some((ready, wanted.revision));
                        }
                        Some((last, _)) if last.essence == ready.essence => {
                            self.last = Some((ready, wanted.revision));
                        }
                        Some(_) => {
                            is_rolling = true;
                            self.wanted.mark_changed(); // it is rolled over to
                        }
                    }
                    None
                }
                Err(why) => Some(why),
            };
            let Some((last, revision)) = self.last.clone() else {
                self.tell(State::Waiting(refused.unwrap_or_default()), wanted.revision);
                let change = self.wanted.changed();
                self.stop.run_until_cancelled(change).await;
                continue;
            };
            let running = self.begin(&wanted.place, last, revision);
            if !is_rolling {
                self.next_processor = None; // the stage has it now
            }
            if let Some(why) = refused {
                self.refuse(&wanted.place, why);
            }
            match self.supervise(running).await {
                Next::Begin => {}
                Next::End => return,
                Next::Halt(essence) => self.wait_for_another(&essence).await,
                Next::Pause => self.rest().await,
            }
        }
    }

    /// Waits for the processor of what does not run here yet. False: something else is declared by now, or nothing any more.
    async fn comes_up(&mut self, ready: &Ready, revision: u64) -> bool {
        let Some(settings) = &ready.processor else {
            return true;
        };
        self.tell(State::Waiting(not_up(settings)), revision);
        let called = self.env.processors.call(settings);
        self.next_processor = Some(Arc::clone(&called));
        let is_up = called.is_up();
        tokio::pin!(is_up);
        let made = make_topics(Arc::clone(&ready.config));
        tokio::pin!(made);
        let mut are_made = false;
        let mut looks = tokio::time::interval(LOOK);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return false,
                Ok(()) = self.wanted.changed() => {
                    self.wanted.mark_changed(); // it is looked at from the beginning
                    return false;
                }
                () = &mut is_up => return true,
                () = &mut made, if !are_made => are_made = true,
                _ = looks.tick() => {
                    self.say(|report| report.stage.replicas = called.balancer.replicas());
                }
            }
        }
    }

    /// Until something else is declared than what halted.
    async fn wait_for_another(&mut self, halted: &Essence) {
        let is_another = |wanted: &Wanted| {
            let ready = wanted.work.as_ref();
            ready.is_ok_and(|ready| ready.essence != *halted)
        };
        let another = self.wanted.wait_for(is_another);
        self.stop.run_until_cancelled(another).await;
    }

    /// A pause, or until something changes.
    async fn rest(&mut self) {
        let change = tokio::time::timeout(self.pause, self.wanted.changed());
        self.stop.run_until_cancelled(change).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn begin(&mut self, place: &Arc<str>, ready: Ready, revision: u64) -> Running {
        self.tell(State::Starting, revision);
        let processor = ready.processor.as_ref();
        let processor = processor.map(|settings| self.env.processors.call(settings));
        let (sender, reports) = watch::channel(StageReport::default());
        let fence = Fence::default();
        fence.advance(revision);
        let context = StageContext {
            memory: self.env.memory.clone(),
            show: Show::Report {
                stage: Arc::clone(place),
                reports: sender,
            },
            fence: fence.clone(),
        };
        let stop = CancellationToken::new();
        let (config, until) = (Arc::clone(&ready.config), stop.clone());
        let balancer = processor
            .as_ref()
            .map(|called| Arc::clone(&called.balancer));
        let span = tracing::info_span!("stage", group = config.group.as_str());
        let stage = async move { run_stage(&config, balancer, context, until).await };
        let task = tokio::spawn(stage.instrument(span));
        Running {
            task,
            stop,
            reports,
            fence,
            ready,
            processor,
            since: Instant::now(),
        }
    }

    /// Until the stage has ended, by itself or because another is to take its place.
    async fn supervise(&mut self, mut running: Running) -> Next {
        loop {
            tokio::select! {
                ended = &mut running.task => return self.ended(&running, ended),
                Ok(()) = running.reports.changed() => self.hand_on(&mut running),
                Ok(()) = self.wanted.changed() => {
                    if let Some(next) = self.changed(&mut running).await {
                        end(running).await;
                        return next;
                    }
                }
                () = self.stop.cancelled() => {
                    end(running).await;
                    return Next::End;
                }
            }
        }
    }

    /// Takes up what was changed. Some: the stage is to end first.
    async fn changed(&mut self, running: &mut Running) -> Option<Next> {
        let wanted = self.wanted.borrow_and_update().clone();
        let ready = match &wanted.work {
            Ok(ready) => ready.clone(),
            Err(why) => {
                self.refuse(&wanted.place, why.clone());
                return None;
            }
        };
        self.say(|report| report.refused = None);
        if ready.essence != running.ready.essence {
            return self.roll(running, &wanted, &ready).await;
        }
        if let (Some(called), Some(settings)) = (&running.processor, &ready.processor) {
            called.go_to(&settings.targets);
        }
        running.fence.advance(wanted.revision);
        self.say(|report| report.revision = wanted.revision);
        self.last = Some((ready, wanted.revision));
        None
    }

    /// A mistake must not stop what runs.
    fn refuse(&self, place: &str, why: String) {
        tracing::warn!(
            stage = place,
            why,
            "a change is not taken up; the stage runs on as it was"
        );
        self.say(|report| report.refused = Some(why));
    }

    /// What the stage says of itself.
    fn hand_on(&self, running: &mut Running) {
        let stage = running.reports.borrow_and_update().clone();
        self.report.send_modify(|report| {
            if report.state == State::Starting {
                report.state = State::Running;
            }
            report.stage = stage;
        });
    }

    /// The stage runs on until the processor of the new one is up: a version that does not come up stops nothing. None:
    /// something else was declared before.
    async fn roll(&mut self, running: &mut Running, wanted: &Wanted, new: &Ready) -> Option<Next> {
        let Some(settings) = &new.processor else {
            self.last = Some((new.clone(), wanted.revision));
            return Some(Next::Begin);
        };
        let called = self.env.processors.call(settings);
        let text = not_up(settings);
        self.set_state(State::Rolling(format!(
            "{text}; until then the stage runs on as it was"
        )));
        self.next_processor = Some(Arc::clone(&called));
        let is_up = called.is_up();
        tokio::pin!(is_up);
        loop {
            tokio::select! {
                () = &mut is_up => {
                    tracing::info!(stage = &*wanted.place, "the stage is changed; the new one goes on where this one stops");
                    self.last = Some((new.clone(), wanted.revision));
                    return Some(Next::Begin);
                }
                // It is begun again, as it was.
                ended = &mut running.task => return Some(self.ended(running, ended)),
                Ok(()) = running.reports.changed() => self.hand_on(running),
                Ok(()) = self.wanted.changed() => {
                    self.wanted.mark_changed(); // it is looked at from the beginning
                    self.set_state(State::Running);
                    return None;
                }
                () = self.stop.cancelled() => return Some(Next::End),
            }
        }
    }

    fn set_state(&self, state: State) {
        self.say(|report| report.state = state);
    }

    fn say(&self, change: impl FnOnce(&mut UnitReport)) {
        self.report.send_modify(change);
        self.env.news.notify_one();
    }

    fn ended(&mut self, running: &Running, ended: Ended) -> Next {
        if running.since.elapsed() >= RECOVERED {
            self.pause = FIRST_PAUSE;
        }
        let revision = running.fence.revision();
        let error = match ended {
            Ok(Ok(())) => return Next::Begin, // nobody told it to
            Ok(Err(error)) => error,
            Err(panic) => anyhow::Error::new(panic).context("the stage panicked"),
        };
        let text = format!("{error:#}");
        if error.downcast_ref::<Halted>().is_some() {
            self.last = None; // what is declared in its place is begun without it
            self.tell(State::Failed(text), revision);
            return Next::Halt(running.ready.essence.clone());
        }
        let is_superseded = error.downcast_ref::<Superseded>().is_some();
        if is_superseded {
            self.last = None; // others are further than this
        }
        let is_missing = matches!(error.downcast_ref(), Some(KafkaFault::NoTopic(_)));
        if is_missing || is_superseded {
            self.pause = FIRST_PAUSE; // it comes when others are so far
            self.tell(State::Waiting(text), revision);
        } else {
            self.tell(State::Failed(text), revision);
        }
        Next::Pause
    }

    fn tell(&self, state: State, revision: u64) {
        self.say(|report| {
            *report = UnitReport {
                state,
                revision,
                refused: None,
                stage: StageReport {
                    lanes: Vec::new(),
                    replicas: Vec::new(),
                    ..report.stage.clone()
                },
            };
        });
    }
}

/// Makes the topics of a stage that is not begun yet: others wait for them. It may have to wait for its own inputs.
async fn make_topics(config: Arc<StageConfig>) {
    loop {
        let config = Arc::clone(&config);
        let making = tokio::task::spawn_blocking(move || crate::topics::prepare(&config));
        let Ok(Err(fault)) = making.await else {
            return;
        };
        tracing::debug!(%fault, "the topics of a stage are not made yet");
        tokio::time::sleep(LOOK).await;
    }
}

fn not_up(settings: &ProcessorSettings) -> String {
    let key = &settings.key;
    let addresses = settings.targets.iter().map(|target| target.uri.to_string());
    let addresses = addresses.collect::<Vec<_>>().join(", ");
    format!(
        "processor {} of version {} is not up yet at {addresses}",
        key.name, key.version
    )
}

/// In order: what is done is committed, partitions are given back.
async fn end(running: Running) {
    running.stop.cancel();
    if running.task.is_finished() {
        return; // and was awaited
    }
    log(running.task.await);
}

fn log(ended: Ended) {
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!("a stage ended with an error: {error:#}"),
        Err(panic) => tracing::error!(%panic, "a stage panicked while it ended"),
    }
}

impl UnitReport {
    pub fn new() -> Self {
        Self {
            state: State::Starting,
            revision: 0,
            refused: None,
            stage: StageReport::default(),
        }
    }
}
