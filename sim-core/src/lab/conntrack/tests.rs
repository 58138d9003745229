use super::*;
use crate::base::time::{MS, SEC};
use crate::base::{Prf, Salt, Time};
use crate::kernel::conntrack as kernel;
use crate::kernel::conntrack::{Csum, CtCx, Event, Info, Nfct, Packet};
use crate::kernel::netfilter::hook::Hook;
use crate::lab::lex::words;
use crate::lab::show::{conntrack_entries, conntrack_event, conntrack_stats};

fn read(line: &str) -> Result<Conntrack, String> {
    words(line).and_then(|w| parse(&w)).map_err(|e| e.message)
}

#[test]
fn a_value_may_be_the_next_word() {
    for (a, b) in
        [("--dst-nat 10.0.0.1", "--dst-nat=10.0.0.1"), ("-g 10.0.0.1", "-g10.0.0.1"), ("-g -p udp", "-p udp --dst-nat")]
    {
        assert_eq!(read(&format!("conntrack -D {a}")), read(&format!("conntrack -D {b}")), "{a}");
    }
}

#[test]
fn what_the_tool_refuses() {
    const TOOL: &str = "conntrack v1.4.7 (conntrack-tools): ";
    for (line, want) in [
        ("conntrack -L -p foo", "`foo' unsupported protocol"),
        ("conntrack -X", "unknown option `-X'"),
        ("conntrack -L -q", "option `-q' requires an argument"),
        ("conntrack -L -D", "Invalid commands combination"),
        ("conntrack -L --sport 5", "unknown option `--sport'"),
        ("conntrack -L --dport 5 -p udp", "unknown option `--dport'"),
        ("conntrack -L -p icmp --sport 1", "unknown option `--sport'"),
        ("conntrack -L -p udp --state ESTABLISHED", "unknown option `--state'"),
        ("conntrack -L -p tcp --state established", "unknown TCP state `established'"),
        ("conntrack -L -s 300.1.1.1", "Invalid IP address `300.1.1.1'"),
        ("conntrack -L -s 10.0.0.1/33", "Invalid netmask"),
        ("conntrack -L -o foo", "Bad parameter `foo'"),
        ("conntrack -E -e FOO", "Bad parameter `FOO'"),
        ("conntrack -L -u FOO", "Bad parameter `FOO'"),
        ("conntrack -L -f ipx", "`ipx' unsupported protocol"),
        ("conntrack -L foo", "unknown type `foo'"),
        (
            "conntrack -I -p tcp -s 1.2.3.4 -d 5.6.7.8 --sport 1 --dport 2 --state ESTABLISHED",
            "You need to supply the `--timeout' option for this command",
        ),
        (
            "conntrack -I -p tcp -s 1.2.3.4 -d 5.6.7.8 --sport 1 --dport 2 -t 10",
            "You need to supply the `--state' option for this command",
        ),
        ("conntrack -I -s 1.2.3.4 -d 5.6.7.8 -t 10", "You need to supply the `--protonum' option for this command"),
        ("conntrack -I -p udp -s 1.2.3.4 -t 10 --sport 1 --dport 3", "you have to specify `--src' and `--dst'"),
        ("conntrack -I -p udp -s 1.2.3.4 -d 5.5.5.5 -t 10 --dport 3", "you have to specify `--sport' and `--dport'"),
        ("conntrack -L -n -j", "cannot specify `--src-nat' or `--dst-nat' with `--any-nat'"),
    ] {
        assert_eq!(read(line), Err(format!("{TOOL}{want}")), "{line}");
    }
    for line in ["conntrack -L expect", "conntrack -L -o xml", "conntrack -L -t 5", "conntrack -U", "conntrack"] {
        assert!(read(line).unwrap_err().contains("not simulated"), "{line}");
    }
}

#[test]
fn words_as_getopt_reads_them() {
    let udp = |line| read(line).unwrap().filter.proto == Some(17);
    for line in
        ["conntrack -Lp udp", "conntrack -p udp -L", "conntrack -Lpudp", "conntrack --dump --proto udp conntrack"]
    {
        assert!(udp(line), "{line}");
    }
    let c = read("conntrack -E -o timestamp,id -e NEW,DESTROY").unwrap();
    assert_eq!((c.command, c.filter.events), (Command::Event, [true, false, true]));
    assert_eq!(c.output, Output { timestamp: true, id: true, ..Output::default() });
    let c = read("conntrack -D -p tcp --dport 80 -s 10.0.0.0/8 --mark=5/0xff -n 10.1.1.1").unwrap();
    assert_eq!(c.filter.ports[0][1], Some(80));
    assert_eq!(c.filter.mark, Some((5, 255)));
    assert_eq!(c.filter.nat[0], Some(Some([10, 1, 1, 1].into())));
}

fn checksum_free_udp(src: [u8; 4], dst: [u8; 4], ports: (u16, u16)) -> Vec<u8> {
    let mut p = vec![0x45, 0, 0, 29, 0, 0, 0, 0, 64, 17, 0, 0];
    p.extend(src);
    p.extend(dst);
    p.extend(ports.0.to_be_bytes());
    p.extend(ports.1.to_be_bytes());
    p.extend([0, 9, 0, 0, b'x']);
    p
}

/// One datagram from 10.5.0.1:4002 to 10.5.0.2:9, half a second after the start, as seen a second and a half later.
fn one() -> (Info, Vec<Event>) {
    let mut ct = kernel::Conntrack::default();
    ct.listen(true);
    for name in ["acct", "timestamp"] {
        ct.sysctl_set(&format!("net.netfilter.nf_conntrack_{name}"), "1").unwrap();
    }
    let prf = Prf::new(7);
    let cx = CtCx { now: Time(500 * MS), jiffies: 1000, salt: Salt::place(0), prf: &prf };
    let p = checksum_free_udp([10, 5, 0, 1], [10, 5, 0, 2], (4002, 9));
    let (_, nfct) = kernel::nf_conntrack_in(&mut ct, &cx, &Packet::new(&p, Csum::Full), Nfct::None, Hook::Prerouting);
    let (_, nfct) = kernel::nf_conntrack_confirm(&mut ct, &cx, nfct);
    ct.put(nfct);
    let cx = CtCx { now: Time(2 * SEC), jiffies: 1375, ..cx };
    let mut info = ct.list(cx.now, cx.jiffies).next().unwrap();
    ct.flush(&cx, 4_071_342_909);
    info.id = 402_466_470;
    let events = ct.drain_events().map(|mut e| {
        e.info.id = 402_466_470;
        e
    });
    (info, events.collect())
}

#[test]
fn lines_as_the_tool_prints_them() {
    let (info, events) = one();
    let epoch = 1_795_236_121 * SEC;
    let tuples = "src=10.5.0.1 dst=10.5.0.2 sport=4002 dport=9 packets=1 bytes=29 [UNREPLIED] src=10.5.0.2 \
                  dst=10.5.0.1 sport=9 dport=4002 packets=0 bytes=0";
    for (line, want) in [
        ("conntrack -L", format!("udp      17 28 {tuples} mark=0 delta-time=1 use=1\n")),
        (
            "conntrack -L -o extended,id",
            format!("ipv4     2 udp      17 28 {tuples} mark=0 delta-time=1 use=1 id=402466470\n"),
        ),
        (
            "conntrack -L -o ktimestamp",
            format!("udp      17 28 {tuples} mark=0 delta-time=1 [start=Sat Nov 21 04:42:01 2026] use=1\n"),
        ),
    ] {
        let output = read(line).unwrap().output;
        assert_eq!(conntrack_entries([&info], output, epoch), want, "{line}");
    }
    let output = read("conntrack -E -o timestamp,id").unwrap().output;
    let lines: String = events.iter().map(|e| conntrack_event(e, output, epoch)).collect();
    let want = format!(
        "[1795236121.500000]\t    [NEW] udp      17 30 src=10.5.0.1 dst=10.5.0.2 sport=4002 dport=9 [UNREPLIED] \
         src=10.5.0.2 dst=10.5.0.1 sport=9 dport=4002 id=402466470\n\
         [1795236123.000000]\t[DESTROY] udp      17 28 {tuples} delta-time=1 id=402466470 [USERSPACE] \
         portid=4071342909 progname=conntrack\n"
    );
    assert_eq!(lines, want);
    let want = "cpu=0   \tfound=0 invalid=0 insert=0 insert_failed=0 drop=0 early_drop=0 error=0 search_restart=0 \
                clash_resolve=0 chaintoolong=0 \n";
    assert_eq!(conntrack_stats(&kernel::Stats::default()), want);
}

#[test]
fn filters() {
    let (info, _) = one();
    for (options, want) in [
        ("", true),
        ("-p udp", true),
        ("-p 17 --dport 9 --sport 4002", true),
        ("-p udp --dport 10", false),
        ("-p tcp", false),
        ("-s 10.5.0.1", true),
        ("-s 10.5.0.0/24 -d 10.0.0.0/8", true),
        ("-s 10.6.0.0/24", false),
        ("-s 0.0.0.0/0", true),
        ("-r 10.5.0.2 -q 10.5.0.1", true),
        ("-r 10.5.0.1", false),
        ("-f ipv6", false),
        ("-n", false),
        ("-j", false),
        ("-m 0", true),
        ("-m 1", false),
        ("-u ASSURED", false),
        ("-w 0", true),
        ("-w 1", false),
    ] {
        let c = read(&format!("conntrack -L {options}")).unwrap();
        assert_eq!(c.filter.matches(&info), want, "{options}");
    }
}
