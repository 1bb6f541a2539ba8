//! How long it takes to apply objects, and until a change has reached everybody who follows.
//!
//! `cargo run --release -p registry --example figures -- [OBJECTS] [FOLLOWERS] [CHANGES]` (1000 20 50). Kafka is found as
//! everywhere. Prints figures; nothing is asserted.

use anyhow::{Context, Result, ensure};
use kafka_node::{Kafka, Options};
use pipeline::kafka::KafkaConfig;
use registry::{Change, Object, Registry, Version, yaml};
use std::time::{Duration, Instant};

/// Longer than this is no figure but a failure.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<usize>());
    let mut number = |default| numbers.next().unwrap_or(Ok(default));
    let (objects, followers, changes) = (number(1000)?, number(20)?, number(50)?);
    ensure!(
        objects > 0 && followers > 0 && changes > 0,
        "every number has to be at least 1"
    );
    let kafka = Kafka::find_or_start(&Options::from_env()?)?;
    let config = KafkaConfig::new(kafka.bootstrap_servers())?;
    let millis = jiff::Timestamp::now().as_millisecond();
    let topic = format!("registry-figures-{millis}");
    let writer = Registry::open(&config, &topic).await?;
    let mut readers = Vec::new();
    for _ in 0..followers {
        readers.push(Registry::open(&config, &topic).await?);
    }
    let versions = apply(&writer, &readers, objects).await?;
    follow(&writer, &readers, versions, changes).await?;
    let opening = Instant::now();
    let late = Registry::open(&config, &topic).await?;
    println!(
        "open a registry of {} objects: {:.0?}",
        late.view().objects().len(),
        opening.elapsed()
    );
    Ok(())
}

/// From the text to the acknowledged write; and until every follower has all of it.
async fn apply(writer: &Registry, readers: &[Registry], objects: usize) -> Result<Vec<Version>> {
    let document = |n: usize| {
        let (kind, spec) = match n % 4 {
            0 => ("Consumer", "{sinks: ['null']}".to_owned()),
            1 => (
                "Processor",
                "{addresses: ['http://127.0.0.1:1']}".to_owned(),
            ),
            _ => (
                "Source",
                format!(
                    "{{host: h{}, pattern: 640x480@30, options: {{quality: 80}}}}",
                    n % 7
                ),
            ),
        };
        format!(
            "kind: {kind}\nname: o{n}\nlabels: {{site: s{}}}\nspec: {spec}\n",
            n % 5
        )
    };
    let text = (0..objects).map(document).collect::<Vec<_>>().join("---\n");
    let start = Instant::now();
    let parsed = yaml::parse(&text, "figures")?;
    let parsing = start.elapsed();
    let changes: Vec<Change> = parsed.into_iter().map(|one| Change::put(one, 0)).collect();
    let written = writer.write(&changes).await?;
    let applied = start.elapsed();
    let revision = writer.view().revision();
    for reader in readers {
        wait(reader, revision).await?;
    }
    println!(
        "apply {objects} objects: {applied:.0?} ({parsing:.0?} of it reading the YAML); all {} followers have them after {:.0?}",
        readers.len(),
        start.elapsed()
    );
    Ok(written.into_iter().map(|one| one.version).collect())
}

/// One object after the other, and how long until all have the new version.
async fn follow(
    writer: &Registry,
    readers: &[Registry],
    versions: Vec<Version>,
    changes: usize,
) -> Result<()> {
    let objects: Vec<Object> = {
        let view = writer.view();
        let all = registry::Kind::ALL
            .into_iter()
            .flat_map(|kind| view.of_kind(kind));
        all.map(|one| one.object()).collect()
    };
    ensure!(
        objects.len() == versions.len(),
        "something else writes here"
    );
    let (mut writes, mut reaches) = (Vec::new(), Vec::new());
    for n in 0..changes {
        let mut object = objects[n % objects.len()].clone();
        object.labels.insert("change".to_owned(), n.to_string());
        let seen = writer.view().objects().version(&object.key());
        let start = Instant::now();
        let change = [Change::put(object, seen)];
        let write = writer.write(&change);
        // They see it when it is committed, which is before the writer has its answer.
        let before = writer.view().revision();
        let watching = readers.iter().map(|reader| async move {
            let mut changes = reader.changes();
            let newer = changes.wait_for(|view| view.revision() > before);
            tokio::time::timeout(PATIENCE, newer)
                .await
                .context("a follower is behind")??;
            anyhow::Ok(start.elapsed())
        });
        let (written, reached) = tokio::join!(write, futures::future::try_join_all(watching));
        written?;
        writes.push(start.elapsed());
        reaches.push(reached?.into_iter().max().unwrap_or_default());
    }
    println!("write one change: {}", spread(writes));
    println!(
        "until it has reached all {} followers: {}",
        readers.len(),
        spread(reaches)
    );
    Ok(())
}

async fn wait(reader: &Registry, revision: u64) -> Result<()> {
    let mut changes = reader.changes();
    let reached = changes.wait_for(|view| view.revision() >= revision);
    tokio::time::timeout(PATIENCE, reached)
        .await
        .context("a follower is behind")??;
    Ok(())
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    format!(
        "p50 {:.0?}, p99 {:.0?}, most {:.0?}",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
