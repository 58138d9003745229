//! Calico: the packets of article 003, as docs/articles.md has them.

use podhop_tests::scenarios;
use sim_core::observe::Memory;
use sim_core::observe::filter::{Filter, LinkType};
use sim_core::observe::line::Conversations;
use sim_core::wire::{ETH_HLEN, ETH_P_IP};
use std::path::Path;

/// A row of the page.
struct Row<'a> {
    /// The node and its device.
    device: &'a str,
    filter: String,
    event: &'a str,
    theirs: &'a str,
    ours: &'a str,
}

#[test]
fn the_packets_of_article_003() {
    let page = std::fs::read_to_string(scenarios::root().join("docs/articles.md")).expect("the page");
    let (_, section) = page.split_once("## 003: ").expect("article 003");
    let (_, table) = section.split_once("### Packets").expect("its packets");
    let table = table.split("\n## ").next().expect("there is a first");
    let rows: Vec<Row<'_>> = table.lines().filter(|line| line.starts_with("| us-")).map(row).collect();
    assert_eq!(rows.len(), 19, "as many lines as the article shows");
    let mut memory = Memory::default();
    scenarios::run(Path::new("scenarios/articles/calico-ipip/scenario.yaml"), &mut memory);
    for together in rows.chunk_by(|a, b| (a.device, &a.filter) == (b.device, &b.filter)) {
        let Row { device, filter, .. } = &together[0];
        let lines = selected(&memory.files[&format!("captures/nodes/{device}.pcap")], filter);
        let mut rest = lines.iter();
        for row in together {
            assert_eq!(to_flags(row.theirs), to_flags(row.ours), "{}: another packet", row.event);
            let found = rest.any(|line| scenarios::has_form(line, row.ours));
            assert!(found, "{device} {filter}: {} is missing in\n{}", row.ours, lines.join("\n"));
        }
    }
}

fn row(text: &str) -> Row<'_> {
    let cells: Vec<&str> = text.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`')).collect();
    let [device, filter, event, theirs, ours] = cells[..] else { panic!("five columns: {text}") };
    let same = ours == "the same";
    // Nothing of a handshake is other than in the article.
    assert!(same || !["SYN", "SYN-ACK", "first ACK"].contains(&event), "{text}");
    Row { device, filter: filter.replace('\\', ""), event, theirs, ours: if same { theirs } else { ours } }
}

/// From where to where, and the flags.
fn to_flags(line: &str) -> &str {
    line.split_once("], ").expect("a segment has flags").0
}

/// What tcpdump prints of the packets that a filter selects.
fn selected(pcap: &[u8], filter: &str) -> Vec<String> {
    let (link, frames) = scenarios::frames(pcap);
    let (link, header) = match link {
        1 => (LinkType::Ethernet, ETH_HLEN),
        101 => (LinkType::Raw, 0),
        other => panic!("link type {other}"),
    };
    let filter = Filter::compile(filter, link).expect(filter);
    let mut seen = Conversations::default();
    let selected = frames.into_iter().filter(|frame| filter.matches(frame, frame.len() as u32));
    selected.map(|frame| seen.line(ETH_P_IP, &frame[header..])).collect()
}
