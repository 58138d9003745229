//! Scripts against logs of system calls. Those of Python's programs are what strace shows of them.

use super::*;
use crate::kernel::syscall::Shutdown;
use crate::user::stream::{Done, follow};

fn tcp(name: &str) -> Step {
    Step::Socket { protocol: Protocol::Tcp, name: named(name) }
}

fn named(name: &str) -> Option<Name> {
    (!name.is_empty()).then(|| name.into())
}

fn set(text: &str, opt: SockOpt) -> Step {
    Step::SetSockOpt(Opt { text: text.to_owned(), value: OptValue::Plain(opt) })
}

fn addr(text: &str) -> std::net::SocketAddrV4 {
    text.parse().unwrap()
}

fn text(text: &str) -> Step {
    Step::Send { payload: Payload { start: text.as_bytes().into(), size: 0, byte: 0, end: [].into() }, to: None }
}

fn recv(size: usize, until: Until) -> Step {
    Step::Recv { timeout_ns: None, size, errqueue: false, until }
}

fn run(lines: &[Step], log: &str) -> Done {
    follow(Box::new(Scripted::new(lines.into())), log)
}

const SEC: u64 = 1_000_000_000;

/// `s = socket(); s.setsockopt(…); s.settimeout(3); s.connect(…)`
fn conn() -> Vec<Step> {
    let reuse = set("socket reuseaddr on", SockOpt::ReuseAddr(true));
    vec![tcp(""), reuse, Step::SetTimeout(Some(3 * SEC)), Step::Connect(addr("10.0.0.1:9000"))]
}

const CONN: &str = "
    socket(tcp) = 3
    setsockopt(3, ReuseAddr(true)) = 0
    nonblock(3, 1) = 0
    connect(3, 10.0.0.1:9000) = EINPROGRESS
    poll(3w, 3000) = w
    error(3) = 0
";

#[test]
fn half_close_as_python() {
    let mut lines = conn();
    lines.extend([text("0.3 5000\n"), Step::Shutdown(Shutdown::Write), recv(4096, Until::End), Step::Close]);
    let log = r#"
        poll(3w, 3000) = w
        send(3, "0.3 5000\n") = 9
        shutdown(3, write) = 0
        +300 poll(3r, 3000) = r
        recv(3, 4096) = 4096
        poll(3r, 3000) = r
        recv(3, 4096) = 904
        poll(3r, 3000) = rh
        recv(3, 4096) = 0
        close(3) = 0
    "#;
    let done = run(&lines, &format!("{CONN}{log}"));
    assert_eq!((done.out.as_str(), done.code), ("recv: 5000 bytes\n", Some(0)));
}

#[test]
fn a_total_takes_as_many_calls_as_it_needs() {
    let mut lines = conn();
    lines.extend([recv(65_536, Until::Total(6300)), recv(65_536, Until::Total(10))]);
    let log = "
        poll(3r, 3000) = r
        recv(3, 65536) = 3200
        poll(3r, 3000) = r
        recv(3, 65536) = 3100
        poll(3r, 3000) = r
        recv(3, 65536) = 5
        +3000 poll(3r, 3000) = 0
    ";
    let done = run(&lines, &format!("{CONN}{log}"));
    assert_eq!(done.out, "recv: 6300 bytes\nrecv: 5 bytes\nrecv: timed out\n");
}

#[test]
fn a_connect_that_fails_and_one_that_takes_too_long() {
    let lines = [conn(), conn(), vec![Step::SetTimeout(Some(0)), Step::Connect(addr("10.0.0.1:1"))]].concat();
    let log = "
        socket(tcp) = 3
        setsockopt(3, ReuseAddr(true)) = 0
        nonblock(3, 1) = 0
        connect(3, 10.0.0.1:9000) = EINPROGRESS
        poll(3w, 3000) = weh
        error(3) = ECONNREFUSED
        socket(tcp) = 4
        close(3) = 0
        setsockopt(4, ReuseAddr(true)) = 0
        nonblock(4, 1) = 0
        connect(4, 10.0.0.1:9000) = EINPROGRESS
        +3000 poll(4w, 3000) = 0
        nonblock(4, 1) = 0
        connect(4, 10.0.0.1:1) = EINPROGRESS
    ";
    let want = "connect 10.0.0.1:9000: ECONNREFUSED (Connection refused)\nconnect 10.0.0.1:9000: timed out\n\
                connect 10.0.0.1:1: EINPROGRESS (Operation now in progress)\n";
    assert_eq!(run(&lines, log).out, want);
}

#[test]
fn what_does_not_fit_is_sent_later() {
    let payload = Payload { start: b"0 1"[..].into(), size: 60_000, byte: b' ', end: b"\n"[..].into() };
    let upload = Step::Send { payload, to: None };
    let mut lines = conn();
    lines.extend([upload.clone(), Step::SetTimeout(None), upload, Step::SetTimeout(Some(SEC)), text("x")]);
    let log = "
        poll(3w, 3000) = w
        send(3, 60004) = 40000
        +1000 poll(3w, 3000) = w
        send(3, 20004) = 20003
        poll(3w, 2000) = w
        send(3, 1) = 1
        nonblock(3, 0) = 0
        send(3, 60004) = 60004
        nonblock(3, 1) = 0
        poll(3w, 1000) = w
        send(3, 1) = EPIPE
    ";
    assert_eq!(run(&lines, &format!("{CONN}{log}")).out, "send: EPIPE (Broken pipe)\n");
}

#[test]
fn a_server_without_names() {
    let serve = [Step::Accept { timeout_ns: None, name: None }, recv(100, Until::Once), text("ok"), Step::Close];
    let listen = [tcp(""), Step::Bind(addr("0.0.0.0:80")), Step::Listen(16), Step::Repeat(2, serve.as_slice().into())];
    let last =
        [Step::Accept { timeout_ns: Some(SEC), name: None }, tcp(""), Step::Accept { timeout_ns: None, name: None }];
    let log = r#"
        socket(tcp) = 3
        bind(3, 0.0.0.0:80) = 0
        listen(3, 16) = 0
        accept(3) = 4 from 10.0.0.2:4000
        recv(4, 100) = 10
        send(4, "ok") = 2
        close(4) = 0
        accept(3) = 4 from 10.0.0.2:4001
        recv(4, 100) = ECONNRESET
        send(4, "ok") = EPIPE
        close(4) = 0
        +1000 poll(3r, 1000) = 0
        socket(tcp) = 4
        accept(3) = 5 from 10.0.0.2:4002
        close(4) = 0
    "#;
    let done = run(&[listen.as_slice(), &last].concat(), log);
    let want = "accept: from 10.0.0.2:4000\nrecv: 10 bytes\naccept: from 10.0.0.2:4001\n\
                recv: ECONNRESET (Connection reset by peer)\nsend: EPIPE (Broken pipe)\naccept: timed out\n\
                accept: from 10.0.0.2:4002\n";
    assert_eq!((done.out.as_str(), done.code), (want, Some(0)));
}

#[test]
fn names_hold_several() {
    let take = |name: &str| Step::Use(name.into());
    let lines = [
        tcp("a"),
        Step::Connect(addr("10.0.0.1:80")),
        tcp("b"),
        Step::Connect(addr("10.0.0.1:80")),
        take("a"),
        Step::Close,
        recv(1, Until::Once),
        take("b"),
        recv(1, Until::Once),
        tcp("b"),
        Step::Listen(1),
        Step::Accept { timeout_ns: None, name: named("c") },
        take("b"),
        Step::Close,
        take("c"),
        Step::Accept { timeout_ns: None, name: None },
    ];
    let log = "
        socket(tcp) = 3
        connect(3, 10.0.0.1:80) = 0
        socket(tcp) = 4
        connect(4, 10.0.0.1:80) = 0
        close(3) = 0
        recv(0, 1) = EBADF
        recv(4, 1) = 1
        socket(tcp) = 3
        close(4) = 0
        listen(3, 1) = 0
        accept(3) = 4 from 10.0.0.1:9
        close(3) = 0
        accept(4) = EINVAL
    ";
    let want = "a: recv: EBADF (Bad file descriptor)\nb: recv: 1 bytes\nc: accept: from 10.0.0.1:9\n\
                c: accept: EINVAL (Invalid argument)\n";
    assert_eq!(run(&lines, log).out, want);
}

#[test]
fn payloads() {
    let payload = Payload { start: b"ab"[..].into(), size: 3, byte: b'-', end: b"yz"[..].into() };
    for (from, want) in [(0, "ab---yz"), (1, "b---yz"), (3, "--yz"), (5, "yz"), (6, "z"), (7, "")] {
        assert_eq!(String::from_utf8(payload.rest(from)).unwrap(), want, "{from}");
    }
}
