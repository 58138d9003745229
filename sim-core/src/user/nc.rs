//! `nc`: netcat-openbsd 1.219 of Debian 12, over IPv4: a client of TCP and UDP, a server of one client after the other,
//! a prober of ports. Messages, exit statuses, the order of the system calls and what poll is asked are its own.

mod options;
mod relay;
pub(crate) mod services;
#[cfg(test)]
mod tests;

use crate::base::time::SEC;
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, From, PollFd, Ret, SockOpt, SocketKind};
use crate::user::dns::resolver::{Etc, Family, Progress, Resolver};
use relay::{Relay, Terms};
use std::net::{Ipv4Addr, SocketAddrV4};

pub use options::Options;
pub(crate) use options::parse;

/// listen(2) of nc: so few.
const BACKLOG: u32 = 1;
/// The most that a server of UDP takes from its first datagram; it is the buffer that it is read into.
const FIRST_DATAGRAM: usize = 16_384;
/// -v looks at UDP ports for so many seconds unless -w says something else.
const UDP_SCAN_S: u64 = 3;
/// getservbyport(3) reads a file.
const SERVICE_NS: u64 = 60_000;

/// A run of nc.
#[derive(Clone)]
pub(crate) struct Nc {
    o: Options,
    at: At,
    fd: Fd,
    /// The connection of a server.
    client: Fd,
    /// The next of the ports.
    next: usize,
    /// The status that it exits with.
    status: i32,
    relay: Option<Box<Relay>>,
    /// Writes of a probe of UDP that are left.
    writes: u64,
    /// Looks up the destination, if that is a name.
    resolver: Option<Box<Resolver>>,
}

/// The call that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Resolve,
    Socket,
    NonBlock,
    ReuseAddr,
    Bind,
    Listen,
    SockName,
    Accept,
    First,
    Caller,
    Connect,
    Connecting,
    Outcome,
    Refused,
    Probe,
    ProbeSleep,
    Relay,
    Closed,
    Lingers,
    Quit,
}

impl Options {
    /// It goes on until it is interrupted, if no client comes.
    pub(crate) fn is_endless(&self) -> bool {
        self.listen
    }

    /// Gives it its standard input; without one, it is at its end.
    pub(crate) fn feed(&mut self, text: String) {
        self.input = text.into_bytes();
    }

    fn protocol(&self) -> &'static str {
        if self.udp { "udp" } else { "tcp" }
    }

    /// A host as getnameinfo(3) shows it where /etc/hosts has the loopback address alone.
    fn name(&self, addr: Ipv4Addr) -> String {
        if addr == Ipv4Addr::LOCALHOST && !self.numeric { "localhost".to_owned() } else { addr.to_string() }
    }
}

impl Nc {
    pub(crate) fn new(o: Options) -> Self {
        let status = i32::from(!o.listen);
        Nc { o, at: At::Start, fd: Fd(0), client: Fd(0), next: 0, status, relay: None, writes: 0, resolver: None }
    }

    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    fn exit(&mut self, status: i32) -> Call {
        self.call(At::Quit, Call::Exit(status))
    }

    /// err(3)
    fn fail(&mut self, what: &str, e: Errno, env: &mut Env<'_>) -> Call {
        let colon = if what.is_empty() { "" } else { ": " };
        env.console.err(format!("nc: {what}{colon}{e}\n"));
        self.exit(1)
    }

    fn socket(&mut self) -> Call {
        let kind = if self.o.udp { SocketKind::Udp } else { SocketKind::Tcp };
        self.call(At::Socket, Call::Socket(kind))
    }

    /// The port that is tried.
    fn port(&self) -> u16 {
        self.o.ports.get(self.next).copied().unwrap_or_default()
    }

    /// remote_connect for the port, or the end.
    fn next_port(&mut self, env: &mut Env<'_>) -> Call {
        if self.next >= self.o.ports.len() {
            return self.exit(self.status);
        }
        if !self.o.named {
            return self.socket();
        }
        let family = if self.o.ipv4 { Family::Inet } else { Family::Unspec };
        let resolver = match self.resolver.take() {
            Some(resolver) => resolver.then_name(&self.o.host, family),
            None => Resolver::by_name(&Etc::read(env), &self.o.host, family),
        };
        self.resolver = Some(Box::new(resolver));
        self.resolve(Ret::Start, env)
    }

    /// getaddrinfo(3), for each port once more.
    fn resolve(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let Some(resolver) = &mut self.resolver else { return self.socket() };
        match resolver.step(ret, env) {
            Progress::Call(call) => self.call(At::Resolve, call),
            Progress::Done(Ok(found)) => {
                self.o.addr = found.addresses.first().copied();
                self.socket()
            }
            Progress::Done(Err(e)) => {
                let (host, port) = (&self.o.host, self.port());
                env.console.err(format!("nc: getaddrinfo for host \"{host}\" port {port}: {e}\n"));
                self.exit(1)
            }
        }
    }

    fn connect(&mut self) -> Call {
        let addr = SocketAddrV4::new(self.o.addr.unwrap_or(Ipv4Addr::UNSPECIFIED), self.port());
        self.call(At::Connect, Call::Connect { fd: self.fd, addr })
    }

    fn bind(&mut self, addr: Option<Ipv4Addr>, port: u16) -> Call {
        let addr = SocketAddrV4::new(addr.unwrap_or(Ipv4Addr::UNSPECIFIED), port);
        self.call(At::Bind, Call::Bind { fd: self.fd, addr })
    }

    /// The port is reached, as far as connect(2) tells.
    fn connected(&mut self, env: &mut Env<'_>) -> Call {
        self.status = 0;
        if self.o.verbose && self.o.udp {
            self.writes = 2 + self.o.timeout_s.unwrap_or(UDP_SCAN_S);
            return self.probe();
        }
        self.succeeded(env)
    }

    /// udptest: two writes, and one more each second.
    fn probe(&mut self) -> Call {
        self.call(At::Probe, Call::Send { fd: self.fd, to: None, data: b"X".to_vec() })
    }

    fn probed(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        let first = self.writes == 2 + self.o.timeout_s.unwrap_or(UDP_SCAN_S);
        if matches!(ret, Ret::Err(e) if first || *e == Errno::ECONNREFUSED) {
            self.status = 1;
            return self.close();
        }
        self.writes -= 1;
        match self.writes {
            0 => self.succeeded(env),
            _ if first => self.probe(),
            _ => self.call(At::ProbeSleep, Call::Sleep { ns: SEC }),
        }
    }

    fn succeeded(&mut self, env: &mut Env<'_>) -> Call {
        if self.o.verbose {
            let (host, port, protocol) = (&self.o.host, self.port(), self.o.protocol());
            let name = if self.o.numeric { None } else { services::by_port(port, self.o.udp) };
            let addr = self.o.addr.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
            let addr = if self.o.numeric || *host == addr { String::new() } else { format!(" ({addr})") };
            let name = name.unwrap_or("*");
            env.console.err(format!("Connection to {host}{addr} {port} port [{protocol}/{name}] succeeded!\n"));
            env.spent_ns += SERVICE_NS;
        }
        if self.o.probe { self.close() } else { self.relay(self.fd, None, env) }
    }

    /// A connect that failed.
    fn refused(&mut self, e: Errno, how: &str, env: &mut Env<'_>) -> Call {
        if self.o.verbose {
            let (host, port, protocol) = (&self.o.host, self.port(), self.o.protocol());
            let addr = self.o.addr.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
            let addr = if self.o.numeric || *host == addr { String::new() } else { format!(" ({addr})") };
            env.console.err(format!("nc: connect to {host}{addr} port {port} ({protocol}) {how}: {e}\n"));
        }
        self.close()
    }

    /// Done with this port.
    fn close(&mut self) -> Call {
        self.next += 1;
        self.call(At::Refused, Call::Close { fd: self.fd })
    }

    fn relay(&mut self, fd: Fd, waiting: Option<Vec<u8>>, env: &mut Env<'_>) -> Call {
        self.client = fd;
        self.relay = Some(Box::new(Relay::new(fd, self.terms(waiting))));
        self.relayed(Ret::Start, env)
    }

    fn terms(&self, waiting: Option<Vec<u8>>) -> Terms {
        let Options { listen, shutdown, timeout_s, detached, .. } = self.o;
        Terms { listen, shutdown, timeout_s, detached, waiting }
    }

    fn relayed(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        self.at = At::Relay;
        let next = self.relay.as_mut().and_then(|r| r.step(ret, &mut self.o.input, env.console));
        if let Some(call) = next {
            return call;
        }
        // Only a relay that ended by itself waits; one whose time was out does not.
        let waits = self.o.quit_s > 0 && !self.relay.take().is_some_and(|r| r.is_late());
        let at = if waits { At::Lingers } else { At::Closed };
        if !self.o.listen && !waits {
            return self.close();
        }
        if self.o.udp && self.o.listen && self.o.keep && !waits {
            return self.relay(self.fd, None, env);
        }
        self.call(at, Call::Close { fd: self.client })
    }

    /// A server: the calls until it listens, and for each client.
    fn serve(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Socket, Ret::Fd(fd)) => {
                self.fd = fd;
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt: SockOpt::ReuseAddr(true) })
            }
            (At::Accept, Ret::Err(e)) => self.fail("accept", e, env),
            (At::First, Ret::Err(e)) => self.fail("recvfrom", e, env),
            (At::Caller, Ret::Err(e)) => self.fail("connect", e, env),
            (At::Socket | At::Bind, Ret::Err(e)) => self.fail("", e, env),
            (At::Listen, Ret::Err(e)) => self.fail("listen", e, env),
            (At::ReuseAddr, _) => self.bind(self.o.addr, self.port()),
            (At::Bind, _) if !self.o.udp => self.call(At::Listen, Call::Listen { fd: self.fd, backlog: BACKLOG }),
            (At::Bind | At::Listen, _) if self.o.verbose => self.call(At::SockName, Call::SockName { fd: self.fd }),
            (At::SockName, Ret::Addr(addr)) => {
                let what = if self.o.udp { "Bound to" } else { "Listening on" };
                env.console.err(format!("{what} {} {}\n", self.o.name(*addr.ip()), addr.port()));
                self.wait_for_client(env)
            }
            (At::Accept, Ret::Accepted { fd, from }) => {
                self.greet(from, env);
                self.relay(fd, None, env)
            }
            (At::First, Ret::Message(m)) => {
                let From::Ip(addr) = m.from else { return self.wait_for_client(env) };
                self.greet(addr, env);
                self.relay = Some(Box::new(Relay::new(self.fd, self.terms(Some(m.data)))));
                self.call(At::Caller, Call::Connect { fd: self.fd, addr })
            }
            (At::Caller, _) => {
                self.client = self.fd;
                self.relayed(Ret::Start, env)
            }
            // The client was served.
            (At::Closed, _) if self.client == self.fd => self.exit(0),
            (At::Closed, _) if self.o.keep => self.wait_for_client(env),
            (At::Closed, _) => {
                self.client = self.fd;
                self.call(At::Closed, Call::Close { fd: self.fd })
            }
            _ => self.wait_for_client(env),
        }
    }

    fn wait_for_client(&mut self, env: &mut Env<'_>) -> Call {
        let fd = self.fd;
        match (self.o.udp, self.o.keep) {
            (false, _) => self.call(At::Accept, Call::Accept { fd, nonblock: true }),
            (true, true) => self.relay(fd, None, env),
            // Differs: it only peeks at the datagram; the relay reads it as its first.
            (true, false) => {
                self.call(At::First, Call::Recv { fd, size: FIRST_DATAGRAM, dontwait: false, errqueue: false })
            }
        }
    }

    fn greet(&self, from: SocketAddrV4, env: &mut Env<'_>) {
        if self.o.verbose {
            env.console.err(format!("Connection received on {} {}\n", self.o.name(*from.ip()), from.port()));
        }
    }

    /// A client: the calls for each port.
    fn try_port(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Socket, Ret::Fd(fd)) => {
                self.fd = fd;
                self.call(At::NonBlock, Call::SetSockOpt { fd, opt: SockOpt::NonBlock(true) })
            }
            (At::Bind, Ret::Err(e)) => self.fail("bind failed", e, env),
            (At::NonBlock, _) if self.o.source_port != 0 || self.o.source.is_some() => {
                self.bind(self.o.source, self.o.source_port)
            }
            (At::NonBlock | At::Bind, _) => self.connect(),
            (At::Connect, Ret::Err(Errno::EINPROGRESS)) => {
                let timeout_ns = self.o.timeout_s.filter(|s| *s > 0).map(|s| s * SEC);
                self.call(At::Connecting, Call::Poll { fds: vec![PollFd::write(self.fd)], timeout_ns })
            }
            (At::Connecting, Ret::Poll(ready)) if ready.is_empty() => {
                self.refused(Errno::EINPROGRESS, "timed out", env)
            }
            (At::Connecting, _) => self.call(At::Outcome, Call::SocketError { fd: self.fd }),
            (At::Connect, Ret::Err(e)) | (At::Outcome, Ret::SocketError(Some(e))) => self.refused(e, "failed", env),
            (At::Connect | At::Outcome, _) => self.connected(env),
            (At::Probe, ret) => self.probed(&ret, env),
            (At::ProbeSleep, _) => self.probe(),
            (At::Socket, _) => {
                self.next += 1;
                self.next_port(env)
            }
            _ => self.next_port(env),
        }
    }
}

impl Program for Nc {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        if env.interrupted {
            return self.exit(0);
        }
        match self.at {
            At::Relay => self.relayed(ret, env),
            // -q: an alarm ends it.
            At::Lingers => self.call(At::Quit, Call::Sleep { ns: self.o.quit_s * SEC }),
            At::Quit => self.exit(0),
            At::Start => self.next_port(env),
            At::Resolve => self.resolve(ret, env),
            _ if self.o.listen => self.serve(ret, env),
            _ => self.try_port(ret, env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
