//! Labs of bare namespaces as text: commands, a packet, what every interface showed. What is expected stands in the
//! facts as measured on Linux 6.18.

use podhop_parity::judge::decode;
use sim_core::kernel::netns::MAX_NAMESPACES;
use sim_core::observe::Memory;
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, SourceFile};

/// node1 with a bridge cbr0 and the pods p1a and p1b, as in the recorded lab; hairpin as there.
const NODE: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: node}
spec:
  namespaces:
    node1:
      setup:
        - ip link add cbr0 address 0a:58:0a:f4:01:01 type bridge
        - ip link add vethp1a address 4e:00:00:00:01:02 type veth peer name eth0 address 0a:58:0a:f4:01:02 netns p1a
        - ip link set vethp1a master cbr0 up
        - ip link add vethp1b address 4e:00:00:00:01:03 type veth peer name eth0 address 0a:58:0a:f4:01:03 netns p1b
        - ip link set vethp1b master cbr0 up
        - ip link set cbr0 up
        - ip addr add 10.244.1.1/24 brd + dev cbr0
    p1a: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.244.1.2/24 brd + dev eth0]}
    p1b: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.244.1.3/24 brd + dev eth0]}
  traffic:
"#;

fn run(traffic: &str) -> (Report, Memory) {
    let lines = traffic.trim().lines().map(|l| format!("    {}\n", l.trim()));
    let source = SourceFile::new("inline", lines.fold(NODE.to_owned(), |text, l| text + &l));
    let plan = scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut memory = Memory::default();
    let report = scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
    (report, memory)
}

/// `interface direction` of the records of `tcpdump -i any` in a namespace whose text holds `what`.
fn any(memory: &Memory, ns: &str, what: &str) -> Vec<String> {
    let Some(bytes) = memory.files.get(&format!("captures/namespaces/{ns}/any.pcap")) else { return vec![] };
    let names = ["", "lo", "cbr0", "vethp1a", "vethp1b"];
    let records = decode::read_pcap(bytes).expect("a capture");
    let ours = records.iter().filter(|r| r.text.contains(what));
    let name = |i: Option<u32>| names.get(i.unwrap_or(0) as usize).copied().unwrap_or("?");
    ours.map(|r| format!("{} {}", name(r.ifindex), r.direction())).collect()
}

/// BEHAVIOUR section 7: a bridge shows frames between its ports only while it is promiscuous, as P after the port's
/// Out.
#[test]
fn a_promiscuous_bridge_shows_what_it_forwards() {
    let ping = r#"- {from: p1a, run: "ping -c1 10.244.1.3"}"#;
    let (_, plain) = run(ping);
    let bridged = ["vethp1a P", "vethp1b Out", "vethp1b P", "vethp1a Out"];
    assert_eq!(any(&plain, "node1", "ICMP"), bridged);
    let (_, promisc) = run(&format!("- {{from: node1, run: \"ip link set cbr0 promisc on\"}}\n{ping}"));
    let shown = ["vethp1a P", "vethp1b Out", "cbr0 P", "vethp1b P", "vethp1a Out", "cbr0 P"];
    assert_eq!(any(&promisc, "node1", "ICMP"), shown);
}

/// Facts 5: unknown unicast goes to all ports but the one that it came from, and not to the bridge itself.
#[test]
fn unknown_unicast_is_flooded() {
    let (_, memory) = run(r#"- {from: p1a, run: "ping -c1 10.244.1.3"}
           - {from: p1a, run: "ping -c1 10.244.1.1"}
           - {from: node1, run: "ip link set cbr0 type bridge fdb_flush"}
           - {from: p1a, run: "ping -c1 -W1 10.244.1.3"}"#);
    let second = any(&memory, "node1", "ICMP").split_off(8);
    assert_eq!(second, ["vethp1a P", "vethp1b Out", "vethp1b P", "vethp1a Out"]);
    assert!(!second.iter().any(|l| l.starts_with("cbr0")));
}

/// Facts 5: hairpin reflects a broadcast to its sender; the flood goes first, newest port first, then up.
#[test]
fn hairpin_and_the_order_of_a_flood() {
    let (_, memory) = run(r#"- {from: node1, run: "bridge link set dev vethp1a hairpin on"}
           - {from: p1a, run: "ping -c1 10.244.1.3"}"#);
    let asked = any(&memory, "node1", "who-has 10.244.1.3 tell 10.244.1.2");
    assert_eq!(asked, ["vethp1a B", "vethp1b Out", "vethp1a Out", "cbr0 B"]);
    assert_eq!(any(&memory, "p1a", "who-has 10.244.1.3 tell 10.244.1.2").len(), 2);
}

/// Facts 6.3: answered for any local address on any device, unless arp_ignore says otherwise.
#[test]
fn arp_ignore() {
    let ask = r#"- {from: node1, run: "ip addr add 192.168.7.7/32 dev lo"}
                 - {from: p1a, run: "arping -c1 -w1 -I eth0 192.168.7.7"}"#;
    let (_, flux) = run(ask);
    assert_eq!(any(&flux, "node1", "ARP reply 192.168.7.7"), ["cbr0 Out", "vethp1a Out"]);
    let (_, strict) = run(&format!("- {{from: node1, run: \"sysctl -w net.ipv4.conf.all.arp_ignore=1\"}}\n{ask}"));
    assert_eq!(any(&strict, "node1", "ARP reply"), [""; 0]);
}

/// Facts 6.3: a proxy answers for what it would forward out of another device, with its own address.
#[test]
fn proxy_arp() {
    let (_, memory) = run(r#"- {from: node1, run: "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.cbr0.proxy_arp=1"}
           - {from: node1, run: "sysctl -w net.ipv4.neigh.cbr0.proxy_delay=0"}
           - {from: node1, run: "ip link add up0 type veth peer name up1"}
           - {from: node1, run: "ip link set up0 up"}
           - {from: node1, run: "ip route add 172.16.0.0/16 dev up0"}
           - {from: p1a, run: "arping -c1 -w1 -I eth0 172.16.0.9"}
           - {from: p1a, run: "arping -c1 -w1 -I eth0 10.244.1.99"}"#);
    let own = "is-at 0a:58:0a:f4:01:01";
    assert_eq!(any(&memory, "node1", &format!("172.16.0.9 {own}")), ["cbr0 Out", "vethp1a Out"]);
    assert_eq!(any(&memory, "node1", &format!("10.244.1.99 {own}")), [""; 0], "it is behind the same device");
}

/// Facts 6.2: the queue of an unresolved neighbour holds unres_qlen_bytes of truesize; the oldest goes.
#[test]
fn the_wait_queue_drops_the_oldest() {
    let (report, memory) = run(r#"- {from: p1a, run: "sysctl -w net.ipv4.neigh.eth0.unres_qlen_bytes=2000"}
           - {from: p1a, run: "ping -c4 -i0.2 -W3 10.244.1.77"}"#);
    // 832 bytes of truesize each: two fit, the first two are dropped when the third and the fourth come.
    assert_eq!(any(&memory, "p1a", "host unreachable"), ["lo In"; 2]);
    assert!(report.counts.dropped >= 4, "{:?}", report.counts);
    let trace = String::from_utf8(memory.files["trace.jsonl"].clone()).expect("text");
    assert_eq!(trace.matches("NEIGH_QUEUEFULL").count(), 2);
    assert_eq!(trace.matches("NEIGH_FAILED").count(), 2);
}

/// A port that is down neither receives nor sends, and what was learned behind it is forgotten.
#[test]
fn port_down() {
    let (_, memory) = run(r#"- {from: p1a, run: "ping -c1 10.244.1.3"}
           - {from: node1, run: "ip link set vethp1b down"}
           - {from: p1a, run: "ping -c1 -W1 10.244.1.3"}"#);
    let asked = any(&memory, "node1", "ICMP echo request");
    assert_eq!(asked, ["vethp1a P", "vethp1b Out", "vethp1a P"]);
}

/// A frame longer than the receiving end's MTU (and its header and a tag) is dropped by the veth.
#[test]
fn mtu_of_a_port() {
    let (_, memory) = run(r#"- {from: p1b, run: "ip link set eth0 mtu 1000"}
           - {from: p1a, run: "ping -c1 -W1 -s 1200 10.244.1.3"}
           - {from: p1a, run: "ping -c1 -W1 -s 900 10.244.1.3"}"#);
    assert_eq!(any(&memory, "p1b", "echo request").len(), 1);
    let trace = String::from_utf8(memory.files["trace.jsonl"].clone()).expect("text");
    assert!(trace.contains("PKT_TOO_BIG"));
}

/// Facts 6.2: an entry learned from a request is STALE; its first use makes it DELAY, after 5 s a unicast probe
/// follows.
#[test]
fn stale_delay_probe() {
    let (_, memory) = run(r#"- {from: p1a, run: "ping -c1 10.244.1.3"}
           - {sleep: 6s}"#);
    let probe = any(&memory, "node1", "who-has 10.244.1.2 tell 10.244.1.3");
    assert_eq!(probe, ["vethp1b P", "vethp1a Out"], "by unicast, so only one port sees it");
}

/// More namespaces than a kernel holds, with its first one, are refused before they are tried.
#[test]
fn too_many_namespaces() {
    let scenario = |count: usize| {
        let (head, _) = NODE.split_once("    node1:").expect("namespaces");
        let text = (1..=count).fold(head.to_owned(), |text, n| text + &format!("    n{n}: {{}}\n"));
        scenario::resolve(&SourceFile::new("many", text))
    };
    assert!(scenario(1000).is_ok());
    let said = scenario(MAX_NAMESPACES).expect_err("one too many").render(false);
    assert!(said.contains("MAX_NAMESPACES") && said.contains("     n65536: {}\n"), "{said}");
}
