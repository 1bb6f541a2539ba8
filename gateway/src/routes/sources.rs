//! What there is to see, and how it is.

use super::App;
use crate::access::{Pass, RegistryRight};
use crate::address::Address;
use crate::places::{Place, Range};
use crate::refusal::Refusal;
use crate::stats::{Newest, Summary};
use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Serialize)]
pub struct List {
    sources: Vec<Line>,
    /// Viewers of this gateway, and how many it takes.
    viewers: usize,
    max_viewers: usize,
    /// Why there may be more, or why nothing is new.
    problem: Option<String>,
    /// True if `/api/v1` may be asked.
    registry: bool,
}

#[derive(Debug, Serialize)]
pub struct Line {
    topic: String,
    source: String,
    partitions: BTreeSet<i32>,
    /// By this gateway.
    viewers: usize,
    /// Frames that its viewers missed because they were too slow.
    skipped: u64,
    newest: Option<Newest>,
    /// Only of a source that is watched.
    live: Option<Summary>,
}

#[derive(Debug, Serialize)]
pub struct Detail {
    #[serde(flatten)]
    line: Line,
    range: Range,
}

/// `/sources`
pub async fn all(State(app): State<Arc<App>>, Extension(pass): Extension<Pass>) -> Json<List> {
    let (mut places, problem) = app.sources.places.list().await;
    // Seen before it was found. What has no record yet may be a mistyped address: a wall that showed it would keep it.
    let live = app.sources.live.hubs();
    for hub in live.iter().filter(|hub| hub.summary().newest.is_some()) {
        places.entry(hub.address.clone()).or_default();
    }
    let registered = app.sources.registered.as_ref();
    for address in registered
        .iter()
        .flat_map(|registered| registered.addresses())
    {
        places.entry(address).or_default();
    }
    places.retain(|address, _| pass.allows(&address.topic));
    Json(List {
        sources: lines(&app, places),
        viewers: app.seats.taken(),
        max_viewers: app.seats.most(),
        problem,
        registry: registered.is_some() && pass.registry >= RegistryRight::Read,
    })
}

fn lines(app: &App, places: BTreeMap<Address, Place>) -> Vec<Line> {
    let lines = places.into_iter();
    lines
        .map(|(address, place)| line(app, &address, place))
        .collect()
}

fn line(app: &App, address: &Address, place: Place) -> Line {
    let hub = app.sources.live.hub(address);
    let live = hub.as_ref().map(|hub| hub.summary());
    Line {
        topic: address.topic.to_string(),
        source: address.source.to_string(),
        partitions: place.partitions,
        viewers: hub.as_ref().map_or(0, |hub| hub.viewers()),
        skipped: hub.as_ref().map_or(0, |hub| hub.skipped()),
        newest: live.as_ref().and_then(|live| live.newest).or(place.newest),
        live,
    }
}

/// `/sources/{topic}/{source}`: one of them, with the times between which it can be replayed.
pub async fn one(
    State(app): State<Arc<App>>,
    Path((topic, source)): Path<(String, String)>,
) -> Result<Json<Detail>, Refusal> {
    let address = Address::new(&topic, &source)?;
    let lanes = app.sources.places.locate(&address).await?;
    let range = app.sources.places.range(&address).await?;
    let place = Place {
        partitions: lanes.iter().map(|lane| lane.partition).collect(),
        newest: None,
    };
    Ok(Json(Detail {
        line: line(&app, &address, place),
        range,
    }))
}
