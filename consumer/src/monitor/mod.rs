//! Monitors: frames are compared with a condition, and what it lets through goes to actions and sinks.
//!
//! ```text
//! frame: (what is known of its source, frame) -> (what is known, alert?)
//!                       |                            |
//!   kept by Kafka with the group's offset   actions (sinks of alerts), then the offset
//! ```
//! What is known behind an offset is committed with that offset, in one request: after a crash the same frames are alerts
//! again, with the same ids. Those whose actions were done but not yet committed come once more.

pub mod actions;
pub mod alert;
pub mod condition;
pub mod hold;
mod note;
mod schema;
mod spec;

pub use alert::{Alert, Judged};
pub use hold::Rule;
pub use note::TooMany;
pub use spec::ActionSpec;

use crate::config::Config;
use crate::delivery::Delivery;
use crate::track::batch::Part;
use crate::track::{ContentMode, Destination, Ledger, Place, topics};
use condition::{Condition, ConditionError};
use hold::{Moment, Watches};
use pipeline::envelope::Kind;
use pipeline::kafka::{Admin, Lane, TopicPartition};
use pipeline::wire::TooLarge;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A condition that cannot be told for every frame must not fill a disk with warnings.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What to look for and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MonitorSettings {
    /// The condition, as it was given; it has been compiled once.
    pub condition: String,
    /// How long it has to hold.
    pub rule: Rule,
    /// What is done with each alert.
    pub actions: Vec<ActionSpec>,
}

/// Why alerts cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// What is known of the sources cannot be kept.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// A frame in the topic of alerts cannot be made.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The condition, and what is known of every partition that is read.
#[derive(Debug)]
pub struct Monitor {
    condition: Condition,
    rule: Rule,
    /// Of condition and rule, in what Kafka keeps.
    name: String,
    /// By the id of the assignment.
    lanes: BTreeMap<u64, (TopicPartition, Watches)>,
    /// The topic of alerts.
    destination: Option<Destination>,
    frames: u64,
    alerts: u64,
    unanswered: u64,
    next_warning: Option<Instant>,
}

/// What looks for alerts, and what writes those that go to a topic: `ledger`, if there is one already. Blocks.
pub fn open(
    config: &Config,
    settings: &MonitorSettings,
    ledger: Option<Ledger>,
) -> anyhow::Result<(Monitor, Option<Ledger>)> {
    let topic = settings.actions.iter().find_map(|action| match action {
        ActionSpec::Topic(name) => Some(name),
        _ => None,
    });
    let (Some(topic), Some(member)) = (topic, &config.group) else {
        return Ok((Monitor::new(settings, None)?, ledger));
    };
    let admin = Admin::connect(&config.kafka)?;
    let destination = topics::destination(config, &admin, topic, ContentMode::Reference)?;
    let ledger = match ledger {
        Some(ledger) => ledger,
        None => topics::open_ledger(config, member)?,
    };
    Ok((Monitor::new(settings, Some(destination))?, Some(ledger)))
}

impl Monitor {
    /// Nothing is read yet.
    pub fn new(
        settings: &MonitorSettings,
        destination: Option<Destination>,
    ) -> Result<Self, ConditionError> {
        Ok(Self {
            condition: Condition::compile(&settings.condition)?,
            rule: settings.rule,
            name: note::name_of(&settings.condition, settings.rule),
            lanes: BTreeMap::new(),
            destination,
            frames: 0,
            alerts: 0,
            unanswered: 0,
            next_warning: None,
        })
    }

    /// A partition is read from its start on.
    pub fn begin(&mut self, lane: &Lane) {
        let partition = &lane.tp;
        let watches = match note::read(&lane.note, &self.name) {
            Some(watches) => {
                let sources = watches.sources.len();
                tracing::info!(%partition, offset = lane.start, sources, "the monitor goes on");
                watches
            }
            None => {
                tracing::info!(%partition, offset = lane.start, "the monitor begins here, with nothing known of before");
                Watches::default()
            }
        };
        self.lanes.insert(lane.id, (lane.tp.clone(), watches));
    }

    /// Partitions are another's now.
    pub fn drop_lanes(&mut self, lanes: &[u64]) {
        self.lanes.retain(|id, _| !lanes.contains(id));
    }

    /// Compares the lane's next record with the condition.
    pub fn judge(&mut self, delivery: &mut Delivery) {
        delivery.judged = Judged::Quiet;
        let json = delivery.json();
        let holds = json.map(|json| self.condition.holds(&json));
        let Some((_, watches)) = self.lanes.get_mut(&delivery.lane) else {
            return;
        };
        match (delivery.message(), holds) {
            (Some(Kind::Frame(frame)), Some(holds)) => {
                let Some(id) = &frame.id else {
                    return; // a decoded frame always has one
                };
                self.frames += 1;
                let moment = Moment {
                    source: &id.source_id,
                    epoch: id.epoch,
                    time_ns: frame.capture_time_unix_ns,
                };
                let is_true = *holds.as_ref().unwrap_or(&false);
                let since = watches.observe(self.rule, moment, is_true);
                let text = self.condition.text();
                let alert = since.map(|since| Alert::new(moment, id.sequence, text, since));
                if let Err(why) = holds {
                    self.warn(delivery, &why);
                }
                if let Some(alert) = alert {
                    self.raise(delivery, alert);
                }
            }
            (Some(Kind::End(end)), _) => {
                if let Some(last) = &end.last {
                    watches.end(&last.source_id);
                }
            }
            // What is missing says nothing: it neither holds nor breaks off what does.
            _ => {}
        }
    }

    fn raise(&mut self, delivery: &mut Delivery, alert: Alert) {
        self.alerts += 1;
        let topic = delivery.tp.topic.to_string();
        metrics::counter!("framelane_consumer_alerts_total", "topic" => topic).increment(1);
        delivery.judged = Judged::Raised(Arc::new(alert));
    }

    fn warn(&mut self, delivery: &Delivery, why: &str) {
        metrics::counter!("framelane_consumer_condition_errors_total").increment(1);
        self.unanswered += 1;
        let now = Instant::now();
        if self.next_warning.is_none_or(|next| now >= next) {
            self.next_warning = Some(now + WARN_EVERY);
            let (record, so_far) = (delivery.place(), self.unanswered);
            tracing::warn!(
                record,
                why,
                so_far,
                "--when cannot be told for a frame and counts as not true: ask for what may be missing with has(...)"
            );
        }
    }

    /// What is to be written with the record's offset, added to what it became otherwise.
    pub fn complete(&self, delivery: &Delivery, part: &mut Part) -> Result<(), MonitorError> {
        if let (Some(destination), Some(alert)) = (&self.destination, delivery.alert())
            && let Some(Kind::Frame(frame)) = delivery.message()
        {
            let mut frame = frame.clone(); // its picture is shared, not copied
            frame.results.push(alert.result());
            let place = Place {
                tp: &delivery.tp,
                offset: delivery.offset,
                origin: &delivery.origin,
            };
            let record = destination.record(&Kind::Frame(frame), place)?;
            part.records.push(record);
        }
        part.note = self.note_of(delivery.lane)?;
        Ok(())
    }

    /// What is known of every partition, as Kafka keeps it.
    pub fn notes(&self) -> Result<BTreeMap<TopicPartition, String>, MonitorError> {
        self.lanes
            .values()
            .map(|(tp, watches)| Ok((tp.clone(), self.note(tp, watches)?)))
            .collect()
    }

    fn note_of(&self, lane: u64) -> Result<String, MonitorError> {
        match self.lanes.get(&lane) {
            Some((tp, watches)) => self.note(tp, watches),
            None => Ok(String::new()),
        }
    }

    fn note(&self, tp: &TopicPartition, watches: &Watches) -> Result<String, MonitorError> {
        Ok(note::write(tp, &self.name, self.rule, watches)?)
    }

    /// Says what came of it all.
    pub fn end(&self) {
        let (frames, alerts, unanswered) = (self.frames, self.alerts, self.unanswered);
        tracing::info!(alerts, frames, unanswered, "the monitor has ended");
    }
}
