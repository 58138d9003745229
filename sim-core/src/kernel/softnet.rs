//! Mirrors struct softnet_data and net_rx_action of net/core/dev.c: what waits for the CPU to receive it, and whose
//! turn it is. The backlog (netif_rx) is one NAPI instance, each device that puts segments together (GRO) is another.
//! Read napi_poll and process_backlog before editing.

use super::cx::{Rx, Turn};
use super::dev::gro::Gro;
use super::frame::Frame;
use crate::base::{IfIndex, NsId};
use std::collections::{BTreeMap, VecDeque};

/// NAPI_POLL_WEIGHT and net.core.dev_weight: so many frames are received before others have their turn.
pub(in crate::kernel) const WEIGHT: u32 = 64;

/// struct softnet_data
#[derive(Clone, Debug, Default)]
pub(in crate::kernel) struct Softnet {
    /// input_pkt_queue and process_queue.
    input: VecDeque<Rx>,
    process: VecDeque<Rx>,
    /// Frames of the backlog's turn so far.
    work: u32,
    backlog_scheduled: bool,
    napis: Vec<Napi>,
    places: BTreeMap<(NsId, IfIndex), usize>,
    /// What goes round `another_round` of __netif_receive_skb_core: no queue of Linux's, so it comes before all others.
    rounds: VecDeque<Rx>,
    /// What net_rx_action works on, what was scheduled meanwhile, and what had its turn and is not through.
    list: VecDeque<Instance>,
    poll_list: VecDeque<Instance>,
    repoll: VecDeque<Instance>,
}

/// struct napi_struct
#[derive(Clone, Copy, Debug)]
enum Instance {
    Backlog,
    Device(usize),
}

/// The NAPI instance of a device.
#[derive(Clone, Debug)]
struct Napi {
    ns: NsId,
    dev: IfIndex,
    /// The cell of a tunnel, the ring of a veth.
    queue: VecDeque<Frame>,
    scheduled: bool,
    gro: Gro,
}

impl Softnet {
    /// Frames that wait.
    pub fn len(&self) -> usize {
        let backlog = self.input.len() + self.process.len() + self.rounds.len();
        if self.napis.is_empty() {
            return backlog;
        }
        let in_devices: usize =
            self.list.iter().chain(&self.poll_list).chain(&self.repoll).map(|i| self.waiting(*i)).sum();
        backlog + in_devices
    }

    fn waiting(&self, instance: Instance) -> usize {
        match instance {
            Instance::Backlog => 0,
            Instance::Device(at) => self.napis[at].queue.len(),
        }
    }

    /// Frames of the backlog that no turn has taken over.
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// enqueue_to_backlog
    pub fn push(&mut self, rx: Rx) {
        self.input.push_back(rx);
        if !std::mem::replace(&mut self.backlog_scheduled, true) {
            self.poll_list.push_back(Instance::Backlog);
        }
    }

    /// A frame has another device before its turn is over.
    pub fn push_round(&mut self, rx: Rx) {
        self.rounds.push_back(rx);
    }

    /// Frames that wait for the poll of a device.
    pub fn napi_len(&self, ns: NsId, dev: IfIndex) -> usize {
        self.places.get(&(ns, dev)).map_or(0, |at| self.napis[*at].queue.len())
    }

    /// Queues a frame for the poll of a device, which is scheduled (napi_schedule).
    pub fn push_napi(&mut self, ns: NsId, dev: IfIndex, f: Frame) {
        let at = *self.places.entry((ns, dev)).or_insert_with(|| {
            self.napis.push(Napi { ns, dev, queue: VecDeque::new(), scheduled: false, gro: Gro::default() });
            self.napis.len() - 1
        });
        let napi = &mut self.napis[at];
        napi.queue.push_back(f);
        if !std::mem::replace(&mut napi.scheduled, true) {
            self.poll_list.push_back(Instance::Device(at));
        }
    }

    /// net_rx_action: whose turn it is. process_backlog takes over the whole input queue when its own is empty.
    pub fn next(&mut self) -> Option<Turn> {
        if let Some(rx) = self.rounds.pop_front() {
            return Some(Turn::Round(rx));
        }
        loop {
            if self.list.is_empty() {
                std::mem::swap(&mut self.list, &mut self.poll_list);
                if !self.repoll.is_empty() {
                    self.list.append(&mut self.repoll);
                }
            }
            match *self.list.front()? {
                Instance::Device(at) => {
                    let Napi { ns, dev, queue, .. } = &self.napis[at];
                    if let Some(first) = queue.front() {
                        let frames = queue.len().min(WEIGHT as usize) as u32;
                        return Some(Turn::Poll { ns: *ns, dev: *dev, first: first.id, frames });
                    }
                    self.list.pop_front();
                    self.napis[at].scheduled = false;
                }
                Instance::Backlog => {
                    if self.process.is_empty() {
                        std::mem::swap(&mut self.process, &mut self.input);
                    }
                    if let Some(rx) = self.backlog() {
                        return Some(Turn::Frame(rx));
                    }
                    self.list.pop_front();
                    (self.backlog_scheduled, self.work) = (false, 0);
                }
            }
        }
    }

    /// One frame of the backlog; with the last that its turn allows it goes behind the others.
    fn backlog(&mut self) -> Option<Rx> {
        let rx = self.process.pop_front()?;
        self.work += 1;
        if self.work == WEIGHT {
            self.work = 0;
            self.list.pop_front();
            self.repoll.push_back(Instance::Backlog);
        }
        Some(rx)
    }

    /// The poll of a device begins: what it works with.
    pub fn begin_poll(&mut self, ns: NsId, dev: IfIndex) -> Gro {
        self.napi(ns, dev).map_or_else(Gro::default, |napi| std::mem::take(&mut napi.gro))
    }

    /// The next frame for the device.
    pub fn pop_napi(&mut self, ns: NsId, dev: IfIndex) -> Option<Frame> {
        self.napi(ns, dev)?.queue.pop_front()
    }

    /// The poll is over. What came meanwhile is polled later: `whole` if the poll had as many frames as it may.
    pub fn end_poll(&mut self, ns: NsId, dev: IfIndex, gro: Gro, whole: bool) {
        let Some(at) = self.places.get(&(ns, dev)).copied() else { return };
        let napi = &mut self.napis[at];
        napi.gro = gro;
        let instance = self.list.pop_front();
        match (whole, napi.queue.is_empty()) {
            (true, _) => self.repoll.extend(instance),
            // NAPI_STATE_MISSED
            (false, false) => self.poll_list.extend(instance),
            (false, true) => napi.scheduled = false,
        }
    }

    fn napi(&mut self, ns: NsId, dev: IfIndex) -> Option<&mut Napi> {
        let at = *self.places.get(&(ns, dev))?;
        self.napis.get_mut(at)
    }
}
