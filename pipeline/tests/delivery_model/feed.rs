//! A member of the group: the client's background thread (`rdkafka_cgrp.c` of librdkafka 2.12) and the feed's thread
//! (`pipeline/src/kafka/{reader,rebalance,shared}.rs`), with the real rule of who may speak for the lanes.
//!
//! As in the client: a heartbeat that is refused takes the member id away and makes every partition lost, which the feed is
//! told; a join that is refused takes the id away and, for a static member, joins again under a new id without a word
//! (`rd_kafka_cgrp_handle_JoinGroup`), keeping the partitions.

use crate::coverage::Event;
use crate::engine::next_offset;
use crate::group::{Joined, MemberId, Stamp};
use crate::kafka::{PARTITIONS, Partitions, position};
use crate::outside::Outside;
use pipeline::ordering::{Assignee, LaneId};
use std::collections::VecDeque;

/// Records of a lane that may be in the window.
const WINDOW: usize = 4;

#[derive(Debug)]
pub enum FeedEvent {
    Assigned {
        lane: LaneId,
        partition: usize,
        start: i64,
    },
    Record {
        lane: LaneId,
        offset: i64,
    },
    Revoked {
        lanes: Vec<LaneId>,
        lost: bool,
    },
}

#[derive(Debug, Clone, Copy)]
struct Intake {
    lane: LaneId,
    next: usize,
    taken: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Is to join, again or for the first time.
    Joining,
    /// Has asked to join, in this generation: the answer comes with the next.
    Waiting {
        asked_in: i32,
    },
    /// Has joined, does not know its partitions yet.
    Syncing,
    Steady,
    /// The feed's callbacks and what they wait for.
    Revoking {
        partitions: Partitions,
        then_assign: Partitions,
        is_told: bool,
    },
    Assigning {
        partitions: Partitions,
        is_recorded: bool,
        then_join: bool,
    },
    /// The feed throws the client away and makes a new one.
    Renewing,
}

#[derive(Debug)]
pub struct Feed {
    name: usize,
    is_static: bool,
    pub events: VecDeque<FeedEvent>,
    /// The service is done with the last revocation.
    pub done: bool,
    assignee: Assignee<MemberId>,
    intakes: [Option<Intake>; PARTITIONS],
    id: Option<MemberId>,
    generation: i32,
    /// What the client believes to be its own.
    owned: Partitions,
    stage: Stage,
    /// The partitions are lost, and the feed is to be told.
    is_lost: bool,
    /// A newer instance has its place: fatal for the client.
    is_fenced: bool,
    /// The service thinks that its lanes are another's.
    pub doubts: bool,
    /// A static member that was given nothing yet: what it gets first may have been meant for its last life.
    is_new: bool,
    is_leaving: bool,
    pub has_left: bool,
}

impl Feed {
    pub fn new(name: usize, is_static: bool) -> Self {
        Self {
            name,
            is_static,
            events: VecDeque::new(),
            done: true,
            assignee: Assignee::nobody(),
            intakes: [None; PARTITIONS],
            id: None,
            generation: -1,
            owned: 0,
            stage: Stage::Joining,
            is_lost: false,
            is_fenced: false,
            doubts: false,
            is_new: is_static,
            is_leaving: false,
            has_left: false,
        }
    }

    pub fn id(&self) -> Option<MemberId> {
        self.id
    }

    fn instance(&self) -> Option<usize> {
        self.is_static.then_some(self.name)
    }

    /// `Shared::group_stamp`
    pub fn group_stamp(&self, out: &mut Outside) -> Option<Stamp> {
        let may_speak = self.assignee.may_speak(self.id.as_ref());
        if !may_speak {
            out.count(Event::StampWithheldFromAnExpelledMember);
        }
        (may_speak || out.ignores_expulsion()).then(|| self.metadata())
    }

    /// `rd_kafka_consumer_group_metadata`
    pub fn metadata(&self) -> Stamp {
        Stamp {
            generation: self.generation,
            member: self.id,
            instance: self.instance(),
        }
    }

    fn is_expelled(&self, out: &Outside) -> bool {
        self.assignee.is_expelled(self.id.as_ref()) && !out.ignores_expulsion()
    }

    /// The client's background thread.
    pub fn client(&mut self, out: &mut Outside) {
        if self.has_left || self.is_fenced {
            return;
        }
        match self.stage {
            Stage::Joining => self.join(out),
            Stage::Waiting { asked_in } => {
                if out.kafka.group.member(self.id).is_none() {
                    self.forget_id();
                    self.stage = Stage::Joining;
                } else if out.kafka.group.generation > asked_in {
                    self.generation = out.kafka.group.generation;
                    self.stage = Stage::Syncing;
                }
            }
            Stage::Syncing => self.sync(out),
            Stage::Steady => {
                self.heartbeat(out);
                if self.id.is_some() && out.kafka.group.is_rebalancing {
                    self.stage = Stage::Joining;
                }
            }
            Stage::Revoking { .. } | Stage::Assigning { .. } | Stage::Renewing => {
                self.heartbeat(out);
            }
        }
    }

    /// Goes on in every stage but those that join.
    pub fn heartbeat(&mut self, out: &mut Outside) {
        if matches!(
            self.stage,
            Stage::Joining | Stage::Waiting { .. } | Stage::Renewing
        ) || self.has_left
        {
            return;
        }
        if out.kafka.group.member(self.id).is_none() {
            if out.kafka.group.holds_instance(self.instance()) {
                self.is_fenced = true;
            }
            out.say(|| format!("{} learns that it is no member any more", self.name));
            if let Stage::Assigning { .. } = self.stage {
                out.count(Event::ExpelledWhileTakingOver);
            }
            self.id = None;
            // While a callback is under way the client says nothing; a later heartbeat tells.
            self.is_lost = self.stage == Stage::Steady || self.is_fenced;
        }
    }

    fn join(&mut self, out: &mut Outside) {
        if self.is_leaving || self.is_lost {
            return; // the feed first
        }
        if self.id.is_none() && !self.is_static && self.owned != 0 {
            return self.forget_id();
        }
        match out.kafka.group.join(self.id, self.instance(), self.owned) {
            Joined::Wait(id) => {
                self.note_new_id(id, out);
                let asked_in = out.kafka.group.generation;
                self.stage = Stage::Waiting { asked_in };
            }
            Joined::Back(id) => {
                out.count(Event::StaticMemberBackWithoutARebalance);
                self.note_new_id(id, out);
                self.generation = out.kafka.group.generation;
                self.stage = Stage::Syncing;
            }
            Joined::UnknownMember => self.forget_id(),
            Joined::FencedInstance => self.is_fenced = true,
        }
    }

    /// A join was refused. A dynamic member asks for an id first, and is told with it that all is lost
    /// (MEMBER_ID_REQUIRED); a static one is not.
    fn forget_id(&mut self) {
        self.id = None;
        self.is_lost = !self.is_static && self.owned != 0;
    }

    fn note_new_id(&mut self, id: MemberId, out: &mut Outside) {
        if self.id != Some(id) {
            if self.owned != 0 {
                out.count(Event::ExpelledWithoutBeingTold);
            }
            out.say(|| format!("{} is member {id} now", self.name));
            self.id = Some(id);
        }
    }

    fn sync(&mut self, out: &mut Outside) {
        let Some(member) = out.kafka.group.member(self.id) else {
            self.id = None;
            self.is_lost = self.owned != 0;
            self.stage = Stage::Joining;
            return;
        };
        if out.kafka.group.is_rebalancing {
            self.stage = Stage::Joining;
            return;
        }
        let revoked = self.owned & !member.assignment;
        let added = member.assignment & !self.owned;
        self.stage = if revoked != 0 {
            Stage::Revoking {
                partitions: revoked,
                then_assign: added,
                is_told: false,
            }
        } else if added != 0 {
            Stage::Assigning {
                partitions: added,
                is_recorded: false,
                then_join: false,
            }
        } else {
            self.is_new = false;
            Stage::Steady
        };
    }

    /// The feed's thread: callbacks, and a look at the member id between them.
    pub fn serve(&mut self, out: &mut Outside) {
        match self.stage {
            _ if self.has_left => {}
            Stage::Revoking {
                partitions,
                then_assign,
                is_told,
            } => self.revoke(partitions, then_assign, is_told, out),
            Stage::Assigning {
                partitions,
                is_recorded,
                then_join,
            } => self.assign(partitions, is_recorded, then_join, out),
            Stage::Renewing => self.renew(out),
            _ if !self.is_leaving && (self.is_expelled(out) || self.is_fenced || self.doubts) => {
                out.say(|| format!("the feed of {} joins anew", self.name));
                self.tell_revoked(self.all(), true);
                self.stage = Stage::Renewing;
            }
            _ if self.is_lost || self.is_leaving => {
                self.stage = Stage::Revoking {
                    partitions: self.owned,
                    then_assign: 0,
                    is_told: false,
                };
            }
            _ => {}
        }
    }

    fn all(&self) -> Partitions {
        (1 << PARTITIONS) - 1
    }

    fn tell_revoked(&mut self, partitions: Partitions, lost: bool) {
        let of_these = |(partition, intake): (usize, &mut Option<Intake>)| {
            intake.take_if(|_| partitions & (1 << partition) != 0)
        };
        let lanes: Vec<LaneId> = self
            .intakes
            .iter_mut()
            .enumerate()
            .filter_map(of_these)
            .map(|intake| intake.lane)
            .collect();
        self.done = lanes.is_empty();
        if !lanes.is_empty() {
            self.events.push_back(FeedEvent::Revoked { lanes, lost });
        }
    }

    fn revoke(
        &mut self,
        partitions: Partitions,
        then_assign: Partitions,
        is_told: bool,
        out: &mut Outside,
    ) {
        if !is_told {
            let lost = self.is_lost || self.is_expelled(out);
            self.tell_revoked(partitions, lost);
            self.stage = Stage::Revoking {
                partitions,
                then_assign,
                is_told: true,
            };
        }
        if !self.done {
            return;
        }
        self.owned &= !partitions;
        if self.is_leaving && self.owned == 0 {
            self.leave_group(out);
            out.count(Event::LeftInAnOrderlyWay);
            self.has_left = true;
        } else if self.is_lost {
            self.is_lost = self.owned != 0;
            self.stage = Stage::Joining;
        } else if then_assign != 0 {
            self.stage = Stage::Assigning {
                partitions: then_assign,
                is_recorded: false,
                then_join: true,
            };
        } else {
            out.kafka.group.rebalance();
            self.stage = Stage::Joining;
        }
    }

    /// Static members stay until their session ends.
    fn leave_group(&self, out: &mut Outside) {
        if let (false, Some(id)) = (self.is_static, self.id) {
            out.kafka.group.remove(id);
        }
    }

    /// `FeedContext::assigned`
    fn assign(
        &mut self,
        partitions: Partitions,
        is_recorded: bool,
        then_join: bool,
        out: &mut Outside,
    ) {
        let is_ours = is_recorded || !self.is_expelled(out);
        if std::mem::take(&mut self.is_new) && self.is_claimed_by_others(partitions, out) {
            out.say(|| format!("{} is given what may be another's: joins anew", self.name));
            out.count(Event::GivenWhatOthersClaim);
            self.is_new = true;
            (self.id, self.generation) = (None, -1);
            self.stage = Stage::Joining;
            return;
        }
        if is_ours && !is_recorded {
            self.assignee.assigned(self.id);
            self.stage = Stage::Assigning {
                partitions,
                is_recorded: true,
                then_join,
            };
            return;
        }
        if is_ours && !self.start(partitions, out) {
            return; // asked again until Kafka knows
        }
        self.owned |= partitions;
        self.stage = match then_join {
            true => {
                out.kafka.group.rebalance();
                Stage::Joining
            }
            false => Stage::Steady,
        };
    }

    /// `FeedContext::is_claimed_by_others`
    fn is_claimed_by_others(&self, partitions: Partitions, out: &Outside) -> bool {
        out.kafka.group.is_claimed_by_others(self.id, partitions) && !out.ignores_old_claims()
    }

    fn start(&mut self, partitions: Partitions, out: &mut Outside) -> bool {
        let new = (0..PARTITIONS).filter(|partition| partitions & (1 << partition) != 0);
        let Some(starts) = new
            .map(|partition| Some((partition, out.kafka.fetch_offset(partition)?)))
            .collect::<Option<Vec<_>>>()
        else {
            out.count(Event::NewOwnerWaitedForAnOpenTransaction);
            return false;
        };
        for (partition, committed) in starts {
            let lane = out.new_lane(partition);
            out.say(|| {
                format!(
                    "{} takes over partition {partition} at {committed:?} as lane {lane}",
                    self.name
                )
            });
            self.intakes[partition] = Some(Intake {
                lane,
                next: position(partition, committed),
                taken: 0,
            });
            self.events.push_back(FeedEvent::Assigned {
                lane,
                partition,
                start: committed.unwrap_or(0),
            });
        }
        true
    }

    /// `Reader::join_anew`
    fn renew(&mut self, out: &mut Outside) {
        if !self.done {
            return;
        }
        self.leave_group(out); // the old client, as it is dropped
        (self.id, self.generation, self.owned) = (None, -1, 0);
        self.assignee.assigned(None);
        (self.is_lost, self.is_fenced, self.doubts) = (false, false, false);
        self.is_new = self.is_static;
        self.stage = Stage::Joining;
    }

    /// The next record of a partition is read; `again`: the one before it, once more.
    pub fn read(&mut self, partition: usize, again: bool, out: &mut Outside) {
        let Some(intake) = &mut self.intakes[partition] else {
            return;
        };
        let at = match again {
            true => intake.next.checked_sub(1),
            false => Some(intake.next),
        };
        let Some(offset) = at.and_then(|at| next_offset(partition, at)) else {
            return;
        };
        if intake.taken >= WINDOW {
            return;
        }
        if again {
            out.count(Event::RecordReadTwice);
        } else {
            intake.next += 1;
        }
        intake.taken += 1;
        let lane = intake.lane;
        self.events.push_back(FeedEvent::Record { lane, offset });
    }

    pub fn release(&mut self, lane: LaneId, slots: usize) {
        let mut intakes = self.intakes.iter_mut().flatten();
        if let Some(intake) = intakes.find(|intake| intake.lane == lane) {
            intake.taken -= slots;
        }
    }

    pub fn leave(&mut self) {
        self.is_leaving = true;
    }
}
