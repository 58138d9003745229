//! Every scenario of the course: its expectations hold, and two runs write the same bytes as everywhere else.

use podhop_tests::scenarios;
use sim_core::observe::Memory;

#[test]
fn expectations_hold() {
    for path in scenarios::all() {
        let report = scenarios::run(&path, &mut Memory::default());
        let failed: Vec<_> = report.expectations.iter().filter(|e| !e.verdict.ok).collect();
        assert!(failed.is_empty(), "{}: {failed:#?}", path.display());
        assert!(!report.expectations.is_empty(), "{} expects nothing", path.display());
        assert_eq!(report.exit_code(), 0, "{}: {:?}", path.display(), report.limit);
    }
}

#[test]
fn the_same_bytes_everywhere() {
    let digests = scenarios::digests();
    assert_eq!(digests, scenarios::digests(), "two runs in one process");
    let committed = std::fs::read_to_string(scenarios::digest_list()).unwrap_or_default();
    assert_eq!(committed, digests, "tests/digests.txt; `cargo xtask digests --write` after a change that is meant");
}
