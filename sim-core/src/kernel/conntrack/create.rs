//! Mirrors ctnetlink_create_conntrack of net/netfilter/nf_conntrack_netlink.c: connections that no packet has begun
//! (`conntrack -I`).

use super::entry::{Nfct, Proto, Status};
use super::event::Mask;
use super::nat::{Manip, Range, nf_nat_alloc_null_binding, nf_nat_setup_info};
use super::table::Conntrack;
use super::tcp::{TcpState, TcpTrack};
use super::tuple::{Dir, Tuple, Zone};
use super::{CtCx, CtInfo, Verdict};
use crate::kernel::errno::Errno;
use crate::kernel::timer::HZ;
use crate::wire::IPPROTO_TCP;
use std::net::SocketAddr;

/// A connection to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewConnection {
    /// CTA_TUPLE_ORIG
    pub original: Tuple,
    /// CTA_TUPLE_REPLY; left out, the way back.
    pub reply: Option<Tuple>,
    /// CTA_TIMEOUT in seconds.
    pub timeout_s: u32,
    /// CTA_STATUS: ASSURED, SEEN_REPLY and FIXED_TIMEOUT count.
    pub status: Status,
    /// CTA_MARK
    pub mark: u32,
    /// CTA_ZONE
    pub zone: Zone,
    /// CTA_PROTOINFO_TCP_STATE; left out, NONE.
    pub tcp: Option<TcpState>,
    /// CTA_NAT_SRC and CTA_NAT_DST: what that end is translated to. A port of zero means that it stays.
    pub nat: [Option<SocketAddr>; 2],
}

impl NewConnection {
    /// A connection without translation that has seen packets both ways.
    pub fn established(original: Tuple, timeout_s: u32) -> Self {
        NewConnection {
            original,
            reply: None,
            timeout_s,
            status: Status(Status::SEEN_REPLY.0 | Status::ASSURED.0),
            mark: 0,
            zone: Zone::default(),
            tcp: (original.proto == IPPROTO_TCP).then_some(TcpState::Established),
            nat: [None; 2],
        }
    }
}

/// What CTA_STATUS may set of a connection that is being made.
const CHANGEABLE: u16 = Status::SEEN_REPLY.0 | Status::ASSURED.0 | Status::FIXED_TIMEOUT.0;

impl Conntrack {
    /// ctnetlink_create_conntrack
    ///
    /// # Errors
    /// EINVAL: the flow has no way back, or cannot be translated so. EEXIST: one of its tuples is another connection's.
    /// ENOMEM: the table is full.
    pub fn create(&mut self, cx: &CtCx<'_>, new: &NewConnection) -> Result<(), Errno> {
        let reply = new.reply.or_else(|| new.original.inverse()).ok_or(Errno::EINVAL)?;
        let original = new.original.in_zone(new.zone.id(Dir::Original));
        let reply = reply.in_zone(new.zone.id(Dir::Reply));
        let id = self.alloc(cx, original, reply, new.zone).ok_or(Errno::ENOMEM)?;
        let nfct = Nfct::Ct { id, info: CtInfo::New };
        let made = self.translate(cx, nfct, new).and_then(|()| self.clash(cx, nfct));
        if made.is_ok() {
            let timestamp = self.settings.timestamp != 0;
            if let Some(conn) = self.get_mut(id) {
                conn.timeout = cx.jiffies.saturating_add(u64::from(new.timeout_s) * HZ);
                conn.status.set(Status(new.status.0 & CHANGEABLE));
                conn.mark = new.mark;
                conn.start = timestamp.then_some(cx.now);
                if let Some(state) = new.tcp.filter(|_| original.proto == IPPROTO_TCP) {
                    conn.proto = Proto::Tcp(TcpTrack::at(state));
                }
                conn.cache.set(Mask::NEW);
            }
            self.insert(id, false);
            self.deliver_cached_events(cx, id);
        }
        self.put(nfct);
        made
    }

    /// ctnetlink_setup_nat
    fn translate(&mut self, cx: &CtCx<'_>, nfct: Nfct, new: &NewConnection) -> Result<(), Errno> {
        if new.nat == [None; 2] {
            return Ok(());
        }
        // The destination first, as in the kernel; who is translated at one end is bound to itself at the other.
        for (to, manip) in [(new.nat[1], Manip::Dst), (new.nat[0], Manip::Src)] {
            let range = |to: SocketAddr| {
                let ports = Some(to.port()).filter(|port| *port != 0).map(|port| (port, port));
                Range { ports, ..Range::to(to.ip()) }
            };
            let verdict = match to {
                Some(to) => nf_nat_setup_info(self, cx, nfct, &range(to), manip),
                None => nf_nat_alloc_null_binding(self, cx, nfct, manip),
            };
            if verdict == Verdict::Drop {
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }

    /// nf_conntrack_hash_check_insert: nobody else may have one of the tuples.
    fn clash(&mut self, cx: &CtCx<'_>, nfct: Nfct) -> Result<(), Errno> {
        let tuples = self.of(nfct).map(|c| [*c.tuple(Dir::Original), *c.tuple(Dir::Reply)]);
        let taken = tuples.into_iter().flatten().any(|tuple| self.lookup(cx, &tuple).is_some());
        if taken { Err(Errno::EEXIST) } else { Ok(()) }
    }
}
