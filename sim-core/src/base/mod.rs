//! What every floor stands on: ids, time, order-free randomness, addresses, files.

pub mod addr;
pub mod files;
pub mod id;
pub mod passwd;
pub mod rng;
pub mod time;
pub mod words;

pub use addr::Mac;
pub use files::Files;
pub use id::{FlowId, FrameId, IfIndex, MachineId, NicId, NsId, PacketId, Pid};
pub use rng::{Prf, Salt};
pub use time::Time;
