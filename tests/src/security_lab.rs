//! What the tests of security share: certificates of all kinds, and one Kafka that asks who comes.

use crate::harness::{Process, program};
use kafka_node::leash::Leash;
use kafka_node::{Acl, Guard, GuardedListener, Kafka, ListenerTls, Login, Options, Pattern, User};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Everything lies in one folder, which is removed when the tests end, however they end.
#[derive(Debug)]
pub struct Files {
    folder: PathBuf,
    _leash: Leash,
}

/// Who signs.
type Issuer = CertifiedIssuer<'static, KeyPair>;

impl Files {
    /// The path of `name`, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a file of its own and returns its path.
    pub fn write(&self, name: &str, text: &str) -> String {
        std::fs::write(self.folder.join(name), text).unwrap();
        self.path(name)
    }
}

/// `NAME.pem` (certificate), `NAME.key` and `NAME.store` (both) for: `server` (localhost and 127.0.0.1), `expired`,
/// `elsewhere` (another host name), `client`, `stranger` (a client of another CA). And `ca.pem`, `other-ca.pem`.
pub fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let folder = tempfile::Builder::new()
            .prefix("framelane-certificates-")
            .tempdir()
            .unwrap()
            .keep();
        let files = Files {
            _leash: Leash::new(&["rm".as_ref(), "-rf".as_ref(), folder.as_os_str()]).unwrap(),
            folder,
        };
        let here = ["localhost", "127.0.0.1"];
        let ca = issuer("Framelane tests");
        let other = issuer("Somebody else");
        files.write("ca.pem", &ca.pem());
        files.write("other-ca.pem", &other.pem());
        issue(&files, "server", &ca, &here, 2099);
        issue(&files, "expired", &ca, &here, 2001);
        issue(&files, "elsewhere", &ca, &["elsewhere.example"], 2099);
        issue(&files, "client", &ca, &[], 2099);
        issue(&files, "stranger", &other, &[], 2099);
        files
    })
}

fn issuer(name: &str) -> Issuer {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    Issuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate that ends with this year's beginning.
fn issue(files: &Files, name: &str, issuer: &Issuer, hosts: &[&str], until: i32) {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let mut params = CertificateParams::new(hosts).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2000, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap().pem();
    let key = key.serialize_pem();
    files.write(&format!("{name}.pem"), &certificate);
    files.write(&format!("{name}.key"), &key);
    files.write(&format!("{name}.store"), &format!("{key}{certificate}"));
}

/// The users of the guarded Kafka: those of docs/security.md, and some to whom a test grants what it likes.
pub const USERS: [&str; 11] = [
    "producer", "broker", "consumer", "u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7",
];

/// New in every run, so that finding it anywhere is no accident.
pub fn password() -> &'static str {
    static PASSWORD: OnceLock<String> = OnceLock::new();
    PASSWORD.get_or_init(|| format!("secret-{:016x}", rand::random::<u64>()))
}

/// The one Kafka of these tests. Its listeners: `tls`, `mutual`, `login` (TLS and password), `open` (password only),
/// `expired` and `elsewhere` (TLS with such certificates).
pub fn kafka() -> &'static Kafka {
    static KAFKA: OnceLock<Kafka> = OnceLock::new();
    KAFKA.get_or_init(|| {
        let files = files();
        let listener =
            |name, store: Option<&str>, client_ca: Option<&str>, login| GuardedListener {
                name,
                tls: store.map(|store| ListenerTls {
                    keystore: Path::new(&files.path(store)).to_owned(),
                    client_ca: client_ca.map(|ca| Path::new(&files.path(ca)).to_owned()),
                }),
                login,
            };
        let server = Some("server.store");
        let user = |name: &&str| User {
            name: (*name).to_owned(),
            password: password().to_owned(),
        };
        let guard = Guard {
            listeners: vec![
                listener("tls", server, None, Login::None),
                listener("mutual", server, Some("ca.pem"), Login::None),
                listener("login", server, None, Login::Password),
                listener("open", None, None, Login::Password),
                listener("expired", Some("expired.store"), None, Login::None),
                listener("elsewhere", Some("elsewhere.store"), None, Login::None),
            ],
            users: USERS.iter().map(user).collect(),
        };
        let options = Options {
            guard: Some(guard),
            heap_mib: 512,
            ..Options::default()
        };
        Kafka::start_jars(&options).expect("a guarded Kafka from its jars")
    })
}

/// The address of one of its listeners.
pub fn at(listener: &str) -> &'static str {
    kafka().guarded(listener).expect("a listener of that name")
}

/// May do all with all topics, groups and transactions, by rules rather than as a superuser.
pub fn allow_everything(principal: &str) {
    use kafka_node::Resource::{Group, Topic, TransactionalId};
    for resource in [Topic, Group, TransactionalId] {
        let acl = Acl {
            principal: principal.to_owned(),
            operation: "All".to_owned(),
            resource,
            name: "*".to_owned(),
            pattern: Pattern::Literal,
        };
        kafka().allow(&acl).expect("a rule");
    }
}

/// Starts a binary against one of its listeners; the options name files of [`files`] as `@NAME`.
pub fn start(binary: &str, listener: &str, line: &str, environment: &[(&str, &str)]) -> Process {
    let mut command = Command::new(program(binary));
    command
        .args(line.split_whitespace().map(argument))
        .env("KAFKA_BOOTSTRAP_SERVERS", at(listener))
        .envs(environment.iter().copied());
    Process::spawn(&format!("{binary} {line} (at {listener})"), command)
}

fn argument(word: &str) -> String {
    word.strip_prefix('@')
        .map_or_else(|| word.to_owned(), |name| files().path(name))
}

/// As [`start`], logged in as a user at the listener `login`.
pub fn start_as(user: &str, binary: &str, line: &str) -> Process {
    let options =
        format!("{line} --kafka-security sasl-tls --kafka-ca @ca.pem --kafka-user {user}");
    let password = [("FRAMELANE_KAFKA_PASSWORD", password())];
    start(binary, "login", &options, &password)
}
