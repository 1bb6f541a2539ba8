//! Keeps the balancer's picture of the replicas true: addresses looked up again and again, health asked for.

use super::balancer::Balancer;
use super::replica::{Replica, ReplicaId};
use super::target::Target;
use super::trust::Reason;
use processor_proto::v1::{DescribeRequest, DescribeResponse};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Uri};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LOOK_UP_EVERY: Duration = Duration::from_secs(5);
/// A replica that is up is asked at this rhythm; one that is down more often, since frames may be waiting for it.
const CHECK_UP_EVERY: Duration = Duration::from_secs(1);
const CHECK_DOWN_EVERY: Duration = Duration::from_millis(200);
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs until cancelled. `limit` is the number of calls in flight per replica, if the user chose one. The addresses may
/// change: those that stay are not disturbed, calls to those that go may finish.
pub async fn watch(
    balancer: Arc<Balancer>,
    mut processors: tokio::sync::watch::Receiver<Vec<Target>>,
    limit: Option<usize>,
    shutdown: CancellationToken,
) {
    let mut watched: BTreeMap<SocketAddr, (ReplicaId, CancellationToken)> = BTreeMap::new();
    let mut checks = JoinSet::new();
    let mut rhythm = tokio::time::interval(LOOK_UP_EVERY);
    while shutdown
        .run_until_cancelled(next_look(&mut rhythm, &mut processors))
        .await
        .is_some()
    {
        let targets = processors.borrow_and_update().clone();
        let mut found: BTreeMap<SocketAddr, Target> = BTreeMap::new();
        let mut complete = true;
        for target in &targets {
            match look_up(&target.uri).await {
                Ok(addresses) => found.extend(addresses.into_iter().map(|a| (a, target.clone()))),
                Err(cause) => {
                    complete = false; // a name server that is away for a moment must not empty the list
                    tracing::warn!(processor = %target.uri, %cause, "the processor's address cannot be looked up");
                }
            }
        }
        if complete {
            watched.retain(|address, (id, stop)| {
                let stays = found.contains_key(address);
                if !stays {
                    tracing::info!(replica = %address, "the processor no longer has this address");
                    stop.cancel();
                    balancer.remove(*id);
                }
                stays
            });
        }
        for (address, target) in found {
            if watched.contains_key(&address) {
                continue;
            }
            match target.connect(address) {
                Ok(channel) => {
                    let mut replica = Replica::new(channel.clone(), address, limit);
                    if let Some(declared) = target.uri.authority() {
                        replica.declared = declared.as_str().into();
                    }
                    let id = balancer.add(replica);
                    let stop = shutdown.child_token();
                    watched.insert(address, (id, stop.clone()));
                    checks.spawn(check(
                        Arc::clone(&balancer),
                        id,
                        address,
                        channel,
                        limit,
                        stop,
                    ));
                }
                Err(cause) => {
                    tracing::warn!(processor = %target.uri, %cause, "not a usable address");
                }
            }
        }
        while checks.try_join_next().is_some() {}
    }
    while checks.join_next().await.is_some() {}
}

/// When it is time to look again, or the addresses have changed.
async fn next_look(
    rhythm: &mut tokio::time::Interval,
    processors: &mut tokio::sync::watch::Receiver<Vec<Target>>,
) {
    tokio::select! {
        _ = rhythm.tick() => {}
        Ok(()) = processors.changed() => {}
    }
}

async fn look_up(uri: &Uri) -> std::io::Result<Vec<SocketAddr>> {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let port = uri.port_u16().unwrap_or(80);
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// Asks one replica for its health, for ever.
async fn check(
    balancer: Arc<Balancer>,
    id: ReplicaId,
    address: SocketAddr,
    channel: Channel,
    limit: Option<usize>,
    stop: CancellationToken,
) {
    let mut health = HealthClient::new(channel.clone());
    let mut told: Option<Result<(), Reason>> = None;
    loop {
        let question = async {
            let state = is_serving(&mut health).await;
            if state.is_ok() {
                // Also if it was up before: who answers at its address may be another by now.
                describe(&balancer, id, channel.clone(), limit).await;
            }
            state
        };
        let Some(state) = stop.run_until_cancelled(question).await else {
            return;
        };
        let is_up = state.is_ok();
        if is_news(told.as_ref(), &state) {
            match &state {
                Ok(()) => tracing::info!(replica = %address, "the processor is up"),
                Err(why) => tracing::warn!(replica = %address, %why,
                    "the processor is down; frames wait for it"),
            }
            told = Some(state);
        }
        // Set every time: a failed call may have marked it down in between.
        balancer.change(id, |replica| replica.is_up = is_up);
        let next = if is_up {
            CHECK_UP_EVERY
        } else {
            CHECK_DOWN_EVERY
        };
        if stop
            .run_until_cancelled(tokio::time::sleep(next))
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Up after down and the other way, and a reason that says what to do after one that did not or said another: a
/// certificate that was mended in one way may be wrong in another. A server that hangs up does so at several moments of
/// the conversation, which are one and the same to a person.
fn is_news(told: Option<&Result<(), Reason>>, now: &Result<(), Reason>) -> bool {
    match (told, now) {
        (None, _) | (Some(Ok(())), Err(_)) | (Some(Err(_)), Ok(())) => true,
        (Some(Ok(())), Ok(())) => false,
        (Some(Err(told)), Err(now)) => matches!(now, Reason::Trust(_)) && told != now,
    }
}

async fn is_serving(health: &mut HealthClient<Channel>) -> Result<(), Reason> {
    let request = HealthCheckRequest {
        service: String::new(), // the whole server
    };
    let answer = tokio::time::timeout(CHECK_TIMEOUT, health.check(request))
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer to the health check")));
    match answer {
        Ok(answer) if answer.get_ref().status() == ServingStatus::Serving => Ok(()),
        Ok(answer) => Err(Reason::Other(format!(
            "it says {}",
            answer.get_ref().status().as_str_name()
        ))),
        // Without the health service a server that answers at all counts as healthy.
        Err(status) if status.code() == Code::Unimplemented => Ok(()),
        Err(status) => Err(Reason::of(&status)),
    }
}

/// What the replica says it is and can take.
async fn describe(balancer: &Arc<Balancer>, id: ReplicaId, channel: Channel, limit: Option<usize>) {
    let mut client = processor_proto::v1::processor_client::ProcessorClient::new(channel);
    let answer = tokio::time::timeout(CHECK_TIMEOUT, client.describe(DescribeRequest {})).await;
    let said = match answer {
        Ok(Ok(answer)) => answer.into_inner(),
        // It is optional. Who was at this address before may have answered.
        Ok(Err(status)) if status.code() == Code::Unimplemented => DescribeResponse {
            needs_pixels: true,
            ..DescribeResponse::default()
        },
        _ => return, // what is known stays
    };
    balancer.change(id, |replica| replica.described(said, limit));
}
