//! The work for one frame: picture, call, decision. One task each; dropped when its lane goes.

use crate::calls::{Caller, Progress};
use crate::output::Origin;
use crate::policy::{Decision, Policy, Processed};
use pipeline::ordering::LaneId;
use pipeline::resolve::{Resolver, Resolving};
use pipeline::{v1, wire};
use std::sync::Arc;
use std::time::{Duration, Instant};
use v1::frame::Content;

/// A pause before Kafka is asked again for a referenced picture.
const FETCH_AGAIN: Duration = Duration::from_millis(500);

/// How long a frame waits for a picture in a topic that this broker is not allowed to read: long enough for a person to
/// mend a rule that was forgotten, and no longer, because what a frame refers to is its writer's choice.
const NOT_ALLOWED_PATIENCE: Duration = Duration::from_secs(60);

const REFERS: &str = "only the pictures of frames that refer to them are fetched";

/// What the work for every frame shares.
#[derive(Debug)]
pub struct Work {
    pub caller: Caller,
    pub resolver: Resolver,
    pub policy: Policy,
}

/// A frame that has its slot.
#[derive(Debug)]
pub struct Job {
    pub lane: LaneId,
    pub input: Origin,
    pub frame: v1::Frame,
    /// Its picture on the way, if it is a reference and the processor looks at pictures, as far as is known now. Asked for
    /// before the job's task began, so that references are read in the order of the frames.
    pub resolving: Option<Resolving>,
    pub progress: Arc<Progress>,
    /// The processor's name for a result that it did not make itself.
    pub processor: String,
}

impl Work {
    pub async fn run(&self, job: Job) -> Decision {
        let Job {
            lane,
            input,
            frame,
            resolving,
            progress,
            processor,
        } = job;
        let entered = Instant::now();
        let entered_unix_ns = wire::now_unix_ns();
        let mut request = frame.clone();
        if let Some(resolving) = resolving {
            request.content = Some(self.fetch(resolving, &frame, &input).await);
        }
        let picture = async {
            let resolving = self.resolver.resolve(&frame).expect(REFERS);
            self.fetch(resolving, &frame, &input).await
        };
        let trace = input.trace.child();
        let call = self.caller.call(lane, request, picture, trace, &progress);
        let outcome = call.await;
        self.policy.decide(Processed {
            input,
            frame,
            outcome,
            processor,
            entered_unix_ns,
            elapsed: entered.elapsed(),
        })
    }

    /// Holds until Kafka can say what the picture is: it lies in the same Kafka as everything else.
    async fn fetch(&self, mut resolving: Resolving, frame: &v1::Frame, input: &Origin) -> Content {
        let start = Instant::now();
        loop {
            match resolving.content().await {
                Ok(content) => return content,
                Err(fault) if fault.is_denied() && start.elapsed() >= NOT_ALLOWED_PATIENCE => {
                    tracing::error!(%input, %fault, "the frame goes on without its picture");
                    return Content::Missing(v1::Missing {
                        reason: v1::missing::Reason::Unspecified.into(),
                        last_known: frame.reference().cloned(),
                    });
                }
                Err(fault) => {
                    tracing::warn!(%input, %fault, "the referenced picture cannot be read; trying again")
                }
            }
            tokio::time::sleep(FETCH_AGAIN).await;
            resolving = self.resolver.resolve(frame).expect(REFERS);
        }
    }
}
