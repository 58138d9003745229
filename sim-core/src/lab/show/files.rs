//! What the kernel's files say: /proc/net (net/ipv4/arp.c, fib_trie.c, net/core/net-procfs.c), /proc/sys, and
//! /sys/class/net (net/core/net-sysfs.c).

use super::{View, conntrack_file};
use crate::kernel::errno::Errno;
use crate::kernel::netlink::{NudState, RouteType, TABLE_MAIN};
use crate::kernel::show::{self as kernel, Link, RouteInfo, Stats};
use crate::lab::sysctl::swap;
use std::fmt::Write;
use std::net::Ipv4Addr;

/// The lines of /proc/net/route are filled up with blanks.
const ROUTE_WIDTH: usize = 127;

/// The text of a file.
///
/// # Errors
/// ENOENT: there is no such file; EISDIR: it is a folder; EINVAL: it cannot be read now.
pub fn file(view: View<'_>, path: &str) -> Result<String, Errno> {
    if let Some(name) = path.strip_prefix("/proc/sys/") {
        if let Some(value) = kernel::sysctl(view.spaces, view.ns, &swap(name)) {
            return Ok(value + "\n");
        }
        let folder = match name.trim_end_matches('/') {
            "" => String::new(),
            name => format!("{name}/"),
        };
        let is_folder = kernel::sysctl_paths(view.spaces, view.ns).iter().any(|path| path.starts_with(&folder));
        return Err(if is_folder { Errno::EISDIR } else { Errno::ENOENT });
    }
    if let Some(rest) = path.strip_prefix("/sys/class/net/") {
        let links = kernel::links(view.spaces, view.ns, view.now);
        let (name, file) = rest.split_once('/').unwrap_or((rest, ""));
        let link = links.iter().find(|l| l.name == name).ok_or(Errno::ENOENT)?;
        return attribute(link, file).map(|value| value + "\n");
    }
    match path {
        "/proc/net/arp" => Ok(arp(view)),
        "/proc/net/dev" => Ok(dev(view)),
        "/proc/net/nf_conntrack" => Ok(conntrack_file(&kernel::conntrack(view.spaces, view.ns, view.now))),
        "/proc/net/route" => Ok(route(view)),
        _ => Err(Errno::ENOENT),
    }
}

/// A file of a device's folder.
fn attribute(link: &Link, file: &str) -> Result<String, Errno> {
    if let Some(name) = file.strip_prefix("statistics/") {
        return statistic(&link.stats, name).map(|n| n.to_string()).ok_or(Errno::ENOENT);
    }
    Ok(match file {
        "address" => link.address.to_string(),
        // carrier_show: of a device that is up.
        "carrier" if !link.flags.up => return Err(Errno::EINVAL),
        "carrier" => u8::from(link.flags.lower_up).to_string(),
        "carrier_changes" => link.carrier_changes.to_string(),
        "ifindex" => link.index.to_string(),
        "iflink" => link.peer.as_ref().map_or(link.index, |peer| peer.index).to_string(),
        "mtu" => link.mtu.to_string(),
        "operstate" => link.operstate.to_lowercase(),
        "tx_queue_len" => link.txqlen.to_string(),
        "type" => link.arphrd.to_string(),
        "" | "statistics" | "statistics/" => return Err(Errno::EISDIR),
        _ => return Err(Errno::ENOENT),
    })
}

/// A counter by the name of its file. What no simulated driver counts is zero.
fn statistic(s: &Stats, name: &str) -> Option<u64> {
    Some(match name {
        "rx_packets" => s.rx_packets,
        "rx_bytes" => s.rx_bytes,
        "rx_errors" => s.rx_errors,
        "rx_dropped" => s.rx_dropped,
        "multicast" => s.multicast,
        "tx_packets" => s.tx_packets,
        "tx_bytes" => s.tx_bytes,
        "tx_errors" => s.tx_errors,
        "tx_dropped" => s.tx_dropped,
        "tx_carrier_errors" => s.tx_carrier_errors,
        "collisions" => s.collisions,
        "rx_compressed"
        | "rx_crc_errors"
        | "rx_fifo_errors"
        | "rx_frame_errors"
        | "rx_length_errors"
        | "rx_missed_errors"
        | "rx_nohandler"
        | "rx_over_errors"
        | "tx_aborted_errors"
        | "tx_compressed"
        | "tx_fifo_errors"
        | "tx_heartbeat_errors"
        | "tx_window_errors" => 0,
        _ => return None,
    })
}

/// /proc/net/arp
fn arp(view: View<'_>) -> String {
    let mut s = "IP address       HW type     Flags       HW address            Mask     Device\n".to_owned();
    for n in kernel::neighs(view.spaces, view.ns, view.now).iter().filter(|n| n.state != NudState::Noarp) {
        // ATF_COM, and ATF_PERM; the type is ARPHRD_ETHER.
        let flags = match (n.state, n.lladdr) {
            (NudState::Permanent, _) => "0x6",
            (_, Some(_)) => "0x2",
            (_, None) => "0x0",
        };
        let lladdr = n.lladdr.unwrap_or_default().to_string();
        // Writing to a string does not fail.
        let _ = writeln!(s, "{:<16} {:<12}{flags:<12}{lladdr:<17}     *        {}", n.addr.to_string(), "0x1", n.dev);
    }
    s
}

/// /proc/net/dev
fn dev(view: View<'_>) -> String {
    let mut s = "Inter-|   Receive                                                |  Transmit\n".to_owned();
    s.push_str(" face |bytes    packets errs drop fifo frame compressed multicast|");
    s.push_str("bytes    packets errs drop fifo colls carrier compressed\n");
    let mut links = kernel::links(view.spaces, view.ns, view.now);
    links.sort_by_key(|l| l.index);
    for Link { name, stats: t, .. } in &links {
        let _ = write!(
            s,
            "{name:>6}: {:7} {:7} {:4} {:4} {:4} {:5} {:10} {:9}",
            t.rx_bytes, t.rx_packets, t.rx_errors, t.rx_dropped, 0, 0, 0, t.multicast
        );
        let _ = writeln!(
            s,
            " {:8} {:7} {:4} {:4} {:4} {:5} {:7} {:10}",
            t.tx_bytes, t.tx_packets, t.tx_errors, t.tx_dropped, 0, t.collisions, t.tx_carrier_errors, 0
        );
    }
    s
}

/// /proc/net/route: the table main, in the bytes of the wire read as numbers of this machine.
fn route(view: View<'_>) -> String {
    let title = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
    let mut s = format!("{title:<ROUTE_WIDTH$}\n");
    let listed = |r: &&RouteInfo| !matches!(r.kind, RouteType::Broadcast | RouteType::Multicast);
    for r in kernel::routes(view.spaces, view.ns, Some(TABLE_MAIN)).iter().filter(listed) {
        let number = |addr: Ipv4Addr| u32::from_le_bytes(addr.octets());
        // RTF_UP, RTF_GATEWAY, RTF_HOST, RTF_REJECT
        let flags = 1
            | u16::from(r.via.is_some()) << 1
            | u16::from(r.dst.prefix_len() == 32) << 2
            | u16::from(matches!(r.kind, RouteType::Unreachable | RouteType::Prohibit)) << 9;
        let line = format!(
            "{}\t{:08X}\t{:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
            r.dev.as_deref().unwrap_or("*"),
            number(r.dst.network()),
            number(r.via.unwrap_or(Ipv4Addr::UNSPECIFIED)),
            r.metric,
            number(r.dst.netmask()),
        );
        let _ = writeln!(s, "{line:<ROUTE_WIDTH$}");
    }
    s
}
