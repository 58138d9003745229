//! vxlan_newlink and the forwarding database's requests (drivers/net/vxlan/vxlan_core.c).

use super::{Fdb, Op, VNI_END, find, link};
use crate::base::{IfIndex, Mac};
use crate::kernel::dev::Dev;
use crate::kernel::dev::vxlan::fdb::{MAX_REMOTES, Remote};
use crate::kernel::dev::vxlan::{Config, DEFAULT_PORT, HEADROOM, Vxlan};
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::netns::NetNs;
use std::net::Ipv4Addr;

/// vxlan_nl2conf and vxlan_config_validate.
pub(super) fn config(ns: &NetNs, v: &super::Vxlan) -> Result<Config, NlError> {
    if v.id >= VNI_END {
        return Err(Errno::ERANGE.into());
    }
    if v.remote.is_some_and(|r| r.is_multicast()) {
        return Err(NlError::ext(Errno::EOPNOTSUPP, "Groups as a tunnel's far end are not simulated"));
    }
    if v.local.is_some_and(|l| l.is_multicast()) {
        return Err(NlError::ext(Errno::EINVAL, "Local address cannot be multicast"));
    }
    if v.src_ports.0 > v.src_ports.1 {
        return Err(NlError::ext(Errno::EINVAL, "Invalid source port range"));
    }
    let lower = v.link.as_deref().map(|name| find(ns, name)).transpose()?;
    let unspecified = |a: &Ipv4Addr| !a.is_unspecified();
    let cfg = Config {
        vni: v.id,
        lower,
        local: v.local.filter(unspecified),
        remote: v.remote.filter(unspecified),
        dst_port: v.dst_port.unwrap_or(DEFAULT_PORT),
        src_ports: v.src_ports,
        learning: v.learning,
        ageing: v.ageing,
        ttl: v.ttl,
        tos: v.tos,
        df: v.df,
        udp_csum: v.udp_csum,
        external: v.external,
    };
    if ns.devs().filter_map(Dev::vxlan).any(|o| (o.cfg.vni, o.cfg.dst_port) == (cfg.vni, cfg.dst_port)) {
        return Err(NlError::ext(Errno::EEXIST, "A VXLAN device with the specified VNI already exists"));
    }
    Ok(cfg)
}

/// vxlan_config_apply: what the device underneath leaves room for, and no more.
pub(super) fn mtu(ns: &NetNs, cfg: &Config, asked: Option<u32>) -> u32 {
    let most = cfg.lower.and_then(|l| most_mtu(ns, l));
    match (asked, most) {
        (Some(mtu), most) => mtu.min(most.unwrap_or(mtu)),
        (None, most) => most.unwrap_or(1500),
    }
}

/// vxlan_change_mtu
///
/// # Errors
/// EINVAL for more than the device underneath leaves room for.
pub(super) fn check_mtu(ns: &NetNs, index: IfIndex, mtu: u32) -> Result<(), NlError> {
    let lower = ns.dev(index).and_then(Dev::vxlan).and_then(|v| v.cfg.lower);
    match lower.and_then(|l| most_mtu(ns, l)) {
        Some(most) if mtu > most => Err(Errno::EINVAL.into()),
        _ => Ok(()),
    }
}

fn most_mtu(ns: &NetNs, lower: IfIndex) -> Option<u32> {
    Some(ns.dev(lower)?.mtu.saturating_sub(HEADROOM).max(link::ETH_MIN_MTU))
}

/// The VXLAN devices that send by `lower` only: they go with it (vxlan_handle_lowerdev_unregister).
pub(super) fn upper(ns: &NetNs, lower: IfIndex) -> Vec<IfIndex> {
    let on = |d: &&Dev| d.vxlan().is_some_and(|v| v.cfg.lower == Some(lower));
    ns.devs().filter(on).map(|d| d.index).collect()
}

/// The device of an entry with `self`, if it is a VXLAN device.
pub(super) fn of<'a>(ns: &'a mut NetNs, e: &Fdb) -> Option<&'a mut Vxlan> {
    let index = ns.dev_by_name(&e.dev).filter(|_| !e.master)?;
    ns.dev_mut(index)?.vxlan_mut()
}

/// vxlan_fdb_parse: the far end; none is 0.0.0.0, where nothing can be sent.
pub(super) fn remote(ns: &NetNs, e: &Fdb) -> Result<Remote, NlError> {
    let Some(r) = &e.remote else {
        return Ok(Remote { ip: Ipv4Addr::UNSPECIFIED, port: None, vni: None, oif: None });
    };
    if r.vni.is_some_and(|vni| vni >= VNI_END) {
        return Err(Errno::EINVAL.into());
    }
    let oif = r.via.as_deref().map(|name| find(ns, name)).transpose()?;
    Ok(Remote { ip: r.dst, port: r.port, vni: r.vni, oif })
}

/// vxlan_fdb_update: entries of everything unknown and of groups may have several far ends, others have one.
pub(super) fn fdb_add(v: &mut Vxlan, op: Op, e: &Fdb, mut remote: Remote, now: u64) -> Result<(), NlError> {
    if e.remote.is_none() {
        return Err(Errno::EINVAL.into());
    }
    remote.port = remote.port.filter(|p| *p != v.cfg.dst_port);
    remote.vni = remote.vni.filter(|vni| *vni != v.cfg.vni);
    let several = e.mac.is_multicast() || e.mac == Mac::ZERO;
    if let Some(old) = v.fdb.find_mut(e.mac) {
        match op {
            Op::Add => return Err(Errno::EEXIST.into()),
            Op::Replace if several => return Err(no_replace()),
            Op::Append if several && !old.remotes.contains(&remote) => {
                if old.remotes.len() >= MAX_REMOTES {
                    return Err(Errno::ENOSPC.into());
                }
                old.remotes.push(remote);
            }
            Op::Replace => old.remotes[0] = remote,
            Op::Append | Op::Change => {}
        }
        (old.state, old.updated) = (e.state, now);
        return Ok(());
    }
    match op {
        Op::Change => return Err(Errno::ENOENT.into()),
        Op::Replace if several => return Err(no_replace()),
        _ if v.fdb.is_full() => return Err(Errno::ENOSPC.into()),
        Op::Add | Op::Append | Op::Replace => v.fdb.set(e.mac, e.state, remote, now),
    }
    Ok(())
}

fn no_replace() -> NlError {
    NlError::ext(Errno::EOPNOTSUPP, "Cannot replace non-unicast fdb entries")
}

/// vxlan_fdb_delete: one far end, or with the last one the entry. One that is not there is no error.
pub(super) fn fdb_del(v: &mut Vxlan, e: &Fdb, mut remote: Remote) -> Result<(), NlError> {
    remote.port = remote.port.filter(|p| *p != v.cfg.dst_port);
    remote.vni = remote.vni.filter(|vni| *vni != v.cfg.vni);
    let old = v.fdb.find_mut(e.mac).ok_or(Errno::ENOENT)?;
    if !remote.ip.is_unspecified() {
        let Some(at) = old.remotes.iter().position(|r| *r == remote) else { return Ok(()) };
        if old.remotes.len() > 1 {
            old.remotes.remove(at);
            return Ok(());
        }
    }
    v.fdb.remove(e.mac);
    Ok(())
}
