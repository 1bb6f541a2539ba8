//! The group coordinator with the classic protocol and cooperative assignment. Rules as in Apache Kafka's
//! `ClassicGroup.validateOffsetCommit` and `validateMember`, `GroupMetadataManager` (static members, KIP-345) and the
//! cooperative-sticky assignor (KIP-429: a partition moves only after its owner has joined again without it).

use crate::kafka::{PARTITIONS, Partitions};

pub type MemberId = u32;

/// What a member says about itself when it commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub generation: i32,
    pub member: Option<MemberId>,
    pub instance: Option<usize>,
}

#[derive(Debug, Clone)]
pub struct Member {
    pub id: MemberId,
    /// The name of a static member.
    pub instance: Option<usize>,
    /// Has joined the generation that is to come.
    joined: bool,
    claims: Partitions,
    pub assignment: Partitions,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub generation: i32,
    pub is_rebalancing: bool,
    pub members: Vec<Member>,
    next_id: MemberId,
    /// Which member each partition should go to; 0: stay where they are.
    rotation: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The answer comes with the next generation.
    Wait(MemberId),
    /// A static member is back under a new id: nothing else changes.
    Back(MemberId),
    UnknownMember,
    FencedInstance,
}

impl Group {
    pub fn new() -> Self {
        Self {
            generation: 0,
            is_rebalancing: false,
            members: Vec::new(),
            next_id: 1,
            rotation: 0,
        }
    }

    /// Whether offsets under this stamp are taken. The group does not ask whose partitions they are.
    pub fn knows(&self, stamp: &Stamp) -> bool {
        if stamp.generation < 0 && self.members.is_empty() {
            return true;
        }
        if stamp.generation < 0 && stamp.member.is_none() && stamp.instance.is_none() {
            return true; // "older versions of this protocol do not require member id and generation id"
        }
        let member = self
            .members
            .iter()
            .find(|member| Some(member.id) == stamp.member);
        member.is_some_and(|member| member.instance == stamp.instance)
            && stamp.generation == self.generation
    }

    /// True if another member has this name.
    pub fn holds_instance(&self, instance: Option<usize>) -> bool {
        instance.is_some()
            && self
                .members
                .iter()
                .any(|member| member.instance == instance)
    }

    pub fn member(&self, id: Option<MemberId>) -> Option<&Member> {
        self.members.iter().find(|member| Some(member.id) == id)
    }

    /// What DescribeGroups tells a member of partitions that it is given: whether another one came into this generation with
    /// a claim to them. While members join, it tells nothing.
    pub fn is_claimed_by_others(&self, id: Option<MemberId>, partitions: Partitions) -> bool {
        let mut others = self.members.iter().filter(|member| Some(member.id) != id);
        self.is_rebalancing || others.any(|other| other.claims & partitions != 0)
    }

    pub fn join(
        &mut self,
        id: Option<MemberId>,
        instance: Option<usize>,
        claims: Partitions,
    ) -> Joined {
        let known = match (id, instance) {
            (Some(id), instance) => {
                let by_id = self.members.iter().position(|member| member.id == id);
                let is_replaced = instance.is_some()
                    && by_id.is_none()
                    && self
                        .members
                        .iter()
                        .any(|member| member.instance == instance);
                match by_id {
                    Some(at) => Some(at),
                    None if is_replaced => return Joined::FencedInstance,
                    None => return Joined::UnknownMember,
                }
            }
            (None, Some(_)) => self
                .members
                .iter()
                .position(|member| member.instance == instance),
            (None, None) => None,
        };
        let at = match known {
            Some(at) => at,
            None => {
                self.members.push(Member {
                    id: 0,
                    instance,
                    joined: false,
                    claims,
                    assignment: 0,
                });
                self.rebalance();
                self.members.len() - 1
            }
        };
        if id.is_none() {
            self.members[at].id = self.next_id;
            self.next_id += 1;
            if !self.is_rebalancing {
                self.members[at].claims = claims;
                return Joined::Back(self.members[at].id);
            }
        } else {
            self.rebalance();
        }
        let member = &mut self.members[at];
        (member.joined, member.claims) = (true, claims);
        Joined::Wait(member.id)
    }

    /// All members have to join again.
    pub fn rebalance(&mut self) {
        if !self.is_rebalancing {
            self.is_rebalancing = true;
            self.members
                .iter_mut()
                .for_each(|member| member.joined = false);
        }
    }

    pub fn rotate(&mut self, by: usize) {
        self.rotation = by;
        self.rebalance();
    }

    /// The session of a member ends, or it leaves.
    pub fn remove(&mut self, id: MemberId) {
        self.members.retain(|member| member.id != id);
        self.rebalance();
    }

    /// Those that have not joined in time are no members any more. False if nobody is left.
    pub fn expel_late_members(&mut self) -> bool {
        let before = self.members.len();
        if self.is_rebalancing && self.members.iter().any(|member| member.joined) {
            self.members.retain(|member| member.joined);
        }
        before > self.members.len()
    }

    /// If all have joined, the next generation begins.
    pub fn next_generation(&mut self) -> bool {
        if !self.is_rebalancing || !self.members.iter().all(|member| member.joined) {
            return false;
        }
        self.is_rebalancing = false;
        self.generation += 1;
        if self.members.is_empty() {
            return true;
        }
        let targets: [usize; PARTITIONS] = std::array::from_fn(|partition| self.target(partition));
        for (partition, target) in targets.into_iter().enumerate() {
            let bit = 1 << partition;
            let is_free = |other: usize| other == target || self.members[other].claims & bit == 0;
            let moves =
                self.members[target].claims & bit != 0 || (0..self.members.len()).all(is_free);
            for (at, member) in self.members.iter_mut().enumerate() {
                if at == target && moves {
                    member.assignment |= bit;
                } else {
                    member.assignment &= !bit;
                }
            }
        }
        true
    }

    fn target(&self, partition: usize) -> usize {
        let count = self.members.len();
        let claim = self
            .members
            .iter()
            .position(|member| member.claims & (1 << partition) != 0);
        match claim {
            Some(owner) if self.rotation == 0 => owner,
            _ => (partition + self.rotation) % count,
        }
    }
}
