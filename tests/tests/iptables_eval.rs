//! Dumps of nodes: all that is wrong with them is named, and large ones are quick. (Where packets go by kube-proxy's
//! rules is in kube_proxy.rs.)
#![allow(clippy::disallowed_types, reason = "how long a dump takes to load is measured, outside the simulation")]

use sim_core::cluster::kube_proxy::{
    Backend, DetectLocal, Endpoint, Ensure, Options, PortName, Protocol, Proxier, ServicePort, Sync,
};
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::{self as nf, Iptables, save};
use sim_core::scenario::SourceFile;
use sim_core::scenario::eval::{Answer, Dumps, Ending, Node, Origin, Question};
use sim_core::testing::Packet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

fn file(name: &str, text: &str) -> SourceFile {
    SourceFile::new(name, text)
}

/// `FILE:LINE:COLUMN: MESSAGE` of all that is wrong with dumps.
fn errors(dumps: &Dumps) -> Vec<String> {
    let Err(errors) = Node::load(dumps) else { return vec![] };
    let line = |d: &sim_core::scenario::Diagnostic| {
        let at = d.file.position(d.span.start);
        format!("{}:{}:{}: {}", d.file.path(), at.line, at.column, d.message)
    };
    errors.iter().map(line).collect()
}

#[test]
fn everything_that_is_wrong_is_named() {
    let rules = "# comment\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -m socket --transparent -j ACCEPT\n\
                 -A PREROUTING -p tcp --dprt 80 -j DNAT --to-destination 10.0.0.1\n-A PREROUTING -j KUBE-SERVICES\n\
                 -A PREROUTING -j ACCEPT\nCOMMIT\n*filter\n-A INPUT -s 300.1.1.1 -j DROP\nCOMMIT\n";
    let dumps = Dumps {
        addresses: Some(file(
            "addr",
            r#"[{"ifname": "eth0", "addr_info": [{"local": "10.0.0.300", "prefixlen": 24}]}]"#,
        )),
        routes: Some(file("route", r#"{"dst": "default"}"#)),
        sysctls: Some(file("sysctl", "net.ipv4.ip_forward = 1\nwhat is this\n")),
        ..Dumps::new(file("rules", rules))
    };
    let want = [
        "addr:1:45: `10.0.0.300` is no IPv4 address",
        "route:1:1: a dump of `ip -j` is a list of objects",
        "rules:4:18: `socket` asks for sockets, and no dump tells of them",
        "rules:5:22: unknown option \"--dprt\"",
        "rules:6:18: `KUBE-SERVICES` is neither a chain of this table nor a target that is simulated",
        "rules:10:13: host/network `300.1.1.1' not found",
        "sysctl:2:1: this is no line of sysctl",
    ];
    assert_eq!(errors(&dumps), want);
}

#[test]
fn dumps_that_are_none() {
    for (rules, want) in [
        ("hello\n", "rules:1:1: this is no line of iptables-save"),
        (
            "*mangle\n-A PREROUTING -p tcp -j TPROXY --on-port 15001\nCOMMIT\n",
            "rules:2:25: `TPROXY` asks for sockets, and no dump tells of them",
        ),
        ("*nat\n-A OUTPUT -j ACCEPT\n", "rules:3:1: the dump ends without COMMIT"),
        ("*nat\n:A - [0:0]\n-A OUTPUT -j A\n-A A -j A\nCOMMIT\n", "rules:5:1: "),
        ("*security\nCOMMIT\n", "rules:1:"),
    ] {
        let errors = errors(&Dumps::new(file("rules", rules)));
        assert!(errors.len() == 1 && errors[0].starts_with(want), "{rules:?}: {errors:?}");
    }
}

/// The dump of iptables-save of a node with so many Services of three endpoints each.
fn services(count: u16) -> String {
    let options = Options::new([192, 168, 0, 2].into(), DetectLocal::Cidr("10.0.0.0/8".parse().expect("a network")));
    let address = |first: u8, n: u16| Ipv4Addr::new(first, 96, (n >> 8) as u8, n as u8);
    let backend = |n: u16| {
        let name = PortName { namespace: "default".to_owned(), service: format!("svc-{n}"), port: String::new() };
        let endpoints = (0..3).map(|e| Endpoint::ready(Ipv4Addr::new(10, e + 1, (n >> 8) as u8, n as u8), 8080, false));
        Backend { port: ServicePort::new(name, Protocol::Tcp, address(172, n), 80), endpoints: endpoints.collect() }
    };
    let Sync { ensure, restore } = Proxier::new(options).sync(&(0..count).map(backend).collect::<Vec<_>>());
    let mut iptables = Iptables::new(nf::Backend::Legacy);
    let mut load = |text: String| {
        let restore = Restore { noflush: true, counters: true, text, ..Restore::default() };
        iptables.restore(&restore).unwrap_or_else(|e| panic!("{e:?}"));
    };
    for one in ensure {
        match one {
            Ensure::Chain { table, chain } => load(format!("*{table}\n:{chain} - [0:0]\nCOMMIT\n")),
            Ensure::Rule { table, rule } => load(format!("*{table}\n-I {rule}\nCOMMIT\n")),
        }
    }
    load(restore.expect("everything is new"));
    iptables.save(save::Options::default()).expect("all tables")
}

fn ask(node: &Node, packet: Packet) -> Answer {
    let from = Origin::Device("eth0".to_owned());
    let question = Question { from, packet, mark: 0, established: false, packets: 2, all_choices: true };
    node.ask(&question).unwrap_or_else(|e| panic!("{e}"))
}

const ADDRESSES: &str =
    r#"[{"ifname": "eth0", "addr_info": [{"family": "inet", "local": "192.168.0.2", "prefixlen": 24}]}]"#;
/// As Cilium has them: the local table comes later.
const RULES: &str = r#"[{"priority": 100, "src": "all", "table": "local"},
    {"priority": 32766, "src": "all", "table": "main"}]"#;
const ROUTES: &str = r#"[{"dst": "default", "gateway": "192.168.0.1", "dev": "eth0"}]"#;

/// Any machine, and no optimisation: docs/performance.md has what a release build takes.
const LOADED: Duration = Duration::from_secs(10);

#[test]
fn a_thousand_services_are_quick() {
    let dumps = Dumps {
        addresses: Some(file("addr", ADDRESSES)),
        routes: Some(file("route", ROUTES)),
        ..Dumps::new(file("rules", &services(1000)))
    };
    let start = Instant::now();
    let node = Node::load(&dumps).unwrap_or_else(|e| panic!("{e}"));
    let answer = ask(&node, Packet::tcp("10.9.9.9:1000", "172.96.3.231:80"));
    let took = start.elapsed();
    let ends: Vec<_> =
        answer.ways.iter().map(|w| (w.odds.expect("all ways").to_string(), w.endpoint.clone())).collect();
    let want = |n: u8| ("1/3".to_owned(), Some(format!("10.{n}.3.231:8080")));
    assert_eq!(ends, [want(1), want(2), want(3)]);
    assert!(took < LOADED, "{took:?}");
}

#[test]
fn marks_states_and_what_is_not_sent() {
    let rules = "*filter\n:OUTPUT DROP [0:0]\n-A OUTPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT\nCOMMIT\n";
    let dumps = Dumps {
        addresses: Some(file("addr", ADDRESSES)),
        routes: Some(file("route", ROUTES)),
        policy: Some(file("rule", RULES)),
        ..Dumps::new(file("rules", rules))
    };
    let node = Node::load(&dumps).unwrap_or_else(|e| panic!("{e}"));
    let end = |established: bool| {
        let packet = Packet::tcp("192.168.0.2:1000", "203.0.113.5:80").flags(".");
        let question = Question { from: Origin::Local, packet, mark: 0, established, packets: 2, all_choices: false };
        node.ask(&question).unwrap_or_else(|e| panic!("{e}")).ways.remove(0)
    };
    let Ending::Dropped { by: Some(by), .. } = &end(false).turns[0].end else { panic!("the policy drops") };
    assert_eq!((by.text.as_str(), by.line), ("-P OUTPUT DROP", None));
    let way = end(true);
    assert!(matches!(&way.turns[0].end, Ending::Sent { .. }) && matches!(&way.turns[1].end, Ending::Local { .. }));
    let marked = |mark: u32| {
        let packet = Packet::udp("192.168.0.2:1000", "203.0.113.5:53");
        let question =
            Question { from: Origin::Local, packet, mark, established: false, packets: 1, all_choices: false };
        let rules = "*filter\n-A OUTPUT -m mark --mark 0x200/0xf00 -j REJECT\nCOMMIT\n";
        let node = Node::load(&Dumps { rules: file("rules", rules), ..dumps.clone() }).expect("good rules");
        matches!(node.ask(&question).expect("no limit").ways[0].turns[0].end, Ending::Rejected { .. })
    };
    assert_eq!([marked(0), marked(0x201)], [false, true]);
    let elsewhere = Node::load(&Dumps::new(file("rules", "*filter\nCOMMIT\n"))).expect("no rules");
    let packet = Packet::tcp("127.0.0.1:1000", "203.0.113.5:80");
    let question =
        Question { from: Origin::Local, packet, mark: 0, established: false, packets: 1, all_choices: false };
    let way = elsewhere.ask(&question).expect("no limit").ways.remove(0);
    assert_eq!(way.turns[0].end, Ending::NotSent { error: "Network is unreachable".to_owned() });
}
