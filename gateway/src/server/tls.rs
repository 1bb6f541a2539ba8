//! TLS from PEM files.

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A certificate and its key, read and found to fit.
#[derive(Debug, Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

/// Why they cannot be used. A configuration error.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{what} {path}: {why}. Give a PEM file that this user may read", path = path.display())]
    Unreadable {
        what: &'static str,
        path: PathBuf,
        why: String,
    },
    #[error(
        "the certificate {cert} and the key {key} make no TLS server: {why}. The key must be that of the certificate, and not \
         encrypted", cert = cert.display(), key = key.display()
    )]
    Unfit {
        cert: PathBuf,
        key: PathBuf,
        why: rustls::Error,
    },
}

impl Tls {
    /// # Errors
    /// A file cannot be read, or they do not fit together.
    pub fn read(cert: &Path, key: &Path) -> Result<Self, TlsError> {
        let unreadable = |what, path: &Path, why: String| TlsError::Unreadable {
            what,
            path: path.to_owned(),
            why,
        };
        let bad_cert = |why: String| unreadable("--tls-cert", cert, why);
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|why| bad_cert(why.to_string()))?;
        if chain.is_empty() {
            return Err(bad_cert("it holds no certificate".to_owned()));
        }
        let private = PrivateKeyDer::from_pem_file(key)
            .map_err(|why| unreadable("--tls-key", key, why.to_string()))?;
        let unfit = |why| TlsError::Unfit {
            cert: cert.to_owned(),
            key: key.to_owned(),
            why,
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(unfit)?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .map_err(unfit)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}
