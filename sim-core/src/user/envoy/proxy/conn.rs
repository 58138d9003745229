//! A connection as the proxy holds it: its socket, TLS or not, what has come and what is to be sent
//! (Network::Connection with its transport socket).

use crate::base::time::US;
use crate::engine::process::Env;
use crate::kernel::syscall::{Call, Fd, PollFd, Shutdown, SockOpt};
use crate::kernel::trace::{Bytes, Connection, Proxied};
use crate::user::tls::{Failure, MAX_PLAIN, Session};
use std::collections::VecDeque;
use std::ops::Range;

/// Tells connections apart; numbers of descriptors come again.
pub(super) type Id = u64;

/// What one read asks for (Buffer::Slice's default size).
pub(super) const READ_SIZE: usize = 16_384;
/// per_connection_buffer_limit_bytes: who has so much to send takes no more of its other end.
const HIGH_WATERMARK: usize = 1 << 20;
/// What a TLS flight costs to compute. Nanoseconds.
const FLIGHT_COST_NS: u64 = 400 * US;

/// A connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Conn {
    /// None before socket(2) has returned.
    pub fd: Option<Fd>,
    /// It is up: not in connect(2).
    pub open: bool,
    pub tls: Option<Box<Session>>,
    /// Decrypted, and not taken.
    pub input: Vec<u8>,
    /// How many bytes have come: of the stream without TLS, and where the records begin and end that `input` was in.
    received: u64,
    records: Bytes,
    /// To be encrypted and sent.
    output: Vec<u8>,
    /// Of which bytes of `output` it is known because of what they are sent.
    because: Vec<(Range<usize>, Read)>,
    /// To be sent, each in a write of its own.
    writes: VecDeque<Vec<u8>>,
    /// How many bytes were put there so far.
    written: u64,
    /// By what others know it, once it is known.
    pub name: Option<Connection>,
    /// What there is to say of bytes that were put among `writes`.
    pub edges: Vec<Proxied>,
    /// The peer has ended its stream.
    pub eof: bool,
    /// What follows when all is sent.
    pub end: End,
    /// send(2) was called.
    writing: bool,
    /// The socket has no room.
    blocked: bool,
}

/// What was read of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Read {
    of: Connection,
    bytes: Bytes,
}

impl Read {
    /// And what was read later.
    pub fn and(&mut self, more: &Read) {
        self.bytes.end = more.bytes.end;
    }
}

/// What follows when all is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum End {
    /// More.
    #[default]
    Open,
    /// The stream ends (half-close).
    Shutdown,
    /// It has ended.
    Shut,
    /// close(2).
    Close,
    /// close(2) that resets the connection, at once.
    Reset,
    /// close(2) is on its way.
    Closed,
}

/// What a connection does next.
#[derive(Debug)]
pub(super) enum Next {
    /// A system call; the proxy hears how it ended.
    Call(Call),
    /// Calls after which there is no connection.
    Close(Vec<Call>),
}

impl Conn {
    /// One that was accepted.
    pub fn accepted(fd: Fd) -> Self {
        Conn { fd: Some(fd), open: true, ..Conn::default() }
    }

    /// Takes in what was read.
    ///
    /// # Errors
    /// TLS has failed; its alert is to be sent.
    pub fn receive(&mut self, data: &[u8], env: &mut Env<'_>) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            self.input.extend_from_slice(data);
            self.received += data.len() as u64;
            return Ok(());
        };
        let shook = tls.is_handshaking();
        let result = tls.receive(data, env);
        let plain = tls.take_plain();
        if !plain.is_empty() {
            let records = tls.plain_in();
            self.records = if self.input.is_empty() { records } else { self.records.start..records.end };
            self.input.extend(plain);
        }
        self.eof |= tls.is_closed();
        let said = tls.take_output();
        // The last flight is checked, also where no answer to it is sent at once.
        if shook && !(said.is_empty() && tls.is_handshaking()) {
            env.spent_ns += FLIGHT_COST_NS;
        }
        self.push(said);
        result
    }

    /// Takes from what has come by `take`, which may also say something: what it returns, and which bytes of the
    /// stream that were.
    pub fn read<T>(&mut self, take: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>) -> T) -> (T, Option<Read>) {
        let plain = self.tls.is_none();
        let here = |conn: &Conn| conn.received - conn.input.len() as u64;
        let start = if plain { here(self) } else { self.records.start };
        let taken = take(&mut self.input, &mut self.output);
        let end = if plain { here(self) } else { self.records.end };
        if self.input.is_empty() {
            self.records.start = self.records.end;
        }
        (taken, self.name.map(|of| Read { of, bytes: start..end }))
    }

    /// What `say` puts there is to be sent, because of what was read of another connection.
    pub fn write(&mut self, because: Option<&Read>, say: impl FnOnce(&mut Vec<u8>)) {
        let start = self.output.len();
        say(&mut self.output);
        let bytes = start..self.output.len();
        if let Some(read) = because.filter(|read| !bytes.is_empty() && self.name != Some(read.of)) {
            self.because.push((bytes, read.clone()));
        }
    }

    fn push(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.written += bytes.len() as u64;
            self.writes.push_back(bytes);
        }
    }

    /// TLS, if there is any, is up.
    pub fn is_established(&self) -> bool {
        self.open && self.tls.as_ref().is_none_or(|tls| !tls.is_handshaking())
    }

    /// It is over, or will be.
    pub fn is_ending(&self) -> bool {
        matches!(self.end, End::Close | End::Reset | End::Closed)
    }

    /// It has more to send than it should.
    pub fn is_full(&self) -> bool {
        self.output.len() + self.writes.iter().map(Vec::len).sum::<usize>() > HIGH_WATERMARK
    }

    /// What there is to do about what is to be sent.
    pub fn next(&mut self) -> Option<Next> {
        let fd = self.fd?;
        if self.end == End::Reset {
            self.end = End::Closed;
            let opt = SockOpt::Linger(Some(0));
            return Some(Next::Close(vec![Call::SetSockOpt { fd, opt }, Call::Close { fd }]));
        }
        if self.end == End::Close && !self.open {
            self.end = End::Closed;
            return Some(Next::Close(vec![Call::Close { fd }]));
        }
        if !self.open || self.writing || self.end == End::Closed {
            return None;
        }
        self.seal();
        if self.blocked {
            return None;
        }
        if let Some(data) = self.writes.front() {
            self.writing = true;
            return Some(Next::Call(Call::Send { fd, to: None, data: data.clone() }));
        }
        match self.end {
            End::Shutdown => {
                self.end = End::Shut;
                // With TLS the close_notify is the end of the stream.
                let how = Shutdown::Write;
                self.tls.is_none().then_some(Next::Call(Call::Shutdown { fd, how }))
            }
            End::Close => {
                self.end = End::Closed;
                Some(Next::Close(vec![Call::Close { fd }]))
            }
            _ => None,
        }
    }

    /// Makes writes of what is to be sent: SSL_write takes a record's worth.
    fn seal(&mut self) {
        let Some(mut tls) = self.tls.take() else {
            let plain = std::mem::take(&mut self.output);
            let before = self.written;
            self.push(plain);
            return self.explain(|bytes| before + bytes.start as u64..before + bytes.end as u64);
        };
        self.push(tls.take_output());
        if !tls.is_handshaking() {
            let mut records = vec![];
            for plain in std::mem::take(&mut self.output).chunks(MAX_PLAIN) {
                let length = tls.send(plain) as u64;
                self.push(tls.take_output());
                records.push(self.written - length..self.written);
            }
            let record = |byte: usize| records.get(byte / MAX_PLAIN).cloned().unwrap_or_default();
            self.explain(|bytes| record(bytes.start).start..record(bytes.end - 1).end);
            if matches!(self.end, End::Shutdown | End::Close) {
                tls.close();
                self.push(tls.take_output());
            }
        }
        self.tls = Some(tls);
    }

    /// Says because of what bytes of `output` are sent, which has become bytes of the stream by `sent`.
    fn explain(&mut self, sent: impl Fn(&Range<usize>) -> Bytes) {
        let because = std::mem::take(&mut self.because);
        let Some(to) = self.name else { return };
        self.edges.extend(because.into_iter().map(|(bytes, read)| Proxied {
            from: read.of,
            to,
            bytes: Some([read.bytes, sent(&bytes)]),
        }));
    }

    /// send(2) took so many bytes, or has no room.
    pub fn sent(&mut self, taken: Option<usize>) {
        self.writing = false;
        self.blocked = taken.is_none();
        if let Some(first) = self.writes.front_mut() {
            first.drain(..taken.unwrap_or_default().min(first.len()));
            if first.is_empty() {
                self.writes.pop_front();
            }
        }
    }

    /// There is room again.
    pub fn writable(&mut self) {
        self.blocked = false;
    }

    /// What poll(2) is asked; `read` if what comes is wanted.
    pub fn wants(&self, read: bool) -> Option<PollFd> {
        let fd = self.fd.filter(|_| self.end != End::Closed)?;
        let (read, write) = (self.open && read && !self.eof, !self.open || self.blocked);
        (read || write).then_some(PollFd { fd, read, write })
    }
}
