//! Topics as others make and change them: in ways that our own code never does. Requests to Kafka by hand.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Makes a topic that takes records of at most 1 MB, which is Kafka's own default and too little for frames.
pub fn create_small_topic(servers: &str, name: &str) {
    create_foreign_topic(servers, name, ("max.message.bytes", "1048588"));
}

/// Makes a topic of one partition with the cluster's defaults, but for one setting.
pub fn create_foreign_topic(servers: &str, name: &str, setting: (&str, &str)) {
    // CreateTopics, version 4: one topic, one partition, the cluster's number of copies, one setting.
    let mut request = begin(19, 4);
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, name);
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, setting.0);
    put_text(&mut request, setting.1);
    request.extend(10_000_i32.to_be_bytes()); // ms
    request.push(0);
    send(servers, name, &request);
}

/// Gives a topic more partitions.
pub fn add_partitions(servers: &str, name: &str, partitions: i32) {
    // CreatePartitions, version 0: one topic, no wishes where they lie.
    let mut request = begin(37, 0);
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, name);
    request.extend(partitions.to_be_bytes());
    request.extend((-1_i32).to_be_bytes());
    request.extend(10_000_i32.to_be_bytes()); // ms
    request.push(0);
    send(servers, name, &request);
}

/// Deletes a topic.
pub fn delete_topic(servers: &str, name: &str) {
    // DeleteTopics, version 1: one topic.
    let mut request = begin(20, 1);
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, name);
    request.extend(10_000_i32.to_be_bytes()); // ms
    send(servers, name, &request);
}

fn begin(request: i16, version: i16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(request.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(1_i32.to_be_bytes()); // correlation id
    put_text(&mut bytes, "framelane-tests");
    bytes
}

/// Sends a request about one topic, which must succeed.
fn send(servers: &str, name: &str, request: &[u8]) {
    let first = servers.split(',').next().expect("at least one address");
    let mut stream = TcpStream::connect(first).expect("Kafka answers");
    let size = i32::try_from(request.len()).expect("a short request");
    stream.write_all(&size.to_be_bytes()).expect("sent");
    stream.write_all(request).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    // Correlation id, throttle time, number of topics, the name: then the error code.
    let at = 4 + 4 + 4 + 2 + name.len();
    assert_eq!(answer[at..at + 2], [0, 0], "topic {name}: {answer:?}");
}

fn put_text(request: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a short text");
    request.extend(length.to_be_bytes());
    request.extend(text.as_bytes());
}
