//! tcp_in_window of nf_conntrack_proto_tcp.c: is a segment one that the receiver can have been sent?
//!
//! ```text
//!   I.   seq        <= sender.maxend                        not beyond what the receiver allows
//!   II.  seq + len  >= sender.end - receiver.maxwin         not data that was acknowledged long ago
//!   III. sack       <= receiver.end                         not an ACK of what was never sent
//!   IV.  sack       >= receiver.end - MAXACKWINDOW          not an ACK from long ago
//! ```

use super::super::sysctl::Settings;
use super::super::tuple::Dir;
use super::states::{Index, TcpState};
use super::{ACK, RST, SYN, Segment, TcpTrack};

/// MAXACKWINCONST
const MAX_ACK_WINDOW: u32 = 66_000;
/// TCP_MAX_WSCALE
const MAX_WSCALE: u8 = 14;

/// IP_CT_TCP_FLAG_* and IP_CT_TCP_* bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flags(u16);

impl Flags {
    pub const WINDOW_SCALE: Flags = Flags(0x01);
    pub const SACK_PERM: Flags = Flags(0x02);
    pub const CLOSE_INIT: Flags = Flags(0x04);
    pub const BE_LIBERAL: Flags = Flags(0x08);
    pub const DATA_UNACKNOWLEDGED: Flags = Flags(0x10);
    pub const MAXACK_SET: Flags = Flags(0x20);
    pub const EXP_CHALLENGE_ACK: Flags = Flags(0x40);
    pub const SIMULTANEOUS_OPEN: Flags = Flags(0x80);

    pub fn has(self, bit: Flags) -> bool {
        self.0 & bit.0 != 0
    }

    pub fn with(self, bit: Flags) -> Flags {
        Flags(self.0 | bit.0)
    }

    pub fn without(self, bit: Flags) -> Flags {
        Flags(self.0 & !bit.0)
    }
}

/// struct ip_ct_tcp_state: what one side has sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Side {
    /// td_end: the highest sequence number sent, and one.
    pub end: u32,
    /// td_maxend: what the peer has allowed.
    pub maxend: u32,
    /// td_maxwin: the largest window it has offered.
    pub maxwin: u32,
    /// td_maxack: the highest acknowledgement it has sent.
    pub maxack: u32,
    /// td_scale
    pub scale: u8,
    pub flags: Flags,
}

impl Side {
    /// nf_ct_tcp_state_reset
    pub fn reset(&mut self) {
        *self = Side { flags: Flags(self.flags.0 & Flags::BE_LIBERAL.0), ..Side::default() };
    }

    /// tcp_options: reads what a SYN offers.
    pub fn options(&mut self, options: &[u8]) {
        if options.is_empty() {
            return;
        }
        self.scale = 0;
        self.flags = Flags(self.flags.0 & Flags::BE_LIBERAL.0);
        for (kind, value) in Options(options) {
            match (kind, value) {
                (TCPOPT_SACK_PERM, []) => self.flags = self.flags.with(Flags::SACK_PERM),
                (TCPOPT_WINDOW, [scale]) => {
                    self.scale = (*scale).min(MAX_WSCALE);
                    self.flags = self.flags.with(Flags::WINDOW_SCALE);
                }
                _ => {}
            }
        }
    }
}

const TCPOPT_WINDOW: u8 = 3;
const TCPOPT_SACK_PERM: u8 = 4;
const TCPOPT_SACK: u8 = 5;

/// The options of a TCP header, up to the first one that is cut off.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match *self.0 {
                [] | [0, ..] | [_] => return None,
                [1, ref rest @ ..] => self.0 = rest,
                [kind, len, ..] => {
                    let value = self.0.get(2..usize::from(len))?;
                    self.0 = &self.0[usize::from(len)..];
                    return Some((kind, value));
                }
            }
        }
    }
}

/// enum nf_ct_tcp_action
pub(super) enum Judged {
    Accept,
    /// The packet passes and changes nothing.
    Ignore,
    Invalid,
}

/// before(): `a` comes before `b` in sequence space.
pub(super) fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

fn after(a: u32, b: u32) -> bool {
    before(b, a)
}

/// tcp_in_window
pub(super) fn check(s: &Settings, t: &mut TcpTrack, th: &Segment<'_>, dir: Dir, index: Index) -> Judged {
    let [original, reply] = &mut t.seen;
    let (sender, receiver) = if dir == Dir::Original { (original, reply) } else { (reply, original) };
    let (mut seq, mut end, mut ack) = (th.seq, th.end, th.ack);
    let mut sack = if receiver.flags.has(Flags::SACK_PERM) { highest_sack(th) } else { ack };
    if start(sender, receiver, th, dir, t.state, sack) {
        return Judged::Accept;
    }
    if !th.has(ACK) || th.has(RST) && ack == 0 {
        // No acknowledgement, or that of a broken stack: as if it were right.
        (ack, sack) = (receiver.end, receiver.end);
    }
    if th.has(RST) && seq == 0 && t.state == TcpState::SynSent {
        (seq, end) = (sender.end, sender.end);
    }
    match fits(sender, receiver, seq, end, sack) {
        Judged::Accept => {}
        // nf_tcp_log_invalid: with liberal checking all is well, and still nothing is learned from the segment.
        _ if s.tcp_be_liberal != 0 || sender.flags.has(Flags::BE_LIBERAL) => return Judged::Accept,
        refused => return refused,
    }
    update(sender, receiver, th, end, ack, sack);
    if index == Index::Ack {
        let same =
            t.last_dir == Some(dir) && (t.last_seq, t.last_ack, t.last_end, t.last_win) == (seq, ack, end, th.win);
        t.retrans = if same { t.retrans.saturating_add(1) } else { 0 };
        t.last_dir = Some(dir);
        (t.last_seq, t.last_ack, t.last_end, t.last_win) = (seq, ack, end, th.win);
    }
    Judged::Accept
}

/// What the first segment of a side, or a new SYN, tells about it. True if that is all there is to check.
fn start(sender: &mut Side, receiver: &mut Side, th: &Segment<'_>, dir: Dir, state: TcpState, sack: u32) -> bool {
    if sender.maxwin == 0 {
        if th.has(SYN) {
            init_sender(sender, receiver, th, dir);
            return !th.has(ACK);
        }
        // In the middle of a connection.
        sender.end = th.end;
        sender.maxwin = (u32::from(th.win) << sender.scale).max(1);
        sender.maxend = th.end.wrapping_add(sender.maxwin);
        if receiver.maxwin == 0 {
            (receiver.end, receiver.maxend) = (sack, sack);
        } else if sack == receiver.end.wrapping_add(1) {
            // An answer to a keepalive.
            receiver.end = sack;
        }
        return false;
    }
    let young = matches!(state, TcpState::SynSent | TcpState::SynRecv);
    if th.has(SYN) && after(th.end, sender.end) && young {
        init_sender(sender, receiver, th, dir);
        return dir == Dir::Reply && !th.has(ACK);
    }
    false
}

/// tcp_init_sender
fn init_sender(sender: &mut Side, receiver: &mut Side, th: &Segment<'_>, dir: Dir) {
    (sender.end, sender.maxend) = (th.end, th.end);
    sender.maxwin = u32::from(th.win).max(1);
    sender.options(th.options);
    // RFC 7323: windows are scaled if both sides have said so.
    let both = sender.flags.has(Flags::WINDOW_SCALE) && receiver.flags.has(Flags::WINDOW_SCALE);
    if dir == Dir::Reply && !both {
        (sender.scale, receiver.scale) = (0, 0);
    }
}

/// The four conditions.
fn fits(sender: &mut Side, receiver: &Side, seq: u32, end: u32, sack: u32) -> Judged {
    let oldest = receiver.end.wrapping_sub(sender.maxwin.max(MAX_ACK_WINDOW)).wrapping_sub(1);
    let lowest = sender.end.wrapping_sub(receiver.maxwin).wrapping_sub(1);
    let sent = before(sack, receiver.end.wrapping_add(1));
    if !before(seq, sender.maxend.wrapping_add(1)) {
        let overshot = end.wrapping_sub(sender.maxend).wrapping_add(1);
        let in_window = receiver.maxwin != 0 && after(end, lowest);
        if in_window && after(sack, oldest) && overshot <= receiver.maxwin && sent {
            // A little more than was allowed: the peer may acknowledge it all the same.
            sender.end = end;
            sender.flags = sender.flags.with(Flags::DATA_UNACKNOWLEDGED);
            return Judged::Ignore;
        }
        return Judged::Invalid;
    }
    if !sent {
        return Judged::Invalid;
    }
    let recent = receiver.maxwin == 0 || after(end, lowest);
    if recent && after(sack, oldest) { Judged::Accept } else { Judged::Ignore }
}

/// What a segment in its window tells about both sides.
fn update(sender: &mut Side, receiver: &mut Side, th: &Segment<'_>, end: u32, ack: u32, sack: u32) {
    let win = if th.has(SYN) { u32::from(th.win) } else { u32::from(th.win) << sender.scale };
    sender.maxwin = sender.maxwin.max(win.wrapping_add(sack.wrapping_sub(ack)));
    if after(end, sender.end) {
        sender.end = end;
        sender.flags = sender.flags.with(Flags::DATA_UNACKNOWLEDGED);
    }
    if th.has(ACK) && (!sender.flags.has(Flags::MAXACK_SET) || after(ack, sender.maxack)) {
        sender.maxack = ack;
        sender.flags = sender.flags.with(Flags::MAXACK_SET);
    }
    if receiver.maxwin != 0 && after(end, sender.maxend) {
        receiver.maxwin = receiver.maxwin.wrapping_add(end.wrapping_sub(sender.maxend));
    }
    let allowed = sack.wrapping_add(win);
    if after(allowed, receiver.maxend.wrapping_sub(1)) {
        receiver.maxend = allowed.wrapping_add(u32::from(win == 0));
    }
    if ack == receiver.end {
        receiver.flags = receiver.flags.without(Flags::DATA_UNACKNOWLEDGED);
    }
}

/// tcp_sack: the highest edge that a segment acknowledges, selectively or not.
fn highest_sack(th: &Segment<'_>) -> u32 {
    let mut sack = th.ack;
    let blocks =
        Options(th.options).find(|(kind, value)| *kind == TCPOPT_SACK && !value.is_empty() && value.len() % 8 == 0);
    for block in blocks.map_or(&[][..], |b| b.1).chunks_exact(8) {
        let edge = u32::from_be_bytes([block[4], block[5], block[6], block[7]]);
        if after(edge, sack) {
            sack = edge;
        }
    }
    sack
}
