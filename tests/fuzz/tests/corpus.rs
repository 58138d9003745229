//! What was worth keeping is tried by every `cargo test`, without a fuzzer.

use podhop_fuzz::{MAX_INPUT, TARGETS, corpus};

/// All corpora together, in bytes.
const MAX_CORPUS: u64 = 300_000;

#[test]
fn iptables() {
    try_corpus("iptables");
}

#[test]
fn ip() {
    try_corpus("ip");
}

#[test]
fn filter() {
    try_corpus("filter");
}

#[test]
fn scenario() {
    try_corpus("scenario");
}

#[test]
fn eval() {
    try_corpus("eval");
}

#[test]
fn packet() {
    try_corpus("packet");
}

#[test]
fn corpora_are_small_and_in_order() {
    let mut bytes = 0;
    for target in &TARGETS {
        let inputs = corpus::read(target.name).expect("a corpus");
        assert!(inputs.iter().all(|i| i.len() <= MAX_INPUT), "{}: an input is too long", target.name);
        let lines: Vec<String> = inputs.iter().map(|i| corpus::escape(i)).collect();
        assert!(lines.is_sorted(), "{}: cargo xtask fuzz --keep writes it", target.name);
        bytes += std::fs::metadata(corpus::path(target.name)).expect("a corpus").len();
        assert!(corpus::dictionary(target.name).exists(), "{} has no dictionary", target.name);
    }
    assert!(bytes <= MAX_CORPUS, "{bytes} bytes, at most {MAX_CORPUS}");
}

#[test]
fn every_byte_is_a_line_and_back() {
    let all: Vec<u8> = (0..=255).collect();
    let line = corpus::escape(&all);
    assert!(line.is_ascii() && !line.contains('\n'));
    assert_eq!(corpus::unescape(&line), Some(all));
    assert_eq!(corpus::unescape(r"\q"), None);
}

fn try_corpus(name: &str) {
    let target = podhop_fuzz::target(name).expect("a target");
    for input in corpus::read(name).expect("a corpus") {
        let line = corpus::escape(&input);
        if std::panic::catch_unwind(|| (target.run)(&input)).is_err() {
            panic!("{name}: {line}");
        }
    }
}
