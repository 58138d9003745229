//! Names: glibc's resolver, the programs that ask (`dig`, `nslookup`, `getent`) and the server that answers (`coredns`).

pub mod conf;
pub mod coredns;
pub(in crate::user) mod dig;
mod exchange;
pub(in crate::user) mod getent;
mod lookup;
mod message;
pub mod resolver;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;

use crate::engine::process::Env;

/// The text of a file of the namespace that a program runs in.
fn file(_: &Env<'_>, _: &str) -> Option<String> {
    None
}
