//! The real iptables loads what we print, and prints what we print. Each check runs in a network namespace of its own.

use podhop_tests::iptables::{Random, rule_set};
use podhop_tests::scenarios::root;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save::Options;
use sim_core::kernel::netfilter::{Backend, Iptables};
use std::io::Write as _;
use std::process::{Command, Stdio};

const BACKENDS: [(Backend, &str); 2] = [(Backend::Legacy, "legacy"), (Backend::Nft, "nft")];
/// Random rule sets for each backend.
const RANDOM_SETS: u64 = 150;

/// Why the real iptables 1.8.9 cannot be asked, if it cannot.
fn missing() -> Option<String> {
    for tool in ["iptables-legacy-restore", "iptables-nft-restore"] {
        let version = Command::new(tool).arg("--version").output();
        let version = version.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        if !version.contains("v1.8.9") {
            return Some(format!("{tool} 1.8.9"));
        }
        if Command::new("unshare").args(["-n", tool, "--test", "/dev/null"]).status().is_ok_and(|s| s.success()) {
            continue;
        }
        return Some(format!("root, network namespaces and {tool}"));
    }
    None
}

fn have() -> bool {
    let Some(what) = missing() else { return true };
    assert!(std::env::var("CI").is_err(), "skipped: needs {what}");
    println!("skipped: needs {what}");
    false
}

/// Runs a script in a new network namespace with `input` on its standard input; standard output, or what it complained
/// of.
fn shell(script: &str, input: &str) -> Result<String, String> {
    let mut child = Command::new("unshare")
        .args(["-n", "sh", "-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare was there a moment ago");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // It may stop reading at an error.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("it ends with its input");
    writer.join().expect("it only writes");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Ours and the real one load the same text; both must print the same.
fn compare(text: &str) {
    for (backend, name) in BACKENDS {
        let mut ours = Iptables::new(backend);
        let restore = Restore { counters: true, text: text.to_owned(), ..Restore::default() };
        ours.restore(&restore).unwrap_or_else(|(line, e)| panic!("{name}: line {line}: {e:?}\n{text}"));
        let ours = ours.save(Options { counters: true, ..Options::default() }).expect("no table was asked for");
        let script = format!("iptables-{name}-restore -c && iptables-{name}-save -c | grep -v '^#'");
        let real = shell(&script, text).unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
        let lines = |a: &str, b: &str| a.lines().filter(|l| !b.lines().any(|m| m == *l)).collect::<Vec<_>>().join("\n");
        assert!(ours == real, "{name}\nours:\n{}\nreal:\n{}\n", lines(&ours, &real), lines(&real, &ours));
        let test = shell(&format!("iptables-{name}-restore --test"), &ours);
        assert!(test.is_ok(), "{name}: {test:?}\n{ours}");
    }
}

#[test]
fn rule_sets_of_nodes() {
    if have() {
        for file in ["kubeadm.restore", "kubeadm.save.nft", "node1-kubenet.restore", "node2-flannel.restore"] {
            let text = std::fs::read_to_string(root().join("tests/iptables").join(file)).expect("a golden");
            compare(&text);
        }
    }
}

#[test]
fn random_rule_sets() {
    if have() {
        for seed in 0..RANDOM_SETS {
            compare(&rule_set(&mut Random(seed)));
        }
    }
}
