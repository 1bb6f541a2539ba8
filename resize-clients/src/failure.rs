//! What a failed call means for its frame, told apart by what is done next.

use processor_proto::reason;
use std::error::Error;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The service takes no more at present; it may say when to come back. Not the frame's fault, and not counted.
    Busy(Option<Duration>, String),
    /// The call never left: nobody is there. Not counted.
    Away(String),
    /// The service went away during the call; the frame may be what killed it.
    Lost(String),
    /// It failed this time.
    Failed(String),
    /// No later call can change it.
    Refused(String),
}

impl Failure {
    /// For people.
    pub fn why(&self) -> &str {
        match self {
            Self::Busy(_, why)
            | Self::Away(why)
            | Self::Lost(why)
            | Self::Failed(why)
            | Self::Refused(why) => why,
        }
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let text = reason(&status);
        match status.code() {
            Code::ResourceExhausted => {
                let hint = status
                    .get_details_retry_info()
                    .and_then(|retry| retry.retry_delay);
                Self::Busy(hint, text)
            }
            Code::InvalidArgument | Code::OutOfRange => Self::Refused(text),
            Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied => {
                Self::Refused(text)
            }
            _ if cause::<tonic::ConnectError>(&status).is_some() => Self::Away(text),
            // A service that stops says so to the calls it ends.
            Code::Unavailable => Self::Lost(text),
            // A connection that breaks in the middle of a call is reported as one of these.
            Code::Unknown | Code::Internal | Code::Cancelled
                if cause::<tonic::transport::Error>(&status).is_some() =>
            {
                Self::Lost(text)
            }
            _ => Self::Failed(text),
        }
    }
}

fn cause<E: Error + 'static>(status: &Status) -> Option<&E> {
    let mut cause = Error::source(status);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn a_full_service_says_when_to_come_back() {
        let hint = Duration::from_millis(70);
        let full = Status::with_error_details(
            Code::ResourceExhausted,
            "8 calls are waiting",
            ErrorDetails::with_retry_info(Some(hint)),
        );
        assert_eq!(
            Failure::from(full),
            Failure::Busy(Some(hint), "8 calls are waiting".into())
        );
        let silent = Failure::from(Status::resource_exhausted("full"));
        assert_eq!(silent, Failure::Busy(None, "full".into()));
    }

    #[test]
    fn what_the_frame_cannot_help_is_told_from_what_it_can() {
        assert_eq!(
            Failure::from(Status::invalid_argument("no JPEG")),
            Failure::Refused("no JPEG".into())
        );
        assert_eq!(
            Failure::from(Status::unavailable("stops")),
            Failure::Lost("stops".into())
        );
        assert_eq!(
            Failure::from(Status::internal("panicked")),
            Failure::Failed("panicked".into())
        );
    }
}
