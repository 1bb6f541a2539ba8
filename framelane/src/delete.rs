//! `framelane delete`.

use crate::args::{Access, DeleteArgs, Report, What};
use crate::get::asked;
use crate::session::{self, plain, print, wrong};
use registry::{Change, Key, Name, Written};
use serde_json::json;

pub async fn run(access: Access, args: DeleteArgs) -> anyhow::Result<()> {
    let keys = keys(&args)?;
    let registry = session::open(access).await?;
    let view = registry.view();
    let mut changes = Vec::new();
    for key in &keys {
        let present = view.objects().version(key);
        if present == 0 {
            anyhow::bail!("there is no {key}: nothing was deleted");
        }
        changes.push(Change::delete(key.clone(), args.version.unwrap_or(present)));
    }
    changes.extend(Change::delete_assignments(view.objects(), &keys));
    let written = registry.write(&changes).await.map_err(plain)?;
    show(&written, args.output)
}

fn keys(args: &DeleteArgs) -> anyhow::Result<Vec<Key>> {
    if !args.files.is_empty() {
        let documents = session::documents(&args.files)?;
        return Ok(documents
            .into_iter()
            .map(|(_, one)| one.object.key())
            .collect());
    }
    let (first, more) = match args.names.split_first() {
        Some((first, more)) => (Some(first.as_str()), more),
        None => (None, &[][..]),
    };
    let (what, name) = asked(args.what.as_deref(), first)?;
    let kind = match what {
        Some(What::Objects(kind)) => kind,
        _ => {
            return Err(wrong(
                "instances are not deleted: stop the process, or wait until it is forgotten",
            ));
        }
    };
    let name = name.ok_or_else(|| wrong(format!("say which: framelane delete {kind} NAME")))?;
    let names = std::iter::once(name.as_str()).chain(more.iter().map(String::as_str));
    names
        .map(|name| Ok(Key::new(kind, name.parse::<Name>().map_err(wrong)?)))
        .collect()
}

fn show(written: &[Written], report: Report) -> anyhow::Result<()> {
    if report == Report::Json {
        return print(&format!("{}\n", json!({"items": written})));
    }
    let lines = written
        .iter()
        .map(|one| format!("{} {}\n", one.key, one.outcome.word()));
    print(&lines.collect::<String>())
}
