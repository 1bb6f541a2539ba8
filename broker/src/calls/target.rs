//! Where a processor is, and how both sides know whom they talk to.

use pipeline::service::ConfigError;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity, Uri};

/// Options for processors at https:// addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, clap::Args)]
#[command(next_help_heading = "Processors by TLS")]
pub struct TlsArgs {
    /// Certificates (PEM) of those who may sign the processors' certificates [default: the system's]
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_ca: Option<PathBuf>,
    /// Our own certificate (PEM), for processors that ask for one
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_cert: Option<PathBuf>,
    /// The key (PEM, not encrypted) of --processor-cert
    #[arg(
        long,
        env = "FRAMELANE_PROCESSOR_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub processor_key: Option<PathBuf>,
}

/// A processor as it was named.
#[derive(Debug, Clone)]
pub struct Target {
    pub uri: Uri,
    /// None: plain.
    tls: Option<ClientTlsConfig>,
}

impl Target {
    /// The way to one of its addresses.
    pub fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, tonic::transport::Error> {
        let scheme = self.uri.scheme_str().unwrap_or("http");
        let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))?;
        let endpoint = endpoint.origin(self.uri.clone());
        match &self.tls {
            None => Ok(endpoint),
            // The certificate must be for the name that was given, not for the address that was found.
            Some(tls) => endpoint.tls_config(tls.clone().domain_name(host(&self.uri))),
        }
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
            "--processor {url:?} is not the address of a processor: write http://HOST:PORT or https://HOST:PORT"
        ))),
    }
}

/// The host without the brackets of an IPv6 address.
pub fn host(uri: &Uri) -> &str {
    uri.host().unwrap_or_default().trim_matches(['[', ']'])
}

fn refuse_unused(args: &TlsArgs) -> Result<(), ConfigError> {
    let given = [
        ("--processor-ca", &args.processor_ca),
        ("--processor-cert", &args.processor_cert),
        ("--processor-key", &args.processor_key),
    ];
    match given.iter().find(|(_, file)| file.is_some()) {
        None => Ok(()),
        Some((option, _)) => Err(ConfigError(format!(
            "{option} protects nothing while every --processor is http://: write https://HOST:PORT, or leave it out"
        ))),
    }
}

fn tls(args: &TlsArgs, first: &Uri) -> Result<ClientTlsConfig, ConfigError> {
    let mut tls = match &args.processor_ca {
        None => ClientTlsConfig::new().with_native_roots(),
        Some(ca) => {
            let pem = read("--processor-ca", ca, "CERTIFICATE-----")?;
            ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem))
        }
    };
    match (&args.processor_cert, &args.processor_key) {
        (None, None) => {}
        (Some(cert), Some(key)) => {
            let cert = read("--processor-cert", cert, "CERTIFICATE-----")?;
            let key = read("--processor-key", key, "PRIVATE KEY-----")?;
            tls = tls.identity(Identity::from_pem(cert, key));
        }
        _ => {
            return Err(ConfigError(
                "--processor-cert and --processor-key belong together: give both".to_owned(),
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
                "TLS to {first} cannot be set up: {}. Check --processor-ca, --processor-cert and --processor-key: PEM \
                 files, the key that of the certificate and not encrypted",
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
