//! Classic BPF: the instructions that filters compile to, how they run and how they print.
//!
//! Source: McCanne and Jacobson, "The BSD Packet Filter" (1993); libpcap's `bpf_filter` for the semantics of errors
//! and `bpf_image` (`tcpdump -d`) for the text. Only the instructions that the compiler emits exist here.

use std::fmt;

/// So many headers in a packet are looked at, one after the other: as many as fit in 64 KiB.
const MAX_JUMPS_BACK: u32 = 8192;

/// Words of the scratch memory (BPF_MEMWORDS of bpf(4)).
pub(super) const MEMORY_WORDS: u8 = 16;

/// How much of the packet a load takes, in network byte order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    Byte,
    Half,
    Word,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AluOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    And,
    Or,
    Xor,
    Lsh,
    Rsh,
}

impl AluOp {
    /// `a op b` as the machine computes it: modulo 2^32; `None` for a division by zero.
    pub(super) fn apply(self, a: u32, b: u32) -> Option<u32> {
        Some(match self {
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => return a.checked_div(b),
            Self::Mod => return a.checked_rem(b),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::Lsh => a.checked_shl(b).unwrap_or(0),
            Self::Rsh => a.checked_shr(b).unwrap_or(0),
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::Mul => "mul",
            Self::Div => "div",
            Self::Mod => "mod",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Lsh => "lsh",
            Self::Rsh => "rsh",
        }
    }
}

/// What a conditional jump asks of the accumulator, compared as unsigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Equal,
    Greater,
    GreaterEqual,
    AnyBit,
}

impl Condition {
    pub(super) fn holds(self, a: u32, b: u32) -> bool {
        match self {
            Self::Equal => a == b,
            Self::Greater => a > b,
            Self::GreaterEqual => a >= b,
            Self::AnyBit => a & b != 0,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Equal => "jeq",
            Self::Greater => "jgt",
            Self::GreaterEqual => "jge",
            Self::AnyBit => "jset",
        }
    }
}

/// One instruction. A is the accumulator, X the index register, M the scratch memory; jumps count from the next
/// instruction. They go forward, all but one whose number is limited, so every program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Insn {
    /// `A = packet[k]`
    LoadAbsolute(Size, u32),
    /// `A = packet[X + k]`
    LoadIndirect(Size, u32),
    /// `A = k`
    LoadImmediate(u32),
    /// A = length on the wire
    LoadLength,
    /// `A = M[k]`
    LoadMemory(u8),
    /// `X = 4 * (packet[k] & 0xf)`: the length of the IPv4 header at k
    LoadHeaderLength(u32),
    /// `M[k] = A`
    Store(u8),
    /// `A = A op k`
    Alu(AluOp, u32),
    /// `A = A op X`
    AluX(AluOp),
    /// `A = -A`
    Negate,
    /// `X = A`
    Tax,
    /// `A = X`
    Txa,
    /// `X = k`
    LoadXImmediate(u32),
    /// `X = M[k]`
    LoadXMemory(u8),
    Jump {
        condition: Condition,
        k: u32,
        jt: u8,
        jf: u8,
    },
    JumpX {
        condition: Condition,
        jt: u8,
        jf: u8,
    },
    JumpAlways(u32),
    /// Back to an instruction before this one, so many from the next. The kernel refuses it, libpcap uses it.
    JumpBack(u32),
    /// The verdict: how many bytes to keep.
    Return(u32),
}

/// Runs `program` on `packet`; the result is how many bytes of it to keep, 0 for a packet that does not match.
///
/// As in bpf(4), a load outside of `packet` and a division by zero end the program with 0.
pub(super) fn run(program: &[Insn], packet: &[u8], wire_len: u32) -> u32 {
    execute(program, packet, wire_len).unwrap_or(0)
}

fn execute(program: &[Insn], packet: &[u8], wire_len: u32) -> Option<u32> {
    let (mut a, mut x) = (0_u32, 0_u32);
    let mut memory = [0_u32; MEMORY_WORDS as usize];
    let (mut at, mut back) = (0_usize, 0);
    loop {
        let insn = *program.get(at)?;
        at += 1;
        match insn {
            Insn::LoadAbsolute(size, k) => a = load(packet, 0, k, size)?,
            Insn::LoadIndirect(size, k) => a = load(packet, x, k, size)?,
            Insn::LoadImmediate(k) => a = k,
            Insn::LoadLength => a = wire_len,
            Insn::LoadMemory(k) => a = *memory.get(usize::from(k))?,
            Insn::LoadHeaderLength(k) => x = 4 * (load(packet, 0, k, Size::Byte)? & 0xf),
            Insn::Store(k) => *memory.get_mut(usize::from(k))? = a,
            Insn::Alu(op, k) => a = op.apply(a, k)?,
            Insn::AluX(op) => a = op.apply(a, x)?,
            Insn::Negate => a = a.wrapping_neg(),
            Insn::Tax => x = a,
            Insn::Jump { condition, k, jt, jf } => at += usize::from(if condition.holds(a, k) { jt } else { jf }),
            Insn::JumpX { condition, jt, jf } => at += usize::from(if condition.holds(a, x) { jt } else { jf }),
            Insn::LoadXImmediate(k) => x = k,
            Insn::LoadXMemory(k) => x = *memory.get(usize::from(k))?,
            Insn::Txa => a = x,
            Insn::JumpBack(k) => {
                back += 1;
                if back > MAX_JUMPS_BACK {
                    return None;
                }
                at = at.checked_sub(usize::try_from(k).ok()?)?;
            }
            Insn::JumpAlways(k) => at = at.checked_add(usize::try_from(k).ok()?)?,
            Insn::Return(k) => return Some(k),
        }
    }
}

// The sum does not wrap: an index of 2^32 - 1 is outside of every packet.
fn load(packet: &[u8], x: u32, k: u32, size: Size) -> Option<u32> {
    let at = usize::try_from(u64::from(x) + u64::from(k)).ok()?;
    let bytes = packet.get(at..)?;
    match size {
        Size::Byte => bytes.first().map(|byte| u32::from(*byte)),
        Size::Half => bytes.first_chunk().map(|bytes| u32::from(u16::from_be_bytes(*bytes))),
        Size::Word => bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)),
    }
}

/// Prints `program` as `tcpdump -d` does, a line an instruction.
pub(super) fn print(program: &[Insn], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (n, insn) in program.iter().enumerate() {
        if n > 0 {
            f.write_str("\n")?;
        }
        print_insn(n, *insn, f)?;
    }
    Ok(())
}

fn print_insn(n: usize, insn: Insn, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    // The constants that `tcpdump -d` prints as %d.
    let signed = |k: u32| k.cast_signed();
    write!(f, "({n:03}) ")?;
    match insn {
        Insn::LoadAbsolute(size, k) => write!(f, "{:<8} [{}]", load_name(size), signed(k)),
        Insn::LoadIndirect(size, k) => write!(f, "{:<8} [x + {}]", load_name(size), signed(k)),
        Insn::LoadImmediate(k) => write!(f, "{:<8} #{k:#x}", "ld"),
        Insn::LoadLength => write!(f, "{:<8} #pktlen", "ld"),
        Insn::LoadMemory(k) => write!(f, "{:<8} M[{k}]", "ld"),
        Insn::LoadHeaderLength(k) => write!(f, "{:<8} 4*([{}]&0xf)", "ldxb", signed(k)),
        Insn::Store(k) => write!(f, "{:<8} M[{k}]", "st"),
        Insn::Alu(op @ (AluOp::And | AluOp::Or | AluOp::Xor), k) => write!(f, "{:<8} #{k:#x}", op.name()),
        Insn::Alu(op, k) => write!(f, "{:<8} #{}", op.name(), signed(k)),
        Insn::AluX(op) => write!(f, "{:<8} x", op.name()),
        Insn::Negate => write!(f, "{:<8} ", "neg"),
        Insn::Tax => write!(f, "{:<8} ", "tax"),
        Insn::Jump { condition, k, jt, jf } => {
            print_jump(condition, format_args!("#{k:#x}"), [n + 1 + usize::from(jt), n + 1 + usize::from(jf)], f)
        }
        Insn::JumpX { condition, jt, jf } => {
            print_jump(condition, format_args!("x"), [n + 1 + usize::from(jt), n + 1 + usize::from(jf)], f)
        }
        Insn::Txa => write!(f, "{:<8} ", "txa"),
        Insn::LoadXMemory(k) => write!(f, "{:<8} M[{k}]", "ldx"),
        Insn::LoadXImmediate(k) => write!(f, "{:<8} #{k:#x}", "ldx"),
        Insn::JumpBack(k) => write!(f, "{:<8} {}", "ja", (n as u64 + 1).saturating_sub(k.into())),
        Insn::JumpAlways(k) => write!(f, "{:<8} {}", "ja", n as u64 + 1 + u64::from(k)),
        Insn::Return(k) => write!(f, "{:<8} #{}", "ret", signed(k)),
    }
}

fn print_jump(
    condition: Condition,
    operand: fmt::Arguments<'_>,
    [jt, jf]: [usize; 2],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    // `Arguments` ignore a width, hence the string.
    let operand = operand.to_string();
    write!(f, "{:<8} {operand:<16} jt {jt}\tjf {jf}", condition.name())
}

fn load_name(size: Size) -> &'static str {
    match size {
        Size::Byte => "ldb",
        Size::Half => "ldh",
        Size::Word => "ld",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(insns: &[Insn], packet: &[u8]) -> Option<u32> {
        // There is no `ret a`: the value of A is found bit by bit.
        (0..32).try_fold(0, |value, bit| {
            let jump = Insn::Jump { condition: Condition::AnyBit, k: 1 << bit, jt: 0, jf: 1 };
            let program = [insns, &[jump, Insn::Return(2), Insn::Return(1)]].concat();
            match run(&program, packet, 99) {
                0 => None,
                1 => Some(value),
                _ => Some(value | 1 << bit),
            }
        })
    }

    #[test]
    fn instructions_compute_what_bpf_filter_computes() {
        use Insn::{Alu, AluX, LoadAbsolute, LoadHeaderLength, LoadImmediate, LoadIndirect, LoadLength, Negate, Tax};
        let packet = [0x45, 1, 2, 3, 4];
        let max = u32::MAX;
        let cases: &[(&[Insn], Option<u32>)] = &[
            (&[LoadAbsolute(Size::Byte, 4)], Some(4)),
            (&[LoadAbsolute(Size::Half, 3)], Some(0x0304)),
            (&[LoadAbsolute(Size::Word, 1)], Some(0x0102_0304)),
            (&[LoadAbsolute(Size::Byte, 5)], None),
            (&[LoadAbsolute(Size::Half, 4)], None),
            (&[LoadAbsolute(Size::Word, 2)], None),
            (&[LoadAbsolute(Size::Word, max)], None),
            (&[LoadLength], Some(99)),
            (&[LoadHeaderLength(0), LoadImmediate(100), AluX(AluOp::Sub)], Some(80)),
            (&[LoadHeaderLength(5)], None),
            (&[LoadImmediate(2), Tax, LoadIndirect(Size::Byte, 1)], Some(3)),
            (&[LoadImmediate(2), Tax, LoadIndirect(Size::Byte, max)], None),
            (&[LoadImmediate(1), Negate], Some(max)),
            (&[LoadImmediate(max), Alu(AluOp::Add, 2)], Some(1)),
            (&[LoadImmediate(1), Alu(AluOp::Lsh, 31)], Some(1 << 31)),
            (&[LoadImmediate(1), Alu(AluOp::Lsh, 32)], Some(0)),
            (&[LoadImmediate(max), Alu(AluOp::Rsh, 99)], Some(0)),
            (&[LoadImmediate(7), Alu(AluOp::Div, 2)], Some(3)),
            (&[LoadImmediate(7), AluX(AluOp::Div)], None),
            (&[LoadImmediate(7), AluX(AluOp::Mod)], None),
            (&[LoadImmediate(6), Insn::Store(15), LoadImmediate(1), Insn::LoadMemory(15)], Some(6)),
            (&[LoadImmediate(6), Insn::Store(15), LoadImmediate(1), Insn::LoadXMemory(15), Insn::Txa], Some(6)),
        ];
        for (insns, expected) in cases {
            assert_eq!(value(insns, &packet), *expected, "{insns:?}");
        }
    }

    #[test]
    fn no_program_runs_off_its_end() {
        for program in [
            &[][..],
            &[Insn::JumpBack(1)],
            &[Insn::JumpBack(9)],
            &[Insn::Tax],
            &[Insn::JumpAlways(u32::MAX)],
            &[Insn::Store(200), Insn::Return(1)],
        ] {
            assert_eq!(run(program, &[0; 64], 64), 0, "{program:?}");
        }
    }
}
