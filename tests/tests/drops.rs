//! Queues and tables that are full: who loses a packet, and that the trace names the reason.

use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, Options, SourceFile};

/// A router between two hosts; `b` answers on port 7.
const HOSTS: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: full}
spec:
  namespaces:
    r:
      setup:
        - sysctl -w net.ipv4.ip_forward=1
        - ip link add to-a type veth peer name eth0 netns a
        - ip link set to-a up
        - ip addr add 10.0.1.1/24 brd + dev to-a
        - ip link add to-b type veth peer name eth0 netns b
        - ip link set to-b up
        - ip addr add 10.0.2.1/24 brd + dev to-b
    a: {setup: [ip link set eth0 up, ip addr add 10.0.1.2/24 brd + dev eth0, ip route add default via 10.0.1.1]}
    b:
      setup: [ip link set eth0 up, ip addr add 10.0.2.2/24 brd + dev eth0, ip route add default via 10.0.2.1]
      servers: [udpecho 7]
  traffic:
"#;

struct Run {
    report: Report,
    /// The drops of trace.jsonl: namespace and reason.
    drops: Vec<(String, String)>,
    /// What the packets' journeys tell of their drops.
    told: Vec<String>,
}

fn run(traffic: &str) -> Run {
    let lines = traffic.trim().lines().map(|l| format!("    {}\n", l.trim()));
    let source = SourceFile::new("inline", lines.fold(HOSTS.to_owned(), |text, l| text + &l));
    let plan = scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut memory = Memory::default();
    let options = Options { outputs: Outputs { trace: true, ..Outputs::NONE }, journeys: 100_000, prelude: 0 };
    let report = scenario::run(&plan, &mut memory, options, &mut ()).expect("it runs");
    let trace = String::from_utf8(memory.files["trace.jsonl"].clone()).expect("text");
    let drop = |line: &str| {
        let step: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let text = |key: &str| step[key].as_str().map(str::to_owned);
        Some((text("namespace")?, text("reason")?))
    };
    let drops = trace.lines().filter_map(drop).collect();
    let journeys = report.journeys.as_ref().expect("journeys were asked for");
    let entries = journeys.iter().flat_map(|(_, j)| &j.entries);
    let told = entries.filter_map(|e| match &e.text {
        sim_core::observe::story::Text::Note(note) if note.starts_with("dropped") => Some(note.clone()),
        _ => None,
    });
    let told = told.collect();
    Run { report, drops, told }
}

fn of(namespace: &str, reason: &str, times: usize) -> Vec<(String, String)> {
    vec![(namespace.to_owned(), reason.to_owned()); times]
}

/// Nobody reads: a buffer of 4096 bytes, doubled by the kernel, holds three datagrams of 1472 bytes.
#[test]
fn a_full_receive_queue() {
    let run = run(r#"
        - {from: b, background: true, script: [{socket: udp}, {setsockopt: [socket, rcvbuf, 4096]},
           {bind: "0.0.0.0:9"}, {sleep: 2s}]}
        - {from: a, at: 100ms, script: [{socket: udp}, {connect: "10.0.2.2:9"},
           {repeat: 5, do: [{send: {size: 1472}}, {sleep: 10ms}]}]}"#);
    assert_eq!(run.drops, of("b", "SOCKET_RCVBUFF", 2));
    assert_eq!(run.told[0], "dropped: SOCKET_RCVBUFF: A socket's receive buffer is full.");
    // What comes wakes nobody who sleeps, nor does it make the sleep begin anew.
    let sleeper = &run.report.commands[0];
    let slept_ms = (sleeper.ended.expect("it ends").0 - sleeper.started.0) / 1_000_000;
    assert!((2_000..2_010).contains(&slept_ms), "{slept_ms} ms");
}

/// As many as unres_qlen_bytes may wait for one neighbour; a newer one pushes the oldest out. Nobody answers, so that
/// the others are lost, too, three seconds later.
#[test]
fn a_full_neighbour_queue() {
    let run = run(r#"
        - {from: r, run: "sysctl -w net.ipv4.neigh.to-b.unres_qlen_bytes=5000"}
        - {from: a, script: [{socket: udp}, {connect: "10.0.2.77:9"},
           {repeat: 5, do: [{send: {size: 1000}}, {sleep: 10ms}]}]}
        - {sleep: 4s}"#);
    let full = run.drops.iter().filter(|d| d.1 == "NEIGH_QUEUEFULL").count();
    let failed = run.drops.iter().filter(|d| d.1 == "NEIGH_FAILED").count();
    assert_eq!((full, failed), (3, 2), "{:?}", run.drops);
    assert!(run.drops.starts_with(&of("r", "NEIGH_QUEUEFULL", 3)));
    assert_eq!(run.told[0], "dropped: NEIGH_QUEUEFULL: The neighbour's wait queue is full: the oldest goes.");
}

/// Two connections fit. Both have seen answers for more than two seconds, so that neither is given up for a third.
#[test]
fn a_full_table_of_connections() {
    let run = run(r#"
        - {from: r, run: "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"}
        - {from: r, run: "sysctl -w net.netfilter.nf_conntrack_max=2"}
        - {from: a, script: [{socket: udp}, {bind: "0.0.0.0:101"}, {connect: "10.0.2.2:7"},
           {repeat: 4, do: [{send: {size: 8}}, {recv: {timeout: 1s}}, {sleep: 1s}]}]}
        - {from: a, script: [{socket: udp}, {bind: "0.0.0.0:102"}, {connect: "10.0.2.2:7"},
           {repeat: 4, do: [{send: {size: 8}}, {recv: {timeout: 1s}}, {sleep: 1s}]}]}
        - {from: r, run: "conntrack -L"}
        - {from: a, script: [{socket: udp}, {bind: "0.0.0.0:103"}, {connect: "10.0.2.2:7"},
           {send: {size: 8}}, {recv: {timeout: 1s}}]}
        - {from: a, script: [{socket: udp}, {bind: "0.0.0.0:101"}, {connect: "10.0.2.2:7"},
           {send: {size: 8}}, {recv: {timeout: 1s}}]}
        - {from: r, run: "conntrack -S"}"#);
    let printed = |n: usize| run.report.commands[n].output.as_str();
    assert_eq!(printed(4).matches("[ASSURED]").count(), 2, "{}", printed(4));
    assert_eq!(printed(5), "recv: timed out\n");
    assert_eq!(printed(6), "recv: 8 bytes from 10.0.2.2:7\n", "a connection that is known goes on");
    assert!(printed(7).contains(" drop=1 early_drop=0 "), "{}", printed(7));
    assert_eq!(run.drops, of("r", "NF_CONNTRACK_TABLE_FULL", 1));
    assert!(run.told[0].starts_with("dropped: NF_CONNTRACK_TABLE_FULL: The table of connections is full."));
}

/// Connections without an answer are given up for a new one, all that share one of eight buckets with it.
#[test]
fn early_drop() {
    let send = |port: u16| {
        let calls = format!(r#"{{socket: udp}}, {{bind: "0.0.0.0:{port}"}}, {{send: {{size: 8, to: "10.0.2.2:9"}}}}"#);
        format!("- {{from: a, script: [{calls}]}}")
    };
    let rule = r#"- {from: r, run: "iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP"}"#;
    let few = r#"- {from: r, run: "sysctl -w net.netfilter.nf_conntrack_max=4 net.netfilter.nf_conntrack_buckets=8"}"#;
    let many: Vec<String> = (1000..1010).map(send).collect();
    let stats = r#"- {from: r, run: "conntrack -S"}"#;
    let run = run(&format!("{rule}\n{few}\n{}\n{stats}", many.join("\n")));
    assert_eq!(run.drops.iter().filter(|d| d.1 == "NF_CONNTRACK_TABLE_FULL").count(), 0, "{:?}", run.drops);
    let last = run.report.commands.last().expect("a command");
    assert!(last.output.contains(" drop=0 ") && !last.output.contains(" early_drop=0 "), "{}", last.output);
}
