//! Sources: where pictures come from, on which host, and when they are open.

use super::schedule::{Schedule, WeekSpan};
use super::{Name, Options, options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long an on-demand source stays open after its last watcher, unless it says something else: somebody who reloads
/// a page must not wait for a camera to open again.
pub const CLOSE_AFTER: Duration = Duration::from_secs(30);

/// Where pictures come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "SourceText", into = "SourceText")]
#[schemars(with = "SourceText")]
pub struct Source {
    /// The capture host that opens it.
    pub host: Name,
    pub input: Input,
    /// None: the object's name.
    pub topic: Option<Name>,
    /// The producer's.
    pub options: Options,
    pub opening: Opening,
}

/// What is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A video file on the capture host.
    File(String),
    /// `/dev/videoN` of the capture host.
    Camera(u32),
    /// RTSP or HTTP. May hold a password.
    Url(String),
    /// A folder of pictures on the capture host.
    Images(String),
    /// A moving test picture: WxH@FPS.
    Pattern(String),
}

impl Input {
    /// The producer's option and its value.
    pub fn option(&self) -> (&'static str, String) {
        match self {
            Self::File(path) => ("file", path.clone()),
            Self::Camera(index) => ("camera", index.to_string()),
            Self::Url(url) => ("url", url.clone()),
            Self::Images(folder) => ("images", folder.clone()),
            Self::Pattern(spec) => ("pattern", spec.clone()),
        }
    }
}

/// When it is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    Always,
    /// While somebody watches it, and for a while after.
    OnDemand {
        close_after: Duration,
    },
    Schedule(Schedule),
}

/// A source as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[schemars(rename = "Source")]
struct SourceText {
    /// The capture host: `producer --managed --host HOST` opens it
    host: Option<Name>,
    /// A video file on the capture host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// A camera of the capture host by its index
    #[serde(default, skip_serializing_if = "Option::is_none")]
    camera: Option<u32>,
    /// A live stream: rtsp://, rtsps://, http:// or https://
    #[serde(default, skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    /// A folder of pictures on the capture host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    images: Option<String>,
    /// A moving test picture: WxH@FPS
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pattern: Option<String>,
    /// The topic of its frames [default: the name]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic: Option<Name>,
    #[serde(default, skip_serializing_if = "Options::is_empty")]
    options: Options,
    #[serde(default)]
    open: OpenText,
    /// On demand: how long it stays open after its last watcher, e.g. 30s [default: 30s]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    close_after: Option<String>,
    /// Open in these spans of a week, e.g. "Mon-Fri 08:00-18:00"
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    schedule: Vec<String>,
    /// Of the schedule, e.g. Europe/Berlin [default: UTC]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum OpenText {
    #[default]
    Always,
    OnDemand,
    Schedule,
}

impl TryFrom<SourceText> for Source {
    type Error = String;

    fn try_from(text: SourceText) -> Result<Self, String> {
        text.options.check("producer", options::OF_SOURCES)?;
        let opening = opening(&text)?;
        let input = input(&text)?;
        let host = text
            .host
            .ok_or("host: say which capture host opens it (`producer --managed --host HOST`)")?;
        Ok(Self {
            host,
            input,
            topic: text.topic,
            options: text.options,
            opening,
        })
    }
}

fn input(text: &SourceText) -> Result<Input, String> {
    let inputs = [
        text.file.clone().map(Input::File),
        text.camera.map(Input::Camera),
        text.url.clone().map(Input::Url),
        text.images.clone().map(Input::Images),
        text.pattern.clone().map(Input::Pattern),
    ];
    let mut given = inputs.into_iter().flatten();
    let (Some(input), None) = (given.next(), given.next()) else {
        return Err(
            "say where pictures come from with exactly one of file, camera, url, images and pattern".to_owned(),
        );
    };
    match &input {
        Input::Url(url) => check_url(url)?,
        Input::Pattern(spec) => check_pattern(spec)?,
        Input::File(path) | Input::Images(path) if path.is_empty() => {
            return Err(format!("{}: the path is empty", input.option().0));
        }
        _ => {}
    }
    Ok(input)
}

fn check_url(url: &str) -> Result<(), String> {
    const SCHEMES: [&str; 4] = ["rtsp://", "rtsps://", "http://", "https://"];
    match SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
        true => Ok(()),
        // It may hold a password: it is not shown.
        false => Err(format!(
            "url: a live stream begins with {}; a video file is `file`",
            SCHEMES.join(", ")
        )),
    }
}

fn check_pattern(spec: &str) -> Result<(), String> {
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(|n| n > 0.0);
    let parts = spec.split_once('@').and_then(|(size, fps)| {
        let (width, height) = size.split_once('x')?;
        Some([width, height, fps])
    });
    match parts.is_some_and(|parts| parts.into_iter().all(is_number)) {
        true => Ok(()),
        false => Err(format!(
            "pattern: {spec:?} is not WIDTHxHEIGHT@FPS, e.g. 640x480@30"
        )),
    }
}

fn opening(text: &SourceText) -> Result<Opening, String> {
    if text.close_after.is_some() && text.open != OpenText::OnDemand {
        return Err("close-after: this is for `open: on-demand`".to_owned());
    }
    if text.open != OpenText::Schedule {
        if !text.schedule.is_empty() {
            return Err("schedule: this is for `open: schedule`".to_owned());
        }
        if text.time_zone.is_some() {
            return Err("time-zone: this is for `open: schedule`".to_owned());
        }
    }
    Ok(match text.open {
        OpenText::Always => Opening::Always,
        OpenText::OnDemand => {
            let span = text.close_after.as_deref().map(humantime::parse_duration);
            let close_after = span
                .transpose()
                .map_err(|cause| format!("close-after: {cause}; write a time as 30s or 5m"))?;
            Opening::OnDemand {
                close_after: close_after.unwrap_or(CLOSE_AFTER),
            }
        }
        OpenText::Schedule => {
            let spans = text.schedule.iter().map(|span| span.parse::<WeekSpan>());
            let spans = spans.collect::<Result<_, _>>();
            let spans = spans.map_err(|cause| format!("schedule: {cause}"))?;
            Opening::Schedule(Schedule::new(spans, text.time_zone.clone())?)
        }
    })
}

impl From<Source> for SourceText {
    fn from(source: Source) -> Self {
        let mut text = Self {
            host: Some(source.host),
            topic: source.topic,
            options: source.options,
            ..Self::default()
        };
        match source.input {
            Input::File(path) => text.file = Some(path),
            Input::Camera(index) => text.camera = Some(index),
            Input::Url(url) => text.url = Some(url),
            Input::Images(folder) => text.images = Some(folder),
            Input::Pattern(spec) => text.pattern = Some(spec),
        }
        match source.opening {
            Opening::Always => {}
            Opening::OnDemand { close_after } => {
                text.open = OpenText::OnDemand;
                text.close_after = Some(humantime::format_duration(close_after).to_string());
            }
            Opening::Schedule(schedule) => {
                text.open = OpenText::Schedule;
                text.schedule = schedule.spans().iter().map(WeekSpan::to_string).collect();
                text.time_zone = schedule.zone().map(str::to_owned);
            }
        }
        text
    }
}
