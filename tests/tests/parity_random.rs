//! Random clusters, rules and flows: the real kernel does as we do. `cargo xtask nightly` runs many more.

use podhop_parity::HoldError;
use podhop_tests::nightly::Outcome;
use podhop_tests::{live, nightly, real};

/// The seeds of every run, all at once: they sleep most of their minute.
const SEEDS: [u64; 5] = [1, 3, 5, 7, 9];

#[test]
fn random_cases() {
    if !real::can_run() {
        return;
    }
    let seen = live::side_by_side(SEEDS.len(), &SEEDS, |seed| problem(*seed, nightly::one(*seed, false)));
    let suspects = SEEDS.iter().zip(seen).filter(|(_, seen)| seen.is_some());
    let problems: Vec<String> = suspects.filter_map(|(seed, _)| problem(*seed, nightly::again(*seed))).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn problem(seed: u64, outcome: Result<Outcome, HoldError>) -> Option<String> {
    let outcome = outcome.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(outcome.records > 0, "seed {seed}: nothing was seen");
    let differ = !outcome.differences.is_empty();
    differ.then(|| format!("{}\n{}", outcome.scenario, outcome.differences.join("\n")))
}
