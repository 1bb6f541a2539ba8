//! What a person says about security, on the command line or in the environment.

use std::path::PathBuf;

/// Command-line options about security. There is none that takes a password: everybody on the machine can read command
/// lines.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Kafka security")]
pub struct SecurityArgs {
    /// How the listener of Kafka is protected (its security.protocol; ssl and sasl_ssl are understood too)
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_SECURITY",
        hide_env_values = true,
        value_enum,
        ignore_case = true,
        default_value_t = Protocol::Plaintext,
        value_name = "PROTOCOL"
    )]
    pub kafka_security: Protocol,
    /// Certificates (PEM) of those who may sign Kafka's certificate [default: the system's]
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_CA",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub kafka_ca: Option<PathBuf>,
    /// Our own certificate (PEM), where Kafka asks for one
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_CERT",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub kafka_cert: Option<PathBuf>,
    /// The key (PEM) of --kafka-cert. The password of an encrypted one comes from FRAMELANE_KAFKA_KEY_PASSWORD
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_KEY",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub kafka_key: Option<PathBuf>,
    /// How to log in [default: scram-sha-512]
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_MECHANISM",
        hide_env_values = true,
        value_enum,
        ignore_case = true,
        value_name = "MECHANISM"
    )]
    pub kafka_mechanism: Option<Mechanism>,
    /// The user to log in as
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_USER",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub kafka_user: Option<String>,
    /// The file whose first line is the password; or set FRAMELANE_KAFKA_PASSWORD
    #[arg(
        long,
        env = "FRAMELANE_KAFKA_PASSWORD_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub kafka_password_file: Option<PathBuf>,
}

/// What a listener of Kafka speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Protocol {
    /// Neither encrypted nor with a login
    #[default]
    Plaintext,
    /// Encrypted; with --kafka-cert both sides show certificates
    #[value(alias = "ssl")]
    Tls,
    /// A login, and everything readable on the way
    #[value(alias = "sasl_plaintext")]
    SaslPlaintext,
    /// Encrypted, and a login
    #[value(aliases = ["sasl_tls", "sasl-ssl", "sasl_ssl"])]
    SaslTls,
}

impl Protocol {
    pub(super) fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }

    pub(super) fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }

    /// Kafka's word for it.
    pub(super) fn native(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "ssl",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_ssl",
        }
    }
}

/// How a user proves to be who it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// The password never leaves this machine
    #[value(name = "scram-sha-256")]
    ScramSha256,
    /// The password never leaves this machine
    #[value(name = "scram-sha-512")]
    ScramSha512,
    /// The password is sent to Kafka: with sasl-tls only
    Plain,
}

impl Mechanism {
    pub(super) fn native(self) -> &'static str {
        match self {
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::Plain => "PLAIN",
        }
    }
}
