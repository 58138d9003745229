//! Clusters, rules and flows that nobody has chosen, as scenarios: a case shrinks to a small one with the same effect.

mod frames;
mod rules;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use sim_core::base::Mac;
use std::fmt::Write as _;

use frames::{Odd, Part, Way, crossed, odd, part};
pub use rules::{Placed, rule};

/// As many flows has a case.
pub const FLOWS: usize = 20;

/// From one flow to the next, in milliseconds. A neighbour that does not answer is given up after three seconds, and
/// one that did is asked again after five: when nothing else happens, 3 s and 1.3 s after some flow has begun.
const INTERVAL_MS: u64 = 3700;

/// A neighbour stays reachable for the whole case: for how long else is drawn.
const REACHABLE: &str = "base_reachable_time_ms=1000000";

/// A case: what stands where, and who asks whom.
#[derive(Clone, Debug)]
pub struct Random {
    /// One to three of them.
    nodes: Vec<Node>,
    /// Between the nodes lies a router; if not, a switch.
    routed: bool,
    /// The MTU of the network between them.
    mtu: u32,
    /// Settings, each with the kind of namespace that has it.
    settings: Vec<(Kind, &'static str)>,
    /// Rules, each on one of the nodes.
    rules: Vec<(usize, Placed)>,
    /// In turn.
    flows: Vec<Flow>,
}

/// A node: a bridge with pods.
#[derive(Clone, Debug)]
struct Node {
    /// How many pods, and the MTU of the bridge's ports.
    pods: usize,
    mtu: u32,
    hairpin: bool,
    promisc: bool,
}

/// A kind of namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Node,
    Pod,
}

/// Somebody asks somebody.
#[derive(Clone, Debug)]
struct Flow {
    from: usize,
    to: To,
    what: What,
}

/// Who is asked. Numbers are taken modulo what there is.
#[derive(Clone, Copy, Debug)]
enum To {
    Pod(usize),
    Bridge(usize),
    Node(usize),
    Outside,
    /// An address that rules may translate.
    Service(u8),
    Nobody,
}

/// What is said.
#[derive(Clone, Debug)]
enum What {
    Ping {
        size: u32,
        ttl: u8,
        df: bool,
    },
    Udp {
        port: u16,
        source: u16,
        size: u32,
        ttl: u8,
        times: u8,
    },
    Tcp {
        port: u16,
        source: Option<u16>,
        size: u32,
        end: End,
    },
    Frames(Vec<Odd>),
    /// Parts of two datagrams, in any order.
    Fragments(Vec<Part>),
    /// A SYN, and one that the other end seems to have sent at the same time.
    Crossed {
        port: u16,
    },
    /// More datagrams to itself than a socket's buffer takes that nobody reads.
    Flood {
        size: u32,
        buffer: u32,
    },
}

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Close,
    Reset,
    HalfClose,
}

const SETTINGS: [(Kind, &str); 17] = [
    (Kind::Node, "net.bridge.bridge-nf-call-iptables=0"),
    (Kind::Node, "net.ipv4.conf.all.rp_filter=1"),
    (Kind::Node, "net.ipv4.conf.all.rp_filter=2"),
    (Kind::Node, "net.ipv4.conf.all.route_localnet=1"),
    (Kind::Node, "net.ipv4.ip_forward=0"),
    (Kind::Node, "net.ipv4.conf.all.send_redirects=0"),
    (Kind::Node, "net.netfilter.nf_conntrack_tcp_loose=0"),
    (Kind::Node, "net.netfilter.nf_conntrack_tcp_be_liberal=1"),
    (Kind::Node, "net.ipv4.ip_forward_use_pmtu=1"),
    (Kind::Pod, "net.ipv4.ip_no_pmtu_disc=1"),
    (Kind::Pod, "net.ipv4.tcp_timestamps=0"),
    (Kind::Pod, "net.ipv4.tcp_sack=0"),
    (Kind::Pod, "net.ipv4.ip_default_ttl=3"),
    (Kind::Pod, "net.ipv4.ipfrag_max_dist=1"),
    (Kind::Node, "net.ipv4.ipfrag_max_dist=1"),
    (Kind::Pod, "net.ipv4.neigh.eth0.unres_qlen_bytes=2000"),
    (Kind::Node, "net.ipv4.neigh.cbr0.unres_qlen_bytes=2000"),
];

/// Any case.
pub fn random() -> impl Strategy<Value = Random> {
    let node = (0..=4_usize, select(&[1500, 1500, 1500, 1400, 1006][..]), any::<bool>(), prop::bool::weighted(0.2));
    let node = node.prop_map(|(pods, mtu, hairpin, promisc)| Node { pods, mtu, hairpin, promisc });
    let settings = vec(select(&SETTINGS[..]), 0..3);
    (
        vec(node, 1..=3),
        any::<bool>(),
        select(&[1500, 1500, 1500, 1420, 1280][..]),
        settings,
        vec((0..3_usize, rule()), 0..10),
        vec(flow(), FLOWS..=FLOWS),
    )
        .prop_map(|(nodes, routed, mtu, settings, rules, flows)| Random {
            nodes,
            routed,
            mtu,
            settings,
            rules,
            flows,
        })
}

fn flow() -> impl Strategy<Value = Flow> {
    let to = prop_oneof![
        4 => (0..12_usize).prop_map(To::Pod),
        1 => (0..3_usize).prop_map(To::Bridge),
        1 => (0..3_usize).prop_map(To::Node),
        2 => Just(To::Outside),
        4 => (1..=3_u8).prop_map(To::Service),
        1 => Just(To::Nobody),
    ];
    let ttl = || select(&[64, 64, 64, 64, 1, 2][..]);
    let ping = (select(&[0, 56, 56, 900, 1300, 1472, 3000][..]), ttl(), prop::bool::weighted(0.2));
    let udp = (
        select(&[7, 7, 53, 9][..]),
        select(&[5000, 5000, 5001, 40_000][..]),
        select(&[0, 32, 900, 1300, 4000][..]),
        ttl(),
        1..=3_u8,
    );
    let ends = select(&[End::Close, End::Close, End::Reset, End::HalfClose][..]);
    let source = prop::option::weighted(0.4, select(&[5000, 5001, 40_000][..]));
    let tcp = (select(&[7, 7, 7, 9][..]), source, select(&[1, 100, 1400, 3000, 8000][..]), ends);
    let what = prop_oneof![
        ping.prop_map(|(size, ttl, df)| What::Ping { size, ttl, df }),
        udp.prop_map(|(port, source, size, ttl, times)| What::Udp { port, source, size, ttl, times }),
        tcp.prop_map(|(port, source, size, end)| What::Tcp { port, source, size, end }),
        vec(odd(), 1..=4).prop_map(What::Frames),
        vec(part(), 2..=5).prop_map(What::Fragments),
        select(&[7, 9][..]).prop_map(|port| What::Crossed { port }),
        (select(&[0, 100, 900][..]), select(&[2304, 5000][..])).prop_map(|(size, buffer)| What::Flood { size, buffer }),
    ];
    (0..16_usize, to, what).prop_map(|(from, to, what)| Flow { from, to, what })
}

impl Random {
    /// As a scenario file; what podhop draws in it follows from `draws`.
    #[must_use]
    pub fn scenario(&self, name: &str, draws: u64) -> String {
        self.text(name, draws, false)
    }

    /// The same, and on each node somebody listens to what becomes of connections.
    #[must_use]
    pub fn scenario_with_listeners(&self, name: &str) -> String {
        self.text(name, 1, true)
    }

    fn text(&self, name: &str, draws: u64, listeners: bool) -> String {
        let mut text = format!(
            "apiVersion: podhop/v1\nkind: Scenario\nmetadata: {{name: {name}}}\nspec:\n  seed: {draws}\n  \
             placement: one-kernel\n  namespaces:\n"
        );
        self.between(&mut text);
        for (n, node) in self.nodes.iter().enumerate() {
            self.node(&mut text, n, node);
        }
        text += "  traffic:\n";
        for n in (0..self.nodes.len()).filter(|_| listeners) {
            let _ = writeln!(text, "    - {{at: 0s, from: node{n}, background: true, run: conntrack -E}}");
        }
        for (n, flow) in self.flows.iter().enumerate() {
            self.flow(&mut text, n as u64 * INTERVAL_MS, flow);
        }
        // Until then the last one is over, too.
        let end = self.flows.len() as u64 * INTERVAL_MS;
        let _ = writeln!(text, "    - {{at: {end}ms, from: outside, run: ip route}}");
        text
    }

    /// The network between the nodes, and the host outside.
    fn between(&self, text: &mut String) {
        let name = if self.routed { "router" } else { "switch" };
        let mut setup = vec!["ip link set lo up".to_owned()];
        if !self.routed {
            setup.push("ip link add br0 address 0a:00:00:00:00:01 type bridge mcast_snooping 0".to_owned());
            setup.push("ip link set br0 up".to_owned());
        }
        let nodes = 0..self.nodes.len();
        let ends = nodes.clone().map(|n| (format!("to{n}"), format!("node{n}"), n as u8 + 1));
        for (port, ns, n) in ends.chain([("out".to_owned(), "outside".to_owned(), 9)]) {
            let mtu = self.mtu;
            setup.push(format!(
                "ip link add {port} address 0a:00:00:00:01:{n:02x} mtu {mtu} type veth peer name eth0 address \
                 0a:00:00:00:02:{n:02x} mtu {mtu} netns {ns}"
            ));
            match self.routed {
                true => setup.push(format!("ip addr add 192.168.{n}.1/24 brd + dev {port}")),
                false => setup.push(format!("ip link set {port} master br0")),
            }
            setup.push(format!("ip link set {port} up"));
        }
        if self.routed {
            setup.push("sysctl -qw net.ipv4.ip_forward=1".to_owned());
            setup.extend(nodes.map(|n| format!("ip route add 10.244.{n}.0/24 via {}", self.address(n))));
        }
        if self.routed {
            let ports = (0..self.nodes.len()).map(|n| format!("to{n}")).chain(["out".to_owned()]);
            setup.extend(ports.map(|port| reachable(&port)));
        }
        write(text, name, &setup, &[]);
        let mut setup = vec!["ip link set lo up".to_owned(), "ip link set eth0 up".to_owned(), reachable("eth0")];
        setup.push(format!("ip addr add {}/24 brd + dev eth0", self.outside()));
        setup.push(format!(
            "ip route add default via {}",
            if self.routed { "192.168.9.1".into() } else { self.address(0) }
        ));
        write(text, "outside", &setup, &SERVERS);
    }

    fn outside(&self) -> &'static str {
        if self.routed { "192.168.9.100" } else { "192.168.0.100" }
    }

    fn address(&self, node: usize) -> String {
        if self.routed { format!("192.168.{}.10", node + 1) } else { format!("192.168.0.{}", node + 11) }
    }

    fn node(&self, text: &mut String, n: usize, node: &Node) {
        let mut setup = vec![
            "ip link set lo up".to_owned(),
            format!("ip addr add {}/24 brd + dev eth0", self.address(n)),
            "ip link set eth0 up".to_owned(),
            format!("ip link add cbr0 address 0a:00:00:00:03:{n:02x} type bridge mcast_snooping 0"),
            "ip link set cbr0 up".to_owned(),
            format!("ip addr add 10.244.{n}.1/24 brd + dev cbr0"),
            reachable("eth0"),
            reachable("cbr0"),
            "sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1".to_owned(),
        ];
        for pod in 0..node.pods {
            let mtu = node.mtu;
            setup.push(format!(
                "ip link add v{pod} address 0a:00:00:00:04:{n:x}{pod:x} mtu {mtu} type veth peer name eth0 address \
                 0a:00:00:00:05:{n:x}{pod:x} mtu {mtu} netns pod{n}{pod}"
            ));
            setup.push(format!("ip link set v{pod} master cbr0 up"));
            if node.hairpin {
                setup.push(format!("bridge link set dev v{pod} hairpin on"));
            }
        }
        if node.promisc {
            setup.push("ip link set cbr0 promisc on".to_owned());
        }
        if self.routed {
            setup.push(format!("ip route add default via 192.168.{}.1", n + 1));
        } else {
            let others = (0..self.nodes.len()).filter(|other| *other != n);
            setup.extend(others.map(|other| format!("ip route add 10.244.{other}.0/24 via {}", self.address(other))));
        }
        setup.extend(SETS.map(str::to_owned));
        setup.extend(self.settings(Kind::Node));
        setup.extend(self.rules.iter().filter(|(on, _)| on % self.nodes.len() == n).map(|(_, rule)| rule.command()));
        write(text, &format!("node{n}"), &setup, &SERVERS);
        for pod in 0..node.pods {
            let mut setup = vec!["ip link set lo up".to_owned(), "ip link set eth0 up".to_owned(), reachable("eth0")];
            setup.push(format!("ip addr add 10.244.{n}.{}/24 brd + dev eth0", pod + 2));
            setup.push(format!("ip route add default via 10.244.{n}.1"));
            setup.extend(self.settings(Kind::Pod));
            write(text, &format!("pod{n}{pod}"), &setup, &SERVERS);
        }
    }

    fn settings(&self, kind: Kind) -> impl Iterator<Item = String> {
        let own = self.settings.iter().filter(move |(other, _)| *other == kind);
        own.map(|(_, setting)| format!("sysctl -qw {setting}"))
    }

    /// All that can ask: pods, nodes, the host outside.
    fn askers(&self) -> Vec<String> {
        let pods = self.pods().into_iter().map(|(n, pod)| format!("pod{n}{pod}"));
        let nodes = (0..self.nodes.len()).map(|n| format!("node{n}"));
        pods.chain(nodes).chain(["outside".to_owned()]).collect()
    }

    fn pods(&self) -> Vec<(usize, usize)> {
        let all = self.nodes.iter().enumerate();
        all.flat_map(|(n, node)| (0..node.pods).map(move |pod| (n, pod))).collect()
    }

    /// How a frame that somebody sends by hand is addressed: by a pod to its bridge, by a node to its router or the
    /// host outside, from there to a node.
    fn way(&self, asker: usize, to: &str) -> Way {
        let to = to.parse().expect("an address");
        let (pods, mac) = (self.pods(), |kind: u8, n: u8| Mac([0x0a, 0, 0, 0, kind, n]));
        let at_switch = |station: u8| if self.routed { mac(1, station) } else { mac(2, 9) };
        if let Some((node, pod)) = pods.get(asker) {
            let (node, pod) = (*node as u8, *pod as u8);
            return Way { macs: [mac(5, node << 4 | pod), mac(3, node)], ips: [[10, 244, node, pod + 2].into(), to] };
        }
        let node = asker - pods.len();
        if node < self.nodes.len() {
            let own = self.address(node).parse().expect("an address");
            return Way { macs: [mac(2, node as u8 + 1), at_switch(node as u8 + 1)], ips: [own, to] };
        }
        let next = if self.routed { mac(1, 9) } else { mac(2, 1) };
        Way { macs: [mac(2, 9), next], ips: [self.outside().parse().expect("an address"), to] }
    }

    fn to(&self, to: To) -> String {
        let pods = self.pods();
        match to {
            To::Pod(n) if !pods.is_empty() => {
                let (node, pod) = pods[n % pods.len()];
                format!("10.244.{node}.{}", pod + 2)
            }
            To::Bridge(n) => format!("10.244.{}.1", n % self.nodes.len()),
            To::Node(n) => self.address(n % self.nodes.len()),
            To::Outside | To::Pod(_) => self.outside().to_owned(),
            To::Service(n) => format!("10.96.0.{n}"),
            To::Nobody => "10.244.0.99".to_owned(),
        }
    }

    fn flow(&self, text: &mut String, at: u64, Flow { from, to, what }: &Flow) {
        let askers = self.askers();
        let asker = from % askers.len();
        let from = &askers[asker];
        let to = self.to(*to);
        let _ = match what {
            What::Frames(frames) => send(text, at, from, frames.iter().map(|f| f.hex(&self.way(asker, &to)))),
            What::Fragments(parts) => send(text, at, from, parts.iter().map(|p| p.hex(&self.way(asker, &to)))),
            What::Crossed { port } => send(text, at, from, crossed(*port, &self.way(asker, &to)).into_iter()),
            What::Flood { size, buffer } => writeln!(
                text,
                "    - {{at: {at}ms, from: {from}, script: [{{socket: udp}}, \
                 {{setsockopt: [socket, rcvbuf, {buffer}]}}, {{bind: \"127.0.0.1:9999\"}}, \
                 {{connect: \"127.0.0.1:9999\"}}, {{repeat: 12, do: \
                 [{{send: {{size: {size}, byte: a}}}}]}}, {{recv: {{timeout: 50ms}}}}, {{recv: {{timeout: 50ms}}}}]}}"
            ),
            What::Ping { size, ttl, df } => {
                let df = if *df { " -M do" } else { "" };
                writeln!(text, "    - {{at: {at}ms, from: {from}, run: \"ping -c1 -W1 -t {ttl} -s {size}{df} {to}\"}}")
            }
            What::Udp { port, source, size, ttl, times } => writeln!(
                text,
                "    - {{at: {at}ms, from: {from}, script: [{{socket: udp}}, {{setsockopt: [ip, ttl, {ttl}]}}, \
                 {{bind: \"0.0.0.0:{source}\"}}, {{connect: \"{to}:{port}\"}}, {{repeat: {times}, do: \
                 [{{send: {{size: {size}, byte: a}}}}, {{recv: {{timeout: 200ms}}}}]}}]}}"
            ),
            What::Tcp { port, source, size, end } => {
                let bind = source.map_or(String::new(), |port| {
                    format!("{{setsockopt: [socket, reuseaddr, on]}}, {{bind: \"0.0.0.0:{port}\"}}, ")
                });
                let end = match end {
                    End::Close => "{close: }",
                    End::Reset => "{setsockopt: [socket, linger, 0]}, {close: }",
                    End::HalfClose => "{shutdown: write}, {recv: {timeout: 300ms}}, {close: }",
                };
                writeln!(
                    text,
                    "    - {{at: {at}ms, from: {from}, script: [{{socket: tcp}}, {bind}{{settimeout: 800ms}}, \
                     {{connect: \"{to}:{port}\"}}, {{sleep: 50ms}}, {{send: {{size: {size}, byte: a}}}}, \
                     {{recv: {{timeout: 500ms}}}}, {{sleep: 50ms}}, {end}, {{sleep: 50ms}}]}}"
                )
            }
        };
    }
}

/// Somebody sends these frames. How long a router waits between redirects doubles from 40 ms on (ip_rt_send_redirect).
fn send(text: &mut String, at: u64, from: &str, frames: impl Iterator<Item = String>) -> std::fmt::Result {
    let sends: Vec<String> = frames.map(|hex| format!("{{send: {{hex: \"{hex}\"}}}}")).collect();
    let sends = sends.join(", {sleep: 120ms}, ");
    writeln!(text, "    - {{at: {at}ms, from: {from}, script: [{{socket: packet}}, {{bind: eth0}}, {sends}]}}")
}

/// Neighbours at a device stay reachable.
fn reachable(device: &str) -> String {
    format!("sysctl -qw net.ipv4.neigh.{device}.{REACHABLE}")
}

/// The sets that rules ask.
const SETS: [&str; 5] = [
    "ipset create nets hash:net",
    "ipset add nets 10.244.0.0/24",
    "ipset add nets 10.96.0.2",
    "ipset create ports hash:ip,port",
    "ipset add ports 10.244.0.2,tcp:7",
];

/// What everybody serves.
const SERVERS: [&str; 3] = ["udpecho 7", "udpecho 53", "tcpecho 7"];

fn write(text: &mut String, name: &str, setup: &[String], servers: &[&str]) {
    let _ = writeln!(text, "    {name}:\n      setup:");
    for line in setup {
        let _ = writeln!(text, "        - {line}");
    }
    if !servers.is_empty() {
        let _ = writeln!(text, "      servers: [{}]", servers.join(", "));
    }
}
