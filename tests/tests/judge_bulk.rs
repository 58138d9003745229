//! Recordings, as they are and doctored.

use podhop_parity::judge::{Case, compare_bulk};
use podhop_tests::recordings::Lab;

/// So many packets of each way are compared one by one.
const FIRST: u64 = 20;

/// What was recorded of TCP in bulk.
const CASES: [(&str, &str); 19] = [
    ("labA-off", "delack"),
    ("labA-off", "iperf3"),
    ("labA-off", "mtu_1400"),
    ("labA-off", "tcp_abort"),
    ("labA-off", "tcp_big"),
    ("labA-off", "tcp_big_same"),
    ("labA-off", "upload"),
    ("labA-off-k618", "tcp_big"),
    ("labA-off-legacy", "tcp_big"),
    ("labA-off-nf0", "tcp_big"),
    ("labA-on", "delack"),
    ("labA-on", "iperf3"),
    ("labA-on", "mtu_1400"),
    ("labA-on", "tcp_abort"),
    ("labA-on", "tcp_big"),
    ("labB-off", "tcp_big"),
    ("labB-off", "vx_podmtu1500"),
    ("labB-on", "delack"),
    ("labB-on", "mtu_1400"),
];

fn recorded(lab: &str, case: &str) -> (Case, Option<Case>) {
    let lab = Lab::load(lab);
    (lab.case(case).expect("a recording"), lab.second(case))
}

#[test]
fn recordings_equal_themselves() {
    for (lab, case) in CASES {
        let (first, second) = recorded(lab, case);
        for run in [Some(&first), second.as_ref()].into_iter().flatten() {
            assert_eq!(compare_bulk(&first, second.as_ref(), run), [""; 0], "{lab}/{case}");
        }
    }
}

/// The rows of a recording after `change`, judged by the recording alone.
fn doctored(lab: &str, case: &str, change: impl Fn(&mut Vec<String>)) -> Vec<String> {
    let (want, _) = recorded(lab, case);
    let mut rows: Vec<String> = want.order.iter().flat_map(|order| order.lines()).map(str::to_owned).collect();
    change(&mut rows);
    compare_bulk(&want, None, &Case { order: Some(rows.join("\n")), ..want.clone() })
}

/// The place of the row that has all of these texts.
fn row(rows: &[String], texts: &[&str]) -> usize {
    let found = rows.iter().position(|row| texts.iter().all(|text| row.contains(text)));
    found.unwrap_or_else(|| panic!("no row has {texts:?}"))
}

fn edit(rows: &mut [String], texts: &[&str], from: &str, to: &str) {
    let at = row(rows, texts);
    assert!(rows[at].contains(from), "{:?} has no {from:?}", rows[at]);
    rows[at] = rows[at].replacen(from, to, 1);
}

#[test]
fn what_is_wrong_is_found() {
    type Change = fn(&mut Vec<String>);
    let table: [(&str, &str, Change); 13] = [
        ("another window in the handshake", "p1a eth0 Out 10.244.1.2.e1 > 10.96.0.82.80: handshake:", |rows| {
            edit(rows, &["p1a    eth0      Out", "[S]"], "win 64240", "win 65535");
        }),
        ("another MSS option", "p1a eth0 In 10.96.0.82.80 > 10.244.1.2.e1: handshake:", |rows| {
            edit(rows, &["p1a    eth0      In", "[S.]"], "mss 1460", "mss 1400");
        }),
        ("a segment of another size", "p1a eth0 In 10.96.0.82.80 > 10.244.1.2.e1: segment sizes: 1400 bytes", |rows| {
            edit(rows, &["p1a    eth0      In", "seq 66317,"], "length 1448", "length 1400");
        }),
        ("two segments in one", "p2a eth0 Out 10.244.2.2.80 > 10.244.1.2.e1: segment sizes: 2896 bytes", |rows| {
            edit(rows, &["p2a    eth0      Out", "seq 66317,"], "length 1448", "length 2896");
            let second = row(rows, &["p2a    eth0      Out", "seq 67765,"]);
            rows.remove(second);
        }),
        ("a lost segment", "node1 cbr0 Out 10.96.0.82.80 > 10.244.1.2.e1: bytes:", |rows| {
            let lost = row(rows, &["node1  cbr0      Out", "seq 66317,"]);
            rows.remove(lost);
        }),
        ("a lost byte", "p1a eth0 In 10.96.0.82.80 > 10.244.1.2.e1: bytes:", |rows| {
            edit(rows, &["p1a    eth0      In", "seq 99621,"], "length 624", "length 623");
        }),
        ("no FIN", "p1a eth0 In 10.96.0.82.80 > 10.244.1.2.e1: close:", |rows| {
            let fin = row(rows, &["p1a    eth0      In", "[F.]"]);
            rows.remove(fin);
        }),
        ("a FIN that is not acknowledged", "p1a eth0 Out 10.244.1.2.e1 > 10.96.0.82.80: close:", |rows| {
            let last = row(rows, &["p1a    eth0      Out", "ack 100246,"]);
            rows.remove(last);
        }),
        ("a reset for a FIN", "p2a eth0 Out 10.244.2.2.80 > 10.244.1.2.e1: close:", |rows| {
            edit(rows, &["p2a    eth0      Out", "[F.]"], "[F.]", "[R.]");
        }),
        (
            "another window within the first twenty",
            "p1a eth0 Out 10.244.1.2.e1 > 10.96.0.82.80: first segments:",
            |rows| {
                edit(rows, &["p1a    eth0      Out", "ack 5793,"], "win 593", "win 592");
            },
        ),
        ("another PSH in the first flight", "p2a eth0 Out 10.244.2.2.80 > 10.244.1.2.e1: first flight:", |rows| {
            edit(rows, &["p2a    eth0      Out", "seq 2897,"], "[.]", "[P.]");
        }),
        ("a segment sent twice", "p2a eth0 Out 10.244.2.2.80 > 10.244.1.2.e1: retransmissions: 66317", |rows| {
            let first = row(rows, &["p2a    eth0      Out", "seq 66317,"]);
            let (again, at) = (rows[first].clone(), row(rows, &["p2a    eth0      Out", "seq 69213,"]));
            rows.insert(at, again);
        }),
        ("a place that saw nothing", "places: p2a eth0 In", |rows| {
            rows.retain(|row| !row.contains("p2a    eth0      In  IP"));
        }),
    ];
    for (what, line, change) in table {
        let report = doctored("labA-off", "tcp_big", change);
        assert!(report.iter().any(|l| l.starts_with(line)), "{what}: {report:#?}");
    }
}

#[test]
fn a_tunnel_is_a_place() {
    type Change = fn(&mut Vec<String>);
    const OUT: &str = "node2 eth0 Out in VXLAN 10.244.2.2.80 > 10.244.1.2.e2:";
    let table: [(&str, &str, Change); 4] = [
        ("another outer TTL in the first flight", "first flight:", |rows| {
            edit(rows, &["node2  eth0      Out", "VXLAN", "seq 1399,"], "ttl 64", "ttl 63");
        }),
        ("another network", "first segments:", |rows| {
            edit(rows, &["node2  eth0      Out", "VXLAN", "seq 1399,"], "vni 1", "vni 2");
        }),
        ("a lost segment", "bytes:", |rows| {
            let lost = row(rows, &["node2  eth0      Out", "VXLAN", "seq 67179,"]);
            rows.remove(lost);
        }),
        ("one that is too long", "segment sizes:", |rows| {
            edit(rows, &["node2  eth0      Out", "VXLAN", "seq 67179,"], "length 1398", "length 1400");
        }),
    ];
    for (what, term, change) in table {
        let report = doctored("labB-off", "tcp_big", change);
        assert!(report.iter().any(|l| l.starts_with(&format!("{OUT} {term}"))), "{what}: {report:#?}");
    }
}

#[test]
fn nothing_follows_where_the_runs_end() {
    let report = doctored("labA-off", "tcp_big_same", |rows| {
        let syn = row(rows, &["node1  cbr0      Out", "[S]"]);
        rows.insert(syn + 1, rows[syn].replace("[S]", "[.]"));
    });
    let line = "node1 cbr0 Out 10.244.1.2.e1 > 10.244.1.3.80: first segments: record 2:";
    assert!(report.iter().any(|l| l.starts_with(line)), "{report:#?}");
}

#[test]
fn the_path_mtu_is_reacted_to() {
    let lost = doctored("labA-off", "mtu_1400", |rows| {
        let icmp = row(rows, &["p2a    eth0      In", "frag needed"]);
        rows.remove(icmp);
    });
    assert!(lost[0].starts_with("p2a: the rest:"), "{lost:#?}");
    let other = doctored("labA-off", "mtu_1400", |rows| {
        edit(rows, &["p2a    eth0      Out", "seq 95021,"], "length 1348", "length 1448");
    });
    assert!(other.iter().all(|l| !l.contains("segment sizes")), "both sizes are sizes: {other:#?}");
    let unmoved = doctored("labA-off", "mtu_1400", |rows| {
        edit(rows, &["p2a    eth0      Out", "seq 1349,"], "length 1348", "length 1448");
    });
    assert!(unmoved.iter().any(|l| l.contains("first segments")), "{unmoved:#?}");
}

#[test]
fn what_the_processor_decides_is_free() {
    let report = doctored("labA-off", "tcp_big", |rows| {
        // PSH of a late write, the window of a late ACK, and when that ACK comes.
        for row in rows.iter_mut().filter(|row| row.contains("seq 63421,")) {
            *row = row.replace("[P.]", "[.]");
        }
        for row in rows.iter_mut().filter(|row| row.contains("ack 67765,")) {
            *row = row.replace("win 618", "win 600");
        }
        let ack = row(rows, &["p1a    eth0      Out", "ack 67765,"]);
        let late = rows.remove(ack);
        rows.insert(ack + 20, late);
    });
    assert_eq!(report, [""; 0]);
}

#[test]
fn events_and_counters() {
    let (want, _) = recorded("labA-off", "tcp_big");
    let with = |file: &str, from: &str, to: &str| {
        let text = String::from_utf8_lossy(&want.files[file]).into_owned();
        assert!(text.contains(from), "{file} has no {from}");
        let mut got = want.clone();
        got.files.insert(file.to_owned(), text.replacen(from, to, 1).into_bytes());
        compare_bulk(&want, None, &got)
    };
    assert_eq!(with("node1.ctevents", "FIN_WAIT", "CLOSE").len(), 1);
    let counts = String::from_utf8_lossy(&want.files["state.diff"]).into_owned();
    let of = |bulk: bool| {
        let packets = |line: &&str| line[2..].split(':').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
        counts.lines().find(|line| (packets(line) > FIRST) == bulk).expect("a rule").to_owned()
    };
    let more = |line: &str, by: u64| {
        let (packets, rest) = line[2..].split_once(':').expect("counters");
        format!("+[{}:{rest}", packets.parse::<u64>().expect("packets") + by)
    };
    let (few, many) = (of(false), of(true));
    assert_eq!(with("state.diff", &few, &more(&few, 1)).len(), 1, "one more of a few");
    assert_eq!(with("state.diff", &many, &more(&many, 1)).len(), 0, "one more of many");
    assert_eq!(with("state.diff", &many, &more(&many, 1000)).len(), 1);
    assert_eq!(with("state.diff", &format!("{few}\n"), "").len(), 1, "a rule that did not count");
}
