//! Alerts as HTTP requests: the JSON line as the body, the alert's id as the key by which a receiver knows it again.

use super::retry::{Patience, Refusal};
use crate::delivery::Delivery;
use crate::monitor::spec::without_secrets;
use crate::sinks::{Flow, OpenError, Sink, SinkError};
use pipeline::service::ConfigError;
use std::sync::Arc;
use std::time::Duration;
use ureq::Agent;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// One request, from connecting to the answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// The header of <https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>.
const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

/// The sink.
#[derive(Debug)]
pub struct Webhook {
    url: String,
    /// For people: without what a URL may hold of secrets.
    name: String,
    agent: Agent,
    patience: Patience,
}

impl Webhook {
    /// Nothing is sent yet.
    pub fn open(url: &str, patience: Patience) -> Result<Self, OpenError> {
        let mut config = Agent::config_builder()
            .timeout_global(Some(REQUEST_TIMEOUT))
            .http_status_as_error(false)
            .max_redirects(0) // what was a POST would become a GET
            .max_redirects_will_error(false)
            .user_agent(concat!("framelane-consumer/", env!("CARGO_PKG_VERSION")));
        if url.starts_with("https:") {
            config = config.tls_config(tls()?);
        }
        Ok(Self {
            url: url.to_owned(),
            name: format!("webhook {}", without_secrets(url)),
            agent: config.build().new_agent(),
            patience,
        })
    }

    fn post(&self, id: &str, body: &[u8]) -> Result<(), Refusal> {
        let request = self
            .agent
            .post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, id);
        match request.send(body) {
            Ok(answer) => judge(answer.status(), answer.headers()),
            Err(ureq::Error::BadUri(why)) => Err(Refusal::Never(why)),
            Err(cause) => Err(Refusal::NotNow(cause.to_string(), None)),
        }
    }
}

/// The system's certificates, and the TLS that everything else here uses.
fn tls() -> Result<TlsConfig, OpenError> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found
            .errors
            .first()
            .map_or_else(String::new, |why| format!(" ({why})"));
        return Err(ConfigError(format!(
            "no certificate authorities are installed{why}, so no https receiver can be trusted: install \
             ca-certificates, or name them with SSL_CERT_FILE"
        ))
        .into());
    }
    let certificates: Vec<_> = found
        .certs
        .iter()
        .map(|one| Certificate::from_der(one).to_owned())
        .collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&certificates))
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// What an answer means.
fn judge(status: StatusCode, headers: &HeaderMap) -> Result<(), Refusal> {
    let why = format!("the receiver answered {status}");
    match status.as_u16() {
        200..=299 => Ok(()),
        // Not in time, too early, too often, or its own fault: it may take it later.
        408 | 425 | 429 | 500..=599 => Err(Refusal::NotNow(why, retry_after(headers))),
        300..=399 => {
            let place = headers
                .get(header::LOCATION)
                .and_then(|to| to.to_str().ok());
            let place = without_secrets(place.unwrap_or_default());
            Err(Refusal::Never(format!(
                "{why}, to {place}: give that address"
            )))
        }
        _ => Err(Refusal::Never(why)),
    }
}

/// Seconds; the form with a date is rare, and taken for none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
    seconds.trim().parse().ok().map(Duration::from_secs)
}

impl Sink for Webhook {
    fn take(&mut self, delivery: &Delivery) -> Result<Flow, SinkError> {
        if let Some(alert) = delivery.alert() {
            let (id, body) = (alert.id(), alert.line(delivery));
            self.patience
                .persist(&self.name, &id, || self.post(&id, &body))?;
        }
        Ok(Flow::GoOn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_will_not_is_an_error() {
        let judge = |status: u16, headers: &HeaderMap| {
            judge(StatusCode::from_u16(status).unwrap(), headers)
        };
        let mut headers = HeaderMap::new();
        assert!(judge(204, &headers).is_ok());
        for status in [400, 401, 404, 410, 301] {
            assert!(
                matches!(judge(status, &headers), Err(Refusal::Never(_))),
                "{status}"
            );
        }
        headers.insert(header::RETRY_AFTER, "7".parse().unwrap());
        for status in [408, 429, 500, 503] {
            let Err(Refusal::NotNow(_, asked)) = judge(status, &headers) else {
                panic!("{status} may pass");
            };
            assert_eq!(asked, Some(Duration::from_secs(7)), "{status}");
        }
    }
}
