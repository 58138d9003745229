//! brctl(8) of bridge-utils: `show`, `showmacs`, `showstp` (brctl/brctl_disp.c). What this kernel does not have is at
//! Linux's default.

use super::View;
use crate::base::Mac;
use crate::base::time::SEC;
use crate::kernel::netlink::FdbState;
use crate::kernel::show::{self as kernel, BridgeInfo, KindInfo, Link, PortInfo};
use std::fmt::Write;

/// What `brctl` is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BrctlQuery {
    /// `show`: these bridges, or all.
    Show(Vec<String>),
    /// `showmacs`
    Macs(String),
    /// `showstp`
    Stp(String),
}

/// What `brctl` prints.
///
/// # Errors
/// There is no such bridge.
pub(super) fn brctl(view: View<'_>, query: &BrctlQuery) -> Result<String, (String, i32)> {
    let mut links = kernel::links(view.spaces, view.ns, view.now);
    match query {
        BrctlQuery::Show(names) => {
            links.sort_by(|a, b| a.name.cmp(&b.name));
            bridges(&links, names)
        }
        BrctlQuery::Macs(name) => match bridge(&links, name) {
            Some(_) => Ok(macs(view, &links, name)),
            None => Err(("read of forward table failed: No such device".to_owned(), 1)),
        },
        BrctlQuery::Stp(name) => match bridge(&links, name) {
            Some(info) => Ok(stp(&links, name, info)),
            None => Err((format!("bridge {name} does not exist!"), 1)),
        },
    }
}

fn bridge<'a>(links: &'a [Link], name: &str) -> Option<&'a BridgeInfo> {
    match &links.iter().find(|l| l.name == name)?.kind {
        KindInfo::Bridge(info) => Some(info),
        KindInfo::Loopback | KindInfo::Veth | KindInfo::Vxlan(_) | KindInfo::Ipip(_) | KindInfo::Nic(_) => None,
    }
}

/// The ports of a bridge by their names.
fn ports<'a>(links: &'a [Link], bridge: &'a str) -> impl Iterator<Item = (&'a Link, &'a PortInfo)> {
    let of = move |l: &&Link| l.master.as_ref().is_some_and(|(_, name)| name == bridge);
    links.iter().filter(of).filter_map(|l| Some((l, l.port.as_ref()?)))
}

fn bridges(links: &[Link], names: &[String]) -> Result<String, (String, i32)> {
    let mut out = "bridge name\tbridge id\t\tSTP enabled\tinterfaces\n".to_owned();
    let wanted = |l: &&Link| names.is_empty() || names.contains(&l.name);
    for name in names {
        match links.iter().find(|l| l.name == *name) {
            None => return Err((format!("bridge {name} does not exist!"), 1)),
            Some(l) if !matches!(l.kind, KindInfo::Bridge(_)) => {
                return Err((format!("device {name} is not a bridge!"), 1));
            }
            Some(_) => {}
        }
    }
    for link in links.iter().filter(wanted) {
        let KindInfo::Bridge(info) = &link.kind else { continue };
        let names: Vec<&str> = ports(links, &link.name).map(|(port, _)| port.name.as_str()).collect();
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}\t\t{}\tno\t\t{}", link.name, id(info), names.join("\n\t\t\t\t\t\t\t"));
    }
    Ok(out)
}

/// The addresses behind the ports, in their order.
fn macs(view: View<'_>, links: &[Link], bridge: &str) -> String {
    let number = |dev: &str| ports(links, bridge).find(|(port, _)| port.name == *dev).map(|(_, info)| info.number);
    let fdb = kernel::fdb(view.spaces, view.ns, view.now);
    let known = fdb.iter().filter(|e| e.master.as_deref() == Some(bridge));
    let mut entries: Vec<_> = known.filter_map(|e| Some((e, number(&e.dev)?))).collect();
    entries.sort_by_key(|(e, _)| e.mac.0);
    let mut out = "port no\tmac addr\t\tis local?\tageing timer\n".to_owned();
    for (e, number) in entries {
        let local = if e.state == FdbState::Local { "yes" } else { "no" };
        let age = if e.state == FdbState::Dynamic { e.updated_ns } else { 0 };
        let _ = writeln!(out, "{number:>3}\t{}\t{local}\t\t{}", e.mac, seconds(age));
    }
    out
}

fn stp(links: &[Link], name: &str, info: &BridgeInfo) -> String {
    let id = id(info);
    let zero = seconds(0);
    let delay = seconds(hundredths(info.forward_delay));
    let mut out = format!(
        "{name}\n bridge id\t\t{id}\n designated root\t{id}\n root port\t\t   0\t\t\tpath cost\t\t   0\n \
         max age\t\t  20.00\t\t\tbridge max age\t\t  20.00\n hello time\t\t   2.00\t\t\tbridge hello time\t   2.00\n \
         forward delay\t\t{delay}\t\t\tbridge forward delay\t{delay}\n ageing time\t\t{}\n \
         hello timer\t\t{zero}\t\t\ttcn timer\t\t{zero}\n topology change timer\t{zero}\t\t\tgc timer\t\t{}\n \
         flags\t\t\t\n\n\n",
        seconds(hundredths(info.ageing_time)),
        seconds(info.gc_timer_ns),
    );
    for (link, port) in ports(links, name) {
        let port_id = (port.priority & 0x3f) << 10 | port.number & 0x3ff;
        let _ = writeln!(
            out,
            "{} ({})\n port id\t\t{port_id:04x}\t\t\tstate\t\t{:>15}\n designated root\t{id}\tpath cost\t\t{:>4}\n \
             designated bridge\t{id}\tmessage age timer\t{zero}\n designated port\t{port_id:04x}\t\t\t\
             forward delay timer\t{zero}\n designated cost\t{:>4}\t\t\thold timer\t\t{zero}\n flags\t\t\t{}\n",
            link.name,
            port.number,
            port.state,
            port.cost,
            0,
            if port.hairpin { "\n hairpin mode\t\t   1" } else { "" },
        );
    }
    out
}

/// br_show_bridge_id
fn id(info: &BridgeInfo) -> String {
    let Mac(mac) = info.id_address;
    let mac: String = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:04x}.{mac}", info.priority)
}

/// Nanoseconds of hundredths of a second.
fn hundredths(n: u64) -> u64 {
    n * (SEC / 100)
}

/// br_show_timer
fn seconds(ns: u64) -> String {
    format!("{:>4}.{:02}", ns / SEC, ns % SEC / (SEC / 100))
}
