//! The captures of the facts, section 1.5, on the bench that they describe: what `tcpdump -i any -e` showed on node n
//! with Linux 6.18, row by row: interface, direction, Ethernet source, addresses, TTL.
//!
//! Where the facts have a TCP connection there is a datagram and its answer here, until TCP is simulated; a reset is
//! the error of a closed port then. MASQUERADE keeps the port, where theirs chose one at random.

use podhop_parity::judge::decode;
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::report::Report;
use sim_core::scenario::{self, SourceFile};

/// The bench. The bridges have the lowest address of their ports: vethp2's.
const BENCH: &str = r#"
apiVersion: podhop/v1
kind: Scenario
metadata: {name: bench}
spec:
  namespaces:
    sw:
      setup:
        - sysctl -qw net.bridge.bridge-nf-call-iptables=0
        - ip link add sw0 type bridge
        - ip link add tox type veth peer name eth0 address 02:00:00:00:00:03 netns x
        - ip link add ton type veth peer name eth0 address 02:00:00:00:00:01 netns n
        - ip link add tom type veth peer name eth0 address 02:00:00:00:00:02 netns m
        - ip link set tox master sw0 up
        - ip link set ton master sw0 up
        - ip link set tom master sw0 up
        - ip link set sw0 up
    n:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 192.168.1.11/24 brd + dev eth0
        - ip link add cni0 type bridge
        - ip link add vethp1 address ea:fb:00:00:00:02 type veth peer name eth0 address 0a:00:00:00:01:02 netns p1
        - ip link add vethp2 address be:a0:00:00:00:03 type veth peer name eth0 address 0a:00:00:00:01:03 netns p2
        - ip link set vethp1 master cni0 up
        - ip link set vethp2 master cni0 up
        - ip link set cni0 up
        - ip addr add 10.244.1.1/24 brd + dev cni0
        - ip route add 10.244.2.0/24 via 192.168.1.12
        - ip route add default via 192.168.1.20
        - sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
    m:
      setup:
        - ip link set lo up
        - ip link set eth0 up
        - ip addr add 192.168.1.12/24 brd + dev eth0
        - ip link add cni0 type bridge
        - ip link add vethp3 type veth peer name eth0 address 0a:00:00:00:02:02 netns p3
        - ip link set vethp3 master cni0 up
        - ip link set cni0 up
        - ip addr add 10.244.2.1/24 brd + dev cni0
        - ip route add 10.244.1.0/24 via 192.168.1.11
        - sysctl -qw net.ipv4.ip_forward=1
    x: {setup: [ip link set eth0 up, ip addr add 192.168.1.20/24 brd + dev eth0]}
    p1:
      setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.244.1.2/24 brd + dev eth0,
              ip route add default via 10.244.1.1]
      servers: [udpecho 8080]
    p2:
      setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.244.1.3/24 brd + dev eth0,
              ip route add default via 10.244.1.1]
      servers: [udpecho 8080]
    p3:
      setup: [ip link set lo up, ip link set eth0 up, ip addr add 10.244.2.2/24 brd + dev eth0,
              ip route add default via 10.244.2.1]
      servers: [udpecho 8080]
  traffic:
"#;

/// What kube-proxy would write: services, node ports, and MASQUERADE of what is marked. Without `MASQUERADE` nothing
/// is marked.
const RULES: [&str; 14] = [
    "-N SERVICES",
    "-N MARK-MASQ",
    "-A MARK-MASQ -j MARK --or-mark 0x4000",
    "-A SERVICES -s 10.244.1.2 -d 10.96.0.12 -j MARK-MASQ",
    "-A SERVICES -s 192.168.1.11 -d 10.96.0.0/16 -j MARK-MASQ",
    "-A SERVICES -p udp -m multiport --dports 30080,30081 -m addrtype --dst-type LOCAL -j MARK-MASQ",
    "-A SERVICES -d 10.96.0.10 -p udp --dport 80 -j DNAT --to-destination 10.244.1.3:8080",
    "-A SERVICES -d 10.96.0.11 -p udp --dport 80 -j DNAT --to-destination 10.244.2.2:8080",
    "-A SERVICES -d 10.96.0.12 -p udp --dport 80 -j DNAT --to-destination 10.244.1.2:8080",
    "-A SERVICES -m addrtype --dst-type LOCAL -p udp --dport 30080 -j DNAT --to-destination 10.244.1.3:8080",
    "-A SERVICES -m addrtype --dst-type LOCAL -p udp --dport 30081 -j DNAT --to-destination 10.244.2.2:8080",
    "-A PREROUTING -j SERVICES",
    "-A OUTPUT -j SERVICES",
    "-A POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE",
];

const SHOWN: [(&str, &str); 9] = [
    ("0e:00:00:00:01:01", "f1"),
    ("0e:00:00:00:02:01", "f2"),
    ("be:a0:00:00:00:03", "BR"),
    ("ea:fb:00:00:00:02", "v1"),
    ("02:00:00:00:00:01", "e0"),
    ("02:00:00:00:00:02", "m"),
    ("02:00:00:00:00:03", "x"),
    ("0a:00:00:00:01:02", "p1"),
    ("0a:00:00:00:01:03", "p2"),
];

struct Bench {
    report: Report,
    memory: Memory,
}

/// Runs entries of `traffic:` with the rules in n, or without.
fn bench(rules: bool, traffic: &[(&str, &str)]) -> Bench {
    let rules = RULES.iter().filter(|_| rules).map(|r| ("n", format!("iptables -t nat {r}")));
    let traffic = traffic.iter().map(|(ns, what)| (*ns, (*what).to_owned()));
    let entry = |(ns, what): (&str, String)| match what.strip_prefix("& ") {
        Some(script) => format!("    - {{from: {ns}, background: true, script: [{script}]}}\n"),
        None if what.starts_with('{') => format!("    - {{from: {ns}, script: [{what}]}}\n"),
        None => format!("    - {{from: {ns}, run: \"{what}\"}}\n"),
    };
    let text = rules.chain(traffic).map(entry).fold(BENCH.to_owned(), |text, line| text + &line);
    let source = SourceFile::new("bench", text);
    let plan = scenario::resolve(&source).unwrap_or_else(|e| panic!("{}", e.render(false)));
    let mut memory = Memory::default();
    let outputs = Outputs { captures: true, trace: true, ..Outputs::NONE };
    let options = scenario::Options { outputs, ..Default::default() };
    let report = scenario::run(&plan, &mut memory, options, &mut ()).expect("it runs");
    Bench { report, memory }
}

impl Bench {
    /// What `any` showed in n of records whose text holds `what`.
    fn rows(&self, what: &str) -> Vec<String> {
        let names = ["", "lo", "eth0", "cni0", "vethp1", "vethp2", "flannel.1"];
        let Some(pcap) = self.memory.files.get("captures/namespaces/n/any.pcap") else { return vec![] };
        let records = decode::read_pcap(pcap).expect("a capture");
        let mut rest = &pcap[24..];
        let mut rows = vec![];
        for r in records {
            let len = u32::from_le_bytes([rest[8], rest[9], rest[10], rest[11]]) as usize;
            let (frame, after) = rest[16..].split_at(len);
            rest = after;
            let mac = frame[12..18].iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":");
            let mac = SHOWN.iter().find(|(m, _)| *m == mac).map_or(mac.as_str(), |(_, label)| label);
            let mac = if r.ifindex == Some(1) { "lo" } else { mac };
            let name = names.get(r.ifindex.unwrap_or(0) as usize).copied().unwrap_or("?");
            if r.text.contains(what) {
                rows.push(format!("{name:<6} {:<3} {mac:<3} {}", r.direction(), short(&r.text)));
            }
        }
        rows
    }

    /// What the nth entry of the traffic printed, from the last.
    fn printed(&self, from_last: usize) -> &str {
        let commands = &self.report.commands;
        commands[commands.len() - from_last].output.trim_end()
    }
}

/// Addresses, what it is, fragment, TTL.
fn short(text: &str) -> String {
    let Some(rest) = text.strip_prefix("IP ") else {
        return text.split(" (").next().unwrap_or(text).split(" len ").next().unwrap_or(text).to_owned();
    };
    let ttl = rest.split("(ttl ").nth(1).and_then(|t| t.split(' ').next()).unwrap_or("?");
    let (ends, what) = rest.split_once(": ").unwrap_or((rest.split(" frag").next().unwrap_or(rest), ""));
    let what = what.split(" id ").next().unwrap_or(what).split(" quotes ").next().unwrap_or(what);
    let what = what.strip_prefix("ICMP ").map_or_else(String::new, |w| format!(" {w}"));
    let offset = rest.split(" off ").nth(1).map(|o| format!(" off {}", o.trim_end_matches(')')));
    let more = if rest.contains(" MF ") { " MF" } else { "" };
    format!("{ends}{what}{}{more} ttl {ttl}", offset.unwrap_or_default())
}

/// A datagram from port 5000 of a connected socket, and its answer.
fn udp(to: &str) -> String {
    format!(
        "{{socket: udp}}, {{bind: \"0.0.0.0:5000\"}}, {{connect: \"{to}\"}}, {{send: {{size: 32}}}}, \
         {{recv: {{timeout: 300ms}}}}"
    )
}

const NF0: (&str, &str) = ("n", "sysctl -qw net.bridge.bridge-nf-call-iptables=0");

#[track_caller]
fn equal(got: &[String], want: &[&str]) {
    assert_eq!(got, want, "\ngot:\n{}\nwant:\n{}", got.join("\n"), want.join("\n"));
}

#[test]
fn a_same_bridge() {
    let want = [
        "vethp1 P   p1  10.244.1.2 > 10.244.1.3 echo request ttl 64",
        "vethp2 Out p1  10.244.1.2 > 10.244.1.3 echo request ttl 64",
        "vethp2 P   p2  10.244.1.3 > 10.244.1.2 echo reply ttl 64",
        "vethp1 Out p2  10.244.1.3 > 10.244.1.2 echo reply ttl 64",
    ];
    let ping = ("p1", "ping -c1 10.244.1.3");
    let with = bench(true, &[ping, ("n", "conntrack -C")]);
    // The frame to the owner of the bridge's address shows In only where that is the port's own: vethp2's.
    equal(&with.rows("ICMP"), &want);
    assert_eq!(with.printed(1), "1", "a connection was entered");
    let without = bench(true, &[NF0, ping, ("n", "conntrack -C")]);
    equal(&without.rows("ICMP"), &want);
    assert_eq!(without.printed(1), "0");
}

/// The hooks of capture A, by what counted there.
#[test]
fn a_the_hooks() {
    let mut rules = vec![];
    for (table, chains) in [
        ("raw", &["PREROUTING", "OUTPUT"][..]),
        ("mangle", &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
        ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ] {
        for chain in chains {
            for dev in ["-i cni0", "-o cni0", "-i vethp1", "-o vethp2"] {
                let wrong = match *chain {
                    "PREROUTING" | "INPUT" => dev.starts_with("-o"),
                    "OUTPUT" | "POSTROUTING" => dev.starts_with("-i"),
                    _ => false,
                };
                if !wrong {
                    rules.push(format!("iptables -t {table} -A {chain} {dev} -p icmp"));
                }
            }
        }
    }
    let mut traffic: Vec<(&str, &str)> = rules.iter().map(|r| ("n", r.as_str())).collect();
    traffic.extend([("p1", "ping -c1 10.244.1.3"), ("n", "iptables-save -c")]);
    let b = bench(false, &traffic);
    let counted: Vec<&str> = b.printed(1).lines().filter(|l| l.starts_with("[2:168]")).collect();
    assert_eq!(
        counted,
        [
            "[2:168] -A PREROUTING -i cni0 -p icmp",
            "[2:168] -A FORWARD -i cni0 -p icmp",
            "[2:168] -A FORWARD -o cni0 -p icmp",
            "[2:168] -A POSTROUTING -o cni0 -p icmp",
            "[2:168] -A PREROUTING -i cni0 -p icmp",
            "[2:168] -A FORWARD -i cni0 -p icmp",
            "[2:168] -A FORWARD -o cni0 -p icmp",
        ],
        "mangle, raw, filter\n{}",
        b.printed(1)
    );
    assert_eq!(b.printed(1).matches("[0:0] -A").count(), rules.len() - counted.len());
}

#[test]
fn b_service_on_the_same_node() {
    let send = udp("10.96.0.10:80");
    let b = bench(true, &[("p1", &send), ("p1", &send.replace("5000", "5001"))]);
    let first = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.10.80 ttl 64",
        "cni0   Out BR  10.244.1.2.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 Out p1  10.244.1.2.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 P   p2  10.244.1.3.8080 > 10.244.1.2.5000 ttl 64",
        "vethp1 Out p2  10.96.0.10.80 > 10.244.1.2.5000 ttl 64",
    ];
    equal(&b.rows(".5000"), &first);
    assert_eq!(b.printed(2), "recv: 32 bytes from 10.96.0.10:80");
    // Now that p2 is REACHABLE, its address is written into the frame at once.
    let second = [
        "vethp1 P   p1  10.244.1.2.5001 > 10.96.0.10.80 ttl 64",
        "vethp2 Out p1  10.244.1.2.5001 > 10.244.1.3.8080 ttl 64",
        "vethp2 P   p2  10.244.1.3.8080 > 10.244.1.2.5001 ttl 64",
        "vethp1 Out p2  10.96.0.10.80 > 10.244.1.2.5001 ttl 64",
    ];
    equal(&b.rows(".5001"), &second);
    // The node asks for p2 between the first line and the second.
    let asked = b.rows("10.244.1.3 ");
    let asked: Vec<_> = asked.iter().filter(|r| r.contains("ARP who-has 10.244.1.3 tell 10.244.1.1")).collect();
    let want = ["cni0   Out BR ", "vethp2 Out BR ", "vethp1 Out BR "];
    assert_eq!(asked, want.map(|w| format!("{w} ARP who-has 10.244.1.3 tell 10.244.1.1")).iter().collect::<Vec<_>>());
}

#[test]
fn c_the_same_without_br_netfilter() {
    let b = bench(true, &[NF0, ("p1", "ping -c1 10.244.1.3"), ("p1", &udp("10.96.0.10:80")), ("n", "conntrack -L")]);
    // The error takes the place of the reset: p1 has no socket that knows 10.244.1.3.
    let want = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.10.80 ttl 64",
        "cni0   In  p1  10.244.1.2.5000 > 10.96.0.10.80 ttl 64",
        "cni0   Out BR  10.244.1.2.5000 > 10.244.1.3.8080 ttl 63",
        "vethp2 Out BR  10.244.1.2.5000 > 10.244.1.3.8080 ttl 63",
        "vethp2 P   p2  10.244.1.3.8080 > 10.244.1.2.5000 ttl 64",
        "vethp1 Out p2  10.244.1.3.8080 > 10.244.1.2.5000 ttl 64",
        "vethp1 P   p1  10.244.1.2 > 10.244.1.3 port unreachable ttl 64",
        "vethp2 Out p1  10.244.1.2 > 10.244.1.3 port unreachable ttl 64",
    ];
    equal(&b.rows(".5000"), &want);
    assert_eq!(b.rows("redirect"), [""; 0], "it is made and dropped: it would lie about the service");
    assert!(b.printed(1).contains("dport=80 [UNREPLIED] src=10.244.1.3"), "{}", b.printed(1));
    assert_eq!(b.printed(2), "recv: timed out");
}

#[test]
fn d_hairpin() {
    let send = udp("10.96.0.12:80");
    let off = bench(true, &[("p1", &send)]);
    let want = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.12.80 ttl 64",
        "cni0   Out BR  10.244.1.2.5000 > 10.244.1.2.8080 ttl 64",
    ];
    equal(&off.rows("5000"), &want);

    let hairpin = ("n", "bridge link set dev vethp1 hairpin on");
    let on = bench(true, &[hairpin, ("p1", &send)]);
    let want = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.12.80 ttl 64",
        "cni0   Out BR  10.244.1.2.5000 > 10.244.1.2.8080 ttl 64",
        "vethp1 Out p1  10.244.1.1.5000 > 10.244.1.2.8080 ttl 64",
        "vethp1 P   p1  10.244.1.2.8080 > 10.244.1.1.5000 ttl 64",
        "cni0   Out BR  10.244.1.2.8080 > 10.244.1.2.5000 ttl 64",
        "vethp1 Out p1  10.96.0.12.80 > 10.244.1.2.5000 ttl 64",
    ];
    equal(&on.rows("5000"), &want);
    assert_eq!(on.printed(1), "recv: 32 bytes from 10.96.0.12:80");

    let flush = ("n", "iptables -t nat -F MARK-MASQ");
    let bare = bench(true, &[hairpin, flush, ("p1", &send)]);
    let want = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.12.80 ttl 64",
        "cni0   Out BR  10.244.1.2.5000 > 10.244.1.2.8080 ttl 64",
        "vethp1 Out p1  10.244.1.2.5000 > 10.244.1.2.8080 ttl 64",
    ];
    equal(&bare.rows("5000"), &want);
    assert_eq!(bare.printed(1), "recv: timed out", "its own address as the source is martian");
}

#[test]
fn e_from_the_node() {
    let send = udp("10.96.0.10:80");
    let b = bench(true, &[("n", &send)]);
    let want = [
        "cni0   Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 In  p2  10.244.1.3.8080 > 10.244.1.1.5000 ttl 64",
        "cni0   In  p2  10.244.1.3.8080 > 192.168.1.11.5000 ttl 64",
    ];
    equal(&b.rows("5000"), &want);
    assert_eq!(b.printed(1), "recv: 32 bytes from 10.96.0.10:80");
    let nf0 = bench(true, &[NF0, ("n", &send)]);
    let want = [want[0], want[1], want[2], "cni0   In  p2  10.244.1.3.8080 > 10.244.1.1.5000 ttl 64"];
    equal(&nf0.rows("5000"), &want);
    assert_eq!(nf0.printed(1), "recv: 32 bytes from 10.96.0.10:80");
}

#[test]
fn f_node_ports() {
    let b = bench(true, &[("x", &udp("192.168.1.11:30081"))]);
    let want = [
        "eth0   In  x   192.168.1.20.5000 > 192.168.1.11.30081 ttl 64",
        "eth0   Out e0  192.168.1.11.5000 > 10.244.2.2.8080 ttl 63",
        "eth0   In  m   10.244.2.2.8080 > 192.168.1.11.5000 ttl 63",
        "eth0   Out e0  192.168.1.11.30081 > 192.168.1.20.5000 ttl 62",
    ];
    equal(&b.rows("5000"), &want);
    let b = bench(true, &[("x", &udp("192.168.1.11:30080"))]);
    let want = [
        "eth0   In  x   192.168.1.20.5000 > 192.168.1.11.30080 ttl 64",
        "cni0   Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 63",
        "vethp2 Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 63",
        "vethp2 In  p2  10.244.1.3.8080 > 10.244.1.1.5000 ttl 64",
        "cni0   In  p2  10.244.1.3.8080 > 192.168.1.20.5000 ttl 64",
        "eth0   Out e0  192.168.1.11.30080 > 192.168.1.20.5000 ttl 63",
    ];
    equal(&b.rows("5000"), &want);
}

#[test]
fn g_fragments() {
    let ping = ("p1", "ping -c1 -s 3000 10.244.2.2");
    let b = bench(true, &[ping]);
    let rows = b.rows("10.244.1.2 > 10.244.2.2");
    let want = [
        "vethp1 P   p1  10.244.1.2 > 10.244.2.2 echo request MF ttl 64",
        "vethp1 P   p1  10.244.1.2 > 10.244.2.2 off 1480 MF ttl 64",
        "vethp1 P   p1  10.244.1.2 > 10.244.2.2 off 2960 ttl 64",
        "cni0   In  p1  10.244.1.2 > 10.244.2.2 echo request ttl 64",
        "eth0   Out e0  10.244.1.2 > 10.244.2.2 echo request MF ttl 63",
        "eth0   Out e0  10.244.1.2 > 10.244.2.2 off 1480 MF ttl 63",
        "eth0   Out e0  10.244.1.2 > 10.244.2.2 off 2960 ttl 63",
    ];
    equal(&rows, &want);

    let b = bench(true, &[NF0, ping]);
    let rows = b.rows("10.244.1.2 > 10.244.2.2");
    let each = |row: usize| [want[row].to_owned(), want[row].replace("vethp1 P  ", "cni0   In ")];
    let want: Vec<String> = (0..3).flat_map(each).chain(want[4..].iter().map(|w| (*w).to_owned())).collect();
    equal(&rows, &want.iter().map(String::as_str).collect::<Vec<_>>());
    let back = b.rows("10.244.2.2 > 10.244.1.2");
    let want = [
        "eth0   In  m   10.244.2.2 > 10.244.1.2 echo reply MF ttl 63",
        "eth0   In  m   10.244.2.2 > 10.244.1.2 off 1480 MF ttl 63",
        "eth0   In  m   10.244.2.2 > 10.244.1.2 off 2960 ttl 63",
        "cni0   Out BR  10.244.2.2 > 10.244.1.2 echo reply MF ttl 62",
        "vethp1 Out BR  10.244.2.2 > 10.244.1.2 echo reply MF ttl 62",
        "cni0   Out BR  10.244.2.2 > 10.244.1.2 off 1480 MF ttl 62",
        "vethp1 Out BR  10.244.2.2 > 10.244.1.2 off 1480 MF ttl 62",
        "cni0   Out BR  10.244.2.2 > 10.244.1.2 off 2960 ttl 62",
        "vethp1 Out BR  10.244.2.2 > 10.244.1.2 off 2960 ttl 62",
    ];
    equal(&back, &want);
}

#[test]
fn h_to_another_node() {
    let b = bench(true, &[("p1", &udp("10.96.0.11:80"))]);
    let want = [
        "vethp1 P   p1  10.244.1.2.5000 > 10.96.0.11.80 ttl 64",
        "cni0   In  p1  10.244.1.2.5000 > 10.244.2.2.8080 ttl 64",
        "eth0   Out e0  10.244.1.2.5000 > 10.244.2.2.8080 ttl 63",
        "eth0   In  m   10.244.2.2.8080 > 10.244.1.2.5000 ttl 63",
        "cni0   Out BR  10.96.0.11.80 > 10.244.1.2.5000 ttl 62",
        "vethp1 Out BR  10.96.0.11.80 > 10.244.1.2.5000 ttl 62",
    ];
    equal(&b.rows("5000"), &want);
}

/// The pods' subnets behind VXLAN instead of routes, as flannel sets it up.
fn flannel(node: &'static str, own: u8, other: u8) -> Vec<(&'static str, String)> {
    [
        format!("ip route del 10.244.{other}.0/24"),
        format!(
            "ip link add flannel.1 address 0e:00:00:00:0{own}:01 type vxlan id 1 dev eth0 local 192.168.1.1{own} \
             dstport 8472 nolearning"
        ),
        format!("ip addr add 10.244.{own}.0/32 dev flannel.1"),
        "ip link set flannel.1 up".to_owned(),
        format!("bridge fdb add 0e:00:00:00:0{other}:01 dev flannel.1 dst 192.168.1.1{other} self permanent"),
        format!("ip neigh add 10.244.{other}.0 lladdr 0e:00:00:00:0{other}:01 dev flannel.1 nud permanent"),
        format!("ip route add 10.244.{other}.0/24 via 10.244.{other}.0 dev flannel.1 onlink"),
    ]
    .map(|command| (node, command))
    .into()
}

#[test]
fn i_vxlan() {
    let setup = [flannel("n", 1, 2), flannel("m", 2, 1)].concat();
    let mut traffic: Vec<(&str, &str)> = setup.iter().map(|(ns, c)| (*ns, c.as_str())).collect();
    traffic.extend([("n", "iptables -A FORWARD -j ACCEPT"), ("p1", "ping -c1 10.244.2.2")]);
    let b = bench(true, &traffic);
    let rows = b.rows("ICMP");
    // The outer source port is a hash of the flow: the same both ways, on one kernel or by one seed.
    let port = rows.iter().find_map(|r| r.split_once("192.168.1.11.")?.1.split(' ').next()).expect("an outer packet");
    let there = format!("eth0   Out e0  192.168.1.11.{port} > 192.168.1.12.8472 ttl 64");
    let back = format!("eth0   In  m   192.168.1.12.{port} > 192.168.1.11.8472 ttl 64");
    let want = [
        "vethp1 P   p1  10.244.1.2 > 10.244.2.2 echo request ttl 64",
        "cni0   In  p1  10.244.1.2 > 10.244.2.2 echo request ttl 64",
        "flannel.1 Out f1  10.244.1.2 > 10.244.2.2 echo request ttl 63",
        &there,
        &back,
        "flannel.1 In  f2  10.244.2.2 > 10.244.1.2 echo reply ttl 63",
        "cni0   Out BR  10.244.2.2 > 10.244.1.2 echo reply ttl 62",
        "vethp1 Out BR  10.244.2.2 > 10.244.1.2 echo reply ttl 62",
    ];
    equal(&rows, &want);
    let port: u16 = port.parse().expect("a port");
    assert!((32_768..61_000).contains(&port), "{port}");

    let trace = std::str::from_utf8(&b.memory.files["trace.jsonl"]).expect("text");
    let steps: Vec<serde_json::Value> = trace.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    let name = |v: &serde_json::Value| v.as_str().unwrap_or("-").to_owned();
    // The hooks that a packet met in n which once was `what` there: it is the same packet inside and outside.
    let hooks = |what: &str| -> Vec<String> {
        let packet = &steps.iter().find(|s| s["what"] == what && s["namespace"] == "n").expect("it was")["packet"];
        let of_it = |s: &&serde_json::Value| s["what"] == "hook" && s["namespace"] == "n" && s["packet"] == *packet;
        let words = |s: &serde_json::Value| format!("{} {} {}", name(&s["hook"]), name(&s["in"]), name(&s["out"]));
        steps.iter().filter(of_it).map(words).collect()
    };
    equal(
        &hooks("encapsulated"),
        &[
            "PREROUTING cni0 -",
            "FORWARD cni0 flannel.1",
            "POSTROUTING cni0 flannel.1",
            "OUTPUT - eth0",
            "POSTROUTING - eth0",
        ],
    );
    equal(
        &hooks("decapsulated"),
        &[
            "PREROUTING eth0 -",
            "INPUT eth0 -",
            "PREROUTING flannel.1 -",
            "FORWARD flannel.1 cni0",
            "POSTROUTING flannel.1 cni0",
        ],
    );
}

#[test]
fn j_broadcasts() {
    let b = bench(false, &[("p1", "ping -c1 10.244.1.3")]);
    let asks = "ARP who-has 10.244.1.3 tell 10.244.1.2";
    let want = ["vethp1 B   p1 ", "vethp2 Out p1 ", "cni0   B   p1 "].map(|w| format!("{w} {asks}"));
    assert_eq!(b.rows(asks), want);
    // The most recently attached port comes first.
    let b = bench(false, &[("n", "ping -c1 10.244.1.2")]);
    let asks = "ARP who-has 10.244.1.2 tell 10.244.1.1";
    let want = ["cni0   Out BR ", "vethp2 Out BR ", "vethp1 Out BR "].map(|w| format!("{w} {asks}"));
    assert_eq!(b.rows(asks), want);
    // With hairpin the pod gets its own broadcast back.
    let b = bench(false, &[("n", "bridge link set dev vethp1 hairpin on"), ("p1", "ping -c1 10.244.1.3")]);
    let asks = "ARP who-has 10.244.1.3 tell 10.244.1.2";
    let want = ["vethp1 B   p1 ", "vethp2 Out p1 ", "vethp1 Out p1 ", "cni0   B   p1 "].map(|w| format!("{w} {asks}"));
    assert_eq!(b.rows(asks), want);
}

#[test]
fn k_a_promiscuous_bridge() {
    let b = bench(false, &[("n", "ip link set cni0 promisc on"), ("p1", "ping -c1 10.244.1.3")]);
    let want = [
        "vethp1 P   p1  10.244.1.2 > 10.244.1.3 echo request ttl 64",
        "vethp2 Out p1  10.244.1.2 > 10.244.1.3 echo request ttl 64",
        "cni0   P   p1  10.244.1.2 > 10.244.1.3 echo request ttl 64",
        "vethp2 P   p2  10.244.1.3 > 10.244.1.2 echo reply ttl 64",
        "vethp1 Out p2  10.244.1.3 > 10.244.1.2 echo reply ttl 64",
        "cni0   P   p2  10.244.1.3 > 10.244.1.2 echo reply ttl 64",
    ];
    equal(&b.rows("ICMP"), &want);
}

/// A TCP server would answer from 127.0.0.1, as this one does because it is bound to it.
#[test]
fn l_redirect_in_output() {
    let server = "& {socket: udp}, {bind: \"127.0.0.1:15001\"}, {recv: {timeout: 5s}}, \
                  {send: {size: 32, to: \"192.168.1.11:5000\"}}";
    let redirect = "iptables -t nat -A OUTPUT -d 10.96.0.99 -p udp -j REDIRECT --to-ports 15001";
    let b = bench(false, &[("n", redirect), ("n", server), ("n", &udp("10.96.0.99:80"))]);
    let want = [
        "lo     In  lo  192.168.1.11.5000 > 127.0.0.1.15001 ttl 64",
        "lo     In  lo  10.96.0.99.80 > 192.168.1.11.5000 ttl 64",
    ];
    equal(&b.rows("5000"), &want);
    assert_eq!(b.printed(1), "recv: 32 bytes from 10.96.0.99:80");
}

/// Where TCP's connect times out, sending a datagram says why.
#[test]
fn m_a_node_port_of_the_loopback_address() {
    let send = udp("127.0.0.1:30080");
    let b = bench(true, &[("n", &send)]);
    assert_eq!(b.rows("5000"), [""; 0]);
    assert_eq!(b.printed(1), "send: EINVAL (Invalid argument)\nrecv: timed out");
    let b = bench(true, &[("n", "sysctl -qw net.ipv4.conf.all.route_localnet=1"), ("n", &send)]);
    let want = [
        "cni0   Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 Out BR  10.244.1.1.5000 > 10.244.1.3.8080 ttl 64",
        "vethp2 In  p2  10.244.1.3.8080 > 10.244.1.1.5000 ttl 64",
        "cni0   In  p2  10.244.1.3.8080 > 127.0.0.1.5000 ttl 64",
    ];
    equal(&b.rows("5000"), &want);
    assert_eq!(b.printed(1), "recv: 32 bytes from 127.0.0.1:30080");
}
