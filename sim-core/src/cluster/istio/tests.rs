use super::inject::{self, INIT, PROXY};
use super::policy::{DestinationRule, PeerAuthentication, TrafficPolicy};
use super::rules::{Arguments, Ports, Ranges};
use super::{Istio, Mtls, Version};
use crate::base::rng::Prf;
use crate::cluster::config::{Config, NodeConfig};
use crate::cluster::kube_proxy::Protocol as Transport;
use crate::cluster::object::{
    ClusterIp, Container, ContainerPort, Labels, Meta, Object, Pod, PodSpec, PortRef, Service, ServicePort,
};
use crate::cluster::store::{Cluster, PlacedPod, Problem};
use crate::user::envoy::config::{self as envoy, Bootstrap, Filter, LbPolicy, MtlsMode, Protocol, UpstreamProtocol};
use crate::user::istiod::{BOOTSTRAP, registry_file};
use std::net::Ipv4Addr;

fn labels(text: &str) -> Labels {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn meta(namespace: &str, name: &str, own: &str) -> Meta {
    Meta { namespace: namespace.to_owned(), name: name.to_owned(), labels: labels(own), ..Meta::default() }
}

fn pod(namespace: &str, name: &str, own: &str) -> Pod {
    let port = ContainerPort { name: "web".to_owned(), container_port: 8080, ..ContainerPort::default() };
    let container = Container { image: "nginx".to_owned(), ports: vec![port], ..Container::default() };
    let spec = PodSpec { containers: vec![container], ..PodSpec::default() };
    Pod { meta: meta(namespace, name, own), spec, ..Pod::default() }
}

fn service(name: &str, ip: u8, app: &str, ports: &[(&str, u16)]) -> Object {
    let target_port = PortRef::Name("web".to_owned());
    let port = |(name, port): &(&str, u16)| ServicePort {
        name: (*name).to_owned(),
        protocol: Transport::Tcp,
        port: *port,
        target_port: target_port.clone(),
        node_port: None,
    };
    Object::Service(Service {
        meta: meta("shop", name, ""),
        cluster_ip: ClusterIp::Fixed(Ipv4Addr::new(10, 96, 1, ip)),
        ports: ports.iter().map(port).collect(),
        selector: Some(labels(app)),
        ..Service::default()
    })
}

fn cluster(istio: Istio, objects: &[Object]) -> (Cluster, Vec<Problem>) {
    let node = NodeConfig {
        name: "node-1".to_owned(),
        address: "10.168.0.4/24".parse().expect("an address"),
        interface: "eth0".to_owned(),
        gateway: None,
        pod_cidr: None,
    };
    let config = Config { istio: Some(istio), core_dns: false, ..Config::new(vec![node]) };
    Cluster::new(config, objects, Prf::new(7))
}

fn enabled(namespace: &str) -> Object {
    Object::Namespace(Meta { name: namespace.to_owned(), labels: labels("istio-injection=enabled"), ..Meta::default() })
}

fn find<'a>(cluster: &'a Cluster, name: &str) -> &'a PlacedPod {
    cluster.pods.iter().find(|p| p.meta.name == name).expect("the pod")
}

#[test]
fn who_gets_a_sidecar() {
    let annotated = |value: &str| Labels::from([("sidecar.istio.io/inject".to_owned(), value.to_owned())]);
    for (namespace, of_namespace, own, annotation, host_network, want) in [
        ("shop", "", "", None, false, false),
        ("shop", "istio-injection=enabled", "", None, false, true),
        ("shop", "istio-injection=disabled", "sidecar.istio.io/inject=true", None, false, false),
        ("shop", "istio-injection=enabled", "sidecar.istio.io/inject=false", None, false, false),
        ("shop", "istio-injection=enabled", "", Some("false"), false, false),
        ("shop", "istio-injection=enabled", "", Some("On"), false, true),
        ("shop", "istio-injection=enabled", "", Some("perhaps"), false, false),
        ("shop", "istio-injection=enabled", "sidecar.istio.io/inject=true", Some("false"), false, true),
        ("shop", "", "sidecar.istio.io/inject=true", None, false, true),
        // Nobody asks the webhook.
        ("shop", "", "", Some("true"), false, false),
        ("shop", "istio-injection=enabled", "", None, true, false),
        ("kube-system", "istio-injection=enabled", "", None, false, false),
    ] {
        let mut pod = pod(namespace, "web", own);
        pod.meta.annotations = annotation.map(annotated).unwrap_or_default();
        pod.spec.host_network = host_network;
        let wanted = inject::is_wanted(namespace, Some(&labels(of_namespace)), &pod.meta, &pod.spec);
        assert_eq!(wanted, want, "{namespace} {of_namespace} {own} {annotation:?}");
    }
}

#[test]
fn what_is_added_to_a_pod() {
    let (cluster, problems) = cluster(Istio::default(), &[enabled("shop"), Object::Pod(pod("shop", "web", ""))]);
    assert_eq!(problems, []);
    let web = find(&cluster, "web");
    let init = web.spec.init_containers.iter().find(|c| c.name == INIT).expect("istio-init");
    let args = "istio-iptables -p 15001 -z 15006 -u 1337 -m REDIRECT -i * -x  -b * -d 15090,15021,15020";
    assert_eq!(init.args.join(" "), args);
    let names: Vec<&str> = web.spec.containers.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["", PROXY]);
    let proxy = &web.spec.containers[1];
    assert_eq!((proxy.run_as_user, proxy.image.as_str()), (Some(1337), "docker.io/istio/proxyv2:1.13.4"));
    // The rules are loaded into the pod's namespace when it has its network; istiod has none.
    let prf = Prf::new(7);
    let spaces = cluster.spaces(&prf);
    let node = &spaces[0].setup;
    let loads: Vec<_> =
        node.iter().filter(|c| c.contains("-restore --noflush <<EOF\n* nat\n-N ISTIO_INBOUND")).collect();
    let [load] = loads[..] else { panic!("{loads:?}") };
    assert!(load.starts_with(&format!("ip netns exec {} iptables-nft-restore", web.netns(&prf))), "{load}");
    let connected = node.iter().position(|c| c.contains(&web.netns(&prf))).expect("CNI ADD");
    assert!(node.iter().position(|c| c == load) > Some(connected));
    let space = spaces.iter().find(|s| s.netns == web.netns(&prf)).expect("its namespace");
    let proxy = "setpriv --reuid 1337 --regid 1337 --clear-groups pilot-agent proxy sidecar";
    assert_eq!(space.servers.last().map(String::as_str), Some(proxy));
    assert!(space.files.iter().any(|(path, _)| path == "/var/log/pods/shop_web/istio-init/0.log"));
    // istiod starts before it.
    assert!(spaces[1].servers.iter().any(|s| s.ends_with("pilot-discovery discovery")), "{:?}", spaces[1].servers);
}

#[test]
fn annotations_about_traffic() {
    let mut meta = meta("shop", "web", "");
    let mut annotate = |name: &str, value: &str| {
        meta.annotations.insert(format!("traffic.sidecar.istio.io/{name}"), value.to_owned());
    };
    annotate("includeInboundPorts", "80, 8080");
    annotate("excludeInboundPorts", "22,15020");
    annotate("includeOutboundIPRanges", "10.96.0.1/12");
    annotate("excludeOutboundIPRanges", "10.97.0.0/16,");
    annotate("includeOutboundPorts", "443");
    annotate("excludeOutboundPorts", "3306");
    let want = Arguments {
        inbound_ports: Ports::These(vec![80, 8080]),
        inbound_exclude: vec![15090, 15021, 22, 15020],
        outbound_ranges: Ranges::These(vec!["10.96.0.0/12".parse().expect("a network")]),
        outbound_exclude: vec!["10.97.0.0/16".parse().expect("a network")],
        outbound_ports: vec![443],
        outbound_ports_exclude: vec![3306],
        ..Arguments::new(Version::V1_13)
    };
    assert_eq!(inject::arguments(&Istio::default(), &meta), Ok(want));

    let mut wrong = pod("shop", "web", "");
    for (name, value) in [("includeInboundPorts", "80,http"), ("excludeOutboundIPRanges", "10.0.0.0")] {
        wrong.meta.annotations.insert(format!("traffic.sidecar.istio.io/{name}"), value.to_owned());
    }
    let (_, problems) = cluster(Istio::default(), &[enabled("shop"), Object::Pod(wrong)]);
    let said: Vec<(&str, &str)> = problems.iter().map(|p| (p.field.as_str(), p.message.as_str())).collect();
    let want = [
        (
            "metadata.annotations[traffic.sidecar.istio.io/excludeOutboundIPRanges]",
            "invalid value '10.0.0.0' for annotation 'traffic.sidecar.istio.io/excludeOutboundIPRanges': \
             excludeIPRanges invalid: invalid CIDR address: 10.0.0.0",
        ),
        (
            "metadata.annotations[traffic.sidecar.istio.io/includeInboundPorts]",
            "invalid value '80,http' for annotation 'traffic.sidecar.istio.io/includeInboundPorts': \
             includeInboundPorts invalid: failed parsing port 'http'",
        ),
    ];
    assert_eq!(said, want);
}

#[test]
fn tproxy_by_annotation() {
    let annotated = |mode: &str| {
        let mut web = pod("shop", "web", "");
        web.meta.annotations.insert("sidecar.istio.io/interceptionMode".to_owned(), mode.to_owned());
        cluster(Istio::default(), &[enabled("shop"), Object::Pod(web)])
    };
    let (tproxy, problems) = annotated("TPROXY");
    assert_eq!(problems, []);
    let web = find(&tproxy, "web");
    let init = web.spec.init_containers.iter().find(|c| c.name == INIT).expect("istio-init");
    assert!(init.args.join(" ").contains("-m TPROXY -i *"), "{:?}", init.args);
    // Whoever sets IP_TRANSPARENT is root; the rules know the proxy by its group.
    assert_eq!((web.spec.containers[1].run_as_user, web.spec.containers[1].run_as_group), (Some(0), Some(1337)));
    let prf = Prf::new(7);
    let (spaces, netns) = (tproxy.spaces(&prf), web.netns(&prf));
    let own: Vec<&str> = spaces[0].setup.iter().map(|c| &**c).filter(|c| c.contains(&netns)).collect();
    let load = own.iter().position(|c| c.contains("-restore --noflush <<EOF\n* mangle\n-N ISTIO_DIVERT"));
    let want = [
        format!("ip -n {netns} rule add fwmark 1337 lookup 133"),
        format!("ip -n {netns} route add local default dev lo table 133"),
    ];
    assert_eq!(own[load.expect("the rules") + 1..][..2], want);
    assert!(tproxy.bootstrap(web).is_some_and(|bootstrap| bootstrap.transparent));

    for (mode, why) in
        [("NONE", "it is not simulated"), ("tproxy", "interceptionMode invalid, use REDIRECT,TPROXY,NONE: tproxy")]
    {
        let (_, problems) = annotated(mode);
        let annotation = "sidecar.istio.io/interceptionMode";
        let message = format!("invalid value '{mode}' for annotation '{annotation}': {why}");
        let said: Vec<(String, String)> = problems.into_iter().map(|p| (p.field, p.message)).collect();
        assert_eq!(said, [(format!("metadata.annotations[{annotation}]"), message)]);
    }
}

/// What istiod's file says of a pod's proxy.
fn told(cluster: &Cluster, name: &str) -> envoy::Config {
    let pod = find(cluster, name);
    let id = format!("sidecar~{}~{name}.shop~shop.svc.cluster.local", pod.ip);
    let (_, text) = cluster.registry().into_iter().find(|(path, _)| *path == registry_file(&id)).expect("its file");
    serde_json::from_str(&text).expect("a configuration")
}

#[test]
fn what_proxies_are_told() {
    let objects = [
        enabled("shop"),
        Object::Pod(pod("shop", "web", "app=web")),
        Object::Pod(pod("shop", "plain", "app=web sidecar.istio.io/inject=false")),
        Object::Pod(pod("shop", "client", "")),
        service("web", 1, "app=web", &[("http", 80), ("grpc-api", 81), ("", 82), ("mysql", 83)]),
        service("other", 2, "app=web", &[("http-too", 80)]),
    ];
    let (cluster, problems) = cluster(Istio::default(), &objects);
    assert_eq!(problems, []);
    let config = told(&cluster, "client");
    let at = |port: u16| {
        let mut all = config.outbound.iter().filter(|l| l.port == port);
        let listener = all.next().expect("a listener");
        assert_eq!(all.next(), None, "one for port {port}");
        (listener.address.to_string(), &listener.filter)
    };
    // All HTTP of a port has one listener, whatever the Service.
    let ("0.0.0.0", Filter::Http(hosts)) = (at(80).0.as_str(), at(80).1) else { panic!("{:?}", at(80)) };
    let names: Vec<&str> = hosts.iter().map(|h| h.name.as_str()).collect();
    assert_eq!(names, ["other.shop.svc.cluster.local:80", "web.shop.svc.cluster.local:80"]);
    let domains = ["web.shop.svc.cluster.local", "web", "web.shop.svc", "web.shop", "10.96.1.1"];
    let domains: Vec<String> = domains.iter().flat_map(|d| [(*d).to_owned(), format!("{d}:80")]).collect();
    assert_eq!(hosts[1].domains, domains);
    assert!(matches!(at(81), (ip, Filter::Http(_)) if ip == "0.0.0.0"));
    assert!(matches!(at(82), (ip, Filter::Sniff(hosts, _)) if ip == "10.96.1.1" && hosts[0].domains == ["*"]));
    let ("10.96.1.1", Filter::Tcp(to)) = (at(83).0.as_str(), at(83).1) else { panic!("{:?}", at(83)) };
    assert_eq!(to, "outbound|83||web.shop.svc.cluster.local");
    // Mutual TLS goes to pods that have a sidecar.
    let web =
        config.clusters.iter().find(|c| c.name == "outbound|80||web.shop.svc.cluster.local").expect("the cluster");
    assert_eq!(web.sni, "outbound_.80_._.web.shop.svc.cluster.local");
    let whom =
        |c: &envoy::Cluster| c.endpoints.iter().map(|e| (e.address.port(), e.identity.clone())).collect::<Vec<_>>();
    let spiffe = "spiffe://cluster.local/ns/shop/sa/default".to_owned();
    assert_eq!(whom(web), [(8080, Some(spiffe)), (8080, None)]);
    // A pod's own port, by the first Service that leads to it.
    let inbound = told(&cluster, "web").inbound;
    assert_eq!(
        inbound.iter().map(|i| (i.port, i.protocol, i.mtls)).collect::<Vec<_>>(),
        [(8080, Protocol::Http, MtlsMode::Permissive)]
    );
    assert_eq!(config.inbound, []);
}

#[test]
fn a_mesh_in_plain_text_and_a_strict_one() {
    let objects =
        [enabled("shop"), Object::Pod(pod("shop", "web", "app=web")), service("web", 1, "app=web", &[("http", 80)])];
    for (mtls, mode, tls) in [(Mtls::Strict, MtlsMode::Strict, true), (Mtls::Disable, MtlsMode::Disable, false)] {
        let (cluster, _) = cluster(Istio { mtls, ..Istio::default() }, &objects);
        let config = told(&cluster, "web");
        assert_eq!((config.inbound_mtls, config.inbound[0].mtls), (mode, mode));
        let own = config.clusters.iter().find(|c| c.name.contains("|web.shop")).expect("the cluster");
        assert_eq!(own.endpoints[0].identity.is_some(), tls);
    }
}

/// A PeerAuthentication; its namespace stands before its name.
fn asks(whose: &str, selector: &str, mtls: Option<Mtls>, ports: &[(u16, Option<Mtls>)]) -> Object {
    let (namespace, name) = whose.split_once('/').expect("both");
    let (meta, selector) = (meta(namespace, name, ""), labels(selector));
    Object::PeerAuthentication(PeerAuthentication { meta, selector, mtls, ports: ports.iter().copied().collect() })
}

#[test]
fn the_nearest_peer_authentication_counts() {
    let (strict, permissive, disable) = (Some(Mtls::Strict), Some(Mtls::Permissive), Some(Mtls::Disable));
    let mesh = || asks("istio-system/default", "", strict, &[]);
    // What is there besides what `istio.mtls` says, what the pod asks for at its port 8080, and at others.
    for (given, at_port, else_where) in [
        (vec![], Mtls::Permissive, Mtls::Permissive),
        (vec![mesh()], Mtls::Strict, Mtls::Strict),
        (vec![mesh(), asks("shop/default", "", permissive, &[])], Mtls::Permissive, Mtls::Permissive),
        // UNSET is what holds around it.
        (vec![mesh(), asks("shop/default", "", None, &[])], Mtls::Strict, Mtls::Strict),
        (vec![mesh(), asks("shop/web", "app=web", disable, &[])], Mtls::Disable, Mtls::Disable),
        (vec![mesh(), asks("shop/web", "app=db", disable, &[])], Mtls::Strict, Mtls::Strict),
        (vec![asks("shop/web", "app=web", strict, &[(8080, disable)])], Mtls::Disable, Mtls::Strict),
        (vec![asks("shop/web", "app=web", strict, &[(8080, None)])], Mtls::Strict, Mtls::Strict),
        (vec![asks("shop/web", "app=web", None, &[(8081, strict)])], Mtls::Permissive, Mtls::Permissive),
        // A selector in the namespace of the control plane finds nobody; another namespace is none of its business.
        (vec![asks("istio-system/web", "app=web", strict, &[])], Mtls::Permissive, Mtls::Permissive),
        (vec![asks("bank/default", "", strict, &[])], Mtls::Permissive, Mtls::Permissive),
        (vec![asks("shop/b", "", disable, &[]), asks("shop/a", "", strict, &[])], Mtls::Strict, Mtls::Strict),
    ] {
        let mut objects = vec![
            enabled("shop"),
            Object::Pod(pod("shop", "web", "app=web")),
            service("web", 1, "app=web", &[("http", 80)]),
        ];
        objects.extend(given.clone());
        let (cluster, problems) = cluster(Istio::default(), &objects);
        assert_eq!(problems, []);
        let config = told(&cluster, "web");
        assert_eq!((config.inbound[0].mtls, config.inbound_mtls), (at_port.mode(), else_where.mode()), "{given:?}");
        // Who sends there does what is asked for.
        let own = config.clusters.iter().find(|c| c.name.contains("|web.shop")).expect("the cluster");
        assert_eq!(own.endpoints[0].identity.is_some(), at_port != Mtls::Disable, "{given:?}");
    }
}

#[test]
fn the_nearest_destination_rule_counts() {
    let rule = |whose: &str, host: &str, max_connections| {
        let (namespace, name) = whose.split_once('/').expect("both");
        let policy = TrafficPolicy { max_connections: Some(max_connections), ..TrafficPolicy::default() };
        Object::DestinationRule(DestinationRule { meta: meta(namespace, name, ""), host: host.to_owned(), policy })
    };
    let whole = "web.shop.svc.cluster.local";
    // The limit of the cluster for web.shop, as a pod in shop and one in bank have it.
    for (given, in_shop, in_bank) in [
        (vec![], u32::MAX, u32::MAX),
        (vec![rule("shop/web", "web", 1)], 1, 1),
        (vec![rule("bank/web", "web", 1)], u32::MAX, u32::MAX),
        (vec![rule("bank/web", whole, 2), rule("shop/web", "web", 1)], 1, 2),
        (vec![rule("istio-system/all", "*.local", 3)], 3, 3),
        (vec![rule("istio-system/all", "*.local", 3), rule("shop/web", "web", 1)], 1, 1),
        (vec![rule("shop/all", "*", 4), rule("shop/some", "*.shop.svc.cluster.local", 5)], 5, 5),
        (vec![rule("shop/a", whole, 6), rule("shop/b", whole, 7)], 6, 6),
        (vec![rule("shop/web", "web.shop", 1), rule("shop/none", "web", 0)], u32::MAX, u32::MAX),
    ] {
        let mut objects = vec![enabled("shop"), enabled("bank"), service("web", 1, "app=web", &[("http", 80)])];
        objects.extend(["shop", "bank"].map(|ns| Object::Pod(pod(ns, &format!("of-{ns}"), "app=web"))));
        objects.extend(given.clone());
        let (cluster, problems) = cluster(Istio::default(), &objects);
        assert_eq!(problems, []);
        let limit = |name: &str| {
            let file = cluster.registry().into_iter().find(|(path, _)| path.contains(&format!("~{name}.")));
            let config: envoy::Config = serde_json::from_str(&file.expect("its file").1).expect("a configuration");
            let to_web = config.clusters.iter().find(|c| c.name.ends_with(whole)).expect("the cluster");
            to_web.circuit_breakers.max_connections
        };
        assert_eq!((limit("of-shop"), limit("of-bank")), (in_shop, in_bank), "{given:?}");
    }
}

#[test]
fn what_a_destination_rule_says() {
    let policy = TrafficPolicy {
        mutual_tls: Some(false),
        lb_policy: Some(LbPolicy::Random),
        connect_timeout_ms: Some(30),
        max_requests_per_connection: Some(1),
        max_retries: Some(0),
        idle_timeout_ms: Some(5_000),
        protocol: Some(UpstreamProtocol::Http2),
        ..TrafficPolicy::default()
    };
    let rule = DestinationRule { meta: meta("shop", "web", ""), host: "web".to_owned(), policy };
    let objects = [
        enabled("shop"),
        Object::Pod(pod("shop", "web", "app=web")),
        Object::Pod(pod("shop", "plain", "app=web sidecar.istio.io/inject=false")),
        service("web", 1, "app=web", &[("http", 80)]),
    ];
    let with = |mutual_tls: Option<bool>| {
        let policy = TrafficPolicy { mutual_tls, ..rule.policy };
        let rule = Object::DestinationRule(DestinationRule { policy, ..rule.clone() });
        let objects: Vec<Object> = objects.iter().cloned().chain([rule]).collect();
        let config = told(&cluster(Istio::default(), &objects).0, "web");
        config.clusters.into_iter().find(|c| c.name.contains("|web.shop")).expect("the cluster")
    };
    let in_tls = |mutual_tls| with(mutual_tls).endpoints.iter().map(|e| e.identity.is_some()).collect::<Vec<_>>();
    assert_eq!(in_tls(None), [true, false]);
    // Told so, a proxy also speaks TLS to who does not understand it.
    assert_eq!((in_tls(Some(false)), in_tls(Some(true))), (vec![false; 2], vec![true; 2]));
    let told = with(None);
    assert_eq!((told.lb_policy, told.protocol), (LbPolicy::Random, UpstreamProtocol::Http2));
    assert_eq!((told.connect_timeout_ms, told.idle_timeout_ms), (30, Some(5_000)));
    // Zero is what nobody has said.
    assert_eq!((told.max_requests_per_connection, told.circuit_breakers.max_retries), (1, u32::MAX));
}

#[test]
fn without_istio_there_are_no_such_kinds() {
    let objects = [asks("shop/default", "", None, &[])];
    let node = cluster(Istio::default(), &[]).0.nodes[0].config.clone();
    let (_, problems) = Cluster::new(Config { core_dns: false, ..Config::new(vec![node]) }, &objects, Prf::new(7));
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.object, problem.field.as_str()), (Some(0), "kind"));
    assert!(problem.message.starts_with("no matches for kind \"PeerAuthentication\""), "{}", problem.message);
}

#[test]
fn what_a_proxy_starts_with() {
    let (cluster, _) = cluster(Istio::default(), &[enabled("shop"), Object::Pod(pod("shop", "web", ""))]);
    let prf = Prf::new(7);
    let netns = find(&cluster, "web").netns(&prf);
    let spaces = cluster.spaces(&prf);
    let files = &spaces.iter().find(|s| s.netns == netns).expect("its namespace").files;
    let (_, text) = files.iter().find(|(path, _)| path == BOOTSTRAP).expect("the file");
    let bootstrap: Bootstrap = serde_json::from_str(text).expect("a bootstrap");
    let istiod = &cluster.services[&("istio-system".to_owned(), "istiod".to_owned())];
    let discovery = bootstrap.discovery.expect("istiod");
    assert_eq!(ClusterIp::Fixed(*discovery.address.ip()), istiod.cluster_ip);
    assert_eq!((discovery.address.port(), discovery.host.as_str()), (15012, "istiod.istio-system.svc"));
    assert_eq!(bootstrap.node.identity, "spiffe://cluster.local/ns/shop/sa/default");
    let owner = bootstrap.node.metadata.iter().find(|(key, _)| key == "OWNER").map(|(_, value)| value.as_str());
    assert_eq!(owner, Some("kubernetes://apis/v1/namespaces/shop/pods/web"));
}
