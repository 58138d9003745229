//! Arithmetic on packet data: `tcp[13] & 2 != 0`.
//!
//! Source: pcap-filter(7) for the meaning. Constants are folded as libpcap's optimiser folds them, which shows: a load
//! that is multiplied with 0 is never made, and `ip[-2:2]` is the two bytes before the IP header.

use std::ops::Range;

use super::FilterError;
use super::ast::{Arith, ArithOp, Comparison, Logic};
use super::bpf::{AluOp, Condition, Insn, Size};
use super::code::{Node, Test};
use super::link::Link;
use super::names::Proto;
use super::place::Place;

/// The condition of a comparison.
///
/// # Errors
///
/// A protocol that has no accessor, a division by a constant zero, a shift by more than 31 bits, an expression that
/// needs more intermediate results than there are words of the scratch memory.
pub(super) fn relation(link: Link, left: &Arith, comparison: Comparison, right: &Arith) -> Result<Node, FilterError> {
    let span = left.span.start..right.span.end;
    let left = value(link, left)?;
    let right = value(link, right)?;
    check_registers(link, left.registers.max(1 + right.registers), &span)?;
    let guards = Node::all(left.guard.clone().into_iter().chain(right.guard.clone()));
    let (condition, negated) = match comparison {
        Comparison::Equal => (Condition::Equal, false),
        Comparison::NotEqual => (Condition::Equal, true),
        Comparison::Greater => (Condition::Greater, false),
        Comparison::LessEqual => (Condition::Greater, true),
        Comparison::GreaterEqual => (Condition::GreaterEqual, false),
        Comparison::Less => (Condition::GreaterEqual, true),
    };
    let test = compare(left, condition, right);
    Ok(guards.join(Logic::And, if negated { test.not() } else { test }))
}

/// A compiled arithmetic expression.
struct Value {
    content: Content,
    /// What must hold for the packet to have the data. As in libpcap it is that of the leftmost operand alone: only
    /// a comparison joins the guards of both its sides.
    guard: Option<Node>,
    /// How many results libpcap's code generator would hold at once; it refuses more than there are words of the
    /// scratch memory.
    registers: usize,
    /// The number that the text of the expression begins with, which libpcap takes for a constant divisor or shift.
    leading: Option<u32>,
}

enum Content {
    Const(u32),
    /// Instructions that leave the value in A, having used the scratch memory below `memory`.
    Code {
        insns: Vec<Insn>,
        memory: usize,
    },
}

fn value(link: Link, arith: &Arith) -> Result<Value, FilterError> {
    let mut stack: Vec<Value> = Vec::new();
    let too_few = || FilterError::new(arith.span.clone(), "an operator without an operand");
    for op in &arith.ops {
        let value = match op {
            ArithOp::Number(value) => Value::leaf(Content::Const(*value), Some(*value)),
            ArithOp::Length => Value::leaf(Content::code(Insn::LoadLength), None),
            ArithOp::Negate => negate(stack.pop().ok_or_else(too_few)?),
            ArithOp::Load { proto, size, span } => load(link, *proto, *size, span, stack.pop().ok_or_else(too_few)?)?,
            ArithOp::Binary(op) => {
                let right = stack.pop().ok_or_else(too_few)?;
                binary(*op, stack.pop().ok_or_else(too_few)?, right, &arith.span)?
            }
        };
        check_registers(link, value.registers, &arith.span)?;
        stack.push(value);
    }
    stack.pop().ok_or_else(too_few)
}

fn check_registers(link: Link, registers: usize, span: &Range<usize>) -> Result<(), FilterError> {
    let most = usize::from(link.free_words);
    if registers <= most {
        return Ok(());
    }
    let message = format!("the expression has more than {most} intermediate results");
    Err(FilterError::new(span.clone(), message))
}

impl Value {
    fn leaf(content: Content, leading: Option<u32>) -> Self {
        Self { content, guard: None, registers: 1, leading }
    }
}

impl Content {
    fn code(insn: Insn) -> Self {
        Self::Code { insns: vec![insn], memory: 0 }
    }
}

fn negate(mut value: Value) -> Value {
    match &mut value.content {
        Content::Const(constant) => *constant = constant.wrapping_neg(),
        Content::Code { insns, .. } => insns.push(Insn::Negate),
    }
    value
}

fn load(link: Link, proto: Proto, size: u32, span: &Range<usize>, index: Value) -> Result<Value, FilterError> {
    if proto.ether_type().is_some_and(|ether_type| !link.tells(ether_type)) {
        return Err(super::compile::not_behind_mpls(span));
    }
    let Some(access) = link.access(proto, index.guard) else {
        let message = format!("`{}` data cannot be addressed", proto.name());
        return Err(FilterError::new(span.clone(), message).hint("write `ip[…]` or `ip6[…]` with an offset from there"));
    };
    let size = match size {
        1 => Size::Byte,
        2 => Size::Half,
        _ => Size::Word,
    };
    let base = access.base;
    let content = match (index.content, access.behind_ip_header, base.word) {
        (Content::Const(offset), false, None) => Content::code(Insn::LoadAbsolute(size, base.plus(offset).offset)),
        (Content::Const(offset), true, None) => {
            Content::Code { insns: base.load_behind_ip_header(size, offset), memory: 0 }
        }
        (Content::Const(offset), ..) => {
            load_at(base, access.behind_ip_header, vec![Insn::LoadImmediate(offset)], 0, size)
        }
        (Content::Code { insns, memory }, ..) => load_at(base, access.behind_ip_header, insns, memory, size),
    };
    Ok(Value { content, guard: access.guard, registers: index.registers.max(2), leading: index.leading })
}

/// Loads from `base`, or from the end of the IPv4 header there, and the offset that `insns` leave in A on.
fn load_at(base: Place, behind_ip_header: bool, mut insns: Vec<Insn>, mut memory: usize, size: Size) -> Content {
    const INDEX: u8 = 0;
    match (behind_ip_header, base.word) {
        (false, None) => {}
        (false, Some(word)) => insns.extend([Insn::LoadXMemory(word), Insn::AluX(AluOp::Add)]),
        (true, None) => {
            insns.extend(base.ip_header_end());
            insns.push(Insn::AluX(AluOp::Add));
        }
        (true, Some(_)) => {
            insns.push(Insn::Store(INDEX));
            insns.extend(base.ip_header_end());
            insns.extend([Insn::LoadMemory(INDEX), Insn::AluX(AluOp::Add)]);
            memory = memory.max(usize::from(INDEX) + 1);
        }
    }
    insns.extend([Insn::Tax, Insn::LoadIndirect(size, base.offset)]);
    Content::Code { insns, memory }
}

fn binary(op: AluOp, left: Value, right: Value, span: &Range<usize>) -> Result<Value, FilterError> {
    check_operand(op, &right, span)?;
    let registers = left.registers.max(1 + right.registers);
    let content = match (left.content, right.content) {
        (Content::Const(a), Content::Const(b)) => {
            Content::Const(op.apply(a, b).ok_or_else(|| division_by_zero(op, span))?)
        }
        (Content::Code { .. }, Content::Const(b)) if is_shift(op) && b > 31 => return Err(long_shift(b, span)),
        (Content::Code { insns, memory }, Content::Const(b)) => {
            with_constant(op, insns, memory, b).ok_or_else(|| division_by_zero(op, span))?
        }
        (Content::Const(a), Content::Code { mut insns, memory }) => match (op, a) {
            (AluOp::Add | AluOp::Or | AluOp::Xor, 0) => Content::Code { insns, memory },
            (AluOp::Mul | AluOp::Div | AluOp::Mod | AluOp::And | AluOp::Lsh | AluOp::Rsh, 0) => Content::Const(0),
            _ => {
                insns.extend([Insn::Tax, Insn::LoadImmediate(a), Insn::AluX(op)]);
                Content::Code { insns, memory }
            }
        },
        (left @ Content::Code { .. }, right @ Content::Code { .. }) => {
            let (mut insns, memory) = into_a_and_x(left, right);
            insns.push(Insn::AluX(op));
            Content::Code { insns, memory }
        }
    };
    Ok(Value { content, guard: left.guard, registers, leading: left.leading })
}

/// Refuses a constant that cannot divide or shift, and with libpcap what merely begins with one, as in `len / ip[0]`.
fn check_operand(op: AluOp, operand: &Value, span: &Range<usize>) -> Result<(), FilterError> {
    let Some(leading) = operand.leading else { return Ok(()) };
    let error = match op {
        AluOp::Div | AluOp::Mod if leading == 0 => division_by_zero(op, span),
        AluOp::Lsh | AluOp::Rsh if leading > 31 => long_shift(leading, span),
        _ => return Ok(()),
    };
    Err(match operand.content {
        Content::Const(_) => error,
        Content::Code { .. } => error.hint(format!("libpcap takes the {leading} that the operand begins with for it")),
    })
}

fn is_shift(op: AluOp) -> bool {
    matches!(op, AluOp::Lsh | AluOp::Rsh)
}

fn long_shift(bits: u32, span: &Range<usize>) -> FilterError {
    FilterError::new(span.clone(), format!("a shift by {bits} bits: more than 31"))
}

fn division_by_zero(op: AluOp, span: &Range<usize>) -> FilterError {
    let what = if op == AluOp::Mod { "the remainder of a division by zero" } else { "a division by zero" };
    FilterError::new(span.clone(), what)
}

/// `A op b`, unless the constant alone decides the result; `None` for a division by zero.
fn with_constant(op: AluOp, mut insns: Vec<Insn>, memory: usize, b: u32) -> Option<Content> {
    match (op, b) {
        (AluOp::Div | AluOp::Mod, 0) => return None,
        (AluOp::Mul | AluOp::And, 0) => return Some(Content::Const(0)),
        (AluOp::Add | AluOp::Sub | AluOp::Or | AluOp::Xor | AluOp::Lsh | AluOp::Rsh, 0) => {}
        _ => insns.push(Insn::Alu(op, b)),
    }
    Some(Content::Code { insns, memory })
}

/// Code that leaves `left` in A and `right` in X, and the scratch memory that it uses.
fn into_a_and_x(left: Content, right: Content) -> (Vec<Insn>, usize) {
    match (left, right) {
        (Content::Const(a), Content::Code { mut insns, memory }) => {
            insns.extend([Insn::Tax, Insn::LoadImmediate(a)]);
            (insns, memory)
        }
        (left, Content::Const(b)) => into_a_and_x(left, Content::code(Insn::LoadImmediate(b))),
        (Content::Code { mut insns, memory }, Content::Code { insns: right, memory: right_memory }) => {
            // The first word that the code of the right side leaves alone; `check_registers` bounds it.
            let word = u8::try_from(right_memory).unwrap_or(u8::MAX);
            insns.push(Insn::Store(word));
            insns.extend(right);
            insns.extend([Insn::Tax, Insn::LoadMemory(word)]);
            (insns, memory.max(right_memory + 1))
        }
    }
}

fn compare(left: Value, condition: Condition, right: Value) -> Node {
    match (left.content, right.content) {
        (Content::Const(a), Content::Const(b)) => Node::Const(condition.holds(a, b)),
        (Content::Code { mut insns, .. }, Content::Const(k)) => {
            if let (Some(Insn::Alu(AluOp::And, mask)), Condition::Equal, 0) = (insns.last().copied(), condition, k) {
                insns.pop();
                return Node::test(insns, Condition::AnyBit, mask).not();
            }
            Node::test(insns, condition, k)
        }
        (left, right) => {
            let (code, _) = into_a_and_x(left, right);
            Node::Test(Test { code, condition, operand: None })
        }
    }
}
