//! Topics as others make them: with settings that our own code never gives.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Makes a topic that takes records of at most 1 MB, which is Kafka's own default and too little for frames.
pub fn create_small_topic(servers: &str, name: &str) {
    // CreateTopics, version 4, by hand: one topic, one partition, the cluster's number of copies, one setting.
    let mut request = Vec::new();
    request.extend(19_i16.to_be_bytes());
    request.extend(4_i16.to_be_bytes());
    request.extend(1_i32.to_be_bytes()); // correlation id
    put_text(&mut request, "framelane-tests");
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, name);
    request.extend(1_i32.to_be_bytes());
    request.extend((-1_i16).to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    put_text(&mut request, "max.message.bytes");
    put_text(&mut request, "1048588");
    request.extend(10_000_i32.to_be_bytes()); // ms
    request.push(0);

    let first = servers.split(',').next().expect("at least one address");
    let mut stream = TcpStream::connect(first).expect("Kafka answers");
    let size = i32::try_from(request.len()).expect("a short request");
    stream.write_all(&size.to_be_bytes()).expect("sent");
    stream.write_all(&request).expect("sent");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("an answer");
    let mut answer = vec![0; i32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("an answer");
    // Correlation id, throttle time, number of topics, the name: then the error code.
    let at = 4 + 4 + 4 + 2 + name.len();
    assert_eq!(
        answer[at..at + 2],
        [0, 0],
        "creating topic {name}: {answer:?}"
    );
}

fn put_text(request: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).expect("a short text");
    request.extend(length.to_be_bytes());
    request.extend(text.as_bytes());
}
