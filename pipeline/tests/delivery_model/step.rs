//! A schedule: how the world is set up, and one step after another. Counter-examples are shown in these words.

use proptest::prelude::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Brokers, 2 or 3.
    pub brokers: usize,
    /// Which of them are static members, one bit each.
    pub is_static: u8,
}

/// `broker` is taken modulo the brokers there are, the other numbers modulo what there is to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// All parts of a broker get further, and its requests up to the next that others can tell.
    Run {
        broker: u8,
    },
    /// All parts of a broker get a little further, and so does one request.
    Walk {
        broker: u8,
    },
    /// The feed's thread.
    Feed {
        broker: u8,
    },
    /// The Kafka client's background thread.
    Client {
        broker: u8,
    },
    Heartbeat {
        broker: u8,
    },
    Read {
        broker: u8,
        partition: u8,
    },
    ReadAgain {
        broker: u8,
        partition: u8,
    },
    /// The engine takes the feed's next event.
    Engine {
        broker: u8,
    },
    /// The engine takes the writer's report.
    Report {
        broker: u8,
    },
    Reply {
        broker: u8,
        call: u8,
    },
    ReplyTwice {
        broker: u8,
        call: u8,
    },
    Tick {
        broker: u8,
    },
    /// The writer thread.
    Write {
        broker: u8,
    },
    DrainExpires {
        broker: u8,
    },
    /// A request reaches Kafka, and its answer the client if that waits for it.
    Deliver {
        packet: u8,
    },
    DeliverAndLoseTheAnswer {
        packet: u8,
    },
    Drop {
        packet: u8,
    },
    /// The connection that a broker's request was sent on breaks; the request may still arrive.
    Break {
        broker: u8,
    },
    /// The writer's call takes longer than it may, so many times 5 seconds.
    TimeOut {
        broker: u8,
        times: u8,
    },
    RefuseRecord {
        broker: u8,
    },
    Marker {
        marker: u8,
    },
    TransactionTimesOut {
        name: u8,
    },
    SessionEnds {
        member: u8,
    },
    /// The group's members are to join again; partitions move on by so many members.
    Rebalance {
        rotation: u8,
    },
    LateMembersAreExpelled,
    /// kill -9
    Crash {
        broker: u8,
    },
    Start {
        broker: u8,
    },
    Stop {
        broker: u8,
    },
}

impl Step {
    /// The step of two random bytes. Weights are out of 256; smaller numbers are simpler.
    fn new(what: u8, which: u8) -> Self {
        let (broker, high) = (which % 4, which / 4);
        match what {
            0..50 => Self::Run { broker },
            50..92 => Self::Walk { broker },
            92..95 => Self::Feed { broker },
            95..101 => Self::Client { broker },
            101..104 => Self::Heartbeat { broker },
            104..107 => Self::Read {
                broker,
                partition: high,
            },
            107..109 => Self::ReadAgain {
                broker,
                partition: high,
            },
            109..113 => Self::Engine { broker },
            113..116 => Self::Report { broker },
            116..120 => Self::Reply { broker, call: high },
            120..124 => Self::ReplyTwice { broker, call: high },
            124..127 => Self::Tick { broker },
            127..137 => Self::Write { broker },
            137..141 => Self::DrainExpires { broker },
            141..169 => Self::Deliver { packet: which },
            169..178 => Self::DeliverAndLoseTheAnswer { packet: which },
            178..180 => Self::Drop { packet: which },
            180..195 => Self::Break { broker },
            195..207 => Self::TimeOut {
                broker,
                times: if high % 2 == 0 { 1 } else { 4 },
            },
            207..209 => Self::RefuseRecord { broker },
            209..220 => Self::Marker { marker: which },
            220..224 => Self::TransactionTimesOut { name: which },
            224..231 => Self::SessionEnds { member: which },
            231..237 => Self::Rebalance {
                rotation: which % 3,
            },
            237..239 => Self::LateMembersAreExpelled,
            239..244 => Self::Crash { broker },
            244..252 => Self::Start { broker },
            252..=255 => Self::Stop { broker },
        }
    }

    /// As [`Step::new`], for [`Focus::Members`].
    fn of_members(what: u8, which: u8) -> Self {
        let broker = which % 4;
        match what {
            0..70 => Self::Run { broker },
            70..130 => Self::Walk { broker },
            130..140 => Self::Feed { broker },
            140..164 => Self::Client { broker },
            164..172 => Self::Heartbeat { broker },
            172..182 => Self::Write { broker },
            182..186 => Self::Deliver { packet: which },
            186..204 => Self::SessionEnds { member: which },
            204..220 => Self::Rebalance {
                rotation: which % 3,
            },
            220..226 => Self::LateMembersAreExpelled,
            226..238 => Self::Crash { broker },
            238..=255 => Self::Start { broker },
        }
    }
}

pub type Schedule = (Setup, Vec<Step>);

/// Where the trouble is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Focus {
    /// Everywhere.
    All,
    /// In the group: static members that die, freeze and come back. The network is as it should be.
    Members,
}

pub fn schedules(focus: Focus) -> impl Strategy<Value = Schedule> {
    let setup = (2..=3usize, 0..8u8).prop_map(move |(brokers, is_static)| Setup {
        brokers,
        is_static: match focus {
            Focus::All => is_static,
            Focus::Members => 0b111,
        },
    });
    let step = any::<(u8, u8)>().prop_map(move |(what, which)| match focus {
        Focus::All => Step::new(what, which),
        Focus::Members => Step::of_members(what, which),
    });
    (setup, prop::collection::vec(step, 0..140))
}
