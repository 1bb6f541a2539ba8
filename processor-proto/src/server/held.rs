//! Around the service: how many requests it holds at once, decided before their bodies are read.
//!
//! A request that is refused here costs a few bytes, so memory is bounded however many callers send: at most `limit`
//! requests of at most `max_message_bytes`, and what the connections' windows hold on the way. A caller may hold as many
//! as are still free (dynamic thresholds: Choudhury and Hahne, 1998): one alone has half, and there is always room for
//! one more caller.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tonic::{
    Status,
    body::Body,
    codegen::{Service, http},
    server::NamedService,
};

use crate::{ProcessError, processor::Caller};

/// Long enough for some of what is held to be done.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// The service `S`, bounded.
#[derive(Clone)]
pub(super) struct Held<S> {
    service: S,
    places: Arc<Places>,
}

impl<S> Held<S> {
    pub fn new(service: S, limit: usize) -> Self {
        let places = Arc::new(Places {
            limit,
            taken: Mutex::default(),
        });
        Self { service, places }
    }
}

impl<S: NamedService> NamedService for Held<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Held<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let caller = Caller::of(request.extensions());
        let Some(place) = Places::take(&self.places, caller) else {
            let refused = Status::from(self.places.full());
            return async { Ok(refused.into_http()) }.boxed();
        };
        let answer = self.service.call(request);
        async move {
            let answer = answer.await;
            drop(place);
            answer
        }
        .boxed()
    }
}

struct Places {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_caller: BTreeMap<Caller, usize>,
}

/// One request's place; given back when dropped.
struct Place {
    places: Arc<Places>,
    caller: Caller,
}

impl Places {
    fn take(this: &Arc<Self>, caller: Caller) -> Option<Place> {
        let mut taken = this.lock();
        let own = taken.by_caller.get(&caller).copied().unwrap_or_default();
        if own >= this.limit.saturating_sub(taken.total) {
            return None;
        }
        taken.total += 1;
        taken.by_caller.insert(caller, own + 1);
        Some(Place {
            places: Arc::clone(this),
            caller,
        })
    }

    fn full(&self) -> ProcessError {
        ProcessError::Full {
            why: format!("{} requests are held here already", self.lock().total),
            retry_after: RETRY_AFTER,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        taken.total -= 1;
        let left = taken.by_caller.get_mut(&self.caller).map(|own| {
            *own -= 1;
            *own
        });
        if left == Some(0) {
            taken.by_caller.remove(&self.caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn a_caller_may_hold_as_many_as_are_free_and_the_next_one_always_finds_room() {
        let places = Arc::new(Places {
            limit: 8,
            taken: Mutex::default(),
        });
        let take_all = |port: u16| -> Vec<Place> {
            let caller = Caller::at(SocketAddr::from(([127, 0, 0, 1], port)));
            std::iter::from_fn(|| Places::take(&places, caller)).collect()
        };
        let first = take_all(1);
        assert_eq!(first.len(), 4);
        let second = take_all(2);
        assert_eq!(second.len(), 2);
        let third = take_all(3);
        assert_eq!(third.len(), 1);
        drop(first);
        assert_eq!(take_all(4).len(), 3);
        drop((second, third));
        assert_eq!(take_all(1).len(), 4);
        assert_eq!(places.lock().total, 0);
        assert!(places.lock().by_caller.is_empty());
    }
}
