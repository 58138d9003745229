//! Istio: what istio-init writes, articles 000 and 004, and what its lessons' expectations cannot say.

use podhop_tests::scenarios::{self, root};
use sim_core::base::Time;
use sim_core::base::time::{MS, SEC};
use sim_core::cluster::istio::Version;
use sim_core::cluster::istio::rules::Arguments;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save::Options as Save;
use sim_core::kernel::netfilter::{Backend, Iptables};
use sim_core::observe::{Memory, Nowhere, Outputs};
use sim_core::scenario::{self, Disk, Options, Plan, Replay, exec};
use smoltcp::wire::{EthernetFrame, EthernetProtocol, Ipv4Packet, TcpPacket};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 10, 89);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 4, 224);

fn golden(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/iptables").join(name)).expect("a golden")
}

/// The rules are those that a real kernel was given, line by line, and print back as it printed them.
#[test]
fn rules_of_istio_init() {
    let rules = Arguments::new(Version::V1_13).rules();
    // The lab declared the chains as iptables-save does; istio-init makes them.
    let declared = |line: &str| match line.strip_prefix("-N ") {
        Some(chain) => format!(":{chain} - [0:0]\n"),
        None => format!("{}\n", line.replace("* nat", "*nat")),
    };
    assert_eq!(rules.lines().map(declared).collect::<String>(), golden("istio.restore"));
    for backend in [Backend::Legacy, Backend::Nft] {
        let mut iptables = Iptables::new(backend);
        let restore = Restore { noflush: true, text: rules.clone(), ..Restore::default() };
        iptables.restore(&restore).expect("it loads");
        assert_eq!(
            iptables.save(Save::default()).expect("no table was asked for"),
            golden("istio.save"),
            "{backend:?}"
        );
    }
}

/// A lesson's captures by their paths, and whether each command succeeded.
fn lesson(name: &str) -> (Memory, Vec<Option<i32>>) {
    let mut files = Memory::default();
    let report = scenarios::run(Path::new(&format!("scenarios/articles/{name}/scenario.yaml")), &mut files);
    (files, report.commands.iter().map(|c| c.exit).collect())
}

/// A segment of a capture.
struct Segment {
    at_ms: u64,
    from: SocketAddrV4,
    to: SocketAddrV4,
    syn: bool,
    data: Vec<u8>,
}

fn segments(files: &Memory, path: &str) -> Vec<Segment> {
    let bytes = files.files.get(&format!("captures/{path}.pcap")).unwrap_or_else(|| panic!("no {path}"));
    let (_, records) = scenarios::records(bytes);
    // Captures begin at a full second.
    let start = records.first().map_or(0, |(at, _)| at / SEC * SEC);
    records.into_iter().filter_map(|(at, frame)| segment(frame, (at - start) / MS)).collect()
}

fn segment(frame: &[u8], at_ms: u64) -> Option<Segment> {
    let ip = Ipv4Packet::new_checked(EthernetFrame::new_checked(frame).ok()?.payload()).ok()?;
    let tcp =
        TcpPacket::new_checked(ip.payload()).ok().filter(|_| ip.next_header() == smoltcp::wire::IpProtocol::Tcp)?;
    Some(Segment {
        at_ms,
        from: SocketAddrV4::new(ip.src_addr(), tcp.src_port()),
        to: SocketAddrV4::new(ip.dst_addr(), tcp.dst_port()),
        syn: tcp.syn() && !tcp.ack(),
        data: tcp.payload().to_vec(),
    })
}

/// The types of the TLS records of each of a connection's two streams. Nothing is lost on these links.
fn records(segments: &[Segment]) -> BTreeMap<SocketAddrV4, Vec<u8>> {
    let mut streams: BTreeMap<SocketAddrV4, Vec<u8>> = BTreeMap::new();
    for s in segments {
        streams.entry(s.from).or_default().extend(&s.data);
    }
    let types = |stream: Vec<u8>| {
        let (mut types, mut rest) = (vec![], &stream[..]);
        while let [kind, 3, _, high, low, ..] = *rest {
            types.push(kind);
            rest = &rest[5 + (usize::from(high) << 8 | usize::from(low))..];
        }
        assert!(rest.is_empty(), "not all is TLS");
        types
    };
    streams.into_iter().map(|(from, stream)| (from, types(stream))).collect()
}

/// "We see many more data packets": those of the handshake come before the request, and all of it is TLS.
#[test]
fn more_packets_than_the_plain_request() {
    let (plain, _) = lesson("kubenet-service");
    let (mesh, exits) = lesson("istio-one-request");
    assert_eq!(exits, [Some(0)]);
    let server = SocketAddrV4::new(SERVER, 80);
    let between = |s: &Segment| [s.from, s.to].contains(&server);
    let of = |files| segments(files, "nodes/node-1/eth0").into_iter().filter(between).collect::<Vec<_>>();
    let (plain, mesh) = (of(&plain), of(&mesh));
    let with_data = |all: &[Segment]| all.iter().filter(|s| !s.data.is_empty()).count();
    assert_eq!((plain.len(), with_data(&plain)), (10, 2));
    assert_eq!((mesh.len(), with_data(&mesh)), (13, 6));
    // BoringSSL puts messages that are encrypted alike into one record. A hello is 22, a change of ciphers 20, all else
    // 23: the other messages of the handshake, then the request; the server's, then both tickets, then the answer.
    let records = records(&mesh);
    assert_eq!(records[&server], [22, 20, 23, 23, 23]);
    let clients: Vec<_> = records.iter().filter(|(from, _)| **from != server).map(|(_, types)| types).collect();
    assert_eq!(clients, [&[22, 20, 23, 23]]);
    // The TLS records outnumber the plain run's packets with data.
    assert!(records.values().map(Vec::len).sum::<usize>() > with_data(&plain));
    // The tickets wait for the first write, so they come with the answer, after the request.
    let last = mesh.iter().rposition(|s| s.to == server && !s.data.is_empty()).expect("the request");
    let said = |s: &&Segment| s.from == server && !s.data.is_empty();
    assert_eq!((mesh[..last].iter().filter(said).count(), mesh[last..].iter().filter(said).count()), (1, 2));
}

/// All packets of the plain run that the pod shows, and all records of TLS of this one: those between the proxies, and
/// those between the client's and istiod.
#[test]
fn more_records_than_packets_of_the_plain_run() {
    let eth0 = "pods/default/ubuntu/eth0";
    let (plain, mesh) = (lesson("kubenet-service").0, lesson("istio-one-request").0);
    let plain = scenarios::records(&plain.files[&format!("captures/{eth0}.pcap")]).1;
    let is_ip = |frame: &[u8]| EthernetFrame::new_unchecked(frame).ethertype() == EthernetProtocol::Ipv4;
    assert_eq!(plain.iter().filter(|(_, frame)| is_ip(frame)).count(), 14);
    let mut mesh = segments(&mesh, eth0);
    mesh.retain(|s| [s.from.port(), s.to.port()].iter().any(|port| [80, 15012].contains(port)));
    assert_eq!(records(&mesh).values().map(Vec::len).sum::<usize>(), 19);
}

/// The tuples of article 000's last capture: which interface of the pod shows which ends.
#[test]
fn tuples_inside_the_pods() {
    let (files, _) = lesson("istio-inside-pod");
    let tuples = |path: &str| -> BTreeSet<(Ipv4Addr, u16, Ipv4Addr, u16)> {
        let known = |port: u16| if port == 80 || (15000..15100).contains(&port) { port } else { 0 };
        let tuple = |s: Segment| (*s.from.ip(), known(s.from.port()), *s.to.ip(), known(s.to.port()));
        let http = |t: &(Ipv4Addr, u16, Ipv4Addr, u16)| [t.1, t.3].iter().any(|port| [80, 15001, 15006].contains(port));
        segments(&files, path).into_iter().map(tuple).filter(http).collect()
    };
    let (service, lo) = (Ipv4Addr::new(10, 0, 185, 118), Ipv4Addr::LOCALHOST);
    let both = |a: (Ipv4Addr, u16), b: (Ipv4Addr, u16)| [(a.0, a.1, b.0, b.1), (b.0, b.1, a.0, a.1)].into();
    let client = tuples("pods/default/ubuntu/lo");
    assert_eq!(client, [(CLIENT, 0, lo, 15001), (service, 80, CLIENT, 0)].into());
    assert_eq!(tuples("pods/default/ubuntu/eth0"), both((CLIENT, 0), (SERVER, 80)));
    let web = "pods/default/nginx-6799fc88d8-4xkzq";
    assert_eq!(tuples(&format!("{web}/eth0")), both((CLIENT, 0), (SERVER, 80)));
    assert_eq!(tuples(&format!("{web}/lo")), both((Ipv4Addr::new(127, 0, 0, 6), 0), (SERVER, 80)));
}

/// Sixty requests: all are answered, by all pods, over a few connections. When a pod goes, others have its share.
/// With TPROXY both connections of the pod have the client's address and none is translated; lo has what the proxy and
/// its pod's program say, and eth0 nothing of it.
#[test]
fn tuples_inside_a_pod_with_tproxy() {
    let (files, _) = lesson("istio-tproxy");
    let server = SocketAddrV4::new(Ipv4Addr::new(10, 244, 4, 225), 80);
    let clients = |path: &str| -> BTreeSet<SocketAddrV4> {
        let http = segments(&files, path).into_iter().filter(|s| [s.from, s.to].contains(&server));
        http.map(|s| if s.from == server { s.to } else { s.from }).collect()
    };
    let (outside, inside) = (clients("pods/default/tproxy/eth0"), clients("pods/default/tproxy/lo"));
    assert_eq!((outside.len(), inside.len()), (1, 1), "{outside:?} {inside:?}");
    assert!(outside.iter().chain(&inside).all(|client| *client.ip() == CLIENT));
    assert!(outside.is_disjoint(&inside), "{outside:?} {inside:?}");
}

#[test]
fn a_pod_goes_and_nobody_notices() {
    let (files, exits) = lesson("istio-many-requests");
    assert_eq!(exits, vec![Some(0); 60]);
    let sent: Vec<Segment> = segments(&files, "pods/default/ubuntu/eth0")
        .into_iter()
        .filter(|s| *s.from.ip() == CLIENT && s.to.port() == 80)
        .collect();
    let connections = sent.iter().filter(|s| s.syn).count();
    assert!((3..=8).contains(&connections), "{connections}");
    let to = |last: u8, third: u8, from_ms: u64, to_ms: u64| {
        let ip = Ipv4Addr::new(10, 244, third, last);
        sent.iter().filter(|s| *s.to.ip() == ip && !s.data.is_empty() && (from_ms..to_ms).contains(&s.at_ms)).count()
    };
    for (last, third) in [(224, 4), (225, 4), (90, 10)] {
        assert!(to(last, third, 0, 30_000) >= 5, "{third}.{last} has its share");
    }
    assert_eq!(to(225, 4, 31_500, 61_000), 0, "the update has come");
    assert!(to(224, 4, 31_500, 61_000) >= 10 && to(90, 10, 31_500, 61_000) >= 10);
    // istiod has told both proxies that are left, in its own connections.
    let told = segments(&files, "pods/default/ubuntu/eth0");
    let told: Vec<&Segment> = told.iter().filter(|s| s.from.port() == 15012 && !s.data.is_empty()).collect();
    assert!(
        told.iter().any(|s| (30_610..30_700).contains(&s.at_ms)),
        "{:?}",
        told.iter().map(|s| s.at_ms).collect::<Vec<_>>()
    );
}

fn plan(name: &str) -> Plan {
    let path = root().join("scenarios/articles").join(name).join("scenario.yaml");
    scenario::load(&Disk, &path, None).unwrap_or_else(|e| panic!("{}", e.render(false))).1
}

/// What a command says at a time.
fn say(plan: &Plan, command: &str, at_ms: u64) -> (String, Option<i32>) {
    let what =
        exec::resolve(plan, "node-1", &[command.to_owned()], &[]).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let quiet = Options { outputs: Outputs::NONE, ..Options::default() };
    let (mut nowhere, mut nobody) = (Nowhere, ());
    let mut replay = Replay::new(plan, &mut nowhere, quiet, &mut nobody).expect("it is set up");
    let done = exec::look(replay.at(Time(at_ms * MS)), &what, Time(at_ms * MS));
    (done.output, done.exit)
}

#[test]
fn what_istio_init_prints() {
    let plan = plan("istio-one-request");
    let (log, exit) = say(&plan, "kubectl logs ubuntu -c istio-init", 3_000);
    assert_eq!(exit, Some(0));
    let rules = Arguments::new(Version::V1_13).rules();
    assert!(
        log.contains(&format!("rules file: /tmp/iptables-rules.txt\n{rules}2022-06-01T10:00:00.000000Z\tinfo\t")),
        "{log}"
    );
    let saved = format!("\tinfo\tRunning command: iptables-save\n{}", golden("istio.save"));
    assert!(log.ends_with(&saved), "{log}");
    let nobody = ("Error from server (NotFound): pods \"ubunto\" not found\n".to_owned(), Some(1));
    assert_eq!(say(&plan, "kubectl logs ubunto -c istio-init", 3_000), nobody);
    let no_init = "error: container istio-init is not valid for pod coredns-845757d86-7xcqs\n".to_owned();
    assert_eq!(
        say(&plan, "kubectl logs -n kube-system coredns-845757d86-7xcqs -c istio-init", 3_000),
        (no_init, Some(1))
    );
}

/// The table before the pod goes, and after the update.
#[test]
fn what_a_proxy_knows_of_endpoints() {
    let plan = plan("istio-many-requests");
    let rows = |at_ms| {
        let (table, exit) = say(&plan, "istioctl proxy-config endpoints ubuntu.default", at_ms);
        assert_eq!(exit, Some(0), "{table}");
        let head = "ENDPOINT                         STATUS      OUTLIER CHECK     CLUSTER\n";
        assert!(table.starts_with(head), "{table}");
        table
            .lines()
            .filter(|l| l.ends_with("outbound|80||nginx.default.svc.cluster.local"))
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let row = |endpoint: &str| {
        format!("{endpoint:33}HEALTHY     OK                outbound|80||nginx.default.svc.cluster.local")
    };
    let all = ["10.244.10.90:80", "10.244.4.224:80", "10.244.4.225:80"].map(row);
    assert_eq!(rows(30_000), all);
    // The pod is deleted at 30.5 s: a watch, and the time in which nothing more must change.
    assert_eq!(rows(30_600), all);
    assert_eq!(rows(30_800), [all[0].clone(), all[1].clone()]);
}
