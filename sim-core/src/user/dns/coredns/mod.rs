//! `coredns [-conf FILE]`: a name server that answers as CoreDNS 1.12 does, over UDP and TCP, until the run ends. It
//! reads a Corefile ([`corefile`]), and what it would see of the API server ([`cluster`]), from files of its namespace.
//! Without a Corefile it uses kubeadm's.
//!
//! Differs: goroutines are no processes: what comes at once is answered in turn. The cache plugin holds nothing, so
//! that a TTL never counts down; kubeadm's Corefile disables it for the cluster's zone. forward asks over UDP also for
//! who came over TCP.

mod answer;
pub mod cluster;
pub mod corefile;
mod kubernetes;

use self::answer::{Alias, Knowledge, Outside, Served, Verdict, scrub};
use self::cluster::{CLUSTER, Cluster};
use self::corefile::{Block, COREFILE, Corefile, KUBEADM, Upstream};
use super::conf::{Hosts, RESOLV_CONF, ResolvConf};
use super::exchange::draw;
use super::message::{HEADER_LEN, Message, PORT, flag, rcode};
use crate::base::Time;
use crate::base::rng::Purpose;
use crate::base::time::{SEC, US};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, From, PollFd, Ready, Ret, SendTo, SockOpt, SocketKind};
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// What reading a query, looking it up and writing the answer costs.
const ANSWER_NS: u64 = 150 * US;
/// The longest datagram.
const DATAGRAM: usize = 65_535;
/// Go asks for net.core.somaxconn.
const BACKLOG: u32 = 4096;
/// A connection without a query is closed after so long.
const IDLE_NS: u64 = 10 * SEC;
/// Go's keepalive, in seconds.
const KEEPALIVE_S: u32 = 15;
/// More connections than these are closed at once.
const MAX_CONNECTIONS: usize = 1024;
/// More queries than these do not wait for servers that are asked (`max_concurrent` of kubeadm's Corefile).
const MAX_FORWARDED: usize = 1000;
/// A server that is asked has so long (`readTimeout` of plugin/forward).
const UPSTREAM_NS: u64 = 2 * SEC;
/// And all that are asked, one after the other, so long (`defaultTimeout`).
const FORWARD_NS: u64 = 5 * SEC;

/// The server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoreDns {
    conf: Option<String>,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(words: &[Word]) -> Result<CoreDns, SyntaxError> {
    let hint = format!("write `coredns`, which reads {COREFILE}, or `coredns -conf FILE`");
    match words {
        [] => Ok(CoreDns { conf: None }),
        [option, file] if matches!(option.text.as_str(), "-conf" | "--conf") => {
            Ok(CoreDns { conf: Some(file.text.clone()) })
        }
        [option] if option.text == "-conf" => {
            Err(SyntaxError::at(option, "coredns: flag needs an argument: -conf").hint(hint))
        }
        [first, ..] => {
            let message = match first.text.strip_prefix('-') {
                Some(flag) => format!("coredns: flag provided but not defined: -{}", flag.trim_start_matches('-')),
                None => format!("extra command line arguments: [{}]", first.text),
            };
            Err(SyntaxError::at(first, message).hint(hint))
        }
    }
}

impl CoreDns {
    /// Ready to start.
    pub fn into_program(self) -> Box<dyn Program> {
        Box::new(Server {
            conf: self.conf,
            known: Arc::default(),
            udp: Fd(0),
            listener: None,
            connections: vec![],
            forwarded: vec![],
            queue: VecDeque::new(),
            doing: Doing::Start,
            drawn: 0,
        })
    }
}

#[derive(Clone)]
struct Server {
    conf: Option<String>,
    known: Arc<Knowledge>,
    udp: Fd,
    listener: Option<Fd>,
    connections: Vec<Connection>,
    forwarded: Vec<Forwarded>,
    /// Calls that are to be made.
    queue: VecDeque<(Call, Doing)>,
    /// The call that was made.
    doing: Doing,
    drawn: u64,
}

#[derive(Clone)]
struct Connection {
    fd: Fd,
    bytes: Vec<u8>,
    /// When it is closed unless a query comes.
    until: Time,
}

/// A query that another server was asked.
#[derive(Clone)]
struct Forwarded {
    client: Client,
    query: Message,
    /// What the query is for, if it is not the client's own.
    alias: Option<Alias>,
    /// The id of the query to the other server.
    id: u16,
    /// Who was asked, and who is asked then.
    to: Vec<SocketAddrV4>,
    fd: Option<Fd>,
    until: Time,
    end: Time,
}

impl Forwarded {
    /// What the client gets when `reply` has come.
    fn finish(self, mut reply: Message) -> Message {
        let query = match self.alias {
            None => self.query,
            Some(mut alias) => {
                alias.reply.answers.extend(reply.answers);
                reply = alias.reply;
                alias.query
            }
        };
        reply.id = query.id;
        answer::size_and_do(&query, &mut reply);
        reply
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    Datagram(SocketAddrV4),
    Stream(Fd),
}

/// What a call was for.
#[derive(Clone)]
enum Doing {
    Start,
    Listener,
    ListenerBind(Fd),
    Listen(Fd),
    Udp,
    UdpBind,
    Poll(Vec<Watched>),
    Query,
    Accept,
    Stream(Fd),
    UpstreamSocket(Client, u16),
    UpstreamConnect(Client, u16),
    Upstream(Fd),
    Nothing,
}

#[derive(Clone, Copy)]
enum Watched {
    Udp,
    Listener,
    Connection(Fd),
    Upstream(Fd),
}

impl Default for Knowledge {
    fn default() -> Self {
        Knowledge { blocks: vec![], cluster: Cluster::new(), serial: 0, local: vec![] }
    }
}

impl Program for Server {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match std::mem::replace(&mut self.doing, Doing::Nothing) {
            Doing::Start => match self.load(env) {
                Ok(known) => {
                    self.known = Arc::new(known);
                    return self.listen();
                }
                Err(message) => return fail(&message, env),
            },
            Doing::Listener => return self.listener(&ret, env),
            Doing::ListenerBind(fd) => match ret {
                Ret::Err(e) => return fail(&format!("Listen: listen tcp :{PORT}: bind: {}", go_text(e)), env),
                _ => return self.call(Call::Listen { fd, backlog: BACKLOG }, Doing::Listen(fd)),
            },
            Doing::Listen(fd) => {
                self.listener = Some(fd);
                return self.call(Call::Socket(SocketKind::Udp), Doing::Udp);
            }
            Doing::Udp => {
                let Ret::Fd(fd) = ret else { return fail("Listen: listen udp: no socket", env) };
                self.udp = fd;
                return self.call(Call::Bind { fd, addr: any() }, Doing::UdpBind);
            }
            Doing::UdpBind => {
                if let Ret::Err(e) = ret {
                    return fail(&format!("Listen: listen udp :{PORT}: bind: {}", go_text(e)), env);
                }
            }
            Doing::Poll(watched) => self.polled(&watched, ret),
            Doing::Query => {
                if let Ret::Message(m) = ret
                    && let From::Ip(from) = m.from
                {
                    self.query(Client::Datagram(from), &m.data, env);
                }
            }
            Doing::Accept => self.accepted(&ret, env),
            Doing::Stream(fd) => self.stream(fd, ret, env),
            Doing::UpstreamSocket(client, id) => self.upstream_socket(client, id, &ret),
            Doing::UpstreamConnect(client, id) => self.upstream_connected(client, id, &ret, env),
            Doing::Upstream(fd) => self.upstream_answer(fd, ret, env),
            Doing::Nothing => {}
        }
        self.next(env)
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Server {
    fn call(&mut self, call: Call, doing: Doing) -> Call {
        self.doing = doing;
        call
    }

    fn later(&mut self, call: Call, doing: Doing) {
        self.queue.push_back((call, doing));
    }

    /// Reads the files.
    fn load(&self, env: &Env<'_>) -> Result<Knowledge, String> {
        let path = self.conf.as_deref().unwrap_or(COREFILE);
        let corefile = match (super::file(env, path), &self.conf) {
            (Some(text), _) => Corefile::parse(path, &text)?,
            (None, Some(path)) => return Err(format!("loading Caddyfile: open {path}: no such file or directory")),
            (None, None) => Corefile::parse(path, KUBEADM)?,
        };
        let cluster = super::file(env, CLUSTER).map_or_else(|| Ok(Cluster::new()), |text| Cluster::parse(&text));
        let blocks = corefile.blocks.into_iter().map(|block| served(block, env)).collect::<Result<_, _>>()?;
        let links = show::links(env.spaces, env.ns, env.now);
        let local = links.iter().flat_map(|l| &l.addrs).map(|a| a.local.addr());
        Ok(Knowledge {
            blocks,
            cluster: cluster.map_err(|(line, message)| format!("{CLUSTER}:{line} - {message}"))?,
            serial: ((env.epoch_ns + env.now.0) / SEC) as u32,
            local: local.filter(|a| !a.is_loopback()).collect(),
        })
    }

    fn listen(&mut self) -> Call {
        self.call(Call::Socket(SocketKind::Tcp), Doing::Listener)
    }

    fn listener(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match *ret {
            Ret::Fd(fd) => {
                self.later(Call::Bind { fd, addr: any() }, Doing::ListenerBind(fd));
                self.call(Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) }, Doing::Nothing)
            }
            _ => fail("Listen: listen tcp: no socket", env),
        }
    }

    /// The next call: what is to be done, then what comes.
    fn next(&mut self, env: &mut Env<'_>) -> Call {
        if let Some((call, doing)) = self.queue.pop_front() {
            return self.call(call, doing);
        }
        self.expire(env);
        if let Some((call, doing)) = self.queue.pop_front() {
            return self.call(call, doing);
        }
        let mut watched = vec![Watched::Udp];
        watched.extend(self.listener.map(|_| Watched::Listener));
        watched.extend(self.connections.iter().map(|c| Watched::Connection(c.fd)));
        watched.extend(self.forwarded.iter().filter_map(|f| f.fd).map(Watched::Upstream));
        let fd = |w: &Watched| match *w {
            Watched::Udp => self.udp,
            Watched::Listener => self.listener.unwrap_or(self.udp),
            Watched::Connection(fd) | Watched::Upstream(fd) => fd,
        };
        let fds = watched.iter().map(|w| PollFd::read(fd(w))).collect();
        let until = self.connections.iter().map(|c| c.until).chain(self.forwarded.iter().map(|f| f.until)).min();
        let timeout_ns = until.map(|t| t.0.saturating_sub(env.now.0));
        self.call(Call::Poll { fds, timeout_ns }, Doing::Poll(watched))
    }

    fn polled(&mut self, watched: &[Watched], ret: Ret) {
        let Ret::Poll(ready) = ret else { return };
        for (w, _) in watched.iter().zip(ready).filter(|(_, r): &(_, Ready)| r.any()) {
            let recv = |fd, size| Call::Recv { fd, size, dontwait: true, errqueue: false };
            match *w {
                Watched::Udp => self.later(recv(self.udp, DATAGRAM), Doing::Query),
                Watched::Listener => {
                    if let Some(fd) = self.listener {
                        self.later(Call::Accept { fd, nonblock: true }, Doing::Accept);
                    }
                }
                Watched::Connection(fd) => self.later(recv(fd, DATAGRAM), Doing::Stream(fd)),
                Watched::Upstream(fd) => self.later(recv(fd, DATAGRAM), Doing::Upstream(fd)),
            }
        }
    }

    /// Connections that are idle for too long, servers that do not answer.
    fn expire(&mut self, env: &mut Env<'_>) {
        let now = env.now;
        let idle: Vec<Fd> = self.connections.iter().filter(|c| c.until <= now).map(|c| c.fd).collect();
        for fd in idle {
            self.hang_up(fd);
        }
        while let Some(at) = self.forwarded.iter().position(|f| f.until <= now) {
            let late = self.forwarded.remove(at);
            self.upstream_failed(late, env);
        }
    }

    fn query(&mut self, client: Client, data: &[u8], env: &mut Env<'_>) {
        env.spent_ns += ANSWER_NS;
        let known = self.known.clone();
        let mut drawn = self.drawn;
        let verdict = known.answer(data, &mut || {
            drawn += 1;
            draw(env, Purpose::DnsShuffle, drawn) as u16
        });
        self.drawn = drawn;
        match verdict {
            Verdict::Reply(reply) => self.reply(client, reply),
            Verdict::Forward(outside) => self.forward(client, *outside, env),
            Verdict::Ignore => {}
        }
    }

    fn reply(&mut self, client: Client, reply: Message) {
        match client {
            Client::Datagram(to) => {
                let data = scrub(reply, false);
                self.later(Call::Send { fd: self.udp, to: Some(SendTo::Ip(to)), data }, Doing::Nothing);
            }
            // It may have gone meanwhile.
            Client::Stream(fd) if self.connections.iter().any(|c| c.fd == fd) => {
                let bytes = scrub(reply, true);
                let mut data = (bytes.len() as u16).to_be_bytes().to_vec();
                data.extend(bytes);
                self.later(Call::Send { fd, to: None, data }, Doing::Nothing);
            }
            Client::Stream(_) => {}
        }
    }

    fn accepted(&mut self, ret: &Ret, env: &mut Env<'_>) {
        let Ret::Accepted { fd, .. } = *ret else { return };
        if self.connections.len() >= MAX_CONNECTIONS {
            return self.later(Call::Close { fd }, Doing::Nothing);
        }
        self.connections.push(Connection { fd, bytes: vec![], until: env.now + IDLE_NS });
        // What Go's net package sets.
        let options = [
            SockOpt::NoDelay(true),
            SockOpt::KeepAlive(true),
            SockOpt::KeepInterval(KEEPALIVE_S),
            SockOpt::KeepIdle(KEEPALIVE_S),
        ];
        for opt in options {
            self.later(Call::SetSockOpt { fd, opt }, Doing::Nothing);
        }
    }

    fn stream(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) {
        let Some(connection) = self.connections.iter_mut().find(|c| c.fd == fd) else { return };
        match ret {
            Ret::Data(data) => {
                connection.bytes.extend(data);
                connection.until = env.now + IDLE_NS;
            }
            Ret::Err(Errno::EAGAIN | Errno::EINTR) => return,
            _ => return self.hang_up(fd),
        }
        while let Some(connection) = self.connections.iter_mut().find(|c| c.fd == fd)
            && let Some(&length) = connection.bytes.first_chunk()
        {
            let end = 2 + usize::from(u16::from_be_bytes(length));
            if connection.bytes.len() < end {
                return;
            }
            let rest = connection.bytes.split_off(end);
            let query = std::mem::replace(&mut connection.bytes, rest);
            if end < 2 + HEADER_LEN {
                return self.hang_up(fd);
            }
            self.query(Client::Stream(fd), &query[2..], env);
        }
    }

    fn hang_up(&mut self, fd: Fd) {
        self.connections.retain(|c| c.fd != fd);
        self.later(Call::Close { fd }, Doing::Nothing);
    }

    /// `forward`: the servers in random order, one after the other.
    fn forward(&mut self, client: Client, outside: Outside, env: &mut Env<'_>) {
        let Outside { forward, query, alias } = outside;
        let mut to: Vec<SocketAddrV4> = forward.to.iter().flat_map(|u| servers(u, env)).collect();
        for n in 0..to.len() {
            self.drawn += 1;
            let left = (to.len() - n) as u64;
            to.swap(n, n + (draw(env, Purpose::DnsShuffle, self.drawn) % left) as usize);
        }
        let end = env.now + FORWARD_NS;
        let asked = Forwarded { client, query, alias, id: 0, to, fd: None, until: end, end };
        self.ask(asked, env);
    }

    fn ask(&mut self, mut asked: Forwarded, env: &mut Env<'_>) {
        if asked.to.is_empty() || asked.end <= env.now || self.forwarded.len() >= MAX_FORWARDED {
            let (client, reply) = (asked.client, answer::reply(&asked.query, rcode::SERVFAIL));
            return self.reply(client, asked.finish(reply));
        }
        self.drawn += 1;
        asked.id = draw(env, Purpose::DnsId, self.drawn) as u16;
        asked.until = (env.now + UPSTREAM_NS).min(asked.end);
        let doing = Doing::UpstreamSocket(asked.client, asked.id);
        self.forwarded.push(asked);
        self.later(Call::Socket(SocketKind::Udp), doing);
    }

    fn upstream(&mut self, client: Client, id: u16) -> Option<&mut Forwarded> {
        self.forwarded.iter_mut().find(|f| f.client == client && f.id == id)
    }

    fn upstream_socket(&mut self, client: Client, id: u16, ret: &Ret) {
        let Ret::Fd(fd) = *ret else { return };
        match self.upstream(client, id) {
            Some(asked) if !asked.to.is_empty() => {
                asked.fd = Some(fd);
                let addr = asked.to.remove(0);
                self.later(Call::Connect { fd, addr }, Doing::UpstreamConnect(client, id));
            }
            _ => self.later(Call::Close { fd }, Doing::Nothing),
        }
    }

    fn upstream_connected(&mut self, client: Client, id: u16, ret: &Ret, env: &mut Env<'_>) {
        let Some(at) = self.forwarded.iter().position(|f| f.client == client && f.id == id) else { return };
        let asked = &self.forwarded[at];
        match (ret, asked.fd) {
            (Ret::Done, Some(fd)) => {
                let query = Message { id, ..asked.query.clone() };
                self.later(Call::Send { fd, to: None, data: query.write(false) }, Doing::Nothing);
            }
            _ => {
                let asked = self.forwarded.remove(at);
                self.upstream_failed(asked, env);
            }
        }
    }

    fn upstream_answer(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) {
        let Some(at) = self.forwarded.iter().position(|f| f.fd == Some(fd)) else { return };
        match ret {
            Ret::Message(m) => {
                let Some(mut reply) = Message::parse(&m.data).filter(|r| r.id == self.forwarded[at].id) else { return };
                env.spent_ns += ANSWER_NS;
                let asked = self.forwarded.remove(at);
                if !reply.same_question(&asked.query) || reply.flags & flag::QR == 0 {
                    reply = answer::reply(&asked.query, rcode::FORMERR);
                }
                self.later(Call::Close { fd }, Doing::Nothing);
                self.reply(asked.client, asked.finish(reply));
            }
            Ret::Err(Errno::EAGAIN | Errno::EINTR) => {}
            _ => {
                let asked = self.forwarded.remove(at);
                self.upstream_failed(asked, env);
            }
        }
    }

    /// The next server is asked.
    fn upstream_failed(&mut self, mut asked: Forwarded, env: &mut Env<'_>) {
        if let Some(fd) = asked.fd.take() {
            self.later(Call::Close { fd }, Doing::Nothing);
        }
        self.ask(asked, env);
    }
}

fn fail(message: &str, env: &mut Env<'_>) -> Call {
    env.console.err(format!("{message}\n"));
    Call::Exit(1)
}

/// An errno as Go writes it.
fn go_text(e: Errno) -> String {
    e.text().to_lowercase()
}

fn any() -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)
}

/// A block with the file of its hosts plugin.
fn served(mut block: Block, env: &Env<'_>) -> Result<Served, String> {
    let mut hosts = Hosts::default();
    if let Some(plugin) = &block.hosts {
        let file = plugin.file.as_ref().and_then(|path| super::file(env, path)).unwrap_or_default();
        hosts = Hosts::parse(&format!("{}{file}", plugin.inline));
    }
    if let Some(forward) = &block.forward {
        let missing = forward.to.iter().find(|u| matches!(u, Upstream::File(path) if super::file(env, path).is_none()));
        match missing {
            // kubeadm's Corefile stands in where there is none, whether there is somebody to ask or not.
            Some(Upstream::File(path)) if path == RESOLV_CONF => block.forward = None,
            Some(Upstream::File(path)) => {
                return Err(format!("plugin/forward: open {path}: no such file or directory"));
            }
            _ => {}
        }
    }
    Ok(Served { block, hosts })
}

fn servers(upstream: &Upstream, env: &Env<'_>) -> Vec<SocketAddrV4> {
    match upstream {
        Upstream::Server(address) => vec![*address],
        Upstream::File(path) => {
            let conf = ResolvConf::parse(&super::file(env, path).unwrap_or_default());
            conf.servers.into_iter().map(|s| SocketAddrV4::new(s, PORT)).collect()
        }
    }
}
