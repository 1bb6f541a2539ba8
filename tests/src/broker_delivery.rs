//! The broker's promise: every frame once and in order, whatever the processors do.

use crate::harness::{Process, ids_of, processor, publish, read_until, shared, topic};

const FRAMES: u64 = 300;

#[test]
fn random_delays_change_neither_order_nor_count() {
    let servers = shared();
    let input = topic(servers, 2);
    let output = format!("{input}.out");
    let (_processor, url) = processor(&[
        "chaos",
        "--delay",
        "lognormal:p50=5ms,p99=80ms",
        "--seed",
        "7",
    ]);
    for source in ["a", "b", "c"] {
        publish(servers, &input, source, 0..FRAMES);
    }
    let broker = Process::start(
        "broker",
        servers,
        &["--input", &input, "--output", &output, "--processor", &url],
    );
    let seen = read_until(servers, &output, 3 * FRAMES as usize);
    let ids = ids_of(&seen);
    let expected: Vec<u64> = (0..FRAMES).collect();
    assert_eq!(ids.len(), 3);
    for (source, sequences) in ids {
        assert_eq!(sequences, expected, "source {source}");
    }
    assert!(seen.iter().all(|one| one.status() == "ok"));
    assert!(broker.stop().success());
}
