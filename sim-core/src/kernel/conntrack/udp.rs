//! Mirrors net/netfilter/nf_conntrack_proto_udp.c.

use super::entry::{Conn, CtInfo, Proto, Status};
use super::event::Mask;
use super::sysctl::Settings;
use super::{Hook, Packet, Track};
use crate::kernel::timer::HZ;
use crate::wire::{IPPROTO_UDP, IPPROTO_UDPLITE, UDP_HLEN, be16};

/// nf_conntrack_udp_packet: 30 s; a flow that has answers and is older than two seconds is a stream.
pub(super) fn packet(s: &Settings, c: &mut Conn, p: &Packet<'_>, info: CtInfo, hook: Hook, jiffies: u64) -> Track {
    if error(s, p, hook) {
        return Track::Invalid;
    }
    if !c.is_confirmed() {
        c.proto = Proto::Udp { stream_ts: jiffies + 2 * HZ };
    }
    let mut seconds = s.udp_timeout;
    let mut stream = false;
    if c.status.has(Status::SEEN_REPLY) {
        let lite = p.proto == Some(IPPROTO_UDPLITE);
        stream = lite || matches!(c.proto, Proto::Udp { stream_ts } if jiffies > stream_ts);
        if stream {
            seconds = s.udp_timeout_stream;
        }
    }
    c.refresh_acct(jiffies, info.dir(), u64::from(seconds) * HZ, p.l3.len());
    // The loser of a clash is not kept for long.
    if stream && !c.status.has(Status::ASSURED) && !c.status.has(Status::NAT_CLASH) {
        c.status.set(Status::ASSURED);
        c.cache.set(Mask::ASSURED);
    }
    Track::Accept
}

/// udp_error, udplite_error
fn error(s: &Settings, p: &Packet<'_>, hook: Hook) -> bool {
    let l4 = p.l4();
    if l4.len() < UDP_HLEN {
        return true;
    }
    let (len, check) = (usize::from(be16(l4, 4)), be16(l4, 6));
    if p.proto == Some(IPPROTO_UDPLITE) {
        // Differs: how much of it the checksum covers is not looked at, so the checksum is not either.
        return check == 0 || len != 0 && !(UDP_HLEN..=l4.len()).contains(&len);
    }
    if !(UDP_HLEN..=l4.len()).contains(&len) {
        return true;
    }
    check != 0 && p.bad_checksum(s, hook, IPPROTO_UDP)
}
