//! Mirrors the next hop exceptions of net/ipv4/route.c: what ICMP has told about single destinations of a route, a
//! better gateway or a smaller path MTU. Read RFC 1191 and RFC 1122 section 3.2.2.2 before editing.

use super::route::{self, Flow4};
use crate::base::IfIndex;
use crate::kernel::cx::Cx;
use crate::kernel::dev::IfAddr;
use crate::kernel::neigh::{self, NeighKey};
use crate::kernel::netlink::RouteType;
use crate::kernel::netns::NetNs;
use crate::kernel::timer::HZ;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// As many destinations one namespace remembers something of; then the oldest is forgotten. Linux has 2048 buckets of
/// five for each next hop.
pub const MAX_EXCEPTIONS: usize = 2048 * 5;
/// ip_rt_gc_timeout: how long a redirect is followed, in ticks.
const REDIRECT_TIMEOUT: u64 = 300 * HZ;

/// The exceptions of one namespace, by next hop and destination. They go with their route.
#[derive(Clone, Debug, Default)]
pub struct Exceptions {
    entries: BTreeMap<(u64, Ipv4Addr), Exception>,
    /// fnhe_genid: how often they have changed.
    pub genid: u64,
}

/// struct fib_nh_exception. Times in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::kernel) struct Exception {
    /// fnhe_gw
    pub via: Option<Ipv4Addr>,
    /// fnhe_pmtu
    pub mtu: Option<u32>,
    /// fnhe_mtu_locked: the path MTU is below min_pmtu, so that DF is not set any more.
    pub locked: bool,
    /// fnhe_expires
    pub expires: u64,
    stamp: u64,
}

impl Exceptions {
    /// find_exception
    pub(in crate::kernel) fn find(&self, nh: u64, dst: Ipv4Addr, now: u64) -> Option<Exception> {
        self.entries.get(&(nh, dst)).filter(|e| now <= e.expires).copied()
    }

    /// fnhe_genid_bump: `ip route flush cache`.
    pub(in crate::kernel) fn flush(&mut self) {
        self.genid += 1;
        self.entries.clear();
    }

    /// update_or_create_fnhe
    fn upsert(&mut self, nh: u64, dst: Ipv4Addr, new: Exception, now: u64) {
        self.genid += 1;
        let old = self.find(nh, dst, now);
        if self.entries.len() >= MAX_EXCEPTIONS && old.is_none() {
            let oldest = self.entries.iter().min_by_key(|(_, e)| e.stamp).map(|(key, _)| *key);
            oldest.and_then(|key| self.entries.remove(&key));
        }
        let merged = match old {
            Some(old) => Exception {
                via: new.via.or(old.via),
                mtu: new.mtu.or(old.mtu),
                locked: if new.mtu.is_some() { new.locked } else { old.locked },
                ..new
            },
            None => new,
        };
        self.entries.insert((nh, dst), merged);
    }
}

/// __ip_rt_update_pmtu: a router says that what `flow` sends is too long.
pub(in crate::kernel) fn update_pmtu(ns: &mut NetNs, flow: &Flow4, mtu: u32) {
    let Ok(r) = route::output(ns, flow) else { return };
    let (now, sysctl) = (ns.now, ns.ipv4.sysctl);
    let Some(nh) = r.nh.filter(|_| !r.mtu_locked && r.mtu >= mtu) else { return };
    let least = sysctl.min_pmtu as u32;
    let (mtu, locked) = if mtu < least { (r.mtu.min(least), true) } else { (mtu, false) };
    let lifetime = sysctl.mtu_expires as u64 * HZ;
    let known = r.exception.filter(|e| e.mtu == Some(mtu) && !locked);
    if known.is_some_and(|e| now + lifetime / 2 < e.expires) {
        return;
    }
    let e = Exception { via: None, mtu: Some(mtu), locked, expires: now + lifetime, stamp: now };
    ns.ipv4.exceptions.upsert(nh, flow.dst, e, now);
}

/// __ip_do_redirect: `old`, a router on `dev`, says that `new` is nearer to what `flow` goes to.
pub(in crate::kernel) fn redirect(
    ns: &mut NetNs,
    cx: &mut Cx<'_>,
    dev: IfIndex,
    (old, new): (Ipv4Addr, Ipv4Addr),
    flow: &Flow4,
) {
    let Ok(r) = route::output(ns, flow) else { return };
    // Only the router that is used may say so.
    if r.via != Some(old) || !acceptable(ns, dev, old, new) {
        return;
    }
    let key = NeighKey::v4(r.oif, new);
    if !neigh::valid(ns, key) {
        neigh::resolve(ns, cx, key);
        return;
    }
    if let Some(nh) = r.nh {
        let now = ns.now;
        let e = Exception { via: Some(new), mtu: None, locked: false, expires: now + REDIRECT_TIMEOUT, stamp: now };
        ns.ipv4.exceptions.upsert(nh, flow.dst, e, now);
    }
}

/// What a redirect must be like to be followed.
fn acceptable(ns: &NetNs, dev: IfIndex, old: Ipv4Addr, new: Ipv4Addr) -> bool {
    let impossible = new == old || new.is_multicast() || new.is_broadcast() || new.octets()[0] == 0;
    if impossible || !ns.accepts_redirects(dev) {
        return false;
    }
    if ns.conf_or(dev, |c| c.shared_media) {
        return ns.fib.addr_type(new, None) == RouteType::Unicast;
    }
    let known = !ns.conf_or(dev, |c| c.secure_redirects) || ns.fib.is_gateway(new, dev);
    known && on_link(ns, dev, new, Some(old))
}

/// inet_addr_onlink: both addresses lie in one of the device's subnets.
pub(in crate::kernel) fn on_link(ns: &NetNs, dev: IfIndex, a: Ipv4Addr, b: Option<Ipv4Addr>) -> bool {
    let mut subnets = ns.dev(dev).into_iter().flat_map(|d| d.addrs.iter().map(IfAddr::subnet));
    subnets.any(|net| net.contains(&a) && b.is_none_or(|b| net.contains(&b)))
}
