//! A page about everything that was read: `--report html:FILE`.
//!
//! ```text
//! record -> numbers (collect, timeline, tracks) and a few pictures (album) -> plots (charts) -> one file (page)
//! ```
//! Memory is bounded whatever is read: time in bins that grow, the longest tracks, the newest lines, pictures from all over
//! the time. The page is of this run of the consumer.

mod album;
mod charts;
mod collect;
mod page;
mod plot;
mod tables;
mod timeline;
mod tracks;

use super::{Flow, OpenError, Sink, SinkError, output};
use crate::config::Config;
use crate::delivery::Delivery;
use album::Album;
use collect::Collected;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A person who watches the page loads it anew now and then.
const WRITE_EVERY: Duration = Duration::from_secs(10);

/// What the page is about.
#[derive(Debug)]
pub struct About {
    pub topics: Vec<String>,
    pub group: Option<String>,
    /// With how long it has to hold.
    pub condition: Option<String>,
}

/// The sink.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    about: About,
    collected: Collected,
    album: Album,
    /// When the page was made last.
    written: Instant,
}

impl Report {
    /// The page is made anew; the page of an earlier run is replaced.
    pub fn open(path: &Path, config: &Config) -> Result<Self, OpenError> {
        let path = output::replaceable(path, config.sink_options.existing, page::begins_so)?;
        let condition = config.monitor.as_ref().map(|monitor| {
            let mut text = monitor.condition.clone();
            for (option, time) in [
                ("--for", monitor.rule.hold),
                ("--cooldown", monitor.rule.cooldown),
            ] {
                if !time.is_zero() {
                    text += &format!("  {option} {}", humantime::format_duration(time));
                }
            }
            text
        });
        Ok(Self {
            path,
            about: About {
                topics: config.topics.clone(),
                group: config.group.as_ref().map(|member| member.group.clone()),
                condition,
            },
            collected: Collected::default(),
            album: Album::default(),
            written: Instant::now(),
        })
    }

    /// Whoever looks sees all of the old page or all of the new one.
    fn write(&mut self) -> Result<(), SinkError> {
        self.written = Instant::now();
        let page = page::page(&self.about, &mut self.collected, &self.album);
        let temporary = output::beside(&self.path, ".framelane-tmp");
        fs::write(&temporary, page)
            .and_then(|()| fs::rename(&temporary, &self.path))
            .map_err(SinkError::write(&self.path))
    }
}

impl Sink for Report {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        self.collected.take(delivery);
        self.album.offer(delivery)?;
        if self.written.elapsed() >= WRITE_EVERY {
            self.write()?;
        }
        Ok(Flow::GoOn)
    }

    fn finish(&mut self) -> Result<(), SinkError> {
        self.write()?;
        tracing::info!(page = %self.path.display(), "the report is made");
        Ok(())
    }
}
