//! The fuzzer: libFuzzer around the target that `FRAMELANE_FUZZ_TARGET` names. `cargo xtask fuzz` builds and runs it.

#![no_main]

use framelane_fuzz::{TARGETS, Target};
use std::sync::OnceLock;

static TARGET: OnceLock<&'static Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let chosen = std::env::var("FRAMELANE_FUZZ_TARGET").unwrap_or_default();
        let names = || TARGETS.iter().map(|target| target.name).collect::<Vec<_>>();
        let target = Target::named(&chosen)
            .unwrap_or_else(|| panic!("FRAMELANE_FUZZ_TARGET={chosen:?} is none of {:?}", names()));
        framelane_fuzz::lift_on_panic();
        TARGET.get_or_init(|| target);
    },
    |data: &[u8]| {
        TARGET.get().expect("set before the first input").take(data);
    }
);
