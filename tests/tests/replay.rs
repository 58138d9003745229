//! Going back and forth in a run shows what a single pass shows, and leaves the run as it was.

use sim_core::base::Time;
use sim_core::base::time::MS;
use sim_core::observe::{Memory, Nowhere, Outputs};
use sim_core::scenario::exec::{self, Executed};
use sim_core::scenario::replay::MAX_CHECKPOINTS;
use sim_core::scenario::{self, Options, Plan, Replay};

/// What is looked at in each namespace.
const LOOKS: [&str; 9] = [
    "ss -tan",
    "ss -uan",
    "conntrack -L",
    "ip neigh",
    "ip -s link",
    "iptables-save -c",
    "bridge fdb",
    "ip route",
    "sysctl net.netfilter.nf_conntrack_count",
];

fn plan(lab: &str) -> Plan {
    let path = podhop_tests::scenarios::root().join(format!("scenarios/{lab}/scenario.yaml"));
    scenario::load(&scenario::Disk, &path, None).unwrap_or_else(|e| panic!("{}", e.render(false))).1
}

/// 1, 2, …, n in an order that jumps about.
fn shuffled(n: u64, seed: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (1..=n).collect();
    let mut state = seed;
    for at in (1..order.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        order.swap(at, (state >> 33) as usize % (at + 1));
    }
    order
}

/// All texts of all namespaces at this time.
fn texts(replay: &mut Replay<'_, '_>, plan: &Plan, at: Time) -> Vec<String> {
    let mut all = vec![];
    for n in &plan.namespaces {
        for line in LOOKS {
            let what = exec::resolve(plan, &n.name, &[line.to_owned()], &[]).expect("a command");
            let Executed { output, exit, .. } = exec::look(replay.at(at), &what, at);
            assert_eq!(exit, Some(0), "{line} in {} at {at}: {output}", n.name);
            all.push(format!("[{}] $ {line}    at {at}\n{output}", n.name));
        }
    }
    all
}

/// Goes through a lab once forwards, and then to the same 20 times in another order, in a run that is recorded: the
/// texts are the same, and the recorded run's outputs are those of a run that nobody looked into. The number of
/// checkpoints.
fn goes_back_and_forth(lab: &str, seed: u64) -> usize {
    let plan = plan(lab);
    let mut undisturbed = Memory::default();
    let report = scenario::run(&plan, &mut undisturbed, Options::default(), &mut ()).expect("it runs");
    // Two thirds of the times lie on no round number; the last ones are beyond the end.
    let step = report.ended.0 / 18;
    let time = |n: u64| Time(if n.is_multiple_of(3) { n * step / MS * MS } else { n * step + 12_345 });

    let quiet = Options { outputs: Outputs::NONE, ..Options::default() };
    let (mut nowhere, mut nobody) = (Nowhere, ());
    let mut forwards = Replay::new(&plan, &mut nowhere, quiet, &mut nobody).expect("it is set up");
    let single: Vec<Vec<String>> = (1..=20).map(|n| texts(&mut forwards, &plan, time(n))).collect();
    assert!(single.windows(2).any(|two| two[0] != two[1]), "{lab}: nothing ever changes");

    let (mut looked_into, mut nobody) = (Memory::default(), ());
    let mut replay = Replay::new(&plan, &mut looked_into, Options::default(), &mut nobody).expect("it is set up");
    for n in shuffled(20, seed) {
        let again = texts(&mut replay, &plan, time(n));
        for (again, once) in again.iter().zip(&single[n as usize - 1]) {
            assert_eq!(again, once, "{lab}");
        }
    }
    let checkpoints = replay.checkpoints();
    assert!(checkpoints <= MAX_CHECKPOINTS);
    let after = replay.finish().expect("its outputs are kept");
    assert_eq!(after.files, report.files, "{lab}");
    assert_eq!(after.summary(), report.summary(), "{lab}");
    assert!(undisturbed.files.keys().any(|file| file.ends_with("any.pcap")), "{lab}: no captures");
    assert_eq!(looked_into.files, undisturbed.files, "{lab}");

    let mut afterwards = Memory::default();
    scenario::run(&plan, &mut afterwards, Options::default(), &mut ()).expect("it runs");
    assert_eq!(afterwards.files, undisturbed.files, "{lab}");
    checkpoints
}

#[test]
fn a_tcp_lab_goes_back_and_forth() {
    assert!(goes_back_and_forth("labs/slow-link", 1) > 1, "all was replayed from the start");
}

#[test]
fn a_long_lab_thins_out_its_checkpoints() {
    let checkpoints = goes_back_and_forth("labs/long-fat-link", 2);
    assert!(checkpoints > MAX_CHECKPOINTS / 2, "{checkpoints}");
}

#[test]
fn other_labs_go_back_and_forth() {
    for (n, lab) in
        ["nat-by-hand", "retransmission", "time-wait", "dns-search", "port-clash", "vxlan-by-hand"].iter().enumerate()
    {
        goes_back_and_forth(&format!("labs/{lab}"), 3 + n as u64);
    }
}
