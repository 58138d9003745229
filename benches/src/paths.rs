//! The networks that are measured.

use crate::lab::Setup;
use crate::rules;

/// A pod that sends.
pub const POD1: &str = "podhop-bench-pod1";
/// Its node, or whatever lies between the pods.
pub const NODE1: &str = "podhop-bench-node1";
/// The other pod's node.
pub const NODE2: &str = "podhop-bench-node2";
/// A pod that receives.
pub const POD2: &str = "podhop-bench-pod2";

/// The receiver's address on [`bridge`] and behind [`router`].
pub const PEER: [u8; 4] = [10, 0, 2, 2];
/// An address behind [`router`] that is translated to [`PEER`].
pub const SERVICE: [u8; 4] = [10, 96, 0, 1];

/// Two pods on a bridge: veth, bridge, veth. Frames cross four interfaces one way.
pub fn bridge() -> Setup {
    let mut s = Setup { namespaces: vec![NODE1, POD1, POD2], steps: vec![] };
    s.run(NODE1, "ip link add br0 type bridge\nip link set br0 up");
    for (n, pod) in [(1, POD1), (2, POD2)] {
        s.run(NODE1, &format!("ip link add veth{n} type veth peer name eth0 netns {pod}"));
        s.run(NODE1, &format!("ip link set veth{n} master br0 up"));
        s.run(pod, &format!("ip link set lo up\nip link set eth0 up\nip addr add 10.0.2.{n}/24 dev eth0"));
    }
    s.run(POD1, "ping -c 1 10.0.2.2");
    s
}

/// Two pods with a router between them. Packets cross four interfaces one way. With `nat` the router has a Service.
pub fn router(nat: bool) -> Setup {
    let mut s = Setup { namespaces: vec![NODE1, POD1, POD2], steps: vec![] };
    s.run(NODE1, "sysctl -qw net.ipv4.ip_forward=1");
    for (n, pod) in [(1, POD1), (2, POD2)] {
        s.run(NODE1, &format!("ip link add veth{n} type veth peer name eth0 netns {pod}"));
        s.run(NODE1, &format!("ip link set veth{n} up\nip addr add 10.0.{n}.1/24 dev veth{n}"));
        s.run(pod, &format!("ip link set lo up\nip link set eth0 up\nip addr add 10.0.{n}.2/24 dev eth0"));
        s.run(pod, &format!("ip route add default via 10.0.{n}.1"));
    }
    if nat {
        s.run(NODE1, "iptables-legacy -t nat -A PREROUTING -d 10.96.0.1/32 -p udp -j DNAT --to-destination 10.0.2.2");
    }
    s.run(POD1, "ping -c 1 10.0.2.2");
    s
}

/// Two nodes of a cluster, a pod on each, kube-proxy's rules for `services` Services on both, bridge-nf-call-iptables:
/// a datagram from the pod to a Service's address crosses eight interfaces on its way to the other pod.
///
/// ```text
///   pod1 eth0 --- veth  cbr0 10.244.1.1   node1   eth0 192.168.50.1 --+
///   pod2 eth0 --- veth  cbr0 10.244.2.1   node2   eth0 192.168.50.2 --+
/// ```
pub fn cluster(services: usize) -> Setup {
    two_nodes(services, |_, other| format!("ip route add 10.244.{other}.0/24 via 192.168.50.{other}"))
}

/// [`cluster`] with flannel's VXLAN between the nodes: ten interfaces.
pub fn vxlan_cluster(services: usize) -> Setup {
    two_nodes(services, |n, other| {
        format!(
            "ip link add flannel.1 type vxlan id 1 dev eth0 local 192.168.50.{n} dstport 8472 nolearning
            ip link set flannel.1 address 0a:00:00:00:00:0{n} up
            ip addr add 10.244.{n}.0/32 dev flannel.1
            ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink
            ip neigh add 10.244.{other}.0 lladdr 0a:00:00:00:00:0{other} dev flannel.1 nud permanent
            bridge fdb add 0a:00:00:00:00:0{other} dev flannel.1 dst 192.168.50.{other}"
        )
    })
}

/// Two nodes with a pod each, and how the pods of the other one are reached, from a node's number and the other's.
fn two_nodes(services: usize, way: impl Fn(u8, u8) -> String) -> Setup {
    let mut s = Setup { namespaces: vec![NODE1, NODE2, POD1, POD2], steps: vec![] };
    s.run(NODE1, &format!("ip link add eth0 type veth peer name eth0 netns {NODE2}"));
    for (n, node, pod) in [(1, NODE1, POD1), (2, NODE2, POD2)] {
        s.run(
            node,
            &format!(
                "ip link set lo up
                ip addr add 192.168.50.{n}/24 dev eth0
                ip link set eth0 up
                ip link add cbr0 address 0a:58:0a:f4:0{n}:01 type bridge
                ip addr add 10.244.{n}.1/24 dev cbr0
                ip link set cbr0 up
                ip link add veth type veth peer name eth0 netns {pod}
                ip link set veth master cbr0 up
                sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
                sysctl -qw net.bridge.bridge-nf-call-iptables=1"
            ),
        );
        s.run(node, &way(n, 3 - n));
        s.run(pod, "ip link set lo up\nip link set eth0 up");
        s.run(pod, &format!("ip addr add 10.244.{n}.2/24 dev eth0\nip route add default via 10.244.{n}.1"));
    }
    // More endpoints of the same pod: whichever is drawn, the way is the same.
    s.run(POD2, "ip addr add 10.244.2.3/24 dev eth0\nip addr add 10.244.2.4/24 dev eth0");
    let rules = rules::kube_proxy(services);
    for node in [NODE1, NODE2] {
        s.feed(node, "iptables-legacy-restore", rules.clone());
    }
    for pod in 2..=4 {
        s.run(POD1, &format!("ping -c 1 10.244.2.{pod}"));
    }
    s
}

/// [`cluster`] for many connections, of which none is cut or summed by a device, and few are left when they have ended.
pub fn tcp_cluster(services: usize) -> Setup {
    let mut s = cluster(services);
    for (ns, devices) in
        [(POD1, &["eth0"][..]), (POD2, &["eth0"]), (NODE1, &["eth0", "veth"]), (NODE2, &["eth0", "veth"])]
    {
        for dev in devices {
            s.run(ns, &format!("ethtool -K {dev} tso off gso off gro off tx off rx off"));
        }
    }
    for pod in [POD1, POD2] {
        s.run(pod, "sysctl -qw net.ipv4.tcp_max_tw_buckets=64");
    }
    for node in [NODE1, NODE2] {
        s.run(node, "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_time_wait=1");
        s.run(node, "sysctl -qw net.netfilter.nf_conntrack_tcp_timeout_close=1");
    }
    s
}
