//! The listener of a run: one place that hears everything and hands it to the outputs.

use super::capture::Captures;
use super::cluster::Cluster;
use super::connections::Connections;
use super::files::{FileNo, Files, Store, Written};
use super::flows::{Flows, Member};
use super::line::Conversations;
use super::names::{Labels, Names};
use super::proxies::Proxies;
use super::steps;
use super::story::{Journeys, Story};
use crate::base::{IfIndex, NsId, PacketId, Time};
use crate::engine::World;
use crate::kernel::netfilter::table::Table;
use crate::kernel::trace::{Consumer, DevName, Fate, Proxied, Sink, Step, Tap, What};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Somebody else who wants to see the taps of a run, with the names of things: expectations.
pub trait Watcher {
    /// A frame passed a tap.
    fn tap(&mut self, tap: &Tap<'_>, names: &Names, journeys: Option<&mut Journeys>);
}

/// What a recorder writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outputs {
    /// The captures of interfaces and namespaces, the key log of their TLS, and records.jsonl.
    pub captures: bool,
    /// captures/cluster.pcapng.
    pub cluster: bool,
    /// flows.jsonl.
    pub flows: bool,
    /// trace.jsonl.
    pub trace: bool,
}

impl Outputs {
    /// Everything.
    pub const ALL: Outputs = Outputs { captures: true, cluster: true, flows: true, trace: true };
    /// Nothing.
    pub const NONE: Outputs = Outputs { captures: false, cluster: false, flows: false, trace: false };
}

/// Listens to a run: captures, records.jsonl, flows.jsonl, trace.jsonl, stories, journeys, counts.
pub struct Recorder<'a, W> {
    files: Files<'a>,
    captures: Option<Captures>,
    cluster: Option<Cluster>,
    connections: Option<Connections>,
    trace: Option<FileNo>,
    /// captures/sslkeys.log, once there is a line in it.
    key_log: Option<FileNo>,
    /// Names of things, as announced.
    pub names: Names,
    flows: Flows,
    proxies: Proxies,
    /// Packets' ways, if somebody wants them.
    pub journeys: Option<Journeys>,
    /// The lines since the last [`Recorder::take_story`].
    story: Story,
    conversations: Conversations,
    /// Who watches the taps besides.
    pub watcher: W,
    counts: Counts,
    muted: bool,
}

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Frames made: created and cloned.
    pub frames: u64,
    /// Frames that ended in a socket or in the kernel.
    pub arrived: u64,
    /// Frames that were dropped.
    pub dropped: u64,
    /// Capture records.
    pub records: u64,
}

impl<'a, W: Watcher> Recorder<'a, W> {
    /// A listener that writes to `store`. Time stamps count from `epoch_ns` nanoseconds since 1970.
    pub fn new(store: &'a mut dyn Store, epoch_ns: u64, outputs: Outputs, labels: Labels, watcher: W) -> Self {
        let mut files = Files::new(store);
        let captures = outputs.captures.then(|| Captures::new(&mut files, epoch_ns, outputs.cluster));
        let cluster = outputs.cluster.then(|| Cluster::new(&mut files, epoch_ns));
        let trace = outputs.trace.then(|| files.create("trace.jsonl".to_owned()));
        Recorder {
            files,
            captures,
            cluster,
            connections: outputs.flows.then(Connections::default),
            trace,
            key_log: None,
            names: Names::with(labels),
            flows: Flows::default(),
            proxies: Proxies::default(),
            journeys: None,
            story: Story::default(),
            conversations: Conversations::default(),
            watcher,
            counts: Counts::default(),
            muted: true,
        }
    }

    /// Set-up is over: from now on everything is recorded.
    pub fn start(&mut self) {
        if std::mem::replace(&mut self.muted, false)
            && let Some(c) = &mut self.cluster
        {
            c.start(&mut self.files, &self.names);
        }
    }

    /// The story since the last call.
    pub fn take_story(&mut self) -> Story {
        std::mem::take(&mut self.story)
    }

    /// How much happened so far.
    pub fn counts(&self) -> Counts {
        Counts { records: self.captures.as_ref().map_or(0, Captures::count), ..self.counts }
    }

    /// Adds a file that is known as a whole.
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        let no = self.files.create(path.to_owned());
        self.files.write(no, |w| w.extend_from_slice(bytes));
    }

    /// A proxy has sent this packet because of those.
    fn sent_by_proxy(&mut self, tap: &Tap<'_>, member: Option<Member>, because_of: &[PacketId]) {
        if let Some(trace) = self.trace {
            let line = steps::proxied_line(tap, &self.names, member.map(|m| m.flow), because_of);
            self.files.write(trace, |w| {
                w.extend_from_slice(line.as_bytes());
                w.push(b'\n');
            });
        }
        if let Some(j) = &mut self.journeys {
            j.proxied(tap, &self.names, because_of);
        }
    }

    /// Ends the files of a run that has come to `ended` and left `world`; lengths and digests by path.
    ///
    /// # Errors
    /// The first that the store returned.
    pub fn finish(mut self, world: &World, ended: Time) -> io::Result<(BTreeMap<String, Written>, W)> {
        if let Some(c) = self.cluster {
            c.finish(&mut self.files, ended.0);
        }
        if let Some(c) = &self.connections {
            c.finish(&mut self.files, &self.names, &self.flows, world);
        }
        Ok((self.files.finish()?, self.watcher))
    }
}

impl<W: Watcher> Sink for Recorder<'_, W> {
    fn step(&mut self, step: &Step) {
        match step.what {
            What::Made(_) => {
                self.counts.frames += 1;
                self.flows.made(step.packet);
            }
            What::Nat { .. } => self.flows.translated(step.packet),
            What::Ended(Fate::Dropped(_)) => self.counts.dropped += 1,
            What::Ended(_) => self.counts.arrived += 1,
            _ => {}
        }
        if let Some(j) = &mut self.journeys {
            j.step(step, &self.names);
        }
        if !self.muted {
            self.story.step(step, &self.names);
            if let Some(trace) = self.trace {
                let flow = self.flows.known(step.packet).map(|m| m.flow);
                let line = steps::line(step, &self.names, flow);
                self.files.write(trace, |w| {
                    w.extend_from_slice(line.as_bytes());
                    w.push(b'\n');
                });
            }
            if let Some(c) = &mut self.cluster {
                c.step(&mut self.files, &self.names, step);
            }
            if let Some(c) = &mut self.connections {
                c.step(step, self.flows.known(step.packet));
            }
        }
        if let What::Ended(fate) = step.what {
            // What GRO has put together comes to the socket as one.
            if matches!(fate, Fate::Delivered | Fate::Consumed(Consumer::Gro)) {
                self.proxies.delivered(step.packet);
            }
            if self.flows.ended(step.packet) {
                self.proxies.forget(step.packet);
                if let Some(c) = &mut self.connections {
                    c.forget(step.packet);
                }
            }
        }
    }

    fn tap(&mut self, tap: &Tap<'_>) {
        let traced = self.trace.is_some() || self.journeys.is_some();
        let unseen = (traced || self.connections.is_some()) && self.flows.known(tap.packet).is_none();
        let member = self.flows.of(tap.packet, tap.protocol(), tap.l3());
        let new = member.filter(|_| unseen && traced);
        let because_of = new.map(|member| self.proxies.first_seen(tap, member)).unwrap_or_default();
        if self.muted {
            return;
        }
        if !because_of.is_empty() {
            self.sent_by_proxy(tap, member, &because_of);
        }
        let flow = member.map(|m| m.flow);
        if let Some(j) = &mut self.journeys {
            j.tap(tap, &self.names, member, &mut self.conversations);
        }
        self.watcher.tap(tap, &self.names, self.journeys.as_mut());
        self.story.tap(tap, &self.names, &mut self.conversations);
        if let Some(c) = &mut self.captures {
            c.record(&mut self.files, &self.names, tap, flow);
        }
        if let Some(c) = &mut self.cluster {
            c.record(&mut self.files, &self.names, tap, flow);
        }
        if let (Some(c), Some(member)) = (&mut self.connections, member) {
            c.record(tap, member, unseen);
        }
    }

    fn namespace(&mut self, ns: NsId, name: &str) {
        self.names.namespace(ns, name);
    }

    fn device(&mut self, dev: &DevName) {
        self.names.device(dev);
        if let Some(c) = &mut self.cluster
            && !self.muted
        {
            c.device(&mut self.files, &self.names, dev);
        }
    }

    fn device_gone(&mut self, ns: NsId, dev: IfIndex) {
        self.names.device_gone(ns, dev);
    }

    fn table(&mut self, ns: NsId, table: &Arc<Table>) {
        self.names.table(ns, table);
    }

    fn secrets(&mut self, lines: &str) {
        if self.muted {
            return;
        }
        if self.captures.is_some() {
            let no = *self.key_log.get_or_insert_with(|| self.files.create("captures/sslkeys.log".to_owned()));
            self.files.write(no, |w| w.extend_from_slice(lines.as_bytes()));
        }
        if let Some(c) = &self.cluster {
            c.secrets(&mut self.files, lines);
        }
    }

    fn proxied(&mut self, edge: &Proxied) {
        if edge.bytes.is_some() {
            self.proxies.proxied(edge, &self.flows);
        } else if let Some(c) = &mut self.connections
            && !self.muted
        {
            c.proxied(edge, &self.flows);
        }
    }

    fn details(&self) -> bool {
        self.journeys.as_ref().is_some_and(Journeys::keeps_all)
    }
}

/// Nobody watches.
impl Watcher for () {
    fn tap(&mut self, _: &Tap<'_>, _: &Names, _: Option<&mut Journeys>) {}
}
