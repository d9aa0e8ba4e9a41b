//! libFuzzer over the targets of `tests/fuzz/targets.rs`; `COMMEDIA_FUZZ_TARGET` says which.
#![no_main]

#[path = "../tests/fuzz/targets.rs"]
mod targets;

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("COMMEDIA_FUZZ_TARGET").unwrap_or_default();
        let found = targets::TARGETS.into_iter().find(|(known, _)| *known == name);
        found.unwrap_or_else(|| panic!("COMMEDIA_FUZZ_TARGET is `{name}`")).1
    });
    target(data);
});
