//! The listener of a run: one place that hears everything and hands it to the outputs.

use super::capture::Captures;
use super::files::{FileNo, Files, Store, Written};
use super::flows::Flows;
use super::names::Names;
use super::steps;
use super::story::{Journeys, Story};
use crate::base::NsId;
use crate::kernel::netfilter::table::Table;
use crate::kernel::trace::{DevName, Fate, Sink, Step, Tap, What};
use crate::wire::ethertype;
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
    /// The captures and records.jsonl.
    pub captures: bool,
    /// trace.jsonl.
    pub trace: bool,
}

/// Listens to a run: captures, records.jsonl, trace.jsonl, stories, journeys, counts.
pub struct Recorder<'a, W> {
    files: Files<'a>,
    captures: Option<Captures>,
    trace: Option<FileNo>,
    /// Names of things, as announced.
    pub names: Names,
    flows: Flows,
    /// Packets' ways, if somebody wants them.
    pub journeys: Option<Journeys>,
    /// The lines since the last [`Recorder::take_story`].
    story: Story,
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
    pub fn new(store: &'a mut dyn Store, epoch_ns: u64, outputs: Outputs, watcher: W) -> Self {
        let mut files = Files::new(store);
        let captures = outputs.captures.then(|| Captures::new(&mut files, epoch_ns));
        let trace = outputs.trace.then(|| files.create("trace.jsonl".to_owned()));
        Recorder {
            files,
            captures,
            trace,
            names: Names::default(),
            flows: Flows::default(),
            journeys: None,
            story: Story::default(),
            watcher,
            counts: Counts::default(),
            muted: true,
        }
    }

    /// Set-up is over: from now on everything is recorded.
    pub fn start(&mut self) {
        self.muted = false;
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

    /// Ends the files; lengths and digests by path.
    ///
    /// # Errors
    /// The first that the store returned.
    pub fn finish(self) -> io::Result<(BTreeMap<String, Written>, W)> {
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
                let flow = self.flows.known(step.packet);
                let line = steps::line(step, &self.names, flow);
                self.files.write(trace, |w| {
                    w.extend_from_slice(line.as_bytes());
                    w.push(b'\n');
                });
            }
        }
        if let What::Ended(_) = step.what {
            self.flows.ended(step.packet);
        }
    }

    fn tap(&mut self, tap: &Tap<'_>) {
        let flow = self.flows.of(tap.packet, ethertype(tap.bytes), &tap.bytes[tap.mac_len..]);
        if self.muted {
            return;
        }
        if let Some(j) = &mut self.journeys {
            j.tap(tap, &self.names, flow);
        }
        self.watcher.tap(tap, &self.names, self.journeys.as_mut());
        self.story.tap(tap, &self.names);
        if let Some(c) = &mut self.captures {
            c.record(&mut self.files, &self.names, tap, flow);
        }
    }

    fn namespace(&mut self, ns: NsId, name: &str) {
        self.names.namespace(ns, name);
    }

    fn device(&mut self, dev: &DevName) {
        self.names.device(dev);
    }

    fn table(&mut self, ns: NsId, table: &Arc<Table>) {
        self.names.table(ns, table);
    }

    fn details(&self) -> bool {
        self.journeys.as_ref().is_some_and(Journeys::keeps_all)
    }
}

/// Nobody watches.
impl Watcher for () {
    fn tap(&mut self, _: &Tap<'_>, _: &Names, _: Option<&mut Journeys>) {}
}
