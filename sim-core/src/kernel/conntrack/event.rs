//! Mirrors net/netfilter/nf_conntrack_ecache.c: what `conntrack -E` hears. What a packet changes is noted while it is
//! tracked and told when it leaves, in one event.

use super::entry::Info;
use crate::base::Time;

/// As many events may wait to be read; what comes after is lost, as with a full netlink socket.
pub const MAX_EVENTS: usize = 1 << 16;

/// IPCT_* bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mask(u16);

impl Mask {
    pub(super) const NEW: Mask = Mask(1);
    pub(super) const REPLY: Mask = Mask(1 << 3);
    pub(super) const ASSURED: Mask = Mask(1 << 4);
    pub(super) const PROTOINFO: Mask = Mask(1 << 5);
    pub(super) const MARK: Mask = Mask(1 << 7);

    pub(super) fn set(&mut self, bit: Mask) {
        self.0 |= bit.0;
    }

    pub(super) fn has(self, bit: Mask) -> bool {
        self.0 & bit.0 != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What an event is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A connection was confirmed.
    New,
    /// Something about it changed.
    Update,
    /// It is gone.
    Destroy,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Event {
    /// When.
    pub at: Time,
    /// What.
    pub kind: Kind,
    /// The connection then.
    pub info: Info,
    /// The protocol's state is part of it.
    pub protoinfo: bool,
    /// The mark is part of it.
    pub mark: bool,
    /// The netlink port of the process that did it.
    pub portid: Option<u32>,
}

/// Events that nobody has read yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    pub listening: bool,
    pub events: Vec<Event>,
    pub lost: u64,
}

impl Queue {
    pub fn push(&mut self, event: Event) {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event);
        } else {
            self.lost += 1;
        }
    }
}
