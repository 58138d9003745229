//! What `-j LOG` writes, in the real kernel's log and in ours: the same packets, the same lines.

use std::fs;
use std::process::Command;

use podhop_tests::real;
use regex::Regex;
use sim_core::observe::Nowhere;
use sim_core::scenario::plan::Traffic;
use sim_core::scenario::{self, Options, SourceFile};

/// A router with two pods on a bridge, whose frames meet the rules, too, and one behind a device of its own.
const LAB: &str = "\
apiVersion: podhop/v1
kind: Scenario
metadata: {name: log}
spec:
  namespaces:
    node:
      setup:
        - ip link set lo up
        - ip link add cbr0 address 0a:58:0a:f4:04:01 type bridge mcast_snooping 0
        - ip link add va address 4e:00:00:00:04:0a type veth peer name eth0 address 0a:58:0a:f4:04:28 netns pod-a
        - ip link add vb address 4e:00:00:00:04:0b type veth peer name eth0 address 0a:58:0a:f4:04:29 netns pod-b
        - ip link add vc address 4e:00:00:00:04:0c type veth peer name eth0 address 0a:58:0a:f4:04:2a netns pod-c
        - ip link set va master cbr0 up
        - ip link set vb master cbr0 up
        - ip link set cbr0 up
        - ip addr add 10.0.0.1/24 dev cbr0
        - ip link set vc up
        - ip addr add 10.0.1.1/24 dev vc
        - sysctl -qw net.ipv4.ip_forward=1
        - sysctl -qw net.bridge.bridge-nf-call-iptables=1
    pod-a:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.0.2/24 dev eth0
        - ip route add default via 10.0.0.1
    pod-b:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.0.3/24 dev eth0
        - ip route add default via 10.0.0.1
    pod-c:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.1.2/24 dev eth0
        - ip route add default via 10.0.1.1
";

/// Rules on the node, each with a prefix by which its lines are found, and what meets them.
const COMMANDS: [(&str, &str); 31] = [
    ("node", "iptables -A INPUT -j LOG --log-prefix @in: --log-uid"),
    ("node", "iptables -A OUTPUT -j LOG --log-prefix @out: --log-level info --log-tcp-options --log-uid"),
    ("node", "iptables -t mangle -A PREROUTING -p icmp -j MARK --set-mark 0x1f"),
    ("node", "iptables -t mangle -A POSTROUTING -j LOG --log-prefix @post: --log-level 7"),
    ("node", "iptables -t raw -A PREROUTING -j LOG --log-prefix @raw: --log-tcp-sequence --log-ip-options"),
    ("node", "iptables -A FORWARD -j LOG --log-prefix @fwd: --log-macdecode --log-tcp-options"),
    ("node", "iptables -A FORWARD -p udp --dport 99 -j REJECT --reject-with icmp-admin-prohibited"),
    ("node", "iptables -A FORWARD -p udp --dport 98 -j REJECT --reject-with icmp-net-prohibited"),
    ("node", "iptables -A FORWARD -p udp --dport 97 -j REJECT --reject-with icmp-proto-unreachable"),
    ("node", "iptables -A FORWARD -p udp --dport 96 -j REJECT --reject-with icmp-host-unreachable"),
    ("node", "iptables -A FORWARD -p udp --dport 95 -j REJECT --reject-with icmp-net-unreachable"),
    ("node", "iptables -A FORWARD -p udp --dport 94 -j REJECT --reject-with icmp-host-prohibited"),
    ("node", "iptables -A FORWARD -p tcp --dport 79 -j REJECT --reject-with tcp-reset"),
    ("node", "ping -c1 127.0.0.1"),
    ("pod-a", "ping -c1 10.0.0.1"),
    ("pod-a", "ping -c1 -Q 0xb8 10.0.0.3"),
    ("pod-a", "ping -c1 10.0.1.2"),
    ("pod-a", "ping -c1 -s 1600 -M dont 10.0.1.2"),
    ("pod-a", "ping -c1 -t1 10.0.1.2"),
    ("pod-a", "nc -u -z -p 40000 -w1 10.0.1.2 99"),
    ("pod-a", "nc -u -z -p 40000 -w1 10.0.1.2 98"),
    ("pod-a", "nc -u -z -p 40000 -w1 10.0.1.2 97"),
    ("pod-a", "nc -u -z -p 40000 -w1 10.0.1.2 96"),
    ("pod-a", "nc -u -z -p 40000 -w1 10.0.1.2 95"),
    ("pod-c", "nc -u -z -p 40000 -w1 10.0.0.3 94"),
    ("pod-a", "nc -z -p 40001 -w1 10.0.1.2 79"),
    ("pod-a", "nc -z -p 40002 -w1 10.0.1.2 80"),
    ("pod-a", "nc -z -p 40003 -w1 10.0.0.3 80"),
    // The answer to a connection is its socket's, but on lo.
    ("node", "nc -z -p 40004 -w1 10.0.0.2 80"),
    ("node", "nc -z -p 40005 -w1 127.0.0.1 80"),
    ("node", "nc -u -z -p 40006 -w1 10.0.0.2 99"),
];

/// While it lives, LOG works in all namespaces of this machine.
struct Everywhere(String);

const ALL_NETNS: &str = "/proc/sys/net/netfilter/nf_log_all_netns";

impl Everywhere {
    fn new() -> Self {
        let before = fs::read_to_string(ALL_NETNS).expect("a sysctl");
        fs::write(ALL_NETNS, "1").expect("root");
        Everywhere(before)
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::write(ALL_NETNS, &self.0);
    }
}

#[test]
fn the_log_is_the_kernels() {
    if !real::can_run() || !fs::exists(ALL_NETNS).is_ok_and(|there| there) {
        return;
    }
    let mark = format!("{}-", std::process::id());
    let commands = COMMANDS.map(|(from, command)| (from, command.replace('@', &mark)));
    let mut text = format!("{LAB}  traffic:\n");
    for (from, command) in &commands {
        text += &format!("    - {{from: {from}, run: \"{command}\"}}\n");
    }
    text += "    - {from: pod-b, run: dmesg -x}\n";
    let plan = scenario::resolve(&SourceFile::new("inline", text)).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let report = scenario::run(&plan, &mut Nowhere, Options::default(), &mut ()).expect("it runs");
    let ours = report.commands.last().expect("dmesg").output.clone();

    let _everywhere = Everywhere::new();
    let real = real::Lab::new(&plan);
    for t in &plan.traffic {
        let Traffic::Run(run) = t else { continue };
        let _ = real.exec(&run.from, &run.line.text);
    }
    let theirs = Command::new("dmesg").arg("-x").output().expect("it is there");
    let theirs = String::from_utf8_lossy(&theirs.stdout);
    let [theirs, ours] = [theirs.as_ref(), ours.as_str()].map(|log| masked(log, &mark));
    assert!(theirs.len() > 50, "{}", theirs.len());
    for (n, (theirs, ours)) in theirs.iter().zip(&ours).enumerate() {
        assert_eq!(ours, theirs, "line {n}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// The lines of this test, without what is free in them: times, ids, sequence numbers and time stamps.
fn masked(log: &str, mark: &str) -> Vec<String> {
    let free = [
        (r"\[ *\d+\.\d+\] ", ""),
        (r" ID=\d+", " ID=N"),
        (r" (SEQ|ACK)=\d{4,}", " $1=N"),
        (r"0402080A[0-9A-F]{16}", "0402080A…"),
    ];
    let free = free.map(|(pattern, mask)| (Regex::new(pattern).expect("it is one"), mask));
    let mask =
        |line: &str| free.iter().fold(line.to_owned(), |l, (free, mask)| free.replace_all(&l, *mask).into_owned());
    log.lines().filter(|l| l.contains(mark)).map(mask).collect()
}
