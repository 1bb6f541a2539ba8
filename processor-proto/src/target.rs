//! Services as a client names them, and how both sides know whom they talk to.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A service whose machine vanished is noticed after the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What a program calls the options that these settings come from: for its errors.
#[derive(Debug, Clone, Copy)]
pub struct OptionNames {
    /// What is called, e.g. "processor".
    pub service: &'static str,
    /// Takes a service's URL.
    pub url: &'static str,
    pub ca: &'static str,
    pub cert: &'static str,
    pub key: &'static str,
}

/// The PEM files for services at https:// addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct TlsFiles<'a> {
    /// Who may sign the services' certificates. None: who the system trusts.
    pub ca: Option<&'a Path>,
    /// Our own certificate, for services that ask for one.
    pub cert: Option<&'a Path>,
    /// The key of `cert`, not encrypted.
    pub key: Option<&'a Path>,
}

/// What is wrong with an address or a file, and what to write instead.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(String);

/// A service as it was named; its name may stand for several addresses.
#[derive(Debug, Clone)]
pub struct Target {
    pub uri: Uri,
    /// None: plain.
    tls: Option<ClientTlsConfig>,
}

impl Target {
    /// A plain one, by its address.
    pub fn plain(address: SocketAddr) -> Self {
        let uri = format!("http://{address}")
            .parse()
            .expect("an address makes a URL");
        Self { uri, tls: None }
    }

    /// The host without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        host(&self.uri)
    }

    /// The port: every target names one.
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(80)
    }

    /// A connection to one of its addresses, made when it is needed and made again when it broke.
    pub fn connect(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let endpoint = self
            .endpoint(address)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            // Windows for many frames under way: the defaults (64 KB) hold less than one.
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(64 << 20)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_lazy())
    }

    fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        let endpoint = endpoint.origin(self.uri.clone());
        match &self.tls {
            None => Ok(endpoint),
            // The certificate must be for the name that was given, not for the address that was found.
            Some(tls) => endpoint.tls_config(tls.clone().domain_name(self.host())),
        }
    }
}

/// Checks addresses and files.
pub fn targets(
    urls: &[String],
    files: TlsFiles<'_>,
    names: &OptionNames,
) -> Result<Vec<Target>, TargetError> {
    let uris = urls.iter().map(|url| uri(url, names));
    let uris: Vec<Uri> = uris.collect::<Result<_, _>>()?;
    let is_tls = |uri: &Uri| uri.scheme_str() == Some("https");
    let tls = match uris.iter().find(|uri| is_tls(uri)) {
        Some(first) => Some(tls(files, names, first)?),
        None => {
            refuse_unused(files, names)?;
            None
        }
    };
    let target = |uri: Uri| Target {
        tls: tls.clone().filter(|_| is_tls(&uri)),
        uri,
    };
    Ok(uris.into_iter().map(target).collect())
}

fn uri(url: &str, names: &OptionNames) -> Result<Uri, TargetError> {
    let uri: Result<Uri, _> = url.parse();
    match uri {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some() => {
            Ok(uri)
        }
        _ => Err(TargetError(format!(
            "{} {url:?} is not the address of a {}: write http://HOST:PORT or https://HOST:PORT",
            names.url, names.service
        ))),
    }
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// Files that protect nothing are a mistake.
fn refuse_unused(files: TlsFiles<'_>, names: &OptionNames) -> Result<(), TargetError> {
    let given = [
        (names.ca, files.ca),
        (names.cert, files.cert),
        (names.key, files.key),
    ];
    match given.iter().find(|(_, file)| file.is_some()) {
        None => Ok(()),
        Some((option, _)) => Err(TargetError(format!(
            "{option} protects nothing while every {} is http://: write https://HOST:PORT, or leave it out",
            names.url
        ))),
    }
}

fn tls(
    files: TlsFiles<'_>,
    names: &OptionNames,
    first: &Uri,
) -> Result<ClientTlsConfig, TargetError> {
    let mut tls = match files.ca {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(ca) => {
            let pem = read(names.ca, ca, "CERTIFICATE-----")?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    match (files.cert, files.key) {
        (None, None) => {}
        (Some(cert), Some(key)) => {
            let cert = read(names.cert, cert, "CERTIFICATE-----")?;
            let key = read(names.key, key, "PRIVATE KEY-----")?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        _ => {
            return Err(TargetError(format!(
                "{} and {} belong together: give both",
                names.cert, names.key
            )));
        }
    }
    // The same checks that every connection makes.
    let checked = Endpoint::from(first.clone()).tls_config(tls.clone().domain_name(host(first)));
    match checked {
        Ok(_) => Ok(tls),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Err(TargetError(format!(
                "TLS to {first} cannot be set up: {}. Check {}, {} and {}: PEM files, the key that of the certificate and \
                 not encrypted",
                cause.unwrap_or_else(|| error.to_string()),
                names.ca,
                names.cert,
                names.key
            )))
        }
    }
}

fn read(option: &str, path: &Path, label: &str) -> Result<String, TargetError> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|cause| {
        TargetError(format!(
            "{option} {place}: cannot be read ({cause}): give a PEM file that this user may read"
        ))
    })?;
    match text.contains(label) {
        true => Ok(text),
        false => Err(TargetError(format!(
            "{option} {place}: holds no {} in PEM form: give the right file, or convert it with openssl",
            label.trim_end_matches('-').to_lowercase()
        ))),
    }
}
