//! Runs of nc against logs: those of the real program under strace, without what it does with files. Where it polls
//! standard input or output, which are ready, poll does not wait here.

use super::{Nc, parse};
use crate::user::script::words;
use crate::user::stream::{Done, follow};

fn run(line: &str, log: &str) -> Done {
    run_with(line, "", log)
}

/// With a standard input.
fn run_with(line: &str, input: &str, log: &str) -> Done {
    let words = words(line);
    let mut options = parse(&words[0], &words[1..]).unwrap();
    options.feed(input.to_owned());
    follow(Box::new(Nc::new(options)), log)
}

fn check(done: &Done, text: &str, code: Option<i32>) {
    assert_eq!((done.text.as_str(), done.code), (text, code));
}

const CONNECT: &str = "
    socket(tcp) = 3
    nonblock(3, 1) = 0
    connect(3, 10.0.0.1:80) = EINPROGRESS
    poll(3w, -1) = w
    error(3) = 0
";

#[test]
fn a_probe() {
    let done = run("nc -zv 10.0.0.1 80", &format!("{CONNECT}close(3) = 0"));
    check(&done, "Connection to 10.0.0.1 80 port [tcp/http] succeeded!\n", Some(0));
    let done = run("nc -znv 10.0.0.1 80", &format!("{CONNECT}close(3) = 0"));
    check(&done, "Connection to 10.0.0.1 80 port [tcp/*] succeeded!\n", Some(0));
}

#[test]
fn ports_one_after_the_other() {
    let log = "
        socket(tcp) = 3
        nonblock(3, 1) = 0
        connect(3, 127.0.0.1:8999) = EINPROGRESS
        poll(3w, 2000) = weh
        error(3) = ECONNREFUSED
        close(3) = 0
        socket(tcp) = 3
        nonblock(3, 1) = 0
        connect(3, 127.0.0.1:9000) = EINPROGRESS
        +2000 poll(3w, 2000) = 0
        close(3) = 0
        socket(tcp) = 3
        nonblock(3, 1) = 0
        connect(3, 127.0.0.1:9001) = ENETUNREACH
        close(3) = 0
    ";
    let text = "nc: connect to localhost (127.0.0.1) port 8999 (tcp) failed: Connection refused\n\
                nc: connect to localhost (127.0.0.1) port 9000 (tcp) timed out: Operation now in progress\n\
                nc: connect to localhost (127.0.0.1) port 9001 (tcp) failed: Network is unreachable\n";
    check(&run("nc -v -w2 localhost 8999-9001", log), text, Some(1));
    check(&run("nc -w2 localhost 8999-9001", log), "", Some(1));
}

/// `nc 10.0.0.1 80 </dev/null`: it stays until the other side ends.
#[test]
fn no_input() {
    let log = "
        poll(3 3r, 0) = 0
        +2000 poll(3r, -1) = r
        recv(3, 16384) = 0
        shutdown(3, read) = 0
        close(3) = 0
    ";
    check(&run("nc 10.0.0.1 80", &format!("{CONNECT}{log}")), "", Some(0));
}

#[test]
fn input_and_half_close() {
    let log = r#"
        poll(3 3r, 0) = 0
        poll(3w 3r, 0) = w -
        send(3, "0.2 10\n") = 7
        shutdown(3, write) = 0
        +200 poll(3r, -1) = rh
        recv(3, 16384) = 10
        poll(3r, 0) = rh
        recv(3, 16374) = 0
        shutdown(3, read) = ENOTCONN
        close(3) = 0
    "#;
    let with = |options: &str, log: &str| run_with(&format!("nc {options} 10.0.0.1 80"), "0.2 10\n", log);
    let log = format!("{CONNECT}{log}");
    check(&with("-N", &log), "xxxxxxxxxx", Some(0));
    check(&with("-q0", &log), "xxxxxxxxxx", Some(0));
    check(&with("-q1", &format!("{log}sleep(1000) = 0")), "xxxxxxxxxx", Some(0));
}

#[test]
fn a_time_out() {
    let log = r#"
        socket(tcp) = 3
        nonblock(3, 1) = 0
        bind(3, 0.0.0.0:7777) = 0
        connect(3, 10.0.0.1:80) = EINPROGRESS
        poll(3w, 1000) = w
        error(3) = 0
        poll(3 3r, 0) = 0
        poll(3w 3r, 0) = w -
        send(3, "0.2 10\n") = 7
        +200 poll(3r, 1000) = r
        recv(3, 16384) = 10
        poll(3r, 0) = 0
        +1000 poll(3r, 1000) = 0
        close(3) = 0
    "#;
    check(&run_with("nc -w1 -p 7777 10.0.0.1 80", "0.2 10\n", log), "xxxxxxxxxx", Some(0));
    let log = "
        socket(tcp) = 3
        nonblock(3, 1) = 0
        bind(3, 10.0.0.9:0) = EADDRINUSE
    ";
    check(&run("nc -s 10.0.0.9 10.0.0.1 80", log), "nc: bind failed: Address already in use\n", Some(1));
}

/// More than fits a buffer is read piece by piece; a reset ends it.
#[test]
fn a_lot_of_input_and_a_reset() {
    let log = "
        poll(3 3r, 0) = 0
        poll(3w 3r, -1) = w -
        send(3, 16384) = 10000
        poll(3w 3r, 0) = w -
        send(3, 16384) = EAGAIN
        poll(3w 3r, -1) = weh reh
        close(3) = 0
    ";
    let done = run_with("nc 10.0.0.1 80", &"a".repeat(40_000), &format!("{CONNECT}{log}"));
    check(&done, "", Some(0));
}

const LISTEN: &str = "
    socket(tcp) = 3
    setsockopt(3, ReuseAddr(true)) = 0
    bind(3, 0.0.0.0:7000) = 0
    listen(3, 1) = 0
";

#[test]
fn a_server() {
    let log = r#"
        sockname(3) = 0.0.0.0:7000
        accept(3, nonblock) = 4 from 10.0.0.1:39114
        poll(4 4r, 0) = - r
        recv(4, 16384) = "hello\n"
        shutdown(4, write) = 0
        poll(4r, 0) = rh
        recv(4, 16378) = 0
        shutdown(4, read) = ENOTCONN
        close(4) = 0
        close(3) = 0
    "#;
    let done = run("nc -lvN 7000", &format!("{LISTEN}{log}"));
    check(&done, "Listening on 0.0.0.0 7000\nConnection received on 10.0.0.1 39114\nhello\n", Some(0));
}

#[test]
fn a_server_of_several() {
    let log = r#"
        accept(3, nonblock) = 4 from 10.0.0.1:39114
        poll(4 4r, 0) = - r
        recv(4, 16384) = 0
        shutdown(4, read) = 0
        poll(4w, 0) = w
        send(4, "in\n") = 3
        close(4) = 0
        accept(3, nonblock) = 4 from 10.0.0.1:39115
        poll(4 4r, 0) = 0
        poll(4r, -1) = r
        recv(4, 16384) = ECONNRESET
        close(4) = 0
    "#;
    let done = run_with("nc -lk 7000", "in\n", &format!("{LISTEN}{log}"));
    check(&done, "", None);
}

#[test]
fn a_port_that_is_taken() {
    let log = LISTEN.replace("7000) = 0", "7000) = EADDRINUSE").replace("    listen(3, 1) = 0\n", "");
    check(&run("nc -l 7000", &log), "nc: Address already in use\n", Some(1));
}

#[test]
fn udp_ports() {
    let connect = "
        socket(udp) = 3
        nonblock(3, 1) = 0
        connect(3, 10.0.0.1:53) = 0
    ";
    let closed = "
        send(3, 1) = 1
        send(3, 1) = ECONNREFUSED
        close(3) = 0
    ";
    check(&run("nc -uzv 10.0.0.1 53", &format!("{connect}{closed}")), "", Some(1));
    let open = "
        send(3, 1) = 1
        send(3, 1) = 1
        +1000 sleep(1000) = 0
        send(3, 1) = 1
        close(3) = 0
    ";
    let done = run("nc -uzvw1 10.0.0.1 53", &format!("{connect}{open}"));
    check(&done, "Connection to 10.0.0.1 53 port [udp/domain] succeeded!\n", Some(0));
    let lost = "
        poll(3 3r, 0) = 0
        poll(3w 3r, 0) = w -
        send(3, 3) = 3
        poll(3r, 1000) = e
        close(3) = 0
    ";
    check(&run_with("nc -u -w1 10.0.0.1 53", "in\n", &format!("{connect}{lost}")), "", Some(0));
}

#[test]
fn a_server_of_datagrams_is_one_of_its_caller() {
    let log = r#"
        socket(udp) = 3
        setsockopt(3, ReuseAddr(true)) = 0
        bind(3, 0.0.0.0:7000) = 0
        sockname(3) = 0.0.0.0:7000
        recv(3, 16384) = "hello\n" from 10.0.0.1:44073
        connect(3, 10.0.0.1:44073) = 0
        poll(3 3r, 0) = 0
        poll(3w 3r, 0) = w -
        send(3, "in\n") = 3
        poll(3r, -1) = r
        recv(3, 16384) = "x" from 10.0.0.1:44073
        poll(3r, 0) = 0
    "#;
    let done = run_with("nc -luv 7000", "in\n", log);
    check(&done, "Bound to 0.0.0.0 7000\nConnection received on 10.0.0.1 44073\nhello\nx", None);
}
