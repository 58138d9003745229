//! `pilot-discovery discovery`: istiod, as far as proxies see it. It listens on port 15012 in mutual TLS, tells each
//! proxy that comes what it is to do, and tells it again what has changed ([`super::envoy::discovery`]). What that is
//! stands in files, one for each proxy ([`registry_file`]); when they have changed it waits until nothing more changes
//! for [`DEBOUNCE_AFTER_NS`], as the real one does (pilot/pkg/xds/discovery.go: debounce).
//!
//! Differs: it computes nothing from Services itself, and has no watch of the API server: a signal tells it that its
//! files are others. Its other ports are closed. Whose certificate a proxy shows is not held against its name.

use super::envoy::config::{Config, DISCOVERY_PORT};
use super::envoy::discovery::{ClusterLoadAssignment, Message, Resources, Response, decode, encode};
use super::tls::{Name, Server, Session};
use crate::base::Time;
use crate::base::files::Found;
use crate::base::time::{MS, SEC, US};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ret, SockOpt, SocketKind};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// A push comes so long after the last change (`PILOT_DEBOUNCE_AFTER`).
pub const DEBOUNCE_AFTER_NS: u64 = 100 * MS;
/// And at the latest so long after the first (`PILOT_DEBOUNCE_MAX`).
pub const DEBOUNCE_MAX_NS: u64 = 10 * SEC;
/// Its names, which its certificate has (`ISTIOD_CUSTOM_HOST` and the defaults).
const NAMES: [&str; 2] = ["istiod.istio-system.svc", "istio-pilot.istio-system.svc"];
/// Go asks for net.core.somaxconn.
const BACKLOG: u32 = 4096;
/// Go's keepalive, in seconds.
const KEEPALIVE_S: u32 = 15;
/// As many proxies at once; who comes then waits in the backlog.
const MAX_CONNECTIONS: usize = 4096;
/// A file of the registry is no longer.
const MAX_FILE: usize = 16 << 20;
/// What one recv(2) asks for.
const READ_SIZE: usize = 32_768;
/// What a flight of the handshake costs, and a push to one proxy. Plausible, not measured.
const FLIGHT_COST_NS: u64 = 400 * US;
const PUSH_COST_NS: u64 = 200 * US;

/// The file with what a proxy starts with: JSON of [`super::envoy::config::Bootstrap`].
pub const BOOTSTRAP: &str = "/etc/istio/proxy/bootstrap.json";

/// The file with what a proxy is told, by its node's id: JSON of [`Config`].
pub fn registry_file(node: &str) -> String {
    format!("/var/lib/istiod/{node}.json")
}

/// Reads the words behind the name.
pub(super) fn parse(words: &[Word]) -> Result<Istiod, SyntaxError> {
    match words {
        [first, ..] if first.text != "discovery" => {
            let message = format!("Error: unknown command {:?} for \"pilot-discovery\"", first.text);
            Err(SyntaxError::at(first, message).hint("write `pilot-discovery discovery`"))
        }
        [_, extra, ..] => Err(SyntaxError::at(extra, format!("\"{}\" is not simulated", extra.text))),
        _ => Ok(Istiod::default()),
    }
}

/// istiod.
#[derive(Clone, Debug, Default)]
pub struct Istiod {
    tls: Option<Server>,
    listener: Option<Fd>,
    connections: BTreeMap<Fd, Connection>,
    accepted: u64,
    /// System calls to come.
    calls: VecDeque<(At, Call)>,
    at: At,
    asked: Vec<Fd>,
    /// When the first change came that no proxy was told of, and when they are.
    changed: Option<(Time, Time)>,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum At {
    #[default]
    Start,
    Socket,
    /// bind(2) and listen(2)
    Listen,
    Poll,
    Accept,
    Recv(Fd),
    Send(Fd),
    Quiet,
}

/// A proxy's connection.
#[derive(Clone, Debug)]
struct Connection {
    session: Session,
    /// Decrypted, and no whole message.
    input: Vec<u8>,
    /// Encrypted, and not sent.
    output: Vec<u8>,
    /// There was no room in the socket.
    blocked: bool,
    /// Its node's id, and what it was told last; none before it has asked.
    node: Option<(String, Config)>,
    version: u64,
    /// It is closed when all is sent.
    ending: bool,
}

impl Program for Istiod {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if std::mem::take(&mut env.interrupted) {
            let first = self.changed.map_or(env.now, |(first, _)| first);
            let latest = first + DEBOUNCE_MAX_NS;
            self.changed = Some((first, latest.min(env.now + DEBOUNCE_AFTER_NS)));
        }
        let at = std::mem::replace(&mut self.at, At::Quiet);
        self.returned(at, ret, env);
        if self.calls.is_empty() && self.changed.is_some_and(|(_, due)| due <= env.now) {
            self.changed = None;
            self.push_all(env);
        }
        match self.calls.pop_front() {
            Some((at, call)) => {
                self.at = at;
                call
            }
            None => self.poll(env.now),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Istiod {
    fn call(&mut self, at: At, call: Call) {
        self.calls.push_back((at, call));
    }

    fn fail(&mut self, why: &str, env: &mut Env<'_>) {
        env.console.err(format!("error\tfailed to start discovery: {why}\n"));
        self.calls.clear();
        self.call(At::Quiet, Call::Exit(1));
    }

    fn returned(&mut self, at: At, ret: Ret, env: &mut Env<'_>) {
        match (at, ret) {
            (At::Start, _) => {
                let names = NAMES.map(|name| Name::Dns(name.to_owned()));
                match Server::mutual(&names, &[], env) {
                    Ok(server) => self.tls = Some(server),
                    Err(failure) => return self.fail(&failure.text(), env),
                }
                self.call(At::Socket, Call::Socket(SocketKind::Tcp));
            }
            (At::Socket, Ret::Fd(fd)) => {
                self.listener = Some(fd);
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, DISCOVERY_PORT);
                self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) });
                self.call(At::Listen, Call::Bind { fd, addr });
                self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG });
            }
            (At::Socket | At::Listen, Ret::Err(e)) => {
                self.fail(&format!("listen tcp :{DISCOVERY_PORT}: {e}"), env);
            }
            (At::Poll, Ret::Poll(ready)) => {
                for (fd, _) in std::mem::take(&mut self.asked).into_iter().zip(ready).filter(|(_, r)| r.any()) {
                    self.event(fd);
                }
            }
            (At::Accept, Ret::Accepted { fd, .. }) => self.accepted(fd, env),
            (At::Recv(fd), ret) => self.received(fd, ret, env),
            (At::Send(fd), Ret::Sent(n)) => {
                if let Some(connection) = self.connections.get_mut(&fd) {
                    connection.output.drain(..n.min(connection.output.len()));
                    self.send(fd);
                }
            }
            (At::Send(fd), Ret::Err(Errno::EAGAIN)) => {
                if let Some(connection) = self.connections.get_mut(&fd) {
                    connection.blocked = true;
                }
            }
            (At::Send(fd), _) => self.close(fd),
            _ => {}
        }
    }

    fn event(&mut self, fd: Fd) {
        if Some(fd) == self.listener {
            return self.call(At::Accept, Call::Accept { fd, nonblock: true });
        }
        let Some(connection) = self.connections.get_mut(&fd) else { return };
        match std::mem::take(&mut connection.blocked) {
            true => self.send(fd),
            false => self.call(At::Recv(fd), Call::Recv { fd, size: READ_SIZE, dontwait: true, errqueue: false }),
        }
    }

    fn accepted(&mut self, fd: Fd, env: &mut Env<'_>) {
        let Some(server) = &self.tls else { return };
        self.accepted += 1;
        match Session::server(server, self.accepted, env) {
            Ok(session) => {
                let connection = Connection {
                    session,
                    input: Vec::new(),
                    output: Vec::new(),
                    blocked: false,
                    node: None,
                    version: 0,
                    ending: false,
                };
                self.connections.insert(fd, connection);
                self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
                self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::KeepAlive(true) });
                self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::KeepIdle(KEEPALIVE_S) });
                self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::KeepInterval(KEEPALIVE_S) });
            }
            Err(_) => self.call(At::Quiet, Call::Close { fd }),
        }
    }

    fn received(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) {
        let Some(connection) = self.connections.get_mut(&fd) else { return };
        match ret {
            Ret::Data(data) => {
                let shook = connection.session.is_handshaking();
                let result = connection.session.receive(&data, env);
                let output = connection.session.take_output();
                if shook && !output.is_empty() {
                    env.spent_ns += FLIGHT_COST_NS;
                }
                connection.output.extend(output);
                connection.ending |= result.is_err() || connection.session.is_closed();
                connection.input.extend(connection.session.take_plain());
                self.messages(fd, env);
                self.send(fd);
            }
            Ret::Err(Errno::EAGAIN) => {}
            _ => self.close(fd),
        }
    }

    /// What a proxy has asked.
    fn messages(&mut self, fd: Fd, env: &mut Env<'_>) {
        while let Some(connection) = self.connections.get_mut(&fd).filter(|c| !c.ending) {
            match decode(&mut connection.input) {
                Ok(None) => return,
                // What it says afterwards is that it works by what it was told.
                Ok(Some(Message::Request(request))) if connection.node.is_none() => match config(&request.node, env) {
                    Ok(config) => connection.tell(request.node, config, env),
                    Err(why) => {
                        env.console.err(format!("warn\tADS: {}: {why}\n", request.node));
                        connection.ending = true;
                    }
                },
                Ok(Some(Message::Request(_))) => {}
                Ok(Some(Message::Response(_))) => connection.ending = true,
                Err(malformed) => {
                    env.console.err(format!("warn\tADS: {malformed}\n"));
                    connection.ending = true;
                }
            }
        }
    }

    /// Every proxy is told what has changed for it.
    fn push_all(&mut self, env: &mut Env<'_>) {
        for fd in self.connections.keys().copied().collect::<Vec<_>>() {
            let Some(connection) = self.connections.get_mut(&fd).filter(|c| !c.ending) else { continue };
            let Some((node, _)) = &connection.node else { continue };
            // A pod that has gone takes its connection with it.
            let Ok(config) = config(node, env) else { continue };
            let node = node.clone();
            connection.tell(node, config, env);
            self.send(fd);
        }
    }

    /// Sends what there is to send; ends what is to end.
    fn send(&mut self, fd: Fd) {
        let Some(connection) = self.connections.get_mut(&fd) else { return };
        if connection.blocked || self.calls.iter().any(|(at, _)| *at == At::Send(fd)) {
            return;
        }
        if !connection.output.is_empty() {
            let data = connection.output.clone();
            self.call(At::Send(fd), Call::Send { fd, to: None, data });
        } else if connection.ending {
            self.close(fd);
        }
    }

    fn close(&mut self, fd: Fd) {
        if self.connections.remove(&fd).is_some() {
            self.call(At::Quiet, Call::Close { fd });
        }
    }

    fn poll(&mut self, now: Time) -> Call {
        let room = self.connections.len() < MAX_CONNECTIONS;
        let mut fds: Vec<PollFd> = self.listener.iter().filter(|_| room).map(|fd| PollFd::read(*fd)).collect();
        for (fd, connection) in &self.connections {
            fds.push(if connection.blocked { PollFd::write(*fd) } else { PollFd::read(*fd) });
        }
        self.asked = fds.iter().map(|p| p.fd).collect();
        self.at = At::Poll;
        Call::Poll { fds, timeout_ns: self.changed.map(|(_, due)| due.0.saturating_sub(now.0)) }
    }
}

impl Connection {
    /// Tells the proxy what is new: all of it, or the endpoints alone where nothing else is (EDS).
    fn tell(&mut self, node: String, config: Config, env: &mut Env<'_>) {
        let resources = match &self.node {
            Some((_, told)) if *told == config => return,
            Some((_, told)) => endpoints(told, &config).unwrap_or_else(|| Resources::Config(config.clone())),
            None => Resources::Config(config.clone()),
        };
        self.version += 1;
        env.spent_ns += PUSH_COST_NS;
        match encode(&Message::Response(Response { version: self.version, resources })) {
            Ok(message) => {
                self.session.send(&message);
                self.output.extend(self.session.take_output());
                self.node = Some((node, config));
            }
            Err(malformed) => {
                env.console.err(format!("warn\tADS: {node}: {malformed}\n"));
                self.ending = true;
            }
        }
    }
}

/// What the registry says of a proxy.
fn config(node: &str, env: &Env<'_>) -> Result<Config, String> {
    let Found::File(file) = env.files.find(&registry_file(node)) else {
        return Err("it is not known".to_owned());
    };
    serde_json::from_slice(&file.read(0, MAX_FILE)).map_err(|e| e.to_string())
}

/// The endpoints of the clusters that have changed; none if anything else has changed, too.
fn endpoints(told: &Config, now: &Config) -> Option<Resources> {
    let mut alike = told.clone();
    let mut assignments = Vec::new();
    for (old, new) in alike.clusters.iter_mut().zip(&now.clusters) {
        if old.name == new.name && old.endpoints != new.endpoints {
            old.endpoints.clone_from(&new.endpoints);
            assignments.push(ClusterLoadAssignment { cluster: new.name.clone(), endpoints: new.endpoints.clone() });
        }
    }
    (alike == *now).then_some(Resources::Endpoints(assignments))
}

#[cfg(test)]
mod tests {
    use super::super::envoy::config::{Cluster, Endpoint, OutboundTrafficPolicy};
    use super::*;

    fn config(hosts: &[&[u8]]) -> Config {
        let endpoint = |n: &u8| Endpoint { address: SocketAddrV4::new([10, 244, 1, *n].into(), 80), identity: None };
        let cluster = |(n, own): (usize, &&[u8])| Cluster {
            endpoints: own.iter().map(endpoint).collect(),
            ..Cluster::outbound(&format!("web-{n}"), 80)
        };
        Config { clusters: hosts.iter().enumerate().map(cluster).collect(), ..Config::default() }
    }

    #[test]
    fn endpoints_go_alone() {
        let told = config(&[&[1], &[2, 3], &[4]]);
        let Some(Resources::Endpoints(new)) = endpoints(&told, &config(&[&[1], &[3], &[4, 5]])) else {
            panic!("endpoints alone");
        };
        let shown = |a: &ClusterLoadAssignment| (a.cluster.clone(), a.endpoints.len());
        let want = [("outbound|80||web-1".to_owned(), 1), ("outbound|80||web-2".to_owned(), 2)];
        assert_eq!(new.iter().map(shown).collect::<Vec<_>>(), want);
        // Anything else, and all is said again.
        assert_eq!(endpoints(&told, &config(&[&[1], &[3]])), None);
        let closed = Config { outbound_traffic_policy: OutboundTrafficPolicy::RegistryOnly, ..told.clone() };
        assert_eq!(endpoints(&told, &closed), None);
    }

    #[test]
    fn its_command_line() {
        let word = |text: &str| Word { text: text.to_owned(), span: 0..0 };
        let parse = |line: &str| {
            let words: Vec<Word> = line.split(' ').skip(1).map(word).collect();
            parse(&words).map(|_| ()).map_err(|e| e.message)
        };
        assert_eq!(parse("pilot-discovery discovery"), Ok(()));
        let said = "Error: unknown command \"request\" for \"pilot-discovery\"";
        assert_eq!(parse("pilot-discovery request"), Err(said.to_owned()));
        assert!(parse("pilot-discovery discovery --help").is_err());
    }
}
