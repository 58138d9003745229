//! Lab A once more, built by what configures a cluster: its pods and Services as manifests, its network by the kubelet,
//! kubenet and kube-proxy. It must show in every case what the lab that commands built shows: what the real kernel
//! showed.

use podhop_tests::real::file_name;
use podhop_tests::scenarios::root;
use podhop_tests::{lab, verdict};
use regex::Regex;
use sim_core::observe::{Nowhere, Outputs};
use sim_core::scenario::{self, Disk, Options, SourceFile};
use std::collections::BTreeMap;

fn check(lab: &str) {
    let mut report = vec![];
    let cases: Vec<_> = lab::workloads().into_iter().filter(|w| w.lab == lab).collect();
    assert!(!cases.is_empty(), "{lab} has cases");
    for w in &cases {
        let w = w.in_cluster();
        let differences = verdict::differences(&w, lab::simulate(&w));
        if !differences.is_empty() {
            report.push(format!("{lab}/{}\n{}", w.case, differences.join("\n")));
        }
    }
    assert!(report.is_empty(), "{} of {} cases differ\n{}", report.len(), cases.len(), report.join("\n"));
}

#[test]
fn off() {
    check("labA-off");
}

#[test]
fn on() {
    check("labA-on");
}

#[test]
fn slow() {
    check("labA-off-slow");
}

#[test]
fn without_bridge_netfilter() {
    check("labA-off-nf0");
}

#[test]
fn with_the_windows_of_6_18() {
    check("labA-off-k618");
}

#[test]
fn with_iptables_legacy() {
    check("labA-off-legacy");
}

/// What shows how a node or a pod is set up.
const SHOWN: [&str; 7] =
    ["ip -d link", "ip addr", "ip rule", "ip route show table all", "bridge -d link", "sysctl -a", "iptables-save"];

/// What the lab in a file shows of its nodes and pods, by command and name.
fn shown(file: &str) -> BTreeMap<(&'static str, String), String> {
    let path = root().join("tests/recordings").join(file);
    let mut text = std::fs::read_to_string(&path).expect("a file") + "  traffic:\n";
    let cluster = file == lab::CLUSTER;
    let name = |pod: &(&'static str, &'static str)| if cluster { pod.1 } else { pod.0 };
    let places: Vec<&str> = ["node1", "node2"].into_iter().chain(lab::PODS.iter().map(name)).collect();
    let runs =
        SHOWN.iter().flat_map(|command| places.iter().map(move |ns| format!("    - {{from: {ns}, run: {command}}}\n")));
    text.extend(runs);
    let source = SourceFile::new(path.display().to_string(), text);
    let plan = scenario::resolve_in(&Disk, &source, None).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let options = Options { outputs: Outputs::NONE, ..Options::default() };
    let report = scenario::run(&plan, &mut Nowhere, options, &mut ()).expect("it runs");
    // The other end's number, whose names are free; the time.
    let free = Regex::new(r"@if\d+| link-netns \S+|(?m)^# .*\n").expect("it is one");
    let mut all = BTreeMap::new();
    for c in report.commands {
        let command = SHOWN.into_iter().find(|s| *s == c.command).expect("one of them");
        all.insert((command, file_name(&c.from).to_owned()), free.replace_all(&c.output, "").into_owned());
    }
    all
}

/// The rules of a table's chains; those of different Services stand in any order.
fn rules(saved: &str) -> BTreeMap<String, Vec<String>> {
    let mut chains = BTreeMap::<String, Vec<String>>::new();
    let mut table = "";
    for line in saved.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            chains.entry(format!("{table} {chain}")).or_default().push(rule.to_owned());
        }
    }
    for chain in ["filter KUBE-SERVICES", "filter KUBE-EXTERNAL-SERVICES", "nat KUBE-SERVICES", "nat KUBE-NODEPORTS"] {
        let rules = chains.get_mut(chain).expect("kube-proxy writes it");
        // The last one leads to the node ports.
        let last = if chain == "nat KUBE-SERVICES" { rules.len() - 1 } else { rules.len() };
        rules[..last].sort_unstable();
    }
    chains
}

/// Both labs have the same devices, addresses, routes, settings and rules, also those that no case asks for.
#[test]
fn the_same_set_up() {
    let (by_hand, by_cluster) = (shown("labA.yaml"), shown(lab::CLUSTER));
    assert_eq!(by_hand.len(), SHOWN.len() * 6);
    for (at, want) in &by_hand {
        let got = &by_cluster[at];
        if at.0 == "iptables-save" && at.1.starts_with("node") {
            assert_eq!(rules(got), rules(want), "{at:?}");
        } else {
            assert_eq!(got, want, "{at:?}");
        }
    }
}
