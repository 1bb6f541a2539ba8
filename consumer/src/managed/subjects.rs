//! From the registry's view to what a consumer is assigned, and how each of it stands.

use super::session::topic_of;
use super::standing::{Known, Reported, Subject};
use super::topics::Topics;
use crate::flow::steering::Seen;
use registry::View;
use registry::instance::{Instance, RunningSource, SourceState};
use registry::model::{Name, Opening, Source, Versioned};
use std::collections::HashSet;

/// The sources that a consumer is assigned, in the order of its preference.
pub fn subjects(view: &View, consumer: &Name, topics: &Topics, seen: &Seen) -> Vec<Subject> {
    let sources = assigned(view, consumer);
    sources
        .iter()
        .map(|name| {
            let topic = topic_of(view, name);
            let declared = view.source(name);
            let opens_for_watchers = declared
                .is_some_and(|source| matches!(source.spec.opening, Opening::OnDemand { .. }));
            let known = Known {
                reported: declared.map_or(Reported::NotDeclared, |source| reported(view, source)),
                opens_for_watchers,
                // As long as nobody knows, nothing is concluded from it.
                has_topic: topics.has(&topic).unwrap_or(true),
                seen: seen.topics.get(topic.as_str()),
            };
            Subject {
                name: name.to_string(),
                version: declared.map_or(0, |source| source.version),
                standing: known.standing(),
                is_read: known.is_read(),
                opens_for_watchers,
            }
        })
        .collect()
}

/// The topics of the sources that a consumer is assigned.
pub fn wanted_topics(view: &View, consumer: &Name) -> HashSet<String> {
    let sources = assigned(view, consumer);
    sources.iter().map(|name| topic_of(view, name)).collect()
}

fn assigned<'a>(view: &'a View, consumer: &Name) -> &'a [Name] {
    let assignment = view.assignment(consumer);
    assignment.map_or(&[][..], |assignment| &assignment.spec.sources)
}

/// What the producers of its host say of a source. One that has been lost says nothing any more.
fn reported(view: &View, source: &Versioned<Source>) -> Reported {
    let host = &source.spec.host;
    let of = |instance: &Instance| -> Option<RunningSource> {
        let is_of_host = instance.host == host.as_str();
        let mut said = instance.sources.iter().filter(|_| is_of_host);
        said.find(|said| source.name == said.name.as_str()).cloned()
    };
    // One that was taken for dead may still speak beside the one that took over.
    let rank = |said: &RunningSource| match said.state {
        SourceState::Live => 0,
        SourceState::Opening => 1,
        SourceState::Waiting | SourceState::Ended | SourceState::Failed => 2,
    };
    let said = view.live().filter_map(|seen| of(&seen.instance));
    match said.min_by_key(rank) {
        Some(said) => match said.state {
            SourceState::Opening => Reported::Opening,
            SourceState::Live => Reported::Live,
            SourceState::Waiting => Reported::Waiting(said.text),
            SourceState::Ended => Reported::Ended(said.text),
            SourceState::Failed => Reported::Failed(said.text),
        },
        // Only lost ones are left.
        None if view.instances().any(|seen| of(&seen.instance).is_some()) => {
            Reported::Silent(format!("its producer on {host} is lost"))
        }
        None => Reported::Silent(format!("no producer of host {host} runs it")),
    }
}
