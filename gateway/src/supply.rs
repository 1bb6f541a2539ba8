//! What a viewer is shown: live, or a replay; as it asks, while it asks.

use crate::address::Address;
use crate::live::{HubView, Live, Watching};
use crate::pace::{BadSpeed, Pace, next_moment};
use crate::pictures::{Painter, Variant};
use crate::places::{LocateError, Places};
use crate::registered::Registered;
use crate::replay::Replay;
use crate::shot::Shot;
use pipeline::kafka::{KafkaFault, Position, TopicPartition};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Where a viewer looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Live,
    At(Position),
}

impl std::str::FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "live" => Ok(Self::Live),
            _ => text
                .parse()
                .map(Self::At)
                .map_err(|cause| format!("{cause}, or live")),
        }
    }
}

/// What a viewer asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    pub variant: Variant,
    /// Frames a second at most; live only.
    pub rate: Option<f64>,
    pub from: From,
    /// Of a replay.
    pub speed: f64,
}

/// Why it cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SupplyError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error(transparent)]
    TooMany(#[from] crate::live::TooMany),
    #[error(
        "{0} replays are open already, which is the limit (--max-replays); close one, or ask another gateway"
    )]
    TooManyReplays(usize),
    #[error(
        "{0} is spread over partitions: it can be watched live, and replayed by `consumer --reorder`"
    )]
    Spread(Address),
    #[error(transparent)]
    Speed(#[from] BadSpeed),
    #[error(transparent)]
    Kafka(#[from] KafkaFault),
}

/// Between two looks where a source lies whose topic was not there.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Opens supplies.
#[derive(Debug, Clone)]
pub struct Sources {
    pub live: Arc<Live>,
    pub places: Arc<Places>,
    pub replays: Arc<Semaphore>,
    pub most_replays: usize,
    /// None: there is no registry.
    pub registered: Option<Arc<Registered>>,
}

/// A record for a viewer, and how many frames it missed before it because it was too slow.
#[derive(Debug)]
pub struct Given {
    pub shot: Arc<Shot>,
    pub skipped: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Supply {
    sources: Sources,
    wish: Wish,
    /// Held in a replay too: the source counts as watched, and going back to live is at once.
    watching: Watching,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Live {
        view: HubView,
        /// No frame before this moment.
        not_before: Option<Instant>,
    },
    Replay {
        replay: Box<Replay>,
        _permit: OwnedSemaphorePermit,
    },
}

impl Sources {
    /// # Errors
    /// The source cannot be watched like this.
    pub async fn open(&self, address: &Address, wish: Wish) -> Result<Supply, SupplyError> {
        let watching = match self.live.join(address) {
            Some(watching) => watching,
            None => {
                match self.places.locate(address).await {
                    // Somebody has to be the first to watch, or nobody would open it.
                    Err(LocateError::NoTopic(_)) if self.will_be(address) => {
                        let guess = TopicPartition::new(Arc::clone(&address.topic), 0);
                        let watching = self.live.watch(address, vec![guess])?;
                        tokio::spawn(self.clone().follow(address.clone()));
                        watching
                    }
                    lanes => self.live.watch(address, lanes?)?,
                }
            }
        };
        let painter = &self.live.tools().painter;
        let way = match wish.from {
            From::Live => live(&watching, &wish, painter),
            From::At(position) => self.replay(address, &wish, position).await?,
        };
        Ok(Supply {
            sources: self.clone(),
            wish,
            watching,
            way,
        })
    }

    /// Finds out where a source lies once its topic is there; until then nobody knows how many partitions that has.
    async fn follow(self, address: Address) {
        while self.live.hub(&address).is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
            let Ok(lanes) = self.places.locate(&address).await else {
                continue; // not there yet
            };
            match self.live.move_to(&address, lanes) {
                Ok(()) => return,
                Err(why) => tracing::debug!(%address, %why, "it is not watched where it lies"),
            }
        }
    }

    fn will_be(&self, address: &Address) -> bool {
        let registered = self.registered.as_ref();
        registered.is_some_and(|registered| registered.knows(address))
    }

    async fn replay(
        &self,
        address: &Address,
        wish: &Wish,
        from: Position,
    ) -> Result<Way, SupplyError> {
        let pace = Pace::new(wish.speed)?;
        let too_many = SupplyError::TooManyReplays(self.most_replays);
        let permit = Arc::clone(&self.replays)
            .try_acquire_owned()
            .map_err(|_| too_many)?;
        let lanes = self.places.locate(address).await?;
        let [lane] = &lanes[..] else {
            return Err(SupplyError::Spread(address.clone()));
        };
        let tools = self.live.tools().clone();
        let (address, lane) = (address.clone(), lane.clone());
        let replay = Replay::open(tools, address, lane, wish.variant, (from, pace)).await?;
        Ok(Way::Replay {
            replay: Box::new(replay),
            _permit: permit,
        })
    }
}

fn live(watching: &Watching, wish: &Wish, painter: &Painter) -> Way {
    Way::Live {
        view: watching.hub.view(wish.variant, wish.rate, painter),
        not_before: None,
    }
}

impl Supply {
    /// The next record. Cancelled, it has taken nothing.
    ///
    /// # Errors
    /// A replay can no longer be read.
    pub async fn next(&mut self) -> Result<Given, KafkaFault> {
        match &mut self.way {
            Way::Replay { replay, .. } => Ok(Given {
                shot: replay.next().await?,
                skipped: 0,
            }),
            Way::Live { view, not_before } => {
                let Some(rate) = self.wish.rate else {
                    let taken = view.view.next().await;
                    self.watching.hub.add_skipped(taken.left_out);
                    return Ok(Given {
                        shot: taken.item,
                        skipped: taken.left_out,
                    });
                };
                if let Some(moment) = *not_before {
                    tokio::time::sleep_until(moment.into()).await;
                }
                let taken = view.view.newest().await; // what lies between was not asked for
                *not_before = Some(next_moment(*not_before, rate, Instant::now()));
                Ok(Given {
                    shot: taken.item,
                    skipped: 0,
                })
            }
        }
    }

    /// Shown otherwise from now on.
    ///
    /// # Errors
    /// As [`Sources::open`]; then nothing changes.
    pub async fn change(&mut self, wish: Wish) -> Result<(), SupplyError> {
        let painter = Arc::clone(&self.sources.live.tools().painter);
        match (wish.from, &mut self.way) {
            (From::Live, Way::Live { view, not_before }) => {
                *not_before = None;
                match view.variant() == wish.variant {
                    true => view.ask_rate(wish.rate),
                    false => *view = self.watching.hub.view(wish.variant, wish.rate, &painter),
                }
            }
            (From::Live, Way::Replay { .. }) => {
                self.way = live(&self.watching, &wish, &painter);
            }
            (From::At(_), Way::Replay { replay, .. }) if wish.from == self.wish.from => {
                replay.pace().set_speed(wish.speed)?;
                replay.show_as(wish.variant);
            }
            (From::At(position), Way::Replay { .. } | Way::Live { .. }) => {
                return self.seek(position, wish).await;
            }
        }
        self.wish = wish;
        Ok(())
    }

    /// Goes on in a replay from here, also if it is there already.
    ///
    /// # Errors
    /// As [`Sources::open`]; then nothing changes.
    pub async fn seek(&mut self, to: Position, wish: Wish) -> Result<(), SupplyError> {
        match &mut self.way {
            Way::Replay { replay, .. } => {
                replay.pace().set_speed(wish.speed)?;
                replay.show_as(wish.variant);
                replay.seek(to).await?;
            }
            Way::Live { .. } => {
                let address = self.watching.hub.address.clone();
                self.way = self.sources.replay(&address, &wish, to).await?;
            }
        }
        self.wish = Wish {
            from: From::At(to),
            ..wish
        };
        Ok(())
    }

    /// Live pictures do not wait: paused, a viewer is where it was, in a replay.
    ///
    /// # Errors
    /// As [`Sources::open`]; then nothing changes.
    pub async fn pause(&mut self, behind: Option<i64>) -> Result<(), SupplyError> {
        if let (Way::Live { .. }, Some(offset)) = (&self.way, behind) {
            self.seek(Position::Offset(offset), self.wish).await?;
        }
        if let Way::Replay { replay, .. } = &mut self.way {
            replay.pace().pause();
        }
        Ok(())
    }

    pub fn resume(&mut self) {
        if let Way::Replay { replay, .. } = &mut self.way {
            replay.pace().resume();
        }
    }

    pub fn wish(&self) -> Wish {
        self.wish
    }

    pub fn is_live(&self) -> bool {
        matches!(self.way, Way::Live { .. })
    }

    pub fn is_paused(&mut self) -> bool {
        match &mut self.way {
            Way::Live { .. } => false,
            Way::Replay { replay, .. } => replay.pace().is_paused(),
        }
    }

    pub fn hub(&self) -> &crate::live::Hub {
        &self.watching.hub
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_people_write_them() {
        assert_eq!("live".parse(), Ok(From::Live));
        assert_eq!("offset:3".parse(), Ok(From::At(Position::Offset(3))));
        assert!("yesterday".parse::<From>().is_err());
    }
}
