use std::error::Error;
use tonic::Status;

/// Why a call failed, for people: what the system said if it said something, else what the service said.
pub fn reason(status: &Status) -> String {
    let mut innermost: Option<&dyn Error> = Error::source(status);
    while let Some(next) = innermost.and_then(Error::source) {
        innermost = Some(next);
    }
    match innermost {
        Some(cause) => cause.to_string(),
        None => match status.message() {
            "" => status.code().description().to_owned(),
            message => message.to_owned(),
        },
    }
}
