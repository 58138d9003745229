//! `-j CONNMARK` (net/netfilter/xt_connmark.c, extensions/libxt_CONNMARK.c).

use super::mark::SetMark;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;

const OPS: u32 = 127;
const SPECS: [Spec; 10] = [
    Spec::new("set-xmark", 4, Kind::Mark).excludes(OPS),
    Spec::new("set-mark", 0, Kind::Mark).excludes(OPS),
    Spec::new("and-mark", 1, Kind::Number(0, u32::MAX)).excludes(OPS),
    Spec::new("or-mark", 2, Kind::Number(0, u32::MAX)).excludes(OPS),
    Spec::new("xor-mark", 3, Kind::Number(0, u32::MAX)).excludes(OPS),
    Spec::new("save-mark", 5, Kind::None).excludes(OPS),
    Spec::new("restore-mark", 6, Kind::None).excludes(OPS),
    Spec::new("ctmask", 7, Kind::Number(0, u32::MAX)).excludes(1 << 9),
    Spec::new("nfmask", 8, Kind::Number(0, u32::MAX)).excludes(1 << 9),
    Spec::new("mask", 9, Kind::Number(0, u32::MAX)).excludes(1 << 7 | 1 << 8),
];

/// What CONNMARK does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarkOp {
    /// Changes the connection's mark by itself.
    Set(SetMark),
    /// Copies the packet's mark to the connection.
    Save,
    /// Copies the connection's mark to the packet.
    Restore,
}

/// `-j CONNMARK`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnMark {
    /// What it does.
    pub op: MarkOp,
    /// The bits of the packet's mark that are copied.
    pub nfmask: u32,
    /// The bits of the connection's mark that are copied.
    pub ctmask: u32,
}

impl Default for ConnMark {
    fn default() -> Self {
        ConnMark { op: MarkOp::Save, nfmask: u32::MAX, ctmask: u32::MAX }
    }
}

impl ConnMark {
    /// `connmark_tg_shift` without a shift: the marks of packet and connection afterwards.
    pub(in crate::kernel::netfilter) fn apply(&self, packet: u32, connection: u32) -> (u32, u32) {
        match self.op {
            MarkOp::Set(set) => (packet, set.apply(connection)),
            MarkOp::Save => (packet, connection & !self.ctmask ^ packet & self.nfmask),
            MarkOp::Restore => (packet & !self.nfmask ^ connection & self.ctmask, connection),
        }
    }
}

impl Extension for ConnMark {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let n = given.value.number();
        match given.id {
            5 => self.op = MarkOp::Save,
            6 => self.op = MarkOp::Restore,
            7 => self.ctmask = n,
            8 => self.nfmask = n,
            9 => (self.nfmask, self.ctmask) = (n, n),
            _ => self.op = MarkOp::Set(SetMark::of(given)),
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen & OPS == 0 {
            return Err(Error::usage("CONNMARK target: No operation specified"));
        }
        if let MarkOp::Set(_) = self.op {
            // They are read and not used.
            (self.nfmask, self.ctmask) = (u32::MAX, u32::MAX);
        }
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" CONNMARK");
        let (nf, ct) = (self.nfmask, self.ctmask);
        match self.op {
            MarkOp::Set(set) => set.list_op(out),
            MarkOp::Save | MarkOp::Restore => {
                let save = self.op == MarkOp::Save;
                out.push_str(if save { " save" } else { " restore" });
                out.push_str(&match (nf == ct, save) {
                    (true, _) if nf == u32::MAX => String::new(),
                    (true, _) => format!(" mask {nf:#x}"),
                    (false, true) => format!(" nfmask {nf:#x} ctmask ~{ct:#x}"),
                    (false, false) => format!(" ctmask {ct:#x} nfmask ~{nf:#x}"),
                });
            }
        }
    }

    fn save(&self, out: &mut String) {
        let masks = format!(" --nfmask {:#x} --ctmask {:#x}", self.nfmask, self.ctmask);
        match self.op {
            MarkOp::Set(set) => set.save(out),
            MarkOp::Save => out.push_str(&format!(" --save-mark{masks}")),
            MarkOp::Restore => out.push_str(&format!(" --restore-mark{masks}")),
        }
    }
}
