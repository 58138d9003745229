//! TCP (net/ipv4/tcp.c and its siblings), cut by job. Read RFC 9293, and for a part of it the RFC that its file names,
//! before editing.
//!
//! ```text
//!   user        system calls: what a program asks                  tcp.c
//!   connect     ports, connect, bind                               tcp_ipv4.c, inet_hashtables.c
//!   listen      SYN queue, accept queue, children                  tcp_minisocks.c, tcp_input.c, syncookies.c
//!   timewait    what is left of a closed connection                tcp_minisocks.c
//!   rx          from the segment to the receive queue              tcp_ipv4.c, tcp_input.c
//!   data        the receive queue, delayed ACKs                    tcp_input.c
//!   coalesce    segments that share a buffer                       tcp_input.c, skbuff.c
//!   prune       what came takes too much memory                    tcp_input.c
//!   window      how much may come                                  tcp_input.c, tcp_output.c
//!   ack         what an ACK tells                                  tcp_input.c
//!   sack        what SACK blocks tell                              tcp_input.c
//!   ecn         marks instead of losses                        tcp_ecn.h, tcp_input.c
//!   recovery    which segments are lost, and sending them again    tcp_input.c, tcp_recovery.c
//!   congestion  how much may be in flight                          tcp_cong.c, tcp_cubic.c
//!   tx          how much is sent at once                           tcp_output.c
//!   transmit    one segment                                        tcp_output.c
//!   timer       what happens when nothing happens                  tcp_timer.c
//!   error       what ICMP tells                                    tcp_ipv4.c
//!   info        what is told of it all                             tcp_diag.c, inet_diag.c
//!   linux_4_18  what an older kernel did otherwise
//! ```

mod ack;
mod coalesce;
mod congestion;
mod connect;
mod data;
mod ecn;
mod error;
mod info;
mod linux_4_18;
mod listen;
mod options;
mod prune;
mod recovery;
mod rx;
mod sack;
mod sock;
mod sysctl;
mod timer;
mod timewait;
mod transmit;
mod tx;
mod user;
mod window;

pub(in crate::kernel) use error::tcp_v4_err;
pub(in crate::kernel) use info::list;
pub use info::{SkMem, TcpInfo, TcpMetrics, TcpState, TcpTimer};
pub(in crate::kernel) use rx::tcp_v4_rcv;
pub use timer::Timeout;
pub(in crate::kernel) use timer::expire;
pub(in crate::kernel) use timewait::deschedule;
pub(in crate::kernel) use user::go_on;
pub(super) use user::{call, close_orphan, interrupted, linger_ns, open, poll, stop_lingering};

use super::demux::Found;
use crate::base::NsId;
use crate::kernel::frame::Sk;
use crate::kernel::profile::Profile;
use listen::Request;
use rustc_hash::FxHashMap;
use sock::Sock;
use std::hash::{Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use sysctl::TcpSysctl;
use timewait::TimeWait;

/// As many connections and listening sockets, requests and minisockets among them, one namespace may have.
pub const MAX_CONNECTIONS: usize = 1 << 18;
/// INET_TABLE_PERTURB_SIZE
const TABLE_PERTURB_SIZE: u64 = 1 << 16;

/// A socket of the kernel's, whether a program has it or not. Stale once it is gone: nothing is found by it then.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct SockId {
    index: u32,
    generation: u32,
}

/// The two ends of a connection, seen from here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Tuple {
    pub local: Ipv4Addr,
    pub local_port: u16,
    pub remote: Ipv4Addr,
    pub remote_port: u16,
}

impl Tuple {
    pub(super) fn new(local: SocketAddrV4, remote: SocketAddrV4) -> Self {
        Tuple { local: *local.ip(), local_port: local.port(), remote: *remote.ip(), remote_port: remote.port() }
    }

    /// As words, for a draw or a hash.
    fn words(&self) -> [u64; 2] {
        let word = |ip: Ipv4Addr, port: u16| u64::from(u32::from(ip)) << 16 | u64::from(port);
        [word(self.local, self.local_port), word(self.remote, self.remote_port)]
    }
}

impl Hash for Tuple {
    /// Words, not bytes: it is looked up for every segment.
    fn hash<H: Hasher>(&self, h: &mut H) {
        let [local, remote] = self.words();
        h.write_u64(local);
        h.write_u64(remote);
    }
}

/// What may stand in the table of connections.
#[derive(Clone, Debug)]
enum Entry {
    Sock(Box<Sock>),
    /// TCP_NEW_SYN_RECV: a SYN was answered.
    Request(Box<Request>),
    TimeWait(Box<TimeWait>),
}

#[derive(Clone, Debug)]
struct Place {
    generation: u32,
    entry: Option<Entry>,
}

/// struct inet_hashinfo: the connections of one namespace.
#[derive(Clone, Debug, Default)]
pub struct Tcp {
    places: Vec<Place>,
    free: Vec<u32>,
    spare: Spare,
    /// ehash
    connections: FxHashMap<Tuple, SockId>,
    /// lhash2: the listening sockets of each port, the newest first.
    listeners: FxHashMap<u16, Vec<SockId>>,
    /// bhash: who has each port.
    ports: FxHashMap<u16, Vec<SockId>>,
    /// tw_refcount: connections that are left as minisockets.
    time_waits: usize,
    /// table_perturb: how far the search for a port has come.
    perturb: FxHashMap<u16, u32>,
    pub(in crate::kernel) sysctl: TcpSysctl,
    /// Random numbers drawn so far for what has no tuple.
    draws: u64,
}

/// As many sockets that are gone are kept for their memory.
const MAX_SPARE: usize = 64;

/// The slab of sockets: those that are gone, to be filled again.
#[derive(Debug, Default)]
#[allow(clippy::vec_box, reason = "what is kept is the box")]
struct Spare(Vec<Box<Sock>>);

impl Spare {
    fn fill(&mut self, new: Sock) -> Box<Sock> {
        let Some(mut sk) = self.0.pop() else { return Box::new(new) };
        sk.renew(new);
        sk
    }

    fn keep(&mut self, sk: Box<Sock>) {
        if self.0.len() < MAX_SPARE {
            self.0.push(sk);
        }
    }
}

impl Clone for Spare {
    /// They hold nothing that matters.
    fn clone(&self) -> Self {
        Spare::default()
    }
}

impl Tcp {
    pub(super) fn new(profile: Profile) -> Self {
        Tcp { sysctl: TcpSysctl::of(profile), ..Tcp::default() }
    }

    /// A new socket, which `template` describes but for its number.
    fn insert_sock(&mut self, template: Sock) -> Option<SockId> {
        let sk = self.spare.fill(template);
        let id = self.insert(|_| Entry::Sock(sk))?;
        if let Some(sk) = self.sock_mut(id) {
            sk.id = id;
        }
        Some(id)
    }

    fn insert(&mut self, make: impl FnOnce(SockId) -> Entry) -> Option<SockId> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.places.len() < MAX_CONNECTIONS => {
                self.places.push(Place { generation: 0, entry: None });
                self.places.len() as u32 - 1
            }
            None => return None,
        };
        let place = &mut self.places[index as usize];
        let id = SockId { index, generation: place.generation };
        place.entry = Some(make(id));
        Some(id)
    }

    fn entry(&self, id: SockId) -> Option<&Entry> {
        self.places.get(id.index as usize).filter(|p| p.generation == id.generation)?.entry.as_ref()
    }

    fn entry_mut(&mut self, id: SockId) -> Option<&mut Entry> {
        self.places.get_mut(id.index as usize).filter(|p| p.generation == id.generation)?.entry.as_mut()
    }

    fn sock(&self, id: SockId) -> Option<&Sock> {
        if let Some(Entry::Sock(sk)) = self.entry(id) { Some(sk) } else { None }
    }

    fn sock_mut(&mut self, id: SockId) -> Option<&mut Sock> {
        if let Some(Entry::Sock(sk)) = self.entry_mut(id) { Some(sk) } else { None }
    }

    /// What rules ask of a connection, a request, a minisocket or a listening socket.
    pub(super) fn found(&self, id: SockId) -> Option<Found> {
        let (wildcard, mark, time_wait, cred) = (false, None, false, None);
        let of = |transparent| Found { sk: Sk::ToTcp(id), wildcard, transparent, mark, time_wait, cred };
        Some(match self.entry(id)? {
            Entry::Sock(sk) => {
                let (wildcard, mark) = (sk.ip.rcv_saddr.is_unspecified(), Some(sk.opt.mark));
                Found { wildcard, mark, cred: sk.fd.map(|_| sk.cred), ..of(sk.opt.transparent) }
            }
            Entry::Request(req) => of(req.transparent),
            Entry::TimeWait(tw) => Found { time_wait: true, ..of(tw.transparent) },
        })
    }

    fn request_mut(&mut self, id: SockId) -> Option<&mut Request> {
        if let Some(Entry::Request(req)) = self.entry_mut(id) { Some(req) } else { None }
    }

    /// The SYNs for a listening socket that were answered, by their connections.
    fn requests_of(&self, listener: SockId) -> Vec<SockId> {
        let of = |(place, index): (&Place, u32)| match &place.entry {
            Some(Entry::Request(req)) if req.listener == listener => {
                Some((req.tuple, SockId { index, generation: place.generation }))
            }
            _ => None,
        };
        let mut requests: Vec<(Tuple, SockId)> = self.places.iter().zip(0..).filter_map(of).collect();
        requests.sort_unstable();
        requests.into_iter().map(|(_, id)| id).collect()
    }

    fn time_wait_mut(&mut self, id: SockId) -> Option<&mut TimeWait> {
        if let Some(Entry::TimeWait(tw)) = self.entry_mut(id) { Some(tw) } else { None }
    }

    /// Takes a socket out to work on it; it keeps its place, until [`Tcp::give_back`].
    fn take(&mut self, id: SockId) -> Option<Box<Sock>> {
        let place = self.places.get_mut(id.index as usize).filter(|p| p.generation == id.generation)?;
        match place.entry.take()? {
            Entry::Sock(sk) => Some(sk),
            other => {
                place.entry = Some(other);
                None
            }
        }
    }

    /// Puts a socket back; one that is closed and that no program has is gone.
    fn give_back(&mut self, sk: Box<Sock>) {
        let id = sk.id;
        if sk.is_gone() {
            // inet_csk_destroy_sock
            if sk.hashed {
                self.connections.remove(&sk.tuple());
            }
            if sk.in_ports {
                self.put_port(sk.sport, id);
            }
            self.forget(id);
            self.spare.keep(sk);
        } else {
            self.places[id.index as usize].entry = Some(Entry::Sock(sk));
        }
    }

    /// The place is free for another; what is known by its id is stale.
    fn forget(&mut self, id: SockId) {
        if let Some(place) = self.places.get_mut(id.index as usize).filter(|p| p.generation == id.generation) {
            place.entry = None;
            place.generation = place.generation.wrapping_add(1);
            self.free.push(id.index);
        }
    }

    /// inet_bind_hash: the port is this socket's, too.
    fn hold_port(&mut self, port: u16, id: SockId) {
        self.ports.entry(port).or_default().push(id);
    }

    /// inet_put_port
    fn put_port(&mut self, port: u16, id: SockId) {
        remove(&mut self.ports, port, id);
    }

    /// __inet_lookup: the connection that a segment is for, else the listening socket that matches most closely.
    pub(super) fn lookup(&self, tuple: &Tuple) -> Option<SockId> {
        self.established(tuple).or_else(|| self.listener(tuple))
    }

    /// __inet_lookup_established: requests and minisockets, too.
    pub(super) fn established(&self, tuple: &Tuple) -> Option<SockId> {
        self.connections.get(tuple).copied()
    }

    /// __inet_lookup_listener: one that is bound to the address goes before one that is bound to any.
    pub(super) fn listener(&self, tuple: &Tuple) -> Option<SockId> {
        let on_port = self.listeners.get(&tuple.local_port)?;
        let bound = |want: Ipv4Addr| {
            let is = |id: &&SockId| self.sock(**id).is_some_and(|sk| sk.ip.rcv_saddr == want);
            on_port.iter().find(is).copied()
        };
        bound(tuple.local).or_else(|| bound(Ipv4Addr::UNSPECIFIED))
    }

    /// Frames that wait in the backlogs of locked sockets.
    pub(in crate::kernel) fn waiting(&self) -> usize {
        let backlog = |p: &Place| if let Some(Entry::Sock(sk)) = &p.entry { sk.backlog.len() } else { 0 };
        self.places.iter().map(backlog).sum()
    }
}

fn remove(table: &mut FxHashMap<u16, Vec<SockId>>, port: u16, id: SockId) {
    if let Some(list) = table.get_mut(&port) {
        list.retain(|held| *held != id);
        if list.is_empty() {
            table.remove(&port);
        }
    }
}

/// A timer's owner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerOf {
    /// The namespace.
    pub ns: NsId,
    /// The socket, request or minisocket.
    pub sock: SockId,
    /// Which of its timers.
    pub which: Timeout,
}

/// `a` is before `b` in sequence space.
fn before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

/// `a` is after `b` in sequence space.
fn after(a: u32, b: u32) -> bool {
    before(b, a)
}
