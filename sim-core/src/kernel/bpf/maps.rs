//! Mirrors kernel/bpf/hashtab.c for the maps of Cilium 1.17 (bpf/lib/maps.h, bpf/lib/common.h, bpf/lib/lb.h): each has
//! its keys, values and `max_entries`, as the agent sets them.

use super::cilium::conntrack::Ct;
use super::cilium::packet::Ip;
use super::lpm::Lpm;
use crate::base::{IfIndex, Mac};
use crate::kernel::errno::Errno;
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// ENDPOINTS_MAP_SIZE
const MAX_ENDPOINTS: usize = 65_535;
/// IPCACHE_MAP_SIZE
const MAX_IPCACHE: usize = 512_000;
/// TUNNEL_ENDPOINT_MAP_SIZE
const MAX_TUNNELS: usize = 65_536;
/// CILIUM_LB_SERVICE_MAP_MAX_ENTRIES, and those of backends and reverse translations.
const MAX_LB: usize = 65_536;
/// CT_MAP_SIZE_TCP
const MAX_CT_TCP: usize = 524_288;
/// CT_MAP_SIZE_ANY
const MAX_CT_ANY: usize = 262_144;
/// CILIUM_IPV4_FRAG_MAP_MAX_ENTRIES
const MAX_FRAGS: usize = 8192;

/// What an agent writes: a map, a key and a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// cilium_lxc: an address that is here.
    Lxc(Ipv4Addr, Endpoint),
    /// cilium_ipcache: who has the addresses of a network.
    Ipcache(Ipv4Net, RemoteEndpoint),
    /// cilium_tunnel_map: the node behind which a network of pods is.
    Tunnel(Ipv4Net, Ipv4Addr),
    /// cilium_lb4_services_v2: in slot 0 a Service's port, in those that follow who serves it.
    Service(ServiceKey, Service),
    /// cilium_lb4_backends_v3
    Backend(u32, Backend),
    /// cilium_lb4_reverse_nat: what answers of a Service come from.
    RevNat(u16, SocketAddrV4),
}

/// What an agent deletes: a map and a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Key {
    /// cilium_lxc
    Lxc(Ipv4Addr),
    /// cilium_ipcache
    Ipcache(Ipv4Net),
    /// cilium_tunnel_map
    Tunnel(Ipv4Net),
    /// cilium_lb4_services_v2
    Service(ServiceKey),
    /// cilium_lb4_backends_v3
    Backend(u32),
    /// cilium_lb4_reverse_nat
    RevNat(u16),
}

/// struct endpoint_info, with its device by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The device that leads to it; the host has none (ENDPOINT_F_HOST).
    pub dev: Option<String>,
    /// lxc_id
    pub id: u16,
    /// sec_id: its identity.
    pub identity: u32,
    /// Its own hardware address.
    pub mac: Mac,
    /// That of the device that leads to it.
    pub node_mac: Mac,
}

/// struct endpoint_info
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) struct EndpointInfo {
    /// None for the host.
    pub dev: Option<IfIndex>,
    pub id: u16,
    pub identity: u32,
    pub mac: Mac,
    pub node_mac: Mac,
}

/// struct remote_endpoint_info
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteEndpoint {
    /// sec_identity
    pub identity: u32,
    /// tunnel_endpoint: the node to send it to; none if it is not behind a tunnel.
    pub tunnel: Option<Ipv4Addr>,
}

/// struct lb4_key
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ServiceKey {
    /// address
    pub addr: Ipv4Addr,
    /// dport
    pub port: u16,
    /// proto
    pub protocol: u8,
    /// backend_slot
    pub slot: u16,
}

/// struct lb4_service
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service {
    /// backend_id; zero in slot 0.
    pub backend: u32,
    /// count: how many slots follow, in slot 0.
    pub count: u16,
    /// rev_nat_index
    pub rev_nat: u16,
}

/// struct lb4_backend
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backend {
    /// Address and port.
    pub addr: SocketAddrV4,
    /// proto
    pub protocol: u8,
}

/// The maps, and how many programs and links were made.
#[derive(Clone, Debug)]
pub struct Maps {
    pub(in crate::kernel) lxc: BTreeMap<Ipv4Addr, EndpointInfo>,
    pub(in crate::kernel) ipcache: Lpm<RemoteEndpoint>,
    pub(in crate::kernel) tunnel: Lpm<Ipv4Addr>,
    pub(in crate::kernel) services: BTreeMap<ServiceKey, Service>,
    pub(in crate::kernel) backends: BTreeMap<u32, Backend>,
    pub(in crate::kernel) rev_nat: BTreeMap<u16, SocketAddrV4>,
    /// cilium_ct4_global
    pub(in crate::kernel) ct_tcp: Ct,
    /// cilium_ct_any4_global
    pub(in crate::kernel) ct_any: Ct,
    /// cilium_ipv4_frag_datagrams
    pub(in crate::kernel) frags: Frags,
    pub(in crate::kernel) links_made: u32,
}

/// struct ipv4_frag_id: addresses, protocol and id.
type FragKey = (Ipv4Addr, Ipv4Addr, u8, u16);

/// The ports of datagrams that come in fragments.
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Frags {
    ports: BTreeMap<FragKey, (u16, u16)>,
    /// In the order in which they came.
    order: VecDeque<FragKey>,
}

impl Frags {
    pub(super) fn get(&self, ip: &Ip) -> Option<(u16, u16)> {
        self.ports.get(&(ip.src, ip.dst, ip.protocol, ip.id)).copied()
    }

    /// Differs: the oldest one makes room, not the one that was used least recently.
    pub(super) fn put(&mut self, ip: &Ip, ports: (u16, u16)) {
        let key = (ip.src, ip.dst, ip.protocol, ip.id);
        if self.ports.insert(key, ports).is_some() {
            return;
        }
        self.order.push_back(key);
        let oldest = if self.order.len() > MAX_FRAGS { self.order.pop_front() } else { None };
        if let Some(oldest) = oldest {
            self.ports.remove(&oldest);
        }
    }
}

impl Default for Maps {
    fn default() -> Self {
        Maps {
            lxc: BTreeMap::new(),
            ipcache: Lpm::default(),
            tunnel: Lpm::default(),
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            rev_nat: BTreeMap::new(),
            ct_tcp: Ct::new(MAX_CT_TCP),
            ct_any: Ct::new(MAX_CT_ANY),
            frags: Frags::default(),
            links_made: 0,
        }
    }
}

impl Maps {
    /// bpf_map_update_elem with BPF_ANY. `index` finds a device.
    ///
    /// # Errors
    /// E2BIG if the map is full, ENODEV if there is no such device.
    pub(in crate::kernel) fn update(
        &mut self,
        entry: &Entry,
        index: impl Fn(&str) -> Option<IfIndex>,
    ) -> Result<(), Errno> {
        match entry {
            Entry::Lxc(ip, e) => {
                let dev = e.dev.as_deref().map(|name| index(name).ok_or(Errno::ENODEV)).transpose()?;
                let Endpoint { dev: _, id, identity, mac, node_mac } = *e;
                put(&mut self.lxc, MAX_ENDPOINTS, *ip, EndpointInfo { dev, id, identity, mac, node_mac })
            }
            Entry::Ipcache(net, _) | Entry::Tunnel(net, _) if net.trunc() != *net => Err(Errno::EINVAL),
            Entry::Ipcache(net, remote) => put_net(&mut self.ipcache, MAX_IPCACHE, *net, *remote),
            Entry::Tunnel(net, node) => put_net(&mut self.tunnel, MAX_TUNNELS, *net, *node),
            Entry::Service(key, service) => put(&mut self.services, MAX_LB, *key, *service),
            Entry::Backend(id, backend) => put(&mut self.backends, MAX_LB, *id, *backend),
            Entry::RevNat(index, addr) => put(&mut self.rev_nat, MAX_LB, *index, *addr),
        }
    }

    /// bpf_map_delete_elem
    ///
    /// # Errors
    /// ENOENT if there is no such key.
    pub(in crate::kernel) fn delete(&mut self, key: &Key) -> Result<(), Errno> {
        let there = match key {
            Key::Lxc(ip) => self.lxc.remove(ip).is_some(),
            Key::Ipcache(net) => self.ipcache.remove(*net),
            Key::Tunnel(net) => self.tunnel.remove(*net),
            Key::Service(key) => self.services.remove(key).is_some(),
            Key::Backend(id) => self.backends.remove(id).is_some(),
            Key::RevNat(index) => self.rev_nat.remove(index).is_some(),
        };
        if there { Ok(()) } else { Err(Errno::ENOENT) }
    }
}

fn put<K: Ord, V>(map: &mut BTreeMap<K, V>, max: usize, key: K, value: V) -> Result<(), Errno> {
    if map.len() >= max && !map.contains_key(&key) {
        return Err(Errno::E2BIG);
    }
    map.insert(key, value);
    Ok(())
}

fn put_net<V>(map: &mut Lpm<V>, max: usize, net: Ipv4Net, value: V) -> Result<(), Errno> {
    if map.count() >= max && !map.contains(net) {
        return Err(Errno::ENOSPC);
    }
    map.insert(net, value);
    Ok(())
}
