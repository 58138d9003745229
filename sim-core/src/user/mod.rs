//! Programs in user space, as state machines over the system calls: `ping` and `arping` of iputils 20221126. Options,
//! texts, exit statuses, the order of the system calls and the rules for waiting are those of the real programs.
//! Besides, scripts of system calls, and servers.

mod args;
mod arping;
pub mod dns;
mod ping;
#[cfg(test)]
mod script;
pub mod scripted;
mod udpecho;

use crate::base::words::{SyntaxError, Word};
use crate::engine::process::Program;

/// The programs that [`parse`] knows.
pub const PROGRAMS: [&str; 4] = ["arping", "dig", "getent", "ping"];

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
        "getent" => Ok(Box::new(dns::getent::parse(name, rest)?)),
        "arping" => Ok(Box::new(arping::Arping::new(arping::options::parse(name, rest)?))),
        other => Err(SyntaxError::at(name, format!("{other}: command not found")).hint_nearest(other, PROGRAMS)),
    }
}

/// The servers that [`parse_server`] knows.
pub const SERVERS: [&str; 2] = ["coredns", "udpecho"];

/// A program that never ends by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Server {
    /// Answers for names.
    CoreDns(dns::coredns::CoreDns),
    /// Sends each datagram back.
    UdpEcho(udpecho::UdpEcho),
}

impl Server {
    /// The server, ready to start.
    pub fn into_program(self) -> Box<dyn Program> {
        match self {
            Server::CoreDns(coredns) => coredns.into_program(),
            Server::UdpEcho(echo) => Box::new(echo),
        }
    }
}

/// Reads the command line of a server; its name comes first.
///
/// # Errors
/// There is no such server, or its words are wrong.
pub fn parse_server(words: &[Word]) -> Result<Server, SyntaxError> {
    let Some((name, rest)) = words.split_first() else { return Err(SyntaxError::new(0..0, "there is no command")) };
    match name.text.as_str() {
        "coredns" => dns::coredns::parse(name, rest).map(Server::CoreDns),
        "udpecho" => udpecho::parse(name, rest).map(Server::UdpEcho),
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
