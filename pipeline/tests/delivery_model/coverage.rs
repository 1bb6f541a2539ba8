//! Which situations the schedules have reached: a model that never gets into trouble proves nothing.

use std::fmt;

macro_rules! events {
    ($($name:ident),* $(,)?) => {
        /// A situation worth reaching.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Event { $($name),* }

        const EVENTS: &[Event] = &[$(Event::$name),*];
    };
}

events! {
    Committed,
    Aborted,
    AbortedWithoutAStamp,
    UnknownThenCommitted,
    UnknownThenRewound,
    UnknownThenTheLaneWasGone,
    ProducerReplacedAfterADisturbance,
    ProducerFenced,
    CommitDecidedWhileTheClientAskedOn,
    StrayEndTxnInsideAnotherTransaction,
    StrayEndTxnAfterItsTransaction,
    StrayOffsetsOfAnEarlierTransaction,
    StrayRecordsOfAnEarlierTransaction,
    RequestOfAnOldEpochRefused,
    OldGenerationRefused,
    ConcurrentTransactions,
    RepeatedBatchIgnored,
    ReadersWaitedForAnOpenTransaction,
    NewOwnerWaitedForAnOpenTransaction,
    TransactionTimedOut,
    DeliveryFailed,
    RecordRefusedByTheClient,
    RevokedWhileCommitting,
    LostWhileCommitting,
    LostWhileRecovering,
    DrainExpiredWhileCommitting,
    DrainExpiredWhileRecovering,
    ExpelledWithoutBeingTold,
    ConflictBeforeAnybodyTold,
    ExpelledWhileTakingOver,
    StaticMemberBackWithoutARebalance,
    GivenWhatOthersClaim,
    StampWithheldFromAnExpelledMember,
    LateMemberExpelled,
    CrashBetweenCommitAndItsAnswer,
    CrashInsideATransaction,
    CrashWhileRecovering,
    LeftInAnOrderlyWay,
    LateReply,
    RepeatedReply,
    RecordReadTwice,
}

/// How often each was reached.
#[derive(Debug, Clone)]
pub struct Coverage {
    counts: [u64; EVENTS.len()],
}

impl Coverage {
    pub fn new() -> Self {
        Self {
            counts: [0; EVENTS.len()],
        }
    }

    pub fn count(&mut self, event: Event) {
        self.counts[event as usize] += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (mine, others) in self.counts.iter_mut().zip(&other.counts) {
            *mine += others;
        }
    }

    pub fn never(&self) -> Vec<Event> {
        let all = EVENTS.iter().zip(&self.counts);
        all.filter(|(_, count)| **count == 0)
            .map(|(event, _)| *event)
            .collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (event, count) in EVENTS.iter().zip(&self.counts) {
            writeln!(f, "{count:>10}  {event:?}")?;
        }
        Ok(())
    }
}
