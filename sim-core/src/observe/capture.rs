//! What `tcpdump -p -i IFACE` and `tcpdump -i any` would write in every namespace, and where each record came from.

use super::files::{FileNo, Files};
use super::names::Names;
use super::pcap;
use crate::base::{FlowId, IfIndex, Mac, NsId};
use crate::kernel::trace::Tap;
use crate::wire::sll2;
use std::collections::BTreeMap;

/// The captures of a run and `records.jsonl`.
pub(super) struct Captures {
    epoch_ns: u64,
    interfaces: BTreeMap<(NsId, IfIndex), File>,
    any: BTreeMap<NsId, File>,
    /// Names of files taken: a device that comes back under an old name gets a file of its own.
    taken: BTreeMap<String, IfIndex>,
    records: FileNo,
    count: u64,
    /// captures/cluster.pcapng gets a record of every frame at an Ethernet interface's tap, too.
    cluster: bool,
    /// Records there so far.
    in_cluster: u64,
}

struct File {
    no: FileNo,
    /// How each of its lines in records.jsonl begins.
    head: Vec<u8>,
    records: u64,
}

impl Captures {
    pub fn new(files: &mut Files<'_>, epoch_ns: u64, cluster: bool) -> Self {
        Captures {
            epoch_ns,
            interfaces: BTreeMap::new(),
            any: BTreeMap::new(),
            taken: BTreeMap::new(),
            records: files.create("records.jsonl".to_owned()),
            count: 0,
            cluster,
            in_cluster: 0,
        }
    }

    /// Records written so far, in all files.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A frame at a tap goes into its interface's file and into its namespace's any.pcap.
    pub fn record(&mut self, files: &mut Files<'_>, names: &Names, tap: &Tap<'_>, flow: Option<FlowId>) {
        let at_ns = self.epoch_ns + tap.at.0;
        let cluster = (self.cluster && names.is_ether(tap.ns, tap.dev)).then(|| {
            self.in_cluster += 1;
            self.in_cluster
        });
        let truth = Truth { no: self.records, names, tap, flow, cluster };
        self.count += 2;
        let one = self.interface(files, names, tap.ns, tap.dev);
        files.write(one.no, |w| pcap::record(w, at_ns, &[], tap.bytes));
        truth.write(files, one);

        let any = self.any(files, names, tap.ns);
        let arphrd = names.get(tap.ns, tap.dev).map_or(1, |d| d.arphrd);
        let source = (tap.mac_len > 0).then(|| Mac::read(tap.bytes, 6));
        let pseudo = sll2::header(tap.protocol(), tap.dev.0, arphrd, tap.pkt_type.number(), source);
        files.write(any.no, |w| pcap::record(w, at_ns, &pseudo, tap.l3()));
        truth.write(files, any);
    }

    /// The file of an interface, with one more record.
    fn interface(&mut self, files: &mut Files<'_>, names: &Names, ns: NsId, dev: IfIndex) -> &File {
        self.interfaces
            .entry((ns, dev))
            .or_insert_with(|| {
                let name = names.dev(ns, dev);
                let mut path = format!("captures/{}/{name}.pcap", names.folder(ns));
                if self.taken.contains_key(&path) || name == "any" {
                    path = format!("captures/{}/{name}.{dev}.pcap", names.folder(ns));
                }
                self.taken.insert(path.clone(), dev);
                let linktype = if names.is_ether(ns, dev) { pcap::LINKTYPE_ETHERNET } else { pcap::LINKTYPE_RAW };
                File::create(files, path, linktype)
            })
            .next()
    }

    /// The file of all interfaces of a namespace, with one more record.
    fn any(&mut self, files: &mut Files<'_>, names: &Names, ns: NsId) -> &File {
        self.any
            .entry(ns)
            .or_insert_with(|| {
                let path = format!("captures/{}/any.pcap", names.folder(ns));
                File::create(files, path, sll2::LINKTYPE_LINUX_SLL2)
            })
            .next()
    }
}

impl File {
    fn create(files: &mut Files<'_>, path: String, linktype: u32) -> File {
        let mut head = br#"{"file":"#.to_vec();
        json(&mut head, &path);
        head.extend_from_slice(br#","record":"#);
        let no = files.create(path);
        files.write(no, |w| pcap::header(w, linktype));
        File { no, head, records: 0 }
    }

    /// Records are counted from 1.
    fn next(&mut self) -> &File {
        self.records += 1;
        self
    }
}

/// A line of records.jsonl: which frame a record is.
struct Truth<'a> {
    no: FileNo,
    names: &'a Names,
    tap: &'a Tap<'a>,
    flow: Option<FlowId>,
    /// The same in captures/cluster.pcapng.
    cluster: Option<u64>,
}

impl Truth<'_> {
    /// Of the last record of `file`.
    fn write(&self, files: &mut Files<'_>, file: &File) {
        let Truth { names, tap, .. } = self;
        files.write(self.no, |w| {
            w.extend_from_slice(&file.head);
            decimal(w, file.records);
            if let Some(cluster) = self.cluster {
                w.extend_from_slice(br#","cluster":"#);
                decimal(w, cluster);
            }
            w.extend_from_slice(br#","frame":"#);
            decimal(w, tap.frame.0);
            w.extend_from_slice(br#","packet":"#);
            decimal(w, tap.packet.0);
            w.extend_from_slice(br#","flow":"#);
            match self.flow {
                Some(flow) => decimal(w, flow.0.into()),
                None => w.extend_from_slice(b"null"),
            }
            w.extend_from_slice(br#","namespace":"#);
            json(w, names.ns(tap.ns));
            w.extend_from_slice(br#","device":"#);
            json(w, names.dev(tap.ns, tap.dev));
            w.extend_from_slice(br#","direction":""#);
            w.extend_from_slice(tap.pkt_type.label().as_bytes());
            w.extend_from_slice(b"\"}\n");
        });
    }
}

/// Appends a JSON string. Names rarely hold what has to be escaped.
fn json(out: &mut Vec<u8>, text: &str) {
    if text.bytes().all(|b| b >= b' ' && b != b'"' && b != b'\\') {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
    }
}

/// Appends a number; formatting it would take several times as long.
fn decimal(out: &mut Vec<u8>, mut n: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings() {
        for n in [0, 7, 10, 1_234_567_890, u64::MAX] {
            let mut out = vec![];
            decimal(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
        }
        for text in ["eth0", "", "a\"b\\c", "tab\t", "ö"] {
            let mut out = vec![];
            json(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
