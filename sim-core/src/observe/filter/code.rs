//! Boolean trees of tests, and the jumps that they become.

use super::ast::Logic;
use super::bpf::{Condition, Insn};

/// A condition on the packet. The order matters: a load outside of the packet refuses the packet, but only if the
/// program gets there.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Const(bool),
    Test(Test),
    Not(Box<Node>),
    /// `and` and `or` from left to right: `a or b and c` is `(a or b) and c`.
    Chain {
        first: Box<Node>,
        rest: Vec<(Logic, Node)>,
    },
}

/// Instructions that leave a value in A, and what it is compared with.
#[derive(Clone, Debug)]
pub(super) struct Test {
    /// May be empty: A is then what the test before has left there.
    pub(super) code: Vec<Insn>,
    pub(super) condition: Condition,
    /// A constant, or register X.
    pub(super) operand: Option<u32>,
}

impl Node {
    pub(super) fn test(code: Vec<Insn>, condition: Condition, k: u32) -> Self {
        Self::Test(Test { code, condition, operand: Some(k) })
    }

    /// Whether the value that `code` loads is one of `values`.
    pub(super) fn one_of(code: Vec<Insn>, values: &[u32]) -> Self {
        let mut code = Some(code);
        Self::any(values.iter().map(|value| Self::test(code.take().unwrap_or_default(), Condition::Equal, *value)))
    }

    pub(super) fn not(self) -> Self {
        match self {
            Self::Const(value) => Self::Const(!value),
            Self::Not(inner) => *inner,
            other @ (Self::Test(_) | Self::Chain { .. }) => Self::Not(Box::new(other)),
        }
    }

    /// Whether all `nodes` hold, tested in their order.
    pub(super) fn all(nodes: impl IntoIterator<Item = Self>) -> Self {
        nodes.into_iter().fold(Self::Const(true), |all, node| all.join(Logic::And, node))
    }

    /// Whether one of `nodes` holds, tested in their order.
    pub(super) fn any(nodes: impl IntoIterator<Item = Self>) -> Self {
        nodes.into_iter().fold(Self::Const(false), |any, node| any.join(Logic::Or, node))
    }

    /// `self and other` or `self or other`. Constants vanish, but for one that decides the result after tests that
    /// may still refuse the packet.
    pub(super) fn join(self, logic: Logic, other: Self) -> Self {
        let deciding = logic == Logic::Or;
        match (self, other) {
            (Self::Const(value), other) => {
                if value == deciding {
                    Self::Const(value)
                } else {
                    other
                }
            }
            (node, Self::Const(value)) if value != deciding => node,
            (Self::Chain { first, mut rest }, other) => {
                if !matches!(rest.last(), Some((last, Self::Const(_))) if *last == logic) {
                    rest.push((logic, other));
                }
                Self::Chain { first, rest }
            }
            (node, other) => Self::Chain { first: Box::new(node), rest: vec![(logic, other)] },
        }
    }
}

/// The length that libpcap returns for a match: its largest snapshot length, in bytes.
const ACCEPT: u32 = 262_144;

/// A place in a program that is written from its end to its beginning: how many instructions follow it.
type Label = usize;

const REJECT_LABEL: Label = 0;
const ACCEPT_LABEL: Label = 1;

/// Turns `node` into a program; `None` if it has more than `limit` instructions.
pub(super) fn assemble(node: &Node, limit: usize) -> Option<Vec<Insn>> {
    let mut writer = Writer { reversed: vec![Insn::Return(0), Insn::Return(ACCEPT)], limit };
    let entry = writer.node(node, ACCEPT_LABEL, REJECT_LABEL)?;
    if entry <= ACCEPT_LABEL {
        return Some(vec![writer.reversed[entry]]);
    }
    writer.reversed.truncate(entry + 1);
    writer.reversed.reverse();
    Some(writer.reversed)
}

/// Writes a program backwards, so that the distance to what a test jumps to is known when the test is written.
struct Writer {
    reversed: Vec<Insn>,
    limit: usize,
}

impl Writer {
    /// Writes the code that goes to `yes` or `no`; the label of its first instruction.
    fn node(&mut self, node: &Node, yes: Label, no: Label) -> Option<Label> {
        match node {
            Node::Const(value) => Some(if *value { yes } else { no }),
            Node::Not(inner) => self.node(inner, no, yes),
            Node::Chain { first, rest } => {
                let (mut yes, mut no) = (yes, no);
                for (logic, node) in rest.iter().rev() {
                    let label = self.node(node, yes, no)?;
                    match logic {
                        Logic::And => yes = label,
                        Logic::Or => no = label,
                    }
                }
                self.node(first, yes, no)
            }
            Node::Test(test) => self.test(test, yes, no),
        }
    }

    fn test(&mut self, test: &Test, yes: Label, no: Label) -> Option<Label> {
        let (jt, jf) = match (self.near(yes), self.near(no)) {
            (Some(jt), Some(jf)) => (jt, jf),
            _ => {
                self.push(Insn::JumpAlways(self.far(no)?))?;
                self.push(Insn::JumpAlways(self.far(yes)?))?;
                (0, 1)
            }
        };
        self.push(match test.operand {
            Some(k) => Insn::Jump { condition: test.condition, k, jt, jf },
            None => Insn::JumpX { condition: test.condition, jt, jf },
        })?;
        for insn in test.code.iter().rev() {
            self.push(*insn)?;
        }
        Some(self.reversed.len() - 1)
    }

    /// What a conditional jump that is written next has to skip, if it can.
    fn near(&self, label: Label) -> Option<u8> {
        u8::try_from(self.reversed.len() - 1 - label).ok()
    }

    fn far(&self, label: Label) -> Option<u32> {
        u32::try_from(self.reversed.len() - 1 - label).ok()
    }

    fn push(&mut self, insn: Insn) -> Option<()> {
        (self.reversed.len() < self.limit).then(|| self.reversed.push(insn))
    }
}
