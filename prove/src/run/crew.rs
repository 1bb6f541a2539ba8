//! The processes of a run: started, killed, stopped, watched over. Those that should run and do not are started again,
//! as a supervisor would.

use crate::history::{ProcessEnd, Sample};
use anyhow::{Context, Result};
use kafka_node::leash::Leash;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Between two looks at the processes.
const LOOK: Duration = Duration::from_millis(20);
/// Between two looks at what they use.
const SAMPLE: Duration = Duration::from_millis(500);
/// A process that is told to stop has its own grace times, all below this.
const STOP: Duration = Duration::from_secs(45);

/// How a process is started, each time.
#[derive(Debug, Clone)]
pub struct Job {
    pub program: PathBuf,
    pub args: Vec<String>,
    /// The option that counts how often the process was started before, if it takes one.
    pub lives: Option<&'static str>,
    pub ends: Ends,
}

/// Which ends by itself are no failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// None.
    Never,
    /// It may abort: that is planned.
    ByAbort,
    /// It may abort or give up.
    AnyWay,
}

struct Member {
    job: Job,
    log: PathBuf,
    child: Option<Running>,
    should_run: bool,
    starts: u64,
}

struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    _leash: Leash,
}

#[derive(Default)]
struct State {
    members: BTreeMap<String, Member>,
    ends: Vec<ProcessEnd>,
    /// The most that each process used.
    most: BTreeMap<String, Sample>,
    is_over: bool,
}

/// All processes of a run; killed at the latest when dropped.
pub struct Crew {
    folder: PathBuf,
    state: Arc<Mutex<State>>,
    supervisor: Option<std::thread::JoinHandle<()>>,
}

impl Crew {
    /// Logs go into `folder`.
    pub fn new(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let state = Arc::new(Mutex::new(State::default()));
        let supervisor = std::thread::Builder::new().name("supervisor".to_owned());
        let supervisor = supervisor.spawn({
            let state = Arc::clone(&state);
            move || supervise(&state)
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            state,
            supervisor: Some(supervisor),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// A new member, which runs from now on.
    pub fn add(&self, name: &str, job: Job) -> Result<()> {
        let mut member = Member {
            job,
            log: self.folder.join(format!("{name}.log")),
            child: None,
            should_run: true,
            starts: 0,
        };
        member.start(name)?;
        self.lock().members.insert(name.to_owned(), member);
        Ok(())
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Member) -> Result<T>) -> Result<T> {
        let mut state = self.lock();
        let member = state.members.get_mut(name);
        act(member.with_context(|| format!("there is no process {name}"))?)
    }

    /// SIGKILL, and gone until [`start`](Self::start). One that has just ended by itself is not there to be killed.
    pub fn kill9(&self, name: &str) -> Result<()> {
        self.with(name, |member| {
            member.should_run = false;
            let Some(mut running) = member.child.take() else {
                return Ok(());
            };
            running
                .child
                .kill()
                .with_context(|| format!("killing {name}"))?;
            running
                .child
                .wait()
                .with_context(|| format!("waiting for {name}"))?;
            Ok(())
        })
    }

    pub fn start(&self, name: &str) -> Result<()> {
        self.with(name, |member| {
            member.should_run = true;
            member.start(name)
        })
    }

    pub fn signal(&self, name: &str, signal: Signal) -> Result<()> {
        self.with(name, |member| {
            let running = member
                .child
                .as_ref()
                .with_context(|| format!("{name} does not run"))?;
            running.signal(signal)
        })
    }

    /// SIGTERM; it must end well, in time.
    pub fn stop(&self, name: &str) -> Result<()> {
        let running = self.with(name, |member| {
            member.should_run = false;
            member
                .child
                .take()
                .with_context(|| format!("{name} does not run"))
        })?;
        running.signal(Signal::SIGTERM)?;
        self.await_end(name, running)
    }

    /// Closes its standard input; it must end well, in time.
    pub fn end_input(&self, name: &str) -> Result<()> {
        let mut running = self.with(name, |member| {
            member.should_run = false;
            member
                .child
                .take()
                .with_context(|| format!("{name} does not run"))
        })?;
        drop(running.stdin.take());
        self.await_end(name, running)
    }

    fn await_end(&self, name: &str, mut running: Running) -> Result<()> {
        let start = Instant::now();
        loop {
            let status = running.child.try_wait();
            if let Some(status) = status.with_context(|| format!("waiting for {name}"))? {
                self.lock().ends.push(ProcessEnd {
                    process: name.to_owned(),
                    status: status.to_string(),
                    is_expected: status.success(),
                });
                return Ok(());
            }
            if start.elapsed() > STOP {
                drop(running.child.kill());
                drop(running.child.wait());
                self.disgraced(name, format!("SIGKILL, {STOP:?} after it was told to stop"));
                return Ok(());
            }
            std::thread::sleep(LOOK); // a child's end can only be looked for
        }
    }

    /// Writes down an end that should not have been.
    pub fn disgraced(&self, name: &str, status: String) {
        self.lock().ends.push(ProcessEnd {
            process: name.to_owned(),
            status,
            is_expected: false,
        });
    }

    /// Ends of processes so far, and the most that each used.
    pub fn record(&self) -> (Vec<ProcessEnd>, Vec<Sample>) {
        let state = self.lock();
        (state.ends.clone(), state.most.values().cloned().collect())
    }

    /// Every member's name and log.
    pub fn logs(&self) -> Vec<(String, PathBuf)> {
        let state = self.lock();
        let logs = state.members.iter();
        logs.map(|(name, member)| (name.clone(), member.log.clone()))
            .collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.lock().is_over = true;
        if let Some(supervisor) = self.supervisor.take() {
            // A panic there was printed; the processes are ended here in any case.
            drop(supervisor.join());
        }
        for member in self.lock().members.values_mut() {
            if let Some(mut running) = member.child.take() {
                drop(running.child.kill());
                drop(running.child.wait());
            }
        }
    }
}

impl Member {
    fn start(&mut self, name: &str) -> Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.with_context(|| format!("opening {}", self.log.display()))?;
        let mut command = Command::new(&self.job.program);
        command.args(&self.job.args);
        if let Some(option) = self.job.lives {
            command.args([option, &self.starts.to_string()]);
        }
        let mut child = command
            .env("RUST_BACKTRACE", "1")
            .env_remove("KAFKA_BOOTSTRAP_SERVERS")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C ends the conductor, which ends the others; a broker that stops first would be a fault.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {name} ({})", self.job.program.display()))?;
        let leash =
            Leash::for_pid(child.id()).context("starting the shell that watches over it")?;
        self.starts += 1;
        self.child = Some(Running {
            stdin: child.stdin.take(),
            child,
            _leash: leash,
        });
        Ok(())
    }
}

impl Running {
    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).context("a pid")?);
        kill(pid, signal).with_context(|| format!("sending {signal} to process {pid}"))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Members are changed one field at a time; a panic of the supervisor fails nothing else.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn supervise(state: &Mutex<State>) {
    let mut sampled = Instant::now();
    loop {
        std::thread::sleep(LOOK); // the rhythm of a supervisor
        let mut state = lock(state);
        if state.is_over {
            return;
        }
        state.restart_the_dead();
        if sampled.elapsed() >= SAMPLE {
            sampled = Instant::now();
            state.sample();
        }
    }
}

impl State {
    fn restart_the_dead(&mut self) {
        for (name, member) in &mut self.members {
            if !member.should_run {
                continue;
            }
            let ended = match &mut member.child {
                Some(running) => running.child.try_wait().ok().flatten(),
                None => None,
            };
            if let Some(status) = ended {
                member.child = None;
                self.ends.push(ProcessEnd {
                    process: name.clone(),
                    status: status.to_string(),
                    is_expected: member.job.ends.allows(status),
                });
            }
            if member.child.is_none()
                && let Err(error) = member.start(name)
            {
                eprintln!("{name} cannot be started again: {error:#}");
            }
        }
    }

    fn sample(&mut self) {
        for (name, member) in &self.members {
            let Some(sample) = member
                .child
                .as_ref()
                .and_then(|running| sample(name, running.child.id()))
            else {
                continue;
            };
            let most = self
                .most
                .entry(name.clone())
                .or_insert_with(|| sample.clone());
            most.rss_kib = most.rss_kib.max(sample.rss_kib);
            most.descriptors = most.descriptors.max(sample.descriptors);
        }
    }
}

impl Ends {
    fn allows(self, status: ExitStatus) -> bool {
        let aborted = status.signal() == Some(Signal::SIGABRT as i32);
        match self {
            Self::Never => false,
            Self::ByAbort => aborted,
            Self::AnyWay => aborted || status.code().is_some(),
        }
    }
}

/// What a process uses now; None if it has just ended.
fn sample(name: &str, pid: u32) -> Option<Sample> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(Sample {
        process: name.to_owned(),
        rss_kib: line.trim().trim_end_matches(" kB").parse().ok()?,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
    })
}
