//! ping's preparations: the system calls before the first request, in their order, and what it says when one fails.

use super::options::Options;
use super::{At, Ping, wire};
use crate::base::hex;
use crate::base::time::{MS, SEC};
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::show;
use crate::kernel::syscall::{Call, Fd, PmtuDisc, Ret, SockOpt, SocketKind};
use std::collections::VecDeque;
use std::net::SocketAddrV4;

/// The port that the probe is connected to; nothing is sent there.
const PROBE_PORT: u16 = 1025;
/// SO_RCVBUF
const RECV_BUF: u32 = 65_536;
/// The ICMP types that a raw socket lets through at first.
const WANTED: u32 = 1 << wire::ECHO_REPLY
    | 1 << wire::DEST_UNREACH
    | 1 << wire::SOURCE_QUENCH
    | 1 << wire::REDIRECT
    | 1 << wire::TIME_EXCEEDED
    | 1 << wire::PARAMETER_PROBLEM;
/// Those that are left once the error queue has shown that it works.
const WANTED_BESIDES_ERRORS: u32 = 1 << wire::ECHO_REPLY | 1 << wire::SOURCE_QUENCH | 1 << wire::REDIRECT;

/// A preparation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Setup {
    PingSocket,
    RawSocket,
    Tos,
    /// A UDP socket, whose connect(2) finds the route and the source address.
    Probe,
    ProbeDevice,
    Device,
    ProbeTos,
    Connect,
    /// After a connect that was refused because the destination is a broadcast address.
    ProbeBroadcast,
    SockName,
    Bind,
    Pmtu,
    IcmpFilter,
    RecvErr,
    RecvBuf,
    Broadcast,
    Ttl,
    RecvTimeout,
    Deadline,
}

/// The preparations for these options.
pub(super) fn plan(o: &Options) -> VecDeque<Setup> {
    let tos = o.tos.is_some();
    let device = o.device.is_some();
    let probe = o.source.is_none_or(|a| a.is_unspecified());
    [
        (Setup::PingSocket, true),
        (Setup::Tos, tos),
        (Setup::Probe, probe),
        (Setup::ProbeDevice, probe && device),
        (Setup::Device, device),
        (Setup::ProbeTos, probe && tos),
        (Setup::Connect, probe),
        (Setup::SockName, probe),
        (Setup::Bind, o.source.is_some()),
        (Setup::Pmtu, pmtu(o).is_some()),
        (Setup::IcmpFilter, true),
        (Setup::RecvErr, true),
        (Setup::RecvBuf, true),
        (Setup::Broadcast, o.broadcast),
        (Setup::Ttl, o.ttl.is_some()),
        (Setup::RecvTimeout, true),
        (Setup::Deadline, o.deadline_s > 0),
    ]
    .into_iter()
    .filter_map(|(step, wanted)| wanted.then_some(step))
    .collect()
}

/// -M; datagrams to many are never cut unless that was asked for.
fn pmtu(o: &Options) -> Option<PmtuDisc> {
    o.pmtu.or((o.broadcast || o.dst.is_multicast()).then_some(PmtuDisc::Do))
}

impl Ping {
    pub(super) fn start(&mut self, env: &mut Env<'_>) -> Call {
        if let Some(pattern) = self.o.pattern.as_ref().filter(|_| !self.o.quiet) {
            env.console.out(format!("PATTERN: 0x{}\n", hex(pattern)));
        }
        self.prepare(env)
    }

    /// The next preparation; then the first request.
    fn prepare(&mut self, env: &mut Env<'_>) -> Call {
        let Some(step) = self.plan.pop_front() else { return self.round(env) };
        if step == Setup::IcmpFilter && !self.raw {
            return self.prepare(env);
        }
        if step == Setup::RecvTimeout {
            self.print_header(env);
        }
        self.at = At::Setup(step);
        self.call_for(step, env).unwrap_or_else(|e| self.setup_failed(step, e, env))
    }

    fn call_for(&self, step: Setup, env: &Env<'_>) -> Result<Call, Errno> {
        let set = |fd: Fd, opt: SockOpt| Call::SetSockOpt { fd, opt };
        let (sock, probe) = (self.sock, self.probe);
        Ok(match step {
            Setup::PingSocket => Call::Socket(SocketKind::Ping),
            Setup::RawSocket => Call::Socket(SocketKind::Raw { protocol: crate::wire::IPPROTO_ICMP }),
            Setup::Probe => Call::Socket(SocketKind::Udp),
            Setup::Tos => set(sock, SockOpt::Tos(self.o.tos.unwrap_or(0))),
            Setup::ProbeTos => set(probe, SockOpt::Tos(self.o.tos.unwrap_or(0))),
            Setup::Device => set(sock, self.bind_to_device(env)?),
            Setup::ProbeDevice => set(probe, self.bind_to_device(env)?),
            Setup::Connect => Call::Connect { fd: probe, addr: SocketAddrV4::new(self.dst, PROBE_PORT) },
            Setup::ProbeBroadcast => set(probe, SockOpt::Broadcast(true)),
            Setup::SockName => Call::SockName { fd: probe },
            Setup::Bind => Call::Bind { fd: sock, addr: SocketAddrV4::new(self.source, 0) },
            Setup::Pmtu => set(sock, SockOpt::MtuDiscover(pmtu(&self.o).unwrap_or_default())),
            Setup::IcmpFilter => set(sock, SockOpt::IcmpFilter(!WANTED)),
            Setup::RecvErr => set(sock, SockOpt::RecvErr(true)),
            Setup::RecvBuf => set(sock, SockOpt::RecvBuf(RECV_BUF)),
            Setup::Broadcast => set(sock, SockOpt::Broadcast(true)),
            Setup::Ttl => set(sock, SockOpt::Ttl(self.o.ttl.unwrap_or(0))),
            Setup::RecvTimeout => set(sock, SockOpt::RecvTimeout(self.min_interval_ms().unsigned_abs() * MS)),
            Setup::Deadline => Call::Alarm { ns: self.o.deadline_s * SEC },
        })
    }

    /// SO_BINDTODEVICE takes a name on a real node.
    fn bind_to_device(&self, env: &Env<'_>) -> Result<SockOpt, Errno> {
        let links = show::links(env.spaces, env.ns, env.now);
        let name = self.o.device.as_deref().unwrap_or_default();
        links.iter().find(|l| l.name == name).map(|l| SockOpt::BindToDevice(l.index)).ok_or(Errno::ENODEV)
    }

    /// Goes on after a preparation.
    pub(super) fn prepared(&mut self, step: Setup, ret: &Ret, env: &mut Env<'_>) -> Call {
        match (step, ret) {
            (Setup::PingSocket, Ret::Err(_)) => self.plan.push_front(Setup::RawSocket),
            (Setup::Connect, Ret::Err(Errno::EACCES)) if self.o.broadcast && !self.probe_broadcast => {
                env.console.err("WARNING: pinging broadcast address\n");
                self.probe_broadcast = true;
                self.plan.push_front(Setup::Connect);
                self.plan.push_front(Setup::ProbeBroadcast);
            }
            (_, Ret::Err(e)) => return self.setup_failed(step, *e, env),
            (Setup::PingSocket, Ret::Fd(fd)) => self.sock = *fd,
            (Setup::RawSocket, Ret::Fd(fd)) => {
                self.sock = *fd;
                self.raw = true;
                self.ident = env.pid.0 as u16;
            }
            (Setup::Probe, Ret::Fd(fd)) => self.probe = *fd,
            (Setup::SockName, Ret::Addr(addr)) => {
                self.source = *addr.ip();
                if self.dst.is_unspecified() {
                    self.dst = *addr.ip();
                }
                self.warn_of_device(env);
            }
            (Setup::RecvTimeout, _) => self.started = env.now,
            _ => {}
        }
        self.prepare(env)
    }

    /// The source address was found by the route; it may be another device's.
    fn warn_of_device(&self, env: &mut Env<'_>) {
        let Some(name) = &self.o.device else { return };
        let links = show::links(env.spaces, env.ns, env.now);
        let mut addrs = links.iter().filter(|l| l.name == *name).flat_map(|l| &l.addrs);
        if !addrs.any(|a| a.local.addr() == self.source) {
            let text = "Warning: source address might be selected on device other than:";
            env.console.err(format!("ping: {text} {name}\n"));
        }
    }

    fn print_header(&self, env: &mut Env<'_>) {
        let device = self.o.device.as_deref().unwrap_or_default();
        let from = match self.o.device.is_some() || self.o.source.is_some() {
            true => format!("from {} {device}: ", self.source),
            false => String::new(),
        };
        let (host, size) = (&self.o.host, self.o.size);
        let whole = size + wire::ICMP_HLEN + 20;
        env.console.out(format!("PING {host} ({}) {from}{size}({whole}) bytes of data.\n", self.dst));
    }

    fn setup_failed(&self, step: Setup, e: Errno, env: &mut Env<'_>) -> Call {
        let device = self.o.device.as_deref().unwrap_or_default();
        let text = match step {
            Setup::PingSocket | Setup::Probe => format!("socket: {e}"),
            Setup::RawSocket => {
                env.console.err("ping: socktype: SOCK_RAW\n");
                format!("socket: {e}")
            }
            Setup::ProbeDevice | Setup::Device => format!("SO_BINDTODEVICE {device}: {e}"),
            Setup::Connect if e == Errno::EACCES && !self.o.broadcast => {
                "Do you want to ping broadcast? Then -b. If not, check your local firewall rules".to_owned()
            }
            Setup::Connect => format!("connect: {e}"),
            Setup::ProbeBroadcast | Setup::Broadcast => format!("cannot set broadcasting: {e}"),
            Setup::SockName => format!("getsockname: {e}"),
            Setup::Bind => format!("bind: {e}"),
            Setup::Ttl => format!("cannot set unicast time-to-live: {e}"),
            _ => format!("setsockopt: {e}"),
        };
        env.console.err(format!("ping: {text}\n"));
        Call::Exit(2)
    }

    /// The raw socket need not hear of ICMP errors twice.
    pub(super) fn narrow_filter(&self) -> Call {
        Call::SetSockOpt { fd: self.sock, opt: SockOpt::IcmpFilter(!WANTED_BESIDES_ERRORS) }
    }
}
