//! `framelane doctor` on a Kafka of its own, well and unwell.

use crate::harness::{create_foreign_topic, publish};
use crate::registry_lab::{file, framelane, framelane_ok, open, registry_name, runtime};
use kafka_node::{Kafka, Options};
use pipeline::kafka::{Admin, KafkaConfig, TopicSpec};
use registry::{InstanceIdentity, Service};
use serde_json::Value;

fn doctor(servers: &str, topic: &str) -> (Option<i32>, Vec<(String, String, String)>, String) {
    let (code, said) = framelane(servers, topic, &["doctor", "-o", "json", "--watch", "1s"]);
    let line = said
        .lines()
        .find(|line| line.starts_with('{'))
        .unwrap_or_else(|| panic!("{said}"));
    let report: Value = serde_json::from_str(line).unwrap();
    let text = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().unwrap();
    let wrong = findings.iter().filter(|one| one["level"] == "wrong");
    let wrong = wrong.map(|one| (text(one, "about"), text(one, "what"), text(one, "mend")));
    (code, wrong.collect(), said)
}

#[test]
fn the_doctor_finds_what_is_wrong_and_says_how_to_mend_it() {
    let kafka = Kafka::start_jars(&Options::default()).expect("a Kafka of this test's own");
    let servers = kafka.bootstrap_servers().to_owned();
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();

    let said = framelane_ok(&servers, &topic, &["doctor", "--watch", "1s"]);
    assert!(said.contains("nothing is wrong"), "{said}");

    // A source whose topic somebody made with Kafka's own limit, and which nobody runs; one whose topic is compacted.
    let [small, compacted] = ["small", "compacted"].map(|name| format!("{name}-{topic}"));
    create_foreign_topic(&servers, &small, ("max.message.bytes", "1048588"));
    let admin = Admin::connect(&KafkaConfig::new(&servers).unwrap()).unwrap();
    admin
        .ensure_topic(&TopicSpec {
            compacted: true,
            ..TopicSpec::frames(&compacted, 1)
        })
        .unwrap();
    let sources = format!(
        "{{kind: Source, name: {small}, spec: {{host: h, camera: 0}}}}\n---\n{{kind: Source, name: {compacted}, spec: {{host: h, camera: 0}}}}\n"
    );
    framelane_ok(
        &servers,
        &topic,
        &["apply", "-f", &file(&folder, "s.yaml", &sources)],
    );
    // A group that has read one frame of a long topic, and has gone.
    publish(&servers, &small, "a", 0..300);
    behind(&servers, &small);
    // An instance that has fallen silent.
    runtime().block_on(async {
        let registry = open(&servers, &topic).await;
        let reporter = registry
            .reporter(InstanceIdentity::here(Service::Broker, "b1"))
            .unwrap();
        let mut changes = registry.changes();
        let heard = changes.wait_for(|view| view.instances().count() == 1);
        tokio::time::timeout(std::time::Duration::from_secs(60), heard)
            .await
            .unwrap()
            .unwrap();
        drop(reporter);
        let lost = changes.wait_for(|view| view.instances().any(|seen| !seen.is_live()));
        tokio::time::timeout(std::time::Duration::from_secs(60), lost)
            .await
            .unwrap()
            .unwrap();
    });

    let (code, wrong, said) = doctor(&servers, &topic);
    assert_eq!(code, Some(1), "{said}");
    for (about, what, mend) in [
        (
            format!("topic {small}"),
            "at most 1048588 bytes",
            "max.message.bytes=",
        ),
        (
            format!("topic {compacted}"),
            "only the newest is kept",
            "cleanup.policy=delete",
        ),
        (
            format!("source {small}"),
            "nobody runs it",
            "producer --managed --host h",
        ),
        (
            "group left-behind".to_owned(),
            "299 records wait",
            "--delete --group left-behind",
        ),
        ("broker b1".to_owned(), "lost", "start it again"),
    ] {
        let is_it = |(a, w, m): &(String, String, String)| {
            a.starts_with(&about) && w.contains(what) && m.contains(mend)
        };
        assert!(
            wrong.iter().any(is_it),
            "{about}: {what}: {mend} is not in\n{wrong:#?}"
        );
    }
}

/// A consumer that reads one frame in a group and ends.
fn behind(servers: &str, topic: &str) {
    let args = [
        "--topic",
        topic,
        "--group",
        "left-behind",
        "--until",
        "count:1",
        "--sink",
        "null",
    ];
    crate::harness::run_ok("consumer", servers, &args);
}
