//! ipv4_policy of bpf_lxc.c and ipv4_handle_fragmentation of lib/ipv4.h in Cilium: the connection that a packet belongs
//! to, at the end of its way.
//!
//! Differs: there are no policies. All endpoints' policy maps let everybody in and out.

use super::conntrack::{CtState, Dir};
use super::packet::{self, Ip, L4};
use super::{Ctx, Done};
use crate::base::time::SEC;
use crate::kernel::conntrack::nat::Manip;
use crate::kernel::trace::{BpfCt, BpfDrop, BpfStep, What};
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP};
use std::net::{Ipv4Addr, SocketAddrV4};

/// IPV4_LOOPBACK, the agent's `--service-loopback-ipv4`: a pod that reaches itself seems to be this one.
pub(super) const LOOPBACK: Ipv4Addr = Ipv4Addr::new(169, 254, 42, 1);

impl Ctx<'_, '_> {
    /// bpf_mono_now, in seconds.
    pub(super) fn now_s(&self) -> u64 {
        self.cx.now().0 / SEC
    }

    /// get_ct_map4
    pub(super) fn ct(&mut self, protocol: u8) -> &mut super::conntrack::Ct {
        let maps = &mut self.ns.bpf;
        if protocol == IPPROTO_TCP { &mut maps.ct_tcp } else { &mut maps.ct_any }
    }

    /// ipv4_handle_fragmentation: a later fragment has the ports of the first.
    pub(super) fn ports(&mut self, ip: &Ip) -> Done<L4> {
        if !ip.has_l4 {
            let (sport, dport) = self.ns.bpf.frags.get(ip).ok_or(BpfDrop::FragNotFound)?;
            return Ok(L4 { sport, dport, related: false, flags: 0 });
        }
        let l4 = packet::l4(self.f.l3(), ip)?;
        if ip.fragment {
            self.ns.bpf.frags.put(ip, (l4.sport, l4.dport));
        }
        Ok(l4)
    }

    /// ct_lookup4, told.
    pub(super) fn ct_lookup(&mut self, ip: &Ip, l4: &L4, dir: (Dir, bool)) -> (BpfCt, CtState) {
        let now = self.now_s();
        let found = self.ct(ip.protocol).lookup((ip.src, ip.dst, ip.protocol), l4, dir, now);
        self.step(BpfStep::Conntrack { state: found.0 });
        found
    }

    /// ct_create4, with an entry for errors about the connection.
    pub(super) fn ct_create(&mut self, ip: &Ip, l4: &L4, dir: Dir, state: CtState) {
        let now = self.now_s();
        self.ct(ip.protocol).create((ip.src, ip.dst, ip.protocol), l4, dir, state, now);
        let errors = L4 { sport: 0, dport: 0, related: true, flags: 0 };
        self.ct(IPPROTO_ICMP).create((ip.src, ip.dst, IPPROTO_ICMP), &errors, dir, state, now);
    }

    /// ipv4_policy of the endpoint that the packet, sent by `identity`, is for. Answers of a Service come from the
    /// Service.
    pub(super) fn policy_ingress(&mut self, identity: u32) -> Done<()> {
        let ip = self.ip()?;
        let l4 = self.ports(&ip)?;
        let (status, state) = self.ct_lookup(&ip, &l4, (Dir::Ingress, false));
        match status {
            BpfCt::Reply | BpfCt::Related if state.rev_nat != 0 => self.rev_nat(&ip, &l4, &state),
            BpfCt::Reply | BpfCt::Related | BpfCt::Established => Ok(()),
            BpfCt::New => {
                let new = CtState { identity, loopback: ip.src == LOOPBACK, ..CtState::default() };
                self.ct_create(&ip, &l4, Dir::Ingress, new);
                Ok(())
            }
        }
    }

    /// lb4_rev_nat
    fn rev_nat(&mut self, ip: &Ip, l4: &L4, state: &CtState) -> Done<()> {
        let Some(service) = self.ns.bpf.rev_nat.get(&state.rev_nat).copied() else { return Ok(()) };
        if state.loopback {
            // It was sent to the pod itself.
            self.translate(ip, Manip::Dst, SocketAddrV4::new(ip.dst, l4.dport), SocketAddrV4::new(ip.src, l4.dport))?;
        }
        self.translate(ip, Manip::Src, SocketAddrV4::new(ip.src, l4.sport), service)
    }

    /// Rewrites one end of the packet, and tells.
    pub(super) fn translate(&mut self, ip: &Ip, manip: Manip, from: SocketAddrV4, to: SocketAddrV4) -> Done<()> {
        packet::translate(self.f, ip, manip, to)?;
        self.cx.step(self.f, self.dev, What::Nat { manip, from, to });
        Ok(())
    }
}
