//! The rules of TCP, one by one: the scripts of tests/tcp, each with what Linux 6.18 did.

use std::fs;
use std::path::{Path, PathBuf};

use podhop_tests::drill;

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tcp");
    let entries = fs::read_dir(folder).expect("tests/tcp").map(|e| e.expect("an entry").path());
    let mut all: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "txt")).collect();
    all.sort();
    all
}

#[test]
fn every_rule_holds() {
    let only = std::env::var("TCP_RULE").unwrap_or_default();
    let chosen = scripts().into_iter().filter(|p| p.display().to_string().contains(&only));
    let failed: Vec<String> = chosen.filter_map(|p| drill::run(&p).err()).collect();
    assert!(failed.is_empty(), "{} scripts fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_script_names_its_rule() {
    let all = scripts();
    assert!(all.len() >= 60, "{} scripts", all.len());
    for path in all {
        let text = fs::read_to_string(&path).expect("a script");
        assert!(text.starts_with("# "), "{}: the first line names the rule", path.display());
    }
}
