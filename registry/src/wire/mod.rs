//! Declared things as records, and back. What a record says is checked like what a person writes.

mod instance;
mod options;

pub(crate) use instance::{decode_instance, encode_instance};

use crate::model::{
    Assignment, Consumer, Input, Inputs, Name, Object, Opening, Pipeline, Processor, Schedule,
    Source, Spec, Stage, Version, Versioned, WhenClosed, Work,
};
use crate::proto;
use options::{from_struct, to_struct};
use prost::Message;
use std::time::Duration;

/// Who writes an object, and when.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub written_by: String,
    pub written_at: jiff::Timestamp,
}

/// The value of an object's record.
pub(crate) fn encode(object: &Object, replaces: Version, stamp: &Stamp) -> Vec<u8> {
    let spec = match object.spec.clone() {
        Spec::Source(spec) => proto::object::Spec::Source(spec.into()),
        Spec::Processor(spec) => proto::object::Spec::Processor(spec.into()),
        Spec::Pipeline(spec) => proto::object::Spec::Pipeline(spec.into()),
        Spec::Consumer(spec) => proto::object::Spec::Consumer(spec.into()),
        Spec::Assignment(spec) => proto::object::Spec::Assignment(spec.into()),
    };
    let message = proto::Object {
        name: object.name.as_str().to_owned(),
        labels: object.labels.clone(),
        replaces,
        written_by: stamp.written_by.clone(),
        written_unix_ns: nanoseconds(stamp.written_at),
        spec: Some(spec),
    };
    message.encode_to_vec()
}

/// An object. The error says what is wrong with it.
pub(crate) fn decode(bytes: &[u8], version: Version) -> Result<Versioned<Spec>, String> {
    let message = proto::Object::decode(bytes).map_err(|cause| cause.to_string())?;
    let spec = match message.spec {
        Some(proto::object::Spec::Source(spec)) => Spec::Source(spec.try_into()?),
        Some(proto::object::Spec::Processor(spec)) => Spec::Processor(spec.try_into()?),
        Some(proto::object::Spec::Pipeline(spec)) => Spec::Pipeline(spec.try_into()?),
        Some(proto::object::Spec::Consumer(spec)) => Spec::Consumer(spec.try_into()?),
        Some(proto::object::Spec::Assignment(spec)) => Spec::Assignment(spec.try_into()?),
        None => return Err("a kind of object that this release does not know".to_owned()),
    };
    Ok(Versioned {
        name: message.name.parse()?,
        labels: message.labels,
        version,
        written_by: message.written_by,
        written_at: timestamp(message.written_unix_ns),
        spec,
    })
}

pub(super) fn nanoseconds(time: jiff::Timestamp) -> i64 {
    i64::try_from(time.as_nanosecond()).unwrap_or(i64::MAX)
}

pub(super) fn timestamp(ns: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_nanosecond(ns.into()).unwrap_or(jiff::Timestamp::UNIX_EPOCH)
}

fn names(texts: Vec<String>) -> Result<Vec<Name>, String> {
    texts.into_iter().map(Name::try_from).collect()
}

fn texts(names: Vec<Name>) -> Vec<String> {
    names.into_iter().map(String::from).collect()
}

/// None for an empty text.
fn optional(text: String) -> Result<Option<Name>, String> {
    match text.is_empty() {
        true => Ok(None),
        false => text.try_into().map(Some),
    }
}

impl From<Source> for proto::Source {
    fn from(source: Source) -> Self {
        use proto::source::Input as Wire;
        let mut message = Self {
            host: source.host.into(),
            input: Some(match source.input {
                Input::File(path) => Wire::File(path),
                Input::Camera(index) => Wire::Camera(index),
                Input::Url(url) => Wire::Url(url),
                Input::Images(folder) => Wire::Images(folder),
                Input::Pattern(spec) => Wire::Pattern(spec),
            }),
            topic: source.topic.map(String::from).unwrap_or_default(),
            options: to_struct(&source.options),
            ..Self::default()
        };
        match source.opening {
            Opening::Always => message.set_open(proto::Opening::Always),
            Opening::OnDemand { close_after } => {
                message.set_open(proto::Opening::OnDemand);
                let ms = u64::try_from(close_after.as_millis()).unwrap_or(u64::MAX);
                message.close_after_ms = Some(ms);
            }
            Opening::Schedule(schedule) => {
                message.set_open(proto::Opening::Schedule);
                message.schedule = schedule.spans().iter().map(ToString::to_string).collect();
                message.time_zone = schedule.zone().unwrap_or_default().to_owned();
            }
        }
        message
    }
}

impl TryFrom<proto::Source> for Source {
    type Error = String;

    fn try_from(message: proto::Source) -> Result<Self, String> {
        use proto::source::Input as Wire;
        let opening = match proto::Opening::try_from(message.open) {
            Ok(proto::Opening::Always) => Opening::Always,
            Ok(proto::Opening::OnDemand) => Opening::OnDemand {
                close_after: message
                    .close_after_ms
                    .map_or(crate::model::CLOSE_AFTER, Duration::from_millis),
            },
            Ok(proto::Opening::Schedule) => {
                let spans = message.schedule.iter().map(|span| span.parse());
                let zone = Some(message.time_zone).filter(|zone| !zone.is_empty());
                Opening::Schedule(Schedule::new(spans.collect::<Result<_, _>>()?, zone)?)
            }
            Err(_) => return Err(format!("opening {} is not known here", message.open)),
        };
        Ok(Self {
            host: message.host.try_into()?,
            input: match message.input {
                Some(Wire::File(path)) => Input::File(path),
                Some(Wire::Camera(index)) => Input::Camera(index),
                Some(Wire::Url(url)) => Input::Url(url),
                Some(Wire::Images(folder)) => Input::Images(folder),
                Some(Wire::Pattern(spec)) => Input::Pattern(spec),
                None => return Err("it does not say where pictures come from".to_owned()),
            },
            topic: optional(message.topic)?,
            options: from_struct(message.options)?,
            opening,
        })
    }
}

impl From<Processor> for proto::Processor {
    fn from(processor: Processor) -> Self {
        Self {
            addresses: processor.addresses.into_iter().map(String::from).collect(),
            version: processor.version,
        }
    }
}

impl TryFrom<proto::Processor> for Processor {
    type Error = String;

    fn try_from(message: proto::Processor) -> Result<Self, String> {
        let addresses = message.addresses.into_iter().map(TryInto::try_into);
        Ok(Self {
            addresses: addresses.collect::<Result<_, _>>()?,
            version: message.version,
        })
    }
}

impl From<Pipeline> for proto::Pipeline {
    fn from(pipeline: Pipeline) -> Self {
        Self {
            stages: pipeline.stages.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<proto::Pipeline> for Pipeline {
    type Error = String;

    fn try_from(message: proto::Pipeline) -> Result<Self, String> {
        let stages = message.stages.into_iter().map(TryInto::try_into);
        Ok(Self {
            stages: stages.collect::<Result<_, _>>()?,
        })
    }
}

impl From<Stage> for proto::Stage {
    fn from(stage: Stage) -> Self {
        use proto::stage::Work as Wire;
        let work = match stage.work {
            Work::Process { from, processor } => {
                let (from, labels) = match from {
                    Inputs::Names(names) => (texts(names), Default::default()),
                    Inputs::Labels { labels } => (Vec::new(), labels),
                };
                let processor = processor.into();
                Wire::Process(proto::Process {
                    from,
                    labels,
                    processor,
                })
            }
            Work::Join { inputs } => Wire::Join(proto::Join {
                inputs: texts(inputs),
            }),
        };
        Self {
            name: stage.name.into(),
            work: Some(work),
            to: stage.to.map(String::from).unwrap_or_default(),
            options: to_struct(&stage.options),
            version: stage.version,
        }
    }
}

impl TryFrom<proto::Stage> for Stage {
    type Error = String;

    fn try_from(message: proto::Stage) -> Result<Self, String> {
        use proto::stage::Work as Wire;
        let work = match message.work {
            Some(Wire::Process(process)) => Work::Process {
                from: match process.labels.is_empty() {
                    true => Inputs::Names(names(process.from)?),
                    false => Inputs::Labels {
                        labels: process.labels,
                    },
                },
                processor: process.processor.try_into()?,
            },
            Some(Wire::Join(join)) => Work::Join {
                inputs: names(join.inputs)?,
            },
            None => return Err(format!("stage {} does not say what it does", message.name)),
        };
        Ok(Self {
            name: message.name.try_into()?,
            work,
            to: optional(message.to)?,
            options: from_struct(message.options)?,
            version: message.version,
        })
    }
}

impl From<Consumer> for proto::Consumer {
    fn from(consumer: Consumer) -> Self {
        let mut message = Self {
            sinks: consumer.sinks,
            options: to_struct(&consumer.options),
            when_closed: 0,
        };
        message.set_when_closed(match consumer.when_closed {
            WhenClosed::Wait => proto::WhenClosed::Wait,
            WhenClosed::Exit => proto::WhenClosed::Exit,
            WhenClosed::Next => proto::WhenClosed::Next,
            WhenClosed::Placeholder => proto::WhenClosed::Placeholder,
        });
        message
    }
}

impl TryFrom<proto::Consumer> for Consumer {
    type Error = String;

    fn try_from(message: proto::Consumer) -> Result<Self, String> {
        Ok(Self {
            when_closed: match proto::WhenClosed::try_from(message.when_closed) {
                Ok(proto::WhenClosed::Wait) => WhenClosed::Wait,
                Ok(proto::WhenClosed::Exit) => WhenClosed::Exit,
                Ok(proto::WhenClosed::Next) => WhenClosed::Next,
                Ok(proto::WhenClosed::Placeholder) => WhenClosed::Placeholder,
                Err(_) => {
                    return Err(format!(
                        "when-closed {} is not known here",
                        message.when_closed
                    ));
                }
            },
            sinks: message.sinks,
            options: from_struct(message.options)?,
        })
    }
}

impl From<Assignment> for proto::Assignment {
    fn from(assignment: Assignment) -> Self {
        let sources = texts(assignment.sources);
        Self { sources }
    }
}

impl TryFrom<proto::Assignment> for Assignment {
    type Error = String;

    fn try_from(message: proto::Assignment) -> Result<Self, String> {
        let sources = names(message.sources)?;
        Ok(Self { sources })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = r#"
{kind: Source, name: a, labels: {x: y}, spec: {host: h, url: "rtsp://u:p@h/s", topic: t, options: {fps: 12.5, loop: true, count: 7, label: [a=1, b=2], quality: null}, open: on-demand, close-after: 1m 5s}}
---
{kind: Source, name: b, spec: {host: h, pattern: 640x480@30, open: schedule, schedule: ["Mon-Fri 08:00-18:00", "Sat 22:00-02:00"], time-zone: Europe/Berlin}}
---
{kind: Source, name: c, spec: {host: h, camera: 0}}
---
{kind: Processor, name: p, spec: {addresses: ["http://a:1", "https://b:2"], version: "7"}}
---
{kind: Pipeline, name: l, spec: {stages: [{name: s, from: [a], processor: p, options: {in-flight: 16}}, {name: t, from: {labels: {x: y}}, processor: p, version: "2"}, {name: j, join: [a.s, a.t], to: all}]}}
---
{kind: Consumer, name: m, spec: {sinks: ["null"], when-closed: placeholder}}
---
{kind: Assignment, name: m, spec: {sources: [a, all]}}
"#;

    #[test]
    fn a_record_says_all_that_was_declared() {
        let written_at = timestamp(1_790_000_000_123_456_789);
        let stamp = Stamp {
            written_by: "u@h".into(),
            written_at,
        };
        for object in crate::yaml::parse(OBJECTS, "x").unwrap() {
            let read = decode(&encode(&object, 4, &stamp), 5).unwrap();
            assert_eq!(read.object(), object);
            assert_eq!((read.version, read.written_at), (5, written_at));
            assert_eq!(read.written_by, "u@h");
        }
    }

    #[test]
    fn rubbish_is_an_error_and_no_panic() {
        assert!(decode(b"", 1).is_err());
        assert!(decode(b"\xff\xff\xff\xff", 1).is_err());
        let good = {
            let object = crate::yaml::parse(OBJECTS, "x").unwrap().remove(1);
            let written_at = jiff::Timestamp::UNIX_EPOCH;
            encode(
                &object,
                0,
                &Stamp {
                    written_by: String::new(),
                    written_at,
                },
            )
        };
        for at in 0..good.len() {
            let _ = decode(&good[..at], 1); // it may be shorter and still good
            let mut bytes = good.clone();
            bytes[at] ^= 0x55;
            let _ = decode(&bytes, 1);
        }
    }
}
