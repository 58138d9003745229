//! What `tcpdump -p -i IFACE` and `tcpdump -i any` would write in every namespace, and where each record came from.

use super::files::{FileNo, Files};
use super::names::Names;
use super::pcap;
use crate::base::{FlowId, IfIndex, Mac, NsId};
use crate::kernel::trace::Tap;
use crate::wire::{ethertype, sll2};
use std::collections::BTreeMap;
use std::io::Write as _;

/// The captures of a run and `records.jsonl`.
pub(super) struct Captures {
    epoch_ns: u64,
    interfaces: BTreeMap<(NsId, IfIndex), File>,
    any: BTreeMap<NsId, File>,
    /// Names of files taken: a device that comes back under an old name gets a file of its own.
    taken: BTreeMap<String, IfIndex>,
    records: FileNo,
    count: u64,
}

#[derive(Clone, Copy)]
struct File {
    no: FileNo,
    records: u64,
}

impl Captures {
    pub fn new(files: &mut Files<'_>, epoch_ns: u64) -> Self {
        Captures {
            epoch_ns,
            interfaces: BTreeMap::new(),
            any: BTreeMap::new(),
            taken: BTreeMap::new(),
            records: files.create("records.jsonl".to_owned()),
            count: 0,
        }
    }

    /// Records written so far, in all files.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A frame at a tap goes into its interface's file and into its namespace's any.pcap.
    pub fn record(&mut self, files: &mut Files<'_>, names: &Names, tap: &Tap<'_>, flow: Option<FlowId>) {
        let at_ns = self.epoch_ns + tap.at.0;
        let one = self.interface(files, names, tap.ns, tap.dev);
        files.write(one.no, |w| pcap::record(w, at_ns, &[], tap.bytes));
        self.truth(files, names, tap, flow, one);

        let any = self.any(files, names, tap.ns);
        let arphrd = names.get(tap.ns, tap.dev).map_or(1, |d| d.arphrd);
        let source = (tap.mac_len > 0).then(|| Mac::read(tap.bytes, 6));
        let pseudo = sll2::header(ethertype(tap.bytes), tap.dev.0, arphrd, tap.pkt_type.number(), source);
        files.write(any.no, |w| pcap::record(w, at_ns, &pseudo, &tap.bytes[tap.mac_len..]));
        self.truth(files, names, tap, flow, any);
    }

    /// A line of records.jsonl: which frame a record is.
    fn truth(&mut self, files: &mut Files<'_>, names: &Names, tap: &Tap<'_>, flow: Option<FlowId>, file: File) {
        self.count += 1;
        let path = files.path(file.no).to_owned();
        files.write(self.records, |w| {
            // Names of namespaces and devices hold no character that JSON escapes but the quote and the backslash.
            let (ns, dev) = (json(names.ns(tap.ns)), json(names.dev(tap.ns, tap.dev)));
            let flow = flow.map_or("null".to_owned(), |f| f.to_string());
            let _ = writeln!(
                w,
                concat!(
                    r#"{{"file":{},"record":{},"frame":{},"packet":{},"#,
                    r#""flow":{},"namespace":{},"device":{},"direction":"{}"}}"#
                ),
                json(&path),
                file.records,
                tap.frame,
                tap.packet,
                flow,
                ns,
                dev,
                tap.pkt_type.label(),
            );
        });
    }

    fn interface(&mut self, files: &mut Files<'_>, names: &Names, ns: NsId, dev: IfIndex) -> File {
        next(self.interfaces.entry((ns, dev)).or_insert_with(|| {
            let name = names.dev(ns, dev);
            let mut path = format!("captures/namespaces/{}/{name}.pcap", names.ns(ns));
            if self.taken.contains_key(&path) || name == "any" {
                path = format!("captures/namespaces/{}/{name}.{dev}.pcap", names.ns(ns));
            }
            self.taken.insert(path.clone(), dev);
            File::create(files, path, pcap::LINKTYPE_ETHERNET)
        }))
    }

    fn any(&mut self, files: &mut Files<'_>, names: &Names, ns: NsId) -> File {
        next(self.any.entry(ns).or_insert_with(|| {
            let path = format!("captures/namespaces/{}/any.pcap", names.ns(ns));
            File::create(files, path, sll2::LINKTYPE_LINUX_SLL2)
        }))
    }
}

impl File {
    fn create(files: &mut Files<'_>, path: String, linktype: u32) -> File {
        let no = files.create(path);
        files.write(no, |w| pcap::header(w, linktype));
        File { no, records: 0 }
    }
}

/// The file with the number of its next record, counted from 1.
fn next(file: &mut File) -> File {
    file.records += 1;
    *file
}

/// A JSON string.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
