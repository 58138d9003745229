//! The same commands in real network namespaces: the real tools print what ours do.

use podhop_tests::scenarios;
use sim_core::observe::Nowhere;
use sim_core::scenario::plan::{Plan, Traffic};
use sim_core::scenario::{self, Options, SourceFile};
use std::process::{Command, Output};

/// What is compared, after the ping of articles/same-node.
const COMMANDS: &[(&str, &str)] = &[
    ("node", "ip link"),
    ("node", "ip addr"),
    ("node", "ip -br link"),
    ("node", "ip -br addr"),
    ("node", "ip route"),
    ("node", "ip route show table local"),
    ("node", "ip neigh"),
    ("node", "bridge link"),
    ("node", "bridge fdb"),
    ("node", "bridge fdb show br cbr0"),
    ("node", "ip link show master cbr0"),
    ("pod-a", "ip addr show eth0"),
    ("pod-a", "ip -s link show eth0"),
    ("pod-a", "ip -o addr"),
    ("pod-a", "ip route show table all"),
    ("pod-a", "ip neigh"),
    ("pod-b", "ip neigh"),
];

/// The versions whose texts the facts describe (Debian 12).
const IPROUTE2: &str = "iproute2-6.1.0";

#[test]
fn texts_are_those_of_the_real_tools() {
    if !can_run() {
        assert!(std::env::var("CI").is_err(), "skipped: needs root, ip and bridge of {IPROUTE2}, ping");
        println!("skipped: needs root, ip and bridge of {IPROUTE2}, ping");
        return;
    }
    let plan = plan();
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    let real = Lab::new(&plan);
    for t in &plan.traffic {
        let Traffic::Run(run) = t else { continue };
        let out = real.exec(&run.from, &run.line.text);
        if !COMMANDS.contains(&(run.from.as_str(), run.line.text.as_str())) {
            continue;
        }
        let ours = report.commands.iter().find(|c| c.from == run.from && c.command == run.line.text);
        let ours = ours.expect("it was run").output.clone();
        let theirs = String::from_utf8_lossy(&out.stdout).replace(&real.prefix, "");
        assert_eq!(ours, theirs, "[{}] {}", run.from, run.line.text);
    }
}

fn can_run() -> bool {
    let version = Command::new("ip").arg("-V").output();
    let good = version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(IPROUTE2));
    let probe = format!("podhop-probe-{}", std::process::id());
    let ip = |args: &[&str]| Command::new("ip").args(args).output().is_ok_and(|o| o.status.success());
    good && Command::new("ping").arg("-V").output().is_ok()
        && ip(&["netns", "add", &probe])
        && ip(&["netns", "del", &probe])
}

/// The lesson's set-up, with addresses in place of random ones, and its first ping, then all commands.
fn plan() -> Plan {
    let path = scenarios::root().join("scenarios/articles/same-node/scenario.yaml");
    let yaml = std::fs::read_to_string(&path).expect("the lesson");
    let (head, _) = yaml.split_once("  traffic:").expect("traffic");
    let head = ["a", "b"].iter().fold(head.to_owned(), |text, pod| {
        let add = format!("ip link add veth-{pod} ");
        text.replace(&add, &format!("{add}address 4e:00:00:00:04:0{pod} "))
    });
    let mut text = format!("{head}  traffic:\n    - {{from: pod-a, run: \"ping -c1 10.244.4.41\"}}\n");
    for (from, run) in COMMANDS {
        text += &format!("    - {{from: {from}, run: \"{run}\"}}\n");
    }
    scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)))
}

/// Real namespaces, gone when dropped.
struct Lab {
    prefix: String,
    names: Vec<String>,
}

impl Lab {
    fn new(plan: &Plan) -> Self {
        let names = plan.namespaces.iter().map(|n| n.name.clone()).collect();
        let lab = Lab { prefix: format!("podhop-{}-", std::process::id()), names };
        for n in &plan.namespaces {
            let name = format!("{}{}", lab.prefix, n.name);
            assert!(Command::new("ip").args(["netns", "add", &name]).status().expect("ip").success());
            lab.exec(&n.name, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1");
        }
        for n in &plan.namespaces {
            for line in &n.setup {
                let out = lab.exec(&n.name, &line.text);
                assert!(out.status.success(), "{}: {}", line.text, String::from_utf8_lossy(&out.stderr));
            }
        }
        lab
    }

    /// Runs a command in a namespace; the names of namespaces in it get the prefix.
    fn exec(&self, ns: &str, command: &str) -> Output {
        let mut words: Vec<String> = vec![];
        for w in command.split_whitespace() {
            let after_netns = words.last().is_some_and(|l| l == "netns");
            let named = after_netns && self.names.iter().any(|n| n == w);
            words.push(if named { format!("{}{w}", self.prefix) } else { w.to_owned() });
        }
        let name = format!("{}{ns}", self.prefix);
        Command::new("ip").args(["netns", "exec", &name]).args(words).output().expect("ip runs")
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for n in &self.names {
            let _ = Command::new("ip").args(["netns", "del", &format!("{}{n}", self.prefix)]).status();
        }
    }
}
