//! A client and servers on a bridge, for tests: whole runs of the programs, with what they sent and printed.

use super::super::script::words;
use super::conf;
use super::coredns::cluster;
use super::coredns::{self, corefile};
use super::message::{Message, text, type_name};
use super::resolver::{Etc, Family, Progress, Resolver};
use crate::base::files::{Content, File};
use crate::base::time::{MS, SEC};
use crate::base::{Files, NsId, Time};
use crate::engine::process::{Env, Program};
use crate::engine::{Config, Finished, Stopped, World};
use crate::kernel::frame::PacketType;
use crate::kernel::netlink::{Addr, LinkAdd, LinkChange, LinkKind, LinkPeer, Request};
use crate::kernel::syscall::{Call, Ret, SocketKind};
use crate::kernel::trace::{DevName, Mute, Sink, Step, Tap};
use std::net::SocketAddrV4;
use std::sync::Arc;

/// The client's resolv.conf unless a test has another.
pub(super) const RESOLV_CONF: &str = "nameserver 10.9.0.1\n\
    search default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n";
/// What there is in the cluster.
pub(super) const CLUSTER: &str = "service default/other 10.96.0.82 http=80\n\
    service default/two None\nendpoint default/two 10.244.1.2\nendpoint default/two 10.244.1.3\n";
/// A server for the cluster alone, which refuses all other names.
pub(super) const COREFILE: &str =
    "cluster.local in-addr.arpa {\n kubernetes {\n pods insecure\n ttl 30\n }\n loadbalance\n}\n";
/// A test that takes longer hangs.
const LONGEST: Time = Time(1000 * SEC);

/// A DNS message that passed the client's interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    /// Since the client started, in milliseconds.
    pub ms: u64,
    /// `A? name` or `A name code answers`.
    pub what: String,
    /// The client's port.
    pub port: u16,
    /// Whom the client talks to.
    pub server: String,
    /// Bytes of the frame.
    pub len: usize,
}

/// Listens at the client's interface.
struct Ear {
    client: NsId,
    since: Time,
    seen: Vec<Seen>,
}

impl Sink for Ear {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, tap: &Tap<'_>) {
        let b = tap.bytes;
        if tap.ns != self.client || b.len() < 42 || b[12..14] != [8, 0] || b[23] != 17 {
            return;
        }
        let (out, port) = (tap.pkt_type == PacketType::Outgoing, |at: usize| u16::from_be_bytes([b[at], b[at + 1]]));
        let (own, peer, address) = if out { (34, 36, 30) } else { (36, 34, 26) };
        let Some(m) = Message::parse(&b[42..]).filter(|_| port(peer) == 53) else { return };
        let q = &m.questions[0];
        let what = if out {
            format!("{}? {}", type_name(q.qtype), text(&q.qname))
        } else {
            format!("{} {} {} {}", type_name(q.qtype), text(&q.qname), m.rcode(), m.answers.len())
        };
        let server = std::net::Ipv4Addr::new(b[address], b[address + 1], b[address + 2], b[address + 3]).to_string();
        self.seen.push(Seen { ms: (tap.now - self.since) / MS, what, port: port(own), server, len: b.len() });
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
}

/// How a run went.
pub(super) struct Done {
    pub text: String,
    pub code: i32,
    /// How long it took, in milliseconds.
    pub ms: u64,
    pub seen: Vec<Seen>,
}

impl Done {
    /// What was asked and answered, in order.
    pub(super) fn what(&self) -> Vec<&str> {
        self.seen.iter().map(|s| s.what.as_str()).collect()
    }

    /// When queries were sent, in milliseconds.
    pub(super) fn asked_ms(&self) -> Vec<u64> {
        self.seen.iter().filter(|s| s.what.contains('?')).map(|s| s.ms).collect()
    }

    /// The client's ports in order, each once.
    pub(super) fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = vec![];
        for s in &self.seen {
            if !ports.contains(&s.port) {
                ports.push(s.port);
            }
        }
        ports
    }
}

/// A world with a client at 10.9.0.2 and servers at other addresses.
pub(super) struct Bench {
    world: World,
    client: NsId,
}

impl Bench {
    /// Without servers.
    pub(super) fn new() -> Self {
        let mut world = World::new(Config::default());
        let set = |world: &mut World, ns: NsId, request: Request| world.configure(ns, &request, &mut Mute).unwrap();
        set(&mut world, NsId::default(), Request::NetnsAdd { name: "lan".into() });
        let lan = world.namespace("lan").unwrap();
        set(&mut world, lan, Request::LinkAdd(LinkAdd { up: true, ..LinkAdd::new("br0", LinkKind::Bridge(vec![])) }));
        let mut bench = Bench { world, client: NsId::default() };
        bench.client = bench.host("client", "10.9.0.2/24");
        bench
    }

    /// With the server of the cluster at 10.9.0.1.
    pub(super) fn with_server() -> Self {
        let mut bench = Bench::new();
        bench.serve("10.9.0.1/24", COREFILE);
        bench
    }

    /// A namespace on the bridge.
    fn host(&mut self, name: &str, address: &str) -> NsId {
        let world = &mut self.world;
        world.configure(NsId::default(), &Request::NetnsAdd { name: name.into() }, &mut Mute).unwrap();
        let lan = world.namespace("lan").unwrap();
        let ns = world.namespace(name).unwrap();
        let mut set = |ns: NsId, request: Request| world.configure(ns, &request, &mut Mute).unwrap();
        let peer = LinkPeer { name: Some("eth0".into()), netns: Some(name.into()), ..LinkPeer::default() };
        let veth = LinkKind::Veth { peer: Some(Box::new(peer)) };
        set(lan, Request::LinkAdd(LinkAdd { up: true, master: Some("br0".into()), ..LinkAdd::new(name, veth) }));
        for dev in ["lo", "eth0"] {
            set(ns, Request::LinkSet { dev: dev.into(), changes: vec![LinkChange::Up(true)] });
        }
        let local = address.parse().unwrap();
        set(
            ns,
            Request::AddrAdd(Addr { dev: "eth0".into(), local, peer: None, broadcast: None, scope: None, label: None }),
        );
        ns
    }

    /// A server with this Corefile.
    pub(super) fn serve(&mut self, address: &str, text: &str) {
        self.serve_cluster(address, text, CLUSTER);
    }

    /// A server with this Corefile for that cluster.
    pub(super) fn serve_cluster(&mut self, address: &str, text: &str, services: &str) {
        let name = format!("s{}", address.replace(['.', '/'], ""));
        let ns = self.host(&name[..name.len().min(14)], address);
        let mut files = Files::default();
        files.insert(corefile::COREFILE, text_file(text));
        files.insert(cluster::CLUSTER, text_file(services));
        self.world.set_files(ns, Arc::new(files));
        self.world.spawn(ns, coredns::parse(&[]).unwrap().into_program(), Time(0)).unwrap();
        self.settle();
    }

    /// Somebody who takes queries and never answers.
    pub(super) fn silence(&mut self, address: &str) {
        let name = format!("q{}", address.replace(['.', '/'], ""));
        let ns = self.host(&name[..name.len().min(14)], address);
        self.world.spawn(ns, Box::new(Silent { bound: false }), Time(0)).unwrap();
        self.settle();
    }

    /// A host without a server.
    pub(super) fn nobody(&mut self, address: &str) {
        let name = format!("n{}", address.replace(['.', '/'], ""));
        self.host(&name[..name.len().min(14)], address);
    }

    fn settle(&mut self) {
        let until = self.world.now() + MS;
        let stopped = self.world.run(until, &mut Mute).unwrap();
        assert!(matches!(stopped, Stopped::Time), "a server has ended");
    }

    /// Runs a program at the client to its end.
    pub(super) fn run(mut self, program: Box<dyn Program>) -> Done {
        let since = self.world.now() + MS;
        let pid = self.world.spawn(self.client, program, since).unwrap();
        let mut ear = Ear { client: self.client, since, seen: vec![] };
        let Stopped::Exit(..) = self.world.run(LONGEST, &mut ear).unwrap() else { panic!("it hangs") };
        let Finished { code, console, started, ended } = self.world.reap(self.client, pid).unwrap();
        Done { text: console.all(), code, ms: (ended - started) / MS, seen: ear.seen }
    }

    /// Runs a command line at the client, which has these files.
    pub(super) fn command(mut self, resolv_conf: &str, line: &str) -> Done {
        let mut files = Files::default();
        files.insert(conf::RESOLV_CONF, text_file(resolv_conf));
        files.insert(conf::HOSTS, text_file("127.0.0.1 localhost\n"));
        self.world.set_files(self.client, Arc::new(files));
        self.run(crate::user::parse(&words(line)).unwrap())
    }

    /// Looks a name up and prints what was found.
    pub(super) fn look_up(self, resolv_conf: &str, name: &str, family: Family) -> Done {
        let etc = Etc::parse(Some(resolv_conf), Some("127.0.0.1 localhost\n10.8.8.8 known.example k\n"));
        self.run(Box::new(Probe { resolver: Resolver::by_name(&etc, name, family) }))
    }
}

fn text_file(text: &str) -> File {
    File { content: Content::Text(text.to_owned()), mtime_s: 0 }
}

/// Prints what its resolver finds.
#[derive(Clone)]
struct Probe {
    resolver: Resolver,
}

impl Program for Probe {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match self.resolver.step(ret, env) {
            Progress::Call(call) => call,
            Progress::Done(Ok(found)) => {
                let all: Vec<String> = found.addresses.iter().map(ToString::to_string).collect();
                env.console.out(format!("{} {}\n", found.name, all.join(" ")));
                Call::Exit(0)
            }
            Progress::Done(Err(e)) => {
                env.console.out(format!("{e}\n"));
                Call::Exit(1)
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

#[derive(Clone)]
struct Silent {
    bound: bool,
}

impl Program for Silent {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Start => Call::Socket(SocketKind::Udp),
            Ret::Fd(fd) => Call::Bind { fd, addr: SocketAddrV4::new([0, 0, 0, 0].into(), 53) },
            _ => {
                self.bound = true;
                Call::Sleep { ns: LONGEST.0 }
            }
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
