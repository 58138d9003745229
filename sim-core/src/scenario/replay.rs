//! Going back and forth in a run. Its state at an instant is the nearest checkpoint before it, and what follows from it
//! once more, with nobody listening: outputs are written when the run gets somewhere for the first time.

use super::course::{Course, Goal, Only};
use super::plan::Plan;
use super::report::Report;
use super::run::{Options, Progress, Recording, RunError, begin};
use crate::base::Time;
use crate::engine::{LimitHit, World};
use crate::kernel::trace::Mute;
use crate::observe::Store;

/// As many checkpoints are kept of a run. One more, and every other one is dropped.
pub const MAX_CHECKPOINTS: usize = 32;
/// Between the first checkpoints lie so many events; twice as many each time that some were dropped.
const FIRST_STRIDE: u64 = 64;

/// A run that can be taken to any time, again and again.
///
/// ```text
/// events   0 ---- 64 ---- 128 ---- …         checkpoints: clones of the run between two chains
///          *        *        *     |
///                         ^~~~~~   front: as far as anybody has looked; the outputs are written up to here
///                         cursor: a look back, muted
/// ```
pub struct Replay<'a, 'p> {
    recording: Recording<'a, 'p>,
    front: Course<'p>,
    /// The last look back, or beyond the end.
    cursor: Option<Course<'p>>,
    /// Earliest first; the first is the end of the set-up.
    checkpoints: Vec<Course<'p>>,
    stride: u64,
    limit: Option<LimitHit>,
}

impl<'a, 'p> Replay<'a, 'p> {
    /// A run at its beginning, after the set-up. Its outputs go to `store`.
    ///
    /// # Errors
    /// As for [`run`](super::run()).
    pub fn new(
        plan: &'p Plan,
        store: &'a mut dyn Store,
        options: Options,
        progress: &'a mut dyn Progress,
    ) -> Result<Self, RunError> {
        let (recording, front) = begin(plan, store, options, progress, vec![])?;
        let checkpoints = vec![front.clone()];
        Ok(Replay { recording, front, cursor: None, checkpoints, stride: FIRST_STRIDE, limit: None })
    }

    /// The world at this time, later or earlier than the last one: everything up to and including that instant has
    /// happened, but for commands of `traffic:` that start at it. Beyond the plan's end time goes on, and nothing of it
    /// is recorded.
    ///
    /// # Errors
    /// A limit ended the run before.
    pub fn at(&mut self, at: Time) -> Result<&World, LimitHit> {
        self.lead(Goal::Time(at));
        if let Some(limit) = self.limit.as_ref().filter(|limit| limit.at <= at) {
            return Err(limit.clone());
        }
        let known = self.checkpoints.iter().chain(&self.cursor).chain([&self.front]);
        let nearest = known.filter(|course| course.since() <= at).max_by_key(|course| course.world.events());
        let mut course = match nearest {
            Some(course) => course.clone(),
            None => self.checkpoints[0].clone(),
        };
        course.go(Goal::Beyond(at), u64::MAX, &mut Only(&mut Mute))?;
        Ok(&self.cursor.insert(course).world)
    }

    /// The world at the plan's end.
    ///
    /// # Errors
    /// A limit ended the run before.
    pub fn end(&mut self) -> Result<&World, LimitHit> {
        self.lead(Goal::End);
        match &self.limit {
            Some(limit) => Err(limit.clone()),
            None => Ok(&self.front.world),
        }
    }

    /// When the plan's end is, or the limit that ended it.
    pub fn ended(&mut self) -> Time {
        self.lead(Goal::End);
        self.front.reached
    }

    /// How many checkpoints there are, at most [`MAX_CHECKPOINTS`].
    pub fn checkpoints(&self) -> usize {
        self.checkpoints.len()
    }

    /// Goes on to the plan's end; what [`run`](super::run()) would have returned, and the same outputs.
    ///
    /// # Errors
    /// An output could not be written.
    pub fn finish(mut self) -> Result<Report, RunError> {
        self.lead(Goal::End);
        self.recording.report(&self.front, self.limit).map_err(RunError::Output)
    }

    /// Takes the front on, from checkpoint to checkpoint; it never goes back.
    fn lead(&mut self, goal: Goal) {
        while !self.front.is_over() {
            let next = self.checkpoints.last().map_or(0, |course| course.world.events()) + self.stride;
            match self.front.go(goal, next, &mut self.recording) {
                Ok(true) => return,
                Ok(false) => self.keep(),
                Err(limit) => self.limit = Some(limit),
            }
        }
    }

    /// Keeps a checkpoint of the front.
    fn keep(&mut self) {
        self.checkpoints.push(self.front.clone());
        if self.checkpoints.len() > MAX_CHECKPOINTS {
            let mut place = 0;
            self.checkpoints.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.stride *= 2;
        }
    }
}
