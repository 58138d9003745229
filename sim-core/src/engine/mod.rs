//! Time moves only here: machines, their processes, and the world that runs them.

mod link;
mod machine;
pub mod process;
mod world;

pub use link::{LinkSpec, MAX_IN_FLIGHT};
pub use machine::{Finished, MAX_PROCESSES, Machine};
pub use process::{Console, Env, Program, Stream};
pub use world::{Config, ConfigureError, INITIAL_JIFFIES, LimitHit, Limits, MAX_MACHINES, Place, Plug, Stopped, World};
