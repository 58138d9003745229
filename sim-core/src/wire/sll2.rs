//! LINKTYPE_LINUX_SLL2: the pseudo header of `tcpdump -i any` (tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
//!
//! ```text
//!   0        2         4                8         10       11       12               20
//!   | proto  | reserved | interface index | arphrd | pkttype | halen | source address |
//! ```

use crate::base::Mac;

/// Its number in a capture file's header.
pub const LINKTYPE_LINUX_SLL2: u32 = 276;
/// Bytes of the pseudo header.
pub const SLL2_LEN: usize = 20;

/// The pseudo header of one record; `source` is none on a device without addresses.
pub fn header(ethertype: u16, ifindex: u32, arphrd: u16, pkttype: u8, source: Option<Mac>) -> [u8; SLL2_LEN] {
    let mut h = [0; SLL2_LEN];
    h[0..2].copy_from_slice(&ethertype.to_be_bytes());
    h[4..8].copy_from_slice(&ifindex.to_be_bytes());
    h[8..10].copy_from_slice(&arphrd.to_be_bytes());
    h[10] = pkttype;
    if let Some(mac) = source {
        h[11] = 6;
        h[12..18].copy_from_slice(&mac.0);
    }
    h
}
