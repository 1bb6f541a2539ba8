//! What head-of-line blocking allows: an ordered window on a machine that costs nothing.

/// Frames a second of `lanes` ordered windows of `window` slots each, when a call takes the seconds that `delay` says and
/// nothing else takes any time. As many calls run as there are slots.
///
/// A slot is taken again the moment its result leaves, and results leave in order: frame `i` starts when frame
/// `i - window` has left, and leaves when its call is done and frame `i - 1` has left.
pub fn ordered_window(
    lanes: u32,
    window: usize,
    frames: usize,
    mut delay: impl FnMut() -> f64,
) -> f64 {
    let mut left = vec![0.0_f64; window];
    let mut last = 0.0_f64;
    for frame in 0..frames {
        let slot = &mut left[frame % window];
        last = last.max(*slot + delay());
        *slot = last;
    }
    f64::from(lanes) * frames as f64 / last
}

/// Seconds by a lognormal distribution: half take at most `p50`, 99 of 100 at most `p99`.
pub fn lognormal(p50: f64, p99: f64) -> impl FnMut() -> f64 {
    /// The 99th percentile of the standard normal distribution.
    const Z99: f64 = 2.326_347_874;
    let sigma = (p99 / p50).ln() / Z99;
    move || {
        // Box-Muller; 1 - random is in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - rand::random::<f64>()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * rand::random::<f64>()).cos();
        p50 * (sigma * normal).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_one_delay_for_all_the_window_is_the_concurrency() {
        let fps = ordered_window(2, 32, 3200, || 0.02);
        assert!((fps - 3200.0).abs() < 1e-6, "{fps}");
    }

    #[test]
    fn a_long_tail_leaves_a_fraction_and_a_larger_window_more() {
        let fps = |window| ordered_window(4, window, 1_000_000, lognormal(0.02, 0.2));
        for (window, expected) in [(32, 911.0), (64, 1428.0), (128, 2269.0)] {
            let fps = fps(window);
            assert!(
                (fps / expected - 1.0).abs() < 0.05,
                "window {window}: {fps}"
            );
        }
    }
}
