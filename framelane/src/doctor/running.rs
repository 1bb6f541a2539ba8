//! What is declared and does not run, and what runs and is not well.

use super::finding::Findings;
use crate::state::{self, ago};
use registry::{Key, Kind, SourceState, View};

/// A clock that is off by more makes figures and schedules wrong.
const CLOCK_MS: i64 = 1_000;
/// Taking up a change should take less than this.
const TAKE_UP_S: i64 = 10;

pub fn check(view: &View, findings: &mut Findings) {
    objects(view, findings);
    instances(view, findings);
    sources(view, findings);
    consumers(view, findings);
    behind(view, findings);
}

fn objects(view: &View, findings: &mut Findings) {
    for problem in view.problems() {
        let mend = "mend the documents and apply them again".to_owned();
        findings.wrong_with("registry", problem.key.to_string(), problem.text, mend);
    }
    for (key, one) in &view.objects().unreadable {
        findings.wrong_with(
            "registry",
            &**key,
            format!(
                "its newest record (version {}) cannot be read: {}; services go on with what they knew of it before",
                one.version, one.why
            ),
            "use the release that wrote it, or apply the object again".to_owned(),
        );
    }
}

fn instances(view: &View, findings: &mut Findings) {
    for seen in view.instances() {
        let instance = &seen.instance;
        let title = instance.title();
        if !seen.is_live() {
            findings.wrong_with(
                "instances",
                &*title,
                format!(
                    "lost: last heard of {} ago, pid {}",
                    ago(seen.last_seen),
                    instance.pid
                ),
                "start it again, or look whether its machine and its way to Kafka are well"
                    .to_owned(),
            );
            continue;
        }
        match seen.clock_ahead_ms {
            Some(ms) if ms > CLOCK_MS => findings.wrong_with(
                "clock",
                &*title,
                format!("its clock is at least {ms} ms ahead of this machine's"),
                "let both keep their time with NTP (chrony, systemd-timesyncd)".to_owned(),
            ),
            Some(ms) if ms < -2 * CLOCK_MS => findings.wrong_with(
                "clock",
                &*title,
                format!("its words come {} ms after they were said: its clock is behind, or its way to Kafka is slow", -ms),
                "let both keep their time with NTP (chrony, systemd-timesyncd), or look at its network".to_owned(),
            ),
            _ => {}
        }
        for (key, why) in &instance.refused {
            findings.wrong_with(
                "instances",
                &*title,
                format!("it does not take up {key}: {why}"),
                "mend the document and apply it again, or start it in another way".to_owned(),
            );
        }
        for called in instance
            .processors
            .iter()
            .filter(|called| called.state != "ready")
        {
            findings.wrong_with(
                "processors",
                format!("{} for {title}", called.address),
                format!("it is {}", called.state),
                "start it, or take its address out of the Processor; frames wait or go to the others meanwhile".to_owned(),
            );
        }
    }
}

fn sources(view: &View, findings: &mut Findings) {
    for source in view.sources() {
        let health = state::of_source(view, source);
        let about = format!("source {}", source.name);
        match health.running {
            None => findings.wrong_with(
                "sources",
                about,
                format!("nobody runs it: {}", health.text),
                format!("producer --managed --host {}", source.spec.host),
            ),
            Some((_, running)) if running.state == SourceState::Failed => findings.wrong_with(
                "sources",
                about,
                format!("it has failed: {}", running.text),
                "mend what it names (path, address, camera, options) and apply the source again"
                    .to_owned(),
            ),
            // A lost instance is named by itself.
            Some(_) => {}
        }
    }
}

fn consumers(view: &View, findings: &mut Findings) {
    for assignment in view
        .assignments()
        .filter(|one| !one.spec.sources.is_empty())
    {
        if state::liveness(state::of_consumer(view, &assignment.name)) == "not running" {
            let name = &assignment.name;
            findings.note(
                "consumers",
                format!("consumer {name}"),
                "it is assigned to sources and does not run".to_owned(),
                format!("consumer --managed --name {name}"),
            );
        }
    }
}

/// Instances that still go by an old version.
fn behind(view: &View, findings: &mut Findings) {
    let now = jiff::Timestamp::now();
    for kind in Kind::ALL {
        for object in view.of_kind(kind) {
            if now.duration_since(object.written_at).as_secs() < TAKE_UP_S {
                continue;
            }
            let key = Key::new(kind, object.name.clone()).to_string();
            for seen in view.live() {
                let has = seen.instance.applied.get(&key);
                if let Some(has) = has.filter(|has| **has < object.version) {
                    findings.wrong_with(
                        "instances",
                        seen.instance.title(),
                        format!(
                            "it still goes by version {has} of {key}, which is {} now",
                            object.version
                        ),
                        "look at its log: it says what it cannot take up".to_owned(),
                    );
                }
            }
        }
    }
}
