//! Rules and events in scenarios: iptables-restore and what it reads, `conntrack -E` and how it ends.

use std::fs;
use std::path::Path;

use sim_core::observe::Nowhere;
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Disk, Options};

const RULES: &str = "*filter\n:X - [0:0]\n-A X -j DROP\nCOMMIT\n";
const LISTED: &str = "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-N X\n-A X -j DROP\n";

/// Runs a scenario in a folder of its own with `rules` and `setup.sh` beside it; the errors if it has any.
fn run(spec: &str) -> Result<Report, String> {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let file = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("a file");
    file("rules", RULES);
    file("setup.sh", &format!("# A comment.\niptables-restore <<'EOF' # more\n{RULES}EOF\n\nip link set lo up\n"));
    file("scenario.yaml", &format!("apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: rules}}\nspec:\n{spec}"));
    load(dir.path())
}

fn load(dir: &Path) -> Result<Report, String> {
    let (_, plan) = scenario::load(&Disk, &dir.join("scenario.yaml"), None).map_err(|e| e.render(false))?;
    Ok(scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs"))
}

#[test]
fn restores_read_files_and_here_documents() {
    for setup in [
        "setup: [iptables-restore rules]",
        "setup: ['iptables-restore < ./rules']",
        "setupFile: setup.sh",
        "setup: [\"iptables-restore <<EOF\\n*filter\\n:X - [0:0]\\n-A X -j DROP\\nCOMMIT\\nEOF\\n\"]",
    ] {
        let spec = format!("  namespaces:\n    a: {{{setup}}}\n  traffic:\n    - {{from: a, run: iptables -S}}\n");
        let report = run(&spec).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(report.commands[0].output, LISTED, "{setup}");
    }
}

#[test]
fn rules_that_cannot_be_read() {
    for (setup, why) in [
        ("iptables-restore ../rules", "`../rules` lies outside the scenario's folder"),
        ("iptables-restore < none", "`none`: the file cannot be read"),
        ("iptables-restore < setup.sh", "iptables-restore: line 2 failed"),
        ("ip link < rules", "the command does not read its standard input"),
        ("conntrack -E", "this command goes on until it is interrupted"),
    ] {
        let said = run(&format!("  namespaces:\n    a: {{setup: ['{setup}']}}\n")).expect_err(setup);
        assert!(said.contains(why), "{setup}: {said}");
    }
}

#[test]
fn an_endless_command_ends_with_the_run() {
    let spec = |background| {
        format!(
            "  namespaces:\n    a: {{setup: [ip link set lo up]}}\n  traffic:\n\
             \x20   - {{from: a, {background}run: conntrack -E}}\n    - {{from: a, run: ping -c1 127.0.0.1}}\n"
        )
    };
    let report = run(&spec("background: true, ")).unwrap_or_else(|e| panic!("{e}"));
    let (listener, ping) = (&report.commands[0], &report.commands[1]);
    assert_eq!((listener.exit, ping.exit), (Some(0), Some(0)));
    assert!(listener.output.ends_with(" flow events have been shown.\n"), "{}", listener.output);
    assert!(listener.ended > ping.ended);
    let said = run(&spec("")).expect_err("nothing would end it");
    assert!(said.contains("put `background: true` beside it"), "{said}");
    let report = run(&format!("  duration: 2s\n{}", spec(""))).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((report.commands.len(), report.commands[0].exit), (1, Some(0)));
}
