//! Heartbeats as records, and back.

use super::{nanoseconds, timestamp};
use crate::instance::{
    CalledProcessor, Instance, Lane, LastFrame, RunningSource, Service, SourceState,
};
use crate::proto;
use prost::Message;

/// The value of a heartbeat's record.
pub(crate) fn encode_instance(instance: &Instance) -> Vec<u8> {
    let message = proto::Instance {
        id: instance.id.clone(),
        service: instance.service.word().to_owned(),
        host: instance.host.clone(),
        name: instance.name.clone(),
        pid: instance.pid,
        release: instance.release.clone(),
        started_unix_ns: nanoseconds(instance.started_at),
        sources: instance.sources.iter().map(source_to_wire).collect(),
        watches: instance.watches.clone(),
        lanes: instance.lanes.iter().map(lane_to_wire).collect(),
        processors: instance.processors.iter().map(processor_to_wire).collect(),
        applied: instance.applied.clone(),
        address: instance.address.clone(),
        refused: instance.refused.clone(),
    };
    message.encode_to_vec()
}

/// The error says what is wrong with it.
pub(crate) fn decode_instance(bytes: &[u8]) -> Result<Instance, String> {
    let message = proto::Instance::decode(bytes).map_err(|cause| cause.to_string())?;
    let service = Service::of(&message.service)
        .ok_or_else(|| format!("service {:?} is not known here", message.service))?;
    Ok(Instance {
        id: message.id,
        service,
        host: message.host,
        name: message.name,
        pid: message.pid,
        release: message.release,
        started_at: timestamp(message.started_unix_ns),
        sources: message.sources.into_iter().map(source_from_wire).collect(),
        watches: message.watches,
        lanes: message.lanes.into_iter().map(lane_from_wire).collect(),
        processors: message
            .processors
            .into_iter()
            .map(processor_from_wire)
            .collect(),
        applied: message.applied,
        address: message.address,
        refused: message.refused,
    })
}

fn source_to_wire(source: &RunningSource) -> proto::RunningSource {
    let (width, height) = source.size.unwrap_or_default();
    let last = source.last.unwrap_or_default();
    let mut message = proto::RunningSource {
        name: source.name.clone(),
        state: 0,
        text: source.text.clone(),
        width,
        height,
        fps: source.fps,
        frames: source.frames,
        epoch: last.epoch,
        sequence: last.sequence,
        captured_unix_ns: last.captured_unix_ns,
    };
    message.set_state(match source.state {
        SourceState::Opening => proto::SourceState::Opening,
        SourceState::Live => proto::SourceState::Live,
        SourceState::Waiting => proto::SourceState::Waiting,
        SourceState::Ended => proto::SourceState::Ended,
        SourceState::Failed => proto::SourceState::Failed,
    });
    message
}

fn source_from_wire(message: proto::RunningSource) -> RunningSource {
    let state = match message.state() {
        proto::SourceState::Live => SourceState::Live,
        proto::SourceState::Waiting => SourceState::Waiting,
        proto::SourceState::Ended => SourceState::Ended,
        proto::SourceState::Failed => SourceState::Failed,
        proto::SourceState::Opening | proto::SourceState::Unspecified => SourceState::Opening,
    };
    RunningSource {
        name: message.name,
        state,
        text: message.text,
        size: (message.width > 0).then_some((message.width, message.height)),
        fps: message.fps,
        frames: message.frames,
        // Epochs count from 1.
        last: (message.epoch > 0).then_some(LastFrame {
            epoch: message.epoch,
            sequence: message.sequence,
            captured_unix_ns: message.captured_unix_ns,
        }),
    }
}

fn lane_to_wire(lane: &Lane) -> proto::Lane {
    proto::Lane {
        topic: lane.topic.clone(),
        partition: lane.partition,
        stage: lane.stage.clone(),
        window_used: lane.window_used,
        in_flight: lane.in_flight,
        lag: lane.lag,
        fps: lane.fps,
        latency_p50_ms: lane.latency_p50_ms,
        latency_p99_ms: lane.latency_p99_ms,
    }
}

fn lane_from_wire(message: proto::Lane) -> Lane {
    Lane {
        topic: message.topic,
        partition: message.partition,
        stage: message.stage,
        window_used: message.window_used,
        in_flight: message.in_flight,
        lag: message.lag,
        fps: message.fps,
        latency_p50_ms: message.latency_p50_ms,
        latency_p99_ms: message.latency_p99_ms,
    }
}

fn processor_to_wire(processor: &CalledProcessor) -> proto::CalledProcessor {
    proto::CalledProcessor {
        address: processor.address.clone(),
        declared: processor.declared.clone(),
        state: processor.state.clone(),
        in_flight: processor.in_flight,
    }
}

fn processor_from_wire(message: proto::CalledProcessor) -> CalledProcessor {
    CalledProcessor {
        // A broker of an earlier build does not say it.
        declared: match message.declared.is_empty() {
            true => message.address.clone(),
            false => message.declared,
        },
        address: message.address,
        state: message.state,
        in_flight: message.in_flight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::InstanceIdentity;

    #[test]
    fn a_heartbeat_says_all_that_the_instance_says() {
        let mut instance = Instance::new(InstanceIdentity::here(Service::Broker, "b1"));
        instance.sources.push(RunningSource {
            text: "why".into(),
            size: Some((640, 480)),
            fps: 29.9,
            frames: 7,
            last: Some(LastFrame {
                epoch: 1,
                sequence: 0,
                captured_unix_ns: 5,
            }),
            ..RunningSource::new("cam0", SourceState::Failed)
        });
        instance.watches.push("cam0".into());
        instance.lanes.push(Lane {
            topic: "cam0".into(),
            stage: "l/s".into(),
            lag: 3,
            fps: 1.5,
            ..Lane::default()
        });
        instance.processors.push(CalledProcessor {
            address: "http://a:1".into(),
            declared: "b:1".into(),
            state: "ready".into(),
            in_flight: 2,
        });
        instance.applied.insert("source/cam0".into(), 9);
        instance.address = "http://a:2".into();
        instance.refused.insert("consumer/m".into(), "why".into());
        assert_eq!(decode_instance(&encode_instance(&instance)), Ok(instance));
        assert!(decode_instance(b"\xff").is_err());
    }
}
