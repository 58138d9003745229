//! /proc/sys/net as named values (net/ipv4/devinet.c, net/core/neighbour.c, net/ipv4/sysctl_net_ipv4.c,
//! net/bridge/br_netfilter_hooks.c).
//!
//! IPv6 is not simulated: `net.ipv6.conf.*.disable_ipv6` reads 1 and can only be set to 1.

use super::conntrack::Conntrack;
use super::errno::Errno;
use super::ip::Ipv4Sysctl;
use super::neigh::NeighParms;
use super::netns::NetNs;
use crate::base::IfIndex;

/// net.ipv4.conf.*: settings of one device, of `all` or of `default`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the kernel's own names: Documentation/networking/ip-sysctl.rst")]
pub struct Ipv4Conf {
    pub forwarding: i32,
    pub accept_local: i32,
    pub arp_accept: i32,
    pub arp_announce: i32,
    pub arp_filter: i32,
    pub arp_ignore: i32,
    pub arp_notify: i32,
    pub proxy_arp: i32,
    pub route_localnet: i32,
    pub rp_filter: i32,
    pub promote_secondaries: i32,
    pub accept_redirects: i32,
    pub secure_redirects: i32,
    pub send_redirects: i32,
    pub shared_media: i32,
    pub src_valid_mark: i32,
}

impl Default for Ipv4Conf {
    /// ipv4_devconf and ipv4_devconf_dflt.
    fn default() -> Self {
        Ipv4Conf {
            forwarding: 0,
            accept_local: 0,
            arp_accept: 0,
            arp_announce: 0,
            arp_filter: 0,
            arp_ignore: 0,
            arp_notify: 0,
            proxy_arp: 0,
            route_localnet: 0,
            rp_filter: 0,
            promote_secondaries: 0,
            accept_redirects: 1,
            secure_redirects: 1,
            send_redirects: 1,
            shared_media: 1,
            src_valid_mark: 0,
        }
    }
}

/// A namespace's settings that belong to no device.
#[derive(Clone, Debug)]
pub struct Sysctl {
    pub(in crate::kernel) all: Ipv4Conf,
    pub(in crate::kernel) default: Ipv4Conf,
    pub(in crate::kernel) neigh_default: NeighParms,
    pub(in crate::kernel) ip_default_ttl: u8,
    pub(in crate::kernel) icmp_echo_ignore_all: bool,
    pub(in crate::kernel) icmp_echo_ignore_broadcasts: bool,
    /// First and last group that may open ping sockets; none while first is above last.
    pub(in crate::kernel) ping_group_range: (u32, u32),
    /// First and last port that the kernel chooses by itself.
    pub(in crate::kernel) ip_local_port_range: (u16, u16),
    /// The first port that everybody may bind to.
    pub(in crate::kernel) ip_unprivileged_port_start: u16,
    pub(in crate::kernel) bridge: BridgeNf,
}

/// net.bridge.bridge-nf-*: brnf_table of net/bridge/br_netfilter_hooks.c.
#[derive(Clone, Copy, Debug)]
pub(in crate::kernel) struct BridgeNf {
    pub call_arptables: i32,
    pub call_ip6tables: i32,
    pub call_iptables: i32,
    pub filter_pppoe_tagged: i32,
    pub filter_vlan_tagged: i32,
    pub pass_vlan_input_dev: i32,
}

impl Default for BridgeNf {
    /// br_netfilter_sysctl_default
    fn default() -> Self {
        BridgeNf {
            call_arptables: 1,
            call_ip6tables: 1,
            call_iptables: 1,
            filter_pppoe_tagged: 0,
            filter_vlan_tagged: 0,
            pass_vlan_input_dev: 0,
        }
    }
}

type BridgeField = fn(&mut BridgeNf) -> &mut i32;

/// net.bridge.bridge-nf-NAME
const BRIDGE: &[(&str, BridgeField)] = &[
    ("call-arptables", |b| &mut b.call_arptables),
    ("call-ip6tables", |b| &mut b.call_ip6tables),
    ("call-iptables", |b| &mut b.call_iptables),
    ("filter-pppoe-tagged", |b| &mut b.filter_pppoe_tagged),
    ("filter-vlan-tagged", |b| &mut b.filter_vlan_tagged),
    ("pass-vlan-input-dev", |b| &mut b.pass_vlan_input_dev),
];

impl Default for Sysctl {
    fn default() -> Self {
        Sysctl {
            all: Ipv4Conf::default(),
            default: Ipv4Conf::default(),
            neigh_default: NeighParms::default(),
            ip_default_ttl: 64,
            icmp_echo_ignore_all: false,
            icmp_echo_ignore_broadcasts: true,
            ping_group_range: (1, 0),
            ip_local_port_range: (32_768, 60_999),
            ip_unprivileged_port_start: 1024,
            bridge: BridgeNf::default(),
        }
    }
}

type ConfField = fn(&mut Ipv4Conf) -> &mut i32;

/// net.ipv4.conf.WHOSE.NAME
const CONF: &[(&str, ConfField)] = &[
    ("accept_local", |c| &mut c.accept_local),
    ("accept_redirects", |c| &mut c.accept_redirects),
    ("arp_accept", |c| &mut c.arp_accept),
    ("arp_announce", |c| &mut c.arp_announce),
    ("arp_filter", |c| &mut c.arp_filter),
    ("arp_ignore", |c| &mut c.arp_ignore),
    ("arp_notify", |c| &mut c.arp_notify),
    ("forwarding", |c| &mut c.forwarding),
    ("promote_secondaries", |c| &mut c.promote_secondaries),
    ("proxy_arp", |c| &mut c.proxy_arp),
    ("route_localnet", |c| &mut c.route_localnet),
    ("rp_filter", |c| &mut c.rp_filter),
    ("secure_redirects", |c| &mut c.secure_redirects),
    ("send_redirects", |c| &mut c.send_redirects),
    ("shared_media", |c| &mut c.shared_media),
    ("src_valid_mark", |c| &mut c.src_valid_mark),
];

type NeighField = fn(&mut NeighParms) -> &mut u64;

/// net.ipv4.neigh.WHOSE.NAME, and how many milliseconds a unit of the written value is (0: a plain number).
const NEIGH: &[(&str, NeighField, u64)] = &[
    ("app_solicit", |p| &mut p.app_probes, 0),
    ("base_reachable_time", |p| &mut p.base_reachable_ms, 1000),
    ("base_reachable_time_ms", |p| &mut p.base_reachable_ms, 1),
    ("delay_first_probe_time", |p| &mut p.delay_probe_ms, 1000),
    ("gc_stale_time", |p| &mut p.gc_stale_ms, 1000),
    ("locktime", |p| &mut p.locktime_ms, 10),
    ("mcast_resolicit", |p| &mut p.mcast_reprobes, 0),
    ("mcast_solicit", |p| &mut p.mcast_probes, 0),
    ("proxy_delay", |p| &mut p.proxy_delay_ms, 10),
    ("proxy_qlen", |p| &mut p.proxy_qlen, 0),
    ("retrans_time", |p| &mut p.retrans_ms, 10),
    ("retrans_time_ms", |p| &mut p.retrans_ms, 1),
    ("ucast_solicit", |p| &mut p.ucast_probes, 0),
    ("unres_qlen_bytes", |p| &mut p.queue_len_bytes, 0),
];

type Read = fn(&Sysctl) -> String;
type Write = fn(&mut NetNs, &str) -> Result<(), Errno>;

/// net.ipv4.NAME: the values that are more than a number in a range.
const IPV4: &[(&str, Read, Write)] = &[
    (
        "icmp_echo_ignore_all",
        |s| u8::from(s.icmp_echo_ignore_all).to_string(),
        |ns, value| flag(value).map(|on| ns.sysctl.icmp_echo_ignore_all = on),
    ),
    (
        "icmp_echo_ignore_broadcasts",
        |s| u8::from(s.icmp_echo_ignore_broadcasts).to_string(),
        |ns, value| flag(value).map(|on| ns.sysctl.icmp_echo_ignore_broadcasts = on),
    ),
    (
        "ip_default_ttl",
        |s| s.ip_default_ttl.to_string(),
        |ns, value| {
            let ttl = value.parse().map_err(|_| Errno::EINVAL)?;
            ns.sysctl.ip_default_ttl = if ttl == 0 { return Err(Errno::EINVAL) } else { ttl };
            Ok(())
        },
    ),
    (
        "ip_forward",
        |s| s.all.forwarding.to_string(),
        |ns, value| flag(value).map(|on| ns.set_forwarding(i32::from(on))),
    ),
    (
        "ip_local_port_range",
        |s| format!("{}\t{}", s.ip_local_port_range.0, s.ip_local_port_range.1),
        |ns, value| {
            // ipv4_local_port_range: not below ip_unprivileged_port_start, and not the wrong way round.
            let (first, last): (u16, u16) = range(value)?;
            if first < ns.sysctl.ip_unprivileged_port_start || last < first {
                return Err(Errno::EINVAL);
            }
            ns.sysctl.ip_local_port_range = (first, last);
            Ok(())
        },
    ),
    (
        "ip_unprivileged_port_start",
        |s| s.ip_unprivileged_port_start.to_string(),
        |ns, value| {
            // ipv4_privileged_ports: not into the range that the kernel chooses from.
            let first = value.parse().map_err(|_| Errno::EINVAL)?;
            if first > ns.sysctl.ip_local_port_range.0 {
                return Err(Errno::EINVAL);
            }
            ns.sysctl.ip_unprivileged_port_start = first;
            Ok(())
        },
    ),
    (
        "ping_group_range",
        |s| format!("{}\t{}", s.ping_group_range.0, s.ping_group_range.1),
        |ns, value| range(value).map(|groups| ns.sysctl.ping_group_range = groups),
    ),
];

impl Sysctl {
    /// inet_port_requires_bind_service: root alone may bind to the port.
    pub(in crate::kernel) fn is_privileged(&self, port: u16) -> bool {
        port != 0 && port < self.ip_unprivileged_port_start
    }
}

/// Whose settings a name is about.
enum Whose {
    All,
    Default,
    Dev(IfIndex),
}

/// Whatever is not zero is on.
fn flag(value: &str) -> Result<bool, Errno> {
    value.parse::<i32>().map(|n| n != 0).map_err(|_| Errno::EINVAL)
}

/// Two numbers.
fn range<T: std::str::FromStr>(value: &str) -> Result<(T, T), Errno> {
    let mut numbers = value.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last)), None) => Ok((first, last)),
        _ => Err(Errno::EINVAL),
    }
}

impl NetNs {
    /// Reads a value by its dotted name (slashes do as well); none if there is no such name.
    pub fn sysctl_get(&self, name: &str) -> Option<String> {
        let name = name.replace('/', ".");
        let s = &self.sysctl;
        if let Some((whose, leaf)) = self.scoped(&name, "net.ipv4.conf.") {
            let mut conf = match whose {
                Whose::All => s.all,
                Whose::Default => s.default,
                Whose::Dev(dev) => self.dev(dev)?.conf,
            };
            let (_, field) = CONF.iter().find(|c| c.0 == leaf)?;
            return Some(field(&mut conf).to_string());
        }
        if let Some((whose, leaf)) = self.scoped(&name, "net.ipv4.neigh.") {
            let mut parms = match whose {
                Whose::All => return None,
                Whose::Default => s.neigh_default,
                Whose::Dev(dev) => self.dev(dev)?.neigh,
            };
            let (_, field, unit) = NEIGH.iter().find(|n| n.0 == leaf)?;
            return Some((*field(&mut parms) / (*unit).max(1)).to_string());
        }
        if let Some(leaf) = name.strip_prefix("net.bridge.bridge-nf-") {
            let (_, field) = BRIDGE.iter().find(|b| b.0 == leaf)?;
            return Some(field(&mut { s.bridge }).to_string());
        }
        if let Some((_, leaf)) = self.scoped(&name, "net.ipv6.conf.") {
            return (leaf == "disable_ipv6").then(|| "1".to_owned());
        }
        let Some(leaf) = name.strip_prefix("net.ipv4.") else { return self.ct.sysctl_get(&name) };
        if let Some((_, read, _)) = IPV4.iter().find(|v| v.0 == leaf) {
            return Some(read(s));
        }
        match leaf.strip_prefix("tcp_") {
            Some(leaf) => self.sockets.tcp.sysctl.get(leaf),
            None => self.ipv4.sysctl.get(leaf),
        }
    }

    /// What can be read: paths below /proc/sys, in the order in which its folders list them (namecmp of
    /// fs/proc/proc_sysctl.c).
    pub fn sysctl_paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        for whose in ["all", "default"].into_iter().chain(self.devs().map(|d| d.name.as_str())) {
            paths.extend(CONF.iter().map(|c| format!("net/ipv4/conf/{whose}/{}", c.0)));
            paths.push(format!("net/ipv6/conf/{whose}/disable_ipv6"));
            if whose != "all" {
                paths.extend(NEIGH.iter().map(|n| format!("net/ipv4/neigh/{whose}/{}", n.0)));
            }
        }
        paths.extend(BRIDGE.iter().map(|b| format!("net/bridge/bridge-nf-{}", b.0)));
        paths.extend(IPV4.iter().map(|v| format!("net/ipv4/{}", v.0)));
        paths.extend(Ipv4Sysctl::names().map(|name| format!("net/ipv4/{}", name.replace('.', "/"))));
        paths.extend(self.sockets.tcp.sysctl.names().map(|name| format!("net/ipv4/tcp_{name}")));
        paths.extend(Conntrack::sysctl_names().map(|name| name.replace('.', "/")));
        paths.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        paths
    }

    /// Writes a value by its dotted name.
    ///
    /// # Errors
    /// ENOENT if there is no such name, EISDIR if it is a folder's, EACCES if it can only be read, EINVAL if the value
    /// is none for it.
    pub(in crate::kernel) fn sysctl_set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        let name = name.replace('/', ".");
        let inside = |path: &String| path.replace('/', ".").strip_prefix(&name).is_some_and(|s| s.starts_with('.'));
        match self.sysctl_write(&name, value.trim()) {
            Err(Errno::ENOENT) if self.sysctl_paths().iter().any(inside) => Err(Errno::EISDIR),
            done => done,
        }
    }

    /// Writes a value by its name with dots only.
    fn sysctl_write(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        if let Some((whose, leaf)) = self.scoped(name, "net.ipv4.conf.") {
            return self.set_conf(&whose, leaf, value);
        }
        if let Some((whose, leaf)) = self.scoped(name, "net.ipv4.neigh.") {
            return self.set_neigh(&whose, leaf, value);
        }
        if let Some(leaf) = name.strip_prefix("net.bridge.bridge-nf-") {
            let (_, field) = BRIDGE.iter().find(|b| b.0 == leaf).ok_or(Errno::ENOENT)?;
            // brnf_sysctl_call_tables: whatever is not zero is one.
            let value: i32 = value.parse().map_err(|_| Errno::EINVAL)?;
            *field(&mut self.sysctl.bridge) = i32::from(value != 0);
            return Ok(());
        }
        if let Some((_, leaf)) = self.scoped(name, "net.ipv6.conf.") {
            return match (leaf, value) {
                ("disable_ipv6", "1") => Ok(()),
                ("disable_ipv6", _) => Err(Errno::EINVAL),
                _ => Err(Errno::ENOENT),
            };
        }
        let Some(leaf) = name.strip_prefix("net.ipv4.") else { return self.ct.sysctl_set(name, value) };
        if let Some((_, _, write)) = IPV4.iter().find(|v| v.0 == leaf) {
            return write(self, value);
        }
        match leaf.strip_prefix("tcp_") {
            Some(leaf) => self.sockets.tcp.sysctl.set(leaf, value),
            None => self.ipv4.sysctl.set(leaf, value),
        }
    }

    /// IN_DEV_MAXCONF: the larger of `all` and the device's own.
    pub(in crate::kernel) fn conf_max(&self, dev: IfIndex, field: fn(&Ipv4Conf) -> i32) -> i32 {
        field(&self.sysctl.all).max(self.dev(dev).map_or(0, |d| field(&d.conf)))
    }

    /// IN_DEV_ORCONF: set for `all` or for the device.
    pub(in crate::kernel) fn conf_or(&self, dev: IfIndex, field: fn(&Ipv4Conf) -> i32) -> bool {
        self.conf_max(dev, field) != 0
    }

    /// IN_DEV_RX_REDIRECTS: a router wants it set for `all` and for the device, a host for one of them.
    pub(in crate::kernel) fn accepts_redirects(&self, dev: IfIndex) -> bool {
        let Some(d) = self.dev(dev) else { return false };
        let (all, own) = (self.sysctl.all.accept_redirects != 0, d.conf.accept_redirects != 0);
        if d.conf.forwarding != 0 { all && own } else { all || own }
    }

    /// `prefix` + WHOSE + `.` + leaf, if WHOSE exists. Device names may hold dots; leaves do not.
    fn scoped<'n>(&self, name: &'n str, prefix: &str) -> Option<(Whose, &'n str)> {
        let (whose, leaf) = name.strip_prefix(prefix)?.rsplit_once('.')?;
        let whose = match whose {
            "all" => Whose::All,
            "default" => Whose::Default,
            dev => Whose::Dev(self.dev_by_name(dev)?),
        };
        Some((whose, leaf))
    }

    fn set_conf(&mut self, whose: &Whose, leaf: &str, value: &str) -> Result<(), Errno> {
        let (_, field) = CONF.iter().find(|c| c.0 == leaf).ok_or(Errno::ENOENT)?;
        let value: i32 = value.parse().map_err(|_| Errno::EINVAL)?;
        match whose {
            Whose::All if leaf == "forwarding" => self.set_forwarding(value),
            Whose::All => *field(&mut self.sysctl.all) = value,
            Whose::Default => *field(&mut self.sysctl.default) = value,
            Whose::Dev(dev) => *field(&mut self.dev_mut(*dev).ok_or(Errno::ENOENT)?.conf) = value,
        }
        Ok(())
    }

    fn set_neigh(&mut self, whose: &Whose, leaf: &str, value: &str) -> Result<(), Errno> {
        let (_, field, unit) = NEIGH.iter().find(|n| n.0 == leaf).ok_or(Errno::ENOENT)?;
        let value: u32 = value.parse().map_err(|_| Errno::EINVAL)?;
        let value = u64::from(value) * (*unit).max(1);
        match whose {
            Whose::All => return Err(Errno::ENOENT),
            Whose::Default => *field(&mut self.sysctl.neigh_default) = value,
            Whose::Dev(dev) => *field(&mut self.dev_mut(*dev).ok_or(Errno::ENOENT)?.neigh) = value,
        }
        Ok(())
    }

    /// inet_forward_change: `all` stands for every device and for those to come.
    fn set_forwarding(&mut self, on: i32) {
        self.sysctl.all.forwarding = on;
        self.sysctl.all.accept_redirects = i32::from(on == 0);
        self.sysctl.default.forwarding = on;
        self.devs_mut().for_each(|d| d.conf.forwarding = on);
    }
}

#[cfg(test)]
mod tests {
    use crate::base::{MachineId, NsId, Prf};
    use crate::kernel::cx::{Cpu, Cx};
    use crate::kernel::errno::Errno;
    use crate::kernel::netns::Spaces;
    use crate::kernel::profile::Profile;
    use crate::kernel::trace::Mute;

    /// A kernel with one namespace.
    fn kernel(profile: Profile) -> (Spaces, NsId) {
        let (prf, mut cpu, mut sink) = (Prf::new(1), Cpu::new(MachineId(0), None, 0), Mute);
        let mut cx = Cx { ns: NsId::default(), cpu: &mut cpu, prf: &prf, sink: &mut sink, steps: false, taps: false };
        let mut spaces = Spaces::new(profile);
        let ns = spaces.create(&mut cx, "a").unwrap();
        (spaces, ns)
    }

    /// What is listed can be read, and takes its own value; nothing is listed twice.
    #[test]
    fn listed_can_be_read_and_written() {
        for profile in [Profile::Linux618, Profile::Linux418] {
            let (mut spaces, ns) = kernel(profile);
            let ns = spaces.get_mut(ns);
            let paths = ns.sysctl_paths();
            for path in &paths {
                let value = ns.sysctl_get(path).unwrap_or_else(|| panic!("{path} is listed"));
                let read_only = path.ends_with("/tcp_available_congestion_control") || path.ends_with("_count");
                let want = if read_only { Err(Errno::EACCES) } else { Ok(()) };
                assert_eq!(ns.sysctl_set(path, &value), want, "{path} = {value}");
                assert_eq!(ns.sysctl_get(path).as_deref(), Some(value.as_str()), "{path}");
            }
            let mut once = paths.clone();
            once.dedup();
            assert_eq!(once, paths);
            let lists = |name| paths.iter().any(|p| p == name);
            assert_eq!(lists("net/ipv4/tcp_rto_min_us"), profile == Profile::Linux618);
            for name in ["net/ipv4/conf/lo/rp_filter", "net/ipv4/tcp_rmem", "net/netfilter/nf_conntrack_count"] {
                assert!(lists(name), "{name}");
            }
            assert!(!lists("net/ipv4/neigh/all/gc_stale_time"));
        }
    }

    #[test]
    fn folders_cannot_be_written() {
        let (mut spaces, ns) = kernel(Profile::Linux618);
        let ns = spaces.get_mut(ns);
        for (name, want) in
            [("net.ipv4", Errno::EISDIR), ("net/ipv4/conf/lo", Errno::EISDIR), ("net.ip", Errno::ENOENT)]
        {
            assert_eq!(ns.sysctl_set(name, "1"), Err(want), "{name}");
            assert_eq!(ns.sysctl_get(name), None, "{name}");
        }
    }
}
