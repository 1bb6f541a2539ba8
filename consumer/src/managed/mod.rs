//! A consumer that follows the registry: its sinks and options, and the sources that it is assigned.
//!
//! ```text
//! registry --> session --topics, notices--> flow --> sinks
//!                 ^------ what it has seen ---+
//! ```
//! [`choice`] decides, [`standing`] says how each source stands; both are pure. A change of sinks or options ends the flow
//! in order and begins the next one, where the group is; nothing else does.

mod choice;
mod session;
mod spec;
mod standing;
mod subjects;
mod topics;

use crate::config::{DeclaredCommands, ManagedConfig};
use anyhow::Context;
use registry::instance::{InstanceIdentity, Service};
use registry::model::{Consumer, Key, Kind, Version, Versioned};
use registry::{Registry, Reporter};
use session::{Session, SessionEnd};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// While nothing runs, outputs that could not be opened are tried again after this time: what was in the way may have gone.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// A managed consumer, outside of its sessions.
pub(crate) struct Following {
    settings: ManagedConfig,
    registry: Registry,
    reporter: Reporter,
}

/// A declaration that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Declared {
    consumer: Versioned<Consumer>,
    config: crate::config::Config,
}

/// Runs until `shutdown`, or until everything was shown (`when-closed: exit`).
pub async fn run(settings: ManagedConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
    if settings.commands == DeclaredCommands::Allowed {
        tracing::warn!(
            registry = settings.registry,
            "--allow-exec: whoever may write the registry can run commands here, as this consumer's user"
        );
    }
    let registry = Registry::open(&settings.kafka, &settings.registry).await?;
    let reporter = registry.reporter(InstanceIdentity::here(Service::Consumer, &settings.name))?;
    let following = Following {
        settings,
        registry,
        reporter,
    };
    let result = following.follow(&shutdown).await;
    following.reporter.close().await;
    result
}

impl Following {
    async fn follow(&self, shutdown: &CancellationToken) -> anyhow::Result<()> {
        let name = &self.settings.name;
        // What ran last, and what cannot be run in its place.
        let mut before: Option<Declared> = None;
        let mut refused: Option<(Version, String)> = None;
        loop {
            let declared = if refused.is_some()
                && let Some(before) = before.take()
            {
                before
            } else {
                match self.declaration(refused.take(), shutdown).await? {
                    Some(declared) => declared,
                    None => return Ok(()),
                }
            };
            let session = Session::new(self, declared.clone(), refused.clone());
            let end = session.run(shutdown).await?;
            self.reporter.update(|instance| {
                instance.watches.clear();
                instance.lanes.clear();
            });
            match end {
                SessionEnd::Over => {
                    tracing::info!("all sources have ended");
                    return Ok(());
                }
                SessionEnd::Stopped => return Ok(()),
                SessionEnd::Redeclared(last) => {
                    tracing::info!("going on as it is declared now");
                    let is_declared = self.registry.view().consumer(name).is_some();
                    before = is_declared.then_some(*last);
                    refused = None;
                }
                SessionEnd::Refused(why) => {
                    if before.is_some() {
                        tracing::error!("consumer {name}: {why}; going on as before");
                    }
                    refused = Some((declared.consumer.version, why));
                }
            }
        }
    }

    /// Waits for a declaration that can be run. One whose outputs could not be opened is tried again after a while. None:
    /// stopped before there was one.
    async fn declaration(
        &self,
        mut refused: Option<(Version, String)>,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Option<Declared>> {
        let name = &self.settings.name;
        let again = tokio::time::sleep(TRY_AGAIN);
        tokio::pin!(again);
        let mut changes = self.registry.changes();
        // Views come with every heartbeat: each thing is said once.
        let mut said: Option<Version> = None;
        loop {
            let view = changes.borrow_and_update().clone();
            let version = view
                .objects()
                .version(&Key::new(Kind::Consumer, name.clone()));
            let is_new = said.replace(version) != Some(version);
            let is_refused = |consumer: &Versioned<Consumer>| {
                let (version, why) = refused.as_ref()?;
                (*version == consumer.version).then(|| why.clone())
            };
            let check = |consumer: &Versioned<Consumer>| match is_refused(consumer) {
                Some(why) => Err(why),
                None => self.check(consumer),
            };
            match view.consumer(name).map(check) {
                // Nothing could be read, and nobody knows what was declared since: what ends this is a change too.
                Some(Ok(_)) if view.away_since().is_some() => {}
                Some(Ok(declared)) => {
                    self.reporter.update(|instance| instance.refused.clear());
                    return Ok(Some(declared));
                }
                Some(Err(why)) if is_new => {
                    tracing::error!("consumer {name}: {why}; waiting for a change");
                    let key = Key::new(Kind::Consumer, name.clone());
                    self.reporter.update(|instance| instance.refuse(&key, &why));
                }
                None if is_new => {
                    self.reporter.update(|instance| instance.refused.clear());
                    tracing::info!(
                        "no consumer {name} is declared yet; waiting for one (framelane apply)"
                    );
                }
                Some(Err(_)) | None => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return Ok(None),
                changed = changes.changed() => changed.context("following the registry")?,
                () = &mut again, if refused.is_some() => refused = None,
            }
        }
    }

    fn check(&self, consumer: &Versioned<Consumer>) -> Result<Declared, String> {
        let settings = &self.settings;
        let config = spec::config(
            &settings.registry,
            &settings.name,
            &consumer.spec,
            &settings.kafka,
            settings.commands,
        )?;
        Ok(Declared {
            consumer: consumer.clone(),
            config,
        })
    }
}
