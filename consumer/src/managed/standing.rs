//! How an assigned source stands: what its host says of it, and what its stream says. Pure.
//!
//! The host knows whether it is open. The stream knows whether everything it gave has been shown; and of an output of a
//! stage, which no host opens, it is all there is.

use crate::flow::steering::TopicSeen;

/// A source that a consumer is assigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Of its object; 0 without one.
    pub version: u64,
    /// Whether frames come of it.
    pub standing: Standing,
    /// The sinks have all that is there of it.
    pub is_read: bool,
    /// It is opened by whoever watches it.
    pub opens_for_watchers: bool,
}

/// Whether frames come of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// They do, or will in a moment.
    Open,
    /// They do when somebody watches it.
    OnDemand {
        /// For people.
        why: String,
    },
    /// They do not.
    Closed {
        /// For people.
        why: String,
        /// It came to its end; else it may go on where it was.
        has_ended: bool,
    },
}

/// What the registry says of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reported {
    /// It is no declared source: an output of a stage, or a topic of somebody else's.
    NotDeclared,
    /// Its host's producer says this.
    Opening,
    /// As above.
    Live,
    /// As above; why, for people.
    Waiting(String),
    /// As above; how, for people.
    Ended(String),
    /// As above; why, for people.
    Failed(String),
    /// No producer says anything about it; why, for people.
    Silent(String),
}

/// What is known of a source.
#[derive(Debug)]
pub struct Known<'a> {
    /// By the registry.
    pub reported: Reported,
    /// It is opened by whoever watches it.
    pub opens_for_watchers: bool,
    /// True if its topic exists.
    pub has_topic: bool,
    /// By its stream; None if it is not read now.
    pub seen: Option<&'a TopicSeen>,
}

impl Known<'_> {
    /// The sinks have all that is there of it.
    pub fn is_read(&self) -> bool {
        self.seen.map_or(!self.has_topic, |seen| seen.is_read)
    }

    /// Whether frames come of it.
    pub fn standing(&self) -> Standing {
        let stream_end = self.seen.and_then(|seen| seen.ended.clone());
        let is_under_way = self.seen.is_some_and(|seen| seen.has_begun) && stream_end.is_none();
        let closed = |why: String, has_ended| Standing::Closed { why, has_ended };
        match &self.reported {
            Reported::Opening | Reported::Live => Standing::Open,
            Reported::NotDeclared if !self.has_topic => closed(
                "there is no source and no topic of this name".to_owned(),
                false,
            ),
            Reported::NotDeclared => match stream_end {
                Some(how) => closed(format!("ended: {how}"), true),
                None => Standing::Open,
            },
            // Its last records are on their way: the one that ends it is among them.
            Reported::Ended(_) if is_under_way => Standing::Open,
            Reported::Ended(how) => closed(format!("ended: {how}"), true),
            // Not open at this moment, and its stream has ended since this consumer reads it: it was open.
            Reported::Waiting(why) if stream_end.is_some() => closed(why.clone(), true),
            Reported::Waiting(why) if self.opens_for_watchers => {
                Standing::OnDemand { why: why.clone() }
            }
            Reported::Waiting(why) => closed(why.clone(), false),
            Reported::Failed(why) => closed(format!("failed: {why}"), stream_end.is_some()),
            Reported::Silent(why) => closed(why.clone(), false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(reported: Reported, ended: Option<&str>, opens_for_watchers: bool) -> Standing {
        standing_of(reported, ended, opens_for_watchers, ended.is_some())
    }

    fn standing_of(
        reported: Reported,
        ended: Option<&str>,
        opens_for_watchers: bool,
        has_begun: bool,
    ) -> Standing {
        let seen = TopicSeen {
            is_read: true,
            has_begun,
            ended: ended.map(str::to_owned),
            lanes: Vec::new(),
        };
        let known = Known {
            reported,
            opens_for_watchers,
            has_topic: true,
            seen: Some(&seen),
        };
        known.standing()
    }

    fn has_ended(standing: &Standing) -> Option<bool> {
        match standing {
            Standing::Closed { has_ended, .. } => Some(*has_ended),
            Standing::Open | Standing::OnDemand { .. } => None,
        }
    }

    #[test]
    fn a_declared_source_is_what_its_host_says() {
        let text = || "x".to_owned();
        for (reported, stream_end, expected) in [
            (Reported::Live, None, None),
            (Reported::Live, Some("stopped"), None), // opened anew
            (Reported::Opening, Some("stopped"), None),
            (Reported::Ended(text()), None, Some(true)),
            (Reported::Waiting(text()), None, Some(false)),
            (Reported::Waiting(text()), Some("stopped"), Some(true)),
            (Reported::Failed(text()), None, Some(false)),
            (Reported::Failed(text()), Some("failed"), Some(true)),
            (Reported::Silent(text()), Some("stopped"), Some(false)),
        ] {
            let found = standing(reported.clone(), stream_end, false);
            assert_eq!(has_ended(&found), expected, "{reported:?} {stream_end:?}");
        }
    }

    #[test]
    fn a_source_has_not_ended_before_the_end_of_its_stream_was_read() {
        let ended = || Reported::Ended("x".to_owned());
        assert_eq!(standing_of(ended(), None, false, true), Standing::Open);
        let read_before = standing_of(ended(), None, false, false);
        assert_eq!(has_ended(&read_before), Some(true));
    }

    #[test]
    fn an_output_of_a_stage_is_what_its_stream_says() {
        assert_eq!(standing(Reported::NotDeclared, None, false), Standing::Open);
        let ended = standing(Reported::NotDeclared, Some("finished"), false);
        assert_eq!(has_ended(&ended), Some(true));
        let nowhere = Known {
            reported: Reported::NotDeclared,
            opens_for_watchers: false,
            has_topic: false,
            seen: None,
        };
        assert_eq!(has_ended(&nowhere.standing()), Some(false));
        assert!(nowhere.is_read());
    }

    #[test]
    fn an_on_demand_source_is_there_for_the_asking_until_it_has_ended() {
        let waiting = || Reported::Waiting("opens when somebody watches it".to_owned());
        assert!(matches!(
            standing(waiting(), None, true),
            Standing::OnDemand { .. }
        ));
        let ended = standing(waiting(), Some("finished"), true);
        assert_eq!(has_ended(&ended), Some(true));
    }
}
