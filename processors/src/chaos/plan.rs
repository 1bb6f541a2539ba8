//! What happens to a call: a pure function of the seed, the frame's id and the attempt, so that a run can be
//! repeated, and a test knows beforehand which frames will fail.

use std::{collections::BTreeMap, fmt, time::Duration};

use processor_proto::v1::FrameId;
use thiserror::Error;

use super::Delay;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Answered properly, after the delay.
    Ok,
    /// Answered with INTERNAL, after the delay.
    Error,
    /// Never answered.
    Hang,
    /// The process is aborted.
    Crash,
    /// Answered with another frame's id, after the delay.
    WrongId,
    /// Answered with more bytes than anyone accepts, after the delay.
    Oversize,
}

/// The word in the ledger.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Crash => "crash",
            Self::WrongId => "wrong-id",
            Self::Oversize => "oversize",
        })
    }
}

/// How many calls of each kind, 0 to 1; the rest is OK.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    pub error: f64,
    pub hang: f64,
    pub crash: f64,
    pub wrong_id: f64,
    pub oversize: f64,
}

/// What was asked for cannot be.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum PlanError {
    #[error("the rate {0} is not within 0 and 1")]
    Rate(f64),
    #[error("the rates add up to {0}: no more than all calls can go wrong")]
    Sum(f64),
}

/// What happens to which call.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    delay: Delay,
    /// In the order in which they share the numbers from 0 to 1, each up to its bound.
    bounds: [(f64, Outcome); 5],
    /// What happens to every attempt for frames of these sequences, whatever the rates say.
    ordered: BTreeMap<u64, Outcome>,
}

impl Plan {
    /// Without ordered misfortunes; see [`on`](Plan::on).
    pub fn new(seed: u64, delay: Delay, rates: Rates) -> Result<Self, PlanError> {
        let mut bound = 0.0;
        let mut up_to = |rate: f64| {
            if !(0.0..=1.0).contains(&rate) {
                return Err(PlanError::Rate(rate));
            }
            bound += rate;
            Ok(bound)
        };
        let bounds = [
            (up_to(rates.error)?, Outcome::Error),
            (up_to(rates.hang)?, Outcome::Hang),
            (up_to(rates.crash)?, Outcome::Crash),
            (up_to(rates.wrong_id)?, Outcome::WrongId),
            (up_to(rates.oversize)?, Outcome::Oversize),
        ];
        if bound > 1.0 + 1e-9 {
            return Err(PlanError::Sum(bound));
        }
        Ok(Self {
            seed,
            delay,
            bounds,
            ordered: BTreeMap::new(),
        })
    }

    /// Orders a crash, an error or a hang for every frame with one of these sequences. A crash wins over a hang,
    /// a hang over an error.
    pub fn on(
        mut self,
        crash: impl IntoIterator<Item = u64>,
        hang: impl IntoIterator<Item = u64>,
        error: impl IntoIterator<Item = u64>,
    ) -> Self {
        // The later ones replace the earlier ones.
        let error = error.into_iter().map(|sequence| (sequence, Outcome::Error));
        let hang = hang.into_iter().map(|sequence| (sequence, Outcome::Hang));
        let crash = crash.into_iter().map(|sequence| (sequence, Outcome::Crash));
        self.ordered = error.chain(hang).chain(crash).collect();
        self
    }

    /// What happens to this attempt (from 1) for this frame.
    pub fn outcome(&self, id: &FrameId, attempt: u32) -> Outcome {
        if let Some(outcome) = self.ordered.get(&id.sequence) {
            return *outcome;
        }
        let drawn = self.draw(id, attempt, 0);
        self.bounds
            .iter()
            .find(|(bound, _)| drawn < *bound)
            .map_or(Outcome::Ok, |(_, outcome)| *outcome)
    }

    /// How long the answer takes.
    pub fn delay(&self, id: &FrameId, attempt: u32) -> Duration {
        self.delay
            .at(self.draw(id, attempt, 1), self.draw(id, attempt, 2))
    }

    /// A number in [0, 1) for this attempt; `purpose` makes independent ones. Our own mixing rather than a crate's
    /// generator: its numbers must not change with a version.
    fn draw(&self, id: &FrameId, attempt: u32, purpose: u64) -> f64 {
        let source = id
            .source_id
            .bytes()
            .fold(0, |hash, byte| mixed(hash ^ u64::from(byte)));
        let bits = [id.epoch, id.sequence, u64::from(attempt), purpose]
            .into_iter()
            .fold(mixed(self.seed ^ source), |hash, part| mixed(hash ^ part));
        (bits >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// SplitMix64's step: every bit of the input changes half of the output's.
fn mixed(state: u64) -> u64 {
    let z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DELAY: Delay = Delay::Fixed(Duration::ZERO);

    fn outcomes(plan: &Plan) -> Vec<Outcome> {
        (0..10_000)
            .map(|sequence| plan.outcome(&FrameId::new("cam0", 1, sequence), 1))
            .collect()
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_another_seed_another() {
        let rates = Rates {
            error: 0.1,
            hang: 0.1,
            ..Rates::default()
        };
        let plan = |seed| Plan::new(seed, NO_DELAY, rates).unwrap();
        assert_eq!(outcomes(&plan(7)), outcomes(&plan(7)));
        assert_ne!(outcomes(&plan(7)), outcomes(&plan(8)));
    }

    #[test]
    fn a_known_run_never_changes() {
        let rates = Rates {
            error: 0.2,
            hang: 0.2,
            crash: 0.1,
            wrong_id: 0.1,
            oversize: 0.1,
        };
        let plan = Plan::new(1, NO_DELAY, rates).unwrap();
        let words: Vec<_> = outcomes(&plan)[..12]
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            words.join(" "),
            "ok hang ok hang oversize ok error crash ok wrong-id ok oversize"
        );
    }

    #[test]
    fn rates_are_kept() {
        let rates = Rates {
            error: 0.2,
            wrong_id: 0.05,
            ..Rates::default()
        };
        let outcomes = outcomes(&Plan::new(3, NO_DELAY, rates).unwrap());
        let part = |wanted| outcomes.iter().filter(|o| **o == wanted).count();
        assert!((1_850..2_150).contains(&part(Outcome::Error)));
        assert!((430..570).contains(&part(Outcome::WrongId)));
        assert_eq!(part(Outcome::Hang), 0);
    }

    #[test]
    fn an_attempt_is_a_new_chance_except_where_misfortune_is_ordered() {
        let rates = Rates {
            error: 0.5,
            ..Rates::default()
        };
        let plan = Plan::new(3, NO_DELAY, rates).unwrap().on([], [], [42]);
        let of = |sequence, attempt| plan.outcome(&FrameId::new("cam0", 1, sequence), attempt);
        assert!((0..100).any(|sequence| of(sequence, 1) != of(sequence, 2)));
        assert!((1..100).all(|attempt| of(42, attempt) == Outcome::Error));
    }

    #[test]
    fn rates_that_cannot_be_are_refused() {
        let rates = |error, hang| Rates {
            error,
            hang,
            ..Rates::default()
        };
        let plan = |rates| Plan::new(0, NO_DELAY, rates).map(|_| ());
        assert_eq!(plan(rates(-0.1, 0.0)), Err(PlanError::Rate(-0.1)));
        assert!(matches!(
            plan(rates(f64::NAN, 0.0)),
            Err(PlanError::Rate(_))
        ));
        assert_eq!(plan(rates(0.75, 0.75)), Err(PlanError::Sum(1.5)));
        assert_eq!(plan(rates(0.3, 0.7)), Ok(()));
    }
}
