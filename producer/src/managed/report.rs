//! What a producer says of its sources.

use super::slot::{Again, Phase, Run, Slot, Then};
use registry::instance::{LastFrame, RunningSource, SourceState};

/// What is known of one source.
pub fn running_source(name: &str, slot: &Slot) -> RunningSource {
    let (state, text) = match slot.phase() {
        Phase::Closed(why) => (SourceState::Waiting, why.clone()),
        Phase::Running(run) if run.progress.snapshot().frames == 0 => {
            (SourceState::Opening, String::new())
        }
        Phase::Running(_) => (SourceState::Live, String::new()),
        Phase::Stopping(_, Then::Reopen) => {
            (SourceState::Opening, "it has new settings".to_owned())
        }
        Phase::Stopping(_, Then::Close(why)) => (SourceState::Live, format!("closing: {why}")),
        Phase::Ended(how) => (SourceState::Ended, how.clone()),
        Phase::Failed { why, again } => {
            let next = match again {
                Again::At(_) | Again::OnceFree(_) => " (it is tried again)",
                Again::Changed | Again::NextTurn => "",
            };
            (SourceState::Failed, format!("{why}{next}"))
        }
    };
    let mut said = RunningSource::new(name, state);
    said.text = match slot.refusal() {
        Some(why) if slot.run().is_some() => {
            format!("its new settings are refused, it goes on with the old ones: {why}")
        }
        _ => text,
    };
    if let Some(run) = slot.run() {
        add_figures(&mut said, run);
    }
    said
}

fn add_figures(said: &mut RunningSource, run: &Run) {
    let now = run.progress.snapshot();
    said.size = (now.width > 0).then_some((now.width, now.height));
    said.fps = run.fps;
    said.frames = now.frames;
    said.last = now.last_sequence.map(|sequence| LastFrame {
        epoch: now.epoch,
        sequence,
        captured_unix_ns: now.captured_unix_ns,
    });
}
