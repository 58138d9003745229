//! Mirrors net/netfilter/nf_conntrack_proto_generic.c: protocols of which only the addresses are known.
//!
//! Differs: SCTP and GRE are such protocols here.

use super::entry::{Conn, CtInfo};
use super::sysctl::Settings;
use super::{Packet, Track};
use crate::kernel::timer::HZ;

/// generic_packet
pub(super) fn packet(s: &Settings, c: &mut Conn, p: &Packet<'_>, info: CtInfo, jiffies: u64) -> Track {
    c.refresh_acct(jiffies, info.dir(), u64::from(s.generic_timeout) * HZ, p.l3.len());
    Track::Accept
}
