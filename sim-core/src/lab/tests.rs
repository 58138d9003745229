//! Grammar and errors, case by case, in `tests/*.txt`: the expectations were taken from the real tools. Then whole
//! commands, run.

mod running;

use super::show::{FdbFilter, What};
use super::{Action, Command, parse, print};
use crate::base::words::SyntaxError;

/// The cases of a file: a command after `$`, then what belongs to it. A line after `#` is a title.
fn cases(file: &str) -> impl Iterator<Item = (&str, String)> {
    file.split("\n$ ").skip(1).map(|case| {
        let (command, rest) = case.split_once('\n').unwrap();
        let rest = rest.lines().filter(|l| !l.starts_with("# ") && !l.is_empty());
        (command, rest.map(|l| format!("{l}\n")).collect())
    })
}

/// What a command means, told by how its requests are printed; its namespaces stand in front.
#[test]
fn grammar() {
    for (command, want) in cases(include_str!("tests/grammar.txt")) {
        let Command { netns, action, .. } = parse(command).unwrap_or_else(|e| panic!("{command}: {e}"));
        let Action::Requests(r) = action else { panic!("{command}: {action:?}") };
        let mut got: String = netns.iter().map(|ns| format!("[{ns}] ")).collect();
        got += &r.requests.iter().map(print::command).collect::<Vec<_>>().join("; ");
        assert_eq!(got + "\n", want, "{command}");
    }
}

/// What is wrong with a command, and with which of its words.
#[test]
fn errors() {
    for (command, want) in cases(include_str!("tests/errors.txt")) {
        let SyntaxError { span, message, hint } = parse(command).expect_err(command);
        let blank = command[..span.start].chars().count() + "$ ".len();
        let marks = "^".repeat(command[span].chars().count().max(1));
        let hint = hint.map(|h| format!("hint: {h}\n")).unwrap_or_default();
        assert_eq!(format!("{}{marks}\n{message}\n{hint}", " ".repeat(blank)), want, "{command}");
    }
}

#[test]
fn nothing_to_run() {
    for line in ["", "  ", "# only a comment"] {
        assert_eq!(parse(line).unwrap_err().message, "there is no command");
    }
    let deep = "ip netns exec a ".repeat(100_000) + "ip link";
    let e = parse(&deep).unwrap_err();
    assert_eq!(e.message, "more than 16 namespaces inside each other (MAX_NETNS_ENTERED)");
}

#[test]
fn sysctl() {
    let rmem = "sysctl -qw net.ipv4.tcp_rmem=\"4096 131072 6291456\"";
    for (line, name, value, flags) in [
        ("sysctl -w net.ipv4.ip_forward=1", "net.ipv4.ip_forward", Some("1"), [false; 3]),
        ("sysctl net/ipv4/conf/eth0.5/rp_filter", "net.ipv4.conf.eth0/5.rp_filter", None, [false; 3]),
        (rmem, "net.ipv4.tcp_rmem", Some("4096 131072 6291456"), [false, true, false]),
        ("sysctl ' net.ipv4.ip_forward =  1 '", "net.ipv4.ip_forward", Some("1"), [false; 3]),
        ("sysctl net.ipv4.ip_forward -ne", "net.ipv4.ip_forward", None, [true, false, true]),
        ("sysctl --values --quiet --ignore -- x=", "x", Some(""), [true; 3]),
    ] {
        let Action::Sysctl(s) = parse(line).unwrap().action else { panic!("{line}") };
        assert_eq!((s.variables[0].name.as_str(), s.variables[0].value.as_deref()), (name, value), "{line}");
        assert_eq!([s.options.values, s.options.quiet, s.options.ignore_missing], flags, "{line}");
    }
}

/// Abbreviations go to the first command of the real table.
#[test]
fn show_commands() {
    let what = |line: &str| match parse(line).unwrap().action {
        Action::Show { show, .. } => show.what,
        other => panic!("{line}: {other:?}"),
    };
    for line in ["ip link", "ip l", "ip link show", "ip link ls", "ip li l", "ip -br -d link sh", "ip --stat link"] {
        assert!(matches!(what(line), What::Links(_)), "{line}");
    }
    for line in ["ip a", "ip ad", "ip addr", "ip address s lo", "ip a l", "ip -4 addr show dev lo up"] {
        assert!(matches!(what(line), What::Addrs { .. }), "{line}");
    }
    for line in ["ip r", "ip ro s", "ip route list table all", "ip route show default"] {
        assert!(matches!(what(line), What::Routes(_)), "{line}");
    }
    for line in ["ip n", "ip ne", "ip nei s", "ip neighbor", "ip neighbour list", "ip -s neigh show nud all"] {
        assert!(matches!(what(line), What::Neighs(_)), "{line}");
    }
    for line in ["ip net", "ip netns", "ip netns s", "ip netns list foo"] {
        assert!(matches!(what(line), What::Netns), "{line}");
    }
    assert!(matches!(what("bridge l"), What::BridgeLinks { dev: None }));
    assert_eq!(what("bridge f"), What::Fdb(FdbFilter::default()));
}

/// Whatever the line, there is an answer; a span lies within the line, on letter boundaries.
#[test]
fn any_line() {
    use proptest::prelude::*;
    let words = "ip bridge sysctl ethtool link addr route neigh netns fdb add set del show exec dev name type veth \
                 bridge peer via default 10.0.0.1/24 10.0.0.1 0a:00:00:00:00:01 eth0 up mtu 1500 lladdr nud all table \
                 -n -s -d -K on = x=1 ' \" é \\ brd + master bridge_slave hairpin flush -w tx 9999999999999999 -1 a/b";
    let words = proptest::sample::select(words.split(' ').collect::<Vec<_>>());
    let line = proptest::collection::vec(words, 0..12).prop_map(|w| w.join(" "));
    proptest!(|(line in prop_oneof![line, any::<String>()])| {
        if let Err(e) = parse(&line) {
            prop_assert!(line.get(e.span.clone()).is_some(), "{:?}", e.span);
            prop_assert!(!e.message.is_empty());
        }
    });
}
