//! What a failed call means for the frame, told apart by what is done next.

use std::fmt;
use tonic::{Code, Status};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The replica takes no more at present. Not the frame's fault: tried again, not counted, unless it goes on for a
    /// whole deadline (some servers answer so to a frame that is larger than they take).
    Busy(String),
    /// The call never left: the replica cannot be reached. Tried again elsewhere, not counted.
    NotSent(String),
    /// This frame can never be processed. Not tried again, but for once with its picture if that was left out.
    Refused(String),
    /// The replica went away during the call; the frame may be what killed it.
    Crashed(String),
    /// No answer in time.
    TimedOut,
    /// The processor failed, or its reply is not one to this call.
    Failed(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => f.write_str("no answer in time"),
            Self::Busy(text)
            | Self::NotSent(text)
            | Self::Refused(text)
            | Self::Crashed(text)
            | Self::Failed(text) => f.write_str(text),
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = format!("{}: {}", status.code().description(), status.message());
        match status.code() {
            Code::ResourceExhausted => Self::Busy(text),
            Code::InvalidArgument => Self::Refused(status.message().to_owned()),
            Code::DeadlineExceeded | Code::Cancelled => Self::TimedOut,
            Code::Unavailable if never_sent(&status) => Self::NotSent(text),
            Code::Unavailable => Self::Crashed(text),
            // A connection that breaks in the middle of a call is reported as one of these.
            Code::Unknown | Code::Internal if has_cause::<tonic::transport::Error>(&status) => {
                Self::Crashed(text)
            }
            _ => Self::Failed(text),
        }
    }
}

fn never_sent(status: &Status) -> bool {
    has_cause::<tonic::ConnectError>(status)
}

fn has_cause<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<E>() {
            return true;
        }
        cause = error.source();
    }
    false
}
