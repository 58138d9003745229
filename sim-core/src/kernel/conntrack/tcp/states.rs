//! The state machine of nf_conntrack_proto_tcp.c as tables: direction, kind of segment and state give the next state.

use super::super::sysctl::Settings;
use super::super::tuple::Dir;
use super::{ACK, FIN, RST, SYN};

/// enum tcp_conntrack. The order counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[allow(missing_docs, reason = "the kernel's own names: include/uapi/linux/netfilter/nf_conntrack_tcp.h")]
pub enum TcpState {
    #[default]
    None,
    SynSent,
    SynRecv,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Close,
    SynSent2,
}

impl TcpState {
    /// All states, in order.
    pub const ALL: [TcpState; 10] = [
        TcpState::None,
        TcpState::SynSent,
        TcpState::SynRecv,
        TcpState::Established,
        TcpState::FinWait,
        TcpState::CloseWait,
        TcpState::LastAck,
        TcpState::TimeWait,
        TcpState::Close,
        TcpState::SynSent2,
    ];

    /// As `conntrack -L` prints it.
    pub fn name(self) -> &'static str {
        match self {
            TcpState::None => "NONE",
            TcpState::SynSent => "SYN_SENT",
            TcpState::SynRecv => "SYN_RECV",
            TcpState::Established => "ESTABLISHED",
            TcpState::FinWait => "FIN_WAIT",
            TcpState::CloseWait => "CLOSE_WAIT",
            TcpState::LastAck => "LAST_ACK",
            TcpState::TimeWait => "TIME_WAIT",
            TcpState::Close => "CLOSE",
            TcpState::SynSent2 => "SYN_SENT2",
        }
    }

    /// Its timeout in seconds.
    pub(super) fn timeout(self, s: &Settings) -> u32 {
        match self {
            TcpState::None => 0,
            // SYN_SENT2 has no sysctl.
            TcpState::SynSent2 => 120,
            TcpState::SynSent => s.tcp_timeout_syn_sent,
            TcpState::SynRecv => s.tcp_timeout_syn_recv,
            TcpState::Established => s.tcp_timeout_established,
            TcpState::FinWait => s.tcp_timeout_fin_wait,
            TcpState::CloseWait => s.tcp_timeout_close_wait,
            TcpState::LastAck => s.tcp_timeout_last_ack,
            TcpState::TimeWait => s.tcp_timeout_time_wait,
            TcpState::Close => s.tcp_timeout_close,
        }
    }
}

/// enum tcp_bit_set: the kind of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Index {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    None,
}

impl Index {
    /// get_conntrack_index
    pub fn of(flags: u8) -> Index {
        match flags {
            f if f & RST != 0 => Index::Rst,
            f if f & SYN != 0 && f & ACK != 0 => Index::SynAck,
            f if f & SYN != 0 => Index::Syn,
            f if f & FIN != 0 => Index::Fin,
            f if f & ACK != 0 => Index::Ack,
            _ => Index::None,
        }
    }
}

/// What the table says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    State(TcpState),
    /// TCP_CONNTRACK_IGNORE: the packet passes and changes nothing.
    Ignore,
    /// TCP_CONNTRACK_MAX
    Invalid,
}

/// tcp_conntracks: the kernel's abbreviations, a column for each old state.
const TABLE: [[&str; 6]; 2] = [
    [
        //        sNO sSS sSR sES sFW sCW sLA sTW sCL sS2
        /* syn */ "SS SS IG IG IG IG IG SS SS S2",
        /* synack */ "IV IV SR IV IV IV IV IV IV SR",
        /* fin */ "IV IV FW FW LA LA LA TW CL IV",
        /* ack */ "ES IV ES ES CW CW TW TW CL IV",
        /* rst */ "IV CL CL CL CL CL CL CL CL CL",
        /* none */ "IV IV IV IV IV IV IV IV IV IV",
    ],
    [
        //        sNO sSS sSR sES sFW sCW sLA sTW sCL sS2
        /* syn */ "IV S2 IV IV IV IV IV SS IV S2",
        /* synack */ "IV SR IG IG IG IG IG IG IG SR",
        /* fin */ "IV IV FW FW LA LA LA TW CL IV",
        /* ack */ "IV IG SR ES CW CW TW TW CL IG",
        /* rst */ "IV CL CL CL CL CL CL CL CL CL",
        /* none */ "IV IV IV IV IV IV IV IV IV IV",
    ],
];

/// The next state.
pub(super) fn next(dir: Dir, index: Index, old: TcpState) -> Next {
    let row = TABLE[dir.index()][index as usize].as_bytes();
    let at = old as usize * 3;
    match &row[at..at + 2] {
        b"SS" => Next::State(TcpState::SynSent),
        b"SR" => Next::State(TcpState::SynRecv),
        b"ES" => Next::State(TcpState::Established),
        b"FW" => Next::State(TcpState::FinWait),
        b"CW" => Next::State(TcpState::CloseWait),
        b"LA" => Next::State(TcpState::LastAck),
        b"TW" => Next::State(TcpState::TimeWait),
        b"CL" => Next::State(TcpState::Close),
        b"S2" => Next::State(TcpState::SynSent2),
        b"IG" => Next::Ignore,
        _ => Next::Invalid,
    }
}
