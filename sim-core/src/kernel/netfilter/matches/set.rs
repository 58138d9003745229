//! `-m set` (net/netfilter/xt_set.c, extensions/libxt_set.c).

use super::bang;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::ipset::{MAX_NAME, Sets};
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Packet;

/// IPSET_DIM_MAX: as many parts.
const MAX_PARTS: usize = 6;

const SPECS: [Spec; 1] = [Spec::new("match-set", 0, Kind::Str).invert().unchecked()];

/// `-m set`
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MatchSet {
    /// The set.
    pub name: String,
    /// Of each part, whether it is the source's.
    pub sources: Vec<bool>,
    /// Not in it.
    pub invert: bool,
}

impl MatchSet {
    /// `set_match_v4`
    pub(super) fn matches(&self, packet: &Packet<'_>, sets: &Sets) -> bool {
        sets.match_set(&self.name, &self.sources, packet) != self.invert
    }

    fn text(&self) -> String {
        let parts: Vec<&str> = self.sources.iter().map(|source| if *source { "src" } else { "dst" }).collect();
        format!("{} {}", self.name, parts.join(","))
    }
}

impl Extension for MatchSet {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        if given.seen & 1 != 0 {
            return Err(Error::usage("--match-set can be specified only once"));
        }
        let Some(parts) = (given.second)().filter(|word| !word.starts_with(['-', '!'])) else {
            return Err(Error::usage("--match-set requires two args."));
        };
        if given.arg.len() >= MAX_NAME {
            let text = format!("setname `{}' too long, max {} characters.", given.arg, MAX_NAME - 1);
            return Err(Error::usage(text));
        }
        // parse_dirs
        for part in parts.split(',').filter(|part| !part.is_empty()) {
            if self.sources.len() >= MAX_PARTS {
                return Err(Error::usage("Can't be more src/dst options than 6."));
            }
            self.sources.push(match part {
                "src" => true,
                "dst" => false,
                _ => {
                    // Its own spelling.
                    let text = "You must spefify (the comma separated list of) 'src' or 'dst'.";
                    return Err(Error::usage(text));
                }
            });
        }
        (self.name, self.invert) = (given.arg.to_owned(), given.invert);
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 { Ok(()) } else { Err(Error::usage("You must specify `--match-set' with proper arguments")) }
    }

    fn list(&self, out: &mut String, _: Listing) {
        bang(out, self.invert);
        out.push_str(" match-set ");
        out.push_str(&self.text());
    }

    fn save(&self, out: &mut String) {
        bang(out, self.invert);
        out.push_str(" --match-set ");
        out.push_str(&self.text());
    }
}
