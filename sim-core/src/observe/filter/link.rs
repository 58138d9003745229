//! Where things are in a packet of a link type: the tests that primitives are made of.
//!
//! Source: RFC 894, RFC 1042 and IEEE 802.3 (Ethernet), LINKTYPE_LINUX_SLL2 of the tcpdump group's link-layer
//! header types, RFC 791 (IPv4), RFC 8200 (IPv6), RFC 826 (ARP).

use super::LinkType;
use super::bpf::{AluOp, Condition, Insn, Size};
use super::code::Node;
use super::names::{
    ETHERTYPE_AARP, ETHERTYPE_ARP, ETHERTYPE_ATALK, ETHERTYPE_IP, ETHERTYPE_IP6, ETHERTYPE_IPX, ETHERTYPE_RARP,
    IPPROTO_IP6_FRAGMENT, Proto,
};

/// A link type, as the offsets that follow from it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) link_type: LinkType,
    /// Of the network layer's header.
    network: u32,
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
/// The largest value of an Ethernet type field that is a length (IEEE 802.3), in bytes.
const MAX_802_3_LEN: u32 = 1500;

impl Link {
    pub(super) fn new(link_type: LinkType) -> Self {
        let network = match link_type {
            LinkType::Ethernet => 14,
            LinkType::LinuxSll2 => 20,
            LinkType::Raw => 0,
        };
        Self { link_type, network }
    }

    /// Whether the network layer is `ether_type`: an Ethernet type or, up to 1500, an 802.2 service access point.
    pub(super) fn ether_type(self, ether_type: u32) -> Node {
        match (self.link_type, ether_type) {
            (LinkType::Ethernet, _) => ethernet_type(ether_type),
            (LinkType::LinuxSll2, _) => equal(Size::Half, 0, ether_type),
            (LinkType::Raw, ETHERTYPE_IP) => masked(Size::Byte, 0, 0xf0, 0x40),
            (LinkType::Raw, ETHERTYPE_IP6) => masked(Size::Byte, 0, 0xf0, 0x60),
            (LinkType::Raw, _) => Node::Const(false),
        }
    }

    pub(super) fn ip(self) -> Node {
        self.ether_type(ETHERTYPE_IP)
    }

    pub(super) fn ip6(self) -> Node {
        self.ether_type(ETHERTYPE_IP6)
    }

    /// Whether the packet is IPv4 with one of `protocols`.
    pub(super) fn ip_protocol(self, protocols: &[u32]) -> Node {
        let code = vec![Insn::LoadAbsolute(Size::Byte, self.network + 9)];
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
            equal(Size::Byte, self.network + IP6_HEADER_LEN, protocol),
        ]);
        let direct = Node::test(self.load_next_header(), Condition::Equal, protocol);
        Node::all([self.ip6(), Node::any([direct, in_fragment])])
    }

    fn load_next_header(self) -> Vec<Insn> {
        vec![Insn::LoadAbsolute(Size::Byte, self.network + 6)]
    }

    /// Whether an IPv4 packet is no fragment or the first, the one with the transport header.
    pub(super) fn ip_first_fragment(self) -> Node {
        let code = vec![Insn::LoadAbsolute(Size::Half, self.network + 6)];
        Node::test(code, Condition::AnyBit, IP_FRAGMENT_OFFSET_MASK).not()
    }

    /// Whether `offset` bytes into the network layer's header are the bits `value` under `mask`.
    pub(super) fn network_word(self, offset: u32, mask: u32, value: u32) -> Node {
        masked(Size::Word, self.network + offset, mask, value)
    }

    pub(super) fn network_byte(self, offset: u32, condition: Condition, value: u32) -> Node {
        Node::test(vec![Insn::LoadAbsolute(Size::Byte, self.network + offset)], condition, value)
    }

    /// The instructions that load a port of an IPv4 packet, `offset` bytes into its transport header.
    pub(super) fn load_ip_port(self, offset: u32) -> Vec<Insn> {
        vec![Insn::LoadHeaderLength(self.network), Insn::LoadIndirect(Size::Half, self.network + offset)]
    }

    /// The instructions that load a port of an IPv6 packet.
    pub(super) fn load_ip6_port(self, offset: u32) -> Vec<Insn> {
        vec![Insn::LoadAbsolute(Size::Half, self.network + IP6_HEADER_LEN + offset)]
    }

    /// Where `proto[…]` is; `index_guard` is what the offset in the brackets asks for itself. `None` if the protocol
    /// has no accessor.
    pub(super) fn access(self, proto: Proto, index_guard: Option<Node>) -> Option<Access> {
        let network = |guard: Node| {
            let guard = Some(Node::all(index_guard.clone().into_iter().chain([guard])));
            Access { guard, base: self.network, after_ip_header: None }
        };
        Some(match proto {
            Proto::Link => Access { guard: index_guard, base: 0, after_ip_header: None },
            Proto::Ip => network(self.ip()),
            Proto::Ip6 => network(self.ip6()),
            Proto::Arp => network(self.ether_type(ETHERTYPE_ARP)),
            Proto::Rarp => network(self.ether_type(ETHERTYPE_RARP)),
            Proto::Icmp6 => {
                let access = network(self.ip6_next_header(&[proto.ip_number()?]));
                Access { base: self.network + IP6_HEADER_LEN, ..access }
            }
            Proto::Ah | Proto::Esp => return None,
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
                Access { guard, base: self.network, after_ip_header: Some(self.network) }
            }
        })
    }
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

// Up to 1500 the field is a length, and what the frame carries is in an 802.2 header. Which bytes of that header
// tell is a matter of the protocol.
fn ethernet_type(ether_type: u32) -> Node {
    const IP_SAP: u32 = 0x06;
    const IPX_SAP: u32 = 0xe0;
    const NETBEUI_SAP: u32 = 0xf0;
    const ISO_SAP: u32 = 0xfe;
    const APPLE: u32 = 0x08_0007;
    let framed = |header: Node| Node::all([has_802_2_header(), header]);
    match ether_type {
        IP_SAP | NETBEUI_SAP | ISO_SAP => framed(equal(Size::Half, 14, ether_type << 8 | ether_type)),
        IPX_SAP => {
            let without_header = equal(Size::Half, 14, 0xffff);
            let header = [snap(0, ETHERTYPE_IPX), equal(Size::Byte, 14, IPX_SAP), without_header];
            Node::any([equal(Size::Half, 12, ETHERTYPE_IPX), framed(Node::any(header))])
        }
        ETHERTYPE_ATALK => Node::any([equal(Size::Half, 12, ether_type), framed(snap(APPLE, ether_type))]),
        ETHERTYPE_AARP => Node::any([equal(Size::Half, 12, ether_type), framed(snap(0, ether_type))]),
        0..=MAX_802_3_LEN => framed(equal(Size::Byte, 14, ether_type)),
        _ => equal(Size::Half, 12, ether_type),
    }
}

fn has_802_2_header() -> Node {
    Node::test(vec![Insn::LoadAbsolute(Size::Half, 12)], Condition::Greater, MAX_802_3_LEN).not()
}

/// Whether the 802.2 header is one of the Subnetwork Access Protocol, with an organisation's protocol.
fn snap(organisation: u32, protocol: u32) -> Node {
    let last_four = equal(Size::Word, 18, (organisation & 0xffff) << 16 | protocol);
    Node::all([last_four, equal(Size::Word, 14, 0xaaaa_0300 | organisation >> 16)])
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
