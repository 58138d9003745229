//! readwrite() of nc: between its standard input and output and a socket, with a buffer each way. Its poll has four
//! entries: standard input, the socket to write to, the socket to read from, standard output. The outer two are a file
//! and a file here: they are ready whenever they are asked about.

use crate::base::time::SEC;
use crate::engine::process::Console;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, Shutdown};

/// BUFSIZE: each buffer, and the most that one read takes.
const BUFSIZE: usize = 16_384;

/// A connection that is served. An end that is open is one whose entry poll still has.
#[derive(Clone, Debug)]
pub(super) struct Relay {
    fd: Fd,
    listen: bool,
    shutdown: bool,
    timeout_ns: Option<u64>,
    stdin_open: bool,
    netout_open: bool,
    netin_open: bool,
    stdout_open: bool,
    /// What was read from standard input and is not sent.
    stdin_buf: Vec<u8>,
    /// What was received and is not printed.
    netin_buf: Vec<u8>,
    /// Received already, before the relay began.
    waiting: Option<Vec<u8>>,
    at: At,
    netout: Ready,
    netin: Ready,
    stdin: bool,
    stdout: bool,
    /// It ended because its time was out.
    late: bool,
}

/// The call that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Poll,
    HangUp,
    Write,
    Read,
    EndOfInput,
    Shutdown,
}

/// What a relay is told.
pub(super) struct Terms {
    /// nc is a server.
    pub listen: bool,
    /// -N
    pub shutdown: bool,
    /// -w
    pub timeout_s: Option<u64>,
    /// -d
    pub detached: bool,
    /// A datagram that was received.
    pub waiting: Option<Vec<u8>>,
}

impl Relay {
    pub(super) fn new(fd: Fd, terms: Terms) -> Self {
        Relay {
            fd,
            listen: terms.listen,
            shutdown: terms.shutdown,
            timeout_ns: terms.timeout_s.map(|s| s * SEC),
            stdin_open: !terms.detached,
            netout_open: true,
            netin_open: true,
            stdout_open: true,
            stdin_buf: vec![],
            netin_buf: vec![],
            waiting: terms.waiting,
            at: At::Start,
            netout: Ready::default(),
            netin: Ready::default(),
            stdin: false,
            stdout: false,
            late: false,
        }
    }

    /// It ended because its time was out.
    pub(super) fn is_late(&self) -> bool {
        self.late
    }

    /// The next call; none at the end. `input` is what is left of the standard input.
    pub(super) fn step(&mut self, ret: Ret, input: &mut Vec<u8>, console: &mut Console) -> Option<Call> {
        match (self.at, ret) {
            (At::Poll, Ret::Poll(ready)) => {
                if ready.is_empty() && !self.stdin && !self.stdout && self.waiting.is_none() {
                    self.late = true;
                    return None;
                }
                self.polled(&ready);
                if self.netout.hangup && self.netout_open {
                    self.netout_open = false;
                    if self.shutdown {
                        return Some(self.end(At::HangUp, Shutdown::Write));
                    }
                }
                self.write(input).or_else(|| self.read(console)).or_else(|| self.print(console))
            }
            (At::HangUp, _) => self.write(input).or_else(|| self.read(console)).or_else(|| self.print(console)),
            (At::Write, ret) => {
                match ret {
                    Ret::Sent(n) => drop(self.stdin_buf.drain(..n.min(self.stdin_buf.len()))),
                    Ret::Err(Errno::EAGAIN | Errno::EINTR) => {}
                    _ => self.netout_open = false,
                }
                self.read(console).or_else(|| self.print(console))
            }
            (At::Read, ret) => self.received(ret).or_else(|| self.print(console)),
            (At::EndOfInput, _) => self.print(console),
            _ => self.poll(),
        }
    }

    fn poll(&mut self) -> Option<Call> {
        let empty = self.stdin_buf.is_empty() && self.netin_buf.is_empty();
        let inputs_gone = !self.stdin_open && !self.netin_open && empty;
        let outputs_gone = !self.netout_open && !self.stdout_open;
        if inputs_gone || outputs_gone || self.listen && !self.netin_open && empty {
            return None;
        }
        self.stdin = self.stdin_open && self.stdin_buf.len() < BUFSIZE;
        self.stdout = self.stdout_open && !self.netin_buf.is_empty();
        let mut fds = vec![];
        if self.netout_open {
            fds.push(PollFd { fd: self.fd, read: false, write: !self.stdin_buf.is_empty() });
        }
        if self.netin_open {
            fds.push(PollFd { fd: self.fd, read: self.netin_buf.len() < BUFSIZE, write: false });
        }
        let at_once = self.stdin || self.stdout || self.waiting.is_some();
        let timeout_ns = if at_once { Some(0) } else { self.timeout_ns };
        self.at = At::Poll;
        Some(Call::Poll { fds, timeout_ns })
    }

    /// Takes in what poll says; entries with an error are dropped.
    fn polled(&mut self, ready: &[Ready]) {
        let mut ready = ready.iter().copied();
        let mut entry = |open: bool| if open { ready.next().unwrap_or_default() } else { Ready::default() };
        (self.netout, self.netin) = (entry(self.netout_open), entry(self.netin_open));
        self.netin.read |= self.waiting.is_some();
        self.netout_open &= !self.netout.error;
        self.netin_open &= !self.netin.error;
        // Reading is possible after a hang-up.
        if self.netin.hangup && !self.netin.read && self.netin_buf.len() < BUFSIZE {
            self.netin_open = false;
        }
    }

    /// Reads from standard input, then writes to the socket.
    fn write(&mut self, input: &mut Vec<u8>) -> Option<Call> {
        self.stdin_open &= self.netout_open;
        if self.stdin && self.stdin_open && self.stdin_buf.len() < BUFSIZE {
            let n = input.len().min(BUFSIZE - self.stdin_buf.len());
            self.stdin_open = n > 0;
            self.stdin_buf.extend(input.drain(..n));
        }
        if !self.netout.write || !self.netout_open || self.stdin_buf.is_empty() {
            return None;
        }
        self.at = At::Write;
        Some(Call::Send { fd: self.fd, to: None, data: self.stdin_buf.clone() })
    }

    fn read(&mut self, console: &mut Console) -> Option<Call> {
        if !self.netin.read || !self.netin_open || self.netin_buf.len() >= BUFSIZE {
            return None;
        }
        if let Some(data) = self.waiting.take() {
            self.netin_buf.extend(data);
            return self.print(console);
        }
        self.at = At::Read;
        let size = BUFSIZE - self.netin_buf.len();
        Some(Call::Recv { fd: self.fd, size, dontwait: true, errqueue: false })
    }

    fn received(&mut self, ret: Ret) -> Option<Call> {
        let data = match ret {
            Ret::Data(data) => data,
            Ret::Message(m) => m.data,
            Ret::Eof => vec![],
            Ret::Err(Errno::EAGAIN | Errno::EINTR) => return None,
            _ => {
                self.netin_open = false;
                return None;
            }
        };
        if data.is_empty() {
            self.netin_open = false;
            return Some(self.end(At::EndOfInput, Shutdown::Read));
        }
        self.netin_buf.extend(data);
        None
    }

    /// Writes to standard output, and closes what has come to its end.
    fn print(&mut self, console: &mut Console) -> Option<Call> {
        if self.stdout && self.stdout_open {
            console.out(String::from_utf8_lossy(&self.netin_buf));
            self.netin_buf.clear();
        }
        if !self.netin_open && self.netin_buf.is_empty() {
            self.stdout_open = false;
        }
        if !self.stdin_open && self.stdin_buf.is_empty() && self.netout_open {
            self.netout_open = false;
            if self.shutdown {
                return Some(self.end(At::Shutdown, Shutdown::Write));
            }
        }
        self.poll()
    }

    fn end(&mut self, at: At, how: Shutdown) -> Call {
        self.at = at;
        Call::Shutdown { fd: self.fd, how }
    }
}
