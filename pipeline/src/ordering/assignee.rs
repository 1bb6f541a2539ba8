//! Whose lanes these are: one life of one member of a group.

/// The member that the present lanes were assigned to. A client can go on under a new member id as if nothing had
/// happened, while another member has worked on its partitions; so the id is compared whenever it matters.
#[derive(Debug)]
pub struct Assignee<Id = String> {
    /// None before the first assignment.
    id: Option<Id>,
}

impl<Id: PartialEq> Assignee<Id> {
    /// No lanes yet.
    pub fn nobody() -> Self {
        Self { id: None }
    }

    /// Lanes are assigned to the member of this id; None if the client has just lost it.
    pub fn assigned(&mut self, to: Option<Id>) {
        self.id = to;
    }

    /// True if the lanes were assigned to a member that the client no longer is. `id` is the client's present one.
    pub fn is_expelled(&self, id: Option<&Id>) -> bool {
        self.id.is_some() && self.id.as_ref() != id
    }

    /// True if what this member says to the group is said for the lanes. Never for a client without an id: Kafka takes
    /// transactional offsets that name no member without asking whose they are.
    pub fn may_speak(&self, id: Option<&Id>) -> bool {
        id.is_some() && self.id.as_ref() == id
    }
}
