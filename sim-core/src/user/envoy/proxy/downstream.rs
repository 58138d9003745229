//! Connections that others make to the proxy: where they were meant to go, which filter chain takes them, requests in
//! and responses out (source/server/active_tcp_listener.cc, source/common/http/conn_manager_impl.cc).

use super::codec::Codec;
use super::config::{Filter, INBOUND_PORT, Inbound, MtlsMode, OUTBOUND_PORT, OutboundTrafficPolicy, Protocol};
use super::conn::{Conn, End, Id};
use super::exchange::ExchangeId;
use super::head::{Event, Head, Response};
use super::http1::Role;
use super::program::{At, Envoy};
use super::route::Destination;
use super::sniff::{self, ClientHello, Http, Sniffed};
use super::tcp::Relay;
use crate::base::Time;
use crate::base::rng::Purpose;
use crate::base::time::SEC;
use crate::engine::process::Env;
use crate::kernel::syscall::{Call, Fd, SockOpt};
use crate::kernel::trace::Connection;
use crate::user::tls::{Authority, Check, Client, Failure, Identity, Name, Roots, Server, Session};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// idle_timeout of a connection without a request.
const IDLE_TIMEOUT_NS: u64 = 3600 * SEC;
/// delayed_close_timeout: how long a connection whose last response has left waits for its peer's end.
const DELAYED_CLOSE_NS: u64 = SEC;
/// What peers with a sidecar offer: by these their mutual TLS is told from an application's own.
const MESH_ALPN: [&str; 5] = ["istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

/// Who is at the other end of a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    /// The pod's programs (virtualOutbound).
    Outbound,
    /// Who comes to the pod (virtualInbound).
    Inbound,
    /// kubelet, for pilot-agent.
    Health,
    /// Who collects counters.
    Stats,
    /// pilot-agent's own server.
    Agent,
}

/// A connection that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Down {
    pub side: Side,
    pub peer: SocketAddrV4,
    /// Where it was accepted (getsockname).
    pub local: SocketAddrV4,
    /// Where it was meant to go.
    pub original: SocketAddrV4,
    /// The thread that accepted it.
    pub worker: u32,
    pub mode: Mode,
    /// It is closed then.
    pub timer: Option<Time>,
    pub hello: ClientHello,
    /// Its requests that are under way, by stream.
    pub streams: BTreeMap<u32, ExchangeId>,
}

/// What is done with it.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    /// Nobody has said yet where it was meant to go.
    New,
    /// The first bytes decide.
    Sniff,
    /// TLS shakes hands; then it is HTTP, or it is copied.
    Handshake {
        http: bool,
    },
    Http(Codec),
    /// Its bytes are copied to and from this one.
    Tcp(Relay),
}

impl Down {
    /// The other ends that it sends to.
    pub fn others(&self, envoy: &Envoy) -> Vec<Id> {
        match &self.mode {
            Mode::Tcp(relay) => vec![relay.up],
            _ => self.streams.values().filter_map(|x| Some(envoy.exchanges.get(x)?.up?.0)).collect(),
        }
    }
}

/// The proxy's keys and certificates, and what it makes of them.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    identity: Identity,
    roots: Roots,
    http: Server,
    tcp: Server,
    /// By cluster and what is offered.
    clients: BTreeMap<(String, Vec<&'static str>), Client>,
}

impl Tls {
    /// A certificate of the scenario's authority for a SPIFFE id.
    pub fn new(id: &str, env: &Env<'_>) -> Result<Self, Failure> {
        let refused = |e: &dyn std::fmt::Display| Failure::Protocol(e.to_string());
        let authority = Authority::of_scenario(env.prf, env.epoch_ns).map_err(|e| refused(&e))?;
        let identity = authority.issue(None, &[Name::Uri(id.to_owned())]).map_err(|e| refused(&e))?;
        let roots = Roots::new([authority.root()]);
        let server = |alpn: &[&str]| {
            let server = Server::new(&identity, Check::SignedBy(roots.clone()), alpn, env);
            server.map(Server::keeping_tickets).map_err(|e| refused(&e))
        };
        let (http, tcp) = (server(&["h2", "http/1.1"])?, server(&["istio-peer-exchange", "h2", "http/1.1"])?);
        Ok(Tls { identity, roots, http, tcp, clients: BTreeMap::new() })
    }

    /// What connections to a cluster have in common, whose endpoints have these names.
    pub fn client(&mut self, cluster: &str, names: Vec<Name>, alpn: &[&'static str]) -> Option<Client> {
        let key = (cluster.to_owned(), alpn.to_vec());
        if !self.clients.contains_key(&key) {
            let check = Check::Named(self.roots.clone(), names);
            self.clients.insert(key.clone(), Client::new(check, Some(&self.identity), alpn).ok()?);
        }
        self.clients.get(&key).cloned()
    }

    /// The clusters have changed.
    pub fn forget_clients(&mut self) {
        self.clients.clear();
    }
}

impl Envoy {
    /// accept4(2) has returned.
    pub(super) fn accepted(&mut self, side: Side, fd: Fd, peer: SocketAddrV4, env: &mut Env<'_>) {
        let id = self.number();
        self.conns.insert(id, Conn::accepted(fd));
        // SO_REUSEPORT: the kernel hashes addresses and ports to choose a thread's socket.
        let whose = [env.salt.word(), u64::from(env.pid.0), u64::from(peer.ip().to_bits()), u64::from(peer.port())];
        let worker = env.prf.below(Purpose::EnvoyWorker, &whose, u64::from(self.bootstrap.concurrency.max(1)));
        let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        self.call(At::LocalName(id), Call::SockName { fd });
        let mode = if matches!(side, Side::Outbound | Side::Inbound) {
            self.call(At::OriginalDst(id), Call::OriginalDst { fd });
            Mode::New
        } else {
            Mode::Http(Codec::one(Role::Server))
        };
        self.call(At::Quiet, Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
        let (hello, streams) = (ClientHello::default(), BTreeMap::new());
        let down =
            Down { side, peer, local, original: local, worker: worker as u32, mode, timer: None, hello, streams };
        self.downs.insert(id, down);
    }

    /// getsockname(2) has returned. Nobody redirects to the other listeners.
    pub(super) fn accepted_at(&mut self, id: Id, local: SocketAddrV4) {
        if let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) {
            (down.local, down.original) = (local, local);
            conn.name = Some(Connection { peer: down.peer, names: [local; 2] });
        }
    }

    /// SO_ORIGINAL_DST has returned, with nothing where nobody has redirected the connection: what can be decided
    /// without its first bytes.
    pub(super) fn meant_for(&mut self, id: Id, original: Option<SocketAddrV4>, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        let original = original.unwrap_or(down.local);
        down.original = original;
        conn.name = Some(Connection { peer: down.peer, names: [original, down.local] });
        down.mode = Mode::Sniff;
        let side = down.side;
        // Who speaks to the proxy itself is sent away (virtualOutbound-trafficclosed, virtualInbound-blackhole).
        if matches!((side, original.port()), (Side::Outbound, OUTBOUND_PORT) | (Side::Inbound, INBOUND_PORT)) {
            return self.refuse(id, End::Close);
        }
        match side {
            Side::Outbound => match self.filter(original) {
                Some(Filter::Tcp(cluster)) => {
                    let to = Destination::Cluster(cluster.clone());
                    self.tcp_start(id, to, env);
                }
                Some(Filter::Http(_) | Filter::Sniff(..)) => {}
                None => self.pass_through(id, env),
            },
            _ => {
                let inbound = self.inbound(original.port());
                if inbound.mtls == MtlsMode::Disable && inbound.protocol == Protocol::Tcp {
                    self.tcp_start(id, Destination::Inbound, env);
                }
            }
        }
    }

    /// The listener's filters for a destination.
    pub(super) fn filter(&self, original: SocketAddrV4) -> Option<&Filter> {
        let listeners = || self.config.iter().flat_map(|c| &c.outbound).filter(|l| l.port == original.port());
        let exact = listeners().find(|l| l.address == *original.ip());
        let any = || listeners().find(|l| l.address.is_unspecified());
        exact.or_else(any).map(|l| &l.filter)
    }

    /// What is known of a port of the pod's.
    pub(super) fn inbound(&self, port: u16) -> Inbound {
        let known = self.config.iter().flat_map(|c| &c.inbound).find(|i| i.port == port).cloned();
        known.unwrap_or_else(|| Inbound {
            port,
            protocol: Protocol::Auto,
            mtls: self.config.as_ref().map(|c| c.inbound_mtls).unwrap_or_default(),
            decorator: String::new(),
        })
    }

    /// A connection to what the mesh does not know.
    fn pass_through(&mut self, id: Id, env: &mut Env<'_>) {
        match self.config.as_ref().map(|c| c.outbound_traffic_policy) {
            Some(OutboundTrafficPolicy::AllowAny) => self.tcp_start(id, Destination::Passthrough, env),
            // Without configuration there is no listener that would take it on.
            Some(OutboundTrafficPolicy::RegistryOnly) | None => self.refuse(id, End::Close),
        }
    }

    fn refuse(&mut self, id: Id, how: End) {
        self.downs.remove(&id);
        self.close(id, how);
    }

    /// Bytes have come, or the end of the stream.
    pub(super) fn down_read(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get(&id), self.conns.get(&id)) else { return };
        match &down.mode {
            Mode::New => {}
            Mode::Sniff if conn.eof => self.refuse(id, End::Close),
            Mode::Sniff if down.side == Side::Inbound => self.sniff_inbound(id, env),
            Mode::Sniff => self.sniff_outbound(id, env),
            Mode::Handshake { http } if conn.is_established() => {
                let http = *http;
                self.begin(id, http, env);
            }
            Mode::Handshake { .. } if conn.eof => self.refuse(id, End::Close),
            Mode::Handshake { .. } => {}
            Mode::Http(_) => self.down_http(id, env),
            Mode::Tcp(_) => self.tcp_copy(id, env),
        }
    }

    /// http_inspector, for what the pod's programs send.
    fn sniff_outbound(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get(&id), self.conns.get(&id)) else { return };
        match sniff::http(&conn.input) {
            Sniffed::More => {}
            Sniffed::Yes(version) => self.begin_http(id, version, env),
            Sniffed::No => match self.filter(down.original) {
                Some(Filter::Sniff(_, cluster)) => {
                    let to = Destination::Cluster(cluster.clone());
                    self.tcp_start(id, to, env);
                }
                _ => self.pass_through(id, env),
            },
        }
    }

    /// tls_inspector and http_inspector, for what comes to the pod: which filter chain matches.
    fn sniff_inbound(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get(&id)) else { return };
        let hello = sniff::tls(&conn.input);
        if let Sniffed::Yes(hello) = &hello {
            down.hello = hello.clone();
        }
        let port = down.original.port();
        let Inbound { protocol, mtls, .. } = self.inbound(port);
        let is_mesh = |hello: &ClientHello| hello.alpn.iter().any(|a| MESH_ALPN.contains(&a.as_str()));
        match (&hello, mtls) {
            (Sniffed::More, _) => {}
            (Sniffed::Yes(_), MtlsMode::Strict) => self.shake_hands(id, protocol, env),
            (Sniffed::Yes(hello), MtlsMode::Permissive) if is_mesh(hello) => self.shake_hands(id, protocol, env),
            (Sniffed::No, MtlsMode::Strict) => self.refuse(id, End::Reset),
            // TLS of the application's own is copied.
            (Sniffed::Yes(_), MtlsMode::Permissive) => self.tcp_start(id, Destination::Inbound, env),
            (Sniffed::Yes(_) | Sniffed::No, _) => match protocol {
                Protocol::Http | Protocol::Http2 => {
                    let two = self.conns.get(&id).is_some_and(|c| c.input.starts_with(b"PRI"));
                    self.begin_http(id, if two { Http::Two } else { Http::One }, env);
                }
                Protocol::Tcp => self.tcp_start(id, Destination::Inbound, env),
                Protocol::Auto => match self.conns.get(&id).map_or(Sniffed::No, |c| sniff::http(&c.input)) {
                    Sniffed::More => {}
                    Sniffed::Yes(version) => self.begin_http(id, version, env),
                    Sniffed::No => self.tcp_start(id, Destination::Inbound, env),
                },
            },
        }
    }

    /// The downstream's end of mutual TLS begins.
    fn shake_hands(&mut self, id: Id, protocol: Protocol, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        let speaks_http = |a: &String| a.starts_with("istio-http") || a == "istio-h2" || a == "h2";
        let http = match protocol {
            Protocol::Http | Protocol::Http2 => true,
            Protocol::Tcp => false,
            Protocol::Auto => down.hello.alpn.iter().any(speaks_http),
        };
        let session = self.tls.as_ref().map(|tls| if http { &tls.http } else { &tls.tcp });
        let Some(Ok(session)) = session.map(|server| Session::server(server, id, env)) else { return };
        conn.tls = Some(Box::new(session));
        down.mode = Mode::Handshake { http };
        let hello = std::mem::take(&mut conn.input);
        let result = conn.receive(&hello, env);
        self.touch(id);
        if let Err(failure) = result {
            self.tls_failed(id, &failure, env);
        }
    }

    /// The handshake is over.
    fn begin(&mut self, id: Id, http: bool, env: &mut Env<'_>) {
        if !http {
            return self.tcp_start(id, Destination::Inbound, env);
        }
        let alpn = self.conns.get(&id).and_then(|c| c.tls.as_ref()?.alpn());
        let version = if alpn == Some("h2") { Http::Two } else { Http::One };
        self.begin_http(id, version, env);
    }

    fn begin_http(&mut self, id: Id, version: Http, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        conn.write(None, |out| down.mode = Mode::Http(Codec::new(version, Role::Server, out)));
        down.timer = Some(env.now + IDLE_TIMEOUT_NS);
        self.touch(id);
        self.down_http(id, env);
    }

    /// Requests, as far as they have come.
    fn down_http(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        let Mode::Http(codec) = &mut down.mode else { return };
        let over = codec.is_last() && down.streams.is_empty();
        let (events, read) = conn.read(|input, output| {
            if over {
                // It waits for the peer's end.
                input.clear();
                return vec![];
            }
            codec.receive(input, output)
        });
        self.touch(id);
        self.reading = read;
        for event in events {
            self.down_event(id, event, env);
        }
        self.reading = None;
        if self.conns.get(&id).is_some_and(|c| c.eof) {
            self.down_lost(id, env);
            self.close(id, End::Close);
        }
    }

    fn down_event(&mut self, id: Id, event: Event, env: &mut Env<'_>) {
        let stream_of = |stream| self.downs.get(&id).and_then(|d| d.streams.get(&stream)).copied();
        match event {
            Event::Head { stream, head: Head::Request(request), end } => self.request(id, stream, request, end, env),
            Event::Data { stream, data, end } => {
                if let Some(exchange) = stream_of(stream) {
                    self.request_data(exchange, &data, end, env);
                }
            }
            Event::Reset { stream, .. } => {
                if let Some(exchange) = stream_of(stream) {
                    self.cancel(exchange, env);
                }
            }
            Event::Bad(status) => self.bad_request(id, status, env),
            Event::GoAway | Event::Head { .. } => {}
        }
    }

    /// Sends a response's head.
    pub(super) fn answer(&mut self, id: Id, stream: u32, response: Response, end: bool) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        if let Mode::Http(codec) = &mut down.mode {
            conn.write(self.reading.as_ref(), |out| codec.send_head(stream, &Head::Response(response), end, out));
        }
        self.touch(id);
    }

    /// Sends some of a response's body.
    pub(super) fn answer_data(&mut self, id: Id, stream: u32, data: &[u8], end: bool) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        if let Mode::Http(codec) = &mut down.mode {
            conn.write(self.reading.as_ref(), |out| codec.send_data(stream, data, end, out));
        }
        self.touch(id);
    }

    /// A response is complete.
    pub(super) fn answered(&mut self, id: Id, stream: u32, env: &mut Env<'_>) {
        let Some(down) = self.downs.get_mut(&id) else { return };
        down.streams.remove(&stream);
        let Mode::Http(codec) = &mut down.mode else { return };
        codec.finish();
        if codec.is_last() && down.streams.is_empty() {
            down.timer = Some(env.now + DELAYED_CLOSE_NS);
        } else if down.streams.is_empty() {
            down.timer = Some(env.now + IDLE_TIMEOUT_NS);
            self.look_again(id);
        }
    }

    /// It ends with the response that is under way: its request did not come whole, or cannot be read.
    pub(super) fn set_last(&mut self, id: Id) {
        if let Some(Mode::Http(codec)) = self.downs.get_mut(&id).map(|d| &mut d.mode) {
            codec.set_last();
        }
    }

    /// A downstream is gone: nobody waits for its responses.
    pub(super) fn down_lost(&mut self, id: Id, env: &mut Env<'_>) {
        let Some(down) = self.downs.remove(&id) else { return };
        for exchange in down.streams.values() {
            self.cancel(*exchange, env);
        }
        if let Mode::Tcp(relay) = &down.mode {
            self.tcp_over(relay.up, &down, env);
        }
    }
}
