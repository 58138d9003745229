//! nfct_filter of conntrack-tools: which entries a call of conntrack(8) is about.

use crate::kernel::conntrack::event::Kind;
use crate::kernel::conntrack::{Dir, Event, Info, Status, TcpState};
use std::net::IpAddr;

/// An address with the length of its prefix.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Net {
    /// The address.
    pub addr: IpAddr,
    /// Bits that count.
    pub len: u32,
}

impl Net {
    fn contains(self, addr: IpAddr) -> bool {
        let bits = |addr: IpAddr| match addr {
            IpAddr::V4(a) => (32, u128::from(a.to_bits())),
            IpAddr::V6(a) => (128, a.to_bits()),
        };
        let ((size, a), (other, b)) = (bits(self.addr), bits(addr));
        size == other && (a ^ b).checked_shr(size - self.len).unwrap_or(0) == 0
    }
}

/// What must hold of an entry. Pairs are original and reply, source and destination.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// `-s`, `-d`, `-r`, `-q`
    pub addrs: [[Option<Net>; 2]; 2],
    /// `--sport`, `--dport`, `--reply-port-src`, `--reply-port-dst`
    pub ports: [[Option<u16>; 2]; 2],
    /// `--icmp-type`
    pub icmp_type: Option<u8>,
    /// `--icmp-code`
    pub icmp_code: Option<u8>,
    /// `--icmp-id`
    pub icmp_id: Option<u16>,
    /// `--state`
    pub state: Option<TcpState>,
    /// `-p`
    pub proto: Option<u8>,
    /// `-f ipv6`
    pub ipv6: bool,
    /// `-n`, `-g`, `-j`, perhaps with an address.
    pub nat: [Option<Option<IpAddr>>; 3],
    /// `-m`: value and mask.
    pub mark: Option<(u32, u32)>,
    /// `-u`: bits that must be set.
    pub status: Status,
    /// `-w`: of both directions.
    pub zone: Option<u16>,
    /// `-e`: new, update, destroy.
    pub events: [bool; 3],
}

impl Default for Filter {
    fn default() -> Self {
        Filter {
            addrs: [[None; 2]; 2],
            ports: [[None; 2]; 2],
            icmp_type: None,
            icmp_code: None,
            icmp_id: None,
            state: None,
            proto: None,
            ipv6: false,
            nat: [None; 3],
            mark: None,
            status: Status::default(),
            zone: None,
            events: [true; 3],
        }
    }
}

impl Filter {
    /// The entry is one of those.
    pub fn matches(&self, i: &Info) -> bool {
        let original = &i.tuple[0];
        let (kind, code) = original.icmp();
        let tuples = i.tuple.iter().zip(self.addrs.iter().zip(&self.ports)).all(|(t, (addrs, ports))| {
            addrs[0].is_none_or(|n| n.contains(t.src))
                && addrs[1].is_none_or(|n| n.contains(t.dst))
                && ports[0].is_none_or(|p| p == t.sport)
                && ports[1].is_none_or(|p| p == t.dport)
        });
        tuples
            && original.src.is_ipv6() == self.ipv6
            && self.proto.is_none_or(|p| p == original.proto)
            && self.icmp_type.is_none_or(|t| t == kind)
            && self.icmp_code.is_none_or(|c| c == code)
            && self.icmp_id.is_none_or(|id| id == original.sport)
            && self.state.is_none_or(|s| i.tcp == Some(s))
            && self.mark.is_none_or(|(mark, mask)| i.mark & mask == mark)
            && i.status.has_all(self.status)
            && self.zone.is_none_or(|z| i.zone.id(Dir::Original) == z && i.zone.id(Dir::Reply) == z)
            && self.translated(i)
    }

    /// The event is one of those.
    pub fn hears(&self, event: &Event) -> bool {
        let kind = match event.kind {
            Kind::New => 0,
            Kind::Update => 1,
            Kind::Destroy => 2,
        };
        self.events[kind] && self.matches(&event.info)
    }

    fn translated(&self, i: &Info) -> bool {
        let [src, dst, any] = self.nat;
        let snat = |want: Option<IpAddr>| i.status.has(Status::SRC_NAT) && want.is_none_or(|a| a == i.tuple[1].dst);
        let dnat = |want: Option<IpAddr>| i.status.has(Status::DST_NAT) && want.is_none_or(|a| a == i.tuple[1].src);
        src.is_none_or(snat) && dst.is_none_or(dnat) && any.is_none_or(|a| snat(a) || dnat(a))
    }
}
