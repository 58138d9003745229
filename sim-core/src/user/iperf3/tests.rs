//! Both sides against logs: those of the real program under strace, without what it asks about its sockets.

use super::client::results;
use crate::user::script::words;
use crate::user::stream::{Done, follow};

fn client(line: &str, log: &str) -> Done {
    follow(crate::user::parse(&words(line)).unwrap(), log)
}

const PARAMS: &str = concat!(
    r#"{"tcp":true,"omit":0,"time":0,"num":204800,"blockcount":0,"parallel":1,"len":131072,"#,
    r#""pacing_timer":1000,"client_version":"3.12"}"#
);

/// Up to the stream's connection.
const CONNECT: &str = r#"
    socket(tcp) = 4
    connect(4, 127.0.0.1:5201) = 0
    setsockopt(4, NoDelay(true)) = 0
    send(4, 37) = 37
    poll(4r, -1) = r
    recv(4, 1) = "\t"
    send(4, 4) = 4
    send(4, LENGTH) = LENGTH
    poll(4r, -1) = r
    recv(4, 1) = "\n"
    socket(tcp) = 5
    connect(5, 127.0.0.1:5201) = 0
    send(5, 37) = 37
    sockname(5) = 127.0.0.1:59542
    poll(4r, -1) = r
    recv(4, 1) = "\x01"
    poll(4r, -1) = r
    recv(4, 1) = "\x02"
    nonblock(5, 1) = 0
"#;

const RESULTS: &str = r#"
    nonblock(5, 0) = 0
    send(4, 1) = 1
    poll(4r, -1) = r
    recv(4, 1) = "\r"
    send(4, 4) = 4
    send(4, SIZE) = SIZE
    recv(4, 4) = "\x00\x00\x00\x1b"
    recv(4, 27) = "{'bytes':9,'end_time':0.01}"
    poll(4r, -1) = r
    recv(4, 1) = "\x0e"
    close(5) = 0
    send(4, 1) = 1
    close(4) = 0
"#;

/// The log with the lengths of its JSON texts.
fn log(start: &str, middle: &str, params: usize, results: usize) -> String {
    let end = RESULTS.replace("SIZE", &results.to_string()).replace('\'', "\\q");
    format!("{}{middle}{end}", start.replace("LENGTH", &params.to_string()))
}

#[test]
fn a_number_of_bytes() {
    assert_eq!(PARAMS.len(), 128);
    let middle = "
        send(5, 131072) = 131072
        send(5, 131072) = 70000
        send(5, 61072) = EAGAIN
        poll(4r 5w, 1000) = - w
        send(5, 61072) = 61072
    ";
    let done = client(
        "iperf3 -c 127.0.0.1 -n 200K -p 5201",
        &log(CONNECT, middle, 128, results("cubic", 262_144, "0.000200").len()),
    );
    let want = "Connecting to host 127.0.0.1, port 5201\n\
                [  5] local 127.0.0.1 port 59542 connected to 127.0.0.1 port 5201\n\
                [ ID] Interval           Transfer     Bitrate\n\
                [  5]   0.00-0.00   sec   256 KBytes  10.5 Gbits/sec                  \n\
                - - - - - - - - - - - - - - - - - - - - - - - - -\n\
                [ ID] Interval           Transfer     Bitrate\n\
                [  5]   0.00-0.00   sec   256 KBytes  10.5 Gbits/sec                  sender\n\
                [  5]   0.00-0.01   sec  9.00 Bytes  7.20 Kbits/sec                  receiver\n\niperf Done.\n";
    assert_eq!((done.text.as_str(), done.code), (want, Some(0)));
}

#[test]
fn a_server_of_one_client() {
    let length = results("cubic", 65_483, "1.000050").len();
    let log = format!(
        r#"
        socket(tcp) = 3
        setsockopt(3, ReuseAddr(true)) = 0
        bind(3, 0.0.0.0:5201) = 0
        listen(3, 2147483647) = 0
        poll(3r, -1) = r
        accept(3) = 4 from 10.0.0.1:59530
        setsockopt(4, NoDelay(true)) = 0
        recv(4, 37) = "47zzqrfhtgr3jjekyr5dyau3zecu"
        recv(4, 9) = "u73sieqf\x00"
        send(4, "\t") = 1
        recv(4, 4) = "\x00\x00\x00\x80"
        recv(4, 128) = "{}"
        send(4, "\n") = 1
        poll(3r 4r, -1) = r -
        accept(3) = 5 from 10.0.0.1:59542
        recv(5, 37) = "47zzqrfhtgr3jjekyr5dyau3zecuu73sieqf\x00"
        nonblock(5, 1) = 0
        sockname(5) = 10.0.0.2:5201
        send(4, 1) = 1
        send(4, 1) = 1
        poll(3r 4r 5r, 1000) = - - r
        recv(5, 131072) = 65483
        recv(5, 65589) = EAGAIN
        +1000 poll(3r 4r 5r, 1000) = r - -
        accept(3) = 6 from 10.0.0.3:1
        send(6, 1) = 1
        close(6) = 0
        poll(3r 4r 5r, 1000) = - r -
        recv(4, 1) = "\x04"
        close(5) = 0
        send(4, "\r") = 1
        recv(4, 4) = "\x00\x00\x00\x02"
        recv(4, 2) = "{{}}"
        send(4, 4) = 4
        send(4, {length}) = {length}
        send(4, 1) = 1
        poll(3r 4r, -1) = - r
        recv(4, 1) = "\x10"
        close(4) = 0
        close(3) = 0
    "#,
        PARAMS.replace('"', "\\q")
    );
    let done = client("iperf3 -s -1", &log);
    let want = "-----------------------------------------------------------\n\
                Server listening on 5201 (test #1)\n\
                -----------------------------------------------------------\n\
                Accepted connection from 10.0.0.1, port 59530\n\
                [  5] local 10.0.0.2 port 5201 connected to 10.0.0.1 port 59542\n\
                [ ID] Interval           Transfer     Bitrate\n\
                [  5]   0.00-1.00   sec  63.9 KBytes   524 Kbits/sec                  \n\
                - - - - - - - - - - - - - - - - - - - - - - - - -\n\
                [ ID] Interval           Transfer     Bitrate\n\
                [  5]   0.00-1.00   sec  63.9 KBytes   524 Kbits/sec                  receiver\n";
    assert_eq!((done.text.as_str(), done.code), (want, Some(0)));
}

#[test]
fn errors() {
    for (line, want) in [
        ("iperf3", "iperf3: parameter error - must either be a client (-c) or server (-s)"),
        ("iperf3 -Q", "iperf3: invalid option -- 'Q'"),
        ("iperf3 -c", "iperf3: option requires an argument -- 'c'"),
        ("iperf3 -s -c 1.1.1.1", "iperf3: parameter error - cannot be both server and client"),
        ("iperf3 -s -p 99999", "iperf3: parameter error - port number must be between 1 and 65535 inclusive"),
        ("iperf3 -c 1.1.1.1 -t 100000", "iperf3: parameter error - test duration too long (maximum = 86400 seconds)"),
        (
            "iperf3 -c 1.1.1.1 -n 1 -t 1",
            "iperf3: parameter error - only one test end condition (-t, -n, -k) may be specified",
        ),
        ("iperf3 -s -n 5", "iperf3: parameter error - some option you are trying to set is client only"),
        ("iperf3 -c 1.1.1.1 -1", "iperf3: parameter error - some option you are trying to set is server only"),
        ("iperf3 -c 1.1.1.1 -l 2M", "iperf3: parameter error - block size too large (maximum = 1048576 bytes)"),
        ("iperf3 -c 1.1.1.1 -R", "iperf3: option -R is not simulated"),
    ] {
        let words = words(line);
        let error = crate::user::parse(&words).err().map(|e| e.message);
        assert_eq!(error.as_deref(), Some(want), "{line}");
    }
    let refused = client("iperf3 -c 10.0.0.1", "socket(tcp) = 3\nconnect(3, 10.0.0.1:5201) = ECONNREFUSED");
    let want = "iperf3: error - unable to connect to server: Connection refused\n";
    assert_eq!((refused.text.as_str(), refused.code), (want, Some(1)));
}
