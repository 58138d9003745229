//! Mirrors net/ipv4/inet_hashtables.c, the port part of net/ipv4/inet_connection_sock.c and tcp_v4_connect of
//! net/ipv4/tcp_ipv4.c: which port a socket gets, and the first SYN.

use super::sock::{Sock, State, TCP_MSS_DEFAULT, TCP_TIMEOUT_INIT};
use super::transmit;
use super::{Entry, TABLE_PERTURB_SIZE, Tuple, timewait, window};
use crate::base::rng::Purpose;
use crate::kernel::cred::Current;
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::profile::Profile;
use crate::kernel::timer::TICK_NS;
use std::net::{Ipv4Addr, SocketAddrV4};

/// IPV4_MAX_PMTU without a header: the largest MSS that is announced.
const MAX_ADVMSS: u32 = 65_535 - 40;
/// ip_rt_min_advmss
const MIN_ADVMSS: u32 = 256;

/// ipv4_default_advmss
pub(super) fn default_advmss(mtu: u32) -> u32 {
    mtu.saturating_sub(40).clamp(MIN_ADVMSS, MAX_ADVMSS)
}

/// secure_tcp_seq: nobody outside can guess it, and it grows with time (RFC 6528), by one each 64 nanoseconds.
///
/// Differs: the clock is read in ticks, so that a hop more on the way to a connection does not change its numbers.
pub(super) fn initial_seq(cx: &Cx<'_>, tuple: &Tuple) -> u32 {
    let [local, remote] = tuple.words();
    let hash = cx.prf.draw(Purpose::TcpIsn, &[cx.salt(), local, remote]) as u32;
    hash.wrapping_add((cx.jiffies().wrapping_mul(TICK_NS) >> 6) as u32)
}

/// secure_tcp_ts_off: where the timestamps of a connection begin; in Linux 4.18, those of all between two addresses.
pub(super) fn timestamp_offset(profile: Profile, cx: &Cx<'_>, tuple: &Tuple) -> u32 {
    let hashed = match profile {
        Profile::Linux618 => *tuple,
        Profile::Linux418 => Tuple { local_port: 0, remote_port: 0, ..*tuple },
    };
    let [local, remote] = hashed.words();
    cx.prf.draw(Purpose::TcpTimestamp, &[cx.salt(), local, remote]) as u32
}

/// net_tx_rndhash: the hash that the packets of a connection carry from now on.
pub(super) fn tx_hash(cx: &Cx<'_>, tuple: &Tuple) -> u32 {
    let [local, remote] = tuple.words();
    (cx.prf.draw(Purpose::TxHash, &[cx.salt(), local, remote, cx.jiffies()]) as u32).max(1)
}

/// inet_bind
pub(super) fn bind(ns: &mut NetNs, cx: &Cx<'_>, who: Current, sk: &mut Sock, addr: SocketAddrV4) -> Result<(), Errno> {
    let ip = *addr.ip();
    match ns.fib.addr_type(ip, None) {
        _ if ip.is_unspecified() => {}
        RouteType::Local | RouteType::Broadcast | RouteType::Multicast => {}
        _ if ns.ipv4.sysctl.can_nonlocal_bind(sk.opt.transparent) => {}
        _ => return Err(Errno::EADDRNOTAVAIL),
    }
    if ns.sysctl.is_privileged(addr.port()) && !who.cred.capable() {
        return Err(Errno::EACCES);
    }
    if sk.state != State::Close || sk.sport != 0 {
        return Err(Errno::EINVAL);
    }
    (sk.ip.rcv_saddr, sk.ip.saddr) = (ip, ip);
    match port_for_bind(ns, cx, sk, addr.port()) {
        Ok(port) => {
            sk.sport = port;
            (sk.in_ports, sk.bound) = (true, addr.port() != 0);
            ns.sockets.tcp.hold_port(port, sk.id);
            Ok(())
        }
        Err(e) => {
            (sk.ip.rcv_saddr, sk.ip.saddr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
            Err(e)
        }
    }
}

/// inet_csk_get_port: `port`, or for zero one that is free; odd ones first, since connect prefers even ones.
pub(super) fn port_for_bind(ns: &mut NetNs, cx: &Cx<'_>, sk: &Sock, port: u16) -> Result<u16, Errno> {
    if port != 0 {
        return if conflicts(ns, sk, port) { Err(Errno::EADDRINUSE) } else { Ok(port) };
    }
    let (low, high) = ns.sysctl.ip_local_port_range;
    let (low, high) = (u32::from(low), u32::from(high) + 1);
    let mut remaining = high - low;
    if remaining > 1 {
        remaining &= !1;
    }
    ns.sockets.tcp.draws += 1;
    let input = [cx.salt(), u64::from(sk.id.index), ns.sockets.tcp.draws];
    let drawn = cx.prf.below(Purpose::EphemeralPort, &input, u64::from(remaining)) as u32;
    for parity in [1, 0] {
        let first = drawn & !1 | parity;
        let mut steps = (0..remaining).step_by(2).map(|i| (low + (first + i) % remaining) as u16);
        if let Some(port) = steps.find(|port| !conflicts(ns, sk, *port)) {
            return Ok(port);
        }
    }
    Err(Errno::EADDRINUSE)
}

/// inet_csk_bind_conflict: somebody has the port, at an address that overlaps, and not both would share it.
fn conflicts(ns: &NetNs, sk: &Sock, port: u16) -> bool {
    let tcp = &ns.sockets.tcp;
    let Some(holders) = tcp.ports.get(&port) else { return false };
    let any = Ipv4Addr::UNSPECIFIED;
    holders.iter().filter(|id| **id != sk.id).any(|id| {
        let (addr, reuse, listens, dev) = match tcp.entry(*id) {
            Some(Entry::Sock(o)) => (o.ip.rcv_saddr, o.opt.reuse, o.state == State::Listen, o.dev),
            Some(Entry::TimeWait(tw)) => (tw.tuple.local, tw.reuse, false, None),
            _ => return false,
        };
        let overlap = addr == any || sk.ip.rcv_saddr == any || addr == sk.ip.rcv_saddr;
        let same_dev = dev.is_none() || sk.dev.is_none() || dev == sk.dev;
        overlap && same_dev && !(reuse && sk.opt.reuse && !listens)
    })
}

/// tcp_v4_connect
pub(super) fn connect(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, to: SocketAddrV4) -> Result<(), Errno> {
    let src = (!sk.ip.saddr.is_unspecified()).then_some(sk.ip.saddr);
    let (mark, any_src) = (sk.opt.mark, sk.opt.transparent);
    let flow = Flow4 { src, oif: sk.dev, mark, any_src, ..Flow4::to(*to.ip()) };
    let r = route::output(ns, &flow)?;
    if matches!(r.kind, RouteType::Broadcast | RouteType::Multicast) {
        return Err(Errno::ENETUNREACH);
    }
    if sk.ip.saddr.is_unspecified() {
        (sk.ip.saddr, sk.ip.rcv_saddr) = (r.src, r.src);
    }
    (sk.ip.daddr, sk.dport) = (r.dst, to.port());
    sk.rx_opt.mss_clamp = TCP_MSS_DEFAULT;
    sk.state = State::SynSent;
    if let Err(e) = hash_connect(ns, cx, sk) {
        (sk.state, sk.dport) = (State::Close, 0);
        if !sk.bound {
            (sk.ip.saddr, sk.ip.rcv_saddr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);
        }
        return Err(e);
    }
    let tuple = sk.tuple();
    if sk.write_seq == 0 {
        sk.write_seq = initial_seq(cx, &tuple);
    }
    sk.txhash = tx_hash(cx, &tuple);
    sk.tsoffset = timestamp_offset(ns.sockets.tcp.sysctl.profile, cx, &tuple);
    let [local, remote] = tuple.words();
    sk.inet_id = cx.prf.draw(Purpose::IpId, &[cx.salt(), local, remote, cx.now().0]) as u16;
    connect_init(ns, cx, sk, r.mtu);
    transmit::connect(ns, cx, sk);
    Ok(())
}

/// tcp_connect_init
fn connect_init(ns: &NetNs, cx: &Cx<'_>, sk: &mut Sock, mtu: u32) {
    let sysctl = ns.sockets.tcp.sysctl;
    let stamps = sysctl.timestamps != 0;
    sk.header_len = transmit::TCP_HLEN as u32 + if stamps { super::options::TSTAMP_LEN } else { 0 };
    if sk.opt.mss > 0 {
        sk.rx_opt.mss_clamp = u32::from(sk.opt.mss);
    }
    sk.max_window = 0;
    sk.sync_mss(ns, mtu);
    sk.advmss = default_advmss(mtu);
    if sk.opt.mss > 0 {
        sk.advmss = sk.advmss.min(u32::from(sk.opt.mss));
    }
    sk.initialize_rcv_mss();
    // The window is a multiple of the MSS without the options that nobody has agreed on yet.
    let less = if sk.rx_opt.ts_recent_stamp != 0 { super::options::TSTAMP_LEN } else { 0 };
    let space = sk.full_space();
    let wscale = sysctl.window_scaling != 0;
    let initial = window::select_initial(&sysctl, space, sk.advmss - less, sk.window_clamp, wscale);
    (sk.rcv_wnd, sk.window_clamp) = (initial.rcv_wnd, initial.window_clamp);
    sk.rx_opt.rcv_wscale = initial.rcv_wscale;
    sk.rcv_ssthresh = sk.rcv_wnd;
    sk.snd_wnd = 0;
    (sk.snd_una, sk.snd_sml, sk.snd_nxt) = (sk.write_seq, sk.write_seq, sk.write_seq);
    sk.rcv_nxt = 0;
    sk.rcv_wup = sk.rcv_nxt;
    sk.copied_seq = sk.rcv_nxt;
    sk.rto = TCP_TIMEOUT_INIT;
    sk.retransmits = 0;
    sk.rcv_tstamp = cx.jiffies();
}

/// __inet_hash_connect: a port such that the connection is unique; even ones first.
fn hash_connect(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock) -> Result<(), Errno> {
    if sk.sport != 0 {
        return if take_place(ns, cx, sk, sk.sport) { Ok(()) } else { Err(Errno::EADDRNOTAVAIL) };
    }
    let (low, high) = ns.sysctl.ip_local_port_range;
    let (low, high) = (u32::from(low), u32::from(high) + 1);
    let mut remaining = high - low;
    if remaining > 1 {
        remaining &= !1;
    }
    // secure_ipv4_port_ephemeral: the same for all connections between the same addresses and port.
    let input =
        [cx.salt(), u64::from(u32::from(sk.ip.saddr)), u64::from(u32::from(sk.ip.daddr)) << 16 | u64::from(sk.dport)];
    let port_offset = cx.prf.draw(Purpose::EphemeralPort, &input);
    let index = (port_offset % TABLE_PERTURB_SIZE) as u16;
    let perturb = match ns.sockets.tcp.perturb.get(&index) {
        Some(perturb) => *perturb,
        None => cx.prf.draw(Purpose::EphemeralPort, &[cx.salt(), u64::from(index)]) as u32,
    };
    let offset = (perturb.wrapping_add((port_offset >> 32) as u32) % remaining) & !1;
    for parity in [0, 1] {
        for i in (0..remaining).step_by(2) {
            let port = (low + (offset + parity + i) % remaining) as u16;
            if ns.sockets.tcp.ports.get(&port).is_some_and(|holders| !all_connected(ns, holders)) {
                continue;
            }
            if !take_place(ns, cx, sk, port) {
                continue;
            }
            sk.in_ports = true;
            ns.sockets.tcp.hold_port(port, sk.id);
            ns.sockets.tcp.draws += 1;
            let draw = [cx.salt(), port_offset, ns.sockets.tcp.draws];
            let skip = cx.prf.below(Purpose::EphemeralPort, &draw, 8) as u32 * 2;
            ns.sockets.tcp.perturb.insert(index, perturb.wrapping_add(i.max(skip) + 2));
            return Ok(());
        }
    }
    Err(Errno::EADDRNOTAVAIL)
}

/// fastreuse of a bucket is negative: only connect has taken the port so far.
fn all_connected(ns: &NetNs, holders: &[super::SockId]) -> bool {
    holders.iter().all(|id| match ns.sockets.tcp.entry(*id) {
        Some(Entry::Sock(sk)) => !sk.bound && sk.state != State::Listen,
        Some(Entry::TimeWait(_)) => true,
        _ => false,
    })
}

/// __inet_check_established: the connection's place in the table, unless there is one like it. One in TIME_WAIT may be
/// replaced.
fn take_place(ns: &mut NetNs, cx: &mut Cx<'_>, sk: &mut Sock, port: u16) -> bool {
    let tuple = Tuple { local_port: port, ..sk.tuple() };
    if let Some(id) = ns.sockets.tcp.connections.get(&tuple).copied() {
        let Some(Entry::TimeWait(tw)) = ns.sockets.tcp.entry(id) else { return false };
        let Some((seq, recent, stamp)) = timewait::reuse(ns, cx, tw, sk.sport != 0) else { return false };
        sk.write_seq = if seq == 0 { 1 } else { seq };
        sk.rx_opt.ts_recent = recent.unwrap_or(0);
        sk.rx_opt.ts_recent_stamp = stamp;
        timewait::kill(ns, id);
    }
    sk.sport = port;
    sk.hashed = true;
    ns.sockets.tcp.connections.insert(tuple, sk.id);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MachineId, NsId, Prf};
    use crate::kernel::cx::Cpu;
    use crate::kernel::trace::Mute;

    #[test]
    fn whose_clock_timestamps_show() {
        let (prf, mut cpu, mut sink) = (Prf::new(1), Cpu::new(MachineId(0), None, 0), Mute);
        let cx = Cx { ns: NsId::default(), cpu: &mut cpu, prf: &prf, sink: &mut sink, steps: false, taps: false };
        let to = |host, remote_port| Tuple {
            local: Ipv4Addr::new(10, 0, 0, 1),
            local_port: 40_000,
            remote: Ipv4Addr::new(10, 0, 0, host),
            remote_port,
        };
        for (profile, shared) in [(Profile::Linux618, false), (Profile::Linux418, true)] {
            let offset = |tuple: &Tuple| timestamp_offset(profile, &cx, tuple);
            assert_eq!(offset(&to(2, 80)) == offset(&to(2, 443)), shared, "{profile:?}");
            assert_ne!(offset(&to(2, 80)), offset(&to(3, 80)), "{profile:?}");
        }
    }
}
