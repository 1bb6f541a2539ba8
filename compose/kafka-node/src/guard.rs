//! A node that asks who comes: listeners with certificates and logins, and access rules.
//!
//! The plain listener stays, for the node itself and for whoever prepares a test; whoever comes through it may do
//! everything. What the others may do, [`Kafka::allow`](crate::Kafka::allow) says.

use std::path::PathBuf;

/// Listeners beside the plain one, and the users they know. From jars only.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    pub listeners: Vec<GuardedListener>,
    pub users: Vec<User>,
}

/// A listener of its own name, at a port of its own: [`Kafka::guarded`](crate::Kafka::guarded).
#[derive(Debug, Clone)]
pub struct GuardedListener {
    /// Lower-case letters.
    pub name: &'static str,
    /// None: not encrypted.
    pub tls: Option<ListenerTls>,
    pub login: Login,
}

#[derive(Debug, Clone)]
pub struct ListenerTls {
    /// A PEM file with the key (PKCS #8) and the certificate.
    pub keystore: PathBuf,
    /// A PEM file with those who may sign clients' certificates. None: clients need no certificate.
    pub client_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    None,
    /// SCRAM-SHA-256, SCRAM-SHA-512 and PLAIN.
    Password,
}

#[derive(Debug, Clone)]
pub struct User {
    pub name: String,
    /// Letters, digits and dashes.
    pub password: String,
}

const SCRAMS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];

impl GuardedListener {
    /// Its name in the node's settings.
    pub(crate) fn native_name(&self) -> String {
        self.name.to_uppercase()
    }

    fn protocol(&self) -> &'static str {
        match (&self.tls, self.login) {
            (None, Login::None) => "PLAINTEXT",
            (None, Login::Password) => "SASL_PLAINTEXT",
            (Some(_), Login::None) => "SSL",
            (Some(_), Login::Password) => "SASL_SSL",
        }
    }

    fn settings(&self, users: &[User]) -> Vec<(String, String)> {
        let mut settings = Vec::new();
        let mut set = |key: &str, value: String| {
            settings.push((format!("listener.name.{}.{key}", self.name), value));
        };
        if let Some(tls) = &self.tls {
            set("ssl.keystore.type", "PEM".to_owned());
            set("ssl.keystore.location", tls.keystore.display().to_string());
            if let Some(ca) = &tls.client_ca {
                set("ssl.client.auth", "required".to_owned());
                set("ssl.truststore.type", "PEM".to_owned());
                set("ssl.truststore.location", ca.display().to_string());
            }
        }
        if self.login == Login::Password {
            set(
                "sasl.enabled.mechanisms",
                format!("{},PLAIN", SCRAMS.join(",")),
            );
            for scram in SCRAMS {
                set(
                    &format!("{}.sasl.jaas.config", scram.to_lowercase()),
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;".to_owned(),
                );
            }
            let known: String = users
                .iter()
                .map(|user| format!(" user_{}=\"{}\"", user.name, user.password))
                .collect();
            set(
                "plain.sasl.jaas.config",
                format!("org.apache.kafka.common.security.plain.PlainLoginModule required{known};"),
            );
        }
        settings
    }
}

impl Guard {
    /// Completes the settings of a node that has these listeners as plain ones.
    pub(crate) fn complete(&self, properties: &mut Vec<(String, String)>) {
        for (key, value) in properties.iter_mut() {
            if key == "listener.security.protocol.map" {
                for listener in &self.listeners {
                    let name = listener.native_name();
                    let plain = format!("{name}:PLAINTEXT");
                    *value = value.replace(&plain, &format!("{name}:{}", listener.protocol()));
                }
            }
        }
        for listener in &self.listeners {
            properties.extend(listener.settings(&self.users));
        }
        let authorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
        for (key, value) in [
            ("authorizer.class.name", authorizer),
            // Who comes through the plain listeners: the node itself, and whoever prepares a test.
            ("super.users", "User:ANONYMOUS"),
        ] {
            properties.push((key.to_owned(), value.to_owned()));
        }
    }

    /// For the formatting of the node's storage.
    pub(crate) fn format_arguments(&self) -> Vec<String> {
        let of_user = |user: &User| {
            SCRAMS.map(|scram| format!("{scram}=[name={},password={}]", user.name, user.password))
        };
        self.users
            .iter()
            .flat_map(of_user)
            .flat_map(|scram| ["--add-scram".to_owned(), scram])
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guarded_listener_keeps_its_settings_to_itself() {
        let guard = Guard {
            listeners: vec![GuardedListener {
                name: "login",
                tls: None,
                login: Login::Password,
            }],
            users: vec![User {
                name: "eve".to_owned(),
                password: "p".to_owned(),
            }],
        };
        let map = "listener.security.protocol.map".to_owned();
        let mut properties = vec![(map, "CLIENT:PLAINTEXT,LOGIN:PLAINTEXT".to_owned())];
        guard.complete(&mut properties);
        assert_eq!(properties[0].1, "CLIENT:PLAINTEXT,LOGIN:SASL_PLAINTEXT");
        let plain = properties
            .iter()
            .find(|(key, _)| key == "listener.name.login.plain.sasl.jaas.config");
        assert!(plain.unwrap().1.contains("user_eve=\"p\""));
        assert_eq!(guard.format_arguments().len(), 4);
    }
}
