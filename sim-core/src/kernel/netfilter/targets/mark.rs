//! `-j MARK` (net/netfilter/xt_mark.c, extensions/libxt_MARK.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;

const ANY: u32 = 31;
pub(super) const SPECS: [Spec; 5] = [
    Spec::new("set-xmark", 4, Kind::Mark).excludes(ANY),
    Spec::new("set-mark", 0, Kind::Mark).excludes(ANY),
    Spec::new("and-mark", 1, Kind::Number(0, u32::MAX)).excludes(ANY),
    Spec::new("or-mark", 2, Kind::Number(0, u32::MAX)).excludes(ANY),
    Spec::new("xor-mark", 3, Kind::Number(0, u32::MAX)).excludes(ANY),
];

/// `-j MARK`: clears the bits of the mask, then inverts those of the value.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SetMark {
    /// The value.
    pub mark: u32,
    /// The mask.
    pub mask: u32,
}

impl SetMark {
    /// `mark_tg`
    pub(in crate::kernel::netfilter) fn apply(&self, mark: u32) -> u32 {
        mark & !self.mask ^ self.mark
    }

    /// Value and mask of an option that MARK and CONNMARK share.
    pub(super) fn of(given: &Given<'_, '_>) -> SetMark {
        let ((mark, mask), n) = (given.value.mark(), given.value.number());
        let (mark, mask) = match given.id {
            0 => (mark, mark | mask),
            1 => (0, !n),
            2 => (n, n),
            3 => (n, 0),
            _ => (mark, mask),
        };
        SetMark { mark, mask }
    }
}

impl SetMark {
    /// What it does to a mark, as it is listed.
    pub(super) fn list_op(&self, out: &mut String) {
        let (mark, mask) = (self.mark, self.mask);
        out.push_str(&match (mark, mask) {
            (0, _) => format!(" and {:#x}", !mask),
            _ if mark == mask => format!(" or {mark:#x}"),
            (_, 0) => format!(" xor {mark:#x}"),
            (_, u32::MAX) => format!(" set {mark:#x}"),
            _ => format!(" xset {mark:#x}/{mask:#x}"),
        });
    }
}

impl Extension for SetMark {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        *self = SetMark::of(given);
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 {
            return Ok(());
        }
        Err(Error::usage("MARK: One of the --set-xmark, --{and,or,xor,set}-mark options is required"))
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(" MARK");
        self.list_op(out);
    }

    fn save(&self, out: &mut String) {
        out.push_str(&format!(" --set-xmark {:#x}/{:#x}", self.mark, self.mask));
    }
}
