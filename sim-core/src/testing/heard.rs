//! The listener of a namespace: all that happens to one packet after the other.

use crate::base::{FrameId, IfIndex, NsId, PacketId};
use crate::kernel::netfilter::hook::TableName;
use crate::kernel::netfilter::table::Table;
use crate::kernel::trace::{DevName, Sink, Step, Tap};
use crate::observe::names::Names;
use std::collections::BTreeMap;
use std::sync::Arc;

/// So many steps of one packet and of what it causes are kept; what follows is not.
const MAX_STEPS: usize = 1 << 16;

/// What was heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    /// Since the packet that was sent or received last, in order.
    pub steps: Vec<Step>,
    /// Each frame as the first tap showed it, from its link-layer header on, and how long that is.
    pub frames: BTreeMap<FrameId, (PacketId, usize, Vec<u8>)>,
    /// What devices are called.
    pub names: Names,
    tables: BTreeMap<TableName, Arc<Table>>,
}

impl Heard {
    /// Forgets the last packet.
    pub fn clear(&mut self) {
        self.steps.clear();
        self.frames.clear();
    }

    /// A table as it is now; none if it was never used.
    pub fn rules(&self, name: TableName) -> Option<&Table> {
        self.tables.get(&name).map(|t| &**t)
    }
}

impl Sink for Heard {
    fn step(&mut self, step: &Step) {
        if self.steps.len() < MAX_STEPS {
            self.steps.push(*step);
        }
    }

    fn tap(&mut self, tap: &Tap<'_>) {
        if self.frames.len() < MAX_STEPS {
            self.frames.entry(tap.frame).or_insert_with(|| (tap.packet, tap.mac_len, tap.bytes.to_vec()));
        }
    }

    fn namespace(&mut self, ns: NsId, name: &str) {
        self.names.namespace(ns, name);
    }

    fn device(&mut self, dev: &DevName) {
        self.names.device(dev);
    }

    fn device_gone(&mut self, ns: NsId, dev: IfIndex) {
        self.names.device_gone(ns, dev);
    }

    fn table(&mut self, _: NsId, table: &Arc<Table>) {
        self.tables.insert(table.name(), Arc::clone(table));
    }
}
