//! One connection of nginx (src/http/ngx_http_request.c, ngx_http_request_body.c, src/core/ngx_output_chain.c).

use super::request::{self, Body, Parsed, Where};
use super::response::{Response, Site, Status};
use crate::base::files::File;
use crate::kernel::syscall::{Fd, PollFd, Ready, Ret};
use std::collections::VecDeque;
use std::sync::Arc;

/// client_header_buffer_size; large_client_header_buffers
const HEADER_BUFFER: usize = 1024;
const LARGE_BUFFER: usize = 8192;
const LARGE_BUFFERS: usize = 4;
/// output_buffers
const OUTPUT_BUFFER: usize = 32_768;
const OUTPUT_BUFFERS: usize = 2;
/// NGX_HTTP_DISCARD_BUFFER_SIZE and NGX_HTTP_LINGERING_BUFFER_SIZE
const DISCARD_BUFFER: usize = 4096;
/// client_header_timeout, send_timeout, keepalive_timeout, lingering_timeout, lingering_time: milliseconds.
const HEADER_TIMEOUT_MS: u64 = 60_000;
const SEND_TIMEOUT_MS: u64 = 60_000;
const KEEPALIVE_TIMEOUT_MS: u64 = 75_000;
const LINGERING_TIMEOUT_MS: u64 = 5_000;
const LINGERING_TIME_MS: u64 = 30_000;
/// keepalive_requests: so many are answered over one connection.
const KEEPALIVE_REQUESTS: u32 = 1000;

/// What a connection does next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing, until poll tells something about it.
    Wait,
    /// A request has come.
    Answer,
    Recv(usize),
    Send(Vec<u8>),
    NoDelay,
    Shutdown,
    Close,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Connection {
    state: State,
    /// Received, and not looked at.
    buffer: Vec<u8>,
    /// Room in the buffer for a head.
    room: usize,
    /// Large buffers that the head has taken.
    large: usize,
    request: Option<Parsed>,
    /// What is left of the request's body.
    body: Option<Body>,
    out: Output,
    keepalive: bool,
    /// The client may still be sending what nobody reads: close only when it is done.
    linger: bool,
    /// The last recv filled its buffer: there may be more.
    read_ready: bool,
    /// TCP_NODELAY is set.
    pub nodelay: bool,
    /// The client speaks plain HTTP where TLS is spoken.
    pub misdirected: bool,
    requests: u32,
    /// When it is given up, in milliseconds.
    pub timer_ms: Option<u64>,
    linger_until_ms: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Waits for a request, or for the rest of its head.
    Head,
    /// Waits for the next request.
    Idle,
    /// The body of a request is read before it is answered.
    Discard,
    Send,
    /// Was answered; the rest of the body is being read.
    Rest,
    NoDelay,
    Shutdown,
    Linger,
}

/// What is to be sent.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Output {
    /// Bytes that no writev has taken.
    pending: Vec<u8>,
    /// How much of them is in each buffer.
    buffers: VecDeque<usize>,
    file: Option<Arc<File>>,
    offset: u64,
    /// writev took less than it was given.
    blocked: bool,
}

impl Connection {
    /// A connection that was just accepted.
    pub(super) fn new(now_ms: u64) -> Self {
        Connection {
            state: State::Head,
            buffer: Vec::new(),
            room: HEADER_BUFFER,
            large: 0,
            request: None,
            body: None,
            out: Output::default(),
            keepalive: false,
            linger: false,
            read_ready: false,
            nodelay: false,
            misdirected: false,
            requests: 0,
            timer_ms: Some(now_ms + HEADER_TIMEOUT_MS),
            linger_until_ms: 0,
        }
    }

    /// What poll is asked about it.
    pub(super) fn wants(&self, fd: Fd) -> PollFd {
        let sending = self.state == State::Send;
        PollFd { fd, read: !sending || self.body.is_some(), write: sending }
    }

    /// What poll told; none if that is nothing to it.
    pub(super) fn ready(&mut self, ready: Ready) -> Option<Next> {
        let broken = ready.error || ready.hangup;
        match self.state {
            State::Send if ready.write || broken => {
                self.out.blocked = false;
                Some(self.send())
            }
            State::Send | State::Rest if ready.read || broken => Some(Next::Recv(self.discard_size())),
            State::Linger if ready.read || broken => Some(Next::Recv(DISCARD_BUFFER)),
            State::Head | State::Idle if ready.read || broken => Some(Next::Recv(self.room)),
            _ => None,
        }
    }

    /// A call found nothing to do (EAGAIN).
    pub(super) fn blocked(&mut self, now_ms: u64) -> Next {
        self.read_ready = false;
        match self.state {
            State::Send => {
                self.out.blocked = true;
                self.timer_ms = Some(now_ms + SEND_TIMEOUT_MS);
                Next::Wait
            }
            State::Discard => self.start_to_send(),
            _ => Next::Wait,
        }
    }

    /// A call returned.
    pub(super) fn returned(&mut self, ret: Ret, now_ms: u64) -> Next {
        match (self.state, ret) {
            (State::Head | State::Idle, Ret::Data(data)) => {
                self.read_ready = data.len() == self.room;
                self.room -= data.len().min(self.room);
                self.buffer.extend(data);
                self.head(now_ms)
            }
            (State::Discard | State::Rest | State::Send, Ret::Data(data)) => {
                self.read_ready = data.len() == self.discard_size();
                self.buffer.extend(data);
                self.discarded(now_ms)
            }
            (State::Discard, Ret::Eof) => {
                (self.body, self.keepalive) = (None, false);
                self.start_to_send()
            }
            (State::Send, Ret::Sent(n)) => self.sent(n, now_ms),
            (State::NoDelay, _) => {
                self.nodelay = true;
                self.idle(now_ms)
            }
            (State::Shutdown, _) => {
                self.state = State::Linger;
                self.linger_until_ms = now_ms + LINGERING_TIME_MS;
                self.timer_ms = Some(now_ms + LINGERING_TIMEOUT_MS);
                if self.read_ready { Next::Recv(DISCARD_BUFFER) } else { Next::Wait }
            }
            (State::Linger, Ret::Data(data)) => {
                let left = self.linger_until_ms.saturating_sub(now_ms).min(LINGERING_TIMEOUT_MS);
                self.timer_ms = Some(now_ms + left);
                if data.len() == DISCARD_BUFFER { Next::Recv(DISCARD_BUFFER) } else { Next::Wait }
            }
            _ => Next::Close,
        }
    }

    /// Looks at what has come of a head.
    fn head(&mut self, now_ms: u64) -> Next {
        let parsed = request::parse(&self.buffer);
        if parsed != Parsed::Partial {
            (self.timer_ms, self.request) = (None, Some(parsed));
            return Next::Answer;
        }
        if self.state == State::Idle {
            (self.state, self.timer_ms) = (State::Head, Some(now_ms + HEADER_TIMEOUT_MS));
        }
        if self.room == 0 {
            let line = self.buffer.iter().rev().take_while(|b| **b != b'\n').count();
            if line >= LARGE_BUFFER || self.large == LARGE_BUFFERS {
                let status = if line == self.buffer.len() { Status::UriTooLarge } else { Status::HeaderTooLarge };
                (self.timer_ms, self.request) = (None, Some(Parsed::Bad(status, Where::Within)));
                return Next::Answer;
            }
            self.large += 1;
            self.room = LARGE_BUFFER - line;
        }
        if self.read_ready { Next::Recv(self.room) } else { Next::Wait }
    }

    /// Makes the answer.
    pub(super) fn answer(&mut self, site: &Site<'_>) -> Next {
        self.requests += 1;
        let Response { head, file, keepalive } = match self.request.take() {
            Some(Parsed::Request(..)) if self.misdirected => {
                self.buffer.clear();
                site.refuse(Status::ToHttps)
            }
            Some(Parsed::Request(request, end)) => {
                self.buffer.drain(..end);
                let response = site.answer(&request);
                self.body = request.body;
                self.linger = self.body.is_some();
                response
            }
            Some(Parsed::Bad(status, at)) => {
                self.buffer.clear();
                self.linger = at == Where::Within;
                site.refuse(status)
            }
            Some(Parsed::Partial) | None => return Next::Wait,
        };
        self.keepalive = keepalive && self.requests < KEEPALIVE_REQUESTS;
        (self.room, self.large) = (HEADER_BUFFER, 0);
        self.out = Output { pending: head, buffers: VecDeque::from([0]), file, offset: 0, blocked: false };
        self.state = State::Discard;
        if self.take_body().is_none() {
            return Next::Close;
        }
        match self.body.is_some() && self.read_ready {
            true => Next::Recv(self.discard_size()),
            false => self.start_to_send(),
        }
    }

    /// Takes the body out of what has come; none if it is not what it should be.
    fn take_body(&mut self) -> Option<()> {
        let Some(body) = &mut self.body else { return Some(()) };
        body.take(&mut self.buffer)?;
        if body.is_done() {
            (self.body, self.linger) = (None, false);
        }
        Some(())
    }

    fn discard_size(&self) -> usize {
        match self.body {
            Some(Body::Length(left)) => usize::try_from(left).unwrap_or(usize::MAX).min(DISCARD_BUFFER),
            _ => DISCARD_BUFFER,
        }
    }

    /// Some more of a body was read.
    fn discarded(&mut self, now_ms: u64) -> Next {
        if self.take_body().is_none() {
            return Next::Close;
        }
        match (self.body.is_some(), self.state) {
            (true, _) if self.read_ready => Next::Recv(self.discard_size()),
            (_, State::Discard) => self.start_to_send(),
            (_, State::Send) => Next::Wait,
            (true, _) => {
                self.timer_ms = Some(now_ms + LINGERING_TIMEOUT_MS);
                Next::Wait
            }
            (false, _) => self.finish(now_ms),
        }
    }

    fn start_to_send(&mut self) -> Next {
        self.state = State::Send;
        self.out.fill();
        self.send()
    }

    /// Nothing follows what it sends now.
    pub(super) fn is_last(&self) -> bool {
        self.out.file.as_ref().is_none_or(|file| self.out.offset >= file.size())
    }

    fn send(&mut self) -> Next {
        Next::Send(self.out.pending.clone())
    }

    fn sent(&mut self, n: usize, now_ms: u64) -> Next {
        self.out.taken(n);
        if self.out.blocked {
            while self.out.fill() {}
            self.timer_ms = Some(now_ms + SEND_TIMEOUT_MS);
            return Next::Wait;
        }
        if self.out.fill() {
            return self.send();
        }
        self.finish(now_ms)
    }

    /// ngx_http_finalize_connection: the answer is on its way.
    fn finish(&mut self, now_ms: u64) -> Next {
        self.out = Output::default();
        if self.body.is_some() {
            (self.state, self.timer_ms) = (State::Rest, Some(now_ms + LINGERING_TIMEOUT_MS));
            return Next::Wait;
        }
        if !self.keepalive {
            if !self.linger && self.buffer.is_empty() && !self.read_ready {
                return Next::Close;
            }
            self.state = State::Shutdown;
            return Next::Shutdown;
        }
        if !self.buffer.is_empty() {
            // The next request came with this one.
            (self.state, self.timer_ms) = (State::Head, None);
            self.room = HEADER_BUFFER.saturating_sub(self.buffer.len());
            return self.head(now_ms);
        }
        if !self.nodelay {
            self.state = State::NoDelay;
            return Next::NoDelay;
        }
        self.idle(now_ms)
    }

    fn idle(&mut self, now_ms: u64) -> Next {
        (self.state, self.timer_ms) = (State::Idle, Some(now_ms + KEEPALIVE_TIMEOUT_MS));
        if self.read_ready { Next::Recv(self.room) } else { Next::Wait }
    }
}

impl Output {
    /// Reads the file into a free buffer; false if there is none, or no more of the file. What is pending is sent
    /// before another buffer is filled, unless it is stuck.
    fn fill(&mut self) -> bool {
        let Some(file) = &self.file else { return false };
        if self.buffers.len() >= OUTPUT_BUFFERS || self.offset >= file.size() {
            return false;
        }
        let data = file.read(self.offset, OUTPUT_BUFFER);
        self.offset += data.len() as u64;
        match self.buffers.back_mut() {
            // The head goes with the first buffer.
            Some(0) => self.buffers[0] = self.pending.len() + data.len(),
            _ => self.buffers.push_back(data.len()),
        }
        self.pending.extend(data);
        true
    }

    /// writev took so many bytes.
    fn taken(&mut self, n: usize) {
        self.blocked = n < self.pending.len();
        let mut left = n;
        while let Some(first) = self.buffers.front_mut() {
            if *first > left {
                *first -= left;
                break;
            }
            left -= *first;
            self.buffers.pop_front();
        }
        self.pending.drain(..n.min(self.pending.len()));
    }
}
