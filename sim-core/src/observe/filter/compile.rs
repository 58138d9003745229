//! Gives the primitives of an expression their meaning on a link type.
//!
//! Source: pcap-filter(7); libpcap for what is an error and in which order things are tested.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::ast::{Direction, Expr, Id, IdKind, Qualifiers, Wrapper};
use super::bpf::{Condition, Insn};
use super::code::Node;
use super::geneve;
use super::link::{self, Framing, Link};
use super::names::{
    self, ETHERTYPE_ARP, ETHERTYPE_DECNET, ETHERTYPE_IP, ETHERTYPE_PPPOE_DISCOVERY, ETHERTYPE_PPPOE_SESSION,
    ETHERTYPE_RARP, IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP, Proto, SAP_ISO,
};
use super::{FilterError, arith};

/// Compiles `expr` for `link`.
///
/// # Errors
///
/// Qualifiers that do not go together, addresses and names that do not exist, what the link type does not have.
///
/// `vlan`, `mpls`, `pppoes` and `geneve` change `link` for what follows them in the text, wherever they stand, as in
/// libpcap.
pub(super) fn compile(expr: &Expr<'_>, link: &mut Link) -> Result<Node, FilterError> {
    match expr {
        Expr::Proto { proto, span } => abbreviation(*link, *proto, span),
        Expr::Primitive { qualifiers, id, span } => primitive(*link, *qualifiers, *id, span),
        Expr::Broadcast { proto, span } => broadcast(*link, *proto, span),
        Expr::Multicast { proto, span } => multicast(*link, *proto, span),
        Expr::Relation { left, comparison, right } => arith::relation(*link, left, *comparison, right),
        Expr::Within { wrapper, number, span } => within(link, *wrapper, *number, span),
        Expr::PppoeDiscovery { span } => carried(*link, ETHERTYPE_PPPOE_DISCOVERY, span),
        Expr::Bound { outbound, span } => match link.outbound() {
            Some(sent) => Ok(if *outbound { sent } else { sent.not() }),
            None => Err(only_any(if *outbound { "outbound" } else { "inbound" }, span)),
        },
        Expr::Llc { control, span } => link.llc(*control).ok_or_else(|| {
            FilterError::new(span.clone(), "`llc` asks for an 802.2 header, which only Ethernet interfaces have")
        }),
        Expr::IfIndex { index, span } => link.interface(*index).ok_or_else(|| only_any("ifindex", span)),
        Expr::Not(inner) => Ok(compile(inner, link)?.not()),
        Expr::Chain { first, rest } => {
            let mut node = compile(first, link)?;
            for (logic, expr) in rest {
                node = node.join(*logic, compile(expr, link)?);
            }
            Ok(node)
        }
    }
}

/// What a packet is wrapped in.
fn within(link: &mut Link, wrapper: Wrapper, number: Option<u32>, span: &Range<usize>) -> Result<Node, FilterError> {
    let (name, what, max) = match wrapper {
        Wrapper::Vlan => ("vlan", "VLAN", link::MAX_VLAN),
        Wrapper::Mpls => ("mpls", "MPLS label", link::MAX_MPLS_LABEL),
        Wrapper::PppoeSession => ("pppoes", "PPPoE session", link::MAX_PPPOE_SESSION),
        Wrapper::Geneve => ("geneve", "Geneve VNI", geneve::MAX_VNI),
    };
    let error = |message: String| FilterError::new(span.clone(), message);
    if let Some(number) = number.filter(|number| *number > max) {
        return Err(error(format!("{what} {number}: more than {max}")));
    }
    let inside = match wrapper {
        Wrapper::Vlan => link.enter_vlan(number),
        Wrapper::Mpls => link.enter_mpls(number),
        Wrapper::PppoeSession if !link.tells(ETHERTYPE_PPPOE_SESSION) => return Err(not_behind_mpls(span)),
        Wrapper::PppoeSession => Some(link.enter_pppoe(number)),
        Wrapper::Geneve => {
            let inside = link.enter_geneve(number);
            return inside.ok_or_else(|| error(format!("`{name}` in too many of its own tunnels")));
        }
    };
    inside.ok_or_else(|| error(format!("`{name}` asks for what the link layer here does not have")))
}

fn only_any(keyword: &str, span: &Range<usize>) -> FilterError {
    let error = FilterError::new(span.clone(), format!("`{keyword}` is only known in a capture of all interfaces"));
    error.hint("captures of `any` tell for each packet where it was seen")
}

/// Whether the link layer carries `ether_type`.
fn carried(link: Link, ether_type: u32, span: &Range<usize>) -> Result<Node, FilterError> {
    if link.tells(ether_type) { Ok(link.ether_type(ether_type)) } else { Err(not_behind_mpls(span)) }
}

pub(super) fn not_behind_mpls(span: &Range<usize>) -> FilterError {
    FilterError::new(span.clone(), "behind an MPLS label only IP can be told from other protocols")
}

/// A protocol alone. Those that run over both IPs are looked for in both, the others in IPv4.
fn abbreviation(link: Link, proto: Proto, span: &Range<usize>) -> Result<Node, FilterError> {
    if let Some(ether_type) = proto.ether_type() {
        return carried(link, ether_type, span);
    }
    if let Some(number) = proto.osi_number() {
        carried(link, SAP_ISO, span)?;
        return Ok(link.osi(number, None));
    }
    if let Some(types) = proto.isis_types() {
        carried(link, SAP_ISO, span)?;
        let isis = Proto::Isis.osi_number().unwrap_or_default();
        return Ok(Node::any(types.iter().map(|number| link.osi(isis, Some(*number)))));
    }
    let Some(number) = proto.ip_number() else {
        let error = FilterError::new(span.clone(), "the link layer alone is no condition: every packet has one");
        return Err(error.hint("write `ether host …`, `ether proto …` or `ether[…]`"));
    };
    Ok(match proto {
        Proto::Icmp | Proto::Igmp | Proto::Igrp | Proto::Vrrp | Proto::Carp => link.ip_protocol(&[number]),
        Proto::Icmp6 => link.ip6_protocol(number),
        _ => ip_protocol(link, number),
    })
}

fn ip_protocol(link: Link, number: u32) -> Node {
    Node::any([link.ip_protocol(&[number]), link.ip6_protocol(number)])
}

fn primitive(link: Link, qualifiers: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    match (qualifiers.kind, id) {
        (None | Some(IdKind::Host), Id::Mac(mac)) if qualifiers.proto == Some(Proto::Link) => {
            mac_host(link, mac, qualifiers.direction, span)
        }
        (_, Id::Mac(_)) => {
            let error = FilterError::new(span.clone(), "an Ethernet address in what is no `ether` primitive");
            Err(error.hint("write `ether host`, `ether src` or `ether dst`"))
        }
        (None | Some(IdKind::Host | IdKind::Net), Id::Address6(address)) => host6(link, qualifiers, address, 128, span),
        (None | Some(IdKind::Host | IdKind::Net), Id::Prefix6 { address, length }) => {
            host6(link, qualifiers, address, length, span)
        }
        (None | Some(IdKind::Host | IdKind::Net), _) if qualifiers.proto == Some(Proto::Decnet) => {
            decnet_host(link, qualifiers, id, span)
        }
        (None | Some(IdKind::Host | IdKind::Net), _) => {
            let (address, mask) = network(qualifiers, id, span)?;
            host(link, qualifiers, address, mask, span)
        }
        (Some(kind @ (IdKind::Port | IdKind::PortRange | IdKind::Proto | IdKind::ProtoChain)), id) => {
            let kind_name = kind.name();
            if !matches!(id, Id::Number(_) | Id::Name(_)) {
                return Err(FilterError::new(span.clone(), format!("`{kind_name}` with an address")));
            }
            match kind {
                IdKind::Port => port(link, qualifiers, id, span),
                IdKind::PortRange => port_range(link, qualifiers, id, span),
                IdKind::ProtoChain => protocol_chain(link, qualifiers, id, span),
                IdKind::Proto | IdKind::Host | IdKind::Net => protocol(link, qualifiers, id, span),
            }
        }
    }
}

fn directed(direction: Direction, src: Node, dst: Node) -> Node {
    match direction {
        Direction::Src => src,
        Direction::Dst => dst,
        Direction::Either => Node::any([src, dst]),
        Direction::Both => Node::all([src, dst]),
    }
}

fn mac_host(link: Link, mac: [u8; 6], direction: Direction, span: &Range<usize>) -> Result<Node, FilterError> {
    if link.framing != Framing::Ethernet {
        return Err(FilterError::new(span.clone(), "Ethernet addresses exist only on Ethernet interfaces"));
    }
    let addresses = directed(direction, link.mac_source(mac), link.mac_destination(mac));
    Ok(Node::all(link.has_header().into_iter().chain([addresses])))
}

/// The address and the mask that `id` means in a `host` or a `net` primitive.
fn network(qualifiers: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<(u32, u32), FilterError> {
    let error = |message: String| Err(FilterError::new(span.clone(), message));
    let net = qualifiers.kind == Some(IdKind::Net);
    let (network, mask) = match id {
        Id::Number(value) => return Ok(if net { classless_number(value) } else { (value, u32::MAX) }),
        Id::Address(text) => return address(text, span),
        Id::Name(name) if net => {
            return Err(FilterError::new(span.clone(), format!("unknown network `{name}`")).hint(NAMES_HINT));
        }
        Id::Name(name) => {
            let error = FilterError::new(span.clone(), format!("unknown host `{name}`"));
            if qualifiers.proto == Some(Proto::Link) {
                return Err(error.hint("names are not resolved: write an Ethernet address"));
            }
            // A backslash makes a name of everything, of an address too.
            return match address(name, span) {
                Ok((value, u32::MAX)) => Ok((value, u32::MAX)),
                _ => Err(error.hint(NAMES_HINT)),
            };
        }
        Id::Prefix { length, .. } if length > 32 => return error(format!("prefix length {length}: more than 32")),
        Id::Prefix { address: text, length } => {
            (address(text, span)?.0, u32::MAX.checked_shl(32 - length).unwrap_or(0))
        }
        Id::Masked { address: text, mask } => (address(text, span)?.0, address(mask, span)?.0),
        Id::Mac(_) | Id::Address6(_) | Id::Prefix6 { .. } => return error("this is no IPv4 address".to_owned()),
    };
    if !net {
        return error("a prefix or a mask goes with `net` alone".to_owned());
    }
    if network & !mask != 0 {
        let fixed = std::net::Ipv4Addr::from(network & mask);
        let error = FilterError::new(span.clone(), "the network has bits outside of its mask");
        return Err(error.hint(format!("the network would be `{fixed}`")));
    }
    Ok((network, mask))
}

const NAMES_HINT: &str = "names are not resolved: write an IPv4 address";

/// `net 10` is 10.0.0.0/8: the zero bytes in front move to the end.
fn classless_number(value: u32) -> (u32, u32) {
    let unused = if value == 0 { 0 } else { value.leading_zeros() / 8 * 8 };
    (value << unused, u32::MAX << unused)
}

/// Two to four decimal numbers; what is missing at the end is masked out.
fn address(text: &str, span: &Range<usize>) -> Result<(u32, u32), FilterError> {
    let parts: Option<Vec<u32>> = text.split('.').map(names::decimal).collect();
    match parts {
        Some(parts) if parts.len() <= 4 && parts.iter().all(|part| *part <= 255) => {
            let value = parts.iter().fold(0, |value, part| value << 8 | part);
            let missing = u32::try_from(8 * (4 - parts.len())).unwrap_or(0);
            Ok((value.checked_shl(missing).unwrap_or(0), u32::MAX.checked_shl(missing).unwrap_or(0)))
        }
        _ => Err(FilterError::new(span.clone(), format!("`{text}` is no IPv4 address"))),
    }
}

fn host(link: Link, of: Qualifiers, value: u32, mask: u32, span: &Range<usize>) -> Result<Node, FilterError> {
    let kind = of.kind.unwrap_or(IdKind::Host).name();
    let at = |ether_type: u32, src: u32, dst: u32| {
        let addresses =
            directed(of.direction, link.network_word(src, mask, value), link.network_word(dst, mask, value));
        Node::all([link.ether_type(ether_type), addresses])
    };
    let ip = || at(ETHERTYPE_IP, 12, 16);
    let arp = || at(ETHERTYPE_ARP, 14, 24);
    let rarp = || at(ETHERTYPE_RARP, 14, 24);
    Ok(match of.proto {
        None if !link.tells(ETHERTYPE_ARP) => ip(),
        None => Node::any([ip(), arp(), rarp()]),
        Some(Proto::Ip) => ip(),
        Some(Proto::Arp | Proto::Rarp) if !link.tells(ETHERTYPE_ARP) => return Err(not_behind_mpls(span)),
        Some(Proto::Arp) => arp(),
        Some(Proto::Rarp) => rarp(),
        Some(Proto::Link) => {
            let error = FilterError::new(span.clone(), "an IPv4 address where an Ethernet address belongs");
            return Err(error.hint(format!("write `{kind}` without `ether`")));
        }
        Some(Proto::Ip6) => {
            return Err(FilterError::new(span.clone(), "`ip6` with an IPv4 address"));
        }
        Some(proto) => {
            let name = proto.name();
            let error = FilterError::new(span.clone(), format!("`{name}` does not go with `{kind}`"));
            return Err(error.hint(format!("write `{name} and {kind} …`")));
        }
    })
}

/// A DECnet address, which has 16 bits: `1.2` is node 2 of area 1. Of a network only the address counts, as in libpcap.
fn decnet_host(link: Link, of: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    let address = match id {
        Id::Number(value) => value,
        Id::Address(text) => decnet_address(text).ok_or_else(|| {
            let error = FilterError::new(span.clone(), format!("`{text}` is no DECnet address"));
            error.hint("an area and a node: `1.2`")
        })?,
        Id::Name(name) => {
            return Err(FilterError::new(span.clone(), format!("unknown DECnet node `{name}`")).hint(NAMES_HINT));
        }
        _ => network(of, id, span)?.0,
    };
    carried(link, ETHERTYPE_DECNET, span)?;
    let is = |offsets| link.decnet_node(offsets, address as u16);
    Ok(directed(of.direction, is(link::DECNET_SRC), is(link::DECNET_DST)))
}

/// Two decimal numbers with a dot between them; more may follow (scanf).
fn decnet_address(text: &str) -> Option<u32> {
    let (area, rest) = text.split_once('.')?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let number = |text: &str| {
        let some = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        // What is too long for a long is the longest one.
        some.then(|| text.parse().unwrap_or(i64::MAX) as u32)
    };
    Some(number(area)? << 10 | number(&rest[..digits])? & 0x3ff)
}

/// An IPv6 address or a network of them.
fn host6(link: Link, of: Qualifiers, address: Ipv6Addr, length: u32, span: &Range<usize>) -> Result<Node, FilterError> {
    let error = |message: String| FilterError::new(span.clone(), message);
    if let Some(proto) = of.proto.filter(|proto| *proto != Proto::Ip6) {
        let error = error(format!("`{}` with an IPv6 address", proto.name()));
        return Err(error.hint("an IPv6 address goes with `ip6` or with no protocol"));
    }
    if length > 128 {
        return Err(error(format!("prefix length {length}: more than 128")));
    }
    if of.kind != Some(IdKind::Net) && length != 128 {
        return Err(error("a prefix goes with `net` alone".to_owned()));
    }
    let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
    let value = address.to_bits();
    if value & !mask != 0 {
        let fixed = Ipv6Addr::from_bits(value & mask);
        return Err(error("the network has bits outside of its mask".to_owned())
            .hint(format!("the network would be `{fixed}`")));
    }
    let at = |offset: u32| {
        let word = |n: u32| {
            let part = |whole: u128| (whole >> (96 - 32 * n)) as u32;
            link.network_word(offset + 4 * n, part(mask), part(value))
        };
        Node::all([link.ip6()].into_iter().chain((0..4).map(word)))
    };
    Ok(directed(of.direction, at(8), at(24)))
}

fn port(link: Link, of: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    transport(of, "port", span)?;
    let (value, only) = match id {
        Id::Name(name) => {
            let unknown = || FilterError::new(span.clone(), format!("unknown port `{name}`")).hint("write its number");
            let service = names::service(name).ok_or_else(unknown)?;
            (u32::from(service.port), service.only)
        }
        Id::Number(value) => (value, None),
        _ => (u32::MAX, None),
    };
    check_port(value, span)?;
    let protocols = port_protocols(of, only, id, span)?;
    let is = |code: Vec<Insn>| Node::test(code, Condition::Equal, value);
    Ok(ports(link, &protocols, of.direction, is))
}

fn port_range(link: Link, of: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    transport(of, "portrange", span)?;
    let (first, last, only) = match id {
        Id::Name(name) => {
            let unknown = || {
                FilterError::new(span.clone(), format!("`{name}` is no range of ports")).hint("write it as `8000-8080`")
            };
            range_ends(name).ok_or_else(unknown)?
        }
        Id::Number(value) => (value, value, None),
        _ => (u32::MAX, u32::MAX, None),
    };
    let (low, high) = (first.min(last), first.max(last));
    check_port(high, span)?;
    let protocols = port_protocols(of, only, id, span)?;
    let is = |code: Vec<Insn>| {
        let not_above = Node::test(Vec::new(), Condition::Greater, high).not();
        Node::all([Node::test(code, Condition::GreaterEqual, low), not_above])
    };
    Ok(ports(link, &protocols, of.direction, is))
}

/// The ends of `8000-8080` or `ssh-smtp`, and the protocol that both names are registered for alone.
fn range_ends(text: &str) -> Option<(u32, u32, Option<Proto>)> {
    let (first, last) = text.split_once('-')?;
    if let (Some(first), Some(last)) = (names::decimal(first), names::decimal(last)) {
        return Some((first, last, None));
    }
    let (first, last) = (names::service(first)?, names::service(last)?);
    let only = if first.only == last.only { first.only } else { None };
    Some((u32::from(first.port), u32::from(last.port), only))
}

fn transport(of: Qualifiers, kind: &str, span: &Range<usize>) -> Result<(), FilterError> {
    match of.proto {
        None | Some(Proto::Tcp | Proto::Udp | Proto::Sctp) => Ok(()),
        Some(proto) => {
            let error = FilterError::new(span.clone(), format!("`{}` has no ports", proto.name()));
            Err(error.hint(format!("`{kind}` goes with `tcp`, `udp`, `sctp` or with no protocol")))
        }
    }
}

fn check_port(value: u32, span: &Range<usize>) -> Result<(), FilterError> {
    if value <= u32::from(u16::MAX) {
        return Ok(());
    }
    Err(FilterError::new(span.clone(), format!("port {value}: more than 65535")))
}

fn port_protocols(
    of: Qualifiers,
    only: Option<Proto>,
    id: Id<'_>,
    span: &Range<usize>,
) -> Result<Vec<u32>, FilterError> {
    match (of.proto.or(only), only) {
        (Some(proto), Some(only)) if proto != only => {
            let name = if let Id::Name(name) = id { name } else { "this" };
            Err(FilterError::new(span.clone(), format!("the port `{name}` is a {} port", only.name())))
        }
        (Some(proto), _) => Ok(proto.ip_number().into_iter().collect()),
        (None, _) => Ok(vec![IPPROTO_SCTP, IPPROTO_TCP, IPPROTO_UDP]),
    }
}

/// Whether the ports of a TCP, UDP or SCTP header, all at the same place, are what `is` makes a test of. IPv6 comes
/// first, and without a look behind extension headers, as in libpcap.
fn ports(link: Link, protocols: &[u32], direction: Direction, is: impl Fn(Vec<Insn>) -> Node) -> Node {
    const SRC: u32 = 0;
    const DST: u32 = 2;
    let in_ip6 = directed(direction, is(link.load_ip6_port(SRC)), is(link.load_ip6_port(DST)));
    let in_ip = directed(direction, is(link.load_ip_port(SRC)), is(link.load_ip_port(DST)));
    Node::any([
        Node::all([link.ip6_next_header(protocols), in_ip6]),
        Node::all([link.ip_protocol(protocols), link.ip_first_fragment(), in_ip]),
    ])
}

fn protocol(link: Link, of: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    let number = match id {
        Id::Number(value) => value,
        Id::Name(name) => {
            let number = match of.proto {
                Some(Proto::Link) => names::ether_type(name),
                Some(Proto::Iso) => names::osi_protocol(name),
                Some(Proto::Isis) => None,
                _ => names::ip_protocol(name),
            };
            let unknown = || FilterError::new(span.clone(), format!("unknown protocol `{name}`"));
            number.ok_or_else(|| unknown().hint("write its number"))?
        }
        _ => return Err(FilterError::new(span.clone(), "`proto` with an address")),
    };
    match of.proto {
        None => Ok(ip_protocol(link, number)),
        Some(Proto::Ip) => Ok(link.ip_protocol(&[number])),
        Some(Proto::Ip6) => Ok(link.ip6_protocol(number)),
        Some(Proto::Link) => carried(link, number, span),
        Some(Proto::Iso) => carried(link, SAP_ISO, span).map(|_| link.osi(number, None)),
        Some(Proto::Isis) => {
            let isis = Proto::Isis.osi_number().unwrap_or_default();
            carried(link, SAP_ISO, span).map(|_| link.osi(isis, Some(number)))
        }
        Some(proto) => {
            let error = FilterError::new(span.clone(), format!("`{}` carries no other protocol", proto.name()));
            Err(error.hint("`proto` goes with `ether`, `ip`, `ip6` or with no protocol"))
        }
    }
}

fn protocol_chain(link: Link, of: Qualifiers, id: Id<'_>, span: &Range<usize>) -> Result<Node, FilterError> {
    let number = match id {
        Id::Number(value) => Some(value),
        Id::Name(name) => names::ip_protocol(name),
        _ => None,
    };
    if link.network().word.is_some() {
        return Err(FilterError::new(span.clone(), "`protochain` in a tunnel, whose headers have any length"));
    }
    let unknown = || FilterError::new(span.clone(), "unknown protocol").hint("write its number");
    let number = number.ok_or_else(unknown)?;
    match of.proto {
        None => Ok(Node::any([link.ip_chain(number), link.ip6_chain(number)])),
        Some(Proto::Ip) => Ok(link.ip_chain(number)),
        Some(Proto::Ip6) => Ok(link.ip6_chain(number)),
        Some(proto) => {
            let error = FilterError::new(span.clone(), format!("`{}` has no chain of headers", proto.name()));
            Err(error.hint("`protochain` goes with `ip`, `ip6` or with no protocol"))
        }
    }
}

fn broadcast(link: Link, proto: Option<Proto>, span: &Range<usize>) -> Result<Node, FilterError> {
    let error = |message: &str| Err(FilterError::new(span.clone(), message));
    match (proto, link.framing) {
        (None | Some(Proto::Link), Framing::Ethernet) => {
            Ok(Node::all(link.has_header().into_iter().chain([link.mac_destination([0xff; 6])])))
        }
        (None | Some(Proto::Link), _) => error("the interface has no broadcast address: it is no Ethernet interface"),
        (Some(Proto::Ip), _) => {
            error("`ip broadcast` needs the netmask of the interface, which a capture does not have")
        }
        (Some(_), _) => error("`broadcast` goes with `ether` or with no protocol"),
    }
}

fn multicast(link: Link, proto: Option<Proto>, span: &Range<usize>) -> Result<Node, FilterError> {
    let error = |message: &str| Err(FilterError::new(span.clone(), message));
    match (proto, link.framing) {
        (None | Some(Proto::Link), Framing::Ethernet) => {
            Ok(Node::all(link.has_header().into_iter().chain([link.mac_group_bit()])))
        }
        (None | Some(Proto::Link), _) => error("the interface has no group addresses: it is no Ethernet interface"),
        (Some(Proto::Ip), _) => Ok(Node::all([link.ip(), link.network_byte(16, Condition::GreaterEqual, 0xe0)])),
        (Some(Proto::Ip6), _) => Ok(Node::all([link.ip6(), link.network_byte(24, Condition::Equal, 0xff)])),
        (Some(_), _) => error("`multicast` goes with `ether`, `ip`, `ip6` or with no protocol"),
    }
}
