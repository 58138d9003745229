//! `udpecho PORT`: sends each datagram back to where it came from, until the run ends.

use super::scripted::{DEFAULT_COST_NS, DEFAULT_RECV_SIZE};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Fd, From, Ret, SendTo, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UdpEcho {
    port: u16,
    at: At,
    sock: Fd,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    Bind,
    Recv,
    Send,
}

/// Reads the words behind the name.
pub(super) fn parse(name: &Word, words: &[Word]) -> Result<UdpEcho, SyntaxError> {
    Ok(UdpEcho { port: super::args::port(name, words)?, at: At::Start, sock: Fd(0) })
}

impl UdpEcho {
    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    fn recv(&mut self) -> Call {
        self.call(At::Recv, Call::Recv { fd: self.sock, size: DEFAULT_RECV_SIZE, dontwait: false, errqueue: false })
    }
}

impl Program for UdpEcho {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Start, _) => self.call(At::Socket, Call::Socket(SocketKind::Udp)),
            (At::Socket, Ret::Fd(fd)) => {
                self.sock = fd;
                let addr = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port);
                self.call(At::Bind, Call::Bind { fd, addr })
            }
            (At::Socket | At::Bind, Ret::Err(e)) => {
                env.console.err(format!("udpecho {}: {e}\n", self.port));
                Call::Exit(1)
            }
            (At::Recv, Ret::Message(m)) => {
                let From::Ip(to) = m.from else { return self.recv() };
                env.spent_ns = DEFAULT_COST_NS;
                self.call(At::Send, Call::Send { fd: self.sock, to: Some(SendTo::Ip(to)), data: m.data })
            }
            // What cannot be sent back is lost, as a datagram may be.
            _ => self.recv(),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
