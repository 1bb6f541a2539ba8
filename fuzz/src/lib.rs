//! Everything that reads foreign bytes, as functions from bytes to nothing: [`TARGETS`].
//!
//! A target panics if a promise is broken; what is only wrong input it takes. The fuzzer (`tests/fuzz.rs`) and the test that
//! replays the corpus (`tests/corpus.rs`) call the same functions. An input is remembered as a file in
//! `corpus/TARGET/`.

mod envelope;
mod memory;
mod options;
mod order;
mod picture;
mod picture_code;
mod record;
mod shown;
mod sources;

/// One kind of foreign bytes.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name on the command line, and that of its folder in the corpus.
    pub name: &'static str,
    /// Takes any bytes; panics if a promise is broken.
    run: fn(&[u8]),
    /// Memory that one input may take, in bytes: an allocation beyond it fails, and with it the target.
    memory_bytes: u64,
}

pub use memory::lift_on_panic;

const MIB: u64 = 1 << 20;

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "envelope",
        run: envelope::run,
        memory_bytes: 256 * MIB,
    },
    Target {
        name: "record",
        run: record::run,
        memory_bytes: 256 * MIB,
    },
    Target {
        name: "sources",
        run: sources::run,
        memory_bytes: 256 * MIB,
    },
    Target {
        name: "options",
        run: options::run,
        memory_bytes: 256 * MIB,
    },
    Target {
        name: "picture",
        run: picture::run,
        memory_bytes: picture::MEMORY_BYTES,
    },
    Target {
        name: "picture-code",
        run: picture_code::run,
        memory_bytes: 256 * MIB,
    },
    Target {
        name: "shown",
        run: shown::run,
        memory_bytes: shown::MEMORY_BYTES,
    },
    Target {
        name: "order",
        run: order::run,
        memory_bytes: 256 * MIB,
    },
];

impl Target {
    /// The target of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|target| target.name == name)
    }

    /// Gives one input to the target, under its bound on memory.
    ///
    /// # Panics
    /// The target breaks a promise, or the system takes no limit.
    pub fn take(&self, input: &[u8]) {
        memory::bound(self.memory_bytes).expect("a process may lower its own limit");
        (self.run)(input);
    }
}
