//! `-m conntrack` and `-m state` (net/netfilter/xt_conntrack.c, extensions/libxt_conntrack.c).

use super::bang;
use crate::kernel::conntrack::{CtInfo, Dir, Status};
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::Value;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Connection, Ct, Packet, Surroundings, Tracked};
use crate::kernel::netfilter::words::mask_text;
use std::net::{IpAddr, Ipv4Addr};

const SPECS: [Spec; 13] = [
    Spec::new("ctstate", 0, Kind::Str).invert(),
    Spec::new("ctproto", 1, Kind::Protocol).invert(),
    Spec::new("ctorigsrc", 2, Kind::HostMask).invert(),
    Spec::new("ctorigdst", 3, Kind::HostMask).invert(),
    Spec::new("ctreplsrc", 4, Kind::HostMask).invert(),
    Spec::new("ctrepldst", 5, Kind::HostMask).invert(),
    Spec::new("ctorigsrcport", 6, Kind::Ports).invert(),
    Spec::new("ctorigdstport", 7, Kind::Ports).invert(),
    Spec::new("ctreplsrcport", 8, Kind::Ports).invert(),
    Spec::new("ctrepldstport", 9, Kind::Ports).invert(),
    Spec::new("ctstatus", 10, Kind::Str).invert(),
    Spec::new("ctexpire", 11, Kind::Range).invert(),
    Spec::new("ctdir", 12, Kind::Str),
];
const STATE_SPECS: [Spec; 1] = [Spec::new("state", 0, Kind::Str).mandatory().invert()];

const INVALID: u8 = 1;
const NEW: u8 = 2;
const RELATED: u8 = 4;
const ESTABLISHED: u8 = 8;
const UNTRACKED: u8 = 16;
const SNAT: u8 = 32;
const DNAT: u8 = 64;

/// States in the order in which they are printed.
const STATES: [(&str, u8); 7] = [
    ("INVALID", INVALID),
    ("NEW", NEW),
    ("RELATED", RELATED),
    ("ESTABLISHED", ESTABLISHED),
    ("UNTRACKED", UNTRACKED),
    ("SNAT", SNAT),
    ("DNAT", DNAT),
];

/// `IPS_*` bits that `--ctstatus` knows.
const STATUS: [(&str, u32); 4] = [("EXPECTED", 1), ("SEEN_REPLY", 2), ("ASSURED", 4), ("CONFIRMED", 8)];

/// A range of ports, and whether the port must be outside.
pub type PortRange = ((u16, u16), bool);

/// An address and its mask, and whether the address must be outside.
pub type HostRange = ((Ipv4Addr, Ipv4Addr), bool);

/// `-m conntrack`: every condition that is given must hold.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conntrack {
    /// Written as `-m state`.
    pub alias: bool,
    /// The states, as bits, and whether it must be none of them.
    pub states: Option<(u8, bool)>,
    /// The protocol.
    pub protocol: Option<(u8, bool)>,
    /// Source and destination of the original direction, then of the replies.
    pub hosts: [Option<HostRange>; 4],
    /// The ports, in the same order.
    pub ports: [Option<PortRange>; 4],
    /// Bits of the status, one of which must be set; none stands for no bit at all.
    pub status: Option<(u32, bool)>,
    /// Seconds until it expires, both ends in it.
    pub expires_s: Option<((u32, u32), bool)>,
    /// The packet goes in the direction of the replies.
    pub is_reply: Option<bool>,
}

impl Conntrack {
    /// `-m state`
    pub(super) fn state() -> Self {
        Conntrack { alias: true, ..Conntrack::default() }
    }

    pub(super) fn name(&self) -> &'static str {
        if self.alias { "state" } else { "conntrack" }
    }

    /// `conntrack_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>, around: &dyn Surroundings) -> bool {
        if let Some((states, invert)) = self.states
            && (states & state_bits(packet.ct) != 0) == invert
        {
            return false;
        }
        let rest = self.protocol.is_some()
            || self.hosts.iter().any(Option::is_some)
            || self.ports.iter().any(Option::is_some)
            || self.status.is_some()
            || self.expires_s.is_some()
            || self.is_reply.is_some();
        match packet.ct {
            Ct::Tracked(ct) => !rest || around.connection().is_some_and(|c| self.tracked(&ct, &c)),
            // Without a connection only the state can be told.
            Ct::None | Ct::Untracked | Ct::Template(_) => self.states.is_some() && !rest,
        }
    }

    fn tracked(&self, ct: &Tracked, connection: &Connection) -> bool {
        if self.is_reply.is_some_and(|reply| reply != (ct.info.dir() == Dir::Reply)) {
            return false;
        }
        let [original, reply] = &connection.tuple;
        let hosts = [original.src, original.dst, reply.src, reply.dst];
        let host = |(range, host): (&Option<HostRange>, IpAddr)| {
            range.is_none_or(|((a, m), invert)| {
                let inside = matches!(host, IpAddr::V4(host) if (host.to_bits() ^ a.to_bits()) & m.to_bits() == 0);
                inside != invert
            })
        };
        let ports = [original.sport, original.dport, reply.sport, reply.dport];
        let port = |(range, port): (&Option<PortRange>, u16)| {
            range.is_none_or(|((low, high), invert)| (low <= port && port <= high) != invert)
        };
        self.hosts.iter().zip(hosts).all(host)
            && self.protocol.is_none_or(|(p, invert)| (p == original.proto) != invert)
            && self.ports.iter().zip(ports).all(port)
            && self.status.is_none_or(|(bits, invert)| (u32::from(ct.status.0) & bits != 0) != invert)
            && self.expires_s.is_none_or(|((low, high), invert)| {
                (low <= connection.expires_s && connection.expires_s <= high) != invert
            })
    }

    /// `conntrack_dump`: as it is saved with `--` before each option, as it is listed without.
    fn print(&self, out: &mut String, prefix: &str, numeric: bool) {
        let mut add = |invert: bool, text: String| {
            bang(out, invert);
            out.push(' ');
            out.push_str(prefix);
            out.push_str(&text);
        };
        if let Some((states, invert)) = self.states {
            let set: Vec<&str> = STATES.iter().filter(|(_, b)| states & b != 0).map(|(n, _)| *n).collect();
            add(invert, format!("{} {}", if self.alias { "state" } else { "ctstate" }, set.join(",")));
        }
        if let Some((protocol, invert)) = self.protocol {
            add(invert, format!("ctproto {protocol}"));
        }
        for (host, spec) in self.hosts.iter().zip(&SPECS[2..6]) {
            if let Some(((host, mask), invert)) = host {
                let mask = mask_text(*mask);
                let mask = if mask == "32" { String::new() } else { format!("/{mask}") };
                let host =
                    if !numeric && host.is_unspecified() { "anywhere".to_owned() } else { format!("{host}{mask}") };
                add(*invert, format!("{} {host}", spec.name));
            }
        }
        for (ports, spec) in self.ports.iter().zip(&SPECS[6..10]) {
            if let Some(((low, high), invert)) = ports {
                let high = if *high == 0 || low == high { String::new() } else { format!(":{high}") };
                add(*invert, format!("{} {low}{high}", spec.name));
            }
        }
        if let Some((status, invert)) = self.status {
            let set: Vec<&str> = STATUS.iter().filter(|(_, b)| status & b != 0).map(|(n, _)| *n).collect();
            add(invert, format!("ctstatus {}", if set.is_empty() { "NONE".to_owned() } else { set.join(",") }));
        }
        if let Some(((low, high), invert)) = self.expires_s {
            let high = if low == high { String::new() } else { format!(":{high}") };
            add(invert, format!("ctexpire {low}{high}"));
        }
        if let Some(reply) = self.is_reply {
            add(false, format!("ctdir {}", if reply { "REPLY" } else { "ORIGINAL" }));
        }
    }
}

fn state_bits(ct: Ct) -> u8 {
    match ct {
        Ct::None => INVALID,
        Ct::Untracked => UNTRACKED,
        // It is there as a connection that begins.
        Ct::Template(_) => NEW,
        Ct::Tracked(t) => {
            let state = match t.info {
                CtInfo::New => NEW,
                CtInfo::Established | CtInfo::EstablishedReply => ESTABLISHED,
                CtInfo::Related | CtInfo::RelatedReply => RELATED,
            };
            let nat = |bit, state| if t.status.has(bit) { state } else { 0 };
            state | nat(Status::SRC_NAT, SNAT) | nat(Status::DST_NAT, DNAT)
        }
    }
}

impl Extension for Conntrack {
    fn specs(&self) -> &'static [Spec] {
        if self.alias { &STATE_SPECS } else { &SPECS }
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let invert = given.invert;
        match (given.id, given.value) {
            (0, _) => self.states = Some((states(given.arg, self.alias)?, invert)),
            (1, value) => self.protocol = Some((value.number() as u8, invert)),
            (id @ 2..=5, Value::HostMask(host, mask)) => {
                self.hosts[usize::from(id - 2)] = Some(((host, mask), invert));
            }
            (id @ 6..=9, Value::Ports(low, high)) => {
                self.ports[usize::from(id - 6)] = Some(((low, high), invert));
            }
            (10, _) => self.status = Some((statuses(given.arg)?, invert)),
            (11, Value::Range(low, high)) => self.expires_s = Some(((low, high), invert)),
            _ => {
                self.is_reply = Some(match given.arg.to_ascii_uppercase().as_str() {
                    "ORIGINAL" => false,
                    "REPLY" => true,
                    _ => {
                        let text = format!("conntrack: Bad value for \"--ctdir\" option: \"{}\"", given.arg);
                        return Err(Error::usage(text));
                    }
                });
            }
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 || self.alias {
            return Ok(());
        }
        Err(Error::usage("conntrack: At least one option is required"))
    }

    fn list(&self, out: &mut String, how: Listing) {
        self.print(out, "", how.numeric);
    }

    fn save(&self, out: &mut String) {
        self.print(out, "--", true);
    }
}

/// Names, or their beginnings, between commas.
fn states(text: &str, alias: bool) -> Result<u8, Error> {
    // The order in which they are tried decides what a beginning means.
    const TRIED: [(&str, u32); 7] = [
        ("INVALID", INVALID as u32),
        ("NEW", NEW as u32),
        ("ESTABLISHED", ESTABLISHED as u32),
        ("RELATED", RELATED as u32),
        ("UNTRACKED", UNTRACKED as u32),
        ("SNAT", SNAT as u32),
        ("DNAT", DNAT as u32),
    ];
    let (known, what) = if alias { (&TRIED[..5], "state") } else { (&TRIED[..], "ctstate") };
    list(text, known).map(|bits| bits as u8).map_err(|rest| Error::usage(format!("Bad {what} \"{rest}\"")))
}

fn statuses(text: &str) -> Result<u32, Error> {
    const TRIED: [(&str, u32); 5] = [("NONE", 0), STATUS[0], STATUS[1], STATUS[2], STATUS[3]];
    list(text, &TRIED).map_err(|rest| Error::usage(format!("Bad ctstatus \"{rest}\"")))
}

/// The bits of names between commas; the rest of the text where one is unknown.
fn list<'a>(text: &'a str, known: &[(&str, u32)]) -> Result<u32, &'a str> {
    let mut rest = text;
    let mut bits = 0;
    loop {
        let (name, next) = rest.split_once(',').map_or((rest, None), |(name, next)| (name, Some(next)));
        let begins =
            |full: &str| !name.is_empty() && full.get(..name.len()).is_some_and(|f| f.eq_ignore_ascii_case(name));
        bits |= known.iter().find(|(full, _)| begins(full)).ok_or(rest)?.1;
        match next {
            Some(next) => rest = next,
            None => return Ok(bits),
        }
    }
}
