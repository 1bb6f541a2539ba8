//! What a running process says of itself.

use crate::model::{Key, Version};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// What sort of process it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    Producer,
    Broker,
    Consumer,
    Gateway,
    Processor,
}

impl Service {
    const ALL: [Self; 5] = [
        Self::Producer,
        Self::Broker,
        Self::Consumer,
        Self::Gateway,
        Self::Processor,
    ];

    pub fn word(self) -> &'static str {
        match self {
            Self::Producer => "producer",
            Self::Broker => "broker",
            Self::Consumer => "consumer",
            Self::Gateway => "gateway",
            Self::Processor => "processor",
        }
    }

    pub(crate) fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.word() == word)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// Who reports. Two processes may have the same identity: each still is an instance of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceIdentity {
    pub service: Service,
    /// The capture host's name for producers (`--host`), else the machine's.
    pub host: String,
    /// The managed name (`--name`); empty without one.
    pub name: String,
}

impl InstanceIdentity {
    /// On this machine.
    pub fn here(service: Service, name: &str) -> Self {
        Self {
            service,
            host: machine(),
            name: name.to_owned(),
        }
    }
}

/// The machine's name.
pub fn machine() -> String {
    let name = nix::unistd::gethostname().ok();
    name.and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| "host".to_owned())
}

/// Everything that one process says. Times are by its own clock.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Instance {
    /// Its own among all processes ever.
    pub id: String,
    pub service: Service,
    pub host: String,
    /// Empty without one.
    pub name: String,
    pub pid: u32,
    /// Of the software.
    pub release: String,
    #[serde(serialize_with = "as_text")]
    pub started_at: jiff::Timestamp,
    /// What a producer runs.
    pub sources: Vec<RunningSource>,
    /// The names of the sources that it wants to be open.
    pub watches: Vec<String>,
    /// What it reads.
    pub lanes: Vec<Lane>,
    pub processors: Vec<CalledProcessor>,
    /// The version of each object that it has taken up, by KIND/NAME.
    pub applied: BTreeMap<String, Version>,
    /// Where it can be reached, http://HOST:PORT; empty if nowhere.
    pub address: String,
    /// Why it has not taken up an object as it is declared, by KIND/NAME.
    pub refused: BTreeMap<String, String>,
}

fn as_text<S: serde::Serializer>(time: &jiff::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl Instance {
    /// One that has just started and does nothing yet.
    pub fn new(who: InstanceIdentity) -> Self {
        let id = format!(
            "{}.{}.{}.{:016x}",
            who.service,
            who.host,
            if who.name.is_empty() { "-" } else { &who.name },
            rand::random::<u64>()
        );
        Self {
            id,
            service: who.service,
            host: who.host,
            name: who.name,
            pid: std::process::id(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: jiff::Timestamp::now(),
            sources: Vec::new(),
            watches: Vec::new(),
            lanes: Vec::new(),
            processors: Vec::new(),
            applied: BTreeMap::new(),
            address: String::new(),
            refused: BTreeMap::new(),
        }
    }

    /// Notes that this version of an object has been taken up.
    pub fn apply(&mut self, key: &Key, version: Version) {
        self.applied.insert(key.to_string(), version);
    }

    /// Notes why an object is not taken up as it is declared.
    pub fn refuse(&mut self, key: &Key, why: &str) {
        self.refused.insert(key.to_string(), why.to_owned());
    }

    /// Notes that an object is no longer followed.
    pub fn forget(&mut self, key: &Key) {
        self.applied.remove(&key.to_string());
    }

    /// `producer lab1`, `consumer monitor1 on HOST`: for people.
    pub fn title(&self) -> String {
        match self.name.is_empty() {
            true => format!("{} on {}", self.service, self.host),
            false => format!("{} {} on {}", self.service, self.name, self.host),
        }
    }

    /// True if the other one says the same but for figures that move all the time: no reason to tell it at once.
    pub(crate) fn says_the_same_as(&self, other: &Self) -> bool {
        self.gist() == other.gist()
    }

    fn gist(&self) -> Self {
        let mut gist = self.clone();
        for source in &mut gist.sources {
            (source.fps, source.frames) = (0.0, 0);
            source.last = source.last.map(|_| LastFrame::default());
        }
        for lane in &mut gist.lanes {
            *lane = Lane {
                topic: std::mem::take(&mut lane.topic),
                partition: lane.partition,
                stage: std::mem::take(&mut lane.stage),
                ..Lane::default()
            };
        }
        for processor in &mut gist.processors {
            processor.in_flight = 0;
        }
        gist
    }
}

/// A source that a producer runs, or has tried to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RunningSource {
    pub name: String,
    pub state: SourceState,
    /// Why, for people; may be empty.
    pub text: String,
    /// Pixels; None: not known yet.
    pub size: Option<(u32, u32)>,
    /// Frames a second.
    pub fps: f64,
    /// Since it was opened.
    pub frames: u64,
    pub last: Option<LastFrame>,
}

impl RunningSource {
    /// One of which nothing but its state is known.
    pub fn new(name: &str, state: SourceState) -> Self {
        Self {
            name: name.to_owned(),
            state,
            text: String::new(),
            size: None,
            fps: 0.0,
            frames: 0,
            last: None,
        }
    }
}

/// A source's newest frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LastFrame {
    pub epoch: u64,
    pub sequence: u64,
    /// Nanoseconds since the Unix epoch.
    pub captured_unix_ns: i64,
}

/// How a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceState {
    /// Not a frame yet.
    Opening,
    Live,
    /// Closed for now: by schedule, or because nobody watches.
    Waiting,
    /// It has no more frames.
    Ended,
    /// It cannot be opened, or broke.
    Failed,
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Opening => "opening",
            Self::Live => "live",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
            Self::Failed => "failed",
        })
    }
}

/// A partition that is read.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lane {
    pub topic: String,
    pub partition: i32,
    /// PIPELINE/STAGE; empty for consumers.
    pub stage: String,
    /// Slots.
    pub window_used: u32,
    /// Calls.
    pub in_flight: u32,
    /// Records that wait in Kafka.
    pub lag: u64,
    /// Frames a second.
    pub fps: f64,
    pub latency_p50_ms: f64,
    pub latency_p99_ms: f64,
}

/// A replica that is called.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct CalledProcessor {
    pub address: String,
    /// HOST:PORT as it was declared: a name may stand for several addresses.
    pub declared: String,
    /// [`CalledProcessor::READY`], or what keeps it from being that.
    pub state: String,
    pub in_flight: u32,
}

impl CalledProcessor {
    /// The state of one that takes calls.
    pub const READY: &str = "ready";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_no_news_but_states_are() {
        let mut before = Instance::new(InstanceIdentity::here(Service::Producer, "lab1"));
        before
            .sources
            .push(RunningSource::new("cam0", SourceState::Live));
        before.lanes.push(Lane {
            topic: "cam0".into(),
            ..Lane::default()
        });
        let mut after = before.clone();
        after.sources[0].frames = 7;
        after.lanes[0].lag = 5;
        assert!(before.says_the_same_as(&after));
        after.sources[0].state = SourceState::Ended;
        assert!(!before.says_the_same_as(&after));
        let mut watching = before.clone();
        watching.watches.push("cam1".into());
        assert!(!before.says_the_same_as(&watching));
    }
}
