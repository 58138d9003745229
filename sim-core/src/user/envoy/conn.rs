//! A connection as the proxy holds it: its socket, TLS or not, what has come and what is to be sent
//! (Network::Connection with its transport socket).

use crate::base::time::US;
use crate::engine::process::Env;
use crate::kernel::syscall::{Call, Fd, PollFd, Shutdown, SockOpt};
use crate::user::tls::{Failure, MAX_PLAIN, Session};
use std::collections::VecDeque;

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
    /// To be encrypted and sent.
    pub output: Vec<u8>,
    /// To be sent, each in a write of its own.
    writes: VecDeque<Vec<u8>>,
    /// The peer has ended its stream.
    pub eof: bool,
    /// What follows when all is sent.
    pub end: End,
    /// send(2) was called.
    writing: bool,
    /// The socket has no room.
    blocked: bool,
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
            return Ok(());
        };
        let shook = tls.is_handshaking();
        let result = tls.receive(data, env);
        self.input.extend(tls.take_plain());
        self.eof |= tls.is_closed();
        let said = tls.take_output();
        if !said.is_empty() {
            if shook {
                env.spent_ns += FLIGHT_COST_NS;
            }
            self.writes.push_back(said);
        }
        result
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
        match &mut self.tls {
            None if !self.output.is_empty() => self.writes.push_back(std::mem::take(&mut self.output)),
            None => {}
            Some(tls) => {
                let hello = tls.take_output();
                if !hello.is_empty() {
                    self.writes.push_back(hello);
                }
                if tls.is_handshaking() {
                    return;
                }
                for record in std::mem::take(&mut self.output).chunks(MAX_PLAIN) {
                    tls.send(record);
                    self.writes.push_back(tls.take_output());
                }
                if matches!(self.end, End::Shutdown | End::Close) {
                    tls.close();
                    self.writes.push_back(tls.take_output());
                }
                self.writes.retain(|w| !w.is_empty());
            }
        }
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
