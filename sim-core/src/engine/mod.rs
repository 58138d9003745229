//! Time moves only here: machines, their processes, and the world that runs them.

mod link;
mod machine;
pub mod process;
mod world;

pub use link::{LinkChange, LinkSpec, MAX_IN_FLIGHT};
pub use machine::{Finished, MAX_PROCESSES, Machine};
pub use process::{Console, Env, Program, Stream};
pub use world::{
    Config, ConfigureError, Departed, INITIAL_JIFFIES, LimitHit, Limits, MAX_DEPARTED, MAX_FRAME_BYTES, MAX_MACHINES,
    Place, Plug, Stopped, World,
};
