//! What a person reads: the records of all taps in one order, with the decisions between them.

use super::flows::Member;
use super::line::Conversations;
use super::names::Names;
use super::steps;
use crate::base::{FrameId, PacketId, Time};
use crate::kernel::frame::PacketType;
use crate::kernel::trace::{Edge, Step, Tap, What};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};

/// A line of a story.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Entry {
    /// When, in nanoseconds since the start.
    pub at: Time,
    /// In which namespace.
    pub namespace: String,
    /// The buffer.
    pub frame: FrameId,
    /// Its datagram.
    pub packet: PacketId,
    /// What.
    #[serde(flatten)]
    pub text: Text,
}

/// What a line says.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Text {
    /// A capture record.
    Record {
        /// The interface.
        device: String,
        /// `In`, `Out`, `B`, `M`, `P`.
        direction: String,
        /// The frame in the words of tcpdump.
        line: String,
    },
    /// A decision that the kernel took. One that begins with a space belongs to the one before.
    Note(String),
}

/// A story keeps this many lines; the rest is counted.
const MAX_ENTRIES: usize = 400;

/// The lines of one stretch of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Story {
    /// In the order in which things happened.
    pub entries: Vec<Entry>,
    /// Records that were left out.
    pub left_out: u64,
    #[serde(skip)]
    told: Option<Told>,
}

/// The step that was told last, with its frame.
type Told = (FrameId, What);

impl Story {
    pub(super) fn tap(&mut self, tap: &Tap<'_>, names: &Names, known: &mut Conversations) {
        if self.entries.len() >= MAX_ENTRIES {
            self.left_out += 1;
            return;
        }
        self.entries.push(record(tap, names, known));
        self.told = None;
    }

    pub(super) fn step(&mut self, step: &Step, names: &Names) {
        if self.entries.len() >= MAX_ENTRIES {
            return;
        }
        self.entries.extend(note(step, &mut self.told, names));
    }
}

fn record(tap: &Tap<'_>, names: &Names, known: &mut Conversations) -> Entry {
    let text = Text::Record {
        device: names.dev(tap.ns, tap.dev).to_owned(),
        direction: tap.pkt_type.label().to_owned(),
        line: known.line(tap.protocol(), tap.l3()),
    };
    Entry { at: tap.at, namespace: names.ns(tap.ns).to_owned(), frame: tap.frame, packet: tap.packet, text }
}

fn note(step: &Step, told: &mut Option<Told>, names: &Names) -> Option<Entry> {
    let before = told.filter(|(frame, _)| *frame == step.frame).map(|(_, what)| what);
    let text = Text::Note(steps::sentence(step, before, names)?);
    *told = Some((step.frame, step.what));
    Some(Entry { at: step.at, namespace: names.ns(step.ns).to_owned(), frame: step.frame, packet: step.packet, text })
}

/// Where packets have been: their records in order, kept while a frame of theirs is alive and for those that are
/// wanted.
#[derive(Clone, Debug, Default)]
pub struct Journeys {
    live: BTreeMap<PacketId, Journey>,
    finished: BTreeMap<PacketId, Journey>,
    wanted: BTreeMap<PacketId, ()>,
    /// The packets of the frames that are alive.
    frames: FxHashMap<FrameId, PacketId>,
    /// All packets up to this number of lines in all are wanted, for `trace`.
    keep_all: usize,
}

/// One packet's way.
#[derive(Clone, Debug, Default)]
pub struct Journey {
    /// Its flow and which way it goes there, once it is known.
    pub member: Option<Member>,
    /// Its lines: records and decisions.
    pub entries: Vec<Entry>,
    /// A proxy has sent it because of what these brought.
    pub proxied_from: Vec<PacketId>,
    /// Packets that a proxy has sent because of what it brought: `MAX_JOURNEY` at most.
    pub proxied_to: Vec<PacketId>,
    frames: u32,
    told: Option<Told>,
}

/// A journey keeps this many lines.
const MAX_JOURNEY: usize = 4096;

impl Journeys {
    /// Keeps the journeys of all packets, up to `lines` lines in all.
    pub fn all(lines: usize) -> Self {
        Journeys { keep_all: lines, ..Journeys::default() }
    }

    /// The journeys of all packets are kept: somebody wants to know everything.
    pub fn keeps_all(&self) -> bool {
        self.keep_all > 0
    }

    /// This packet's journey is to be kept.
    pub fn want(&mut self, packet: PacketId) {
        self.wanted.insert(packet, ());
    }

    /// The journey of a packet, finished or under way.
    pub fn get(&self, packet: PacketId) -> Option<&Journey> {
        self.finished.get(&packet).or_else(|| self.live.get(&packet))
    }

    /// All journeys that were kept, by packet.
    pub fn iter(&self) -> impl Iterator<Item = (PacketId, &Journey)> {
        let mut all: Vec<_> = self.finished.iter().chain(&self.live).map(|(p, j)| (*p, j)).collect();
        all.sort_by_key(|(p, _)| *p);
        all.into_iter()
    }

    pub(super) fn tap(&mut self, tap: &Tap<'_>, names: &Names, member: Option<Member>, known: &mut Conversations) {
        if let Some(j) = self.live.get_mut(&tap.packet) {
            j.member = member;
            j.told = None;
            j.push(|_| Some(record(tap, names, known)));
        }
    }

    pub(super) fn step(&mut self, step: &Step, names: &Names) {
        if let What::Made(edge) = step.what {
            self.live.entry(step.packet).or_default().frames += 1;
            self.frames.insert(step.frame, step.packet);
            if let Edge::CausedBy(cause) = edge {
                self.caused(step, cause, names);
            }
        }
        let Some(j) = self.live.get_mut(&step.packet) else { return };
        j.push(|told| note(step, told, names));
        if let What::Ended(_) = step.what {
            j.frames = j.frames.saturating_sub(1);
            self.frames.remove(&step.frame);
            if j.frames == 0 {
                self.finish(step.packet);
            }
        }
    }

    /// A packet that the kernel makes because of another is named in the other's journey, and the other in its own.
    fn caused(&mut self, step: &Step, cause: FrameId, names: &Names) {
        let Some(&packet) = self.frames.get(&cause) else { return };
        let notes = [
            (packet, format!("makes packet {} because of it", step.packet)),
            (step.packet, format!("made because of packet {packet}")),
        ];
        for (packet, note) in notes {
            if let Some(j) = self.live.get_mut(&packet) {
                let frame = if packet == step.packet { step.frame } else { cause };
                let namespace = names.ns(step.ns).to_owned();
                j.push(|_| Some(Entry { at: step.at, namespace, frame, packet, text: Text::Note(note) }));
            }
        }
    }

    /// A proxy has sent the packet at this tap because of what those brought. All are told of it.
    pub(super) fn proxied(&mut self, tap: &Tap<'_>, names: &Names, because_of: &[PacketId]) {
        let note = |packet, frame, note| Entry {
            at: tap.at,
            namespace: names.ns(tap.ns).to_owned(),
            frame,
            packet,
            text: Text::Note(note),
        };
        let to = tap.packet;
        for &from in because_of {
            let finished = self.finished.get_mut(&from);
            if let Some(j) = finished.or(self.live.get_mut(&from)).filter(|j| j.proxied_to.len() < MAX_JOURNEY) {
                let frame = j.entries.last().map_or(tap.frame, |last| last.frame);
                j.proxied_to.push(to);
                j.push(|_| Some(note(from, frame, format!("a proxy has read it, and goes on with packet {to}"))));
            }
            if let Some(j) = self.live.get_mut(&to) {
                j.proxied_from.push(from);
                j.push(|_| Some(note(to, tap.frame, format!("a proxy goes on with what packet {from} brought"))));
            }
        }
    }

    /// The packets on whose account proxies have sent this one, and those that they have sent on its account, with
    /// itself: the way of a request through all proxies, or that of an answer.
    pub fn path(&self, packet: PacketId) -> BTreeSet<PacketId> {
        let mut path = BTreeSet::from([packet]);
        let ways: [fn(&Journey) -> &[PacketId]; 2] = [|j| &j.proxied_from, |j| &j.proxied_to];
        for way in ways {
            let mut next = vec![packet];
            while let Some(packet) = next.pop() {
                let others = self.get(packet).map_or(&[][..], way);
                next.extend(others.iter().filter(|other| path.insert(**other)));
            }
        }
        path
    }

    fn finish(&mut self, packet: PacketId) {
        let Some(j) = self.live.remove(&packet) else { return };
        let all = j.entries.len() <= self.keep_all;
        if self.wanted.contains_key(&packet) || all && self.keep_all > 0 {
            self.keep_all = self.keep_all.saturating_sub(j.entries.len());
            self.finished.insert(packet, j);
        }
    }
}

impl Journey {
    /// When it was first heard of.
    pub fn began(&self) -> Option<Time> {
        self.entries.first().map(|e| e.at)
    }

    /// The places where it was recorded: `namespace/device direction`.
    pub fn hops(&self) -> impl Iterator<Item = String> {
        self.entries.iter().filter_map(|e| match &e.text {
            Text::Record { device, direction, .. } => Some(format!("{}/{device} {direction}", e.namespace)),
            Text::Note(_) => None,
        })
    }

    fn push(&mut self, entry: impl FnOnce(&mut Option<Told>) -> Option<Entry>) {
        if self.entries.len() < MAX_JOURNEY {
            self.entries.extend(entry(&mut self.told));
        }
    }
}

impl PacketType {
    /// The direction that a capture prints as `label`.
    pub fn from_label(label: &str) -> Option<Self> {
        let all = [Self::Host, Self::Broadcast, Self::Multicast, Self::OtherHost, Self::Outgoing];
        all.into_iter().find(|p| p.label() == label)
    }
}
