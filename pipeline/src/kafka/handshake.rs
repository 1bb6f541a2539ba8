//! Whether Kafka and we let each other in. The client only says that it could not connect (and goes on trying); the
//! reason comes beside it, as a text.

use super::{KafkaConfig, KafkaFault, diagnosis};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::sync::{Mutex, PoisonError};

/// Why one side refused the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// User, password or mechanism.
    Login,
    /// Kafka's certificate.
    TheirCertificate,
    /// Our certificate, or that there is none.
    OurCertificate,
    /// We speak TLS, Kafka does not.
    NoTls,
    /// Kafka speaks TLS, we do not.
    Tls,
    /// Kafka wants a login that we do not offer.
    NoLogin,
}

impl Kind {
    /// From librdkafka's (and in it OpenSSL's) words.
    fn of(code: Option<RDKafkaErrorCode>, reason: &str) -> Option<Self> {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if code == Some(RDKafkaErrorCode::Authentication) {
            return Some(Self::Login);
        }
        // Kafka closes a connection without a word when it does not understand the greeting, and when it understands it
        // but wants a login first. The name of a connection begins with what it speaks.
        if says(&["Disconnected"]) && says(&["in state APIVERSION_QUERY"]) && !says(&["ssl://"]) {
            return Some(Self::Tls);
        }
        if says(&["Disconnected"]) && says(&["in state UP"]) && !says(&["sasl_"]) {
            return Some(Self::NoLogin);
        }
        if says(&["certificate verify failed", "could not be verified"]) {
            return Some(Self::TheirCertificate);
        }
        if says(&[
            "PLAINTEXT broker listener",
            "wrong version number",
            "packet length too long",
            "record layer failure",
        ]) {
            return Some(Self::NoTls);
        }
        if says(&["alert", "client SSL authentication might be required"]) {
            return Some(Self::OurCertificate);
        }
        None
    }

    /// True if trying again cannot help. The others also look like a node that is just starting or ending.
    fn is_final(self) -> bool {
        matches!(
            self,
            Self::Login | Self::TheirCertificate | Self::OurCertificate
        )
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Login => {
                "Check --kafka-user, its password (--kafka-password-file or FRAMELANE_KAFKA_PASSWORD) and \
                 --kafka-mechanism"
            }
            Self::TheirCertificate => {
                "Give the certificate of those who signed Kafka's with --kafka-ca, and name the nodes in \
                 --bootstrap-servers as their certificates do"
            }
            Self::OurCertificate => {
                "Kafka wants a certificate that it trusts: give one with --kafka-cert and --kafka-key"
            }
            Self::NoTls => {
                "This listener seems to speak no TLS: give the port of one that does, or another --kafka-security"
            }
            Self::Tls => "This listener seems to speak TLS: give --kafka-security tls or sasl-tls",
            Self::NoLogin => {
                "This listener seems to want a login: give --kafka-security sasl-tls or sasl-plaintext"
            }
        }
    }
}

/// Keeps the last reason why no connection came about.
#[derive(Debug, Default)]
pub(super) struct Witness {
    seen: Mutex<Option<(Kind, String)>>,
}

impl ClientContext for Witness {
    fn error(&self, cause: KafkaError, reason: &str) {
        if !self.note(cause.rdkafka_error_code(), reason) {
            tracing::warn!(%cause, reason, "Kafka connection");
        }
    }

    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, text: &str) {
        // What matters besides comes as an error, too.
        if !self.note(None, text) {
            tracing::debug!(text, "Kafka connection");
        }
    }
}

impl ConsumerContext for Witness {}

/// When a refusal is worth reporting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// Only one that trying again cannot change.
    Left,
    /// Any.
    Over,
}

impl Witness {
    /// Has a client tell it what it needs to know: connections that Kafka closes are not worth an error to the client,
    /// only a line in its log.
    pub(super) fn listen(client: &mut ClientConfig) -> &mut ClientConfig {
        client
            .set("log.connection.close", "true")
            .set_log_level(RDKafkaLogLevel::Info)
    }

    /// True if this is a reason for which one side refuses the other.
    fn note(&self, code: Option<RDKafkaErrorCode>, reason: &str) -> bool {
        let Some(kind) = Kind::of(code, reason) else {
            return false;
        };
        tracing::debug!(?kind, reason, "Kafka connection");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The client tells the same in its log, less surely.
        if code.is_some() || seen.as_ref().is_none_or(|(known, _)| !known.is_final()) {
            *seen = Some((kind, reason.to_owned()));
        }
        true
    }

    /// The fault, if Kafka or we refused the connection.
    pub(super) fn refusal(&self, config: &KafkaConfig, patience: Patience) -> Option<KafkaFault> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (kind, reason) = seen.as_ref()?;
        if patience == Patience::Left && !kind.is_final() {
            return None;
        }
        let precise = match kind {
            Kind::TheirCertificate => diagnosis::of_certificate(config),
            _ => None,
        };
        Some(KafkaFault::Refused {
            servers: config.bootstrap_servers().to_owned(),
            reason: precise.unwrap_or_else(|| reason.clone()),
            advice: kind.advice(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_words_are_understood() {
        let ssl = Some(RDKafkaErrorCode::SSL);
        for (code, reason, kind) in [
            (
                Some(RDKafkaErrorCode::Authentication),
                "SASL authentication error: Authentication failed during authentication due to invalid credentials",
                Kind::Login,
            ),
            (
                ssl,
                "SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could \
                 not be verified",
                Kind::TheirCertificate,
            ),
            (
                ssl,
                "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42",
                Kind::OurCertificate,
            ),
            (
                None,
                "[thrd:h:1/bootstrap]: h:1/bootstrap: Disconnected: connection closed by peer: receive 0 after POLLIN \
                 (after 4ms in state APIVERSION_QUERY)",
                Kind::Tls,
            ),
            (
                None,
                "SSL handshake failed: Disconnected: connecting to a PLAINTEXT broker listener?",
                Kind::NoTls,
            ),
            (
                None,
                "[thrd:ssl://h:1/1]: ssl://h:1/1: Disconnected: connection closed by peer: receive 0 after POLLIN (after \
                 4ms in state UP)",
                Kind::NoLogin,
            ),
        ] {
            assert_eq!(Kind::of(code, reason), Some(kind), "{reason}");
        }
        let refused = "Connect to ipv4#127.0.0.1:9092 failed: Connection refused";
        assert_eq!(Kind::of(None, refused), None);
    }

    #[test]
    fn a_certain_refusal_is_not_forgotten_for_a_guess() {
        let config = KafkaConfig::new("localhost:1").unwrap();
        let witness = Witness::default();
        assert!(witness.refusal(&config, Patience::Over).is_none());
        assert!(witness.note(None, "h:1/1: Disconnected (after 4ms in state UP)"));
        assert!(witness.refusal(&config, Patience::Left).is_none());
        assert!(witness.note(Some(RDKafkaErrorCode::Authentication), "wrong password"));
        assert!(witness.note(None, "Disconnected (in state APIVERSION_QUERY)"));
        let fault = witness.refusal(&config, Patience::Left).unwrap();
        let text = fault.to_string();
        assert!(
            text.contains("wrong password") && text.contains("--kafka-user"),
            "{text}"
        );
    }
}
