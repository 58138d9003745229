//! Links: the wires between physical nics of machines. A nic sends no faster than its rate (`kernel/dev/nic.rs`); from
//! its last bit on a frame is the link's, until it arrives or is lost.

use crate::base::rng::Purpose;
use crate::base::{MachineId, NicId, Prf, Salt, Time};
use crate::kernel::frame::Frame;
use std::collections::VecDeque;

/// As many frames are on one link in one direction; one more is lost.
pub const MAX_IN_FLIGHT: usize = 1 << 16;
/// Loss is counted in parts of this.
const PARTS: u64 = 1_000_000;

/// What a link is like, in both directions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSpec {
    /// From the last bit's leaving to the frame's arrival, in nanoseconds.
    pub latency_ns: u64,
    /// What each end sends, in bits per second; zero for no bound.
    pub rate_bps: u64,
    /// As many frames wait at each end while it sends (txqueuelen).
    pub queue: u32,
    /// So many frames of a million are lost.
    pub loss_ppm: u32,
}

impl Default for LinkSpec {
    /// 10 us (a rack), no bound, Linux's 1000 frames, no loss.
    fn default() -> Self {
        LinkSpec { latency_ns: 10_000, rate_bps: 0, queue: 1000, loss_ppm: 0 }
    }
}

/// What changes about a link that is there; what is none stays.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkChange {
    /// As [`LinkSpec::latency_ns`]. A frame that is sent later never overtakes.
    pub latency_ns: Option<u64>,
    /// As [`LinkSpec::rate_bps`]. What is being sent is sent at the old rate.
    pub rate_bps: Option<u64>,
    /// As [`LinkSpec::loss_ppm`].
    pub loss_ppm: Option<u32>,
    /// Whether it carries anything: both ends lose and find their carrier with it. What is on its way when it breaks is
    /// lost.
    pub up: Option<bool>,
}

/// A link's end: a nic of a machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct End {
    pub machine: MachineId,
    pub nic: NicId,
}

/// One direction of a link. Frames arrive in the order in which they were sent.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub from: End,
    pub to: End,
    /// By whom its losses are drawn: the sending machine and its nic.
    draws: [u64; 2],
    latency_ns: u64,
    loss_ppm: u32,
    flight: VecDeque<Flying>,
    /// Frames that were sent.
    sent: u64,
    /// When the last of them arrives.
    last: Time,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Flying {
    pub frame: Frame,
    /// It is not lost.
    pub whole: bool,
}

impl Lane {
    pub fn new(from: End, to: End, draws: [Salt; 2], spec: &LinkSpec) -> Self {
        let (latency_ns, loss_ppm) = (spec.latency_ns, spec.loss_ppm);
        let draws = draws.map(Salt::word);
        Lane { from, to, draws, latency_ns, loss_ppm, flight: VecDeque::new(), sent: 0, last: Time(0) }
    }

    /// The last bit of `frame` leaves at `done`. When it arrives; the frame itself if the link is full.
    pub fn send(&mut self, prf: &Prf, done: Time, frame: Frame) -> Result<Time, Frame> {
        if self.flight.len() >= MAX_IN_FLIGHT {
            return Err(frame);
        }
        self.sent += 1;
        let whole = self.loss_ppm == 0 || !self.loses(prf);
        self.flight.push_back(Flying { frame, whole });
        self.last = self.last.max(done + self.latency_ns);
        Ok(self.last)
    }

    /// The link changes under what it carries.
    pub fn change(&mut self, change: &LinkChange) {
        self.latency_ns = change.latency_ns.unwrap_or(self.latency_ns);
        self.loss_ppm = change.loss_ppm.unwrap_or(self.loss_ppm);
        if change.up == Some(false) {
            self.flight.iter_mut().for_each(|f| f.whole = false);
        }
    }

    /// The frame that arrives next.
    pub fn arrive(&mut self) -> Option<Flying> {
        self.flight.pop_front()
    }

    /// Frames on their way.
    pub fn in_flight(&self) -> usize {
        self.flight.len()
    }

    /// The fate of a frame depends on who sends it and on how many that end has sent before.
    fn loses(&self, prf: &Prf) -> bool {
        let input = [self.draws[0], self.draws[1], self.sent];
        prf.below(Purpose::LinkLoss, &input, PARTS) < u64::from(self.loss_ppm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FrameId;
    use crate::kernel::frame::Pool;

    fn lane(spec: LinkSpec) -> Lane {
        let end = |machine| End { machine: MachineId(machine), nic: NicId(0) };
        Lane::new(end(0), end(1), [0, 1].map(Salt::place), &spec)
    }

    #[test]
    fn what_is_sent_arrives_in_order_and_later() {
        let mut lane = lane(LinkSpec { latency_ns: 7, ..LinkSpec::default() });
        let mut pool = Pool::default();
        for n in 1..=3 {
            let arrival = lane.send(&Prf::new(1), Time(n), pool.fresh(FrameId(n))).expect("there is room");
            assert_eq!(arrival, Time(n + 7));
        }
        let order: Vec<_> = std::iter::from_fn(|| lane.arrive()).map(|f| (f.frame.id.0, f.whole)).collect();
        assert_eq!(order, [(1, true), (2, true), (3, true)]);
    }

    #[test]
    fn loss_has_its_share_and_its_seed() {
        let fates = |seed, loss_ppm| -> Vec<bool> {
            let mut lane = lane(LinkSpec { loss_ppm, ..LinkSpec::default() });
            let mut pool = Pool::default();
            let fate = |n| {
                lane.send(&Prf::new(seed), Time(n), pool.fresh(FrameId(n))).expect("there is room");
                lane.arrive().expect("it was sent").whole
            };
            (0..10_000).map(fate).collect()
        };
        let lost = |fates: &[bool]| fates.iter().filter(|whole| !**whole).count();
        assert_eq!((lost(&fates(1, 0)), lost(&fates(1, 1_000_000))), (0, 10_000));
        assert!((900..1_100).contains(&lost(&fates(1, 100_000))), "{}", lost(&fates(1, 100_000)));
        assert_eq!(fates(1, 100_000), fates(1, 100_000));
        assert_ne!(fates(1, 100_000), fates(2, 100_000));
    }

    #[test]
    fn a_link_that_gets_shorter_keeps_the_order() {
        let mut lane = lane(LinkSpec { latency_ns: 100, ..LinkSpec::default() });
        let mut pool = Pool::default();
        let mut send = |lane: &mut Lane, at| lane.send(&Prf::new(1), Time(at), pool.fresh(FrameId(at)));
        assert_eq!(send(&mut lane, 0).expect("there is room"), Time(100));
        lane.change(&LinkChange { latency_ns: Some(10), ..LinkChange::default() });
        assert_eq!(send(&mut lane, 1).expect("there is room"), Time(100), "behind the one before");
        assert_eq!(send(&mut lane, 95).expect("there is room"), Time(105));
    }

    #[test]
    fn what_is_on_a_link_that_breaks_is_lost() {
        let mut lane = lane(LinkSpec::default());
        let mut pool = Pool::default();
        lane.send(&Prf::new(1), Time(1), pool.fresh(FrameId(1))).expect("there is room");
        lane.change(&LinkChange { up: Some(false), ..LinkChange::default() });
        lane.change(&LinkChange { up: Some(true), ..LinkChange::default() });
        lane.send(&Prf::new(1), Time(2), pool.fresh(FrameId(2))).expect("there is room");
        let fates: Vec<bool> = std::iter::from_fn(|| lane.arrive()).map(|f| f.whole).collect();
        assert_eq!(fates, [false, true]);
    }

    #[test]
    fn a_link_holds_so_many_frames() {
        let mut lane = lane(LinkSpec::default());
        let mut pool = Pool::default();
        for n in 0..MAX_IN_FLIGHT as u64 {
            lane.send(&Prf::new(1), Time(n), pool.fresh(FrameId(n))).expect("there is room");
        }
        let back = lane.send(&Prf::new(1), Time(0), pool.fresh(FrameId(7))).expect_err("it is full");
        assert_eq!((back.id.0, lane.in_flight()), (7, MAX_IN_FLIGHT));
    }
}
