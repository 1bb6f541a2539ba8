//! The core alone: the ordered window under the delivery protocol, and the wire. `cargo bench -p bench`.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pipeline::envelope::{self, Kind};
use pipeline::ordering::{Action, CommitPolicy, Delivery, Event, Weight};
use std::hint::black_box;
use std::time::Duration;

/// What a broker keeps for a frame's output is about as large as this.
#[derive(Debug, Clone)]
struct Output([u64; 4]);

impl Weight for Output {
    fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Frames on their way at once, in each lane.
const WINDOW: i64 = 256;

/// A whole life of `frames` frames in each of `lanes` lanes: they arrive, are completed in reverse order within each
/// window (the worst there is), and each batch is committed as soon as it is written.
fn live(lanes: u64, frames: i64) -> usize {
    let mut delivery = Delivery::new(CommitPolicy {
        linger: Duration::ZERO,
        max_records: 1000,
        max_bytes: 32 << 20,
        max_lane_bytes: 8 << 20,
    });
    let now = Duration::ZERO;
    for lane in 0..lanes {
        delivery.handle(Event::Assigned { lane, start: 0 }, now);
    }
    let mut released = 0;
    for first in (0..frames).step_by(WINDOW as usize) {
        for lane in 0..lanes {
            for offset in first..first + WINDOW {
                let bytes = 100_000;
                delivery.handle(
                    Event::Arrived {
                        lane,
                        offset,
                        bytes,
                    },
                    now,
                );
            }
        }
        for lane in 0..lanes {
            for offset in (first..first + WINDOW).rev() {
                let output = Output([0; 4]);
                let mut actions = delivery.handle(
                    Event::Completed {
                        lane,
                        offset,
                        output,
                    },
                    now,
                );
                while let Some(action) = actions.pop() {
                    match action {
                        Action::Write(_) => actions.extend(delivery.handle(Event::Committed, now)),
                        Action::Release { slots, .. } => released += slots,
                        _ => {}
                    }
                }
            }
        }
    }
    released
}

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("delivery");
    let frames = 16 * WINDOW;
    for lanes in [1, 4, 32] {
        group.throughput(Throughput::Elements(lanes * frames as u64));
        group.bench_function(format!("{lanes} lanes, frames"), |bencher| {
            bencher.iter(|| {
                assert_eq!(
                    live(black_box(lanes), frames),
                    (lanes as i64 * frames) as usize
                )
            });
        });
    }
    group.finish();
}

fn wire(criterion: &mut Criterion) {
    for (name, bytes) in [("10 KB", 10_000), ("100 KB", 100_000)] {
        let picture = bench::load::picture(bytes);
        let frame = Kind::Frame(bench::load::frame("bench-0", 7, 1, &picture));
        let encoded = envelope::encode(&frame);
        let mut group = criterion.benchmark_group(format!("envelope {name}"));
        group.throughput(Throughput::Bytes(encoded.len() as u64));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| envelope::encode(black_box(&frame)));
        });
        group.bench_function("decode", |bencher| {
            bencher.iter_batched(
                || encoded.clone(),
                |encoded| envelope::decode(encoded).expect("it was encoded above"),
                BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, core, wire);
criterion_main!(benches);
