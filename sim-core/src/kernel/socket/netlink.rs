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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{MachineId, NsId, Pid, Prf};
    use crate::kernel::conntrack::{Csum, CtCx, Nfct, Packet, nf_conntrack_confirm, nf_conntrack_in};
    use crate::kernel::cred::{Cred, Current};
    use crate::kernel::cx::Cpu;
    use crate::kernel::netfilter::hook::Hook;
    use crate::kernel::netlink::{self, Request};
    use crate::kernel::netns::Spaces;
    use crate::kernel::syscall::{self, Call, Fd, Outcome};
    use crate::kernel::trace::Mute;

    const ALL: CtGroups = CtGroups { new: true, update: true, destroy: true };
    /// A UDP datagram from 10.0.0.1:5 to 10.0.0.2:7.
    const PACKET: [u8; 28] =
        [0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 5, 0, 7, 0, 8, 0, 0];

    fn who(pid: u32) -> Current {
        Current { pid: Pid(pid), cred: Cred::ROOT }
    }

    fn call(spaces: &mut Spaces, cx: &mut Cx<'_>, pid: u32, call: &Call) -> Option<Ret> {
        match syscall::call(spaces, cx, NsId::default(), who(pid), call) {
            Outcome::Done(ret) => Some(ret),
            Outcome::Wait | Outcome::Later => None,
        }
    }

    fn kinds(spaces: &mut Spaces, cx: &mut Cx<'_>, fd: Fd) -> Vec<Kind> {
        let recv = Call::Recv { fd, size: 65_535, dontwait: false, errqueue: false };
        let next = || match call(spaces, cx, 0, &recv) {
            Some(Ret::Event(e)) => Some(e.kind),
            None => None,
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn events_reach_the_groups_when_a_chain_is_over() {
        let (prf, mut cpu, mut sink) = (Prf::new(1), Cpu::new(MachineId(0), None, 0), Mute);
        let mut cx = Cx { ns: NsId::default(), cpu: &mut cpu, prf: &prf, sink: &mut sink, steps: true, taps: true };
        let mut spaces = Spaces::default();
        let ns = spaces.create(&mut cx, "a").unwrap();
        let mut open = |pid, groups| match call(&mut spaces, &mut cx, pid, &Call::Socket(groups)) {
            Some(Ret::Fd(fd)) => fd,
            other => panic!("{other:?}"),
        };
        let all = open(1, SocketKind::Conntrack(ALL));
        let gone = open(2, SocketKind::Conntrack(CtGroups { new: false, update: false, ..ALL }));
        let (ct, ctcx) = (&mut spaces.get_mut(ns).ct, CtCx::of(&cx));
        let view = Packet::new(&PACKET, Csum::Full);
        let (_, nfct) = nf_conntrack_in(ct, &ctcx, &view, Nfct::None, Hook::Output);
        let (_, nfct) = nf_conntrack_confirm(ct, &ctcx, nfct);
        ct.put(nfct);
        assert_eq!(kinds(&mut spaces, &mut cx, all), []);
        assert!(!spaces.work(&mut cx));
        assert_eq!(std::mem::take(&mut cx.cpu.wakes), [Pid(1)]);
        assert_eq!(kinds(&mut spaces, &mut cx, all), [Kind::New]);
        netlink::request(&mut spaces, &mut cx, ns, &Request::ConntrackFlush { portid: 1 }).unwrap();
        spaces.work(&mut cx);
        assert_eq!(kinds(&mut spaces, &mut cx, all), [Kind::Destroy]);
        assert_eq!(kinds(&mut spaces, &mut cx, gone), [Kind::Destroy]);
        for pid in [1, 2] {
            syscall::close_all(&mut spaces, &mut cx, ns, Pid(pid));
        }
        assert!(!multicast(spaces.get_mut(ns), &mut cx));
    }
}
