//! The matches, one file each: options, printed form, errors and what they do to a packet (net/netfilter/xt_*.c,
//! extensions/libxt_*.c of iptables).

mod addrtype;
mod comment;
mod connmark;
mod conntrack;
mod icmp;
mod limit;
mod mark;
mod multiport;
mod owner;
mod physdev;
mod ports;
mod recent;
mod rpfilter;
mod set;
mod socket;
mod statistic;
mod tcp;

pub use addrtype::AddrTypes;
pub use comment::Comment;
pub use connmark::ConnMark;
pub use conntrack::{Conntrack, PortRange};
pub use icmp::Icmp;
pub use limit::{Bucket, Limit};
pub use mark::Mark;
pub use multiport::{Multiport, Side};
pub use owner::Owner;
pub use physdev::Physdev;
pub use ports::Ports;
pub use recent::{Op, Recent, RecentLists};
pub use rpfilter::Rpfilter;
pub use set::MatchSet;
pub use socket::Socket;
pub use statistic::Statistic;
pub use tcp::Tcp;

use super::eval::Memory;
use super::extension::{Extension, Spec};
use super::list::Listing;
use super::packet::{Matched, Packet, Surroundings};
use super::rule::Conditions;
use crate::wire::be16;

/// What a match that keeps a state finds it by: the rule's handle and the match's place in it.
pub(super) type Site = (u32, u8);

/// A match of a rule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Match {
    /// `-m addrtype`
    AddrType(AddrTypes),
    /// `-m comment`
    Comment(Comment),
    /// `-m connmark`
    ConnMark(ConnMark),
    /// `-m conntrack` and `-m state`
    Conntrack(Conntrack),
    /// `-m icmp`
    Icmp(Icmp),
    /// `-m limit`
    Limit(Limit),
    /// `-m mark`
    Mark(Mark),
    /// `-m multiport`
    Multiport(Multiport),
    /// `-m owner`
    Owner(Owner),
    /// `-m physdev`
    Physdev(Physdev),
    /// `-m recent`
    Recent(Recent),
    /// `-m rpfilter`
    Rpfilter(Rpfilter),
    /// `-m set`
    Set(MatchSet),
    /// `-m socket`
    Socket(Socket),
    /// `-m statistic`
    Statistic(Statistic),
    /// `-m tcp`
    Tcp(Tcp),
    /// `-m udp` and `-m sctp`
    Ports(Ports),
}

/// Calls the same function of whichever match it is.
macro_rules! each {
    ($match:expr, $m:ident => $call:expr) => {
        match $match {
            Match::AddrType($m) => $call,
            Match::Comment($m) => $call,
            Match::ConnMark($m) => $call,
            Match::Conntrack($m) => $call,
            Match::Icmp($m) => $call,
            Match::Limit($m) => $call,
            Match::Mark($m) => $call,
            Match::Multiport($m) => $call,
            Match::Owner($m) => $call,
            Match::Physdev($m) => $call,
            Match::Recent($m) => $call,
            Match::Rpfilter($m) => $call,
            Match::Set($m) => $call,
            Match::Socket($m) => $call,
            Match::Statistic($m) => $call,
            Match::Tcp($m) => $call,
            Match::Ports($m) => $call,
        }
    };
}

/// The matches that there are.
pub const NAMES: [&str; 19] = [
    "addrtype",
    "comment",
    "connmark",
    "conntrack",
    "icmp",
    "limit",
    "mark",
    "multiport",
    "owner",
    "physdev",
    "recent",
    "rpfilter",
    "sctp",
    "set",
    "socket",
    "state",
    "statistic",
    "tcp",
    "udp",
];

impl Match {
    /// The match of that name before its options are read.
    pub(super) fn new(name: &str) -> Option<Match> {
        Some(match name {
            "addrtype" => Match::AddrType(AddrTypes::default()),
            "comment" => Match::Comment(Comment::default()),
            "connmark" => Match::ConnMark(ConnMark::default()),
            "conntrack" => Match::Conntrack(Conntrack::default()),
            "state" => Match::Conntrack(Conntrack::state()),
            "icmp" => Match::Icmp(Icmp::default()),
            "limit" => Match::Limit(Limit::default()),
            "mark" => Match::Mark(Mark::default()),
            "multiport" => Match::Multiport(Multiport::default()),
            "owner" => Match::Owner(Owner::default()),
            "physdev" => Match::Physdev(Physdev::default()),
            "recent" => Match::Recent(Recent::default()),
            "rpfilter" => Match::Rpfilter(Rpfilter::default()),
            "set" => Match::Set(MatchSet::default()),
            "socket" => Match::Socket(Socket::default()),
            "statistic" => Match::Statistic(Statistic::default()),
            "tcp" => Match::Tcp(Tcp::default()),
            "sctp" => Match::Ports(Ports::SCTP),
            "udp" => Match::Ports(Ports::UDP),
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Match::AddrType(_) => "addrtype",
            Match::Comment(_) => "comment",
            Match::ConnMark(_) => "connmark",
            Match::Conntrack(m) => m.name(),
            Match::Icmp(_) => "icmp",
            Match::Limit(_) => "limit",
            Match::Mark(_) => "mark",
            Match::Multiport(_) => "multiport",
            Match::Owner(_) => "owner",
            Match::Physdev(_) => "physdev",
            Match::Recent(_) => "recent",
            Match::Rpfilter(_) => "rpfilter",
            Match::Set(_) => "set",
            Match::Socket(_) => "socket",
            Match::Statistic(_) => "statistic",
            Match::Tcp(_) => "tcp",
            Match::Ports(m) => m.name(),
        }
    }

    /// The match as something with options.
    pub(super) fn extension_mut(&mut self) -> &mut dyn Extension {
        each!(self, m => m)
    }

    /// Its options.
    pub(super) fn specs(&self) -> &'static [Spec] {
        each!(self, m => m.specs())
    }

    /// Its options as iptables-save prints them, each with a blank before it.
    pub(super) fn save_options(&self, out: &mut String) {
        each!(self, m => m.save(out));
    }

    /// The match as `iptables -L` prints it, with a blank before it.
    pub(super) fn list(&self, out: &mut String, how: Listing) {
        each!(self, m => m.list(out, how));
    }

    /// What nf_tables makes of it: whether anything is left of it.
    pub(super) fn make_nft(&mut self) -> bool {
        match self {
            Match::Tcp(m) => m.make_nft(),
            Match::Ports(m) => m.make_nft(),
            _ => true,
        }
    }

    /// The rule and the hooks that it may be reached from suit the match (`checkentry`).
    pub(super) fn suits(&self, conditions: &Conditions, hooks: u8) -> bool {
        match self {
            Match::Tcp(_) => conditions.is_protocol(6),
            Match::Ports(m) => conditions.is_protocol(m.protocol()),
            Match::Icmp(_) => conditions.is_protocol(1),
            Match::Multiport(_) => [6, 17, 33, 132, 136].iter().any(|p| conditions.is_protocol(*p)),
            Match::AddrType(m) => m.suits(hooks),
            Match::Owner(m) => m.suits(hooks),
            Match::Physdev(m) => m.suits(hooks),
            Match::Recent(m) => m.suits(),
            Match::Rpfilter(_) => Rpfilter::suits(hooks),
            Match::Socket(_) => Socket::suits(hooks),
            _ => true,
        }
    }

    /// Whether the packet matches; `socket` may change its mark. Not inlined: what one kind looks at would be worked
    /// out for all of them.
    #[inline(never)]
    pub(super) fn matches(
        &self,
        packet: &mut Packet<'_>,
        site: Site,
        memory: &mut Memory<'_>,
        around: &mut dyn Surroundings,
    ) -> Matched {
        match self {
            Match::AddrType(m) => m.matches(packet, around).into(),
            Match::Comment(_) => Matched::Yes,
            Match::ConnMark(m) => m.matches(packet).into(),
            Match::Conntrack(m) => m.matches(packet, around).into(),
            Match::Icmp(m) => m.matches(packet),
            Match::Limit(m) => m.matches(packet, site, memory).into(),
            Match::Mark(m) => m.matches(packet).into(),
            Match::Multiport(m) => m.matches(packet),
            Match::Owner(m) => m.matches(packet).into(),
            Match::Physdev(m) => m.matches(packet, around).into(),
            Match::Recent(m) => m.matches(packet, memory.recent).into(),
            Match::Rpfilter(m) => m.matches(packet, around).into(),
            Match::Set(m) => m.matches(packet, memory.sets).into(),
            Match::Socket(m) => m.matches(packet, around).into(),
            Match::Statistic(m) => m.matches(site, memory, around).into(),
            Match::Tcp(m) => m.matches(packet),
            Match::Ports(m) => m.matches(packet),
        }
    }
}

/// How nf_tables compares an inverted range that begins with the first port: by what is left
/// (iptables/nft.c: expr_gen_range_cmp16).
fn nft_ports((low, high): (u16, u16), invert: bool) -> ((u16, u16), bool) {
    match (low, high) {
        (0, u16::MAX) => ((low, high), false),
        _ if !invert || low == high => ((low, high), invert),
        (0, _) => ((high + 1, u16::MAX), false),
        _ => ((low, high), invert),
    }
}

/// A port, as two bytes at an offset behind the IPv4 header, whatever they are: measured on Linux 6.18, whose
/// nft_payload_fast_eval takes those of later fragments, too. If they are not there, the rule does not hold.
fn nft_port_in(packet: &Packet<'_>, at: usize, ports: (u16, u16), invert: bool) -> bool {
    let port = || packet.payload().get(at..at + 2).map(|b| be16(b, 0));
    ports == (0, u16::MAX) || port().is_some_and(|port| port_in(ports, port, invert))
}

/// ` !` if the condition is inverted.
fn bang(out: &mut String, invert: bool) {
    if invert {
        out.push_str(" !");
    }
}

/// ` --NAME LOW` or ` --NAME LOW:HIGH`
fn save_ports(out: &mut String, name: &str, (low, high): (u16, u16), invert: bool) {
    bang(out, invert);
    out.push_str(&if low == high { format!(" --{name} {low}") } else { format!(" --{name} {low}:{high}") });
}

/// `port_match` of net/netfilter/xt_tcpudp.c
fn port_in((low, high): (u16, u16), port: u16, invert: bool) -> bool {
    (low <= port && port <= high) != invert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known() {
        for name in NAMES {
            let found = Match::new(name).map(|m| m.name());
            assert!(found == Some(name), "{name}");
        }
    }
}
