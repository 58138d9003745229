//! `python3 -m http.server`: the http.server of Python 3.11.2, a thread for each connection, HTTP/1.0.
//!
//! Differs: one process plays all threads, with sockets that do not block; a send that would wait goes on when poll
//! says so. A thread that ends has no traceback to print when its client is gone.

mod answer;

use crate::base::files::File;
use crate::base::time::{MS, SEC};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, PollFd, Ready, Ret, Shutdown, SockOpt, SocketKind};
use answer::{Answer, Site};
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

/// socketserver's request_queue_size
const BACKLOG: u32 = 5;
/// serve_forever's poll_interval, in nanoseconds.
const POLL_NS: u64 = 500 * MS;
/// io.DEFAULT_BUFFER_SIZE
const RECV_SIZE: usize = 8192;
/// shutil.COPY_BUFSIZE: files are sent in pieces of this size.
const COPY_SIZE: usize = 65_536;
/// More than this of a head is not read; Python limits its lines and their number.
const MAX_HEAD: usize = 1 << 18;
/// As many threads run at once; who comes then waits in the backlog.
const MAX_THREADS: usize = 512;
const DEFAULT_PORT: u16 = 8000;
/// What it computes, as measured: for a new thread, for a request (the first one reads the list of types too), between
/// two writes, and before a connection is shut down. Nanoseconds.
const THREAD_COST_NS: u64 = 300_000;
const REQUEST_COST_NS: u64 = 600_000;
const TYPES_COST_NS: u64 = 1_900_000;
const WRITE_COST_NS: u64 = 150_000;
const END_COST_NS: u64 = 300_000;

/// The server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpServer {
    addr: SocketAddrV4,
    root: String,
    at: At,
    listener: Fd,
    threads: BTreeMap<Fd, Thread>,
    /// What poll told and nobody has looked at yet.
    events: VecDeque<(Fd, Ready)>,
    /// What poll was asked.
    asked: Vec<Fd>,
    /// A file was served: the list of types is read.
    has_types: bool,
}

/// What the last system call was for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Start,
    Socket,
    ReuseAddr,
    Bind,
    SockName,
    Listen,
    Poll,
    Accept,
    /// A thread's own.
    Thread(Fd),
}

/// A connection.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Thread {
    client: Ipv4Addr,
    state: State,
    buffer: Vec<u8>,
    /// What a write has still to send.
    pending: Vec<u8>,
    /// What the writes after it send.
    body: Vec<u8>,
    file: Option<Arc<File>>,
    offset: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Its address is asked for.
    Name,
    Recv,
    Send,
    Shutdown,
    Close,
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<HttpServer, SyntaxError> {
    let hint = "write `python3 -m http.server [--bind ADDRESS] [--directory DIRECTORY] [PORT]`";
    let wrong = |word: &Word, message: String| SyntaxError::at(word, format!("python3: {message}")).hint(hint);
    let [module_option, module, words @ ..] = words else {
        return Err(wrong(name, "the only program that is simulated is http.server".into()));
    };
    if module_option.text != "-m" || module.text != "http.server" {
        return Err(wrong(module_option, "the only program that is simulated is http.server".into()));
    }
    let (mut ip, mut root, mut port) = (Ipv4Addr::UNSPECIFIED, "/".to_owned(), None);
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let (option, glued) = match word.text.split_once('=') {
            Some((option, value)) if option.starts_with("--") => (option, Some(value)),
            _ => (word.text.as_str(), None),
        };
        let mut argument = || {
            let next = glued.map(|value| (value, word)).or_else(|| words.next().map(|w| (w.text.as_str(), w)));
            next.ok_or_else(|| wrong(word, format!("argument {option}: expected one argument")))
        };
        match option {
            "-d" | "--directory" => {
                let (directory, at) = argument()?;
                if !directory.starts_with('/') {
                    return Err(wrong(at, format!("the directory {directory} is no absolute path")));
                }
                root = directory.trim_end_matches('/').to_owned();
            }
            "-b" | "--bind" => {
                let (addr, at) = argument()?;
                ip = addr.parse().map_err(|_| wrong(at, format!("{addr} is not an IPv4 address")))?;
            }
            option if option.starts_with('-') => {
                return Err(wrong(word, format!("the option {option} is not simulated")));
            }
            text if port.is_none() => {
                let number = text.parse::<u16>().ok().filter(|n| *n > 0 && text.bytes().all(|b| b.is_ascii_digit()));
                port = Some(number.ok_or_else(|| wrong(word, format!("{text} is not a port")))?);
            }
            _ => return Err(wrong(word, format!("unrecognized arguments: {}", word.text))),
        }
    }
    Ok(HttpServer {
        addr: SocketAddrV4::new(ip, port.unwrap_or(DEFAULT_PORT)),
        root,
        at: At::Start,
        listener: Fd(0),
        threads: BTreeMap::new(),
        events: VecDeque::new(),
        asked: Vec::new(),
        has_types: false,
    })
}

impl HttpServer {
    fn call(&mut self, at: At, call: Call) -> Call {
        self.at = at;
        call
    }

    /// The way to listen(2).
    fn start(&mut self, ret: &Ret, env: &mut Env<'_>) -> Call {
        if let Ret::Err(e) = ret {
            env.console.err(format!("OSError: [Errno {}] {e}\n", e.number()));
            return Call::Exit(1);
        }
        let fd = self.listener;
        match self.at {
            At::Start => self.call(At::Socket, Call::Socket(SocketKind::Tcp)),
            At::Socket => {
                if let Ret::Fd(fd) = ret {
                    self.listener = *fd;
                }
                let (fd, opt) = (self.listener, SockOpt::ReuseAddr(true));
                self.call(At::ReuseAddr, Call::SetSockOpt { fd, opt })
            }
            At::ReuseAddr => self.call(At::Bind, Call::Bind { fd, addr: self.addr }),
            At::Bind => self.call(At::SockName, Call::SockName { fd }),
            At::SockName => self.call(At::Listen, Call::Listen { fd, backlog: BACKLOG }),
            _ => {
                let (ip, port) = (self.addr.ip(), self.addr.port());
                env.console.out(format!("Serving HTTP on {ip} port {port} (http://{ip}:{port}/) ...\n"));
                self.poll()
            }
        }
    }

    fn poll(&mut self) -> Call {
        let room = self.threads.len() < MAX_THREADS;
        let listener = room.then_some(PollFd::read(self.listener));
        let wants = |(fd, t): (&Fd, &Thread)| match t.state {
            State::Send => PollFd::write(*fd),
            _ => PollFd::read(*fd),
        };
        let fds: Vec<PollFd> = listener.into_iter().chain(self.threads.iter().map(wants)).collect();
        self.asked = fds.iter().map(|f| f.fd).collect();
        self.call(At::Poll, Call::Poll { fds, timeout_ns: Some(POLL_NS) })
    }

    fn next(&mut self) -> Call {
        while let Some((fd, _)) = self.events.pop_front() {
            if fd == self.listener {
                return self.call(At::Accept, Call::Accept { fd, nonblock: true });
            }
            if let Some(thread) = self.threads.get(&fd) {
                let call = thread.call(fd);
                return self.call(At::Thread(fd), call);
            }
        }
        self.poll()
    }

    /// A call of a thread returned.
    fn thread(&mut self, fd: Fd, ret: Ret, env: &mut Env<'_>) -> Call {
        let Some(thread) = self.threads.get_mut(&fd) else { return self.next() };
        match (thread.state, ret) {
            (_, Ret::Err(Errno::EAGAIN)) => return self.next(),
            (State::Name, _) => {
                env.spent_ns = THREAD_COST_NS;
                thread.state = State::Recv;
            }
            (State::Recv, Ret::Data(data)) => {
                thread.buffer.extend(data);
                if thread.buffer.len() > MAX_HEAD || has_head(&thread.buffer) {
                    return self.answer(fd, env);
                }
            }
            // What there is of a head is all there will be.
            (State::Recv, Ret::Eof) => {
                thread.buffer.extend(b"\r\n\r\n");
                return self.answer(fd, env);
            }
            (State::Send, Ret::Sent(n)) => {
                thread.pending.drain(..n.min(thread.pending.len()));
                if thread.pending.is_empty() && thread.fill() {
                    env.spent_ns = WRITE_COST_NS;
                } else if thread.pending.is_empty() {
                    env.spent_ns = END_COST_NS;
                    thread.state = State::Shutdown;
                }
            }
            (State::Close, _) => {
                self.threads.remove(&fd);
                return self.next();
            }
            (State::Shutdown, _) => thread.state = State::Close,
            // The client is gone.
            _ => thread.state = State::Shutdown,
        }
        let call = thread.call(fd);
        self.call(At::Thread(fd), call)
    }

    fn answer(&mut self, fd: Fd, env: &mut Env<'_>) -> Call {
        let Some(thread) = self.threads.get_mut(&fd) else { return self.next() };
        let now_s = (env.epoch_ns + env.now.0) / SEC;
        let site = Site { files: env.files, root: &self.root, now_s, client: thread.client };
        let Answer { head, body, file, log, guessed } = site.answer(&thread.buffer);
        for line in log {
            env.console.err(line);
        }
        env.spent_ns = REQUEST_COST_NS + if guessed && !self.has_types { TYPES_COST_NS } else { 0 };
        self.has_types |= guessed;
        thread.buffer.clear();
        (thread.pending, thread.body, thread.file) = (head, body, file);
        thread.state = if thread.pending.is_empty() && !thread.fill() { State::Shutdown } else { State::Send };
        let call = thread.call(fd);
        self.call(At::Thread(fd), call)
    }
}

impl Thread {
    fn call(&self, fd: Fd) -> Call {
        match self.state {
            State::Name => Call::SockName { fd },
            State::Recv => Call::Recv { fd, size: RECV_SIZE, dontwait: false, errqueue: false },
            State::Send => Call::Send { fd, to: None, data: self.pending.clone() },
            State::Shutdown => Call::Shutdown { fd, how: Shutdown::Write },
            State::Close => Call::Close { fd },
        }
    }

    /// What the next write sends; false if there is none.
    fn fill(&mut self) -> bool {
        self.pending = match &self.file {
            None => std::mem::take(&mut self.body),
            Some(file) => file.read(self.offset, COPY_SIZE),
        };
        self.offset += self.pending.len() as u64;
        !self.pending.is_empty()
    }
}

/// All lines of a head are there.
fn has_head(bytes: &[u8]) -> bool {
    let Some(first) = bytes.iter().position(|b| *b == b'\n') else { return false };
    let line = bytes[..first].trim_ascii();
    let rest = &bytes[first + 1..];
    // HTTP/0.9 has fields, too, as Python reads it.
    line.is_empty()
        || rest.starts_with(b"\n")
        || rest.starts_with(b"\r\n")
        || rest.windows(2).any(|w| w == b"\n\n")
        || rest.windows(3).any(|w| w == b"\n\r\n")
}

impl Program for HttpServer {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        match (self.at, ret) {
            (At::Poll, ret) => {
                if let Ret::Poll(ready) = ret {
                    let all = self.asked.iter().copied().zip(ready);
                    self.events = all.filter(|(_, r)| r.any()).collect();
                }
                self.next()
            }
            (At::Accept, Ret::Accepted { fd, from }) => {
                let (client, state) = (*from.ip(), State::Name);
                let thread =
                    Thread { client, state, buffer: vec![], pending: vec![], body: vec![], file: None, offset: 0 };
                let call = thread.call(fd);
                self.threads.insert(fd, thread);
                self.call(At::Thread(fd), call)
            }
            (At::Accept, _) => self.next(),
            (At::Thread(fd), ret) => self.thread(fd, ret, env),
            (_, ret) => self.start(&ret, env),
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
