//! The processes of a namespace: one that sends a packet, one that waits for some.

use super::packet::Packet;
use crate::engine::{Env, Program};
use crate::kernel::syscall::{Call, Fd, Ret, SendTo, SockOpt, SocketKind};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Sends one packet by a raw socket and ends, with the number of the error as its status.
#[derive(Clone)]
pub(super) struct Sender {
    fd: Fd,
    calls: Vec<Call>,
    next: usize,
}

impl Sender {
    /// Sends the packet, whose IPv4 header the kernel makes anew, with a mark (SO_MARK).
    pub fn new(packet: &Packet, mark: u32) -> Self {
        let fd = Fd(0);
        let [src, dst] = [packet.src, packet.dst].map(|address| SocketAddrV4::new(address, 0));
        let calls = vec![
            Call::Socket(SocketKind::Raw { protocol: packet.protocol }),
            Call::SetSockOpt { fd, opt: SockOpt::Ttl(packet.ttl) },
            Call::SetSockOpt { fd, opt: SockOpt::Tos(packet.tos) },
            Call::SetSockOpt { fd, opt: SockOpt::Mark(mark) },
            Call::SetSockOpt { fd, opt: SockOpt::Broadcast(true) },
            Call::Bind { fd, addr: src },
            Call::Send { fd, to: Some(SendTo::Ip(dst)), data: packet.segment() },
        ];
        Sender { fd, calls, next: 0 }
    }
}

impl Program for Sender {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        match ret {
            Ret::Err(errno) => return Call::Exit(errno.number()),
            Ret::Fd(fd) => self.fd = fd,
            _ => {}
        }
        let call = self.calls.get(self.next).cloned();
        self.next += 1;
        match call {
            Some(Call::SetSockOpt { opt, .. }) => Call::SetSockOpt { fd: self.fd, opt },
            Some(Call::Bind { addr, .. }) => Call::Bind { fd: self.fd, addr },
            Some(Call::Send { to, data, .. }) => Call::Send { fd: self.fd, to, data },
            Some(call) => call,
            None => Call::Exit(0),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

/// Has a socket at a port and reads what comes; of connections it takes all and reads none. Ends with the number of the
/// error if it cannot have the port.
#[derive(Clone)]
pub(super) struct Waiter {
    kind: SocketKind,
    port: u16,
    fd: Fd,
    bound: bool,
    waits: bool,
}

impl Waiter {
    pub fn new(kind: SocketKind, port: u16) -> Self {
        Waiter { kind, port, fd: Fd(0), bound: false, waits: false }
    }
}

impl Program for Waiter {
    fn step(&mut self, ret: Ret, _: &mut Env<'_>) -> Call {
        let fd = self.fd;
        match ret {
            Ret::Start => return Call::Socket(self.kind),
            Ret::Fd(fd) => {
                self.fd = fd;
                return Call::Bind { fd, addr: SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, self.port) };
            }
            Ret::Err(errno) if !self.waits => return Call::Exit(errno.number()),
            _ => {}
        }
        let listens = self.kind == SocketKind::Tcp;
        if listens && !std::mem::replace(&mut self.bound, true) {
            return Call::Listen { fd, backlog: 128 };
        }
        self.waits = true;
        match listens {
            true => Call::Accept { fd, nonblock: false },
            false => Call::Recv { fd, size: 65_535, dontwait: false, errqueue: false },
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
