//! Where things are in a packet of a link type: the tests that primitives are made of.
//!
//! Source: RFC 894, RFC 1042 and IEEE 802.3 (Ethernet), LINKTYPE_LINUX_SLL2 of the tcpdump group's link-layer
//! header types, RFC 791 (IPv4), RFC 8200 (IPv6), RFC 826 (ARP).

use super::LinkType;
use super::bpf::{AluOp, Condition, Insn, MEMORY_WORDS, Size};
use super::code::Node;
use super::names::{
    ETHERTYPE_AARP, ETHERTYPE_ATALK, ETHERTYPE_DECNET, ETHERTYPE_IP, ETHERTYPE_IP6, ETHERTYPE_IPX, ETHERTYPE_MPLS,
    ETHERTYPE_PPPOE_SESSION, ETHERTYPE_VLAN, ETHERTYPE_VLAN_AD, ETHERTYPE_VLAN_QINQ, IPPROTO_IP6_FRAGMENT, Proto,
    SAP_IPX, SAP_ISO, SAP_NETBEUI, SAP_STP,
};
use super::place::Place;

/// A link type, as the places that follow from it. The primitives that say what a packet is wrapped in (`vlan`,
/// `mpls`, `pppoes`, `geneve`) move them for the rest of the filter.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) framing: Framing,
    /// Where the link layer's header begins.
    pub(super) header: Place,
    /// Where the field is that tells what the link layer carries.
    pub(super) type_at: Place,
    /// Where that begins: a network layer's header, or MPLS labels before one.
    pub(super) payload: Place,
    /// How far behind `payload` the network layer's header is, and that of an OSI protocol, in bytes.
    pub(super) network_at: u32,
    osi_at: u32,
    /// Whether an MPLS label was asked for, which counts inside of a tunnel too, as in libpcap.
    labelled: bool,
    /// Words of the scratch memory that expressions may use, from the first on; those behind them hold places.
    pub(super) free_words: u8,
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
    pub(super) base: Place,
    /// Whether they begin behind the IPv4 header at `base`.
    pub(super) behind_ip_header: bool,
}

/// Where DECnet's short and long headers have the source and the destination, in bytes behind the flags' place.
pub(super) const DECNET_SRC: (u32, u32) = (3, 15);
pub(super) const DECNET_DST: (u32, u32) = (1, 7);

const IP_FRAGMENT_OFFSET_MASK: u32 = 0x1fff;
pub(super) const IP6_HEADER_LEN: u32 = 40;
const VLAN_TAG_LEN: u32 = 4;
const MPLS_LABEL_LEN: u32 = 4;
pub(super) const MAX_VLAN: u32 = 0xfff;
pub(super) const MAX_MPLS_LABEL: u32 = 0xf_ffff;
pub(super) const MAX_PPPOE_SESSION: u32 = 0xffff;
/// The largest value of an Ethernet type field that is a length (IEEE 802.3), in bytes.
const MAX_802_3_LEN: u32 = 1500;

impl Link {
    pub(super) fn new(link_type: LinkType) -> Self {
        // On Ethernet an 802.2 header is in front of OSI's protocols.
        let (framing, type_at, payload, osi_at) = match link_type {
            LinkType::Ethernet => (Framing::Ethernet, 12, 14, 3),
            LinkType::LinuxSll2 => (Framing::LinuxSll2, 0, 20, 0),
            LinkType::Raw => (Framing::Raw, 0, 0, 0),
        };
        Self {
            framing,
            header: Place::fixed(0),
            type_at: Place::fixed(type_at),
            payload: Place::fixed(payload),
            network_at: 0,
            osi_at,
            labelled: false,
            free_words: MEMORY_WORDS,
        }
    }

    /// Where the network layer's header is.
    pub(super) fn network(self) -> Place {
        self.payload.plus(self.network_at)
    }

    /// Where what follows an IPv6 header without extensions is.
    pub(super) fn ip6_payload(self) -> Place {
        self.network().plus(IP6_HEADER_LEN)
    }

    /// Takes words of the scratch memory from the expressions that follow; none if there are too few.
    pub(super) fn take_words<const N: usize>(&mut self) -> Option<[u8; N]> {
        let left = self.free_words.checked_sub(u8::try_from(N).ok()?)?;
        self.free_words = left;
        Some(std::array::from_fn(|n| left.saturating_add(u8::try_from(n).unwrap_or(u8::MAX))))
    }

    /// Whether `ether_type` can be told: behind an MPLS label only IP can, by its version.
    pub(super) fn tells(self, ether_type: u32) -> bool {
        !self.labelled || matches!(ether_type, ETHERTYPE_IP | ETHERTYPE_IP6)
    }

    /// Whether the network layer is `ether_type`: an Ethernet type or, up to 1500, an 802.2 service access point.
    pub(super) fn ether_type(self, ether_type: u32) -> Node {
        let version = |bits| self.network().masked(Size::Byte, 0xf0, bits);
        if self.labelled {
            return match ether_type {
                ETHERTYPE_IP => Node::all([self.bottom_of_stack(true), version(0x40)]),
                ETHERTYPE_IP6 => Node::all([self.bottom_of_stack(true), version(0x60)]),
                _ => Node::Const(false),
            };
        }
        match (self.framing, ether_type) {
            (Framing::Ethernet, _) => self.ethernet_type(ether_type),
            (Framing::LinuxSll2, _) => self.type_at.equals(Size::Half, ether_type),
            (Framing::Ppp, _) => self.type_at.equals(Size::Half, ppp_protocol(ether_type)),
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
        let field = self.type_at.equals(Size::Half, ether_type);
        let framed = |header: Node| Node::all([self.has_802_2_header(), header]);
        let both_saps = |sap| self.payload.equals(Size::Half, sap << 8 | sap);
        match ether_type {
            IP_SAP | SAP_NETBEUI | SAP_ISO => framed(both_saps(ether_type)),
            SAP_IPX => {
                let sap = self.payload.equals(Size::Byte, SAP_IPX);
                let without_header = self.payload.equals(Size::Half, 0xffff);
                let header = [self.snap(0, ETHERTYPE_IPX), sap, without_header];
                Node::any([self.type_at.equals(Size::Half, ETHERTYPE_IPX), framed(Node::any(header))])
            }
            ETHERTYPE_ATALK => Node::any([field, framed(self.snap(APPLE, ether_type))]),
            ETHERTYPE_AARP => Node::any([field, framed(self.snap(0, ether_type))]),
            // Right behind the type, also where a tunnel has something between it and the payload.
            0..=MAX_802_3_LEN => framed(self.type_at.plus(2).equals(Size::Byte, ether_type)),
            _ => field,
        }
    }

    /// Whether the frame has an 802.2 header, with these bits of the control field's first byte; frames of NetWare
    /// without one are none. None if the link layer has no such headers.
    pub(super) fn llc(self, control: Option<(u32, u32)>) -> Option<Node> {
        if self.framing != Framing::Ethernet {
            return None;
        }
        let without_header = self.payload.equals(Size::Half, 0xffff);
        let control = control.map(|(mask, value)| self.payload.plus(2).masked(Size::Byte, mask, value));
        Some(Node::all([self.has_802_2_header(), without_header.not()].into_iter().chain(control)))
    }

    /// Whether the packet is one of DECnet whose address at an offset, in short and long headers, is this one. Each may
    /// have a byte of padding in front.
    pub(super) fn decnet_node(self, (in_short, in_long): (u32, u32), address: u16) -> Node {
        const SHORT: u32 = 0x02;
        const LONG: u32 = 0x06;
        const PAD: u32 = 0x81;
        let at = self.network().plus(2);
        let address = u32::from(address.swap_bytes());
        let header = |flags: u32, offset: u32| {
            let plain = at.masked(Size::Byte, 0x07, flags);
            let padded = at.masked(Size::Half, 0xff07, PAD << 8 | flags);
            [
                Node::all([plain, at.plus(offset).equals(Size::Half, address)]),
                Node::all([padded, at.plus(1 + offset).equals(Size::Half, address)]),
            ]
        };
        let forms = header(SHORT, in_short).into_iter().chain(header(LONG, in_long));
        Node::all([self.ether_type(ETHERTYPE_DECNET), Node::any(forms)])
    }

    fn has_802_2_header(self) -> Node {
        Node::test(self.type_at.load(Size::Half), Condition::Greater, MAX_802_3_LEN).not()
    }

    /// Whether the 802.2 header is one of the Subnetwork Access Protocol, with an organisation's protocol.
    fn snap(self, organisation: u32, protocol: u32) -> Node {
        let last_four = self.payload.plus(4).equals(Size::Word, (organisation & 0xffff) << 16 | protocol);
        Node::all([last_four, self.payload.equals(Size::Word, 0xaaaa_0300 | organisation >> 16)])
    }

    /// Whether the last MPLS label that was asked for is the last of the packet.
    fn bottom_of_stack(self, is: bool) -> Node {
        self.network().minus(MPLS_LABEL_LEN).plus(2).masked(Size::Byte, 1, u32::from(is))
    }

    /// Whether the frame has an 802.1Q tag, of this VLAN; what follows it is looked at from here on. None if the link
    /// layer has no tags.
    pub(super) fn enter_vlan(&mut self, vlan: Option<u32>) -> Option<Node> {
        if self.framing != Framing::Ethernet || self.labelled {
            return None;
        }
        let tagged = [ETHERTYPE_VLAN, ETHERTYPE_VLAN_AD, ETHERTYPE_VLAN_QINQ].map(|tag| self.ether_type(tag));
        let number = vlan.map(|vlan| self.payload.masked(Size::Half, MAX_VLAN, vlan));
        self.type_at = self.type_at.plus(VLAN_TAG_LEN);
        self.payload = self.payload.plus(VLAN_TAG_LEN);
        Some(Node::all([Some(Node::any(tagged)), number].into_iter().flatten()))
    }

    /// Whether the packet has one more MPLS label, this one. None if the link layer carries none.
    pub(super) fn enter_mpls(&mut self, label: Option<u32>) -> Option<Node> {
        const PPP_MPLS: u32 = 0x0281;
        let labelled = match self.framing {
            _ if self.labelled => self.bottom_of_stack(false),
            Framing::Ethernet => self.ether_type(ETHERTYPE_MPLS),
            Framing::Ppp => self.ether_type(PPP_MPLS),
            Framing::LinuxSll2 | Framing::Raw => return None,
        };
        let number = label.map(|label| self.network().masked(Size::Word, MAX_MPLS_LABEL << 12, label << 12));
        self.labelled = true;
        self.network_at += MPLS_LABEL_LEN;
        Some(Node::all([Some(labelled), number].into_iter().flatten()))
    }

    /// Whether the packet is one of a PPPoE session, of this one; the PPP frame in it is looked at from here on.
    pub(super) fn enter_pppoe(&mut self, session: Option<u32>) -> Node {
        const PPPOE_HEADER_LEN: u32 = 6;
        let inside = self.ether_type(ETHERTYPE_PPPOE_SESSION);
        let number = session.map(|session| self.payload.masked(Size::Word, MAX_PPPOE_SESSION, session));
        let header = self.network().plus(PPPOE_HEADER_LEN);
        let places = Self { header, type_at: header, payload: header.plus(2), network_at: 0, osi_at: 0, ..*self };
        *self = Self { framing: Framing::Ppp, ..places };
        Node::all([Some(inside), number].into_iter().flatten())
    }

    /// Whether the Ethernet source is `mac`.
    pub(super) fn mac_source(self, mac: [u8; 6]) -> Node {
        self.header.plus(6).equals_mac(mac)
    }

    pub(super) fn mac_destination(self, mac: [u8; 6]) -> Node {
        self.header.equals_mac(mac)
    }

    /// Whether the Ethernet destination has the group bit.
    pub(super) fn mac_group_bit(self) -> Node {
        Node::test(self.header.load(Size::Byte), Condition::AnyBit, 1)
    }

    /// Whether the packet was sent, as the pseudo header of `tcpdump -i any` says. None without one.
    pub(super) fn outbound(self) -> Option<Node> {
        const OUTGOING: u32 = 4;
        (self.framing == Framing::LinuxSll2).then(|| Place::fixed(10).equals(Size::Byte, OUTGOING))
    }

    /// Whether the packet was seen at this interface, as the pseudo header of `tcpdump -i any` says. None without one.
    pub(super) fn interface(self, index: u32) -> Option<Node> {
        (self.framing == Framing::LinuxSll2).then(|| Place::fixed(4).equals(Size::Word, index))
    }

    /// Whether the network layer is OSI's protocol `number`, and the byte behind the first four is `kind`.
    pub(super) fn osi(self, number: u32, kind: Option<u32>) -> Node {
        let at = self.payload.plus(self.osi_at);
        let kind = kind.map(|kind| at.plus(4).equals(Size::Byte, kind));
        let protocol = at.equals(Size::Byte, number);
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
        let code = self.network().plus(9).load(Size::Byte);
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
            self.ip6_payload().equals(Size::Byte, protocol),
        ]);
        let direct = Node::test(self.load_next_header(), Condition::Equal, protocol);
        Node::all([self.ip6(), Node::any([direct, in_fragment])])
    }

    /// Whether the packet is IPv4 and has a header of `protocol`, behind authentication headers as well. Like
    /// [`Self::ip6_chain`] for places that are the same in all packets.
    pub(super) fn ip_chain(self, protocol: u32) -> Node {
        let at = self.network().offset;
        let start = [Insn::LoadAbsolute(Size::Byte, at + 9), Insn::LoadHeaderLength(at)];
        Node::all([self.ip(), chain(&start, at, &[], protocol)])
    }

    /// Whether the packet is IPv6 and has a header of `protocol`, behind extension headers as well.
    pub(super) fn ip6_chain(self, protocol: u32) -> Node {
        const HOP_BY_HOP: u32 = 0;
        const ROUTING: u32 = 43;
        const DESTINATION: u32 = 60;
        let at = self.network().offset;
        let start = [Insn::LoadAbsolute(Size::Byte, at + 6), Insn::LoadXImmediate(IP6_HEADER_LEN)];
        let options = [HOP_BY_HOP, DESTINATION, ROUTING, IPPROTO_IP6_FRAGMENT];
        Node::all([self.ip6(), chain(&start, at, &options, protocol)])
    }

    fn load_next_header(self) -> Vec<Insn> {
        self.network().plus(6).load(Size::Byte)
    }

    /// Whether an IPv4 packet is no fragment or the first, the one with the transport header.
    pub(super) fn ip_first_fragment(self) -> Node {
        Node::test(self.network().plus(6).load(Size::Half), Condition::AnyBit, IP_FRAGMENT_OFFSET_MASK).not()
    }

    /// Whether `offset` bytes into the network layer's header are the bits `value` under `mask`.
    pub(super) fn network_word(self, offset: u32, mask: u32, value: u32) -> Node {
        self.network().plus(offset).masked(Size::Word, mask, value)
    }

    pub(super) fn network_byte(self, offset: u32, condition: Condition, value: u32) -> Node {
        Node::test(self.network().plus(offset).load(Size::Byte), condition, value)
    }

    /// The instructions that load a port of an IPv4 packet, `offset` bytes into its transport header.
    pub(super) fn load_ip_port(self, offset: u32) -> Vec<Insn> {
        self.network().load_behind_ip_header(Size::Half, offset)
    }

    /// The instructions that load a port of an IPv6 packet.
    pub(super) fn load_ip6_port(self, offset: u32) -> Vec<Insn> {
        self.ip6_payload().plus(offset).load(Size::Half)
    }

    /// Where `proto[…]` is; `index_guard` is what the offset in the brackets asks for itself. `None` if the protocol
    /// has no accessor.
    pub(super) fn access(self, proto: Proto, index_guard: Option<Node>) -> Option<Access> {
        let network = |guard: Node| {
            let guard = Some(Node::all(index_guard.clone().into_iter().chain([guard])));
            Access { guard, base: self.network(), behind_ip_header: false }
        };
        Some(match proto {
            Proto::Link => Access { guard: index_guard, base: self.header, behind_ip_header: false },
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
                Access { base: self.ip6_payload(), ..access }
            }
            Proto::Ah
            | Proto::Esp
            | Proto::Aarp
            | Proto::Iso
            | Proto::Clnp
            | Proto::Esis
            | Proto::Isis
            | Proto::IsisL1
            | Proto::IsisL2
            | Proto::IsisIih
            | Proto::IsisLsp
            | Proto::IsisSnp
            | Proto::IsisCsnp
            | Proto::IsisPsnp
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
                Access { guard, base: self.network(), behind_ip_header: true }
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
