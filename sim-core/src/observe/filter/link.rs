//! Where things are in a packet of a link type: the tests that primitives are made of.
//!
//! Source: RFC 894, RFC 1042 and IEEE 802.3 (Ethernet), LINKTYPE_LINUX_SLL2 of the tcpdump group's link-layer
//! header types, RFC 791 (IPv4), RFC 8200 (IPv6), RFC 826 (ARP).

use super::LinkType;
use super::bpf::{AluOp, Condition, Insn, Size};
use super::code::Node;
use super::names::{
    ETHERTYPE_AARP, ETHERTYPE_ATALK, ETHERTYPE_DECNET, ETHERTYPE_IP, ETHERTYPE_IP6, ETHERTYPE_IPX, ETHERTYPE_MPLS,
    ETHERTYPE_PPPOE_SESSION, ETHERTYPE_VLAN, ETHERTYPE_VLAN_AD, ETHERTYPE_VLAN_QINQ, IPPROTO_IP6_FRAGMENT, Proto,
    SAP_IPX, SAP_ISO, SAP_NETBEUI, SAP_STP,
};

/// A link type, as the offsets that follow from it. The primitives that say what a packet is wrapped in (`vlan`,
/// `mpls`, `pppoes`) move them for the rest of the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) framing: Framing,
    /// Of the link layer's header.
    header: u32,
    /// Of the field that tells what the link layer carries.
    type_at: u32,
    /// Of what the link layer carries: a network layer's header, or MPLS labels before one.
    payload: u32,
    /// MPLS labels that were asked for.
    labels: u32,
}

/// What link layer a header is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Ethernet,
    LinuxSll2,
    Raw,
    /// Inside of PPPoE (RFC 2516).
    Ppp,
}

/// Where the bytes of an accessor such as `tcp[…]` begin.
pub(super) struct Access {
    /// What must hold for the bytes to be there.
    pub(super) guard: Option<Node>,
    pub(super) base: u32,
    /// If the length of the IPv4 header at this offset comes on top of `base`.
    pub(super) after_ip_header: Option<u32>,
}

const IP_FRAGMENT_OFFSET_MASK: u32 = 0x1fff;
const IP6_HEADER_LEN: u32 = 40;
const VLAN_TAG_LEN: u32 = 4;
const MPLS_LABEL_LEN: u32 = 4;
pub(super) const MAX_VLAN: u32 = 0xfff;
pub(super) const MAX_MPLS_LABEL: u32 = 0xf_ffff;
pub(super) const MAX_PPPOE_SESSION: u32 = 0xffff;
/// The largest value of an Ethernet type field that is a length (IEEE 802.3), in bytes.
const MAX_802_3_LEN: u32 = 1500;

impl Link {
    pub(super) fn new(link_type: LinkType) -> Self {
        let (framing, type_at, payload) = match link_type {
            LinkType::Ethernet => (Framing::Ethernet, 12, 14),
            LinkType::LinuxSll2 => (Framing::LinuxSll2, 0, 20),
            LinkType::Raw => (Framing::Raw, 0, 0),
        };
        Self { framing, header: 0, type_at, payload, labels: 0 }
    }

    /// Of the network layer's header.
    fn network(self) -> u32 {
        self.payload + self.labels * MPLS_LABEL_LEN
    }

    /// Whether `ether_type` can be told: behind an MPLS label only IP can, by its version.
    pub(super) fn tells(self, ether_type: u32) -> bool {
        self.labels == 0 || matches!(ether_type, ETHERTYPE_IP | ETHERTYPE_IP6)
    }

    /// Whether the network layer is `ether_type`: an Ethernet type or, up to 1500, an 802.2 service access point.
    pub(super) fn ether_type(self, ether_type: u32) -> Node {
        let version = |bits| masked(Size::Byte, self.network(), 0xf0, bits);
        if self.labels > 0 {
            return match ether_type {
                ETHERTYPE_IP => Node::all([self.bottom_of_stack(true), version(0x40)]),
                ETHERTYPE_IP6 => Node::all([self.bottom_of_stack(true), version(0x60)]),
                _ => Node::Const(false),
            };
        }
        match (self.framing, ether_type) {
            (Framing::Ethernet, _) => self.ethernet_type(ether_type),
            (Framing::LinuxSll2, _) => equal(Size::Half, self.type_at, ether_type),
            (Framing::Ppp, _) => equal(Size::Half, self.type_at, ppp_protocol(ether_type)),
            (Framing::Raw, ETHERTYPE_IP) => version(0x40),
            (Framing::Raw, ETHERTYPE_IP6) => version(0x60),
            (Framing::Raw, _) => Node::Const(false),
        }
    }

    // Up to 1500 the field is a length, and what the frame carries is in an 802.2 header. Which bytes of that header
    // tell is a matter of the protocol.
    fn ethernet_type(self, ether_type: u32) -> Node {
        const IP_SAP: u32 = 0x06;
        const APPLE: u32 = 0x08_0007;
        let field = equal(Size::Half, self.type_at, ether_type);
        let framed = |header: Node| Node::all([self.has_802_2_header(), header]);
        let sap = |sap| equal(Size::Byte, self.payload, sap);
        let both_saps = |sap| equal(Size::Half, self.payload, sap << 8 | sap);
        match ether_type {
            IP_SAP | SAP_NETBEUI | SAP_ISO => framed(both_saps(ether_type)),
            SAP_IPX => {
                let without_header = equal(Size::Half, self.payload, 0xffff);
                let header = [self.snap(0, ETHERTYPE_IPX), sap(SAP_IPX), without_header];
                Node::any([equal(Size::Half, self.type_at, ETHERTYPE_IPX), framed(Node::any(header))])
            }
            ETHERTYPE_ATALK => Node::any([field, framed(self.snap(APPLE, ether_type))]),
            ETHERTYPE_AARP => Node::any([field, framed(self.snap(0, ether_type))]),
            0..=MAX_802_3_LEN => framed(sap(ether_type)),
            _ => field,
        }
    }

    fn has_802_2_header(self) -> Node {
        Node::test(vec![Insn::LoadAbsolute(Size::Half, self.type_at)], Condition::Greater, MAX_802_3_LEN).not()
    }

    /// Whether the 802.2 header is one of the Subnetwork Access Protocol, with an organisation's protocol.
    fn snap(self, organisation: u32, protocol: u32) -> Node {
        let last_four = equal(Size::Word, self.payload + 4, (organisation & 0xffff) << 16 | protocol);
        Node::all([last_four, equal(Size::Word, self.payload, 0xaaaa_0300 | organisation >> 16)])
    }

    /// Whether the last MPLS label that was asked for is the last of the packet.
    fn bottom_of_stack(self, is: bool) -> Node {
        masked(Size::Byte, self.network() - MPLS_LABEL_LEN + 2, 1, u32::from(is))
    }

    /// Whether the frame has an 802.1Q tag, of this VLAN; what follows it is looked at from here on. None if the link
    /// layer has no tags.
    pub(super) fn enter_vlan(&mut self, vlan: Option<u32>) -> Option<Node> {
        if self.framing != Framing::Ethernet || self.labels > 0 {
            return None;
        }
        let tagged = [ETHERTYPE_VLAN, ETHERTYPE_VLAN_AD, ETHERTYPE_VLAN_QINQ].map(|tag| self.ether_type(tag));
        let number = vlan.map(|vlan| masked(Size::Half, self.payload, MAX_VLAN, vlan));
        self.type_at += VLAN_TAG_LEN;
        self.payload += VLAN_TAG_LEN;
        Some(Node::all([Some(Node::any(tagged)), number].into_iter().flatten()))
    }

    /// Whether the packet has one more MPLS label, this one. None if the link layer carries none.
    pub(super) fn enter_mpls(&mut self, label: Option<u32>) -> Option<Node> {
        const PPP_MPLS: u32 = 0x0281;
        let labelled = match self.framing {
            _ if self.labels > 0 => self.bottom_of_stack(false),
            Framing::Ethernet => self.ether_type(ETHERTYPE_MPLS),
            Framing::Ppp => self.ether_type(PPP_MPLS),
            Framing::LinuxSll2 | Framing::Raw => return None,
        };
        let number = label.map(|label| masked(Size::Word, self.network(), MAX_MPLS_LABEL << 12, label << 12));
        self.labels += 1;
        Some(Node::all([Some(labelled), number].into_iter().flatten()))
    }

    /// Whether the packet is one of a PPPoE session, of this one; the PPP frame in it is looked at from here on.
    pub(super) fn enter_pppoe(&mut self, session: Option<u32>) -> Node {
        const PPPOE_HEADER_LEN: u32 = 6;
        let inside = self.ether_type(ETHERTYPE_PPPOE_SESSION);
        let number = session.map(|session| masked(Size::Word, self.payload, MAX_PPPOE_SESSION, session));
        let header = self.payload + PPPOE_HEADER_LEN;
        *self = Self { framing: Framing::Ppp, header, type_at: header, payload: header + 2, labels: 0 };
        Node::all([Some(inside), number].into_iter().flatten())
    }

    /// Whether the packet was sent, as the pseudo header of `tcpdump -i any` says. None without one.
    pub(super) fn outbound(self) -> Option<Node> {
        const OUTGOING: u32 = 4;
        (self.framing == Framing::LinuxSll2).then(|| equal(Size::Byte, 10, OUTGOING))
    }

    /// Whether the packet was seen at this interface, as the pseudo header of `tcpdump -i any` says. None without one.
    pub(super) fn interface(self, index: u32) -> Option<Node> {
        (self.framing == Framing::LinuxSll2).then(|| equal(Size::Word, 4, index))
    }

    /// Whether the network layer is OSI's protocol `number`, and the byte behind the first four is `kind`.
    pub(super) fn osi(self, number: u32, kind: Option<u32>) -> Node {
        // On Ethernet an 802.2 header comes first.
        let at = self.network() + if self.framing == Framing::Ethernet { 3 } else { 0 };
        let kind = kind.map(|kind| equal(Size::Byte, at + 4, kind));
        let protocol = equal(Size::Byte, at, number);
        Node::all([Some(self.ether_type(SAP_ISO)), Some(protocol), kind].into_iter().flatten())
    }

    pub(super) fn ip(self) -> Node {
        self.ether_type(ETHERTYPE_IP)
    }

    pub(super) fn ip6(self) -> Node {
        self.ether_type(ETHERTYPE_IP6)
    }

    /// Whether the packet is IPv4 with one of `protocols`.
    pub(super) fn ip_protocol(self, protocols: &[u32]) -> Node {
        let code = vec![Insn::LoadAbsolute(Size::Byte, self.network() + 9)];
        Node::all([self.ip(), Node::one_of(code, protocols)])
    }

    /// Whether the packet is IPv6 with one of `protocols` right after its header.
    pub(super) fn ip6_next_header(self, protocols: &[u32]) -> Node {
        Node::all([self.ip6(), Node::one_of(self.load_next_header(), protocols)])
    }

    /// Whether the packet is IPv6 with `protocol` right after its header or after a fragment header.
    pub(super) fn ip6_protocol(self, protocol: u32) -> Node {
        let in_fragment = Node::all([
            Node::test(Vec::new(), Condition::Equal, IPPROTO_IP6_FRAGMENT),
            equal(Size::Byte, self.network() + IP6_HEADER_LEN, protocol),
        ]);
        let direct = Node::test(self.load_next_header(), Condition::Equal, protocol);
        Node::all([self.ip6(), Node::any([direct, in_fragment])])
    }

    /// Whether the packet is IPv4 and has a header of `protocol`, behind authentication headers as well.
    pub(super) fn ip_chain(self, protocol: u32) -> Node {
        let at = self.network();
        let start = [Insn::LoadAbsolute(Size::Byte, at + 9), Insn::LoadHeaderLength(at)];
        Node::all([self.ip(), chain(&start, at, &[], protocol)])
    }

    /// Whether the packet is IPv6 and has a header of `protocol`, behind extension headers as well.
    pub(super) fn ip6_chain(self, protocol: u32) -> Node {
        const HOP_BY_HOP: u32 = 0;
        const ROUTING: u32 = 43;
        const DESTINATION: u32 = 60;
        let start = [Insn::LoadAbsolute(Size::Byte, self.network() + 6), Insn::LoadXImmediate(IP6_HEADER_LEN)];
        let options = [HOP_BY_HOP, DESTINATION, ROUTING, IPPROTO_IP6_FRAGMENT];
        Node::all([self.ip6(), chain(&start, self.network(), &options, protocol)])
    }

    fn load_next_header(self) -> Vec<Insn> {
        vec![Insn::LoadAbsolute(Size::Byte, self.network() + 6)]
    }

    /// Whether an IPv4 packet is no fragment or the first, the one with the transport header.
    pub(super) fn ip_first_fragment(self) -> Node {
        let code = vec![Insn::LoadAbsolute(Size::Half, self.network() + 6)];
        Node::test(code, Condition::AnyBit, IP_FRAGMENT_OFFSET_MASK).not()
    }

    /// Whether `offset` bytes into the network layer's header are the bits `value` under `mask`.
    pub(super) fn network_word(self, offset: u32, mask: u32, value: u32) -> Node {
        masked(Size::Word, self.network() + offset, mask, value)
    }

    pub(super) fn network_byte(self, offset: u32, condition: Condition, value: u32) -> Node {
        Node::test(vec![Insn::LoadAbsolute(Size::Byte, self.network() + offset)], condition, value)
    }

    /// The instructions that load a port of an IPv4 packet, `offset` bytes into its transport header.
    pub(super) fn load_ip_port(self, offset: u32) -> Vec<Insn> {
        vec![Insn::LoadHeaderLength(self.network()), Insn::LoadIndirect(Size::Half, self.network() + offset)]
    }

    /// The instructions that load a port of an IPv6 packet.
    pub(super) fn load_ip6_port(self, offset: u32) -> Vec<Insn> {
        vec![Insn::LoadAbsolute(Size::Half, self.network() + IP6_HEADER_LEN + offset)]
    }

    /// Where `proto[…]` is; `index_guard` is what the offset in the brackets asks for itself. `None` if the protocol
    /// has no accessor.
    pub(super) fn access(self, proto: Proto, index_guard: Option<Node>) -> Option<Access> {
        let network = |guard: Node| {
            let guard = Some(Node::all(index_guard.clone().into_iter().chain([guard])));
            Access { guard, base: self.network(), after_ip_header: None }
        };
        Some(match proto {
            Proto::Link => Access { guard: index_guard, base: self.header, after_ip_header: None },
            Proto::Ip
            | Proto::Ip6
            | Proto::Arp
            | Proto::Rarp
            | Proto::Atalk
            | Proto::Decnet
            | Proto::Lat
            | Proto::Sca
            | Proto::Mopdl
            | Proto::Moprc => network(self.ether_type(proto.ether_type()?)),
            Proto::Icmp6 => {
                let access = network(self.ip6_next_header(&[proto.ip_number()?]));
                Access { base: self.network() + IP6_HEADER_LEN, ..access }
            }
            Proto::Ah
            | Proto::Esp
            | Proto::Aarp
            | Proto::Iso
            | Proto::Clnp
            | Proto::Esis
            | Proto::Isis
            | Proto::Stp
            | Proto::Ipx
            | Proto::Netbeui => return None,
            Proto::Tcp
            | Proto::Udp
            | Proto::Sctp
            | Proto::Icmp
            | Proto::Igmp
            | Proto::Igrp
            | Proto::Pim
            | Proto::Vrrp
            | Proto::Carp => {
                let protocol = self.network_byte(9, Condition::Equal, proto.ip_number()?);
                let guards = [Some(self.ip()), index_guard, Some(protocol), Some(self.ip_first_fragment())];
                let guard = Some(Node::all(guards.into_iter().flatten()));
                Access { guard, base: self.network(), after_ip_header: Some(self.network()) }
            }
        })
    }
}

/// Whether one of the headers from A (its protocol) and `network` + X (its place) on is of `protocol`. Those of
/// `options` and the authentication header say what follows them.
fn chain(start: &[Insn], network: u32, options: &[u32], protocol: u32) -> Node {
    const NO_NEXT_HEADER: u32 = 59;
    const AUTHENTICATION: u32 = 51;
    const KEPT: u8 = 0;
    let byte = |offset: u32| Insn::LoadIndirect(Size::Byte, network + offset);
    // Both leave the next header's protocol in memory and its place in A.
    let option = [
        byte(0),
        Insn::Store(KEPT),
        byte(1),
        Insn::Alu(AluOp::Add, 1),
        Insn::Alu(AluOp::Mul, 8),
        Insn::AluX(AluOp::Add),
    ];
    // libpcap takes the header's length for the next one's place.
    let authentication = [byte(0), Insn::Store(KEPT), byte(1), Insn::Alu(AluOp::Add, 2), Insn::Alu(AluOp::Mul, 4)];
    const GO_ON: usize = 3;
    let option_len = if options.is_empty() { 0 } else { option.len() + GO_ON };
    let authentication_len = authentication.len() + GO_ON;

    let mut code = start.to_vec();
    let again = code.len();
    let tests = 2 + options.len() + 1;
    let end = again + tests + option_len + authentication_len;
    let equal = |code: &mut Vec<Insn>, k: u32, yes: usize, no: usize| {
        let skip = |to: usize| u8::try_from(to - code.len() - 1).unwrap_or(u8::MAX);
        code.push(Insn::Jump { condition: Condition::Equal, k, jt: skip(yes), jf: skip(no) });
    };
    for k in [protocol, NO_NEXT_HEADER] {
        let next = code.len() + 1;
        equal(&mut code, k, end, next);
    }
    for k in options {
        let next = code.len() + 1;
        equal(&mut code, *k, again + tests, next);
    }
    equal(&mut code, AUTHENTICATION, again + tests + option_len, end);
    let ways: &[&[Insn]] = if options.is_empty() { &[&authentication] } else { &[&option, &authentication] };
    for way in ways {
        code.extend_from_slice(way);
        code.extend([Insn::Tax, Insn::LoadMemory(KEPT)]);
        code.push(Insn::JumpBack(u32::try_from(code.len() + 1 - again).unwrap_or(u32::MAX)));
    }
    Node::test(code, Condition::Equal, protocol)
}

/// Whether the Ethernet address at `offset` is `mac`.
pub(super) fn mac_address(offset: u32, mac: [u8; 6]) -> Node {
    let [a, b, c, d, e, f] = mac;
    let last_four = equal(Size::Word, offset + 2, u32::from_be_bytes([c, d, e, f]));
    Node::all([last_four, equal(Size::Half, offset, u32::from_be_bytes([0, 0, a, b]))])
}

/// Whether the Ethernet destination has the group bit.
pub(super) fn ethernet_group_bit() -> Node {
    Node::test(vec![Insn::LoadAbsolute(Size::Byte, 0)], Condition::AnyBit, 1)
}

/// The protocol field of PPP for what Ethernet calls `ether_type` (RFC 1661 and its registry).
fn ppp_protocol(ether_type: u32) -> u32 {
    const ETHERTYPE_NS: u32 = 0x0600;
    match ether_type {
        ETHERTYPE_IP => 0x0021,
        ETHERTYPE_IP6 => 0x0057,
        ETHERTYPE_DECNET => 0x0027,
        ETHERTYPE_ATALK => 0x0029,
        ETHERTYPE_NS => 0x0025,
        SAP_ISO => 0x0023,
        SAP_STP => 0x0031,
        SAP_IPX => 0x002b,
        other => other,
    }
}

fn equal(size: Size, offset: u32, value: u32) -> Node {
    Node::test(vec![Insn::LoadAbsolute(size, offset)], Condition::Equal, value)
}

fn masked(size: Size, offset: u32, mask: u32, value: u32) -> Node {
    match mask {
        0 => Node::Const(value == 0),
        u32::MAX => equal(size, offset, value),
        _ => {
            let code = vec![Insn::LoadAbsolute(size, offset), Insn::Alu(AluOp::And, mask)];
            Node::test(code, Condition::Equal, value)
        }
    }
}
