//! The binaries as processes: started with their logs kept, killed at the latest when the test ends.

use super::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;

/// A running binary of ours.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    /// Removed with the log when the test is over.
    _dir: tempfile::TempDir,
}

impl Process {
    /// Starts `binary` with these arguments against a Kafka.
    pub fn start(binary: &str, servers: &str, args: &[&str]) -> Self {
        let mut command = Command::new(program(binary));
        command.args(args).env("KAFKA_BOOTSTRAP_SERVERS", servers);
        Self::spawn(&format!("{binary} {}", args.join(" ")), command)
    }

    /// Starts any command; `name` is for messages.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let dir = tempfile::tempdir().expect("a directory for the log");
        let log = dir.path().join("log");
        let file = File::create(&log).expect("a log file");
        let child = command
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log file twice"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|cause| panic!("{name} cannot be started: {cause}"));
        Self {
            name: name.to_owned(),
            child,
            log,
            _dir: dir,
        }
    }

    /// All that it has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has printed this.
    pub fn wait_for_log(&self, text: &str) {
        wait_for(
            &format!("{text:?} from {}\n{}", self.name, self.log()),
            || self.log().contains(text).then_some(()),
        );
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        let ended = self.child.try_wait().expect("it is a child of ours");
        ended.is_some()
    }

    /// SIGKILL, and gone.
    pub fn kill9(mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was a child of ours");
    }

    /// The same; what it printed stays.
    pub fn kill_in_place(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it was a child of ours");
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("pids are small"));
        kill(pid, signal).expect("it is running");
    }

    /// SIGTERM; returns how it ended.
    pub fn stop(mut self) -> ExitStatus {
        // Its first words come after it has begun to listen for signals; before, a signal would end it at once.
        let what = format!("the first words of {}", self.name);
        wait_for(&what, || (!self.log().is_empty()).then_some(()));
        self.signal(Signal::SIGTERM);
        let status = self.wait();
        if !status.success() {
            eprintln!("--- {} ended with {status}\n{}", self.name, self.log());
        }
        status
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, || {
            self.child.try_wait().expect("it is a child of ours")
        })
    }

    /// The exit code and all that it printed, once it has ended by itself.
    pub fn outcome(mut self) -> (Option<i32>, String) {
        let status = self.wait();
        (status.code(), self.log())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.name, self.log());
        }
    }
}

/// The metrics of a process of this machine; None while nobody listens at this port.
pub fn scrape(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Starts a broker from `input` to `input.out`, with more arguments.
pub fn broker(servers: &str, input: &str, urls: &[&str], more: &[&str]) -> Process {
    let output = format!("{input}.out");
    let mut args = vec!["--input", input, "--output", &output];
    urls.iter()
        .for_each(|url| args.extend(["--processor", url]));
    args.extend(more);
    Process::start("broker", servers, &args)
}

/// Starts `processor` on a free port; returns it with its URL.
pub fn processor(args: &[&str]) -> (Process, String) {
    let dir = tempfile::tempdir().expect("a directory for the port file");
    let file = dir.path().join("port");
    let port_file = file.to_str().expect("a readable path");
    let mut all = args.to_vec();
    all.extend(["--listen", "127.0.0.1:0", "--port-file", port_file]);
    let process = Process::start("processor", "unused:1", &all);
    let address = wait_for("the processor's port file", || {
        std::fs::read_to_string(&file).ok()
    });
    (process, format!("http://{}", address.trim()))
}

/// Runs a binary to its end; returns its exit code and all that it printed.
pub fn run(binary: &str, servers: &str, args: &[&str]) -> (Option<i32>, String) {
    Process::start(binary, servers, args).outcome()
}

/// Runs a binary that must succeed.
pub fn run_ok(binary: &str, servers: &str, args: &[&str]) {
    let (code, log) = run(binary, servers, args);
    assert_eq!(code, Some(0), "{binary} {}\n{log}", args.join(" "));
}

/// The path of a binary of ours.
pub fn program(binary: &str) -> PathBuf {
    binaries().join(binary)
}

/// Where the binaries are: in `FRAMELANE_BINARIES`, or built now from what is in the tree.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(given) = std::env::var_os("FRAMELANE_BINARIES") {
            return given.into();
        }
        let packages = [
            "producer",
            "broker",
            "consumer",
            "processors",
            "gateway",
            "resize-clients",
            "framelane",
        ];
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--bins"])
            .args(packages.iter().flat_map(|package| ["-p", package]))
            .status()
            .expect("cargo runs");
        assert!(status.success(), "the binaries do not build");
        let test = std::env::current_exe().expect("the test has a path");
        let profile = test.ancestors().nth(2).expect("target/PROFILE/deps/test");
        profile.to_owned()
    })
}
