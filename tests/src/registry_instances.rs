//! Who is alive: heartbeats, goodbyes, losses.

use crate::harness::shared;
use crate::registry_lab::{key, open, put, registry_name, runtime, source};
use registry::{InstanceIdentity, Liveness, Registry, RunningSource, Service, SourceState, View};
use std::time::{Duration, Instant};

/// Waits until the view is so.
async fn until(registry: &Registry, what: &str, is_so: impl Fn(&View) -> bool) {
    let mut changes = registry.changes();
    let waiting = changes.wait_for(|view| is_so(view));
    let reached = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    assert!(
        reached.is_ok_and(|seen| seen.is_ok()),
        "waited for {what}: {:?}",
        registry.view()
    );
}

fn liveness(view: &View, name: &str) -> Option<Liveness> {
    let found = view.instances().find(|seen| seen.instance.name == name);
    found.map(|seen| seen.liveness)
}

#[test]
fn an_instance_is_seen_with_what_it_says_and_gone_after_its_goodbye() {
    let topic = registry_name();
    runtime().block_on(async {
        let (here, there) = (open(shared(), &topic).await, open(shared(), &topic).await);
        let version = put(&here, source("cam0", 30), 0).await.unwrap();
        let reporter = here
            .reporter(InstanceIdentity::here(Service::Producer, "lab1"))
            .unwrap();
        until(&there, "a heartbeat", |view| {
            liveness(view, "lab1") == Some(Liveness::Live)
        })
        .await;
        reporter.update(|instance| {
            instance
                .sources
                .push(RunningSource::new("cam0", SourceState::Live));
            instance.watches.push("cam1".to_owned());
            instance.apply(&key("source/cam0"), version);
        });
        until(&there, "what changed", |view| {
            view.watchers("cam1") == 1
                && view.applied_by(&key("source/cam0"), version).count() == 1
                && view.live().any(|seen| seen.instance.sources.len() == 1)
        })
        .await;
        assert_eq!(
            there
                .view()
                .applied_by(&key("source/cam0"), version + 1)
                .count(),
            0
        );
        reporter.close().await;
        until(&there, "the goodbye", |view| {
            liveness(view, "lab1").is_none()
        })
        .await;
    });
}

#[test]
fn an_instance_that_falls_silent_is_lost_and_is_replaced_by_its_successor() {
    let topic = registry_name();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let who = || InstanceIdentity::here(Service::Consumer, "m1");
        let reporter = registry.reporter(who()).unwrap();
        until(&registry, "a heartbeat", |view| {
            liveness(view, "m1") == Some(Liveness::Live)
        })
        .await;
        let silent = Instant::now();
        drop(reporter);
        until(&registry, "the loss", |view| {
            liveness(view, "m1") == Some(Liveness::Lost)
        })
        .await;
        // Not before its time, by the reader's clock; one heartbeat may have been on its way.
        assert!(silent.elapsed() > registry::LOST_AFTER - registry::HEARTBEAT);
        // Somebody who comes later sees that it is lost, without waiting for it.
        let later = open(shared(), &topic).await;
        assert_eq!(liveness(&later.view(), "m1"), Some(Liveness::Lost));
        let successor = registry.reporter(who()).unwrap();
        until(&later, "the successor", |view| {
            view.instances().count() == 1 && liveness(view, "m1") == Some(Liveness::Live)
        })
        .await;
        successor.close().await;
    });
}
