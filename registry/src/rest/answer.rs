//! Answers: JSON, and what went wrong as JSON with the status that fits.

use crate::check::Problem;
use crate::error::RegistryError;
use crate::yaml::YamlError;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

/// A value as a response.
pub(super) fn json(value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(cause) => {
            Fault::new(StatusCode::INTERNAL_SERVER_ERROR, cause.to_string()).into_response()
        }
    }
}

/// Why a request was not done.
#[derive(Debug)]
pub(super) struct Fault {
    status: StatusCode,
    body: Value,
}

impl Fault {
    pub fn new(status: StatusCode, text: impl Into<String>) -> Self {
        let body = json!({"error": text.into()});
        Self { status, body }
    }

    /// A text that cannot be taken, at this place; line 0: nowhere in particular.
    pub fn at(line: u64, column: u64, text: String) -> Self {
        let mut fault = Self::new(StatusCode::UNPROCESSABLE_ENTITY, text);
        if line > 0 {
            fault.body["line"] = line.into();
            fault.body["column"] = column.into();
        }
        fault
    }

    pub fn of_text(error: YamlError) -> Self {
        Self::at(error.line, error.column, error.message)
    }

    /// For a text that the asker has not seen.
    pub fn without_place(mut self) -> Self {
        if let Value::Object(body) = &mut self.body {
            body.remove("line");
            body.remove("column");
        }
        self
    }

    /// Objects that do not fit together.
    pub fn of_problems(problems: Vec<Problem>) -> Self {
        let texts: Vec<String> = problems.iter().map(Problem::to_string).collect();
        let mut fault = Self::new(StatusCode::CONFLICT, texts.join("\n"));
        let problem = |one: &Problem| json!({"key": one.key.to_string(), "text": one.text});
        fault.body["problems"] = problems.iter().map(problem).collect();
        fault
    }
}

impl From<RegistryError> for Fault {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::Refused(problems) => Self::of_problems(problems),
            RegistryError::Stale(stale) => {
                let text = RegistryError::Stale(stale.clone()).to_string();
                let mut fault = Self::new(StatusCode::PRECONDITION_FAILED, text);
                fault.body["stale"] = serde_json::to_value(stale).unwrap_or_default();
                fault
            }
            RegistryError::Twice(_) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
            }
            RegistryError::Away { .. }
            | RegistryError::Contended(_)
            | RegistryError::Unknown(_)
            | RegistryError::Partial { .. }
            | RegistryError::Kafka(_)
            | RegistryError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string())
            }
        }
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        (self.status, json(&self.body)).into_response()
    }
}
