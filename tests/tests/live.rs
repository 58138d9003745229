//! The live kernel shows what we show: small labs, built and run in real namespaces and by us, compared record by
//! record.

use podhop_parity::Compare;
use podhop_tests::live;

/// A node with a bridge and three pods; all addresses fixed.
const LAB: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: live}
spec:
  namespaces:
    node:
      setup:
        - ip link set lo up
        - ip link add br0 address 0a:00:00:00:00:01 type bridge
        - ip link add va address 4e:00:00:00:00:0a type veth peer name eth0 address 0a:00:00:00:00:0a netns a
        - ip link add vb address 4e:00:00:00:00:0b type veth peer name eth0 address 0a:00:00:00:00:0b netns b
        - ip link add vc address 4e:00:00:00:00:0c type veth peer name eth0 address 0a:00:00:00:00:0c netns c
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set vc master br0 up
        - ip link set br0 up
        - ip addr add 10.0.0.1/24 brd + dev br0
    a: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.10/24 brd + dev eth0]}
    b: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.11/24 brd + dev eth0]}
    c: {setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.0.0.12/24 brd + dev eth0]}
  traffic:
"#;

/// A router r between a, b and c on one link and d on another, which is shorter.
const ROUTED: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: routed}
spec:
  namespaces:
    sw:
      setup:
        - ip link add br0 address 0a:00:00:00:00:01 type bridge
        - ip link add va address 4e:00:00:00:00:0a type veth peer name eth0 address 0a:00:00:00:00:0a netns a
        - ip link add vb address 4e:00:00:00:00:0b type veth peer name eth0 address 0a:00:00:00:00:0b netns b
        - ip link add vr address 4e:00:00:00:00:0f type veth peer name eth0 address 0a:00:00:00:00:0f netns r
        - ip link set va master br0 up
        - ip link set vb master br0 up
        - ip link set vr master br0 up
        - ip link set br0 up
    r:
      setup:
        - ip link set lo up
        - ip link add eth1 address 0a:00:00:00:01:0f mtu 1400 type veth peer name eth0 address 0a:00:00:00:01:0d netns d
        - ip link set eth0 up
        - ip link set eth1 up
        - ip addr add 10.0.0.1/24 brd + dev eth0
        - ip addr add 10.0.1.1/24 brd + dev eth1
        - sysctl -qw net.ipv4.ip_forward=1
    a:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.0.10/24 brd + dev eth0
        - ip route add default via 10.0.0.1
    b:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 10.0.0.11/24 brd + dev eth0
        - ip route add default via 10.0.0.1
    d:
      setup:
        - ip link set lo up
        - ip link set eth0 mtu 1400 up
        - ip addr add 10.0.1.13/24 brd + dev eth0
        - ip route add default via 10.0.1.1
  traffic:
"#;

macro_rules! live {
    ($lab:ident: $($(#[doc = $doc:literal])* $name:ident: [$(($ns:literal, $run:literal)),* $(,)?];)*) => {
        $($(#[doc = $doc])* #[test] fn $name() { check($lab, stringify!($name), &[$(($ns, $run)),*]); })*
    };
}

live! { ROUTED:
    routed: [("a", "ping -c2 -i0.2 10.0.1.13"), ("d", "ping -c1 10.0.0.11")];
    ttl: [("a", "ping -c1 -W1 -t1 10.0.1.13"), ("a", "ping -c1 -t2 10.0.1.13")];
    router_itself: [("a", "ping -c1 10.0.1.1"), ("d", "ping -c1 10.0.0.1"), ("r", "ping -c1 10.0.0.1")];
    not_forwarding: [("r", "sysctl -qw net.ipv4.ip_forward=0"), ("a", "ping -c1 -W1 10.0.1.13")];
    nobody_behind_the_router: [("a", "ping -c3 -W4 10.0.1.77")];
    no_route_on_the_router: [("a", "ping -c2 -i0.3 -W1 10.9.0.1")];
    route_types: [
        ("r", "ip route add unreachable 10.2.0.0/16"),
        ("r", "ip route add prohibit 10.3.0.0/16"),
        ("r", "ip route add blackhole 10.4.0.0/16"),
        ("r", "ip route add throw 10.5.0.0/16"),
        ("a", "ping -c1 -W1 10.2.0.1"),
        ("a", "ping -c1 -W1 10.3.0.1"),
        ("a", "ping -c1 -W1 10.4.0.1"),
        ("a", "ping -c1 -W1 10.5.0.1"),
    ];
    errors_are_limited: [("a", "ping -c12 -i0.01 -W1 -t1 10.0.1.13")];
    route_errors_are_limited: [("a", "ping -c8 -i0.01 -W1 10.9.0.1")];
    too_big_for_the_way: [("a", "ping -c1 -W1 -M do -s 1400 10.0.1.13"), ("a", "ping -c1 -s 1300 10.0.1.13")];
    reverse_path_filter: [
        ("r", "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        ("r", "ip addr add 10.7.0.1/24 dev eth1"),
        ("a", "ip addr add 10.7.0.9/32 dev lo"),
        ("a", "ping -c1 -W1.5 -I 10.7.0.9 10.0.1.13"),
        ("r", "sysctl -qw net.ipv4.conf.all.rp_filter=2"),
        ("a", "ping -c1 -W1.5 -I 10.7.0.9 10.0.1.13"),
    ];
    broadcast_as_source: [
        ("r", "ip addr add 10.7.0.1/24 dev eth1"),
        ("a", "ip addr add 10.7.0.255/32 dev lo"),
        ("a", "ping -c1 -W1.5 -I 10.7.0.255 10.0.1.13"),
        ("r", "sysctl -qw net.ipv4.conf.all.rp_filter=2"),
        ("a", "ping -c1 -W1.5 -I 10.7.0.255 10.0.1.13"),
    ];
    metrics: [
        ("a", "ip route add 10.0.1.0/24 via 10.0.0.11 metric 100"),
        ("a", "ip route add 10.0.1.0/24 via 10.0.0.1 metric 50"),
        ("a", "ping -c1 10.0.1.13"),
    ];
    gateway_is_down: [("a", "ip route replace default via 10.0.0.99"), ("a", "ping -c2 -W4 10.0.1.13")];
    source_of_a_route: [
        ("a", "ip addr add 10.0.0.50/24 dev eth0"),
        ("a", "ip route add 10.0.1.0/24 via 10.0.0.1 src 10.0.0.50"),
        ("a", "ping -c1 10.0.1.13"),
    ];
    directed_broadcast: [("a", "ping -c1 -W1 10.0.1.255")];
    fragments: [
        ("a", "ping -c1 -s 3000 10.0.0.1"),
        ("a", "ping -c1 -s 3000 10.0.1.13"),
        ("d", "ping -c1 -s 1400 10.0.0.10"),
    ];
    path_mtu: [
        ("a", "ping -c1 -W1 -M do -s 1400 10.0.1.13"),
        ("a", "ping -c1 -W1 -M do -s 1400 10.0.1.13"),
        ("a", "ping -c1 -s 1400 10.0.1.13"),
        ("a", "ip route flush cache"),
        ("a", "ping -c1 -s 1400 10.0.1.13"),
    ];
    redirected: [
        ("b", "sysctl -qw net.ipv4.ip_forward=1"),
        ("a", "ip route add 10.0.1.0/24 via 10.0.0.11"),
        ("a", "ping -c3 -i0.3 10.0.1.13"),
    ];
    policy: [
        ("a", "ip addr add 10.0.0.50/24 dev eth0"),
        ("a", "ip route add unreachable default table 100"),
        ("a", "ip rule add from 10.0.0.50 table 100"),
        ("a", "ping -c1 -W1 -I 10.0.0.50 10.0.1.13"),
        ("a", "ping -c1 10.0.1.13"),
        ("r", "ip rule add from 10.0.0.10 prohibit"),
        ("a", "ping -c1 -W1 10.0.1.13"),
    ];
}

live! { LAB:
    ping: [("a", "ping -c2 -i0.2 10.0.0.11")];
    ping_the_node: [("a", "ping -c1 10.0.0.1"), ("node", "ping -c1 10.0.0.11")];
    ping_myself: [("a", "ping -c1 10.0.0.10"), ("a", "ping -c1 127.0.0.1")];
    ping_nobody: [("a", "ping -c1 -W4 10.0.0.77"), ("node", "ping -c1 -W4 10.0.0.78")];
    ping_broadcast_is_ignored: [("a", "ping -c1 -W1 -b 10.0.0.255")];
    no_route: [("a", "ping -c1 -W1 192.0.2.1")];
    sizes: [("a", "ping -c1 -s 0 10.0.0.11"), ("a", "ping -c1 -s 1472 10.0.0.11"), ("a", "ping -c1 -Q 0x48 10.0.0.11")];
    df: [
        ("a", "ping -c1 -W1 -M do -s 1473 10.0.0.11"),
        ("a", "ping -c1 -M dont 10.0.0.11"),
        ("a", "ping -c1 -t 3 10.0.0.11"),
    ];
    hairpin: [("node", "bridge link set dev va hairpin on"), ("a", "ping -c1 10.0.0.11"), ("a", "ping -c1 10.0.0.12")];
    promiscuous: [("node", "ip link set br0 promisc on"), ("a", "ping -c1 10.0.0.11")];
    isolated: [
        ("node", "bridge link set dev va isolated on"),
        ("node", "bridge link set dev vb isolated on"),
        ("a", "ping -c1 10.0.0.12"),
        ("a", "ping -c1 -W1 10.0.0.11"),
    ];
    no_learning: [("node", "bridge link set dev vb learning off"), ("a", "ping -c2 -i0.2 10.0.0.11")];
    no_flood: [
        ("a", "ping -c1 10.0.0.11"),
        ("node", "bridge link set dev vb flood off"),
        ("node", "ip link set br0 type bridge fdb_flush"),
        ("a", "ping -c1 -W1 10.0.0.11"),
    ];
    unknown_unicast: [
        ("a", "ping -c1 10.0.0.11"),
        ("node", "ip link set br0 type bridge fdb_flush"),
        ("a", "ping -c1 10.0.0.11"),
    ];
    static_entry: [
        ("node", "bridge fdb add 0a:00:00:00:00:0b dev vc master static"),
        ("a", "ping -c1 -W1 10.0.0.11"),
    ];
    port_down: [("a", "ping -c1 10.0.0.11"), ("node", "ip link set vb down"), ("a", "ping -c1 -W1 10.0.0.11")];
    peer_down: [("a", "ping -c1 10.0.0.11"), ("b", "ip link set eth0 down"), ("a", "ping -c1 -W1 10.0.0.11")];
    port_leaves: [("a", "ping -c1 10.0.0.11"), ("node", "ip link set vb nomaster"), ("a", "ping -c1 -W1 10.0.0.11")];
    mtu_of_a_port: [
        ("b", "ip link set eth0 mtu 1000"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -s 900 10.0.0.11"),
    ];
    mtu_of_the_bridge: [
        ("node", "ip link set br0 mtu 1000"),
        ("a", "ping -c1 -s 1200 10.0.0.11"),
        ("a", "ping -c1 -W1 -M do -s 1200 10.0.0.1"),
        ("a", "ping -c1 -W1 -s 1200 10.0.0.1"),
    ];
    arp_ignore_0: [("node", "ip addr add 10.9.9.9/32 dev lo"), ("a", "arping -c1 -w1 -I eth0 10.9.9.9")];
    arp_ignore_1: [
        ("node", "ip addr add 10.9.9.9/32 dev lo"),
        ("node", "sysctl -qw net.ipv4.conf.br0.arp_ignore=1"),
        ("a", "arping -c1 -w1 -I eth0 10.9.9.9"),
        ("a", "arping -c1 -w1 -I eth0 10.0.0.1"),
    ];
    arp_ignore_2: [
        ("node", "sysctl -qw net.ipv4.conf.br0.arp_ignore=2"),
        ("a", "ip addr add 172.16.0.1/24 dev eth0"),
        ("a", "arping -c1 -w1 -I eth0 -s 172.16.0.1 10.0.0.1"),
        ("a", "arping -c1 -w1 -I eth0 10.0.0.1"),
    ];
    arp_ignore_8: [("node", "sysctl -qw net.ipv4.conf.all.arp_ignore=8"), ("a", "arping -c1 -w1 -I eth0 10.0.0.1")];
    arp_announce: [
        ("a", "ip addr add 172.16.0.1/32 dev lo"),
        ("a", "ping -c1 -W1 -I 172.16.0.1 10.0.0.11"),
        ("a", "ip neigh flush all"),
        ("a", "sysctl -qw net.ipv4.conf.all.arp_announce=1"),
        ("a", "ping -c1 -W1 -I 172.16.0.1 10.0.0.11"),
        ("a", "ip neigh flush all"),
        ("a", "sysctl -qw net.ipv4.conf.all.arp_announce=2"),
        ("a", "ping -c1 -W1 -I 172.16.0.1 10.0.0.11"),
    ];
    arp_filter: [
        ("node", "sysctl -qw net.ipv4.conf.all.arp_filter=1"),
        ("a", "arping -c1 -w1 -I eth0 10.0.0.1"),
    ];
    arp_accept: [
        ("b", "sysctl -qw net.ipv4.conf.eth0.arp_accept=1"),
        ("a", "arping -c1 -w1 -U -I eth0 10.0.0.10"),
        ("b", "ping -c1 10.0.0.10"),
        ("c", "ping -c1 10.0.0.10"),
    ];
    gratuitous: [
        ("b", "ping -c1 10.0.0.10"),
        ("a", "arping -c1 -w1 -U -I eth0 10.0.0.10"),
        ("a", "arping -c1 -w1 -A -I eth0 10.0.0.10"),
        ("b", "ping -c1 10.0.0.10"),
    ];
    duplicate_address: [("a", "arping -c1 -w1 -D -I eth0 10.0.0.11"), ("a", "arping -c1 -w1 -D -I eth0 10.0.0.99")];
    arp_notify: [
        ("a", "sysctl -qw net.ipv4.conf.eth0.arp_notify=1"),
        ("a", "ip addr add 10.0.0.50/24 dev eth0"),
        ("a", "ip link set eth0 down"),
        ("a", "ip link set eth0 up"),
        ("a", "ip link set eth0 address 0a:00:00:00:00:aa"),
    ];
    /// What waits for a neighbour goes with the device.
    device_goes_down: [
        ("a", "& ping -c1 -W1 10.0.0.99"),
        ("a", "sleep 300ms"),
        ("a", "ip link set eth0 down"),
        ("a", "ip neigh show"),
        ("a", "sleep 1s"),
    ];
    proxy_arp: [
        ("node", "sysctl -qw net.ipv4.ip_forward=1"),
        ("node", "sysctl -qw net.ipv4.conf.br0.proxy_arp=1"),
        ("node", "sysctl -qw net.ipv4.neigh.br0.proxy_delay=0"),
        ("node", "ip link add u0 type veth peer name u1"),
        ("node", "ip link set u0 up"),
        ("node", "ip link set u1 up"),
        ("node", "ip route add 172.16.0.0/16 dev u0"),
        ("a", "arping -c1 -w1 -I eth0 172.16.0.9"),
        ("a", "arping -c1 -w1 -I eth0 10.0.0.99"),
    ];
    neighbour_by_hand: [
        ("a", "ip neigh add 10.0.0.11 lladdr 0a:00:00:00:00:0b dev eth0"),
        ("a", "ping -c1 10.0.0.11"),
        ("a", "ip neigh replace 10.0.0.12 lladdr 0a:00:00:00:00:99 dev eth0 nud reachable"),
        ("a", "ping -c1 -W1 10.0.0.12"),
        ("a", "ip neigh del 10.0.0.12 dev eth0"),
        ("a", "ping -c1 10.0.0.12"),
    ];
    address_changes: [
        ("a", "ping -c1 10.0.0.11"),
        ("b", "ip link set eth0 address 0a:00:00:00:00:bb"),
        ("a", "ping -c1 -W1 10.0.0.11"),
        ("b", "ping -c1 10.0.0.10"),
        ("a", "ping -c1 10.0.0.11"),
    ];
    secondary_addresses: [
        ("b", "ip addr add 10.0.0.21/24 dev eth0"),
        ("b", "ip addr add 10.0.0.22/32 dev eth0"),
        ("a", "ping -c1 10.0.0.21"),
        ("b", "ip addr del 10.0.0.11/24 dev eth0"),
        ("a", "ping -c1 -W1 10.0.0.21"),
        ("a", "ping -c1 -W1 10.0.0.22"),
    ];
    own_address_as_a_source: [("b", "ip addr add 10.0.0.10/32 dev lo"), ("a", "ping -c1 -W2 10.0.0.11")];
    /// Local and main share one trie: a longer prefix in main goes before 127/8.
    longer_than_local: [("c", "ip route add 127.0.0.9/32 via 10.0.0.11"), ("c", "ping -c1 -W1 127.0.0.9")];
    echo_ignored: [("b", "sysctl -qw net.ipv4.icmp_echo_ignore_all=1"), ("a", "ping -c1 -W1 10.0.0.11")];
    queue_of_a_neighbour: [
        ("a", "sysctl -qw net.ipv4.neigh.eth0.unres_qlen_bytes=2000"),
        ("a", "ping -c4 -i0.2 -W3 10.0.0.77"),
    ];
    quick_retries: [
        ("a", "sysctl -qw net.ipv4.neigh.eth0.retrans_time_ms=200 net.ipv4.neigh.eth0.mcast_solicit=5"),
        ("a", "ping -c1 -W3 10.0.0.77"),
    ];
}

fn check(lab: &str, name: &str, traffic: &[(&str, &str)]) {
    live::check(lab, name, traffic, Compare { times: true, ..Compare::default() });
}
