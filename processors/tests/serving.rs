//! The program as scripts see it: start, port file, calls, metrics, signals, exit codes.
#![allow(clippy::unwrap_used)] // clippy.toml allows it in tests, not in what tests call

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use processor_proto::v1::{
    self, Codec, FrameId, PixelFormat, ProcessRequest, ProcessResponse, frame::Content,
    processor_client::ProcessorClient,
};
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::{Code, Status, transport::Channel};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A started `processor`; killed when dropped.
struct Started {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
    stderr: Option<thread::JoinHandle<String>>,
}

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_processor"));
    command.args(arguments.split_whitespace());
    command
}

/// Starts it on a free port and waits until it says that it listens.
fn start(arguments: &str) -> Started {
    let folder = TempDir::new().unwrap();
    let port_file = folder.path().join("port");
    let mut child = command(arguments)
        .args(["--listen", "127.0.0.1:0", "--port-file"])
        .arg(&port_file)
        .current_dir(folder.path())
        .env_remove("RUST_LOG")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    // The port file is written before the line.
    while !said.contains("listening") {
        assert_ne!(lines.read_line(&mut said).unwrap(), 0, "it ended: {said}");
    }
    let address = fs::read_to_string(port_file).unwrap().parse().unwrap();
    // Keeps reading, so that the status lines do not fill the pipe.
    let stderr = thread::spawn(move || {
        lines.read_to_string(&mut said).unwrap();
        said
    });
    Started {
        child,
        address,
        folder,
        stderr: Some(stderr),
    }
}

impl Started {
    async fn client(&self) -> ProcessorClient<Channel> {
        let url = format!("http://{}", self.address);
        ProcessorClient::connect(url).await.unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }

    /// Again and again: within half a second of the first signal, another one counts as the same.
    fn signal_until_it_ends(&mut self, signal: Signal) {
        const SIGNAL_AGAIN: Duration = Duration::from_millis(50);
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            self.signal(signal);
            thread::sleep(SIGNAL_AGAIN);
        }
    }

    fn wait(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        (status, self.stderr.take().unwrap().join().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn frame(sequence: u64) -> v1::Frame {
    v1::Frame {
        id: Some(FrameId::new("cam0", 1, sequence)),
        codec: Codec::Raw.into(),
        pixel_format: PixelFormat::Gray8.into(),
        width: 2,
        height: 1,
        content: Some(Content::Inline(Bytes::from_static(b"ab"))),
        ..v1::Frame::default()
    }
}

async fn call(
    client: &ProcessorClient<Channel>,
    frame: v1::Frame,
    attempt: u32,
) -> Result<ProcessResponse, Status> {
    let frame = Some(frame);
    let request = ProcessRequest { frame, attempt };
    Ok(client.clone().process(request).await?.into_inner())
}

#[tokio::test]
async fn it_serves_stops_on_sigterm_and_exits_with_0() {
    let mut echo = start("echo --name mirror --grace 60s");
    let client = echo.client().await;
    let answer = call(&client, frame(3), 1).await.unwrap();
    assert_eq!(answer.id, Some(FrameId::new("cam0", 1, 3)));
    assert_eq!(answer.result.unwrap().processor, "mirror");
    echo.signal(Signal::SIGTERM);
    let signalled = Instant::now();
    // Blocks this runtime, and with it the client's connection: a frozen caller must not hold up the stop.
    let (status, said) = echo.wait();
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(signalled.elapsed() < PATIENCE, "{said}");
    assert!(
        said.contains(&format!("listening address={}", echo.address)),
        "{said}"
    );
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut chaos = start("chaos --hang-on 0 --grace 1h");
    let client = chaos.client().await;
    let hanging = tokio::spawn(async move { call(&client, frame(0), 1).await });
    let other = chaos.client().await;
    assert!(call(&other, frame(1), 1).await.is_ok());
    chaos.signal(Signal::SIGINT);
    // The first signal has been handled once connections are refused.
    let draining = async {
        while TcpStream::connect(chaos.address).is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, draining).await.unwrap();
    chaos.signal_until_it_ends(Signal::SIGINT);
    let (status, said) = chaos.wait();
    assert!(!status.success(), "{said}");
    assert!(hanging.await.unwrap().is_err());
}

#[tokio::test]
async fn broken_pictures_and_bombs_are_invalid_and_the_process_lives() {
    let people = start("people --threads 1");
    let client = people.client().await;
    let jpeg = Bytes::from_static(include_bytes!("../testdata/people.jpg"));
    let street = v1::Frame {
        codec: Codec::Jpeg.into(),
        width: 768,
        height: 576,
        content: Some(Content::Inline(jpeg.clone())),
        ..frame(0)
    };
    let mut bomb = street.clone();
    bomb.codec = Codec::Png.into();
    (bomb.width, bomb.height) = (10_000, 10_000);
    bomb.content = Some(Content::Inline(Bytes::from_static(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x27\x10\0\0\x27\x10\x08\x02\0\0\0",
    )));
    let with = |content: Bytes| v1::Frame {
        content: Some(Content::Inline(content)),
        ..street.clone()
    };
    let broken = [
        bomb,
        with(jpeg.slice(..jpeg.len() / 2)),
        with(Bytes::from_static(b"\xff\xd8\xff")),
        with(Bytes::from_static(b"no picture at all")),
    ];
    for frame in broken {
        let status = call(&client, frame, 1).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    }
    let answer = call(&client, street, 1).await.unwrap();
    assert!(!answer.result.unwrap().detections.is_empty());
}

#[tokio::test]
async fn calls_beyond_the_admission_are_refused_and_all_others_answered() {
    let people = start("people --threads 1 --admission 2");
    let client = people.client().await;
    let jpeg = Bytes::from_static(include_bytes!("../testdata/people.jpg"));
    let calls: Vec<_> = (0..20)
        .map(|sequence| {
            let (client, mut frame) = (client.clone(), frame(sequence));
            (frame.width, frame.height) = (768, 576);
            frame.codec = Codec::Jpeg.into();
            frame.content = Some(Content::Inline(jpeg.clone()));
            tokio::spawn(async move { call(&client, frame, 1).await })
        })
        .collect();
    let (mut answered, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => answered += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                refused += 1;
            }
        }
    }
    assert!(
        answered >= 2 && refused > 0,
        "{answered} answered, {refused} refused"
    );
}

#[tokio::test]
async fn chaos_does_what_was_ordered_and_writes_it_down() {
    let mut chaos = start("chaos --error-on 1,2 --crash-on 9 --ledger ledger");
    let client = chaos.client().await;
    assert!(call(&client, frame(0), 1).await.is_ok());
    for attempt in [1, 2] {
        let status = call(&client, frame(1), attempt).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
    }
    assert!(call(&client, frame(9), 1).await.is_err());
    let (status, _) = chaos.wait();
    assert_eq!(status.code(), None, "aborted, not exited");
    let ledger = fs::read_to_string(chaos.folder.path().join("ledger")).unwrap();
    assert_eq!(
        ledger,
        "cam0 1 0 1 ok\ncam0 1 1 1 error\ncam0 1 1 2 error\ncam0 1 9 1 crash\n"
    );
}

#[tokio::test]
async fn chaos_gives_wrong_ids_and_answers_that_are_too_large() {
    let wrong = start("chaos --wrong-id-rate 1");
    let answer = call(&wrong.client().await, frame(5), 1).await.unwrap();
    assert_ne!(answer.id, frame(5).id);

    let oversize = start("chaos --oversize-rate 1");
    let client = oversize.client().await;
    let limited = client.max_decoding_message_size(processor_proto::MAX_MESSAGE_BYTES);
    let status = call(&limited, frame(5), 1).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
}

#[tokio::test]
async fn thousands_of_calls_wait_at_once() {
    let chaos = start("chaos --delay fixed:300ms");
    let client = chaos.client().await;
    let calls: Vec<_> = (0..3000)
        .map(|sequence| {
            let client = client.clone();
            tokio::spawn(async move { call(&client, frame(sequence), 1).await })
        })
        .collect();
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn metrics_count_calls_by_outcome() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let echo = start(&format!("echo --metrics {free}"));
    let client = echo.client().await;
    call(&client, frame(0), 1).await.unwrap();
    call(&client, v1::Frame::default(), 1).await.unwrap_err();
    let mut page = String::new();
    let mut connection = TcpStream::connect(free).unwrap();
    write!(connection, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    connection.read_to_string(&mut page).unwrap();
    for line in [
        r#"framelane_processor_calls_total{processor="echo",outcome="ok"} 1"#,
        r#"framelane_processor_calls_total{processor="echo",outcome="invalid"} 1"#,
        r#"framelane_processor_in_flight{processor="echo"} 0"#,
        r#"framelane_processor_call_seconds_count{processor="echo"} 2"#,
    ] {
        assert!(page.contains(line), "{line} is not in:\n{page}");
    }
}

#[test]
fn a_wrong_start_says_what_to_do_and_exits_with_2_or_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = format!("echo --listen {}", taken.local_addr().unwrap());
    for (arguments, code, word) in [
        ("echo --colour red", 2, "--colour"),
        ("chaos --error-rate 0.7 --hang-rate 0.7", 2, "add up to"),
        ("faces --cascade /nowhere.xml", 2, "/nowhere.xml"),
        (&taken, 1, "give another"),
    ] {
        let output = command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments}: {said}");
        assert!(said.contains(word), "{arguments}: {said}");
    }
}
