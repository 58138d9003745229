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

/// Bytes as hexadecimal digits, two each.
///
/// ```
/// assert_eq!(sim_core::base::hex(&[0, 0xa5]), "00a5");
/// ```
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 0xf]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
