//! Against a server that answers each framed request with its own bytes.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use std::io::{Read, Write};
use std::time::Instant;

const LIMIT: Duration = Duration::from_secs(10);
/// What must not come does not come in this time; a test that waits it out in vain is merely weaker, never wrong.
const A_WHILE: Duration = Duration::from_millis(100);
const END_TXN: i16 = 26;
const HEARTBEAT: i16 = 12;

/// Answers each request with its correlation id and `answer`, and tells which bodies it got.
struct Echo {
    address: String,
    received: std::sync::mpsc::Receiver<i32>,
}

impl Echo {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, received) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, tell) = (stream.unwrap(), tell.clone());
                std::thread::spawn(move || {
                    while let Ok(Some(request)) = packet::read(&mut stream) {
                        let id = packet::head(&request).unwrap().correlation;
                        let told = tell.send(id);
                        let answer = [&8_i32.to_be_bytes(), &request[8..12], b"done"].concat();
                        if told.is_err() || stream.write_all(&answer).is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { address, received }
    }

    /// The correlation id of the next request that arrived.
    fn next(&self) -> Option<i32> {
        self.received.recv_timeout(LIMIT).ok()
    }

    fn nothing(&self) -> bool {
        self.received.recv_timeout(A_WHILE).is_err()
    }
}

struct Client(TcpStream);

impl Client {
    fn connect(proxy: &Proxy) -> Self {
        let stream = TcpStream::connect(proxy.address()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        Self(stream)
    }

    fn send(&mut self, key: i16, correlation: i32) {
        let request = [
            &key.to_be_bytes()[..],
            &[0, 0],
            &correlation.to_be_bytes(),
            &[0, 1, b'c'],
            b"body",
        ]
        .concat();
        let size = i32::try_from(request.len()).unwrap().to_be_bytes();
        self.0.write_all(&[&size[..], &request].concat()).unwrap();
    }

    /// The correlation id of the next answer; None: the connection was closed.
    fn receive(&mut self) -> Option<i32> {
        let answer = match packet::read(&mut self.0) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return None,
            answer => answer.unwrap()?,
        };
        assert_eq!(&answer[8..], b"done");
        packet::correlation(&answer)
    }

    fn hears_nothing(&mut self) -> bool {
        self.0.set_read_timeout(Some(A_WHILE)).unwrap();
        let heard = self.0.read(&mut [0]);
        self.0.set_read_timeout(Some(LIMIT)).unwrap();
        matches!(heard, Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut))
    }
}

fn through_proxy() -> (Echo, Proxy, Client) {
    let echo = Echo::start();
    let proxy = Proxy::start().unwrap();
    proxy.set_target(&echo.address);
    let client = Client::connect(&proxy);
    (echo, proxy, client)
}

#[test]
fn packets_pass_and_are_counted() {
    let (echo, proxy, mut client) = through_proxy();
    for id in 1..=3 {
        client.send(END_TXN, id);
        assert_eq!((echo.next(), client.receive()), (Some(id), Some(id)));
    }
    assert_eq!(proxy.points().seen(Api::EndTxn, Side::Request), 3);
    assert_eq!(proxy.points().seen(Api::EndTxn, Side::Response), 3);
    assert_eq!(proxy.points().seen(Api::Produce, Side::Request), 0);
}

#[test]
fn latency_delays_both_ways_and_can_be_taken_back() {
    let (_echo, proxy, mut client) = through_proxy();
    proxy.set_latency(Direction::Both, Duration::from_millis(60));
    let start = Instant::now();
    client.send(HEARTBEAT, 1);
    client.send(HEARTBEAT, 2); // on its way at the same time
    assert_eq!((client.receive(), client.receive()), (Some(1), Some(2)));
    assert!(start.elapsed() >= Duration::from_millis(120));
    proxy.set_latency(Direction::Both, Duration::ZERO);
    client.send(HEARTBEAT, 3);
    assert_eq!(client.receive(), Some(3));
}

#[test]
fn bandwidth_is_shared_by_all_connections() {
    let (_echo, proxy, mut client) = through_proxy();
    let mut other = Client::connect(&proxy);
    proxy.set_bandwidth(Direction::ToKafka, Some(400));
    let start = Instant::now();
    for id in 0..3 {
        client.send(HEARTBEAT, id);
        other.send(HEARTBEAT, id);
    }
    for id in 0..3 {
        assert_eq!((client.receive(), other.receive()), (Some(id), Some(id)));
    }
    // Six requests of 19 bytes.
    assert!(start.elapsed() >= Duration::from_millis(6 * 19 * 1000 / 400));
}

#[test]
fn a_cut_stalls_one_direction_silently_and_healing_delivers_what_was_sent() {
    let (echo, proxy, mut client) = through_proxy();
    proxy.cut(Direction::ToClient);
    client.send(HEARTBEAT, 1);
    assert_eq!(echo.next(), Some(1));
    assert!(client.hears_nothing());
    proxy.heal();
    assert_eq!(client.receive(), Some(1));

    proxy.cut(Direction::ToKafka);
    client.send(HEARTBEAT, 2);
    drop(client); // its end stays in the network too
    assert!(echo.nothing());
    proxy.heal();
    assert_eq!(echo.next(), Some(2));
}

#[test]
fn a_refusing_proxy_closes_what_is_open_and_what_comes() {
    let (_echo, proxy, mut client) = through_proxy();
    client.send(HEARTBEAT, 1);
    assert_eq!(client.receive(), Some(1));
    proxy.refuse();
    assert_eq!(client.receive(), None);
    assert_eq!(Client::connect(&proxy).receive(), None);
    proxy.accept();
    let mut again = Client::connect(&proxy);
    again.send(HEARTBEAT, 2);
    assert_eq!(again.receive(), Some(2));
}

#[test]
fn the_nth_request_of_a_kind_waits_until_it_is_released() {
    let (echo, proxy, mut client) = through_proxy();
    let second = proxy.on(Point::request(Api::EndTxn).nth(2), Reaction::Pause);
    client.send(END_TXN, 1);
    client.send(HEARTBEAT, 2);
    assert_eq!((echo.next(), echo.next()), (Some(1), Some(2)));
    assert!(!second.has_fired());
    client.send(END_TXN, 3);
    client.send(HEARTBEAT, 4); // waits behind it
    assert!(second.wait(LIMIT) && echo.nothing());
    second.release();
    assert_eq!((echo.next(), echo.next()), (Some(3), Some(4)));
}

#[test]
fn a_held_request_outlives_its_client() {
    let (echo, proxy, mut client) = through_proxy();
    let held = proxy.on(Point::request(Api::EndTxn), Reaction::Pause);
    client.send(END_TXN, 1);
    assert!(held.wait(LIMIT));
    drop(client);
    drop(held); // releases it
    assert_eq!(echo.next(), Some(1));
}

#[test]
fn a_lost_response_is_one_that_the_server_has_sent() {
    let (echo, proxy, mut client) = through_proxy();
    let lost = proxy.on(
        Point::response(Api::EndTxn),
        Reaction::DropConnection(When::Before),
    );
    client.send(END_TXN, 1);
    assert_eq!((echo.next(), client.receive()), (Some(1), None));
    assert!(lost.has_fired());
}

#[test]
fn a_connection_can_break_on_either_side_of_a_request() {
    let (echo, proxy, mut client) = through_proxy();
    let before = proxy.on(
        Point::request(Api::EndTxn),
        Reaction::DropConnection(When::Before),
    );
    client.send(END_TXN, 1);
    assert!(before.wait(LIMIT));
    assert_eq!(client.receive(), None);
    assert!(echo.nothing());

    let mut client = Client::connect(&proxy);
    let after = proxy.on(
        Point::request(Api::EndTxn),
        Reaction::DropConnection(When::After),
    );
    client.send(END_TXN, 2);
    assert_eq!((echo.next(), client.receive()), (Some(2), None));
    assert_eq!(after.answer(LIMIT).as_deref(), Some(&b"done"[..]));
}

#[test]
fn a_request_held_alone_arrives_when_its_client_has_long_gone_on() {
    let (echo, proxy, mut client) = through_proxy();
    let stray = proxy.on(Point::request(Api::EndTxn), Reaction::HoldAlone);
    client.send(HEARTBEAT, 1);
    client.send(END_TXN, 2);
    assert!(stray.wait(LIMIT));
    assert_eq!(echo.next(), Some(1));
    drop(client);
    let mut again = Client::connect(&proxy);
    again.send(END_TXN, 3);
    assert_eq!((echo.next(), again.receive()), (Some(3), Some(3)));
    stray.release();
    assert_eq!(echo.next(), Some(2));
    assert_eq!(stray.answer(LIMIT).as_deref(), Some(&b"done"[..]));
}

#[test]
fn points_can_be_those_of_several_proxies_and_of_one_client() {
    let (_echo, first, mut client) = through_proxy();
    let second = Proxy::start_with(first.points().clone()).unwrap();
    second.set_target(&_echo.address);
    let mut other = Client::connect(&second);
    let point = Point {
        client_id: Some("c".to_owned()),
        ..Point::request(Api::Heartbeat).nth(2)
    };
    let ours = first.on(point.clone(), Reaction::Note);
    let nobodys = Point {
        client_id: Some("d".to_owned()),
        ..point
    };
    let never = first.on(nobodys, Reaction::Note);
    client.send(HEARTBEAT, 1);
    assert_eq!(client.receive(), Some(1));
    other.send(HEARTBEAT, 2);
    assert_eq!(other.receive(), Some(2));
    assert!(ours.has_fired() && !never.has_fired());
}

#[test]
fn a_dropped_proxy_closes_everything_though_it_is_cut_and_holds_a_packet() {
    let (_echo, proxy, mut client) = through_proxy();
    let held = proxy.on(Point::request(Api::EndTxn), Reaction::Pause);
    client.send(END_TXN, 1);
    assert!(held.wait(LIMIT));
    let mut other = Client::connect(&proxy);
    proxy.cut(Direction::Both);
    other.send(HEARTBEAT, 2);
    drop(proxy);
    assert_eq!((client.receive(), other.receive()), (None, None));
}
