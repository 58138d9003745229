//! Under libFuzzer (the feature `libfuzzer`, as `cargo xtask fuzz` builds it) the loop around a target, which
//! [`TARGET`] names. Otherwise `podhop-fuzz TARGET FILE…` tries these inputs.
#![cfg_attr(feature = "libfuzzer", no_main)]

#[cfg(not(feature = "libfuzzer"))]
use podhop_fuzz::TARGETS;
use podhop_fuzz::{TARGET, target};

#[cfg(feature = "libfuzzer")]
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static RUN: std::sync::OnceLock<fn(&[u8])> = std::sync::OnceLock::new();
    let run = RUN.get_or_init(|| {
        let name = std::env::var(TARGET).unwrap_or_default();
        target(&name).unwrap_or_else(|| panic!("{TARGET}={name} names no target")).run
    });
    run(data);
});

#[cfg(not(feature = "libfuzzer"))]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().or_else(|| std::env::var(TARGET).ok()).unwrap_or_default();
    let Some(target) = target(&name) else {
        let names: Vec<&str> = TARGETS.iter().map(|t| t.name).collect();
        eprintln!("usage: podhop-fuzz TARGET FILE…\nthe targets are: {}", names.join(", "));
        std::process::exit(2);
    };
    for path in arguments {
        match std::fs::read(&path) {
            Ok(input) => (target.run)(&input),
            Err(e) => {
                eprintln!("{path}: {e}");
                std::process::exit(2);
            }
        }
    }
}
