use super::Plugin;
use super::calico::{self, Calico, Encapsulation};
use super::cilium::{Cilium, RoutingMode};
use super::flannel::{Backend, Flannel};
use crate::base::rng::Prf;
use crate::cluster::config::{Config, NodeConfig};
use crate::cluster::object::{Meta, Object, Pod};
use crate::cluster::store::Cluster;

/// Two neighbours, a node behind a router, and a pod on each.
fn cluster(cni: Plugin) -> Cluster {
    let node = |(name, address): (&str, &str)| NodeConfig {
        name: name.to_owned(),
        address: address.parse().expect("an address"),
        interface: "ens4".to_owned(),
        gateway: None,
        pod_cidr: None,
    };
    let nodes = [("node-1", "192.168.1.11/24"), ("node-2", "192.168.1.12/24"), ("node-3", "192.168.2.13/24")];
    let config = Config { cni, core_dns: false, ..Config::new(nodes.map(node).to_vec()) };
    let pod = |n: usize| {
        let meta = Meta { namespace: "default".to_owned(), name: format!("pod-{n}"), ..Meta::default() };
        Object::Pod(Pod { meta, node_name: Some(format!("node-{n}")), ..Pod::default() })
    };
    let (cluster, problems) = Cluster::new(config, &[pod(1), pod(2), pod(3)], Prf::new(7));
    assert_eq!(problems, []);
    cluster
}

/// What is run on the first node.
fn first_node(cni: Plugin) -> Vec<String> {
    cluster(cni).spaces(&Prf::new(7))[0].setup.iter().map(ToString::to_string).collect()
}

/// Those of the commands that lead to other nodes.
fn ways(commands: &[String]) -> Vec<&str> {
    let leads = |c: &&String| c.contains(" via ") && !c.contains(" -n ") || c.starts_with("bridge fdb");
    commands.iter().filter(leads).map(String::as_str).collect()
}

#[test]
fn flannel_writes_its_rules() {
    let cluster = cluster(Plugin::Flannel(Flannel::default()));
    let dump = include_str!("../../../../tests/iptables/node2-flannel.restore");
    let mut recorded: Vec<&str> = dump.lines().filter(|line| line.contains("flanneld ")).collect();
    let spaces = cluster.spaces(&Prf::new(7));
    // Its pods are those of the recorded node.
    let node = spaces.iter().find(|s| s.netns == "node-3").expect("there are three");
    let rules = node.setup.iter().filter(|c| c.contains("flanneld "));
    let mut own: Vec<&str> = rules.filter_map(|c| c.find("-A ").map(|at| &c[at..])).collect();
    recorded.sort_unstable();
    own.sort_unstable();
    assert_eq!(own, recorded);
}

#[test]
fn flannel_leads_to_all_nodes_or_to_neighbours() {
    let flannel = |backend| first_node(Plugin::Flannel(Flannel { backend, ..Flannel::default() }));
    let vxlan = flannel(Backend::Vxlan);
    let fdb: Vec<&str> = ways(&vxlan).into_iter().filter(|c| c.starts_with("bridge")).collect();
    let [near, far] = fdb.as_slice() else { panic!("two other nodes: {fdb:?}") };
    assert!(near.ends_with("dev flannel.1 dst 192.168.1.12 self permanent"), "{near}");
    assert!(far.ends_with("dev flannel.1 dst 192.168.2.13 self permanent"), "{far}");
    let route = "ip route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink";
    assert!(vxlan.iter().any(|c| c == route), "{vxlan:?}");
    let device = "mtu 1450 type vxlan id 1 local 192.168.1.11 dev ens4 dstport 8472 nolearning";
    assert!(vxlan.iter().any(|c| c.ends_with(device)), "{vxlan:?}");
    assert_eq!(ways(&flannel(Backend::HostGw)), ["ip route add 10.244.1.0/24 via 192.168.1.12"]);
}

#[test]
fn calico_leads_to_blocks() {
    let calico = |encapsulation: Encapsulation| {
        let mtu = encapsulation.mtu();
        first_node(Plugin::Calico(Calico { encapsulation, block_size: calico::BLOCK_SIZE, mtu }))
    };
    let routes = |commands: &[String]| -> Vec<String> {
        commands.iter().filter(|c| c.starts_with("ip route")).cloned().collect()
    };
    // The first address of a block is the tunnel's where there is one.
    let pod = |n: u8| format!("ip route add 10.244.0.{n} dev cali83dbd022cd5 scope link");
    let blackhole = |proto: &str| format!("ip route add blackhole 10.244.0.0/26 proto {proto}");
    let direct = |proto: &str| format!("ip route add 10.244.0.64/26 via 192.168.1.12 proto {proto}");
    let tunnelled = |end: &str| format!("ip route add {end}/26 via {end} dev vxlan.calico proto 80 onlink");
    let (near, far) = (tunnelled("10.244.0.64"), tunnelled("10.244.0.128"));
    assert_eq!(routes(&calico(Encapsulation::None)), [blackhole("bird"), pod(0), direct("bird")]);
    assert_eq!(routes(&calico(Encapsulation::Vxlan)), [blackhole("80"), pod(1), near, far.clone()]);
    assert_eq!(routes(&calico(Encapsulation::VxlanCrossSubnet)), [blackhole("80"), pod(1), direct("80"), far]);
    // The next hop is what an IPIP packet is sent to.
    let tunnelled = |block: &str, node: &str| format!("ip route add {block}/26 via {node} dev tunl0 proto bird onlink");
    let (near, far) = (tunnelled("10.244.0.64", "192.168.1.12"), tunnelled("10.244.0.128", "192.168.2.13"));
    assert_eq!(routes(&calico(Encapsulation::Ipip)), [blackhole("bird"), pod(1), near, far.clone()]);
    assert_eq!(routes(&calico(Encapsulation::IpipCrossSubnet)), [blackhole("bird"), pod(1), direct("bird"), far]);
}

/// Felix writes rules on all nodes; those for a tunnel, and the set of its ends, where there is one.
#[test]
fn felix_writes_rules_whatever_the_encapsulation() {
    use Encapsulation::{Ipip, IpipCrossSubnet, None, Vxlan, VxlanCrossSubnet};
    for (encapsulation, [ipip, vxlan]) in [
        (None, [false, false]),
        (Vxlan, [false, true]),
        (VxlanCrossSubnet, [false, true]),
        (Ipip, [true, false]),
        (IpipCrossSubnet, [true, false]),
    ] {
        let mtu = encapsulation.mtu();
        let commands = first_node(Plugin::Calico(Calico { encapsulation, block_size: calico::BLOCK_SIZE, mtu }));
        let text = commands.join("\n");
        let has = |what: &str| text.contains(what);
        assert!(has("--goto cali-tw-cali83dbd022cd5") && has("cali40masq-ipam-pools src"), "{encapsulation:?}");
        assert_eq!(has("create cali40all-hosts-net") && has("Allow IPIP packets from"), ipip, "{encapsulation:?}");
        assert_eq!(
            has("create cali40all-vxlan-net") && has("Allow IPv4 VXLAN packets from"),
            vxlan,
            "{encapsulation:?}"
        );
        assert_eq!((has("all-hosts-net"), has("all-vxlan-net")), (ipip, vxlan), "{encapsulation:?}");
    }
}

/// Without kube-proxy nobody writes Services' rules; without a tunnel there are routes to neighbours.
#[test]
fn cilium_without_kube_proxy_and_tunnel() {
    let native = |host_legacy_routing, masquerade| Cilium {
        routing_mode: RoutingMode::Native { auto_direct_node_routes: true },
        kube_proxy_replacement: true,
        masquerade,
        host_legacy_routing,
        ..Cilium::default()
    };
    let commands = first_node(Plugin::Cilium(native(false, false)));
    assert_eq!(ways(&commands)[1..], ["ip route add 10.244.1.0/24 via 192.168.1.12 proto kernel"]);
    let without = ["KUBE-SERVICES", "cilium_vxlan", "cilium_tunnel_map", "MASQUERADE", "nf_conntrack_tcp_timeout"];
    for word in without {
        assert!(!commands.iter().any(|c| c.contains(word)), "{word}");
    }
    let attached =
        |commands: &[String], what: &str| commands.iter().any(|c| c == &format!("cilium-agent attach {what}"));
    assert!(attached(&commands, "tcx_egress cil_to_netdev dev ens4 host-routing ens4"));
    // The stack routes if it is to, or if netfilter has to know connections.
    for legacy in [native(true, false), native(false, true)] {
        let commands = first_node(Plugin::Cilium(legacy));
        assert!(attached(&commands, "tcx_ingress cil_from_netdev dev ens4"), "{commands:?}");
    }
    let beside = first_node(Plugin::Cilium(Cilium::default()));
    assert!(
        beside.iter().any(|c| c.contains("KUBE-SERVICES")) && !attached(&beside, "tcx_egress cil_to_netdev dev ens4")
    );
}
