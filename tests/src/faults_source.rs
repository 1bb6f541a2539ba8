//! A camera that is unplugged, stalls, and comes back: motion JPEG over HTTP, as network cameras send it.

use crate::harness::{Process, consume, name, pictures, run_ok, shared, wait_for};
use bytes::Bytes;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two pictures.
const INTERVAL: Duration = Duration::from_millis(20);

/// A camera on the network.
struct Camera {
    address: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    sent: AtomicUsize,
    connections: AtomicUsize,
    /// Nothing more is sent, and connections stay open.
    stalls: AtomicBool,
    /// Connections are closed at once.
    is_unplugged: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Camera {
    fn start(pictures: Vec<Bytes>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_unplugged.load(Ordering::Relaxed) {
                    continue; // closes it
                }
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared
                    .open
                    .lock()
                    .unwrap()
                    .push(stream.try_clone().unwrap());
                let (state, pictures) = (Arc::clone(&shared), pictures.clone());
                // The viewer's end of the connection ends it.
                std::thread::spawn(move || send(stream, &pictures, &state));
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}/video.mjpg", self.address)
    }

    fn wait_for_more(&self, pictures: usize) {
        let sent = self.state.sent.load(Ordering::Relaxed);
        wait_for("more pictures from the camera", || {
            (self.state.sent.load(Ordering::Relaxed) >= sent + pictures).then_some(())
        });
    }

    fn unplug(&self) {
        self.state.is_unplugged.store(true, Ordering::Relaxed);
        for stream in self.state.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn plug_in(&self) {
        self.state.is_unplugged.store(false, Ordering::Relaxed);
        self.state.stalls.store(false, Ordering::Relaxed);
    }
}

fn send(mut stream: TcpStream, pictures: &[Bytes], state: &State) -> Option<()> {
    let mut request = [0; 1024];
    let _ = stream.read(&mut request).ok()?;
    let head = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n";
    stream.write_all(head.as_bytes()).ok()?;
    for picture in pictures.iter().cycle() {
        std::thread::sleep(INTERVAL); // its frame rate
        while state.stalls.load(Ordering::Relaxed) {
            std::thread::sleep(INTERVAL);
        }
        let part = format!(
            "--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n",
            picture.len()
        );
        stream.write_all(part.as_bytes()).ok()?;
        stream.write_all(picture).ok()?;
        stream.write_all(b"\r\n").ok()?;
        state.sent.fetch_add(1, Ordering::Relaxed);
    }
    None
}

#[test]
fn a_camera_that_is_unplugged_and_stalls_comes_back_and_disturbs_no_other_source() {
    let donor = name();
    let pattern = [
        "--pattern",
        "160x120@100",
        "--pace",
        "max",
        "--count",
        "50",
        "--topic",
        &donor,
    ];
    run_ok("producer", shared(), &pattern);
    let stills = pictures(shared(), &donor);
    let camera = Camera::start(stills.into_iter().map(|(_, jpeg)| jpeg).collect());
    let (topic, dir) = (name(), tempfile::tempdir().unwrap());
    let config = dir.path().join("sources.yaml");
    let text = format!(
        "sources:\n\
         - {{url: '{}', topic: {topic}, source-id: camera, stall-timeout: 1s}}\n\
         - {{pattern: 160x120@50, topic: {topic}, source-id: other}}\n",
        camera.url()
    );
    std::fs::write(&config, text).unwrap();
    let producer = Process::start(
        "producer",
        shared(),
        &["--config", config.to_str().unwrap()],
    );
    camera.wait_for_more(50);

    camera.unplug();
    producer.wait_for_log("the source gives no pictures; reopening it");
    camera.plug_in();
    producer.wait_for_log("the source is back");
    camera.wait_for_more(50);

    camera.state.stalls.store(true, Ordering::Relaxed);
    let connections = camera.state.connections.load(Ordering::Relaxed);
    wait_for("a new connection after the stall", || {
        (camera.state.connections.load(Ordering::Relaxed) > connections).then_some(())
    });
    camera.plug_in();
    camera.wait_for_more(50);
    assert!(producer.stop().success());

    let lines = consume(shared(), &topic, &[]);
    for source in ["camera", "other"] {
        let count = lines.of(source, 1).sequences().len() as u64;
        assert!(count >= 100, "{source}: {count}");
        lines.assert_run(source, 1, count, "stopped");
    }
}
