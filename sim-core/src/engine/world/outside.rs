//! Links that lead out of the world: whoever holds the world is at their other end. What comes in by them is given by
//! hand, what goes out is collected.

use super::{ConfigureError, LimitHit, MachineId, World, run};
use crate::base::{FrameId, NicId, NsId, PacketId, Time};
use crate::kernel::frame::Frame;
use crate::kernel::netlink::Hardware;
use crate::kernel::trace::Sink;
use crate::wire::ETH_HLEN;

/// Where the lane of a nic would begin whose link leads out of the world.
pub(super) const OUTSIDE: usize = usize::MAX - 1;
/// As many frames that have left wait to be taken; one more is lost.
pub const MAX_DEPARTED: usize = 1 << 16;
/// A frame from outside is at most this long: an Ethernet header and the longest IPv4 packet, in bytes.
pub const MAX_FRAME_BYTES: usize = ETH_HLEN + 65_535;

/// A frame that has left the world.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Departed {
    /// Whose nic has sent it.
    pub machine: MachineId,
    /// The nic.
    pub nic: NicId,
    /// When its last bit left.
    pub at: Time,
    /// The buffer that it was.
    pub frame: FrameId,
    /// Its datagram.
    pub packet: PacketId,
    /// Its bytes, from the Ethernet header on.
    pub bytes: Vec<u8>,
}

/// What has left, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Outside {
    departed: Vec<Departed>,
    count: u64,
}

impl Outside {
    /// As many as may wait do.
    pub(super) fn is_full(&self) -> bool {
        self.departed.len() >= MAX_DEPARTED
    }

    /// How many have left since the world began.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// A frame leaves; its buffer stays.
    pub(super) fn take(&mut self, machine: MachineId, nic: NicId, at: Time, f: Frame) -> Frame {
        self.count += 1;
        let bytes = f.bytes().to_vec();
        self.departed.push(Departed { machine, nic, at, frame: f.id, packet: f.packet, bytes });
        f
    }
}

impl World {
    /// A new physical nic in `ns` whose link leads out of the world. It sends at once, however much it is.
    ///
    /// # Errors
    /// The name is taken or none.
    pub fn open(&mut self, ns: NsId, name: &str, sink: &mut dyn Sink) -> Result<NicId, ConfigureError> {
        let hardware = Hardware { name: name.to_owned(), vf: None, rate_bps: 0, queue: 1000 };
        let at = usize::from(ns.machine().0);
        let nic = self.machines[at].probe(&mut run(&self.prf, &self.config, sink), ns, &hardware)?;
        self.plugs[at].push(OUTSIDE);
        Ok(nic)
    }

    /// A frame comes in by a nic, now: an Ethernet header and what follows, cut at [`MAX_FRAME_BYTES`]. Returns its
    /// number.
    ///
    /// # Errors
    /// A limit that what it caused ran into.
    pub fn arrive(
        &mut self,
        machine: MachineId,
        nic: NicId,
        bytes: &[u8],
        sink: &mut dyn Sink,
    ) -> Result<FrameId, LimitHit> {
        let at = usize::from(machine.0);
        let m = &mut self.machines[at];
        m.cpu.now = m.cpu.now.max(self.now);
        let bytes = &bytes[..bytes.len().min(MAX_FRAME_BYTES)];
        let frame = m.receive_foreign(&mut run(&self.prf, &self.config, sink), nic, bytes)?;
        self.carry(at, sink);
        self.after(at);
        Ok(frame)
    }

    /// It is `now` on all machines, where all that was to happen before has happened ([`World::run`]): what comes in
    /// next comes in then.
    pub fn set_time(&mut self, now: Time) {
        self.now = self.now.max(now);
        for m in &mut self.machines {
            m.cpu.now = m.cpu.now.max(now);
        }
    }

    /// The frames that have left since this was asked last, the oldest first.
    pub fn take_departed(&mut self) -> Vec<Departed> {
        std::mem::take(&mut self.outside.departed)
    }
}
