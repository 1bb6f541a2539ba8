//! How a processor answers: a pure function of seed, frame id and attempt, known to the processor and to the checker.

use crate::dice::{drawn, drawn_unit, of_text};
use processor_proto::v1::FrameId;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;
use std::fmt;
use std::time::Duration;

/// An attempt beyond this is always answered, unless the frame is poison: what the brokers of a run may lose to faults
/// from outside comes on top.
const MISBEHAVED_ATTEMPTS: u32 = 2;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874;

/// How often what happens. Rates are parts of all calls, 0 to 1; the rest is answered as it should be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behaviour {
    pub seed: u64,
    /// Half of all answers take at most `p50_ms`, 99 of 100 at most `p99_ms` (row 15: random completion order).
    pub p50_ms: u64,
    pub p99_ms: u64,
    pub error: f64,
    /// Row 10: an answer takes `slow_ms`.
    pub slow: f64,
    pub slow_ms: u64,
    /// Row 11.
    pub hang: f64,
    /// Row 13.
    pub wrong_id: f64,
    /// Row 14.
    pub oversize: f64,
    /// A reply that makes no valid frame.
    pub unusable: f64,
    /// Row 16: an answer only after the caller has given up.
    pub late: f64,
    /// The frames that fail whatever is tried: one of so many of each source.
    pub poison_every: u64,
    /// Row 20: so many frames kill the processor at every attempt.
    pub killers: u64,
}

/// What becomes of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    Ok,
    Slow,
    Error,
    Hang,
    WrongId,
    Oversize,
    Unusable,
    Late,
    /// The process is gone.
    Crash,
    /// The picture must not be decoded.
    Refuse,
}

impl Answer {
    /// The row of the fault matrix that such an answer makes happen.
    pub fn row(self) -> Option<u32> {
        match self {
            Self::Slow => Some(10),
            Self::Hang => Some(11),
            Self::WrongId => Some(13),
            Self::Oversize => Some(14),
            Self::Late => Some(16),
            Self::Refuse => Some(19),
            Self::Crash => Some(20),
            Self::Ok | Self::Error | Self::Unusable => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::WrongId => "wrong-id",
            Self::Oversize => "oversize",
            Self::Unusable => "unusable",
            Self::Late => "late",
            Self::Crash => "crash",
            Self::Refuse => "refuse",
        })
    }
}

impl Behaviour {
    /// Quick and always right.
    pub fn good(seed: u64) -> Self {
        Self {
            seed,
            p50_ms: 4,
            p99_ms: 40,
            error: 0.0,
            slow: 0.0,
            slow_ms: 400,
            hang: 0.0,
            wrong_id: 0.0,
            oversize: 0.0,
            unusable: 0.0,
            late: 0.0,
            poison_every: 150,
            killers: 0,
        }
    }

    /// What happens to this attempt (from 1) for this frame.
    pub fn answer(&self, id: &FrameId, attempt: u32) -> Answer {
        if let Some(poison) = self.poison(id) {
            return poison;
        }
        if attempt > MISBEHAVED_ATTEMPTS {
            return Answer::Ok;
        }
        let mut left = self.draw(id, attempt, 0);
        let kinds = [
            (self.error, Answer::Error),
            (self.slow, Answer::Slow),
            (self.hang, Answer::Hang),
            (self.wrong_id, Answer::WrongId),
            (self.oversize, Answer::Oversize),
            (self.late, Answer::Late),
        ];
        for (rate, answer) in kinds {
            if left < rate {
                return answer;
            }
            left -= rate;
        }
        Answer::Ok
    }

    /// What every attempt for this frame comes to, if it is one of those that always fail.
    pub fn poison(&self, id: &FrameId) -> Option<Answer> {
        // Early in the first epoch of the first source, which every run gets to.
        let kills = (1..=self.killers).any(|nth| id.sequence == 8 * nth);
        if kills && id.source_id == "s0" && id.epoch == 1 {
            return Some(Answer::Crash);
        }
        let bits = drawn(self.seed, &[of_text(&id.source_id), id.epoch, 77]);
        let place = id.sequence + bits % self.poison_every;
        let of_so_many = place / self.poison_every;
        let is_poison = place.is_multiple_of(self.poison_every);
        // Not the very first frames: the run is to begin with frames that come out well.
        if !is_poison || of_so_many == 0 {
            return None;
        }
        Some(if self.unusable > 0.0 && of_so_many.is_multiple_of(2) {
            Answer::Unusable
        } else {
            Answer::Error
        })
    }

    /// How long the answer takes, if it is one that comes in time.
    pub fn delay(&self, id: &FrameId, attempt: u32) -> Duration {
        let sigma = (self.p99_ms as f64 / self.p50_ms as f64).ln() / Z99;
        let (first, second) = (self.draw(id, attempt, 1), self.draw(id, attempt, 2));
        // Box-Muller; 1 - first is in (0, 1], where the logarithm is finite.
        let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (TAU * second).cos();
        Duration::from_secs_f64(self.p50_ms as f64 / 1000.0 * (sigma * normal).exp())
    }

    /// The rows of the fault matrix that these rates are to make happen.
    pub fn rows(&self) -> Vec<u32> {
        let by_rate = [
            (self.slow, 10),
            (self.hang, 11),
            (self.wrong_id, 13),
            (self.oversize, 14),
            (self.late, 16),
        ];
        let mut rows = vec![15];
        rows.extend(
            by_rate
                .iter()
                .filter(|(rate, _)| *rate > 0.0)
                .map(|(_, row)| row),
        );
        rows.extend((self.killers > 0).then_some(20));
        rows
    }

    fn draw(&self, id: &FrameId, attempt: u32, purpose: u64) -> f64 {
        let source = of_text(&id.source_id);
        let parts = [source, id.epoch, id.sequence, u64::from(attempt), purpose];
        drawn_unit(self.seed, &parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poison_fails_at_every_attempt_and_all_others_are_answered_in_the_end() {
        let behaviour = Behaviour {
            error: 0.3,
            hang: 0.3,
            killers: 1,
            ..Behaviour::good(5)
        };
        let mut poison = 0;
        for sequence in 0..1_500 {
            let id = FrameId::new("s0", 1, sequence);
            match behaviour.poison(&id) {
                Some(answer) => {
                    poison += 1;
                    assert!((1..9).all(|attempt| behaviour.answer(&id, attempt) == answer));
                }
                None => assert_eq!(behaviour.answer(&id, 3), Answer::Ok),
            }
        }
        assert_eq!(poison, 11);
    }
}
