//! A node with a few pods, their proxies, and what goes over their interfaces.

use sim_core::base::time::MS;
use sim_core::base::words::Word;
use sim_core::base::{IfIndex, NsId, Pid, Time};
use sim_core::engine::{Stopped, World};
use sim_core::kernel::cred::Cred;
use sim_core::kernel::frame::PacketType;
use sim_core::kernel::trace::{DevName, Sink, Step, Tap};
use sim_core::observe::names::Names;
use sim_core::observe::recorder::Watcher;
use sim_core::observe::story::Journeys;
use sim_core::observe::{Memory, Outputs, Recorder};
use sim_core::scenario::{self, SourceFile};
use sim_core::user::envoy::Envoy;
use sim_core::user::envoy::config::*;
use smoltcp::wire::{EthernetFrame, IpProtocol, Ipv4Packet, TcpPacket};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Who runs the proxies.
pub const PROXY: Cred = Cred { uid: 1337, gid: 1337 };
pub const HOST: &str = "web.default.svc.cluster.local";
/// The Service's address, which nobody has.
pub const VIP: &str = "10.96.5.5";
/// Its endpoints' namespaces with their addresses, and the client's.
pub const PODS: [(&str, u8); 4] = [("sleep", 1), ("web1", 2), ("web2", 3), ("ext", 4)];

/// A node with four pods; all but `ext` have istio-init's rules.
pub fn lab() -> String {
    let mut text = String::from(
        "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {name: envoy}\nspec:\n  namespaces:\n    node:\n\
         \x20     setup:\n",
    );
    let mut setup = vec!["sysctl -qw net.ipv4.ip_forward=1".to_owned()];
    for (name, n) in PODS {
        setup.push(format!("ip link add {name} type veth peer name eth0 netns {name}"));
        setup.push(format!("ip link set {name} up"));
        setup.push(format!("ip addr add 10.244.{n}.1/24 dev {name}"));
    }
    for line in setup {
        let _ = writeln!(text, "        - {line}");
    }
    for (name, n) in PODS {
        let mut setup = vec![
            "ip link set lo up".to_owned(),
            "ip link set eth0 up".to_owned(),
            format!("ip addr add 10.244.{n}.2/24 dev eth0"),
            format!("ip route add default via 10.244.{n}.1"),
        ];
        if name != "ext" {
            let rules = [
                "-N ISTIO_IN_REDIRECT",
                "-N ISTIO_OUTPUT",
                "-N ISTIO_REDIRECT",
                "-A PREROUTING -p tcp -m multiport ! --dports 15008,15090,15021,15020 -j ISTIO_IN_REDIRECT",
                "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
                "-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006",
                "-A ISTIO_OUTPUT -s 127.0.0.6/32 -o lo -j RETURN",
                "-A ISTIO_OUTPUT ! -d 127.0.0.1/32 -o lo -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT",
                "-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN",
                "-A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN",
                "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
                "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
                "-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001",
            ];
            setup.extend(rules.iter().map(|rule| format!("iptables -t nat {rule}")));
        }
        let _ = write!(text, "    {name}:\n      setup:\n");
        for line in setup {
            let _ = writeln!(text, "        - '{line}'");
        }
        let servers = match name {
            "sleep" => "",
            "ext" => "      servers: [nginx 80, nginx 8000]\n",
            _ => "      servers: [nginx 8080, tcpecho 7000]\n",
        };
        text += servers;
        let _ = writeln!(text, "      files:\n        /etc/hosts: \"{VIP} web\\n\"");
        let _ = writeln!(text, "        /usr/share/nginx/html/index.html: \"{name}\\n\"");
    }
    text
}

/// A TCP segment at an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    pub at: Time,
    /// `sleep/eth0`
    pub dev: String,
    pub out: bool,
    pub from: SocketAddrV4,
    pub to: SocketAddrV4,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    pub data: Vec<u8>,
}

/// What passes the interfaces.
#[derive(Default)]
pub struct Wire {
    namespaces: BTreeMap<NsId, String>,
    devices: BTreeMap<(NsId, IfIndex), String>,
    segments: Vec<Segment>,
}

impl Sink for Wire {
    fn step(&mut self, _: &Step) {}

    fn hears_steps(&self) -> bool {
        false
    }

    fn tap(&mut self, tap: &Tap<'_>) {
        let Some(dev) = self.devices.get(&(tap.ns, tap.dev)) else { return };
        let Ok(frame) = EthernetFrame::new_checked(tap.bytes) else { return };
        let Ok(ip) = Ipv4Packet::new_checked(frame.payload()) else { return };
        if ip.next_header() != IpProtocol::Tcp {
            return;
        }
        let tcp = TcpPacket::new_checked(ip.payload()).expect("a segment");
        self.segments.push(Segment {
            at: tap.now,
            dev: dev.clone(),
            out: tap.pkt_type == PacketType::Outgoing,
            from: SocketAddrV4::new(ip.src_addr(), tcp.src_port()),
            to: SocketAddrV4::new(ip.dst_addr(), tcp.dst_port()),
            syn: tcp.syn(),
            ack: tcp.ack(),
            fin: tcp.fin(),
            rst: tcp.rst(),
            data: tcp.payload().to_vec(),
        });
    }

    fn namespace(&mut self, ns: NsId, name: &str) {
        self.namespaces.insert(ns, name.to_owned());
    }

    fn device(&mut self, dev: &DevName) {
        let name = format!("{}/{}", self.namespaces[&dev.ns], dev.name);
        self.devices.insert((dev.ns, dev.dev), name);
    }
}

/// A lab that runs.
pub struct Lab {
    pub now: Time,
    pub world: World,
    pub wire: Wire,
    proxies: BTreeMap<&'static str, (NsId, Pid)>,
}

pub fn endpoint(n: u8, identity: bool) -> Endpoint {
    Endpoint { address: SocketAddrV4::new([10, 244, n, 2].into(), 8080), identity: identity.then(|| spiffe("web")) }
}

pub fn spiffe(account: &str) -> String {
    format!("spiffe://cluster.local/ns/default/sa/{account}")
}

/// What a proxy knows of the Service `web`, whose endpoints these are.
pub fn config(endpoints: &[Endpoint]) -> Config {
    let name = format!("outbound|80||{HOST}");
    let route = Route {
        name: "default".into(),
        prefix: "/".into(),
        cluster: name.clone(),
        decorator: format!("{HOST}:80/*"),
        retry: Some(RetryPolicy::default()),
    };
    let domains = ["web", HOST, VIP].iter().flat_map(|d| [(*d).to_owned(), format!("{d}:80")]).collect();
    let host = VirtualHost { name: format!("{HOST}:80"), domains, routes: vec![route] };
    let cluster = Cluster { endpoints: endpoints.to_vec(), ..Cluster::outbound(HOST, 80) };
    let echo =
        Cluster { endpoints: endpoints.iter().map(|e| port(e, 7000)).collect(), ..Cluster::outbound(HOST, 7000) };
    let inbound =
        |port, protocol| Inbound { port, protocol, mtls: MtlsMode::Permissive, decorator: format!("{HOST}:80/*") };
    Config {
        outbound: vec![
            Listener { address: Ipv4Addr::UNSPECIFIED, port: 80, filter: Filter::Http(vec![host]) },
            Listener {
                address: VIP.parse().expect("as the lab has it"),
                port: 7000,
                filter: Filter::Tcp(echo.name.clone()),
            },
        ],
        inbound: vec![inbound(8080, Protocol::Http), inbound(7000, Protocol::Tcp)],
        clusters: vec![cluster, echo],
        ..Config::default()
    }
}

pub fn port(endpoint: &Endpoint, port: u16) -> Endpoint {
    Endpoint { address: SocketAddrV4::new(*endpoint.address.ip(), port), ..endpoint.clone() }
}

pub fn bootstrap(name: &str, n: u8, config: Config) -> Bootstrap {
    let account = if name == "sleep" { "sleep" } else { "web" };
    Bootstrap {
        node: Node {
            id: format!("sidecar~10.244.{n}.2~{name}.default~default.svc.cluster.local"),
            address: [10, 244, n, 2].into(),
            identity: spiffe(account),
            metadata: vec![("NAME".into(), name.into()), ("NAMESPACE".into(), "default".into())],
        },
        discovery: None,
        config: Some(config),
        concurrency: 1,
        transparent: false,
        access_log: true,
    }
}

/// Starts the pods' proxies; who they are.
pub fn start(
    world: &mut World,
    concurrency: u32,
    change: impl Fn(&str, &mut Config),
) -> BTreeMap<&'static str, (NsId, Pid)> {
    let mut proxies = BTreeMap::new();
    for (name, n) in PODS.into_iter().filter(|(name, _)| *name != "ext") {
        let mut config = config(&[endpoint(2, true), endpoint(3, true)]);
        change(name, &mut config);
        let ns = world.namespace(name).expect("as the lab has it");
        let proxy = Box::new(Envoy::new(Bootstrap { concurrency, ..bootstrap(name, n, config) }));
        proxies.insert(name, (ns, world.spawn_as(ns, PROXY, proxy, Time(0)).expect("as the lab has it")));
    }
    proxies
}

impl Lab {
    /// The proxies have started; `change` has changed what the pod's is told.
    pub fn new(change: impl Fn(&str, &mut Config)) -> Lab {
        Lab::with(1, change)
    }

    /// The same with so many threads a proxy.
    pub fn with(concurrency: u32, change: impl Fn(&str, &mut Config)) -> Lab {
        let plan =
            scenario::resolve(&SourceFile::new("inline", lab())).unwrap_or_else(|e| panic!("{}", e.render(false)));
        let mut wire = Wire::default();
        let mut world = scenario::build(&plan, &mut wire).unwrap_or_else(|e| panic!("{}", e[0].message));
        let proxies = start(&mut world, concurrency, change);
        let mut lab = Lab { now: Time(0), world, wire, proxies };
        lab.wait(100 * MS);
        lab
    }

    /// Lets so much time pass.
    pub fn wait(&mut self, ns: u64) {
        self.now += ns;
        // Programs end meanwhile.
        while let Stopped::Exit(..) = self.world.run(self.now, &mut self.wire).expect("no limit") {}
    }

    /// What a command prints, and its exit status; then half a second passes.
    pub fn run(&mut self, ns: &str, line: &str) -> (String, i32) {
        let ns = self.world.namespace(ns).expect("as the lab has it");
        let pid = self
            .world
            .spawn(ns, sim_core::user::parse(&words(line)).expect("as the lab has it"), self.now)
            .expect("as the lab has it");
        for _ in 0..1200 {
            self.wait(100 * MS);
            if let Some(finished) = self.world.reap(ns, pid) {
                self.wait(500 * MS);
                return (finished.console.all(), finished.code);
            }
        }
        panic!("{line} does not end");
    }

    /// What a proxy has printed so far: it ends by that.
    pub fn log(&mut self, name: &str) -> String {
        let (ns, pid) = self.proxies[name];
        self.world.kill(ns.machine(), pid, 9, self.now, &mut self.wire).expect("no limit");
        self.wait(MS);
        self.world.reap(ns, pid).expect("it has ended").console.all()
    }

    /// The segments at an interface, and those after a time.
    pub fn at(&self, dev: &str) -> impl Iterator<Item = &Segment> {
        self.wire.segments.iter().filter(move |s| s.dev == dev)
    }

    /// Where connections went at an interface, in order.
    pub fn connections(&self, dev: &str) -> Vec<(SocketAddrV4, SocketAddrV4)> {
        self.at(dev).filter(|s| s.syn && !s.ack).map(|s| (s.from, s.to)).collect()
    }
}

pub fn words(line: &str) -> Vec<Word> {
    let mut words = vec![];
    for part in line.split(' ') {
        words.push(Word { text: part.to_owned(), span: 0..0 });
    }
    words
}

pub fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|w| w == text.as_bytes())
}

/// Packets of a connection's end of stream.
pub fn fins<'a>(lab: &'a Lab, dev: &'a str) -> impl Iterator<Item = &'a Segment> {
    lab.at(dev).filter(|s| s.fin || s.rst)
}

/// Nobody looks.
struct Nobody;

impl Watcher for Nobody {
    fn tap(&mut self, _: &Tap<'_>, _: &Names, _: Option<&mut Journeys>) {}
}

/// The files of a run in which curl asks twice, over HTTP/1.1 or HTTP/2 between the proxies.
pub fn recorded(protocol: UpstreamProtocol) -> Memory {
    let plan = scenario::resolve(&SourceFile::new("inline", lab())).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut memory = Memory::default();
    let labels = plan.labels.clone();
    let mut recorder = Recorder::new(&mut memory, plan.config.epoch_ns, Outputs::ALL, labels, Nobody);
    let mut world = scenario::build(&plan, &mut recorder).unwrap_or_else(|e| panic!("{}", e[0].message));
    recorder.start();
    start(&mut world, 1, |_, config| {
        config.clusters[0].endpoints.truncate(1);
        config.clusters[0].protocol = protocol;
    });
    let ns = world.namespace("sleep").expect("as the lab has it");
    for second in [1, 2] {
        let curl = sim_core::user::parse(&words("curl -s http://web/")).expect("as the lab has it");
        world.spawn(ns, curl, Time(second * 1_000 * MS)).expect("as the lab has it");
    }
    while let Stopped::Exit(..) = world.run(Time(3_000 * MS), &mut recorder).expect("no limit") {}
    recorder.finish(&world, Time(3_000 * MS)).expect("memory takes it");
    memory
}
