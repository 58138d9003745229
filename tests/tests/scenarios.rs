//! Every scenario of the course: its expectations hold, and two runs write the same bytes as everywhere else.

use podhop_tests::scenarios;
use podhop_tests::schema::Schema;
use sim_core::observe::Memory;
use sim_core::scenario::raw;
use std::path::Path;

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

fn read(path: &Path) -> serde_json::Value {
    let text = std::fs::read_to_string(scenarios::root().join(path)).expect("a file");
    serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What the parser accepts is as `podhop schema` says, and what it refuses for its form is not.
#[test]
fn files_are_as_their_schema_says() {
    let schema = Schema::new(&raw::schema().to_string());
    for path in scenarios::all() {
        assert_eq!(schema.wrong(&read(&path)), None, "{}", path.display());
    }
    for wrong in ["unknown-field", "wrong-type", "unknown-version", "bad-script", "bad-files", "link-values"] {
        let path = format!("scenarios/errors/{wrong}.yaml");
        assert!(schema.wrong(&read(Path::new(&path))).is_some(), "{path}");
    }
}

/// Editors find the schema in docs/schemas: `podhop schema > docs/schemas/scenario.v1.json` after a change.
#[test]
fn the_schema_is_committed() {
    let path = scenarios::root().join("docs/schemas/scenario.v1.json");
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(committed, format!("{:#}\n", raw::schema()), "{}", path.display());
}
