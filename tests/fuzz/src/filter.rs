//! Capture filters: an expression up to the first end of line, then a packet.

use sim_core::observe::filter::{Filter, LinkType};

/// Compiles the expression for every link and runs it on the packet.
pub(crate) fn run(input: &[u8]) {
    let end = input.iter().position(|b| *b == b'\n').unwrap_or(input.len());
    let (expression, packet) = (String::from_utf8_lossy(&input[..end]), input.get(end + 1..).unwrap_or_default());
    for link in [LinkType::Ethernet, LinkType::Raw, LinkType::LinuxSll2] {
        match Filter::compile(&expression, link) {
            Ok(filter) => {
                let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
                for wire_len in [len, len.saturating_add(1), u32::MAX] {
                    let whole = filter.matches(packet, wire_len);
                    assert_eq!(filter.matches(packet, wire_len), whole, "a verdict depends on the packet alone");
                    let _ = filter.matches(&packet[..packet.len() / 2], wire_len);
                }
                assert!(!filter.to_string().is_empty(), "a program ends with a return");
            }
            Err(e) => {
                assert!(expression.get(e.span.clone()).is_some(), "{:?} is not in the expression", e.span);
                assert!(!e.to_string().is_empty());
            }
        }
    }
}
