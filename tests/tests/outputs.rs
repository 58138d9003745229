//! What a run writes fits together, scenario by scenario: ids mean the same in every file, every file is as its schema
//! in docs/schemas says, and cluster.pcapng holds what the captures of the interfaces hold.

use pcap_parser::pcapng::{Block, OptionCode, PcapNGOption};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError, PcapNGReader};
use podhop_tests::scenarios;
use podhop_tests::schema::Schema;
use serde_json::Value;
use sim_core::observe::Memory;
use sim_core::scenario::report::Report;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A record of cluster.pcapng.
struct Record {
    /// `NAMESPACE/DEVICE`
    interface: String,
    at_ns: u64,
    bytes: Vec<u8>,
    id: u64,
    flags: u32,
    comments: Vec<String>,
}

/// What cluster.pcapng holds, as a reader that is not ours finds it.
#[derive(Default)]
struct Cluster {
    interfaces: Vec<String>,
    records: Vec<Record>,
    /// By address.
    names: BTreeMap<Vec<u8>, String>,
    /// Records by interface, as its statistics say.
    statistics: BTreeMap<u32, u64>,
}

impl Cluster {
    fn read(bytes: &[u8]) -> Self {
        let mut cluster = Cluster::default();
        blocks(PcapNGReader::new(BUFFER, bytes).expect("a capture"), |block| match block {
            PcapBlockOwned::NG(block) => cluster.add(block),
            PcapBlockOwned::Legacy(_) | PcapBlockOwned::LegacyHeader(_) => panic!("a block of another format"),
        });
        cluster
    }

    fn add(&mut self, block: Block<'_>) {
        match block {
            Block::SectionHeader(_) => assert!(self.interfaces.is_empty(), "one section"),
            Block::InterfaceDescription(i) => {
                assert_eq!((i.linktype.0, i.snaplen, i.if_tsresol), (1, 262_144, 9));
                self.interfaces.push(text(option(&i.options, OptionCode::IfName).expect("a name")));
            }
            Block::EnhancedPacket(p) => {
                assert_eq!(p.caplen, p.origlen);
                let number = |code| option(&p.options, code).expect("every record has it").to_vec();
                let comments = p.options.iter().filter(|o| o.code == OptionCode::Comment);
                self.records.push(Record {
                    interface: self.interfaces[p.if_id as usize].clone(),
                    at_ns: u64::from(p.ts_high) << 32 | u64::from(p.ts_low),
                    bytes: p.packet_data().to_vec(),
                    id: u64::from_le_bytes(number(OptionCode(5)).try_into().expect("64 bits")),
                    flags: u32::from_le_bytes(number(OptionCode(2)).try_into().expect("32 bits")),
                    comments: comments.map(|o| text(o.as_bytes().expect("its length fits"))).collect(),
                });
            }
            Block::NameResolution(n) => {
                for record in n.nr.iter().filter(|r| r.record_type.0 == 1) {
                    let (addr, name) = record.record_value.split_at(4);
                    self.names.insert(addr.to_vec(), text(name).trim_end_matches('\0').to_owned());
                }
            }
            Block::InterfaceStatistics(s) => {
                let received = option(&s.options, OptionCode(4)).expect("isb_ifrecv");
                self.statistics.insert(s.if_id, u64::from_le_bytes(received.try_into().expect("64 bits")));
            }
            Block::DecryptionSecrets(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

/// IPv4 packets without a link-layer header.
const LINKTYPE_RAW: u32 = 101;
/// Larger than any block.
const BUFFER: usize = 1 << 18;

fn blocks(mut reader: impl PcapReaderIterator, mut take: impl FnMut(PcapBlockOwned<'_>)) {
    loop {
        match reader.next() {
            Ok((size, block)) => {
                take(block);
                reader.consume(size);
            }
            Err(PcapError::Incomplete(_)) => reader.refill().expect("memory can be read"),
            Err(PcapError::Eof) => return,
            Err(e) => panic!("{e}"),
        }
    }
}

fn option<'a>(options: &'a [PcapNGOption<'_>], code: OptionCode) -> Option<&'a [u8]> {
    options.iter().find(|o| o.code == code).map(|o| o.as_bytes().expect("its length fits"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The lines of a JSON lines file.
fn lines(files: &Memory, path: &str) -> Vec<Value> {
    let bytes = files.files.get(path).map_or(&[][..], Vec::as_slice);
    bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).expect("JSON")).collect()
}

fn each(check: impl Fn(&Path, &Memory, &Report)) {
    for path in scenarios::all() {
        let mut memory = Memory::default();
        let report = scenarios::run(&path, &mut memory);
        check(&path, &memory, &report);
    }
}

fn schema(name: &str) -> Schema {
    let path = scenarios::root().join(format!("docs/schemas/{name}.v1.json"));
    Schema::new(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

#[test]
fn every_file_is_as_its_schema_says() {
    let [records, flows, trace, summary] = ["records", "flows", "trace", "summary"].map(schema);
    each(|path, files, report| {
        let one = |schema: &Schema, value: &Value, what: &str| {
            assert_eq!(schema.wrong(value), None, "{}: {what}: {value}", path.display());
        };
        for (schema, file) in [(&records, "records.jsonl"), (&flows, "flows.jsonl"), (&trace, "trace.jsonl")] {
            lines(files, file).iter().for_each(|line| one(schema, line, file));
        }
        one(&summary, &report.summary(), "summary.json");
        let captures = |f: &str| f.starts_with("captures/");
        let others: BTreeSet<&str> = report.files.keys().map(String::as_str).filter(|f| !captures(f)).collect();
        assert_eq!(others, BTreeSet::from(["flows.jsonl", "records.jsonl", "trace.jsonl"]), "what has a schema");
    });
}

/// Every record of an interface's capture is in cluster.pcapng too, in the order of records.jsonl, with the same ids;
/// and the trace knows its frame.
#[test]
fn ids_agree() {
    each(|path, files, _| {
        let cluster = Cluster::read(&files.files["captures/cluster.pcapng"]);
        let captures = captures(files);
        let truth = lines(files, "records.jsonl");
        // A file of another link type than Ethernet's has its records to itself.
        let (here, elsewhere): (Vec<&Value>, Vec<&Value>) = truth.iter().partition(|t| !t["cluster"].is_null());
        for line in elsewhere {
            let (folder, _) = file_of(line).rsplit_once('/').expect("a folder");
            let own = format!("{folder}/{}.pcap", line["device"].as_str().expect("text"));
            assert_eq!(files.files[&own][20..24], LINKTYPE_RAW.to_le_bytes(), "{}: {line}", path.display());
        }
        let own: Vec<&Value> = here.iter().copied().filter(|t| !file_of(t).ends_with("/any.pcap")).collect();
        assert_eq!(own.len(), cluster.records.len(), "{}", path.display());
        let mut received: BTreeMap<&str, u64> = BTreeMap::new();
        for line in &here {
            let record = line["cluster"].as_u64().and_then(|n| cluster.records.get(usize::try_from(n).ok()? - 1));
            let record = record.unwrap_or_else(|| panic!("{}: no such record: {line}", path.display()));
            assert_eq!(line["frame"], record.id, "{}: {line}", path.display());
        }
        for ((n, line), record) in (1..).zip(&own).zip(&cluster.records) {
            assert_eq!(line["cluster"].as_u64(), Some(n), "{}: {line}", path.display());
            *received.entry(&record.interface).or_default() += 1;
            let at = format!("{}: {line}", path.display());
            let number = usize::try_from(line["record"].as_u64().expect("a number")).expect("it fits") - 1;
            let (at_ns, bytes) = &captures[file_of(line)][number];
            assert_eq!((record.at_ns, &record.bytes), (*at_ns, bytes), "{at}");
            let (ns, dev) = (line["namespace"].as_str(), line["device"].as_str());
            assert_eq!(record.interface, format!("{}/{}", ns.expect("text"), dev.expect("text")), "{at}");
            assert_eq!(line["frame"], record.id, "{at}");
            let outgoing = line["direction"] == "Out";
            assert_eq!(record.flags & 3, if outgoing { 2 } else { 1 }, "{at}");
            let flow = line["flow"].as_u64().map_or(String::new(), |f| format!(", flow {f}"));
            assert_eq!(record.comments[0], format!("packet {}{flow}", line["packet"]), "{at}");
        }
        for (number, name) in (0..).zip(&cluster.interfaces) {
            assert_eq!(cluster.statistics[&number], received.get(name.as_str()).copied().unwrap_or(0), "{name}");
        }
        traced(path, files, &own);
        told(path, files, &truth);
    });
}

fn file_of(line: &Value) -> &str {
    line["file"].as_str().expect("text")
}

/// The records of the captures of interfaces: time and bytes.
fn captures(files: &Memory) -> BTreeMap<&str, Vec<(u64, Vec<u8>)>> {
    let pcaps = files.files.iter().filter(|(path, _)| path.ends_with(".pcap"));
    let read = |bytes: &[u8]| {
        let mut records = vec![];
        blocks(LegacyPcapReader::new(BUFFER, bytes).expect("a capture"), |block| match block {
            PcapBlockOwned::Legacy(r) => {
                let at_ns = u64::from(r.ts_sec) * 1_000_000_000 + u64::from(r.ts_usec);
                records.push((at_ns, r.data.to_vec()));
            }
            PcapBlockOwned::LegacyHeader(h) => assert!(h.is_nanosecond_precision()),
            PcapBlockOwned::NG(_) => panic!("a block of another format"),
        });
        records
    };
    pcaps.map(|(path, bytes)| (path.as_str(), read(bytes))).collect()
}

/// The trace has every frame that was recorded, as the same packet and never as another flow.
fn traced(path: &Path, files: &Memory, records: &[&Value]) {
    let mut packets: BTreeMap<u64, (&Value, BTreeSet<u64>)> = BTreeMap::new();
    let trace = lines(files, "trace.jsonl");
    for step in &trace {
        let entry = packets.entry(step["frame"].as_u64().expect("a number")).or_insert((&step["packet"], [].into()));
        assert_eq!(*entry.0, step["packet"], "{}: {step}", path.display());
        entry.1.extend(step["flow"].as_u64());
    }
    for record in records {
        let frame = record["frame"].as_u64().expect("a number");
        // A frame that was made before the captures began, and neither moves nor ends after it, has no step.
        let Some((packet, flows)) = packets.get(&frame) else { panic!("{}: {record}", path.display()) };
        assert_eq!(**packet, record["packet"], "{}: {record}", path.display());
        let flow = record["flow"].as_u64();
        assert!(flows.iter().all(|f| Some(*f) == flow), "{}: {record} {flows:?}", path.display());
    }
}

/// flows.jsonl counts the records of each flow at each interface, and no flow is missing.
fn told(path: &Path, files: &Memory, records: &[Value]) {
    let mut seen: BTreeMap<(u64, String), u64> = BTreeMap::new();
    let own = |r: &&Value| !file_of(r).ends_with("/any.pcap") && r["flow"].is_u64();
    let place = |v: &Value| format!("{}/{}", v["namespace"], v["device"]);
    for record in records.iter().filter(own) {
        *seen.entry((record["flow"].as_u64().expect("a number"), place(record))).or_default() += 1;
    }
    let mut told: BTreeMap<(u64, String), u64> = BTreeMap::new();
    let mut errors = 0;
    for flow in lines(files, "flows.jsonl") {
        errors += flow["errors"].as_u64().expect("a number");
        for at in flow["places"].as_array().expect("a list") {
            let records = at["records"].as_array().expect("a pair").iter().filter_map(Value::as_u64).sum::<u64>();
            *told.entry((flow["flow"].as_u64().expect("a number"), place(at))).or_default() += records;
        }
    }
    if errors == 0 {
        assert_eq!(told, seen, "{}", path.display());
    }
    // ICMP errors belong to a flow, but are none of its packets.
    assert!(told.iter().all(|(key, n)| seen.get(key).is_some_and(|all| n <= all)), "{}", path.display());
}

/// The lesson on address translation, told by its flows: one connection under three names.
#[test]
fn a_connection_under_all_its_names() {
    let mut files = Memory::default();
    scenarios::run(Path::new("scenarios/labs/nat-by-hand/scenario.yaml"), &mut files);
    let flows = lines(&files, "flows.jsonl");
    let flow = flows.iter().find(|f| f["source"] == "203.0.113.100:50000").expect("the client's");
    let names: BTreeSet<String> = flow["places"].as_array().expect("a list").iter().map(name).collect();
    let want = ["192.168.0.11:50000 > 10.244.2.2:7", "203.0.113.100:50000 > 10.96.0.88:7"];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), want);
    assert_eq!((&flow["packets"], flow["nat"].as_array().map(Vec::len)), (&serde_json::json!([1, 1]), Some(2)));
    let entry = &flow["conntrack"][0]["entries"][0];
    assert_eq!(name(&entry["original"]), "203.0.113.100:50000 > 10.96.0.88:7");
    assert_eq!(name(&entry["reply"]), "10.244.2.2:7 > 192.168.0.11:50000");

    let cluster = Cluster::read(&files.files["captures/cluster.pcapng"]);
    let notes: BTreeSet<&str> = cluster.records.iter().flat_map(|r| &r.comments[1..]).map(String::as_str).collect();
    assert!(notes.contains("destination NAT: 10.96.0.88:7 becomes 10.244.2.2:7"), "{notes:?}");
    assert_eq!(cluster.names[&[10, 244, 1, 2][..]], "pod-a");
}

fn name(v: &Value) -> String {
    format!("{} > {}", v["source"].as_str().expect("text"), v["destination"].as_str().expect("text"))
}

/// A dropped frame says so where it was seen last.
#[test]
fn drops_are_comments() {
    let mut files = Memory::default();
    scenarios::run(Path::new("scenarios/labs/routing-loop/scenario.yaml"), &mut files);
    let cluster = Cluster::read(&files.files["captures/cluster.pcapng"]);
    let dropped: Vec<_> =
        cluster.records.iter().filter(|r| r.comments.iter().any(|c| c.starts_with("dropped"))).collect();
    let [record] = dropped[..] else { panic!("{} records", dropped.len()) };
    assert_eq!(record.comments[1], "dropped: IP_TTL: The TTL was used up.");
    let last = cluster.records.iter().rposition(|r| r.id == record.id).expect("itself");
    assert!(std::ptr::eq(&raw const cluster.records[last], record), "where it was seen last");
}
