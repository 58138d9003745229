//! What must hold of every network that tracks and translates, whatever its rules: a function each, with its source.
//!
//! An oracle looks at what everybody could see: packets, lists of connections, the text of iptables-save, the steps
//! that a packet took. None asks the code that it judges, not even for a checksum.

use super::packet::Packet;
use crate::base;
use crate::engine::World;
use crate::kernel::conntrack::entry::Counter;
use crate::kernel::conntrack::{Info, Status, TcpState};
use crate::kernel::netfilter::hook::{Hook, TableName};
use crate::kernel::trace::{CtLabel, Step, What};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, be16};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

mod table;

pub use table::counters_add_up;

/// Bytes of an IPv4 header without options.
const IP_HLEN: usize = 20;
/// Bytes of an ICMP header.
const ICMP_HLEN: usize = 8;
/// Types of ICMP messages that quote a packet (RFC 1122 section 3.2.2).
const ICMP_ERRORS: [u8; 5] = [3, 4, 5, 11, 12];

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The oracle's name: that of its function.
    pub oracle: &'static str,
    /// What demands it: an RFC's section, a file of the kernel.
    pub source: &'static str,
    /// What was seen instead.
    pub text: String,
}

/// What an oracle says.
pub type Held = Result<(), Broken>;

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.oracle, self.source, self.text)
    }
}

impl std::error::Error for Broken {}

/// An oracle's name and its source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Oracle(pub &'static str, pub &'static str);

impl Oracle {
    /// It holds, or what was seen instead.
    pub(super) fn holds(self, ok: bool, text: impl FnOnce() -> String) -> Held {
        if ok { Ok(()) } else { Err(self.broken(text())) }
    }

    pub(super) fn broken(self, text: String) -> Broken {
        Broken { oracle: self.0, source: self.1, text }
    }
}

/// A packet's length is that of its header, and its checksums are right: of the IPv4 header (RFC 791 section 3.1), of
/// TCP, UDP and ICMP (RFC 9293 section 3.1, RFC 768, RFC 792), and of the IPv4 header that an ICMP error quotes
/// (RFC 5508 section 4.1). A UDP checksum of zero is none. Of fragments only the header is looked at.
///
/// # Errors
/// One of them is wrong.
pub fn checksums_right(l3: &[u8]) -> Held {
    let oracle = Oracle("checksums_right", "RFC 791, RFC 768, RFC 792, RFC 9293, RFC 5508");
    let says = |ok: bool, what: &str| oracle.holds(ok, || format!("{what} of {}", hex(l3)));
    let header = usize::from(l3.first().copied().unwrap_or(0) & 15) * 4;
    says(header >= IP_HLEN && l3.len() >= header, "length")?;
    says(usize::from(be16(l3, 2)) == l3.len(), "total length")?;
    says(sum(&[&l3[..header]]) == u16::MAX, "checksum of the IPv4 header")?;
    if be16(l3, 6) & 0x3fff != 0 {
        return Ok(());
    }
    let (protocol, l4) = (l3[9], &l3[header..]);
    let len = (l4.len() as u16).to_be_bytes();
    let pseudo: &[&[u8]] = &[&l3[12..20], &[0, protocol], &len, l4];
    match protocol {
        IPPROTO_TCP => says(sum(pseudo) == u16::MAX, "checksum of TCP"),
        IPPROTO_UDP if l4.len() >= 8 && be16(l4, 6) == 0 => Ok(()),
        IPPROTO_UDP => says(sum(pseudo) == u16::MAX, "checksum of UDP"),
        IPPROTO_ICMP => {
            says(sum(&[l4]) == u16::MAX, "checksum of ICMP")?;
            match quoted(l3) {
                Some(quote) if quote.len() >= IP_HLEN => {
                    says(sum(&[&quote[..IP_HLEN]]) == u16::MAX, "checksum of the quoted header")
                }
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// A datagram without a checksum stays without one when it is translated, and one with a checksum does not lose it
/// (RFC 768; `udp_manip_pkt` of net/netfilter/nf_nat_proto.c).
///
/// # Errors
/// One of `before` and `after` has a checksum, and the other one has none.
pub fn udp_zero_kept(before: &[u8], after: &[u8]) -> Held {
    let has = |l3: &[u8]| {
        let at = usize::from(l3.first()? & 15) * 4 + 6;
        (l3.get(9) == Some(&IPPROTO_UDP) && be16(l3, 6) & 0x1fff == 0 && l3.len() >= at + 2).then(|| be16(l3, at) != 0)
    };
    let same = has(before).zip(has(after)).is_none_or(|(a, b)| a == b);
    Oracle("udp_zero_kept", "RFC 768").holds(same, || format!("{} became {}", hex(before), hex(after)))
}

/// Whoever asked is answered by whom it asked: a reply comes back with the ends of the question, swapped (RFC 3022
/// section 2.2; `nf_nat_packet` of net/netfilter/nf_nat_core.c).
///
/// # Errors
/// The reply has other ends.
pub fn reply_restored(question: &[u8], reply: &[u8]) -> Held {
    let ends = |p: &Packet| match p.protocol {
        // The id belongs to neither end.
        IPPROTO_ICMP => [(p.src, p.sport), (p.dst, p.sport)],
        _ => [(p.src, p.sport), (p.dst, p.dport)],
    };
    let both = Packet::read(question).zip(Packet::read(reply));
    let ok = both.as_ref().is_some_and(|(q, r)| {
        let ([from, to], [src, dst]) = (ends(q), ends(r));
        q.protocol == r.protocol && (from, to) == (dst, src)
    });
    Oracle("reply_restored", "RFC 3022 section 2.2").holds(ok, || match both {
        Some((q, r)) => format!("{} asked {}, and {} answers {}", end(&q, 0), end(&q, 1), end(&r, 0), end(&r, 1)),
        None => format!("{} answers {}", hex(reply), hex(question)),
    })
}

/// An ICMP error that reaches a sender goes to it and quotes the packet as it was sent, not as it was translated
/// (RFC 5508 section 4.2; `nf_nat_icmp_reply_translation` of net/netfilter/nf_nat_core.c).
///
/// # Errors
/// It goes to another address, or quotes other ends.
pub fn error_restored(sent: &[u8], error: &[u8]) -> Held {
    let oracle = Oracle("error_restored", "RFC 5508 section 4.2");
    let Some(quote) = quoted(error) else { return Err(oracle.broken(format!("{} is no error", hex(error)))) };
    let to_sender = error.get(16..20) == sent.get(12..16);
    oracle.holds(to_sender, || format!("{} does not go to the sender of {}", hex(error), hex(sent)))?;
    let same = |range: std::ops::Range<usize>| quote.get(range.clone()) == sent.get(range) || quote.len() < IP_HLEN;
    // Ports, or the id of an echo: as much as is quoted.
    let ports = if sent.get(9) == Some(&IPPROTO_ICMP) { 24..26 } else { 20..24 };
    let all = same(9..10) && same(12..20) && (quote.len() < ports.end || same(ports));
    oracle.holds(all, || format!("{} was sent, and {} is quoted", hex(sent), hex(quote)))
}

/// No two connections share a tuple, which includes its zone: else an answer would have two addressees
/// (`__nf_conntrack_confirm` of net/netfilter/nf_conntrack_core.c).
///
/// # Errors
/// Two do.
pub fn tuples_unshared(connections: &[Info]) -> Held {
    let oracle = Oracle("tuples_unshared", "nf_conntrack_core.c: __nf_conntrack_confirm");
    let mut seen = BTreeSet::new();
    connections.iter().flat_map(|c| c.tuple).try_for_each(|t| oracle.holds(seen.insert(t), || format!("{t:?} twice")))
}

/// Between packets nobody but the table refers to a connection (`nf_conntrack_put`): else it is never freed.
///
/// # Errors
/// Somebody does.
pub fn nobody_holds(connections: &[Info]) -> Held {
    let oracle = Oracle("nobody_holds", "nf_conntrack.h: nf_ct_put");
    connections.iter().try_for_each(|c| oracle.holds(c.users == 1, || format!("use={} of {:?}", c.users, c.tuple[0])))
}

/// A port that no rule names stays in its class: below 512, from 600 to 1023, from 1024 on
/// (`nf_nat_l4proto_unique_tuple` of net/netfilter/nf_nat_core.c).
///
/// # Errors
/// A translated connection has a port of another class.
pub fn ports_in_class(connections: &[Info]) -> Held {
    let oracle = Oracle("ports_in_class", "nf_nat_core.c: nf_nat_l4proto_unique_tuple");
    let translated = connections.iter().filter(|c| matches!(c.tuple[0].proto, IPPROTO_TCP | IPPROTO_UDP));
    translated.map(|c| (c.tuple[0].sport, c.tuple[1].dport)).filter(|(old, new)| old != new).try_for_each(
        |(old, new)| {
            let class = match old {
                0..512 => 1..=511,
                512..1024 => 600..=1023,
                1024.. => 1024..=u16::MAX,
            };
            oracle.holds(class.contains(&new), || format!("port {old} became {new}"))
        },
    )
}

/// A port that a rule names a range for is of that range (`nf_nat_l4proto_in_range` of net/netfilter/nf_nat_core.c).
/// `connections` are those that the rule has translated at their source.
///
/// # Errors
/// One has a port outside of it.
pub fn ports_in_range(connections: &[Info], range: std::ops::RangeInclusive<u16>) -> Held {
    let oracle = Oracle("ports_in_range", "nf_nat_core.c: nf_nat_l4proto_in_range");
    let outside = connections.iter().map(|c| c.tuple[1].dport).find(|port| !range.contains(port));
    oracle.holds(outside.is_none(), || format!("{outside:?} is not in {range:?}"))
}

/// No connection lives longer than its state allows, by Linux's defaults (udp_timeouts, tcp_timeouts,
/// nf_ct_icmp_timeout and nf_ct_generic_timeout of net/netfilter/nf_conntrack_proto_*.c).
///
/// # Errors
/// One has more seconds left.
pub fn expires_in_time(connections: &[Info]) -> Held {
    let oracle = Oracle("expires_in_time", "nf_conntrack_proto_{udp,tcp,icmp,generic}.c");
    connections.iter().try_for_each(|c| {
        let limit = longest_s(c);
        oracle.holds(c.timeout_s <= limit, || format!("{} s left of {limit} s: {:?}", c.timeout_s, c.tuple[0]))
    })
}

/// After `idle_s` seconds without a packet, connections that had no more than that left are gone, as nothing else has
/// prolonged them (`nf_ct_is_expired` of include/net/netfilter/nf_conntrack.h).
///
/// # Errors
/// One is still there.
pub fn gone_in_time(before: &[Info], idle_s: u64, after: &[Info]) -> Held {
    let oracle = Oracle("gone_in_time", "nf_conntrack.h: nf_ct_is_expired");
    let there: BTreeSet<u32> = after.iter().map(|c| c.id).collect();
    // Whole seconds are shown: one with 30 s left has less than 31.
    let due = before.iter().filter(|c| c.timeout_s < idle_s);
    due.into_iter().try_for_each(|c| {
        let text = || format!("{idle_s} s later {:?} is there, which had {} s left", c.tuple[0], c.timeout_s);
        oracle.holds(!there.contains(&c.id), text)
    })
}

/// A full table makes room among connections without ASSURED alone; `after` is the list after new ones came, without a
/// pause (`early_drop` of net/netfilter/nf_conntrack_core.c).
///
/// # Errors
/// One with ASSURED is gone.
pub fn established_survives(before: &[Info], after: &[Info]) -> Held {
    let oracle = Oracle("established_survives", "nf_conntrack_core.c: early_drop_list");
    let there: BTreeSet<u32> = after.iter().map(|c| c.id).collect();
    let mut assured = before.iter().filter(|c| c.status.has(Status::ASSURED));
    let lost = assured.find(|c| !there.contains(&c.id));
    oracle.holds(lost.is_none(), || format!("{:?} is gone", lost.map(|c| c.tuple[0])))
}

/// A packet that belongs to a connection is counted once, with its length, in the direction in which it goes
/// (`nf_ct_acct_update` of net/netfilter/nf_conntrack_core.c). A segment of TCP beyond the window may be let through
/// and not counted (NFCT_TCP_IGNORE). `packet` begins with the IPv4 header. Without net.netfilter.nf_conntrack_acct
/// there is nothing to say.
///
/// # Errors
/// It was counted otherwise.
pub fn counted_once(before: &[Info], after: &[Info], packet: &[u8]) -> Held {
    let oracle = Oracle("counted_once", "nf_conntrack_core.c: nf_ct_acct_update");
    let old: BTreeMap<u32, [Counter; 2]> = before.iter().filter_map(|c| Some((c.id, c.acct?))).collect();
    let (mut grown, mut stray) = (Vec::new(), false);
    let (src, dst) = (address(packet, 12), address(packet, 16));
    for c in after {
        let Some(now) = c.acct else { return Ok(()) };
        for ((was, is), tuple) in old.get(&c.id).copied().unwrap_or_default().iter().zip(now).zip(c.tuple) {
            if *was != is {
                grown.push((is.packets.wrapping_sub(was.packets), is.bytes.wrapping_sub(was.bytes)));
                stray |= tuple.src != src || tuple.dst != dst;
            }
        }
    }
    let ignored = grown.is_empty() && packet.get(9) == Some(&IPPROTO_TCP);
    let once = grown == [(1, packet.len() as u64)] && !stray;
    oracle.holds(once || ignored, || {
        format!("a packet of {} bytes from {src} to {dst} was counted as {grown:?}", packet.len())
    })
}

/// At each hook a packet meets raw, connection tracking, mangle, destination NAT, filter and source NAT in this order
/// (enum nf_ip_hook_priorities of include/uapi/linux/netfilter_ipv4.h).
///
/// # Errors
/// It met one before another.
pub fn hooks_in_order(steps: &[Step]) -> Held {
    let oracle = Oracle("hooks_in_order", "netfilter_ipv4.h: enum nf_ip_hook_priorities");
    let mut at: BTreeMap<_, (Hook, i32)> = BTreeMap::new();
    for step in steps {
        if let What::Hook { hook, .. } = step.what {
            at.insert(step.frame, (hook, i32::MIN));
        }
        let Some((hook, last)) = at.get_mut(&step.frame) else { continue };
        let nat = if matches!(hook, Hook::Prerouting | Hook::Output) { -100 } else { 100 };
        let priority = match step.what {
            What::Rule { table: TableName::Raw, .. } => -300,
            What::Conntrack { .. } => -200,
            What::Rule { table: TableName::Mangle, .. } => -150,
            What::Rule { table: TableName::Nat, .. } | What::Nat { .. } => nat,
            What::Rule { table: TableName::Filter, .. } => 0,
            _ => continue,
        };
        oracle.holds(*last <= priority, || format!("{:?} at {} after priority {last}", step.what, hook.chain()))?;
        *last = priority;
    }
    Ok(())
}

/// How connection tracking classified the first packet among `steps`; none if it did not see it.
pub fn classified(steps: &[Step]) -> Option<CtLabel> {
    steps.iter().find_map(|s| if let What::Conntrack { state } = s.what { Some(state) } else { None })
}

/// A segment that acknowledges what was not sent, or lies a window behind the window, is INVALID (`tcp_in_window` of
/// net/netfilter/nf_conntrack_proto_tcp.c). `steps` are its own.
///
/// # Errors
/// It was classified otherwise.
pub fn out_of_window_is_invalid(steps: &[Step]) -> Held {
    let oracle = Oracle("out_of_window_is_invalid", "nf_conntrack_proto_tcp.c: tcp_in_window");
    let label = classified(steps);
    oracle.holds(label == Some(CtLabel::Invalid), || format!("it is {label:?}"))
}

/// Every packet that was made has ended, has left, or is still there: none is lost without a trace, none ends twice
/// (`kfree_skb_reason` of net/core/skbuff.c).
///
/// # Errors
/// The numbers differ.
pub fn no_packet_without_end(world: &World) -> Held {
    let (made, ended, waiting) = world.balance();
    Oracle("no_packet_without_end", "skbuff.c: kfree_skb_reason")
        .holds(made == ended + waiting as u64, || format!("{made} were made, {ended} ended, {waiting} wait"))
}

/// The packet that an ICMP error quotes; none if it is no error.
pub(super) fn quoted(l3: &[u8]) -> Option<&[u8]> {
    let header = usize::from(l3.first()? & 15) * 4;
    let is_error = l3.get(9) == Some(&IPPROTO_ICMP) && ICMP_ERRORS.contains(l3.get(header)?);
    is_error.then(|| l3.get(header + ICMP_HLEN..)).flatten()
}

/// The longest time that a connection in its state is kept without a packet, in seconds.
fn longest_s(c: &Info) -> u64 {
    match (c.tuple[0].proto, c.tcp) {
        (IPPROTO_ICMP, _) => 30,
        (IPPROTO_UDP, _) if c.status.has(Status::SEEN_REPLY) => 120,
        (IPPROTO_UDP, _) => 30,
        (IPPROTO_TCP, Some(state)) => match state {
            TcpState::Established => 432_000,
            TcpState::None | TcpState::SynSent | TcpState::SynSent2 | TcpState::FinWait | TcpState::TimeWait => 120,
            TcpState::SynRecv | TcpState::CloseWait => 60,
            TcpState::LastAck => 30,
            TcpState::Close => 10,
        },
        _ => 600,
    }
}

/// The sum of RFC 1071 over what stands one behind the other, each part from an even place on.
fn sum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|p| p.chunks(2));
    let all: u64 = words.map(|w| u64::from(w[0]) << 8 | w.get(1).map_or(0, |b| u64::from(*b))).sum();
    let fold = |n: u64| (n & 0xffff) + (n >> 16);
    fold(fold(fold(all))) as u16
}

fn address(l3: &[u8], at: usize) -> IpAddr {
    l3.get(at..at + 4).and_then(|a| <[u8; 4]>::try_from(a).ok()).map_or(Ipv4Addr::UNSPECIFIED, Ipv4Addr::from).into()
}

fn end(p: &Packet, which: usize) -> String {
    let (address, port) = if which == 0 { (p.src, p.sport) } else { (p.dst, p.dport) };
    format!("{address}:{port}")
}

/// The beginning of a packet.
fn hex(bytes: &[u8]) -> String {
    base::hex(&bytes[..bytes.len().min(64)])
}

#[cfg(test)]
mod tests;
