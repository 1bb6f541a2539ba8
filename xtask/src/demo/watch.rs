//! Watches the demo run: shows how far it is, notices what dies, kills the broker when asked to, and sees the end.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use super::Args;
use super::pipeline::Pipeline;
use super::progress::{Line, Output};
use crate::interrupt::Interrupt;

/// Half of the shipped clip.
const KILL_AFTER_FRAMES: u64 = 110;
/// Of a camera, unless it is to go on.
const CAMERA_TIME: Duration = Duration::from_secs(20);
/// Frames come many times a second. A dead broker's session and a busy machine together stay well below this.
const STALL_LIMIT: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// Asking the services for their numbers and showing them.
const SHOW_INTERVAL: Duration = Duration::from_millis(500);

/// What is to happen while it runs.
#[derive(Debug)]
pub struct Plan {
    kill_broker: bool,
    /// When the source is told to end, if it does not by itself.
    source_time: Option<Duration>,
    live: bool,
}

impl Plan {
    pub fn new(args: &Args) -> Self {
        let endless = args.camera.is_some() && !args.keep_running;
        Self {
            kill_broker: args.kill_broker,
            source_time: endless.then_some(CAMERA_TIME),
            live: args.keep_running,
        }
    }
}

/// What was seen.
#[derive(Debug)]
pub struct Watched {
    pub processor_calls: u64,
    pub broker_kill: Option<BrokerKill>,
}

#[derive(Debug)]
pub struct BrokerKill {
    /// Frames that had come out when it was killed.
    pub after_frames: u64,
    /// From the kill to the next frame out.
    pub silence: Duration,
}

/// Where the broker's death is.
#[derive(Debug, Clone, Copy)]
enum Kill {
    Not,
    Planned,
    Done {
        at: Instant,
        after_frames: u64,
        silence: Option<Duration>,
    },
}

struct Watch<'a> {
    pipeline: &'a mut Pipeline,
    output: Output,
    kill: Kill,
    started: Instant,
    moved: Instant,
    asked_to_end: bool,
    processor_calls: u64,
    frames_in: u64,
}

/// Until the consumer has seen the end of the source. Ctrl-C ends the source, and with it everything in order.
pub fn until_end(pipeline: &mut Pipeline, interrupt: &Interrupt, plan: &Plan) -> Result<Watched> {
    let now = Instant::now();
    let mut watch = Watch {
        output: Output::follow(pipeline.results_file()),
        pipeline,
        kill: if plan.kill_broker {
            Kill::Planned
        } else {
            Kill::Not
        },
        started: now,
        moved: now,
        asked_to_end: false,
        processor_calls: 0,
        frames_in: 0,
    };
    let mut line = Line::new();
    if plan.live {
        line.note(&watch.how_to_follow());
    }
    let mut shown = None;
    while !watch.pipeline.consumer.has_ended()? {
        watch.pipeline.check()?;
        let source_ended = watch.pipeline.producer.has_ended()?;
        watch.look_at_output()?;
        watch.kill_when_due(&line)?;
        let over = interrupt.is_asked()
            || plan
                .source_time
                .is_some_and(|time| watch.started.elapsed() >= time);
        if over && !watch.asked_to_end && !source_ended {
            line.note("ending the source; what is under way comes out first");
            watch.pipeline.producer.ask_to_end();
            watch.asked_to_end = true;
        }
        if shown.is_none_or(|shown: Instant| shown.elapsed() >= SHOW_INTERVAL) {
            shown = Some(Instant::now());
            line.show(watch.status());
        }
        thread::sleep(LOOK_INTERVAL);
    }
    drop(line);
    watch.finish()
}

impl Watch<'_> {
    fn look_at_output(&mut self) -> Result<()> {
        if self.output.read_on()? {
            self.moved = Instant::now();
            if let Kill::Done {
                at,
                silence: silence @ None,
                ..
            } = &mut self.kill
            {
                *silence = Some(at.elapsed());
            }
        }
        if self.moved.elapsed() >= STALL_LIMIT {
            bail!(
                "no frame came out for {} s; the broker's last words:\n{}\nthe consumer's last words:\n{}",
                STALL_LIMIT.as_secs(),
                self.pipeline.broker.log_tail(),
                self.pipeline.consumer.log_tail()
            );
        }
        Ok(())
    }

    fn kill_when_due(&mut self, line: &Line) -> Result<()> {
        if matches!(self.kill, Kill::Planned) && self.output.frames >= KILL_AFTER_FRAMES {
            self.pipeline.broker.kill_hard()?;
            self.kill = Kill::Done {
                at: Instant::now(),
                after_frames: self.output.frames,
                silence: None,
            };
            line.note(&format!(
                "killed the broker (kill -9) after {} frames; starting it again",
                self.output.frames
            ));
            self.pipeline.start_broker_again()?;
        }
        Ok(())
    }

    fn status(&mut self) -> String {
        // A service that has ended says nothing: then its last word counts.
        self.frames_in = self.pipeline.frames_in().unwrap_or(self.frames_in);
        self.processor_calls = self
            .pipeline
            .processor_calls()
            .unwrap_or(self.processor_calls);
        let fps = self.output.frames as f64 / self.started.elapsed().as_secs_f64();
        format!(
            "{} frames in, {} calls, {} frames out, {} people, {fps:.1} fps",
            self.frames_in, self.processor_calls, self.output.frames, self.output.detections
        )
    }

    fn how_to_follow(&self) -> String {
        format!(
            "runs until Ctrl-C; to look on from another terminal:\n  \
             target/debug/consumer --bootstrap-servers {} --topic {} --sink window",
            self.pipeline.kafka(),
            self.pipeline.output_topic()
        )
    }

    fn finish(mut self) -> Result<Watched> {
        self.look_at_output()?;
        let broker_kill = match self.kill {
            Kill::Not => None,
            Kill::Done {
                after_frames,
                silence: Some(silence),
                ..
            } => Some(BrokerKill {
                after_frames,
                silence,
            }),
            Kill::Planned | Kill::Done { .. } => {
                bail!(
                    "the video ended before the broker could be killed half-way: it takes more than {KILL_AFTER_FRAMES} frames"
                )
            }
        };
        let processor_calls = self.pipeline.processor_calls();
        ensure!(
            processor_calls.is_some(),
            "the processors do not tell how many calls they had"
        );
        Ok(Watched {
            processor_calls: processor_calls.unwrap_or_default(),
            broker_kill,
        })
    }
}
