//! Mirrors inet_rtm_getroute of net/ipv4/route.c: which way a packet would go now.

use crate::base::{NsId, Time};
use crate::kernel::errno::Errno;
use crate::kernel::ip::route::{self, Arrival, Flow4};
use crate::kernel::netlink::{RouteType, TABLE_MAIN};
use crate::kernel::netns::Spaces;
use crate::kernel::timer::HZ;
use std::net::Ipv4Addr;

/// RTM_GETROUTE for one destination: `ip route get`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteQuery {
    /// RTA_DST
    pub dst: Ipv4Addr,
    /// RTA_SRC
    pub from: Option<Ipv4Addr>,
    /// RTA_IIF: as if it had been received there.
    pub iif: Option<String>,
    /// RTA_OIF: bound to that device.
    pub oif: Option<String>,
}

/// The answer to a [`RouteQuery`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RouteGet {
    /// rtm_type
    pub kind: RouteType,
    /// RTA_GATEWAY
    pub via: Option<Ipv4Addr>,
    /// RTA_OIF, by name.
    pub dev: String,
    /// rtm_table; main as long as no rule was ever made, since the tables are one until then.
    pub table: u32,
    /// RTA_PREFSRC of what is made here without a source.
    pub src: Option<Ipv4Addr>,
    /// RTCF_DOREDIRECT: its sender would be told of a better router.
    pub redirect: bool,
    /// RTCF_REDIRECTED: a router told of the gateway.
    pub redirected: bool,
    /// The remaining lifetime of an exception, in seconds.
    pub expires_s: Option<u64>,
    /// RTAX_MTU and whether it is locked.
    pub mtu: Option<(u32, bool)>,
}

/// RTM_GETROUTE: the way that a packet would take.
///
/// # Errors
/// The error that the kernel returns instead of a route; ENODEV without such a device.
pub fn route_get(spaces: &Spaces, ns: NsId, now: Time, query: &RouteQuery) -> Result<RouteGet, Errno> {
    let space = spaces.get(ns);
    let index = |name: &Option<String>| match name {
        Some(name) => space.dev_by_name(name).map(Some).ok_or(Errno::ENODEV),
        None => Ok(None),
    };
    let name = |dev| space.dev(dev).map(|d| d.name.clone()).unwrap_or_default();
    let table = |found: Option<u32>| found.filter(|_| space.fib.rules.custom()).unwrap_or(TABLE_MAIN);
    if let Some(iif) = index(&query.iif)? {
        let from = query.from.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let flow = Arrival { dst: query.dst, src: from, mark: 0, dev: iif };
        let r = route::input_slow(space, flow).map_err(|_| Errno::EINVAL)?;
        if let Some(errno) = r.error {
            return Err(errno);
        }
        let via = Some(r.next_hop(query.dst)).filter(|via| *via != query.dst);
        let table = table(r.table());
        let dev = name(r.oif);
        let redirect = r.redirect;
        return Ok(RouteGet {
            kind: r.kind,
            via,
            dev,
            table,
            src: None,
            redirect,
            redirected: false,
            expires_s: None,
            mtu: r.route_mtu(),
        });
    }
    let flow = Flow4 { src: query.from, oif: index(&query.oif)?, ..Flow4::to(query.dst) };
    let r = route::output_slow(space, &flow)?;
    let left = r.exception.map(|e| e.expires.saturating_sub(space.jiffies(now)) / HZ);
    let learned = r.exception.and_then(|e| Some((e.mtu?, e.locked)));
    Ok(RouteGet {
        kind: r.kind,
        via: r.via,
        dev: name(r.oif),
        table: table(r.table()),
        src: query.from.is_none().then_some(r.src),
        redirect: false,
        redirected: r.exception.is_some_and(|e| e.via.is_some()),
        expires_s: left,
        mtu: learned.or(r.route_mtu),
    })
}
