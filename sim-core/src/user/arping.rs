//! arping(8) of iputils 20221126.
//!
//! Two timers run from the start: one for probes, one for -w. The first one's tick after the last probe ends it,
//! whether there was an answer or not.

pub(super) mod options;

use crate::base::time::SEC;
use crate::base::{IfIndex, Mac, Time};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::show::{self, Link};
use crate::kernel::syscall::{Call, Fd, From, Message, PollFd, Ret, SendTo, SockOpt, SocketKind};
use crate::wire::ETH_P_ARP;
use crate::wire::arp::{ARP_LEN, Arp};
use options::Options;
use std::net::{Ipv4Addr, SocketAddrV4};

/// ARPHRD_ETHER
const ARPHRD_ETHER: u16 = 1;
/// The port that the probe for the source address is connected to; nothing is sent there.
const PROBE_PORT: u16 = 1025;
/// Its buffer for what it receives, in bytes.
const RECV_SIZE: usize = 4096;

/// A run of arping.
#[derive(Clone)]
pub(super) struct Arping {
    o: Options,
    at: At,
    /// The packet socket.
    sock: Fd,
    /// A UDP socket, which finds the source address and is no good for anything else.
    probe: Fd,
    dev: IfIndex,
    /// The device's name.
    name: String,
    own: Mac,
    source: Ipv4Addr,
    /// Where probes go: everybody, then who answered.
    target: Mac,
    unicasting: bool,
    next_tick: Option<Time>,
    timeout: Option<Time>,
    /// Ticks of the timer for probes, and one for the start.
    ticks: u64,
    /// When the last probe was sent.
    last: Option<Time>,
    /// poll(2) said that there is something to receive.
    readable: bool,
    /// It is to end.
    over: bool,
    /// An exit status that was earned on the way.
    status: i32,
    sent: u64,
    broadcasts: u64,
    received: u64,
    received_broadcasts: u64,
    received_requests: u64,
}

/// What the last system call was for.
#[derive(Clone, Copy)]
enum At {
    Start,
    PacketSocket,
    /// No device was named: the one towards the destination.
    GuessSocket,
    GuessConnect,
    GuessName,
    ProbeSocket,
    ProbeDevice,
    DontRoute,
    Connect,
    SockName,
    BindSource,
    BindDevice,
    /// A probe, sent at this time.
    Send(Time),
    Poll,
    Receive,
}

impl Program for Arping {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match std::mem::replace(&mut self.at, At::Start) {
            At::Start => self.call(At::PacketSocket, Call::Socket(SocketKind::Packet { ethertype: ETH_P_ARP })),
            At::Send(at) => self.sent(&ret, at, env),
            At::Poll => self.polled(&ret, env),
            At::Receive => self.receive(&ret, env),
            setup => self.prepared(setup, &ret, env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Arping {
    pub(super) fn new(o: Options) -> Self {
        let speaks_for_target = o.unsolicited && !o.dad;
        let source = o.source.or(speaks_for_target.then_some(o.dst)).unwrap_or(Ipv4Addr::UNSPECIFIED);
        Arping {
            o,
            at: At::Start,
            sock: Fd(0),
            probe: Fd(0),
            dev: IfIndex(0),
            name: String::new(),
            own: Mac::ZERO,
            source,
            target: Mac::BROADCAST,
            unicasting: false,
            next_tick: None,
            timeout: None,
            ticks: 1,
            last: None,
            readable: false,
            over: false,
            status: 0,
            sent: 0,
            broadcasts: 0,
            received: 0,
            received_broadcasts: 0,
            received_requests: 0,
        }
    }

    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    /// Goes on after one of the system calls before the first probe.
    fn prepared(&mut self, at: At, ret: &Ret, env: &mut Env<'_>) -> Call {
        let probe = self.probe;
        match (at, ret) {
            (_, Ret::Err(e)) => Arping::setup_failed(at, *e, env),
            (At::PacketSocket, Ret::Fd(fd)) => {
                self.sock = *fd;
                match self.o.device.clone() {
                    Some(name) => self.use_device(|l| l.name == name, &name, env),
                    None => self.call(At::GuessSocket, Call::Socket(SocketKind::Udp)),
                }
            }
            (At::GuessSocket, Ret::Fd(fd)) => {
                self.probe = *fd;
                self.call(At::GuessConnect, Call::Connect { fd: *fd, addr: SocketAddrV4::new(self.o.dst, PROBE_PORT) })
            }
            (At::GuessConnect, _) => self.call(At::GuessName, Call::SockName { fd: probe }),
            // Differs: the real program asks for the route's device, this one for the device of the route's source.
            (At::GuessName, Ret::Addr(addr)) => match *addr.ip() == self.o.dst {
                true => self.use_device(|l| l.flags.loopback, "lo", env),
                false => self.use_device(|l| l.addrs.iter().any(|a| a.local.addr() == *addr.ip()), "", env),
            },
            (At::ProbeSocket, Ret::Fd(fd)) => {
                self.probe = *fd;
                let opt = SockOpt::BindToDevice(self.dev);
                self.call(At::ProbeDevice, Call::SetSockOpt { fd: *fd, opt })
            }
            (At::ProbeDevice, _) if !self.source.is_unspecified() => {
                self.call(At::BindSource, Call::Bind { fd: probe, addr: SocketAddrV4::new(self.source, 0) })
            }
            (At::ProbeDevice, _) => {
                self.call(At::DontRoute, Call::SetSockOpt { fd: probe, opt: SockOpt::DontRoute(true) })
            }
            (At::DontRoute, _) => {
                self.call(At::Connect, Call::Connect { fd: probe, addr: SocketAddrV4::new(self.o.dst, PROBE_PORT) })
            }
            (At::Connect, _) => self.call(At::SockName, Call::SockName { fd: probe }),
            (At::SockName, Ret::Addr(addr)) => {
                self.source = *addr.ip();
                self.bind_device()
            }
            (At::BindSource, _) => self.bind_device(),
            (At::BindDevice, _) => self.begin(env),
            // A kernel that answers something else than was asked.
            _ => Call::Exit(2),
        }
    }

    /// Takes the device that `is` picks out, if ARP works on it.
    fn use_device(&mut self, is: impl Fn(&Link) -> bool, name: &str, env: &mut Env<'_>) -> Call {
        let Some(link) = show::links(env.spaces, env.ns, env.now).into_iter().find(is) else {
            env.console.err(format!("arping: Device {name} not available.\n"));
            return Call::Exit(2);
        };
        let refused = match () {
            () if !link.flags.up => Some(("is down", 2)),
            () if link.flags.noarp || link.arphrd != ARPHRD_ETHER => {
                Some(("is not ARPable", if self.o.dad { 0 } else { 2 }))
            }
            () => None,
        };
        if let Some((why, status)) = refused {
            if !self.o.quiet {
                env.console.out(format!("Interface \"{}\" {why}\n", link.name));
            }
            return Call::Exit(status);
        }
        self.dev = link.index;
        self.own = link.address;
        self.name = link.name;
        if self.o.dad && self.source.is_unspecified() {
            return self.bind_device();
        }
        self.call(At::ProbeSocket, Call::Socket(SocketKind::Udp))
    }

    fn bind_device(&mut self) -> Call {
        let (fd, dev) = (self.sock, self.dev);
        self.call(At::BindDevice, Call::BindDev { fd, dev })
    }

    fn setup_failed(at: At, e: Errno, env: &mut Env<'_>) -> Call {
        let (text, status) = match at {
            At::PacketSocket | At::GuessSocket | At::ProbeSocket => (format!("socket: {e}"), 2),
            // What the real program says when the kernel answers its question for the route with an error.
            At::GuessConnect => ("NETLINK_ROUTE unexpected iov element".to_owned(), 1),
            At::Connect => (format!("connect: {e}"), 2),
            At::BindSource | At::BindDevice => (format!("bind: {e}"), 2),
            At::SockName | At::GuessName => (format!("getsockname: {e}"), 2),
            _ => (format!("setsockopt: {e}"), 2),
        };
        env.console.err(format!("arping: {text}\n"));
        Call::Exit(status)
    }

    fn begin(&mut self, env: &mut Env<'_>) -> Call {
        if !self.o.quiet {
            env.console.out(format!("ARPING {} from {} {}\n", self.o.dst, self.source, self.name));
        }
        if !self.o.dad && self.source.is_unspecified() {
            env.console.err("arping: no source address in not-DAD mode\n");
            return Call::Exit(2);
        }
        let after = |s: u64| (s > 0).then_some(env.now + s * SEC);
        self.next_tick = after(self.o.interval_s);
        self.timeout = after(self.o.timeout_s);
        self.send(env)
    }

    fn send(&mut self, env: &Env<'_>) -> Call {
        let tha = if self.o.advertise { self.own } else { self.target };
        let arp = Arp { request: !self.o.advertise, sha: self.own, sip: self.source, tha, tip: self.o.dst };
        let mut data = vec![0; ARP_LEN];
        arp.write(&mut data);
        let to = Some(SendTo::Link { dev: self.dev, mac: self.target });
        self.call(At::Send(env.now), Call::Send { fd: self.sock, to, data })
    }

    /// A probe that could not be sent is not spoken of.
    fn sent(&mut self, ret: &Ret, at: Time, env: &mut Env<'_>) -> Call {
        if let Ret::Sent(_) = ret {
            self.last = Some(at);
            self.sent += 1;
            self.broadcasts += u64::from(!self.unicasting);
        }
        self.receive_if_any(env)
    }

    /// What poll(2) found is dealt with in the order of its list: the timer for probes, the timer for -w, the socket.
    fn polled(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        if let Ret::Poll(ready) = ret {
            self.readable = !ready.is_empty();
        }
        let due = self.tick(env.now);
        self.over |= self.timeout.is_some_and(|t| t <= env.now);
        if due { self.send(env) } else { self.receive_if_any(env) }
    }

    /// Reads the timer for probes; whether one is due.
    fn tick(&mut self, now: Time) -> bool {
        let Some(tick) = self.next_tick.filter(|t| *t <= now) else { return false };
        let interval = self.o.interval_s * SEC;
        let expired = 1 + (now - tick) / interval;
        self.next_tick = Some(tick + expired * interval);
        self.ticks += expired;
        let enough = self.o.count.is_some_and(|n| n < self.ticks);
        self.over |= enough;
        !enough
    }

    fn receive_if_any(&mut self, env: &mut Env<'_>) -> Call {
        if std::mem::take(&mut self.readable) {
            let fd = self.sock;
            return self.call(At::Receive, Call::Recv { fd, size: RECV_SIZE, dontwait: false, errqueue: false });
        }
        self.wait(env)
    }

    fn wait(&mut self, env: &mut Env<'_>) -> Call {
        if self.over {
            return self.finish(env);
        }
        let next = self.next_tick.into_iter().chain(self.timeout).min();
        let timeout_ns = next.map(|t| t - env.now);
        let fd = self.sock;
        self.call(At::Poll, Call::Poll { fds: vec![PollFd::read(fd)], timeout_ns })
    }

    fn receive(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        match ret {
            Ret::Message(m) => self.answer(m, env),
            Ret::Err(e) => {
                env.console.err(format!("arping: recvfrom: {e}\n"));
                if *e == Errno::ENETDOWN {
                    self.status = 2;
                }
            }
            _ => {}
        }
        self.wait(env)
    }

    fn answer(&mut self, m: &Message, env: &mut Env<'_>) {
        let From::Link { broadcast, .. } = m.from else { return };
        let Some(arp) = Arp::parse(&m.data).filter(|a| self.is_answer(a)) else { return };
        if !self.o.quiet {
            self.print(&arp, broadcast, env);
        }
        self.received += 1;
        self.received_broadcasts += u64::from(broadcast);
        self.received_requests += u64::from(arp.request);
        let enough = self.timeout.is_some() && self.o.count == Some(self.received);
        if enough || self.o.quit_on_reply {
            self.over = true;
        } else if !self.o.broadcast_only {
            self.target = arp.sha;
            self.unicasting = true;
        }
    }

    fn is_answer(&self, a: &Arp) -> bool {
        let about = a.sip == self.o.dst;
        if self.o.dad {
            // Any sign of somebody else with the address.
            return about && a.sha != self.own && (self.source.is_unspecified() || a.tip == self.source);
        }
        about && a.tip == self.source && a.tha == self.own
    }

    fn print(&self, a: &Arp, broadcast: bool, env: &mut Env<'_>) {
        let how = if broadcast { "Broadcast" } else { "Unicast" };
        let what = if a.request { "request" } else { "reply" };
        let mut line = format!("{how} {what} from {} [{}] ", a.sip, hex(a.sha));
        if a.tip != self.source {
            line.push_str(&format!("for {} ", a.tip));
        }
        if a.tha != self.own {
            line.push_str(if a.tip == self.source { "for " } else { "" });
            line.push_str(&format!("[{}]", hex(a.tha)));
        }
        match self.last {
            Some(at) => {
                let us = (env.now - at + 500) / 1000;
                line.push_str(&format!(" {}.{:03}ms\n", us / 1000, us % 1000));
            }
            None => line.push_str(" UNSOLICITED?\n"),
        }
        env.console.out(line);
    }

    fn finish(&mut self, env: &mut Env<'_>) -> Call {
        if !self.o.quiet {
            let mut text = format!("Sent {} probes ({} broadcast(s))\n", self.sent, self.broadcasts);
            text.push_str(&format!("Received {} response(s)", self.received));
            let kinds = [(self.received_requests, "request"), (self.received_broadcasts, "broadcast")];
            let kinds: Vec<String> =
                kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n} {kind}(s)")).collect();
            if !kinds.is_empty() {
                text.push_str(&format!(" ({})", kinds.join(", ")));
            }
            env.console.out(format!("{text}\n"));
        }
        let failed = match () {
            () if self.o.dad => self.received > 0,
            () if self.o.unsolicited => false,
            () => self.received == 0 || self.o.count.is_some() && self.received != self.sent,
        };
        Call::Exit(self.status | i32::from(failed))
    }
}

/// A hardware address as arping prints it.
fn hex(mac: Mac) -> String {
    mac.to_string().to_uppercase()
}

#[cfg(test)]
mod tests;
