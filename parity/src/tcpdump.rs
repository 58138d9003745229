//! The first different records, as tcpdump prints them.

use crate::compare::options;
use crate::judge::decode::{self, Frame};
use crate::judge::{Case, FirstDifference, first_differences};
use crate::{Compare, file_name};
use sim_core::observe::line::Conversations;
use std::fmt::Write as _;

/// LINKTYPE_LINUX_SLL2 and the length of its header.
const LINUX_SLL2: (u32, usize) = (276, 20);

/// A line for each namespace that shows another record, and one for either side as `tcpdump -nnttttti any` prints it:
/// the time is since the capture's first record. Empty if there is none.
#[must_use]
pub fn first_records(real: &Case, ours: &Case) -> String {
    let mut text = String::new();
    for FirstDifference { namespace, record, want, got } in first_differences(real, ours, &options(Compare::ALL)) {
        let _ = writeln!(text, "{namespace}, record {}, as tcpdump prints it:", record + 1);
        for (whose, case, canonical) in [("real", real, want), ("ours", ours, got)] {
            let line = canonical.and_then(|canonical| line(case, &namespace, record, &canonical));
            let _ = writeln!(text, "    {whose}  {}", line.as_deref().unwrap_or("(nothing more)"));
        }
    }
    text
}

/// A record of a namespace's capture; its canonical text begins with the interface and the direction.
fn line(case: &Case, namespace: &str, record: usize, canonical: &str) -> Option<String> {
    let file = case.files.get(&format!("{}.any.pcap", file_name(namespace)))?;
    let (link_type, frames) = decode::frames(file).ok()?;
    if link_type != LINUX_SLL2.0 {
        return None;
    }
    let mut known = Conversations::default();
    let mut print = |frame: &Frame<'_>| {
        let (header, l3) = frame.bytes.split_at_checked(LINUX_SLL2.1)?;
        Some(known.line(u16::from_be_bytes([header[0], header[1]]), l3))
    };
    // Sequence numbers are relative to what was printed before.
    let printed = frames.iter().take(record + 1).map(&mut print).last()??;
    let since_ns = frames[record].ts_ns.saturating_sub(frames[0].ts_ns);
    let (s, us) = (since_ns / 1_000_000_000, since_ns / 1000 % 1_000_000);
    let mut words = canonical.split_whitespace();
    let (interface, direction) = (words.next()?, words.next()?);
    Some(format!("{:02}:{:02}:{:02}.{us:06} {interface:<5} {direction:<3} {printed}", s / 3600, s / 60 % 60, s % 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A capture of ARP's questions for these hosts of 10.0.0.0/24, a second from each other.
    fn capture(hosts: &[u8]) -> Case {
        let mut file = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 20, 1, 0, 0];
        for (s, host) in (0u32..).zip(hosts) {
            file.extend([s.to_le_bytes(), 7u32.to_le_bytes(), 48u32.to_le_bytes(), 48u32.to_le_bytes()].concat());
            // LINUX_SLL2: ARP, interface 2, to all.
            file.extend([8, 6, 0, 0, 0, 0, 0, 2, 0, 1, 1, 6, 2, 0, 0, 0, 0, 1, 0, 0]);
            file.extend([0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, *host]);
        }
        let files = [("a.any.pcap".to_owned(), file), ("ifmap".to_owned(), b"a 2 eth0\n".to_vec())];
        Case { order: None, files: files.into() }
    }

    #[test]
    fn both_sides_in_the_words_of_tcpdump() {
        let text = first_records(&capture(&[2, 3]), &capture(&[2, 4]));
        let want = "a, record 2, as tcpdump prints it:\n    \
            real  00:00:01.000000 eth0  B   ARP, Request who-has 10.0.0.3 tell 10.0.0.1, length 28\n    \
            ours  00:00:01.000000 eth0  B   ARP, Request who-has 10.0.0.4 tell 10.0.0.1, length 28\n";
        assert_eq!(text, want);
        assert_eq!(first_records(&capture(&[2]), &capture(&[2, 4])), "", "a surplus of ARP is free");
    }
}
