//! What follows `type vxlan`.

use crate::kernel::netlink::{TunnelDf, TunnelTtl, VNI_END, Vxlan};
use crate::lab::args::{
    Args, Keyword, address, exact, garbage, help, invalid, keyword, names, not_simulated_in, number, prefix, unsigned,
};
use crate::lab::ip::ABORTED;
use crate::lab::{Check, SyntaxError, Word};
use std::net::Ipv4Addr;

#[derive(Clone, Copy, PartialEq)]
enum Opt {
    Id,
    Group,
    Remote,
    Local,
    Dev,
    Ttl,
    Tos,
    Df,
    Ageing,
    SrcPort,
    DstPort,
    Learning(bool),
    UdpCsum(bool),
    External,
    /// What is off anyway.
    Off,
    Help,
    Other,
}

// In the order of vxlan_parse_opt (ip/iplink_vxlan.c).
const OPTIONS: &[Keyword<Opt>] = &[
    prefix("id", Opt::Id),
    prefix("vni", Opt::Id),
    prefix("group", Opt::Group),
    prefix("remote", Opt::Remote),
    prefix("local", Opt::Local),
    prefix("dev", Opt::Dev),
    prefix("ttl", Opt::Ttl),
    prefix("hoplimit", Opt::Ttl),
    prefix("tos", Opt::Tos),
    prefix("dsfield", Opt::Tos),
    prefix("df", Opt::Df),
    prefix("label", Opt::Other),
    prefix("flowlabel", Opt::Other),
    prefix("ageing", Opt::Ageing),
    prefix("maxaddress", Opt::Other),
    prefix("port", Opt::SrcPort),
    prefix("srcport", Opt::SrcPort),
    prefix("dstport", Opt::DstPort),
    prefix("nolearning", Opt::Learning(false)),
    prefix("learning", Opt::Learning(true)),
    prefix("proxy", Opt::Other),
    prefix("noproxy", Opt::Off),
    prefix("rsc", Opt::Other),
    prefix("norsc", Opt::Off),
    prefix("l2miss", Opt::Other),
    prefix("nol2miss", Opt::Off),
    prefix("l3miss", Opt::Other),
    prefix("nol3miss", Opt::Off),
    exact("udpcsum", Opt::UdpCsum(true)),
    exact("noudpcsum", Opt::UdpCsum(false)),
    exact("udp6zerocsumtx", Opt::Other),
    exact("noudp6zerocsumtx", Opt::Off),
    exact("udp6zerocsumrx", Opt::Other),
    exact("noudp6zerocsumrx", Opt::Off),
    exact("remcsumtx", Opt::Other),
    exact("noremcsumtx", Opt::Off),
    exact("remcsumrx", Opt::Other),
    exact("noremcsumrx", Opt::Off),
    exact("external", Opt::External),
    exact("noexternal", Opt::Off),
    exact("gbp", Opt::Other),
    exact("gpe", Opt::Other),
    exact("vnifilter", Opt::Other),
    exact("novnifilter", Opt::Off),
    prefix("help", Opt::Help),
];

/// The words after `type vxlan`; a device that they name is looked up.
pub(super) fn vxlan(args: &mut Args<'_>, checks: &mut Vec<Check>) -> Result<Vxlan, SyntaxError> {
    let (mut id, mut v, mut seen) = (None, Vxlan::new(0), Vec::new());
    while let Some(word) = args.next() {
        let Some(opt) = keyword(OPTIONS, &word.text) else {
            return Err(SyntaxError::at(word, format!("vxlan: unknown command \"{}\"?", word.text))
                .hint("what is no VXLAN option stands before \"type\"")
                .hint_nearest(&word.text, names(OPTIONS)));
        };
        let kind = std::mem::discriminant(&opt);
        if opt != Opt::Off && seen.contains(&kind) {
            let value = args.peek().filter(|_| !matches!(opt, Opt::Learning(_) | Opt::UdpCsum(_) | Opt::External));
            return Err(garbage(&word.text, value.unwrap_or(word)));
        }
        seen.push(kind);
        match opt {
            Opt::Id => {
                let value = args.value()?;
                let n = unsigned::<u32>(value, "invalid id")?;
                id = Some(n).filter(|n| *n < VNI_END);
                id.ok_or_else(|| invalid(value, "invalid id").hint("a VNI has 24 bits: 0 to 16777215"))?;
            }
            Opt::Group => {
                let value = args.value()?;
                let group = any_address(value)?;
                if !group.is_multicast() {
                    return Err(invalid(value, "invalid group address").hint("one host's address stands after remote"));
                }
                return Err(SyntaxError::at(value, "a group as a tunnel's far end is not simulated")
                    .hint("bridge fdb append 00:00:00:00:00:00 dev NAME dst ADDRESS, for each far end"));
            }
            Opt::Remote => v.remote = Some(host(args.value()?, "invalid remote address")?),
            Opt::Local => v.local = Some(host(args.value()?, "invalid local address")?),
            Opt::Dev => {
                let dev = args.value()?;
                checks.push(Check::find_dev(&dev.text, ABORTED));
                v.link = Some(dev.text.clone());
            }
            Opt::Ttl => v.ttl = ttl(args.value()?)?,
            Opt::Tos => {
                let value = args.value()?;
                v.tos = if value.text == "inherit" { 1 } else { unsigned(value, "bad TOS value")? };
            }
            Opt::Df => v.df = df(args.value()?)?,
            Opt::Ageing => {
                let value = args.value()?;
                v.ageing = if value.text == "none" { 0 } else { unsigned(value, "ageing timer")? };
            }
            Opt::SrcPort => {
                v.src_ports = (unsigned(args.value()?, "min port")?, unsigned(args.value()?, "max port")?);
            }
            Opt::DstPort => v.dst_port = Some(unsigned(args.value()?, "dst port")?).filter(|port| *port != 0),
            Opt::Learning(on) => v.learning = on,
            Opt::UdpCsum(on) => v.udp_csum = on,
            Opt::External => (v.external, v.learning) = (true, false),
            Opt::Off => {}
            Opt::Help => return Err(help(word, "ip-link")),
            Opt::Other => return Err(not_simulated_in(OPTIONS, word)),
        }
    }
    if v.external {
        return match id {
            Some(_) => Err(args.error("vxlan: both 'external' and vni cannot be specified")),
            None => Ok(v),
        };
    }
    v.id = id.ok_or_else(|| args.error("vxlan: missing virtual network identifier").hint("write id VNI"))?;
    Ok(v)
}

fn df(word: &Word) -> Result<TunnelDf, SyntaxError> {
    match word.text.as_str() {
        "unset" => Ok(TunnelDf::Unset),
        "set" => Ok(TunnelDf::Set),
        "inherit" => Ok(TunnelDf::Inherit),
        _ => Err(invalid(word, "DF must be 'unset', 'set' or 'inherit'")),
    }
}

/// `any` is no address.
pub(super) fn any_address(word: &Word) -> Result<Ipv4Addr, SyntaxError> {
    if word.text == "any" { Ok(Ipv4Addr::UNSPECIFIED) } else { address(word, false) }
}

/// is_addrtype_inet_not_multi
fn host(word: &Word, message: &str) -> Result<Ipv4Addr, SyntaxError> {
    let addr = any_address(word)?;
    if addr.is_multicast() || addr.is_unspecified() { Err(invalid(word, message)) } else { Ok(addr) }
}

fn ttl(word: &Word) -> Result<TunnelTtl, SyntaxError> {
    match word.text.as_str() {
        "inherit" => Ok(TunnelTtl::Inherit),
        "auto" => Ok(TunnelTtl::Auto),
        text => match number(text).map(u8::try_from) {
            Some(Ok(0)) => Ok(TunnelTtl::Auto),
            Some(Ok(ttl)) => Ok(TunnelTtl::Fixed(ttl)),
            Some(Err(_)) => Err(invalid(word, "TTL must be <= 255")),
            None => Err(invalid(word, "invalid TTL")),
        },
    }
}
