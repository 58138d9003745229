//! ipip_newlink, ip_tunnel_newlink and ip_tunnel_ctl (net/ipv4/ipip.c, net/ipv4/ip_tunnel.c).

use super::{find, link};
use crate::base::{IfIndex, Mac, NsId};
use crate::kernel::cx::Cx;
use crate::kernel::dev::ipip::{HEADROOM, Ipip, MAX_MTU, Parms};
use crate::kernel::dev::{Dev, DevKind};
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::ip::route::{self, Flow4};
use crate::kernel::netns::{MAX_IFINDEX, NetNs, Spaces};

/// What the fallback device is called.
const FALLBACK: &str = "tunl0";
/// ETH_DATA_LEN: what is there underneath where nothing else is known.
const ETH_DATA_LEN: u32 = 1500;

/// request_module: with the module every namespace gets its fallback device, also those to come.
pub(super) fn load(spaces: &mut Spaces, cx: &mut Cx<'_>) -> Result<(), NlError> {
    if spaces.ipip {
        return Ok(());
    }
    let here: Vec<NsId> = spaces.iter().map(|(id, _)| id).collect();
    let full = |ns: &NetNs| ns.dev_by_name(FALLBACK).is_some() || ns.next_index().0 >= MAX_IFINDEX;
    if here.iter().any(|id| full(spaces.get(*id))) {
        return Err(NlError::ext(Errno::EOPNOTSUPP, "Unknown device type"));
    }
    spaces.ipip = true;
    for id in here {
        fallback_tunnel(spaces.get_mut(id), cx);
    }
    Ok(())
}

/// ip_tunnel_init_net: the fallback device of a namespace, down.
pub(in crate::kernel) fn fallback_tunnel(ns: &mut NetNs, cx: &mut Cx<'_>) {
    let index = register(ns, cx, FALLBACK.to_owned(), Parms::default(), None);
    ns.ipip.fallback = Some(index);
}

/// register_netdevice with ip_tunnel_bind_dev and ip_tunnel_add.
fn register(ns: &mut NetNs, cx: &mut Cx<'_>, name: String, parms: Parms, mtu: Option<u32>) -> IfIndex {
    let index = ns.next_index();
    let mtu = mtu.unwrap_or_else(|| room(ns, &parms));
    let mut d = link::device(ns, index, name, Mac::ZERO, mtu, DevKind::Ipip(Box::new(Ipip::new(parms))));
    (d.carrier, d.linked, d.noarp) = (true, true, true);
    cx.sink.device(&d.describe(ns.id));
    ns.insert(d);
    ns.ipip.all.insert(0, index);
    index
}

/// ip_tunnel_bind_dev: the MTU of the device that leads to the far end, less the outer header.
fn room(ns: &mut NetNs, parms: &Parms) -> u32 {
    let flow = parms.remote.map(|remote| Flow4 { src: parms.local, oif: parms.link, ..Flow4::to(remote) });
    let way = flow.and_then(|flow| route::output(ns, &flow).ok()).map(|r| r.oif);
    let below = way.or(parms.link).and_then(|at| ns.dev(at)).map_or(ETH_DATA_LEN, |d| d.mtu.min(MAX_MTU + HEADROOM));
    below.saturating_sub(HEADROOM).max(link::ETH_MIN_MTU)
}

fn parms(ns: &NetNs, t: &super::Ipip, bounded: bool) -> Result<Parms, NlError> {
    let link = t.link.as_deref().map(|name| find(ns, name)).transpose()?;
    let (local, remote) = (t.local.filter(|a| !a.is_unspecified()), t.remote.filter(|a| !a.is_unspecified()));
    if remote.is_some_and(|r| r.is_multicast()) {
        return Err(NlError::ext(Errno::EOPNOTSUPP, "Groups as a tunnel's far end are not simulated"));
    }
    let super::Ipip { only_ipv4, ttl, tos, pmtudisc, .. } = *t;
    let parms = Parms { only_ipv4, link, local, remote, ttl, tos, pmtudisc, bounded };
    // ip_tunnel_find
    let same = |p: &Parms| (p.local, p.remote, p.link) == (local, remote, link);
    if ns.devs().filter_map(Dev::ipip).any(|t| same(&t.parms)) {
        return Err(Errno::EEXIST.into());
    }
    Ok(parms)
}

/// ipip_newlink: `ip link add … type ipip`. It takes any MTU, and the nearest that is possible.
pub(super) fn add(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    name: String,
    mtu: Option<u32>,
    t: &super::Ipip,
) -> Result<IfIndex, NlError> {
    let parms = parms(ns, t, false)?;
    link::new_index(ns)?;
    Ok(register(ns, cx, name, parms, mtu.map(|mtu| mtu.clamp(link::ETH_MIN_MTU, MAX_MTU))))
}

/// ip_tunnel_ctl with SIOCADDTUNNEL, of the device `tunl0`, whose name loads the module (dev_load).
pub(super) fn tunnel_add(
    spaces: &mut Spaces,
    cx: &mut Cx<'_>,
    ns: NsId,
    name: Option<&str>,
    t: &super::Ipip,
) -> Result<(), NlError> {
    load(spaces, cx)?;
    let space = spaces.get_mut(ns);
    // With a TTL of its own only path MTU discovery ends a packet that goes round in circles.
    let parms = parms(space, &super::Ipip { pmtudisc: t.pmtudisc || t.ttl != 0, ..t.clone() }, true)?;
    let name = link::new_name(space, name, "ipip", &[])?;
    link::new_index(space)?;
    register(space, cx, name, parms, None);
    Ok(())
}

/// ip_tunnel_ctl with SIOCDELTUNNEL: the fallback device stays.
pub(super) fn tunnel_del(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, dev: &str) -> Result<(), NlError> {
    let space = spaces.get(ns);
    let index = find(space, dev)?;
    if space.dev(index).and_then(Dev::ipip).is_none() {
        return Err(Errno::EOPNOTSUPP.into());
    }
    if space.ipip.fallback == Some(index) {
        return Err(Errno::EPERM.into());
    }
    link::unregister(spaces, cx, ns, index);
    Ok(())
}

/// __ip_tunnel_change_mtu. None for other devices.
pub(super) fn check_mtu(d: &Dev, mtu: u32) -> Option<Result<(), NlError>> {
    let bounded = d.ipip()?.parms.bounded;
    let said = |text: &'static str| if bounded { NlError::ext(Errno::EINVAL, text) } else { Errno::EINVAL.into() };
    Some(match mtu {
        0..link::ETH_MIN_MTU => Err(said("mtu less than device minimum")),
        _ if mtu > MAX_MTU => Err(said("mtu greater than device maximum")),
        _ => Ok(()),
    })
}
