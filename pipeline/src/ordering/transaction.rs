//! One transaction after another of one producer: which call comes next, and what its answer means.
//!
//! ```text
//! (Replace ─▶) Begin ─▶ SendRecords ─▶ SendOffsets ─▶ Commit ─▶ Committed
//!                            └──────────────┴────────────┴─▶ Abort ─▶ Aborted
//!                                         no definite answer to Commit or Abort ─▶ Unknown
//! ```
//! A request to end a transaction that was sent twice may arrive twice, the second time in the middle of the next
//! transaction (the client speaks the protocol without an epoch per transaction), and so may one with offsets. So whenever
//! a request may have been sent again, the producer is replaced first: its successor's epoch makes Kafka refuse the stray.
//! Only transactions with offsets may do so: their group stamp tells a writer that was merely disturbed from one whose
//! place another has taken. Without offsets a disturbed writer that had to abort leaves the question to its owner, as
//! Unknown.

use std::time::Duration;

/// One blocking call of the transaction protocol. Bounded, because a vanished coordinator can leave it hanging.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// After this long without a definite answer the outcome counts as unknown.
pub const DECISION_TIMEOUT: Duration = Duration::from_secs(20);

/// What the client is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Open a new producer of the same transactional id and drop this one. Fences every older one, and waits until its
    /// last transaction is decided.
    Replace,
    /// Begin a transaction.
    Begin,
    /// Send all records and wait for all acknowledgements: then the commit has nothing left to flush.
    SendRecords,
    /// Add the consumed offsets.
    SendOffsets,
    /// Commit.
    Commit,
    /// Abort.
    Abort,
}

/// What the client says to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Surely done.
    Done,
    /// Not done yet: the same call again is the thing to do.
    TryAgain,
    /// Surely not done, and the transaction can only be aborted.
    MustAbort,
    /// Not done as far as the client knows.
    Failed,
    /// The client has forgotten the call: this producer can be asked nothing any more.
    Never,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All of it is visible, or will be before anything that is written later.
    Committed,
    /// Nothing of it will ever be visible; the producer can be used again.
    Aborted,
    /// Nobody knows: see [`Recovery`].
    Unknown,
}

/// What comes after an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next call.
    Call(Call),
    /// The transaction is over.
    End(Outcome),
}

/// Whether a transaction carries the offsets of what was consumed, with a group stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// It does.
    With,
    /// Records only.
    Without,
}

/// The rules of one producer's transactions. Times are durations since any fixed moment.
#[derive(Debug)]
pub struct Transactions {
    /// A call of an earlier transaction took so long that its request may have been sent again.
    is_slow: bool,
    offsets: Offsets,
    call: Call,
    /// When the call was made first.
    since: Duration,
}

impl Transactions {
    /// A producer that has made no transaction yet.
    pub fn new() -> Self {
        Self {
            is_slow: false,
            offsets: Offsets::Without,
            call: Call::Begin,
            since: Duration::ZERO,
        }
    }

    /// The first call of the next transaction. `is_disturbed`: a connection of this producer has broken.
    pub fn start(&mut self, offsets: Offsets, is_disturbed: bool, now: Duration) -> Call {
        self.offsets = offsets;
        let replace = offsets == Offsets::With && self.may_be_followed(is_disturbed);
        self.begin(if replace { Call::Replace } else { Call::Begin }, now)
    }

    /// What comes after the answer to the last call.
    pub fn answered(&mut self, answer: Answer, is_disturbed: bool, now: Duration) -> Next {
        if answer == Answer::Never {
            return Next::End(Outcome::Unknown);
        }
        let is_repeatable = matches!(self.call, Call::SendOffsets | Call::Commit | Call::Abort);
        let elapsed = now.saturating_sub(self.since);
        if answer == Answer::TryAgain && is_repeatable && elapsed < DECISION_TIMEOUT {
            return Next::Call(self.call);
        }
        self.is_slow |= is_repeatable && elapsed >= CALL_TIMEOUT;
        let next = match (self.call, answer) {
            (Call::Replace, Answer::Done) => {
                self.is_slow = false;
                Call::Begin
            }
            (Call::Begin, Answer::Done) => Call::SendRecords,
            (Call::SendRecords, Answer::Done) if self.offsets == Offsets::With => Call::SendOffsets,
            (Call::SendRecords | Call::SendOffsets, Answer::Done) => Call::Commit,
            (Call::SendRecords | Call::SendOffsets, _) => Call::Abort,
            (Call::Commit, Answer::Done) => return Next::End(Outcome::Committed),
            (Call::Commit, Answer::MustAbort) => Call::Abort,
            (Call::Abort, Answer::Done) => return Next::End(self.aborted(is_disturbed)),
            (Call::Replace | Call::Begin | Call::Commit | Call::Abort, _) => {
                return Next::End(Outcome::Unknown);
            }
        };
        Next::Call(self.begin(next, now))
    }

    fn begin(&mut self, call: Call, now: Duration) -> Call {
        (self.call, self.since) = (call, now);
        call
    }

    fn aborted(&self, is_disturbed: bool) -> Outcome {
        if self.offsets == Offsets::Without && self.may_be_followed(is_disturbed) {
            Outcome::Unknown
        } else {
            Outcome::Aborted
        }
    }

    /// True if a request of an earlier transaction may still be on its way.
    pub fn may_be_followed(&self, is_disturbed: bool) -> bool {
        self.is_slow || is_disturbed
    }
}

impl Default for Transactions {
    fn default() -> Self {
        Self::new()
    }
}

/// After an unknown outcome: what to do next until it is known what the group has. Only a new producer decides what the
/// old one left open, so the offsets are read after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Open a new producer of the same transactional id.
    Replace,
    /// Read the group's committed offsets.
    ReadCommitted,
}

impl Recovery {
    /// The first step.
    pub fn start() -> Self {
        Self::Replace
    }

    /// The step after this one; None when all is known.
    pub fn after(self, succeeded: Result<(), ()>) -> Option<Self> {
        match (self, succeeded) {
            (Self::Replace, Ok(())) => Some(Self::ReadCommitted),
            (Self::ReadCommitted, Ok(())) => None,
            (_, Err(())) => Some(Self::start()),
        }
    }
}
