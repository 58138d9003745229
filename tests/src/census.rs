//! A listener that counts births and deaths of frames.

use std::collections::BTreeSet;

use sim_core::base::{FrameId, NsId};
use sim_core::kernel::trace::{DevName, Fate, Sink, Step, Tap, What};

/// Who is alive, and what went against nature.
#[derive(Debug, Default)]
pub struct Census {
    /// Frames that were made and have not ended.
    pub alive: BTreeSet<FrameId>,
    /// Frames that were made twice, ended without being made, ended in a queue, or were seen dead.
    pub wrong: Vec<String>,
}

impl Sink for Census {
    fn step(&mut self, s: &Step) {
        match s.what {
            What::Made(_) if !self.alive.insert(s.frame) => self.wrong.push(format!("{} was made twice", s.frame)),
            What::Ended(Fate::Queued) => self.wrong.push(format!("{} ended in a queue", s.frame)),
            What::Ended(_) if !self.alive.remove(&s.frame) => self.wrong.push(format!("{} ended unborn", s.frame)),
            _ => {}
        }
    }
    fn tap(&mut self, t: &Tap<'_>) {
        if !self.alive.contains(&t.frame) {
            self.wrong.push(format!("{} was seen dead", t.frame));
        }
    }
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
}
