//! pilot-agent, which runs beside Envoy: the connection to istiod, and the server that says whether the proxy is ready
//! (pkg/istio-agent, cmd/pilot-agent/status).

use super::conn::{End, Id};
use super::discovery::{self, Message, Request};
use super::downstream::Side;
use super::exchange::{now, own_body};
use super::head::{self, Response};
use super::program::Envoy;
use crate::base::Time;
use crate::base::time::SEC;
use crate::engine::process::Env;
use crate::user::tls::{Name, Session};
use std::fmt::Write as _;

/// Where pilot-agent serves its status.
pub(super) const STATUS_PORT: u16 = 15020;
/// gRPC's back-off: the first wait, its factor in tenths, and the longest (without its jitter).
const BACKOFF_NS: u64 = SEC;
const BACKOFF_TENTHS: u64 = 16;
const MAX_BACKOFF_NS: u64 = 120 * SEC;
/// The name under which the client of istiod is kept among those of clusters.
const DISCOVERY: &str = "xds-grpc";

/// The connection to istiod.
#[derive(Clone, Debug)]
pub(super) struct Agent {
    wanted: bool,
    conn: Option<Id>,
    /// The subscription was sent.
    subscribed: bool,
    version: u64,
    backoff_ns: u64,
    /// When it is tried again.
    pub timer: Option<Time>,
    /// Updates that were taken over, and why one was not.
    updates: u64,
    rejected: u64,
}

impl Agent {
    pub fn new(wanted: bool) -> Self {
        let (updates, rejected) = (0, 0);
        Agent {
            wanted,
            conn: None,
            subscribed: false,
            version: 0,
            backoff_ns: BACKOFF_NS,
            timer: None,
            updates,
            rejected,
        }
    }
}

impl Envoy {
    /// Begins the connection to istiod.
    pub(super) fn agent_connect(&mut self, env: &mut Env<'_>) {
        let Some(discovery) = self.bootstrap.discovery.clone().filter(|_| self.agent.wanted) else { return };
        let id = self.connect();
        let names = Name::host(&discovery.host).into_iter().collect();
        // Differs: h2 is not offered, since what follows is none.
        let client = self.tls.as_mut().and_then(|tls| tls.client(DISCOVERY, names, &[]));
        let session = client.and_then(|client| Session::client(&client, &discovery.host, id, env).ok());
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.tls = session.map(Box::new);
        }
        self.agent.conn = Some(id);
        self.agent.subscribed = false;
    }

    /// istiod has said something, or the handshake goes on.
    pub(super) fn agent_read(&mut self, id: Id, env: &mut Env<'_>) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.is_established() && !self.agent.subscribed {
            self.agent.subscribed = true;
            self.agent.backoff_ns = BACKOFF_NS;
            self.agent_say(id, 0);
        }
        while let Some(conn) = self.conns.get_mut(&id).filter(|c| !c.is_ending()) {
            match discovery::decode(&mut conn.input) {
                Ok(Some(Message::Response(response))) => {
                    let mut config = self.config.take().unwrap_or_default();
                    config.update(response.resources);
                    self.config = Some(config);
                    self.agent.version = response.version;
                    self.agent.updates += 1;
                    if let Some(tls) = &mut self.tls {
                        tls.forget_clients();
                    }
                    let clusters = &self.config.as_ref().map(|c| &c.clusters);
                    let known = |name: &str| clusters.is_some_and(|all| all.iter().any(|c| c.name == name));
                    self.balancers.retain(|(_, cluster), _| known(cluster));
                    self.drain_removed();
                    self.agent_say(id, response.version);
                }
                Ok(None) => break,
                Ok(Some(Message::Request(_))) | Err(_) => {
                    self.agent.rejected += 1;
                    self.close(id, End::Close);
                    self.agent_lost(id, env);
                }
            }
        }
        if self.conns.get(&id).is_some_and(|c| c.eof) {
            self.close(id, End::Close);
            self.agent_lost(id, env);
        }
    }

    fn agent_say(&mut self, id: Id, version: u64) {
        let node = self.bootstrap.node.id.clone();
        if let (Some(conn), Ok(bytes)) =
            (self.conns.get_mut(&id), discovery::encode(&Message::Request(Request { node, version })))
        {
            conn.write(None, |out| out.extend(bytes));
            self.touch(id);
        }
    }

    /// The connection is lost: another is tried after a while. What is known stays.
    pub(super) fn agent_lost(&mut self, id: Id, env: &mut Env<'_>) {
        if self.agent.conn != Some(id) {
            return;
        }
        self.agent.conn = None;
        self.agent.timer = Some(env.now + self.agent.backoff_ns);
        self.agent.backoff_ns = (self.agent.backoff_ns * BACKOFF_TENTHS / 10).min(MAX_BACKOFF_NS);
    }

    /// What pilot-agent answers, and Envoy at its port of counters.
    pub(super) fn own_page(&mut self, id: Id, stream: u32, request: &head::Request, end: bool, env: &mut Env<'_>) {
        let Some(down) = self.downs.get_mut(&id) else { return };
        let side = down.side;
        let ready = self.config.is_some();
        let (status, body) = match (side, request.path.as_str()) {
            (Side::Agent, "/healthz/ready") if ready => (200, String::new()),
            (Side::Agent, "/healthz/ready") => (503, self.not_ready()),
            (Side::Stats, "/stats/prometheus") => (200, self.stats()),
            _ => (404, "404 page not found\n".to_owned()),
        };
        let mut response = Response { status, ..Response::default() };
        own_body(&mut response, &body);
        response.fields.add("date", now(env));
        if !end {
            self.set_last(id);
        }
        let empty = body.is_empty() || request.method == "HEAD";
        self.answer(id, stream, response, empty);
        if !empty {
            self.answer_data(id, stream, body.as_bytes(), true);
        }
        self.answered(id, stream, env);
    }

    /// What pilot-agent says of a proxy without configuration (status/ready/probe.go).
    fn not_ready(&self) -> String {
        let (updates, rejected) = (self.agent.updates, self.agent.rejected);
        format!(
            "config not received from XDS server (is Istiod running?): cds updates: {updates} successful, {rejected} \
             rejected; lds updates: {updates} successful, {rejected} rejected"
        )
    }

    /// Counters that are kept anyway, as Prometheus reads them.
    fn stats(&self) -> String {
        let mut text = String::from("# TYPE envoy_cluster_upstream_cx_active gauge\n");
        let mut active = std::collections::BTreeMap::<&str, (usize, usize)>::new();
        for up in self.ups.values() {
            let (connections, requests) = active.entry(up.target.cluster.as_str()).or_default();
            *connections += 1;
            *requests += up.streams.len();
        }
        for (cluster, (connections, _)) in &active {
            let _ = writeln!(text, "envoy_cluster_upstream_cx_active{{cluster_name=\"{cluster}\"}} {connections}");
        }
        text += "# TYPE envoy_cluster_upstream_rq_active gauge\n";
        for (cluster, (_, requests)) in &active {
            let _ = writeln!(text, "envoy_cluster_upstream_rq_active{{cluster_name=\"{cluster}\"}} {requests}");
        }
        text
    }
}
