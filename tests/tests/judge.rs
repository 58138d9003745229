//! The judge itself: it must say what `oracles/judge.py` says, of the recordings, of changed rows and of captures.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use podhop_parity::judge::{By, Case, Options, canon, compare, decode};
use podhop_tests::recordings::{LABS, Lab, Stability, stable};
use proptest::prelude::*;

#[test]
fn every_recording_equals_itself() {
    let options = Options { times: true, strict: true, ..Options::default() };
    let mut cases = 0;
    for name in LABS {
        let lab = Lab::load(name);
        for case in lab.cases() {
            let recorded = lab.case(case).expect("a case of the lab");
            // A ping that is too big for its own interface is the one case that sends nothing.
            assert_eq!(recorded.order.as_deref() == Some(""), case == "ping_df_toobig", "{name}/{case}");
            assert_eq!(compare(&recorded, None, &recorded, &options), [""; 0], "{name}/{case}");
            cases += 1;
        }
    }
    assert_eq!(cases, 445);
}

#[test]
fn the_store_holds_what_the_table_of_stable_cases_says() {
    let table = stable();
    let labs = LABS.map(|name| (name, Lab::load(name)));
    let recorded = labs.iter().flat_map(|(name, lab)| lab.cases().map(move |case| format!("{name}/{case}")));
    assert_eq!(recorded.collect::<BTreeSet<_>>(), table.keys().cloned().collect());
    let count = |stability: &Stability| table.values().filter(|other| *other == stability).count();
    assert_eq!((count(&Stability::Equal { times: true }), count(&Stability::Equal { times: false })), (387, 5));
    for (name, lab) in &labs {
        for case in lab.cases() {
            let differs = matches!(table[&format!("{name}/{case}")], Stability::Differs { .. });
            assert_eq!(lab.second(case).is_some(), differs, "{name}/{case}");
        }
    }
}

#[test]
fn where_two_runs_of_the_kernel_differ_either_is_right() {
    let table = [
        ("labA-off", "host_down_same", "p1a: 13 records wanted, 13 seen; first difference at record 8"),
        ("labA-off", "host_down_other", "node1: 32 records wanted, 32 seen; first difference at record 20"),
        ("labA-off", "balance", "node1: 280 records wanted, 280 seen; first difference at record 72"),
        ("labB-on", "icmp_limit", "node1: 192 records wanted, 190 seen; first difference at record 99"),
        ("labC-on", "c_server_first", "node1: 44 records wanted, 38 seen; first difference at record 24"),
    ];
    let options = Options { strict: true, ..Options::default() };
    for (lab, case, first_line) in table {
        let lab = Lab::load(lab);
        let (first, second) = (lab.case(case).expect("a run"), lab.second(case).expect("another run"));
        assert_eq!(compare(&first, None, &second, &options).first().map(String::as_str), Some(first_line));
        assert_eq!(compare(&first, Some(&second), &second, &options), [""; 0], "{case}");
        assert_eq!(compare(&first, Some(&second), &first, &options), [""; 0], "{case}");
    }
}

#[test]
fn one_change_to_the_rows_of_ping_same() {
    for (what, change, equal, equal_with_times) in MUTATIONS {
        let (want, got) = (ping_same(), changed_ping_same(change));
        let report = |times| compare(&want, None, &got, &Options { times, ..Options::default() });
        assert_eq!(report(false).is_empty(), equal, "{what}: {:#?}", report(false));
        assert_eq!(report(true).is_empty(), equal_with_times, "{what}, with times: {:#?}", report(true));
    }
}

#[test]
fn options_narrow_the_comparison() {
    let got = changed_ping_same(|rows| swap(rows, "node1  vethp1a   Out ARP", "node1  cbr0      B   ARP"));
    let report = |options| compare(&ping_same(), None, &got, &options);
    assert!(!report(Options::default()).is_empty());
    assert!(report(Options { by: By::Interface, ..Options::default() }).is_empty());
    assert!(report(Options { namespaces: vec!["p1a".into(), "p1b".into()], ..Options::default() }).is_empty());
    assert!(!report(Options { namespaces: vec!["node1".into()], ..Options::default() }).is_empty());
}

#[test]
fn events_and_counters_are_compared_where_both_sides_have_them() {
    let want = Lab::load("labA-off").case("ping_same").expect("a case");
    let (lax, strict) = (Options::default(), Options { strict: true, ..Options::default() });
    let rows_alone = Case { order: want.order.clone(), files: Default::default() };
    assert_eq!(compare(&want, None, &rows_alone, &lax), [""; 0]);
    assert_eq!(compare(&want, None, &rows_alone, &strict), ["not written: node1.ctevents state.diff"]);
    let mut other = want.clone();
    other.files.insert("node1.ctevents".into(), b"[1.0]\t[NEW] udp 17 30 src=1.1.1.1\n".to_vec());
    other.files.insert("state.diff".into(), b"+[1:84] -A FORWARD\n".to_vec());
    let report = compare(&want, None, &other, &lax);
    assert_eq!(
        report.iter().filter(|line| !line.starts_with(' ')).collect::<Vec<_>>(),
        ["node1.ctevents: differs", "rule counters differ"]
    );
}

#[test]
fn what_cannot_be_read_is_never_equal() {
    let nothing = Case::default();
    let report = compare(&nothing, None, &nothing, &Options::default());
    assert_eq!(report, ["judge: wanted: neither order.txt nor ifmap with NS.any.pcap"]);
    let report = compare(&ping_same(), None, &nothing, &Options::default());
    assert_eq!(report, ["judge: seen: neither order.txt nor ifmap with NS.any.pcap"]);
}

#[test]
fn packets_of_each_kind() {
    for packet in packets() {
        let records = decode::read_pcap(&pcap(packet.link_type, &[&packet.bytes])).expect("a pcap file");
        let got: Vec<String> = records.iter().map(record_text).collect();
        assert_eq!(got, [packet.text], "{}", packet.name);
    }
}

/// Python's judge and ours on pairs of cases: recordings against each other and against changed rows, and captures.
#[test]
fn the_same_words_as_judge_py() {
    if !has_python() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary folder");
    let pairs = [
        ("labA-off", "ping_same", "labA-on", "ping_same", ""),
        ("labA-off", "head_svc_other", "labA-on", "head_svc_other", "--strict"),
        ("labA-off", "head_svc_other", "labB-off", "head_svc_other", "--by iface"),
        ("labA-off", "head_svc_same", "labA-off-nf0", "head_svc_same", "--times"),
        ("labA-off", "dns_dig", "labB-off", "dns_dig", "--ns p1a --free-length 53"),
        ("labA-off", "icmp_limit", "labB-off", "icmp_limit", "--times"),
        ("labA-off", "udp_frag_other", "labA-off", "udp_pmtu", "--strict --times"),
        ("labA-off", "traceroute_udp", "labA-on", "traceroute_udp", "--times"),
        ("labA-off", "balance", "labA-on", "balance", "--strict"),
        ("labB-off", "iperf3", "labA-off", "iperf3", ""),
        ("labC-off", "c_server_first", "labC-on", "c_server_first", "--by iface --times"),
        ("labC-on", "c_both", "labC-off", "c_both", "--strict --ns p1a,p2a"),
        ("labD-off", "ping_ttl2", "labD-off", "ping_ttl1", "--times"),
    ];
    for (number, (lab, case, other_lab, other_case, words)) in pairs.into_iter().enumerate() {
        let (lab_name, lab, other_lab) = (lab, Lab::load(lab), Lab::load(other_lab));
        let (want, second) = (lab.case(case).expect("a case"), lab.second(case));
        let got = other_lab.case(other_case).expect("a case");
        let recordings = root.path().join(number.to_string());
        write_case(&recordings.join(lab_name).join(case), &want);
        if let Some(second) = &second {
            write_case(&recordings.join("second").join(lab_name).join(case), second);
        }
        same_report(&recordings.join(lab_name).join(case), &want, second.as_ref(), &got, words);
    }
    for (number, (_, change, ..)) in MUTATIONS.into_iter().enumerate() {
        let (want, got, place) = (ping_same(), changed_ping_same(change), root.path().join(format!("m{number}/lab/c")));
        write_case(&place, &want);
        same_report(&place, &want, None, &got, ["", "--times"][number % 2]);
    }
    let captures = root.path().join("captures");
    write_case(&captures, &capture_of_all_packets());
    let python = python(&["oracles/judge.py", "canon", &captures.to_string_lossy()]);
    assert_eq!(python, canon(&Case::load(&captures).expect("a case"), &Options::default()));
}

/// Python's decoder and ours on packets of each kind.
#[test]
fn the_same_text_as_pk_py() {
    const PRINT: &str = "import sys; sys.path.insert(0, 'oracles'); import pk\n\
                         for r in pk.read(sys.argv[1]): print(r[2], pk.PT.get(r[3], '-'), r[4])";
    if !has_python() {
        return;
    }
    let root = tempfile::tempdir().expect("a temporary folder");
    let file = root.path().join("packets.pcap");
    for packet in packets().iter().filter(|packet| !packet.text.contains("malformed")) {
        fs::write(&file, pcap(packet.link_type, &[&packet.bytes])).expect("a file");
        let python = python(&["-c", PRINT, &file.to_string_lossy()]);
        assert_eq!(python.trim_end(), packet.text, "{}", packet.name);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(
        link_type in prop::sample::select(vec![1_u32, 101, 113, 276]),
        start in prop::sample::select(packets()),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..12),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut frame = [start.bytes, tail].concat();
        for (at, byte) in changes {
            *at.get_mut(&mut frame) = byte;
        }
        let text = decode::read_pcap(&pcap(link_type, &[&frame])).expect("a pcap file")[0].text.clone();
        prop_assert!(!text.is_empty());
    }

    #[test]
    fn no_text_makes_the_judge_panic(
        order in "(0\\.1 n e In |IP (1\\.){4}|Flags \\[S\\], seq |TS val |ecr |\\PC|9{1,30}|\n){0,40}",
        other in "(\\[NEW\\] |id=|sport=|\\PC|9{1,30} |\n){0,20}",
    ) {
        let case = Case { order: Some(order), files: [("n.ctevents".to_owned(), other.into_bytes())].into() };
        let options = Options { times: true, strict: true, free_length: Some(53), ..Options::default() };
        prop_assert!(compare(&case, None, &case, &options).is_empty());
    }
}

type Rows = Vec<String>;
type Change = fn(&mut Rows);

/// What is changed; the change; is it equal still; and with times?
const MUTATIONS: [(&str, Change, bool, bool); 22] = [
    ("nothing", |_| {}, true, true),
    ("a direction", |rows| edit(rows, "p1a    eth0      In  ARP", " In ", " Out"), false, false),
    ("an interface", |rows| edit(rows, "node1  vethp1b   Out IP", "vethp1b", "vethp1a"), false, false),
    ("a TTL", |rows| edit(rows, "p1b    eth0      In  IP", "ttl 64", "ttl 63"), false, false),
    ("DF", |rows| edit(rows, "p1b    eth0      In  IP", " DF", ""), false, false),
    ("a length", |rows| edit(rows, "p1b    eth0      In  IP", "length 64", "length 63"), false, false),
    ("a checksum state", |rows| edit(rows, "p1b    eth0      In  IP", "icmpck=ok", "icmpck=bad"), false, false),
    ("a MAC", |rows| edit(rows, "p1a    eth0      In  ARP", "0a:58:0a:f4:01:03", "0a:58:0a:f4:01:04"), false, false),
    ("an IP id in one place", |rows| edit(rows, "p1b    eth0      Out IP", "id 7772", "id 7773"), true, true),
    ("an IP id that two share", |rows| edit(rows, "node1  vethp1a   Out IP", "id 7772", "id 7773"), false, false),
    ("an IP id that is zero", |rows| edit(rows, "p1b    eth0      Out IP", "id 7772", "id 0"), false, false),
    ("an echo id", |rows| edit(rows, "p1b    eth0      Out IP", "id 19915", "id 1"), true, true),
    (
        "two rows of a namespace swapped",
        |rows| swap(rows, "p1b    eth0      In  IP", "p1b    eth0      Out IP"),
        false,
        false,
    ),
    (
        "rows of two namespaces swapped",
        |rows| swap(rows, "p1a    eth0      Out IP", "node1  vethp1a   P   IP"),
        true,
        true,
    ),
    ("a lost row", |rows| drop(rows.remove(5)), false, false),
    ("a lost row at the end", |rows| drop(rows.pop()), false, false),
    ("40 ms more in 1 s", |rows| shift(rows, "seq 3,", 0.040), true, true),
    ("50 ms more in 1 s", |rows| shift(rows, "seq 3,", 0.050), true, false),
    ("40 ms more in 0.2 s", |rows| shift(rows, "seq 2,", 0.040), true, false),
    ("20 ms more in 0.2 s", |rows| shift(rows, "seq 2,", 0.020), true, true),
    ("a surplus of ARP at the end", |rows| rows.push(rows[0].replace("0.000000", "9.000000")), true, true),
    ("a surplus of ARP within", |rows| rows.insert(1, rows[0].clone()), false, false),
];

/// The rows of a ping between two pods of a node, its last echo moved to 1 s after the one before.
fn ping_same() -> Case {
    changed_ping_same(|_| {})
}

fn changed_ping_same(change: Change) -> Case {
    let order = Lab::load("labA-off").case("ping_same").and_then(|case| case.order).expect("a case with rows");
    let mut rows: Rows = order.lines().map(str::to_owned).collect();
    shift(&mut rows, "seq 3,", 0.796);
    change(&mut rows);
    Case { order: Some(rows.join("\n")), files: Default::default() }
}

/// The place of the first row that has this text.
fn find(rows: &Rows, text: &str) -> usize {
    rows.iter().position(|row| row.contains(text)).unwrap_or_else(|| panic!("no row has {text:?}"))
}

fn edit(rows: &mut Rows, row: &str, from: &str, to: &str) {
    let at = find(rows, row);
    assert!(rows[at].contains(from), "{:?} has no {from:?}", rows[at]);
    rows[at] = rows[at].replacen(from, to, 1);
}

fn swap(rows: &mut Rows, one: &str, other: &str) {
    let (one, other) = (find(rows, one), find(rows, other));
    rows.swap(one, other);
}

/// Delays the rows from the first one with this text on.
fn shift(rows: &mut Rows, from: &str, seconds: f64) {
    for row in find(rows, from)..rows.len() {
        let (time, rest) = rows[row].trim_start().split_once(' ').expect("a row starts with its time");
        let time: f64 = time.parse().expect("seconds");
        rows[row] = format!("{:10.6} {rest}", time + seconds);
    }
}

/// One of `judge_data/packets.txt`.
#[derive(Clone, Debug)]
struct Packet {
    name: &'static str,
    link_type: u32,
    bytes: Vec<u8>,
    text: &'static str,
}

fn packets() -> Vec<Packet> {
    let lines: Vec<&str> = include_str!("judge_data/packets.txt").lines().collect();
    let blocks = lines.split(|line| line.is_empty()).skip(1);
    blocks.map(|block| packet(block).unwrap_or_else(|| panic!("packets.txt: {block:?}"))).collect()
}

fn packet(block: &[&'static str]) -> Option<Packet> {
    let &[name, link_type, hex, text] = block else { return None };
    let (_, link_type) = LINK_TYPES.into_iter().find(|(name, _)| *name == link_type)?;
    let byte = |at: usize| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok();
    Some(Packet { name, link_type, bytes: (0..hex.len()).step_by(2).map(byte).collect::<Option<_>>()?, text })
}

const LINK_TYPES: [(&str, u32); 4] = [("eth", 1), ("raw", 101), ("sll", 113), ("sll2", 276)];

fn record_text(record: &decode::Record) -> String {
    let index = record.ifindex.map_or_else(|| "None".to_owned(), |index| index.to_string());
    format!("{index} {} {}", record.direction(), record.text)
}

fn pcap(link_type: u32, frames: &[&[u8]]) -> Vec<u8> {
    let header = [0xa1b2_3c4d, 0x0004_0002, 0, 0, 0xffff, link_type];
    let mut file: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_le_bytes()).collect();
    for (number, frame) in (0..).zip(frames) {
        let len = u32::try_from(frame.len()).expect("a small frame");
        // The time steps back now and then, as that of a frame does which a bridge hands up.
        let header = [1_700_000_000 + number / 4, 1000 * (7 * number % 5), len, len];
        file.extend(header.iter().flat_map(|word: &u32| word.to_le_bytes()));
        file.extend(*frame);
    }
    file
}

/// Two namespaces' captures, `-i any`, of every packet that is whole.
fn capture_of_all_packets() -> Case {
    let whole = packets().into_iter().filter(|p| p.link_type == 101 && !p.text.contains("malformed"));
    let cooked = |(number, packet): (u8, Packet)| {
        let ethertype = if packet.bytes[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
        let header = [ethertype.as_slice(), &[0, 0, 0, 0, 0, number % 4, 0, 1, number % 6, 6], &[0; 8]].concat();
        [header, packet.bytes].concat()
    };
    let frames: Vec<Vec<u8>> = (0..).zip(whole).map(cooked).collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let (a, b) = frames.split_at(frames.len() / 2);
    let files = [
        ("a.any.pcap", pcap(276, a)),
        ("b.any.pcap", pcap(276, b)),
        ("b.eth0.pcap", b"not judged".to_vec()),
        ("ifmap", b"a 1 lo\na 2 eth0\nb 1 lo\nb 2 eth0\n".to_vec()),
        ("b.ctevents", Vec::new()),
    ];
    Case { order: None, files: files.map(|(name, bytes)| (name.to_owned(), bytes)).into() }
}

fn write_case(folder: &Path, case: &Case) {
    fs::create_dir_all(folder).expect("a folder");
    let order = case.order.iter().map(|order| ("order.txt", order.as_bytes()));
    for (name, bytes) in order.chain(case.files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()))) {
        fs::write(folder.join(name), bytes).expect("a file");
    }
}

/// Judges `got` against the case that is written in `place`, with Python and by ourselves.
fn same_report(place: &Path, want: &Case, second: Option<&Case>, got: &Case, words: &str) {
    let seen = place.with_extension("seen");
    write_case(&seen, got);
    let (place_text, seen) = (place.to_string_lossy(), seen.to_string_lossy());
    let mut arguments = vec!["oracles/judge.py", "diff", &*place_text, &*seen];
    arguments.extend(words.split_whitespace());
    let report = compare(want, second, got, &options(words));
    let ours = if report.is_empty() { "equal\n".to_owned() } else { report.join("\n") + "\n" };
    assert_eq!(python(&arguments), ours, "{arguments:?}");
}

/// The options that judge.py's own words stand for.
fn options(words: &str) -> Options {
    let words: Vec<&str> = words.split_whitespace().collect();
    let value = |name: &str| words.iter().position(|word| *word == name).map(|at| words[at + 1]);
    Options {
        by: if value("--by") == Some("iface") { By::Interface } else { By::Namespace },
        times: words.contains(&"--times"),
        strict: words.contains(&"--strict"),
        namespaces: value("--ns").map_or_else(Vec::new, |names| names.split(',').map(str::to_owned).collect()),
        free_length: value("--free-length").map(|port| port.parse().expect("a port")),
        ..Options::default()
    }
}

/// Says so where there is no Python; in CI there must be one.
fn has_python() -> bool {
    const SKIPPED: &str = "skipped: needs python3";
    let found = Command::new("python3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{SKIPPED}");
        eprintln!("{SKIPPED}");
    }
    found
}

/// What python3 prints, run in this package's folder. Exit code 1 is judge.py's "different".
fn python(arguments: &[&str]) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let output = Command::new("python3").arg("-B").args(arguments).current_dir(folder).output().expect("python3 runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code().is_some_and(|code| code <= 1) && stderr.is_empty(), "{arguments:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
