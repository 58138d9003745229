//! A kernel that follows a written log, for tests of programs with streams: each system call must be the one that the
//! log has next, as strace writes it down in short, and returns what stands behind it.

use super::script::EPOCH_S;
use crate::base::time::MS;
use crate::base::{Files, NsId, Pid, Prf, Salt, Time};
use crate::engine::process::{Console, Env, Program, Tasks};
use crate::engine::{Config, World};
use crate::kernel::errno::Errno;
use crate::kernel::printk::KernelLog;
use crate::kernel::syscall::{Call, Fd, From, Message, PollFd, Ready, Ret, SockOpt, SocketKind};
use std::net::SocketAddrV4;

/// How a program went.
pub(super) struct Done {
    /// Standard output.
    pub out: String,
    /// Both streams.
    pub text: String,
    /// The exit status; none if the log ends first.
    pub code: Option<i32>,
}

/// Runs a program against a log. A line is a call, `=`, and what it returns:
///
/// * `socket(tcp) = 3`, `accept(3) = 4 from 10.0.0.1:4000`, `sockname(3) = 10.0.0.1:80`;
/// * `send(3, 10) = 10`, of ten bytes, or `send(3, "text") = 4`;
/// * `recv(3, 100) = "text"`, or `= 100` for so many bytes, or `= 0` for the end of the stream; of a datagram
///   `= "text" from 10.0.0.1:53`; `\n`, `\r`, `\t`, `\x01` and `\q` for a quote;
/// * `poll(3r 4w, 3000) = r -` for what each is ready for (r, w, e, h), or `= 0` when the time is out;
/// * `error(3) = 0`, any call `= EAGAIN`; all others return 0.
///
/// `+20` before a call: it returns so many milliseconds later.
pub(super) fn follow(mut program: Box<dyn Program>, log: &str) -> Done {
    let mut world = World::new(Config::default());
    world.configure(NsId::default(), &netns(), &mut crate::kernel::trace::Mute).unwrap();
    let ns = world.namespace("a").unwrap();
    let spaces = world.machine(ns).spaces().clone();
    let (prf, files) = (Prf::new(1), Files::default());
    let (mut console, mut now, mut ret) = (Console::default(), Time(0), Ret::Start);
    let mut lines = log.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#'));
    loop {
        let mut env = Env {
            now,
            epoch_ns: EPOCH_S * 1_000_000_000,
            pid: Pid(7),
            ns,
            alarmed: false,
            interrupted: false,
            spaces: &spaces,
            tasks: &Tasks::new(),
            log: &KernelLog::default(),
            files: &files,
            prf: &prf,
            salt: Salt::place(0),
            spent_ns: 0,
            secrets: &mut String::new(),
            proxied: &mut vec![],
            console: &mut console,
        };
        let call = program.step(ret, &mut env);
        now += env.spent_ns;
        // A copy must go on from the same point.
        program = program.boxed_clone();
        let mut code = None;
        let next = match (&call, lines.next()) {
            (Call::Exit(n), None) => {
                code = Some(*n);
                None
            }
            (_, next) => next,
        };
        let Some(line) = next else {
            assert!(
                code.is_some() || matches!(call, Call::Poll { .. } | Call::Accept { .. } | Call::Recv { .. }),
                "{}",
                written(&call)
            );
            return Done { out: console.stdout(), text: console.all(), code };
        };
        let (late, line) = match line.strip_prefix('+') {
            Some(rest) => rest.split_once(' ').unwrap(),
            None => ("0", line),
        };
        let (want, result) = line.rsplit_once(" = ").unwrap_or((line, "0"));
        let got = written(&call);
        let text = if let Call::Send { fd, data, .. } = &call {
            format!("send({}, {:?})", fd.0, String::from_utf8_lossy(data))
        } else {
            got.clone()
        };
        assert!(
            want == got || want == text,
            "the log has {want}, the program makes {text}; so far:\n{}",
            console.all()
        );
        now += late.parse::<u64>().unwrap() * MS;
        ret = returned(&call, result);
    }
}

fn netns() -> crate::kernel::netlink::Request {
    crate::kernel::netlink::Request::NetnsAdd { name: "a".into() }
}

fn returned(call: &Call, result: &str) -> Ret {
    if let Some(e) = errno(result)
        && !matches!(call, Call::SocketError { .. })
    {
        return Ret::Err(e);
    }
    let addr = |text: &str| text.parse::<SocketAddrV4>().unwrap();
    match call {
        Call::Socket(_) => Ret::Fd(Fd(result.parse().unwrap())),
        Call::Accept { .. } => {
            let (fd, from) = result.split_once(" from ").unwrap();
            Ret::Accepted { fd: Fd(fd.parse().unwrap()), from: addr(from) }
        }
        Call::SockName { .. } | Call::PeerName { .. } | Call::OriginalDst { .. } => Ret::Addr(addr(result)),
        Call::SocketError { .. } => Ret::SocketError(error(result)),
        Call::Send { .. } => Ret::Sent(result.parse().unwrap()),
        Call::Recv { .. } if result.contains(" from ") => {
            let (text, from) = result.split_once(" from ").unwrap();
            let data = unquoted(text.trim_matches('"'));
            Ret::Message(Message { data, from: From::Ip(addr(from)), at: Time(0), ttl: 64 })
        }
        Call::Recv { .. } => match result.strip_prefix('"') {
            Some(text) => Ret::Data(unquoted(text.strip_suffix('"').unwrap())),
            None if result == "0" => Ret::Eof,
            None => Ret::Data(vec![b'x'; result.parse().unwrap()]),
        },
        Call::Poll { .. } if result == "0" => Ret::Poll(vec![]),
        Call::Poll { .. } => Ret::Poll(result.split(' ').map(ready).collect()),
        _ => Ret::Done,
    }
}

fn unquoted(text: &str) -> Vec<u8> {
    let mut bytes = vec![];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        bytes.push(match escaped {
            None => u8::try_from(c).unwrap(),
            Some('n') => b'\n',
            Some('r') => b'\r',
            Some('t') => b'\t',
            Some('q') => b'"',
            Some('x') => u8::from_str_radix(&chars.by_ref().take(2).collect::<String>(), 16).unwrap(),
            Some(other) => panic!("\\{other}"),
        });
    }
    bytes
}

fn ready(letters: &str) -> Ready {
    let has = |l| letters.contains(l);
    Ready { read: has('r'), write: has('w'), error: has('e'), hangup: has('h') }
}

fn errno(name: &str) -> Option<Errno> {
    const ALL: [Errno; 13] = [
        Errno::EAGAIN,
        Errno::EBADF,
        Errno::ECONNREFUSED,
        Errno::ECONNRESET,
        Errno::ENOENT,
        Errno::EINPROGRESS,
        Errno::EINVAL,
        Errno::EHOSTUNREACH,
        Errno::EPIPE,
        Errno::ENOTCONN,
        Errno::EADDRINUSE,
        Errno::ETIMEDOUT,
        Errno::ENETUNREACH,
    ];
    ALL.into_iter().find(|e| e.name() == name)
}

fn error(result: &str) -> Option<Errno> {
    if result == "0" { None } else { Some(errno(result).unwrap()) }
}

fn written(call: &Call) -> String {
    let fds = |fds: &[PollFd]| {
        let one = |p: &PollFd| format!("{}{}{}", p.fd.0, if p.read { "r" } else { "" }, if p.write { "w" } else { "" });
        fds.iter().map(one).collect::<Vec<_>>().join(" ")
    };
    match call {
        Call::Socket(SocketKind::Tcp) => "socket(tcp)".to_owned(),
        Call::Socket(SocketKind::Udp) => "socket(udp)".to_owned(),
        Call::SetSockOpt { fd, opt: SockOpt::NonBlock(on) } => format!("nonblock({}, {})", fd.0, u8::from(*on)),
        Call::SetSockOpt { fd, opt } => format!("setsockopt({}, {opt:?})", fd.0),
        Call::Bind { fd, addr } => format!("bind({}, {addr})", fd.0),
        Call::Listen { fd, backlog } => format!("listen({}, {backlog})", fd.0),
        Call::Accept { fd, nonblock } => format!("accept({}{})", fd.0, if *nonblock { ", nonblock" } else { "" }),
        Call::Connect { fd, addr } => format!("connect({}, {addr})", fd.0),
        Call::SocketError { fd } => format!("error({})", fd.0),
        Call::SockName { fd } => format!("sockname({})", fd.0),
        Call::PeerName { fd } => format!("peername({})", fd.0),
        Call::OriginalDst { fd } => format!("originaldst({})", fd.0),
        Call::Send { fd, data, .. } => format!("send({}, {})", fd.0, data.len()),
        Call::Recv { fd, size, errqueue: true, .. } => format!("recv({}, {size}, errqueue)", fd.0),
        Call::Recv { fd, size, .. } => format!("recv({}, {size})", fd.0),
        Call::Poll { fds: list, timeout_ns } => {
            format!("poll({}, {})", fds(list), timeout_ns.map_or(-1, |ns| ns.div_ceil(MS) as i64))
        }
        Call::Shutdown { fd, how } => format!("shutdown({}, {how:?})", fd.0).to_lowercase(),
        Call::Close { fd } => format!("close({})", fd.0),
        Call::Sleep { ns } => format!("sleep({})", ns / MS),
        call => format!("{call:?}"),
    }
}
