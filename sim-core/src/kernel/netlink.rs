//! The write door: rtnetlink(7), the bridge's attributes, ip-netns(8) and sysctl(8) as one closed set of requests.
//! Whatever configures the kernel (a typed command, a CNI plugin) does it through here. `lab/` parses commands into
//! requests and prints requests as commands.

mod addr;
mod bpf;
mod ipip;
mod iptables;
mod link;
mod neigh;
mod netns;
mod route;
mod vxlan;

use super::bpf::{Entry, Key, Program};
use super::conntrack::{CtCx, NewConnection, Tuple};
use super::cx::Cx;
use super::errno::{Errno, NlError};
use super::netfilter::Backend;
use super::netfilter::ipset::Change;
use super::netfilter::parse::Command;
use super::netfilter::restore::Restore;
use super::netns::Spaces;
use super::tc::Attach;

use crate::base::{Mac, NsId};
pub(in crate::kernel) use ipip::fallback_tunnel;
use ipnet::Ipv4Net;
pub(in crate::kernel) use link::loopback;
pub use link::{Hardware, probe, valid_name};
pub use netns::boot;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// What a process asks of the kernel in its own network namespace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// RTM_NEWLINK with NLM_F_CREATE: `ip link add`.
    LinkAdd(LinkAdd),
    /// RTM_NEWLINK on an existing device: `ip link set`, `bridge link set`.
    LinkSet {
        /// The device.
        dev: String,
        /// Applied in this order; as on Linux, those before one that fails stay.
        changes: Vec<LinkChange>,
    },
    /// RTM_DELLINK: `ip link del`.
    LinkDel {
        /// The device.
        dev: String,
    },
    /// finit_module of ipip: `modprobe ipip`.
    LoadIpip,
    /// SIOCADDTUNNEL of `tunl0`: `ip tunnel add … mode ipip`.
    TunnelAdd {
        /// Left out, the kernel numbers it: `ipip0`.
        name: Option<String>,
        /// What it is made with.
        tunnel: Box<Ipip>,
    },
    /// SIOCDELTUNNEL: `ip tunnel del`.
    TunnelDel {
        /// The device.
        dev: String,
    },
    /// RTM_NEWADDR: `ip addr add`, `ip addr replace`.
    AddrAdd(Addr),
    /// RTM_DELADDR: `ip addr del`.
    AddrDel(Addr),
    /// `ip addr flush`: all addresses of a device.
    AddrFlush {
        /// The device.
        dev: String,
    },
    /// RTM_NEWROUTE: `ip route add|replace|append|change`.
    RouteAdd(Op, Route),
    /// RTM_DELROUTE: `ip route del`.
    RouteDel(Route),
    /// `ip route flush`.
    RouteFlush(RouteFlush),
    /// RTM_NEWRULE: `ip rule add`.
    RuleAdd(Rule),
    /// RTM_DELRULE: `ip rule del`.
    RuleDel(Rule),
    /// RTM_NEWNEIGH: `ip neigh add|replace|change`.
    NeighAdd(Op, Neigh),
    /// RTM_DELNEIGH: `ip neigh del`.
    NeighDel {
        /// The neighbour's address.
        addr: Ipv4Addr,
        /// The device.
        dev: String,
    },
    /// `ip neigh flush`: entries that are neither permanent nor noarp, of one device or of all.
    NeighFlush {
        /// Only this device's.
        dev: Option<String>,
    },
    /// RTM_NEWNEIGH of family AF_BRIDGE: `bridge fdb add|replace|append`.
    FdbAdd(Op, Fdb),
    /// RTM_DELNEIGH of family AF_BRIDGE: `bridge fdb del`.
    FdbDel(Fdb),
    /// `ip netns add`: a new namespace with a loopback device that is down.
    NetnsAdd {
        /// Its name.
        name: String,
    },
    /// `ip netns del`: the namespace goes with its devices.
    NetnsDel {
        /// Its name.
        name: String,
    },
    /// `sysctl -w`.
    Sysctl {
        /// In dotted form: `net.ipv4.conf.eth0.rp_filter`.
        name: String,
        /// As typed.
        value: String,
    },
    /// IPCTNL_MSG_CT_GET of all connections, before they are read (`conntrack -L`, `-D`): what has expired is deleted
    /// in all namespaces, since they share the kernel's table (ctnetlink_dump_table).
    ConntrackDump,
    /// IPCTNL_MSG_CT_NEW with NLM_F_CREATE and NLM_F_EXCL: `conntrack -I`.
    ConntrackNew(Box<NewConnection>),
    /// IPCTNL_MSG_CT_DELETE of one connection: `conntrack -D`.
    ConntrackDel {
        /// Its original tuple.
        tuple: Tuple,
        /// Its id.
        id: u32,
        /// Who asks for it.
        portid: u32,
    },
    /// IPCTNL_MSG_CT_DELETE of all connections: `conntrack -F`.
    ConntrackFlush {
        /// Who asks for it.
        portid: u32,
    },
    /// A command of iptables(8): the tables are read, changed and put back as one.
    Iptables {
        /// The backend that the program is of; left out, the namespace's own.
        backend: Option<Backend>,
        /// The command.
        command: Box<Command>,
    },
    /// iptables-restore(8): each table of a text in turn, as a whole.
    IptablesRestore {
        /// The backend that the program is of; left out, the namespace's own.
        backend: Option<Backend>,
        /// Options and text.
        restore: Arc<Restore>,
    },
    /// IPSET_CMD_*: `ipset create|add|del|flush|destroy|swap|rename`.
    Ipset(Box<Change>),
    /// bpf(2): programs and maps.
    Bpf(Bpf),
    /// `ethtool -K`: a feature of a device, by ethtool's short name.
    Feature {
        /// The device.
        dev: String,
        /// `tx`, `rx`, `sg`, `tso`, `gso`, `gro`.
        feature: Feature,
        /// On or off.
        on: bool,
    },
}

/// bpf(2), as far as an agent needs it to have its programs run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bpf {
    /// BPF_PROG_LOAD and BPF_LINK_CREATE: the program runs at a device from now on, behind those that are there.
    Link {
        /// The device.
        dev: String,
        /// Which way.
        attach: Attach,
        /// What runs.
        program: Program,
        /// It was compiled to route by itself, with this device to the network (ENABLE_HOST_ROUTING,
        /// DIRECT_ROUTING_DEV_IFINDEX).
        host_routing: Option<String>,
    },
    /// BPF_LINK_DETACH
    Detach {
        /// The device.
        dev: String,
        /// Which way.
        attach: Attach,
    },
    /// BPF_MAP_UPDATE_ELEM
    Update(Entry),
    /// BPF_MAP_DELETE_ELEM
    Delete(Key),
}

/// What a request returns when it succeeds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Nothing to say.
    Done,
}

/// The flags of a request that makes something (NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_APPEND).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// It must not exist.
    Add,
    /// Made or changed.
    Replace,
    /// Put after what is there.
    Append,
    /// It must exist.
    Change,
}

/// `ip link add`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkAdd {
    /// Left out, the kernel numbers the kind: `veth0`, `bridge0`.
    pub name: Option<String>,
    /// Left out, a random address.
    pub address: Option<Mac>,
    /// Left out, the kind's own.
    pub mtu: Option<u32>,
    /// Made in this namespace instead of the caller's (`netns NAME`).
    pub netns: Option<String>,
    /// The bridge to join at once (`master NAME`).
    pub master: Option<String>,
    /// Brought up at once.
    pub up: bool,
    /// What to make.
    pub kind: LinkKind,
}

impl LinkAdd {
    /// A device called `name`, everything else left out.
    pub fn new(name: &str, kind: LinkKind) -> Self {
        let name = Some(name.to_owned());
        LinkAdd { name, address: None, mtu: None, netns: None, master: None, up: false, kind }
    }
}

/// IFLA_INFO_KIND with its data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// drivers/net/veth.c: a pair; the peer is described like a link of its own.
    Veth {
        /// The other end; all left out, the kernel chooses.
        peer: Option<Box<LinkPeer>>,
    },
    /// net/bridge: a bridge, with what its attributes start as.
    Bridge(Vec<BridgeChange>),
    /// drivers/net/vxlan: a tunnel for Ethernet frames in UDP.
    Vxlan(Box<Vxlan>),
    /// net/ipv4/ipip.c: a tunnel for IPv4 packets in IPv4.
    Ipip(Box<Ipip>),
}

/// A VNI has 24 bits (RFC 7348 section 5): it is below this.
pub const VNI_END: u32 = 1 << 24;

/// IFLA_VXLAN_* (RFC 7348): what a VXLAN device is made with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vxlan {
    /// IFLA_VXLAN_ID: the VNI, of 24 bits.
    pub id: u32,
    /// IFLA_VXLAN_LINK: the device underneath, which gives the MTU and sends to `remote`.
    pub link: Option<String>,
    /// IFLA_VXLAN_LOCAL: the outer source; left out, as the route says.
    pub local: Option<Ipv4Addr>,
    /// IFLA_VXLAN_GROUP of one host: where everything goes that the forwarding database has nothing about.
    pub remote: Option<Ipv4Addr>,
    /// IFLA_VXLAN_PORT; left out, 8472, the kernel's own choice. RFC 7348 has 4789.
    pub dst_port: Option<u16>,
    /// IFLA_VXLAN_PORT_RANGE of outer source ports, of which the last is never taken; equal ones mean
    /// `ip_local_port_range`.
    pub src_ports: (u16, u16),
    /// IFLA_VXLAN_LEARNING: the outer source of a frame tells where its inner source is.
    pub learning: bool,
    /// IFLA_VXLAN_AGEING in seconds: what was learned is forgotten then; zero for never.
    pub ageing: u32,
    /// IFLA_VXLAN_TTL and IFLA_VXLAN_TTL_INHERIT
    pub ttl: TunnelTtl,
    /// IFLA_VXLAN_TOS; 1 takes over the inner one.
    pub tos: u8,
    /// IFLA_VXLAN_DF
    pub df: TunnelDf,
    /// IFLA_VXLAN_UDP_CSUM: the outer UDP checksum is there.
    pub udp_csum: bool,
    /// IFLA_VXLAN_COLLECT_METADATA: each frame says where it goes (`external`); the device has no VNI of its own.
    pub external: bool,
}

impl Vxlan {
    /// As iproute2 and the kernel have it where nothing is said.
    pub fn new(id: u32) -> Self {
        Vxlan {
            id,
            link: None,
            local: None,
            remote: None,
            dst_port: None,
            src_ports: (0, 0),
            learning: true,
            ageing: 300,
            ttl: TunnelTtl::Auto,
            tos: 0,
            df: TunnelDf::Unset,
            udp_csum: true,
            external: false,
        }
    }
}

/// IFLA_IPTUN_* (RFC 2003): what an IPIP device is made with.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Ipip {
    /// IFLA_IPTUN_PROTO is IPPROTO_IPIP; otherwise zero, for whatever it can carry.
    pub only_ipv4: bool,
    /// IFLA_IPTUN_LINK: the device underneath.
    pub link: Option<String>,
    /// IFLA_IPTUN_LOCAL: the outer source; left out, as the route says.
    pub local: Option<Ipv4Addr>,
    /// IFLA_IPTUN_REMOTE: the far end; left out, the next hop of a packet's route.
    pub remote: Option<Ipv4Addr>,
    /// IFLA_IPTUN_TTL; zero takes over the inner one.
    pub ttl: u8,
    /// IFLA_IPTUN_TOS; 1 takes over the inner one.
    pub tos: u8,
    /// IFLA_IPTUN_PMTUDISC: DF is always set, and not only where the inner packet has it.
    pub pmtudisc: bool,
}

/// The TTL of a tunnel's outer packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelTtl {
    /// The namespace's own (`ip_default_ttl`).
    Auto,
    /// That of the inner packet.
    Inherit,
    /// This one, from 1.
    Fixed(u8),
}

/// DF of a tunnel's outer packets (VXLAN_DF_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TunnelDf {
    /// VXLAN_DF_UNSET: they may be cut.
    Unset,
    /// VXLAN_DF_SET: they may not.
    Set,
    /// VXLAN_DF_INHERIT: as the inner packet.
    Inherit,
}

/// VETH_INFO_PEER.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LinkPeer {
    /// Left out, `vethN`.
    pub name: Option<String>,
    /// Left out, random.
    pub address: Option<Mac>,
    /// Left out, 1500.
    pub mtu: Option<u32>,
    /// Left out, where the request is made.
    pub netns: Option<String>,
}

/// One attribute of RTM_SETLINK.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkChange {
    /// IFF_UP.
    Up(bool),
    /// IFF_PROMISC, as the user's own reference (`promisc on`).
    Promisc(bool),
    /// IFF_ALLMULTI.
    Allmulti(bool),
    /// IFF_NOARP, inverted (`arp off` sets it).
    Arp(bool),
    /// IFLA_MTU.
    Mtu(u32),
    /// IFLA_ADDRESS.
    Address(Mac),
    /// IFLA_IFNAME.
    Name(String),
    /// IFLA_MASTER; none is `nomaster`.
    Master(Option<String>),
    /// IFLA_NET_NS_FD: moved with its name and, if free there, its index.
    Netns(String),
    /// IFLA_TXQLEN.
    TxQueueLen(u32),
    /// IFLA_INFO_DATA of a bridge: `type bridge …`.
    Bridge(BridgeChange),
    /// IFLA_PROTINFO / IFLA_INFO_SLAVE_DATA of a bridge port: `bridge link set`, `type bridge_slave …`.
    Port(PortChange),
}

/// An attribute of a bridge (IFLA_BR_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BridgeChange {
    /// IFLA_BR_FDB_FLUSH: forget what was learned.
    FdbFlush,
    /// IFLA_BR_AGEING_TIME, in hundredths of a second (USER_HZ), as `ip` takes it.
    AgeingTime(u64),
    /// IFLA_BR_FORWARD_DELAY, in hundredths of a second.
    ForwardDelay(u64),
    /// IFLA_BR_STP_STATE. Only off is simulated.
    StpState(bool),
    /// IFLA_BR_PRIORITY.
    Priority(u16),
    /// IFLA_BR_GROUP_FWD_MASK: which of 01:80:c2:00:00:0X are forwarded all the same.
    GroupFwdMask(u16),
    /// IFLA_BR_MCAST_SNOOPING. Without a querier snooping floods as well, so it changes nothing here.
    McastSnooping(bool),
}

/// An attribute of a bridge port (IFLA_BRPORT_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PortChange {
    /// IFLA_BRPORT_MODE: a frame may leave by the port that it came in by.
    Hairpin(bool),
    /// IFLA_BRPORT_LEARNING.
    Learning(bool),
    /// IFLA_BRPORT_UNICAST_FLOOD.
    Flood(bool),
    /// IFLA_BRPORT_MCAST_FLOOD.
    McastFlood(bool),
    /// IFLA_BRPORT_BCAST_FLOOD.
    BcastFlood(bool),
    /// IFLA_BRPORT_ISOLATED.
    Isolated(bool),
    /// IFLA_BRPORT_COST.
    Cost(u32),
    /// IFLA_BRPORT_PRIORITY.
    Priority(u16),
    /// IFLA_BRPORT_FLUSH: forget what was learned on this port.
    Flush,
}

/// An IPv4 address of a device (struct ifaddrmsg).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addr {
    /// The device.
    pub dev: String,
    /// The address with its prefix length.
    pub local: Ipv4Net,
    /// IFA_ADDRESS of a point-to-point link.
    pub peer: Option<Ipv4Net>,
    /// IFA_BROADCAST. `brd +` is worked out by the one who asks, as iproute2 does.
    pub broadcast: Option<Ipv4Addr>,
    /// Left out: host for 127/8, else global (iproute2's default).
    pub scope: Option<Scope>,
    /// IFA_LABEL; left out, the device's name.
    pub label: Option<String>,
}

/// rtm_scope: how far an address or a route reaches. Ordered as Linux orders it, widest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Scope {
    /// RT_SCOPE_UNIVERSE
    Global = 0,
    /// RT_SCOPE_SITE
    Site = 200,
    /// RT_SCOPE_LINK
    Link = 253,
    /// RT_SCOPE_HOST
    Host = 254,
    /// RT_SCOPE_NOWHERE
    Nowhere = 255,
}

/// rtm_type: what happens to a packet that a route matches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RouteType {
    /// RTN_UNICAST
    Unicast,
    /// RTN_LOCAL
    Local,
    /// RTN_BROADCAST
    Broadcast,
    /// RTN_MULTICAST
    Multicast,
    /// RTN_BLACKHOLE
    Blackhole,
    /// RTN_UNREACHABLE
    Unreachable,
    /// RTN_PROHIBIT
    Prohibit,
    /// RTN_THROW
    Throw,
}

/// The table that holds local and broadcast routes (RT_TABLE_LOCAL).
pub const TABLE_LOCAL: u32 = 255;
/// The table that holds everything else (RT_TABLE_MAIN).
pub const TABLE_MAIN: u32 = 254;
/// The table that is looked into last (RT_TABLE_DEFAULT).
pub const TABLE_DEFAULT: u32 = 253;

/// An IPv4 route (struct rtmsg).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// The destination; `0.0.0.0/0` is `default`.
    pub dst: Ipv4Net,
    /// Left out, unicast.
    pub kind: RouteType,
    /// Left out, main (local for local and broadcast routes).
    pub table: Option<u32>,
    /// RTA_GATEWAY.
    pub via: Option<Ipv4Addr>,
    /// RTA_OIF.
    pub dev: Option<String>,
    /// RTA_PREFSRC.
    pub src: Option<Ipv4Addr>,
    /// RTA_PRIORITY.
    pub metric: Option<u32>,
    /// Left out: host for local, link for multicast and without a gateway, else global (iproute2's default).
    pub scope: Option<Scope>,
    /// rtm_protocol; left out, boot (3), as iproute2 sends it.
    pub proto: Option<u8>,
    /// RTNH_F_ONLINK: the gateway need not be reachable by another route.
    pub onlink: bool,
    /// RTAX_MTU and whether it is locked.
    pub mtu: Option<(u32, bool)>,
}

impl Route {
    /// A unicast route to `dst`, everything else left out.
    pub fn to(dst: Ipv4Net) -> Self {
        Route {
            dst,
            kind: RouteType::Unicast,
            table: None,
            via: None,
            dev: None,
            src: None,
            metric: None,
            scope: None,
            proto: None,
            onlink: false,
            mtu: None,
        }
    }
}

/// Which routes `ip route flush` takes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RouteFlush {
    /// `cache`: the exceptions (PMTU, redirects) instead of routes.
    pub cache: bool,
    /// Left out, main.
    pub table: Option<u32>,
    /// Only those that leave by it.
    pub dev: Option<String>,
    /// Only this destination exactly.
    pub dst: Option<Ipv4Net>,
}

/// A policy rule (struct fib_rule_hdr).
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rule {
    /// FRA_PRIORITY; left out, in front of the second rule that there is.
    pub pref: Option<u32>,
    /// What it does; left out, table main. To delete: any.
    pub action: Option<RuleAction>,
    /// Which packets it is about. To delete, what is left out may be anything.
    pub selector: RuleMatch,
}

/// Which packets a rule is about; what is left out, any.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RuleMatch {
    /// FIB_RULE_INVERT: all others.
    pub not: bool,
    /// FRA_SRC
    pub from: Option<Ipv4Net>,
    /// FRA_DST
    pub to: Option<Ipv4Net>,
    /// FRA_FWMARK with FRA_FWMASK.
    pub fwmark: Option<(u32, u32)>,
    /// FRA_IIFNAME; `lo` for what is made here.
    pub iif: Option<String>,
    /// FRA_OIFNAME: what is bound to a device.
    pub oif: Option<String>,
}

/// FR_ACT_*
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RuleAction {
    /// FR_ACT_TO_TBL: look into this table; if nothing is found there, the next rule decides.
    Table(u32),
    /// FR_ACT_BLACKHOLE
    Blackhole,
    /// FR_ACT_UNREACHABLE
    Unreachable,
    /// FR_ACT_PROHIBIT
    Prohibit,
}

/// A neighbour (struct ndmsg).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neigh {
    /// Its address.
    pub addr: Ipv4Addr,
    /// Its hardware address.
    pub lladdr: Option<Mac>,
    /// The device.
    pub dev: String,
    /// Left out: permanent, as iproute2 sends it.
    pub state: Option<NudState>,
}

/// NUD_*: the state of a neighbour entry (RFC 4861's states, which Linux uses for ARP too).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum NudState {
    /// Made, not used.
    None = 0x00,
    /// Being asked for.
    Incomplete = 0x01,
    /// Known to be there.
    Reachable = 0x02,
    /// Known, but not confirmed for a while.
    Stale = 0x04,
    /// In use again; the upper layers may still confirm it.
    Delay = 0x08,
    /// Being asked, at its known address.
    Probe = 0x10,
    /// Did not answer.
    Failed = 0x20,
    /// Needs no ARP.
    Noarp = 0x40,
    /// Set by hand.
    Permanent = 0x80,
}

/// An entry of a forwarding database (struct ndmsg of family AF_BRIDGE).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fdb {
    /// The address.
    pub mac: Mac,
    /// The port (with `master`) or the device itself (with `self`).
    pub dev: String,
    /// NTF_MASTER: the entry belongs to the bridge whose port `dev` is. Otherwise NTF_SELF.
    pub master: bool,
    /// NUD_PERMANENT (`local`), NUD_NOARP (`static`) or NUD_REACHABLE (`dynamic`).
    pub state: FdbState,
    /// Of a tunnel: where the address is.
    pub remote: Option<FdbRemote>,
}

/// The far end of a tunnel that an address is behind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FdbRemote {
    /// NDA_DST
    pub dst: Ipv4Addr,
    /// NDA_PORT; left out, the tunnel's own.
    pub port: Option<u16>,
    /// NDA_VNI; left out, the tunnel's own.
    pub vni: Option<u32>,
    /// NDA_IFINDEX: the device to leave by, by name (`via`).
    pub via: Option<String>,
}

/// How long an entry of a forwarding database lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdbState {
    /// The bridge's own address: frames to it go up. `bridge fdb add … permanent` (or `local`).
    Local,
    /// Does not age.
    Static,
    /// Ages.
    Dynamic,
}

/// A feature of `ethtool -K`, by its short name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Feature {
    /// rx-checksumming
    Rx,
    /// tx-checksumming
    Tx,
    /// scatter-gather
    Sg,
    /// tcp-segmentation-offload
    Tso,
    /// generic-segmentation-offload
    Gso,
    /// generic-receive-offload
    Gro,
}

/// Carries out `request` for a process in namespace `ns`.
///
/// # Errors
/// The error that Linux 6.18 returns for it; nothing is changed then.
pub fn request(spaces: &mut Spaces, cx: &mut Cx<'_>, ns: NsId, request: &Request) -> Result<Reply, NlError> {
    cx.ns = ns;
    // rt_genid_bump_all
    cx.cpu.rt_genid += 1;
    match request {
        Request::LinkAdd(link) => link::add(spaces, cx, ns, link)?,
        Request::LinkSet { dev, changes } => link::set(spaces, cx, ns, dev, changes)?,
        Request::LinkDel { dev } => link::del(spaces, cx, ns, dev)?,
        Request::LoadIpip => ipip::load(spaces, cx)?,
        Request::TunnelAdd { name, tunnel } => ipip::tunnel_add(spaces, cx, ns, name.as_deref(), tunnel)?,
        Request::TunnelDel { dev } => ipip::tunnel_del(spaces, cx, ns, dev)?,
        Request::AddrAdd(a) => addr::add(spaces.get_mut(ns), cx, a)?,
        Request::AddrDel(a) => addr::del(spaces.get_mut(ns), cx, a)?,
        Request::AddrFlush { dev } => addr::flush(spaces.get_mut(ns), cx, dev)?,
        Request::RouteAdd(op, r) => route::add(spaces.get_mut(ns), *op, r)?,
        Request::RouteDel(r) => route::del(spaces.get_mut(ns), r)?,
        Request::RouteFlush(which) => route::flush(spaces.get_mut(ns), which)?,
        Request::RuleAdd(rule) => {
            let ns = spaces.get_mut(ns);
            let mut rules = std::mem::take(&mut ns.fib.rules);
            let added = rules.add(rule, |name| ns.dev_by_name(name));
            ns.fib.rules = rules;
            added?;
        }
        Request::RuleDel(rule) => spaces.get_mut(ns).fib.rules.remove(rule)?,
        Request::NeighAdd(op, n) => neigh::add(spaces.get_mut(ns), cx, *op, n)?,
        Request::NeighDel { addr, dev } => neigh::del(spaces.get_mut(ns), cx, *addr, dev)?,
        Request::NeighFlush { dev } => neigh::flush(spaces.get_mut(ns), cx, dev.as_deref())?,
        Request::FdbAdd(op, e) => link::fdb_add(spaces.get_mut(ns), cx, *op, e)?,
        Request::FdbDel(e) => link::fdb_del(spaces.get_mut(ns), e)?,
        Request::NetnsAdd { name } => netns::add(spaces, cx, name)?,
        Request::NetnsDel { name } => netns::del(spaces, cx, name)?,
        Request::Sysctl { name, value } => spaces.get_mut(ns).sysctl_set(name, value)?,
        Request::ConntrackDump => spaces.conntrack_dump(cx),
        Request::ConntrackNew(new) => spaces.get_mut(ns).ct.create(&CtCx::of(cx), new)?,
        Request::ConntrackDel { tuple, id, portid } => {
            if !spaces.get_mut(ns).ct.del(&CtCx::of(cx), tuple, *id, *portid) {
                return Err(Errno::ENOENT.into());
            }
        }
        Request::ConntrackFlush { portid } => spaces.get_mut(ns).ct.flush(&CtCx::of(cx), *portid),
        Request::Iptables { backend, command } => iptables::run(spaces.get_mut(ns), cx, *backend, command)?,
        Request::IptablesRestore { backend, restore } => iptables::restore(spaces.get_mut(ns), cx, *backend, restore)?,
        Request::Ipset(change) => iptables::change_sets(spaces.get_mut(ns), cx, change)?,
        Request::Bpf(b) => bpf::request(spaces.get_mut(ns), b)?,
        Request::Feature { dev, feature, on } => link::feature(spaces, ns, dev, *feature, *on)?,
    }
    Ok(Reply::Done)
}

/// The device called `name`.
fn find(ns: &super::netns::NetNs, name: &str) -> Result<crate::base::IfIndex, NlError> {
    ns.dev_by_name(name).ok_or(NlError::from(Errno::ENODEV))
}
