//! The Kalman filter of one coordinate: position and velocity, constant but for noise.
//!
//! The filters of SORT and its successors have diagonal noise, so their eight dimensions fall apart into four filters of
//! two, which need no matrix library and no operation but + - * /.

/// One coordinate in pixels, and its change per frame. The covariance is symmetric.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Axis {
    /// Pixels.
    #[prost(double, required, tag = "1")]
    pub position: f64,
    /// Pixels per frame.
    #[prost(double, required, tag = "2")]
    pub velocity: f64,
    /// Variance of the position.
    #[prost(double, required, tag = "3")]
    position_variance: f64,
    /// Covariance of position and velocity.
    #[prost(double, required, tag = "4")]
    covariance: f64,
    /// Variance of the velocity.
    #[prost(double, required, tag = "5")]
    velocity_variance: f64,
}

/// Standard deviation of a measured position, as a share of the object's size: BoT-SORT's value.
const POSITION_NOISE: f64 = 1.0 / 20.0;
/// Standard deviation by which the velocity changes in a frame, as a share of the object's size: BoT-SORT's value.
const VELOCITY_NOISE: f64 = 1.0 / 160.0;

fn square(value: f64) -> f64 {
    value * value
}

impl Axis {
    /// Seen once: at `position`, moving nobody knows how. `size` is the object's along this coordinate, in pixels.
    pub fn begin(position: f64, size: f64) -> Self {
        Self {
            position,
            velocity: 0.0,
            position_variance: square(2.0 * POSITION_NOISE * size),
            covariance: 0.0,
            velocity_variance: square(10.0 * VELOCITY_NOISE * size),
        }
    }

    /// A frame passes.
    pub fn predict(&mut self, size: f64) {
        self.position += self.velocity;
        self.position_variance +=
            2.0 * self.covariance + self.velocity_variance + square(POSITION_NOISE * size);
        self.covariance += self.velocity_variance;
        self.velocity_variance += square(VELOCITY_NOISE * size);
    }

    /// The object was seen at `measured`.
    pub fn update(&mut self, measured: f64, size: f64) {
        let total = self.position_variance + square(POSITION_NOISE * size);
        let position_gain = self.position_variance / total;
        let velocity_gain = self.covariance / total;
        let surprise = measured - self.position;
        self.position += position_gain * surprise;
        self.velocity += velocity_gain * surprise;
        self.velocity_variance -= velocity_gain * self.covariance;
        self.covariance -= position_gain * self.covariance;
        self.position_variance -= position_gain * self.position_variance;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_motion_is_learnt_and_followed_unseen() {
        let size = 50.0;
        let mut axis = Axis::begin(0.0, size);
        for frame in 1..=40 {
            axis.predict(size);
            axis.update(f64::from(frame) * 3.0, size);
        }
        assert!((axis.velocity - 3.0).abs() < 0.1, "{axis:?}");
        for _ in 0..10 {
            axis.predict(size);
        }
        assert!((axis.position - 150.0).abs() < 2.0, "{axis:?}");
    }
}
