//! Kafka goes away and comes back: the view stays, writes say so, nobody is lost for it.

use crate::registry_lab::{key, open, put, registry_name, runtime, source};
use kafka_node::{Kafka, Options};
use registry::{Change, InstanceIdentity, Liveness, Registry, RegistryError, Service, View};
use std::time::Duration;

async fn until(registry: &Registry, what: &str, is_so: impl Fn(&View) -> bool) {
    let mut changes = registry.changes();
    let waiting = changes.wait_for(|view| is_so(view));
    let reached = tokio::time::timeout(Duration::from_secs(90), waiting).await;
    assert!(
        reached.is_ok_and(|seen| seen.is_ok()),
        "waited for {what}: {:?}",
        registry.view()
    );
}

#[test]
fn while_kafka_is_away_the_view_stays_and_writes_are_refused_and_afterwards_all_goes_on() {
    let mut kafka = Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let topic = registry_name();
    runtime().block_on(async {
        let (registry, other) = (open(&servers, &topic).await, open(&servers, &topic).await);
        let version = put(&registry, source("cam0", 30), 0).await.unwrap();
        let reporter = other
            .reporter(InstanceIdentity::here(Service::Broker, "b1"))
            .unwrap();
        let is_live = |view: &View| {
            let mut all = view.instances();
            all.any(|seen| seen.instance.name == "b1" && seen.liveness == Liveness::Live)
        };
        until(&registry, "a heartbeat", is_live).await;

        kafka.kill().expect("a node of our own");
        until(&registry, "the news that Kafka is away", |view| {
            view.away_since().is_some()
        })
        .await;
        assert!(registry.view().get(&key("source/cam0")).is_some());
        // Longer than it takes to be lost: silence is Kafka's now.
        tokio::time::sleep(registry::LOST_AFTER + Duration::from_secs(2)).await;
        assert!(is_live(&registry.view()));
        let error = put(&registry, source("cam0", 25), version)
            .await
            .expect_err("there is no Kafka");
        assert!(matches!(error, RegistryError::Away { .. }), "{error}");

        kafka.restart().expect("the node comes back");
        until(&registry, "Kafka's return", |view| {
            view.away_since().is_none()
        })
        .await;
        until(&other, "Kafka's return", |view| view.away_since().is_none()).await;
        assert!(is_live(&registry.view()));
        let next = put(&registry, source("cam0", 25), version).await.unwrap();
        until(&other, "the new version", |view| {
            view.get(&key("source/cam0"))
                .is_some_and(|one| one.version == next)
        })
        .await;
        // And it is still there, not only not yet lost.
        tokio::time::sleep(registry::LOST_AFTER + Duration::from_secs(2)).await;
        assert!(is_live(&registry.view()));
        let last = registry
            .write(&[Change::delete(key("source/cam0"), next)])
            .await;
        assert!(last.is_ok(), "{last:?}");
        reporter.close().await;
    });
}
