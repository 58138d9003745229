use crate::user::script::words;
use crate::user::stream::{Done, follow};

const START: &str = r"
    socket(tcp) = 6
    setsockopt(6, ReuseAddr(true))
    bind(6, 0.0.0.0:15001)
    listen(6, 100)
    nonblock(6, 1)
    socket(tcp) = 7
    setsockopt(7, ReuseAddr(true))
    bind(7, 0.0.0.0:15006)
    listen(7, 100)
    nonblock(7, 1)
    ";

fn proxy(log: &str) -> Done {
    let server = crate::user::parse_server(&words("tcpproxy 15001 15006/127.0.0.6")).unwrap();
    follow(server.into_program(), &format!("{START}{log}"))
}

/// As strace showed asyncio, but for what asks without changing anything (getsockname, getpeername).
#[test]
fn a_stream_as_asyncio_carries_it() {
    let done = proxy(
        r#"
        poll(6r 7r, -1) = - r
        accept(7, nonblock) = 8 from 10.9.9.9:49846
        accept(7, nonblock) = EAGAIN
        setsockopt(8, NoDelay(true))
        originaldst(8) = 10.9.9.9:80
        poll(6r 7r 8r, -1) = - - r
        recv(8, 262144) = "GET / HTTP/1.1"
        socket(tcp) = 9
        nonblock(9, 1)
        bind(9, 127.0.0.6:0)
        connect(9, 10.9.9.9:80) = EINPROGRESS
        poll(6r 7r 8r 9w, -1) = - - - w
        error(9) = 0
        setsockopt(9, NoDelay(true))
        send(9, "GET / HTTP/1.1") = 14
        poll(6r 7r 8r 9r, -1) = - - - r
        recv(9, 262144) = "HTTP/1.1 200 OK"
        send(8, "HTTP/1.1 200 OK") = 15
        poll(6r 7r 8r 9r, -1) = - - r -
        recv(8, 262144) = 0
        shutdown(9, write)
        poll(6r 7r 9r, -1) = - - rh
        recv(9, 262144) = 0
        shutdown(8, write)
        close(9)
        close(8)
        poll(6r 7r, -1) = 0
        "#,
    );
    assert_eq!(done.text, "accept ('10.9.9.9', 49846) -> 10.9.9.9 80\n");
}

/// The upstream host is not there; the client gives up meanwhile.
#[test]
fn a_connect_that_fails() {
    let done = proxy(
        r#"
        poll(6r 7r, -1) = r -
        accept(6, nonblock) = 8 from 10.9.9.9:37386
        accept(6, nonblock) = EAGAIN
        setsockopt(8, NoDelay(true))
        originaldst(8) = 10.9.9.77:80
        poll(6r 7r 8r, -1) = - - r
        recv(8, 262144) = "GET / HTTP/1.1"
        socket(tcp) = 9
        nonblock(9, 1)
        connect(9, 10.9.9.77:80) = EINPROGRESS
        poll(6r 7r 8r 9w, -1) = - - r -
        recv(8, 262144) = 0
        poll(6r 7r 9w, -1) = - - weh
        error(9) = EHOSTUNREACH
        close(9)
        close(8)
        poll(6r 7r, -1) = 0
        "#,
    );
    let want = "accept ('10.9.9.9', 37386) -> 10.9.9.77 80\n\
                upstream 10.9.9.77 80 [Errno 113] Connect call failed ('10.9.9.77', 80)\n";
    assert_eq!(done.text, want);
}

/// A socket that takes less than there is; the other end is read no further while too much waits.
#[test]
fn what_does_not_fit_waits() {
    proxy(
        r#"
        poll(6r 7r, -1) = r -
        accept(6, nonblock) = 8 from 10.0.0.1:1000
        accept(6, nonblock) = EAGAIN
        setsockopt(8, NoDelay(true))
        originaldst(8) = 10.0.0.2:80
        poll(6r 7r 8r, -1) = - - r
        recv(8, 262144) = "x"
        socket(tcp) = 9
        nonblock(9, 1)
        connect(9, 10.0.0.2:80) = EINPROGRESS
        poll(6r 7r 8r 9w, -1) = - - - w
        error(9) = 0
        setsockopt(9, NoDelay(true))
        send(9, "x") = 1
        poll(6r 7r 8r 9r, -1) = - - r -
        recv(8, 262144) = 200000
        send(9, 65536) = EAGAIN
        poll(6r 7r 9r 9w, -1) = - - - w
        send(9, 131072) = 131072
        send(9, 65536) = 65536
        send(9, 3392) = 3392
        poll(6r 7r 8r 9r, -1) = 0
        "#,
    );
}

/// Nobody has redirected it: the handler ends, the connection stays.
#[test]
fn a_connection_without_entry() {
    let done = proxy(
        r"
        poll(6r 7r, -1) = r -
        accept(6, nonblock) = 8 from 10.9.9.9:1000
        accept(6, nonblock) = EAGAIN
        setsockopt(8, NoDelay(true))
        originaldst(8) = ENOENT
        poll(6r 7r 8r, -1) = - - r
        recv(8, 262144) = ECONNRESET
        close(8)
        poll(6r 7r, -1) = 0
        ",
    );
    assert_eq!(done.text, "");
}

#[test]
fn words_are_checked() {
    for (line, want) in [
        ("tcpproxy", "tcpproxy: from one to 16 ports are needed"),
        ("tcpproxy 0", "tcpproxy: bad port \"0\""),
        ("tcpproxy 15006/x", "tcpproxy: bad port \"15006/x\""),
    ] {
        assert_eq!(crate::user::parse_server(&words(line)).unwrap_err().message, want);
    }
}
