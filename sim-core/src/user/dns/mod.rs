//! Names: glibc's resolver, the programs that ask (`dig`, `nslookup`, `getent`) and the server that answers (`coredns`).

pub mod conf;
pub mod coredns;
mod exchange;
pub(in crate::user) mod getent;
mod message;
pub mod resolver;

use crate::engine::process::Env;

/// The text of a file of the namespace that a program runs in.
fn file(_: &Env<'_>, _: &str) -> Option<String> {
    None
}
