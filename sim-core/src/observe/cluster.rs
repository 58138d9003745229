//! captures/cluster.pcapng: every Ethernet interface of every machine in one file, in the order in which things
//! happened. Others have another link type, of which libpcap takes one a file.
//!
//! A record's packet id is the number of its frame, its comments name packet and flow, and say what became of it: that
//! an address was translated before the frame got here, or that the frame was dropped after it had been here. The
//! latter is known only later, so a record waits until its frame is seen again or ends, up to [`HELD_BYTES`].

use super::files::{FileNo, Files};
use super::names::Names;
use super::pcap::LINKTYPE_ETHERNET;
use super::pcapng::{self, Interface, Packet};
use super::steps;
use crate::base::{FlowId, FrameId, IfIndex, Mac, NsId};
use crate::kernel::trace::{DevName, Fate, Step, Tap, What};
use ipnet::Ipv4Net;
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// Records wait for what becomes of their frames while they are no more than this in all, in bytes.
const HELD_BYTES: usize = 1 << 20;
/// As many buffers of written records are kept for the next ones.
const SPARE_BUFFERS: usize = 64;

/// The capture of the whole cluster.
pub(super) struct Cluster {
    no: FileNo,
    epoch_ns: u64,
    interfaces: BTreeMap<(NsId, IfIndex), Seen>,
    /// Whose addresses are named in the file; none of those that several have, as in two labs side by side.
    named: BTreeMap<Ipv4Addr, Option<NsId>>,
    held: Held,
    /// What happened to a frame since it was seen last.
    notes: FxHashMap<FrameId, Vec<String>>,
    text: String,
}

/// An interface that is described in the file.
struct Seen {
    number: u32,
    records: u64,
}

impl Cluster {
    pub fn new(files: &mut Files<'_>, epoch_ns: u64) -> Self {
        let no = files.create("captures/cluster.pcapng".to_owned());
        files.write(no, pcapng::section);
        Cluster {
            no,
            epoch_ns,
            interfaces: BTreeMap::new(),
            named: BTreeMap::new(),
            held: Held::default(),
            notes: FxHashMap::default(),
            text: String::new(),
        }
    }

    /// The capture begins: what is there now is described and named.
    pub fn start(&mut self, files: &mut Files<'_>, names: &Names) {
        for dev in names.devices().filter(|d| d.is_ether()) {
            self.number(files, names, dev.ns, dev.dev);
        }
        for (addr, ns) in names.devices().flat_map(addresses) {
            self.named.entry(addr).and_modify(|one| *one = one.filter(|o| *o == ns)).or_insert(Some(ns));
        }
        let named = self.named.iter().filter_map(|(addr, ns)| Some((*addr, names.ns((*ns)?))));
        files.write(self.no, |w| pcapng::names(w, named));
    }

    /// A device has other addresses.
    pub fn device(&mut self, files: &mut Files<'_>, names: &Names, dev: &DevName) {
        for (addr, ns) in addresses(dev) {
            if self.named.contains_key(&addr) {
                continue;
            }
            self.named.insert(addr, Some(ns));
            files.write(self.no, |w| pcapng::names(w, [(addr, names.ns(ns))]));
        }
    }

    /// A frame at a tap of an Ethernet interface.
    pub fn record(&mut self, files: &mut Files<'_>, names: &Names, tap: &Tap<'_>, flow: Option<FlowId>) {
        if !names.is_ether(tap.ns, tap.dev) {
            return;
        }
        let interface = self.number(files, names, tap.ns, tap.dev);
        if let Some(seen) = self.interfaces.get_mut(&(tap.ns, tap.dev)) {
            seen.records += 1;
        }
        let at_ns = self.epoch_ns + tap.at.0;
        let mut bytes = self.held.buffer();
        let (id, pkt_type) = (tap.frame.0, tap.pkt_type);
        pcapng::packet(&mut bytes, &Packet { interface, at_ns, bytes: tap.bytes, id, pkt_type });
        self.text.clear();
        let _ = write!(self.text, "packet {}", tap.packet);
        if let Some(flow) = flow {
            let _ = write!(self.text, ", flow {flow}");
        }
        pcapng::comment(&mut bytes, &self.text);
        for note in self.notes.remove(&tap.frame).into_iter().flatten() {
            pcapng::comment(&mut bytes, &note);
        }
        self.held.push(tap.frame, bytes);
        self.held.release(files, self.no, HELD_BYTES);
    }

    /// Secrets of a program. They stand before all records that wait, and so before the packets that need them.
    pub fn secrets(&self, files: &mut Files<'_>, lines: &str) {
        files.write(self.no, |w| pcapng::secrets(w, lines));
    }

    /// What happened to a frame between its records.
    pub fn step(&mut self, files: &mut Files<'_>, names: &Names, step: &Step) {
        let note = || steps::sentence(step, None, names).unwrap_or_default().trim().to_owned();
        match step.what {
            What::Nat { .. } => self.notes.entry(step.frame).or_default().push(note()),
            What::Ended(fate) => {
                self.notes.remove(&step.frame);
                let dropped = matches!(fate, Fate::Dropped(_)).then(note);
                self.held.settle(step.frame, dropped);
                self.held.release(files, self.no, HELD_BYTES);
            }
            _ => {}
        }
    }

    /// The capture ends, `end_ns` nanoseconds after it began.
    pub fn finish(mut self, files: &mut Files<'_>, end_ns: u64) {
        self.held.release(files, self.no, 0);
        let mut seen: Vec<_> = self.interfaces.into_values().collect();
        seen.sort_unstable_by_key(|s| s.number);
        let (start, end) = (self.epoch_ns, self.epoch_ns + end_ns);
        for Seen { number, records } in seen {
            files.write(self.no, |w| pcapng::statistics(w, number, start, end, records));
        }
    }

    /// The number of an interface, which is described when it is seen first.
    fn number(&mut self, files: &mut Files<'_>, names: &Names, ns: NsId, dev: IfIndex) -> u32 {
        let next = self.interfaces.len() as u32;
        let seen = self.interfaces.entry((ns, dev)).or_insert_with(|| {
            let known = names.get(ns, dev);
            let interface = Interface {
                name: &format!("{}/{}", names.ns(ns), names.dev(ns, dev)),
                mac: known.map(|d| d.mac).filter(|mac| *mac != Mac([0; 6])),
                addrs: known.map_or(&[][..], |d| &d.addrs),
                linktype: LINKTYPE_ETHERNET as u16,
            };
            files.write(self.no, |w| pcapng::interface(w, &interface));
            Seen { number: next, records: 0 }
        });
        seen.number
    }
}

/// What names a namespace: not an address that everybody has.
fn addresses(dev: &DevName) -> impl Iterator<Item = (Ipv4Addr, NsId)> + '_ {
    dev.addrs.iter().map(Ipv4Net::addr).filter(|a| !a.is_loopback()).map(|a| (a, dev.ns))
}

/// Records that wait, the oldest first.
#[derive(Default)]
struct Held {
    records: VecDeque<Record>,
    /// So many were released before the first of `records`.
    released: u64,
    bytes: usize,
    /// Which record shows a frame last, counted from the first of all.
    last: FxHashMap<FrameId, u64>,
    spare: Vec<Vec<u8>>,
}

struct Record {
    frame: FrameId,
    bytes: Vec<u8>,
    /// Nothing more is going to be said about it.
    settled: bool,
}

impl Held {
    fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_default()
    }

    fn push(&mut self, frame: FrameId, bytes: Vec<u8>) {
        let number = self.released + self.records.len() as u64;
        if let Some(before) = self.last.insert(frame, number).and_then(|before| self.get(before)) {
            before.settled = true;
        }
        self.bytes += bytes.len();
        self.records.push_back(Record { frame, bytes, settled: false });
    }

    /// A frame ended: nothing follows its last record.
    fn settle(&mut self, frame: FrameId, comment: Option<String>) {
        let Some(record) = self.last.remove(&frame).and_then(|last| self.get(last)) else { return };
        record.settled = true;
        let before = record.bytes.len();
        if let Some(text) = comment {
            pcapng::comment(&mut record.bytes, &text);
        }
        let more = record.bytes.len() - before;
        self.bytes += more;
    }

    fn get(&mut self, number: u64) -> Option<&mut Record> {
        let at = number.checked_sub(self.released).and_then(|at| usize::try_from(at).ok());
        self.records.get_mut(at?)
    }

    /// Writes the oldest records: those that are settled, and as many more as it takes to hold `most` bytes.
    fn release(&mut self, files: &mut Files<'_>, no: FileNo, most: usize) {
        while self.records.front().is_some_and(|first| first.settled || self.bytes > most) {
            let Some(Record { frame, mut bytes, settled }) = self.records.pop_front() else { return };
            if !settled {
                self.last.remove(&frame);
            }
            self.released += 1;
            self.bytes -= bytes.len();
            pcapng::end_packet(&mut bytes);
            files.write(no, |w| w.extend_from_slice(&bytes));
            if self.spare.len() < SPARE_BUFFERS {
                bytes.clear();
                self.spare.push(bytes);
            }
        }
    }
}
