//! Ids are numbers inside; names stand at the edges. An id that leaves its machine carries the machine in its high
//! bits, so that machines can number their own without asking each other.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($of:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(pub $of);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id!(
    /// One kernel with one CPU.
    MachineId(u16)
);
id!(
    /// A network namespace: its machine in the upper 16 bits, its index on that machine in the lower.
    NsId(u32)
);
id!(
    /// A network device, by Linux's interface index: counted from 1 in each namespace and never reused there.
    IfIndex(u32)
);
id!(
    /// A physical network interface, counted from 0 on each machine: it keeps its number in whichever namespace it is.
    NicId(u32)
);
id!(
    /// One buffer. 24 bits of machine, 40 of counter.
    FrameId(u64)
);
id!(
    /// The datagram that a sender made; it keeps its id through NAT, flooding, tunnels and fragments.
    PacketId(u64)
);
id!(
    /// A connection as its first packet shows it, both directions; numbered from 1 in order of appearance.
    FlowId(u32)
);
id!(
    /// A process on one machine.
    Pid(u32)
);

impl Pid {
    /// The kernel itself: no process has this number.
    pub const KERNEL: Pid = Pid(0);
}

impl NsId {
    /// The id of namespace number `index` on `machine`.
    pub fn new(machine: MachineId, index: usize) -> Self {
        debug_assert!(index < 1 << 16, "limited by MAX_NAMESPACES");
        NsId(u32::from(machine.0) << 16 | index as u32)
    }

    /// The machine that holds it.
    pub fn machine(self) -> MachineId {
        MachineId((self.0 >> 16) as u16)
    }

    /// Its place in the machine's list of namespaces.
    pub fn index(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

impl FrameId {
    /// The `count`th frame that `machine` made.
    pub fn new(machine: MachineId, count: u64) -> Self {
        FrameId(u64::from(machine.0) << 40 | count)
    }
}

impl From<FrameId> for PacketId {
    /// A packet is named by its first frame.
    fn from(frame: FrameId) -> Self {
        PacketId(frame.0)
    }
}
