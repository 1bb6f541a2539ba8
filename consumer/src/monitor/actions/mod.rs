//! What is done with alerts. An action is a sink that takes alerts only: the offset behind an alert is committed after it is
//! done, so none is lost. One that was done and not yet committed when the process died comes again, with the same id.
//!
//! The topic of alerts is no sink: its records are written in the transaction that commits the offset, so exactly once.

mod exec;
mod retry;
mod webhook;

use super::ActionSpec;
use crate::sinks::{JsonLines, Loss, OpenError, OpenSink, Shows, Sink, SinkOptions, Takes};
use retry::Patience;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

/// Prepares the actions that are sinks. They give up waiting when `closing` is cancelled.
pub fn open(
    spec: &ActionSpec,
    options: &SinkOptions,
    closing: &CancellationToken,
) -> Result<Option<OpenSink>, OpenError> {
    let patience = Patience::new(closing.clone(), Handle::current());
    let (sink, progress): (Box<dyn Sink>, _) = match spec {
        ActionSpec::Topic(_) => return Ok(None),
        ActionSpec::Exec(command) => (Box::new(exec::Exec::new(command, patience)), None),
        ActionSpec::Webhook(url) => (Box::new(webhook::Webhook::open(url, patience)?), None),
        ActionSpec::Jsonl(path) => {
            let (sink, kept) = JsonLines::open(path, Shows::Alerts, options)?;
            (Box::new(sink), kept)
        }
    };
    Ok(Some(OpenSink {
        name: spec.to_string(),
        sink,
        loss: match progress {
            Some(_) => Loss::Harmless,
            None => Loss::Forbidden,
        },
        progress,
        takes: Takes::Passing,
    }))
}
