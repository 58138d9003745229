//! `-m multiport` (net/netfilter/xt_multiport.c, extensions/libxt_multiport.c).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::{Matched, Packet};
use crate::kernel::netfilter::words::port;
use crate::wire::be16;

const SPECS: [Spec; 5] = [
    Spec::new("source-ports", 0, Kind::Str).invert().excludes(7),
    Spec::new("sports", 0, Kind::Str).invert().excludes(7),
    Spec::new("destination-ports", 1, Kind::Str).invert().excludes(7),
    Spec::new("dports", 1, Kind::Str).invert().excludes(7),
    Spec::new("ports", 2, Kind::Str).invert().excludes(7),
];

/// So many ports fit; a range takes two places (`XT_MULTI_PORTS`).
const MAX_PORTS: usize = 15;

/// Which port is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Side {
    /// The source port.
    #[default]
    Source,
    /// The destination port.
    Destination,
    /// Either.
    Either,
}

/// `-m multiport`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Multiport {
    /// Which port is looked for.
    pub side: Side,
    /// Where it must be: ranges with both ends in them.
    pub ports: Vec<(u16, u16)>,
    /// It must be in none of them.
    pub invert: bool,
}

impl Multiport {
    /// `multiport_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> Matched {
        if packet.fragment_offset() != 0 {
            return Matched::No;
        }
        let header = packet.payload();
        if header.len() < 4 {
            return Matched::Hotdrop;
        }
        let has = |port: u16| self.ports.iter().any(|(low, high)| *low <= port && port <= *high);
        let (source, destination) = (be16(header, 0), be16(header, 2));
        let found = match self.side {
            Side::Source => has(source),
            Side::Destination => has(destination),
            Side::Either => has(source) || has(destination),
        };
        (found != self.invert).into()
    }
}

impl Extension for Multiport {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.protocol {
            (6 | 17 | 33 | 132 | 136, false) => {}
            (0, false) => {
                let text = "multiport needs `-p tcp', `-p udp', `-p udplite', `-p sctp' or `-p dccp'";
                return Err(Error::usage(text));
            }
            _ => return Err(Error::usage("multiport only works with TCP, UDP, UDPLITE, SCTP and DCCP")),
        }
        self.ports = ports(given.arg)?;
        self.side = [Side::Source, Side::Destination, Side::Either][usize::from(given.id.min(2))];
        self.invert |= given.invert;
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen == 0 { Err(Error::usage("multiport expection an option")) } else { Ok(()) }
    }

    fn list(&self, out: &mut String, how: Listing) {
        out.push_str(match self.side {
            Side::Source => " multiport sports ",
            Side::Destination => " multiport dports ",
            Side::Either => " multiport ports ",
        });
        bang(out, self.invert);
        let name = |port: u16| how.port(port, how.protocol);
        let one = |(low, high): &(u16, u16)| {
            if low == high { name(*low) } else { format!("{}:{}", name(*low), name(*high)) }
        };
        out.push_str(&self.ports.iter().map(one).collect::<Vec<_>>().join(","));
    }

    fn save(&self, out: &mut String) {
        bang(out, self.invert);
        out.push_str(match self.side {
            Side::Source => " --sports ",
            Side::Destination => " --dports ",
            Side::Either => " --ports ",
        });
        let one = |(low, high): &(u16, u16)| {
            if low == high { low.to_string() } else { format!("{low}:{high}") }
        };
        out.push_str(&self.ports.iter().map(one).collect::<Vec<_>>().join(","));
    }
}

fn ports(text: &str) -> Result<Vec<(u16, u16)>, Error> {
    let one = |text: &str| {
        let unknown = || Error::usage(format!("invalid port/service `{text}' specified"));
        port(text).ok_or_else(unknown)
    };
    let mut ports = Vec::new();
    let mut places = 0;
    for part in text.split(',') {
        let range = part.split_once(':');
        places += 1 + usize::from(range.is_some());
        if places > MAX_PORTS {
            return Err(Error::usage("too many ports specified"));
        }
        let Some((low, high)) = range else {
            ports.push(one(part).map(|p| (p, p))?);
            continue;
        };
        let (low, high) = (one(low)?, one(high)?);
        if low >= high {
            return Err(Error::usage("invalid portrange specified"));
        }
        ports.push((low, high));
    }
    Ok(ports)
}
