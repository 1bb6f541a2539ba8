//! Three Kafka nodes: one of them dies, and another; then all at once.

use crate::faults_lab::{HEAP_MIB, output_of};
use crate::harness::{
    Follower, Process, assert_complete, broker, consume, name, processor, publish, read_committed,
    topic,
};
use kafka_node::{Cluster, Options};

/// Frames of each of two sources: the first is there before, the second is published all the while.
const FRAMES: u64 = 700;
/// Published together, each time when all before them are acknowledged.
const AT_ONCE: u64 = 10;

#[test]
fn nodes_that_die_one_by_one_and_all_at_once_cost_nothing() {
    let mut cluster = Cluster::start(&Options {
        heap_mib: HEAP_MIB,
        ..Options::default()
    })
    .expect("a cluster of this test's own");
    let servers = cluster.bootstrap_servers().to_owned();
    let (input, camera) = (topic(&servers, 2), name());
    let (_processor, url) = processor(&["chaos", "--delay", "fixed:10ms"]);
    publish(&servers, &input, "a", 0..FRAMES);
    let broker = broker(&servers, &input, &[&url], &["--in-flight", "2"]);
    let count = FRAMES.to_string();
    let live = [
        "--pattern",
        "160x120@30",
        "--count",
        &count,
        "--topic",
        &camera,
    ];
    let producer = Process::start("producer", &servers, &live);
    Follower::new(&servers, &camera).wait_for(1); // it has begun
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for first in (0..FRAMES).step_by(AT_ONCE as usize) {
                publish(&servers, &input, "b", first..first + AT_ONCE);
            }
        });
        let mut output = Follower::new(&servers, &output_of(&input));
        for node in 0..2 {
            output.wait_for(100 + 300 * node);
            cluster.kill(node);
            output.wait_for(250 + 300 * node); // the others go on
            cluster.restart(node).expect("the node comes back");
        }
        output.wait_for(750);
        cluster.restart_all().expect("the nodes come back");
        output.wait_for(2 * FRAMES as usize);
    });
    assert!(broker.stop().success());
    assert_complete(
        &read_committed(&servers, &output_of(&input)),
        &["a", "b"],
        FRAMES,
    );
    let (code, log) = producer.outcome();
    assert_eq!(code, Some(0), "{log}");
    consume(&servers, &camera, &["--verify-picture"]).assert_run(&camera, 1, FRAMES, "finished");
}
