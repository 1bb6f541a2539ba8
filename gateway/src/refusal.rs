//! What a visitor is told who cannot have what it asked for: a status, and a JSON object with the reason.

use crate::address::BadName;
use crate::pace::BadSpeed;
use crate::pictures::BadSize;
use crate::places::LocateError;
use crate::supply::SupplyError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    pub status: StatusCode,
    pub why: String,
}

impl Refusal {
    pub fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            why: why.into(),
        }
    }

    pub fn bad(why: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(serde_json::json!({ "error": self.why }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}

impl From<BadName> for Refusal {
    fn from(error: BadName) -> Self {
        Self::bad(error)
    }
}

impl From<BadSize> for Refusal {
    fn from(error: BadSize) -> Self {
        Self::bad(error)
    }
}

impl From<BadSpeed> for Refusal {
    fn from(error: BadSpeed) -> Self {
        Self::bad(error)
    }
}

impl From<LocateError> for Refusal {
    fn from(error: LocateError) -> Self {
        let status = match &error {
            LocateError::NoTopic(_) => StatusCode::NOT_FOUND,
            LocateError::Kafka(fault) if fault.is_denied() => StatusCode::FORBIDDEN,
            LocateError::Kafka(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<SupplyError> for Refusal {
    fn from(error: SupplyError) -> Self {
        match error {
            SupplyError::Locate(error) => error.into(),
            SupplyError::Speed(error) => error.into(),
            SupplyError::Spread(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            SupplyError::TooMany(_) | SupplyError::TooManyReplays(_) | SupplyError::Kafka(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}
