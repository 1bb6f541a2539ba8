//! A real server and a real client: limits, deadlines, drain and health as a caller sees them.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

mod server;

use processor_proto::{
    OnThreads, ServeConfig, Server, Stopped,
    v1::{self, FrameId, ProcessRequest, frame::Content, processor_client::ProcessorClient},
};
use server::{Gate, Moods, Running, bounded, frame, request, start, threads};
use std::time::Duration;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_types::StatusExt;

#[tokio::test]
async fn an_answer_carries_the_id_and_who_gave_it() {
    let server = start(Moods, ServeConfig::default()).await;
    let answer = server.call(request(7)).await.unwrap().unwrap();
    assert_eq!(answer.id, Some(FrameId::new("cam0", 1, 7)));
    let result = answer.result.unwrap();
    assert_eq!(
        (result.processor.as_str(), result.version.as_str()),
        ("moods", "3")
    );
    assert_eq!(result.status(), v1::Status::Ok);
    assert_eq!(result.attempts, 2);
    assert_eq!(result.detections.len(), 1);
    assert_eq!(result.attributes.unwrap().fields.len(), 1);
    assert!(result.timing.unwrap().processing_ns > 0);
    assert_eq!(server.stop().await, Stopped { ended_calls: 0 });
}

#[tokio::test]
async fn a_name_given_by_the_operator_replaces_the_processors() {
    let config = ServeConfig {
        name: Some("door-moods".into()),
        ..ServeConfig::default()
    };
    let mut server = start(Moods, config).await;
    let described = server.client.describe(v1::DescribeRequest {}).await;
    assert_eq!(described.unwrap().into_inner().name, "door-moods");
    let answer = server.call(request(0)).await.unwrap().unwrap();
    assert_eq!(answer.result.unwrap().processor, "door-moods");
}

#[tokio::test]
async fn each_frame_of_a_batch_has_its_own_outcome() {
    use v1::batched_outcome::Outcome;
    let mut server = start(Moods, ServeConfig::default()).await;
    let requests = [
        request(0),
        request(14),
        ProcessRequest::default(),
        request(7),
    ];
    let batch = v1::ProcessBatchRequest {
        requests: requests.into(),
    };
    let answer = server
        .client
        .process_batch(batch)
        .await
        .unwrap()
        .into_inner();
    let words: Vec<_> = answer
        .outcomes
        .into_iter()
        .map(|one| match one.outcome {
            Some(Outcome::Response(response)) => response.id.unwrap().to_string(),
            Some(Outcome::Refusal(refusal)) => Code::from_i32(refusal.code).to_string(),
            None => "nothing".to_owned(),
        })
        .collect();
    let invalid = Code::InvalidArgument.to_string();
    assert_eq!(words, ["cam0/1/0", &invalid, &invalid, "cam0/1/7"]);
    assert_eq!((server.counts.ok(), server.counts.not_ok()), (1, 0));
}

#[tokio::test]
async fn requests_that_hold_no_processable_frame_are_invalid() {
    let server = start(Moods, ServeConfig::default()).await;
    let mut referenced = frame(0);
    referenced.content = Some(Content::Reference(v1::Reference {
        topic: "cam0".into(),
        partition: 0,
        offset: 4,
    }));
    let mut too_short = frame(0);
    too_short.width = 100;
    let bad = [None, Some(referenced), Some(too_short), Some(frame(14))];
    for frame in bad {
        let answer = server.call(ProcessRequest { frame, attempt: 1 }).await;
        assert_eq!(answer.unwrap().unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_panic_ends_one_call_and_not_the_connection() {
    let server = start(Moods, ServeConfig::default()).await;
    let hanging = server.call(request(15));
    server.in_flight(1).await;
    let status = server.call(request(13)).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().contains("bad luck"), "{status}");
    assert!(server.call(request(0)).await.unwrap().is_ok());
    assert!(!hanging.is_finished());
    hanging.abort();
}

#[tokio::test]
async fn a_call_ends_at_its_deadline() {
    let mut server = start(Moods, ServeConfig::default()).await;
    let mut hanging = Request::new(request(15));
    hanging.set_timeout(Duration::from_millis(400));
    let status = bounded(server.client.process(hanging)).await.unwrap_err();
    // tonic says CANCELLED where others say DEADLINE_EXCEEDED.
    assert!(matches!(
        status.code(),
        Code::Cancelled | Code::DeadlineExceeded
    ));
    server.in_flight(0).await;
    assert_eq!((server.counts.ok(), server.counts.not_ok()), (0, 1));
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_the_connection_lives() {
    let config = ServeConfig {
        max_message_bytes: 1000,
        ..ServeConfig::default()
    };
    let server = start(Moods, config).await;
    let mut large = request(0);
    let frame = large.frame.as_mut().unwrap();
    frame.width = 2000;
    frame.content = Some(Content::Inline(vec![0; 2000].into()));
    let status = server.call(large).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert!(server.call(request(0)).await.unwrap().is_ok());
}

#[tokio::test]
async fn admission_refuses_at_once_what_would_wait_too_long() {
    let gate = Gate::default();
    let pool = OnThreads::start(gate.clone(), threads(1, 3)).unwrap();
    let mut server = start(pool, ServeConfig::default()).await;
    let described = server.client.describe(v1::DescribeRequest {}).await;
    assert_eq!(described.unwrap().into_inner().max_in_flight, 3);
    let admitted: Vec<_> = (0..3).map(|n| server.call(request(n))).collect();
    server.in_flight(3).await;
    let status = bounded(server.call(request(3))).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    gate.open();
    for call in admitted {
        assert!(bounded(call).await.unwrap().is_ok());
    }
    // Each place is free again before its answer is seen: one caller, one place, no refusal.
    for n in 0..50 {
        assert!(server.call(request(100 + n)).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_greedy_caller_gives_way_to_others_and_is_told_when_to_come_back() {
    let gate = Gate::default();
    let pool = OnThreads::start(gate.clone(), threads(1, 6)).unwrap();
    let server = start(pool, ServeConfig::default()).await;
    let address = server.address.clone();
    let other = ProcessorClient::connect(address).await.unwrap();
    // All places, of which one runs.
    let greedy: Vec<_> = (0..6).map(|n| server.call(request(n))).collect();
    gate.has_begun(1).await;
    server.in_flight(6).await;
    // Another connection gets its share: three places, taken from the newest calls of the greedy one.
    let modest: Vec<_> = (100..103)
        .map(|n| {
            let mut client = other.clone();
            tokio::spawn(async move { client.process(request(n)).await })
        })
        .collect();
    bounded(async {
        while greedy.iter().filter(|call| call.is_finished()).count() < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // Now shares are equal, and neither takes from the other.
    let one_more = bounded(server.call(request(6))).await.unwrap();
    assert_eq!(one_more.unwrap_err().code(), Code::ResourceExhausted);
    gate.open();
    for call in modest {
        assert!(bounded(call).await.unwrap().is_ok());
    }
    let mut refused = 0;
    for call in greedy {
        if let Err(status) = bounded(call).await.unwrap() {
            assert_full(&status);
            refused += 1;
        }
    }
    assert_eq!(refused, 3);
}

/// RESOURCE_EXHAUSTED, with the time after which to come back.
fn assert_full(status: &Status) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let retry = status.get_details_retry_info().expect("a hint");
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()));
}

#[tokio::test]
async fn requests_beyond_what_may_be_held_are_refused_and_the_connection_lives() {
    let gate = Gate::default();
    let pool = OnThreads::start(gate.clone(), threads(1, 100)).unwrap();
    let config = ServeConfig {
        max_held: Some(4),
        ..ServeConfig::default()
    };
    let server = start(pool, config).await;
    let large = |sequence: u64| {
        let mut request = request(sequence);
        let frame = request.frame.as_mut().unwrap();
        (frame.width, frame.height) = (2000, 2000);
        frame.content = Some(Content::Inline(vec![0; 4_000_000].into()));
        request
    };
    let calls: Vec<_> = (0..6).map(|n| server.call(large(n))).collect();
    // One caller may hold half of what may be held.
    bounded(async {
        while calls.iter().filter(|call| call.is_finished()).count() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.in_flight(2).await;
    // Another one still finds room.
    let mut other = ProcessorClient::connect(server.address.clone())
        .await
        .unwrap();
    let others = tokio::spawn(async move { other.process(request(9)).await });
    server.in_flight(3).await;
    gate.open();
    assert!(bounded(others).await.unwrap().is_ok());
    for call in calls {
        if let Err(status) = bounded(call).await.unwrap() {
            assert_full(&status);
        }
    }
    for n in 0..20 {
        assert!(bounded(server.call(large(100 + n))).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn an_abandoned_call_frees_its_place_and_is_never_begun() {
    let gate = Gate::default();
    let pool = OnThreads::start(gate.clone(), threads(1, 2)).unwrap();
    let server = start(pool, ServeConfig::default()).await;
    let first = server.call(request(0));
    gate.has_begun(1).await;
    for n in 1..40 {
        let abandoned = server.call(request(n));
        server.in_flight(2).await;
        abandoned.abort();
        server.in_flight(1).await;
    }
    let last = server.call(request(40));
    server.in_flight(2).await;
    gate.open();
    assert!(bounded(first).await.unwrap().is_ok());
    assert!(bounded(last).await.unwrap().is_ok());
    assert_eq!(gate.began(), 2);
}

#[tokio::test]
async fn a_panic_on_a_thread_is_an_internal_error_and_the_thread_lives() {
    let gate = Gate::default();
    gate.open();
    let pool = OnThreads::start(gate, threads(1, 4)).unwrap();
    let server = start(pool, ServeConfig::default()).await;
    for _ in 0..3 {
        let status = bounded(server.call(request(13)))
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert!(status.message().contains("bad luck"), "{status}");
    }
    assert!(bounded(server.call(request(0))).await.unwrap().is_ok());
}

#[tokio::test]
async fn a_drain_lets_running_calls_end_and_takes_no_more() {
    let gate = Gate::default();
    let pool = OnThreads::start(gate.clone(), threads(1, 2)).unwrap();
    let server = start(pool, ServeConfig::default()).await;
    let running = server.call(request(0));
    gate.has_begun(1).await;
    let mut health = watch(&server, "framelane.v1.Processor").await;
    assert!(serving(health.message().await));

    server.shutdown.cancel();
    assert!(!serving(bounded(health.message()).await));
    // The watch ends too: it would hold the connection open.
    assert!(!matches!(bounded(health.message()).await, Ok(Some(_))));
    assert!(!server.served.is_finished());
    gate.open();
    assert!(bounded(running).await.unwrap().is_ok());
    assert_eq!(server.stop().await, Stopped { ended_calls: 0 });
}

#[tokio::test]
async fn a_drain_ends_with_the_grace_time() {
    let config = ServeConfig {
        grace: Duration::from_millis(50),
        ..ServeConfig::default()
    };
    let server = start(Moods, config).await;
    let hanging = server.call(request(15));
    server.in_flight(1).await;
    assert_eq!(server.stop().await, Stopped { ended_calls: 1 });
    let status = bounded(hanging).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn the_whole_server_has_a_health_too() {
    let server = start(Moods, ServeConfig::default()).await;
    for name in ["", "framelane.v1.Processor"] {
        assert!(serving(watch(&server, name).await.message().await));
    }
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_next_step() {
    let first = Server::bind(ServeConfig::default()).unwrap();
    let config = ServeConfig {
        listen: first.local_addr(),
        ..ServeConfig::default()
    };
    let error = Server::bind(config).err().unwrap().to_string();
    assert!(error.contains(&first.local_addr().to_string()), "{error}");
    assert!(error.contains("give another"), "{error}");
}

async fn watch(
    server: &Running,
    service: &str,
) -> tonic::Streaming<tonic_health::pb::HealthCheckResponse> {
    let service = service.into();
    let mut client = HealthClient::new(server.channel.clone());
    let watch = client.watch(HealthCheckRequest { service }).await;
    watch.unwrap().into_inner()
}

fn serving(update: Result<Option<tonic_health::pb::HealthCheckResponse>, Status>) -> bool {
    use tonic_health::pb::health_check_response::ServingStatus::Serving;
    update.unwrap().unwrap().status() == Serving
}
