//! The live kernel tunnels as we do: labs with VXLAN devices, built and run in real namespaces and by us.
//!
//! Compared are every record, what every command and script printed, and at the end the rules with their counters and
//! the connections of every namespace. Outer source ports are hashes, told apart by their order of appearance.

use podhop_parity::Compare;
use podhop_tests::live;

/// Three hosts on a switch. On a and b a VXLAN device with a far end each and one on top of it, on c
/// one without.
const LAB: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: vxlan}
spec:
  namespaces:
    sw:
      setup:
        - ip link add br0 address 0a:00:00:00:00:01 type bridge mcast_snooping 0
        - ip link add va address 4e:00:00:00:00:0a type veth peer name eth0 address 0a:00:00:00:00:0a netns a
        - ip link add vb address 4e:00:00:00:00:0b type veth peer name eth0 address 0a:00:00:00:00:0b netns b
        - ip link add vc address 4e:00:00:00:00:0c type veth peer name eth0 address 0a:00:00:00:00:0c netns c
        - ethtool -K va tx off rx off sg off tso off gso off gro off
        - ethtool -K vb tx off rx off sg off tso off gso off gro off
        - ethtool -K vc tx off rx off sg off tso off gso off gro off
        - ethtool -K br0 tx off rx off sg off tso off gso off gro off
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set vc master br0 up
        - ip link set br0 up
    a:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.10/24 brd + dev eth0
        - ip link add vx0 address 02:00:00:00:00:0a type vxlan id 5 dev eth0 dstport 4789 remote 10.0.0.11
        - ethtool -K vx0 tx off rx off sg off tso off gso off gro off
        - ip link set vx0 up
        - ip addr add 10.5.0.10/24 brd + dev vx0
        - ip link add vx1 address 02:00:00:00:01:0a type vxlan id 9 dev vx0 dstport 8472 remote 10.5.0.11
        - ethtool -K vx1 tx off rx off sg off tso off gso off gro off
      servers: [udpecho 7]
    b:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.11/24 brd + dev eth0
        - ip link add vx0 address 02:00:00:00:00:0b type vxlan id 5 dev eth0 dstport 4789 remote 10.0.0.10
        - ethtool -K vx0 tx off rx off sg off tso off gso off gro off
        - ip link set vx0 up
        - ip addr add 10.5.0.11/24 brd + dev vx0
        - ip link add vx1 address 02:00:00:00:01:0b type vxlan id 9 dev vx0 dstport 8472 remote 10.5.0.10
        - ethtool -K vx1 tx off rx off sg off tso off gso off gro off
      servers: [udpecho 7]
    c:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.12/24 brd + dev eth0
        - ip link add vx0 address 02:00:00:00:00:0c type vxlan id 5 dev eth0 dstport 4789
        - ethtool -K vx0 tx off rx off sg off tso off gso off gro off
        - ip link set vx0 up
        - ip addr add 10.5.0.12/24 brd + dev vx0
      servers: [udpecho 7]
  traffic:
"#;

macro_rules! live {
    ($($(#[doc = $doc:literal])* $name:ident $(($words:literal))?: [$(($ns:literal, $run:expr)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() {
            check(stringify!($name), concat!($($words)?), &[$(($ns, $run)),*]);
        })*
    };
}

/// Runs the lab, with more words for the tunnels of a and b.
fn check(name: &str, words: &str, traffic: &[(&str, &str)]) {
    let lab = ["10.0.0.10", "10.0.0.11"].iter().fold(LAB.to_owned(), |lab, remote| {
        lab.replace(&format!("remote {remote}\n"), &format!("remote {remote} {words}\n"))
    });
    live::check(&lab, name, traffic, Compare::ALL);
}

/// Sends a datagram of so many bytes and waits for the answer.
macro_rules! udp {
    ($to:literal, $size:literal) => {
        concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"",
            $to,
            "\"}, {send: {size: ",
            stringify!($size),
            ", byte: a}}, {recv: {timeout: 300ms}}"
        )
    };
}

/// Sends in UDP to a's tunnel end: the tunnel's header, the addresses of an Ethernet header, and behind it an echo
/// request from 10.5.0.12 to 10.5.0.10; or so many bytes.
macro_rules! to_tunnel {
    ($header:literal, $macs:literal $(, $option:literal)?) => {
        concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, ",
            $($option, ", ",)?
            "{connect: \"10.0.0.10:4789\"}, {send: {hex: \"",
            $header,
            $macs,
            "08004500001c00000000400166c20a05000c0a05000a0800f7ff00000000\"}}"
        )
    };
    ($size:literal) => {
        concat!(
            "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"10.0.0.10:4789\"}, {send: {size: ",
            $size,
            ", byte: a}}"
        )
    };
}

live! {
    /// ARP floods to the far end, which learns.
    ping: [
        ("a", "ping -c2 -i0.2 10.5.0.11"),
        ("a", "bridge fdb show dev vx0"),
        ("b", "bridge fdb show dev vx0"),
        ("a", "ip -s link show vx0"),
        ("b", "ip -s link show vx0"),
    ];
    as_ip_shows_it: [
        ("a", "ip link show vx0"),
        ("a", "ip -d link show vx0"),
        ("a", "ip -br link"),
        ("a", "ip -d link show type vxlan"),
        ("c", "ip -d link show vx0"),
        ("c", "bridge fdb"),
        ("a", "ping -c1 10.5.0.11"),
    ];
    /// c knows nobody: what it sends gets lost. The far ends hear it once it has been told of them.
    no_far_end: [
        ("c", "ping -c1 -W1.5 10.5.0.11"),
        ("c", "sleep 3s"),
        ("c", "ip -s link show vx0"),
        ("c", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.10"),
        ("c", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.11"),
        ("c", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.13"),
        ("c", "ping -c2 -i0.2 10.5.0.11"),
        ("c", "ping -c1 10.5.0.10"),
        ("c", "bridge fdb show dev vx0"),
        ("a", "bridge fdb show dev vx0"),
    ];
    datagrams: [("a", udp!("10.5.0.11:7", 32)), ("a", udp!("10.5.0.11:7", 1422)), ("b", udp!("10.5.0.10:9", 32))];
    fragments_inside: [("a", "ping -c1 -s 3000 10.5.0.11"), ("a", udp!("10.5.0.11:7", 4000))];
    /// The link under the tunnel takes less than the tunnel thinks.
    fragments_outside: [
        ("a", "ip link set eth0 mtu 1400"),
        ("b", "ip link set eth0 mtu 1400"),
        ("a", "ping -c1 -s 1422 10.5.0.11"),
        ("a", "ping -c1 -W1 -M do -s 1422 10.5.0.11"),
        ("a", "ip route get 10.5.0.11"),
        ("a", "ping -c1 -s 3000 10.5.0.11"),
    ];
    dont_fragment_outside ("df set"): [
        ("a", "ip link set eth0 mtu 1400"),
        ("a", "ping -c1 -W1 -s 1422 10.5.0.11"),
        ("a", "ping -c1 -W1 -s 1422 10.5.0.11"),
    ];
    ttl_and_tos ("ttl 3 tos 0x10"): [
        ("a", "ping -c1 -Q 0x2 10.5.0.11"),
        ("a", "ip -d link show vx0"),
    ];
    inherited ("ttl inherit tos inherit df inherit srcport 40000 40001 noudpcsum"): [
        ("a", "ping -c1 -t7 -Q 0x41 10.5.0.11"),
        ("a", "ping -c1 -M do 10.5.0.11"),
        ("a", "ip -d link show vx0"),
    ];
    /// b moves behind c's tunnel end: who learns follows, who was told does not.
    moved: [
        ("a", "ping -c1 10.5.0.11"),
        ("a", "bridge fdb replace 02:00:00:00:00:0b dev vx0 dst 10.0.0.12 static"),
        ("a", "bridge fdb show dev vx0"),
        ("a", "ping -c1 -W1 10.5.0.11"),
        ("a", "bridge fdb del 02:00:00:00:00:0b dev vx0"),
        ("a", "ping -c1 10.5.0.11"),
        ("a", "bridge fdb show dev vx0"),
    ];
    other_network: [
        ("b", "ip link del vx0"),
        ("b", "ip link add vx0 address 02:00:00:00:00:0b type vxlan id 6 dev eth0 dstport 4789 remote 10.0.0.10"),
        ("b", "ip link set vx0 up"),
        ("a", "ping -c1 -W1 10.5.0.11"),
    ];
    /// What no tunnel sends: no network, reserved bits, too little, a's own address as sender, a mark of congestion
    /// around what cannot be marked, a sender of whom a was told where it is.
    odd_frames: [
        ("a", "bridge fdb add 02:00:00:00:00:dd dev vx0 dst 10.0.0.11 static"),
        ("c", to_tunnel!("0000000000000500", "02000000000a0200000000cc")),
        ("c", to_tunnel!("0800000100000500", "02000000000a0200000000cc")),
        ("c", to_tunnel!("0800000000000501", "02000000000a0200000000cc")),
        ("c", to_tunnel!(8)),
        ("c", to_tunnel!(7)),
        ("c", to_tunnel!("0800000000000500", "02000000000a02000000000a")),
        ("c", to_tunnel!("0800000000000500", "02000000000a0200000000cc", "{setsockopt: [ip, tos, 3]}")),
        ("c", to_tunnel!("0800000000000500", "02000000000a0200000000dd")),
        ("c", to_tunnel!("0800000000000500", "02000000000a0200000000cc")),
        ("a", "bridge fdb show dev vx0"),
        ("a", "ip -s link show vx0"),
    ];
    port_is_closed: [("b", "ip link set vx0 down"), ("a", "ping -c2 -i0.2 -W1 10.5.0.11")];
    port_is_taken: [
        ("b", "ip link set vx0 down"),
        ("b", "ip link add vx2 type vxlan id 7 dstport 7"),
        ("b", "ip link set vx2 up"),
        ("b", "ip link set vx0 up"),
        ("b", "{socket: udp}, {bind: \"0.0.0.0:4789\"}"),
        ("a", "ping -c1 10.5.0.11"),
    ];
    refusals: [
        ("a", "ip link add vx2 type vxlan id 5 dstport 4789"),
        ("a", "ip link set vx0 mtu 1451"),
        ("a", "ip link add vx2 type vxlan id 8 dstport 4789 srcport 9 8"),
        ("a", "bridge fdb add 00:00:00:00:00:00 dev vx0 dst 10.0.0.12"),
        ("a", "bridge fdb replace 00:00:00:00:00:00 dev vx0 dst 10.0.0.12"),
        ("a", "bridge fdb add 02:00:00:00:00:77 dev vx0"),
        ("a", "bridge fdb del 02:00:00:00:00:77 dev vx0"),
        ("a", "bridge fdb append 02:00:00:00:00:77 dev vx0 dst 10.0.0.12"),
        ("a", "bridge fdb append 02:00:00:00:00:77 dev vx0 dst 10.0.0.13"),
        ("a", "bridge fdb del 02:00:00:00:00:77 dev vx0 dst 10.0.0.14"),
        ("a", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.12 port 8472 vni 9 via eth0"),
        ("a", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.12 port 4789 vni 5"),
        ("a", "bridge fdb show dev vx0"),
        ("a", "bridge fdb del 00:00:00:00:00:00 dev vx0 dst 10.0.0.12"),
        ("a", "bridge fdb show dev vx0"),
        ("a", "ping -c1 10.5.0.11"),
    ];
    /// The tunnel goes with the device underneath.
    lower_device_goes: [("a", "ping -c1 10.5.0.11"), ("a", "ip link del eth0"), ("a", "ip -br link")];
    /// A tunnel in a tunnel.
    nested: [
        ("a", "ip link set vx1 up"),
        ("b", "ip link set vx1 up"),
        ("a", "ip addr add 10.6.0.10/24 brd + dev vx1"),
        ("b", "ip addr add 10.6.0.11/24 brd + dev vx1"),
        ("a", "ip link show vx1"),
        ("a", "ping -c2 -i0.2 10.6.0.11"),
        ("a", udp!("10.6.0.11:7", 900)),
    ];
    /// A far end that can only be reached through the tunnel itself.
    in_a_circle: [
        ("a", "bridge fdb append 00:00:00:00:00:00 dev vx0 dst 10.5.0.77"),
        ("a", "ip neigh add 10.5.0.12 lladdr 02:00:00:00:00:0c dev vx0 nud permanent"),
        ("a", "ping -c1 -W1 10.5.0.12"),
        ("a", "ip -s link show vx0"),
    ];
    /// The tunnel is a port of a bridge.
    bridged: [
        ("a", "ip addr del 10.5.0.10/24 dev vx0"),
        ("a", "ip link add br1 address 0a:00:00:00:05:01 type bridge mcast_snooping 0"),
        ("a", "ip link set vx0 master br1"),
        ("a", "ip link set br1 mtu 1450 up"),
        ("a", "ip addr add 10.5.0.10/24 brd + dev br1"),
        ("a", "ping -c2 -i0.2 10.5.0.11"),
        ("a", "bridge fdb show br br1"),
    ];
    /// Rules and connections see both packets; a mark goes through.
    rules ("srcport 40000 40001"): [
        ("a", "iptables -t mangle -A OUTPUT -d 10.5.0.11 -j MARK --set-mark 7"),
        ("a", "iptables -A OUTPUT -m mark --mark 7 -p udp --dport 4789"),
        ("a", "iptables -A OUTPUT -o vx0 -m conntrack --ctstate NEW"),
        ("b", "iptables -A INPUT -i vx0 -m conntrack --ctstate NEW"),
        ("b", "iptables -A INPUT -i eth0 -p udp --dport 4789 -m conntrack --ctstate NEW"),
        ("a", "ping -c2 -i0.2 10.5.0.11"),
        ("a", udp!("10.5.0.11:7", 32)),
    ];
    outer_packets_are_dropped: [
        ("b", "iptables -A INPUT -p udp --dport 4789 -j DROP"),
        ("a", "ping -c1 -W1 10.5.0.11"),
    ];
    ageing ("ageing 3"): [
        ("a", "ping -c1 10.5.0.11"),
        ("a", "bridge fdb show dev vx0"),
        ("a", "sleep 11s"),
        ("a", "bridge fdb show dev vx0"),
    ];
}
