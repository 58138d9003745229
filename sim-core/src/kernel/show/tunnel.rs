//! Mirrors vxlan_fill_info and vxlan_fdb_dump of drivers/net/vxlan/vxlan_core.c, and ipip_fill_info of net/ipv4/ipip.c.

use super::{FdbInfo, IpipInfo};
use crate::kernel::dev::Dev;
use crate::kernel::dev::ipip::{Ipip, MAX_MTU};
use crate::kernel::dev::vxlan::Vxlan;
use crate::kernel::dev::vxlan::fdb::{Entry, Remote};
use crate::kernel::netlink::{self, FdbRemote};
use crate::kernel::netns::NetNs;

/// What a VXLAN device was made with.
pub(super) fn vxlan(space: &NetNs, v: &Vxlan) -> netlink::Vxlan {
    let c = v.cfg;
    netlink::Vxlan {
        id: c.vni,
        link: c.lower.and_then(|l| Some(space.dev(l)?.name.clone())),
        local: c.local,
        remote: c.remote,
        dst_port: Some(c.dst_port),
        src_ports: c.src_ports,
        learning: c.learning,
        ageing: c.ageing,
        ttl: c.ttl,
        tos: c.tos,
        df: c.df,
        udp_csum: c.udp_csum,
        external: c.external,
    }
}

/// How an IPIP device is set.
pub(super) fn ipip(space: &NetNs, t: &Ipip) -> IpipInfo {
    let p = t.parms;
    let tunnel = netlink::Ipip {
        only_ipv4: p.only_ipv4,
        link: p.link.and_then(|l| Some(space.dev(l)?.name.clone())),
        local: p.local,
        remote: p.remote,
        ttl: p.ttl,
        tos: p.tos,
        pmtudisc: p.pmtudisc,
    };
    IpipInfo { tunnel, mtu_bounds: if p.bounded { (68, MAX_MTU) } else { (0, 0) } }
}

/// vxlan_fdb_dump: a line for each far end of each address.
pub(super) fn fdb(space: &NetNs, d: &Dev, ago: impl Fn(u64) -> u64) -> Vec<FdbInfo> {
    let Some(v) = d.vxlan() else { return vec![] };
    let line = |mac, e: &Entry, r: &Remote| FdbInfo {
        mac,
        dev: d.name.clone(),
        master: None,
        state: e.state,
        remote: (!r.ip.is_unspecified()).then(|| FdbRemote {
            dst: r.ip,
            port: r.port,
            vni: r.vni,
            via: r.oif.and_then(|i| Some(space.dev(i)?.name.clone())),
        }),
        used_ns: ago(e.used),
        updated_ns: ago(e.updated),
    };
    v.fdb.iter().flat_map(|(mac, e)| e.remotes.iter().map(|r| line(mac, e, r)).collect::<Vec<_>>()).collect()
}
