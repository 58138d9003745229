//! The resolver against servers, over a simulated network: who is asked what when.

use super::message::{self, Message};
use super::resolver::Family;
use super::testkit::{Bench, RESOLV_CONF};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Fd, Ret, SocketKind};

#[test]
fn the_search_list_is_walked() {
    let done = Bench::with_server().look_up(RESOLV_CONF, "other.default", Family::Unspec);
    assert_eq!(done.text, "other.default.svc.cluster.local 10.96.0.82\n");
    let (wrong, right) = ("other.default.default.svc.cluster.local.", "other.default.svc.cluster.local.");
    let asked = [
        format!("A? {wrong}"),
        format!("A {wrong} 3 0"),
        format!("AAAA? {wrong}"),
        format!("AAAA {wrong} 3 0"),
        format!("A? {right}"),
        format!("A {right} 0 1"),
        format!("AAAA? {right}"),
        format!("AAAA {right} 0 0"),
    ];
    assert_eq!(done.what(), asked);
    // Each name has a socket, which both of its questions go out of.
    assert_eq!(done.ports().len(), 2);
}

#[test]
fn a_name_outside_goes_through_the_whole_list() {
    let done = Bench::with_server().look_up(RESOLV_CONF, "example.com", Family::Unspec);
    assert_eq!((done.text.as_str(), done.code), ("Temporary failure in name resolution\n", 1));
    let asked: Vec<&str> = done.what().into_iter().filter_map(|w| w.strip_prefix("A? ")).collect();
    assert_eq!(
        asked,
        [
            "example.com.default.svc.cluster.local.",
            "example.com.svc.cluster.local.",
            "example.com.cluster.local.",
            "example.com.",
            // Refused: the server is asked a second time.
            "example.com.",
        ]
    );
    assert_eq!((done.seen.len(), done.ports().len()), (20, 4));
    assert!(done.ms < 100);
}

#[test]
fn enough_dots_or_the_last_one_come_first() {
    for (name, options, first, text) in [
        (
            "other.default.svc.cluster.local.",
            "",
            "A? other.default.svc.cluster.local.",
            "other.default.svc.cluster.local 10.96.0.82\n",
        ),
        (
            "other.default.svc.cluster.local",
            "options ndots:4",
            "A? other.default.svc.cluster.local.",
            "other.default.svc.cluster.local 10.96.0.82\n",
        ),
        (
            "nobody.default.svc.cluster.local.",
            "",
            "A? nobody.default.svc.cluster.local.",
            "Name or service not known\n",
        ),
        ("default.svc.cluster.local.", "", "A? default.svc.cluster.local.", "No address associated with hostname\n"),
        ("other", "options ndots:0", "A? other.", "other.default.svc.cluster.local 10.96.0.82\n"),
    ] {
        let conf = format!("{RESOLV_CONF}{options}\n");
        let done = Bench::with_server().look_up(&conf, name, Family::Unspec);
        assert_eq!((done.what()[0], done.text.as_str()), (first, text), "{name}");
    }
}

#[test]
fn what_needs_no_server() {
    for (name, text) in [
        ("10.1.2.3", "10.1.2.3 10.1.2.3\n"),
        ("localhost", "localhost 127.0.0.1\n"),
        ("K", "known.example 10.8.8.8\n"),
        ("", "Name or service not known\n"),
        ("a b", "Name or service not known\n"),
        ("-x", "Name or service not known\n"),
        ("a..b", "Name or service not known\n"),
    ] {
        let done = Bench::with_server().look_up(RESOLV_CONF, name, Family::Unspec);
        assert_eq!((done.text.as_str(), done.seen.len()), (text, 0), "{name}");
    }
}

#[test]
fn a_silent_server_gets_five_seconds_twice() {
    let mut bench = Bench::new();
    bench.silence("10.9.0.1/24");
    let done = bench.look_up("nameserver 10.9.0.1\n", "other", Family::Unspec);
    assert_eq!(done.text, "Temporary failure in name resolution\n");
    assert_eq!(done.asked_ms(), [0, 0, 5000, 5000]);
    assert_eq!((done.ms / 10, done.ports().len()), (1000, 1));
}

#[test]
fn the_second_server_is_asked_when_the_first_is_silent() {
    let mut bench = Bench::new();
    bench.silence("10.9.0.3/24");
    bench.serve("10.9.0.1/24", super::testkit::COREFILE);
    let conf = "nameserver 10.9.0.3\nnameserver 10.9.0.1\noptions timeout:2\n";
    let done = bench.look_up(conf, "other.default.svc.cluster.local", Family::Unspec);
    assert_eq!(done.text, "other.default.svc.cluster.local 10.96.0.82\n");
    assert_eq!(done.asked_ms(), [0, 0, 2000, 2000]);
    let servers: Vec<&str> = done.seen.iter().filter(|s| s.what.contains('?')).map(|s| s.server.as_str()).collect();
    assert_eq!(servers, ["10.9.0.3", "10.9.0.3", "10.9.0.1", "10.9.0.1"]);
}

#[test]
fn without_a_server_process_it_ends_at_once() {
    let mut bench = Bench::new();
    bench.nobody("10.9.0.1/24");
    let done = bench.look_up(RESOLV_CONF, "other", Family::Unspec);
    assert_eq!(done.text, "Temporary failure in name resolution\n");
    // The first domain of the list only.
    let named: Vec<bool> = done.what().iter().map(|w| w.ends_with(" other.default.svc.cluster.local.")).collect();
    assert!(done.ms < 100 && !named.is_empty() && named.iter().all(|n| *n), "{:?}", done.what());
}

#[test]
fn without_a_host_the_kernel_tells() {
    let done = Bench::new().look_up("nameserver 10.9.0.1\noptions attempts:1\n", "other", Family::Unspec);
    // Three questions for the neighbour: host unreachable.
    assert_eq!((done.text.as_str(), done.ms / 100), ("Temporary failure in name resolution\n", 30));
}

#[test]
fn single_request() {
    for (option, ports) in [("single-request", 1), ("single-request-reopen", 2)] {
        let conf = format!("nameserver 10.9.0.1\noptions {option}\n");
        let done = Bench::with_server().look_up(&conf, "two.default.svc.cluster.local", Family::Unspec);
        let name = "two.default.svc.cluster.local.";
        let asked =
            [format!("A? {name}"), format!("A {name} 0 2"), format!("AAAA? {name}"), format!("AAAA {name} 0 0")];
        assert_eq!(done.what(), asked, "{option}");
        assert_eq!(done.ports().len(), ports, "{option}");
        assert!(
            done.text == format!("two.default.svc.cluster.local {}\n", "10.244.1.2 10.244.1.3")
                || done.text == format!("two.default.svc.cluster.local {}\n", "10.244.1.3 10.244.1.2"),
            "{}",
            done.text
        );
    }
}

#[test]
fn one_family() {
    let done = Bench::with_server().look_up(RESOLV_CONF, "other", Family::Inet);
    assert_eq!(done.what(), ["A? other.default.svc.cluster.local.", "A other.default.svc.cluster.local. 0 1"]);
    let done = Bench::with_server().look_up(&format!("{RESOLV_CONF}options no-aaaa\n"), "other", Family::Unspec);
    assert_eq!(done.seen.len(), 2);
}

#[test]
fn frames_have_the_lengths_of_a_cluster() {
    let conf = RESOLV_CONF;
    let done = Bench::with_server().look_up(conf, "other.default", Family::Unspec);
    let lengths: Vec<usize> = done.seen.iter().map(|s| s.len).collect();
    // 14 + 20 + 8 + 12 + name + 4; an A record is the name and 14 more, the SOA of cluster.local 93.
    let (wrong, right) = (54 + 41 + 4, 54 + 33 + 4);
    assert_eq!(lengths, [wrong, wrong + 93, wrong, wrong + 93, right, right + 33 + 14, right, right + 93]);
}

#[test]
fn the_system_calls_are_glibcs() {
    // strace getent ahosts; sendmmsg(2) is two calls here.
    let done = Bench::with_server().calls("nameserver 10.9.0.1\n", "other.default.svc.cluster.local");
    let mut calls: Vec<&str> = done.text.lines().collect();
    assert_eq!(calls.pop(), Some("other.default.svc.cluster.local 10.96.0.82"));
    let fd = calls[1].strip_prefix("SetSockOpt(").and_then(|c| c.split(',').next()).unwrap();
    let want = [
        "Socket(Udp)".to_owned(),
        format!("SetSockOpt({fd}, RecvErr(true))"),
        format!("Connect({fd}, 10.9.0.1)"),
        "Poll(0)".to_owned(),
        "Send(49)".to_owned(),
        "Send(49)".to_owned(),
        "Poll(5000)".to_owned(),
        "Recv(DONTWAIT)".to_owned(),
        "Poll(4999)".to_owned(),
        "Recv(DONTWAIT)".to_owned(),
        format!("Close {{ fd: Fd({fd}) }}"),
    ];
    assert_eq!(calls, want);
}

#[test]
fn rotate_begins_somewhere_and_takes_turns() {
    let mut bench = Bench::new();
    bench.serve("10.9.0.1/24", super::testkit::COREFILE);
    bench.serve("10.9.0.3/24", super::testkit::COREFILE);
    let conf = "nameserver 10.9.0.1\nnameserver 10.9.0.3\nsearch a.cluster.local b.cluster.local\noptions rotate\n";
    let done = bench.look_up(conf, "other", Family::Inet);
    let asked: Vec<&str> = done.seen.iter().filter(|s| s.what.contains('?')).map(|s| s.server.as_str()).collect();
    assert!(asked.len() >= 2 && asked.windows(2).take(2).all(|w| w[0] != w[1]), "{asked:?}");
}

#[test]
fn two_silent_servers_keep_a_socket_each() {
    // Measured: queries at 0, 1, 2 and 3 s, the end at 4 s.
    let mut bench = Bench::new();
    bench.silence("10.9.0.1/24");
    bench.silence("10.9.0.3/24");
    let conf = "nameserver 10.9.0.1\nnameserver 10.9.0.3\noptions timeout:1\n";
    let done = bench.look_up(conf, "x", Family::Unspec);
    assert_eq!(done.asked_ms(), [0, 0, 1000, 1000, 2000, 2000, 3000, 3000]);
    assert_eq!((done.ms / 10, done.ports().len()), (400, 2));
}

/// A stream to the server: two questions in one write, an answer to each, and the end after ten idle seconds.
#[test]
fn a_stream_carries_several_questions() {
    let done = Bench::with_server().run(Box::new(Stream::default()));
    assert_eq!(done.text, "10.96.0.82\n10.96.0.82\nend\n");
    assert!((10_000..10_100).contains(&done.ms), "{}", done.ms);
}

#[derive(Clone, Default)]
struct Stream {
    fd: Option<Fd>,
    bytes: Vec<u8>,
}

impl Program for Stream {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let addr = "10.9.0.1:53".parse().unwrap();
        match (ret, self.fd) {
            (Ret::Start, _) => return Call::Socket(SocketKind::Tcp),
            (Ret::Fd(fd), _) => {
                self.fd = Some(fd);
                return Call::Connect { fd, addr };
            }
            (Ret::Done, Some(fd)) => {
                let name = message::name("other.default.svc.cluster.local").unwrap();
                let kind = message::type_by_name("A").unwrap();
                let query = Message::query(1, 0, name, kind).write(false);
                let one = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
                return Call::Send { fd, to: None, data: one.repeat(2) };
            }
            (Ret::Data(data), _) => self.bytes.extend(data),
            (Ret::Eof, _) => {
                env.console.out("end\n");
                return Call::Exit(0);
            }
            _ => {}
        }
        while let Some(&length) = self.bytes.first_chunk() {
            let end = 2 + usize::from(u16::from_be_bytes(length));
            let Some(answer) = self.bytes.get(2..end) else { break };
            let answer = Message::parse(answer).unwrap();
            env.console.out(format!("{}\n", message::rdata_text(&answer.answers[0].rdata)));
            self.bytes.drain(..end);
        }
        Call::Recv { fd: self.fd.unwrap(), size: 4096, dontwait: false, errqueue: false }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}
