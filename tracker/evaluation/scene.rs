//! People who cross a place with pillars: whom a detector sees, and who was really there.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tracker::Bounds;

/// Pixels.
const WIDTH: f64 = 1280.0;
const HEIGHT: f64 = 720.0;
/// What stands before everybody.
const PILLARS: [Bounds; 2] = [
    Bounds {
        x: 400.0,
        y: 0.0,
        width: 60.0,
        height: HEIGHT,
    },
    Bounds {
        x: 820.0,
        y: 0.0,
        width: 90.0,
        height: HEIGHT,
    },
];

/// How hard the scene is.
#[derive(Debug, Clone, Copy)]
pub struct Difficulty {
    /// People at a time.
    pub people: usize,
    /// Of those that can be seen, this share is missed.
    pub missed: f64,
    /// False alarms a frame, at most one in each of three draws of a third of this.
    pub false_alarms: f64,
    /// Standard deviation of a box's edges, as a share of its size.
    pub jitter: f64,
}

/// One frame.
#[derive(Debug, Default)]
pub struct Frame {
    /// Who can be seen, by number.
    pub truth: Vec<(u64, Bounds)>,
    /// What the detector says.
    pub seen: Vec<Seen>,
}

/// A detection.
#[derive(Debug)]
pub struct Seen {
    /// Where.
    pub bounds: Bounds,
    /// How sure.
    pub confidence: f32,
}

/// A scene.
#[derive(Debug)]
pub struct Scene {
    /// In their order.
    pub frames: Vec<Frame>,
}

struct Walker {
    number: u64,
    bounds: Bounds,
    velocity: (f64, f64),
}

impl Scene {
    /// The same seed and difficulty always make the same scene.
    pub fn make(seed: u64, frames: usize, difficulty: Difficulty) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut walkers = Vec::new();
        let mut number = 0;
        let frames = (0..frames)
            .map(|_| {
                while walkers.len() < difficulty.people {
                    number += 1;
                    walkers.push(Walker::enter(number, &mut random));
                }
                let frame = look(&walkers, difficulty, &mut random);
                walkers.iter_mut().for_each(|one| one.walk(&mut random));
                walkers.retain(Walker::is_inside);
                frame
            })
            .collect();
        Self { frames }
    }
}

impl Walker {
    /// From the left or the right, at a walking pace. Who is nearer stands lower and is larger.
    fn enter(number: u64, random: &mut StdRng) -> Self {
        let depth = random.random_range(0.0..1.0);
        let (width, height) = (40.0 + 40.0 * depth, 100.0 + 100.0 * depth);
        let pace = random.random_range(2.0..6.0) * (0.6 + 0.6 * depth);
        let is_from_left = random.random_bool(0.5);
        let (x, speed) = match is_from_left {
            true => (0.0, pace),
            false => (WIDTH - width, -pace),
        };
        Self {
            number,
            bounds: Bounds {
                x,
                y: 150.0 + 300.0 * depth,
                width,
                height,
            },
            velocity: (speed, random.random_range(-0.4..0.4)),
        }
    }

    fn walk(&mut self, random: &mut StdRng) {
        self.velocity.0 += random.random_range(-0.15..0.15);
        self.velocity.1 += random.random_range(-0.05..0.05);
        self.bounds.x += self.velocity.0;
        self.bounds.y += self.velocity.1;
    }

    fn is_inside(&self) -> bool {
        let b = self.bounds;
        b.x > -b.width / 2.0 && b.x < WIDTH - b.width / 2.0
    }

    fn feet(&self) -> f64 {
        self.bounds.y + self.bounds.height
    }
}

/// Which share of a box the others leave free, at least.
fn free_share(walker: &Walker, all: &[Walker]) -> f64 {
    let nearer = all.iter().filter(|other| other.feet() > walker.feet());
    let before = nearer.map(|other| other.bounds).chain(PILLARS);
    let own = walker.bounds.width * walker.bounds.height;
    let hidden = before.map(|other| {
        let iou = walker.bounds.iou(&other);
        let both = own + other.width * other.height;
        iou * both / (1.0 + iou) / own // the shared area, from the overlap
    });
    1.0 - hidden.fold(0.0, f64::max)
}

fn look(walkers: &[Walker], difficulty: Difficulty, random: &mut StdRng) -> Frame {
    let mut frame = Frame::default();
    for walker in walkers {
        let free = free_share(walker, walkers);
        if free < 0.3 {
            continue; // hidden
        }
        frame.truth.push((walker.number, walker.bounds));
        if random.random_bool(difficulty.missed) {
            continue;
        }
        // Who is half hidden is seen less surely.
        let sure = (free * 0.9 - random.random_range(0.0..0.35_f64)).max(0.15);
        frame.seen.push(Seen {
            bounds: shaken(walker.bounds, difficulty.jitter, random),
            confidence: sure as f32,
        });
    }
    for _ in 0..3 {
        if random.random_bool(difficulty.false_alarms / 3.0) {
            let height = random.random_range(80.0..200.0);
            frame.seen.push(Seen {
                bounds: Bounds {
                    x: random.random_range(0.0..WIDTH - 80.0),
                    y: random.random_range(0.0..HEIGHT - 200.0),
                    width: height * 0.4,
                    height,
                },
                confidence: random.random_range(0.2..0.8),
            });
        }
    }
    // A detector has an order of its own.
    frame
        .seen
        .sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
    frame
}

fn shaken(bounds: Bounds, jitter: f64, random: &mut StdRng) -> Bounds {
    // Four uniform numbers make a good enough bell of deviation 1.
    let mut bell = || {
        (0..4)
            .map(|_| random.random_range(-0.866..0.866))
            .sum::<f64>()
    };
    Bounds {
        x: bounds.x + bell() * jitter * bounds.width,
        y: bounds.y + bell() * jitter * bounds.height,
        width: bounds.width * (1.0 + bell() * jitter),
        height: bounds.height * (1.0 + bell() * jitter),
    }
}
