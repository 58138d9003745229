//! Random clusters, rules and flows: the real kernel does as we do. `cargo xtask nightly` runs many more.

use podhop_tests::{live, nightly, real};

/// The seeds of every run, all at once: they sleep most of their minute.
const SEEDS: [u64; 6] = [1, 3, 5, 7, 9, 10];

#[test]
fn random_cases() {
    if !real::can_run() {
        return;
    }
    let seen = live::side_by_side(SEEDS.len(), &SEEDS, |seed| problem(*seed));
    let suspects = SEEDS.iter().zip(seen).filter(|(_, seen)| seen.is_some());
    // Once more when nothing else wants the processors: a program that starts late sends late.
    let problems: Vec<String> = suspects.filter_map(|(seed, _)| problem(*seed)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

fn problem(seed: u64) -> Option<String> {
    let outcome = nightly::one(seed, false).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
    assert!(outcome.records > 0, "seed {seed}: nothing was seen");
    let differ = !outcome.differences.is_empty();
    differ.then(|| format!("{}\n{}", outcome.scenario, outcome.differences.join("\n")))
}
