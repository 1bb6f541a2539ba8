//! Says OK to every frame, after a while if asked to: the measure for everything around a processor.

use std::time::Duration;

use processor_proto::{ProcessError, Processed, Processor, v1};
use tokio::sync::Semaphore;

/// Says OK.
pub struct Echo {
    delay: Duration,
    admission: Semaphore,
    admitted_at_most: usize,
}

impl Echo {
    /// Answers after `delay`; refuses more than `admission` calls at once.
    pub fn new(delay: Duration, admission: usize) -> Self {
        Self {
            delay,
            admission: Semaphore::new(admission),
            admitted_at_most: admission,
        }
    }
}

impl Processor for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    fn describe(&self) -> v1::DescribeResponse {
        v1::DescribeResponse {
            name: self.name().into(),
            version: self.version().into(),
            max_in_flight: u32::try_from(self.admitted_at_most).unwrap_or(u32::MAX),
            needs_pixels: false,
            ..v1::DescribeResponse::default()
        }
    }

    async fn process(&self, _: v1::Frame) -> Result<Processed, ProcessError> {
        let _place = self
            .admission
            .try_acquire()
            .map_err(|_| ProcessError::Busy("as many calls as admitted are running here".into()))?;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(Processed::nothing())
    }
}
