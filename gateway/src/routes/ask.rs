//! What may stand behind the question mark.

use crate::pictures::Variant;
use crate::refusal::Refusal;
use crate::supply::{From, Wish};
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use serde::Deserialize;

/// Frames a second that may be asked for.
const RATES: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    size: Option<String>,
    overlay: Option<String>,
    rate: Option<f64>,
    from: Option<String>,
    speed: Option<f64>,
}

impl Ask {
    /// # Errors
    /// Something in it is not what it should be.
    pub fn wish(&self) -> Result<Wish, Refusal> {
        let from = self.from.as_deref().unwrap_or("live");
        Ok(Wish {
            variant: Variant::parse(self.size.as_deref(), self.overlay()?)?,
            rate: self.rate.map(check_rate).transpose()?,
            from: from
                .parse::<From>()
                .map_err(|why| Refusal::bad(format!("from: {why}")))?,
            speed: self.speed.unwrap_or(1.0),
        })
    }

    fn overlay(&self) -> Result<bool, Refusal> {
        match self.overlay.as_deref() {
            None | Some("0" | "false") => Ok(false),
            Some("" | "1" | "true") => Ok(true),
            Some(_) => Err(Refusal::bad("overlay: write 1 or 0")),
        }
    }
}

/// # Errors
/// It is no rate.
pub fn check_rate(rate: f64) -> Result<f64, Refusal> {
    match RATES.contains(&rate) {
        true => Ok(rate),
        false => Err(Refusal::bad(
            "rate: write frames a second, from 0.01 to 1000",
        )),
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Ask {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = Query::<Self>::from_request_parts(parts, state).await;
        query
            .map(|Query(ask)| ask)
            .map_err(|why| Refusal::bad(why.body_text()))
    }
}
