//! What is wrong with Kafka's certificate, in plain words.
//!
//! The client's library says only that a certificate was not accepted. So, once that has happened, another library is
//! asked to look at the same certificate. It decides nothing: its words go into the error, that is all.

use super::KafkaConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig, ClientConnection, Error, RootCertStore};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// For each step of a look at one node.
const LOOK: Duration = Duration::from_secs(2);

/// Says it for the first node whose certificate is refused here too. None if that is nowhere so, or cannot be told.
pub(super) fn of_certificate(config: &KafkaConfig) -> Option<String> {
    let tls = Arc::new(tls(config.security().ca()?)?);
    config
        .bootstrap_servers()
        .split(',')
        .map(str::trim)
        .find_map(|address| look(address, Arc::clone(&tls)))
}

fn tls(ca: &Path) -> Option<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).ok()? {
        roots.add(certificate.ok()?).ok()?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Some(config)
}

fn look(address: &str, tls: Arc<ClientConfig>) -> Option<String> {
    let (host, _) = address.rsplit_once(':')?;
    let host = host.trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut session = ClientConnection::new(tls, name).ok()?;
    let socket = address.to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&socket, LOOK).ok()?;
    stream.set_read_timeout(Some(LOOK)).ok()?;
    stream.set_write_timeout(Some(LOOK)).ok()?;
    while session.is_handshaking() {
        if let Err(cause) = session.complete_io(&mut stream) {
            let cause = cause.get_ref()?.downcast_ref::<Error>()?;
            return words(cause).map(|what| format!("the certificate of {address} {what}"));
        }
    }
    None
}

fn words(cause: &Error) -> Option<String> {
    let Error::InvalidCertificate(why) = cause else {
        return None;
    };
    Some(match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "has expired: renew it".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet: check the clocks".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for other host names than this".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "is signed by nobody in --kafka-ca".to_owned()
        }
        other => format!("is not accepted ({other})"),
    })
}
