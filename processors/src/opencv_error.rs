//! OpenCV's errors as answers to a call.

use processor_proto::ProcessError;

/// A failure of the work itself, not of the frame: worth another attempt.
pub fn failed(error: opencv::Error) -> ProcessError {
    ProcessError::Failed(format!("OpenCV: {}", error.message))
}
