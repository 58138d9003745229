//! Connections to endpoints, and pools of them that outlive the downstreams
//! (source/common/conn_pool/conn_pool_base.cc).
//! A worker has a pool for each endpoint: a connection of HTTP/1.1 takes one request at a time, the one that was free
//! last takes the next; one of HTTP/2 takes many.

use super::codec::Codec;
use super::config::{Cluster, INBOUND_SOURCE};
use super::conn::{End, Id, Read};
use super::downstream::{Down, Side};
use super::exchange::{ExchangeId, Reset};
use super::head::{Event, Head, Request};
use super::http1::Role;
use super::program::Envoy;
use super::route::Destination;
use super::sniff::Http;
use crate::base::Time;
use crate::base::time::MS;
use crate::engine::process::Env;
use crate::kernel::trace::Proxied;
use crate::user::tls::{Failure, Name, Session};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The cluster of ports that no Service names.
pub(super) const INBOUND_PASSTHROUGH: &str = "InboundPassthroughClusterIpv4";
/// What mutual TLS offers for each protocol (Istio's alpn filter, and istiod's clusters).
const HTTP1_ALPN: [&str; 3] = ["istio-http/1.1", "istio", "http/1.1"];
const HTTP2_ALPN: [&str; 3] = ["istio-h2", "istio", "h2"];
const TCP_ALPN: [&str; 2] = ["istio-peer-exchange", "istio"];

/// Whom a pool's connections lead to, and how they are made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Target {
    pub worker: u32,
    pub cluster: String,
    pub address: SocketAddrV4,
    /// In mutual TLS.
    pub mtls: bool,
    pub http2: bool,
    /// From the client's own address (`envoy.filters.listener.original_src`).
    pub source: Option<Ipv4Addr>,
}

/// Connections to one endpoint.
#[derive(Clone, Debug, Default)]
pub(super) struct Pool {
    /// Those that can take a request; the last is taken.
    ready: Vec<Id>,
    /// Requests that wait for a connection.
    pub pending: VecDeque<ExchangeId>,
}

/// A connection that the proxy makes.
#[derive(Clone, Debug)]
pub(super) struct Up {
    pub target: Target,
    /// None before it is up, and where bytes are copied.
    pub codec: Option<Codec>,
    /// The downstream whose bytes are copied.
    pub tcp: Option<Id>,
    /// It is up.
    pub ready: bool,
    pub streams: BTreeMap<u32, ExchangeId>,
    /// Requests that it has taken so far.
    served: u32,
    /// It takes no more.
    draining: bool,
    /// When connecting, or being idle, has lasted too long.
    pub timer: Option<Time>,
    /// Its own address.
    pub local: Option<SocketAddrV4>,
}

impl Up {
    /// The other ends that it sends to.
    pub fn others(&self, envoy: &Envoy) -> Vec<Id> {
        let downs = self.streams.values().filter_map(|x| Some(envoy.exchanges.get(x)?.down));
        self.tcp.into_iter().chain(downs).collect()
    }
}

impl Envoy {
    /// A request wants a connection: one that is free, else a new one.
    pub(super) fn new_stream(&mut self, x: ExchangeId, target: &Target, env: &mut Env<'_>) {
        let breakers = self.breakers(&target.cluster);
        let requests: usize = self.of_cluster(&target.cluster).map(|up| up.streams.len()).sum();
        let pending: usize =
            self.pools.iter().filter(|(t, _)| t.cluster == target.cluster).map(|(_, pool)| pool.pending.len()).sum();
        let pool = self.pools.entry(target.clone()).or_default();
        let ready = pool.ready.last().copied();
        if requests >= breakers.max_requests as usize
            || ready.is_none() && pending >= breakers.max_pending_requests as usize
        {
            return self.stream_reset(x, &Reset::Overflow, env);
        }
        if let Some(up) = ready {
            return self.attach(x, up, env);
        }
        pool.pending.push_back(x);
        self.grow(target, env);
    }

    /// Makes a connection if more requests wait than connections are being made.
    fn grow(&mut self, target: &Target, env: &mut Env<'_>) {
        let connections = self.of_cluster(&target.cluster).count();
        let connecting = self.ups.values().filter(|up| up.target == *target && up.tcp.is_none() && !up.ready).count();
        let pending = self.pools.get(target).map_or(0, |pool| pool.pending.len());
        // All requests of HTTP/2 go by one connection.
        let enough = if target.http2 { connecting.min(1) * pending } else { connecting };
        if pending > enough && connections < self.breakers(&target.cluster).max_connections as usize {
            self.make(target.clone(), None, env);
        }
    }

    fn of_cluster(&self, cluster: &str) -> impl Iterator<Item = &Up> {
        self.ups.values().filter(move |up| up.target.cluster == cluster)
    }

    /// Begins a connection; for `tcp` alone, or for the pool.
    pub(super) fn make(&mut self, target: Target, tcp: Option<Id>, env: &mut Env<'_>) -> Id {
        let id = self.connect();
        let timeout_ms = self.settings(&target.cluster).connect_timeout_ms;
        if target.mtls {
            let session = self.session(id, &target, tcp.is_some(), env);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.tls = session.map(Box::new);
            }
        }
        let timer = Some(env.now + timeout_ms.saturating_mul(MS));
        let (streams, local) = (BTreeMap::new(), None);
        let up = Up { target, codec: None, tcp, ready: false, streams, served: 0, draining: false, timer, local };
        self.ups.insert(id, up);
        id
    }

    /// The upstream's end of mutual TLS.
    fn session(&mut self, id: Id, target: &Target, tcp: bool, env: &mut Env<'_>) -> Option<Session> {
        let cluster = self.cluster(&target.cluster)?;
        let names = cluster.endpoints.iter().filter_map(|e| e.identity.clone()).map(Name::Uri).collect();
        let sni = cluster.sni.clone();
        let alpn: &[&'static str] = match (tcp, target.http2) {
            (true, _) => &TCP_ALPN,
            (false, true) => &HTTP2_ALPN,
            (false, false) => &HTTP1_ALPN,
        };
        let client = self.tls.as_mut()?.client(&target.cluster, names, alpn)?;
        Session::client(&client, &sni, id, env).ok()
    }

    /// A cluster's settings; those that the configuration does not name have Envoy's defaults.
    fn settings(&self, name: &str) -> Cluster {
        self.cluster(name).cloned().unwrap_or_else(|| Cluster::outbound("", 0))
    }

    /// Where a connection of ours goes, and from which address.
    pub(super) fn destination(&self, id: Id) -> Option<(Option<Ipv4Addr>, SocketAddrV4)> {
        match self.ups.get(&id) {
            Some(up) => {
                let inbound = up.target.cluster.starts_with("inbound|") || up.target.cluster == INBOUND_PASSTHROUGH;
                Some((up.target.source.or(inbound.then_some(INBOUND_SOURCE)), up.target.address))
            }
            None => self.bootstrap.discovery.as_ref().map(|d| (None, d.address)),
        }
    }

    /// connect(2) has succeeded.
    pub(super) fn up_connected(&mut self, id: Id, env: &mut Env<'_>) {
        if self.conns.get(&id).is_some_and(|c| c.tls.is_none()) {
            self.up_ready(id, env);
        }
    }

    /// The connection is up, with TLS if it has any.
    fn up_ready(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) else { return };
        (up.ready, up.timer) = (true, None);
        if let Some(down) = up.tcp {
            self.touch(id);
            self.tell(down, id, env);
            return self.tcp_copy(down, env);
        }
        let version = if up.target.http2 { Http::Two } else { Http::One };
        conn.write(None, |out| up.codec = Some(Codec::new(version, Role::Client, out)));
        self.touch(id);
        self.free(id, env);
    }

    /// A connection can take a request: one that waits, or it waits itself.
    fn free(&mut self, id: Id, env: &mut Env<'_>) {
        let Some(up) = self.ups.get(&id) else { return };
        let target = up.target.clone();
        let idle_ms = self.settings(&target.cluster).idle_timeout_ms;
        let pool = self.pools.entry(target.clone()).or_default();
        if !pool.ready.contains(&id) {
            pool.ready.push(id);
        }
        while let Some(pool) = self.pools.get_mut(&target).filter(|pool| pool.ready.contains(&id))
            && let Some(x) = pool.pending.pop_front()
        {
            self.attach(x, id, env);
        }
        if let Some(up) = self.ups.get_mut(&id).filter(|up| up.streams.is_empty()) {
            up.timer = idle_ms.map(|ms| env.now + ms.saturating_mul(MS));
        }
    }

    /// Gives a request to a connection.
    fn attach(&mut self, x: ExchangeId, id: Id, env: &mut Env<'_>) {
        let Some(up) = self.ups.get_mut(&id) else { return };
        let Some(codec) = &mut up.codec else { return };
        let stream = codec.open();
        up.streams.insert(stream, x);
        up.served += 1;
        up.timer = None;
        let target = up.target.clone();
        let most = self.settings(&target.cluster).max_requests_per_connection;
        let Some(up) = self.ups.get_mut(&id) else { return };
        up.draining |= most > 0 && up.served >= most;
        let room = !up.draining && up.codec.as_ref().is_some_and(|codec| codec.has_room(up.streams.len()));
        if !room {
            self.take_from_pool(id);
        }
        self.stream_ready(x, id, stream);
        if let Some(down) = self.exchanges.get(&x).map(|e| e.down) {
            self.tell(down, id, env);
        }
    }

    fn take_from_pool(&mut self, id: Id) {
        let target = self.ups.get(&id).map(|up| up.target.clone());
        if let Some(pool) = target.and_then(|target| self.pools.get_mut(&target)) {
            pool.ready.retain(|ready| *ready != id);
        }
    }

    /// Says for which downstream a connection is.
    pub(super) fn tell(&self, down: Id, up: Id, env: &mut Env<'_>) {
        let name = |id| self.conns.get(&id).and_then(|conn| conn.name);
        if let (Some(from), Some(to)) = (name(down), name(up)) {
            env.proxied.push(Proxied { from, to, bytes: None });
        }
    }

    /// Sends a request's head, which was read there.
    pub(super) fn up_head(&mut self, (id, stream): (Id, u32), request: Request, end: bool, read: Option<&Read>) {
        let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) else { return };
        if let Some(codec) = &mut up.codec {
            conn.write(read, |out| codec.send_head(stream, &Head::Request(request), end, out));
        }
        self.touch(id);
    }

    /// Sends some of its body, which was read there.
    pub(super) fn up_data(&mut self, (id, stream): (Id, u32), data: &[u8], end: bool, read: Option<&Read>) {
        let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) else { return };
        if let Some(codec) = &mut up.codec {
            conn.write(read, |out| codec.send_data(stream, data, end, out));
        }
        self.touch(id);
    }

    /// Bytes have come, or the end of the stream.
    pub(super) fn up_read(&mut self, id: Id, env: &mut Env<'_>) {
        let (Some(up), Some(conn)) = (self.ups.get(&id), self.conns.get(&id)) else { return };
        if !up.ready {
            if conn.is_established() {
                self.up_ready(id, env);
            } else if conn.eof {
                self.close(id, End::Close);
                return self.up_lost(id, None, env);
            } else {
                return;
            }
        }
        if let Some(down) = self.ups.get(&id).and_then(|up| up.tcp) {
            return self.tcp_copy(down, env);
        }
        let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) else { return };
        let Some(codec) = &mut up.codec else { return };
        let (mut events, read) = conn.read(|input, output| codec.receive(input, output));
        if conn.eof {
            events.extend(codec.end_of_stream());
        }
        self.touch(id);
        self.reading = read;
        for event in events {
            self.up_event(id, event, env);
        }
        self.reading = None;
        if self.conns.get(&id).is_some_and(|c| c.eof) && self.ups.contains_key(&id) {
            self.close(id, End::Close);
            self.up_lost(id, None, env);
        }
    }

    fn up_event(&mut self, id: Id, event: Event, env: &mut Env<'_>) {
        let stream_of = |envoy: &Envoy, stream| envoy.ups.get(&id).and_then(|up| up.streams.get(&stream)).copied();
        match event {
            Event::Head { stream, head: Head::Response(response), end } => {
                if let Some(x) = stream_of(self, stream) {
                    self.response(x, response, end, env);
                }
            }
            Event::Data { stream, data, end } => {
                if let Some(x) = stream_of(self, stream) {
                    self.response_data(x, &data, end, env);
                }
            }
            Event::Reset { stream, refused } => {
                if let Some(x) = stream_of(self, stream) {
                    self.drop_stream(id, stream, env);
                    self.stream_reset(x, &Reset::Remote { refused }, env);
                }
            }
            Event::GoAway => self.drain(id),
            Event::Bad(_) => {
                let streams = self.forget(id);
                self.close(id, End::Close);
                for x in streams {
                    self.stream_reset(x, &Reset::Protocol, env);
                }
            }
            Event::Head { .. } => {}
        }
    }

    /// An exchange needs its stream no more: both messages are over.
    pub(super) fn release(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        let Some((id, stream)) = self.exchanges.get_mut(&x).and_then(|e| e.up.take()) else { return };
        self.drop_stream(id, stream, env);
    }

    /// A stream of a connection is over: the connection is free, or ends.
    fn drop_stream(&mut self, id: Id, stream: u32, env: &mut Env<'_>) {
        let Some(up) = self.ups.get_mut(&id) else { return };
        up.streams.remove(&stream);
        let Some(codec) = &mut up.codec else { return };
        codec.finish();
        let over = up.draining || codec.is_last();
        if !over {
            return self.free(id, env);
        }
        if up.streams.is_empty() {
            let target = up.target.clone();
            self.forget(id);
            self.close(id, End::Close);
            self.grow(&target, env);
        }
    }

    /// An exchange wants no more of its stream, whose messages are not over.
    pub(super) fn give_up_stream(&mut self, x: ExchangeId) {
        let Some((id, stream)) = self.exchanges.get_mut(&x).and_then(|e| e.up.take()) else { return };
        let (Some(up), Some(conn)) = (self.ups.get_mut(&id), self.conns.get_mut(&id)) else { return };
        up.streams.remove(&stream);
        let mut survives = false;
        if let Some(codec) = &mut up.codec {
            conn.write(None, |out| survives = codec.reset(stream, out));
        }
        if survives {
            self.touch(id);
        } else {
            self.forget(id);
            self.close(id, End::Close);
        }
    }

    /// A connection takes no more requests, and ends with those that it has.
    fn drain(&mut self, id: Id) {
        self.take_from_pool(id);
        let Some(up) = self.ups.get_mut(&id) else { return };
        up.draining = true;
        if up.streams.is_empty() {
            self.forget(id);
            self.close(id, End::Close);
        }
    }

    /// Takes a connection out of all lists; the exchanges that it had.
    fn forget(&mut self, id: Id) -> Vec<ExchangeId> {
        self.take_from_pool(id);
        let Some(up) = self.ups.remove(&id) else { return vec![] };
        let unused = |pool: &Pool| pool.ready.is_empty() && pool.pending.is_empty();
        if self.pools.get(&up.target).is_some_and(unused) {
            self.pools.remove(&up.target);
        }
        up.streams.into_values().collect()
    }

    /// A connection is lost, or could not be made.
    pub(super) fn up_lost(&mut self, id: Id, failure: Option<&Failure>, env: &mut Env<'_>) {
        let Some(up) = self.ups.get(&id) else { return };
        let (ready, target, tcp) = (up.ready, up.target.clone(), up.tcp);
        if let Some(down) = tcp {
            return self.tcp_lost(down, id, env);
        }
        let streams = self.forget(id);
        for x in streams {
            self.stream_reset(x, &Reset::Termination, env);
        }
        if !ready {
            // All that wait are told (purgePendingStreams).
            let pending = self.pools.get_mut(&target).map(|pool| std::mem::take(&mut pool.pending));
            let reset = Reset::ConnectFailure(failure.map(tls_error));
            for x in pending.into_iter().flatten() {
                self.stream_reset(x, &reset, env);
            }
        }
    }

    /// Connecting, or being idle, has lasted too long.
    pub(super) fn up_timer(&mut self, id: Id, env: &mut Env<'_>) {
        self.close(id, End::Close);
        self.up_lost(id, None, env);
    }

    /// Endpoints that are gone: connections to them end when they are free (drainConnections).
    pub(super) fn drain_removed(&mut self) {
        let gone = |up: &Up| {
            self.cluster(&up.target.cluster).is_some_and(|c| c.endpoints.iter().all(|e| e.address != up.target.address))
        };
        let ids: Vec<Id> =
            self.ups.iter().filter(|(_, up)| up.tcp.is_none() && up.ready && gone(up)).map(|(id, _)| *id).collect();
        for id in ids {
            self.drain(id);
        }
    }

    /// The connection of a downstream whose bytes are copied, or why there is none.
    pub(super) fn tcp_target(&mut self, down: Id, to: &Destination, env: &mut Env<'_>) -> Option<Target> {
        let down = self.downs.get(&down)?;
        let source = self.original_src(down);
        let target = self.choose(to, (down.worker, down.original), false, (&[], 0), env).ok()?;
        Some(Target { source, ..target })
    }

    /// envoy.filters.listener.original_src: in TPROXY mode what goes on to the pod keeps its client's address.
    pub(super) fn original_src(&self, down: &Down) -> Option<Ipv4Addr> {
        (self.bootstrap.transparent && down.side == Side::Inbound).then(|| *down.peer.ip())
    }
}

/// What BoringSSL says of it.
fn tls_error(failure: &Failure) -> String {
    let (number, text) = match failure {
        Failure::Certificate(_) => (268_435_581, "CERTIFICATE_VERIFY_FAILED"),
        Failure::Alert(42) => (268_436_498, "SSLV3_ALERT_BAD_CERTIFICATE"),
        Failure::Alert(46) => (268_436_502, "SSLV3_ALERT_CERTIFICATE_UNKNOWN"),
        Failure::Alert(48) => (268_436_504, "TLSV1_ALERT_UNKNOWN_CA"),
        Failure::NoTls => (268_435_703, "WRONG_VERSION_NUMBER"),
        _ => (268_435_612, "HANDSHAKE_FAILURE_ON_CLIENT_HELLO"),
    };
    format!("TLS error: {number}:SSL routines:OPENSSL_internal:{text}")
}
