//! One run: from a plan to its history.

use super::crew::Crew;
use super::faults::Scene;
use super::pipeline::{self, CONSUMER, Names, PUBLISHER, broker_name, processor_name, replay_args};
use super::world::World;
use crate::history::{Committed, History, Log, Record, StageHistory};
use crate::kafka::{Arrivals, Follower};
use crate::ledger::{self, FaultLine, Ledger, PublishLine, SeenLine, now_unix_ns};
use crate::plan::{Plan, Seat};
use crate::publish::steps_before;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// All processes of a run start at once on a machine that may be busy.
const FIRST_OUTPUT: Duration = Duration::from_secs(60);
/// What the workload's rate allows, and what faults at the end may still hold up.
const WORKLOAD: Duration = Duration::from_secs(180);
/// While the rest comes out something must be committed within the liveness bound.
const STANDSTILL: Duration = Duration::from_secs(60);
/// Reading some thousand small records.
const REPLAY: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// Makes the run. What Kafka has of it stays there until [`Names::topics`] are deleted.
pub fn run(plan: &Plan, names: &Names, world: &mut World, binaries: &Path) -> Result<History> {
    plan.write(&names.plan())?;
    let begin_unix_ns = now_unix_ns();
    let crew = Crew::new(&names.folder.join("logs"))?;
    pipeline::start(plan, names, world, &crew, binaries)?;
    let last = names.output(plan.stages.len() - 1);
    let follower = Follower::start(&world.client(), &last, plan.workload.partitions)?;
    let arrivals = follower.arrivals();
    pipeline::publish(names, world, &crew, begin_unix_ns)?;
    let flows = arrivals.wait_for(1, FIRST_OUTPUT);
    let begin = Instant::now();
    let mut scene = Scene {
        plan,
        names,
        world,
        crew: &crew,
        arrivals,
        begin,
        disturbed: Vec::new(),
        consumer_kills: 0,
    };
    // What does not even begin to flow is not disturbed: what came of it is judged as it is.
    let faults = if flows {
        play_all(&mut scene)?
    } else {
        Vec::new()
    };
    wait_for_workload(plan, names)?;
    let published = Instant::now();
    let longest_stall = longest_stall(arrivals, begin, published, &scene.disturbed);
    let consumer_kills = scene.consumer_kills;
    let world = scene.world;
    crew.end_input(PUBLISHER)?;
    let drained_ms = drain(plan, names, world)?;
    stop(plan, &crew)?;
    let replays = replays(plan, names, world, &crew, binaries)?;
    let (ends, samples) = crew.record();
    let (input, stages) = final_read(plan, names, world)?;
    Ok(History {
        plan: plan.clone(),
        begin_unix_ns,
        publish: ledger::read(&names.publish_ledger())?,
        seen: ledger::read::<SeenLine>(&names.seen_ledger())?,
        faults,
        input,
        stages,
        committed: committed(plan, names, world)?,
        live: std::fs::read(names.live()).unwrap_or_default(),
        replays,
        consumer_kills,
        drained_ms,
        longest_stall_ms: u64::try_from(longest_stall.as_millis()).unwrap_or(u64::MAX),
        samples,
        ends,
        logs: logs(&crew)?,
    })
}

fn play_all(scene: &mut Scene<'_>) -> Result<Vec<FaultLine>> {
    let ledger = Ledger::open(&scene.names.folder.join("faults.jsonl"))?;
    let mut lines = Vec::new();
    for planned in &scene.plan.faults {
        let line = scene.play(planned)?;
        ledger.write(&line)?;
        let is_over = line.recovered_ms.is_none();
        lines.push(line);
        if is_over {
            break; // what never goes on has nothing left to disturb
        }
    }
    Ok(lines)
}

/// Returns once the publisher has made all the steps that it was to make at least.
fn wait_for_workload(plan: &Plan, names: &Names) -> Result<()> {
    let start = Instant::now();
    loop {
        let lines: Vec<PublishLine> = ledger::read(&names.publish_ledger())?;
        let steps = steps_before(&lines);
        if steps >= plan.workload.steps {
            return Ok(());
        }
        if start.elapsed() > WORKLOAD {
            bail!(
                "only {steps} of {} steps were published",
                plan.workload.steps
            );
        }
        std::thread::sleep(4 * LOOK); // another process writes the ledger
    }
}

/// The longest time without output that no fault explains.
fn longest_stall(
    arrivals: &Arrivals,
    begin: Instant,
    end: Instant,
    disturbed: &[(Instant, Instant)],
) -> Duration {
    let mut from = begin;
    let mut longest = Duration::ZERO;
    for (start, recovered) in disturbed.iter().copied().chain([(end, end)]) {
        longest = longest.max(arrivals.longest_gap(from, start.max(from)));
        from = from.max(recovered);
    }
    longest
}

/// Waits until every group has committed all there is; how long that took, or None if one stood still before.
fn drain(plan: &Plan, names: &Names, world: &World) -> Result<Option<u64>> {
    let client = world.client();
    let start = Instant::now();
    let partitions = plan.workload.partitions;
    let mut groups: Vec<(String, String)> = (0..plan.stages.len())
        .map(|stage| (names.group(stage), names.read_by(stage)))
        .collect();
    groups.push((names.consumer_group(), names.output(plan.stages.len() - 1)));
    for (group, topic) in groups {
        let ends = ends(&client.read_all(&topic)?);
        let mut before = Vec::new();
        let mut progress = Instant::now();
        loop {
            let committed = client.committed(&group, &topic, partitions)?;
            if committed != before {
                before.clone_from(&committed);
                progress = Instant::now();
            }
            let is_done = ends.iter().all(|(partition, end)| {
                let committed = usize::try_from(*partition)
                    .ok()
                    .and_then(|at| committed.get(at));
                committed
                    .copied()
                    .flatten()
                    .is_some_and(|offset| offset >= *end)
            });
            if is_done {
                break;
            }
            if progress.elapsed() > STANDSTILL {
                return Ok(None);
            }
            std::thread::sleep(LOOK); // Kafka offers no way to be told
        }
    }
    Ok(Some(
        u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    ))
}

/// The offset behind the last record of each partition that has one.
fn ends(records: &[Record]) -> BTreeMap<i32, i64> {
    let mut ends = BTreeMap::new();
    for record in records {
        let end = ends.entry(record.partition).or_insert(0);
        *end = record.offset.max(*end - 1) + 1;
    }
    ends
}

/// Everything in the order of the flow, so that what is downstream takes all that comes.
fn stop(plan: &Plan, crew: &Crew) -> Result<()> {
    for (stage, planned) in plan.stages.iter().enumerate() {
        for broker in 0..planned.brokers {
            crew.stop(&broker_name(Seat { stage, broker }))?;
        }
        for replica in 0..planned.replicas {
            crew.stop(&processor_name(stage, replica))?;
        }
    }
    crew.stop(CONSUMER)
}

fn final_read(
    plan: &Plan,
    names: &Names,
    world: &World,
) -> Result<(Vec<Record>, Vec<StageHistory>)> {
    let client = world.client();
    let stages = (0..plan.stages.len()).map(|stage| {
        Ok(StageHistory {
            output: client.read_all(&names.output(stage))?,
            dead_letters: client.read_all(&names.dead(stage))?,
        })
    });
    Ok((
        client.read_all(&names.input())?,
        stages.collect::<Result<_>>()?,
    ))
}

fn committed(plan: &Plan, names: &Names, world: &World) -> Result<Vec<Committed>> {
    let client = world.client();
    let mut all = Vec::new();
    let last = names.output(plan.stages.len() - 1);
    let stages = (0..plan.stages.len()).map(|stage| (names.group(stage), names.read_by(stage)));
    for (group, topic) in stages.chain([(names.consumer_group(), last)]) {
        let offsets = client.committed(&group, &topic, plan.workload.partitions)?;
        all.extend((0..).zip(offsets).map(|(partition, offset)| Committed {
            group: group.clone(),
            topic: topic.clone(),
            partition,
            offset,
        }));
    }
    Ok(all)
}

/// Two readers that each begin at the beginning.
fn replays(
    plan: &Plan,
    names: &Names,
    world: &World,
    crew: &Crew,
    binaries: &Path,
) -> Result<Vec<Vec<u8>>> {
    (0..2)
        .map(|at| {
            let name = format!("replay{at}");
            let file = names.folder.join(format!("{name}.jsonl"));
            let log = File::create(names.folder.join(format!("logs/{name}.log")))?;
            let mut child = Command::new(binaries.join("consumer"))
                .args(replay_args(plan, names, world.servers(), &file))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .context("starting a replay")?;
            match end_of(&mut child)? {
                Some(status) if status.success() => {}
                Some(status) => crew.disgraced(&name, status.to_string()),
                None => crew.disgraced(&name, format!("SIGKILL after {REPLAY:?}")),
            }
            Ok(std::fs::read(&file).unwrap_or_default())
        })
        .collect()
}

/// None if it had to be killed.
fn end_of(child: &mut Child) -> Result<Option<ExitStatus>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if start.elapsed() > REPLAY {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK); // a child's end can only be looked for
    }
}

fn logs(crew: &Crew) -> Result<Vec<Log>> {
    let read = |(process, path): (String, std::path::PathBuf)| {
        let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Log { process, lines })
    };
    crew.logs().into_iter().map(read).collect()
}
