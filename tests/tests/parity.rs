//! Every scenario that real namespaces can show: the real kernel shows what podhop shows.

use podhop_parity::Compare;
use podhop_tests::{live, parity, real, scenarios};
use sim_core::scenario::Disk;
use std::fs;

#[test]
fn every_scenario_that_can_be_exported() {
    if !real::can_run() {
        return;
    }
    let rows = parity::all();
    let mut problems = String::new();
    for row in rows.iter().filter(|row| !row.differences.is_empty()) {
        problems += &format!("{}\n{}\n", row.scenario, row.differences.join("\n"));
    }
    assert!(problems.is_empty(), "{problems}");
    let page = fs::read_to_string(scenarios::root().join("docs/parity.md")).expect("the page");
    let now: Vec<_> = rows.into_iter().map(|row| (row.scenario, row.shown.is_ok())).collect();
    assert_eq!(parity::scenarios_of(&page), now, "cargo xtask parity --write");
}

/// Else the real kernel showed it differently from time to time.
#[test]
fn no_scenario_hangs_by_milliseconds() {
    let mut problems = String::new();
    for file in scenarios::all() {
        let Ok(plan) = podhop_parity::load(&Disk, &scenarios::root().join(&file), None) else { continue };
        let late = live::late(&plan, Compare::ALL);
        if !late.is_empty() {
            problems += &format!("{}\n{}\n", file.display(), late.join("\n"));
        }
    }
    assert!(problems.is_empty(), "{problems}");
}
