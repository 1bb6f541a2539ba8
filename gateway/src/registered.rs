//! The registry, as the web edge needs it: what is registered is shown although it has published nothing yet, and whoever
//! opens sources on demand is told which are watched here.

use crate::address::Address;
use crate::live::Live;
use axum::Router;
use pipeline::kafka::KafkaConfig;
use registry::{InstanceIdentity, Registry, RegistryError, Reporter, Service, rest};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether others are watched: an on-demand source is opened by its first viewer.
const LOOK: Duration = Duration::from_millis(200);

/// See the module.
#[derive(Debug)]
pub struct Registered {
    registry: Registry,
}

impl Registered {
    /// # Errors
    /// The registry's topics cannot be had.
    pub async fn open(kafka: &KafkaConfig, topic: &str) -> Result<Self, RegistryError> {
        Ok(Self {
            registry: Registry::open(kafka, topic).await?,
        })
    }

    /// `/api/v1`
    pub fn router(&self) -> Router {
        rest::router(self.registry.clone())
    }

    /// Where the registered sources are, or will be, and what stages make of them.
    pub fn addresses(&self) -> Vec<Address> {
        let view = self.registry.view();
        let sources = view.sources().filter_map(|source| {
            let topic = view.topic_of(&source.name)?;
            Address::new(topic, source.source_id()).ok()
        });
        // Frames keep their source's id on their way.
        let made = view.flows().iter().flat_map(|flow| {
            let roots = flow.inputs.iter().flat_map(|input| view.roots(input));
            roots.filter_map(|source| {
                Address::new(&flow.output, view.source(&source)?.source_id()).ok()
            })
        });
        sources.chain(made).collect()
    }

    /// True if this is, or will be, the address of a registered source.
    pub fn knows(&self, address: &Address) -> bool {
        self.addresses().contains(address)
    }

    /// Says where this gateway is and what is watched here, until told to stop.
    ///
    /// # Errors
    /// Kafka's client refuses its settings.
    pub async fn run(
        &self,
        url: &str,
        live: &Live,
        shutdown: CancellationToken,
    ) -> Result<(), RegistryError> {
        let who = InstanceIdentity::here(Service::Gateway, "");
        let reporter = self.registry.reporter(who)?;
        reporter.update(|instance| instance.address = url.to_owned());
        let mut tick = tokio::time::interval(LOOK);
        while shutdown.run_until_cancelled(tick.tick()).await.is_some() {
            self.tell(&reporter, live);
        }
        reporter.close().await;
        Ok(())
    }

    /// Frames keep their source's id on their way through stages, so a view of a stage's output is one of its source too.
    fn tell(&self, reporter: &Reporter, live: &Live) {
        let view = self.registry.view();
        let hubs = live.hubs();
        let mut watched: Vec<String> = hubs
            .iter()
            .filter(|hub| hub.viewers() > 0)
            .flat_map(|hub| view.sources_at(&hub.address.topic, &hub.address.source))
            .map(ToString::to_string)
            .collect();
        watched.sort_unstable();
        watched.dedup();
        if reporter.instance().watches != watched {
            reporter.update(|instance| instance.watches = watched);
        }
    }
}
