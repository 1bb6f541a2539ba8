//! Why a processor cannot be reached, in words that say what to do. A failed handshake comes wrapped in several errors,
//! the outermost of which says nothing.

use rustls::{CertificateError, Error as Tls};
use std::error::Error;
use std::{fmt, io};

/// Why a call never got through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// One side does not accept the other.
    Trust(&'static str),
    /// Anything else, in the words of whoever noticed.
    Other(String),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trust(words) => f.write_str(words),
            Self::Other(words) => write!(f, "{words}. Is a processor listening there?"),
        }
    }
}

impl Reason {
    pub fn of(status: &tonic::Status) -> Self {
        let mut innermost = status.message().to_owned();
        let mut cause = Error::source(status);
        while let Some(error) = cause {
            if let Some(words) = tls(error).and_then(words) {
                return Self::Trust(words);
            }
            innermost = error.to_string();
            cause = error.source();
        }
        match told_in(&innermost) {
            Some(words) => Self::Trust(words),
            None => Self::Other(innermost),
        }
    }
}

fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Tls> {
    if let Some(tls) = error.downcast_ref() {
        return Some(tls);
    }
    // What an io::Error wraps is no source of its own.
    error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref()
}

/// What shows only after our side of the handshake comes through HTTP/2, which keeps nothing but the text.
fn told_in(text: &str) -> Option<&'static str> {
    if text.contains("received fatal alert") {
        return Some(OUR_CERTIFICATE);
    }
    // A TLS server's answer to a plain greeting, taken for a frame of HTTP/2.
    text.contains("frame with invalid size").then_some(
        "it seems to expect TLS: write https:// in --processor, and give the certificate of its signer with \
         --processor-ca",
    )
}

const OUR_CERTIFICATE: &str = "it wants a certificate from us that it trusts: give one with --processor-cert and --processor-key";

/// None for what this list does not foresee.
fn words(cause: &Tls) -> Option<&'static str> {
    let Tls::InvalidCertificate(why) = cause else {
        return match cause {
            Tls::AlertReceived(_) => Some(OUR_CERTIFICATE),
            Tls::InvalidMessage(_) => Some(
                "it does not speak TLS: write http:// in --processor, or start the processor with --tls-cert and \
                 --tls-key",
            ),
            _ => None,
        };
    };
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            Some("its certificate has expired: renew it")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            Some("its certificate is not valid yet: check the clocks")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some(
                "its certificate is for another host name: name the host in --processor as its certificate does",
            )
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => Some(
            "its certificate is signed by nobody whom we trust: give the certificate of its signer with --processor-ca",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(cause: impl Error + Send + Sync + 'static) -> Reason {
        Reason::of(&tonic::Status::from_error(Box::new(cause)))
    }

    #[test]
    fn the_innermost_reason_is_told_with_the_way_on() {
        let expired = Tls::InvalidCertificate(CertificateError::Expired);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, expired);
        assert!(reason(wrapped).to_string().contains("renew it"));
        let alert = io::Error::other("received fatal alert: CertificateRequired");
        assert_eq!(reason(alert), Reason::Trust(OUR_CERTIFICATE));
    }

    #[test]
    fn a_refused_connection_is_no_matter_of_trust() {
        let refused = reason(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert!(matches!(refused, Reason::Other(_)));
        assert!(refused.to_string().contains("processor listening"));
    }
}
