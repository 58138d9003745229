//! What the `show` commands print. The text functions take what the kernel shows as data, so that they need no kernel.

mod bpf;
mod brctl;
mod bridge;
mod conntrack;
mod dmesg;
mod ethtool;
mod files;
mod link;
pub mod lsns;
mod neigh;
mod nettools;
mod printer;
mod route;
mod rule;
mod sockets;
pub mod ss;
mod tc;
mod tunnel;

pub use bpf::{bpf_links, bpf_net};
pub use brctl::BrctlQuery;
pub use bridge::{FdbFilter, bridge_fdb, bridge_links};
pub(in crate::lab) use conntrack::date;
pub use conntrack::{
    conntrack_deleted, conntrack_entries, conntrack_event, conntrack_events_shown, conntrack_file, conntrack_flushed,
    conntrack_shown, conntrack_stats,
};
pub use dmesg::Dmesg;
pub use ethtool::features;
pub use files::file;
pub use link::{addrs, links};
pub use neigh::neighs;
pub use nettools::{ArpQuery, RouteColumns, SocketQuery};
pub use route::{PROTOCOLS, route_get, routes};
pub use rule::rules;
pub use sockets::Protocol as SocketProtocol;
pub use tc::qdiscs;

pub(super) use route::{destination, kind, protocol, scope, table};
pub(super) use rule::{action, prefix, selector};

use crate::base::{NsId, Pid, Time};
use crate::engine::process::Tasks;
use crate::kernel::netlink::{NudState, TABLE_MAIN};
use crate::kernel::netns::Spaces;
use crate::kernel::printk::KernelLog;
use crate::kernel::show as kernel;
use crate::kernel::show::RouteQuery;
use ipnet::Ipv4Net;
use printer::Printer;

/// A command that prints what the kernel shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Show {
    /// How.
    pub format: Format,
    /// What.
    pub what: What,
}

/// The options that change how a text looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "options of the command line")]
pub struct Format {
    /// How many times `-s` was given.
    pub stats: u32,
    /// `-d`
    pub details: bool,
    /// `-o`: a backslash where a line would end inside a record.
    pub oneline: bool,
    /// `-br`
    pub brief: bool,
    /// `-j`
    pub json: bool,
    /// `-p`
    pub pretty: bool,
}

/// What is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// `ip link show`
    Links(LinkFilter),
    /// `ip addr show`
    Addrs {
        /// Which devices.
        filter: LinkFilter,
        /// `-4`: devices with an IPv4 address, without their hardware address.
        inet_only: bool,
    },
    /// `ip route show`
    Routes(RouteFilter),
    /// `ip route get`
    RouteGet(RouteQuery),
    /// `ip rule show`
    Rules,
    /// `ip neigh show`
    Neighs(NeighFilter),
    /// `ip netns list`
    Netns,
    /// `ip netns identify`: of this process, or of the command itself.
    NetnsIdentify(Option<u32>),
    /// `ip netns pids`: in the namespace of this name.
    NetnsPids(String),
    /// `ip tunnel show`
    Tunnels {
        /// The one with this name.
        dev: Option<String>,
    },
    /// `lsns`
    Namespaces(lsns::Query),
    /// `bridge link show`
    BridgeLinks {
        /// Only this port.
        dev: Option<String>,
    },
    /// `bridge fdb show`
    Fdb(FdbFilter),
    /// `brctl`
    Brctl(BrctlQuery),
    /// `tc qdisc show`
    Qdiscs {
        /// Only this device's.
        dev: Option<String>,
    },
    /// `ethtool -k`
    Features {
        /// Of this device.
        dev: String,
    },
    /// `bpftool link`
    BpfLinks,
    /// `bpftool net`
    BpfNet,
    /// `ss`
    Sockets(Box<ss::Query>),
    /// `netstat`
    Netstat(SocketQuery),
    /// `netstat -i`
    Interfaces {
        /// `-a`: those that are down, too.
        all: bool,
    },
    /// `route`, `netstat -r`
    RouteTable {
        /// What is told of each.
        columns: RouteColumns,
        /// `-n`
        numeric: bool,
    },
    /// `arp`
    Arp(ArpQuery),
    /// `hostname -I`
    HostAddresses,
    /// `dmesg`
    Dmesg(Dmesg),
}

/// What a command looks at: a namespace of a machine, now.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The machine's namespaces.
    pub spaces: &'a Spaces,
    /// The namespace.
    pub ns: NsId,
    /// The machine's clock.
    pub now: Time,
    /// The machine's processes.
    pub tasks: &'a Tasks,
    /// The log of the machine's kernel.
    pub log: &'a KernelLog,
}

/// Which devices are shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkFilter {
    /// The one with this name.
    pub dev: Option<String>,
    /// Those that are up.
    pub up: bool,
    /// The ports of this bridge.
    pub master: Option<String>,
    /// Those of this type: `bridge`, `veth`, `bridge_slave`.
    pub kind: Option<String>,
}

/// Which routes are shown. A field that is the same for all of them is not printed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteFilter {
    /// Of which tables.
    pub tables: Tables,
    /// Those that leave by this device.
    pub dev: Option<String>,
    /// Those made by this protocol.
    pub proto: Option<u8>,
    /// Those whose destination compares so with a prefix.
    pub dst: Option<(DstMatch, Ipv4Net)>,
}

/// The tables whose routes are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Tables {
    /// No table was named, so main.
    #[default]
    Main,
    /// The one with this number.
    One(u32),
    /// All; each route says which one it is in.
    All,
}

/// How the destination of a route compares with a prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DstMatch {
    /// It lies within the prefix.
    Root,
    /// It holds the prefix.
    Match,
    /// It is the prefix.
    Exact,
}

/// Which neighbours are shown.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NeighFilter {
    /// Those of this device, whose name is not printed then.
    pub dev: Option<String>,
    /// Those with an address in this network.
    pub to: Option<Ipv4Net>,
    /// Those in one of these states; if it is empty, in all but `none` and `noarp`.
    pub states: Vec<NudState>,
    /// `nud all`: in any state.
    pub all_states: bool,
}

impl Show {
    /// It lists the processes of namespaces, and is one of them itself.
    pub(super) fn counts_itself(&self) -> bool {
        matches!(self.what, What::Namespaces(_) | What::NetnsPids(_))
    }

    /// What the command prints.
    ///
    /// # Errors
    /// What it prints to standard error instead, without the end of the line, and its exit status.
    pub fn text(&self, view: View<'_>) -> Result<String, (String, i32)> {
        let (View { spaces, ns, now, .. }, format) = (view, self.format);
        Ok(match &self.what {
            What::Links(filter) => links(&kernel::links(spaces, ns, now), filter, format),
            What::Addrs { filter, inet_only } => addrs(&kernel::links(spaces, ns, now), filter, *inet_only, format),
            What::Routes(filter) => {
                let table = match filter.tables {
                    Tables::Main => Some(TABLE_MAIN),
                    Tables::One(id) => Some(id),
                    Tables::All => None,
                };
                let all = kernel::routes(spaces, ns, table);
                // Tables are made when they get their first route.
                if all.is_empty() && table.is_some_and(|id| id != TABLE_MAIN) {
                    return Err(("Error: ipv4: FIB table does not exist.\nDump terminated".to_owned(), 2));
                }
                routes(&all, filter, format)
            }
            What::RouteGet(query) => match kernel::route_get(spaces, ns, now, query) {
                Ok(route) => route_get(query, &route, format),
                Err(errno) => return Err((format!("RTNETLINK answers: {errno}"), 2)),
            },
            What::Rules => rules(&kernel::rules(spaces, ns), format),
            What::Neighs(filter) => neighs(&kernel::neighs(spaces, ns, now), filter, format),
            What::Netns => netns(&kernel::netns_list(spaces, ns), format),
            What::NetnsIdentify(pid) => netns_identify(view, *pid)?,
            What::NetnsPids(name) => netns_pids(view, name)?,
            What::Tunnels { dev } => tunnel::tunnels(&kernel::links(spaces, ns, now), dev.as_deref()),
            What::Namespaces(query) => lsns::lsns(view, query),
            What::BridgeLinks { dev } => bridge_links(&kernel::links(spaces, ns, now), dev.as_deref(), format),
            What::Fdb(filter) => {
                let links = kernel::links(spaces, ns, now);
                bridge_fdb(&kernel::fdb(spaces, ns, now), &links, filter, format)
            }
            What::Brctl(query) => brctl::brctl(view, query)?,
            What::Qdiscs { dev } => qdiscs(&kernel::links(spaces, ns, now), dev.as_deref(), format),
            What::Features { dev } => {
                let links = kernel::links(spaces, ns, now);
                links.iter().find(|l| l.name == *dev).map(features).unwrap_or_default()
            }
            What::BpfLinks => bpf_links(kernel::bpf_links(spaces, ns)),
            What::BpfNet => bpf_net(&kernel::bpf_links(spaces, ns)),
            What::Sockets(query) => ss::ss(view, query),
            What::Netstat(query) => nettools::netstat(view, query),
            What::Interfaces { all } => nettools::interfaces(view, *all),
            What::RouteTable { columns, numeric } => nettools::routes(view, *columns, *numeric),
            What::Arp(query) => nettools::arp(view, query)?,
            What::HostAddresses => nettools::host_addresses(view),
            What::Dmesg(how) => dmesg::dmesg(view.log, *how),
        })
    }
}

/// `ip netns list`: names, with the id that the namespace has here if it has one.
pub fn netns(list: &[(String, Option<u32>)], format: Format) -> String {
    let mut p = Printer::new(format);
    for (name, id) in list {
        p.object("");
        p.field("name", name.as_str(), format_args!("{name}"));
        if let Some(id) = id {
            p.field("id", *id, format_args!(" (id: {id})"));
        }
        p.text(format_args!("\n"));
        p.end();
    }
    p.finish()
}

fn no_namespace() -> (String, i32) {
    ("Cannot open network namespace: No such file or directory".to_owned(), 1)
}

/// `ip netns identify`: an empty line for a namespace without a name.
fn netns_identify(view: View<'_>, pid: Option<u32>) -> Result<String, (String, i32)> {
    let ns = match pid {
        Some(pid) => view.tasks.get(&Pid(pid)).map(|task| task.ns).ok_or_else(no_namespace)?,
        None => view.ns,
    };
    let all = kernel::namespaces(view.spaces, view.ns);
    let file = all.into_iter().find(|n| n.id == ns).and_then(|n| n.file);
    Ok(file.unwrap_or_default() + "\n")
}

/// `ip netns pids`
fn netns_pids(view: View<'_>, name: &str) -> Result<String, (String, i32)> {
    let ns = kernel::netns_by_name(view.spaces, name).ok_or_else(no_namespace)?;
    Ok(view.tasks.iter().filter(|(_, task)| task.ns == ns).map(|(pid, _)| format!("{}\n", pid.0)).collect())
}

impl Format {
    /// The end of a line inside a record (`_SL_`).
    fn newline(self) -> char {
        if self.oneline { '\\' } else { '\n' }
    }
}

#[cfg(test)]
mod tests;
