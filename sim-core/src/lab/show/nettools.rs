//! net-tools 2.10: arp(8), route(8), netstat(8); hostname(1) 3.23. Addresses are shown as numbers.

mod interfaces;

use super::View;
use super::sockets::{Protocol, Socket, port, sockets};
use crate::kernel::netlink::{NudState, RouteType, TABLE_MAIN};
use crate::kernel::show::{self as kernel, NeighInfo, RouteInfo, TcpState, TcpTimer};
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

pub(super) use interfaces::interfaces;

/// What `arp` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ArpQuery {
    /// Of this address.
    pub addr: Option<Ipv4Addr>,
    /// `-i`: of this device.
    pub dev: Option<String>,
    /// `-a`: in BSD's style.
    pub bsd: bool,
}

/// `arp` (arp.c: arp_show)
///
/// # Errors
/// There is no such entry.
pub(super) fn arp(view: View<'_>, query: &ArpQuery) -> Result<String, (String, i32)> {
    let listed = |n: &NeighInfo| n.state != NudState::Noarp;
    let all: Vec<_> = kernel::neighs(view.spaces, view.ns, view.now).into_iter().filter(listed).collect();
    let wanted =
        |n: &&NeighInfo| query.addr.is_none_or(|a| a == n.addr) && query.dev.as_ref().is_none_or(|d| *d == n.dev);
    let shown: Vec<_> = all.iter().filter(wanted).collect();
    if shown.is_empty() {
        return match query.addr.filter(|_| !query.bsd) {
            Some(addr) => Ok(format!("{addr} ({addr}) -- no entry\n")),
            None if query.addr.is_some() || query.dev.is_some() => {
                Ok(format!("arp: in {} entries no match found.\n", all.len()))
            }
            None => Ok(String::new()),
        };
    }
    if query.bsd {
        return Ok(shown.into_iter().map(bsd).collect());
    }
    let head = "Address                  HWtype  HWaddress           Flags Mask            Iface\n";
    Ok(head.to_owned() + &shown.into_iter().map(linux).collect::<String>())
}

/// arp_disp_2
fn linux(n: &NeighInfo) -> String {
    let (kind, lladdr) = match n.lladdr {
        Some(mac) => ("ether", mac.to_string()),
        None => ("", "(incomplete)".to_owned()),
    };
    let flags = match n.state {
        NudState::Permanent => "CM",
        _ if n.lladdr.is_some() => "C",
        _ => "",
    };
    format!("{:<23}  {kind:<8}{lladdr:<20}{flags:<6}{:<15} {}\n", n.addr.to_string(), "", n.dev)
}

/// arp_disp
fn bsd(n: &NeighInfo) -> String {
    let lladdr = n.lladdr.map_or("<incomplete> ".to_owned(), |mac| format!("{mac} [ether] "));
    let permanent = if n.state == NudState::Permanent { "PERM " } else { "" };
    format!("? ({}) at {lladdr}{permanent}on {}\n", n.addr, n.dev)
}

/// Which columns a table of routes has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RouteColumns {
    /// `route`: metric, references, uses.
    Metric,
    /// `route -e` and `netstat -r`: segment size, window, round trip.
    Window,
    /// `route -ee`: all of them.
    Both,
}

/// `route` and `netstat -r` (lib/inet_gr.c: rprint_fib); `numeric` is `-n`.
pub(super) fn routes(view: View<'_>, columns: RouteColumns, numeric: bool) -> String {
    let mut out = "Kernel IP routing table\n".to_owned();
    out.push_str(match columns {
        RouteColumns::Metric => "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface\n",
        RouteColumns::Window => "Destination     Gateway         Genmask         Flags   MSS Window  irtt Iface\n",
        RouteColumns::Both => {
            "Destination     Gateway         Genmask         Flags Metric Ref    Use Iface    MSS   Window irtt\n"
        }
    });
    // /proc/net/route lists no groups and no broadcasts.
    let listed = |r: &RouteInfo| !matches!(r.kind, RouteType::Broadcast | RouteType::Multicast);
    for r in kernel::routes(view.spaces, view.ns, Some(TABLE_MAIN)).iter().filter(|r| listed(r)) {
        route(&mut out, r, columns, numeric);
    }
    out
}

fn route(out: &mut String, r: &RouteInfo, columns: RouteColumns, numeric: bool) {
    let reject = matches!(r.kind, RouteType::Unreachable | RouteType::Prohibit);
    let dst = match r.dst.prefix_len() {
        0 if !numeric => "default".to_owned(),
        _ => r.dst.network().to_string(),
    };
    let gateway = r.via.unwrap_or(Ipv4Addr::UNSPECIFIED).to_string();
    let gateway = if reject { "-".to_owned() } else { gateway };
    let mask = r.dst.netmask().to_string();
    let flags = [(true, if reject { "!" } else { "U" }), (r.via.is_some(), "G"), (r.dst.prefix_len() == 32, "H")];
    let flags: String = flags.iter().filter(|(set, _)| *set).map(|(_, flag)| *flag).collect();
    let dev = if reject { "-" } else { r.dev.as_deref().unwrap_or("*") };
    let none = if reject { "-" } else { "0" };
    let head = format!("{dst:<15} {gateway:<15} {mask:<15} {flags:<5} ");
    // Writing to a string does not fail.
    let _ = match columns {
        RouteColumns::Metric => writeln!(out, "{head}{:<6} {none:<2} {:>7} {dev}", r.metric, 0),
        RouteColumns::Window => writeln!(out, "{head}{none:>5} {none:<5} {none:>6} {dev}"),
        RouteColumns::Both if reject => writeln!(out, "{head}{:<6} -  {:>7} -        -     -      -", r.metric, 0),
        RouteColumns::Both => writeln!(out, "{head}{:<6} 0  {:>7} {dev:<8} 0     0      0", r.metric, 0),
    };
}

/// What `netstat` is asked for about sockets.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct SocketQuery {
    /// Of which protocols; all, and those of UNIX, if none is named.
    pub protocols: Vec<Protocol>,
    /// `-a`
    pub all: bool,
    /// `-l`
    pub listening: bool,
    /// `-n`
    pub numeric: bool,
    /// `-p`
    pub processes: bool,
    /// `-o`
    pub timers: bool,
}

/// `netstat` without another option (netstat.c: tcp_do_one, udp_do_one, raw_do_one).
pub(super) fn netstat(view: View<'_>, query: &SocketQuery) -> String {
    let which = match (query.all, query.listening) {
        (true, _) => "(servers and established)",
        (_, true) => "(only servers)",
        _ => "(w/o servers)",
    };
    let mut out = format!("Active Internet connections {which}\n");
    out.push_str("Proto Recv-Q Send-Q Local Address           Foreign Address         State      ");
    out.push_str(if query.processes { " PID/Program name    " } else { "" });
    out.push_str(if query.timers { " Timer" } else { "" });
    out.push('\n');
    let all = sockets(view);
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Raw] {
        let named = query.protocols.is_empty() || query.protocols.contains(&protocol);
        for s in all.iter().filter(|s| named && s.protocol == protocol && selected(s, query)) {
            socket(&mut out, s, query);
        }
    }
    if query.protocols.is_empty() {
        let _ = writeln!(out, "Active UNIX domain sockets {which}");
        out.push_str("Proto RefCnt Flags       Type       State         I-Node   Path\n");
    }
    out
}

/// Without `-a` and `-l`, those that have another end; with `-l`, those that have none.
fn selected(s: &Socket, query: &SocketQuery) -> bool {
    let server = s.remote.port() == 0 && s.remote.ip().is_unspecified();
    query.all || server == query.listening
}

fn socket(out: &mut String, s: &Socket, query: &SocketQuery) {
    let protocol = match s.protocol {
        Protocol::Raw => "raw",
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let end = |end: SocketAddrV4| format!("{}:{}", end.ip(), port(s.protocol, end.port(), query.numeric));
    let state = match s.state {
        TcpState::Close if s.protocol == Protocol::Udp => "",
        TcpState::Close if s.protocol == Protocol::Raw => "7",
        state => state_name(state),
    };
    let (local, remote) = (end(s.local), end(s.remote));
    // /proc/net/tcp does not tell the backlog.
    let send_q = if s.state == TcpState::Listen { 0 } else { s.send_q };
    // Writing to a string does not fail.
    let _ = write!(out, "{protocol:<4}  {:>6} {:>6} {local:<23} {remote:<23} {state:<11}", s.recv_q, send_q);
    if query.processes {
        let process = s.process.as_ref().map_or("-".to_owned(), |p| format!("{}/{}", p.pid, p.title));
        let _ = write!(out, " {process:<20.20}");
    }
    if query.timers {
        let (name, left, retrans) =
            s.timer.as_ref().map_or(("off", 0, 0), |t| (timer_name(t.kind), t.left_ms, t.retrans));
        let _ = write!(out, " {name} ({}.{:02}/{retrans}/0)", left / 1000, left % 1000 / 10);
    }
    out.push('\n');
}

fn timer_name(timer: TcpTimer) -> &'static str {
    match timer {
        TcpTimer::Retransmit => "on",
        TcpTimer::TimeWait => "timewait",
        TcpTimer::Probe0 => "probe",
    }
}

fn state_name(state: TcpState) -> &'static str {
    match state {
        TcpState::Established => "ESTABLISHED",
        TcpState::SynSent => "SYN_SENT",
        TcpState::SynRecv => "SYN_RECV",
        TcpState::FinWait1 => "FIN_WAIT1",
        TcpState::FinWait2 => "FIN_WAIT2",
        TcpState::TimeWait => "TIME_WAIT",
        TcpState::Close => "CLOSE",
        TcpState::CloseWait => "CLOSE_WAIT",
        TcpState::LastAck => "LAST_ACK",
        TcpState::Listen => "LISTEN",
        TcpState::Closing => "CLOSING",
    }
}

/// `hostname -I`: the addresses of all devices that are up, but for the loopback device.
pub(super) fn host_addresses(view: View<'_>) -> String {
    let mut links = kernel::links(view.spaces, view.ns, view.now);
    links.sort_by_key(|l| l.index);
    let mut text = String::new();
    for addr in links.iter().filter(|l| l.flags.up && !l.flags.loopback).flat_map(|l| &l.addrs) {
        let _ = write!(text, "{} ", addr.local.addr());
    }
    text.push('\n');
    text
}
