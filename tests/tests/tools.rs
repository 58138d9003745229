//! Real tools open what we write: tcpdump, tshark, capinfos. They find nothing malformed and no bad checksum.

use podhop_tests::scenarios;
use sim_core::observe::Memory;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The captures of all scenarios, in a folder.
fn captures(dir: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for (n, path) in scenarios::all().iter().enumerate() {
        let mut memory = Memory::default();
        scenarios::run(path, &mut memory);
        for (name, bytes) in memory.files.into_iter().filter(|(name, _)| name.ends_with(".pcap")) {
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
    for file in captures(dir.path()) {
        let bytes = std::fs::read(&file).expect("a file");
        let records = podhop_tests::judge::decode::read_pcap(&bytes).expect("a capture").len();
        let text = output("tcpdump", &["-nn", "-v", "--count", "-r"], &file);
        assert!(text.contains(&format!("{records} packet")), "{}: {text}", file.display());
        let text = output("tcpdump", &["-nn", "-vv", "-r"], &file);
        for bad in ["bad ", "truncated", "incorrect", "wrong", "[|"] {
            assert!(!text.contains(bad), "{}: {bad}: {text}", file.display());
        }
    }
}

#[test]
fn tshark_finds_nothing_malformed() {
    if !have("tshark") || !have("capinfos") {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut seen = 0;
    for file in captures(dir.path()) {
        let options = ["-o", "ip.check_checksum:TRUE", "-Y"];
        let suspect =
            "_ws.malformed || ip.checksum.status == 0 || icmp.checksum.status == 0 || _ws.expert.severity >= 6291456";
        let text = output("tshark", &[&options[..], &[suspect, "-r"]].concat(), &file);
        assert_eq!(text, "", "{}", file.display());
        let text = output("capinfos", &["-c", "-T", "-r"], &file);
        assert!(text.contains(".pcap"), "{text}");
        seen += 1;
    }
    assert!(seen > 0);
}
