//! Mirrors include/net/tcp_ecn.h and the ECN parts of net/ipv4/tcp_input.c and net/ipv4/tcp_output.c: routers mark what
//! they would rather have dropped, the receiver tells of it (ECE), and the sender says that it has slowed down (CWR).
//! Read RFC 3168 section 6.1 before editing.
//!
//! Differs: AccECN (RFC 9768) does not exist. `net.ipv4.tcp_ecn` does not let anybody ask for it in Linux 6.18 either,
//! but a SYN-ACK with ECE and CWR switches it on there, and ECN off here.

use super::before;
use super::data;
use super::rx::Segment;
use super::sock::{Sock, TxSkb};
use super::sysctl::TcpSysctl;
use super::transmit::Flags;

/// The two bits of the IP header (RFC 3168 section 5).
pub(super) const INET_ECN_MASK: u8 = 3;
const INET_ECN_NOT_ECT: u8 = 0;
const INET_ECN_ECT_0: u8 = 2;
const INET_ECN_CE: u8 = 3;
/// So many segments are acknowledged at once when a mark, or its absence, hints at a small window.
const ECN_QUICKACKS: u32 = 2;

/// tp->ecn_flags, and the ECN bits of inet->tos.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ecn {
    /// TCP_ECN_MODE_RFC3168: asked for, or agreed on.
    ok: bool,
    /// The SYN in the queue has ECE and CWR.
    asking: bool,
    /// TCP_ECN_QUEUE_CWR: the next new data says CWR.
    queue_cwr: bool,
    /// TCP_ECN_DEMAND_CWR: a mark came, and every segment has ECE until the peer says CWR.
    demand_cwr: bool,
    /// TCP_ECN_SEEN: the peer marks its data.
    seen: bool,
    /// INET_ECN_xmit: packets are marked ECT(0).
    xmit: bool,
}

impl Ecn {
    /// tcp_ecn_send_syn
    pub fn send_syn(sysctl: &TcpSysctl) -> Self {
        let asks = sysctl.ecn == 1;
        Ecn { ok: asks, asking: asks, ..Ecn::default() }
    }

    /// tcp_ecn_openreq_child
    pub fn child(ok: bool) -> Self {
        Ecn { ok, ..Ecn::default() }
    }

    /// tcp_ecn_mode_any
    pub fn is_ok(self) -> bool {
        self.ok
    }

    /// TCP_ECN_SEEN
    pub fn is_seen(self) -> bool {
        self.seen
    }

    /// The ECN bits of the next packet's IP header.
    pub fn tos(self) -> u8 {
        if self.xmit { INET_ECN_ECT_0 } else { INET_ECN_NOT_ECT }
    }

    /// tcp_ecn_clear_syn: a SYN that was not answered is repeated without ECN. If it is answered with ECN after all,
    /// that is the answer to the first.
    pub fn clear_syn(&mut self, sysctl: &TcpSysctl) {
        if sysctl.ecn_fallback != 0 {
            self.asking = false;
        }
    }

    /// tcp_ecn_rcv_synack
    pub fn rcv_synack(&mut self, flags: Flags) {
        self.ok &= flags.ece && !flags.cwr;
    }

    /// tcp_ecn_rcv_syn: both ends have asked.
    pub fn rcv_syn(&mut self, flags: Flags) {
        self.ok &= flags.ece && flags.cwr;
    }

    /// tcp_ecn_queue_cwr
    pub fn queue_cwr(&mut self) {
        self.queue_cwr |= self.ok;
    }

    /// tcp_ecn_withdraw_cwr
    pub fn withdraw_cwr(&mut self) {
        self.queue_cwr = false;
    }

    /// tcp_ecn_rcv_ecn_echo
    pub fn is_echo(self, flags: Flags) -> bool {
        self.ok && flags.ece && !flags.syn
    }
}

/// tcp_ecn_create_request: whether the answer to the SYN agrees. A marked SYN is none of a host that follows RFC 3168
/// section 6.1.1, unless it has bits that came later.
pub(super) fn create_request(sysctl: &TcpSysctl, syn: &Segment) -> bool {
    let unmarked = syn.tos & INET_ECN_MASK == INET_ECN_NOT_ECT;
    sysctl.ecn != 0 && syn.flags.ece && syn.flags.cwr && (unmarked || syn.reserved)
}

/// tcp_ecn_send_synack, and what tcp_ecn_send_syn has put into the queue: the flags of a SYN.
pub(super) fn mark_syn(ecn: Ecn, flags: &mut Flags) {
    (flags.ece, flags.cwr) = if flags.ack { (ecn.asking && ecn.ok, false) } else { (ecn.asking, ecn.asking) };
}

/// tcp_ecn_send: the flags and the mark of any other segment. Only new data is marked.
pub(super) fn mark(sk: &mut Sock, skb: &TxSkb, flags: &mut Flags) {
    let ecn = &mut sk.ecn;
    if !ecn.ok {
        return;
    }
    ecn.xmit = skb.len() > 0 && !before(skb.seq, sk.snd_nxt);
    flags.cwr = ecn.xmit && std::mem::take(&mut ecn.queue_cwr);
    flags.ece = ecn.demand_cwr;
}

/// tcp_data_ecn_check: the mark of data that came.
pub(super) fn data_check(sk: &mut Sock, seg: &Segment) {
    if !sk.ecn.ok {
        return;
    }
    match seg.tos & INET_ECN_MASK {
        // Likely a retransmission.
        INET_ECN_NOT_ECT => {
            if sk.ecn.seen {
                data::enter_quickack(sk, ECN_QUICKACKS);
            }
            return;
        }
        INET_ECN_CE if !sk.ecn.demand_cwr => {
            data::enter_quickack(sk, ECN_QUICKACKS);
            sk.ecn.demand_cwr = true;
        }
        _ => {}
    }
    sk.ecn.seen = true;
}

/// tcp_ecn_accept_cwr: the peer has slowed down, and may have a window of one segment only. Linux takes it on a bare
/// ACK, too.
pub(super) fn accept_cwr(sk: &mut Sock, seg: &Segment) {
    if sk.ecn.ok && seg.flags.cwr {
        sk.ecn.demand_cwr = false;
        sk.ack.now |= seg.seq != seg.end_seq;
    }
}
