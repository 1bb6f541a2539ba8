//! What Kafka's access rules (ACLs) do not allow, said so that the missing rule can be added.

use super::KafkaFault;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::fmt;

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A topic by its name.
    Topic(String),
    /// A consumer group by its id.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
}

impl Resource {
    /// How Kafka's own tool names it.
    pub fn option(&self) -> String {
        match self {
            Self::Topic(name) => format!("--topic '{name}'"),
            Self::Group(id) => format!("--group '{id}'"),
            Self::TransactionalId(id) => format!("--transactional-id '{id}'"),
        }
    }

    fn is_meant_by(&self, code: RDKafkaErrorCode) -> bool {
        matches!(
            (self, code),
            (Self::Topic(_), RDKafkaErrorCode::TopicAuthorizationFailed)
                | (Self::Group(_), RDKafkaErrorCode::GroupAuthorizationFailed)
                | (
                    Self::TransactionalId(_),
                    RDKafkaErrorCode::TransactionalIdAuthorizationFailed
                )
        )
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Group(id) => write!(f, "group {id}"),
            Self::TransactionalId(id) => write!(f, "transactional id {id}"),
        }
    }
}

/// What a request needs to be allowed; the operation in Kafka's words.
#[derive(Debug, Clone)]
pub(super) struct Access {
    pub operation: &'static str,
    pub resource: Resource,
}

impl Access {
    pub(super) fn to_topic(operation: &'static str, name: &str) -> Self {
        let resource = Resource::Topic(name.to_owned());
        Self {
            operation,
            resource,
        }
    }

    pub(super) fn to_group(id: &str) -> Self {
        Self {
            operation: "Read",
            resource: Resource::Group(id.to_owned()),
        }
    }

    pub(super) fn to_transactions(id: &str) -> Self {
        Self {
            operation: "Write",
            resource: Resource::TransactionalId(id.to_owned()),
        }
    }
}

/// The fault, if this code says that one of these was not allowed.
pub(super) fn denied(code: Option<RDKafkaErrorCode>, needs: &[Access]) -> Option<KafkaFault> {
    let code = code?;
    let missing = needs
        .iter()
        .find(|access| access.resource.is_meant_by(code))?;
    Some(KafkaFault::Denied {
        operation: missing.operation,
        resource: missing.resource.clone(),
    })
}

impl KafkaFault {
    /// As [`KafkaFault::request`], for a request that access rules may forbid.
    pub(super) fn request_with(
        needs: &[Access],
        doing: impl Into<String>,
    ) -> impl FnOnce(KafkaError) -> Self {
        move |cause| {
            denied(cause.rdkafka_error_code(), needs).unwrap_or_else(|| Self::request(doing)(cause))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_missing_rule_is_named_as_kafkas_tool_takes_it() {
        let needs = [Access::to_group("g"), Access::to_topic("Write", "cam0")];
        let code = RDKafkaErrorCode::TopicAuthorizationFailed;
        let text = denied(Some(code), &needs).expect("denied").to_string();
        assert!(text.contains("--operation Write --topic 'cam0'"), "{text}");
        let other = RDKafkaErrorCode::RequestTimedOut;
        assert!(denied(Some(other), &needs).is_none());
    }
}
