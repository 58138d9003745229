//! /proc/sys/net as named values (net/ipv4/devinet.c, net/core/neighbour.c, net/ipv4/sysctl_net_ipv4.c,
//! net/bridge/br_netfilter_hooks.c).
//!
//! IPv6 is not simulated: `net.ipv6.conf.*.disable_ipv6` reads 1 and can only be set to 1.

use super::errno::Errno;
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

/// Whose settings a name is about.
enum Whose {
    All,
    Default,
    Dev(IfIndex),
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
        Some(match name.as_str() {
            "net.ipv4.ip_forward" => s.all.forwarding.to_string(),
            "net.ipv4.ip_default_ttl" => s.ip_default_ttl.to_string(),
            "net.ipv4.icmp_echo_ignore_all" => u8::from(s.icmp_echo_ignore_all).to_string(),
            "net.ipv4.icmp_echo_ignore_broadcasts" => u8::from(s.icmp_echo_ignore_broadcasts).to_string(),
            "net.ipv4.ip_local_port_range" => format!("{}\t{}", s.ip_local_port_range.0, s.ip_local_port_range.1),
            "net.ipv4.ping_group_range" => format!("{}\t{}", s.ping_group_range.0, s.ping_group_range.1),
            _ => match name.strip_prefix("net.ipv4.") {
                Some(rest) => {
                    let tcp = rest.strip_prefix("tcp_").map(|leaf| self.sockets.tcp.sysctl.get(leaf));
                    return tcp.unwrap_or_else(|| self.ipv4.sysctl.get(rest));
                }
                None => return self.ct.sysctl_get(&name),
            },
        })
    }

    /// Writes a value by its dotted name.
    ///
    /// # Errors
    /// ENOENT if there is no such name, EINVAL if the value is none for it.
    pub(in crate::kernel) fn sysctl_set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        let name = name.replace('/', ".");
        let value = value.trim();
        if let Some((whose, leaf)) = self.scoped(&name, "net.ipv4.conf.") {
            return self.set_conf(&whose, leaf, value);
        }
        if let Some((whose, leaf)) = self.scoped(&name, "net.ipv4.neigh.") {
            return self.set_neigh(&whose, leaf, value);
        }
        if let Some(leaf) = name.strip_prefix("net.bridge.bridge-nf-") {
            let (_, field) = BRIDGE.iter().find(|b| b.0 == leaf).ok_or(Errno::ENOENT)?;
            // brnf_sysctl_call_tables: whatever is not zero is one.
            let value: i32 = value.parse().map_err(|_| Errno::EINVAL)?;
            *field(&mut self.sysctl.bridge) = i32::from(value != 0);
            return Ok(());
        }
        if let Some((_, leaf)) = self.scoped(&name, "net.ipv6.conf.") {
            return match (leaf, value) {
                ("disable_ipv6", "1") => Ok(()),
                ("disable_ipv6", _) => Err(Errno::EINVAL),
                _ => Err(Errno::ENOENT),
            };
        }
        let flag = || value.parse::<i32>().map(|n| n != 0).map_err(|_| Errno::EINVAL);
        match name.as_str() {
            "net.ipv4.ip_forward" => {
                let on = i32::from(flag()?);
                self.set_forwarding(on);
            }
            "net.ipv4.ip_default_ttl" => {
                let ttl = value.parse().map_err(|_| Errno::EINVAL)?;
                self.sysctl.ip_default_ttl = if ttl == 0 { return Err(Errno::EINVAL) } else { ttl };
            }
            "net.ipv4.icmp_echo_ignore_all" => self.sysctl.icmp_echo_ignore_all = flag()?,
            "net.ipv4.icmp_echo_ignore_broadcasts" => self.sysctl.icmp_echo_ignore_broadcasts = flag()?,
            "net.ipv4.ip_local_port_range" => {
                // ipv4_local_port_range: not below ip_unprivileged_port_start, and not the wrong way round.
                let (first, last): (u16, u16) = range(value)?;
                if first < 1024 || last < first {
                    return Err(Errno::EINVAL);
                }
                self.sysctl.ip_local_port_range = (first, last);
            }
            "net.ipv4.ping_group_range" => self.sysctl.ping_group_range = range(value)?,
            _ => match name.strip_prefix("net.ipv4.") {
                Some(rest) => match rest.strip_prefix("tcp_") {
                    Some(leaf) => self.sockets.tcp.sysctl.set(leaf, value)?,
                    None => self.ipv4.sysctl.set(rest, value)?,
                },
                None => return self.ct.sysctl_set(&name, value),
            },
        }
        Ok(())
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
