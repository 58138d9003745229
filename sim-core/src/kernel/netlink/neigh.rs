//! neigh_add and neigh_delete of net/core/neighbour.c.

use super::{Neigh, NudState, Op, find};
use crate::kernel::cx::Cx;
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::neigh::{self, NeighKey, UpdateFlags};
use crate::kernel::netns::NetNs;
use std::net::Ipv4Addr;

pub(super) fn add(ns: &mut NetNs, cx: &mut Cx<'_>, op: Op, n: &Neigh) -> Result<(), NlError> {
    let dev = find(ns, &n.dev)?;
    let key = NeighKey::v4(dev, n.addr);
    let parms = ns.dev(dev).ok_or(Errno::ENODEV)?.neigh;
    let state = n.state.unwrap_or(NudState::Permanent);
    match (ns.neigh.get(key).is_some(), op) {
        (true, Op::Add) => return Err(Errno::EEXIST.into()),
        (false, Op::Change) => return Err(Errno::ENOENT.into()),
        (false, _) => {
            ns.neigh.create(key, &parms, cx.jiffies()).ok_or(Errno::ENOBUFS)?;
        }
        (true, _) => {}
    }
    let known = ns.neigh.get(key).is_some_and(|n| n.state.is_valid());
    if n.lladdr.is_none() && state.is_valid() && !known {
        // The entry stays, as on Linux.
        return Err(NlError::ext(Errno::EINVAL, "No link layer address given"));
    }
    neigh::update(ns, cx, key, n.lladdr, state, UpdateFlags { override_: true, admin: true }, None);
    Ok(())
}

pub(super) fn del(ns: &mut NetNs, cx: &mut Cx<'_>, addr: Ipv4Addr, dev: &str) -> Result<(), NlError> {
    let key = NeighKey::v4(find(ns, dev)?, addr);
    if ns.neigh.get(key).is_none() {
        return Err(Errno::ENOENT.into());
    }
    // What waits for it is told first, as if nobody had answered.
    neigh::update(ns, cx, key, None, NudState::Failed, UpdateFlags { override_: true, admin: true }, None);
    neigh::remove(ns, cx, |k, _| *k == key);
    Ok(())
}

/// What `ip neigh flush` deletes: everything but permanent and noarp entries.
pub(super) fn flush(ns: &mut NetNs, cx: &mut Cx<'_>, dev: Option<&str>) -> Result<(), NlError> {
    let dev = dev.map(|d| find(ns, d)).transpose()?;
    neigh::remove(ns, cx, |k, n| {
        dev.is_none_or(|d| k.dev == d) && !matches!(n.state, NudState::Permanent | NudState::Noarp)
    });
    Ok(())
}
