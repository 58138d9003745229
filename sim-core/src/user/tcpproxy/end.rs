//! One end of a stream: asyncio's transport with the buffer of its reader.

use super::LIMIT;
use crate::kernel::syscall::Fd;

/// Above so much that waits to be sent, who writes waits; he goes on when a quarter of it is left (transports.py).
const HIGH_WATER: usize = 64 << 10;

/// A socket and what waits at it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct End {
    pub fd: Fd,
    /// It was never connected.
    pub unused: bool,
    /// It is watched for input, for room.
    pub reading: bool,
    pub writing: bool,
    /// What was received and not read yet.
    pub input: Vec<u8>,
    /// Reading stopped because that is too much.
    full: bool,
    /// Nothing more comes, or an error ended it.
    pub eof: bool,
    pub failed: bool,
    /// Somebody waits for input, or for room.
    pub waiting: bool,
    pub drains: bool,
    /// What is to be sent.
    pub out: Vec<u8>,
    /// Too much of it waits.
    pub paused: bool,
    /// The stream ends behind it.
    pub ends: bool,
    /// It closes when all is sent; it is as good as closed; it is closed.
    pub closing: bool,
    pub lost: bool,
    pub closed: bool,
}

impl End {
    pub fn new(fd: Fd) -> Self {
        End {
            fd,
            unused: false,
            reading: false,
            writing: false,
            input: vec![],
            full: false,
            eof: false,
            failed: false,
            waiting: false,
            drains: false,
            out: vec![],
            paused: false,
            ends: false,
            closing: false,
            lost: false,
            closed: false,
        }
    }

    /// One that has no socket yet.
    pub fn unused() -> Self {
        End { unused: true, ..End::new(Fd(0)) }
    }

    /// StreamReader.feed_data
    pub fn feed(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
        if self.input.len() > 2 * LIMIT {
            (self.full, self.reading) = (true, false);
        }
    }

    /// StreamReader.read: up to `most` bytes of what is there.
    pub fn take(&mut self, most: usize) -> Vec<u8> {
        let rest = self.input.split_off(most.min(self.input.len()));
        let data = std::mem::replace(&mut self.input, rest);
        if self.full && self.input.len() <= LIMIT {
            (self.full, self.reading) = (false, !self.lost && !self.closing);
        }
        data
    }

    /// More waits to be sent.
    pub fn keep(&mut self, data: &[u8]) {
        self.out.extend_from_slice(data);
        self.paused = self.out.len() > HIGH_WATER;
    }

    /// So much of what was to be sent is.
    pub fn sent(&mut self, n: usize) {
        self.out.drain(..n.min(self.out.len()));
        self.writing = !self.out.is_empty();
        self.paused = self.out.len() > if self.paused { HIGH_WATER / 4 } else { HIGH_WATER };
    }
}
