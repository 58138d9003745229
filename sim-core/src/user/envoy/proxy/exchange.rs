//! A request and its response (source/common/router/router.cc): tries, retries, what the proxy answers itself.

use super::config::{CircuitBreakers, Cluster, Protocol, UpstreamProtocol};
use super::conn::{End, Id, Read};
use super::downstream::{Mode, Side};
use super::head::{Request, Response};
use super::headers::{self, Direction, Peer, Told};
use super::log::{Flag, Record};
use super::pool::Target;
use super::program::Envoy;
use super::route::{Choice, Destination, Routed};
use super::sniff::Http;
use crate::base::Time;
use crate::base::time::{MS, SEC, US};
use crate::engine::process::Env;
use crate::user::http::date;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Tells exchanges apart.
pub(super) type ExchangeId = u64;

/// A body is kept for another try up to this size (per_connection_buffer_limit_bytes).
const RETRY_BUFFER: usize = 1 << 20;
/// retry_back_off: at most so long before the first retry, twice that before the next, up to ten times. Milliseconds.
const RETRY_BASE_MS: u64 = 25;
const RETRY_MAX_MS: u64 = 250;
/// What it computes for a request, and for a response. Nanoseconds.
const REQUEST_COST_NS: u64 = 120 * US;
const RESPONSE_COST_NS: u64 = 60 * US;
const NO_ENDPOINT: &str = "no healthy upstream";
const CONNECT_ERROR: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

/// A request that is under way.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub down: Id,
    pub stream: u32,
    direction: Direction,
    request: Request,
    told: Told,
    /// What has come of the body and is kept.
    body: Vec<u8>,
    /// So much of it was handed on.
    sent: usize,
    /// It has come whole.
    body_end: bool,
    /// All that has come of the request.
    read: Option<Read>,
    /// `body` is all that has come of it, so it can be sent once more.
    kept: bool,
    choice: Choice,
    pub target: Option<Target>,
    /// The connection and stream that it is sent on.
    pub up: Option<(Id, u32)>,
    tries: u32,
    tried: Vec<SocketAddrV4>,
    pub retry_at: Option<Time>,
    complete_at: Time,
    /// The response's head has left.
    responded: bool,
    pub record: Record,
}

/// Why an upstream's stream has ended before the response (StreamResetReason).
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reset {
    /// There was no connection; what TLS says of it.
    ConnectFailure(Option<String>),
    /// The connection was lost.
    Termination,
    /// A limit of the cluster's.
    Overflow,
    /// The peer speaks no HTTP.
    Protocol,
    /// The peer has given it up; it was not worked on if it is refused.
    Remote { refused: bool },
}

impl Exchange {
    /// So much of the request waits for the upstream.
    pub fn unsent(&self) -> usize {
        self.body.len() - self.sent
    }
}

impl Envoy {
    /// A request has begun.
    pub(super) fn request(&mut self, id: Id, stream: u32, mut request: Request, end: bool, env: &mut Env<'_>) {
        env.spent_ns += REQUEST_COST_NS;
        let Some(down) = self.downs.get_mut(&id) else { return };
        down.timer = None;
        let side = down.side;
        if matches!(side, Side::Agent | Side::Stats) {
            return self.own_page(id, stream, &request, end, env);
        }
        if request.fields.has_word("expect", "100-continue") {
            request.fields.remove(&["expect"]);
            self.answer(id, stream, Response { status: 100, ..Response::default() }, false);
        }
        let Some(down) = self.downs.get(&id) else { return };
        let routed = self.route(down, &request);
        let direction = if side == Side::Outbound { Direction::Outbound } else { Direction::Inbound };
        let mut record = Record::request(&request, down, self.version(id), env.now);
        let told = if side == Side::Health {
            Told::default()
        } else {
            let decorator = if let Routed::To(choice) = &routed { choice.decorator.clone() } else { None };
            let shown = self.conns.get(&id).and_then(|c| c.tls.as_ref());
            let shown = shown.and_then(|tls| Some((tls.peer_uri()?, tls.peer_certificate()?.to_vec())));
            let by = self.bootstrap.node.identity.as_str();
            let peer = shown.as_ref().map(|(uri, certificate)| Peer { by, uri, certificate });
            let random = &mut self.random;
            headers::request(&mut request, direction, &self.bootstrap.node, decorator.as_deref(), peer, random)
        };
        record.request_id = request.fields.get("x-request-id").unwrap_or("-").to_owned();
        let (choice, own) = match routed {
            Routed::To(choice) => (choice, None),
            Routed::Own(status, flag, details) => (no_choice(), Some((status, flag, details))),
        };
        record.route.clone_from(&choice.name);
        let exchange = Exchange {
            down: id,
            stream,
            direction,
            request,
            told,
            body: vec![],
            sent: 0,
            body_end: end,
            read: self.reading.clone(),
            kept: true,
            choice,
            target: None,
            up: None,
            tries: 0,
            tried: vec![],
            retry_at: None,
            complete_at: env.now,
            responded: false,
            record,
        };
        let x = self.number();
        self.exchanges.insert(x, exchange);
        if let Some(down) = self.downs.get_mut(&id) {
            down.streams.insert(stream, x);
        }
        match own {
            Some((status, flag, details)) => self.own_answer(x, status, "", flag, details, env),
            None => self.attempt(x, env),
        }
    }

    /// Some of a request's body has come.
    pub(super) fn request_data(&mut self, x: ExchangeId, data: &[u8], end: bool, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.body.extend_from_slice(data);
        exchange.body_end |= end;
        exchange.record.received += data.len() as u64;
        if let (Some(read), Some(more)) = (&mut exchange.read, &self.reading) {
            read.and(more);
        }
        if end {
            exchange.complete_at = env.now;
        }
        let read = self.reading.clone();
        self.forward(x, read.as_ref());
    }

    /// Sends what has come of the body and was not sent, which was read there.
    fn forward(&mut self, x: ExchangeId, read: Option<&Read>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        let Some((up, stream)) = exchange.up else { return };
        if exchange.unsent() > 0 || exchange.body_end {
            let data = exchange.body[exchange.sent..].to_vec();
            exchange.sent = exchange.body.len();
            if exchange.sent > RETRY_BUFFER {
                (exchange.sent, exchange.kept) = (0, false);
                exchange.body.clear();
            }
            let end = exchange.body_end;
            self.up_data((up, stream), &data, end, read);
        }
    }

    /// Chooses an endpoint, and a connection to it.
    fn attempt(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get(&x) else { return };
        let Some(down) = self.downs.get(&exchange.down) else { return };
        let (worker, original, source) = (down.worker, down.original, self.original_src(down));
        let (to, tried) = (exchange.choice.to.clone(), exchange.tried.clone());
        let reselect = exchange.choice.retry.as_ref().map_or(0, |r| r.host_selection_attempts);
        let http2 = self.version(exchange.down) == Http::Two;
        let target = match self.choose(&to, (worker, original), http2, (&tried, reselect), env) {
            Ok(target) => Target { source, ..target },
            Err(None) => return self.own_answer(x, 503, "", Flag::NC, "cluster_not_found", env),
            Err(Some(cluster)) => {
                if let Some(exchange) = self.exchanges.get_mut(&x) {
                    exchange.record.cluster = cluster;
                }
                return self.own_answer(x, 503, NO_ENDPOINT, Flag::UH, "no_healthy_upstream", env);
            }
        };
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.tries += 1;
        exchange.sent = 0;
        exchange.tried.push(target.address);
        exchange.record.cluster.clone_from(&target.cluster);
        exchange.record.upstream = Some(target.address);
        exchange.target = Some(target.clone());
        if exchange.direction == Direction::Outbound {
            exchange.request.fields.set("x-envoy-attempt-count", exchange.tries.to_string());
        }
        if exchange.tries == 1 && to != Destination::Agent {
            headers::trace(&mut exchange.request, &mut self.random);
        }
        self.new_stream(x, &target, env);
    }

    /// The address, and how it is spoken to, for a worker and where its downstream was meant to go. Endpoints that were
    /// tried are passed over so often. An error names the cluster that has no endpoints; none if there is no such
    /// cluster.
    pub(super) fn choose(
        &mut self,
        to: &Destination,
        (worker, original): (u32, SocketAddrV4),
        http2: bool,
        (tried, reselect): (&[SocketAddrV4], u32),
        env: &mut Env<'_>,
    ) -> Result<Target, Option<String>> {
        let fixed = |cluster: &str, address, http2| {
            Ok(Target { worker, cluster: cluster.to_owned(), address, mtls: false, http2, source: None })
        };
        let name = match to {
            Destination::Cluster(name) => name,
            Destination::Passthrough => return fixed("PassthroughCluster", original, http2),
            Destination::Agent => {
                let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, super::agent::STATUS_PORT);
                return fixed("agent", address, false);
            }
            Destination::Inbound => {
                let port = original.port();
                let known = self.config.iter().flat_map(|c| &c.inbound).find(|i| i.port == port);
                let (cluster, http2) = match known.map(|i| i.protocol) {
                    None => (super::pool::INBOUND_PASSTHROUGH.to_owned(), http2),
                    Some(Protocol::Auto) => (format!("inbound|{port}||"), http2),
                    Some(protocol) => (format!("inbound|{port}||"), protocol == Protocol::Http2),
                };
                return fixed(&cluster, original, http2);
            }
        };
        let active = self.active(worker, name);
        let cluster = self.config.iter().flat_map(|c| &c.clusters).find(|c| c.name == *name).ok_or(None)?;
        let whose = [env.salt.word(), u64::from(env.pid.0), u64::from(worker)];
        let balancer = self.balancers.entry((worker, name.clone()));
        let balancer = balancer.or_insert_with(|| super::balance::Balancer::new(env.prf, &whose, name));
        let chosen = balancer.choose(cluster, &active, tried, reselect).ok_or_else(|| Some(name.clone()))?;
        let endpoint = &cluster.endpoints[chosen];
        let http2 = match cluster.protocol {
            UpstreamProtocol::Http11 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::UseDownstream => http2,
        };
        let (address, mtls) = (endpoint.address, endpoint.identity.is_some());
        Ok(Target { worker, cluster: name.clone(), address, mtls, http2, source: None })
    }

    /// A connection takes the request: its head leaves, and what has come of its body.
    pub(super) fn stream_ready(&mut self, x: ExchangeId, up: Id, stream: u32) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.up = Some((up, stream));
        exchange.record.local = self.ups.get(&up).and_then(|u| u.local);
        let end = exchange.body_end && exchange.body.is_empty();
        let (request, read) = (exchange.request.clone(), exchange.read.clone());
        self.up_head((up, stream), request, end, read.as_ref());
        if !end {
            self.forward(x, read.as_ref());
        }
    }

    /// The upstream's response has begun.
    pub(super) fn response(&mut self, x: ExchangeId, mut response: Response, end: bool, env: &mut Env<'_>) {
        env.spent_ns += RESPONSE_COST_NS;
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        let retriable = exchange.choice.retry.as_ref().is_some_and(|r| r.status_codes.contains(&response.status));
        if retriable && self.may_retry(x) {
            if end {
                self.release(x, env);
            } else {
                self.give_up_stream(x);
            }
            return self.schedule_retry(x, env);
        }
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        let service_time_ms = (env.now - exchange.complete_at) / MS;
        exchange.record.responded(response.status, "via_upstream", Some(service_time_ms));
        if retriable {
            exchange.record.flags.push(Flag::URX);
        }
        if exchange.choice.to != Destination::Agent {
            let (direction, told) = (exchange.direction, &exchange.told);
            headers::response(&mut response, direction, &self.bootstrap.node, told, service_time_ms, &now(env));
        }
        exchange.responded = true;
        let (down, stream) = (exchange.down, exchange.stream);
        if end && !exchange.body_end {
            self.set_last(down);
        }
        self.answer(down, stream, response, end);
        if end {
            self.response_ended(x, env);
        }
    }

    /// Some of its body.
    pub(super) fn response_data(&mut self, x: ExchangeId, data: &[u8], end: bool, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.record.sent += data.len() as u64;
        let (down, stream) = (exchange.down, exchange.stream);
        self.answer_data(down, stream, data, end);
        if end {
            self.response_ended(x, env);
        }
    }

    fn response_ended(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        if !exchange.body_end {
            // Nobody wants the rest of the request.
            self.give_up_stream(x);
        }
        self.complete(x, env);
    }

    /// Both messages are over.
    fn complete(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        self.release(x, env);
        let Some(exchange) = self.exchanges.remove(&x) else { return };
        self.log(&exchange.record, env);
        self.answered(exchange.down, exchange.stream, env);
    }

    /// The upstream's stream has ended before its time.
    pub(super) fn stream_reset(&mut self, x: ExchangeId, reset: &Reset, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.up = None;
        let flag = reset.flag();
        if exchange.responded {
            // The downstream is told by the connection's end, or the stream's.
            exchange.record.flags.push(flag);
            let (down, stream) = (exchange.down, exchange.stream);
            let Some(exchange) = self.exchanges.remove(&x) else { return };
            self.log(&exchange.record, env);
            return self.down_reset(down, stream, env);
        }
        let asked = exchange.choice.retry.as_ref().is_some_and(|retry| match reset {
            Reset::ConnectFailure(_) => retry.connect_failure,
            Reset::Remote { refused } => *refused && retry.refused_stream,
            Reset::Termination | Reset::Overflow | Reset::Protocol => false,
        });
        if asked && self.may_retry(x) {
            return self.schedule_retry(x, env);
        }
        if let Some(exchange) = self.exchanges.get_mut(&x).filter(|_| asked) {
            exchange.record.flags.push(flag);
        }
        let flag = if asked { Flag::URX } else { flag };
        if let (Reset::ConnectFailure(Some(failure)), Some(exchange)) = (reset, self.exchanges.get_mut(&x)) {
            exchange.record.tls_failure.clone_from(failure);
        }
        let status = if *reset == Reset::Protocol { 502 } else { 503 };
        let details = format!("upstream_reset_before_response_started{{{}}}", reset.name().replace(' ', "_"));
        let body = format!("{CONNECT_ERROR}{}", reset.text());
        self.own_answer(x, status, &body, flag, &details, env);
    }

    fn may_retry(&self, x: ExchangeId) -> bool {
        let Some(exchange) = self.exchanges.get(&x) else { return false };
        let Some(retry) = &exchange.choice.retry else { return false };
        let cluster = exchange.target.as_ref().map_or("", |t| t.cluster.as_str());
        let tries_again = |(id, e): &(&ExchangeId, &Exchange)| **id != x && e.tries > 1 && e.record.cluster == cluster;
        let others = self.exchanges.iter().filter(tries_again).count();
        let most = self.breakers(cluster).max_retries as usize;
        exchange.kept && exchange.tries <= retry.num_retries && others < most
    }

    /// Another try, after JitteredExponentialBackOffStrategy's time.
    fn schedule_retry(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        let interval = (RETRY_BASE_MS << exchange.tries.saturating_sub(1).min(8)).min(RETRY_MAX_MS);
        exchange.up = None;
        exchange.retry_at = Some(env.now + self.random.below(interval) * MS);
    }

    /// Its time has come.
    pub(super) fn retry(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        if let Some(exchange) = self.exchanges.get_mut(&x) {
            exchange.retry_at = None;
            self.attempt(x, env);
        }
    }

    /// The downstream has gone, or has given the stream up.
    pub(super) fn cancel(&mut self, x: ExchangeId, env: &mut Env<'_>) {
        self.give_up_stream(x);
        for pool in self.pools.values_mut() {
            pool.pending.retain(|pending| *pending != x);
        }
        let Some(mut exchange) = self.exchanges.remove(&x) else { return };
        if let Some(down) = self.downs.get_mut(&exchange.down) {
            down.streams.remove(&exchange.stream);
        }
        exchange.record.flags.push(Flag::DC);
        exchange.record.details = "downstream_remote_disconnect".to_owned();
        self.log(&exchange.record, env);
    }

    /// Answers in the upstream's place (sendLocalReply).
    fn own_answer(&mut self, x: ExchangeId, status: u16, body: &str, flag: Flag, details: &str, env: &mut Env<'_>) {
        let Some(exchange) = self.exchanges.get_mut(&x) else { return };
        exchange.record.responded(status, details, None);
        exchange.record.flags.push(flag);
        let mut response = Response { status, ..Response::default() };
        if flag == Flag::UO {
            response.fields.add("x-envoy-overloaded", "true");
        }
        let is_head = exchange.request.method == "HEAD";
        let Exchange { down, stream, direction, body_end, .. } = *exchange;
        own_body(&mut response, body);
        headers::own(&mut response, direction, &exchange.told, &now(env));
        exchange.responded = true;
        exchange.record.sent = if is_head { 0 } else { body.len() as u64 };
        if !body_end {
            self.set_last(down);
        }
        let empty = body.is_empty() || is_head;
        self.answer(down, stream, response, empty);
        if !empty {
            self.answer_data(down, stream, body.as_bytes(), true);
        }
        self.complete(x, env);
    }

    /// What has come is no request.
    pub(super) fn bad_request(&mut self, id: Id, status: u16, env: &mut Env<'_>) {
        if self.version(id) == Http::Two {
            // GOAWAY has said so.
            self.down_lost(id, env);
            return self.close(id, End::Close);
        }
        let Some(down) = self.downs.get(&id) else { return };
        let direction = if down.side == Side::Inbound { Direction::Inbound } else { Direction::Outbound };
        let mut response = Response { status, ..Response::default() };
        // The body of 426 is empty: it is the connection manager's, the others are the codec's.
        let body = if status == 426 { "" } else { super::head::reason(status) };
        own_body(&mut response, body);
        headers::own(&mut response, direction, &Told::default(), &now(env));
        let mut record = Record::request(&Request::default(), down, self.version(id), env.now);
        record.responded(status, "http1.codec_error", None);
        record.flags.push(Flag::DPE);
        self.log(&record, env);
        self.set_last(id);
        self.answer(id, 1, response, body.is_empty());
        if !body.is_empty() {
            self.answer_data(id, 1, body.as_bytes(), true);
        }
        self.answered(id, 1, env);
    }

    /// A response that was under way cannot end.
    fn down_reset(&mut self, id: Id, stream: u32, env: &mut Env<'_>) {
        let (Some(down), Some(conn)) = (self.downs.get_mut(&id), self.conns.get_mut(&id)) else { return };
        down.streams.remove(&stream);
        let Mode::Http(codec) = &mut down.mode else { return };
        let mut survives = false;
        conn.write(None, |out| survives = codec.reset(stream, out));
        if survives {
            return self.touch(id);
        }
        self.down_lost(id, env);
        self.close(id, End::Close);
    }

    /// Which HTTP a downstream speaks.
    fn version(&self, id: Id) -> Http {
        match self.downs.get(&id).map(|d| &d.mode) {
            Some(Mode::Http(codec)) => codec.version(),
            _ => Http::One,
        }
    }

    /// Requests under way to each endpoint of a cluster, by one worker.
    fn active(&self, worker: u32, cluster: &str) -> std::collections::BTreeMap<SocketAddrV4, u32> {
        let mut active = std::collections::BTreeMap::new();
        let targets = self.exchanges.values().filter(|e| e.retry_at.is_none()).filter_map(|e| e.target.as_ref());
        for target in targets.filter(|t| t.worker == worker && t.cluster == cluster) {
            *active.entry(target.address).or_default() += 1;
        }
        active
    }

    /// A cluster's limits.
    pub(super) fn breakers(&self, name: &str) -> CircuitBreakers {
        self.cluster(name).map(|c| c.circuit_breakers).unwrap_or_default()
    }

    /// What is known of a cluster.
    pub(super) fn cluster(&self, name: &str) -> Option<&Cluster> {
        self.config.iter().flat_map(|c| &c.clusters).find(|c| c.name == name)
    }
}

impl Reset {
    fn flag(&self) -> Flag {
        match self {
            Reset::ConnectFailure(_) => Flag::UF,
            Reset::Termination => Flag::UC,
            Reset::Overflow => Flag::UO,
            Reset::Protocol => Flag::UPE,
            Reset::Remote { .. } => Flag::UR,
        }
    }

    /// Utility::resetReasonToString
    fn name(&self) -> &'static str {
        match self {
            Reset::ConnectFailure(_) => "connection failure",
            Reset::Termination => "connection termination",
            Reset::Overflow => "overflow",
            Reset::Protocol => "protocol error",
            Reset::Remote { refused: false } => "remote reset",
            Reset::Remote { refused: true } => "remote refused stream reset",
        }
    }

    fn text(&self) -> String {
        match self {
            Reset::ConnectFailure(Some(failure)) => {
                format!("{}, transport failure reason: {failure}", self.name())
            }
            _ => self.name().to_owned(),
        }
    }
}

/// A request that the proxy answers itself has no route.
fn no_choice() -> Choice {
    Choice { name: "-".to_owned(), to: Destination::Passthrough, decorator: None, retry: None }
}

/// The body's fields, before all others.
pub(super) fn own_body(response: &mut Response, body: &str) {
    if !body.is_empty() {
        response.fields.add("content-length", body.len().to_string());
        response.fields.add("content-type", "text/plain");
    }
}

/// The time as HTTP writes it.
pub(super) fn now(env: &Env<'_>) -> String {
    date::http((env.epoch_ns + env.now.0) / SEC)
}
