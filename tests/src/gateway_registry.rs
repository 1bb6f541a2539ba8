//! The web edge and the registry: what is registered can be watched before it runs, and whoever opens it is told.

use crate::gateway::camera;
use crate::harness::{Answer, Browser, Gateway, Socket, name, request, send, shared, wait_for};
use nix::sys::signal::Signal;
use pipeline::kafka::{KafkaConfig, partition_of};
use registry::Registry;
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

fn apply(gateway: &Gateway, yaml: &str, headers: &[&str]) -> Answer {
    let all = [headers, &["Content-Type: application/yaml"]].concat();
    send(&gateway.address, "POST /api/v1/apply", &all, yaml)
}

fn source(name: &str) -> String {
    format!(
        "kind: Source\nname: {name}\nspec: {{host: lab1, pattern: 160x120@10, open: on-demand}}\n"
    )
}

#[test]
fn a_source_that_nobody_opened_yet_is_watched_and_its_opener_told() {
    let (topic, cam) = (name(), name());
    let gateway = Gateway::start(shared(), &["--registry", &topic]);
    let applied = apply(&gateway, &source(&cam), &[]);
    assert!(applied.status < 300, "{}", applied.text());
    let line = wait_for("the registered source", || gateway.source(&cam, &cam));
    assert!(line["newest"].is_null() && line["live"].is_null(), "{line}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let config = KafkaConfig::new(shared()).unwrap();
    let registry = runtime.block_on(Registry::open(&config, &topic)).unwrap();
    let watchers = || registry.view().watchers(&cam);
    assert_eq!(watchers(), 0);
    let mut socket = gateway.socket(&format!("/ws/{cam}/{cam}"));
    assert_eq!(socket.told("status")["source"]["state"], "waiting");
    wait_for("a watcher", || (watchers() == 1).then_some(()));
    // Somebody opens it.
    let args = ["--pattern", "160x120@10", "--topic", &cam];
    let _opened = crate::harness::Process::start("producer", shared(), &args);
    assert_eq!(socket.frame().head["source"], cam.as_str());
    drop(socket);
    wait_for("no watcher", || (watchers() == 0).then_some(()));
    let unknown = gateway.get(&format!("/ws/{0}/{0}", name()));
    assert_ne!(unknown.status, 200);
    let _guard = runtime.enter();
    drop(registry);
}

#[test]
fn a_source_is_seen_in_whichever_partition_it_begins() {
    let topic = name();
    // Nobody knows where it will be before its topic is there.
    let mut names = std::iter::repeat_with(name);
    let not_in_the_first = |name: &String| partition_of(name.as_bytes(), 4) != 0;
    let cam = names.find(not_in_the_first).unwrap();
    let gateway = Gateway::start(shared(), &["--registry", &topic]);
    let yaml = source(&cam).replace("open:", "options: {partitions: 4}, open:");
    let applied = apply(&gateway, &yaml, &[]);
    assert!(applied.status < 300, "{}", applied.text());
    wait_for("the registered source", || gateway.source(&cam, &cam));
    let mut socket = gateway.socket(&format!("/ws/{cam}/{cam}"));
    assert_eq!(socket.told("status")["source"]["state"], "waiting");
    let args = ["--managed", "--host", "lab1", "--registry", &topic];
    let _producer = crate::harness::Process::start("producer", shared(), &args);
    assert_eq!(socket.frame().head["source"], cam.as_str());
}

#[test]
fn a_source_with_an_id_of_its_own_is_listed_and_opened_by_that() {
    let (topic, cam) = (name(), name());
    let gateway = Gateway::start(shared(), &["--registry", &topic]);
    let yaml = source(&cam).replace("open:", "options: {source-id: door}, open:");
    let applied = apply(&gateway, &yaml, &[]);
    assert!(applied.status < 300, "{}", applied.text());
    wait_for("the registered source", || gateway.source(&cam, "door"));
    assert!(
        gateway.source(&cam, &cam).is_none(),
        "nothing is ever there"
    );
    let args = ["--managed", "--host", "lab1", "--registry", &topic];
    let _producer = crate::harness::Process::start("producer", shared(), &args);
    let mut socket = gateway.socket(&format!("/ws/{cam}/door"));
    assert_eq!(socket.frame().head["source"], "door");
}

#[test]
fn the_registry_is_served_and_guarded_like_everything_else() {
    let (topic, cam) = (name(), name());
    let (reader, writer) = ("a-token-that-may-read", "a-token-that-may-write");
    let file = tempfile::NamedTempFile::new().unwrap();
    let entries = format!(
        "- {{name: reader, token: {reader}, topics: ['*'], registry: read}}\n\
         - {{name: writer, token: {writer}, topics: ['*'], registry: write}}\n\
         - {{name: viewer, token: a-token-that-may-watch, topics: ['*']}}\n"
    );
    std::fs::write(file.path(), entries).unwrap();
    let tokens = file.path().to_str().expect("a readable path");
    let gateway = Gateway::start(shared(), &["--registry", &topic, "--tokens", tokens]);
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    let read = |token: &str| request(&gateway.address, "GET /api/v1/sources", &[&bearer(token)]);
    assert_eq!(
        request(&gateway.address, "GET /api/v1/sources", &[]).status,
        401
    );
    assert_eq!(read("a-token-that-may-watch").status, 403);
    assert_eq!(read(reader).json()["items"], json!([]));
    assert_eq!(
        apply(&gateway, &source(&cam), &[&bearer(reader)]).status,
        403
    );
    let evil = [&*bearer(writer), "Origin: http://evil.example"];
    assert_eq!(
        apply(&gateway, &source(&cam), &evil).status,
        403,
        "of another page"
    );
    let written = apply(&gateway, &source(&cam), &[&bearer(writer)]);
    assert!(written.status < 300, "{}", written.text());
    let items = read(reader).json()["items"].clone();
    assert_eq!(items[0]["name"], cam.as_str());
    assert!(
        items[0].to_string().contains("writer"),
        "who wrote it: {items}"
    );
    let none = Gateway::start(shared(), &["--registry", "none"]);
    assert_eq!(none.get("/api/v1/sources").status, 404);
}

#[test]
fn without_tokens_the_registry_is_not_written_from_other_machines() {
    let (topic, cam) = (name(), name());
    let open = Gateway::start_at(shared(), "0.0.0.0:0", &["--registry", &topic]);
    let (_, port) = open.address.rsplit_once(':').expect("HOST:PORT");
    let address = format!("127.0.0.1:{port}");
    let key = format!("/api/v1/sources/{cam}");
    for asked in [
        "POST /api/v1/apply".to_owned(),
        format!("PUT {key}"),
        format!("PATCH {key}"),
        format!("DELETE {key}"),
    ] {
        let headers = ["Content-Type: application/yaml", "If-None-Match: *"];
        let refused = send(&address, &asked, &headers, &source(&cam));
        let said = refused.text();
        assert_eq!(refused.status, 403, "{asked}: {said}");
        assert!(said.contains("--tokens"), "{asked}: {said}");
    }
    let read = request(&address, "GET /api/v1/sources", &[]);
    assert_eq!(read.json()["items"], json!([]), "nothing was written");
    let here = Gateway::start(shared(), &["--registry", &topic]);
    let written = apply(&here, &source(&cam), &[]);
    assert!(written.status < 300, "{}", written.text());
}

/// A connection that listens to the registry, and has been told all that there is.
fn listen(address: &str, token: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a gateway");
    let asked = format!(
        "GET /api/v1/watch HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(asked.as_bytes()).unwrap();
    let mut heard = Vec::new();
    while !String::from_utf8_lossy(&heard).contains("event: synced") {
        let mut part = [0; 4096];
        let count = stream.read(&mut part).unwrap();
        assert_ne!(count, 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&part[..count]);
    }
    stream
}

/// Waits until the gateway has ended the answer.
fn wait_for_the_end(what: &str, mut stream: TcpStream) {
    stream.set_nonblocking(true).unwrap();
    wait_for(what, || {
        let mut part = [0; 4096];
        loop {
            match stream.read(&mut part) {
                Ok(0) => return Some(()),
                Ok(_) => {}
                Err(cause) if cause.kind() == ErrorKind::WouldBlock => return None,
                Err(cause) => panic!("{what}: {cause}"),
            }
        }
    });
}

#[test]
fn who_listens_to_the_registry_has_a_seat_until_its_token_expires_or_the_gateway_stops() {
    let (guest, me) = ("a-token-of-a-short-life", "a-token-of-a-long-life");
    let file = tempfile::NamedTempFile::new().unwrap();
    // Far enough that it is still good when the gateway has started, on a slow machine too.
    let expires = jiff::Timestamp::now() + Duration::from_secs(25);
    let entries = format!(
        "- {{name: guest, token: {guest}, topics: ['*'], registry: read, expires: '{expires}'}}\n\
         - {{name: me, token: {me}, topics: ['*'], registry: read}}\n"
    );
    std::fs::write(file.path(), entries).unwrap();
    let tokens = file.path().to_str().expect("a readable path");
    let topic = name();
    let args = [
        "--registry",
        &topic,
        "--tokens",
        tokens,
        "--max-viewers",
        "1",
    ];
    let gateway = Gateway::start(shared(), &args);
    let first = listen(&gateway.address, guest);
    let bearer = format!("Authorization: Bearer {me}");
    let second = request(&gateway.address, "GET /api/v1/watch", &[&bearer]);
    assert_eq!(second.status, 503, "{}", second.text());
    wait_for_the_end("the end of the token", first);
    assert!(jiff::Timestamp::now() >= expires);
    let third = listen(&gateway.address, me);
    let Gateway { process, .. } = gateway;
    process.signal(Signal::SIGTERM);
    wait_for_the_end("the end of the gateway", third);
    assert_eq!(process.outcome().0, Some(0));
}

#[test]
fn the_page_shows_what_is_registered_and_who_runs_it() {
    let Some(browser) = Browser::open(
        "the_page_shows_what_is_registered_and_who_runs_it",
        (1280, 800),
    ) else {
        return;
    };
    let (topic, cam, made) = (name(), name(), name());
    let gateway = Gateway::start(shared(), &["--registry", &topic]);
    let yaml = format!(
        "{}---\nkind: Processor\nname: people\nspec: {{addresses: ['http://localhost:9']}}\n---\nkind: Pipeline\nname: \
         lobby\nspec: {{stages: [{{name: people, from: [{cam}], processor: people, to: {made}}}]}}\n",
        source(&cam)
    );
    let applied = apply(&gateway, &yaml, &[]);
    assert!(applied.status < 300, "{}", applied.text());
    browser.go(&format!("http://{}/", gateway.address));
    browser.wait(
        "the way to the registry",
        "document.querySelector('#pages a[href=\"#registry\"]')",
    );
    browser.value("document.querySelector('#pages a[href=\"#registry\"]').click()");
    for text in [
        cam.as_str(),
        made.as_str(),
        "localhost:9",
        "gateway",
        "nobody runs it",
        "not called",
    ] {
        browser.wait(text, &format!("document.body.innerText.includes({text:?})"));
    }
    let args = ["--managed", "--registry", &topic];
    let _broker = crate::harness::Process::start("broker", shared(), &args);
    browser.wait(
        "why a stage waits",
        "document.body.innerText.includes('waiting: stage lobby/people: ')",
    );
    browser.wait(
        "that nobody listens there, by the name that was declared",
        "document.body.innerText.includes('0 of 1 ready')",
    );
    browser.screenshot("registry");
    let wide: Value = browser.value("document.documentElement.scrollWidth - innerWidth");
    assert_eq!(wide, 0);
}

#[test]
fn a_gateway_without_a_registry_shows_what_there_is() {
    let (_camera, topic) = camera(shared(), "160x120@10");
    let gateway = Gateway::start(shared(), &["--registry", "none"]);
    let mut socket =
        Socket::open(&gateway.address, &format!("/ws/{topic}/{topic}"), &[]).expect("it is there");
    socket.frame();
    assert_eq!(gateway.json("/sources")["registry"], false);
}
