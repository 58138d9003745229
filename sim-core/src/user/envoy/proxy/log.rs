//! The access log, in the format that Istio 1.13 gives Envoy (EnvoyTextLogFormat).

use super::downstream::Down;
use super::head::Request;
use super::program::Envoy;
use super::sniff::Http;
use crate::base::Time;
use crate::base::time::MS;
use crate::engine::process::Env;
use crate::user::http::date;
use std::net::{Ipv4Addr, SocketAddrV4};

/// %RESPONSE_FLAGS%: what was unusual, as it is printed.
#[allow(clippy::upper_case_acronyms)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flag {
    /// Downstream connection termination.
    DC,
    /// The downstream's protocol error.
    DPE,
    /// No such cluster.
    NC,
    /// No route.
    NR,
    /// Upstream connection termination.
    UC,
    /// Upstream connection failure.
    UF,
    /// No healthy upstream.
    UH,
    /// Upstream overflow: a limit of the cluster's.
    UO,
    /// The upstream's protocol error.
    UPE,
    /// The upstream has reset it.
    UR,
    /// The limit of retries.
    URX,
    /// Nothing is unusual.
    None,
}

/// A line.
#[derive(Clone, Debug)]
pub(super) struct Record {
    start: Time,
    /// `GET / HTTP/1.1`, or `- - -`.
    line: String,
    status: u16,
    pub flags: Vec<Flag>,
    pub details: String,
    pub tls_failure: String,
    pub received: u64,
    pub sent: u64,
    pub service_time_ms: Option<u64>,
    forwarded_for: String,
    user_agent: String,
    pub request_id: String,
    authority: String,
    pub upstream: Option<SocketAddrV4>,
    pub cluster: String,
    pub local: Option<SocketAddrV4>,
    original: SocketAddrV4,
    peer: SocketAddrV4,
    server_name: String,
    pub route: String,
}

impl Record {
    /// Of a connection whose bytes are copied.
    pub fn connection(down: &Down, start: Time) -> Self {
        let dash = || "-".to_owned();
        Record {
            start,
            line: "- - -".to_owned(),
            status: 0,
            flags: vec![],
            details: dash(),
            tls_failure: dash(),
            received: 0,
            sent: 0,
            service_time_ms: None,
            forwarded_for: dash(),
            user_agent: dash(),
            request_id: dash(),
            authority: dash(),
            upstream: None,
            cluster: dash(),
            local: None,
            original: down.original,
            peer: down.peer,
            server_name: down.hello.server_name.clone().unwrap_or_else(dash),
            route: dash(),
        }
    }

    /// Of a request as it has come.
    pub fn request(request: &Request, down: &Down, version: Http, now: Time) -> Self {
        let field = |name| request.fields.get(name).unwrap_or("-").to_owned();
        let version = if version == Http::Two { "HTTP/2" } else { "HTTP/1.1" };
        Record {
            line: format!("{} {} {version}", request.method, request.path),
            forwarded_for: field("x-forwarded-for"),
            user_agent: field("user-agent"),
            authority: request.authority.clone(),
            ..Record::connection(down, now)
        }
    }

    /// There is a response.
    pub fn responded(&mut self, status: u16, details: &str, service_time_ms: Option<u64>) {
        (self.status, self.service_time_ms) = (status, service_time_ms);
        details.clone_into(&mut self.details);
    }

    fn text(&self, env: &Env<'_>) -> String {
        let address = |a: Option<SocketAddrV4>| a.map_or_else(|| "-".to_owned(), |a| a.to_string());
        let upstream = self.upstream.map_or_else(|| "\"-\"".to_owned(), |a| format!("\"{a}\""));
        let flags: Vec<String> = self.flags.iter().filter(|f| **f != Flag::None).map(|f| format!("{f:?}")).collect();
        let flags = if flags.is_empty() { "-".to_owned() } else { flags.join(",") };
        let service_time = self.service_time_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let original = Some(self.original).filter(|a| *a.ip() != Ipv4Addr::UNSPECIFIED);
        format!(
            "[{}] \"{}\" {} {flags} {} - \"{}\" {} {} {} {service_time} \"{}\" \"{}\" \"{}\" \"{}\" {upstream} \
             {} {} {} {} {} {}\n",
            date::iso_ms((env.epoch_ns + self.start.0) / MS),
            self.line,
            self.status,
            self.details,
            self.tls_failure,
            self.received,
            self.sent,
            (env.now - self.start) / MS,
            self.forwarded_for,
            self.user_agent,
            self.request_id,
            self.authority,
            self.cluster,
            address(self.local),
            address(original),
            self.peer,
            self.server_name,
            self.route,
        )
    }
}

impl Envoy {
    /// Writes a line.
    pub(super) fn log(&self, record: &Record, env: &mut Env<'_>) {
        if self.bootstrap.access_log {
            let text = record.text(env);
            env.console.out(text);
        }
    }
}
