//! `-m comment`, which matches always (net/netfilter/xt_comment.c, extensions/libxt_comment.c).

use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::words::quoted;

/// A comment's bytes are cut to this many (`XT_MAX_COMMENT_LEN` less the final zero).
const MAX_COMMENT: usize = 255;

const SPECS: [Spec; 1] = [Spec::new("comment", 0, Kind::Str).mandatory()];

/// `-m comment`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Comment {
    /// The text.
    pub text: String,
}

impl Extension for Comment {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        let end = (0..=MAX_COMMENT.min(given.arg.len())).rev().find(|n| given.arg.is_char_boundary(*n)).unwrap_or(0);
        self.text = given.arg.get(..end).unwrap_or(given.arg).to_owned();
        Ok(())
    }

    fn list(&self, out: &mut String, _: Listing) {
        out.push_str(&format!(" /* {} */", self.text));
    }

    fn save(&self, out: &mut String) {
        out.push_str(" --comment ");
        out.push_str(&quoted(&self.text));
    }
}
