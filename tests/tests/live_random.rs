//! The live kernel does as we do with rules and flows that nobody has chosen.

#[allow(unused_macros, reason = "of what the labs share this one takes the lab")]
mod live_lab;

use live_lab::check;
use podhop_tests::iptables::Random;

/// Random rules and flows: so many labs, of which each is another.
const RANDOM_LABS: u64 = 20;

/// `PODHOP_LIVE_SEED` is the first seed, to look at others than those of every run.
#[test]
fn random_rules() {
    let first = std::env::var("PODHOP_LIVE_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    for seed in first..first + RANDOM_LABS {
        let lab = random_lab(&mut Random(seed));
        let lab: Vec<(&str, &str)> = lab.iter().map(|(ns, what)| (*ns, what.as_str())).collect();
        check(&format!("seed_{seed}"), &lab);
    }
}

/// Settings, rules on the node, and flows with a source port each.
fn random_lab(random: &mut Random) -> Vec<(&'static str, String)> {
    let settings = [
        ("node", "sysctl -qw net.bridge.bridge-nf-call-iptables=0"),
        ("node", "bridge link set dev va hairpin on"),
        ("node", "ip link set br0 promisc on"),
        ("node", "sysctl -qw net.ipv4.conf.all.rp_filter=1"),
        ("node", "sysctl -qw net.ipv4.conf.all.route_localnet=1"),
        ("a", "ip link set eth0 mtu 1000"),
        ("node", "ip rule add fwmark 1 prohibit"),
        ("node", "iptables -P FORWARD DROP"),
    ];
    let mut lab: Vec<(&str, String)> = vec![("node", "ip addr add 192.168.0.77/32 dev lo".to_owned())];
    lab.extend(settings.iter().filter(|_| random.once_in(5)).map(|(ns, s)| (*ns, (*s).to_owned())));
    if random.once_in(4) {
        lab.extend(
            [("node", "ip link set up0 mtu 1200"), ("d", "ip link set eth0 mtu 1200")].map(|(n, s)| (n, s.into())),
        );
    }
    for _ in 0..2 + random.below(8) {
        lab.push(("node", format!("iptables {}", random_rule(random))));
    }
    for n in 0..3 + random.below(4) {
        let from = ["a", "b", "d", "node"][random.below(4) as usize];
        let to = ["10.0.0.10", "10.0.0.11", "10.0.0.1", "192.168.0.13", "192.168.0.1", "10.96.0.1", "10.96.0.2"];
        let (to, size) = (random.one(&to), random.one(&["32", "32", "900", "1300", "3000"]));
        let ttl = random.one(&["64", "64", "64", "1", "2"]);
        let port = random.one(&["7", "7", "9"]);
        lab.push((
            from,
            match random.below(2) {
                0 => format!("ping -c1 -W1 -t {ttl} -s {size} {to}"),
                _ => format!(
                    "{{socket: udp}}, {{setsockopt: [ip, ttl, {ttl}]}}, {{bind: \"0.0.0.0:{}\"}}, \
                 {{connect: \"{to}:{port}\"}}, {{send: {{size: {size}, byte: a}}}}, {{recv: {{timeout: 300ms}}}}, \
                 {{recv: {{timeout: 50ms}}}}",
                    5000 + n
                ),
            },
        ));
    }
    lab
}

/// A rule in which nothing is left to chance.
fn random_rule(random: &mut Random) -> String {
    let (table, chain, target) = match random.below(9) {
        0 => ("raw", random.one(&["PREROUTING", "OUTPUT"]), random.one(&["-j CT --notrack", "-j DROP", ""])),
        1 => (
            "mangle",
            random.one(&["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"]),
            random.one(&[
                "-j MARK --set-mark 1",
                "-j MARK --or-mark 2",
                "-j CONNMARK --save-mark",
                "-j CONNMARK --restore-mark",
                "-j DROP",
                "",
            ]),
        ),
        2..5 => (
            "nat",
            random.one(&["PREROUTING", "PREROUTING", "OUTPUT"]),
            random.one(&[
                "-d 10.96.0.0/16 -j DNAT --to-destination 10.0.0.10",
                "-d 10.96.0.0/16 -j DNAT --to-destination 10.0.0.11",
                "-d 10.96.0.1 -j DNAT --to-destination 192.168.0.13",
                "-d 10.96.0.2 -j DNAT --to-destination 10.0.0.1",
                "-d 192.168.0.1 -p udp -j DNAT --to-destination 10.0.0.11:7",
                "-d 10.96.0.2 -p udp -j DNAT --to-destination 192.168.0.13:7-8",
                "-d 10.96.0.0/16 -j REDIRECT",
                "-j ACCEPT",
            ]),
        ),
        5 => (
            "nat",
            random.one(&["POSTROUTING", "POSTROUTING", "INPUT"]),
            random.one(&["-j SNAT --to-source 192.168.0.77", "-j SNAT --to-source 10.0.0.1", "-j ACCEPT"]),
        ),
        6 => ("nat", "POSTROUTING", random.one(&["-o up0 -j MASQUERADE", "-o br0 -j MASQUERADE", "-j MASQUERADE"])),
        _ => (
            "filter",
            random.one(&["INPUT", "FORWARD", "FORWARD", "FORWARD", "OUTPUT"]),
            random.one(&["-j ACCEPT", "-j DROP", "-j REJECT", "-j REJECT --reject-with icmp-host-prohibited", "", ""]),
        ),
    };
    let any = [
        "-s 10.0.0.10",
        "! -s 10.0.0.10",
        "-p icmp",
        "! -p icmp",
        "! -f",
        "-m mark --mark 0x1",
        "-m addrtype --dst-type LOCAL",
        "-m addrtype --src-type LOCAL",
        "-m limit --limit 1/min --limit-burst 2",
        "-m statistic --mode nth --every 2 --packet 0",
        "-m physdev --physdev-in va",
        "-m physdev --physdev-is-bridged",
    ];
    let tracked = [
        "-m conntrack --ctstate NEW",
        "-m conntrack --ctstate ESTABLISHED",
        "-m conntrack --ctstate RELATED",
        "-m conntrack --ctstate INVALID",
        "-m conntrack --ctstate DNAT",
        "-m conntrack --ctstate RELATED,ESTABLISHED",
    ];
    let matches = match random.below(4) {
        0 => "",
        1 if table == "filter" || table == "mangle" => random.one(&tracked),
        _ => random.one(&any),
    };
    // One of each option.
    let clash = target.contains("-p ") && matches.contains("-p ");
    format!("-t {table} -A {chain} {} {target}", if clash { "" } else { matches })
}
