//! Mirrors net/netlink/af_netlink.c: netlink(7) sockets that listen to what connection tracking tells
//! (net/netfilter/nf_conntrack_netlink.c: ctnetlink_conntrack_event). Requests go through [`crate::kernel::netlink`].

use super::Socket;
use crate::kernel::conntrack::Event;
use crate::kernel::conntrack::event::{Kind, MAX_EVENTS};
use crate::kernel::cx::Cx;
use crate::kernel::errno::Errno;
use crate::kernel::netns::NetNs;
use crate::kernel::syscall::{CtGroups, Ret, SocketKind};

impl CtGroups {
    fn has(self, kind: Kind) -> bool {
        match kind {
            Kind::New => self.new,
            Kind::Update => self.update,
            Kind::Destroy => self.destroy,
        }
    }
}

/// nlmsg_notify: the events of a chain go to every socket in their groups. False if nobody listens any more.
pub(in crate::kernel) fn multicast(ns: &mut NetNs, cx: &mut Cx<'_>) -> bool {
    let open = &mut ns.sockets.open;
    for event in ns.ct.drain_events() {
        for s in open.values_mut() {
            if matches!(s.kind, SocketKind::Conntrack(groups) if groups.has(event.kind)) {
                s.hear(cx, event);
            }
        }
    }
    let listens = open.values().any(|s| matches!(s.kind, SocketKind::Conntrack(_)));
    ns.ct.listen(listens);
    listens
}

impl Socket {
    /// netlink_broadcast_deliver; netlink_overrun if there is no room.
    ///
    /// Differs: the receive buffer holds a number of events, not of bytes.
    fn hear(&mut self, cx: &mut Cx<'_>, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.error = Some(Errno::ENOBUFS);
        }
        cx.wake(self.owner);
    }
}

/// netlink_recvmsg
pub(super) fn dequeue(s: &mut Socket) -> Result<Ret, Errno> {
    s.events.pop_front().map(|event| Ret::Event(Box::new(event))).ok_or(Errno::EAGAIN)
}
