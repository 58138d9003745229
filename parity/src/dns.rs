//! What a name server has answered: the table of the one that stands in for it.

use std::collections::BTreeMap;

/// The port of DNS.
const DOMAIN: u16 = 53;
/// Lengths of headers: SLL2, UDP, DNS.
const SLL2: usize = 20;
const UDP_HEADER: usize = 8;
const DNS_HEADER: usize = 12;
/// PACKET_OUTGOING
const OUT: u8 = 4;

/// Answers by question: name, type and class as they stand in a message, in lower case. Answers begin behind their
/// number.
pub(crate) type Table = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// Adds the answers that were sent from port 53, in a capture of LINUX_SLL2 in little endian.
pub(crate) fn add(table: &mut Table, pcap: &[u8]) {
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some((header, after)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let (frame, after) = after.split_at(length.min(after.len()));
        rest = after;
        if frame.get(10) == Some(&OUT)
            && let Some(message) = frame.get(SLL2..).and_then(message)
            && let Some(question) = question(message)
        {
            table.entry(question.to_ascii_lowercase()).or_default().push(message[2..].to_vec());
        }
    }
}

/// The DNS message that a packet brings from port 53: a datagram's, or the only one of a segment.
fn message(ip: &[u8]) -> Option<&[u8]> {
    let hlen = usize::from(ip.first()? & 0xf) * 4;
    let transport = ip.get(hlen..)?;
    let word = |at: usize| Some(u16::from_be_bytes([*transport.get(at)?, *transport.get(at + 1)?]));
    if word(0)? != DOMAIN {
        return None;
    }
    match ip.get(9)? {
        17 => transport.get(UDP_HEADER..usize::from(word(4)?)),
        6 => {
            let body = transport.get(usize::from(transport.get(12)? >> 4) * 4..)?;
            let (length, message) = body.split_at_checked(2)?;
            (usize::from(u16::from_be_bytes([length[0], length[1]])) == message.len()).then_some(message)
        }
        _ => None,
    }
}

/// The question of a message.
fn question(message: &[u8]) -> Option<&[u8]> {
    let mut end = DNS_HEADER;
    while *message.get(end)? != 0 {
        end += usize::from(message[end]) + 1;
    }
    message.get(DNS_HEADER..end + 5)
}
