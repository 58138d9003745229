//! Random rule sets as text, for tests of the iptables front end.

use std::fmt::Write as _;

/// A generator of random numbers that gives the same ones everywhere (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound.max(1)
    }

    /// One of these.
    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn not(&mut self) -> &'static str {
        if self.once_in(3) { "! " } else { "" }
    }
}

/// A rule set that iptables-restore accepts: two to four tables with user chains and rules.
pub fn rule_set(random: &mut Random) -> String {
    let mut out = String::new();
    for table in ["raw", "mangle", "nat", "filter"] {
        if table != "filter" && random.once_in(3) {
            continue;
        }
        let _ = writeln!(out, "*{table}");
        let bases = bases(table);
        for base in bases.iter().filter(|_| random.once_in(2)).collect::<Vec<_>>() {
            let policy = if table == "nat" { "ACCEPT" } else { random.one(&["ACCEPT", "DROP"]) };
            let _ = writeln!(out, ":{base} {policy} [{}:{}]", random.below(9), random.below(999));
        }
        let chains = random.below(5);
        for n in 0..chains {
            let _ = writeln!(out, ":U{n} - [0:0]");
        }
        for _ in 0..random.below(12) {
            let line = rule(random, table, chains);
            let _ = writeln!(out, "[{}:{}] {line}", random.below(99), random.below(9999));
        }
        out.push_str("COMMIT\n");
    }
    out
}

fn bases(table: &str) -> &'static [&'static str] {
    match table {
        "raw" => &["PREROUTING", "OUTPUT"],
        "mangle" => &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"],
        "nat" => &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"],
        _ => &["INPUT", "FORWARD", "OUTPUT"],
    }
}

/// Rules of user chains lead only to chains of a higher number, so that nothing leads back to itself.
fn rule(random: &mut Random, table: &str, chains: u64) -> String {
    let user = random.below(chains + 2);
    let (chain, first) =
        if user < chains { (format!("U{user}"), user + 1) } else { (random.one(bases(table)).to_owned(), 0) };
    let protocol = random.one(&["tcp", "udp", "icmp", "all", "47", "sctp"]);
    let mut words = vec![format!("-A {chain}")];
    for side in ["-s", "-d"] {
        if random.once_in(3) {
            let (not, a, b, length) = (random.not(), random.below(256), random.below(256), 1 + random.below(32));
            words.push(format!("{not}{side} 10.{a}.3.{b}/{length}"));
        }
    }
    let (input, output) = match chain.as_str() {
        "PREROUTING" | "INPUT" => (true, false),
        "OUTPUT" | "POSTROUTING" => (false, true),
        // A user chain may be called from anywhere.
        _ => (true, true),
    };
    for (may, letter) in [(input, "-i"), (output, "-o")] {
        if may && random.once_in(4) {
            words.push(format!("{}{letter} {}", random.not(), random.one(&["eth0", "veth+", "abcdefghijklmno"])));
        }
    }
    if protocol != "all" {
        let not = if protocol == "47" { random.not() } else { "" };
        words.push(format!("{not}-p {protocol}"));
    }
    if random.once_in(10) {
        words.push(format!("{}-f", random.not()));
    }
    for _ in 0..random.below(4) {
        let matching = matching(random, protocol, &chain);
        // nf_tables makes one match of two of these.
        let merged = |m: &String| m.starts_with("-m tcp") || m.starts_with("-m udp");
        if !(merged(&matching) && words.iter().any(merged)) {
            words.push(matching);
        }
    }
    words.push(target(random, table, &chain, protocol, first, chains));
    words.join(" ")
}

fn matching(random: &mut Random, protocol: &str, chain: &str) -> String {
    let (port, not) = (random.below(60000), random.not());
    let range = match random.below(4) {
        0 => format!("{port}:{}", port + 1 + random.below(1000)),
        1 => format!(":{port}"),
        2 => format!("{port}:"),
        _ => port.to_string(),
    };
    let side = random.one(&["sport", "dport"]);
    match random.below(12) {
        0 if protocol == "tcp" || protocol == "udp" => format!("-m {protocol} {not}--{side} {range}"),
        1 if protocol == "tcp" => {
            let flags = ["SYN", "ACK,RST", "FIN,SYN,RST,PSH", "ALL", "NONE", "URG"];
            // Flags compared with an empty mask are not printed.
            let masks = ["SYN", "ACK,RST", "FIN,SYN,RST,PSH", "ALL", "URG"];
            format!("-m tcp {not}--tcp-flags {} {}", random.one(&masks), random.one(&flags))
        }
        2 if protocol == "tcp" => format!("-m tcp {not}--tcp-option {}", 1 + random.below(254)),
        3 if matches!(protocol, "tcp" | "udp" | "sctp") => {
            let ports: Vec<String> =
                (0..=random.below(7)).map(|n| format!("{}", n * 500 + random.below(500))).collect();
            format!(
                "-m multiport {not}--{}s {},{}:{}",
                random.one(&["sport", "dport", "port"]),
                ports.join(","),
                port,
                port + 5
            )
        }
        4 if protocol == "icmp" => {
            format!("-m icmp {not}--icmp-type {}", random.one(&["echo-request", "3/4", "any", "11", "host-proh"]))
        }
        5 => {
            let states = random.one(&["NEW", "RELATED,ESTABLISHED", "INVALID", "DNAT,SNAT", "UNTRACKED", "new,est"]);
            let more =
                random.one(&["", " --ctproto 6", " ! --ctorigsrc 10.0.0.0/8", " --ctdir REPLY", " --ctstatus ASSURED"]);
            format!("-m conntrack {not}--ctstate {states}{more} --ctreplsrcport {range}")
        }
        6 => format!("-m state {not}--state {}", random.one(&["NEW", "ESTABLISHED,RELATED", "INVALID"])),
        7 => format!("-m mark {not}--mark {:#x}/{:#x}", random.below(1 << 32), random.below(1 << 32)),
        8 => {
            format!("-m comment --comment {}", random.one(&["plain", "\"two words\"", r#""q\"u\\o'te""#, "\"a:b/c\""]))
        }
        9 => {
            let types = random.one(&["LOCAL", "UNICAST,BROADCAST", "multicast", "UNREACHABLE,BLACKHOLE"]);
            let limit = match chain {
                "PREROUTING" | "INPUT" if random.once_in(2) => " --limit-iface-in",
                _ => "",
            };
            format!("-m addrtype {not}--{}-type {types}{limit}", random.one(&["src", "dst"]))
        }
        10 if random.once_in(2) => {
            format!("-m statistic --mode random {not}--probability 0.{:04}", random.below(10000))
        }
        10 => {
            let every = 1 + random.below(9);
            format!("-m statistic --mode nth {not}--every {every} --packet {}", random.below(every))
        }
        _ => keeping_state(random),
    }
}

/// Matches that remember packets.
fn keeping_state(random: &mut Random) -> String {
    let not = random.not();
    match random.below(4) {
        0 => format!("-m limit --limit {}/{}", 1 + random.below(900), random.one(&["s", "min", "hour", "d"])),
        1 => format!("-m limit --limit 5/min --limit-burst {}", 1 + random.below(50)),
        2 => {
            let with = random.one(&["--set", "--rcheck --seconds 9 --reap", "--update --hitcount 3", "--remove"]);
            format!(
                "-m recent {not}{with} --name {} {}",
                random.one(&["a", "KUBE-SEP-X"]),
                random.one(&["", "--rdest"])
            )
        }
        _ => format!("-m physdev {not}--physdev-in veth+ --physdev-is-in"),
    }
}

fn target(random: &mut Random, table: &str, chain: &str, protocol: &str, first: u64, chains: u64) -> String {
    if first < chains && random.once_in(2) {
        let to = first + random.below(chains - first);
        return format!("{} U{to}", random.one(&["-j", "-j", "-g"]));
    }
    let ports = matches!(protocol, "tcp" | "udp" | "sctp" | "icmp");
    let general = random.one(&[
        "",
        "-j ACCEPT",
        "-j RETURN",
        "-j MARK --set-mark 7",
        "-j MARK --xor-mark 0x4000",
        "-j MARK --and-mark 0xff",
        "-j CONNMARK --restore-mark --mask 0xff00",
        "-j CONNMARK --set-xmark 1/3",
        "-j LOG --log-prefix \"it's: \" --log-level info --log-uid",
    ]);
    // nf_tables knows CONNMARK as a change of the connection, which raw does not have yet.
    match (table, chain) {
        ("raw", _) if random.once_in(3) => random.one(&["-j NOTRACK", "-j CT --notrack", "-j DROP"]).to_owned(),
        ("nat", "PREROUTING" | "OUTPUT") if random.once_in(2) => match random.below(4) {
            0 if ports => "-j DNAT --to-destination 10.0.0.1:80-90 --persistent".to_owned(),
            1 if ports => "-j REDIRECT --to-ports 15001 --random".to_owned(),
            2 if ports => "-j DNAT --to-destination :8080".to_owned(),
            _ => "-j DNAT --to-destination 10.0.0.1-10.0.0.9".to_owned(),
        },
        ("nat", "POSTROUTING") if random.once_in(2) => match random.below(3) {
            0 if ports => "-j SNAT --to-source 192.0.2.1:1000-2000 --random-fully".to_owned(),
            1 if ports => "-j MASQUERADE --to-ports 1024-65535".to_owned(),
            _ => "-j MASQUERADE --random-fully".to_owned(),
        },
        ("filter", _) if random.once_in(4) => {
            let with = if protocol == "tcp" { "tcp-reset" } else { "icmp-admin-prohibited" };
            format!("-j REJECT --reject-with {with}")
        }
        ("filter" | "mangle", _) if random.once_in(5) => "-j DROP".to_owned(),
        _ => general.to_owned(),
    }
}
