use super::bring_up::Owner;
use super::config::{Config, NodeConfig};
use super::kube_proxy::{Endpoint, Protocol};
use super::object::{
    ClusterIp, Container, ContainerPort, Labels, Meta, Node, Object, Pod, PodSpec, PortRef, Service, ServiceKind,
    ServicePort, Workload, WorkloadKind,
};
use super::store::{Cluster, Problem};
use crate::base::rng::Prf;
use std::net::Ipv4Addr;

fn config(nodes: usize) -> Config {
    let node = |n: usize| NodeConfig {
        name: format!("node-{}", n + 1),
        address: format!("10.168.0.{}/24", n + 4).parse().expect("an address"),
        interface: "eth0".to_owned(),
        gateway: Some([10, 168, 0, 1].into()),
        pod_cidr: None,
    };
    Config::new((0..nodes).map(node).collect())
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
        ("host", 0, "10.168.0.4"),
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
    let backends = cluster.backends(0);
    let to: Vec<Vec<String>> = backends.iter().map(|b| b.endpoints.iter().map(Endpoint::address).collect()).collect();
    assert_eq!(to, [vec!["10.244.0.2:80".to_owned()], vec![]], "a port without that name is no endpoint");
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
        assert!(few.config.node_ports.contains(&service.ports[0].node_port.expect("a node port")));
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
    let has = |commands: &[String], text: &str| commands.iter().any(|c| c.contains(text));
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
        assert!(has(&first.setup, text), "{text}\n{}", first.setup.join("\n"));
    }
    assert!(!has(&second.setup, "veth"), "node-2 has no pod");
    assert_eq!(web.servers, ["nginx 80 /usr/share/nginx/html"]);
    let resolv = &web.files.iter().find(|(path, _)| path == "/etc/resolv.conf").expect("the kubelet writes it").1;
    let want = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n\
                options ndots:5\n";
    assert_eq!(resolv, want);
}
