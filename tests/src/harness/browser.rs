//! A real browser without a window, driven by the DevTools protocol.

use super::{Process, wait_for};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tungstenite::{Message, WebSocket};

/// In the order in which they are looked for.
const PROGRAMS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
/// An answer of the browser's, on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// One page in a browser of its own, which ends with the test.
pub struct Browser {
    socket: RefCell<WebSocket<TcpStream>>,
    session: String,
    last_id: Cell<u64>,
    process: Process,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// A page of this size; None after having said that `test` cannot run.
    pub fn open(test: &str, (width, height): (u32, u32)) -> Option<Self> {
        let Some(program) = find() else {
            let reason = "no browser: install chromium (`cargo xtask test` does where it can)";
            kafka_node::skipped(test, reason);
            return None;
        };
        let profile = tempfile::tempdir().expect("a directory for the browser");
        let mut command = Command::new(&program);
        command
            .args([
                "--headless=new",
                "--remote-debugging-port=0",
                "--no-first-run",
            ])
            // Of a test, and in a container: there is no sandbox to be had, and little shared memory.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--no-proxy-server", "--hide-scrollbars", "--mute-audio"])
            .arg(format!("--window-size={width},{height}"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank");
        let mut process = Process::spawn("chromium", command);
        let file = profile.path().join("DevToolsActivePort");
        let (port, path) = wait_for("the browser's port", || {
            assert!(!process.has_ended(), "{}", process.log());
            let text = std::fs::read_to_string(&file).ok()?;
            let (port, path) = text.trim().split_once('\n')?;
            Some((port.to_owned(), path.to_owned()))
        });
        let stream = TcpStream::connect(format!("127.0.0.1:{port}")).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let url = format!("ws://127.0.0.1:{port}{path}");
        let (socket, _) = tungstenite::client(url, stream).expect("the browser talks");
        let mut browser = Self {
            socket: RefCell::new(socket),
            session: String::new(),
            last_id: Cell::new(0),
            process,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", json!({ "url": "about:blank" }));
        let attach = json!({ "targetId": target["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"]
            .as_str()
            .expect("a session")
            .to_owned();
        browser.size(width, height);
        Some(browser)
    }

    /// The page becomes so large, in CSS pixels.
    pub fn size(&self, width: u32, height: u32) {
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
        });
        self.call("Emulation.setDeviceMetricsOverride", metrics);
    }

    /// As the system of somebody who likes it dark, or light.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call(
            "Emulation.setEmulatedMedia",
            json!({ "features": features }),
        );
    }

    pub fn go(&self, url: &str) {
        let went = self.call("Page.navigate", json!({ "url": url }));
        assert!(went["errorText"].is_null(), "{url}: {went}");
    }

    /// The value of an expression, which may be a promise.
    pub fn value(&self, expression: &str) -> Value {
        let evaluate =
            json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let answer = self.call("Runtime.evaluate", evaluate);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {answer}"
        );
        answer["result"]["value"].clone()
    }

    /// Waits until the expression is true; one that fails is not true yet, for the page may still be on its way.
    pub fn wait(&self, what: &str, expression: &str) {
        let text = || format!("{what}\n{}", self.value("document.body.innerText"));
        let start = std::time::Instant::now();
        let question = format!(
            "(() => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }})()"
        );
        while self.value(&question) != true {
            assert!(start.elapsed() < PATIENCE, "waited a minute for {}", text());
            std::thread::sleep(Duration::from_millis(50)); // between two looks
        }
    }

    /// Presses a key, as a person does: `Enter`, `ArrowRight`, `o`.
    pub fn press(&self, key: &str) {
        let text = match key {
            "Enter" => "\r",
            one if one.len() == 1 => one,
            _ => "",
        };
        let key = if key == "Space" { " " } else { key };
        let code = match key {
            "Enter" => 13,
            "Escape" => 27,
            "Tab" => 9,
            " " => 32,
            "ArrowLeft" => 37,
            "ArrowUp" => 38,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = if key == " " { " " } else { text };
        for kind in ["keyDown", "keyUp"] {
            let event = json!({
                "type": kind, "key": key, "text": if kind == "keyDown" { text } else { "" },
                "windowsVirtualKeyCode": code,
            });
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Keeps what is seen as `NAME.png` in the folder `FRAMELANE_SCREENSHOTS`, if that is set.
    pub fn screenshot(&self, name: &str) {
        let Some(folder) = std::env::var_os("FRAMELANE_SCREENSHOTS") else {
            return;
        };
        let shot = self.call("Page.captureScreenshot", json!({ "format": "png" }));
        let data = shot["data"].as_str().expect("a picture");
        let png = BASE64_STANDARD.decode(data).expect("base64");
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), png).expect("written");
    }

    fn call(&self, method: &str, params: Value) -> Value {
        let id = self.last_id.get() + 1;
        self.last_id.set(id);
        let mut message = json!({ "id": id, "method": method, "params": params });
        if !self.session.is_empty() {
            message["sessionId"] = self.session.as_str().into();
        }
        let mut socket = self.socket.borrow_mut();
        socket
            .send(Message::text(message.to_string()))
            .unwrap_or_else(|why| panic!("{method}: {why}\n{}", self.process.log()));
        loop {
            let answer = socket
                .read()
                .unwrap_or_else(|why| panic!("{method}: {why}\n{}", self.process.log()));
            let Message::Text(text) = answer else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).expect("the browser speaks JSON");
            if answer["id"] == id {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    PROGRAMS.iter().find_map(|program| {
        let places = folders.iter().map(|folder| folder.join(program));
        places.into_iter().find(|place| place.is_file())
    })
}
