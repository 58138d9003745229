//! Scenario files: all errors rendered, and what has none is run for a while.

use sim_core::engine::Limits;
use sim_core::observe::Memory;
use sim_core::scenario::{Options, SourceFile, resolve, run as play};

/// A run is stopped after this much, whatever the file allows.
const LIMITS: Limits = Limits { chain_frames: 500, frames: 5_000, events: 5_000 };

/// Reads a scenario; runs it if it is one.
pub(crate) fn run(input: &[u8]) {
    let source = SourceFile::new("fuzz.yaml", String::from_utf8_lossy(input));
    match resolve(&source) {
        Ok(mut plan) => {
            plan.config.limits = LIMITS;
            // A limit may be hit in the set-up already.
            if let Ok(report) = play(&plan, &mut Memory::default(), Options::default(), &mut ()) {
                assert!(report.summary().is_object());
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "no scenario, and no error");
            assert!(!errors.render(false).is_empty() && !errors.render(true).is_empty());
        }
    }
}
