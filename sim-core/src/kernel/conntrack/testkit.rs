//! What the tests of this module share: packets, and a router that they pass through as through the hooks of
//! net/netfilter/nf_conntrack_proto.c.

use super::nat::{Manip, NatStep, Range, nf_nat_after_rules, nf_nat_hook, nf_nat_masquerade, nf_nat_setup_info};
use super::*;
use crate::base::IfIndex;
use crate::base::time::SEC;
use crate::kernel::timer::TICK_NS;
use crate::wire::{IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP};
use std::net::{IpAddr, Ipv4Addr};

pub const SYN: u8 = 2;
pub const ACK: u8 = 16;
pub const FIN: u8 = 1;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;

/// An address and a port: `"10.0.0.1:80"`.
pub type End = (Ipv4Addr, u16);

pub fn end(text: &str) -> End {
    let (addr, port) = text.split_once(':').unwrap();
    (addr.parse().unwrap(), port.parse().unwrap())
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// An IPv4 packet with right checksums.
pub fn packet(proto: u8, src: Ipv4Addr, dst: Ipv4Addr, l4: &[u8]) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 0, 0, 7, 0x40, 0, 64, proto, 0, 0];
    p.extend(src.octets());
    p.extend(dst.octets());
    p.extend(l4);
    let len = p.len() as u16;
    p[2..4].copy_from_slice(&len.to_be_bytes());
    let sum = crate::wire::checksum(&p[..20]);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    let at = match proto {
        IPPROTO_ICMP => 22,
        IPPROTO_UDP => 26,
        IPPROTO_TCP => 36,
        _ => return p,
    };
    if p.len() < at + 2 {
        return p;
    }
    let pseudo = match proto {
        IPPROTO_ICMP => 0,
        _ => checksum::combine(&[checksum::data(&p[12..20]), u16::from(proto), l4.len() as u16]),
    };
    let sum = !checksum::combine(&[pseudo, checksum::data(&p[20..])]);
    let sum = if sum == 0 && proto == IPPROTO_UDP { 0xffff } else { sum };
    p[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    p
}

pub fn udp(src: End, dst: End, data: &[u8]) -> Vec<u8> {
    let mut l4 = [src.1.to_be_bytes(), dst.1.to_be_bytes(), (8 + data.len() as u16).to_be_bytes(), [0, 0]].concat();
    l4.extend(data);
    packet(IPPROTO_UDP, src.0, dst.0, &l4)
}

/// A segment; `len` bytes of data.
#[derive(Clone, Copy)]
pub struct Seg {
    pub flags: u8,
    pub seq: u32,
    pub ack: u32,
    pub win: u16,
    pub len: usize,
}

pub fn tcp(src: End, dst: End, s: Seg, options: &[u8]) -> Vec<u8> {
    let mut l4 = [src.1.to_be_bytes(), dst.1.to_be_bytes()].concat();
    l4.extend(s.seq.to_be_bytes());
    l4.extend(s.ack.to_be_bytes());
    l4.extend([(((20 + options.len()) / 4) << 4) as u8, s.flags]);
    l4.extend(s.win.to_be_bytes());
    l4.extend([0; 4]);
    l4.extend(options);
    l4.resize(l4.len() + s.len, b'x');
    packet(IPPROTO_TCP, src.0, dst.0, &l4)
}

pub fn icmp(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, id: u16) -> Vec<u8> {
    let mut l4 = vec![kind, 0, 0, 0];
    l4.extend(id.to_be_bytes());
    l4.extend([0, 1, b'd', b'a', b't', b'a']);
    packet(IPPROTO_ICMP, src, dst, &l4)
}

/// An ICMP error that quotes `about`.
pub fn icmp_error(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8, about: &[u8]) -> Vec<u8> {
    let mut l4 = vec![kind, code, 0, 0, 0, 0, 0, 0];
    l4.extend(about);
    packet(IPPROTO_ICMP, src, dst, &l4)
}

/// All checksums of a packet are right.
pub fn sound(p: &[u8]) -> bool {
    let view = Packet::new(p, Csum::Full);
    let l4 = match p[9] {
        IPPROTO_UDP => p[26..28] == [0, 0] || view.good_checksum(IPPROTO_UDP),
        proto => view.good_checksum(proto),
    };
    crate::wire::checksum(&p[..20]) == 0 && l4
}

pub fn source(p: &[u8]) -> End {
    (Ipv4Addr::new(p[12], p[13], p[14], p[15]), crate::wire::be16(p, 20))
}

pub fn destination(p: &[u8]) -> End {
    (Ipv4Addr::new(p[16], p[17], p[18], p[19]), crate::wire::be16(p, 22))
}

/// What a rule does to a new connection.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    Nat(Range),
    Masquerade(Range, Ipv4Addr),
}

/// A router with rules for new connections.
#[derive(Clone)]
pub struct Router {
    pub ct: Conntrack,
    pub now: Time,
    prf: Prf,
    pub dnat: Vec<(End, Range)>,
    pub snat: Option<Rule>,
}

impl Router {
    pub fn new() -> Self {
        let mut ct = Conntrack::default();
        ct.listen(true);
        Router { ct, now: Time(SEC), prf: Prf::new(7), dnat: vec![], snat: None }
    }

    pub fn cx(&self) -> CtCx<'_> {
        CtCx { now: self.now, jiffies: 1000 + self.now.0 / TICK_NS, salt: Salt::place(0), prf: &self.prf }
    }

    pub fn run<R>(&mut self, f: impl FnOnce(&mut Conntrack, &CtCx<'_>) -> R) -> R {
        let prf = self.prf;
        let cx = CtCx { prf: &prf, ..self.cx() };
        f(&mut self.ct, &cx)
    }

    pub fn sleep(&mut self, seconds: u64) {
        self.now += seconds * SEC;
    }

    /// PREROUTING.
    pub fn enter(&mut self, p: &mut [u8]) -> (Verdict, Nfct) {
        let rules = self.dnat.clone();
        self.run(|ct, cx| {
            let view = Packet::new(p, Csum::Full);
            let (verdict, nfct) = nf_conntrack_in(ct, cx, &view, Nfct::None, Hook::Prerouting);
            if verdict == Verdict::Drop {
                return (verdict, nfct);
            }
            let verdict = match nf_nat_hook(ct, cx, nfct, Hook::Prerouting, None, p, Csum::Full) {
                NatStep::Done(verdict) => verdict,
                NatStep::Rules => {
                    let to = destination(p);
                    if let Some((_, range)) = rules.iter().find(|r| r.0 == to) {
                        assert_eq!(nf_nat_setup_info(ct, cx, nfct, range, Manip::Dst), Verdict::Accept);
                    }
                    nf_nat_after_rules(ct, cx, nfct, Hook::Prerouting, p, Csum::Full)
                }
            };
            (verdict, nfct)
        })
    }

    /// POSTROUTING, by device 2.
    pub fn leave(&mut self, p: &mut [u8], nfct: Nfct) -> Verdict {
        let rule = self.snat;
        self.run(|ct, cx| {
            let out = IfIndex(2);
            let verdict = match nf_nat_hook(ct, cx, nfct, Hook::Postrouting, Some(out), p, Csum::Full) {
                NatStep::Done(verdict) => verdict,
                NatStep::Rules => {
                    match rule {
                        Some(Rule::Nat(range)) => nf_nat_setup_info(ct, cx, nfct, &range, Manip::Src),
                        Some(Rule::Masquerade(range, addr)) => nf_nat_masquerade(ct, cx, nfct, &range, Some(addr), out),
                        None => Verdict::Accept,
                    };
                    nf_nat_after_rules(ct, cx, nfct, Hook::Postrouting, p, Csum::Full)
                }
            };
            let (verdict, nfct) = match verdict {
                Verdict::Accept => nf_conntrack_confirm(ct, cx, nfct),
                Verdict::Drop => (verdict, nfct),
            };
            ct.put(nfct);
            verdict
        })
    }

    /// A packet passes through, or does not.
    pub fn forward(&mut self, p: &[u8]) -> Option<Vec<u8>> {
        let mut p = p.to_vec();
        let (verdict, nfct) = self.enter(&mut p);
        if verdict == Verdict::Drop {
            self.ct.put(nfct);
            return None;
        }
        (self.leave(&mut p, nfct) == Verdict::Accept).then_some(p)
    }

    /// How a packet that passes is classified.
    pub fn classify(&mut self, p: &[u8]) -> Option<CtInfo> {
        let mut p = p.to_vec();
        let (verdict, nfct) = self.enter(&mut p);
        let info = match nfct {
            Nfct::Ct { info, .. } => Some(info),
            Nfct::None | Nfct::Untracked | Nfct::Template(_) => None,
        };
        if verdict == Verdict::Accept {
            self.leave(&mut p, nfct);
        } else {
            self.ct.put(nfct);
        }
        info
    }

    pub fn list(&self) -> Vec<Info> {
        let cx = self.cx();
        self.ct.list(cx.now, cx.jiffies).collect()
    }

    pub fn events(&mut self) -> Vec<Event> {
        self.ct.drain_events().collect()
    }
}
