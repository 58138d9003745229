//! `iptables -L`: the rules as a table for people to read (iptables/xshared.c: print_header, print_rule_details;
//! iptables/iptables.c and iptables/nft.c for what the backends do differently).

use super::Backend;
use super::error::Error;
use super::eval::State;
use super::rule::Rule;
use super::table::{Chain, Table};
use super::targets::Target;
use super::words::{mask_text, protocol_name, service_name};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// How `iptables -L` prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct Format {
    /// `-n`: numbers in place of names.
    pub numeric: bool,
    /// `-x`: counters are not shortened.
    pub exact: bool,
    /// `--line-numbers`
    pub numbers: bool,
    /// `-v`: counters and devices.
    pub verbose: bool,
}

/// How a match or target prints itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listing {
    /// Numbers in place of names.
    pub(super) numeric: bool,
    /// Counters and devices are printed.
    pub(super) counters: bool,
    /// The rule's protocol.
    pub(super) protocol: u8,
}

impl Listing {
    /// A port by its name if it has one.
    pub(super) fn port(self, port: u16, protocol: u8) -> String {
        let name = service_name(port, protocol).filter(|_| !self.numeric);
        name.map_or_else(|| port.to_string(), str::to_owned)
    }

    /// ` NAME:PORT` or ` NAMEs:LOW:HIGH`; nothing for all ports.
    pub(super) fn list_ports(self, out: &mut String, name: &str, ports: (u16, u16), invert: bool, protocol: u8) {
        if ports == (0, u16::MAX) && !invert {
            return;
        }
        let not = if invert { "!" } else { "" };
        let (low, high) = (self.port(ports.0, protocol), self.port(ports.1, protocol));
        let _ = match ports.0 == ports.1 {
            true => write!(out, " {name}:{not}{low}"),
            false => write!(out, " {name}s:{not}{low}:{high}"),
        };
    }

    /// `ipv4_addr_to_string`
    ///
    /// Differs: of the names that hosts(5) and networks(5) may have, Debian's own are known.
    pub(super) fn network(self, (address, mask): (Ipv4Addr, Ipv4Addr)) -> String {
        if mask.is_unspecified() && !self.numeric {
            return "anywhere".to_owned();
        }
        let address = match address.octets() {
            [127, 0, 0, 1] if !self.numeric => "localhost".to_owned(),
            [0, 0, 0, 0] if !self.numeric => "default".to_owned(),
            [127, 0, 0, 0] if !self.numeric => "loopback".to_owned(),
            [169, 254, 0, 0] if !self.numeric => "link-local".to_owned(),
            _ => address.to_string(),
        };
        match mask_text(mask).as_str() {
            "32" => address,
            mask => format!("{address}/{mask}"),
        }
    }
}

impl Table {
    /// `iptables -L`, of one chain or of all, or of one rule of a chain.
    pub(super) fn list(
        &self,
        state: &State,
        chain: Option<&str>,
        number: Option<u32>,
        format: Format,
        backend: Backend,
    ) -> Result<String, Error> {
        let shown = |c: &&Chain| chain.is_none_or(|name| name == c.name);
        if !self.chains().iter().any(|c| shown(&c)) {
            return Err(backend.no_chain_to_list(chain.unwrap_or_default(), self.name()));
        }
        let mut out = String::new();
        for chain in self.chains().iter().filter(shown) {
            if !out.is_empty() {
                out.push('\n');
            }
            if number.is_none() {
                self.list_head(chain, state, format, &mut out);
            }
            for (slot, n) in chain.rules.iter().zip(1..).filter(|(_, n)| number.is_none_or(|number| number == *n)) {
                if format.numbers {
                    let _ = write!(out, "{n:<4} ");
                }
                if format.verbose {
                    let (packets, bytes) = state.counters(slot.handle);
                    counter(&mut out, packets, format);
                    counter(&mut out, bytes, format);
                }
                slot.rule.list(&mut out, format, backend);
                out.push('\n');
            }
        }
        Ok(out)
    }

    /// `print_header`
    fn list_head(&self, chain: &Chain, state: &State, format: Format, out: &mut String) {
        let _ = write!(out, "Chain {} (", chain.name);
        match chain.base {
            Some(base) => {
                let _ = write!(out, "policy {}", base.policy.name());
                if format.verbose {
                    let (packets, bytes) = state.counters(base.handle);
                    let (packets, bytes) = (shortened(packets, format), shortened(bytes, format));
                    let _ = write!(out, " {packets} packets, {bytes} bytes");
                }
                out.push_str(")\n");
            }
            None => {
                let rules = self.chains().iter().flat_map(|c| &c.rules);
                let references = rules.filter(|s| s.rule.target.chain() == Some(&chain.name)).count();
                let _ = writeln!(out, "{references} references)");
            }
        }
        if format.numbers {
            out.push_str("num  ");
        }
        if format.verbose {
            out.push_str(if format.exact { "    pkts      bytes " } else { " pkts bytes " });
        }
        out.push_str("target     prot opt");
        if format.verbose {
            out.push_str(" in     out    ");
        }
        let _ = writeln!(out, " {:<19}  {:<19} ", "source", "destination");
    }
}

impl Rule {
    /// `print_firewall` behind number and counters.
    fn list(&self, out: &mut String, format: Format, backend: Backend) {
        let conditions = &self.conditions;
        let how = Listing { numeric: format.numeric, counters: format.verbose, protocol: conditions.protocol };
        let name = protocol_name(conditions.protocol).filter(|_| !format.numeric);
        // protocols(5) calls it ip.
        let name = if conditions.protocol == 0 { name.map(|_| "all") } else { name };
        let protocol = name.map_or_else(|| conditions.protocol.to_string(), str::to_owned);
        let not = if conditions.not_protocol { '!' } else { ' ' };
        // The kernel does not know NOTRACK by that name.
        let target = if matches!(self.target, Target::Ct(_)) { "CT" } else { self.target.name() };
        let _ = write!(out, "{target:<9} {not}{protocol:<4} ");
        conditions.list(out, how, backend);
        if matches!(self.target, Target::Goto(_)) {
            out.push_str("[goto] ");
        }
        for m in &self.matches {
            m.list(out, how);
        }
        self.target.list(out, how);
    }
}

/// `xtables_print_num`, in a column.
fn counter(out: &mut String, number: u64, format: Format) {
    let text = shortened(number, format);
    let _ = if format.exact { write!(out, "{text:>8} ") } else { write!(out, "{text:>5} ") };
}

/// Thousands, millions and so on, rounded at each step.
fn shortened(mut number: u64, format: Format) -> String {
    if format.exact || number <= 99_999 {
        return number.to_string();
    }
    for unit in ["K", "M", "G"] {
        number = number.saturating_add(500) / 1000;
        if number <= 9999 {
            return format!("{number}{unit}");
        }
    }
    format!("{}T", number.saturating_add(500) / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shortened() {
        for (number, want) in [
            (0, "0"),
            (99_999, "99999"),
            (100_000, "100K"),
            (9_999_499, "9999K"),
            (9_999_500, "10M"),
            (9_999_500_000, "10G"),
            (9_999_500_000_000, "10T"),
            (u64::MAX, "18446744T"),
        ] {
            assert_eq!(shortened(number, Format::default()), want, "{number}");
            assert_eq!(shortened(number, Format { exact: true, ..Format::default() }), number.to_string());
        }
    }
}
