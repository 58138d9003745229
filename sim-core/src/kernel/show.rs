//! The read door: the kernel's state as data, in the order in which Linux lists it. `lab/` prints it as `ip`, `bridge`
//! and the others do.

pub use super::dev::Stats;
pub use super::rules::RuleInfo;
pub use super::socket::DatagramInfo;
pub use super::socket::tcp::{SkMem, TcpInfo, TcpMetrics, TcpState, TcpTimer};
pub use route_get::{RouteGet, RouteQuery, route_get};

mod route_get;
mod tunnel;

use super::bpf::Program;
use super::conntrack::{Conntrack, Info};
use super::dev::bridge::{Port, PortState};
use super::dev::fdb::FdbEntry;
use super::dev::{ARPHRD_ETHER, Dev, DevKind, IfAddr};
use super::fib::Alias;
use super::neigh::{Neigh, NeighKey};
use super::netfilter::Iptables;
use super::netlink::{FdbRemote, FdbState, Feature, Ipip, NudState, RouteType, Scope, Vxlan};
use super::netns::{NetNs, Spaces};
use super::socket::{self, tcp};
use super::syscall::Fd;
use super::tc::{self, Attach};
use super::timer::{HZ, TICK_NS};
use crate::base::{IfIndex, Mac, NsId, Time};
use ipnet::Ipv4Net;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

/// A device, as RTM_GETLINK shows it.
#[derive(Clone, Debug)]
pub struct Link {
    /// ifi_index
    pub index: IfIndex,
    /// IFLA_IFNAME
    pub name: String,
    /// IFLA_LINK: the other end of a veth, or the device underneath an IPIP tunnel.
    pub peer: Option<Peer>,
    /// ifi_flags: IFF_*.
    pub flags: Flags,
    /// IFLA_MTU
    pub mtu: u32,
    /// IFLA_QDISC: `noqueue`, `pfifo_fast` of a physical nic, or `noop` while the device has never been up.
    pub qdisc: &'static str,
    /// IFLA_MASTER: the bridge that it is a port of, with its name.
    pub master: Option<(IfIndex, String)>,
    /// IFLA_OPERSTATE: `UP`, `DOWN`, `UNKNOWN`, `LOWERLAYERDOWN`.
    pub operstate: &'static str,
    /// IFLA_TXQLEN
    pub txqlen: u32,
    /// ARPHRD_*: 1 Ethernet, 768 IPIP, 772 loopback.
    pub arphrd: u16,
    /// IFLA_ADDRESS
    pub address: Mac,
    /// IFLA_PROMISCUITY: how many want it promiscuous.
    pub promiscuity: u32,
    /// IFLA_ALLMULTI
    pub allmulti: u32,
    /// IFLA_INFO_KIND with its data.
    pub kind: KindInfo,
    /// IFLA_INFO_SLAVE_DATA: its settings as a bridge port.
    pub port: Option<PortInfo>,
    /// IFLA_STATS64
    pub stats: Stats,
    /// IFLA_CARRIER_CHANGES
    pub carrier_changes: u32,
    /// The features that are wanted, as `ethtool -k` lists them (ETHTOOL_A_FEATURES_WANTED).
    pub features: Vec<Feature>,
    /// Its IPv4 addresses in the kernel's order: primaries first.
    pub addrs: Vec<AddrInfo>,
}

/// What a device is joined to.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its index, in its own namespace.
    pub index: IfIndex,
    /// Its name, if it is in the same namespace.
    pub name: Option<String>,
    /// It is in the same namespace and down: `M-DOWN`.
    pub down: bool,
    /// The other namespace; none if it is the same one.
    pub netns: Option<PeerNetns>,
}

/// The namespace that the other end of a veth pair is in.
#[derive(Clone, Debug)]
pub struct PeerNetns {
    /// Its name in /run/netns, if it has one.
    pub name: Option<String>,
    /// IFLA_LINK_NETNSID: the id that it is known by here.
    pub id: u32,
}

/// IFF_* flags that `ip` prints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the kernel")]
pub struct Flags {
    /// IFF_UP
    pub up: bool,
    /// IFF_LOWER_UP; up without it prints NO-CARRIER.
    pub lower_up: bool,
    /// IFF_LOOPBACK
    pub loopback: bool,
    /// IFF_BROADCAST
    pub broadcast: bool,
    /// IFF_POINTOPOINT
    pub point_to_point: bool,
    /// IFF_MULTICAST
    pub multicast: bool,
    /// IFF_NOARP
    pub noarp: bool,
    /// IFF_PROMISC, set by the user.
    pub promisc: bool,
    /// IFF_ALLMULTI, set by the user.
    pub allmulti: bool,
    /// IFF_SLAVE
    pub slave: bool,
}

/// What a device is.
#[derive(Clone, Debug)]
pub enum KindInfo {
    /// lo
    Loopback,
    /// veth
    Veth,
    /// bridge
    Bridge(BridgeInfo),
    /// vxlan
    Vxlan(Box<Vxlan>),
    /// ipip
    Ipip(Box<IpipInfo>),
    /// None: a physical device, with its number on the machine.
    Nic(u32),
}

/// IFLA_IPTUN_*: an IPIP device's settings.
#[derive(Clone, Debug)]
pub struct IpipInfo {
    /// What it was made with.
    pub tunnel: Ipip,
    /// IFLA_MIN_MTU and IFLA_MAX_MTU; zero for no bound.
    pub mtu_bounds: (u32, u32),
}

/// IFLA_BR_*: a bridge's settings and state.
#[derive(Clone, Debug)]
pub struct BridgeInfo {
    /// In hundredths of a second.
    pub ageing_time: u64,
    /// In hundredths of a second.
    pub forward_delay: u64,
    /// IFLA_BR_PRIORITY
    pub priority: u16,
    /// The address in its bridge id; zero while it has no port and no address was set.
    pub id_address: Mac,
    /// IFLA_BR_GROUP_FWD_MASK
    pub group_fwd_mask: u16,
    /// IFLA_BR_MCAST_SNOOPING
    pub mcast_snooping: bool,
    /// IFLA_BR_GC_TIMER in nanoseconds: until the next clean-up; zero when none is due.
    pub gc_timer_ns: u64,
}

/// IFLA_BRPORT_*: a port's settings and state.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "flags of the kernel")]
pub struct PortInfo {
    /// `forwarding`, `disabled`, …
    pub state: &'static str,
    /// IFLA_BRPORT_PRIORITY
    pub priority: u16,
    /// IFLA_BRPORT_COST
    pub cost: u32,
    /// IFLA_BRPORT_NO
    pub number: u16,
    /// IFLA_BRPORT_MODE
    pub hairpin: bool,
    /// IFLA_BRPORT_LEARNING
    pub learning: bool,
    /// IFLA_BRPORT_UNICAST_FLOOD
    pub flood: bool,
    /// IFLA_BRPORT_MCAST_FLOOD
    pub mcast_flood: bool,
    /// IFLA_BRPORT_BCAST_FLOOD
    pub bcast_flood: bool,
    /// IFLA_BRPORT_ISOLATED
    pub isolated: bool,
}

/// An address, as RTM_GETADDR shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddrInfo {
    /// IFA_LOCAL with the prefix length.
    pub local: Ipv4Net,
    /// IFA_ADDRESS, where it differs.
    pub peer: Option<Ipv4Net>,
    /// IFA_BROADCAST
    pub broadcast: Option<Ipv4Addr>,
    /// ifa_scope
    pub scope: Scope,
    /// IFA_F_SECONDARY: another address of the same subnet came first.
    pub secondary: bool,
    /// IFA_LABEL
    pub label: String,
}

/// A route, as RTM_GETROUTE shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteInfo {
    /// rtm_table
    pub table: u32,
    /// rtm_type
    pub kind: RouteType,
    /// RTA_DST
    pub dst: Ipv4Net,
    /// RTA_GATEWAY
    pub via: Option<Ipv4Addr>,
    /// RTA_OIF, by name.
    pub dev: Option<String>,
    /// rtm_protocol: 2 kernel, 3 boot, 4 static.
    pub proto: u8,
    /// rtm_scope
    pub scope: Scope,
    /// RTA_PREFSRC
    pub src: Option<Ipv4Addr>,
    /// RTA_PRIORITY
    pub metric: u32,
    /// RTNH_F_ONLINK
    pub onlink: bool,
    /// RTNH_F_LINKDOWN: the device has no carrier.
    pub linkdown: bool,
    /// RTAX_MTU and whether it is locked.
    pub mtu: Option<(u32, bool)>,
}

/// A neighbour, as RTM_GETNEIGH shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NeighInfo {
    /// NDA_DST
    pub addr: Ipv4Addr,
    /// The device, by name.
    pub dev: String,
    /// NDA_LLADDR; none while it is not valid.
    pub lladdr: Option<Mac>,
    /// ndm_state
    pub state: NudState,
    /// Since it was used last, in nanoseconds (NDA_CACHEINFO).
    pub used_ns: u64,
    /// Since it was confirmed last, in nanoseconds.
    pub confirmed_ns: u64,
    /// Since it changed last, in nanoseconds.
    pub updated_ns: u64,
    /// NDA_PROBES
    pub probes: u32,
}

/// An entry of a bridge's forwarding database or of a device's own address list, as `bridge fdb` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbInfo {
    /// NDA_LLADDR
    pub mac: Mac,
    /// The port, or the bridge itself, by name.
    pub dev: String,
    /// The bridge, by name; none for an entry of the device's own (`self`).
    pub master: Option<String>,
    /// Local to the bridge or of the device's own list (`permanent`), static, or learned.
    pub state: FdbState,
    /// Of a tunnel: the far end that it is behind.
    pub remote: Option<FdbRemote>,
    /// Since a frame was sent to it last, in nanoseconds.
    pub used_ns: u64,
    /// Since it was learned or refreshed, in nanoseconds.
    pub updated_ns: u64,
}

/// A program at a device (struct bpf_link_info).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BpfLink {
    /// Its number.
    pub id: u32,
    /// The program's number.
    pub prog_id: u32,
    /// The device.
    pub dev: (IfIndex, String),
    /// Which way.
    pub attach: Attach,
    /// What runs.
    pub program: Program,
}

/// BPF_LINK_GET_NEXT_ID: the programs at devices of `ns`, by device, on what comes in first.
pub fn bpf_links(spaces: &Spaces, ns: NsId) -> Vec<BpfLink> {
    let link = |d: &Dev, attach| {
        let tc::Link { id, program, .. } = *d.tcx.as_ref()?.at(attach)?;
        Some(BpfLink { id, prog_id: id, dev: (d.index, d.name.clone()), attach, program })
    };
    let both = |d: &Dev| [Attach::Ingress, Attach::Egress].map(|attach| link(d, attach));
    spaces.get(ns).devs().flat_map(both).flatten().collect()
}

/// RTM_GETLINK: the devices of `ns`, by index.
pub fn links(spaces: &Spaces, ns: NsId, now: Time) -> Vec<Link> {
    spaces.get(ns).devs().map(|d| link(spaces, ns, d, now)).collect()
}

fn link(spaces: &Spaces, ns: NsId, d: &Dev, now: Time) -> Link {
    let space = spaces.get(ns);
    let ether = d.arphrd() == ARPHRD_ETHER;
    let name_of = |i: IfIndex| space.dev(i).map(|d| (i, d.name.clone()));
    Link {
        index: d.index,
        name: d.name.clone(),
        peer: peer(spaces, ns, d),
        flags: Flags {
            up: d.up,
            lower_up: d.up && d.carrier,
            loopback: matches!(d.kind, DevKind::Loopback),
            broadcast: ether,
            point_to_point: d.ipip().is_some_and(|t| t.parms.remote.is_some()),
            multicast: ether,
            noarp: d.noarp,
            promisc: d.promisc,
            allmulti: d.allmulti,
            slave: d.synthetic().is_some(),
        },
        mtu: d.mtu,
        qdisc: qdisc(d),
        master: d.master.or(d.synthetic()).and_then(name_of),
        operstate: operstate(d),
        txqlen: d.txqlen,
        arphrd: d.arphrd(),
        address: d.mac,
        promiscuity: u32::from(d.promisc) + u32::from(d.master.is_some()),
        allmulti: u32::from(d.allmulti) + u32::from(d.master.is_some()),
        kind: kind(space, d, space.jiffies(now)),
        port: d.port.as_deref().map(port),
        stats: d.stats,
        carrier_changes: d.carrier_changes,
        features: d.features.clone(),
        addrs: d.addrs.iter().map(address).collect(),
    }
}

/// The other end of a veth pair; none for any other device.
pub fn veth_peer(spaces: &Spaces, ns: NsId, dev: IfIndex) -> Option<(NsId, IfIndex)> {
    spaces.peer(ns, dev)
}

/// attach_default_qdiscs: a virtual device has no queue.
fn qdisc(d: &Dev) -> &'static str {
    match d.kind {
        _ if !d.was_up => "noop",
        DevKind::Netvsc { .. } => "mq",
        DevKind::Nic(_) if d.synthetic().is_some() => "mq",
        DevKind::Nic(_) => "pfifo_fast",
        _ => "noqueue",
    }
}

/// default_operstate, and the bridge's and veth's own.
fn operstate(d: &Dev) -> &'static str {
    match &d.kind {
        _ if !d.up => "DOWN",
        DevKind::Loopback | DevKind::Vxlan(_) | DevKind::Ipip(_) => "UNKNOWN",
        DevKind::Veth(_) if !d.linked => "LOWERLAYERDOWN",
        DevKind::Bridge(b) if d.linked && b.ports.is_empty() => "UNKNOWN",
        _ if d.linked => "UP",
        _ => "DOWN",
    }
}

fn peer(spaces: &Spaces, ns: NsId, d: &Dev) -> Option<Peer> {
    let p = match &d.kind {
        DevKind::Veth(p) => p,
        DevKind::Ipip(t) => {
            let below = spaces.get(ns).dev(t.parms.link?)?;
            return Some(Peer { index: below.index, name: Some(below.name.clone()), down: !below.up, netns: None });
        }
        _ => return None,
    };
    let other = spaces.get(p.ns).dev(p.dev)?;
    let same = p.ns == ns;
    let netns = spaces.get(ns).nsid(p.ns).filter(|_| !same);
    Some(Peer {
        index: p.dev,
        name: same.then(|| other.name.clone()),
        down: same && !other.up,
        netns: netns.map(|id| PeerNetns { name: spaces.file(p.ns).map(str::to_owned), id }),
    })
}

fn kind(space: &NetNs, d: &Dev, now: u64) -> KindInfo {
    match &d.kind {
        DevKind::Loopback => KindInfo::Loopback,
        DevKind::Veth(_) => KindInfo::Veth,
        DevKind::Vxlan(v) => KindInfo::Vxlan(Box::new(tunnel::vxlan(space, v))),
        DevKind::Ipip(t) => KindInfo::Ipip(Box::new(tunnel::ipip(space, t))),
        DevKind::Nic(nic) => KindInfo::Nic(nic.id().0),
        DevKind::Netvsc { vf } => match space.dev(*vf).map(|d| &d.kind) {
            Some(DevKind::Nic(nic)) => KindInfo::Nic(nic.id().0),
            _ => KindInfo::Nic(0),
        },
        DevKind::Bridge(b) => KindInfo::Bridge(BridgeInfo {
            ageing_time: b.ageing_time * 100 / HZ,
            forward_delay: b.forward_delay * 100 / HZ,
            priority: b.priority,
            id_address: b.id_address,
            group_fwd_mask: b.group_fwd_mask,
            mcast_snooping: b.mcast_snooping,
            gc_timer_ns: b.gc_timer.map_or(0, |_| b.gc_due.saturating_sub(now) * TICK_NS),
        }),
    }
}

fn port(p: &Port) -> PortInfo {
    PortInfo {
        state: match p.state {
            PortState::Disabled => "disabled",
            PortState::Forwarding => "forwarding",
        },
        priority: p.priority,
        cost: p.cost,
        number: p.number,
        hairpin: p.hairpin,
        learning: p.learning,
        flood: p.flood,
        mcast_flood: p.mcast_flood,
        bcast_flood: p.bcast_flood,
        isolated: p.isolated,
    }
}

fn address(a: &IfAddr) -> AddrInfo {
    AddrInfo {
        local: a.local,
        peer: a.peer,
        broadcast: a.broadcast,
        scope: a.scope,
        secondary: a.secondary,
        label: a.label.clone(),
    }
}

/// RTM_GETROUTE: the routes of one table, or of all. Those of one address lie together, longer prefixes first
/// (fib_insert_alias).
pub fn routes(spaces: &Spaces, ns: NsId, table: Option<u32>) -> Vec<RouteInfo> {
    let space = spaces.get(ns);
    let tables: Vec<u32> = table.map_or_else(|| space.fib.tables().collect(), |t| vec![t]);
    let info = |table, dst, a: &Alias| RouteInfo {
        table,
        kind: a.kind,
        dst,
        via: a.via,
        dev: a.oif.and_then(|o| space.dev(o)).map(|d| d.name.clone()),
        proto: a.proto,
        scope: a.scope,
        src: a.prefsrc,
        metric: a.metric,
        onlink: a.onlink,
        linkdown: a.linkdown,
        mtu: a.mtu,
    };
    let of = |t: u32| {
        let mut all: Vec<RouteInfo> = space.fib.iter(t).map(|(dst, a)| info(t, dst, a)).collect();
        all.sort_by_key(|r| (r.dst.network(), Reverse(r.dst.prefix_len())));
        all
    };
    tables.into_iter().flat_map(of).collect()
}

/// RTM_GETRULE: the policy rules, in order.
pub fn rules(spaces: &Spaces, ns: NsId) -> Vec<RuleInfo> {
    spaces.get(ns).fib.rules.iter().collect()
}

/// RTM_GETNEIGH: the neighbours of `ns`, by device and address.
pub fn neighs(spaces: &Spaces, ns: NsId, now: Time) -> Vec<NeighInfo> {
    let space = spaces.get(ns);
    let now = space.jiffies(now);
    let ago = |then: u64| now.wrapping_sub(then).saturating_mul(TICK_NS);
    let info = |(key, n): (&NeighKey, &Neigh)| {
        let IpAddr::V4(addr) = key.addr else { return None };
        Some(NeighInfo {
            addr,
            dev: space.dev(key.dev)?.name.clone(),
            lladdr: n.state.is_valid().then_some(n.ha),
            state: n.state,
            used_ns: ago(n.used),
            confirmed_ns: ago(n.confirmed),
            updated_ns: ago(n.updated),
            probes: n.probes as u32,
        })
    };
    space.neigh.iter().filter_map(info).collect()
}

/// RTM_GETNEIGH of family AF_BRIDGE (rtnl_fdb_dump): device by device, what its bridge knows behind it, then the groups
/// that it listens to itself.
pub fn fdb(spaces: &Spaces, ns: NsId, now: Time) -> Vec<FdbInfo> {
    let space = spaces.get(ns);
    let now = space.jiffies(now);
    let ago = |then: u64| now.wrapping_sub(then).saturating_mul(TICK_NS);
    let mut all = vec![];
    for d in space.devs().filter(|d| !matches!(d.kind, DevKind::Loopback)) {
        let own = |mac| FdbInfo {
            mac,
            dev: d.name.clone(),
            master: None,
            state: FdbState::Local,
            remote: None,
            used_ns: 0,
            updated_ns: 0,
        };
        // A driver that lists its own entries lists nothing else of itself.
        let listens = |d: &Dev| match &d.kind {
            DevKind::Vxlan(_) => tunnel::fdb(space, d, ago),
            _ => groups(d).map(own).collect(),
        };
        let known = |br: &Dev, of: Option<IfIndex>| -> Vec<FdbInfo> {
            let entries = br.bridge().into_iter().flat_map(|b| b.fdb.iter());
            let info = |(mac, e): (Mac, &FdbEntry)| FdbInfo {
                mac,
                dev: d.name.clone(),
                master: Some(br.name.clone()),
                state: e.state,
                remote: None,
                used_ns: ago(e.used),
                updated_ns: ago(e.updated),
            };
            entries.filter(|(_, e)| e.dst == of).map(info).collect()
        };
        match d.master.and_then(|br| space.dev(br)) {
            Some(br) => {
                all.extend(known(br, Some(d.index)));
                all.extend(listens(d));
            }
            None => {
                all.extend(listens(d));
                all.extend(known(d, None));
            }
        }
    }
    all
}

/// IPV6_MIN_MTU: a device with less has no IPv6 (addrconf_notify).
const IPV6_MIN_MTU: u32 = 1280;

/// dev->mc: all nodes of IPv6 (joined even while IPv6 is disabled), a snooping bridge's all-snoopers, all hosts while
/// it is up.
fn groups(d: &Dev) -> impl Iterator<Item = Mac> {
    let snoops = d.up && d.bridge().is_some_and(|b| b.mcast_snooping);
    [
        (d.mtu >= IPV6_MIN_MTU, [0x33, 0x33, 0, 0, 0, 0x01]),
        (snoops, [0x01, 0x00, 0x5e, 0, 0, 0x6a]),
        (snoops, [0x33, 0x33, 0, 0, 0, 0x6a]),
        (d.up, [0x01, 0x00, 0x5e, 0, 0, 0x01]),
    ]
    .into_iter()
    .filter_map(|(joined, mac)| joined.then_some(Mac(mac)))
}

/// `ip netns list` in `ns`: the files in /run/netns, the newest first, with the id by which `ns` knows each, if it has
/// one.
pub fn netns_list(spaces: &Spaces, ns: NsId) -> Vec<(String, Option<u32>)> {
    let mut all = namespaces(spaces, ns);
    all.reverse();
    all.into_iter().filter_map(|n| Some((n.file?, n.nsid))).collect()
}

/// A namespace, as lsns(8) tells of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NetnsInfo {
    /// Which.
    pub id: NsId,
    /// The name of its file in /run/netns, if it has one.
    pub file: Option<String>,
    /// The id by which the one who asks knows it (RTM_GETNSID).
    pub nsid: Option<u32>,
}

/// The namespaces of the machine, in order of creation, as `ns` knows them.
pub fn namespaces(spaces: &Spaces, ns: NsId) -> Vec<NetnsInfo> {
    let info = |id| NetnsInfo { id, file: spaces.file(id).map(str::to_owned), nsid: spaces.get(ns).nsid(id) };
    spaces.iter().map(|(id, _)| info(id)).collect()
}

/// The namespace whose file in /run/netns is called `name`.
pub fn netns_by_name(spaces: &Spaces, name: &str) -> Option<NsId> {
    spaces.by_name(name).filter(|id| spaces.file(*id).is_some())
}

/// The connections of a namespace that have not expired, the oldest first.
pub fn conntrack(spaces: &Spaces, ns: NsId, now: Time) -> Vec<Info> {
    let ns = spaces.get(ns);
    ns.ct.list(now, ns.jiffies(now)).collect()
}

/// The connection table of a namespace, to be counted.
pub fn conntrack_table(spaces: &Spaces, ns: NsId) -> &Conntrack {
    &spaces.get(ns).ct
}

/// The rules of a namespace, as iptables-save(8) and `iptables -S` read them.
pub fn iptables(spaces: &Spaces, ns: NsId) -> &Iptables {
    &spaces.get(ns).iptables
}

/// The TCP sockets of a namespace, as `ss -tan` lists them: connections, requests and minisockets among them.
pub fn tcp(spaces: &Spaces, ns: NsId) -> Vec<TcpInfo> {
    tcp::list(spaces.get(ns))
}

/// The UDP and raw sockets of a namespace, as `ss -uwan` lists them.
pub fn datagram_sockets(spaces: &Spaces, ns: NsId) -> Vec<DatagramInfo> {
    socket::datagram_sockets(spaces.get(ns))
}

/// The number that each descriptor of a namespace has in its process: 0 to 2 are its standard files.
///
/// Differs: Linux takes the lowest number that is free; here they count on.
pub fn descriptors(spaces: &Spaces, ns: NsId) -> BTreeMap<Fd, u32> {
    let mut next = BTreeMap::new();
    let number = |(fd, pid)| {
        let next = next.entry(pid).or_insert(2);
        *next += 1;
        (fd, *next)
    };
    socket::descriptors(spaces.get(ns)).map(number).collect()
}

/// The clock of the timers that [`TcpInfo`] names, in jiffies.
pub fn jiffies(spaces: &Spaces, ns: NsId, now: Time) -> u64 {
    spaces.get(ns).jiffies(now)
}

/// A value of /proc/sys by its dotted name; none if there is no such name.
pub fn sysctl(spaces: &Spaces, ns: NsId, name: &str) -> Option<String> {
    spaces.get(ns).sysctl_get(name)
}

/// What [`sysctl`] can read: paths below /proc/sys, in the order in which its folders list them.
pub fn sysctl_paths(spaces: &Spaces, ns: NsId) -> Vec<String> {
    spaces.get(ns).sysctl_paths()
}
