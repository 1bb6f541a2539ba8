//! `framelane get`: a line for each object or instance, or its document.

use crate::args::{Access, Form, GetArgs, What};
use crate::session::{self, print, warn_if_away, warn_if_unreadable, wrong};
use crate::state;
use crate::table::Table;
use anyhow::Context;
use registry::model::{Inputs, Stage, Work};
use registry::{Kind, Name, Spec, Versioned, View, secrets, yaml};
use std::collections::BTreeMap;

pub async fn run(access: Access, args: GetArgs) -> anyhow::Result<()> {
    let (what, name) = asked(args.what.as_deref(), args.name.as_deref())?;
    let registry_name = access.registry.registry.clone();
    let registry = session::open(access).await?;
    let view = registry.view();
    warn_if_away(&view);
    let kinds = match what {
        Some(What::Instances) => return instances(&view, name.as_deref(), args.output),
        Some(What::Objects(kind)) => vec![kind],
        None => Kind::ALL.to_vec(),
    };
    let mut objects: Vec<Versioned<Spec>> =
        kinds.iter().flat_map(|kind| view.of_kind(*kind)).collect();
    if let Some(name) = &name {
        objects.retain(|one| one.name == *name.as_str());
        if objects.is_empty() {
            warn_if_unreadable(&view, &kinds, Some(name));
            anyhow::bail!(
                "there is no {}/{name}: `framelane get` shows what there is",
                kinds[0]
            );
        }
    }
    warn_if_unreadable(&view, &kinds, name.as_deref());
    let labels: BTreeMap<String, String> = args.label.iter().cloned().collect();
    objects.retain(|one| one.has_labels(&labels));
    if !args.show_secrets {
        objects
            .iter_mut()
            .for_each(|one| secrets::hide_in(&mut one.spec));
    }
    match args.output {
        Form::Table if objects.is_empty() => print(&format!(
            "nothing found in registry {registry_name}: framelane apply -f FILE\n"
        )),
        Form::Table => print(&tables(&view, &objects)),
        Form::Yaml => {
            let objects: Vec<_> = objects.iter().map(Versioned::object).collect();
            print(&yaml::write(&objects).context("writing YAML")?)
        }
        Form::Json => {
            let text = match (&name, objects.as_slice()) {
                (Some(_), [one]) => serde_json::to_string_pretty(one),
                _ => serde_json::to_string_pretty(&objects),
            };
            print(&format!("{}\n", text.context("writing JSON")?))
        }
    }
}

/// KIND, KIND NAME or KIND/NAME.
pub fn asked(
    what: Option<&str>,
    name: Option<&str>,
) -> anyhow::Result<(Option<What>, Option<String>)> {
    let Some(what) = what else {
        return Ok((None, None));
    };
    let (what, name) = match (what.split_once('/'), name) {
        (Some((kind, inner)), None) => (kind, Some(inner)),
        (Some(_), Some(name)) => {
            return Err(wrong(format!(
                "{name}: give KIND/NAME or KIND NAME, not both"
            )));
        }
        (None, name) => (what, name),
    };
    Ok((Some(what.parse().map_err(wrong)?), name.map(str::to_owned)))
}

fn tables(view: &View, objects: &[Versioned<Spec>]) -> String {
    let mut text = String::new();
    for kind in Kind::ALL {
        let of_kind: Vec<_> = objects
            .iter()
            .filter(|one| one.spec.kind() == kind)
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&table(view, kind, &of_kind).to_string());
    }
    text
}

fn table(view: &View, kind: Kind, objects: &[&Versioned<Spec>]) -> Table {
    let mut table = match kind {
        Kind::Source => Table::new([
            "SOURCE", "HOST", "INPUT", "TOPIC", "OPEN", "STATE", "SIZE", "FPS", "WATCHERS",
            "VERSION",
        ]),
        Kind::Processor => Table::new([
            "PROCESSOR",
            "ADDRESSES",
            "STATE",
            "RELEASE",
            "CALLED BY",
            "VERSION",
        ]),
        Kind::Pipeline => Table::new([
            "PIPELINE", "STAGE", "FROM", "DOES", "TO", "STATE", "LANES", "LAG", "FPS", "VERSION",
        ]),
        Kind::Consumer => Table::new(["CONSUMER", "SINKS", "READS", "STATE", "VERSION"]),
        Kind::Assignment => Table::new(["ASSIGNMENT", "SOURCES", "VERSION"]),
    };
    for object in objects {
        row(view, object, &mut table);
    }
    table
}

fn row(view: &View, object: &Versioned<Spec>, table: &mut Table) {
    let name = object.name.to_string();
    let version = object.version.to_string();
    match &object.spec {
        Spec::Source(spec) => {
            let source = object.clone().map(|_| spec.clone());
            let health = state::of_source(view, &source);
            let running = health.running.map(|(_, running)| running);
            let size = running
                .and_then(|one| one.size)
                .map(|(w, h)| format!("{w}x{h}"));
            let (input, value) = spec.input.option();
            table.row([
                name.clone(),
                spec.host.to_string(),
                format!("{input}: {value}"),
                source.topic().to_string(),
                state::opening(spec).to_owned(),
                health.state,
                size.unwrap_or_default(),
                running.map_or_else(String::new, |one| format!("{:.1}", one.fps)),
                view.watchers(&name).to_string(),
                version,
            ]);
        }
        Spec::Processor(spec) => {
            let addresses: Vec<&str> = spec.addresses.iter().map(|one| one.as_str()).collect();
            let calls = |one: &&registry::Seen| {
                let mut called = one.instance.processors.iter();
                called.any(|called| state::is_called_at(spec, &called.declared))
            };
            let callers = view.live().filter(calls).count();
            table.row([
                name,
                addresses.join(" "),
                state::of_processor(view, spec),
                spec.version.clone(),
                callers.to_string(),
                version,
            ]);
        }
        Spec::Pipeline(spec) => {
            for stage in &spec.stages {
                stage_row(view, &object.name, stage, &version, table);
            }
        }
        Spec::Consumer(spec) => {
            let reads = view.assignment(&name).map(|one| names(&one.spec.sources));
            let state = state::of_declared_consumer(view, &object.key());
            table.row([
                name,
                spec.sinks.join(" "),
                reads.unwrap_or_default(),
                state.to_owned(),
                version,
            ]);
        }
        Spec::Assignment(spec) => table.row([name, names(&spec.sources), version]),
    }
}

fn stage_row(view: &View, pipeline: &Name, stage: &Stage, version: &str, table: &mut Table) {
    let (from, does) = match &stage.work {
        Work::Process {
            from: Inputs::Names(from),
            processor,
        } => (names(from), processor.to_string()),
        Work::Process {
            from: Inputs::Labels { labels },
            processor,
        } => {
            let labels: Vec<String> = labels
                .iter()
                .map(|(name, text)| format!("{name}={text}"))
                .collect();
            (labels.join(","), processor.to_string())
        }
        Work::Join { inputs } => (names(inputs), "join".to_owned()),
    };
    let place = format!("{pipeline}/{}", stage.name);
    let outputs = view.flows().iter().filter(|flow| flow.place() == place);
    let outputs: Vec<&str> = outputs.map(|flow| flow.output.as_str()).collect();
    let lanes: Vec<_> = state::lanes_of_stage(view, &place)
        .map(|(_, lane)| lane)
        .collect();
    let lag: u64 = lanes.iter().map(|lane| lane.lag).sum();
    let fps: f64 = lanes.iter().map(|lane| lane.fps).sum();
    let figure = |text: String| {
        if lanes.is_empty() {
            String::new()
        } else {
            text
        }
    };
    table.row([
        pipeline.to_string(),
        stage.name.to_string(),
        from,
        does,
        outputs.join(" "),
        state::of_stage(view, &place),
        lanes.len().to_string(),
        figure(lag.to_string()),
        figure(format!("{fps:.1}")),
        version.to_owned(),
    ]);
}

fn names(names: &[Name]) -> String {
    names.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")
}

fn instances(view: &View, name: Option<&str>, form: Form) -> anyhow::Result<()> {
    let is_it = |id: &str| name.is_none_or(|name| id.starts_with(name));
    let all: Vec<_> = view
        .instances()
        .filter(|seen| is_it(&seen.instance.id))
        .collect();
    match form {
        Form::Table => {
            let mut table = Table::new([
                "SERVICE", "NAME", "HOST", "STATE", "HEARD", "RUNS", "WATCHES", "LANES", "ADDRESS",
                "ID",
            ]);
            for seen in &all {
                let instance = &seen.instance;
                table.row([
                    instance.service.to_string(),
                    instance.name.clone(),
                    instance.host.clone(),
                    if seen.is_live() {
                        "live".to_owned()
                    } else {
                        "lost".to_owned()
                    },
                    format!("{} ago", state::ago(seen.last_seen)),
                    instance.sources.len().to_string(),
                    instance.watches.join(" "),
                    instance.lanes.len().to_string(),
                    instance.address.clone(),
                    instance.id.clone(),
                ]);
            }
            match table.is_empty() {
                true => print("nothing runs with --managed\n"),
                false => print(&table.to_string()),
            }
        }
        Form::Yaml => Err(wrong("instances are not written by people: use -o json")),
        Form::Json => {
            let text = serde_json::to_string_pretty(&all).context("writing JSON")?;
            print(&format!("{text}\n"))
        }
    }
}
