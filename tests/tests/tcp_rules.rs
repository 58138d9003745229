//! The rules of TCP, one by one: the scripts of tests/tcp, each with what Linux 6.18 did.

use std::fs;

use podhop_tests::drill;

#[test]
fn every_rule_holds() {
    let only = std::env::var("TCP_RULE").unwrap_or_default();
    let chosen = drill::scripts().into_iter().filter(|p| p.display().to_string().contains(&only));
    let failed: Vec<String> = chosen.filter_map(|p| drill::run(&p).err()).collect();
    assert!(failed.is_empty(), "{} scripts fail:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_script_names_its_rule() {
    let all = drill::scripts();
    assert!(all.len() >= 60, "{} scripts", all.len());
    for path in all {
        let text = fs::read_to_string(&path).expect("a script");
        assert!(text.starts_with("# "), "{}: the first line names the rule", path.display());
    }
}
