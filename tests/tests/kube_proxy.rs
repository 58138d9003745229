//! kube-proxy's rules: the text that real clusters have, and where packets go by it.

use sim_core::base::{IfIndex, Time};
use sim_core::cluster::kube_proxy::{
    Backend, DetectLocal, Endpoint, Ensure, Options, PortName, Protocol, Proxier, ServicePort, Sync, TrafficPolicy,
    Version,
};
use sim_core::kernel::conntrack::{CtInfo, Status};
use sim_core::kernel::frame::Sk;
use sim_core::kernel::netfilter::eval::{Verdict, walk};
use sim_core::kernel::netfilter::hook::{Hook, TableName};
use sim_core::kernel::netfilter::packet::{AddrType, Connection, Ct, IfName, Packet, Surroundings, Tracked};
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save;
use sim_core::kernel::netfilter::targets::NatKind;
use sim_core::kernel::netfilter::{self as nf, Iptables};
use sim_core::scenario::{SourceFile, eval};
use sim_core::testing;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

fn golden(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/iptables/");
    std::fs::read_to_string(format!("{path}{name}")).expect(name)
}

fn port_name(text: &str) -> PortName {
    let (namespace, rest) = text.split_once('/').expect("namespace/service");
    let (service, port) = rest.split_once(':').unwrap_or((rest, ""));
    PortName { namespace: namespace.to_owned(), service: service.to_owned(), port: port.to_owned() }
}

fn ip(text: &str) -> Ipv4Addr {
    text.parse().expect(text)
}

/// A port of a Service.
fn port(name: &str, cluster_ip: &str, port: u16) -> ServicePort {
    ServicePort::new(port_name(name), Protocol::Tcp, ip(cluster_ip), port)
}

/// Endpoints `IP:PORT`, with a `*` before those that are here.
fn ready(all: &[&str]) -> Vec<Endpoint> {
    let one = |text: &&str| {
        let (local, text) = text.strip_prefix('*').map_or((false, *text), |text| (true, text));
        let (address, port) = text.split_once(':').expect("IP:PORT");
        Endpoint::ready(ip(address), port.parse().expect("a port"), local)
    };
    all.iter().map(one).collect()
}

fn restore(options: Options, backends: &[Backend]) -> String {
    Proxier::new(options).sync(backends).restore.expect("everything is new")
}

/// The rules of each chain, `TABLE CHAIN`, in order.
fn by_chain(text: &str) -> BTreeMap<String, Vec<&str>> {
    let mut chains = BTreeMap::<String, Vec<&str>>::new();
    let mut table = "";
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let (chain, _) = rule.split_once(' ').expect("a rule has words");
            chains.entry(format!("{table} {chain}")).or_default().push(rule);
        }
    }
    chains
}

/// The Services of a small kubeadm cluster, on the node n1.
fn kubeadm() -> (Options, Vec<Backend>) {
    let options = Options::new(ip("192.168.56.11"), DetectLocal::Cidr("10.244.0.0/16".parse().expect("a network")));
    let dns = |name: &str, protocol, number| {
        let port = ServicePort { protocol, ..port(&format!("kube-system/kube-dns:{name}"), "10.96.0.10", number) };
        Backend { port, endpoints: ready(&[&format!("10.244.0.2:{number}"), &format!("10.244.0.3:{number}")]) }
    };
    let pods = ["*10.244.1.5:8080", "*10.244.1.6:8080", "10.244.2.7:8080"];
    let local = TrafficPolicy::Local;
    let backends = vec![
        Backend { port: port("default/kubernetes:https", "10.96.0.1", 443), endpoints: ready(&["192.168.56.10:6443"]) },
        dns("dns", Protocol::Udp, 53),
        dns("dns-tcp", Protocol::Tcp, 53),
        dns("metrics", Protocol::Tcp, 9153),
        Backend {
            port: ServicePort { node_port: Some(30080), ..port("default/web", "10.104.12.34", 80) },
            endpoints: ready(&pods),
        },
        Backend {
            port: ServicePort {
                node_port: Some(30081),
                load_balancer_ips: vec![ip("203.0.113.50")],
                internal_policy: local,
                external_policy: local,
                health_check_node_port: Some(32000),
                ..port("default/web-local:http", "10.104.12.35", 80)
            },
            endpoints: ready(&pods),
        },
        Backend {
            port: ServicePort { node_port: Some(30082), ..port("default/none:http", "10.104.12.36", 80) },
            endpoints: vec![],
        },
    ];
    (options, backends)
}

#[test]
fn the_text_is_that_of_a_real_cluster() {
    let (options, backends) = kubeadm();
    let text = restore(options, &backends);
    let golden = golden("kubeadm.restore");
    let (ours, theirs) = (by_chain(&text), by_chain(&golden));
    assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>());
    for (chain, rules) in &theirs {
        let (mut ours, mut theirs) = (ours[chain].clone(), rules.clone());
        if ["nat KUBE-SERVICES", "nat KUBE-NODEPORTS"].contains(&chain.as_str()) {
            // kube-proxy's order of Services is random; the last rule is always the same.
            assert_eq!(ours.last(), theirs.last());
            ours.sort_unstable();
            theirs.sort_unstable();
        }
        assert_eq!(ours, theirs, "{chain}");
    }
}

/// What 1.21 wrote for a ClusterIP, a node port and a Service without endpoints: sources outside the pods' network are
/// marked in KUBE-SERVICES, the node port leads to KUBE-SVC itself.
#[test]
fn the_text_of_1_21() {
    let (options, mut backends) = kubeadm();
    backends.retain(|b| ["default/web", "default/none:http"].contains(&b.port.name.to_string().as_str()));
    let text = restore(Options { version: Version::V1_21, ..options }, &backends);
    let want = include_str!("../iptables/kube-proxy-1.21.restore");
    assert_eq!(text, want);
}

/// The chains of a node port that keeps sources, as `iptables -L` of a public cluster has them (minikube, on the node
/// without the pod), and as they are beside the pod.
#[test]
fn the_text_of_1_21_for_a_local_node_port() {
    let options = Options { version: Version::V1_21, ..kubeadm().0 };
    let port = ServicePort {
        node_port: Some(30080),
        external_policy: TrafficPolicy::Local,
        ..port("default/webapp", "10.104.12.37", 80)
    };
    let of = |endpoint: &str, chain: &str| {
        let text = restore(options.clone(), &[Backend { port: port.clone(), endpoints: ready(&[endpoint]) }]);
        let rules =
            by_chain(&text)[chain].iter().map(|rule| rule.replace("-m comment --comment ", "")).collect::<Vec<_>>();
        rules.iter().map(|rule| rule.split_once(' ').expect("a rule has words").1.to_owned()).collect::<Vec<_>>()
    };
    let node_port = [
        "default/webapp -m tcp -p tcp --dport 30080 -s 127.0.0.0/8 -j KUBE-MARK-MASQ",
        "default/webapp -m tcp -p tcp --dport 30080 -j KUBE-XLB-2IRACUALRELARSND",
    ];
    assert_eq!(of("10.244.1.5:8080", "nat KUBE-NODEPORTS"), node_port);
    let all = [
        "\"Redirect pods trying to reach external loadbalancer VIP to clusterIP\" -s 10.244.0.0/16 \
         -j KUBE-SVC-2IRACUALRELARSND",
        "\"masquerade LOCAL traffic for default/webapp LB IP\" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ",
        "\"route LOCAL traffic for default/webapp LB IP to service chain\" -m addrtype --src-type LOCAL \
         -j KUBE-SVC-2IRACUALRELARSND",
    ];
    let none = ["\"default/webapp has no local endpoints\" -j KUBE-MARK-DROP"];
    assert_eq!(of("10.244.1.5:8080", "nat KUBE-XLB-2IRACUALRELARSND"), [&all[..], &none].concat());
    let local = of("*10.244.1.5:8080", "nat KUBE-XLB-2IRACUALRELARSND");
    assert_eq!(local[..3], all);
    assert!(
        local[3].starts_with("\"Balancing rule 0 for default/webapp\" -j KUBE-SEP-") && local.len() == 4,
        "{local:?}"
    );
}

/// A node, as in the tests of kube-proxy itself (pkg/proxy/iptables/proxier_test.go): pods are 10.0.0.0/8, the node has
/// 192.168.0.2 and two more addresses.
struct Node {
    iptables: Iptables,
    /// The same rules on a whole node, to ask for every way (`podhop iptables eval --all-choices`). 1.21 leaves it to
    /// the kubelet to drop.
    whole: Option<eval::Node>,
}

/// Pods hang on cbr0, those of other nodes are behind 192.168.0.3.
const LINKS: &str = include_str!("../iptables/node/links.json");
const ADDRESSES: &str = include_str!("../iptables/node/addresses.json");
const ROUTES: &str = include_str!("../iptables/node/routes.json");
const SYSCTLS: &str = "net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.route_localnet = 1\n";

/// The node with these rules, as iptables-save prints them.
fn whole(rules: &str) -> eval::Node {
    let file = |name: &str, text: &str| Some(SourceFile::new(name, text));
    let dumps = eval::Dumps {
        links: file("links", LINKS),
        addresses: file("addresses", ADDRESSES),
        routes: file("routes", ROUTES),
        sysctls: file("sysctl", SYSCTLS),
        ..eval::Dumps::new(SourceFile::new("rules", rules))
    };
    let node = eval::Node::load(&dumps).unwrap_or_else(|e| panic!("{e}"));
    assert!(node.warnings.is_empty(), "{}", node.warnings);
    node
}

const NODE: &str = "192.168.0.2";
const ALT: &str = "192.168.1.2";
const OTHER: &str = "192.168.99.11";
const LO: &str = "127.0.0.1";
const POD: &str = "10.0.0.2";
const CLIENT: &str = "203.0.113.2";
const BLOCKED: &str = "203.0.113.130";

fn options() -> Options {
    Options::new(ip(NODE), DetectLocal::Cidr("10.0.0.0/8".parse().expect("a network")))
}

/// Everything around a packet: the node's addresses; `statistic` fails so many times, then holds.
struct Around {
    failures: u32,
    accepted: bool,
    accepts: BTreeSet<(u32, u32)>,
}

impl Surroundings for Around {
    fn name(&self, _: IfIndex) -> IfName {
        IfName::new("eth0")
    }

    fn connection(&self) -> Option<Connection> {
        None
    }

    fn addr_type(&mut self, address: Ipv4Addr, _: Option<IfIndex>) -> AddrType {
        if is_local(address) { AddrType::Local } else { AddrType::Unicast }
    }

    fn draw(&mut self, _: u32) -> u32 {
        let fails = self.failures > 0;
        self.failures = self.failures.saturating_sub(1);
        if fails { u32::MAX } else { 0 }
    }

    fn took(&mut self, chain: u32, rule: u32) {
        self.accepted |= self.accepts.contains(&(chain, rule));
    }
}

fn is_local(address: Ipv4Addr) -> bool {
    address.is_loopback() || [NODE, ALT, OTHER].contains(&address.to_string().as_str())
}

impl Node {
    fn new(options: Options, backends: &[Backend]) -> Node {
        let mut node = Node { iptables: Iptables::new(nf::Backend::Legacy), whole: None };
        let old = options.version < Version::V1_30;
        let Sync { ensure, restore } = Proxier::new(options).sync(backends);
        let mut made = BTreeSet::new();
        for one in ensure {
            let (table, line) = match one {
                Ensure::Chain { table, chain } if made.insert((table, chain)) => (table, format!(":{chain} - [0:0]")),
                Ensure::Chain { .. } => continue,
                Ensure::Rule { table, rule } => (table, format!("-I {rule}")),
            };
            node.restore(format!("*{table}\n{line}\nCOMMIT\n"));
        }
        node.restore(restore.expect("everything is new"));
        if old {
            node.restore("*nat\n-A KUBE-MARK-DROP -j MARK --or-mark 0x8000\nCOMMIT\n".to_owned());
        } else {
            node.whole = Some(whole(&node.iptables.save(save::Options::default()).expect("all tables")));
        }
        node
    }

    fn restore(&mut self, text: String) {
        let restore = Restore { noflush: true, counters: true, text, ..Restore::default() };
        self.iptables.restore(&restore).unwrap_or_else(|e| panic!("{e:?}\n{}", restore.text));
    }

    /// Where packets go: `10.0.0.1:80 10.0.0.2:80 m` for endpoints and masquerading, DROP, REJECT, ACCEPT for a rule
    /// that accepts, nothing where no rule is for them.
    fn ask(&mut self, protocol: u8, from: &str, to: &str) -> String {
        let (address, port) = to.split_once(':').expect("IP:PORT");
        let to = (ip(address), port.parse().expect("a port"));
        let mut seen = BTreeSet::new();
        let mut marks = BTreeSet::new();
        for failures in 0..6 {
            let (end, masqueraded) = self.once(protocol, ip(from), to, failures);
            marks.insert(masqueraded);
            seen.insert(end);
        }
        assert_eq!(marks.len(), 1, "all or none are masqueraded: {seen:?}");
        let ends = seen.into_iter().collect::<Vec<_>>().join(" ");
        let end = if marks.contains(&true) { ends + " m" } else { ends };
        if let Some(whole) = &self.whole {
            assert_eq!(all_ways(whole, protocol, ip(from), to), end, "{from} > {}:{} by all ways", to.0, to.1);
        }
        end
    }

    fn once(&mut self, protocol: u8, from: Ipv4Addr, to: (Ipv4Addr, u16), failures: u32) -> (String, bool) {
        let own = is_local(from);
        let mut bytes = packet(protocol, from, to);
        let first = if own { Hook::Output } else { Hook::Prerouting };
        let mut state = State { mark: 0, status: Status::default(), failures };
        let mut end = String::new();
        let (verdict, _) = self.walk(TableName::Nat, first, &bytes, &mut state);
        if let Verdict::Nat(nat) = verdict {
            assert_eq!(nat.kind, NatKind::Dnat);
            let (Some((IpAddr::V4(address), _)), Some((port, _))) = (nat.range.addrs, nat.range.ports) else {
                panic!("{nat:?}");
            };
            bytes = packet(protocol, from, (address, port));
            state.status = Status::DST_NAT;
            end = format!("{address}:{port}");
        }
        let dst = Ipv4Addr::new(bytes[16], bytes[17], bytes[18], bytes[19]);
        let way: &[Hook] = match (own, is_local(dst)) {
            (true, true) => &[Hook::Output, Hook::Input],
            (true, false) => &[Hook::Output],
            (false, true) => &[Hook::Input],
            (false, false) => &[Hook::Forward],
        };
        for hook in way {
            match self.walk(TableName::Filter, *hook, &bytes, &mut state) {
                (Verdict::Drop, _) => return ("DROP".to_owned(), false),
                (Verdict::Reject(_), _) => return ("REJECT".to_owned(), false),
                (Verdict::Accept, true) if end.is_empty() => end = "ACCEPT".to_owned(),
                (Verdict::Accept, _) => {}
                (other, _) => panic!("{other:?}"),
            }
        }
        // The kubelet's rule, before 1.28.
        if state.mark & 0x8000 != 0 {
            return ("DROP".to_owned(), false);
        }
        (end, state.mark & 0x4000 != 0)
    }

    /// The verdict, and whether a health check's rule accepted.
    fn walk(&mut self, table: TableName, hook: Hook, bytes: &[u8], state: &mut State) -> (Verdict, bool) {
        let (rules, mut memory) = self.iptables.walked(table).expect("it was made");
        let health = rules.chains().iter().zip(0..).filter(|(c, _)| c.name == "KUBE-NODEPORTS");
        let accepts = health.flat_map(|(c, n)| (0..c.rules.len() as u32).map(move |rule| (n, rule))).collect();
        let accepts = if table == TableName::Filter { accepts } else { BTreeSet::new() };
        let mut around = Around { failures: state.failures, accepted: false, accepts };
        let ct = Ct::Tracked(Tracked { info: CtInfo::New, status: state.status, mark: 0 });
        let (indev, outdev) = match hook {
            Hook::Output => (None, Some(IfIndex(2))),
            Hook::Forward => (Some(IfIndex(2)), Some(IfIndex(2))),
            _ => (Some(IfIndex(2)), None),
        };
        let mut packet = Packet {
            bytes,
            indev,
            outdev,
            physin: None,
            physout: None,
            bridged: false,
            sk: Sk::None,
            mark: state.mark,
            ct,
            now: Time(0),
        };
        let verdict = walk(rules, hook, &mut packet, &mut memory, &mut around);
        state.mark = packet.mark;
        (verdict, around.accepted)
    }
}

/// As [`Node::ask`]. Every answer must come back as if its sender had been the destination that was asked for.
fn all_ways(node: &eval::Node, protocol: u8, from: Ipv4Addr, to: (Ipv4Addr, u16)) -> String {
    let origin = match from {
        _ if is_local(from) => eval::Origin::Local,
        _ if from.octets()[0] == 10 => eval::Origin::Device("veth0".to_owned()),
        _ => eval::Origin::Device("eth0".to_owned()),
    };
    let packet = testing::Packet { sport: 1000, dport: to.1, ..testing::Packet::new(protocol, from, to.0) };
    let question = eval::Question { from: origin, packet, mark: 0, established: false, packets: 2, all_choices: true };
    let answer = node.ask(&question).unwrap_or_else(|e| panic!("{e}"));
    let odds = answer.ways.iter().map(|w| w.odds.expect("all ways").to_string()).collect::<BTreeSet<_>>();
    assert_eq!(
        odds,
        BTreeSet::from([if answer.ways.len() == 1 { "1".to_owned() } else { format!("1/{}", answer.ways.len()) }])
    );
    let (mut seen, mut marks) = (BTreeSet::new(), BTreeSet::new());
    for way in &answer.ways {
        let accepted = |s: &eval::PathStep| s.text.starts_with("-A KUBE-NODEPORTS") && s.text.ends_with("-j ACCEPT");
        seen.insert(match (&way.turns[0].end, &way.endpoint) {
            (eval::Ending::Dropped { by: Some(_), .. }, _) => "DROP".to_owned(),
            (eval::Ending::Rejected { .. }, _) => "REJECT".to_owned(),
            (_, Some(endpoint)) => endpoint.clone(),
            (eval::Ending::Local { .. }, None) if way.turns[0].path.iter().any(accepted) => "ACCEPT".to_owned(),
            (_, None) => String::new(),
        });
        let counts = matches!(way.turns[0].end, eval::Ending::Sent { .. } | eval::Ending::Local { .. });
        marks.insert(counts && way.masqueraded);
        if way.endpoint.is_some() && counts {
            let ends = (format!("{}:{}", to.0, to.1), format!("{from}:1000"));
            match &way.turns[1].end {
                eval::Ending::Sent { source, destination, .. } | eval::Ending::Local { source, destination } => {
                    assert_eq!((source.clone(), destination.clone()), ends, "{}", answer.text(false));
                }
                other => panic!("the answer: {other}\n{}", answer.text(false)),
            }
        }
    }
    assert_eq!(marks.len(), 1, "all or none are masqueraded: {}", answer.text(true));
    let ends = seen.into_iter().collect::<Vec<_>>().join(" ");
    if marks.contains(&true) { ends + " m" } else { ends }
}

struct State {
    mark: u32,
    status: Status,
    failures: u32,
}

/// The first packet of a connection from port 1000.
fn packet(protocol: u8, from: Ipv4Addr, (to, port): (Ipv4Addr, u16)) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, protocol, 0, 0];
    bytes.extend(from.octets());
    bytes.extend(to.octets());
    bytes.extend(1000u16.to_be_bytes());
    bytes.extend(port.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    bytes
}

const TCP: u8 = 6;
const UDP: u8 = 17;
const SCTP: u8 = 132;

/// Asks for every line `FROM > TO = END`.
fn check(node: &mut Node, lines: &[(&str, &str, &str)]) {
    for (from, to, want) in lines {
        assert_eq!(node.ask(TCP, from, to), *want, "{from} > {to}");
    }
}

/// A Service with every kind of address: a load balancer at 1.2.3.4, 192.168.99.11, node port 3001.
fn full() -> ServicePort {
    ServicePort {
        node_port: Some(3001),
        external_ips: vec![ip(OTHER)],
        load_balancer_ips: vec![ip("1.2.3.4")],
        ..port("ns1/svc1:p80", "172.30.0.41", 80)
    }
}

#[test]
fn b_no_endpoints() {
    let mut node = Node::new(options(), &[Backend { port: full(), endpoints: vec![] }]);
    check(
        &mut node,
        &[
            (POD, "172.30.0.41:80", "REJECT"),
            (CLIENT, "192.168.99.11:80", "REJECT"),
            (POD, "192.168.0.2:3001", "REJECT"),
            (CLIENT, "192.168.0.2:3001", "REJECT"),
            (POD, "1.2.3.4:80", "REJECT"),
            (CLIENT, "1.2.3.4:80", "REJECT"),
        ],
    );
}

#[test]
fn c_cluster_ip() {
    let at = |name: &str, protocol, number| ServicePort { protocol, ..port(name, "172.30.0.42", number) };
    let svc2 = |port: ServicePort, to: u16| {
        let endpoints = ready(&[&format!("*10.180.0.1:{to}"), &format!("10.180.2.1:{to}")]);
        Backend { port, endpoints }
    };
    let backends = [
        Backend { port: port("ns1/svc1:http", "172.30.0.41", 80), endpoints: ready(&["*10.180.0.1:80"]) },
        svc2(at("ns2/svc2:http", Protocol::Tcp, 80), 80),
        svc2(at("ns2/svc2:https", Protocol::Tcp, 443), 8443),
        svc2(at("ns2/svc2:dns-udp", Protocol::Udp, 53), 53),
        svc2(at("ns2/svc2:dns-tcp", Protocol::Tcp, 53), 5353),
        svc2(at("ns2/svc2:dns-sctp", Protocol::Sctp, 53), 53),
    ];
    let mut node = Node::new(options(), &backends);
    check(
        &mut node,
        &[
            ("10.180.0.2", "172.30.0.41:80", "10.180.0.1:80"),
            ("10.180.0.1", "172.30.0.41:80", "10.180.0.1:80 m"),
            ("10.180.0.2", "172.30.0.42:80", "10.180.0.1:80 10.180.2.1:80"),
            ("10.180.0.2", "172.30.0.42:443", "10.180.0.1:8443 10.180.2.1:8443"),
            ("10.180.0.2", "172.30.0.42:53", "10.180.0.1:5353 10.180.2.1:5353"),
            ("10.180.0.2", "172.30.0.41:443", ""),
        ],
    );
    for protocol in [UDP, SCTP] {
        assert_eq!(node.ask(protocol, "10.180.0.2", "172.30.0.42:53"), "10.180.0.1:53 10.180.2.1:53");
        assert_eq!(node.ask(protocol, "10.180.0.2", "172.30.0.42:80"), "");
    }
}

#[test]
fn d_load_balancer_with_source_ranges() {
    let range = |text: &str| text.parse().expect("a network");
    let port = ServicePort {
        external_ips: vec![],
        load_balancer_ips: vec![ip("1.2.3.4"), ip("5.6.7.8")],
        load_balancer_source_ranges: vec![range("192.168.0.0/24"), range("203.0.113.0/25")],
        ..full()
    };
    let mut node = Node::new(options(), &[Backend { port, endpoints: ready(&["10.180.0.1:80"]) }]);
    check(
        &mut node,
        &[
            (POD, "172.30.0.41:80", "10.180.0.1:80"),
            (CLIENT, "192.168.0.2:3001", "10.180.0.1:80 m"),
            (BLOCKED, "192.168.0.2:3001", "10.180.0.1:80 m"),
            (CLIENT, "1.2.3.4:80", "10.180.0.1:80 m"),
            (CLIENT, "5.6.7.8:80", "10.180.0.1:80 m"),
            (BLOCKED, "1.2.3.4:80", "DROP"),
            (POD, "1.2.3.4:80", "DROP"),
            (NODE, "1.2.3.4:80", "10.180.0.1:80 m"),
            ("1.2.3.4", "1.2.3.4:80", "10.180.0.1:80 m"),
        ],
    );
}

#[test]
fn e_node_port() {
    let both = "10.180.0.1:80 10.180.2.1:80";
    let masqueraded = "10.180.0.1:80 10.180.2.1:80 m";
    let port = ServicePort { external_ips: vec![], load_balancer_ips: vec![], ..full() };
    let backends = [Backend { port, endpoints: ready(&["10.180.0.1:80", "*10.180.2.1:80"]) }];
    let all = [
        (POD, "172.30.0.41:80", both),
        (CLIENT, "192.168.0.2:3001", masqueraded),
        (NODE, "192.168.0.2:3001", masqueraded),
    ];
    let with = |options, more: &[(&str, &str, &str)]| {
        let mut node = Node::new(options, &backends);
        check(&mut node, &all);
        check(&mut node, more);
    };
    with(options(), &[(LO, "127.0.0.1:3001", masqueraded), (CLIENT, "192.168.1.2:3001", masqueraded)]);
    let no_localhost = Options { localhost_nodeports: false, ..options() };
    with(no_localhost, &[(LO, "127.0.0.1:3001", ""), (CLIENT, "192.168.1.2:3001", masqueraded)]);
    let primary = Options { nodeport_addresses: Some(vec![ip(NODE)]), ..options() };
    with(primary, &[(LO, "127.0.0.1:3001", ""), (CLIENT, "192.168.1.2:3001", "")]);
    let both_addresses = Options { nodeport_addresses: Some(vec![ip(LO), ip(NODE)]), ..options() };
    with(both_addresses, &[(LO, "127.0.0.1:3001", masqueraded), (CLIENT, "192.168.1.2:3001", "")]);
}

#[test]
fn f_health_check_node_port() {
    let port = ServicePort { external_policy: TrafficPolicy::Local, health_check_node_port: Some(30000), ..full() };
    let mut node = Node::new(options(), &[Backend { port, endpoints: vec![] }]);
    check(&mut node, &[("1.2.3.4", "192.168.0.2:30000", "ACCEPT")]);
    let mut node = Node::new(options(), &[]);
    check(&mut node, &[("1.2.3.4", "192.168.0.2:30000", "")]);
}

#[test]
fn g_external_traffic_policy() {
    let both = "10.180.0.1:80 10.180.2.1:80";
    let local = "10.180.2.1:80";
    let endpoints = ready(&["10.180.0.1:80", "*10.180.2.1:80"]);
    let port = ServicePort { external_policy: TrafficPolicy::Local, ..full() };
    let mut node = Node::new(options(), &[Backend { port, endpoints: endpoints.clone() }]);
    check(&mut node, &[(POD, "172.30.0.41:80", both)]);
    for to in ["192.168.99.11:80", "1.2.3.4:80", "192.168.0.2:3001"] {
        check(&mut node, &[(POD, to, both), (CLIENT, to, local)]);
    }
    let mut node = Node::new(options(), &[Backend { port: full(), endpoints }]);
    check(&mut node, &[(POD, "172.30.0.41:80", both)]);
    for to in ["192.168.99.11:80", "1.2.3.4:80", "192.168.0.2:3001"] {
        let masqueraded = &format!("{both} m");
        check(&mut node, &[(POD, to, masqueraded), (CLIENT, to, masqueraded)]);
    }
}

#[test]
fn h_internal_traffic_policy() {
    let case = |internal_policy, endpoints: &[&str], want: &str| {
        let port = ServicePort { internal_policy, ..port("ns1/svc1:p80", "172.30.1.1", 80) };
        let mut node = Node::new(options(), &[Backend { port, endpoints: ready(endpoints) }]);
        check(&mut node, &[(POD, "172.30.1.1:80", want)]);
    };
    let none = ["10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80"];
    let one = ["*10.0.1.1:80", "10.0.1.2:80", "10.0.1.3:80"];
    let two = ["*10.0.1.1:80", "*10.0.1.2:80", "10.0.1.3:80"];
    case(TrafficPolicy::Cluster, &one, "10.0.1.1:80 10.0.1.2:80 10.0.1.3:80");
    case(TrafficPolicy::Local, &one, "10.0.1.1:80");
    case(TrafficPolicy::Local, &two, "10.0.1.1:80 10.0.1.2:80");
    case(TrafficPolicy::Local, &none, "DROP");
    case(TrafficPolicy::Local, &[], "REJECT");
}

/// What a terminating endpoint still does.
#[derive(Clone, Copy)]
enum Pod {
    Ready,
    Serving,
    Gone,
}

#[test]
fn i_terminating_endpoints() {
    let endpoint = |(n, local, state): &(u8, bool, Pod)| {
        let (ready, serving) = match state {
            Pod::Ready => (true, true),
            Pod::Serving => (false, true),
            Pod::Gone => (false, false),
        };
        let ip = Ipv4Addr::new(10, 0, 1, *n);
        Endpoint { ready, serving, terminating: !ready, ..Endpoint::ready(ip, 80, *local) }
    };
    let all = [
        (1, true, Pod::Ready),
        (2, true, Pod::Ready),
        (3, true, Pod::Serving),
        (4, true, Pod::Gone),
        (5, false, Pod::Ready),
    ];
    let local_end = [(2, true, Pod::Serving), (3, true, Pod::Serving), (4, true, Pod::Gone), (5, false, Pod::Ready)];
    let remote_ends = [(2, true, Pod::Gone), (4, true, Pod::Gone), (5, false, Pod::Serving)];
    let all_end = [(2, true, Pod::Serving), (3, true, Pod::Serving), (5, false, Pod::Serving)];
    let none = [(4, true, Pod::Gone)];
    for (policy, endpoints, pod, client) in [
        (TrafficPolicy::Local, &all[..], "1 2 5", "1 2"),
        (TrafficPolicy::Local, &local_end, "5", "2 3"),
        (TrafficPolicy::Local, &remote_ends, "5", "DROP"),
        (TrafficPolicy::Local, &none, "REJECT", "REJECT"),
        (TrafficPolicy::Cluster, &all, "1 2 5", "1 2 5 m"),
        (TrafficPolicy::Cluster, &local_end, "5", "5 m"),
        (TrafficPolicy::Cluster, &remote_ends, "5", "5 m"),
        (TrafficPolicy::Cluster, &all_end, "2 3 5", "2 3 5 m"),
        (TrafficPolicy::Cluster, &none, "REJECT", "REJECT"),
    ] {
        let port = ServicePort { external_policy: policy, external_ips: vec![], node_port: None, ..full() };
        let endpoints = endpoints.iter().map(endpoint).collect();
        let mut node = Node::new(options(), &[Backend { port, endpoints }]);
        let spell = |text: &str| {
            let word = |w: &str| if w.parse::<u8>().is_ok() { format!("10.0.1.{w}:80") } else { w.to_owned() };
            text.split(' ').map(word).collect::<Vec<_>>().join(" ")
        };
        check(&mut node, &[(POD, "172.30.0.41:80", &spell(pod)), (CLIENT, "1.2.3.4:80", &spell(client))]);
    }
}

/// The Services of table (j): policies Cluster, external Local, internal Local.
fn matrix(options: Options) -> Node {
    let svc = |n: u8, balancer: &str| ServicePort {
        node_port: Some(3000 + u16::from(n)),
        load_balancer_ips: vec![ip(balancer)],
        ..port(&format!("ns{n}/svc{n}:p80"), &format!("172.30.0.4{n}"), 80)
    };
    let two = |n: u8| ready(&[&format!("*10.180.0.{n}:80"), &format!("10.180.1.{n}:80")]);
    let local = TrafficPolicy::Local;
    let backends = [
        Backend { port: svc(1, "1.2.3.4"), endpoints: two(1) },
        Backend { port: ServicePort { external_policy: local, ..svc(2, "5.6.7.8") }, endpoints: two(2) },
        Backend { port: ServicePort { internal_policy: local, ..svc(3, "9.10.11.12") }, endpoints: two(3) },
    ];
    Node::new(options, &backends)
}

const BALANCERS: [&str; 3] = ["1.2.3.4:80", "5.6.7.8:80", "9.10.11.12:80"];

/// Asks for one row of table (j): a cell for each Service, `both`, `local` or either with ` m`.
fn row(node: &mut Node, from: &str, to: impl Fn(usize) -> String, cells: [&str; 3]) {
    for (n, cell) in cells.into_iter().enumerate() {
        let (which, m) = cell.split_once(' ').map_or((cell, ""), |(which, _)| (which, " m"));
        let local = format!("10.180.0.{}:80", n + 1);
        let ends = if which == "both" { format!("{local} 10.180.1.{}:80", n + 1) } else { local };
        check(node, &[(from, &to(n), &(ends + m))]);
    }
}

#[test]
fn j_who_is_masqueraded() {
    let cluster_ip = |n: usize| format!("172.30.0.4{}:80", n + 1);
    let node_port = |n: usize| format!("192.168.0.2:{}", 3001 + n);
    let localhost = |n: usize| format!("127.0.0.1:{}", 3001 + n);
    let balancer = |n: usize| BALANCERS[n].to_owned();
    let mut node = matrix(options());
    row(&mut node, POD, cluster_ip, ["both", "both", "local"]);
    row(&mut node, POD, node_port, ["both m", "both", "both m"]);
    row(&mut node, POD, balancer, ["both m", "both", "both m"]);
    row(&mut node, NODE, cluster_ip, ["both m", "both m", "local m"]);
    row(&mut node, NODE, node_port, ["both m", "both m", "both m"]);
    row(&mut node, LO, localhost, ["both m", "both m", "both m"]);
    row(&mut node, NODE, balancer, ["both m", "both m", "both m"]);
    row(&mut node, CLIENT, cluster_ip, ["both m", "both m", "local m"]);
    row(&mut node, CLIENT, node_port, ["both m", "local", "both m"]);
    row(&mut node, CLIENT, balancer, ["both m", "local", "both m"]);

    let mut node = matrix(Options { detect_local: DetectLocal::None, ..options() });
    row(&mut node, POD, cluster_ip, ["both", "both", "local"]);
    row(&mut node, NODE, cluster_ip, ["both", "both", "local"]);
    row(&mut node, CLIENT, cluster_ip, ["both", "both", "local"]);
    row(&mut node, POD, node_port, ["both m", "local", "both m"]);
    row(&mut node, POD, balancer, ["both m", "local", "both m"]);

    let mut node = matrix(Options { masquerade_all: true, ..options() });
    row(&mut node, POD, cluster_ip, ["both m", "both m", "local m"]);
    row(&mut node, CLIENT, cluster_ip, ["both m", "both m", "local m"]);
}

/// What is otherwise in 1.21: pods keep their source on the way to external addresses, and there is no policy for
/// traffic inside the cluster.
#[test]
fn version_1_21() {
    let range = |text: &str| text.parse().expect("a network");
    let options = || Options { version: Version::V1_21, ..options() };
    let (both, local) = ("10.180.0.1:80 10.180.2.1:80", "10.180.2.1:80");
    let masqueraded = &format!("{both} m");
    let endpoints = ready(&["10.180.0.1:80", "*10.180.2.1:80"]);
    let ask = |port: ServicePort, lines: &[(&str, &str, &str)]| {
        check(&mut Node::new(options(), &[Backend { port, endpoints: endpoints.clone() }]), lines);
    };
    let (outside, balancer, node_port) = ("192.168.99.11:80", "1.2.3.4:80", "192.168.0.2:3001");
    ask(
        full(),
        &[
            (POD, "172.30.0.41:80", both),
            (NODE, "172.30.0.41:80", masqueraded),
            (POD, outside, both),
            (CLIENT, outside, masqueraded),
            (POD, balancer, masqueraded),
            (CLIENT, node_port, masqueraded),
            (LO, "127.0.0.1:3001", masqueraded),
        ],
    );
    let policy = TrafficPolicy::Local;
    for to in [outside, balancer, node_port] {
        let port = ServicePort { external_policy: policy, ..full() };
        ask(port, &[(POD, to, both), (CLIENT, to, local), (NODE, to, masqueraded)]);
    }
    let ranges = vec![range("203.0.113.0/25"), range("192.168.0.0/24")];
    ask(
        ServicePort { load_balancer_source_ranges: ranges, ..full() },
        &[
            (CLIENT, balancer, masqueraded),
            (BLOCKED, balancer, "DROP"),
            (POD, balancer, "DROP"),
            (NODE, balancer, masqueraded),
        ],
    );
    ask(ServicePort { internal_policy: policy, ..full() }, &[(POD, "172.30.0.41:80", both)]);
    let nobody = Backend { port: full(), endpoints: vec![] };
    let mut node = Node::new(options(), &[nobody]);
    for to in ["172.30.0.41:80", outside, balancer, node_port] {
        check(&mut node, &[(POD, to, "REJECT"), (CLIENT, to, "REJECT")]);
    }
}
