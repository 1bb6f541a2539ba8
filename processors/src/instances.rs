//! Detectors that one thread uses at a time, made as needed and kept: as many as calls ran at once.

use std::sync::{Mutex, PoisonError};

/// Detectors not in use.
pub struct Instances<T> {
    idle: Mutex<Vec<T>>,
}

impl<T> Instances<T> {
    /// With a first one, made at the start so that a broken set-up fails there.
    pub fn with(first: T) -> Self {
        Self {
            idle: Mutex::new(vec![first]),
        }
    }

    /// Lends an idle one to `work`, or a new one. A panic in `work` drops it.
    pub fn lend<R, E>(
        &self,
        new: impl FnOnce() -> Result<T, E>,
        work: impl FnOnce(&mut T) -> Result<R, E>,
    ) -> Result<R, E> {
        let idle = self.idle().pop();
        let mut instance = idle.map_or_else(new, Ok)?;
        let result = work(&mut instance);
        self.idle().push(instance);
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<T>> {
        // Nothing panics between two operations on the list.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
