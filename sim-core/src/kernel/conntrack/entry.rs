//! Mirrors include/net/netfilter/nf_conntrack.h: struct nf_conn, one connection.

use super::event;
use super::tcp::{TcpState, TcpTrack};
use super::tuple::{Dir, Tuple, Zone};
use crate::base::{IfIndex, Time};
use crate::kernel::timer::HZ;

/// enum ip_conntrack_status: IPS_* bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status(pub u16);

#[allow(missing_docs, reason = "the kernel's own names: include/uapi/linux/netfilter/nf_conntrack_common.h")]
impl Status {
    pub const EXPECTED: Status = Status(1);
    pub const SEEN_REPLY: Status = Status(1 << 1);
    pub const ASSURED: Status = Status(1 << 2);
    pub const CONFIRMED: Status = Status(1 << 3);
    pub const SRC_NAT: Status = Status(1 << 4);
    pub const DST_NAT: Status = Status(1 << 5);
    pub const SEQ_ADJUST: Status = Status(1 << 6);
    pub const SRC_NAT_DONE: Status = Status(1 << 7);
    pub const DST_NAT_DONE: Status = Status(1 << 8);
    pub const DYING: Status = Status(1 << 9);
    pub const FIXED_TIMEOUT: Status = Status(1 << 10);
    /// The entry lost a clash and is found by its reply tuple alone.
    pub const NAT_CLASH: Status = Status(1 << 12);
    /// IPS_NAT_MASK
    pub const NAT_MASK: Status = Status(1 << 4 | 1 << 5);
    /// IPS_NAT_DONE_MASK
    pub const NAT_DONE_MASK: Status = Status(1 << 7 | 1 << 8);

    /// Any of `bits` is set.
    pub fn has(self, bits: Status) -> bool {
        self.0 & bits.0 != 0
    }

    /// All of `bits` are set.
    pub fn has_all(self, bits: Status) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// Sets `bits`.
    pub fn set(&mut self, bits: Status) {
        self.0 |= bits.0;
    }
}

/// enum ip_conntrack_info: how a packet belongs to its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum CtInfo {
    /// It belongs to a connection that has seen packets both ways.
    Established,
    /// It starts something that belongs to another connection, or is an ICMP error about one, on its way there.
    Related,
    /// It starts a connection, or only one direction was seen so far.
    New,
    /// As `Established`, on the way back.
    EstablishedReply,
    /// As `Related`, on the way back.
    RelatedReply,
}

impl CtInfo {
    /// CTINFO2DIR
    pub fn dir(self) -> Dir {
        match self {
            CtInfo::Established | CtInfo::Related | CtInfo::New => Dir::Original,
            CtInfo::EstablishedReply | CtInfo::RelatedReply => Dir::Reply,
        }
    }

    /// IP_CT_RELATED or IP_CT_RELATED_REPLY
    pub fn is_related(self) -> bool {
        matches!(self, CtInfo::Related | CtInfo::RelatedReply)
    }
}

/// Names an entry for as long as somebody holds it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct CtId {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// nf_ct_tmpl_alloc: what `-j CT` gives a packet before it is looked up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Template {
    /// Where it is to be looked up.
    pub zone: Zone,
    /// NF_CT_FLAG_MARK: the zone's number is the packet's mark.
    pub mark: bool,
}

impl Template {
    /// nf_ct_zone_tmpl: the zone of a packet with this mark.
    pub fn zone(self, mark: u32) -> Zone {
        if self.mark { Zone { id: mark as u16, ..self.zone } } else { self.zone }
    }
}

/// skb->_nfct: what connection tracking knows of a packet. A copy counts: see [`super::Conntrack::hold`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Nfct {
    /// Nothing: not seen yet, or INVALID.
    #[default]
    None,
    /// IP_CT_UNTRACKED: `-j CT --notrack`.
    Untracked,
    /// A rule has told where it is to be looked up.
    Template(Template),
    /// It belongs to this entry. The entry is new, shared by all clones of the packet, until the first of them is
    /// confirmed.
    Ct {
        /// The entry.
        id: CtId,
        /// How it belongs to it.
        info: CtInfo,
    },
}

impl Nfct {
    /// nf_conntrack_in has nothing to do any more.
    pub fn is_seen(self) -> bool {
        matches!(self, Nfct::Untracked | Nfct::Ct { .. })
    }

    /// The zone that a packet with this mark is looked up in.
    pub fn zone(self, mark: u32) -> Zone {
        match self {
            Nfct::Template(template) => template.zone(mark),
            Nfct::None | Nfct::Untracked | Nfct::Ct { .. } => Zone::default(),
        }
    }
}

/// struct nf_conn_counter
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counter {
    /// Packets of one direction.
    pub packets: u64,
    /// Their bytes, IP headers included.
    pub bytes: u64,
}

/// union nf_conntrack_proto
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proto {
    None,
    /// When a flow counts as a stream, in jiffies.
    Udp {
        stream_ts: u64,
    },
    Tcp(TcpTrack),
}

/// struct nf_conn
#[derive(Clone, Debug)]
pub struct Conn {
    /// nf_ct_get_id
    pub(super) id: u32,
    pub(super) tuple: [Tuple; 2],
    pub(super) zone: Zone,
    pub(super) status: Status,
    /// In jiffies: how long until the entry is confirmed, and when from then on.
    pub(super) timeout: u64,
    /// ct->mark
    pub(super) mark: u32,
    pub(super) proto: Proto,
    /// With net.netfilter.nf_conntrack_acct.
    pub(super) acct: Option<[Counter; 2]>,
    /// With net.netfilter.nf_conntrack_timestamp: when it was confirmed.
    pub(super) start: Option<Time>,
    /// ecache->cache: what happened and was not told yet.
    pub(super) cache: event::Mask,
    /// nat->masq_index: the device whose address it was given.
    pub(super) masq_index: Option<IfIndex>,
}

impl Conn {
    /// The tuple of a direction.
    pub fn tuple(&self, dir: Dir) -> &Tuple {
        &self.tuple[dir.index()]
    }

    /// Its status bits.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Its mark.
    pub fn mark(&self) -> u32 {
        self.mark
    }

    /// Its zone.
    pub fn zone(&self) -> Zone {
        self.zone
    }

    /// The state of a TCP connection.
    pub fn tcp_state(&self) -> Option<TcpState> {
        match &self.proto {
            Proto::Tcp(t) => Some(t.state),
            Proto::None | Proto::Udp { .. } => None,
        }
    }

    /// What its packets and bytes were, by direction, if they are counted.
    pub fn counters(&self) -> Option<[Counter; 2]> {
        self.acct
    }

    /// nf_ct_is_confirmed
    pub fn is_confirmed(&self) -> bool {
        self.status.has(Status::CONFIRMED)
    }

    pub(super) fn is_dying(&self) -> bool {
        self.status.has(Status::DYING)
    }

    /// nf_ct_expires: ticks left.
    pub fn expires(&self, jiffies: u64) -> u64 {
        self.timeout.saturating_sub(jiffies)
    }

    /// nf_ct_is_expired
    pub(super) fn is_expired(&self, jiffies: u64) -> bool {
        self.is_confirmed() && self.timeout <= jiffies
    }

    /// nf_ct_refresh_acct: lives on for `extra` ticks, and a packet of `bytes` is counted.
    pub(super) fn refresh_acct(&mut self, jiffies: u64, dir: Dir, extra: u64, bytes: usize) {
        if !self.status.has(Status::FIXED_TIMEOUT) {
            self.timeout = if self.is_confirmed() { jiffies.saturating_add(extra) } else { extra };
        }
        self.acct_add(dir, bytes);
    }

    /// nf_ct_acct_update
    pub(super) fn acct_add(&mut self, dir: Dir, bytes: usize) {
        if let Some(acct) = &mut self.acct {
            let counter = &mut acct[dir.index()];
            counter.packets += 1;
            counter.bytes += bytes as u64;
        }
    }

    /// What listings and events show of it.
    pub(super) fn info(&self, now: Time, jiffies: u64, users: u32) -> Info {
        Info {
            id: self.id,
            tuple: self.tuple,
            status: self.status,
            timeout_s: self.expires(jiffies) / HZ,
            mark: self.mark,
            zone: self.zone,
            tcp: self.tcp_state(),
            acct: self.acct,
            start: self.start,
            age_ns: self.start.map_or(0, |start| now - start),
            users,
        }
    }
}

/// A connection as ctnetlink shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Info {
    /// CTA_ID
    pub id: u32,
    /// CTA_TUPLE_ORIG and CTA_TUPLE_REPLY
    pub tuple: [Tuple; 2],
    /// CTA_STATUS
    pub status: Status,
    /// CTA_TIMEOUT: whole seconds left.
    pub timeout_s: u64,
    /// CTA_MARK
    pub mark: u32,
    /// CTA_ZONE
    pub zone: Zone,
    /// CTA_PROTOINFO_TCP_STATE
    pub tcp: Option<TcpState>,
    /// CTA_COUNTERS_ORIG and CTA_COUNTERS_REPLY
    pub acct: Option<[Counter; 2]>,
    /// CTA_TIMESTAMP_START
    pub start: Option<Time>,
    /// Nanoseconds since then.
    pub age_ns: u64,
    /// CTA_USE
    pub users: u32,
}
