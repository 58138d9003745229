//! What iptables(8) asks of the kernel (net/ipv4/netfilter/ip_tables.c: do_ipt_set_ctl;
//! net/netfilter/nf_tables_api.c: nf_tables_commit). Both backends change tables in user space and put them in place as
//! a whole; here the kernel does both.

use crate::base::rng::Purpose;
use crate::kernel::cx::Cx;
use crate::kernel::errno::NlError;
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::error::{Error, Refused};
use crate::kernel::netfilter::ipset::Change;
use crate::kernel::netfilter::parse::Command;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netns::NetNs;

/// One command; all of it is done or nothing. What one that lists prints, [`show`](crate::kernel::show::iptables) has.
pub(super) fn run(ns: &mut NetNs, cx: &mut Cx<'_>, backend: Option<Backend>, command: &Command) -> Result<(), NlError> {
    choose(ns, backend)?;
    let tables = &mut ns.iptables;
    let done = if command.lists() { tables.prepare(command) } else { tables.run(command.clone()).map(drop) };
    tell(ns, cx);
    done.map_err(|error| refused(ns, error, None))
}

/// A text of iptables-restore; tables before the line that is wrong are in place.
pub(super) fn restore(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    backend: Option<Backend>,
    restore: &Restore,
) -> Result<(), NlError> {
    choose(ns, backend)?;
    let done = ns.iptables.restore(restore);
    tell(ns, cx);
    done.map_err(|(line, error)| refused(ns, error, Some(line)))
}

/// What ipset(8) asks for (net/netfilter/ipset/ip_set_core.c).
pub(super) fn change_sets(ns: &mut NetNs, cx: &mut Cx<'_>, change: &Change) -> Result<(), NlError> {
    let made = ns.iptables.sets().iter().count() as u64;
    let initval = cx.prf.draw(Purpose::SetInitval, &[cx.salt(), made, cx.jiffies()]) as u32;
    ns.iptables.change_sets(change, initval).map_err(NlError::from)
}

/// The listeners hear of the tables as they are now.
fn tell(ns: &NetNs, cx: &mut Cx<'_>) {
    for table in ns.iptables.shared() {
        cx.sink.table(ns.id, table);
    }
}

fn choose(ns: &mut NetNs, backend: Option<Backend>) -> Result<(), NlError> {
    let Some(backend) = backend else { return Ok(()) };
    ns.iptables.choose(backend).map_err(|error| Refused { error, line: None, backend }.into())
}

fn refused(ns: &NetNs, error: Error, line: Option<u32>) -> NlError {
    Refused { error, line, backend: ns.iptables.backend() }.into()
}
