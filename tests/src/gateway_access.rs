//! The web edge: who may see what, from which page, by TLS.

use crate::gateway::camera;
use crate::harness::{Answer, Gateway, Socket, request, shared, wait_for};
use crate::security_lab::files;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

const LONG: &str = "token-of-somebody-who-may-see-much";
const SHORT: &str = "token-of-somebody-who-leaves-soon";

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A file of tokens, gone with the test.
fn tokens(entries: &[String]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for entry in entries {
        writeln!(file, "- {entry}").unwrap();
    }
    file
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

#[test]
fn a_token_opens_its_topics_and_no_others() {
    let (_one, mine) = camera(shared(), "160x120@20");
    let (_two, other) = camera(shared(), "160x120@20");
    let file = tokens(&[format!("{{name: me, token: {LONG}, topics: ['{mine}']}}")]);
    let gateway = Gateway::start(shared(), &["--tokens", text(file.path())]);
    let ask =
        |path: &str, headers: &[&str]| request(&gateway.address, &format!("GET {path}"), headers);
    let (mine_path, other_path) = (
        format!("/snapshot/{mine}/{mine}.jpg"),
        format!("/snapshot/{other}/{other}.jpg"),
    );
    let with = bearer(LONG);
    let none = ask(&mine_path, &[]);
    assert_eq!(
        (none.status, none.header("www-authenticate")),
        (401, Some("Bearer"))
    );
    assert_eq!(
        ask(&mine_path, &[&bearer("guessed-guessed-guessed")]).status,
        401
    );
    wait_for("a picture", || {
        (ask(&mine_path, &[&with]).status == 200).then_some(())
    });
    assert_eq!(ask(&other_path, &[&with]).status, 403);
    for path in ["live", "ws", "events", "sources"] {
        let path = format!("/{path}/{other}/{other}");
        assert_eq!(ask(&path, &[&with]).status, 403, "{path}");
    }
    // A name that hides another reaches nothing either.
    let hidden = format!("/snapshot/{mine}%2f..%2f{other}/{other}.jpg");
    assert_ne!(ask(&hidden, &[&with]).status, 200);
    let list = wait_for("my source in the list", || {
        let list = ask("/sources", &[&with]).json();
        (list["sources"].as_array()?.len() == 1).then_some(list)
    });
    assert_eq!(
        list["sources"][0]["topic"], mine,
        "others are not even named"
    );
    for public in ["/", "/assets/main.js", "/health", "/ready"] {
        assert_eq!(ask(public, &[]).status, 200, "{public}");
    }
    assert!(
        !gateway.process.log().contains(LONG),
        "secrets are shown nowhere"
    );
}

#[test]
fn a_page_keeps_a_token_as_a_cookie_that_only_the_gateway_reads() {
    let (_camera, topic) = camera(shared(), "160x120@20");
    let file = tokens(&[format!("{{name: me, token: {LONG}, topics: ['*']}}")]);
    let gateway = Gateway::start(shared(), &["--tokens", text(file.path())]);
    let wrong = request(
        &gateway.address,
        "POST /session",
        &[&bearer("guessed-guessed-guessed")],
    );
    assert_eq!(wrong.status, 401);
    let right = request(&gateway.address, "POST /session", &[&bearer(LONG)]);
    let cookie = right.header("set-cookie").expect("a cookie").to_owned();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let pair = cookie.split(';').next().expect("name and value").to_owned();
    let path = format!("/ws/{topic}/{topic}");
    assert_eq!(Socket::open(&gateway.address, &path, &[]).err(), Some(401));
    let mut socket =
        Socket::open(&gateway.address, &path, &[("cookie", &pair)]).expect("the cookie opens it");
    socket.frame();
    let out = request(&gateway.address, "DELETE /session", &[]);
    assert!(
        out.header("set-cookie")
            .is_some_and(|cookie| cookie.contains("Max-Age=0"))
    );
}

#[test]
fn a_viewer_leaves_when_its_token_expires() {
    let (_camera, topic) = camera(shared(), "160x120@20");
    // Far enough that it is still good when the gateway has started, on a slow machine too.
    let expires = jiff::Timestamp::now() + Duration::from_secs(25);
    let file = tokens(&[
        format!("{{name: guest, token: {SHORT}, topics: ['*'], expires: '{expires}'}}"),
        format!("{{name: me, token: {LONG}, topics: ['*']}}"),
    ]);
    let gateway = Gateway::start(shared(), &["--tokens", text(file.path())]);
    let path = format!("/ws/{topic}/{topic}");
    let guest = Socket::open(
        &gateway.address,
        &path,
        &[("authorization", &format!("Bearer {SHORT}"))],
    );
    assert_eq!(
        guest.expect("in time").end(),
        Some(1008),
        "closed for policy"
    );
    let late = request(&gateway.address, "GET /sources", &[&bearer(SHORT)]);
    assert_eq!(late.status, 401);
    assert_eq!(
        request(&gateway.address, "GET /sources", &[&bearer(LONG)]).status,
        200
    );
}

#[test]
fn pages_of_strangers_get_nothing() {
    let (_camera, topic) = camera(shared(), "160x120@20");
    let friend = "https://friend.example";
    let gateway = Gateway::start(shared(), &["--allow-origin", friend]);
    let path = format!("/ws/{topic}/{topic}");
    let open = |origin: &str| Socket::open(&gateway.address, &path, &[("origin", origin)]);
    let own = format!("http://{}", gateway.address);
    for origin in [own.as_str(), friend] {
        open(origin)
            .unwrap_or_else(|status| panic!("{origin}: {status}"))
            .frame();
    }
    for origin in ["http://evil.example", "null", "https://friend.example.evil"] {
        assert_eq!(open(origin).err(), Some(403), "{origin}");
        let fetched = request(
            &gateway.address,
            "GET /sources",
            &[&format!("Origin: {origin}")],
        );
        assert_eq!(
            (
                fetched.status,
                fetched.header("access-control-allow-origin")
            ),
            (403, None)
        );
    }
    let fetched = request(
        &gateway.address,
        "GET /sources",
        &[&format!("Origin: {friend}")],
    );
    assert_eq!(
        (
            fetched.status,
            fetched.header("access-control-allow-origin")
        ),
        (200, Some(friend))
    );
    let preflight = request(
        &gateway.address,
        "OPTIONS /sources",
        &[&format!("Origin: {friend}")],
    );
    assert!(
        preflight
            .header("access-control-allow-headers")
            .is_some_and(|all| all.contains("authorization"))
    );
    // A page that gives its own name our address.
    let rebound = request(&gateway.address, "GET /sources", &["Host: evil.example"]);
    assert_eq!(rebound.status, 421, "{}", rebound.text());
    let proxied = request(&gateway.address, "GET /sources", &["Host: friend.example"]);
    assert_eq!(proxied.status, 200);
}

#[test]
fn answers_say_how_browsers_should_treat_them() {
    let gateway = Gateway::start(shared(), &[]);
    for path in ["/", "/sources", "/nothing", "/assets/main.js"] {
        let answer = gateway.get(path);
        for (name, word) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'self'"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert!(
                answer
                    .header(name)
                    .is_some_and(|value| value.contains(word)),
                "{path}: {name}"
            );
        }
    }
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: 1")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(request(&gateway.address, "GET /", &many).status, 431);
    let long = format!("X-Long: {}", "x".repeat(20_000));
    assert_eq!(request(&gateway.address, "GET /", &[&long]).status, 431);
}

#[test]
fn pictures_travel_by_tls_if_asked_for() {
    let (_camera, topic) = camera(shared(), "160x120@20");
    let (cert, key) = (files().path("server.pem"), files().path("server.key"));
    let gateway = Gateway::start(shared(), &["--tls-cert", &cert, "--tls-key", &key]);
    let port = gateway.address.rsplit_once(':').expect("a port").1;
    let url = format!("https://localhost:{port}/snapshot/{topic}/{topic}.jpg");
    let agent = |ca: &str| {
        let pem = std::fs::read(files().path(ca)).unwrap();
        let tls = TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .root_certs(RootCerts::new_with_certs(&[
                Certificate::from_pem(&pem).unwrap()
            ]))
            .unversioned_rustls_crypto_provider(std::sync::Arc::new(
                rustls::crypto::ring::default_provider(),
            ))
            .build();
        ureq::Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent()
    };
    let good = agent("ca.pem");
    let picture = wait_for("a picture", || {
        let mut answer = good.get(&url).call().expect("it can be trusted");
        (answer.status() == 200).then(|| answer.body_mut().read_to_vec().expect("a picture"))
    });
    assert!(imagesize::blob_size(&picture).is_ok());
    agent("other-ca.pem")
        .get(&url)
        .call()
        .expect_err("signed by somebody else");
    let session = good
        .post(format!("https://localhost:{port}/session"))
        .send_empty();
    assert!(session.is_ok_and(|answer| answer.status() == 204));
    // Plain HTTP is not spoken beside it.
    let plain = std::panic::catch_unwind(|| request(&gateway.address, "GET /health", &[]));
    assert!(plain.is_err() || plain.is_ok_and(|Answer { status, .. }| status != 200));
    let still = good.get(&url).call().expect("it is there, by TLS");
    assert_eq!(still.status(), 200);
}

#[test]
fn who_listens_to_other_machines_unprotected_is_warned() {
    let (cert, key) = (files().path("server.pem"), files().path("server.key"));
    let file = tokens(&[format!("{{name: me, token: {LONG}, topics: ['*']}}")]);
    let log_of = |more: &[&str]| {
        let gateway = Gateway::start_at(shared(), "0.0.0.0:0", more);
        let log = gateway.process.log();
        assert!(gateway.process.stop().success());
        log
    };
    let (readable, open) = ("can be read on their way", "sees every topic");
    let plain = log_of(&[]);
    assert!(plain.contains(readable) && plain.contains(open), "{plain}");
    let safe = log_of(&[
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tokens",
        text(file.path()),
    ]);
    assert!(!safe.contains(readable) && !safe.contains(open), "{safe}");
    let (_, help) = crate::harness::run("gateway", "localhost:1", &["--help"]);
    assert!(
        help.split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .contains("[default: 127.0.0.1:8080]")
    );
}
