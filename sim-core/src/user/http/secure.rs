//! TLS between a server and its socket, as OpenSSL plays it for one that does not block: the server asks for plain
//! bytes and hands some over, and system calls come of it, or what it asked for.

use crate::base::time::US;
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, Ret, SockOpt};
use crate::user::tls::{self, MAX_PLAIN, Session};
use std::collections::VecDeque;

/// SSL3_RT_MAX_ENCRYPTED_LENGTH and a header: OpenSSL's buffer when it reads ahead.
const READ_AHEAD: usize = 16_709;
/// While it shakes hands OpenSSL writes through a buffer of this size (BIO_f_buffer).
const FLIGHT_BUFFER: usize = 4096;
/// What it computes for its flight, and for the client's last word, as measured. Nanoseconds.
const FLIGHT_COST_NS: u64 = 400 * US;
const FINISHED_COST_NS: u64 = 100 * US;

/// How a server uses OpenSSL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Style {
    /// Reads what is there, as nginx, which also sets TCP_NODELAY before the handshake.
    ReadAhead,
    /// Reads a header, then the record, as HAProxy.
    Records,
}

/// One connection's TLS.
#[derive(Clone, Debug)]
pub(super) struct Secure {
    session: Session,
    style: Style,
    /// Nothing was read yet.
    fresh: bool,
    /// Decrypted, and not asked for.
    plain: Vec<u8>,
    /// Handed over, and less than a record: more is to come (nginx's ssl_buffer).
    held: Vec<u8>,
    /// Writes to come, each for itself.
    writes: VecDeque<Vec<u8>>,
    state: State,
    eof: bool,
}

/// What the server is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// It wants so many plain bytes at most.
    Recv(usize),
    /// So many were handed over.
    Send(usize),
    /// The handshake failed: the alert leaves.
    Failed,
    /// The close_notify leaves.
    Leave,
}

/// What comes of it.
#[derive(Debug)]
pub(super) enum Turn {
    /// A system call; [`Secure::returned`] hears how it ended.
    Call(Call),
    /// What the server asked for.
    Return(Ret),
    /// The client speaks no TLS: the bytes that it sent.
    NoTls(Vec<u8>),
    /// The close_notify has left.
    Left,
}

impl Secure {
    /// A connection that was just accepted; `number` tells those of a process apart.
    pub(super) fn new(server: &tls::Server, style: Style, number: u64, env: &mut Env<'_>) -> Option<Self> {
        Some(Secure {
            session: Session::server(server, number, env).ok()?,
            style,
            fresh: true,
            plain: vec![],
            held: vec![],
            writes: VecDeque::new(),
            state: State::Recv(0),
            eof: false,
        })
    }

    /// The server wants plain bytes.
    pub(super) fn recv(&mut self, fd: Fd, size: usize) -> Turn {
        self.state = State::Recv(size);
        if std::mem::take(&mut self.fresh) && self.style == Style::ReadAhead {
            return Turn::Call(Call::SetSockOpt { fd, opt: SockOpt::NoDelay(true) });
        }
        self.write(fd)
    }

    /// Something waits for room in the socket.
    pub(super) fn is_blocked(&self) -> bool {
        !self.writes.is_empty()
    }

    /// There is room in the socket.
    pub(super) fn resume(&mut self, fd: Fd) -> Turn {
        self.write(fd)
    }

    /// The server hands bytes over; `last` says that none follow for now. Those that fill no record wait for more.
    pub(super) fn send(&mut self, fd: Fd, data: &[u8], last: bool) -> Turn {
        // What waits for room in the socket was handed over before.
        if self.writes.is_empty() {
            self.held.extend_from_slice(data);
            let whole = if last { self.held.len() } else { self.held.len() / MAX_PLAIN * MAX_PLAIN };
            for record in self.held.drain(..whole).collect::<Vec<_>>().chunks(MAX_PLAIN) {
                self.session.send(record);
                self.writes.push_back(self.session.take_output());
            }
        }
        self.state = State::Send(data.len());
        self.write(fd)
    }

    /// The server is going to end the stream.
    pub(super) fn leave(&mut self, fd: Fd) -> Turn {
        if self.session.is_handshaking() || self.eof || self.session.is_closed() {
            return Turn::Left;
        }
        self.session.close();
        self.state = State::Leave;
        self.writes = [self.session.take_output()].into_iter().filter(|w| !w.is_empty()).collect();
        self.write(fd)
    }

    /// A system call returned.
    pub(super) fn returned(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) -> Turn {
        match (self.state, ret) {
            (State::Recv(_), Ret::Data(data)) => self.received(fd, &data, env),
            (State::Recv(size), Ret::Eof) => {
                self.eof = true;
                self.read(fd, size)
            }
            // Nobody waits for a good-bye.
            (State::Leave, Ret::Err(_)) => Turn::Left,
            (State::Recv(size), Ret::Err(Errno::EAGAIN)) if !self.plain.is_empty() => self.take(size),
            (_, Ret::Err(e)) => Turn::Return(Ret::Err(e)),
            (_, Ret::Sent(n)) => {
                if let Some(first) = self.writes.front_mut() {
                    first.drain(..n.min(first.len()));
                    if first.is_empty() {
                        self.writes.pop_front();
                    }
                }
                self.write(fd)
            }
            (State::Recv(size), _) => self.read(fd, size),
            (_, ret) => Turn::Return(ret),
        }
    }

    /// The next write, or what follows the last.
    fn write(&mut self, fd: Fd) -> Turn {
        if let Some(data) = self.writes.front() {
            return Turn::Call(Call::Send { fd, to: None, data: data.clone() });
        }
        match self.state {
            State::Recv(size) => self.read(fd, size),
            State::Send(size) => Turn::Return(Ret::Sent(size)),
            State::Failed => Turn::Return(Ret::Err(Errno::ECONNRESET)),
            State::Leave => Turn::Left,
        }
    }

    /// Reads until there are as many plain bytes as the server wants, or nothing more in the socket.
    fn read(&mut self, fd: Fd, size: usize) -> Turn {
        let is_over = self.eof || self.session.is_closed();
        if size > 0 && self.plain.len() >= size || is_over && !self.plain.is_empty() {
            return self.take(size);
        }
        if is_over {
            return Turn::Return(Ret::Eof);
        }
        let size = if self.style == Style::ReadAhead { READ_AHEAD } else { self.session.wants() };
        Turn::Call(Call::Recv { fd, size, dontwait: false, errqueue: false })
    }

    fn take(&mut self, size: usize) -> Turn {
        let size = size.min(self.plain.len());
        Turn::Return(Ret::Data(self.plain.drain(..size).collect()))
    }

    fn received(&mut self, fd: Fd, data: &[u8], env: &mut Env<'_>) -> Turn {
        let shook = self.session.is_handshaking();
        let result = self.session.receive(data, env);
        let output = self.session.take_output();
        if shook && !output.is_empty() {
            let flight = self.session.is_handshaking();
            env.spent_ns += if flight { FLIGHT_COST_NS } else { FINISHED_COST_NS };
        }
        self.writes.extend(output.chunks(FLIGHT_BUFFER).map(<[u8]>::to_vec));
        match result {
            Err(tls::Failure::NoTls) if shook && self.writes.is_empty() => return Turn::NoTls(data.to_vec()),
            Err(_) => self.state = State::Failed,
            Ok(()) => self.plain.extend(self.session.take_plain()),
        }
        self.write(fd)
    }
}
