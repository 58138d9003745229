//! ss(8) of iproute2 (misc/ss.c): sockets in columns that are as wide as what stands in them.

mod info;

use super::View;
use super::sockets::{Protocol, Socket, Timer, port, sockets};
use crate::kernel::show::{TcpState, TcpTimer};
use std::fmt::Write;
use std::net::Ipv4Addr;

/// What `ss` is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// Of which protocols.
    pub protocols: Vec<Protocol>,
    /// In which states: a bit for each [`TcpState`].
    pub states: u16,
    /// What must hold besides.
    pub conditions: Vec<Condition>,
    /// `-n`
    pub numeric: bool,
    /// `-p`
    pub processes: bool,
    /// `-o`
    pub timers: bool,
    /// `-i`
    pub info: bool,
    /// `-O`: what `-i` tells stands in the socket's line.
    pub oneline: bool,
    /// `-H` is not given.
    pub header: bool,
}

/// A condition on one end of a socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    /// `sport`, or `dport` if `remote`: it is equal to this one, or it is not.
    Port {
        /// The other end's.
        remote: bool,
        /// It is, or it is not.
        equal: bool,
        /// The port.
        port: u16,
    },
    /// `src`, or `dst` if `remote`: it has this address, and this port if there is one.
    Address {
        /// The other end's.
        remote: bool,
        /// The address.
        addr: Ipv4Addr,
        /// The port.
        port: Option<u16>,
    },
}

/// The bit of a state in [`Query::states`].
pub fn bit(state: TcpState) -> u16 {
    1 << state as u16
}

/// The columns of misc/ss.c: on which side they are filled up, their heading, what stands before them.
const COLUMNS: [(bool, &str, &str); 9] = [
    (false, "Netid", ""),
    (false, "State", " "),
    (false, "Recv-Q", " "),
    (false, "Send-Q", " "),
    (true, "Local Address:", " "),
    (false, "Port", ""),
    (true, "Peer Address:", " "),
    (false, "Port", ""),
    (false, "Process", ""),
];

/// What `ss` prints to a pipe.
pub(super) fn ss(view: View<'_>, query: &Query) -> String {
    let all = sockets(view);
    let mut rows: Vec<[String; 9]> = vec![];
    if query.header {
        rows.push(COLUMNS.map(|(_, heading, _)| heading.to_owned()));
    }
    rows.extend(all.iter().filter(|s| selected(s, query)).map(|s| row(s, query)));
    let shown = |column: usize| match column {
        0 => query.protocols.len() > 1,
        1 => query.states.count_ones() > 1,
        _ => true,
    };
    render(&rows, shown)
}

fn selected(s: &Socket, query: &Query) -> bool {
    let holds = |c: &Condition| match c {
        Condition::Port { remote, equal, port } => (end(s, *remote).port() == *port) == *equal,
        Condition::Address { remote, addr, port } => {
            let end = end(s, *remote);
            end.ip() == addr && port.is_none_or(|p| p == end.port())
        }
    };
    query.protocols.contains(&s.protocol) && query.states & bit(s.state) != 0 && query.conditions.iter().all(holds)
}

fn end(s: &Socket, remote: bool) -> std::net::SocketAddrV4 {
    if remote { s.remote } else { s.local }
}

fn row(s: &Socket, query: &Query) -> [String; 9] {
    let netid = match s.protocol {
        Protocol::Raw => "raw",
        Protocol::Udp => "udp",
        Protocol::Tcp => "tcp",
    };
    let mut process = String::new();
    if let Some(p) = s.process.as_ref().filter(|_| query.processes) {
        // Writing to a string does not fail.
        let _ = write!(process, " users:((\"{}\",pid={},fd={}))", p.comm, p.pid, p.fd);
    }
    if let Some(timer) = s.timer.as_ref().filter(|_| query.timers) {
        let _ = write!(process, " timer:({},{},{})", timer_name(timer), left(timer.left_ms), timer.retrans);
    }
    if query.info && s.protocol != Protocol::Udp {
        process.push_str(if query.oneline { "" } else { "\n\t" });
        if let Some((metrics, now)) = &s.metrics {
            info::write(&mut process, metrics, *now, query);
        }
    }
    let remote_protocol = if s.protocol == Protocol::Raw { Protocol::Udp } else { s.protocol };
    [
        netid.to_owned(),
        s.state.to_string(),
        format!("{:<6}", s.recv_q),
        format!("{:<6}", s.send_q),
        format!("{}:", s.local.ip()),
        port(s.protocol, s.local.port(), query.numeric),
        format!("{}:", s.remote.ip()),
        port(remote_protocol, s.remote.port(), query.numeric),
        process,
    ]
}

fn timer_name(timer: &Timer) -> &'static str {
    match timer.kind {
        TcpTimer::Retransmit => "on",
        TcpTimer::TimeWait => "timewait",
        TcpTimer::Probe0 => "persist",
    }
}

/// print_ms_timer
fn left(ms: u64) -> String {
    let (minutes, seconds, ms) = (ms / 60_000, ms / 1000 % 60, ms % 1000);
    let mut out = String::new();
    if minutes > 0 {
        out = format!("{minutes}min");
    }
    let seconds = if minutes > 9 { 0 } else { seconds };
    let ms = if minutes > 0 || seconds > 9 { 0 } else { ms };
    if seconds > 0 {
        let _ = write!(out, "{seconds}{}", if ms > 0 { "." } else { "sec" });
    }
    if ms > 0 {
        let _ = write!(out, "{ms:03}ms");
    }
    out
}

/// render_calc_width and render: a column is as wide as its longest field. The last field of all is not counted: it is
/// still being filled when the widths are worked out.
fn render(rows: &[[String; 9]], shown: impl Fn(usize) -> bool) -> String {
    let shown: Vec<usize> = (0..COLUMNS.len()).filter(|c| shown(*c)).collect();
    let counted = |row: usize, column: usize| row + 1 < rows.len() || column + 1 < COLUMNS.len();
    let width = |column: usize| {
        let fields = rows.iter().enumerate().filter(|(row, _)| counted(*row, column));
        fields.map(|(_, fields)| fields[column].len()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = shown.iter().map(|c| width(*c)).collect();
    let mut out = String::new();
    for row in rows {
        for (at, (column, width)) in shown.iter().zip(&widths).enumerate() {
            let (right, _, before) = COLUMNS[*column];
            let field = &row[*column];
            out.push_str(if at > 0 { before } else { "" });
            let _ = if right { write!(out, "{field:>width$}") } else { write!(out, "{field:<width$}") };
        }
        out.push('\n');
    }
    out
}
