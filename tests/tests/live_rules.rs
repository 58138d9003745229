//! The live kernel filters, tracks and translates as we do: small labs with rules, built and run in real namespaces and
//! by us. Compared are every record, what every command and script printed, and at the end the rules with their
//! counters and the connections of every namespace.
//!
//! Ports are bound, so that none is chosen at random; TCP is left out until it is there.

use podhop_tests::live::{self, Compare};

/// A node that forwards between the pods a and b on a bridge, whose ports are va and vb, and d outside of it.
const NODE: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: rules}
spec:
  namespaces:
    node:
      setup:
        - ip link set lo up
        - ip link add br0 address 0a:00:00:00:00:01 type bridge
        - ip link add va address 4e:00:00:00:00:0a type veth peer name eth0 address 0a:00:00:00:00:0a netns a
        - ip link add vb address 4e:00:00:00:00:0b type veth peer name eth0 address 0a:00:00:00:00:0b netns b
        - ip link add up0 address 0a:00:00:00:01:01 type veth peer name eth0 address 0a:00:00:00:01:0d netns d
        - ethtool -K va tx off rx off sg off tso off gso off gro off
        - ethtool -K vb tx off rx off sg off tso off gso off gro off
        - ethtool -K up0 tx off rx off sg off tso off gso off gro off
        - ethtool -K br0 tx off rx off sg off tso off gso off gro off
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set br0 up
        - ip link set up0 up
        - ip addr add 10.0.0.1/24 brd + dev br0
        - ip addr add 192.168.0.1/24 brd + dev up0
        - ip route add default via 192.168.0.13
        - sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
      servers: [udpecho 7]
    a:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.10/24 brd + dev eth0
        - ip route add default via 10.0.0.1
      servers: [udpecho 7]
    b:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 10.0.0.11/24 brd + dev eth0
        - ip route add default via 10.0.0.1
      servers: [udpecho 7]
    d:
      setup:
        - ip link set lo up
        - ethtool -K eth0 tx off rx off sg off tso off gso off gro off
        - ip link set eth0 up
        - ip addr add 192.168.0.13/24 brd + dev eth0
        - ip route add 10.0.0.0/8 via 192.168.0.1
      servers: [udpecho 7]
  traffic:
"#;

macro_rules! live {
    ($($(#[doc = $doc:literal])* $name:ident: [$(($ns:literal, $run:expr)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() { check(stringify!($name), &[$(($ns, $run)),*]); })*
    };
}

/// Sends a datagram of so many bytes from port 5000 to an address, from a connected socket, and waits for the answer.
macro_rules! udp {
    ($to:literal) => {
        udp!($to, 32)
    };
    ($to:literal, $size:literal) => {
        udp!($to, $size, "5000")
    };
    ($to:literal, $size:literal, $port:literal) => {
        concat!(
            "{socket: udp}, {bind: \"0.0.0.0:",
            $port,
            "\"}, {connect: \"",
            $to,
            "\"}, {send: {size: ",
            stringify!($size),
            ", byte: a}}, {recv: {timeout: 300ms}}, {recv: {timeout: 100ms}}"
        )
    };
}

/// Sends two datagrams from port 5000 to an address from a socket that is not connected.
macro_rules! sendto {
    ($to:literal) => {
        concat!(
            "{socket: udp}, {setsockopt: [socket, broadcast, 1]}, {bind: \"0.0.0.0:5000\"}, \
                 {repeat: 2, do: [{send: {size: 32, byte: a, to: \"",
            $to,
            "\"}}, {recv: {timeout: 200ms}}]}"
        )
    };
}

/// `iptables`, one rule.
macro_rules! rule {
    ($($words:tt)*) => { concat!("iptables ", $($words)*) };
}

fn check(name: &str, traffic: &[(&str, &str)]) {
    live::check(NODE, name, traffic, Compare { times: false, outputs: true, silent: false });
}

live! {
    /// No rules at all, and rules that need no connections.
    no_tracking: [
        ("node", rule!("-A FORWARD -s 10.0.0.10")),
        ("node", rule!("-t mangle -A PREROUTING -p icmp -j MARK --set-mark 1")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("192.168.0.13:7")),
    ];
    tracking: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW,ESTABLISHED -j ACCEPT")),
        ("node", rule!("-A OUTPUT -m state --state ESTABLISHED")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 10.0.0.1"),
        ("a", udp!("192.168.0.13:7")),
        ("d", udp!("10.0.0.1:7")),
        ("node", udp!("192.168.0.13:7")),
    ];
    dnat_to_a_pod: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 100, "5001")),
        ("d", udp!("10.96.0.1:53")),
    ];
    dnat_to_a_pod_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("d", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
    ];
    dnat_outside: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 3000)),
    ];
    dnat_to_the_node: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.1:7")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -j DNAT --to-destination 10.0.0.1")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.96.0.2"),
        ("d", "ping -c1 10.96.0.2"),
    ];
    dnat_to_nobody: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.77")),
        ("a", "ping -c1 -W4 10.96.0.1"),
        ("d", "ping -c1 -W4 10.96.0.1"),
    ];
    dnat_without_a_route: [
        ("node", "ip route del default"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    dnat_without_forwarding: [
        ("node", "sysctl -qw net.ipv4.ip_forward=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -j DNAT --to-destination 192.168.0.13")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("a", "ping -c1 -W1 10.96.0.2"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    dnat_port_range: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7-9")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:8")),
    ];
    redirect: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j REDIRECT --to-ports 7")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p icmp -j REDIRECT")),
        ("a", udp!("10.96.0.1:53")),
        ("d", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.96.0.2"),
        ("d", "ping -c1 10.96.0.2"),
    ];
    redirect_of_the_own: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp -j REDIRECT --to-ports 7")),
        ("node", rule!("-A OUTPUT -o up0")),
        ("node", rule!("-A OUTPUT -o lo")),
        ("node", rule!("-t mangle -A POSTROUTING -o lo")),
        ("node", rule!("-t mangle -A PREROUTING -i lo")),
        ("node", sendto!("10.96.0.1:53")),
    ];
    /// The filter's OUTPUT sees the device that the packet had before it got a new destination, POSTROUTING the new.
    dnat_of_the_own: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-A OUTPUT -o up0 -d 10.0.0.11")),
        ("node", rule!("-A OUTPUT -o br0 -d 10.0.0.11")),
        ("node", rule!("-t mangle -A POSTROUTING -o br0 -d 10.0.0.11")),
        ("node", rule!("-t mangle -A POSTROUTING -o up0 -d 10.0.0.11")),
        ("node", udp!("10.96.0.1:53")),
        ("node", sendto!("10.96.0.1:53")),
    ];
    dnat_of_the_own_masqueraded: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.2 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("node", udp!("10.96.0.1:53")),
        ("node", "ping -c1 10.96.0.2"),
    ];
    masquerade: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.0/24 ! -d 10.0.0.0/24 -j MASQUERADE")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7", 32, "5001")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("d", "ping -c1 10.0.0.11"),
    ];
    snat: [
        ("node", "ip addr add 192.168.0.2/24 dev up0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.2:6000")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p icmp -j SNAT --to-source 192.168.0.2")),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 192.168.0.13"),
        ("node", "ping -c1 192.168.0.13"),
    ];
    snat_in_input: [
        ("node", rule!("-t nat -A INPUT -p udp --dport 7 -j SNAT --to-source 192.168.0.77:6000")),
        ("a", udp!("10.0.0.1:7")),
    ];
    snat_port_in_use: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000-6001")),
        ("a", udp!("192.168.0.13:7", 32, "6000")),
        ("a", udp!("192.168.0.13:7", 32, "6001")),
        ("b", udp!("192.168.0.13:9", 32, "6001")),
    ];
    /// No port is left: the packet ends when its connection would be entered.
    snat_no_port_left: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7")),
    ];
    hairpin_masqueraded: [
        ("node", "bridge link set dev va hairpin on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
        ("b", udp!("10.96.0.1:53")),
    ];
    hairpin_without_masquerade: [
        ("node", "bridge link set dev va hairpin on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("a", udp!("10.96.0.1:53")),
    ];
    hairpin_off: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
    ];
    hairpin_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.10:7")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -d 10.0.0.10 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
    ];
    physdev: [
        ("node", rule!("-A FORWARD -m physdev --physdev-in va")),
        ("node", rule!("-A FORWARD -m physdev --physdev-out vb")),
        ("node", rule!("-A FORWARD -m physdev --physdev-is-bridged -j ACCEPT")),
        ("node", rule!("-A FORWARD -m physdev --physdev-is-in")),
        ("node", rule!("-A FORWARD -m physdev ! --physdev-is-in")),
        ("node", rule!("-A INPUT -m physdev --physdev-in va")),
        ("node", rule!("-t mangle -A PREROUTING -m physdev --physdev-in vb")),
        ("node", rule!("-t mangle -A POSTROUTING -m physdev --physdev-is-bridged --physdev-out va")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 10.0.0.1"),
        ("a", "ping -c1 192.168.0.13"),
    ];
    bridged_drop: [
        ("node", rule!("-P FORWARD DROP")),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", "ping -c1 10.0.0.1"),
    ];
    bridged_drop_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-P FORWARD DROP")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    drop_in_prerouting: [
        ("node", rule!("-t mangle -A PREROUTING -s 10.0.0.10 -j DROP")),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", "ping -c1 -W1 10.0.0.1"),
        ("d", "ping -c1 -W1 10.0.0.10"),
    ];
    drop_in_raw: [
        ("node", rule!("-t raw -A PREROUTING -s 10.0.0.10 -j DROP")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    drop_in_input: [
        ("node", rule!("-A INPUT -p icmp -j DROP")),
        ("a", "ping -c1 -W1 10.0.0.1"),
        ("a", udp!("10.0.0.1:7")),
    ];
    drop_in_output: [
        ("node", rule!("-A OUTPUT -p udp -d 192.168.0.13 -j DROP")),
        ("node", rule!("-A OUTPUT -p icmp -d 192.168.0.13 -j DROP")),
        ("node", udp!("192.168.0.13:7")),
        ("node", sendto!("192.168.0.13:7")),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("d", "ping -c1 -W1 192.168.0.1"),
        ("d", udp!("192.168.0.1:7")),
    ];
    drop_in_postrouting: [
        ("node", rule!("-t mangle -A POSTROUTING -d 192.168.0.13 -j DROP")),
        ("node", udp!("192.168.0.13:7")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    policies: [
        ("node", rule!("-P INPUT DROP")),
        ("node", rule!("-P OUTPUT DROP")),
        ("node", rule!("-A INPUT -i lo -j ACCEPT")),
        ("node", rule!("-A OUTPUT -o lo -j ACCEPT")),
        ("node", "ping -c1 127.0.0.1"),
        ("node", udp!("10.0.0.11:7")),
        ("a", "ping -c1 -W1 10.0.0.1"),
    ];
    reject_types_routed: [
        ("node", rule!("-A FORWARD -p udp --dport 101 -j REJECT --reject-with icmp-net-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 102 -j REJECT --reject-with icmp-host-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 103 -j REJECT --reject-with icmp-proto-unreachable")),
        ("node", rule!("-A FORWARD -p udp --dport 104 -j REJECT")),
        ("a", udp!("192.168.0.13:101")),
        ("a", udp!("192.168.0.13:102")),
        ("a", udp!("192.168.0.13:103")),
        ("a", udp!("192.168.0.13:104")),
    ];
    reject_types_routed_2: [
        ("node", rule!("-A FORWARD -p udp --dport 105 -j REJECT --reject-with icmp-net-prohibited")),
        ("node", rule!("-A FORWARD -p udp --dport 106 -j REJECT --reject-with icmp-host-prohibited")),
        ("node", rule!("-A FORWARD -p udp --dport 107 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", rule!("-A FORWARD -p icmp -j REJECT --reject-with icmp-admin-prohibited")),
        ("a", udp!("192.168.0.13:105")),
        ("a", udp!("192.168.0.13:106")),
        ("a", udp!("192.168.0.13:107")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    reject_bridged: [
        ("node", rule!("-A FORWARD -p udp --dport 101 -j REJECT --reject-with icmp-host-prohibited")),
        ("node", rule!("-A FORWARD -p udp -j REJECT")),
        ("node", rule!("-A FORWARD -p icmp -j REJECT --reject-with icmp-net-unreachable")),
        ("a", udp!("10.0.0.11:101")),
        ("a", udp!("10.0.0.11:7")),
        ("a", "ping -c1 -W1 10.0.0.11"),
    ];
    reject_bridged_tracked: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate RELATED")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -p udp -j REJECT")),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("192.168.0.13:7")),
    ];
    reject_in_input: [
        ("node", rule!("-A INPUT -p udp --dport 7 -j REJECT")),
        ("node", rule!("-A INPUT -p udp --dport 8 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", rule!("-A INPUT -p icmp --icmp-type echo-request -j REJECT --reject-with icmp-host-unreachable")),
        ("a", udp!("10.0.0.1:7")),
        ("d", udp!("192.168.0.1:8")),
        ("d", "ping -c1 -W1 10.0.0.1"),
    ];
    reject_in_output: [
        ("node", rule!("-A OUTPUT -p udp --dport 7 -j REJECT")),
        ("node", rule!("-A OUTPUT -p udp --dport 8 -j REJECT --reject-with icmp-net-unreachable")),
        ("node", rule!("-A OUTPUT -p icmp --icmp-type 8 -j REJECT --reject-with icmp-admin-prohibited")),
        ("node", "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.13:7\"}, {send: {size: 32, byte: a}}, {sleep: 50ms}, {send: {size: 32, byte: a}}, {sleep: 50ms}, {send: {size: 32, byte: a}}, {recv: {timeout: 100ms}}"),
        ("node", sendto!("192.168.0.13:8")),
        ("node", "ping -c1 -W1 192.168.0.13"),
    ];
    /// What is refused behind a translation is refused in the name of whom the client asked.
    reject_behind_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:9")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:9")),
        ("node", rule!("-A FORWARD -p udp --dport 9 -j REJECT")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.2:53")),
        ("d", udp!("10.96.0.1:53")),
    ];
    /// A closed port behind a translation: the error and what it quotes are translated back.
    error_behind_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:9")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:9")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate RELATED")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.2:53")),
        ("d", udp!("10.96.0.1:53")),
    ];
    ttl_behind_nat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("d", "ip link add r0 type bridge"),
        ("d", "ip link set r0 up"),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
        ("a", "ping -c1 -W1 -t1 192.168.0.13"),
        ("a", "ping -c1 -t2 10.96.0.1"),
        ("d", "sysctl -qw net.ipv4.ip_forward=1"),
        ("d", "ip addr add 172.16.0.1/24 dev r0"),
        ("a", "ping -c1 -W1 -t2 172.16.0.9"),
    ];
    unreachable_behind_masquerade: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("d", "sysctl -qw net.ipv4.ip_forward=1"),
        ("d", "ip route add prohibit 172.16.0.0/16"),
        ("a", "ping -c1 -W1 172.16.0.9"),
        ("a", udp!("172.16.0.9:7")),
    ];
    too_big_behind_dnat: [
        ("node", "ip link set up0 mtu 1400"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", "ping -c1 -W1 -M do -s 1400 10.96.0.1"),
        ("a", "ping -c1 -M do -s 1300 10.96.0.1"),
        ("a", udp!("10.96.0.1:7", 1400)),
        ("a", udp!("10.96.0.1:7", 1400)),
    ];
    /// A redirect that a translation would make a lie is not sent.
    redirects: [
        ("node", "ip route add 172.16.0.0/16 via 10.0.0.11"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c2 -i0.2 -W1 172.16.0.1"),
        ("a", "ping -c2 -i0.2 -W1 10.96.0.1"),
    ];
    redirects_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", "ip route add 172.16.0.0/16 via 10.0.0.11"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 172.16.0.1")),
        ("a", "ping -c2 -i0.2 -W1 10.96.0.1"),
        ("a", "ping -c2 -i0.2 -W1 172.16.0.1"),
    ];
    /// An answer whose question was not tracked belongs to nothing.
    invalid_and_notrack: [
        ("node", rule!("-t raw -A PREROUTING -p icmp --icmp-type 8 -j CT --notrack")),
        ("node", rule!("-t raw -A PREROUTING -p udp --dport 7 -j NOTRACK")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate UNTRACKED")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate INVALID")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("192.168.0.13:7")),
    ];
    invalid_dropped: [
        ("node", rule!("-t raw -A PREROUTING -p icmp --icmp-type 8 -j CT --notrack")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate INVALID -j DROP")),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    notrack_of_the_own: [
        ("node", rule!("-t raw -A OUTPUT -p icmp -j CT --notrack")),
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("d", "ping -c1 -W1 192.168.0.1"),
    ];
    connmark: [
        ("node", rule!("-t mangle -A PREROUTING -j CONNMARK --restore-mark")),
        ("node", rule!("-t mangle -A PREROUTING -m mark --mark 0x5 -j ACCEPT")),
        ("node", rule!("-t mangle -A PREROUTING -i br0 -j MARK --set-mark 0x5")),
        ("node", rule!("-t mangle -A POSTROUTING -j CONNMARK --save-mark")),
        ("node", rule!("-A FORWARD -m mark --mark 0x5")),
        ("a", "ping -c2 -i0.2 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
    ];
    fwmark_routes: [
        ("node", "ip rule add fwmark 1 table 100"),
        ("node", "ip route add prohibit default table 100"),
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add default via 10.0.0.11 table 200"),
        ("node", rule!("-t mangle -A PREROUTING -s 10.0.0.10 -d 192.168.0.13 -p udp -j MARK --set-mark 1")),
        ("node", rule!("-t mangle -A PREROUTING -d 172.16.0.1 -j MARK --set-mark 2")),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("a", "ping -c1 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
        ("d", "ip route add 172.16.0.0/16 via 192.168.0.1"),
        ("d", "ping -c1 172.16.0.1"),
    ];
    mangle_output_reroutes: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add default via 10.0.0.11 table 200"),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", rule!("-t mangle -A OUTPUT -d 172.16.0.1 -j MARK --set-mark 2")),
        ("node", rule!("-A OUTPUT -o up0 -d 172.16.0.1")),
        ("node", rule!("-A OUTPUT -o br0 -d 172.16.0.1")),
        ("node", rule!("-t mangle -A POSTROUTING -o br0 -d 172.16.0.1")),
        ("node", "ping -c1 -W1 172.16.0.1"),
        ("node", udp!("172.16.0.1:7")),
        ("node", sendto!("172.16.0.1:7")),
    ];
    mangle_output_reroutes_nowhere: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add unreachable default table 200"),
        ("node", rule!("-t mangle -A OUTPUT -d 192.168.0.13 -j MARK --set-mark 2")),
        ("d", "ping -c1 -W1 192.168.0.1"),
        ("node", "ping -c1 -W1 192.168.0.13"),
        ("node", udp!("192.168.0.13:7")),
    ];
    limit: [
        ("node", rule!("-A FORWARD -p icmp -m limit --limit 2/min --limit-burst 3 -j ACCEPT")),
        ("node", rule!("-A FORWARD -p icmp -j DROP")),
        ("a", "ping -c5 -i0.2 -W1 192.168.0.13"),
    ];
    statistic_nth: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53", 32, "5001")),
        ("a", udp!("10.96.0.1:53", 32, "5002")),
        ("a", udp!("10.96.0.1:53", 32, "5003")),
    ];
    recent: [
        ("node", rule!("-A FORWARD -p icmp -m recent --name seen --update --seconds 60 --hitcount 3 -j DROP")),
        ("node", rule!("-A FORWARD -p icmp -s 10.0.0.10 -m recent --name seen --set -j ACCEPT")),
        ("a", "ping -c5 -i0.2 -W1 192.168.0.13"),
    ];
    multiport: [
        ("node", rule!("-A FORWARD -p udp -m multiport --dports 7,100:200,300")),
        ("node", rule!("-A FORWARD -p udp -m multiport --sports 5000")),
        ("node", rule!("-A FORWARD -p udp -m multiport ! --ports 7,8")),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("10.0.0.11:150")),
        ("a", udp!("192.168.0.13:201")),
    ];
    addrtype: [
        ("node", rule!("-t nat -A PREROUTING -m addrtype --dst-type LOCAL")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type LOCAL")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type BROADCAST")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype --dst-type LOCAL --limit-iface-in")),
        ("node", rule!("-t mangle -A PREROUTING -m addrtype ! --src-type LOCAL")),
        ("node", rule!("-t mangle -A POSTROUTING -m addrtype --src-type LOCAL")),
        ("node", rule!("-t mangle -A POSTROUTING -m addrtype --src-type LOCAL --limit-iface-out")),
        ("a", "ping -c1 10.0.0.1"),
        ("a", "ping -c1 192.168.0.1"),
        ("a", "ping -c1 192.168.0.13"),
        ("a", sendto!("10.0.0.255:9")),
    ];
    user_chains: [
        ("node", "iptables -N A"),
        ("node", "iptables -N B"),
        ("node", rule!("-A A -p icmp -j RETURN")),
        ("node", rule!("-A A -j B")),
        ("node", rule!("-A B -p udp --dport 7 -j ACCEPT")),
        ("node", rule!("-A B -j DROP")),
        ("node", rule!("-A FORWARD -j A")),
        ("node", rule!("-A FORWARD -g B")),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("192.168.0.13:8")),
    ];
    fragments_bridged: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", udp!("10.0.0.11:7", 4000)),
    ];
    fragments_bridged_untracked: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", rule!("-A FORWARD -f")),
        ("node", rule!("-A FORWARD -p udp --dport 7")),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", udp!("10.0.0.11:7", 4000)),
    ];
    fragments_routed: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", udp!("192.168.0.13:7", 4000)),
        ("d", "ping -c1 -s 3000 10.0.0.10"),
    ];
    fragments_routed_untracked: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", rule!("-A FORWARD ! -f")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
    ];
    fragments_routed_nf0: [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
    ];
    fragments_local: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 10.0.0.1"),
        ("node", "ping -c1 -s 3000 10.0.0.11"),
        ("node", "ping -c1 -s 3000 192.168.0.13"),
        ("node", udp!("192.168.0.13:7", 4000)),
    ];
    /// What was cut smaller than it needed to be is cut so again.
    fragments_keep_their_size: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ip link set eth0 mtu 1000"),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
        ("a", "ping -c1 -s 3000 10.0.0.1"),
    ];
    fragments_to_a_shorter_link: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", "ip link set up0 mtu 1200"),
        ("d", "ip link set eth0 mtu 1200"),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("d", "ping -c1 -s 3000 10.0.0.10"),
    ];
    fragments_with_df: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {setsockopt: [ip, pmtudisc, want]}, {connect: \"192.168.0.13:7\"}, {send: {size: 4000, byte: a}}, {recv: {timeout: 300ms}}"),
        ("node", "ip link set up0 mtu 1200"),
        ("a", "ping -c1 -W1 -M do -s 1300 192.168.0.13"),
        ("a", udp!("192.168.0.13:7", 4000)),
    ];
    fragments_translated: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53", 4000)),
        ("a", udp!("192.168.0.13:7", 4000)),
        ("d", udp!("10.96.0.1:53", 4000)),
    ];
    broadcast: [
        ("node", rule!("-A FORWARD -p udp")),
        ("node", rule!("-A INPUT -p udp")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -p udp")),
        ("b", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
        ("a", sendto!("10.0.0.255:10")),
        ("node", sendto!("10.0.0.255:9")),
    ];
    broadcast_dropped_in_forward: [
        ("node", rule!("-P FORWARD DROP")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("b", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("node", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
    ];
    broadcast_from_outside: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW,ESTABLISHED")),
        ("node", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("d", sendto!("192.168.0.255:9")),
        ("d", sendto!("192.168.0.255:10")),
    ];
    /// The source port is in use at its destination by somebody who was translated.
    null_binding_clash: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.11 -o up0 -p udp -j SNAT --to-source 10.0.0.10:6000")),
        ("b", udp!("192.168.0.13:7", 32, "5000")),
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -o up0 -p udp -j SNAT --to-source 10.0.0.10:6000-6001")),
        ("a", udp!("192.168.0.13:7", 32, "6000")),
    ];
    flush_in_a_flow: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("192.168.0.13:7")),
        ("node", "conntrack -F"),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("192.168.0.13:7")),
        ("a", "& {socket: udp}, {bind: \"0.0.0.0:5001\"}, {connect: \"192.168.0.13:7\"}, {repeat: 3, do: [{send: {size: 32, byte: a}}, {recv: {timeout: 200ms}}, {sleep: 500ms}]}"),
        ("node", "conntrack -F"),
        ("a", "sleep 2s"),
    ];
    /// A connection stays translated as it was when it began, whatever becomes of the rules.
    rules_change: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", rule!("-t nat -R PREROUTING 1 -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 32, "5001")),
        ("node", rule!("-t nat -F PREROUTING")),
        ("a", udp!("10.96.0.1:53")),
        ("a", udp!("10.96.0.1:53", 32, "5002")),
    ];
    /// Without a rule that needs connections nothing is tracked, and nothing translated.
    last_rule_goes: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", rule!("-t nat -D PREROUTING 1")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", udp!("10.96.0.1:53")),
        ("a", "ping -c1 10.0.0.11"),
    ];
    localhost_dnat: [
        ("node", rule!("-t nat -A OUTPUT -d 127.0.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("node", udp!("127.0.0.1:53")),
        ("node", "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        ("node", udp!("127.0.0.1:53", 32, "5001")),
    ];
    tos_of_errors: [
        ("node", rule!("-A FORWARD -p icmp -j REJECT")),
        ("a", "ping -c1 -W1 -Q 0x48 192.168.0.13"),
    ];
    reply_restored_by_mark: [
        ("node", "iptables -t nat -N MARK-MASQ"),
        ("node", rule!("-t nat -A MARK-MASQ -j MARK --or-mark 0x4000")),
        ("node", rule!("-t nat -A PREROUTING -d 192.168.0.1 -p udp --dport 30007 -j MARK-MASQ")),
        ("node", rule!("-t nat -A PREROUTING -d 192.168.0.1 -p udp --dport 30007 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A OUTPUT -d 192.168.0.1 -p udp --dport 30007 -j MARK-MASQ")),
        ("node", rule!("-t nat -A OUTPUT -d 192.168.0.1 -p udp --dport 30007 -j DNAT --to-destination 10.0.0.11:7")),
        ("node", rule!("-t nat -A POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN")),
        ("node", rule!("-t nat -A POSTROUTING -j MARK --xor-mark 0x4000")),
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("d", udp!("192.168.0.1:30007")),
        ("a", udp!("192.168.0.1:30007", 32, "5001")),
        ("b", udp!("192.168.0.1:30007", 32, "5002")),
        ("node", udp!("192.168.0.1:30007", 32, "5003")),
    ];
    rules_in_a_pod: [
        ("a", rule!("-A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")),
        ("a", rule!("-A INPUT -j DROP")),
        ("a", rule!("-t nat -A OUTPUT -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 10.96.0.1"),
        ("a", udp!("10.96.0.1:7")),
        ("a", udp!("10.96.0.1:9")),
        ("b", "ping -c1 -W1 10.0.0.10"),
    ];
    flood_shares_a_connection: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A POSTROUTING -p icmp")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", "ip link set br0 type bridge fdb_flush"),
        ("a", "ping -c1 10.0.0.11"),
    ];
    promiscuous_bridge: [
        ("node", "ip link set br0 promisc on"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
    ];
    /// A broadcast comes to its sender, by way of all hooks but FORWARD.
    broadcast_comes_back: [
        ("a", rule!("-t mangle -A PREROUTING -p udp --dport 9")),
        ("a", rule!("-t mangle -A POSTROUTING -p udp --dport 9")),
        ("a", rule!("-A INPUT -p udp --dport 9 -s 10.0.0.10 -m conntrack --ctstate NEW")),
        ("a", rule!("-t nat -A PREROUTING -p udp")),
        ("a", "& {socket: udp}, {bind: \"0.0.0.0:9\"}, {recv: {timeout: 2s}}, {recv: {timeout: 2s}}"),
        ("a", sendto!("10.0.0.255:9")),
        ("a", sendto!("255.255.255.255:9")),
    ];
    broadcast_of_fragments: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "{socket: udp}, {setsockopt: [socket, broadcast, 1]}, {bind: \"0.0.0.0:5000\"}, {send: {size: 3000, byte: a, to: \"10.0.0.255:9\"}}"),
    ];
    fragments_too_long_for_a_port: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ip link set eth0 mtu 1000"),
        ("b", "ping -c1 -W1 -s 3000 10.0.0.10"),
        ("node", "ping -c1 -W1 -s 3000 10.0.0.10"),
        ("d", "ping -c1 -W1 -s 3000 10.0.0.10"),
    ];
    dnat_to_loopback: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 127.0.0.1")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
        ("node", "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 10.96.0.1"),
    ];
    /// Four clients, two addresses: SNAT to a range keeps one address for one pair.
    snat_to_a_range: [
        ("node", "ip addr add 192.168.0.2/24 dev up0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp --dport 7 -j SNAT --to-source 192.168.0.2-192.168.0.2")),
        ("a", udp!("192.168.0.13:7")),
        ("b", udp!("192.168.0.13:7", 32, "5001")),
    ];
    masquerade_ports: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j MASQUERADE --to-ports 6000-6000")),
        ("a", udp!("192.168.0.13:7")),
        ("a", udp!("192.168.0.13:9")),
    ];
    /// Two destinations behind one: an entry is reused for the same source.
    one_source_keeps_its_port: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -p udp -j SNAT --to-source 192.168.0.1:6000-6009")),
        ("d", "ip addr add 192.168.0.14/24 dev eth0"),
        ("a", udp!("192.168.0.13:7", 32, "6005")),
        ("a", udp!("192.168.0.14:7", 32, "6005")),
    ];
    ctstate_nat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate DNAT")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate SNAT")),
        ("node", rule!("-A FORWARD -m conntrack --ctorigdst 10.96.0.1")),
        ("node", rule!("-A FORWARD -m conntrack --ctdir REPLY")),
        ("a", "ping -c1 10.96.0.1"),
        ("a", "ping -c1 192.168.0.13"),
        ("d", "ping -c1 10.96.0.1"),
    ];
    timeouts: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("node", "sysctl -qw net.netfilter.nf_conntrack_udp_timeout=1 net.netfilter.nf_conntrack_icmp_timeout=1"),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "sleep 3s"),
        ("a", udp!("192.168.0.13:7")),
    ];
    assured: [
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {connect: \"192.168.0.13:7\"}, {repeat: 4, do: [{send: {size: 32, byte: a}}, {recv: {timeout: 1s}}, {sleep: 900ms}]}"),
    ];
    accounting: [
        ("node", "sysctl -qw net.netfilter.nf_conntrack_acct=1"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c3 -i0.2 10.96.0.1"),
        ("a", udp!("10.96.0.1:7", 4000)),
        ("a", udp!("10.96.0.1:9")),
    ];
    deleted_entry: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 10.0.0.11:7")),
        ("a", udp!("10.96.0.1:53")),
        ("node", "conntrack -D -p udp --orig-port-dst 53"),
        ("node", rule!("-t nat -R PREROUTING 1 -d 10.96.0.1 -p udp --dport 53 -j DNAT --to-destination 192.168.0.13:7")),
        ("a", udp!("10.96.0.1:53")),
    ];
    input_after_snat: [
        ("b", rule!("-A INPUT -s 10.0.0.1")),
        ("b", rule!("-A INPUT -s 10.0.0.10")),
        ("node", rule!("-t nat -A POSTROUTING -o br0 -j MASQUERADE")),
        ("a", "ping -c1 10.0.0.11"),
        ("d", "ping -c1 10.0.0.11"),
    ];
    /// Bridged traffic is translated on its way, too.
    snat_of_bridged: [
        ("node", rule!("-t nat -A POSTROUTING -s 10.0.0.10 -j SNAT --to-source 10.0.0.1")),
        ("a", "ping -c2 -i0.2 10.0.0.11"),
        ("a", udp!("10.0.0.11:7")),
        ("a", udp!("10.0.0.11:9")),
    ];
    drop_in_nat: [
        ("node", rule!("-t nat -A POSTROUTING -d 10.0.0.11 -j ACCEPT")),
        ("node", rule!("-t nat -P POSTROUTING DROP")),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ping -c1 -W1 192.168.0.13"),
        ("node", "ping -c1 -W1 192.168.0.13"),
    ];
    traceroute_behind_nat: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 192.168.0.13")),
        ("a", "{socket: udp}, {bind: \"0.0.0.0:5000\"}, {setsockopt: [ip, ttl, 1]}, {setsockopt: [ip, recverr, 1]}, {connect: \"10.96.0.1:33434\"}, {send: {size: 32, byte: a}}, {recv: {timeout: 200ms}}"),
        ("a", "{socket: udp}, {bind: \"0.0.0.0:5001\"}, {setsockopt: [ip, ttl, 2]}, {setsockopt: [ip, recverr, 1]}, {connect: \"10.96.0.1:33435\"}, {send: {size: 32, byte: a}}, {recv: {timeout: 200ms}}"),
    ];
    rejected_reply: [
        ("node", rule!("-A FORWARD -s 192.168.0.13 -p udp -j REJECT")),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate RELATED")),
        ("a", udp!("192.168.0.13:7")),
    ];
    own_traffic_to_itself: [
        ("node", rule!("-A INPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-A OUTPUT -m conntrack --ctstate NEW")),
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -j DNAT --to-destination 10.0.0.1")),
        ("node", rule!("-t nat -A POSTROUTING -o lo -j MASQUERADE")),
        ("node", "ping -c1 10.0.0.1"),
        ("node", "ping -c1 10.96.0.1"),
        ("node", udp!("10.96.0.1:7")),
        ("node", udp!("10.96.0.1:9")),
    ];
    /// What was masqueraded behind a device is forgotten when its packets leave by another, or its address goes.
    masquerade_and_another_way: [
        ("node", rule!("-t nat -A POSTROUTING ! -o lo -p udp -j MASQUERADE")),
        ("b", "ip addr add 172.16.0.1/32 dev lo"),
        ("d", "ip addr add 172.16.0.1/32 dev lo"),
        ("node", "ip route add 172.16.0.1/32 via 192.168.0.13"),
        ("a", udp!("172.16.0.1:7")),
        ("node", "ip route replace 172.16.0.1/32 via 10.0.0.11"),
        ("a", udp!("172.16.0.1:7")),
        ("a", udp!("172.16.0.1:7")),
    ];
    masquerade_and_address_goes: [
        ("node", "ip addr add 192.168.5.1/24 dev up0"),
        ("d", "ip addr add 192.168.5.13/24 dev eth0"),
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("192.168.5.13:7")),
        ("a", udp!("192.168.0.13:7")),
        ("node", "ip addr del 192.168.5.1/24 dev up0"),
    ];
    masquerade_and_link_down: [
        ("node", rule!("-t nat -A POSTROUTING -o up0 -j MASQUERADE")),
        ("a", udp!("192.168.0.13:7")),
        ("a", "ping -c1 10.0.0.11"),
        ("node", "ip link set up0 down"),
        ("a", "ping -c1 -W1 192.168.0.13"),
    ];
    /// A bridged frame keeps its TTL, whoever it goes to.
    ttl_of_bridged_dnat: [
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("a", "ping -c1 -W1 -t1 10.96.0.1"),
    ];
    bridged_to_a_shorter_port: [
        ("node", rule!("-A FORWARD -p icmp")),
        ("node", "ip link set vb mtu 1000"),
        ("b", "ip link set eth0 mtu 1000"),
        ("a", "ping -c1 -W1 -M dont -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -M dont -s 3000 10.0.0.11"),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -W1 -M dont -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -M dont -s 3000 10.0.0.11"),
    ];
    bound_to_a_device: [
        ("node", rule!("-t nat -A OUTPUT -d 10.96.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7")),
        ("node", "{socket: udp}, {setsockopt: [socket, bindtodevice, up0]}, {bind: \"0.0.0.0:5000\"}, {send: {size: 32, byte: a, to: \"10.96.0.1:53\"}}, {recv: {timeout: 300ms}}"),
        ("node", "{socket: udp}, {setsockopt: [socket, bindtodevice, br0]}, {bind: \"0.0.0.0:5001\"}, {send: {size: 32, byte: a, to: \"10.96.0.1:53\"}}, {recv: {timeout: 300ms}}"),
    ];
    fragments_never_reach_raw: [
        ("node", rule!("-t raw -A PREROUTING -f -j DROP")),
        ("node", rule!("-A FORWARD -m conntrack --ctstate NEW")),
        ("a", "ping -c1 -s 3000 192.168.0.13"),
        ("a", "ping -c1 -s 3000 10.0.0.11"),
    ];
    fragments_dropped_in_raw: [
        ("node", rule!("-t raw -A PREROUTING -f -j DROP")),
        ("a", "ping -c1 -W1 -s 3000 192.168.0.13"),
    ];
    devices_by_pattern: [
        ("node", rule!("-A FORWARD -i br+ -o up+")),
        ("node", rule!("-A FORWARD ! -i br0 -o br+")),
        ("node", rule!("-A FORWARD -i v+")),
        ("node", rule!("-A FORWARD -m physdev --physdev-in v+ --physdev-out v+")),
        ("node", rule!("-A FORWARD ! -s 10.0.0.0/24 ! -p udp")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", udp!("192.168.0.13:9")),
    ];
    icmp_types: [
        ("node", rule!("-A FORWARD -p icmp --icmp-type echo-request")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type echo-reply")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type port-unreachable")),
        ("node", rule!("-A FORWARD -p icmp --icmp-type destination-unreachable -j DROP")),
        ("node", rule!("-A OUTPUT -p icmp --icmp-type time-exceeded -j DROP")),
        ("a", "ping -c1 192.168.0.13"),
        ("a", "ping -c1 -W1 -t1 192.168.0.13"),
        ("a", udp!("192.168.0.13:9")),
    ];
    /// The errors that the node itself makes go through OUTPUT and POSTROUTING, not through nat's rules again.
    own_errors: [
        ("node", rule!("-t nat -A POSTROUTING -j MASQUERADE")),
        ("node", rule!("-t mangle -A OUTPUT -p icmp")),
        ("node", rule!("-t mangle -A POSTROUTING -p icmp")),
        ("node", "ip route add unreachable 172.16.0.0/16"),
        ("a", "ping -c1 -W1 172.16.0.1"),
        ("a", udp!("10.0.0.1:9")),
        ("d", udp!("10.0.0.1:9")),
    ];
    rp_filter_and_dnat: [
        ("node", "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("d", "ip addr add 10.0.0.99/32 dev lo"),
        ("d", "ping -c1 -W1 10.96.0.1"),
        ("d", "ping -c1 -W1 -I 10.0.0.99 10.96.0.1"),
    ];
    marks_of_bridged_dnat: [
        ("node", "ip rule add fwmark 2 table 200"),
        ("node", "ip route add prohibit default table 200"),
        ("node", rule!("-t mangle -A PREROUTING -d 10.96.0.1 -j MARK --set-mark 2")),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.0/16 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 10.96.0.2"),
        ("a", "ping -c1 -W1 10.96.0.1"),
    ];
    isolated_ports_and_dnat: [
        ("node", "bridge link set dev va isolated on"),
        ("node", "bridge link set dev vb isolated on"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("a", "ping -c1 -W1 10.96.0.1"),
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("a", "ping -c1 -W1 10.96.0.1"),
    ];
    events: [
        ("node", "sysctl -qw net.netfilter.nf_conntrack_acct=1 net.netfilter.nf_conntrack_timestamp=0"),
        ("node", rule!("-t nat -A PREROUTING -d 10.96.0.1 -j DNAT --to-destination 10.0.0.11")),
        ("node", rule!("-t mangle -A FORWARD -p udp -j CONNMARK --set-mark 7")),
        ("a", udp!("10.96.0.1:7")),
        ("a", "ping -c1 10.96.0.1"),
        ("node", "conntrack -L -o extended"),
        ("node", "conntrack -L -m 7"),
        ("node", "conntrack -L --orig-dst 10.96.0.1 -p udp"),
        ("node", "conntrack -D -s 10.0.0.10"),
        ("node", "conntrack -C"),
    ];
}
