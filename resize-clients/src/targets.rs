//! Services as they were named, and how both sides know whom they talk to.

use crate::config::ConfigError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A service whose machine vanished is noticed after the sum of both.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Options for services at https:// addresses; the names and variables are the broker's.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Services by TLS")]
pub struct TlsArgs {
    /// Certificates (PEM) of those who may sign the services' certificates [default: the system's]
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub ca: Option<PathBuf>,
    /// Our own certificate (PEM), for services that ask for one
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub cert: Option<PathBuf>,
    /// The key (PEM, not encrypted) of --cert
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub key: Option<PathBuf>,
}

/// A service as it was named; its name may stand for several addresses.
#[derive(Clone, Debug)]
pub struct Target {
    pub uri: Uri,
    /// None: plain.
    tls: Option<ClientTlsConfig>,
}

impl Target {
    /// A plain one, by its address.
    pub fn plain(address: SocketAddr) -> Result<Self, ConfigError> {
        Ok(Self {
            uri: uri(&format!("http://{address}"))?,
            tls: None,
        })
    }

    /// The host without the brackets of an IPv6 address, and the port.
    pub fn host_and_port(&self) -> (&str, u16) {
        let port = self.uri.port_u16().unwrap_or(80);
        (host(&self.uri), port)
    }

    /// A connection to one of its addresses, made when it is needed and made again when it broke.
    pub fn connect(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let mut endpoint =
            Endpoint::from_shared(format!("{scheme}://{address}"))?.origin(self.uri.clone());
        if let Some(tls) = &self.tls {
            // The certificate must be for the name that was given, not for the address that was found.
            endpoint = endpoint.tls_config(tls.clone().domain_name(host(&self.uri)))?;
        }
        let endpoint = endpoint
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
}

/// Checks addresses and files.
pub fn targets(urls: &[String], args: &TlsArgs) -> Result<Vec<Target>, ConfigError> {
    let uris: Vec<Uri> = urls.iter().map(|url| uri(url)).collect::<Result<_, _>>()?;
    let is_tls = |uri: &Uri| uri.scheme_str() == Some("https");
    let tls = match uris.iter().find(|uri| is_tls(uri)) {
        Some(first) => Some(tls(args, first)?),
        None => {
            refuse_unused(args)?;
            None
        }
    };
    let target = |uri: Uri| Target {
        tls: tls.clone().filter(|_| is_tls(&uri)),
        uri,
    };
    Ok(uris.into_iter().map(target).collect())
}

fn uri(url: &str) -> Result<Uri, ConfigError> {
    let uri: Result<Uri, _> = url.parse();
    match uri {
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) && uri.port().is_some() => {
            Ok(uri)
        }
        _ => Err(ConfigError(format!(
            "--endpoint {url:?} is not the address of a service: write http://HOST:PORT or https://HOST:PORT (N, M and \
             VIDEO stand before --endpoint)"
        ))),
    }
}

fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

/// Files that protect nothing are a mistake.
fn refuse_unused(args: &TlsArgs) -> Result<(), ConfigError> {
    let given = [
        ("--ca", &args.ca),
        ("--cert", &args.cert),
        ("--key", &args.key),
    ];
    match given.iter().find(|(_, file)| file.is_some()) {
        None => Ok(()),
        Some((option, _)) => Err(ConfigError(format!(
            "{option} protects nothing while no service is at https://: write --endpoint https://HOST:PORT, or leave it out"
        ))),
    }
}

fn tls(args: &TlsArgs, first: &Uri) -> Result<ClientTlsConfig, ConfigError> {
    let mut tls = match &args.ca {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(ca) => {
            let pem = read("--ca", ca, "CERTIFICATE-----")?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    match (&args.cert, &args.key) {
        (None, None) => {}
        (Some(cert), Some(key)) => {
            let cert = read("--cert", cert, "CERTIFICATE-----")?;
            let key = read("--key", key, "PRIVATE KEY-----")?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        _ => {
            return Err(ConfigError(
                "--cert and --key belong together: give both".to_owned(),
            ));
        }
    }
    // The same checks that every connection makes.
    let checked = Endpoint::from(first.clone()).tls_config(tls.clone().domain_name(host(first)));
    match checked {
        Ok(_) => Ok(tls),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            Err(ConfigError(format!(
                "TLS to {first} cannot be set up: {}. Check --ca, --cert and --key: PEM files, the key that of the \
                 certificate and not encrypted",
                cause.unwrap_or_else(|| error.to_string())
            )))
        }
    }
}

fn read(option: &str, path: &Path, label: &str) -> Result<String, ConfigError> {
    let place = path.display();
    let text = std::fs::read_to_string(path).map_err(|cause| {
        ConfigError(format!(
            "{option} {place}: cannot be read ({cause}): give a PEM file that this user may read"
        ))
    })?;
    match text.contains(label) {
        true => Ok(text),
        false => Err(ConfigError(format!(
            "{option} {place}: holds no {} in PEM form: give the right file, or convert it with openssl",
            label.trim_end_matches('-').to_lowercase()
        ))),
    }
}
