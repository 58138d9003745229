//! Every scenario that real namespaces can show: the real kernel shows what podhop shows.

use podhop_tests::{parity, real, scenarios};
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
