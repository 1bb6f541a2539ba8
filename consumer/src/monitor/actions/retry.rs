//! Doing again what may succeed later, for a bounded time.

use crate::sinks::SinkError;
use backon::{BackoffBuilder, ExponentialBuilder};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// An action is tried for this long. Meanwhile its partition's records wait in Kafka; the group would take a member for stuck
/// after 5 minutes.
pub const PATIENCE: Duration = Duration::from_secs(120);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A receiver that is back is asked again within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why an action was not done.
#[derive(Debug)]
pub enum Refusal {
    /// It may be done later; not before this time, if the receiver said so.
    NotNow(String, Option<Duration>),
    /// It would be refused again.
    Never(String),
}

/// Waits between tries, until the consumer ends.
#[derive(Debug, Clone)]
pub struct Patience {
    closing: CancellationToken,
    runtime: Handle,
}

impl Patience {
    /// Waits are cut short when `closing` is cancelled.
    pub fn new(closing: CancellationToken, runtime: Handle) -> Self {
        Self { closing, runtime }
    }

    /// Tries until it is done. `what` names the action and the alert.
    pub fn persist(
        &self,
        action: &str,
        alert: &str,
        mut attempt: impl FnMut() -> Result<(), Refusal>,
    ) -> Result<(), SinkError> {
        let count = |outcome: &'static str| {
            metrics::counter!("framelane_consumer_actions_total", "outcome" => outcome)
                .increment(1);
        };
        let undone = |why: String| {
            count("failed");
            let (action, alert) = (action.to_owned(), alert.to_owned());
            SinkError::Action { action, alert, why }
        };
        let began = Instant::now();
        let pauses = ExponentialBuilder::default()
            .with_min_delay(FIRST_PAUSE)
            .with_max_delay(LONGEST_PAUSE)
            .with_jitter()
            .without_max_times()
            .build();
        for pause in pauses {
            let (why, asked) = match attempt() {
                Ok(()) => {
                    count("done");
                    return Ok(());
                }
                Err(Refusal::Never(why)) => return Err(undone(why)),
                Err(Refusal::NotNow(why, asked)) => (why, asked),
            };
            let pause = pause.max(asked.unwrap_or_default());
            if began.elapsed() + pause > PATIENCE {
                let tried = began.elapsed().as_secs();
                return Err(undone(format!(
                    "{why}; tried for {tried} s, the next time would be in {pause:.0?}"
                )));
            }
            count("tried again");
            tracing::warn!(
                action,
                alert,
                why,
                ?pause,
                "an alert is not delivered yet; trying again"
            );
            let is_over = self
                .runtime
                .block_on(async { timeout(pause, self.closing.cancelled()).await.is_ok() });
            if is_over {
                return Err(undone(format!(
                    "{why}; the consumer was stopped before it could try again"
                )));
            }
        }
        Ok(()) // pauses have no end
    }
}
