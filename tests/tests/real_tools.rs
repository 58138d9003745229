//! The same commands in real network namespaces: the real tools print what ours do.

use podhop_tests::{real, scenarios};
use sim_core::observe::Nowhere;
use sim_core::scenario::plan::{Plan, Traffic};
use sim_core::scenario::{self, Options, SourceFile};

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

#[test]
fn texts_are_those_of_the_real_tools() {
    if !real::can_run() {
        return;
    }
    let plan = plan();
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    let real = real::Lab::new(&plan);
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

/// The lesson's set-up, with addresses in place of random ones, and its first ping, then all commands.
fn plan() -> Plan {
    let path = scenarios::root().join("scenarios/articles/same-node/scenario.yaml");
    let yaml = std::fs::read_to_string(&path).expect("the lesson");
    let (head, _) = yaml.split_once("  traffic:").expect("traffic");
    let head = ["a", "b"].iter().fold(head.to_owned(), |text, pod| {
        let add = format!("ip link add veth-{pod} ");
        text.replace(&add, &format!("{add}address 4e:00:00:00:04:0{pod} "))
    });
    // A bridge that snoops joins 224.0.0.106 and says so after a random time, which the ports' counters would tell.
    let head = head.replace(" type bridge", " type bridge mcast_snooping 0");
    let mut text = format!("{head}  traffic:\n    - {{from: pod-a, run: \"ping -c1 10.244.4.41\"}}\n");
    for (from, run) in COMMANDS {
        text += &format!("    - {{from: {from}, run: \"{run}\"}}\n");
    }
    scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)))
}
