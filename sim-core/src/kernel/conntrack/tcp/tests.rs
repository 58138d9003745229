//! net/netfilter/nf_conntrack_proto_tcp.c: sequences of segments, by hand and as measured.

use super::super::event::Kind;
use super::super::testkit::*;
use super::super::{CtInfo, Status};
use super::TcpState;

/// The rows of the kernel's table as the facts list them: the table against itself by other names.
#[test]
fn flags_choose_the_row() {
    use super::states::Index;
    for (flags, want) in [
        (SYN, Index::Syn),
        (SYN | ACK, Index::SynAck),
        (FIN | ACK, Index::Fin),
        (ACK | PSH, Index::Ack),
        (RST | ACK, Index::Rst),
        (RST | SYN, Index::Rst),
        (PSH, Index::None),
    ] {
        assert_eq!(Index::of(flags), want, "{flags:#x}");
    }
}

const WSCALE: &[u8] = &[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1];

/// One step: `<` is from the server. Flags, sequence and acknowledgement relative to 1000 and 9000, data length; then
/// what the packet is classified as and the state and timeout afterwards.
struct Step(&'static str, &'static str, u64);

struct Talk {
    r: Router,
    win: u16,
}

impl Talk {
    fn new() -> Self {
        Talk { r: Router::new(), win: 500 }
    }

    fn segment(&mut self, text: &str) -> Vec<u8> {
        let (client, server) = (end("10.244.1.2:46712"), end("10.96.0.11:80"));
        let words: Vec<&str> = text.split(' ').collect();
        let number = |i: usize| words.get(i).map_or(0, |w| w.parse::<i64>().unwrap());
        let flags = words[1].chars().fold(0, |f, c| {
            f | match c {
                'S' => SYN,
                'A' => ACK,
                'F' => FIN,
                'R' => RST,
                'P' => PSH,
                c => panic!("{c}"),
            }
        });
        let reply = words[0] == "<";
        let (seq0, ack0) = if reply { (9000, 1000) } else { (1000, 9000) };
        let ack = if flags & ACK == 0 { 0 } else { (ack0 + number(3)) as u32 };
        let s = Seg { flags, seq: (seq0 + number(2)) as u32, ack, win: self.win, len: number(4) as usize };
        let options = if flags & SYN != 0 { WSCALE } else { &[] };
        if reply { tcp(server, client, s, options) } else { tcp(client, server, s, options) }
    }

    fn step(&mut self, Step(text, state, timeout): &Step) {
        let p = self.segment(text);
        let info = self.r.classify(&p);
        let list = self.r.list();
        let got = match list.first() {
            _ if info.is_none() => "INVALID".to_owned(),
            Some(i) => {
                let assured = if i.status.has(Status::ASSURED) { " ASSURED" } else { "" };
                format!("{}{assured}", i.tcp.unwrap().name())
            }
            None => "gone".to_owned(),
        };
        let left = list.first().map_or(0, |i| i.timeout_s);
        assert_eq!((got.as_str(), left), (*state, *timeout), "{text}");
    }

    fn steps(&mut self, steps: &[Step]) {
        steps.iter().for_each(|s| self.step(s));
    }
}

const HANDSHAKE: [Step; 3] =
    [Step("> S 0", "SYN_SENT", 120), Step("< SA 0 1", "SYN_RECV", 60), Step("> A 1 1", "ESTABLISHED ASSURED", 432_000)];

fn established() -> Talk {
    let mut t = Talk::new();
    t.steps(&HANDSHAKE);
    t
}

#[test]
fn a_whole_connection_with_its_events() {
    let mut t = established();
    t.steps(&[
        Step("> PA 1 1 100", "ESTABLISHED ASSURED", 300),
        Step("< A 1 101", "ESTABLISHED ASSURED", 432_000),
        Step("< PA 1 101 200", "ESTABLISHED ASSURED", 300),
        Step("> A 101 201", "ESTABLISHED ASSURED", 432_000),
        Step("> FA 101 201", "FIN_WAIT ASSURED", 120),
        Step("< FA 201 102", "LAST_ACK ASSURED", 30),
        Step("> A 102 202", "TIME_WAIT ASSURED", 120),
    ]);
    let events: Vec<_> =
        t.r.events()
            .iter()
            .map(|e| {
                (e.kind, e.protoinfo, e.info.tcp.unwrap().name(), e.info.timeout_s, e.info.status.has(Status::ASSURED))
            })
            .collect();
    assert_eq!(
        events,
        [
            (Kind::New, true, "SYN_SENT", 120, false),
            (Kind::Update, true, "SYN_RECV", 60, false),
            (Kind::Update, true, "ESTABLISHED", 432_000, true),
            (Kind::Update, true, "FIN_WAIT", 120, true),
            (Kind::Update, true, "LAST_ACK", 30, true),
            (Kind::Update, true, "TIME_WAIT", 120, true),
        ]
    );
}

#[test]
fn a_half_close() {
    established().steps(&[
        Step("> FA 1 1", "FIN_WAIT ASSURED", 120),
        Step("< A 1 2", "CLOSE_WAIT ASSURED", 60),
        Step("< PA 1 2 10", "CLOSE_WAIT ASSURED", 60),
        Step("< FA 11 2", "LAST_ACK ASSURED", 30),
        Step("> A 2 12", "TIME_WAIT ASSURED", 120),
    ]);
}

#[test]
fn a_refused_connection_is_gone_at_once() {
    let mut t = Talk::new();
    t.steps(&[Step("> S 0", "SYN_SENT", 120), Step("< RA -9000 1", "gone", 0)]);
    let events = t.r.events();
    let last = events.last().unwrap();
    assert_eq!((last.kind, last.info.tcp, last.info.timeout_s), (Kind::Destroy, Some(TcpState::Close), 120));
    assert!(!last.info.status.has(Status::SEEN_REPLY));
}

#[test]
fn a_retransmitted_syn_does_not_refresh() {
    let mut t = Talk::new();
    t.step(&Step("> S 0", "SYN_SENT", 120));
    t.r.sleep(3);
    t.step(&Step("> S 0", "SYN_SENT", 117));
}

#[test]
fn three_identical_acks_are_retransmissions() {
    let mut t = established();
    t.steps(&[
        Step("> A 1 1 0", "ESTABLISHED ASSURED", 432_000),
        Step("> A 1 1 0", "ESTABLISHED ASSURED", 432_000),
        Step("> A 1 1 0", "ESTABLISHED ASSURED", 300),
        Step("> A 1 1 0", "ESTABLISHED ASSURED", 300),
    ]);
}

#[test]
fn a_closed_window_is_not_waited_for() {
    let mut t = established();
    t.win = 0;
    t.step(&Step("< A 1 1", "ESTABLISHED ASSURED", 300));
}

#[test]
fn a_pick_up_in_the_middle() {
    let mut t = Talk::new();
    t.steps(&[
        Step("> PA 100 100 50", "ESTABLISHED", 300),
        Step("< A 100 150", "ESTABLISHED", 300),
        Step("> A 150 100", "ESTABLISHED ASSURED", 432_000),
        // Liberal: windows are not known.
        Step("> PA 5000000 100 50", "ESTABLISHED ASSURED", 432_000),
    ]);
    let events = t.r.events();
    // The state word stands where the state has changed.
    assert_eq!(events.iter().map(|e| e.protoinfo).collect::<Vec<_>>(), [true, false, false]);
    let mut t = Talk::new();
    t.r.ct.sysctl_set("net.netfilter.nf_conntrack_tcp_loose", "0").unwrap();
    t.step(&Step("> PA 100 100 50", "INVALID", 0));
}

#[test]
fn no_connection_begins_with_these() {
    for text in ["> SA 0 0", "> FA 0 0", "> RA 0 0", "> R 0 0"] {
        Talk::new().step(&Step(text, "INVALID", 0));
    }
}

#[test]
fn impossible_flags() {
    for text in ["> SF 0", "> SR 0", "> F 0", "> P 0", "> SRA 0 0", "> FRA 0 0"] {
        established().step(&Step(text, "INVALID", 432_000));
    }
}

#[test]
fn windows() {
    // The server's window is 500 << 7, unless it is said in a SYN.
    established().steps(&[
        Step("> PA 1 1 100", "ESTABLISHED ASSURED", 300),
        Step("< A 1 101", "ESTABLISHED ASSURED", 432_000),
        Step("> PA 64000 1 100", "ESTABLISHED ASSURED", 300),
    ]);
    let mut t = established();
    // Far beyond the window.
    t.step(&Step("> PA 5000000 1 10", "INVALID", 432_000));
    // An acknowledgement of what was never sent.
    t.step(&Step("> A 1 100000", "INVALID", 432_000));
    // Long ago: passes, and changes nothing.
    t.r.sleep(5);
    t.step(&Step("< A -70000 1", "ESTABLISHED ASSURED", 431_995));
    t.step(&Step("< A 1 -70000", "ESTABLISHED ASSURED", 431_995));
    // With liberal checking all of it is fine.
    t.r.ct.sysctl_set("net.netfilter.nf_conntrack_tcp_be_liberal", "1").unwrap();
    t.step(&Step("> PA 5000000 1 10", "ESTABLISHED ASSURED", 432_000));
}

#[test]
fn resets() {
    // The next byte.
    established().step(&Step("< R 1", "CLOSE ASSURED", 10));
    // Before what is acknowledged.
    let mut t = established();
    t.step(&Step("< R -1", "INVALID", 432_000));
    t.r.ct.sysctl_set("net.netfilter.nf_conntrack_tcp_ignore_invalid_rst", "1").unwrap();
    t.step(&Step("< R -1", "ESTABLISHED ASSURED", 10));
    // In the window, but not the next byte: a challenge ACK may follow.
    established().step(&Step("< R 100", "ESTABLISHED ASSURED", 10));
    // The end of a train of data.
    established().steps(&[Step("< PA 1 1 20", "ESTABLISHED ASSURED", 300), Step("< RA 21 1", "CLOSE ASSURED", 10)]);
    // Any reset will do for a connection that is closing.
    established().steps(&[Step("> FA 1 1", "FIN_WAIT ASSURED", 120), Step("< R 1000000", "CLOSE ASSURED", 10)]);
}

#[test]
fn a_port_is_used_again() {
    let closed = || {
        let mut t = established();
        t.steps(&[
            Step("> FA 1 1", "FIN_WAIT ASSURED", 120),
            Step("< FA 1 2", "LAST_ACK ASSURED", 30),
            Step("> A 2 2", "TIME_WAIT ASSURED", 120),
        ]);
        t
    };
    let mut t = closed();
    t.r.events();
    t.step(&Step("> S 50000", "SYN_SENT", 120));
    let kinds: Vec<_> = t.r.events().iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [Kind::Destroy, Kind::New]);
    assert_eq!(t.r.ct.count(), 1);
    // After a reset by the same side as well.
    let mut t = established();
    t.steps(&[Step("> R 1", "CLOSE ASSURED", 10), Step("> S 50000", "SYN_SENT", 120)]);
    // Not after one by the other side: the SYN is let through, and believed when it is answered.
    let mut t = established();
    t.steps(&[
        Step("< R 1", "CLOSE ASSURED", 10),
        Step("> S 50000", "CLOSE ASSURED", 10),
        Step("< SA 70000 50001", "SYN_RECV ASSURED", 60),
        Step("> A 50001 70001", "ESTABLISHED ASSURED", 432_000),
    ]);
}

#[test]
fn a_syn_in_a_connection_that_we_believe_open() {
    // The client has forgotten the connection; the server sends a challenge ACK, the client a reset.
    established().steps(&[
        Step("> S 50000", "ESTABLISHED ASSURED", 432_000),
        Step("< A 1 1", "ESTABLISHED ASSURED", 432_000),
        Step("> R 1", "CLOSE ASSURED", 10),
    ]);
    // The server has forgotten it, too.
    established().steps(&[
        Step("> S 50000", "ESTABLISHED ASSURED", 432_000),
        Step("< SA 70000 50001", "SYN_RECV ASSURED", 60),
        Step("> A 50001 70001", "ESTABLISHED ASSURED", 432_000),
    ]);
    // In LAST_ACK the challenge ACK is not one of the FIN.
    established().steps(&[
        Step("> FA 1 1", "FIN_WAIT ASSURED", 120),
        Step("< FA 1 2", "LAST_ACK ASSURED", 30),
        Step("> S 50000", "LAST_ACK ASSURED", 30),
        Step("< A 2 2", "LAST_ACK ASSURED", 30),
    ]);
}

#[test]
fn simultaneous_open() {
    let mut t = Talk::new();
    t.steps(&[
        Step("> S 0", "SYN_SENT", 120),
        Step("< S 0", "SYN_SENT2", 120),
        Step("> SA 0 1", "SYN_RECV", 60),
        Step("< A 1 1", "ESTABLISHED ASSURED", 432_000),
    ]);
}

#[test]
fn an_ack_for_a_syn_passes() {
    let mut t = Talk::new();
    t.steps(&[Step("> S 0", "SYN_SENT", 120), Step("< A 5 7", "SYN_SENT", 120)]);
    assert_eq!(t.r.list()[0].tcp, Some(TcpState::SynSent));
    let p = t.segment("< A 5 7");
    assert_eq!(t.r.classify(&p), Some(CtInfo::EstablishedReply));
}

/// Random segments through Linux 6.18, with what `conntrack -L` showed after each: `DIR FLAGS SEQ ACK LEN WINDOW =
/// STATE [ASSURED] SECONDS`. Sequence numbers count from 1000 and 9000. The seconds are right within one.
#[test]
fn random_segments_as_linux_judges_them() {
    let mut t = Talk::new();
    let mut before = String::new();
    for (no, line) in include_str!("testdata/linux-6.18.txt").lines().enumerate() {
        if line == "flow" {
            (t, before) = (Talk::new(), String::new());
            continue;
        }
        let (text, want) = line.split_once(" = ").unwrap();
        t.win = text.rsplit(' ').next().unwrap().parse().unwrap();
        let p = t.segment(text);
        t.r.classify(&p);
        let list = t.r.list();
        // A flow that begins anew from the other end is another flow.
        let entry = list.iter().find(|i| i.tuple[0].dport == 80);
        let got = entry.map_or("gone".to_owned(), |i| {
            let assured = if i.status.has(Status::ASSURED) { " ASSURED" } else { "" };
            format!("{}{assured}", i.tcp.unwrap().name())
        });
        let (state, seconds) = want.rsplit_once(' ').unwrap();
        before += &format!("{line}\n");
        assert_eq!(got, state, "line {}, after\n{before}", no + 1);
        let left = entry.map_or(0, |i| i.timeout_s);
        assert!(left.abs_diff(seconds.parse().unwrap()) <= 1, "line {}: {left}, after\n{before}", no + 1);
    }
}
