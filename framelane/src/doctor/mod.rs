//! `framelane doctor`: what is wrong, and how to mend it. Looks twice where something may be passing.

mod clock;
mod cluster;
mod finding;
mod groups;
mod running;
mod topics;
mod transactions;

use crate::args::{Access, DoctorArgs, Report};
use crate::session::{self, print};
use anyhow::Context;
use finding::{Findings, Level};
use pipeline::kafka::{Inspector, KafkaConfig};
use registry::Registry;
use serde_json::json;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

pub async fn run(
    access: Access,
    args: DoctorArgs,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let registry = session::open(access).await?;
    let first = look(&registry, None).await?;
    tokio::select! {
        () = tokio::time::sleep(args.watch) => {} // what is to be seen is whether something moves meanwhile
        () = shutdown.cancelled() => anyhow::bail!("stopped before the second look"),
    }
    let mut findings = Findings::default();
    let second = look(&registry, Some(&mut findings)).await?;
    transactions::compare(&first.ends, &second.ends, args.watch, &mut findings);
    groups::compare(&first.groups, &second.groups, args.watch, &mut findings);
    running::check(&registry.view(), &mut findings);
    report(findings, args.output)
}

/// What may have moved between two looks.
struct Look {
    ends: transactions::Ends,
    groups: groups::Groups,
}

/// Looks; what does not move is examined too if there are findings to be noted.
async fn look(registry: &Registry, findings: Option<&mut Findings>) -> anyhow::Result<Look> {
    let (kafka, view) = (registry.kafka().clone(), registry.view());
    let (topic, status) = (registry.topic().to_string(), registry.status_topic());
    let is_thorough = findings.is_some();
    let looking = tokio::task::spawn_blocking(move || {
        let mut found = Findings::default();
        let inspector = Inspector::new(&kafka)?;
        let topics = inspector.topics()?;
        if is_thorough {
            let nodes = inspector.nodes()?;
            let at = kafka.bootstrap_servers();
            cluster::check(&inspector, &nodes, at, &mut found)?;
            topics::check(
                &inspector,
                &topics,
                &view,
                [&topic, &status],
                nodes.len(),
                at,
                &mut found,
            )?;
            clock(&kafka, &mut found);
        }
        let ends = transactions::look(&inspector, &topics)?;
        let groups = groups::look(&inspector, &ends, &topic, &view)?;
        anyhow::Ok((Look { ends, groups }, found))
    });
    let (look, found) = looking.await.context("looking at Kafka")??;
    if let Some(findings) = findings {
        findings.append(found);
    }
    Ok(look)
}

/// A clock that cannot be compared is a finding, and no reason to end.
fn clock(kafka: &KafkaConfig, findings: &mut Findings) {
    if let Err(fault) = clock::check(kafka, findings) {
        findings.note(
            "clock",
            "the node's clock",
            format!("it could not be compared with this machine's: {fault}"),
            "allow this user to make and write the topic framelane.doctor".to_owned(),
        );
    }
}

fn report(findings: Findings, form: Report) -> anyhow::Result<()> {
    let wrong = findings.wrong();
    match form {
        Report::Json => {
            let text = json!({"ok": wrong == 0, "findings": findings.list()});
            print(&format!("{text}\n"))?;
        }
        Report::Text => {
            for finding in findings.list() {
                let sign = match finding.level {
                    Level::Wrong => "WRONG",
                    Level::Note => "note ",
                };
                print(&format!(
                    "{sign} {}: {}: {}\n      -> {}\n",
                    finding.check, finding.about, finding.what, finding.mend
                ))?;
            }
        }
    }
    if wrong > 0 {
        anyhow::bail!("{wrong} of the things looked at are wrong");
    }
    match form {
        Report::Json => Ok(()),
        Report::Text => {
            print("nothing is wrong: settings, topics, transactions, groups, clocks, instances\n")
        }
    }
}

/// Whole seconds for people.
fn seconds(time: Duration) -> String {
    humantime::format_duration(Duration::from_secs(time.as_secs().max(1))).to_string()
}
