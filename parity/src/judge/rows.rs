//! A case as rows: from `order.txt`, or from captures with their `ifmap`, merged by time.

use std::collections::BTreeMap;

use super::canon::Norm;
use super::{BadCase, Case, IFMAP, decode, lines};

/// Who saw which packet when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    /// Since the first row.
    pub(super) seconds: f64,
    pub(super) namespace: String,
    pub(super) interface: String,
    /// `In`, `Out`, `B`, `M`, `P`, or `-` where the capture does not tell.
    pub(super) direction: String,
    /// The packet, with relative seq and ack.
    pub(super) text: String,
}

/// The rows of a case in the order in which they were seen; with `sacks` the edges of SACK blocks are relative, too.
///
/// # Errors
/// Neither `order.txt` nor `ifmap` is there, or a file of the second way is not in its format.
pub(super) fn rows(case: &Case, sacks: bool) -> Result<Vec<Row>, BadCase> {
    if let Some(order) = &case.order {
        return Ok(lines(order).filter_map(parse_row).collect());
    }
    let names = case.text(IFMAP).map(|text| parse_ifmap(&text));
    let names = names.unwrap_or_else(|| Err(BadCase("neither order.txt nor ifmap with NS.any.pcap".into())))?;
    let records = merged_captures(case)?;
    let start_ns = records.first().map_or(0, |(_, record)| record.ts_ns);
    let mut norm = Norm::default();
    let mut text = |text: &str| {
        let text = norm.relative(text);
        if sacks { norm.relative_sacks(&text) } else { text }
    };
    let row = |(namespace, record): (&str, decode::Record)| Row {
        seconds: signed_difference(record.ts_ns, start_ns) / 1e9,
        namespace: namespace.to_owned(),
        interface: interface_name(&names, namespace, record.ifindex),
        direction: record.direction().to_owned(),
        text: text(&record.text),
    };
    Ok(records.into_iter().map(row).collect())
}

/// A line of `order.txt`: `SECONDS NAMESPACE INTERFACE DIRECTION TEXT`; none if it is another line.
fn parse_row(line: &str) -> Option<Row> {
    let line = line.trim_start_matches(' ');
    let (time, rest) = line.split_once(' ')?;
    let (whole, fraction) = time.split_once('.')?;
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|c| c.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let (namespace, rest) = word(rest)?;
    let (interface, rest) = word(rest)?;
    let (direction, text) = word(rest)?;
    ["In", "Out", "B", "M", "P", "-"].contains(&direction).then_some(())?;
    let own = str::to_owned;
    let (namespace, interface) = (own(namespace), own(interface));
    Some(Row { seconds: time.parse().ok()?, namespace, interface, direction: own(direction), text: own(text) })
}

/// The word at the head, and what follows the spaces behind it; there must be one.
fn word(s: &str) -> Option<(&str, &str)> {
    let end = s.find(char::is_whitespace).filter(|&end| end > 0)?;
    let (word, rest) = s.split_at(end);
    rest.starts_with(' ').then(|| (word, rest.trim_start_matches(' ')))
}

type InterfaceNames = BTreeMap<(String, u32), String>;

fn parse_ifmap(text: &str) -> Result<InterfaceNames, BadCase> {
    let mut names = InterfaceNames::new();
    for line in lines(text) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let index = fields.get(1).and_then(|index| index.parse().ok());
        let ([namespace, _, name], Some(index)) = (fields.as_slice(), index) else {
            return Err(BadCase(format!("ifmap: \"{line}\" is not NS INDEX NAME")));
        };
        names.insert(((*namespace).to_owned(), index), (*name).to_owned());
    }
    Ok(names)
}

/// The records of every `NS.any.pcap` with their namespace, merged by time.
///
/// A frame that a bridge hands up keeps the time of its port, so times in one file are not monotonic: the file's order
/// is the truth, and a record counts as no earlier than those before it.
fn merged_captures(case: &Case) -> Result<Vec<(&str, decode::Record)>, BadCase> {
    let mut all = Vec::new();
    for (name, bytes) in &case.files {
        let Some(namespace) = name.strip_suffix(".any.pcap") else { continue };
        let mut latest_ns = 0;
        for record in decode::read_pcap(bytes).map_err(|why| BadCase(format!("{name}: {why}")))? {
            latest_ns = record.ts_ns.max(latest_ns);
            all.push((latest_ns, namespace, record));
        }
    }
    all.sort_by_key(|&(latest_ns, ..)| latest_ns);
    Ok(all.into_iter().map(|(_, namespace, record)| (namespace, record)).collect())
}

/// `?INDEX` where `ifmap` has no name, and `?None` where the capture has no interface numbers.
fn interface_name(names: &InterfaceNames, namespace: &str, index: Option<u32>) -> String {
    let Some(index) = index else { return "?None".into() };
    names.get(&(namespace.to_owned(), index)).cloned().unwrap_or_else(|| format!("?{index}"))
}

fn signed_difference(later: u64, earlier: u64) -> f64 {
    if later < earlier { -((earlier - later) as f64) } else { (later - earlier) as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_order_txt() {
        let row = parse_row("  0.000040 node1  cbr0      B   ARP who-has").map(|r| (r.seconds, r.interface, r.text));
        assert_eq!(row, Some((0.00004, "cbr0".into(), "ARP who-has".into())));
        let others = [
            "",
            "0.1",
            "x.1 a b In t",
            "1 a b In t",
            "0.1  a b In t",
            "0.1 a b Up t",
            "0.1 a b In",
            "0.1 a\tb In t",
            "0. a b In t",
        ];
        for line in others {
            assert_eq!(parse_row(line), None, "{line:?}");
        }
        assert_eq!(parse_row("0.1 a b - ").map(|r| r.text), Some(String::new()));
    }

    #[test]
    fn bad_input_is_named() {
        let with = |name: &str, bytes: &[u8]| {
            let files = [("ifmap", b"n 1 lo\n".as_slice()), (name, bytes)];
            let files = files.map(|(name, bytes)| (name.to_owned(), bytes.to_vec())).into();
            rows(&Case { order: None, files }, false).map_err(|bad| bad.to_string())
        };
        assert_eq!(with("n.any.pcap", b""), Ok(vec![]), "a capture that saw nothing");
        assert_eq!(with("n.any.pcap", &[7; 24]), Err("n.any.pcap: not a pcap file".into()));
        assert_eq!(with("n.lo.pcap", &[7; 24]), Ok(vec![]), "captures of one interface are not judged");
        assert_eq!(with("ifmap", b"n one lo"), Err("ifmap: \"n one lo\" is not NS INDEX NAME".into()));
        let nothing = rows(&Case::default(), false).map_err(|bad| bad.to_string());
        assert_eq!(nothing, Err("neither order.txt nor ifmap with NS.any.pcap".into()));
    }
}
