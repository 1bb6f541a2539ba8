//! Concurrent writers: nothing is lost, nothing stale gets through, also when Kafka has compacted the topic.

use crate::harness::{shared, wait_for};
use crate::registry_lab::{
    file, framelane_ok, key, object, objects, open, put, registry_name, runtime, source, start,
};
use kafka_node::delete_topic;
use pipeline::kafka::{Admin, KafkaConfig, StretchReader, TopicPartition, TopicSpec};
use registry::{Change, Outcome, Registry, RegistryError, View};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Raises the number in a label by one, however often others come first. Each writer has clients of its own.
async fn count_up(registry: &Registry, times: u32) {
    for _ in 0..times {
        loop {
            let counter = registry
                .view()
                .get(&key("consumer/counter"))
                .expect("it is there");
            let count: u32 = counter.labels["count"].parse().unwrap();
            let mut next = counter.object();
            next.labels
                .insert("count".to_owned(), (count + 1).to_string());
            match put(registry, next, counter.version).await {
                Ok(_) => break,
                Err(RegistryError::Stale(stale)) => {
                    assert!(stale[0].present > counter.version, "{stale:?}");
                    // The view is behind: wait until it has what was refused.
                    let mut changes = registry.changes();
                    let newer = changes.wait_for(|view| {
                        view.get(&key("consumer/counter"))
                            .is_some_and(|one| one.version > counter.version)
                    });
                    tokio::time::timeout(Duration::from_secs(30), newer)
                        .await
                        .unwrap()
                        .unwrap();
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
}

#[test]
fn writers_at_the_same_time_lose_no_update() {
    let topic = registry_name();
    runtime().block_on(async {
        let (a, b) = (open(shared(), &topic).await, open(shared(), &topic).await);
        let counter = object("{kind: Consumer, name: counter, labels: {count: '0'}, spec: {}}");
        let version = put(&a, counter, 0).await.unwrap();
        let mut seen = b.changes();
        let there = seen.wait_for(|view| view.revision() >= version);
        tokio::time::timeout(Duration::from_secs(30), there)
            .await
            .unwrap()
            .unwrap();
        tokio::join!(count_up(&a, 15), count_up(&b, 15));
        let third = open(shared(), &topic).await;
        let counter = third.view().get(&key("consumer/counter")).unwrap();
        assert_eq!(counter.labels["count"], "30");
    });
}

#[test]
fn processes_that_write_at_the_same_time_all_get_through() {
    let topic = registry_name();
    let folder = tempfile::tempdir().unwrap();
    // The topics are there before, so that all begin at once.
    framelane_ok(shared(), &topic, &["get"]);
    let files: Vec<String> = (0..8)
        .map(|n| {
            let text = format!("{{kind: Consumer, name: m{n}, spec: {{}}}}\n---\n{{kind: Consumer, name: n{n}, spec: {{}}}}\n");
            file(&folder, &format!("{n}.yaml"), &text)
        })
        .collect();
    for two in files.chunks(2) {
        let running: Vec<_> = two
            .iter()
            .map(|file| start(shared(), &topic, &["apply", "-f", file]))
            .collect();
        for process in running {
            let (code, said) = process.outcome();
            assert_eq!(code, Some(0), "{said}");
        }
    }
    let all = framelane_ok(shared(), &topic, &["get", "consumers", "-o", "json"]);
    let all: Vec<serde_json::Value> = serde_json::from_str(&all).unwrap();
    assert_eq!(all.len(), 16);
}

#[test]
fn a_stale_write_is_refused_with_what_changed() {
    let topic = registry_name();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let first = put(&registry, source("cam0", 30), 0).await.unwrap();
        let changed = [Change::put(source("cam0", 25), first)];
        let written = registry.write_as(&changed, "somebody@else").await.unwrap();
        assert_eq!(written[0].outcome, Outcome::Changed);
        let error = put(&registry, source("cam0", 10), first)
            .await
            .expect_err("it is stale");
        let RegistryError::Stale(stale) = &error else {
            panic!("{error}");
        };
        assert_eq!(
            (stale[0].seen, stale[0].present),
            (first, written[0].version)
        );
        assert_eq!(stale[0].written_by, "somebody@else");
        let changes: Vec<String> = stale[0].changes.iter().map(ToString::to_string).collect();
        assert_eq!(changes, ["spec.options.fps: 30 -> 25"]);
        // Nothing of a write that is refused is written.
        let both = [
            Change::put(source("cam1", 30), 0),
            Change::put(source("cam0", 10), first),
        ];
        assert!(matches!(
            registry.write(&both).await,
            Err(RegistryError::Stale(_))
        ));
        assert_eq!(registry.view().get(&key("source/cam1")), None);
        assert_eq!(
            registry.view().get(&key("source/cam0")).unwrap().object(),
            source("cam0", 25)
        );
    });
}

#[test]
fn what_was_deleted_and_made_anew_is_not_taken_for_what_it_was() {
    let topic = registry_name();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let first = put(&registry, source("cam0", 30), 0).await.unwrap();
        let gone = registry
            .write(&[Change::delete(key("source/cam0"), first)])
            .await
            .unwrap();
        assert_eq!(gone[0].outcome, Outcome::Deleted);
        let error = put(&registry, source("cam0", 25), first)
            .await
            .expect_err("it is stale");
        assert!(
            error.to_string().contains("(any more), and version"),
            "{error}"
        );
        let second = put(&registry, source("cam0", 30), 0).await.unwrap();
        assert!(second > first);
        assert!(put(&registry, source("cam0", 25), first).await.is_err());
    });
}

/// How many sources a view has, and their numbers of frames a second: of a part of a write there are some, or two numbers.
type Sight = (usize, BTreeSet<String>);

fn sight(view: &View) -> Sight {
    let fps = view
        .sources()
        .map(|one| one.spec.options.get("fps").unwrap().to_string());
    (view.sources().count(), fps.collect())
}

/// Everything that a reader is shown, until it has seen the last write.
async fn watch(reader: Registry, last: Sight) -> Vec<Sight> {
    let mut changes = reader.changes();
    let mut seen = Vec::new();
    loop {
        let now = sight(&changes.borrow_and_update().clone());
        if seen.last() != Some(&now) {
            seen.push(now.clone());
        }
        if now == last {
            return seen;
        }
        let changed = tokio::time::timeout(Duration::from_secs(60), changes.changed());
        changed.await.expect("what was written").unwrap();
    }
}

#[test]
fn a_write_is_seen_as_a_whole() {
    let topic = registry_name();
    runtime().block_on(async {
        let (writer, reader) = (open(shared(), &topic).await, open(shared(), &topic).await);
        let all = |fps: u32| (200, BTreeSet::from([fps.to_string()]));
        // It watches before anything is written: what was torn for a moment is whole afterwards.
        let watching = tokio::spawn(watch(reader, all(25)));
        let many = |fps| (0..200).map(move |n| source(&format!("cam{n}"), fps));
        let made: Vec<Change> = many(30).map(|one| Change::put(one, 0)).collect();
        let written = writer.write(&made).await.unwrap();
        let next = many(25)
            .zip(&written)
            .map(|(one, old)| Change::put(one, old.version));
        writer.write(&next.collect::<Vec<_>>()).await.unwrap();
        let seen = watching.await.unwrap();
        let whole = [(0, BTreeSet::new()), all(30), all(25)];
        let torn: Vec<&Sight> = seen.iter().filter(|one| !whole.contains(one)).collect();
        assert!(torn.is_empty(), "a part of a write was shown: {torn:?}");
    });
}

#[test]
fn objects_that_would_not_fit_together_are_not_written() {
    let topic = registry_name();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let text = "
{kind: Processor, name: p, spec: {addresses: ['http://127.0.0.1:1']}}
---
{kind: Pipeline, name: l, spec: {stages: [{name: a, from: [t2], processor: p, to: t1}, {name: b, from: [t1], processor: p, to: t2}]}}
";
        let changes: Vec<Change> = objects(text).into_iter().map(|one| Change::put(one, 0)).collect();
        let error = registry.write(&changes).await.expect_err("a cycle");
        assert!(error.to_string().contains("t2 -> [l/a] -> t1 -> [l/b] -> t2"), "{error}");
        assert!(registry.view().objects().is_empty());
    });
}

#[test]
fn the_registry_survives_compaction() {
    let topic = registry_name();
    let config = KafkaConfig::new(shared()).unwrap();
    // Closes its segments and compacts them as soon as Kafka lets it.
    let spec = TopicSpec {
        compacted: true,
        settings: vec![
            ("segment.ms", "500"),
            ("min.cleanable.dirty.ratio", "0.001"),
            ("delete.retention.ms", "100"),
        ],
        ..TopicSpec::frames(&topic, 1)
    };
    Admin::connect(&config)
        .unwrap()
        .ensure_topic(&spec)
        .unwrap();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let first = put(&registry, source("cam0", 1), 0).await.unwrap();
        let gone = put(&registry, source("gone", 1), 0).await.unwrap();
        registry
            .write(&[Change::delete(key("source/gone"), gone)])
            .await
            .unwrap();
        let mut version = first;
        // Kafka closes a segment when a record comes and the first one in it is old enough, and compacts closed ones only.
        let mut fps = 1;
        wait_for("compaction", || {
            fps += 1;
            version = tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(put(
                    &registry,
                    source("cam0", fps),
                    version,
                ))
            })
            .unwrap();
            std::thread::sleep(Duration::from_millis(300)); // segments become old by time
            let old = records(&config, &topic);
            (!old.contains(&first)).then_some(())
        });
        let late = open(shared(), &topic).await;
        let found = late.view().get(&key("source/cam0")).unwrap();
        assert_eq!(
            (found.version, found.object()),
            (version, source("cam0", fps))
        );
        assert_eq!(late.view().sources().count(), 1);
        // What the old version was is not known any more; that it is old is.
        let error = put(&late, source("cam0", 99), first)
            .await
            .expect_err("it is stale");
        assert!(
            matches!(&error, RegistryError::Stale(stale) if stale[0].changes.is_empty()),
            "{error}"
        );
        assert!(put(&late, source("cam0", 99), version).await.is_ok());
    });
}

#[test]
fn a_registry_that_is_made_anew_is_written_as_what_it_is_now() {
    let topic = registry_name();
    let admin = Admin::connect(&KafkaConfig::new(shared()).unwrap()).unwrap();
    runtime().block_on(async {
        let registry = open(shared(), &topic).await;
        let mut version = 0;
        for fps in 1..8 {
            version = put(&registry, source("cam0", fps), version).await.unwrap();
        }
        delete_topic(shared(), &topic).unwrap();
        wait_for("the end of the old topic", || {
            admin.topic(&topic).unwrap().is_none().then_some(())
        });
        let spec = TopicSpec {
            compacted: true,
            ..TopicSpec::frames(&topic, 1)
        };
        wait_for("a new topic", || admin.ensure_topic(&spec).ok());
        let deadline = Instant::now() + Duration::from_secs(60);
        let version = loop {
            match put(&registry, source("cam0", 30), 0).await {
                Ok(version) => break version,
                Err(RegistryError::Stale(stale)) => panic!("judged by the old topic: {stale:?}"),
                Err(error) if Instant::now() < deadline => {
                    println!("not yet: {error}");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        let late = open(shared(), &topic).await;
        let found = late.view().get(&key("source/cam0")).unwrap();
        assert_eq!(
            (found.version, found.object()),
            (version, source("cam0", 30))
        );
    });
}

/// The versions of all records that the topic still has.
fn records(config: &KafkaConfig, topic: &str) -> Vec<u64> {
    let lane = TopicPartition::new(topic, 0);
    let mut reader = StretchReader::open(config, lane).unwrap();
    let (_, end) = reader.ends().unwrap();
    let mut versions = Vec::new();
    reader
        .read(0..end, |record| versions.push(record.offset as u64 + 1))
        .unwrap();
    versions
}
