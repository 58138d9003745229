//! Sets as ipset(8) lists and saves them, and requests as its commands.

use super::Listing;
use super::element::{protocol, text};
use crate::kernel::netfilter::Iptables;
use crate::kernel::netfilter::ipset::{Change, Element, Set, SetType, Spec};
use crate::lab::lex::quote;
use std::fmt::Write;

/// What `ipset list` and `ipset save` print of all sets, or of one.
pub(super) fn sets(rules: &Iptables, one: Option<&str>, how: Listing) -> String {
    let mut out = String::new();
    for set in rules.sets().iter().filter(|s| one.is_none_or(|name| name == s.name)) {
        // Writing to a string does not fail.
        let _ = match how {
            Listing::Names => writeln!(out, "{}", set.name),
            Listing::Save => save(&mut out, set),
            Listing::Plain | Listing::Terse => {
                let blank = if out.is_empty() { "" } else { "\n" };
                out.push_str(blank);
                list(&mut out, set, rules.set_references(&set.name), how == Listing::Plain)
            }
        };
    }
    out
}

fn list(out: &mut String, set: &Set, references: usize, members: bool) -> std::fmt::Result {
    let kind = set.spec.kind;
    writeln!(out, "Name: {}\nType: {}\nRevision: {}", set.name, kind.name(), kind.revision())?;
    writeln!(out, "Header: {}", header(&set.spec))?;
    writeln!(out, "Size in memory: {}\nReferences: {references}", set.memory())?;
    writeln!(out, "Number of entries: {}", set.len())?;
    if members {
        out.push_str("Members:\n");
        for (entry, nomatch) in set.entries() {
            writeln!(out, "{}", text(kind, entry, nomatch))?;
        }
    }
    Ok(())
}

fn save(out: &mut String, set: &Set) -> std::fmt::Result {
    let kind = set.spec.kind;
    writeln!(out, "create {} {} {}", set.name, kind.name(), header(&set.spec))?;
    for (entry, nomatch) in set.entries() {
        writeln!(out, "add {} {}", set.name, text(kind, entry, nomatch))?;
    }
    Ok(())
}

/// What a set was made with.
fn header(spec: &Spec) -> String {
    if spec.kind == SetType::BitmapPort {
        return format!("range {}-{}", spec.range.0, spec.range.1);
    }
    let Spec { hashsize, maxelem, .. } = spec;
    let initval = spec.initval.unwrap_or_default();
    format!("family inet hashsize {hashsize} maxelem {maxelem} bucketsize 12 initval 0x{initval:08x}")
}

/// A change as a command.
pub(in crate::lab) fn command(change: &Change) -> String {
    let one = |name: &Option<String>| name.as_ref().map_or(String::new(), |name| format!(" {}", quote(name)));
    let exists = |exist: &bool| if *exist { " -exist" } else { "" };
    match change {
        Change::Create { name, spec, exist } => {
            format!("ipset{} create {} {}{}", exists(exist), quote(name), spec.kind.name(), options(spec))
        }
        Change::Add { set, element, exist } => {
            format!("ipset{} add {} {}", exists(exist), quote(set), range(element))
        }
        Change::Del { set, element, exist } => {
            format!("ipset{} del {} {}", exists(exist), quote(set), range(element))
        }
        Change::Flush(name) => format!("ipset flush{}", one(name)),
        Change::Destroy(name) => format!("ipset destroy{}", one(name)),
        Change::Swap(a, b) => format!("ipset swap {} {}", quote(a), quote(b)),
        Change::Rename(a, b) => format!("ipset rename {} {}", quote(a), quote(b)),
    }
}

fn options(spec: &Spec) -> String {
    if spec.kind == SetType::BitmapPort {
        return format!(" range {}-{}", spec.range.0, spec.range.1);
    }
    let initval = spec.initval.map_or(String::new(), |initval| format!(" initval 0x{initval:08x}"));
    format!(" hashsize {} maxelem {}{initval}", spec.hashsize, spec.maxelem)
}

/// What an element of any type is typed like: what it has not is zero.
fn range(e: &Element) -> String {
    let (first, last) = e.ips;
    let ips = match e.len {
        Some(len) => format!("{first}/{len}"),
        None if first == last => first.to_string(),
        None => format!("{first}-{last}"),
    };
    let (low, high) = e.ports;
    let ports = if low == high { low.to_string() } else { format!("{low}-{high}") };
    let body = match (first.is_unspecified() && e.len.is_none(), e.proto) {
        (true, _) => ports,
        (false, 0) => ips,
        (false, proto) => format!("{ips},{}:{ports}", protocol(proto)),
    };
    if e.nomatch { body + " nomatch" } else { body }
}
