//! Programs in user space, as state machines over the system calls: `ping` and `arping` of iputils 20221126, `nc` of
//! netcat-openbsd 1.219, `curl` 7.88, `dig` and `nslookup` 9.18, `getent` and `iperf3` 3.12. Options, texts, exit
//! statuses, the order of the system calls and the rules for waiting are those of the real programs. Besides, servers,
//! and scripts of system calls.

pub(crate) mod args;
mod arping;
pub mod dns;
pub mod envoy;
pub mod http;
pub mod iperf3;
pub mod istiod;
pub mod nc;
#[cfg(feature = "tls")]
mod pilot_agent;
mod ping;
#[cfg(test)]
mod script;
pub mod scripted;
pub mod setpriv;
#[cfg(test)]
mod stream;
mod tcpproxy;
mod tcpserve;
pub mod tls;
mod udpecho;

use crate::base::words::{SyntaxError, Word};
use crate::engine::process::Program;
use crate::kernel::cred::Cred;

/// The programs that [`parse`] knows.
pub const PROGRAMS: [&str; 7] = ["arping", "curl", "dig", "getent", "iperf3", "nslookup", "ping"];

/// Reads the command line of a program; its name comes first.
///
/// # Errors
/// What the real program would say about its words before it does anything; that a part of it is not simulated; or that
/// there is no such program.
pub fn parse(words: &[Word]) -> Result<Box<dyn Program>, SyntaxError> {
    let Some((name, rest)) = words.split_first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    match name.text.as_str() {
        "ping" => Ok(Box::new(ping::Ping::new(ping::options::parse(name, rest)?))),
        "dig" => Ok(Box::new(dns::dig::parse(rest)?)),
        "nslookup" => Ok(Box::new(dns::nslookup::parse(name, rest)?)),
        "getent" => Ok(Box::new(dns::getent::parse(name, rest)?)),
        "curl" => Ok(Box::new(http::curl::parse(name, rest)?)),
        "arping" => Ok(Box::new(arping::Arping::new(arping::options::parse(name, rest)?))),
        "iperf3" => iperf3::parse(name, rest),
        other => Err(SyntaxError::at(name, format!("{other}: command not found")).hint_nearest(other, PROGRAMS)),
    }
}

/// These words start a program that goes on until it is interrupted.
pub fn is_endless(words: &[Word]) -> bool {
    match words.split_first() {
        Some((name, rest)) if name.text == "iperf3" => iperf3::is_endless(name, rest),
        _ => false,
    }
}

/// The servers that [`parse_server`] knows.
pub const SERVERS: [&str; 11] = [
    "coredns",
    "haproxy",
    "iperf3",
    "nginx",
    "pilot-agent",
    "pilot-discovery",
    "python3",
    "slowd",
    "tcpecho",
    "tcpproxy",
    "udpecho",
];

/// A program that never ends by itself.
#[derive(Clone, Debug)]
pub enum Server {
    /// Answers for names.
    CoreDns(dns::coredns::CoreDns),
    /// Sends each datagram back.
    UdpEcho(udpecho::UdpEcho),
    /// Measures streams.
    Iperf3(iperf3::Options),
    /// Serves streams.
    Tcp(tcpserve::TcpServer),
    /// Carries redirected streams on.
    TcpProxy(tcpproxy::TcpProxy),
    /// Serves files as nginx does.
    Nginx(http::nginx::Nginx),
    /// Says that there is no server, as HAProxy does.
    HaProxy(http::haproxy::HaProxy),
    /// Serves files as Python's http.server does.
    Python(http::python::HttpServer),
    /// Tells a mesh's proxies what they are to do.
    Istiod(istiod::Istiod),
    /// A mesh's proxy.
    #[cfg(feature = "tls")]
    PilotAgent(pilot_agent::PilotAgent),
}

impl Server {
    /// What it puts in the place of its command line (setproctitle), if it does.
    pub fn title(&self) -> Option<&'static str> {
        match self {
            Server::Nginx(_) => Some("nginx: master process nginx -g daemon off;"),
            _ => None,
        }
    }

    /// The server, ready to start.
    pub fn into_program(self) -> Box<dyn Program> {
        match self {
            Server::CoreDns(coredns) => coredns.into_program(),
            Server::UdpEcho(echo) => Box::new(echo),
            Server::Iperf3(options) => options.into_server(),
            Server::Tcp(server) => Box::new(server),
            Server::TcpProxy(proxy) => Box::new(proxy),
            Server::Nginx(nginx) => Box::new(nginx),
            Server::HaProxy(haproxy) => Box::new(haproxy),
            Server::Python(python) => Box::new(python),
            Server::Istiod(istiod) => Box::new(istiod),
            #[cfg(feature = "tls")]
            Server::PilotAgent(agent) => Box::new(agent),
        }
    }
}

/// Reads the command line of a server that may run as somebody (`setpriv … nginx`): as whom, and where in the line its
/// own words begin.
///
/// # Errors
/// As [`parse_server`] and [`setpriv::split`].
pub fn parse_server_as(words: &[Word]) -> Result<(Cred, usize, Server), SyntaxError> {
    let (cred, words) = setpriv::split(words)?.unwrap_or((Cred::ROOT, words));
    Ok((cred, words.first().map_or(0, |word| word.span.start), parse_server(words)?))
}

/// Reads the command line of a server; its name comes first.
///
/// # Errors
/// There is no such server, or its words are wrong.
pub fn parse_server(words: &[Word]) -> Result<Server, SyntaxError> {
    let Some((name, rest)) = words.split_first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    match name.text.as_str() {
        "coredns" => dns::coredns::parse(rest).map(Server::CoreDns),
        "udpecho" => udpecho::parse(name, rest).map(Server::UdpEcho),
        "iperf3" => iperf3::parse_server(name, rest).map(Server::Iperf3),
        "slowd" => tcpserve::parse(name, rest, tcpserve::Service::Slow).map(Server::Tcp),
        "tcpecho" => tcpserve::parse(name, rest, tcpserve::Service::Echo).map(Server::Tcp),
        "tcpproxy" => tcpproxy::parse(name, rest).map(Server::TcpProxy),
        "haproxy" => http::haproxy::parse(rest).map(Server::HaProxy),
        "nginx" => http::nginx::parse(rest).map(Server::Nginx),
        "python3" => http::python::parse(name, rest).map(Server::Python),
        #[cfg(feature = "tls")]
        "pilot-agent" => pilot_agent::parse(name, rest).map(Server::PilotAgent),
        "pilot-discovery" => istiod::parse(rest).map(Server::Istiod),
        other => {
            let known = format!("the servers are: {}", SERVERS.join(", "));
            let hint = match crate::base::words::nearest(other, SERVERS) {
                Some(near) => format!("did you mean \"{near}\"? {known}"),
                None => known,
            };
            Err(SyntaxError::at(name, format!("{other}: there is no such server")).hint(hint))
        }
    }
}
