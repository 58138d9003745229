//! A parsed filter expression, before a link type gives it meaning.

use std::net::Ipv6Addr;
use std::ops::Range;

use super::bpf::AluOp;
use super::names::Proto;

/// A boolean expression. It nests as deep as the parentheses of the text: a chain of any length is one level.
#[derive(Debug)]
pub(super) enum Expr<'a> {
    /// A protocol alone: `tcp`.
    Proto {
        proto: Proto,
        span: Range<usize>,
    },
    /// Qualifiers and what they qualify: `tcp dst port 80`.
    Primitive {
        qualifiers: Qualifiers,
        id: Id<'a>,
        span: Range<usize>,
    },
    Broadcast {
        proto: Option<Proto>,
        span: Range<usize>,
    },
    Multicast {
        proto: Option<Proto>,
        span: Range<usize>,
    },
    /// The packet is wrapped in this, and what follows in the text is about what is inside.
    Within {
        wrapper: Wrapper,
        /// The VLAN, the MPLS label, the PPPoE session or the virtual network.
        number: Option<u32>,
        span: Range<usize>,
    },
    /// `pppoed`
    PppoeDiscovery {
        span: Range<usize>,
    },
    /// `inbound` or `outbound`
    Bound {
        outbound: bool,
        span: Range<usize>,
    },
    /// `llc`, or `llc u` with a mask of the control field's first byte and what it leaves.
    Llc {
        control: Option<(u32, u32)>,
        span: Range<usize>,
    },
    /// `ifindex 2`
    IfIndex {
        index: u32,
        span: Range<usize>,
    },
    /// A comparison of two arithmetic expressions: `tcp[13] & 2 != 0`.
    Relation {
        left: Arith,
        comparison: Comparison,
        right: Arith,
    },
    Not(Box<Expr<'a>>),
    /// `and` and `or` bind alike and group to the left.
    Chain {
        first: Box<Expr<'a>>,
        rest: Vec<(Logic, Expr<'a>)>,
    },
}

/// What one packet is wrapped in by another protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapper {
    Vlan,
    Mpls,
    PppoeSession,
    Geneve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Logic {
    And,
    Or,
}

/// What stands before an identifier. A later identifier without any inherits them (`port 80 or 443`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Qualifiers {
    pub(super) proto: Option<Proto>,
    pub(super) direction: Direction,
    pub(super) kind: Option<IdKind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Src,
    Dst,
    Either,
    Both,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdKind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
    ProtoChain,
}

impl IdKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Net => "net",
            Self::Port => "port",
            Self::PortRange => "portrange",
            Self::Proto => "proto",
            Self::ProtoChain => "protochain",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Id<'a> {
    Number(u32),
    Name(&'a str),
    Address(&'a str),
    Prefix { address: &'a str, length: u32 },
    Masked { address: &'a str, mask: &'a str },
    Mac([u8; 6]),
    Address6(Ipv6Addr),
    Prefix6 { address: Ipv6Addr, length: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

/// An arithmetic expression in postfix order, so that no expression is deep.
#[derive(Debug)]
pub(super) struct Arith {
    pub(super) ops: Vec<ArithOp>,
    pub(super) span: Range<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ArithOp {
    Number(u32),
    Length,
    Negate,
    /// `proto[offset:size]`; takes the offset from the stack.
    Load {
        proto: Proto,
        size: u32,
        span: Range<usize>,
    },
    Binary(AluOp),
}
