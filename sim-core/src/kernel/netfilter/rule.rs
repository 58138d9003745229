//! A rule: what it asks of a packet's IPv4 header and devices, its matches and its target, as data and as the text that
//! iptables-save prints (include/uapi/linux/netfilter_ipv4/ip_tables.h: struct ipt_ip;
//! net/ipv4/netfilter/ip_tables.c: ip_packet_match; iptables/iptables.c: print_rule4).

use super::Backend;
use super::error::Error;
use super::list::Listing;
use super::matches::Match;
use super::packet::{IfName, Packet, Surroundings};
use super::targets::Target;
use super::words::{mask_text, protocol_name};
use crate::base::IfIndex;
use std::net::Ipv4Addr;

/// A rule of a chain.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// What it asks of every packet.
    pub conditions: Conditions,
    /// What else it asks, in this order.
    pub matches: Vec<Match>,
    /// What happens to a packet that it is true of.
    pub target: Target,
}

impl Rule {
    /// The sets that it asks, one for each match.
    pub(super) fn set_names(&self) -> impl Iterator<Item = &str> {
        self.matches.iter().filter_map(|m| if let Match::Set(m) = m { Some(m.name.as_str()) } else { None })
    }
}

/// `struct ipt_ip`. An address with a mask of zero is any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Conditions {
    /// The source's network and mask.
    pub src: (Ipv4Addr, Ipv4Addr),
    /// Not from there.
    pub not_src: bool,
    /// The destination's network and mask.
    pub dst: (Ipv4Addr, Ipv4Addr),
    /// Not to there.
    pub not_dst: bool,
    /// The device that it came in by.
    pub input: Iface,
    /// Not by that one.
    pub not_input: bool,
    /// The device that it is going out by.
    pub output: Iface,
    /// Not by that one.
    pub not_output: bool,
    /// The protocol; zero for any.
    pub protocol: u8,
    /// Not that protocol.
    pub not_protocol: bool,
    /// A fragment, but not the first one.
    pub fragment: bool,
    /// With `fragment`: no such fragment.
    pub not_fragment: bool,
}

const ANYWHERE: (Ipv4Addr, Ipv4Addr) = (Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED);

impl Default for Conditions {
    fn default() -> Self {
        Conditions {
            src: ANYWHERE,
            not_src: false,
            dst: ANYWHERE,
            not_dst: false,
            input: Iface::default(),
            not_input: false,
            output: Iface::default(),
            not_output: false,
            protocol: 0,
            not_protocol: false,
            fragment: false,
            not_fragment: false,
        }
    }
}

/// A device's name, or how it begins (`eth+`).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Iface {
    name: IfName,
    /// So many bytes are compared, with the final zero of a whole name.
    length: u8,
}

impl Iface {
    /// `xtables_parse_interface`
    ///
    /// # Errors
    /// The name is longer than a device's name can be.
    pub fn parse(name: &str) -> Result<Iface, Error> {
        if name.len() > 15 {
            let text = format!("interface name `{name}' must be shorter than IFNAMSIZ (15)");
            return Err(Error::usage(text));
        }
        let length = if name.is_empty() {
            0
        } else if name.ends_with('+') {
            name.len() - 1
        } else {
            name.len() + 1
        };
        Ok(Iface { name: IfName::new(name), length: length as u8 })
    }

    /// It is a device by this name; any device, or none, if the name is empty or `+`.
    pub(super) fn matches(&self, dev: Option<IfIndex>, around: &dyn Surroundings) -> bool {
        if self.is_any() {
            return true;
        }
        let name = dev.map_or(IfName::NONE, |dev| around.name(dev));
        self.name.0[..usize::from(self.length)] == name.0[..usize::from(self.length)]
    }

    /// As it was written.
    pub fn name(&self) -> String {
        format!("{:?}", self.name)
    }

    /// No name was given; `+` is one.
    fn is_empty(&self) -> bool {
        self.name.is_none()
    }

    /// Any device.
    fn is_any(&self) -> bool {
        self.length == 0
    }
}

impl std::fmt::Debug for Iface {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Conditions {
    /// `ip_packet_match`
    #[inline]
    pub(super) fn matches(&self, packet: &Packet<'_>, around: &dyn Surroundings) -> bool {
        let inside = |(network, mask): (Ipv4Addr, Ipv4Addr), address: Ipv4Addr| address & mask == network;
        // The destination tells most rules apart.
        inside(self.dst, packet.dst()) != self.not_dst
            && inside(self.src, packet.src()) != self.not_src
            && self.input.matches(packet.indev, around) != self.not_input
            && self.output.matches(packet.outdev, around) != self.not_output
            && (self.protocol == 0 || (packet.protocol() == self.protocol) != self.not_protocol)
            && (!self.fragment || (packet.fragment_offset() != 0) != self.not_fragment)
    }

    /// The only destination that it is true of, if there is but one.
    pub(super) fn exact_dst(&self) -> Option<Ipv4Addr> {
        (self.dst.1 == Ipv4Addr::BROADCAST && !self.not_dst).then_some(self.dst.0)
    }

    /// The rule is about this protocol alone.
    pub(super) fn is_protocol(&self, protocol: u8) -> bool {
        self.protocol == protocol && !self.not_protocol
    }

    /// No packet can match, which nf_tables refuses: an inverted condition that is always true.
    pub(super) fn is_refused_by_nft(&self) -> bool {
        self.not_src && self.src == ANYWHERE || self.not_dst && self.dst == ANYWHERE
    }

    /// `opt`, devices if they are asked for, and addresses, as `iptables -L` prints them.
    pub(super) fn list(&self, out: &mut String, how: Listing, backend: Backend) {
        out.push(if self.not_fragment && self.fragment { '!' } else { '-' });
        out.push_str(if self.fragment { "f " } else { "- " });
        if how.counters {
            for (dev, invert) in [(self.input, self.not_input), (self.output, self.not_output)] {
                let hidden = dev.is_any() && backend.prints_no_device() && !invert;
                let any = if how.numeric { "*" } else { "any" };
                let name = if dev.is_empty() || hidden { any.to_owned() } else { dev.name() };
                let text = format!("{}{name}", if invert { "!" } else { "" });
                out.push_str(&format!(" {text:<6}"));
            }
            out.push(' ');
        }
        for (network, invert) in [(self.src, self.not_src), (self.dst, self.not_dst)] {
            out.push(if invert { '!' } else { ' ' });
            out.push_str(&format!("{:<19} ", how.network(network)));
        }
    }

    fn save(&self, out: &mut String, backend: Backend) {
        let sides = [("s", self.src, self.not_src), ("d", self.dst, self.not_dst)];
        for (letter, network, invert) in sides.into_iter().filter(|(_, n, invert)| *n != ANYWHERE || *invert) {
            let not = if invert { " !" } else { "" };
            out.push_str(&format!("{not} -{letter} {}/{}", network.0, mask_text(network.1)));
        }
        for (letter, dev, invert) in [("i", self.input, self.not_input), ("o", self.output, self.not_output)] {
            let shown = !dev.is_any() || backend.prints_no_device() && invert && !dev.is_empty();
            if shown {
                out.push_str(&format!("{} -{letter} {}", if invert { " !" } else { "" }, dev.name()));
            }
        }
        if self.protocol != 0 {
            let name = protocol_name(self.protocol).map_or(self.protocol.to_string(), str::to_owned);
            out.push_str(&format!("{} -p {name}", if self.not_protocol { " !" } else { "" }));
        }
        if self.fragment {
            out.push_str(if self.not_fragment { " ! -f" } else { " -f" });
        }
    }
}

impl Rule {
    /// The words that a command needs behind the chain's name to make this rule.
    pub fn words(&self, counters: Option<(u64, u64)>) -> Vec<String> {
        let mut line = String::new();
        // This backend leaves nothing out.
        self.save(&mut line, Backend::Nft, counters);
        super::words::split(&line).unwrap_or_else(|_| line.split_whitespace().map(str::to_owned).collect())
    }

    /// The rule as iptables-save prints it after `-A CHAIN`, with a blank before each part. `counters` are printed as
    /// `iptables -S -v` does, before the target.
    pub fn save(&self, out: &mut String, backend: Backend, counters: Option<(u64, u64)>) {
        self.conditions.save(out, backend);
        for m in &self.matches {
            out.push_str(" -m ");
            out.push_str(m.name());
            m.save_options(out);
        }
        if let Some((packets, bytes)) = counters {
            out.push_str(&format!(" -c {packets} {bytes}"));
        }
        self.target.save(out);
    }
}
