//! Cameras and streams: they stall, they vanish, they come back.
//!
//! ```text
//! reader thread (open, grab, decode; see reader) --one picture--> capture thread (this: watchdog, reconnects)
//! ```
//! A driver can hang in a call that nobody can interrupt. Then the reader is left behind and a new one is started: the
//! capture thread itself never hangs.

mod reader;

use super::{Input, InputError, Moment, NANOSECONDS, Picture};
use crate::config::{LivePlace, LiveSpec};
use crate::worker::{Pause, Waited, Worker};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use pipeline::v1::{FrameId, TimeBase};
pub use reader::Passthrough;
use reader::{Reader, Shot};
use std::time::{Duration, Instant};

/// Readers that hang in a driver and have been left behind. More of them would only wear the machine down.
const MAX_LEFT_BEHIND: usize = 3;

/// A live source over all its connections.
pub struct Live {
    spec: LiveSpec,
    passthrough: Passthrough,
    pause: Pause,
    reader: Option<Reader>,
    left_behind: Vec<Worker>,
    backoff: ExponentialBackoff,
    /// Since when there has been no picture, while there is none.
    failing_since: Option<Instant>,
    /// The first picture's time: timestamps count from it.
    start_unix_ns: Option<i64>,
    shot: Option<Shot>,
}

const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Soon at first (a stream that restarts), then calmer; jittered, so that a hundred sources do not knock together.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(MAX_BACKOFF)
        .without_max_times()
        .with_jitter()
        .build()
}

impl Live {
    /// Does not connect yet; a camera must exist, though: its index is more likely wrong than its cable loose.
    pub fn new(spec: LiveSpec, passthrough: Passthrough, pause: Pause) -> Result<Self, InputError> {
        if let LivePlace::Camera(index) = spec.place {
            check_camera(index)?;
        }
        Ok(Self {
            spec,
            passthrough,
            pause,
            reader: None,
            left_behind: Vec::new(),
            backoff: backoff(),
            failing_since: None,
            start_unix_ns: None,
            shot: None,
        })
    }

    /// No picture in this time is a stall, also for a source that is limited to a low rate.
    fn stall_timeout(&self) -> Duration {
        let interval = self.spec.fps.map_or(Duration::ZERO, |fps| fps.time_of(2));
        self.spec.stall_timeout.max(interval)
    }

    /// The next picture of the connection there is; None after a stop.
    fn next_shot(&mut self) -> Result<Option<Result<Shot, String>>, InputError> {
        let timeout = self.stall_timeout();
        if self.reader.is_none() {
            self.left_behind.retain(|reader| !reader.has_ended());
            if self.left_behind.len() >= MAX_LEFT_BEHIND {
                return Err(InputError::Failed(format!(
                    "{} hangs in its driver ({MAX_LEFT_BEHIND} attempts do not return): restart the device",
                    self.spec.place
                )));
            }
        }
        let reader = match &mut self.reader {
            Some(reader) => reader,
            none => none.insert(
                Reader::start(&self.spec, self.passthrough, timeout)
                    .map_err(|cause| InputError::Failed(format!("starting a thread: {cause}")))?,
            ),
        };
        Ok(match self.pause.wait_for(reader.next(), timeout) {
            Waited::Stopped => None,
            Waited::Ready(shot) => Some(shot),
            Waited::TimedOut => Some(Err(format!("no picture for {timeout:?}"))),
        })
    }

    /// Leaves the connection, and waits before the next one.
    fn disconnect(&mut self, why: &str) -> Result<(), InputError> {
        self.left_behind
            .extend(self.reader.take().map(Reader::leave));
        let failing_for = self
            .failing_since
            .get_or_insert_with(Instant::now)
            .elapsed();
        let place = &self.spec.place;
        let left = match self
            .spec
            .reconnect_for
            .map(|limit| limit.checked_sub(failing_for))
        {
            None => Duration::MAX,
            Some(Some(left)) => left,
            Some(None) => {
                return Err(InputError::Failed(format!(
                    "{place}: {why}; reopening it has failed for {failing_for:.0?}, and --reconnect-for allows no more"
                )));
            }
        };
        let wait = self.backoff.next().unwrap_or(MAX_BACKOFF).min(left);
        tracing::warn!(%place, why, ?wait, "the source gives no pictures; reopening it");
        self.pause.wait(wait);
        Ok(())
    }
}

impl Input for Live {
    fn advance(&mut self) -> Result<Option<Moment>, InputError> {
        loop {
            if self.pause.is_stopped() {
                return Ok(None);
            }
            let shot = match self.next_shot()? {
                None => return Ok(None),
                Some(Ok(shot)) => shot,
                Some(Err(why)) => {
                    self.disconnect(&why)?;
                    continue;
                }
            };
            if let Some(since) = self.failing_since.take() {
                tracing::info!(place = %self.spec.place, after = ?since.elapsed(), "the source is back");
            }
            self.backoff = backoff();
            let captured_unix_ns = shot.captured_unix_ns;
            let start = *self.start_unix_ns.get_or_insert(captured_unix_ns);
            self.shot = Some(shot);
            return Ok(Some(Moment {
                pts: Duration::from_nanos(captured_unix_ns.saturating_sub(start).max(0) as u64),
                captured_unix_ns: Some(captured_unix_ns),
            }));
        }
    }

    fn picture(&mut self, _: &FrameId) -> Result<Picture, InputError> {
        let shot = self.shot.take();
        shot.map(|shot| shot.picture)
            .ok_or_else(|| InputError::Failed("no picture was taken".to_owned()))
    }

    fn time_base(&self) -> TimeBase {
        NANOSECONDS
    }
}

impl Drop for Live {
    /// Lets the driver close the device in order, if it does so soon.
    fn drop(&mut self) {
        const DRIVER_GRACE: Duration = Duration::from_secs(2);
        if let Some(reader) = self.reader.take()
            && let Err(fault) = self.pause.join(reader.leave(), DRIVER_GRACE)
        {
            tracing::warn!(place = %self.spec.place, %fault, "the source was not closed in order");
        }
    }
}

/// On Linux a camera is a device file; others are asked when it is opened.
fn check_camera(index: u32) -> Result<(), InputError> {
    if !cfg!(target_os = "linux") || std::path::Path::new(&format!("/dev/video{index}")).exists() {
        return Ok(());
    }
    let mut cameras: Vec<String> = std::fs::read_dir("/dev")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .filter(|path| path.starts_with("/dev/video"))
        .collect();
    cameras.sort();
    let there_are = if cameras.is_empty() {
        "there is no camera at all (no /dev/video*); in a container, pass it in with --device"
            .to_owned()
    } else {
        format!("there are {}", cameras.join(", "))
    };
    Err(InputError::Unusable(format!(
        "camera {index} does not exist: {there_are}"
    )))
}

impl std::fmt::Display for LivePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Camera(index) => write!(f, "camera {index}"),
            Self::Url(url) => f.write_str(&without_password(url)),
        }
    }
}

impl std::fmt::Debug for LivePlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Camera URLs often carry a password, which belongs in no log.
fn without_password(url: &str) -> String {
    if let Some((url, _)) = url.split_once('?') {
        return format!("{}?***", without_password(url));
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://***@{host}{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_stay_out_of_messages() {
        for (url, shown) in [
            (
                "rtsp://me:secret@10.0.0.7:554/ch1",
                "rtsp://***@10.0.0.7:554/ch1",
            ),
            ("http://10.0.0.7/a@b", "http://10.0.0.7/a@b"),
            (
                "http://me:pw@cam/v?user=me&pwd=secret",
                "http://***@cam/v?***",
            ),
        ] {
            let place = LivePlace::Url(url.to_owned());
            assert_eq!(place.to_string(), shown);
            assert_eq!(format!("{place:?}"), shown);
        }
    }
}
