//! IPIP tunnels, rule by rule. What is expected follows from net/ipv4/ipip.c and ip_tunnel.c: the kernel that the
//! recordings were made on has no such module.

use podhop_tests::scenarios;
use sim_core::observe::Memory;
use sim_core::observe::filter::LinkType;
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, SourceFile};
use sim_core::wire::{ETH_HLEN, ETH_P_IP, IPPROTO_IPIP, IPPROTO_TCP, be16, checksum, pseudo_sum};
use std::net::Ipv4Addr;

/// Two hosts with a tunnel between them, and a router that knows nothing of it.
const LAB: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: ipip}
spec:
  namespaces:
    r:
      setup:
        - sysctl -qw net.ipv4.ip_forward=1
        - ip link add ra type veth peer name eth0 netns a
        - ip link add rb type veth peer name eth0 netns b
        - ip link set ra up
        - ip link set rb up
        - ip addr add 10.0.1.1/24 dev ra
        - ip addr add 10.0.2.1/24 dev rb
    a:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.1.2/24 dev eth0
        - ip route add default via 10.0.1.1
        - ip link add t0 type ipip local 10.0.1.2 remote 10.0.2.2 OPTIONS
        - ip link set t0 up
        - ip addr add 10.9.0.1/24 dev t0
    b:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.2.2/24 dev eth0
        - ip route add default via 10.0.2.1
        - ip tunnel add t0 mode ipip local 10.0.2.2 remote 10.0.1.2
        - ip link set t0 up
        - ip addr add 10.9.0.2/24 dev t0
      servers: [slowd 9000]
  traffic:
"#;

fn run(options: &str, traffic: &[(&str, &str)]) -> (Report, Memory) {
    let lines = traffic.iter().map(|(ns, command)| format!("    - {{from: {ns}, run: '{command}'}}\n"));
    play(options, &lines.collect::<String>())
}

fn play(options: &str, traffic: &str) -> (Report, Memory) {
    let source = SourceFile::new("inline", LAB.replace("OPTIONS", options) + traffic);
    let plan = scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut memory = Memory::default();
    let report = scenario::run(&plan, &mut memory, Options::default(), &mut ()).expect("it runs");
    assert_eq!(report.limit, None);
    (report, memory)
}

/// What a command printed.
fn printed(report: &Report, at: usize) -> &str {
    &report.commands[at].output
}

/// The packets of a capture, from the network layer on.
fn packets(memory: &Memory, file: &str) -> Vec<Vec<u8>> {
    let (link, frames) = scenarios::frames(&memory.files[&format!("captures/namespaces/{file}.pcap")]);
    if link == LinkType::Raw as u32 {
        return frames.into_iter().map(<[u8]>::to_vec).collect();
    }
    let ipv4 = frames.into_iter().filter(|frame| frame[12..14] == ETH_P_IP.to_be_bytes());
    ipv4.map(|frame| frame[ETH_HLEN..].to_vec()).collect()
}

/// Those that a tunnel has wrapped.
fn wrapped(memory: &Memory, file: &str) -> Vec<Vec<u8>> {
    packets(memory, file).into_iter().filter(|p| p[9] == IPPROTO_IPIP).collect()
}

#[test]
fn a_tunnel_of_its_own() {
    let (report, memory) = run(
        "ttl 77 tos inherit",
        &[
            ("a", "ip -d link show t0"),
            ("a", "ip tunnel show"),
            ("a", "ping -c1 -Q 0x20 10.9.0.2"),
            ("b", "ip -d -br link show type ipip"),
            ("a", "ip tunnel add t0 mode ipip remote 10.0.7.7"),
            ("a", "ip tunnel add t1 mode ipip local 10.0.1.2 remote 10.0.2.2"),
            ("a", "ip tunnel del tunl0"),
            ("a", "ip link del tunl0"),
            ("a", "ip link set t0 mtu 65516"),
            ("b", "ip link set t0 mtu 65516"),
            ("a", "ip tunnel del t0"),
            ("a", "ip -br link"),
        ],
    );
    let text = printed(&report, 0);
    for want in [
        "t0@NONE: <POINTOPOINT,NOARP,UP,LOWER_UP> mtu 1480 qdisc noqueue state UNKNOWN",
        "link/ipip 10.0.1.2 peer 10.0.2.2 promiscuity 0  allmulti 0 minmtu 0 maxmtu 0",
        "ipip any remote 10.0.2.2 local 10.0.1.2 ttl 77 tos inherit pmtudisc addrgenmode",
    ] {
        assert!(text.contains(want), "{want}\n{text}");
    }
    let tunnels = "tunl0: any/ip remote any local any ttl inherit nopmtudisc\n\
        t0: any/ip remote 10.0.2.2 local 10.0.1.2 ttl 77 tos inherit\n";
    assert_eq!(printed(&report, 1), tunnels);
    let exits: Vec<i32> = report.commands.iter().map(|c| c.exit.unwrap_or(-1)).collect();
    assert_eq!(exits, [0, 0, 0, 0, 1, 1, 1, 0, 2, 2, 0, 0]);
    let errors: Vec<&str> = report.commands[4..10].iter().map(|c| c.output.trim()).collect();
    assert_eq!(
        errors,
        [
            "add tunnel \"tunl0\" failed: File exists",
            "add tunnel \"tunl0\" failed: File exists",
            "delete tunnel \"tunl0\" failed: Operation not permitted",
            "",
            "RTNETLINK answers: Invalid argument",
            "Error: mtu greater than device maximum.",
        ]
    );
    assert!(printed(&report, 11).contains("tunl0@NONE") && !printed(&report, 11).contains("t0@NONE       "));
    // Outside: its TTL, the TOS of the packet inside, DF.
    let out = wrapped(&memory, "a/eth0");
    assert_eq!(out.len(), 2);
    assert_eq!((out[0][8], out[0][1], out[0][6] & 0x40), (77, 0x20, 0x40));
    assert_eq!((out[1][8], out[1][1]), (63, 0), "the other end takes over the TTL, and no TOS");
}

/// Whoever sends learns of the path MTU outside, less the header.
#[test]
fn a_smaller_link_on_the_way() {
    let (report, memory) = run(
        "",
        &[
            ("r", "ip link set rb mtu 1400"),
            ("a", "ping -c3 -i0.2 -W1 -M do -s 1452 10.9.0.2"),
            ("a", "ip route get 10.0.2.2"),
            ("a", "ip route get 10.9.0.2"),
            ("a", "ping -c1 -M do -s 1352 10.9.0.2"),
        ],
    );
    let text = printed(&report, 1);
    assert!(text.contains("Frag needed and DF set (mtu = 1380)"), "{text}");
    assert!(printed(&report, 2).contains("mtu 1400"), "{}", printed(&report, 2));
    assert!(printed(&report, 3).contains("mtu 1380"), "{}", printed(&report, 3));
    assert_eq!(report.commands[4].exit, Some(0));
    assert!(wrapped(&memory, "b/eth0").iter().all(|p| p.len() <= 1400));
}

/// What may be cut is cut outside, and put together before it is unwrapped.
#[test]
fn without_path_mtu_discovery() {
    let (report, memory) =
        run("nopmtudisc", &[("a", "ip link set eth0 mtu 1400"), ("a", "ping -c1 -M dont -s 1452 10.9.0.2")]);
    // The reply comes in one piece, which is longer than a's link takes.
    assert_eq!(report.commands[1].exit, Some(1), "{}", printed(&report, 1));
    let out = wrapped(&memory, "a/eth0");
    let sent: Vec<usize> = out.iter().filter(|p| p[12..16] == [10, 0, 1, 2]).map(Vec::len).collect();
    assert_eq!(sent, [1396, 124], "two fragments of 1500 bytes");
    let inside = packets(&memory, "b/t0");
    assert_eq!(inside.iter().map(Vec::len).collect::<Vec<_>>(), [1480, 1480]);
}

/// The far end is not there: an ICMP error about the outer packet comes back, and the next sender is told.
#[test]
fn an_end_that_is_not_there() {
    let (report, memory) = run(
        "",
        &[
            ("b", "ip link set t0 down"),
            ("b", "ip tunnel show"),
            ("a", "ping -c2 -i0.2 -W1 10.9.0.2"),
            ("b", "ip link set t0 up"),
            ("b", "ip link set eth0 down"),
        ],
    );
    assert!(
        printed(&report, 2).contains("From 10.9.0.1 icmp_seq=2 Destination Host Unreachable"),
        "{}",
        printed(&report, 2)
    );
    let errors: Vec<_> = packets(&memory, "a/eth0").into_iter().filter(|p| p[9] == 1 && p[20..22] == [3, 3]).collect();
    assert_eq!(errors.len(), 2, "port unreachable, from tunnel4_rcv");
}

/// Several segments go through as one where the devices take them, and are cut right where they do not.
#[test]
fn segments() {
    let traffic = "    - {from: a, run: ethtool -K t0 tso on gso on sg on tx on}\n    \
        - {from: a, name: big, script: [{socket: tcp}, {settimeout: 2s}, {connect: \"10.9.0.2:9000\"}, {send: \
        {text: \"0.1 10\", size: 20000, byte: \" \", end: \"\\n\"}}, {recv: {size: 65536, total: 10}}, {close: }]}\n";
    let (report, memory) = play("", traffic);
    assert!(report.commands.iter().all(|c| c.exit == Some(0)), "{:?}", report.commands);
    assert!(packets(&memory, "a/t0").iter().any(|p| p.len() > 3000), "one buffer inside");
    let out: Vec<_> = wrapped(&memory, "r/ra").into_iter().filter(|p| p[12..16] == [10, 0, 1, 2]).collect();
    let full: Vec<_> = out.iter().filter(|p| p.len() == 1500).collect();
    assert!(full.len() >= 13, "{}", full.len());
    for p in &out {
        assert_eq!(usize::from(be16(p, 2)), p.len());
        let inner = &p[20..];
        assert_eq!((usize::from(be16(inner, 2)), checksum(&inner[..20]), inner[9]), (inner.len(), 0, IPPROTO_TCP));
        let addr = |at: usize| Ipv4Addr::new(inner[at], inner[at + 1], inner[at + 2], inner[at + 3]);
        let tcp = &inner[20..];
        let sum = u32::from(pseudo_sum(addr(12), addr(16), IPPROTO_TCP, tcp.len())) + u32::from(!checksum(tcp));
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "the checksum inside");
    }
    let next = |two: &[&Vec<u8>]| be16(two[1], 4) == be16(two[0], 4).wrapping_add(1);
    assert!(full.windows(2).take(4).all(next), "outer ids count, although DF is set");
}
