//! Where an import goes on: decided from what Kafka holds of the source. Pure.

use crate::config::{InputSpec, Order, SourceConfig};
use crate::epoch::{Claim, Wanted};
use crate::tail::Last;
use pipeline::v1::end_of_stream::Reason;

/// What a start with `--resume` does.
#[derive(Debug, PartialEq, Eq)]
pub enum Plan {
    /// Claims an epoch and sends the frames from `first` on.
    Send {
        /// The epoch.
        epoch: Wanted,
        /// The first sequence, and the number of frames of the file to step over.
        first: u64,
    },
    /// Nothing: all frames are there.
    Complete {
        /// How many.
        frames: u64,
    },
}

/// Going on would lose or double frames.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResumeError {
    /// An end is final.
    #[error(
        "epoch {epoch} has {} after {frames} frames and cannot be gone on with. Import it again \
         without --resume, as a new epoch",
        reason.word()
    )]
    Over {
        /// Its last epoch.
        epoch: u64,
        /// Frames in it.
        frames: u64,
        /// Why it ended.
        reason: Reason,
    },
    /// Sequence n would be another picture than before.
    #[error(
        "epoch {epoch} was begun with {before}, this is {now}. Give the same, or import without \
         --resume, as a new epoch"
    )]
    OtherInput {
        /// Its last epoch.
        epoch: u64,
        /// The input then.
        before: String,
        /// The input now.
        now: String,
    },
    /// Partitions may have holes that the last record does not show.
    #[error(
        "epoch {epoch} was begun with --spread but without --resume, so frames may be missing in \
         between. Import it again without --resume, as a new epoch"
    )]
    MayHaveHoles {
        /// Its last epoch.
        epoch: u64,
    },
}

/// The plan for this source, from its newest claim and the furthest of its records.
pub fn plan(
    source: &SourceConfig,
    claim: Option<&Claim>,
    last: Option<Last>,
) -> Result<Plan, ResumeError> {
    // A newer claim has no record yet, and an older epoch may be of another input: its own claim has been compacted away.
    // Going back to it would also give the newer claim's number to a start to come.
    let is_superseded = |last: &Last| claim.is_some_and(|claim| claim.epoch > last.epoch);
    let Some(last) = last.filter(|last| !is_superseded(last)) else {
        return Ok(Plan::Send {
            epoch: Wanted::Next,
            first: 0,
        });
    };
    let epoch = last.epoch;
    if let Some(claim) = claim.filter(|claim| claim.epoch == epoch) {
        let now = fingerprint(&source.input);
        if claim.input != now {
            let before = claim.input.clone();
            return Err(ResumeError::OtherInput { epoch, before, now });
        }
        // How it was begun counts, not only how it is to go on.
        let is_spread = claim.partition.is_none() || source.placement.order == Order::Spread;
        if !claim.transactional && is_spread && last.ended.is_none() {
            return Err(ResumeError::MayHaveHoles { epoch });
        }
    }
    match last.ended {
        None => {}
        Some(Reason::Finished) => {
            return Ok(Plan::Complete {
                frames: last.frames,
            });
        }
        Some(reason) => {
            return Err(ResumeError::Over {
                epoch,
                frames: last.frames,
                reason,
            });
        }
    }
    Ok(Plan::Send {
        epoch: Wanted::Resume(epoch),
        first: last.frames,
    })
}

/// What has to be the same for sequence n to be the same picture. The name without its folder: files may be moved.
pub fn fingerprint(input: &InputSpec) -> String {
    let name = |path: &std::path::Path| {
        let name = path.file_name().unwrap_or(path.as_os_str());
        name.to_string_lossy().into_owned()
    };
    match input {
        InputSpec::File { path, fps, .. } => match fps {
            None => format!("file {}", name(path)),
            Some(fps) => format!("file {} at {fps} fps", name(path)),
        },
        InputSpec::Images { folder, .. } => format!("images of {}", name(folder)),
        InputSpec::Pattern(_) | InputSpec::Live(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::Parser;

    fn source(more: &str) -> SourceConfig {
        let line = format!("producer --topic t --file /data/clip.avi --resume {more}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        SourceConfig::try_from(cli.source).unwrap()
    }

    fn claim(epoch: u64, transactional: bool) -> Claim {
        Claim {
            epoch,
            transactional,
            ..Claim::sample()
        }
    }

    fn last(ended: Option<Reason>) -> Option<Last> {
        Some(Last {
            epoch: 4,
            frames: 120,
            ended,
        })
    }

    #[test]
    fn it_goes_on_behind_the_last_frame_or_begins() {
        let on = Plan::Send {
            epoch: Wanted::Resume(4),
            first: 120,
        };
        assert_eq!(plan(&source(""), Some(&claim(4, true)), last(None)), Ok(on));
        let begin = Plan::Send {
            epoch: Wanted::Next,
            first: 0,
        };
        assert_eq!(plan(&source(""), Some(&claim(4, true)), None), Ok(begin));
    }

    #[test]
    fn a_finished_import_is_complete_and_any_other_end_is_final() {
        let finished = last(Some(Reason::Finished));
        assert_eq!(
            plan(&source(""), None, finished),
            Ok(Plan::Complete { frames: 120 })
        );
        let error = plan(&source(""), None, last(Some(Reason::Stopped))).unwrap_err();
        assert!(
            error.to_string().contains("stopped after 120 frames"),
            "{error}"
        );
    }

    #[test]
    fn it_never_goes_back_behind_a_newer_claim() {
        let anew = Plan::Send {
            epoch: Wanted::Next,
            first: 0,
        };
        let other_input = Claim {
            input: "file other.avi".to_owned(),
            ..claim(5, false)
        };
        for newer in [claim(5, true), other_input] {
            for ended in [None, Some(Reason::Finished), Some(Reason::Stopped)] {
                let plan = plan(&source(""), Some(&newer), last(ended));
                assert_eq!(plan.as_ref(), Ok(&anew), "{newer} {ended:?}");
            }
        }
    }

    #[test]
    fn an_epoch_that_was_spread_at_once_is_refused_however_it_is_to_go_on() {
        let spread = claim(4, false);
        let kept = Claim {
            partition: Some(0),
            ..spread.clone()
        };
        let refused = Err(ResumeError::MayHaveHoles { epoch: 4 });
        assert_eq!(plan(&source(""), Some(&spread), last(None)), refused);
        let on = Plan::Send {
            epoch: Wanted::Resume(4),
            first: 120,
        };
        assert_eq!(plan(&source(""), Some(&kept), last(None)), Ok(on));
    }

    #[test]
    fn another_input_or_possible_holes_are_refused() {
        let faster = plan(&source("--fps 5"), Some(&claim(4, true)), last(None)).unwrap_err();
        assert!(faster.to_string().contains("clip.avi at 5 fps"), "{faster}");
        let holes = plan(&source("--spread"), Some(&claim(4, false)), last(None));
        assert!(matches!(holes, Err(ResumeError::MayHaveHoles { .. })));
    }
}
