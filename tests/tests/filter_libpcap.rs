//! Capture filters against libpcap: the same expressions are errors, and the same packets match.
//!
//! `oracles/pcap_verdicts.c` asks libpcap. What may differ is listed in the documentation of
//! `sim_core::observe::filter`; the generator here leaves out the words and names that only libpcap knows.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use sim_core::observe::filter::{Filter, LinkType};

const RANDOM_EXPRESSIONS: usize = 1500;
const RANDOM_TOKENS: usize = 2500;
const RANDOM_PACKETS: usize = 120;

/// libpcap finds this out of contradictions too, where the filter under test accepts and then matches nothing.
const CONTRADICTION: &str = "expression rejects all packets";
const CONTRADICTION_HERE: &str = "the filter rejects all packets";

#[test]
fn ethernet() {
    agree(LinkType::Ethernet);
}

#[test]
fn any() {
    agree(LinkType::LinuxSll2);
}

#[test]
fn raw_ip() {
    agree(LinkType::Raw);
}

fn agree(link: LinkType) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let Some(oracle) = build_oracle(dir.path()) else {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "skipped: needs cc and libpcap-dev");
        eprintln!("skipped: needs cc and libpcap-dev");
        return;
    };
    let mut disagreements = Vec::new();
    let mut pairs = 0;
    for round in 0..rounds() {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (link as u64) ^ round << 32);
        let packets = packets(link, &mut random);
        let lines = EXPRESSIONS.lines().filter(|line| !line.starts_with('#'));
        let mut expressions: Vec<String> = lines.map(str::to_owned).collect();
        expressions.extend(grid());
        expressions.extend((0..RANDOM_EXPRESSIONS).map(|_| expression(&mut random, 3)));
        expressions.extend((0..RANDOM_EXPRESSIONS).map(|_| in_tunnel(&mut random)));
        expressions.extend((0..RANDOM_TOKENS).map(|_| token_soup(&mut random)));
        let answers = ask(&oracle, link, &packets, &expressions);
        assert_eq!(answers.len(), expressions.len(), "libpcap answers every question");
        for (expr, answer) in expressions.iter().zip(&answers) {
            if answer.starts_with("ok") {
                pairs += packets.len();
            }
            if let Some(disagreement) = judge(expr, link, &packets, answer) {
                disagreements.push(format!("{link:?} `{expr}`: {disagreement}"));
            }
        }
    }
    let count = disagreements.len();
    disagreements.truncate(50);
    assert!(count == 0, "{count} disagreements:\n{}", disagreements.join("\n"));
    assert!(pairs > 100_000, "{pairs} verdicts");
}

/// How often all of this is done, each time with other random cases.
fn rounds() -> u64 {
    std::env::var("PODHOP_FILTER_ROUNDS").map_or(1, |n| n.parse().expect("PODHOP_FILTER_ROUNDS is a number"))
}

fn build_oracle(dir: &Path) -> Option<std::path::PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("oracles/pcap_verdicts.c");
    let oracle = dir.join("pcap_verdicts");
    let compiled = Command::new("cc").arg("-O1").arg("-o").arg(&oracle).arg(source).arg("-lpcap").output().ok()?;
    compiled.status.success().then_some(oracle)
}

struct Packet {
    bytes: Vec<u8>,
    wire_len: u32,
}

fn ask(oracle: &Path, link: LinkType, packets: &[Packet], expressions: &[String]) -> Vec<String> {
    let mut questions = format!("L {}\n", link as u64);
    for packet in packets {
        write!(questions, "P {} ", packet.wire_len).expect("a string takes everything");
        for byte in &packet.bytes {
            write!(questions, "{byte:02x}").expect("a string takes everything");
        }
        questions.push('\n');
    }
    for expr in expressions {
        writeln!(questions, "F {expr}").expect("a string takes everything");
    }
    let mut child = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the oracle was compiled for this machine");
    let mut stdin = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(questions.as_bytes()));
    let output = child.wait_with_output().expect("the oracle ends with its input");
    writer.join().expect("the writer does not panic").expect("the oracle reads all of its input");
    assert!(output.status.success(), "the oracle: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

/// What `answer` and the filter under test do not agree on.
fn judge(expr: &str, link: LinkType, packets: &[Packet], answer: &str) -> Option<String> {
    let ours = Filter::compile(expr, link);
    let verdicts = |filter: &Filter| -> Vec<bool> {
        packets.iter().map(|packet| filter.matches(&packet.bytes, packet.wire_len)).collect()
    };
    match (answer.split_once(' ').expect("an answer has two words"), ours) {
        (("error", _), Err(_)) => None,
        (("error", CONTRADICTION), Ok(filter)) => {
            verdicts(&filter).contains(&true).then(|| format!("matches something, but libpcap: {CONTRADICTION}"))
        }
        (("error", message), Ok(_)) => Some(format!("compiles, but libpcap: {message}")),
        // What is false by itself does not reach the code behind it, which keeps libpcap from seeing that.
        ((_, theirs), Err(error)) if error.message == CONTRADICTION_HERE && !theirs.contains('1') => None,
        (_, Err(error)) => Some(format!("compiles in libpcap, but here: {error}")),
        ((_, theirs), Ok(filter)) => {
            let (optimised, plain) = theirs.split_once(' ').expect("verdicts of two programs");
            let theirs = optimised.bytes().zip(plain.bytes());
            let differs = |(ours, (optimised, plain)): (&bool, (u8, u8))| {
                let ours = if *ours { b'1' } else { b'0' };
                // Where the optimiser changes the verdict, both count.
                ours != optimised && ours != plain
            };
            let at = verdicts(&filter).iter().zip(theirs).position(differs)?;
            let packet: String = packets[at].bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            Some(format!("libpcap says {}, packet {packet}, program\n{filter}", &optimised[at..=at]))
        }
    }
}

/// xorshift64: the same cases on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).expect("31 bits") % end
    }

    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }
}

/// Expressions that users write, and those at the edges of the language.
const EXPRESSIONS: &str = include_str!("filter_libpcap/expressions.txt");

const PROTOS: &[&str] = &[
    "", "ether", "link", "ip", "ip6", "arp", "rarp", "tcp", "udp", "sctp", "icmp", "icmp6", "igmp", "igrp", "pim",
    "vrrp", "carp", "ah", "esp", "atalk", "aarp", "decnet", "lat", "sca", "mopdl", "moprc", "iso", "clnp", "esis",
    "isis", "stp", "ipx", "netbeui", "l1", "l2", "iih", "lsp", "snp", "csnp", "psnp",
];
const DIRECTIONS: &[&str] = &["", "src", "dst", "src or dst", "src and dst", "dst or src"];
const KINDS: &[&str] = &["", "host", "net", "port", "portrange", "proto", "protochain"];
const IDS: &[&str] = &[
    "80",
    "6",
    "17",
    "10",
    "0x800",
    "443",
    "53",
    "10.244.1.2",
    "10.244.2.3",
    "10.244",
    "10.244.1",
    "10.244.0.0/16",
    "10.244.1.0/24",
    "10.0/8",
    "0.0.0.0/0",
    "10.244.0.0 mask 255.255.0.0",
    "02:42:0a:f4:01:02",
    "ff:ff:ff:ff:ff:ff",
    "70000",
    "10.244.1.2/16",
    "fd00::1",
    "ff02::1",
    "::",
    "fd00::/8",
    "fd00::/33",
    "fd00::1/64",
    "::/0",
    "fd00:0:0:0:0:0:0:1/128",
    "1.2",
];
/// Names, which libpcap looks up in the DNS wherever an address may stand.
const NAMES: &[&str] =
    &["http", "domain", "ntp", "syslog", "ssh-telnet", "80-90", "1-65535", "\\tcp", "\\udp", "\\ip", "\\arp"];

/// Every combination of qualifiers with one identifier of each kind, and every protocol alone and with an accessor.
fn grid() -> Vec<String> {
    const ADDRESSES: &[&str] = &["80", "10.244.1.2", "10.244.0.0/16", "02:42:0a:f4:01:02", "fd00::1", "ff00::/8"];
    let mut all = Vec::new();
    for proto in PROTOS {
        for kind in KINDS {
            let ids = [ADDRESSES, if takes_names(kind) { NAMES } else { &[] }].concat();
            for direction in DIRECTIONS {
                all.extend(ids.iter().map(|id| format!("{proto} {direction} {kind} {id}")));
            }
        }
        all.extend(
            ["", "[0] = 69", "[1:2] != 80", "[len & 15:4] > 3", " broadcast", " multicast"]
                .map(|rest| format!("{proto}{rest}")),
        );
    }
    all
}

fn takes_names(kind: &str) -> bool {
    matches!(kind, "port" | "portrange" | "proto" | "protochain")
}

fn expression(random: &mut Random, depth: usize) -> String {
    let deeper = depth.saturating_sub(1);
    match random.below(if depth == 0 { 7 } else { 13 }) {
        0 => random.of(&PROTOS[1..]).to_owned(),
        1 | 2 => {
            let (proto, direction) =
                (random.of(&["", "", "", "ip", "arp", "tcp", "udp", "ether", "decnet"]), random.of(DIRECTIONS));
            let kind = random.of(KINDS);
            let ids = if takes_names(kind) && random.below(2) == 0 { NAMES } else { IDS };
            let id = random.of(ids);
            format!("{proto} {direction} {kind} {id}")
        }
        3 => format!("port {}", random.of(&["80", "443", "53", "http", "domain", "8472"])),
        4 | 5 => {
            let comparison = random.of(&["=", "==", "!=", "<", "<=", ">", ">="]);
            format!("{} {comparison} {}", arithmetic(random, 2), arithmetic(random, 1))
        }
        6 => {
            let word =
                random.of(&["vlan", "vlan", "mpls", "pppoes", "pppoed", "inbound", "outbound", "ifindex", "llc"]);
            let number = random.of(&["", "", "2", "5", "6", "7", "(7)", "100", "101", "ui", "rnr", "s", "i"]);
            format!("{word} {number}")
        }
        7 | 8 => format!("{} and {}", expression(random, deeper), expression(random, deeper)),
        9 | 10 => format!("{} or {}", expression(random, deeper), expression(random, deeper)),
        11 => format!("not {}", expression(random, deeper)),
        _ => match random.below(3) {
            0 => format!("{} {} {}", expression(random, deeper), random.of(&["or", "and", "or not"]), random.of(IDS)),
            _ => format!("({})", expression(random, deeper)),
        },
    }
}

/// What a tunnel carries, or one in a tunnel. Where the packet is in none, nobody asks: libpcap's answer is by chance.
fn in_tunnel(random: &mut Random) -> String {
    let mut all = String::new();
    while random.below(4) == 0 {
        all += random.of(&["vlan and ", "mpls and ", "pppoes and ", "vlan 5 and ", "ip and ", "ip[0] & 0xf > 5 and "]);
    }
    for _ in 0..=random.below(6) / 4 {
        all += random.of(&["geneve and ", "geneve 5 and ", "geneve 6 and ", "geneve (5) and "]);
        if random.below(4) == 0 {
            all += random.of(&["vlan and ", "mpls 100 and ", "pppoes and ", "ip[0] & 0xf = len and "]);
        }
    }
    // The optimiser does not see all of the computed constants there that are no operands of these.
    let computes = |text: &str| [" % ", " / ", " << ", " >> "].iter().any(|op| text.contains(op));
    let inside = std::iter::repeat_with(|| expression(random, 2)).find(|text| !computes(text));
    format!("{all}({})", inside.expect("most are none"))
}

fn arithmetic(random: &mut Random, depth: usize) -> String {
    let deeper = depth.saturating_sub(1);
    match random.below(if depth == 0 { 4 } else { 8 }) {
        0 | 1 => random.of(&["1", "2", "6", "17", "0x45", "64", "0xff", "tcp-syn", "icmp-echo", "0x0a"]).to_owned(),
        2 => "len".to_owned(),
        3 => {
            let offset = random.of(&["0", "2", "9", "12", "13", "tcpflags", "icmptype", "20", "60"]);
            format!("{}[{offset}{}]", random.of(&PROTOS[1..]), random.of(&["", "", ":1", ":2", ":4"]))
        }
        4 => format!("{}[{}]", random.of(&PROTOS[1..]), arithmetic(random, deeper)),
        5 => format!("- {}", arithmetic(random, deeper)),
        6 => format!("({})", arithmetic(random, deeper)),
        _ => {
            let op = random.of(&["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"]);
            let right = match op {
                // libpcap computes a constant operand of these only where its optimiser leaves the code in.
                "/" | "%" | "<<" | ">>" => random.of(&["0", "1", "4", "31", "32", "ip[8]", "(len & 3)"]).to_owned(),
                _ => arithmetic(random, deeper),
            };
            format!("{} {op} {right}", arithmetic(random, deeper))
        }
    }
}

/// Words in any order: nearly always an error, and always the same to both.
fn token_soup(random: &mut Random) -> String {
    const TOKENS: &[&str] = &[
        "tcp",
        "udp",
        "ip",
        "arp",
        "ether",
        "src",
        "dst",
        "host",
        "net",
        "port",
        "portrange",
        "proto",
        "and",
        "or",
        "not",
        "(",
        ")",
        "(",
        ")",
        "80",
        "81",
        "10.244.1.2",
        "10.244",
        "/",
        "16",
        "mask",
        "len",
        "=",
        ">",
        "+",
        "-",
        "&",
        "%",
        "[",
        "]",
        "tcp[13]",
        "ip[0]",
        ":",
        "less",
        "greater",
        "broadcast",
        "multicast",
        "proto \\tcp",
        "port http",
        "02:42:0a:f4:01:02",
        "port 80",
        "host 10.244.1.2",
        "len = 60",
        "ip proto 6",
        "and",
        "or",
    ];
    (0..=random.below(8)).map(|_| random.of(TOKENS)).collect::<Vec<_>>().join(" ")
}

const POD_1: [u8; 4] = [10, 244, 1, 2];
const POD_2: [u8; 4] = [10, 244, 2, 3];

/// Packets of all kinds, and copies of them that are cut short or have a byte changed.
fn packets(link: LinkType, random: &mut Random) -> Vec<Packet> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    for (ether_type, payload) in network_packets() {
        match link {
            LinkType::Ethernet => {
                for destination in [[2, 0x42, 10, 0xf4, 1, 2], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
                    let header = [&destination[..], &[2, 0x42, 10, 0xf4, 2, 3], &ether_type.to_be_bytes()].concat();
                    frames.push([header, payload.clone()].concat());
                }
            }
            LinkType::LinuxSll2 => {
                let mut header = ether_type.to_be_bytes().to_vec();
                let (interface, pkt_type) = ([2, 2, 3][frames.len() % 3], [0, 1, 2, 3, 4][frames.len() % 5]);
                header.extend([0, 0, 0, 0, 0, interface, 0, 1, pkt_type, 6, 2, 0x42, 10, 0xf4, 1, 2, 0, 0]);
                frames.push([header, payload].concat());
            }
            LinkType::Raw => frames.push(payload),
        }
    }
    let full = frames.len();
    for _ in 0..RANDOM_PACKETS {
        let mut frame = frames[random.below(full)].clone();
        if !frame.is_empty() && random.below(2) == 0 {
            let (at, bit) = (random.below(frame.len()), random.below(8));
            frame[at] ^= 1 << bit;
        }
        frame.truncate(random.below(120));
        frames.push(frame);
    }
    let wire_len = |bytes: &Vec<u8>, more| u32::try_from(bytes.len() + more).expect("a short packet");
    frames.into_iter().map(|bytes| Packet { wire_len: wire_len(&bytes, random.below(3) * 10), bytes }).collect()
}

/// Network layer packets with their Ethernet types.
fn network_packets() -> Vec<(u16, Vec<u8>)> {
    const IP: u16 = 0x0800;
    const IP6: u16 = 0x86dd;
    let arp = |op: u8, from: [u8; 4], to: [u8; 4]| {
        [&[0, 1, 8, 0, 6, 4, 0, op, 2, 0x42, 10, 0xf4, 1, 2][..], &from, &[0; 6], &to].concat()
    };
    let mut all = vec![
        (0x0806, arp(1, POD_1, POD_2)),
        (0x0806, arp(2, POD_2, POD_1)),
        (0x0806, arp(1, [10, 0, 0, 1], [192, 168, 0, 1])),
        (0x8035, arp(3, POD_1, POD_1)),
        (0x8100, [&[0, 5, 8, 0][..], &ip(6, 5, 0, &tcp(80, 0x02, 0))].concat()),
        (0x8137, vec![0; 40]),
        (0x809b, vec![0; 40]),
        (38, [&[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b][..], &[0; 30]].concat()),
        (38, [&[0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3][..], &[0; 30]].concat()),
        (38, [&[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37][..], &[0; 30]].concat()),
        (38, [&[0x42, 0x42, 3][..], &[0; 35]].concat()),
        (38, [&[6, 6, 3][..], &[0; 35]].concat()),
        (38, vec![0xff; 38]),
        (38, vec![0xe0; 38]),
        (38, vec![0xfe; 38]),
        (38, vec![0xf0; 38]),
        (0x9000, vec![100; 40]),
        (IP, Vec::new()),
        (IP, ip(1, 5, 0, &[8, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4])),
        (IP, ip(1, 5, 0, &[0, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4])),
        (IP, ip(1, 7, 0, &[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28])),
        (IP, ip(2, 6, 0, &[0x16, 0, 0, 0, 224, 0, 0, 1])),
        (IP, ip(47, 5, 0, &[0; 20])),
        (IP, ip(50, 5, 0, &[0; 20])),
        (IP, ip(0, 5, 0, &[0; 20])),
    ];
    all.extend(wrapped());
    all.extend(of_802_2());
    all.extend(decnet());
    all.extend(geneve());
    for (port, flags) in [(80, 0x02), (80, 0x12), (443, 0x18), (81, 0x04), (53, 0x11), (22, 0x10)] {
        all.push((IP, ip(6, 5, 0, &tcp(port, flags, 0))));
        all.push((IP, ip(6, 5, 0x4000, &tcp(port, flags, 20))));
        all.push((IP6, ip6(6, &tcp(port, flags, 12))));
    }
    for port in [53, 80, 123, 443, 8472] {
        all.push((IP, ip(17, 5, 0, &udp(port))));
        all.push((IP, ip(17, 8, 0, &udp(port))));
        all.push((IP6, ip6(17, &udp(port))));
        all.push((IP, ip(132, 5, 0, &udp(port))));
    }
    // Fragments: the first has the ports, the others have data that looks like them.
    for fragment in [0x2000, 0x2001, 0x0010] {
        all.push((IP, ip(6, 5, fragment, &tcp(80, 0x02, 0))));
        all.push((IP, ip(17, 5, fragment, &udp(53))));
        all.push((IP, ip(1, 5, fragment, &[8, 0, 0, 0, 0, 1, 0, 1])));
    }
    all.push((IP6, ip6(44, &[&[6, 0, 0, 1, 0, 0, 0, 1][..], &tcp(80, 0x02, 0)].concat())));
    all.push((IP6, ip6(0, &[&[6, 0, 0, 0, 0, 0, 0, 0][..], &tcp(80, 0x02, 0)].concat())));
    // Headers behind others, authentication headers among them.
    let end = tcp(80, 0x02, 0);
    all.push((IP, ip(51, 5, 0, &[&[6, 4, 0, 0][..], &[0; 20], &end].concat())));
    all.push((IP, ip(51, 5, 0, &[&[17, 1, 0, 0, 6, 0, 0, 0][..], &end].concat())));
    let options = [[60, 0, 0, 0, 0, 0, 0, 0], [43, 0, 0, 0, 0, 0, 0, 0], [44, 0, 0, 0, 0, 0, 0, 0]].concat();
    all.push((IP6, ip6(0, &[&options[..], &[6, 0, 0, 1, 0, 0, 0, 1], &end].concat())));
    all.push((IP6, ip6(60, &[&[51, 1][..], &[0; 14], &[6, 4, 0, 0], &[0; 20], &end].concat())));
    all.push((IP6, ip6(43, &[59, 0, 0, 0, 0, 0, 0, 0])));
    all.push((IP6, ip6(58, &[135, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4])));
    all.push((IP6, ip6(58, &[128, 0, 0, 0, 0, 1, 0, 1, 1, 2, 3, 4])));
    all
}

/// Packets in VLANs, behind MPLS labels, in PPPoE sessions and of OSI's protocols.
fn wrapped() -> Vec<(u16, Vec<u8>)> {
    let ip = || ip(6, 5, 0, &tcp(80, 0x02, 0));
    let ip6 = || ip6(6, &tcp(80, 0x12, 0));
    let label = |label: u8, bottom: u8| [0, label >> 4, label << 4 | bottom, 64];
    let pppoe = |protocol: [u8; 2], payload: Vec<u8>| [&[0x11, 0, 0, 7, 0, 60][..], &protocol, &payload].concat();
    let osi = |protocol: u8| [&[0xfe, 0xfe, 3, protocol, 27, 1, 0, 20][..], &[0; 30]].concat();
    vec![
        (0x8100, [&[0xe0, 5, 0x86, 0xdd][..], &ip6()].concat()),
        (0x88a8, [&[0, 6, 0x81, 0, 0, 7, 8, 0][..], &ip()].concat()),
        (0x9100, [&[0, 6, 0x81, 0, 0, 7, 0x86, 0xdd][..], &ip6()].concat()),
        (0x8100, [&[0, 5, 0, 38][..], &osi(0x83)].concat()),
        (0x8100, [&[0, 5, 0x88, 0x47][..], &label(100, 1), &ip()].concat()),
        (0x8847, [&label(100, 1)[..], &ip()].concat()),
        (0x8847, [&label(101, 1)[..], &ip6()].concat()),
        (0x8847, [&label(100, 0)[..], &label(101, 1), &ip()].concat()),
        (0x8863, [&[0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0][..], &[0; 36]].concat()),
        (0x8864, pppoe([0, 0x21], ip())),
        (0x8864, pppoe([0, 0x57], ip6())),
        (0x8864, pppoe([0, 0x23], osi(0x81)[3..].to_vec())),
        (0x8864, pppoe([2, 0x81], [&label(100, 1)[..], &ip()].concat())),
        (0x8864, pppoe([0xc0, 0x21], vec![1; 20])),
        (38, osi(0x81)),
        (38, osi(0x82)),
        (38, osi(0x83)),
        (0x6003, vec![0; 40]),
        (0x6004, vec![1; 40]),
    ]
}

/// Frames with an 802.2 header: of each kind, with and without the poll bit, and all packets of IS-IS.
fn of_802_2() -> Vec<(u16, Vec<u8>)> {
    let controls =
        [0x00, 0x10, 0x01, 0x05, 0x09, 0x0d, 0x03, 0x13, 0x63, 0x73, 0x43, 0x0f, 0x1f, 0x6f, 0xe3, 0xaf, 0x87];
    let frame = |control: u8| (35, [&[4, 4, control][..], &[0; 32]].concat());
    let isis = |kind: u8| (35, [&[0xfe, 0xfe, 3, 0x83, 27, 1, 0, kind][..], &[0; 27]].concat());
    let in_vlan = (0x8100, [&[0, 5, 0, 35, 4, 4, 3][..], &[0; 32]].concat());
    controls.into_iter().map(frame).chain([15, 16, 17, 18, 20, 24, 25, 26, 27].map(isis)).chain([in_vlan]).collect()
}

/// Packets of DECnet: short and long headers, with and without padding in front.
fn decnet() -> Vec<(u16, Vec<u8>)> {
    const HIGH: [u8; 4] = [0xaa, 0, 4, 0];
    let mut all = vec![];
    for [from, to] in [[[2, 4], [3, 4]], [[3, 4], [2, 4]], [[2, 4], [2, 4]], [[0xff, 0xff], [244, 40]]] {
        let short = [&[2][..], &to, &from, &[0; 20]].concat();
        let long = [&[6, 0, 0][..], &HIGH, &to, &[0, 0], &HIGH, &from, &[0; 8]].concat();
        for header in [short, long] {
            all.push((0x6003, [&[40, 0][..], &header].concat()));
            all.push((0x6003, [&[40, 0, 0x81][..], &header].concat()));
        }
    }
    all
}

/// Tunnels of Geneve: over IPv4 and IPv6, with and without options, in others and what others are in.
fn geneve() -> Vec<(u16, Vec<u8>)> {
    const IP: u16 = 0x0800;
    const IP6: u16 = 0x86dd;
    const ETHERNET: u16 = 0x6558;
    let tunnel = |options: u8, vni: u8, protocol: u16, payload: &[u8]| {
        let protocol = protocol.to_be_bytes();
        let udp = [0x9c, 0x40, 0x17, 0xc1, 0, 0, 0, 0];
        let header = [options, 0, protocol[0], protocol[1], 0, 0, vni, 0];
        [&udp[..], &header, &vec![1; 4 * usize::from(options & 0x3f)], payload].concat()
    };
    let frame = |ether_type: u16, payload: &[u8]| {
        let addresses = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0x42, 10, 0xf4, 1, 2];
        [&addresses[..], &ether_type.to_be_bytes(), payload].concat()
    };
    let inside = [
        (IP, ip(6, 5, 0, &tcp(80, 0x02, 0))),
        (IP, ip(17, 6, 0, &udp(53))),
        (IP, ip(6, 5, 0x2001, &tcp(80, 0x02, 0))),
        (IP6, ip6(6, &tcp(80, 0x12, 0))),
        (0x0806, [&[0, 1, 8, 0, 6, 4, 0, 1, 2, 0x42, 10, 0xf4, 1, 2][..], &POD_1, &[0; 6], &POD_2].concat()),
        (IP, ip(17, 5, 0, &tunnel(1, 5, ETHERNET, &frame(IP, &ip(6, 5, 0, &tcp(443, 0x02, 0)))))),
        (IP6, ip6(17, &tunnel(0, 6, IP, &ip(6, 5, 0, &tcp(443, 0x02, 0))))),
    ];
    let others = wrapped().into_iter().chain(of_802_2().into_iter().step_by(5)).chain(decnet().into_iter().step_by(3));
    let mut all = Vec::new();
    for (n, (ether_type, payload)) in inside.into_iter().chain(others).enumerate() {
        let options = [0, 2, 1, 0x40][n % 4];
        let in_frame = tunnel(options, 5, ETHERNET, &frame(ether_type, &payload));
        let alone = tunnel(options, 6, ether_type, &payload);
        all.extend([(IP, ip(17, 5, 0, &in_frame)), (IP6, ip6(17, &alone))]);
        if n < 4 {
            let in_ip = ip(17, 7, 0, &alone);
            all.extend([
                (IP6, ip6(17, &in_frame)),
                (0x8100, [&[0, 5, 8, 0][..], &in_ip].concat()),
                (0x8847, [&[0, 6, 0x41, 64][..], &in_ip].concat()),
                (0x8864, [&[0x11, 0, 0, 7, 0, 60, 0, 0x21][..], &in_ip].concat()),
                (IP, in_ip),
            ]);
        }
    }
    all
}

/// An IPv4 packet with `words` of header and `fragment`, the flags and the offset.
fn ip(protocol: u8, words: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let options = vec![1; usize::from(words - 5) * 4];
    let len = u16::try_from(20 + options.len() + payload.len()).expect("a short packet");
    let [len, fragment] = [len.to_be_bytes(), fragment.to_be_bytes()];
    let head = [0x40 | words, 0, len[0], len[1], 0x12, 0x34, fragment[0], fragment[1], 64, protocol, 0, 0];
    // The multicast protocol goes to a group.
    let destination = if protocol == 2 { [224, 0, 0, 1] } else { POD_2 };
    [&head[..], &POD_1, &destination, &options, payload].concat()
}

fn ip6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("a short packet").to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, len[0], len[1], next_header, 64];
    packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend(payload);
    packet
}

fn tcp(port: u16, flags: u8, options: u8) -> Vec<u8> {
    let port = port.to_be_bytes();
    let mut packet = vec![0x9c, 0x40, port[0], port[1], 0, 0, 0, 1, 0, 0, 0, 0];
    packet.extend([(5 + options / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(vec![1; usize::from(options)]);
    packet.extend(*b"GET / HTTP/1.1");
    packet
}

fn udp(port: u16) -> Vec<u8> {
    let port = port.to_be_bytes();
    let mut packet = vec![port[0], port[1], 0x9c, 0x40, 0, 20, 0, 0];
    packet.extend([8, 0, 0, 0, 0, 0, 1, 0, 1, 2, 3, 4]);
    packet
}
