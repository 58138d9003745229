//! Conntrack events and rule counters, in canonical form.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::canon::{Labels, Pattern, pattern};
use super::{Case, STATE, lines};

/// The canonical lines of each `NODE.ctevents`; entries that expire stand at the end, sorted, since garbage collection
/// has its own pace.
pub(super) fn events(case: &Case) -> BTreeMap<&str, Vec<String>> {
    let mut events = BTreeMap::new();
    for (name, bytes) in &case.files {
        if name.ends_with(".ctevents") {
            let mut labels = Labels::default();
            let text = String::from_utf8_lossy(bytes);
            let all = lines(&text).filter(|line| !line.trim().is_empty()).map(|line| canonical(line, &mut labels));
            let (mut destroyed, mut lines): (Vec<_>, Vec<_>) = all.partition(|line| line.starts_with("[DESTROY]"));
            destroyed.sort_unstable();
            lines.append(&mut destroyed);
            events.insert(name.as_str(), lines);
        }
    }
    events
}

/// The rules whose counters changed, sorted; none if the case has no `state.diff`.
pub(super) fn counters(case: &Case) -> Option<Vec<String>> {
    let text = case.text(STATE)?;
    let mut rules: Vec<String> =
        lines(&text).filter(|line| is_counter(line)).map(|line| line[1..].trim().to_owned()).collect();
    rules.sort_unstable();
    Some(rules)
}

/// Is it a line `+[packets:bytes] -A …` of `state.diff`?
pub fn is_counter(line: &str) -> bool {
    let counters = line.strip_prefix("+[").and_then(|rest| rest.split_once("] -A"));
    let counters = counters.and_then(|(counters, _)| counters.split_once(':'));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit());
    counters.is_some_and(|(packets, bytes)| digits(packets) && digits(bytes))
}

/// A line of `conntrack -E` without its time, mark, use count and ids, its ephemeral ports named, its timeout settled.
fn canonical(line: &str, labels: &mut Labels) -> String {
    static ICMP_ID: Pattern = LazyLock::new(|| pattern(r"(code=[0-9]+) id=[0-9]+"));
    static FREE: Pattern = LazyLock::new(|| pattern(r"^\s*\[[0-9.]+\]\s*|\s+(?:mark=0|use=[0-9]+)|\s+id=[0-9]+$"));
    static PORT: Pattern = LazyLock::new(|| pattern(r"\b([sd]port=)([0-9]+)"));
    static TIMEOUT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^(\[\w+\]\s+\w+\s+[0-9]+ )([0-9]+)\b"));
    let line = ICMP_ID.replace_all(line.trim_end(), "$1 id=X");
    let line = FREE.replace_all(&line, "");
    let line = PORT.replace_all(&line, |m: &Captures<'_>| format!("{}{}", &m[1], labels.port(&m[2])));
    TIMEOUT.replace(line.trim(), |m: &Captures<'_>| format!("{}{}", &m[1], settled(&m[2]))).into_owned()
}

/// `conntrack -E` prints the whole seconds that are left, so a timeout of 30 may read 29.
fn settled(seconds: &str) -> String {
    const TIMEOUTS: [u64; 10] = [10, 30, 60, 120, 180, 300, 600, 3600, 86_400, 432_000];
    match seconds.parse::<u64>() {
        Ok(left) if TIMEOUTS.iter().any(|&timeout| timeout == left + 1) => (left + 1).to_string(),
        Ok(left) => left.to_string(),
        Err(_) => seconds.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conntrack_events() {
        let table = [
            (
                "[1.5]\t    [NEW] icmp     1 29 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=7 code=0 id=7 id=9",
                "[NEW] icmp     1 30 src=10.0.0.1 dst=10.0.0.2 type=8 code=0 id=X code=0 id=X",
            ),
            (
                "[2.0]\t [UPDATE] tcp      6 120 SYN_SENT sport=4000 dport=80 mark=0 use=1 id=3  ",
                "[UPDATE] tcp      6 120 SYN_SENT sport=e1 dport=80",
            ),
            ("[2.0]\t [UPDATE] tcp      6 45 sport=4000 id=3 mark=0", "[UPDATE] tcp      6 45 sport=e1 id=3"),
            ("[UPDATE] tcp 6 99999999999999999999999", "[UPDATE] tcp 6 99999999999999999999999"),
            ("[DESTROY] udp      17 sport=5000", "[DESTROY] udp      17 sport=e2"),
        ];
        let mut labels = Labels::default();
        for (line, want) in table {
            assert_eq!(canonical(line, &mut labels), want);
        }
    }

    #[test]
    fn expired_entries_are_sorted_at_the_end() {
        let text = "[DESTROY] udp 2\n\n[NEW] udp\n[DESTROY] udp 1\n";
        let case = Case { order: None, files: [("n.ctevents".into(), text.into())].into() };
        assert_eq!(events(&case)["n.ctevents"], ["[NEW] udp", "[DESTROY] udp 1", "[DESTROY] udp 2"]);
    }

    #[test]
    fn rule_counters() {
        let text = "-[0:0] -A X\n+[2:8] -A Y -j Z \n+[1:8] -A X\n+[1:x] -A X\n+[1:8] -B\n+:FORWARD ACCEPT [1:84]\n";
        let case = Case { order: None, files: [("state.diff".into(), text.into())].into() };
        assert_eq!(counters(&case), Some(vec!["[1:8] -A X".to_owned(), "[2:8] -A Y -j Z".to_owned()]));
        assert_eq!(counters(&Case::default()), None);
    }
}
