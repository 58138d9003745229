//! The real iptables loads what we print, and prints what we print. Each check runs in a network namespace of its own.

use podhop_tests::iptables::{Random, rule_set};
use podhop_tests::scenarios::root;
use sim_core::kernel::netfilter::parse::parse;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save::Options;
use sim_core::kernel::netfilter::{Backend, Iptables};
use std::io::Write as _;
use std::process::{Command, Stdio};

const BACKENDS: [(Backend, &str); 2] = [(Backend::Legacy, "legacy"), (Backend::Nft, "nft")];
/// Random rule sets for each backend.
const RANDOM_SETS: u64 = 150;
/// Random rule sets whose lists are compared for each backend.
const RANDOM_LISTS: u64 = 40;

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

/// Ours and the real one list the same rules; both must print the same, with each of these options.
fn compare_lists(text: &str, options: &[&str]) {
    for (backend, name) in BACKENDS {
        let mut ours = Iptables::new(backend);
        let restore = Restore { counters: true, text: text.to_owned(), ..Restore::default() };
        ours.restore(&restore).unwrap_or_else(|(line, e)| panic!("{name}: line {line}: {e:?}\n{text}"));
        let tables: Vec<String> = ours.tables().map(|(t, _)| t.name().name().to_owned()).collect();
        for options in options {
            let calls: Vec<String> = tables.iter().map(|t| format!("-t {t} -L {options}")).collect();
            let mut listed = String::new();
            for call in &calls {
                let words: Vec<&str> = call.split_whitespace().collect();
                let command = parse(&words, None).unwrap_or_else(|e| panic!("{call}: {e:?}"));
                listed += &ours.run(command).unwrap_or_else(|e| panic!("{call}: {e:?}"));
            }
            let calls: String = calls.iter().map(|c| format!(" && iptables-{name} {c}")).collect();
            let real = shell(&format!("iptables-{name}-restore -c{calls}"), text);
            let real = real.unwrap_or_else(|e| panic!("{name}: {e}\n{text}"));
            let differs = listed.lines().zip(real.lines()).find(|(a, b)| a != b);
            let lines = (listed.lines().count(), real.lines().count());
            assert!(listed == real, "{name} {options}: {differs:#?} {lines:?}");
        }
    }
}

#[test]
fn lists_of_nodes() {
    if have() {
        for file in ["kubeadm.restore", "node1-kubenet.restore", "node2-flannel.restore"] {
            let text = std::fs::read_to_string(root().join("tests/iptables").join(file)).expect("a golden");
            compare_lists(&text, &["-n", "-nv", "-nvx --line-numbers"]);
        }
    }
}

#[test]
fn random_lists() {
    if have() {
        for seed in 0..RANDOM_LISTS {
            compare_lists(&rule_set(&mut Random(seed)), &["-nv", "-n --line-numbers"]);
        }
    }
}

/// Names in place of numbers, and counters of all sizes.
#[test]
fn lists_with_names() {
    const TEXT: &str = "*filter
:INPUT DROP [123456:7890123456]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:A - [0:0]
:B-WITH-A-LONG-NAME - [0:0]
[99999:100000] -A INPUT -i lo -j ACCEPT
[12345678901:12345678901234567] -A INPUT -p tcp -m tcp --dport 80 -j A
[0:0] -A INPUT -p tcp -m tcp ! --sport 53:443 -m multiport --dports 22,8080:8090 -g A
[0:0] -A INPUT -s 127.0.0.1/32 -d 127.0.0.0/8 -p udp -m udp --sport 123 -j A
[0:0] -A INPUT -s 169.254.0.0/16 ! -p icmp -f -j B-WITH-A-LONG-NAME
[0:0] -A INPUT -p icmp -m icmp --icmp-type 8 -j REJECT --reject-with icmp-host-prohibited
[0:0] -A INPUT -p icmp -m icmp ! --icmp-type 3/4 -j ACCEPT
[0:0] -A INPUT -p icmp -m icmp --icmp-type any
[0:0] -A INPUT -p 47 -j LOG --log-prefix \"x y\" --log-level 6 --log-tcp-options
[0:0] -A INPUT -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m conntrack --ctstate NEW ! --ctorigdst 10.0.0.0/8
[0:0] -A FORWARD ! -i eth+ -o br0 -m state --state RELATED,ESTABLISHED
COMMIT
";
    if have() {
        compare_lists(TEXT, &["", "-v", "-vx", "--line-numbers", "-n"]);
    }
}
