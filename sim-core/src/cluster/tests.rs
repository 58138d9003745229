use super::bring_up::Owner;
use super::config::{Config, DetectLocalMode, KubeProxy, NodeConfig};
use super::kube_proxy::{Endpoint, Protocol};
use super::object::{
    ClusterIp, Container, ContainerPort, Labels, Meta, Node, Object, OwnerReference, Pod, PodSpec, PortRef, Service,
    ServiceKind, ServicePort, Workload, WorkloadKind,
};
use super::store::{Cluster, Problem};
use crate::base::rng::Prf;
use std::net::Ipv4Addr;
use std::sync::Arc;

fn config(nodes: usize) -> Config {
    let node = |n: usize| NodeConfig {
        name: format!("node-{}", n + 1),
        address: format!("10.168.0.{}/24", n + 4).parse().expect("an address"),
        interface: "eth0".to_owned(),
        gateway: Some([10, 168, 0, 1].into()),
        pod_cidr: None,
    };
    Config { core_dns: false, ..Config::new((0..nodes).map(node).collect()) }
}

fn labels(app: &str) -> Labels {
    [("app".to_owned(), app.to_owned())].into()
}

fn meta(name: &str) -> Meta {
    Meta { namespace: "default".to_owned(), name: name.to_owned(), ..Meta::default() }
}

fn pod(name: &str) -> Pod {
    let port = ContainerPort { name: "http".to_owned(), container_port: 80, ..ContainerPort::default() };
    let container = Container { image: "nginx".to_owned(), ports: vec![port], ..Container::default() };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    Pod { meta: Meta { labels: labels(name), ..meta(name) }, spec, ..Pod::default() }
}

fn service(name: &str) -> Service {
    Service {
        meta: meta(name),
        kind: ServiceKind::ClusterIp,
        cluster_ip: ClusterIp::Any,
        ports: vec![ServicePort {
            name: String::new(),
            protocol: Protocol::Tcp,
            port: 80,
            target_port: PortRef::Number(80),
            node_port: None,
        }],
        selector: Some(labels(name)),
        external_ips: vec![],
        load_balancer_ips: vec![],
        load_balancer_source_ranges: vec![],
        affinity_s: None,
        internal_policy: Default::default(),
        external_policy: Default::default(),
        health_check_node_port: None,
        publish_not_ready: false,
    }
}

fn build(nodes: usize, objects: &[Object]) -> (Cluster, Vec<Problem>) {
    Cluster::new(config(nodes), objects, Prf::new(7))
}

/// The cluster, in which nothing may be wrong.
fn good(nodes: usize, objects: &[Object]) -> Cluster {
    let (cluster, problems) = build(nodes, objects);
    assert_eq!(problems, []);
    cluster
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect(text)
}

#[test]
fn pods_get_nodes_and_addresses_in_turn() {
    let mut pinned = pod("pinned");
    (pinned.node_name, pinned.pod_ip) = (Some("node-2".to_owned()), Some(ip("10.244.1.2")));
    let host = Pod { spec: PodSpec { host_network: true, ..pod("host").spec }, ..pod("host") };
    let objects = [pod("a"), pod("b"), pod("c"), pinned, host].map(Object::Pod);
    let cluster = good(2, &objects);
    let places: Vec<(&str, usize, String)> =
        cluster.pods.iter().map(|p| (p.meta.name.as_str(), p.node, p.ip.to_string())).collect();
    let want = [
        ("a", 0, "10.244.0.2"),
        ("b", 1, "10.244.1.3"),
        ("c", 0, "10.244.0.3"),
        ("pinned", 1, "10.244.1.2"),
        ("host", 1, "10.168.0.5"),
    ];
    assert_eq!(places, want.map(|(name, node, ip)| (name, node, ip.to_owned())));
}

#[test]
fn workloads_make_pods() {
    let workload = |kind, name: &str| {
        let Pod { meta: template_meta, spec: template, .. } = pod(name);
        Object::Workload(Workload { kind, meta: meta(name), selector: Default::default(), template_meta, template })
    };
    let all = [workload(WorkloadKind::Deployment { replicas: 3 }, "web"), workload(WorkloadKind::DaemonSet, "agent")];
    let cluster = good(2, &all);
    let names: Vec<&str> = cluster.pods.iter().map(|p| p.meta.name.as_str()).collect();
    let replica_set = names[0].rsplit_once('-').expect("a suffix").0;
    assert!(names[..3].iter().all(|n| n.starts_with(replica_set) && n.len() == "web-".len() + 10 + 1 + 5), "{names:?}");
    assert!(names[3..].iter().all(|n| n.starts_with("agent-") && n.len() == "agent-".len() + 5), "{names:?}");
    let mut unique = names.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 5, "{names:?}");
    assert_eq!(cluster.pods[3..].iter().map(|p| p.node).collect::<Vec<_>>(), [0, 1]);
    let hash = cluster.pods[0].meta.labels.get("pod-template-hash").expect("a ReplicaSet's pods have it");
    assert_eq!(format!("web-{hash}"), replica_set);
}

/// As in a dump: what is there is not made twice, what is missing is made.
#[test]
fn workloads_keep_the_pods_that_they_have() {
    let workload = |kind, name: &str| {
        let Pod { meta: template_meta, spec: template, .. } = pod(name);
        Object::Workload(Workload { kind, meta: meta(name), selector: Default::default(), template_meta, template })
    };
    let owned = |name: &str, kind: &str, by: &str, node: &str| {
        let mut p = pod(name);
        p.meta.owner = Some(OwnerReference { kind: kind.to_owned(), name: by.to_owned() });
        p.node_name = Some(node.to_owned());
        Object::Pod(p)
    };
    let all = [
        owned("web-abc-1", "ReplicaSet", "web-abc", "node-1"),
        owned("web-abc-2", "ReplicaSet", "web-abc", "node-2"),
        owned("web-api-abc-1", "ReplicaSet", "web-api-abc", "node-1"),
        owned("agent-1", "DaemonSet", "agent", "node-1"),
        workload(WorkloadKind::Deployment { replicas: 3 }, "web"),
        workload(WorkloadKind::DaemonSet, "agent"),
    ];
    let cluster = good(2, &all);
    let made: Vec<(&str, usize)> = cluster.pods[4..].iter().map(|p| (p.meta.name.as_str(), p.node)).collect();
    let [(web, _), (agent, 1)] = made[..] else { panic!("one of web, and agent's on node-2: {made:?}") };
    assert!(web.starts_with("web-abc-") && agent.starts_with("agent-"), "{made:?}");
    let enough = good(2, &[all[0].clone(), all[1].clone(), workload(WorkloadKind::Deployment { replicas: 1 }, "web")]);
    assert_eq!(enough.pods.len(), 2, "pods that are there stay");
}

#[test]
fn a_cluster_has_its_api_server_and_coredns() {
    let with_dns = |objects: &[Object]| {
        let (cluster, problems) = Cluster::new(Config { core_dns: true, ..config(2) }, objects, Prf::new(7));
        assert_eq!(problems, []);
        cluster
    };
    let names = |cluster: &Cluster| cluster.services.keys().map(|(_, name)| name.clone()).collect::<Vec<_>>();
    let pinned = Pod { node_name: Some("node-1".to_owned()), pod_ip: Some(ip("10.244.0.254")), ..pod("pinned") };
    let cluster = with_dns(&[Object::Pod(pod("web")), Object::Pod(pinned)]);
    assert_eq!(names(&cluster), ["kubernetes", "kube-dns"]);
    let places: Vec<(usize, Ipv4Addr)> = cluster.pods.iter().map(|p| (p.node, p.ip)).collect();
    assert_eq!(places, [2, 254, 253, 252].map(|n| (0, Ipv4Addr::new(10, 244, 0, n))), "the last ones are CoreDNS'");
    let api = &cluster.services[&("default".to_owned(), "kubernetes".to_owned())];
    assert_eq!(api.cluster_ip, ClusterIp::Fixed(ip("10.96.0.1")));
    let mut own = service("names");
    (own.cluster_ip, own.selector) = (ClusterIp::Fixed(ip("10.96.0.10")), None);
    assert_eq!(names(&with_dns(&[Object::Service(own)])), ["kubernetes", "names"], "somebody serves names already");
    let mut declared = Service { selector: None, ..service("kubernetes") };
    declared.cluster_ip = ClusterIp::Fixed(ip("10.96.0.1"));
    let cluster = good(1, &[Object::Service(declared.clone())]);
    assert_eq!(cluster.services.values().collect::<Vec<_>>(), [&declared]);
}

#[test]
fn nobody_is_scheduled_to_a_cordoned_node() {
    let cordoned = |n: usize| {
        let meta = Meta { name: format!("node-{n}"), ..Meta::default() };
        Object::Node(Node { meta, unschedulable: true, ..Node::default() })
    };
    let cluster = good(2, &[cordoned(1), Object::Pod(pod("a")), Object::Pod(pod("b"))]);
    assert!(cluster.pods.iter().all(|p| p.node == 1));
    let (_, problems) = build(2, &[cordoned(1), cordoned(2), Object::Pod(pod("a"))]);
    assert_eq!(problems[0].message, "0/2 nodes are available: 2 node(s) were unschedulable.");
}

#[test]
fn services_find_their_pods() {
    let mut named = service("web");
    named.ports[0].target_port = PortRef::Name("http".to_owned());
    named.ports[0].port = 8080;
    let mut nowhere = service("web2");
    nowhere.selector = Some(labels("web"));
    nowhere.ports[0].target_port = PortRef::Name("https".to_owned());
    let cluster = good(
        1,
        &[Object::Pod(pod("web")), Object::Service(named.clone()), Object::Service(nowhere), Object::Pod(pod("other"))],
    );
    let backends = cluster.backends(0, &cluster.served());
    let to: Vec<Vec<String>> = backends.iter().map(|b| b.endpoints.iter().map(Endpoint::address).collect()).collect();
    let want: [&[&str]; 3] = [&["10.168.0.4:6443"], &["10.244.0.2:80"], &[]];
    assert_eq!(to, want, "the API server, web, and a port without that name, which is no endpoint");
}

#[test]
fn one_more_service_changes_no_other() {
    let kinds = |extra: bool| {
        let mut all = vec![];
        if extra {
            all.push(Object::Service(Service { kind: ServiceKind::NodePort, selector: None, ..service("extra") }));
        }
        for name in ["a", "b", "c"] {
            all.push(Object::Service(Service { kind: ServiceKind::NodePort, selector: None, ..service(name) }));
        }
        good(1, &all)
    };
    let (few, more) = (kinds(false), kinds(true));
    for (name, service) in &few.services {
        assert_eq!(more.services[name], *service);
        let ClusterIp::Fixed(ip) = service.cluster_ip else { panic!("{name:?} has no address") };
        assert!(few.config.service_cidr.contains(&ip));
        let node_port = service.ports[0].node_port;
        assert_eq!(node_port.is_some(), service.kind == ServiceKind::NodePort, "{name:?}");
        assert!(node_port.is_none_or(|port| few.config.node_ports.contains(&port)));
    }
}

#[test]
fn what_is_wrong_is_said_of_its_object() {
    let fixed = |name: &str, ip: [u8; 4]| Service { cluster_ip: ClusterIp::Fixed(ip.into()), ..service(name) };
    let node_port = |name: &str, number| {
        let mut s = Service { kind: ServiceKind::NodePort, ..service(name) };
        s.ports[0].node_port = Some(number);
        Object::Service(s)
    };
    let mut lost = pod("lost");
    lost.node_name = Some("node-9".to_owned());
    let mut foreign = pod("foreign");
    (foreign.node_name, foreign.pod_ip) = (Some("node-1".to_owned()), Some(ip("10.244.9.2")));
    let picky = Pod { spec: PodSpec { node_selector: labels("gpu"), ..pod("picky").spec }, ..pod("picky") };
    let web = Object::Pod(pod("web"));
    for (objects, field, text) in [
        (vec![web.clone(), web.clone()], "metadata.name", "pods \"web\" already exists"),
        (vec![Object::Pod(lost)], "spec.nodeName", "\"node-9\", which does not exist"),
        (vec![Object::Pod(foreign)], "status.podIP", "does not lie in 10.244.0.0/24"),
        (vec![Object::Pod(picky)], "spec.nodeSelector", "0/1 nodes are available"),
        (
            vec![Object::Node(Node { meta: Meta { name: "other".to_owned(), ..Meta::default() }, ..Node::default() })],
            "metadata.name",
            "the cluster has no node \"other\"",
        ),
        (
            vec![web.clone(), Object::Service(fixed("web", [10, 1, 1, 1]))],
            "spec.clusterIP",
            "is not in the valid range. The range of valid IPs is 10.96.0.0/12",
        ),
        (vec![web.clone(), node_port("web", 80)], "spec.ports[0].nodePort", "The range of valid ports is 30000-32767"),
    ] {
        let (_, problems) = build(1, &objects);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        assert_eq!(problem.object, Some(objects.len() - 1));
        assert_eq!(problem.field, field);
        assert!(problem.message.contains(text) && !problem.warning, "{}", problem.message);
    }
    let (_, problems) = build(1, &[Object::Service(service("nobody"))]);
    assert!(problems[0].warning && problems[0].message.contains("no pod has the labels"), "{problems:?}");
}

#[test]
fn nodes_are_set_up_as_kubenet_does() {
    let cluster = good(2, &[Object::Pod(pod("web")), Object::Service(service("web"))]);
    let spaces = cluster.spaces(&Prf::new(7));
    let owners: Vec<&Owner> = spaces.iter().map(|s| &s.owner).collect();
    let node = |n: &str| Owner::Node(n.to_owned());
    assert_eq!(owners, [&node("node-1"), &Owner::Pod("default".to_owned(), "web".to_owned()), &node("node-2")]);
    let [first, web, second] = spaces.as_slice() else { panic!("two nodes and a pod") };
    let has = |commands: &[Arc<str>], text: &str| commands.iter().any(|c| c.contains(text));
    let netns = &web.netns;
    assert!(netns.starts_with("cni-") && netns.len() == "cni-".len() + 36, "{netns}");
    for text in [
        "ip addr add 10.168.0.4/24 brd + dev eth0",
        "ip route add default via 10.168.0.1",
        "ip link add cbr0 address 0a:58:0a:f4:00:01 mtu 1500 type bridge",
        &format!("peer name eth0 address 0a:58:0a:f4:00:02 mtu 1500 netns {netns}"),
        " hairpin on",
        &format!("ip -n {netns} route add default via 10.244.0.1"),
        "ip addr add 10.244.0.1/24 brd + dev cbr0",
        "ip route add 10.244.1.0/24 via 10.168.0.5",
        "KUBE-SVC-LOLE4ISW44XBNF3G",
    ] {
        assert!(has(&first.setup, text), "{text}\n{}", first.setup.concat());
    }
    assert!(!has(&second.setup, "veth"), "node-2 has no pod");
    assert_eq!(web.servers, ["nginx 80 /usr/share/nginx/html"]);
    let resolv = &web.files.iter().find(|(path, _)| path == "/etc/resolv.conf").expect("the kubelet writes it").1;
    let want = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                options ndots:5\n";
    assert_eq!(resolv, want);
}

#[test]
fn kube_proxy_does_as_its_settings_say() {
    let web = [Object::Pod(pod("web")), Object::Service(service("web"))];
    let setup = |kube_proxy: KubeProxy| {
        let (cluster, problems) = Cluster::new(Config { kube_proxy, ..config(1) }, &web, Prf::new(7));
        assert_eq!(problems, []);
        cluster.spaces(&Prf::new(7))[0].setup.join("\n")
    };
    let default = KubeProxy::default;
    let net = |text: &str| text.parse().expect("a network");
    let local = |detect_local| KubeProxy { detect_local, ..default() };
    let masquerade = |who: &str| format!("--dport 80 {who} -j KUBE-MARK-MASQ");
    let (localnet, node_ports) = ("route_localnet=1", "NOTE: this must be the last rule in this chain\"");
    let at = |address: &str| format!("{node_ports} -d {address} -j KUBE-NODEPORTS");
    for (settings, has, lacks) in [
        (default(), vec![localnet.to_owned(), masquerade("! -s 10.244.0.0/16")], vec!["tcp_be_liberal".to_owned()]),
        (KubeProxy { cluster_cidr: Some(net("10.0.0.0/8")), ..default() }, vec![masquerade("! -s 10.0.0.0/8")], vec![]),
        (local(DetectLocalMode::NodeCidr), vec![masquerade("! -s 10.244.0.0/24")], vec![]),
        (local(DetectLocalMode::BridgeInterface("cbr0".to_owned())), vec![masquerade("! -i cbr0")], vec![]),
        (local(DetectLocalMode::InterfaceNamePrefix("veth".to_owned())), vec![masquerade("! -i veth+")], vec![]),
        (
            KubeProxy { localhost_node_ports: false, ..default() },
            vec![format!("{node_ports} -m addrtype --dst-type LOCAL ! -d 127.0.0.0/8 -j KUBE-NODEPORTS")],
            vec![localnet.to_owned()],
        ),
        (
            KubeProxy { node_port_addresses: vec![net("10.168.0.0/16"), net("10.244.0.0/24")], ..default() },
            vec![at("10.168.0.4"), at("10.244.0.1")],
            vec![localnet.to_owned(), at("127.0.0.1")],
        ),
        (
            KubeProxy { node_port_addresses: vec![net("127.0.0.0/8")], ..default() },
            vec![localnet.to_owned(), at("127.0.0.1")],
            vec![at("10.168.0.4")],
        ),
        (
            KubeProxy { node_port_addresses: vec![net("0.0.0.0/0")], ..default() },
            vec![format!("{node_ports} -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS")],
            vec![],
        ),
        (
            KubeProxy { tcp_be_liberal: true, ..default() },
            vec!["nf_conntrack_tcp_be_liberal=1".to_owned()],
            vec!["--ctstate INVALID".to_owned()],
        ),
    ] {
        let commands = setup(settings);
        for text in &has {
            assert!(commands.contains(text), "{text}\n{commands}");
        }
        for text in &lacks {
            assert!(!commands.contains(text), "{text}\n{commands}");
        }
    }
}
