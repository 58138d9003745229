//! `geneve`: from here on the filter is about what a tunnel carries.
//!
//! Source: RFC 8926; libpcap for how the places are found. Geneve's options, and IPv4's in front of them, have any
//! length, so the places behind them are computed for each packet and kept in the scratch memory.

use super::ast::Logic;
use super::bpf::{AluOp, Condition, Insn, Size};
use super::code::{Node, Test};
use super::link::{Framing, IP6_HEADER_LEN, Link};
use super::names::IPPROTO_UDP;
use super::place::{self, Place};

pub(super) const MAX_VNI: u32 = 0xff_ffff;

const PORT: u32 = 6081;
const UDP_DESTINATION: u32 = 2;
const UDP_HEADER_LEN: u32 = 8;
const VERSION_MASK: u32 = 0xc0;
const VNI: u32 = 4;
/// The protocol type of a tunnel that carries Ethernet frames.
const ETHERNET: u32 = 0x6558;
/// Where an Ethernet header has its type, and how long the type is.
const ETHERNET_TYPE: u32 = 12;
const TYPE_LEN: u32 = 2;

impl Link {
    /// Whether the packet is one of a Geneve tunnel, of this virtual network; what it carries is looked at from here
    /// on. None if the scratch memory is full of other tunnels' places.
    pub(super) fn enter_geneve(&mut self, vni: Option<u32>) -> Option<Node> {
        let [header, type_at, payload] = self.take_words()?;
        let outer = *self;
        let in_ip = Node::all([
            outer.ip_protocol(&[IPPROTO_UDP]),
            outer.ip_first_fragment(),
            is_tunnel(|size, bytes| outer.network().load_behind_ip_header(size, bytes), vni),
            outer.leave_ip_payload(),
        ]);
        let in_ip6 = Node::all([
            outer.ip6_next_header(&[IPPROTO_UDP]),
            is_tunnel(|size, bytes| outer.ip6_payload().plus(bytes).load(size), vni),
            outer.leave_ip6_payload(),
        ]);
        self.framing = Framing::Ethernet;
        self.header = Place::in_memory(header);
        self.type_at = Place::in_memory(type_at);
        self.payload = Place::in_memory(payload);
        self.network_at = 0;
        let places = find_places(outer.network().offset, [header, type_at, payload]);
        Some(Node::any([in_ip, in_ip6]).join(Logic::And, places))
    }

    /// Whether there is a link layer's header, which a tunnel may lack: it carries a network layer's packets too. None
    /// where there always is one.
    pub(super) fn has_header(self) -> Option<Node> {
        let (header, payload) = self.header.word.zip(self.payload.word)?;
        Some(equal(vec![Insn::LoadMemory(header), Insn::LoadXMemory(payload)]).not())
    }

    /// Leaves in A what is missing to the network layer's offset for the place behind the IPv4 header; holds always.
    fn leave_ip_payload(self) -> Node {
        let mut code = self.network().ip_header_end();
        code.push(Insn::Txa);
        equal(code)
    }

    /// The same for IPv6, whose header is taken for one without extensions.
    fn leave_ip6_payload(self) -> Node {
        let network = self.network();
        let mut code: Vec<Insn> = network.word.map(Insn::LoadXMemory).into_iter().collect();
        code.push(Insn::LoadImmediate(IP6_HEADER_LEN));
        code.extend(network.word.map(|_| Insn::AluX(AluOp::Add)));
        code.push(Insn::Tax);
        equal(code)
    }
}

/// Whether a UDP header, from whose beginning `load` loads, and what follows it are a tunnel's.
fn is_tunnel(load: impl Fn(Size, u32) -> Vec<Insn>, vni: Option<u32>) -> Node {
    let port = Node::test(load(Size::Half, UDP_DESTINATION), Condition::Equal, PORT);
    let version = place::masked(load(Size::Byte, UDP_HEADER_LEN), VERSION_MASK, 0);
    let vni = vni.map(|vni| place::masked(load(Size::Word, UDP_HEADER_LEN + VNI), MAX_VNI << 8, vni << 8));
    Node::all([Some(port), Some(version), vni].into_iter().flatten())
}

/// Whether `code` leaves the same value in A and X.
fn equal(code: Vec<Insn>) -> Node {
    Node::Test(Test { code, condition: Condition::Equal, operand: None })
}

/// Keeps where the tunnel's content has its header, its type and its payload; holds always. A and `offset` are where
/// the UDP header begins.
fn find_places(offset: u32, [header, type_at, payload]: [u8; 3]) -> Node {
    const PROTOCOL: u32 = 2;
    const HEADER_LEN: u32 = 8;
    const OPTIONS_LEN_MASK: u32 = 0x3f;
    let ethernet = [
        Insn::LoadMemory(header),
        Insn::Alu(AluOp::Add, ETHERNET_TYPE),
        Insn::Store(type_at),
        Insn::Alu(AluOp::Add, TYPE_LEN),
        Insn::Store(payload),
    ];
    let otherwise = u8::try_from(ethernet.len()).unwrap_or(u8::MAX);
    let mut code = vec![
        Insn::Alu(AluOp::Add, offset.wrapping_add(UDP_HEADER_LEN)),
        Insn::Tax,
        Insn::Alu(AluOp::Add, PROTOCOL),
        Insn::Store(type_at),
        Insn::LoadIndirect(Size::Byte, 0),
        Insn::Alu(AluOp::And, OPTIONS_LEN_MASK),
        Insn::Alu(AluOp::Mul, 4),
        Insn::Alu(AluOp::Add, HEADER_LEN),
        Insn::AluX(AluOp::Add),
        Insn::Store(header),
        Insn::Store(payload),
        Insn::LoadIndirect(Size::Half, PROTOCOL),
        Insn::Jump { condition: Condition::Equal, k: ETHERNET, jt: 0, jf: otherwise },
    ];
    code.extend(ethernet);
    code.push(Insn::LoadImmediate(0));
    Node::test(code, Condition::Equal, 0)
}
