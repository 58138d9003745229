use super::names::endpoint_chain;
use super::*;

fn name(text: &str) -> PortName {
    let (namespace, rest) = text.split_once('/').expect("namespace/service");
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    PortName { namespace: namespace.to_owned(), service: service.to_owned(), port: port.to_owned() }
}

#[test]
fn chains_have_the_names_of_real_clusters() {
    // proxier_test.go of Kubernetes, and clusters in public.
    for (port, protocol, want) in [
        ("ns1/svc1:p80", Protocol::Tcp, "XPGD46QRK7WJZT7O"),
        ("default/kubernetes:https", Protocol::Tcp, "NPX46M4PTMTKRN6Y"),
        ("kube-system/kube-dns:dns", Protocol::Udp, "TCOU7JCQXEZGVUNU"),
        ("kube-system/kube-dns:dns-tcp", Protocol::Tcp, "ERIFXISQEP7F7OF4"),
        ("wrk-2/node-wrk-2-ubuntu24:tcp-9999", Protocol::Tcp, "IWPXKGE4TAJJE4GD"),
        ("wrk-2/node-wrk-2-ubuntu24:udp-9999", Protocol::Udp, "HX23KANCFUYJINGR"),
        ("default/web", Protocol::Tcp, "LOLE4ISW44XBNF3G"),
    ] {
        let name = name(port);
        assert_eq!(name.to_string(), port);
        assert_eq!(ChainName::Service.of(&name, protocol), format!("KUBE-SVC-{want}"));
        assert_eq!(ChainName::External.of(&name, protocol), format!("KUBE-EXT-{want}"));
    }
    for (port, protocol, endpoint, want) in [
        ("ns1/svc1:p80", Protocol::Tcp, ([10, 180, 0, 1], 80), "SXIVWICOYRO3J4NJ"),
        ("ns2/svc2:p8080", Protocol::Tcp, ([10, 0, 2, 1], 8080), "UHEGFW77JX3KXTOV"),
        ("wrk-2/node-wrk-2-ubuntu24:tcp-9999", Protocol::Tcp, ([10, 0, 2, 215], 9999), "FXHI2MOU7V5XIHJD"),
        ("wrk-2/node-wrk-2-ubuntu24:udp-9999", Protocol::Udp, ([10, 0, 2, 215], 9999), "VWQM2HSDJBARAX5I"),
    ] {
        let endpoint = Endpoint::ready(endpoint.0.into(), endpoint.1, false);
        assert_eq!(endpoint_chain(&name(port), protocol, &endpoint), format!("KUBE-SEP-{want}"));
    }
}

#[test]
fn probabilities_are_printed_as_go_does() {
    for (left, want) in [
        (2, "0.5000000000"),
        (3, "0.3333333333"),
        (6, "0.1666666667"),
        (7, "0.1428571429"),
        (11, "0.0909090909"),
        (19, "0.0526315789"),
        (1000, "0.0010000000"),
    ] {
        assert_eq!(layout::statistic(left), format!("-m statistic --mode random --probability {want} "));
    }
    assert_eq!(layout::statistic(1), "");
}

fn node() -> Options {
    let pods = "10.244.0.0/16".parse().expect("a network");
    Options::new([192, 168, 0, 2].into(), DetectLocal::Cidr(pods))
}

fn web(endpoints: usize) -> Backend {
    let port = ServicePort::new(name("default/web"), Protocol::Tcp, [10, 96, 0, 80].into(), 80);
    let at = |n: usize| Endpoint::ready(Ipv4Addr::from_bits(0x0af4_0102 + n as u32), 8080, true);
    Backend { port, endpoints: (0..endpoints).map(at).collect() }
}

fn dns() -> Backend {
    let port = ServicePort::new(name("kube-system/kube-dns:dns"), Protocol::Udp, [10, 96, 0, 10].into(), 53);
    Backend { port, endpoints: vec![Endpoint::ready([10, 244, 1, 9].into(), 53, true)] }
}

#[test]
fn a_sync_writes_what_has_changed() {
    let mut proxier = Proxier::new(node());
    let first = proxier.sync(&[web(1), dns()]);
    assert!(!first.ensure.is_empty());
    let text = first.restore.expect("everything is new");
    assert!(text.contains("-A KUBE-SVC-TCOU7JCQXEZGVUNU ") && text.contains("-A KUBE-SVC-LOLE4ISW44XBNF3G "));

    assert_eq!(proxier.sync(&[dns(), web(1)]), Sync::default(), "the order of Services does not matter");

    let grown = proxier.sync(&[web(2), dns()]);
    assert_eq!(grown.ensure, []);
    let text = grown.restore.expect("an endpoint came");
    assert!(text.contains(":KUBE-SVC-LOLE4ISW44XBNF3G - [0:0]\n"));
    assert!(!text.contains(":KUBE-SVC-TCOU7JCQXEZGVUNU "), "what stays keeps its counters");

    let gone = proxier.sync(&[dns()]).restore.expect("a Service went");
    let last = "COMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n:KUBE-NODEPORTS - [0:0]\n";
    assert!(gone.contains(last) && gone.contains(":KUBE-SVC-LOLE4ISW44XBNF3G - [0:0]\n"));
    assert!(gone.ends_with("-X KUBE-SVC-LOLE4ISW44XBNF3G\nCOMMIT\n"));
    assert_eq!(gone.matches("\n-X ").count(), 3);
}

#[test]
fn version_1_21_writes_everything_each_time() {
    let mut proxier = Proxier::new(Options { version: Version::V1_21, ..node() });
    proxier.sync(&[web(1), dns()]);
    let text = proxier.sync(&[web(2), dns()]).restore.expect("an endpoint came");
    assert!(text.contains(":KUBE-SVC-TCOU7JCQXEZGVUNU "));
}

#[test]
fn a_large_cluster_has_fewer_comments() {
    let rules = |endpoints| Proxier::new(node()).sync(&[web(endpoints)]).restore.expect("everything is new");
    let small = rules(LARGE_CLUSTER_ENDPOINTS);
    assert!(small.contains("--comment \"default/web -> 10.244.1.2:8080\""));
    let large = rules(LARGE_CLUSTER_ENDPOINTS + 1);
    assert!(!large.contains("-> ") && large.contains("default/web cluster IP"));
}

#[test]
fn connections_of_udp_are_stale_when_their_endpoint_goes_or_the_first_one_comes() {
    let at = |n: u8, ready| Endpoint { ready, ..Endpoint::ready([10, 244, 1, n].into(), 53, true) };
    let with = |endpoints: &[Endpoint]| {
        let mut backend = dns();
        (backend.port.node_port, backend.endpoints) = (Some(30053), endpoints.to_vec());
        [backend, web(endpoints.len())]
    };
    let both = with(&[at(8, true), at(9, true)]);
    assert_eq!(stale_connections(&both, &both), [""; 0]);
    let want = [
        "conntrack -D -p udp --dport 30053 --dst-nat 10.244.1.9",
        "conntrack -D --orig-dst 10.96.0.10 --dst-nat 10.244.1.9 -p udp",
    ];
    for rest in [with(&[at(8, true)]), with(&[at(8, true), at(9, false)])] {
        assert_eq!(stale_connections(&both, &rest), want);
    }
    let first = ["conntrack -D --orig-dst 10.96.0.10 -p udp", "conntrack -D -p udp --dport 30053"];
    assert_eq!(stale_connections(&with(&[at(8, false)]), &both), first);
    assert_eq!(stale_connections(&both, &[]), ["conntrack -D --orig-dst 10.96.0.10 -p udp"]);
}
