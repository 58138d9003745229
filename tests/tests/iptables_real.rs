//! The real iptables loads what we print, and prints what we print. Each check runs in a network namespace of its own.

use podhop_tests::iptables::{Random, rule_set};
use podhop_tests::scenarios::{self, root};
use sim_core::engine::World;
use sim_core::kernel::netfilter::ipset::{Change, SetType, Spec};
use sim_core::kernel::netfilter::parse::parse;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save::Options;
use sim_core::kernel::netfilter::{Backend, Iptables};
use sim_core::kernel::show;
use sim_core::observe::{Nowhere, Outputs};
use sim_core::scenario::{self, Disk, Progress};
use sim_core::testing::{Error, NetNs};
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
        for file in
            ["kubeadm.restore", "kubeadm.save.nft", "node1-kubenet.restore", "node2-flannel.restore", "istio.restore"]
        {
            let text = std::fs::read_to_string(root().join("tests/iptables").join(file)).expect("a golden");
            compare(&text);
        }
    }
}

/// What makes the sets that Felix's rules of a golden file ask.
const CALICO_SETS: &str = "\
create cali40all-hosts-net hash:net family inet maxelem 1048576
create cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge hash:net family inet maxelem 1048576
";

/// Felix's rules of a node with a NetworkPolicy: ours and the real ones print them as the file has them.
#[test]
fn rules_of_calico() {
    let golden = std::fs::read_to_string(root().join("tests/iptables/calico-np.rules")).expect("a golden");
    let rules = |text: &str| text.lines().filter(|l| l.starts_with("-A ")).map(str::to_owned).collect::<Vec<_>>();
    let mut chains: Vec<_> = golden.lines().flat_map(|l| l.split(' ')).filter(|w| w.starts_with("cali-")).collect();
    chains.sort_unstable();
    chains.dedup();
    let chains: String = chains.iter().map(|c| format!(":{c} - [0:0]\n")).collect();
    let text = golden.replacen("*filter\n", &format!("*filter\n{chains}"), 1);
    for (backend, name) in BACKENDS {
        let mut ours = Iptables::new(backend);
        let restore = Restore { text: text.clone(), ..Restore::default() };
        assert!(ours.restore(&restore).is_err(), "the sets are not there");
        for set in CALICO_SETS.lines().filter_map(|l| l.split(' ').nth(1)) {
            let create = Change::Create { name: set.to_owned(), spec: Spec::new(SetType::HashNet), exist: false };
            ours.change_sets(&create, 0).expect("a new set");
        }
        ours.restore(&restore).unwrap_or_else(|(line, e)| panic!("{name}: line {line}: {e:?}"));
        let ours = ours.save(Options::default()).expect("no table was asked for");
        assert_eq!(rules(&ours), rules(&golden), "{name}");
        if have() && have_ipset() {
            let restore = format!("iptables-{name}-restore");
            let script = format!("ipset restore <<EOF\n{CALICO_SETS}EOF\n{restore} && iptables-{name}-save");
            let real = shell(&script, &text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(rules(&real), rules(&golden), "{name}: the real one");
        }
    }
}

/// What the real ipset lists of sets is what ours does, but for the order of members.
#[test]
fn sets_as_the_real_tool_shows_them() {
    if !have_ipset() {
        return;
    }
    let commands = [
        "ipset create a hash:net initval 0x11223344",
        "ipset add a 10.0.0.0/24",
        "ipset add a 10.0.0.9/24",
        "ipset -exist add a 10.0.0.0/24",
        "ipset add a 10.1.0.0/16 nomatch",
        "ipset add a 10.5.0.0-10.5.0.10",
        "ipset add a 0.0.0.0/0",
        "ipset test a 10.1.0.1",
        "ipset create b hash:ip,port hashsize 100 maxelem 5 initval 0x1",
        "ipset add b 10.0.0.1,80",
        "ipset add b 10.0.0.1,udp:53-54",
        "ipset add b 10.0.0.1,sctp:1-9",
        "ipset create c bitmap:port range 0-1023",
        "ipset add c 22-25",
        "ipset add c 2000",
        "ipset create d hash:ip initval 0x2",
        "ipset add d 1.1.1.0/30",
        "ipset del d 1.1.1.1",
        "ipset del d 1.1.1.1",
        "ipset -exist del d 1.1.1.1",
        "ipset create d hash:net",
        "ipset swap a b",
        "ipset swap a nono",
        "ipset rename c d",
        "ipset rename c e",
        "ipset destroy nono",
        "ipset add nono 1.1.1.1",
        "ipset list",
        "ipset list -t a",
        "ipset list -n",
        "ipset save",
        "ipset flush a",
        "ipset list a",
        "ipset restore <<EOF\nadd d 9.9.9.9\n\n# x\nadd d 9.9.9.9\nEOF",
        "ipset destroy",
        "ipset list",
    ];
    let mut net = NetNs::new(&[]).expect("a namespace");
    let ours: String = commands.iter().map(|c| output(&mut net, c)).collect();
    let script: String = commands.iter().map(|c| format!("{c}\n[ $? = 0 ] && echo done || echo failed\n")).collect();
    let real = shell(&format!("exec 2>&1\n{script}"), "").expect("the last command succeeds");
    assert_eq!(in_order(&ours), in_order(&real));
}

/// What a command printed, and whether it succeeded.
fn output(net: &mut NetNs, command: &str) -> String {
    match net.run(command) {
        Ok(text) => format!("{text}done\n"),
        Err(Error::Command { message, .. }) => format!("{message}\nfailed\n"),
        Err(other) => panic!("{command}: {other}"),
    }
}

/// The lines of a text, with runs of members and of lines that add them put in order.
fn in_order(text: &str) -> Vec<String> {
    let kind = |l: &String| l.starts_with("add ") || l.starts_with(|c: char| c.is_ascii_digit());
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.chunk_by_mut(|a, b| kind(a) && kind(b)).for_each(<[String]>::sort);
    lines
}

fn have_ipset() -> bool {
    let there = shell("ipset list", "").is_ok();
    assert!(there || std::env::var("CI").is_err(), "skipped: needs root and ipset");
    there
}

/// The rules of every namespace of every scenario, when its last command has ended.
#[test]
fn rule_sets_of_scenarios() {
    if !have() {
        return;
    }
    let mut rules = Rules::default();
    for path in scenarios::all() {
        let (_, plan) =
            scenario::load(&Disk, &root().join(&path), None).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let options = scenario::Options { outputs: Outputs::NONE, ..scenario::Options::default() };
        rules.namespaces = plan.namespaces.iter().map(|n| n.name.clone()).collect();
        scenario::run(&plan, &mut Nowhere, options, &mut rules).unwrap_or_else(|e| panic!("{path:?}: {e:?}"));
    }
    assert!(rules.texts.len() > 10, "{} scenarios and namespaces have rules", rules.texts.len());
    // Those that ask sets are loaded beside them, in rules_of_calico.
    for (backend, text) in rules.texts.iter().filter(|(_, text)| !text.contains("--match-set")) {
        // Whatever the legacy tables hold, nf_tables can hold too.
        let names = BACKENDS.iter().filter(|(b, _)| b == backend || *b == Backend::Nft).map(|(_, name)| name);
        for name in names {
            let test = shell(&format!("iptables-{name}-restore --test"), text);
            assert!(test.is_ok(), "{name}: {test:?}\n{text}");
        }
    }
}

/// The rules that namespaces have, each text once.
#[derive(Default)]
struct Rules {
    namespaces: Vec<String>,
    texts: Vec<(Backend, String)>,
}

impl Progress for Rules {
    fn commands(&mut self, _: usize, _: usize) {}

    fn settled(&mut self, world: &World, look: usize) {
        for ns in self.namespaces.iter().filter(|_| look == 0).filter_map(|name| world.namespace(name)) {
            let rules = show::iptables(world.machine(ns).spaces(), ns);
            let text = rules.save(Options::default()).expect("no table is asked for");
            let one = (rules.backend(), text);
            if one.1.contains("\n-A ") && !self.texts.contains(&one) {
                self.texts.push(one);
            }
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
        for file in ["kubeadm.restore", "node1-kubenet.restore", "node2-flannel.restore", "istio.restore"] {
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
