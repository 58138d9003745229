//! A packet's walk through the rules: each match and target against packets, the stack of chains, counters.

use sim_core::base::{IfIndex, Time};
use sim_core::kernel::conntrack::{CtInfo, Status, Tuple};
use sim_core::kernel::frame::Sk;
use sim_core::kernel::netfilter::eval::{Verdict, walk};
use sim_core::kernel::netfilter::hook::{Hook, TableName};
use sim_core::kernel::netfilter::packet::{AddrType, Connection, Ct, IfName, Packet, Surroundings, Tracked};
use sim_core::kernel::netfilter::parse::parse;
use sim_core::kernel::netfilter::targets::{Nat, NatKind, RejectWith};
use sim_core::kernel::netfilter::{Backend, Iptables};
use std::net::Ipv4Addr;

/// The only device is eth0, 10.0.0.1 is local, the rest is unicast; draws come one after the other.
#[derive(Default)]
struct Around {
    draws: Vec<u32>,
    took: Vec<(u32, u32)>,
}

impl Surroundings for Around {
    fn name(&self, _: IfIndex) -> IfName {
        IfName::new("eth0")
    }

    fn connection(&self) -> Option<Connection> {
        let (src, dst) = ([10, 0, 0, 2].into(), [10, 0, 0, 1].into());
        let tuple = Tuple { src, dst, proto: 6, sport: 1000, dport: 80, zone: 0 };
        Some(Connection { tuple: [tuple; 2], expires_s: 30 })
    }

    fn addr_type(&mut self, address: Ipv4Addr, _: Option<IfIndex>) -> AddrType {
        if address == Ipv4Addr::new(10, 0, 0, 1) { AddrType::Local } else { AddrType::Unicast }
    }

    fn draw(&mut self, _: u32) -> u32 {
        self.draws.pop().unwrap_or(0)
    }

    fn took(&mut self, chain: u32, rule: u32) {
        self.took.push((chain, rule));
    }
}

/// A packet from 10.0.0.2 port 1000 to 10.0.0.1 port 80 with a TCP SYN of 40 bytes.
fn tcp() -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 40, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 2, 10, 0, 0, 1];
    bytes.extend([0x03, 0xe8, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0]);
    bytes
}

fn packet(bytes: &[u8]) -> Packet<'_> {
    Packet {
        bytes,
        indev: Some(IfIndex(2)),
        outdev: None,
        physin: None,
        physout: None,
        bridged: false,
        sk: Sk::None,
        mark: 0,
        ct: Ct::None,
        now: Time(0),
    }
}

fn tracked(info: CtInfo, status: Status) -> Ct {
    Ct::Tracked(Tracked { info, status, mark: 0x12 })
}

fn rules(commands: &[&str]) -> Iptables {
    let mut iptables = Iptables::new(Backend::Legacy);
    for command in commands {
        let words: Vec<&str> = command.split(' ').collect();
        iptables.run(parse(&words, None).expect(command)).expect(command);
    }
    iptables
}

fn at(iptables: &mut Iptables, table: TableName, hook: Hook, packet: &mut Packet<'_>, around: &mut Around) -> Verdict {
    let (table, mut memory) = iptables.walked(table).expect("the commands made it");
    walk(table, hook, packet, &mut memory, around)
}

/// The rule drops the packet or not.
fn drops(conditions: &str, packet: &mut Packet<'_>, around: &mut Around) -> bool {
    let mut iptables = rules(&[&format!("-A INPUT {conditions} -j DROP")]);
    at(&mut iptables, TableName::Filter, Hook::Input, packet, around) == Verdict::Drop
}

#[test]
fn conditions_and_matches() {
    let bytes = tcp();
    for (conditions, want) in [
        ("-s 10.0.0.0/24", true),
        ("! -s 10.0.0.0/24", false),
        ("-d 10.0.0.2", false),
        ("-i eth0", true),
        ("-i eth+", true),
        ("-i eth", false),
        ("! -i eth1", true),
        ("-p tcp", true),
        ("! -p udp", true),
        ("-p udp", false),
        ("-f", false),
        ("! -f", true),
        ("-p tcp --dport 80", true),
        ("-p tcp --dport 81:", false),
        ("-p tcp ! --sport 1:999", true),
        ("-p tcp --syn", true),
        ("-p tcp ! --syn", false),
        ("-p tcp --tcp-flags ALL SYN,ACK", false),
        ("-p tcp --tcp-option 8", false),
        ("-p tcp ! --tcp-option 8", true),
        ("-p tcp -m multiport --dports 22,79:81", true),
        ("-p tcp -m multiport ! --ports 1000", false),
        ("-m mark --mark 0x4000/0x4000", false),
        ("-m mark ! --mark 0x4000/0x4000", true),
        ("-m comment --comment x", true),
        ("-m addrtype --dst-type LOCAL", true),
        ("-m addrtype ! --src-type LOCAL --dst-type UNICAST", false),
        ("-m conntrack --ctstate INVALID", true),
        ("-m conntrack ! --ctstate NEW", true),
        ("-m conntrack --ctproto tcp", false),
        ("-m physdev --physdev-is-in", false),
        ("-m physdev ! --physdev-is-in", true),
        ("-m recent --rcheck", false),
        ("-m recent ! --rcheck", true),
        ("-m statistic --mode nth --every 2 --packet 0", true),
        ("-m statistic --mode nth --every 2 --packet 1", false),
    ] {
        assert_eq!(drops(conditions, &mut packet(&bytes), &mut Around::default()), want, "{conditions}");
    }
}

#[test]
fn connections() {
    let bytes = tcp();
    for (conditions, state, status, want) in [
        ("-m conntrack --ctstate NEW", CtInfo::New, Status::default(), true),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", CtInfo::New, Status::default(), false),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", CtInfo::New, Status::DST_NAT, false),
        ("-m conntrack --ctstate DNAT", CtInfo::Established, Status::DST_NAT, true),
        ("-m state --state RELATED", CtInfo::Related, Status::default(), true),
        ("-m conntrack --ctorigsrc 10.0.0.0/8 --ctorigdstport 80", CtInfo::New, Status::default(), true),
        ("-m conntrack ! --ctorigsrc 10.0.0.0/8", CtInfo::New, Status::default(), false),
        ("-m conntrack --ctdir REPLY", CtInfo::New, Status::default(), false),
        ("-m conntrack --ctexpire 10:30", CtInfo::New, Status::default(), true),
    ] {
        let mut packet = packet(&bytes);
        packet.ct = tracked(state, status);
        assert_eq!(drops(conditions, &mut packet, &mut Around::default()), want, "{conditions}");
    }
}

#[test]
fn malformed_packets() {
    let mut short = tcp();
    short.truncate(30);
    assert!(drops("-p tcp --dport 1", &mut packet(&short), &mut Around::default()), "a header that is cut off");
    let mut second = tcp();
    second[7] = 1;
    assert!(drops("-p tcp --dport 1", &mut packet(&second), &mut Around::default()), "it overwrites the flags");
    second[7] = 5;
    assert!(!drops("-p tcp --dport 80", &mut packet(&second), &mut Around::default()), "a fragment has no ports");
    assert!(drops("-f", &mut packet(&second), &mut Around::default()));
}

#[test]
fn jump_goto_return_and_counters() {
    let mut iptables = rules(&[
        "-N A",
        "-N B",
        "-N C",
        "-P INPUT DROP",
        "-A INPUT -j A",
        "-A INPUT -j ACCEPT",
        "-A A -p udp -j RETURN",
        "-A A -g B",
        "-A A -j DROP",
        "-A B -j C",
        "-A C -j RETURN",
        "-A C -j DROP",
    ]);
    let bytes = tcp();
    let mut around = Around::default();
    let verdict = at(&mut iptables, TableName::Filter, Hook::Input, &mut packet(&bytes), &mut around);
    // C returns to B, whose end returns to INPUT because A went to B for good.
    assert_eq!(verdict, Verdict::Accept);
    assert_eq!(around.took, [(0, 0), (3, 1), (4, 0), (5, 0), (0, 1)]);
    let listed = iptables.run(parse(&["-S", "-v"], None).expect("a command")).expect("it runs");
    for line in ["-A INPUT -c 1 40 -j A", "-A A -c 1 40 -g B", "-A A -c 0 0 -j DROP", "-P INPUT DROP -c 0 0"] {
        assert!(listed.contains(line), "{line}:\n{listed}");
    }
    // RETURN from a base chain is its policy.
    let mut iptables = rules(&["-P INPUT DROP", "-A INPUT -j RETURN", "-A INPUT -j ACCEPT"]);
    let verdict = at(&mut iptables, TableName::Filter, Hook::Input, &mut packet(&bytes), &mut around);
    assert_eq!(verdict, Verdict::Drop);
    let listed = iptables.run(parse(&["-S", "-v"], None).expect("a command")).expect("it runs");
    assert!(listed.contains("-P INPUT DROP -c 1 40"), "{listed}");
    // The counter of a rule goes with it when rules come and go before it.
    iptables.run(parse(&["-I", "INPUT", "-p", "udp"], None).expect("a command")).expect("it runs");
    let listed = iptables.run(parse(&["-S", "-v"], None).expect("a command")).expect("it runs");
    assert!(listed.contains("-A INPUT -c 1 40 -j RETURN"), "{listed}");
}

#[test]
fn targets() {
    let bytes = tcp();
    let mut around = Around::default();
    let mut iptables = rules(&[
        "-t mangle -A PREROUTING -j MARK --or-mark 0x4000",
        "-t mangle -A PREROUTING -m mark --mark 0x4000/0x4000 -j CONNMARK --save-mark",
        "-t mangle -A PREROUTING -j MARK --xor-mark 0x4000",
        "-t raw -A PREROUTING -j NOTRACK",
        "-t nat -A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.9:8080",
        "-A INPUT -p tcp -j REJECT --reject-with tcp-reset",
    ]);
    let mut p = packet(&bytes);
    p.ct = tracked(CtInfo::New, Status::default());
    assert_eq!(at(&mut iptables, TableName::Mangle, Hook::Prerouting, &mut p, &mut around), Verdict::Accept);
    let Ct::Tracked(ct) = p.ct else { panic!("it stays") };
    assert_eq!((p.mark, ct.mark), (0, 0x4000));
    let verdict = at(&mut iptables, TableName::Nat, Hook::Prerouting, &mut p, &mut around);
    let Verdict::Nat(Nat { kind: NatKind::Dnat, range }) = verdict else { panic!("{verdict:?}") };
    let to = [10, 0, 0, 9].into();
    assert_eq!((range.addrs, range.ports), (Some((to, to)), Some((8080, 8080))));
    let verdict = at(&mut iptables, TableName::Filter, Hook::Input, &mut p, &mut around);
    assert_eq!(verdict, Verdict::Reject(RejectWith::TcpReset));
    let mut p = packet(&bytes);
    assert_eq!(at(&mut iptables, TableName::Raw, Hook::Prerouting, &mut p, &mut around), Verdict::Accept);
    assert_eq!(p.ct, Ct::Untracked);
}

#[test]
fn statistic_and_limit_and_recent() {
    let bytes = tcp();
    let mut around = Around { draws: vec![0x8000_0000 | 0x4000_0000, 0x3fff_ffff], took: vec![] };
    let mut iptables = rules(&["-A INPUT -m statistic --mode random --probability 0.5 -j DROP"]);
    let mut one = |iptables: &mut Iptables, now_s: u64| {
        let mut p = packet(&bytes);
        p.now = Time(now_s * 1_000_000_000);
        at(iptables, TableName::Filter, Hook::Input, &mut p, &mut around)
    };
    assert_eq!([one(&mut iptables, 0), one(&mut iptables, 0)], [Verdict::Drop, Verdict::Accept]);
    let mut iptables = rules(&["-A INPUT -m statistic --mode nth --every 3 --packet 1 -j DROP"]);
    let drops: Vec<bool> = (0..7).map(|_| one(&mut iptables, 0) == Verdict::Drop).collect();
    assert_eq!(drops, [false, true, false, false, true, false, false]);
    let mut iptables = rules(&["-A INPUT -m limit --limit 1/s --limit-burst 2 -j ACCEPT", "-A INPUT -j DROP"]);
    let passes: Vec<bool> = [0, 0, 0, 1, 1].iter().map(|s| one(&mut iptables, *s) == Verdict::Accept).collect();
    assert_eq!(passes, [true, true, false, true, false]);
    let mut iptables = rules(&[
        "-A INPUT -m recent --rcheck --seconds 10 --reap --name a -j ACCEPT",
        "-A INPUT -m recent --set --name a -j DROP",
    ]);
    let passes: Vec<bool> = [0, 5, 10, 11, 12].iter().map(|s| one(&mut iptables, *s) == Verdict::Accept).collect();
    assert_eq!(passes, [false, true, true, false, true]);
}
