//! `framelane describe`: all that is known of one thing.

use crate::args::{Access, DescribeArgs, What};
use crate::get::asked;
use crate::session::{self, print, warn_if_away, warn_if_unreadable, wrong};
use crate::state::{self, ago};
use anyhow::Context;
use registry::{Key, Kind, Name, Seen, Spec, Versioned, View, secrets, yaml};
use std::fmt::Write;

pub async fn run(access: Access, args: DescribeArgs) -> anyhow::Result<()> {
    let (what, name) = asked(Some(&args.what), args.name.as_deref())?;
    let name = name.ok_or_else(|| wrong("say which one: framelane describe KIND NAME"))?;
    let registry = session::open(access).await?;
    let view = registry.view();
    warn_if_away(&view);
    match what {
        Some(What::Objects(kind)) => {
            let key = Key::new(kind, name.parse::<Name>().map_err(wrong)?);
            warn_if_unreadable(&view, &[kind], Some(key.name.as_str()));
            let object = view.get(&key).with_context(|| {
                format!("there is no {key}: `framelane get {kind}s` shows what there is")
            })?;
            print(&object_text(&view, &key, object)?)
        }
        _ => {
            let chosen: Vec<&Seen> = view
                .instances()
                .filter(|seen| seen.instance.id.starts_with(&name))
                .collect();
            if chosen.is_empty() {
                anyhow::bail!(
                    "there is no instance {name}: `framelane get instances` shows what there is"
                );
            }
            chosen
                .into_iter()
                .try_for_each(|seen| print(&instance_text(seen)))
        }
    }
}

fn object_text(view: &View, key: &Key, object: Versioned<Spec>) -> anyhow::Result<String> {
    let shown = secrets::hide(object.object());
    let mut text = yaml::write([&shown]).context("writing YAML")?;
    writeln!(
        text,
        "\nversion {}, written by {} at {} ({} ago)",
        object.version,
        object.written_by,
        object.written_at,
        ago(object.written_at)
    )?;
    taken_up(view, key, object.version, &mut text)?;
    match key.kind {
        Kind::Source => source(view, &key.name, &mut text)?,
        Kind::Pipeline => pipeline(view, &key.name, &mut text)?,
        Kind::Consumer | Kind::Assignment => consumer(view, &key.name, &mut text)?,
        Kind::Processor => processor(view, &key.name, &mut text)?,
    }
    for problem in view.problems().iter().filter(|problem| problem.key == *key) {
        writeln!(text, "problem: {}", problem.text)?;
    }
    Ok(text)
}

/// Who has taken up which version.
fn taken_up(view: &View, key: &Key, version: u64, text: &mut String) -> std::fmt::Result {
    let name = key.to_string();
    let mut is_taken_up = false;
    for seen in view.live() {
        if let Some(why) = seen.instance.refused.get(&name) {
            is_taken_up = true;
            writeln!(text, "refused by {}: {why}", seen.instance.title())?;
        }
    }
    for seen in view.instances() {
        let Some(has) = seen.instance.applied.get(&name) else {
            continue;
        };
        is_taken_up = true;
        let how = match (seen.is_live(), *has >= version) {
            (false, _) => format!("lost, last heard of {} ago", ago(seen.last_seen)),
            (true, true) => "up to date".to_owned(),
            (true, false) => format!("still has version {has}"),
        };
        writeln!(text, "followed by {}: {how}", seen.instance.title())?;
    }
    if !is_taken_up {
        writeln!(text, "followed by nobody")?;
    }
    Ok(())
}

fn source(view: &View, name: &Name, text: &mut String) -> std::fmt::Result {
    let Some(source) = view.source(name) else {
        return Ok(());
    };
    let health = state::of_source(view, source);
    write!(text, "state: {}", health.state)?;
    if !health.text.is_empty() {
        write!(text, " ({})", health.text)?;
    }
    writeln!(text)?;
    if let Some((seen, running)) = health.running {
        let size = running
            .size
            .map_or_else(|| "size not known".to_owned(), |(w, h)| format!("{w}x{h}"));
        writeln!(
            text,
            "run by {}: {size}, {:.1} fps, {} frames",
            seen.instance.title(),
            running.fps,
            running.frames
        )?;
        if let Some(last) = running.last {
            let ms = last.captured_unix_ns / 1_000_000;
            let time = jiff::Timestamp::from_millisecond(ms)
                .map_or_else(|_| "?".to_owned(), |time| time.to_string());
            writeln!(
                text,
                "last frame: epoch {}, sequence {}, captured at {time}",
                last.epoch, last.sequence
            )?;
        }
    }
    readers(view, name, text)
}

/// Who wants a source or a stage's output, declared and in fact.
fn readers(view: &View, name: &Name, text: &mut String) -> std::fmt::Result {
    for flow in view
        .flows()
        .iter()
        .filter(|flow| flow.inputs.contains(name))
    {
        writeln!(text, "read by stage {} -> {}", flow.place(), flow.output)?;
    }
    for assignment in view
        .assignments()
        .filter(|one| one.spec.sources.contains(name))
    {
        let state = state::liveness(state::of_consumer(view, &assignment.name));
        writeln!(text, "assigned to consumer {} ({state})", assignment.name)?;
    }
    writeln!(text, "watchers: {}", view.watchers(name))
}

fn pipeline(view: &View, name: &Name, text: &mut String) -> std::fmt::Result {
    for flow in view.flows().iter().filter(|flow| flow.pipeline == *name) {
        let topics: Vec<&str> = flow.topics.iter().map(Name::as_str).collect();
        writeln!(
            text,
            "stage {}: {} -> {}",
            flow.stage.name,
            topics.join(" + "),
            flow.output
        )?;
        if let Some(running) = state::of_output(view, &flow.output) {
            writeln!(text, "  {}: {}", running.state, running.text)?;
        }
        let place = flow.place();
        let lanes = state::lanes_of_stage(view, &place);
        for (instance, lane) in lanes.filter(|(_, lane)| topics.contains(&lane.topic.as_str())) {
            writeln!(
                text,
                "  {}[{}] by {}: {:.1} fps, window {}, in flight {}, lag {}, p50 {:.0} ms, p99 {:.0} ms",
                lane.topic,
                lane.partition,
                instance.title(),
                lane.fps,
                lane.window_used,
                lane.in_flight,
                lane.lag,
                lane.latency_p50_ms,
                lane.latency_p99_ms
            )?;
        }
    }
    Ok(())
}

fn consumer(view: &View, name: &Name, text: &mut String) -> std::fmt::Result {
    for source in view
        .assignment(name)
        .iter()
        .flat_map(|one| &one.spec.sources)
    {
        let topic = view.topic_of(source).map_or("?", Name::as_str);
        writeln!(text, "reads {source} (topic {topic})")?;
    }
    let mut instances = state::of_consumer(view, name).peekable();
    if instances.peek().is_none() {
        writeln!(text, "not running: consumer --managed --name {name}")?;
    }
    instances.try_for_each(|seen| {
        let how = if seen.is_live() { "live" } else { "lost" };
        let (title, heard) = (seen.instance.title(), ago(seen.last_seen));
        writeln!(text, "{how}: {title}, heard of {heard} ago")
    })
}

fn processor(view: &View, name: &Name, text: &mut String) -> std::fmt::Result {
    let Some(processor) = view.processor(name) else {
        return Ok(());
    };
    for seen in view.live() {
        let called = seen.instance.processors.iter();
        for one in called.filter(|one| state::is_called_at(&processor.spec, &one.declared)) {
            let (title, address) = (seen.instance.title(), &one.address);
            writeln!(
                text,
                "{address} is {} for {title}, {} in flight",
                one.state, one.in_flight
            )?;
        }
    }
    Ok(())
}

fn instance_text(seen: &Seen) -> String {
    let how = if seen.is_live() { "live" } else { "lost" };
    let json = serde_json::to_string_pretty(&seen.instance).unwrap_or_default();
    format!(
        "{how}: {}, heard of {} ago\n{json}\n",
        seen.instance.title(),
        ago(seen.last_seen)
    )
}
