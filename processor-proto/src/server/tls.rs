//! TLS for those who call a processor, from PEM files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use thiserror::Error;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};

/// A caller that does not finish its handshake is dropped after this.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Files in PEM form, read once when the server binds.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// The server's certificate, followed by those between it and its issuer's.
    pub cert: PathBuf,
    /// Its key, not encrypted.
    pub key: PathBuf,
    /// Certificates of those who may sign callers' certificates. None: callers need no certificate.
    pub client_ca: Option<PathBuf>,
}

/// Why a certificate or a key cannot be used. A configuration error.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file.
    #[error("{}: cannot be read ({source}): give a PEM file that this user may read", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What is in the files.
    #[error(
        "the certificate {}, its key {} and the CA for callers make no TLS server: {why}. They must be PEM files, the key \
         that of the certificate and not encrypted",
        cert.display(), key.display()
    )]
    Unfit {
        /// The server's certificate.
        cert: PathBuf,
        /// Its key.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

impl ServerTls {
    /// Reads the files and checks that they fit together.
    pub(super) fn load(&self) -> Result<ServerTlsConfig, TlsError> {
        use_one_provider();
        let identity = Identity::from_pem(read(&self.cert)?, read(&self.key)?);
        let mut config = ServerTlsConfig::new().identity(identity).timeout(HANDSHAKE);
        if let Some(ca) = &self.client_ca {
            config = config.client_ca_root(Certificate::from_pem(read(ca)?));
        }
        // The same checks that the real server makes, before anybody is told that it listens.
        match Server::builder().tls_config(config.clone()) {
            Ok(_) => Ok(config),
            Err(error) => Err(TlsError::Unfit {
                cert: self.cert.clone(),
                key: self.key.clone(),
                why: std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string),
            }),
        }
    }
}

/// Where a program brings two of them along, TLS would not know which to use, and panic.
fn use_one_provider() {
    // An error means that the program has chosen one already: that one is used.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Unreadable {
        path: path.to_owned(),
        source,
    })
}
