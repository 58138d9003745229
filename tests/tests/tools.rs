//! Real tools open what we write: tcpdump, tshark, capinfos. They find nothing malformed and no bad checksum.

use podhop_tests::{live, scenarios};
use sim_core::observe::Memory;
use sim_core::observe::line::Conversations;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The captures of the scenarios, in a folder: those of interfaces, or those of clusters.
fn captures(dir: &Path, scenarios: &[PathBuf], extension: &str) -> Vec<PathBuf> {
    let mut files = vec![];
    for (n, path) in scenarios.iter().enumerate() {
        let mut memory = Memory::default();
        scenarios::run(path, &mut memory);
        for (name, bytes) in memory.files.into_iter().filter(|(name, _)| name.ends_with(extension)) {
            let file = dir.join(n.to_string()).join(name);
            std::fs::create_dir_all(file.parent().expect("below a folder")).expect("a folder");
            std::fs::write(&file, bytes).expect("a file");
            files.push(file);
        }
    }
    files
}

/// Whether `tool` is there; without it the test is skipped, which CI does not allow.
fn have(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    if !there {
        assert!(std::env::var("CI").is_err(), "skipped: needs {tool}");
        println!("skipped: needs {tool}");
    }
    there
}

fn output(tool: &str, args: &[&str], file: &Path) -> String {
    let out = Command::new(tool).args(args).arg(file).output().expect("it was there a moment ago");
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{tool} {}: {err}", file.display());
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn tcpdump_reads_every_record() {
    if !have("tcpdump") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in captures(dir.path(), &scenarios::all(), ".pcap") {
        let bytes = std::fs::read(&file).expect("a file");
        let records = podhop_parity::judge::decode::read_pcap(&bytes).expect("a capture").len();
        let text = output("tcpdump", &["-nn", "-v", "--count", "-r"], &file);
        assert!(text.contains(&format!("{records} packet")), "{}: {text}", file.display());
        let text = output("tcpdump", &["-nn", "-vv", "-r"], &file);
        for bad in ["[bad", "(bad", "bad cksum", "bad opt", "truncated", "incorrect", "wrong", "[|"] {
            assert!(!text.contains(bad), "{}: {bad}: {text}", file.display());
        }
    }
}

/// Our line for a frame is tcpdump's. What a tunnel carries stands in tcpdump's next line.
#[test]
fn lines_are_those_of_tcpdump() {
    if !have("tcpdump") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in captures(dir.path(), &scenarios::all(), ".pcap").iter().filter(|f| !f.ends_with("any.pcap")) {
        let bytes = std::fs::read(file).expect("a file");
        let (mut known, mut ours) = (Conversations::default(), String::new());
        let (link, frames) = scenarios::frames(&bytes);
        for frame in frames {
            // LINKTYPE_RAW: packets without a link-layer header.
            let (ethertype, packet) = match link {
                101 => (0x0800, frame),
                _ => (u16::from_be_bytes([frame[12], frame[13]]), &frame[14..]),
            };
            let line = known.line(ethertype, packet);
            ours += &(line.replace(" | IP ", "\nIP ") + "\n");
        }
        let theirs = output("tcpdump", &["-nn", "-t", "-r"], file);
        for (n, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
            assert_eq!(ours, theirs, "{} record {n}", file.display());
        }
        assert_eq!(ours.lines().count(), theirs.lines().count(), "{}", file.display());
    }
}

/// tshark with every checksum looked at: what it prints of the records that `suspect` selects.
fn tshark(suspect: &str, file: &Path) -> String {
    let checked = ["ip.check_checksum:TRUE", "tcp.check_checksum:TRUE", "udp.check_checksum:TRUE"];
    let options = checked.iter().flat_map(|option| ["-o", option]).chain(["-d", "udp.port==8472,vxlan"]);
    output("tshark", &options.chain(["-Y", suspect, "-r"]).collect::<Vec<_>>(), file)
}

/// Not of what an ICMP error quotes: tshark sums the quoted beginning as if it were the whole.
const BAD_CHECKSUM: &str = "ip.checksum.status == 0 || icmp.checksum.status == 0 || \
    (!icmp && (udp.checksum.status == 0 || tcp.checksum.status == 0))";

#[test]
fn tshark_finds_nothing_malformed() {
    if !have("tshark") || !have("capinfos") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let files = captures(dir.path(), &scenarios::all(), ".pcap");
    // tshark warns for resets, retransmissions and duplicate addresses too, which is what some lessons show. A capture
    // of all interfaces has each question of DNS more than once.
    let shown = "tcp || arp.duplicate-address-detected || dns.retransmit_request || dns.retransmit_response";
    // Where it sees segments more than once, it takes a TLS record that they carry for one that overlaps.
    let malformed = "(_ws.malformed && !_ws.malformed.reassembly)";
    let suspect = format!("{malformed} || {BAD_CHECKSUM} || (_ws.expert.severity >= 6291456 && !({shown}))");
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let found = live::side_by_side(at_once, &files, |file| tshark(&suspect, file));
    for (file, text) in files.iter().zip(found) {
        assert_eq!(text, "", "{}", file.display());
    }
    let args: Vec<_> = ["-c", "-T", "-r"].into_iter().chain(files.iter().filter_map(|file| file.to_str())).collect();
    let (last, args) = args.split_last().expect("there are captures");
    assert_eq!(output("capinfos", args, Path::new(last)).lines().count(), files.len());
}

/// In cluster.pcapng each segment stands as often as there are interfaces on its way, which confuses who puts long
/// records of TLS together.
const MALFORMED: &str = "_ws.malformed && !_ws.malformed.reassembly";

/// cluster.pcapng: tshark and capinfos see all of it, editcap and mergecap keep it, tcpdump reads it.
#[test]
fn tools_read_the_cluster() {
    let tools = ["tshark", "capinfos", "editcap", "mergecap", "tcpdump"];
    if !tools.into_iter().all(have) {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    for file in captures(dir.path(), &scenarios::all(), ".pcapng") {
        let count = |file: &Path| {
            let text = output("capinfos", &["-M", "-T", "-r", "-c"], file);
            text.split_whitespace().last().and_then(|n| n.parse::<usize>().ok()).expect("a number")
        };
        let records = count(&file);
        let fields = ["frame.interface_name", "frame.packet_id", "frame.packet_flags", "frame.comment"];
        let args: Vec<_> = ["-n", "-T", "fields"].into_iter().chain(fields.iter().flat_map(|f| ["-e", f])).collect();
        let text = output("tshark", &[&args[..], &["-r"]].concat(), &file);
        assert_eq!(text.lines().count(), records, "{}", file.display());
        let whole = |line: &str| {
            let cells: Vec<_> = line.split('\t').collect();
            cells.len() == fields.len() && cells[0].contains('/') && cells.iter().all(|cell| !cell.is_empty())
        };
        assert!(text.lines().all(whole), "{}: {text}", file.display());
        assert_eq!(tshark(&format!("({MALFORMED}) || {BAD_CHECKSUM}"), &file), "", "{}", file.display());

        let infos = output("capinfos", &["-M"], &file);
        let header = std::fs::read(&file).expect("a file");
        assert!(infos.contains("nanoseconds (9)") && infos.contains("podhop"), "{infos}");
        assert!(header.starts_with(&[0x0a, 0x0d, 0x0d, 0x0a]), "{}", file.display());
        let copy = dir.path().join("copy.pcapng");
        for tool in [&["editcap"][..], &["mergecap", "-w"]] {
            let copy = copy.to_str().expect("a path in UTF-8");
            let file = file.to_str().expect("a path in UTF-8");
            let args = if tool.len() == 1 { [file, copy] } else { [copy, file] };
            output(tool[0], &[&tool[1..], &args[..1]].concat(), Path::new(args[1]));
            assert_eq!(count(Path::new(copy)), records, "{tool:?} {file}");
        }
        let text = output("tcpdump", &["-nn", "--count", "-r"], &file);
        assert!(text.contains(&format!("{records} packet")), "{}: {text}", file.display());
    }
}

/// What TLS hides, tshark shows: with the key log of the run, and in cluster.pcapng without it.
#[test]
fn tshark_reads_https() {
    if !have("tshark") {
        return;
    }
    let lab = [PathBuf::from("scenarios/labs/https/scenario.yaml")];
    let dir = tempfile::tempdir().expect("a temporary folder");
    let key_log = captures(dir.path(), &lab, "sslkeys.log").pop().expect("a key log");
    let option = format!("tls.keylog_file:{}", key_log.display());
    let requests = ["-T", "fields", "-e", "http.request.method", "-e", "http.request.uri", "-Y", "tls && http.request"];
    let shown = |args: &[&str], file: &Path| {
        let text = output("tshark", &[args, &requests, &["-r"]].concat(), file);
        let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
        lines.dedup();
        lines
    };
    // Who did not believe the server asked for nothing.
    let want = ["GET\t/", "GET\t/big", "GET\t/"].map(str::to_owned);
    let both = captures(dir.path(), &lab, "client/eth0.pcap").pop().expect("a capture");
    assert_eq!(shown(&["-o", &option], &both), want);
    assert_eq!(shown(&[], &both), [""; 0], "without the key log nothing can be read");
    let cluster = captures(dir.path(), &lab, "cluster.pcapng").pop().expect("a capture");
    assert_eq!(shown(&[], &cluster), want);
    // From hello to data, without a complaint.
    let handshakes = "tls.handshake.type in {1, 2, 4, 8, 11, 15, 20} || tls.record.content_type in {20, 21, 23}";
    assert!(output("tshark", &["-Y", handshakes, "-r"], &cluster).lines().count() > 40);
    let complaints = "_ws.malformed || (tls && _ws.expert.severity >= 6291456)";
    assert_eq!(output("tshark", &["-o", &option, "-Y", complaints, "-r"], &both), "");
    assert_eq!(output("tshark", &["-Y", MALFORMED, "-r"], &cluster), "");
}

/// A link that loses nothing shows a TCP in which nothing is sent twice, nothing overtakes and nothing is missing.
#[test]
fn tshark_finds_a_healthy_tcp() {
    if !have("tshark") {
        return;
    }
    let healthy = ["delayed-ack", "half-close", "handshake", "keep-alive", "long-fat-link", "time-wait"];
    let labs: Vec<PathBuf> = healthy.iter().map(|lab| format!("scenarios/labs/{lab}/scenario.yaml").into()).collect();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let surprises = [
        "retransmission",
        "fast_retransmission",
        "spurious_retransmission",
        "out_of_order",
        "lost_segment",
        "ack_lost_segment",
        "duplicate_ack",
        "zero_window",
        "reused_ports",
    ];
    let surprises = surprises.map(|name| format!("tcp.analysis.{name}")).join(" || ");
    // Resets are warnings of their own: half-close ends with some, as Linux does. So are windows that are filled to the
    // last byte, which is what long-fat-link is about.
    let expected = "tcp.flags.reset == 1 || tcp.analysis.window_full";
    let suspect = format!("{BAD_CHECKSUM} || {surprises} || (_ws.expert.severity >= 6291456 && !({expected}))");
    let mut segments = 0;
    for file in captures(dir.path(), &labs, ".pcap").into_iter().filter(|file| !file.ends_with("any.pcap")) {
        let text = tshark(&suspect, &file);
        assert_eq!(text, "", "{}", file.display());
        segments += tshark("tcp", &file).lines().count();
    }
    assert!(segments > 1_000, "{segments}");
}
