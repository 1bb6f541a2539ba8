//! How long answers take.

use std::{f64::consts::TAU, str::FromStr, time::Duration};

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874;

/// A distribution of delays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Delay {
    Fixed(Duration),
    /// A long tail, as real processors have: half take at most `p50`, 99 of 100 at most `p99`.
    Lognormal {
        p50: Duration,
        p99: Duration,
    },
}

impl Delay {
    /// The delay that two numbers, each uniform in [0, 1), choose.
    pub fn at(&self, first: f64, second: f64) -> Duration {
        match *self {
            Self::Fixed(delay) => delay,
            Self::Lognormal { p50, p99 } => {
                let sigma = (p99.as_secs_f64() / p50.as_secs_f64()).ln() / Z99;
                // Box-Muller; 1 - first is in (0, 1], where the logarithm is finite.
                let normal = (-2.0 * (1.0 - first).ln()).sqrt() * (TAU * second).cos();
                p50.mul_f64((sigma * normal).exp())
            }
        }
    }
}

/// `fixed:20ms` or `lognormal:p50=20ms,p99=200ms`.
impl FromStr for Delay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || {
            format!(
                "{text:?} is neither fixed:DURATION nor lognormal:p50=DURATION,p99=DURATION (e.g. 20ms)"
            )
        };
        let duration = |text: &str| humantime::parse_duration(text).map_err(|_| wanted());
        if let Some(delay) = text.strip_prefix("fixed:") {
            return Ok(Self::Fixed(duration(delay)?));
        }
        let (p50, p99) = text
            .strip_prefix("lognormal:p50=")
            .and_then(|rest| rest.split_once(",p99="))
            .ok_or_else(wanted)?;
        let (p50, p99) = (duration(p50)?, duration(p99)?);
        if p50.is_zero() || p99 < p50 {
            return Err(format!(
                "{text:?}: p50 must be above 0, and p99 not below it"
            ));
        }
        Ok(Self::Lognormal { p50, p99 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_written_as_in_the_help() {
        let ms = Duration::from_millis;
        assert_eq!("fixed:20ms".parse(), Ok(Delay::Fixed(ms(20))));
        assert_eq!(
            "lognormal:p50=20ms,p99=200ms".parse(),
            Ok(Delay::Lognormal {
                p50: ms(20),
                p99: ms(200)
            })
        );
        for bad in [
            "20ms",
            "fixed:",
            "lognormal:p50=1s",
            "lognormal:p50=2s,p99=1s",
            "lognormal:p50=0s,p99=1s",
        ] {
            assert!(bad.parse::<Delay>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lognormal_delay_has_the_percentiles_asked_for() {
        let delay: Delay = "lognormal:p50=20ms,p99=200ms".parse().unwrap();
        let side = 300;
        let at = |step: u32| (f64::from(step) + 0.5) / f64::from(side);
        let mut delays: Vec<_> = (0..side)
            .flat_map(|a| (0..side).map(move |b| (a, b)))
            .map(|(a, b)| delay.at(at(a), at(b)).as_secs_f64())
            .collect();
        delays.sort_by(f64::total_cmp);
        let percentile = |p: f64| delays[(delays.len() as f64 * p) as usize];
        assert!(
            (0.019..0.021).contains(&percentile(0.5)),
            "{}",
            percentile(0.5)
        );
        assert!(
            (0.19..0.21).contains(&percentile(0.99)),
            "{}",
            percentile(0.99)
        );
    }
}
