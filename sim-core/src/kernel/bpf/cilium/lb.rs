//! lb4_local and __tail_no_service_ipv4 of lib/lb.h in Cilium: a pod's packet to a Service goes to one who serves it.

use super::conntrack::{CtState, Dir};
use super::packet::{Ip, L4};
use super::policy::LOOPBACK;
use super::{Ctx, Done, Verdict};
use crate::base::Mac;
use crate::base::rng::Purpose;
use crate::kernel::bpf::maps::{Backend, Service, ServiceKey};
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::ip::IP_HLEN;
use crate::kernel::ip::icmp::{DEST_UNREACH, ICMP_HLEN};
use crate::kernel::trace::{BpfCt, BpfStep};
use crate::wire::{ETH_HLEN, ETH_P_IP, IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP, checksum, put_ethernet};
use smoltcp::wire::Ipv4Packet;
use std::net::SocketAddrV4;

/// ICMP_PACKET_MAX_SAMPLE_SIZE: as much an error quotes.
const MAX_SAMPLE: usize = 64;
/// ICMP_PORT_UNREACH
const PORT_UNREACH: u8 = 3;
/// IPDEFTTL
const TTL: u8 = 64;

/// What became of a packet to a Service.
pub(super) enum Xlate {
    /// It goes on, with what its connection is to remember.
    Done(CtState),
    /// Nobody serves it: it is an error about itself now, on its way back.
    Refused(Verdict),
}

impl Ctx<'_, '_> {
    /// __per_packet_lb_svc_xlate_4
    pub(super) fn service(&mut self, ip: &Ip) -> Done<Xlate> {
        if !matches!(ip.protocol, IPPROTO_TCP | IPPROTO_UDP) {
            return Ok(Xlate::Done(CtState::default()));
        }
        let l4 = self.ports(ip)?;
        let key = ServiceKey { addr: ip.dst, port: l4.dport, protocol: ip.protocol, slot: 0 };
        let Some(service) = self.ns.bpf.services.get(&key).copied() else {
            return Ok(Xlate::Done(CtState::default()));
        };
        let vip = SocketAddrV4::new(ip.dst, l4.dport);
        let backend = self.backend(ip, &l4, &key, &service);
        self.step(BpfStep::Service { addr: vip, backend: backend.map(|b| b.addr) });
        let Some(backend) = backend else { return Ok(Xlate::Refused(self.no_service(ip))) };
        let mut state = CtState { rev_nat: service.rev_nat, ..CtState::default() };
        if *backend.addr.ip() == ip.src {
            state.loopback = true;
            let own = SocketAddrV4::new(ip.src, l4.sport);
            self.translate(ip, Manip::Src, own, SocketAddrV4::new(LOOPBACK, l4.sport))?;
        }
        self.translate(ip, Manip::Dst, vip, backend.addr)?;
        Ok(Xlate::Done(state))
    }

    /// lb4_local: the backend of the connection, or one for a new one.
    fn backend(&mut self, ip: &Ip, l4: &L4, key: &ServiceKey, service: &Service) -> Option<Backend> {
        let (now, addrs) = (self.now_s(), (ip.src, ip.dst, ip.protocol));
        let (status, state) = self.ct(ip.protocol).lookup(addrs, l4, (Dir::Service, true), now);
        let known = self.ns.bpf.backends.get(&state.backend).copied().filter(|_| status != BpfCt::New);
        if known.is_some() {
            return known;
        }
        let id = self.select(ip, l4, key, service)?;
        let backend = self.ns.bpf.backends.get(&id).copied()?;
        if status == BpfCt::New {
            let state = CtState { backend: id, rev_nat: service.rev_nat, ..CtState::default() };
            self.ct(ip.protocol).create(addrs, l4, Dir::Service, state, now);
        } else {
            self.ct(ip.protocol).set_backend(addrs, l4, (id, service.rev_nat));
        }
        Some(backend)
    }

    /// lb4_select_backend_id: any of them (LB_SELECTION_RANDOM).
    fn select(&self, ip: &Ip, l4: &L4, key: &ServiceKey, service: &Service) -> Option<u32> {
        let addrs = u64::from(ip.src.to_bits()) << 32 | u64::from(ip.dst.to_bits());
        let ports = u64::from(ip.protocol) << 32 | u64::from(l4.sport) << 16 | u64::from(l4.dport);
        let input = [self.cx.salt(), addrs, ports, self.cx.now().0];
        let nth = self.cx.prf.below(Purpose::BpfRandom, &input, service.count.into());
        let slot = ServiceKey { slot: nth as u16 + 1, ..*key };
        self.ns.bpf.services.get(&slot).map(|s| s.backend)
    }

    /// __tail_no_service_ipv4: the packet becomes an error about itself, and goes back.
    fn no_service(&mut self, ip: &Ip) -> Verdict {
        let (own, pod) = (Mac::read(self.f.bytes(), 0), Mac::read(self.f.bytes(), 6));
        let tos = self.f.l3()[1];
        // A quotation is no frame that a device would complete.
        self.f.complete_checksum();
        let sample = self.f.bytes().len().min(MAX_SAMPLE);
        let mut quoted = [0; MAX_SAMPLE];
        let there = sample.min(self.f.l3().len());
        quoted[..there].copy_from_slice(&self.f.l3()[..there]);
        let total = IP_HLEN + ICMP_HLEN + sample;
        self.f.trim_l3(0);
        let l3 = self.f.put(total);
        (l3[0], l3[1], l3[8], l3[9]) = (0x45, tos, TTL, IPPROTO_ICMP);
        l3[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        l3[12..16].copy_from_slice(&ip.dst.octets());
        l3[16..20].copy_from_slice(&ip.src.octets());
        (l3[IP_HLEN], l3[IP_HLEN + 1]) = (DEST_UNREACH, PORT_UNREACH);
        l3[IP_HLEN + ICMP_HLEN..].copy_from_slice(&quoted[..sample]);
        let sum = checksum(&l3[IP_HLEN..]);
        l3[IP_HLEN + 2..IP_HLEN + 4].copy_from_slice(&sum.to_be_bytes());
        Ipv4Packet::new_unchecked(l3).fill_checksum();
        put_ethernet(self.f.push_mac(ETH_HLEN), pod, own, ETH_P_IP);
        (self.f.gso_size, self.f.csum_valid) = (0, false);
        Verdict::Redirect(self.dev)
    }
}
