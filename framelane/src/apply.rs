//! `framelane apply`: all documents, or none.

use crate::args::{Access, ApplyArgs, Report};
use crate::session::{self, plain, print, wrong};
use registry::check::Problem;
use registry::yaml::Document;
use registry::{Change, Key, Outcome, RegistryError, View, Written, diff, secrets};
use serde_json::json;
use std::collections::HashMap;

pub async fn run(access: Access, args: ApplyArgs) -> anyhow::Result<()> {
    // Before anything is asked of Kafka: most mistakes are in the text.
    let documents = session::documents(&args.files)?;
    if documents.is_empty() {
        return Err(wrong("there is no document in what was given"));
    }
    let places = places(&documents)?;
    let registry = session::open(access).await?;
    let view = registry.view();
    let changes: Vec<Change> = documents
        .into_iter()
        .map(|(_, one)| change(one, &view))
        .collect();
    let in_files = |problems: Vec<Problem>| wrong(lines(&problems, &places));
    if args.dry_run {
        let preview = registry::preview(view.objects(), &changes).map_err(in_files)?;
        return show(&args, &preview, Some((&view, &changes)));
    }
    let written = registry
        .write(&changes)
        .await
        .map_err(|error| match error {
            RegistryError::Refused(problems) => in_files(problems),
            other => plain(other),
        })?;
    show(&args, &written, None)
}

/// A document that says no version replaces the one that is there now.
fn change(document: Document, view: &View) -> Change {
    let present = view.objects().version(&document.object.key());
    Change::put(document.object, document.replaces.unwrap_or(present))
}

/// Where each object stands: FILE:LINE.
fn places(documents: &[(String, Document)]) -> anyhow::Result<HashMap<Key, String>> {
    let mut places = HashMap::new();
    for (file, document) in documents {
        let (key, place) = (document.object.key(), format!("{file}:{}", document.line));
        if let Some(first) = places.insert(key.clone(), place.clone()) {
            return Err(wrong(format!(
                "{place}: {key} is declared twice, first in {first}"
            )));
        }
    }
    Ok(places)
}

fn lines(problems: &[Problem], places: &HashMap<Key, String>) -> String {
    let line = |problem: &Problem| match places.get(&problem.key) {
        Some(place) => format!("{place}: {problem}"),
        None => problem.to_string(),
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    format!("nothing was written:\n{}", lines.join("\n"))
}

fn show(
    args: &ApplyArgs,
    written: &[Written],
    dry: Option<(&View, &[Change])>,
) -> anyhow::Result<()> {
    let differences = |key: &Key| match dry {
        Some((view, changes)) => differences(view, changes, key),
        None => Vec::new(),
    };
    if args.output == Report::Json {
        let items: Vec<_> = written
            .iter()
            .map(|one| {
                json!({
                    "key": one.key.to_string(), "outcome": one.outcome, "version": one.version,
                    "changes": differences(&one.key),
                })
            })
            .collect();
        return print(&format!(
            "{}\n",
            json!({"items": items, "dry-run": args.dry_run})
        ));
    }
    let mut text = String::new();
    for one in written {
        let would = if args.dry_run { "would be " } else { "" };
        text.push_str(&format!("{} {would}{}", one.key, one.outcome.word()));
        if one.outcome != Outcome::Unchanged && !args.dry_run {
            text.push_str(&format!(" (version {})", one.version));
        }
        text.push('\n');
        for change in differences(&one.key) {
            text.push_str(&format!("  {change}\n"));
        }
    }
    print(&text)
}

fn differences(view: &View, changes: &[Change], key: &Key) -> Vec<diff::FieldChange> {
    let new = changes.iter().find(|change| change.key() == key);
    let new = new.and_then(Change::object).cloned().map(secrets::hide);
    let old = view.get(key).map(|one| secrets::hide(one.object()));
    diff::changes(old.as_ref(), new.as_ref())
}
