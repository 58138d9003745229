//! Runs of ping against a scripted network. The texts are those of the real program in the same situation.

use super::*;
use crate::kernel::syscall::{From, Message};
use crate::user::script::{Arrival, Done, Script, echo, icmp};

const HOST: [u8; 4] = [10, 8, 1, 2];
const ROUTER: [u8; 4] = [10, 8, 0, 1];

/// The main loop's calls.
const LOOP: [&str; 5] = ["Send", "Recv", "Poll", "Alarm", "Exit"];

fn replies(us: u64) -> Script {
    Script::answering(Box::new(move |_, data, _| Ok(vec![(us, echo(HOST, 63, data))])))
}

fn icmp_error(errno: Errno, kind: u8, code: u8, info: u32, request: &[u8]) -> QueuedError {
    let data = request[..8].to_vec();
    QueuedError { errno, local: false, icmp: (kind, code), info, offender: ROUTER.into(), data }
}

/// An ICMP error about `request` as a packet.
fn error_packet(kind: u8, code: u8, info: u32, request: &[u8]) -> Arrival {
    let mut message = vec![kind, code, 0, 0];
    message.extend(info.to_be_bytes());
    message.extend([0x45, 0, 0, 84, 0, 0, 0, 0, 64, 1, 0, 0, 10, 8, 0, 2]);
    message.extend(HOST);
    message.extend(&request[..8]);
    icmp(ROUTER, 64, message)
}

fn unreachable(us: u64) -> Script {
    Script::answering(Box::new(move |_, data, _| {
        let error = icmp_error(Errno::EHOSTUNREACH, 3, 1, 0, data);
        Ok(vec![(us, Arrival::Error(error)), (us, error_packet(3, 1, 0, data))])
    }))
}

fn check(done: &Done, code: i32, text: &str) {
    assert_eq!(done.text, text);
    assert_eq!(done.code, code);
}

#[test]
fn all_answered() {
    let done = replies(376).run("ping -c2 10.8.1.2");
    check(
        &done,
        0,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.376 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=2 ttl=63 time=0.376 ms\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         2 packets transmitted, 2 received, 0% packet loss, time 1000ms\n\
         rtt min/avg/max/mdev = 0.376/0.376/0.376/0.000 ms\n",
    );
    // strace of the real program, without what changes nothing here (IPv6, capabilities, time stamps, send buffer).
    let before: Vec<&str> = done.calls.iter().map(|(_, c)| c.as_str()).take_while(|c| *c != "Send(64)").collect();
    let want = [
        "Socket(Ping)",
        "Socket(Raw { protocol: 1 })",
        "Socket(Udp)",
        "Connect(5, 10.8.1.2)",
        "SockName(5)",
        "SetSockOpt(3, IcmpFilter(4294961094))",
        "SetSockOpt(3, RecvErr(true))",
        "SetSockOpt(3, RecvBuf(65536))",
        "SetSockOpt(3, RecvTimeout(1000000000))",
    ];
    assert_eq!(before, want);
    assert_eq!(done.calls(&LOOP), ["Send(64)", "Recv", "Recv", "Send(64)", "Alarm(1000000)", "Recv", "Exit(0)"]);
}

#[test]
fn nothing_answers() {
    let done = Script::new().run("ping -c3 -i 0.2 -W1 10.8.1.2");
    check(
        &done,
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         3 packets transmitted, 0 received, 100% packet loss, time 400ms\n\
         \n",
    );
    let waits = ["Recv"; 5];
    let calls = [&["Send(64)", "Recv", "Send(64)", "Recv", "Send(64)", "Alarm(1000000)"], &waits[..], &["Exit(1)"]];
    assert_eq!(done.calls(&LOOP), calls.concat());
    assert_eq!(done.times_ms("Exit"), [1400]);
}

#[test]
fn linger_shorter_than_an_interval() {
    let done = Script::new().run("ping -c 2 -W 0.5 10.8.1.2");
    assert_eq!(done.calls(&LOOP), ["Send(64)", "Recv", "Send(64)", "Alarm(500000)", "Recv", "Exit(1)"]);
    assert_eq!(done.times_ms("Exit"), [1500]);
}

/// A slow answer leaves less than an interval: the rest is waited for in poll. The last answer does not come: twice the
/// longest round trip, at least an interval.
#[test]
fn rest_of_an_interval_is_polled() {
    let answer = move |n: usize, data: &[u8], _: SendTo| {
        let us = [41_300, 250_000, 900].get(n - 1);
        Ok(us.map(|us| (*us, echo(HOST, 63, data))).into_iter().collect())
    };
    let done = Script::answering(Box::new(answer)).run("ping -c4 -i 0.2 10.8.1.2");
    let want = [
        "Send(64)",
        "Recv",
        "Poll(159)", // first answer after 41 ms
        "Send(64)",
        "Recv", // 200 ms pass
        "Send(64)",
        "Recv",
        "Recv",
        "Poll(151)", // third answer at once, then the second, then the rest
        "Send(64)",
        "Alarm(500000)",
        "Recv",
        "Recv",
        "Recv",
        "Exit(0)",
    ];
    assert_eq!(done.calls(&LOOP), want);
    assert_eq!(done.times_ms("Send"), [0, 200, 400, 601]);
    assert_eq!(done.times_ms("Exit"), [1101]);
    assert!(done.text.contains("icmp_seq=2 ttl=63 time=250 ms\n"), "{}", done.text);
    assert!(done.text.ends_with("rtt min/avg/max/mdev = 0.900/97.400/250.000/109.157 ms, pipe 2\n"), "{}", done.text);
}

#[test]
fn host_unreachable() {
    let done = unreachable(300).run("ping -c2 -i 0.2 10.8.1.2");
    check(
        &done,
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         From 10.8.0.1 icmp_seq=1 Destination Host Unreachable\n\
         From 10.8.0.1 icmp_seq=2 Destination Host Unreachable\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         2 packets transmitted, 0 received, +2 errors, 100% packet loss, time 200ms\n\
         \n",
    );
    let want = [
        "Send(64)",
        "Recv",
        "Recv(ERRQUEUE)",
        "SetSockOpt(3, IcmpFilter(4294967246))",
        // The error itself, as a packet.
        "Recv",
        "Recv",
        "Send(64)",
        "Alarm(10000000)",
        "Recv",
        "Recv(ERRQUEUE)",
        "SetSockOpt(3, IcmpFilter(4294967246))",
        "Exit(1)",
    ];
    assert_eq!(done.calls(&["Send", "Recv", "Poll", "Alarm", "Exit", "SetSockOpt(3, IcmpFilter(4294967246"]), want);
}

/// Three requests wait for one neighbour and fail together, when the wait for the last one is running.
#[test]
fn errors_come_together() {
    let mut early = Vec::new();
    let answer = move |n: usize, data: &[u8], _: SendTo| {
        early.push(Arrival::Error(icmp_error(Errno::EHOSTUNREACH, 3, 1, 0, data)));
        let all = if n == 3 { std::mem::take(&mut early) } else { vec![] };
        Ok(all.into_iter().map(|e| (1_060_000, e)).collect())
    };
    let done = Script::answering(Box::new(answer)).run("ping -c 3 10.8.1.2");
    check(
        &done,
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         From 10.8.0.1 icmp_seq=1 Destination Host Unreachable\n\
         From 10.8.0.1 icmp_seq=2 Destination Host Unreachable\n\
         From 10.8.0.1 icmp_seq=3 Destination Host Unreachable\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 2000ms\n\
         pipe 3\n",
    );
}

#[test]
fn ttl_exceeded_and_frag_needed() {
    for (errno, kind, code, info, want) in [
        (Errno::EHOSTUNREACH, 11, 0, 0, "Time to live exceeded"),
        (Errno::EMSGSIZE, 3, 4, 1450, "Frag needed and DF set (mtu = 1450)"),
        (Errno::EHOSTUNREACH, 3, 13, 0, "Packet filtered"),
    ] {
        let answer = move |_: usize, data: &[u8], _: SendTo| {
            Ok(vec![(200, Arrival::Error(icmp_error(errno, kind, code, info, data)))])
        };
        let done = Script::answering(Box::new(answer)).run("ping -c1 -t1 10.8.1.2");
        assert!(done.text.contains(&format!("\nFrom 10.8.0.1 icmp_seq=1 {want}\n\n---")), "{}", done.text);
        assert_eq!(done.calls(&["SetSockOpt(3, Ttl"]), ["SetSockOpt(3, Ttl(1))"]);
    }
}

#[test]
fn no_route() {
    let mut script = Script::new();
    script.refuse.push(("Connect", Errno::ENETUNREACH));
    check(&script.run("ping -c1 10.9.1.1"), 2, "ping: connect: Network is unreachable\n");
}

/// The route goes while ping runs. This version says nothing about it: the error queue is empty.
#[test]
fn unreachable_at_send() {
    for errno in [Errno::ENETUNREACH, Errno::EPERM, Errno::EINVAL] {
        let answer = move |n: usize, data: &[u8], _: SendTo| match n {
            2 => Err((errno, vec![])),
            _ => Ok(vec![(50, echo(HOST, 63, data))]),
        };
        let done = Script::answering(Box::new(answer)).run("ping -c 3 10.8.1.2");
        check(
            &done,
            0,
            "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
             64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.050 ms\n\
             64 bytes from 10.8.1.2: icmp_seq=3 ttl=63 time=0.050 ms\n\
             \n\
             --- 10.8.1.2 ping statistics ---\n\
             3 packets transmitted, 2 received, 33.3333% packet loss, time 2000ms\n\
             rtt min/avg/max/mdev = 0.050/0.050/0.050/0.000 ms\n",
        );
    }
}

/// An ICMP error that a ping socket's send returns is told twice.
#[test]
fn pending_error_at_send() {
    let answer = |n: usize, data: &[u8], _: SendTo| match n {
        2 => Err((Errno::EHOSTUNREACH, vec![icmp_error(Errno::EHOSTUNREACH, 3, 1, 0, &[8, 0, 0, 0, 0, 1, 0, 1])])),
        _ => Ok(vec![(50, Arrival::Error(icmp_error(Errno::EHOSTUNREACH, 3, 1, 0, data)))]).map(|mut v| {
            v.truncate(usize::from(n == 3));
            v
        }),
    };
    let mut script = Script::answering(Box::new(answer));
    script.refuse.clear();
    check(
        &script.run("ping -c3 -l3 -W1 10.8.1.2"),
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         From 10.8.0.1 icmp_seq=1 Destination Host Unreachable\n\
         ping: sendmsg: No route to host\n\
         From 10.8.0.1 icmp_seq=3 Destination Host Unreachable\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         3 packets transmitted, 0 received, +2 errors, 100% packet loss, time 1000ms\n\
         \n",
    );
}

fn too_long() -> Script {
    let local = QueuedError {
        errno: Errno::EMSGSIZE,
        local: true,
        icmp: (0, 0),
        info: 1500,
        offender: HOST.into(),
        data: vec![],
    };
    Script::answering(Box::new(move |_, _, _| Err((Errno::EMSGSIZE, vec![local.clone()]))))
}

#[test]
fn message_too_long() {
    let done = too_long().run("ping -c3 -i0.2 -W1 -M do -s 1473 10.8.1.2");
    check(
        &done,
        1,
        "PING 10.8.1.2 (10.8.1.2) 1473(1501) bytes of data.\n\
         ping: local error: message too long, mtu=1500\n\
         ping: local error: message too long, mtu=1500\n\
         ping: local error: message too long, mtu=1500\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         3 packets transmitted, 0 received, +3 errors, 100% packet loss, time 400ms\n\
         \n",
    );
    assert_eq!(done.calls(&["SetSockOpt(3, MtuDiscover"]), ["SetSockOpt(3, MtuDiscover(Do))"]);
    // It notices only when its wait for an interval is over.
    assert_eq!(done.times_ms("Exit"), [600]);
    // Quietly it does not even count them.
    check(
        &too_long().run("ping -s 1500 -M do -c1 -q -W1 10.8.1.2"),
        1,
        "PING 10.8.1.2 (10.8.1.2) 1500(1528) bytes of data.\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         1 packets transmitted, 0 received, 100% packet loss, time 0ms\n\
         \n",
    );
}

/// Larger than any IPv4 packet: refused without an entry in the error queue.
#[test]
fn larger_than_a_packet() {
    let script = Script::answering(Box::new(|_, data, _| {
        assert!(data.len() > 65_515);
        Err((Errno::EMSGSIZE, vec![]))
    }));
    let done = script.run("ping -c1 -s 70000 10.8.1.2");
    assert!(done.text.starts_with("PING 10.8.1.2 (10.8.1.2) 70000(70028) bytes of data.\n\n---"), "{}", done.text);
}

#[test]
fn full_queue() {
    let answer = |n: usize, _: &[u8], _: SendTo| if n > 12 { Err((Errno::ENOBUFS, vec![])) } else { Ok(vec![]) };
    let done = Script::answering(Box::new(answer)).run("ping -c14 -i0.02 -W0.1 10.8.1.2");
    // Ten tries of 10 ms each until -W is used up, then each counts at once.
    let want = "ping: sendmsg: No buffer space available\nping: sendmsg: No buffer space available\n\n---";
    assert!(done.text.contains(want), "{}", done.text);
    let sends = done.times_ms("Send");
    assert_eq!(sends.len(), 12 + 10 + 1);
    assert_eq!(sends[11..15], [220, 240, 260, 280]);
    assert!(done.calls(&["Poll"]).iter().all(|c| *c == "Poll(10)"));
}

#[test]
fn busy_socket() {
    let answer = |n: usize, data: &[u8], _: SendTo| match n {
        2 => Err((Errno::EAGAIN, vec![])),
        _ => Ok(vec![(50, echo(HOST, 63, data))]),
    };
    let done = Script::answering(Box::new(answer)).run("ping -c 2 -i 0.3 10.8.1.2");
    // It looks for an answer once, then sends again.
    let want =
        ["Send(64)", "Recv", "Recv", "Send(64)", "Recv(DONTWAIT)", "Send(64)", "Alarm(300000)", "Recv", "Exit(0)"];
    assert_eq!(done.calls(&LOOP), want);
}

#[test]
fn deadline() {
    let done = replies(200).run("ping -c5 -w1 -i0.3 10.8.1.2");
    check(
        &done,
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.200 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=2 ttl=63 time=0.200 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=3 ttl=63 time=0.200 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=4 ttl=63 time=0.200 ms\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         4 packets transmitted, 4 received, 0% packet loss, time 901ms\n\
         rtt min/avg/max/mdev = 0.200/0.200/0.200/0.000 ms\n",
    );
    assert_eq!(done.calls(&["Alarm"]), ["Alarm(1000000)"]);
    assert_eq!(done.times_ms("Exit"), [1000]);
    // Without an answer it goes on sending past -c; an error ends it.
    let done = Script::new().run("ping -c1 -w3 10.8.1.2");
    assert!(
        done.text.contains("\n3 packets transmitted, 0 received, 100% packet loss, time 2000ms\n"),
        "{}",
        done.text
    );
    let done = unreachable(300).run("ping -c3 -w2 10.8.1.2");
    assert!(done.text.contains("\n1 packets transmitted, 0 received, +1 errors, 100% packet loss"), "{}", done.text);
    // Without -c it is the deadline that decides, and one answer is enough.
    assert_eq!(replies(200).run("ping -w1 10.8.1.2").code, 0);
}

/// The real program against a host that answers like this.
#[test]
fn strange_answers() {
    let answer = |n: usize, data: &[u8], _: SendTo| {
        let change = |at: usize, byte: u8| {
            let mut d = data.to_vec();
            d[at] = byte;
            echo(HOST, 63, &d)
        };
        let foreign = change(4, data[4] ^ 1);
        Ok(match n {
            1 => vec![(700, echo(HOST, 63, data)), (735, echo(HOST, 63, data)), (744, echo(HOST, 63, data))],
            2 => vec![(703, echo([10, 8, 1, 9], 63, data))],
            3 => vec![(649, change(8 + 20, 0xeb))],
            4 => vec![(968, echo(HOST, 63, &data[..28]))],
            5 => vec![(900, echo(HOST, 63, &data[..18]))],
            6 => vec![(600, foreign.clone()), (650, foreign), (737, echo(HOST, 63, data))],
            7 => vec![(614, change(7, 99)), (699, echo(HOST, 199, data))],
            8 => vec![(600, change(7, 1)), (655, echo(HOST, 63, data))],
            _ => vec![(609, echo(HOST, 63, &[data, b"xyz"].concat()))],
        })
    };
    let done = Script::answering(Box::new(answer)).run("ping -c 10 -i0.3 -W1 10.8.1.2");
    check(
        &done,
        0,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.700 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.735 ms (DUP!)\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.744 ms (DUP!)\n\
         64 bytes from 10.8.1.9: icmp_seq=2 ttl=63 time=0.703 ms (DIFFERENT ADDRESS!)\n\
         64 bytes from 10.8.1.2: icmp_seq=3 ttl=63 time=0.649 ms\n\
         wrong data byte #20 should be 0x14 but was 0xeb\n\
         #16\t10 11 12 13 eb 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d 2e 2f \n\
         #48\t30 31 32 33 34 35 36 37 \n\
         28 bytes from 10.8.1.2: icmp_seq=4 ttl=63 (truncated)\n\
         18 bytes from 10.8.1.2: icmp_seq=5 ttl=63 (truncated)\n\
         64 bytes from 10.8.1.2: icmp_seq=6 ttl=63 time=0.737 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=99 ttl=63 time=0.614 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=7 ttl=199 time=0.699 ms\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.600 ms (DUP!)\n\
         64 bytes from 10.8.1.2: icmp_seq=8 ttl=63 time=0.655 ms\n\
         67 bytes from 10.8.1.2: icmp_seq=9 ttl=63 time=0.609 ms\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         9 packets transmitted, 10 received, +3 duplicates, -11.1111% packet loss, time 2406ms\n\
         rtt min/avg/max/mdev = 0.600/0.647/0.968/0.207 ms, pipe 8\n",
    );
    // Another program's replies: looked at once, then filtered.
    assert_eq!(done.calls(&["SetSockOpt(3, Echo"]), ["SetSockOpt(3, EchoFilter(9029))"]);
}

/// Advice comes as packets only, and is printed with a colon.
#[test]
fn redirects_and_source_quench() {
    let answer = |_: usize, data: &[u8], _: SendTo| {
        let mut bad = error_packet(5, 1, 0x0a08_0001, data);
        if let Arrival::Message(m) = &mut bad {
            m.data[22] ^= 1;
        }
        let nobody = error_packet(5, 1, 0x0a08_0001, &[8, 0, 0, 0, 7, 7, 0, 1]);
        let redirect = error_packet(5, 1, 0x0a08_0001, data);
        let quench = error_packet(4, 0, 0, data);
        Ok(vec![(10, bad), (11, nobody), (12, redirect), (13, quench), (637, echo(HOST, 63, data))])
    };
    let done = Script::answering(Box::new(answer)).run("ping -c1 10.8.1.2");
    check(
        &done,
        0,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         From 10.8.0.1: icmp_seq=1 (BAD CHECKSUM)Redirect Host(New nexthop: 10.8.0.1)\n\
         From 10.8.0.1: icmp_seq=1 Redirect Host(New nexthop: 10.8.0.1)\n\
         From 10.8.0.1: icmp_seq=1 Source Quench\n\
         64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.637 ms\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\
         rtt min/avg/max/mdev = 0.637/0.637/0.637/0.000 ms\n",
    );
}

#[test]
fn quiet() {
    check(
        &replies(123).run("ping -qc1 10.8.1.2"),
        0,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\
         rtt min/avg/max/mdev = 0.123/0.123/0.123/0.000 ms\n",
    );
    check(
        &unreachable(300).run("ping -q -c1 10.8.1.2"),
        1,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         1 packets transmitted, 0 received, +1 errors, 100% packet loss, time 0ms\n\
         \n",
    );
}

#[test]
fn outstanding_with_time_stamps() {
    let mut held: Vec<Vec<u8>> = Vec::new();
    let answer = move |n: usize, data: &[u8], _: SendTo| {
        held.push(data.to_vec());
        let now = match n {
            3 | 5 => std::mem::take(&mut held),
            _ => vec![],
        };
        Ok(now.iter().map(|d| (500, echo(HOST, 63, d))).collect())
    };
    let done = Script::answering(Box::new(answer)).run("ping -O -D -c 5 -i0.3 -W1 10.8.1.2");
    check(
        &done,
        0,
        "PING 10.8.1.2 (10.8.1.2) 56(84) bytes of data.\n\
         [1795253606.300012] no answer yet for icmp_seq=1\n\
         [1795253606.600014] no answer yet for icmp_seq=2\n\
         [1795253606.600515] 64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=601 ms\n\
         [1795253606.600516] 64 bytes from 10.8.1.2: icmp_seq=2 ttl=63 time=301 ms\n\
         [1795253606.600517] 64 bytes from 10.8.1.2: icmp_seq=3 ttl=63 time=0.500 ms\n\
         [1795253607.200520] no answer yet for icmp_seq=4\n\
         [1795253607.201021] 64 bytes from 10.8.1.2: icmp_seq=4 ttl=63 time=301 ms\n\
         [1795253607.201022] 64 bytes from 10.8.1.2: icmp_seq=5 ttl=63 time=0.500 ms\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         5 packets transmitted, 5 received, 0% packet loss, time 1201ms\n\
         rtt min/avg/max/mdev = 0.500/240.501/600.504/224.500 ms, pipe 3\n",
    );
}

#[test]
fn interval_zero() {
    let done = replies(100).run("ping -i0 -c 4 10.8.1.2");
    let want = "rtt min/avg/max/mdev = 0.100/0.100/0.100/0.000 ms, ipg/ewma 0.101/0.100 ms\n";
    assert!(done.text.ends_with(want), "{}", done.text);
    let want =
        ["Send(64)", "Recv", "Send(64)", "Recv", "Send(64)", "Recv", "Send(64)", "Alarm(200)", "Recv", "Exit(0)"];
    assert_eq!(done.calls(&LOOP), want);
    // Without answers 100 a second.
    assert_eq!(Script::new().run("ping -i0 -W0.05 -c4 10.8.1.2").times_ms("Send"), [0, 10, 20, 30]);
}

/// -W0 sets no itimer, again and again: only the neighbour's failure ends it.
#[test]
fn no_linger_at_all_waits_for_the_error() {
    let done = unreachable(2_500_000).run("ping -c1 -W0 10.8.1.2");
    assert_eq!(done.calls(&LOOP)[..6], ["Send(64)", "Alarm(0)", "Recv", "Alarm(0)", "Recv", "Alarm(0)"]);
    assert!(done.text.contains("+1 errors"));
}

#[test]
fn sources_and_devices() {
    let setup = |line: &str| {
        let done = replies(100).run(line);
        let header = done.text.lines().next().unwrap_or_default().to_owned();
        let names = ["Socket(Udp", "Bind", "Connect", "SockName", "SetSockOpt(3, BindTo", "SetSockOpt(5"];
        (header, done.calls(&names).join(" "))
    };
    for (line, header, calls) in [
        (
            "ping -c1 -I eth0 -Q 8 10.8.1.2",
            "PING 10.8.1.2 (10.8.1.2) from 10.8.0.2 eth0: 56(84) bytes of data.",
            "Socket(Udp) SetSockOpt(5, BindToDevice(IfIndex(3))) SetSockOpt(3, BindToDevice(IfIndex(3))) \
             SetSockOpt(5, Tos(8)) Connect(5, 10.8.1.2) SockName(5)",
        ),
        (
            "ping -c1 -I 10.8.0.2 10.8.1.2",
            "PING 10.8.1.2 (10.8.1.2) from 10.8.0.2 : 56(84) bytes of data.",
            "Bind(3, 10.8.0.2)",
        ),
        (
            "ping -c1 -I 10.8.0.2 -I eth0 10.8.1.2",
            "PING 10.8.1.2 (10.8.1.2) from 10.8.0.2 eth0: 56(84) bytes of data.",
            "SetSockOpt(3, BindToDevice(IfIndex(3))) Bind(3, 10.8.0.2)",
        ),
        (
            "ping -c1 -I 0.0.0.0 10.8.1.2",
            "PING 10.8.1.2 (10.8.1.2) from 10.8.0.2 : 56(84) bytes of data.",
            "Socket(Udp) Connect(5, 10.8.1.2) SockName(5) Bind(3, 10.8.0.2)",
        ),
        ("ping -c1 0", "PING 0 (10.8.0.2) 56(84) bytes of data.", "Socket(Udp) Connect(5, 0.0.0.0) SockName(5)"),
        (
            "ping -c1 -I lo 10.8.1.2",
            "ping: Warning: source address might be selected on device other than: lo",
            "Socket(Udp) SetSockOpt(5, BindToDevice(IfIndex(1))) SetSockOpt(3, BindToDevice(IfIndex(1))) \
             Connect(5, 10.8.1.2) SockName(5)",
        ),
    ] {
        assert_eq!(setup(line), (header.to_owned(), calls.to_owned()), "{line}");
    }
}

#[test]
fn setup_errors() {
    for (line, refuse, want) in [
        ("ping -c1 -I nodev 10.8.1.2", None, "ping: SO_BINDTODEVICE nodev: No such device\n"),
        ("ping -p ab -c1 -I nodev 127.1", None, "PATTERN: 0xab\nping: SO_BINDTODEVICE nodev: No such device\n"),
        (
            "ping -c1 -I 10.8.9.9 10.8.1.2",
            Some(("Bind", Errno::EADDRNOTAVAIL)),
            "ping: bind: Cannot assign requested address\n",
        ),
        (
            "ping -c1 -t 0 10.8.1.2",
            Some(("SetSockOpt(3, Ttl", Errno::EINVAL)),
            "ping: cannot set unicast time-to-live: Invalid argument\n",
        ),
        (
            "ping -c1 10.8.0.255",
            Some(("Connect", Errno::EACCES)),
            "ping: Do you want to ping broadcast? Then -b. If not, check your local firewall rules\n",
        ),
        ("ping -c1 10.9.3.1", Some(("Connect", Errno::EHOSTUNREACH)), "ping: connect: No route to host\n"),
        (
            "ping -c1 10.8.1.2",
            Some(("Socket(Raw", Errno::ENFILE)),
            "ping: socktype: SOCK_RAW\nping: socket: Too many open files in system\n",
        ),
    ] {
        let mut script = Script::new();
        script.refuse.extend(refuse);
        check(&script.run(line), 2, want);
    }
}

#[test]
fn broadcast() {
    let from_router = |_: usize, data: &[u8], _: SendTo| Ok(vec![(41, echo(ROUTER, 64, data))]);
    let mut script = Script::answering(Box::new(from_router));
    script.refuse.push(("Connect", Errno::EACCES));
    let done = script.run("ping -b -c1 -W1 10.8.0.255");
    check(
        &done,
        0,
        "WARNING: pinging broadcast address\n\
         PING 10.8.0.255 (10.8.0.255) 56(84) bytes of data.\n\
         64 bytes from 10.8.0.1: icmp_seq=1 ttl=64 time=0.041 ms\n\
         \n\
         --- 10.8.0.255 ping statistics ---\n\
         1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\
         rtt min/avg/max/mdev = 0.041/0.041/0.041/0.000 ms\n",
    );
    let options = done.calls(&["SetSockOpt(5", "SetSockOpt(3, Mtu", "SetSockOpt(3, Broad"]);
    let want = ["SetSockOpt(5, Broadcast(true))", "SetSockOpt(3, MtuDiscover(Do))", "SetSockOpt(3, Broadcast(true))"];
    assert_eq!(options, want);
}

#[test]
fn without_room_for_a_time_stamp() {
    check(
        &replies(100).run("ping -c1 -s 10 10.8.1.2"),
        0,
        "PING 10.8.1.2 (10.8.1.2) 10(38) bytes of data.\n\
         18 bytes from 10.8.1.2: icmp_seq=1 ttl=63\n\
         \n\
         --- 10.8.1.2 ping statistics ---\n\
         1 packets transmitted, 1 received, 0% packet loss, time 0ms\n\
         \n",
    );
}

#[test]
fn time_goes_back() {
    let answer = |n: usize, data: &[u8], _: SendTo| {
        let mut d = data.to_vec();
        d[8] += u8::from(n == 1);
        Ok(vec![(539, echo(HOST, 63, &d))])
    };
    let done = Script::answering(Box::new(answer)).run("ping -c2 10.8.1.2");
    let want = "ping: Warning: time of day goes back (-999461us), taking countermeasures\n\
                ping: Warning: time of day goes back (-999460us), taking countermeasures\n\
                64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.000 ms\n\
                64 bytes from 10.8.1.2: icmp_seq=2 ttl=63 time=0.540 ms\n";
    assert!(done.text.contains(want), "{}", done.text);
}

/// Only a ping socket where the group may have one; it gets payloads and needs no filters.
#[test]
fn ping_socket() {
    let answer = |_: usize, data: &[u8], _: SendTo| {
        assert_eq!(data[4..6], [0xff, 0xff], "the kernel sets the id");
        let Arrival::Message(mut m) = echo(HOST, 63, data) else { unreachable!() };
        m.data.drain(..20);
        Ok(vec![(115, Arrival::Message(m))])
    };
    let mut script = Script::answering(Box::new(answer));
    script.refuse.clear();
    let done = script.run("ping -c1 10.8.1.2");
    assert!(done.text.contains("64 bytes from 10.8.1.2: icmp_seq=1 ttl=63 time=0.115 ms\n"), "{}", done.text);
    assert!(done.calls(&["Socket(Raw", "SetSockOpt(3, Icmp"]).is_empty());
}

#[test]
fn milliseconds_are_cut_as_ping_cuts_them() {
    for (earlier_us, later_us, want) in [
        (0, 999_999, 999),
        (0, 1_000_000, 1000),
        (700_000, 1_699_999, 1000),
        (700_000, 1_699_000, 999),
        (500, 1_000_499, 1000),
        (999_999, 1_000_000, 1),
    ] {
        assert_eq!(whole_ms(Time(later_us * 1000), Time(earlier_us * 1000)), want, "{earlier_us} {later_us}");
    }
}

/// Whatever arrives: no panic.
#[test]
fn garbage() {
    for size in 0..60 {
        for byte in [0, 0x45, 0xff] {
            let answer = move |_: usize, data: &[u8], _: SendTo| {
                let junk = Message {
                    data: vec![byte; size],
                    from: From::Ip(SocketAddrV4::new(HOST.into(), 0)),
                    at: Time(0),
                    ttl: 1,
                };
                let error = QueuedError { data: vec![8; size.min(9)], ..icmp_error(Errno::EPROTO, 99, 9, 0, data) };
                Ok(vec![(1, Arrival::Message(junk)), (2, Arrival::Error(error)), (3, echo(HOST, 63, data))])
            };
            assert_eq!(Script::answering(Box::new(answer)).run("ping -c1 10.8.1.2").code, 0);
        }
    }
}
