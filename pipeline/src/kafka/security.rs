//! How clients of ours prove who they are, and how they check who answers.
//!
//! Everything is checked before the first connection; what is given and would not be used is refused, because it was
//! meant to protect something.

mod args;

pub use args::{Mechanism, Protocol, SecurityArgs};

use super::KafkaFault;
use super::secret::Secret;
use rdkafka::ClientConfig;
use std::path::{Path, PathBuf};

const PASSWORD: &str = "FRAMELANE_KAFKA_PASSWORD";
const KEY_PASSWORD: &str = "FRAMELANE_KAFKA_KEY_PASSWORD";

/// Settings that fit together, their files read once.
#[derive(Debug, Clone, Default)]
pub(super) struct Security {
    protocol: Protocol,
    ca: Option<PathBuf>,
    identity: Option<Identity>,
    login: Option<Login>,
}

#[derive(Debug, Clone)]
struct Identity {
    cert: PathBuf,
    key: PathBuf,
    key_password: Option<Secret>,
}

#[derive(Debug, Clone)]
struct Login {
    mechanism: Mechanism,
    user: String,
    password: Secret,
}

impl TryFrom<SecurityArgs> for Security {
    type Error = KafkaFault;

    /// Reads the files, and the passwords from the environment.
    fn try_from(args: SecurityArgs) -> Result<Self, KafkaFault> {
        let passwords = Passwords {
            login: Secret::from_variable(PASSWORD),
            key: Secret::from_variable(KEY_PASSWORD),
        };
        Self::check(args, passwords)
    }
}

#[derive(Default)]
struct Passwords {
    login: Option<Secret>,
    key: Option<Secret>,
}

impl Security {
    fn check(args: SecurityArgs, passwords: Passwords) -> Result<Self, KafkaFault> {
        let protocol = args.kafka_security;
        refuse_unused(&args)?;
        if let Some(ca) = &args.kafka_ca {
            read_pem("--kafka-ca", ca, "CERTIFICATE-----")?;
        }
        Ok(Self {
            protocol,
            identity: identity(args.kafka_cert, args.kafka_key, passwords.key)?,
            ca: args.kafka_ca,
            login: match protocol.has_login() {
                false => None,
                true => Some(login(
                    protocol,
                    args.kafka_mechanism,
                    args.kafka_user,
                    args.kafka_password_file.as_deref(),
                    passwords.login,
                )?),
            },
        })
    }

    /// Says all of it to the client.
    pub(super) fn apply(&self, config: &mut ClientConfig) {
        config.set("security.protocol", self.protocol.native());
        if self.protocol.is_encrypted() {
            // The defaults, said because everything rests on them.
            config
                .set("enable.ssl.certificate.verification", "true")
                .set("ssl.endpoint.identification.algorithm", "https");
        }
        if let Some(ca) = &self.ca {
            config.set("ssl.ca.location", ca.to_string_lossy());
        }
        if let Some(Identity {
            cert,
            key,
            key_password,
        }) = &self.identity
        {
            config
                .set("ssl.certificate.location", cert.to_string_lossy())
                .set("ssl.key.location", key.to_string_lossy());
            if let Some(password) = key_password {
                config.set("ssl.key.password", password.reveal());
            }
        }
        if let Some(Login {
            mechanism,
            user,
            password,
        }) = &self.login
        {
            config
                .set("sasl.mechanism", mechanism.native())
                .set("sasl.username", user)
                .set("sasl.password", password.reveal());
        }
    }

    /// Who may sign Kafka's certificate; None: whom the system trusts.
    pub(super) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }
}

fn unfit<T>(text: impl Into<String>) -> Result<T, KafkaFault> {
    Err(KafkaFault::Unfit(text.into()))
}

/// Options that the protocol has no use for. The variables with passwords may be there for other programs.
fn refuse_unused(args: &SecurityArgs) -> Result<(), KafkaFault> {
    let protocol = args.kafka_security;
    let of_tls = [
        ("--kafka-ca", args.kafka_ca.is_some()),
        ("--kafka-cert", args.kafka_cert.is_some()),
        ("--kafka-key", args.kafka_key.is_some()),
    ];
    let of_login = [
        ("--kafka-mechanism", args.kafka_mechanism.is_some()),
        ("--kafka-user", args.kafka_user.is_some()),
        ("--kafka-password-file", args.kafka_password_file.is_some()),
    ];
    let given = |options: &[(&'static str, bool)]| {
        options
            .iter()
            .find(|(_, is_given)| *is_given)
            .map(|(name, _)| *name)
    };
    let now = protocol.native();
    match (given(&of_tls), given(&of_login)) {
        (Some(option), _) if !protocol.is_encrypted() => unfit(format!(
            "{option} protects nothing with --kafka-security {now}: choose tls or sasl-tls, or leave it out"
        )),
        (_, Some(option)) if !protocol.has_login() => unfit(format!(
            "{option} is of no use with --kafka-security {now}: choose sasl-tls or sasl-plaintext, or leave it out"
        )),
        _ => Ok(()),
    }
}

fn identity(
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    key_password: Option<Secret>,
) -> Result<Option<Identity>, KafkaFault> {
    let (cert, key) = match (cert, key) {
        (None, None) => return Ok(None),
        (Some(cert), Some(key)) => (cert, key),
        _ => return unfit("--kafka-cert and --kafka-key belong together: give both"),
    };
    read_pem("--kafka-cert", &cert, "CERTIFICATE-----")?;
    let text = read_pem("--kafka-key", &key, "PRIVATE KEY-----")?;
    if text.contains("ENCRYPTED") && key_password.is_none() {
        return unfit(format!(
            "--kafka-key {} is encrypted: set its password in {KEY_PASSWORD}",
            key.display()
        ));
    }
    Ok(Some(Identity {
        cert,
        key,
        key_password,
    }))
}

fn login(
    protocol: Protocol,
    mechanism: Option<Mechanism>,
    user: Option<String>,
    password_file: Option<&Path>,
    password_variable: Option<Secret>,
) -> Result<Login, KafkaFault> {
    let mechanism = mechanism.unwrap_or(Mechanism::ScramSha512);
    if mechanism == Mechanism::Plain && !protocol.is_encrypted() {
        return unfit(
            "--kafka-mechanism plain sends the password itself: use it with --kafka-security sasl-tls, or use \
             scram-sha-512",
        );
    }
    let Some(user) = user.filter(|user| !user.is_empty()) else {
        return unfit(format!(
            "--kafka-security {} needs a user: give --kafka-user",
            protocol.native()
        ));
    };
    let password = match (password_file, password_variable) {
        (Some(file), _) => Secret::from_file("--kafka-password-file", file)?,
        (None, Some(password)) => password,
        (None, None) => {
            return unfit(format!(
                "no password for user {user}: give --kafka-password-file, or set {PASSWORD}"
            ));
        }
    };
    Ok(Login {
        mechanism,
        user,
        password,
    })
}

/// The text of a PEM file that holds what it is meant to hold.
fn read_pem(option: &str, path: &Path, label: &str) -> Result<String, KafkaFault> {
    let place = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) => {
            return unfit(format!(
                "{option} {place}: cannot be read ({cause}): give a PEM file that this user may read"
            ));
        }
    };
    match text.contains(label) {
        true => Ok(text),
        false => unfit(format!(
            "{option} {place}: holds no {} in PEM form: give the right file, or convert it with openssl",
            label.trim_end_matches('-').to_lowercase()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use std::fs;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        security: SecurityArgs,
    }

    fn check(line: &str, password: Option<&Path>) -> Result<Security, KafkaFault> {
        let words = std::iter::once("client").chain(line.split_whitespace());
        let args = Line::try_parse_from(words).expect("known options").security;
        let login = password.map(|file| Secret::from_file("a test", file).unwrap());
        Security::check(args, Passwords { login, key: None })
    }

    fn settings(security: &Security) -> ClientConfig {
        let mut config = ClientConfig::new();
        security.apply(&mut config);
        config
    }

    #[test]
    fn what_protects_nothing_is_refused_by_name() {
        for (line, word) in [
            ("--kafka-ca ca.pem", "--kafka-ca"),
            ("--kafka-security tls --kafka-user me", "--kafka-user"),
            (
                "--kafka-security sasl-plaintext --kafka-user me --kafka-cert c",
                "--kafka-cert",
            ),
            ("--kafka-security tls --kafka-cert c", "both"),
            ("--kafka-security sasl-tls", "--kafka-user"),
            ("--kafka-security sasl-tls --kafka-user me", PASSWORD),
            (
                "--kafka-security sasl-plaintext --kafka-mechanism plain --kafka-user me",
                "scram",
            ),
            (
                "--kafka-security tls --kafka-ca /nowhere/ca.pem",
                "/nowhere/ca.pem",
            ),
        ] {
            let error = check(line, None).expect_err(line);
            assert!(error.is_configuration(), "{line}");
            assert!(error.to_string().contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn files_must_hold_what_they_are_given_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let cert = file("cert.pem", "-----BEGIN CERTIFICATE-----\n");
        let key = file("key.pem", "-----BEGIN PRIVATE KEY-----\n");
        let locked = file("locked.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
        let tls = "--kafka-security tls";
        let swapped = format!("{tls} --kafka-cert {key} --kafka-key {cert}");
        let error = check(&swapped, None).unwrap_err().to_string();
        assert!(error.contains("no certificate"), "{error}");
        let encrypted = format!("{tls} --kafka-cert {cert} --kafka-key {locked}");
        let error = check(&encrypted, None).unwrap_err().to_string();
        assert!(error.contains(KEY_PASSWORD), "{error}");
        let right = check(
            &format!("{tls} --kafka-cert {cert} --kafka-key {key}"),
            None,
        )
        .unwrap();
        assert_eq!(settings(&right).get("ssl.key.location"), Some(key.as_str()));
    }

    #[test]
    fn kafkas_own_names_are_understood_and_secrets_reach_nobody_but_the_client() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        fs::write(&file, "open sesame\n").unwrap();
        let line = "--kafka-security SASL_SSL --kafka-user me --kafka-mechanism scram-sha-256";
        let security = check(line, Some(&file)).unwrap();
        let config = settings(&security);
        assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
        assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-256"));
        assert_eq!(config.get("sasl.password"), Some("open sesame"));
        for shown in [format!("{security:?}"), format!("{config:?}")] {
            assert!(!shown.contains("sesame"), "{shown}");
        }
    }
}
