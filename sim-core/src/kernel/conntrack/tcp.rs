//! Mirrors net/netfilter/nf_conntrack_proto_tcp.c: which state a TCP connection is in, which segments belong to it, and
//! how long it is remembered. Read RFC 9293 section 3.4, RFC 5961 and RFC 7323 before editing; the windows are those of
//! "Real Stateful TCP Packet Filtering in IP Filter" (van Rooij, 2000).

mod states;
mod window;

use super::entry::{Conn, CtInfo, Proto, Status};
use super::event::Mask;
use super::sysctl::Settings;
use super::tuple::Dir;
use super::{Hook, Packet, Track};
use crate::kernel::timer::HZ;
use crate::wire::IPPROTO_TCP;
use states::{Index, Next};
use window::{Flags, Judged, Side};

pub use states::TcpState;

/// Bytes of a TCP header without options.
const TCP_HLEN: usize = 20;

/// struct ip_ct_tcp
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct TcpTrack {
    pub state: TcpState,
    seen: [Side; 2],
    last_dir: Option<Dir>,
    retrans: u8,
    last_index: Option<Index>,
    last_seq: u32,
    last_ack: u32,
    last_end: u32,
    last_win: u16,
    last_wscale: u8,
    last_flags: Flags,
}

impl TcpTrack {
    /// A connection in this state of which no segment was seen (nlattr_to_tcp).
    pub fn at(state: TcpState) -> Self {
        TcpTrack { state, ..TcpTrack::default() }
    }

    /// seen[0].td_end: what the side that opened it has sent.
    pub fn original_end(&self) -> u32 {
        self.seen[0].end
    }
}

/// A segment's header.
#[derive(Clone, Copy)]
struct Segment<'a> {
    seq: u32,
    ack: u32,
    flags: u8,
    win: u16,
    /// segment_seq_plus_len
    end: u32,
    options: &'a [u8],
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

impl Segment<'_> {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// nf_conntrack_tcp_packet
pub(super) fn packet(s: &Settings, c: &mut Conn, p: &Packet<'_>, info: CtInfo, hook: Hook, jiffies: u64) -> Track {
    let Some(th) = header(s, p, hook) else { return Track::Invalid };
    if !c.is_confirmed() {
        match new(s, &th) {
            Some(track) => c.proto = Proto::Tcp(track),
            None => return Track::Invalid,
        }
    }
    let Proto::Tcp(mut t) = c.proto else { return Track::Invalid };
    let track = judge(s, c, &mut t, &th, p, info, jiffies);
    c.proto = Proto::Tcp(t);
    track
}

/// tcp_can_early_drop
pub(super) fn can_early_drop(state: TcpState) -> bool {
    use TcpState::{Close, CloseWait, FinWait, LastAck, TimeWait};
    matches!(state, FinWait | CloseWait | LastAck | TimeWait | Close)
}

/// nf_conntrack_tcp_set_closing
pub(super) fn set_closing(s: &Settings, c: &mut Conn, jiffies: u64) {
    let Proto::Tcp(tcp) = &mut c.proto else { return };
    let old = std::mem::replace(&mut tcp.state, TcpState::Close);
    if old != TcpState::Close && !c.status.has(Status::FIXED_TIMEOUT) {
        c.timeout = jiffies + u64::from(s.tcp_timeout_close) * HZ;
        c.cache.set(Mask::PROTOINFO);
    }
}

/// tcp_error: none if the header is damaged or its flags make no sense.
fn header<'a>(s: &Settings, p: &Packet<'a>, hook: Hook) -> Option<Segment<'a>> {
    let l4 = p.l4();
    let fixed: &[u8; TCP_HLEN] = l4.first_chunk()?;
    let len = usize::from(fixed[12] >> 4) * 4;
    if len < TCP_HLEN || l4.len() < len || p.bad_checksum(s, hook, IPPROTO_TCP) {
        return None;
    }
    let word = |at: usize| u32::from_be_bytes([fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]]);
    let flags = fixed[13];
    let valid = [SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG];
    if !valid.contains(&(flags & (FIN | SYN | RST | ACK | URG))) {
        return None;
    }
    let seq = word(4);
    let length = (l4.len() - len) as u32 + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    Some(Segment {
        seq,
        ack: word(8),
        flags,
        win: u16::from_be_bytes([fixed[14], fixed[15]]),
        end: seq.wrapping_add(length),
        options: &l4[TCP_HLEN..len],
    })
}

/// tcp_new: none if no connection begins with this segment.
fn new(s: &Settings, th: &Segment<'_>) -> Option<TcpTrack> {
    let next = states::next(Dir::Original, Index::of(th.flags), TcpState::None);
    let Next::State(state) = next else { return None };
    let mut t = TcpTrack::default();
    let win = u32::from(th.win).max(1);
    let side = &mut t.seen[0];
    (side.end, side.maxwin, side.maxend) = (th.end, win, th.end);
    if state == TcpState::SynSent {
        side.options(th.options);
        return Some(t);
    }
    if s.tcp_loose == 0 {
        return None;
    }
    // In the middle of a connection whose window scaling is unknown.
    side.maxend = th.end.wrapping_add(win);
    t.seen.iter_mut().for_each(|side| side.flags = Flags::SACK_PERM.with(Flags::BE_LIBERAL));
    Some(t)
}

/// The part of nf_conntrack_tcp_packet that knows the connection.
fn judge(
    s: &Settings,
    c: &mut Conn,
    t: &mut TcpTrack,
    th: &Segment<'_>,
    p: &Packet<'_>,
    info: CtInfo,
    jiffies: u64,
) -> Track {
    let (dir, index) = (info.dir(), Index::of(th.flags));
    let mut old = t.state;
    let mut in_window = false;
    let new = match states::next(dir, index, old) {
        Next::Invalid => return Track::Invalid,
        Next::State(TcpState::SynSent) if old >= TcpState::TimeWait => {
            if reopens(t, dir) {
                return Track::Repeat;
            }
            return ignored(t, th, dir, index, old);
        }
        Next::Ignore if resync(t, th, dir, index) => {
            old = TcpState::SynSent;
            TcpState::SynRecv
        }
        Next::Ignore => return ignored(t, th, dir, index, old),
        Next::State(TcpState::TimeWait) if challenge_ack(t, dir, index, old) => return Track::Accept,
        Next::State(TcpState::SynSent2) => {
            t.last_flags = t.last_flags.with(Flags::SIMULTANEOUS_OPEN);
            TcpState::SynSent2
        }
        Next::State(TcpState::SynRecv) if dir == Dir::Reply && index == Index::Ack => {
            let simultaneous = t.last_flags.has(Flags::SIMULTANEOUS_OPEN);
            if simultaneous { TcpState::Established } else { TcpState::SynRecv }
        }
        Next::State(TcpState::Close) if index == Index::Rst => match reset(s, c.status, t, th, dir) {
            Reset::Invalid => return Track::Invalid,
            Reset::Judge(new) => new,
            Reset::InWindow(new) => {
                in_window = true;
                new
            }
        },
        Next::State(new) => new,
    };
    if !in_window {
        match window::check(s, t, th, dir, index) {
            Judged::Accept => {}
            Judged::Ignore => return Track::Accept,
            Judged::Invalid => {
                handle_invalid(s, c, t, dir, index, jiffies);
                return Track::Invalid;
            }
        }
    }
    accepted(s, c, t, th, p, (dir, index), (old, new), jiffies)
}

/// A SYN for a connection that has ended: may it begin anew?
fn reopens(t: &TcpTrack, dir: Dir) -> bool {
    let closed = t.seen.iter().any(|side| side.flags.has(Flags::CLOSE_INIT));
    closed || t.last_dir == Some(dir) && t.last_index == Some(Index::Rst)
}

/// A SYN-ACK for a SYN that was ignored: the peers are in step, and so are we from now on.
#[cold]
fn resync(t: &mut TcpTrack, th: &Segment<'_>, dir: Dir, index: Index) -> bool {
    let answers = index == Index::SynAck
        && t.last_index == Some(Index::Syn)
        && t.last_dir == Some(dir.other())
        && th.ack == t.last_end;
    if !answers {
        return false;
    }
    let side = &mut t.seen[dir.other().index()];
    (side.end, side.maxend) = (t.last_end, t.last_end);
    side.maxwin = u32::from(t.last_win).max(1);
    side.scale = t.last_wscale;
    t.last_flags = t.last_flags.without(Flags::EXP_CHALLENGE_ACK);
    side.flags = t.last_flags;
    t.seen[dir.index()].reset();
    true
}

/// The packet may signal what we have missed: it passes, and is remembered.
#[cold]
fn ignored(t: &mut TcpTrack, th: &Segment<'_>, dir: Dir, index: Index, old: TcpState) -> Track {
    t.last_index = Some(index);
    t.last_dir = Some(dir);
    (t.last_seq, t.last_end, t.last_win) = (th.seq, th.end, th.win);
    if index == Index::Syn && dir == Dir::Original {
        let mut seen = Side::default();
        seen.options(th.options);
        (t.last_flags, t.last_wscale) = (seen.flags, seen.scale);
        // RFC 5961: the answer may be an ACK, which is not one of the last FIN.
        if old == TcpState::LastAck {
            t.last_flags = t.last_flags.with(Flags::EXP_CHALLENGE_ACK);
        }
    }
    if old == TcpState::SynSent && index == Index::Ack && dir == Dir::Reply {
        t.last_ack = th.ack;
    }
    Track::Accept
}

/// An ACK that answers an ignored SYN says nothing about the last FIN.
fn challenge_ack(t: &mut TcpTrack, dir: Dir, index: Index, old: TcpState) -> bool {
    let challenge = old == TcpState::LastAck
        && index == Index::Ack
        && t.last_dir == Some(dir.other())
        && t.last_index == Some(Index::Syn)
        && t.last_flags.has(Flags::EXP_CHALLENGE_ACK);
    if challenge {
        t.last_flags = t.last_flags.without(Flags::EXP_CHALLENGE_ACK);
    }
    challenge
}

/// What becomes of a connection that gets a reset.
enum Reset {
    Invalid,
    Judge(TcpState),
    InWindow(TcpState),
}

#[inline(never)]
fn reset(s: &Settings, status: Status, t: &TcpTrack, th: &Segment<'_>, dir: Dir) -> Reset {
    if can_early_drop(t.state) {
        return Reset::InWindow(TcpState::Close);
    }
    let peer = &t.seen[dir.other().index()];
    let last = t.last_index;
    let mut new = TcpState::Close;
    if peer.flags.has(Flags::MAXACK_SET) && last != Some(Index::Syn) {
        let established = t.state == TcpState::Established && status.has(Status::ASSURED);
        if th.seq == 0 && !established {
            return Reset::Judge(new);
        }
        if window::before(th.seq, peer.maxack) && s.tcp_ignore_invalid_rst == 0 {
            return Reset::Invalid;
        }
        let in_train = last == Some(Index::Ack) && t.last_dir == Some(dir) && th.seq == t.last_end;
        if !established || th.seq == peer.maxack || in_train {
            return Reset::Judge(new);
        }
        // Not the next byte: the peer may answer with a challenge ACK and go on.
        new = t.state;
    }
    let to_ignored = status.has(Status::SEEN_REPLY) && last == Some(Index::Syn)
        || !status.has(Status::ASSURED) && last == Some(Index::Ack);
    let to_challenge = t.state == TcpState::SynSent
        && last == Some(Index::Ack)
        && t.last_dir == Some(Dir::Reply)
        && th.seq == t.last_ack;
    if to_ignored && th.ack == t.last_end || to_challenge { Reset::InWindow(new) } else { Reset::Judge(new) }
}

/// nf_tcp_handle_invalid: a connection whose FIN or RST was out of the window does not stay for days.
fn handle_invalid(s: &Settings, c: &mut Conn, t: &mut TcpTrack, dir: Dir, index: Index, jiffies: u64) {
    let ends = |index| matches!(index, Index::Rst | Index::Fin);
    if !c.status.has(Status::ASSURED) || c.status.has(Status::FIXED_TIMEOUT) || !ends(index) {
        return;
    }
    if t.last_dir != Some(dir) && t.last_index.is_some_and(ends) {
        let (left, timeout) = (c.expires(jiffies), u64::from(s.tcp_timeout_unacknowledged) * HZ);
        if left >= 120 * HZ && left > timeout {
            c.timeout = jiffies + timeout;
        }
    } else {
        (t.last_index, t.last_dir) = (Some(index), Some(dir));
    }
}

/// The segment is in its window: the state changes, and the time that it is remembered for.
#[allow(clippy::too_many_arguments, reason = "the second half of one function of the kernel")]
fn accepted(
    s: &Settings,
    c: &mut Conn,
    t: &mut TcpTrack,
    th: &Segment<'_>,
    p: &Packet<'_>,
    (dir, index): (Dir, Index),
    (old, new): (TcpState, TcpState),
    jiffies: u64,
) -> Track {
    (t.last_index, t.last_dir, t.state) = (Some(index), Some(dir), new);
    if old != new && new == TcpState::FinWait {
        let side = &mut t.seen[dir.index()];
        side.flags = side.flags.with(Flags::CLOSE_INIT);
    }
    let mut seconds = timeout(s, t, index, new);
    if new != old {
        c.cache.set(Mask::PROTOINFO);
    }
    if !c.status.has(Status::SEEN_REPLY) {
        if th.has(RST) {
            c.acct_add(dir, p.l3.len());
            return Track::Kill;
        }
        // A retransmitted SYN does not keep the entry alive.
        if index == Index::Syn && old == TcpState::SynSent {
            return Track::Accept;
        }
        if new == TcpState::Established {
            seconds = seconds.min(s.tcp_timeout_unacknowledged);
        }
    } else if !c.status.has(Status::ASSURED)
        && matches!(old, TcpState::SynRecv | TcpState::Established)
        && new == TcpState::Established
    {
        c.status.set(Status::ASSURED);
        c.cache.set(Mask::ASSURED);
    }
    c.refresh_acct(jiffies, dir, u64::from(seconds) * HZ, p.l3.len());
    Track::Accept
}

/// The timeout in seconds.
fn timeout(s: &Settings, t: &TcpTrack, index: Index, new: TcpState) -> u32 {
    let of_state = new.timeout(s);
    let unacknowledged = t.seen.iter().any(|side| side.flags.has(Flags::DATA_UNACKNOWLEDGED));
    if u32::from(t.retrans) >= s.tcp_max_retrans && of_state > s.tcp_timeout_max_retrans {
        s.tcp_timeout_max_retrans
    } else if index == Index::Rst {
        s.tcp_timeout_close
    } else if unacknowledged && of_state > s.tcp_timeout_unacknowledged {
        s.tcp_timeout_unacknowledged
    } else if t.last_win == 0 && of_state > s.tcp_timeout_max_retrans {
        s.tcp_timeout_max_retrans
    } else {
        of_state
    }
}

#[cfg(test)]
mod tests;
