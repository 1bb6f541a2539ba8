//! Access rules (ACLs), set without a Kafka client: what Kafka's own `kafka-acls.sh` does.

use std::io;

use crate::error::Error;
use crate::wire::{self, Api, put_text};
use crate::{Kafka, wait};

/// Version 1 of both is the first that newer Kafkas still answer, and the only one without compact fields.
const CREATE_ACLS: Api = Api {
    key: 30,
    version: 1,
};
const DESCRIBE_ACLS: Api = Api {
    key: 29,
    version: 1,
};
const ANY: u8 = 1;
const ALLOW: u8 = 3;

/// What a user may do with what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acl {
    /// With its kind: `User:NAME`.
    pub principal: String,
    /// As Kafka spells it: `Read`, `DescribeConfigs`.
    pub operation: String,
    pub resource: Resource,
    pub name: String,
    pub pattern: Pattern,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    Topic,
    Group,
    TransactionalId,
    Cluster,
}

/// What the name of a rule's resource means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    Literal,
    Prefixed,
}

impl Acl {
    fn operation(&self) -> io::Result<u8> {
        const OPERATIONS: [(&str, u8); 10] = [
            ("All", 2),
            ("Read", 3),
            ("Write", 4),
            ("Create", 5),
            ("Delete", 6),
            ("Alter", 7),
            ("Describe", 8),
            ("DescribeConfigs", 10),
            ("AlterConfigs", 11),
            ("IdempotentWrite", 12),
        ];
        let known = OPERATIONS.iter().find(|(name, _)| *name == self.operation);
        known.map(|(_, code)| *code).ok_or_else(|| {
            let text = format!("{} is no operation of Kafka's", self.operation);
            io::Error::new(io::ErrorKind::InvalidInput, text)
        })
    }

    fn resource(&self) -> u8 {
        match self.resource {
            Resource::Topic => 2,
            Resource::Group => 3,
            Resource::Cluster => 4,
            Resource::TransactionalId => 5,
        }
    }

    fn pattern(&self) -> u8 {
        match self.pattern {
            Pattern::Literal => 3,
            Pattern::Prefixed => 4,
        }
    }

    /// One rule to be made: it holds for callers from everywhere.
    fn creation(&self) -> io::Result<Vec<u8>> {
        let mut body = 1_i32.to_be_bytes().to_vec();
        body.push(self.resource());
        put_text(&mut body, &self.name);
        body.push(self.pattern());
        put_text(&mut body, &self.principal);
        put_text(&mut body, "*");
        body.push(self.operation()?);
        body.push(ALLOW);
        Ok(body)
    }

    /// A question that only this rule answers.
    fn filter(&self) -> io::Result<Vec<u8>> {
        let mut body = vec![self.resource()];
        put_text(&mut body, &self.name);
        body.push(self.pattern());
        put_text(&mut body, &self.principal);
        put_text(&mut body, "*");
        body.push(self.operation()?);
        body.push(ANY);
        Ok(body)
    }
}

impl Kafka {
    /// Makes a rule and returns once the node goes by it.
    ///
    /// # Errors
    /// [`Error::Acl`] with the node's reason.
    pub fn allow(&self, acl: &Acl) -> Result<(), Error> {
        self.make(acl).map_err(|source| Error::Acl {
            acl: format!("{acl:?}"),
            source,
        })
    }

    fn make(&self, acl: &Acl) -> io::Result<()> {
        let address = self.bootstrap_servers();
        let answer = wire::ask(address, CREATE_ACLS, &acl.creation()?, wait::QUESTION_LIMIT)?;
        check_created(&answer)?;
        // The controller has it; the node learns it a moment later.
        let known = wait::until(wait::QUESTION_LIMIT, || {
            let answer = wire::ask(address, DESCRIBE_ACLS, &acl.filter()?, wait::QUESTION_LIMIT)?;
            Ok::<_, io::Error>((count_described(&answer)? > 0).then_some(()))
        })?;
        known.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, "the node does not learn it"))
    }
}

/// Throttle time, number of results, the error code of the first.
fn check_created(answer: &[u8]) -> io::Result<()> {
    match answer.get(8..10) {
        Some([0, 0]) => Ok(()),
        Some(code) => Err(io::Error::other(format!(
            "Kafka answers with error code {code:?}"
        ))),
        None => Err(wire::not_kafka()),
    }
}

/// Throttle time, error code, error text (empty or absent if there is none), number of resources.
fn count_described(answer: &[u8]) -> io::Result<i32> {
    match answer.get(4..12) {
        Some(&[0, 0, 0, 0, a, b, c, d] | &[0, 0, 0xff, 0xff, a, b, c, d]) => {
            Ok(i32::from_be_bytes([a, b, c, d]))
        }
        Some(head) => Err(io::Error::other(format!("Kafka answers with {head:?}"))),
        None => Err(wire::not_kafka()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_written_as_the_protocol_has_it() {
        let acl = Acl {
            principal: "User:p".to_owned(),
            operation: "Write".to_owned(),
            resource: Resource::Topic,
            name: "cam0".to_owned(),
            pattern: Pattern::Prefixed,
        };
        let body = acl.creation().unwrap();
        assert_eq!(body[..4], [0, 0, 0, 1]);
        assert_eq!(body[4..11], [2, 0, 4, b'c', b'a', b'm', b'0']);
        assert_eq!(body[11], 4);
        assert_eq!(body[body.len() - 5..], [0, 1, b'*', 4, 3]);
    }

    #[test]
    fn an_operation_that_kafka_does_not_have_is_refused() {
        let acl = Acl {
            principal: "User:p".to_owned(),
            operation: "Fly".to_owned(),
            resource: Resource::Cluster,
            name: "kafka-cluster".to_owned(),
            pattern: Pattern::Literal,
        };
        assert!(acl.creation().unwrap_err().to_string().contains("Fly"));
    }
}
