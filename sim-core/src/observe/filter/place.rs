//! Places in a packet, and the tests that look at one.

use super::bpf::{AluOp, Condition, Insn, Size};
use super::code::Node;

/// A place in a packet, in bytes from its beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// The word of the scratch memory whose content comes on top of `offset`, if the place is not the same in all
    /// packets.
    pub(super) word: Option<u8>,
    pub(super) offset: u32,
}

impl Place {
    pub(super) fn fixed(offset: u32) -> Self {
        Self { word: None, offset }
    }

    pub(super) fn in_memory(word: u8) -> Self {
        Self { word: Some(word), offset: 0 }
    }

    /// So many bytes further on.
    pub(super) fn plus(self, bytes: u32) -> Self {
        Self { offset: self.offset.wrapping_add(bytes), ..self }
    }

    /// So many bytes before.
    pub(super) fn minus(self, bytes: u32) -> Self {
        Self { offset: self.offset.wrapping_sub(bytes), ..self }
    }

    /// The instructions that load what is here.
    pub(super) fn load(self, size: Size) -> Vec<Insn> {
        match self.word {
            None => vec![Insn::LoadAbsolute(size, self.offset)],
            Some(word) => vec![Insn::LoadXMemory(word), Insn::LoadIndirect(size, self.offset)],
        }
    }

    /// The instructions that leave in X what `offset` lacks of the end of the IPv4 header here. They leave A alone if
    /// the place is the same in all packets.
    pub(super) fn ip_header_end(self) -> Vec<Insn> {
        match self.word {
            None => vec![Insn::LoadHeaderLength(self.offset)],
            Some(word) => vec![
                Insn::LoadXMemory(word),
                Insn::LoadIndirect(Size::Byte, self.offset),
                Insn::Alu(AluOp::And, 0xf),
                Insn::Alu(AluOp::Lsh, 2),
                Insn::AluX(AluOp::Add),
                Insn::Tax,
            ],
        }
    }

    /// The instructions that load what is so many bytes behind the end of the IPv4 header here.
    pub(super) fn load_behind_ip_header(self, size: Size, bytes: u32) -> Vec<Insn> {
        let mut code = self.ip_header_end();
        code.push(Insn::LoadIndirect(size, self.plus(bytes).offset));
        code
    }

    /// Whether `value` is here.
    pub(super) fn equals(self, size: Size, value: u32) -> Node {
        Node::test(self.load(size), Condition::Equal, value)
    }

    /// Whether the bits under `mask` are `value` here. With no bits nothing is looked at where libpcap's optimiser sees
    /// that nothing depends on it: at a place that is the same in all packets.
    pub(super) fn masked(self, size: Size, mask: u32, value: u32) -> Node {
        if mask == 0 && self.word.is_none() { Node::Const(value == 0) } else { masked(self.load(size), mask, value) }
    }

    /// Whether the Ethernet address here is `mac`.
    pub(super) fn equals_mac(self, mac: [u8; 6]) -> Node {
        let [a, b, c, d, e, f] = mac;
        let last_four = self.plus(2).equals(Size::Word, u32::from_be_bytes([c, d, e, f]));
        Node::all([last_four, self.equals(Size::Half, u32::from_be_bytes([0, 0, a, b]))])
    }
}

/// Whether the bits under `mask` of what `load` loads are `value`.
pub(super) fn masked(mut load: Vec<Insn>, mask: u32, value: u32) -> Node {
    if mask != u32::MAX {
        load.push(Insn::Alu(AluOp::And, mask));
    }
    Node::test(load, Condition::Equal, value)
}
