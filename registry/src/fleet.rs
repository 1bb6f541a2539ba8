//! Who is alive. Pure: times are milliseconds since any fixed moment, and only grow.
//!
//! An instance is lost when it has been silent for [`LOST_AFTER`] while Kafka was there to carry its words: while Kafka is
//! away nobody is heard, and nobody is called lost for that.

use crate::instance::Instance;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Between two heartbeats of an instance.
pub const HEARTBEAT: Duration = Duration::from_secs(1);
/// Three heartbeats may be late or get lost; after that it is not chance.
pub const LOST_AFTER: Duration = Duration::from_secs(4);
/// A lost instance that nothing replaced is shown for as long as this. The topic keeps heartbeats as long.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// Whether an instance is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Liveness {
    Live,
    /// Not heard of for longer than [`LOST_AFTER`], and it has not said goodbye.
    Lost,
}

/// What an instance said last, and when.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Seen {
    pub liveness: Liveness,
    /// When it said this, by its own clock.
    #[serde(serialize_with = "as_text")]
    pub last_seen: jiff::Timestamp,
    /// How far its clock is ahead of ours at least, milliseconds; negative: it is behind by that at most, or its words took
    /// so long. None: not known yet.
    pub clock_ahead_ms: Option<i64>,
    #[serde(flatten)]
    pub instance: Instance,
}

fn as_text<S: serde::Serializer>(time: &jiff::Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

impl Seen {
    pub fn is_live(&self) -> bool {
        self.liveness == Liveness::Live
    }

    /// The same service in the same place, started after the other one's last word.
    fn took_the_place_of(&self, other: &Self) -> bool {
        let place = |seen: &Self| {
            let one = &seen.instance;
            (one.service, one.host.clone(), one.name.clone())
        };
        place(self) == place(other) && self.instance.started_at > other.last_seen
    }
}

/// A heartbeat as it arrives.
#[derive(Debug)]
pub(crate) struct Heard {
    pub instance: Instance,
    /// The record's time, by the sender's clock, milliseconds since the Unix epoch.
    pub sent_unix_ms: i64,
    /// Our clock at its arrival.
    pub arrived_unix_ms: i64,
    pub when: When,
}

/// Whether a heartbeat's arrival says anything about the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// It was sent a moment ago.
    Now,
    /// It lay in the topic: only its record knows how old it is.
    Before,
}

#[derive(Debug)]
struct Entry {
    heard_at_ms: i64,
    seen: Arc<Seen>,
}

/// All instances that are or were lately there.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    entries: BTreeMap<String, Entry>,
    away: Option<Away>,
    has_contact: bool,
    /// None before the first one.
    last_contact_ms: Option<i64>,
}

/// The last time that Kafka was away. Whoever spoke until then is excused for its silence meanwhile.
#[derive(Debug, Clone, Copy)]
struct Away {
    /// None: since before we came, so everybody is excused.
    from_ms: Option<i64>,
    until_ms: i64,
}

impl Away {
    /// Until when silence says nothing about one that was heard then. None: it had been silent for too long already.
    fn excuse(self, heard_at_ms: i64) -> Option<i64> {
        let was_there = |from_ms: i64| heard_at_ms >= from_ms.saturating_sub(millis(LOST_AFTER));
        self.from_ms.is_none_or(was_there).then_some(self.until_ms)
    }
}

impl Fleet {
    pub fn heard(&mut self, now_ms: i64, heard: Heard) {
        self.contact(now_ms);
        let age_ms = heard.arrived_unix_ms.saturating_sub(heard.sent_unix_ms);
        let (heard_at_ms, clock_ahead_ms) = match heard.when {
            When::Now => (now_ms, Some(-age_ms)),
            When::Before => (now_ms.saturating_sub(age_ms.max(0)), None),
        };
        let id = heard.instance.id.clone();
        let seen = Seen {
            liveness: Liveness::Live,
            last_seen: jiff::Timestamp::from_millisecond(heard.sent_unix_ms)
                .unwrap_or(jiff::Timestamp::UNIX_EPOCH),
            clock_ahead_ms,
            instance: heard.instance,
        };
        let seen = Arc::new(seen);
        self.entries.insert(id, Entry { heard_at_ms, seen });
    }

    /// It has ended in order; those whose place it had taken are not missed any more either.
    pub fn goodbye(&mut self, now_ms: i64, id: &str) {
        self.contact(now_ms);
        if let Some(ended) = self.entries.remove(id) {
            self.entries.retain(|_, other| {
                let silent = ended.seen.last_seen.duration_since(other.seen.last_seen);
                let is_lost = silent.as_millis() > i128::from(millis(LOST_AFTER));
                !(is_lost && ended.seen.took_the_place_of(&other.seen))
            });
        }
    }

    /// Kafka has answered.
    pub fn contact(&mut self, now_ms: i64) {
        self.last_contact_ms = Some(now_ms);
        if !std::mem::replace(&mut self.has_contact, true)
            && let Some(away) = &mut self.away
        {
            away.until_ms = now_ms;
        }
    }

    /// Kafka does not answer.
    pub fn no_contact(&mut self, now_ms: i64) {
        let from_ms = match self.away {
            Some(away) if !self.has_contact => away.from_ms,
            _ => self.last_contact_ms,
        };
        self.has_contact = false;
        self.away = Some(Away {
            from_ms,
            until_ms: now_ms,
        });
    }

    /// Looks who is lost by now; true if that has changed.
    pub fn look(&mut self, now_ms: i64) -> bool {
        if !self.has_contact {
            return false;
        }
        let away = self.away;
        let mut has_changed = false;
        for entry in self.entries.values_mut() {
            let excused_until_ms = away.and_then(|away| away.excuse(entry.heard_at_ms));
            let since_ms =
                excused_until_ms.map_or(entry.heard_at_ms, |at| at.max(entry.heard_at_ms));
            let silent_ms = now_ms.saturating_sub(since_ms);
            if silent_ms > millis(LOST_AFTER) && entry.seen.is_live() {
                Arc::make_mut(&mut entry.seen).liveness = Liveness::Lost;
                has_changed = true;
            }
        }
        let before = self.entries.len();
        let gone: Vec<String> = self.replaced(now_ms);
        for id in gone {
            self.entries.remove(&id);
        }
        has_changed || self.entries.len() != before
    }

    /// Lost ones whose place another has taken since, or that are lost for too long.
    fn replaced(&self, now_ms: i64) -> Vec<String> {
        let live = || self.entries.values().filter(|entry| entry.seen.is_live());
        let is_gone = |entry: &Entry| {
            let seen = &entry.seen;
            let too_long = now_ms.saturating_sub(entry.heard_at_ms) > millis(FORGOTTEN_AFTER);
            let has_successor = live().any(|other| other.seen.took_the_place_of(seen));
            !seen.is_live() && (too_long || has_successor)
        };
        let gone = self.entries.iter().filter(|(_, entry)| is_gone(entry));
        gone.map(|(id, _)| id.clone()).collect()
    }

    /// All of them, by id.
    pub fn all(&self) -> Arc<[Arc<Seen>]> {
        self.entries
            .values()
            .map(|entry| Arc::clone(&entry.seen))
            .collect()
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{InstanceIdentity, Service};

    fn beat(id: &str, sent_unix_ms: i64, when: When) -> Heard {
        let mut instance = Instance::new(InstanceIdentity {
            service: Service::Consumer,
            host: "h".into(),
            name: "m".into(),
        });
        instance.id = id.into();
        instance.started_at = jiff::Timestamp::UNIX_EPOCH;
        Heard {
            instance,
            sent_unix_ms,
            arrived_unix_ms: 100_000,
            when,
        }
    }

    fn states(fleet: &Fleet) -> Vec<(String, bool)> {
        let all = fleet.all();
        all.iter()
            .map(|seen| (seen.instance.id.clone(), seen.is_live()))
            .collect()
    }

    fn state(id: &str, is_live: bool) -> (String, bool) {
        (id.to_owned(), is_live)
    }

    #[test]
    fn an_instance_is_lost_after_four_seconds_of_silence_and_found_when_it_speaks() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("a", 99_999, When::Now));
        assert!(!fleet.look(4_000));
        assert!(fleet.look(4_001));
        assert_eq!(states(&fleet), [state("a", false)]);
        fleet.heard(5_000, beat("a", 100_000, When::Now));
        assert_eq!(states(&fleet), [state("a", true)]);
        fleet.goodbye(6_000, "a");
        assert_eq!(states(&fleet), []);
    }

    #[test]
    fn what_lay_in_the_topic_is_as_old_as_its_record() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("old", 90_000, When::Before));
        fleet.heard(0, beat("new", 99_000, When::Before));
        fleet.look(1);
        assert_eq!(states(&fleet), [state("new", true), state("old", false)]);
    }

    #[test]
    fn nobody_is_lost_while_kafka_is_away_nor_at_once_when_it_is_back() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("a", 100_000, When::Now));
        fleet.no_contact(1_000);
        assert!(!fleet.look(60_000));
        fleet.no_contact(60_000);
        fleet.contact(61_000);
        assert!(!fleet.look(65_000));
        assert!(fleet.look(65_001));
    }

    #[test]
    fn one_that_was_lost_before_kafka_went_away_does_not_come_back_with_it() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("dead", 100_000, When::Now));
        for now_ms in [10_000, 20_000] {
            fleet.heard(now_ms, beat("there", 100_000, When::Now));
        }
        fleet.look(20_000);
        fleet.no_contact(22_000);
        // Both heartbeats are read again.
        for (id, age_ms) in [("dead", 60_000), ("there", 40_000)] {
            fleet.heard(60_000, beat(id, 100_000 - age_ms, When::Before));
        }
        fleet.look(60_000);
        assert_eq!(states(&fleet), [state("dead", false), state("there", true)]);
    }

    #[test]
    fn whoever_comes_while_kafka_is_away_takes_nobody_for_lost() {
        let mut fleet = Fleet::default();
        fleet.no_contact(1_000);
        fleet.heard(30_000, beat("there", 40_000, When::Before));
        fleet.look(30_000);
        assert_eq!(states(&fleet), [state("there", true)]);
    }

    #[test]
    fn a_lost_one_is_forgotten_when_another_has_taken_its_place_or_after_an_hour() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("a", 100_000, When::Now));
        fleet.look(5_000);
        let mut next = beat("b", 106_000, When::Now);
        next.instance.started_at = jiff::Timestamp::from_millisecond(105_000).unwrap();
        fleet.heard(6_000, next);
        fleet.look(6_000);
        assert_eq!(states(&fleet), [state("b", true)]);
        fleet.contact(3_700_000);
        fleet.look(3_700_000);
        assert_eq!(states(&fleet), []);
    }

    #[test]
    fn a_lost_one_is_forgotten_when_its_successor_has_ended_in_order() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("a", 50_000, When::Before));
        let mut next = beat("b", 60_000, When::Before);
        next.instance.started_at = jiff::Timestamp::from_millisecond(55_000).unwrap();
        fleet.heard(0, next);
        let mut elsewhere = beat("elsewhere", 50_000, When::Before);
        elsewhere.instance.name = "other".into();
        fleet.heard(0, elsewhere);
        fleet.goodbye(0, "b");
        fleet.look(0);
        assert_eq!(states(&fleet), [state("elsewhere", false)]);
    }

    #[test]
    fn a_standby_does_not_hide_one_that_was_lost() {
        let mut fleet = Fleet::default();
        fleet.heard(0, beat("active", 100_000, When::Now));
        fleet.heard(4_500, beat("standby", 104_500, When::Now)); // it was there before
        fleet.look(4_500);
        assert_eq!(
            states(&fleet),
            [state("active", false), state("standby", true)]
        );
    }
}
