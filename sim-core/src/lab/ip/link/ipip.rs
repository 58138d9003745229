//! What follows `type ipip` (ip/link_iptnl.c).

use super::vxlan::any_address;
use crate::kernel::netlink::Ipip;
use crate::lab::args::{
    Args, Keyword, exact, help, invalid, keyword, names, not_simulated, not_simulated_in, prefix, unsigned,
};
use crate::lab::ip::ABORTED;
use crate::lab::{Check, SyntaxError, Word};
use std::net::Ipv4Addr;

#[derive(Clone, Copy)]
enum Opt {
    Remote,
    Local,
    Dev,
    Ttl,
    Tos,
    Pmtudisc(bool),
    Mode,
    /// What is off anyway.
    Off,
    Help,
    Other,
}

// In the order of iptunnel_parse_opt.
const OPTIONS: &[Keyword<Opt>] = &[
    exact("remote", Opt::Remote),
    exact("local", Opt::Local),
    prefix("dev", Opt::Dev),
    exact("ttl", Opt::Ttl),
    exact("hoplimit", Opt::Ttl),
    exact("hlim", Opt::Ttl),
    exact("tos", Opt::Tos),
    exact("tclass", Opt::Tos),
    prefix("dsfield", Opt::Tos),
    exact("nopmtudisc", Opt::Pmtudisc(false)),
    exact("pmtudisc", Opt::Pmtudisc(true)),
    exact("mode", Opt::Mode),
    exact("noencap", Opt::Off),
    exact("encap", Opt::Other),
    exact("encap-sport", Opt::Other),
    exact("encap-dport", Opt::Other),
    exact("encap-csum", Opt::Other),
    exact("noencap-csum", Opt::Off),
    exact("encap-udp6-csum", Opt::Other),
    exact("noencap-udp6-csum", Opt::Off),
    exact("encap-remcsum", Opt::Other),
    exact("noencap-remcsum", Opt::Off),
    exact("external", Opt::Other),
    exact("6rd-prefix", Opt::Other),
    exact("6rd-relay_prefix", Opt::Other),
    exact("6rd-reset", Opt::Other),
    exact("fwmark", Opt::Other),
    exact("help", Opt::Help),
];

/// The words after `type ipip`; a device that they name is looked up.
pub(super) fn ipip(args: &mut Args<'_>, checks: &mut Vec<Check>) -> Result<Ipip, SyntaxError> {
    let mut t = Ipip { pmtudisc: true, ..Ipip::default() };
    while let Some(word) = args.next() {
        let Some(opt) = keyword(OPTIONS, &word.text) else {
            return Err(SyntaxError::at(word, format!("ipip: unknown option \"{}\"", word.text))
                .hint("what is no option of a tunnel stands before \"type\"")
                .hint_nearest(&word.text, names(OPTIONS)));
        };
        match opt {
            Opt::Remote => t.remote = end(args.value()?)?,
            Opt::Local => t.local = end(args.value()?)?,
            Opt::Dev => {
                let dev = args.value()?;
                checks.push(Check::find_dev(&dev.text, ABORTED));
                t.link = Some(dev.text.clone());
            }
            Opt::Ttl => t.ttl = ttl(args.value()?)?,
            Opt::Tos => t.tos = tos(args.value()?)?,
            Opt::Pmtudisc(on) => t.pmtudisc = on,
            Opt::Mode => {
                let mode = args.value()?;
                t.only_ipv4 = match mode.text.as_str() {
                    "ipip" | "ipv4/ipv4" | "ip4ip4" => true,
                    "any" | "any/ipv4" => false,
                    "mplsip" | "mpls/ipv4" => return Err(not_simulated(mode)),
                    _ => return Err(invalid(mode, "Cannot guess tunnel mode.")),
                };
            }
            Opt::Off => {}
            Opt::Help => return Err(help(word, "ip-link")),
            Opt::Other => return Err(not_simulated_in(OPTIONS, word)),
        }
    }
    compatible(&t, args)?;
    Ok(t)
}

/// Only with path MTU discovery may a tunnel have a TTL of its own.
pub(in crate::lab::ip) fn compatible(t: &Ipip, args: &Args<'_>) -> Result<(), SyntaxError> {
    if t.ttl == 0 || t.pmtudisc { Ok(()) } else { Err(args.error("ttl != 0 and nopmtudisc are incompatible")) }
}

/// An end of a tunnel; `any` is none.
pub(in crate::lab::ip) fn end(word: &Word) -> Result<Option<Ipv4Addr>, SyntaxError> {
    any_address(word).map(|addr| Some(addr).filter(|a| !a.is_unspecified()))
}

/// A TTL; zero is `inherit`.
pub(in crate::lab::ip) fn ttl(word: &Word) -> Result<u8, SyntaxError> {
    if word.text == "inherit" { Ok(0) } else { unsigned(word, "invalid TTL\n") }
}

fn tos(word: &Word) -> Result<u8, SyntaxError> {
    if word.text == "inherit" { Ok(1) } else { unsigned(word, "bad TOS value") }
}
