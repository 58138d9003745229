//! `tc qdisc show` (tc/tc_qdisc.c: print_qdisc).

use super::Format;
use super::printer::Printer;
use crate::kernel::show::Link;

/// Which band of pfifo_fast a priority belongs to, as its options are printed.
const PRIOMAP: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

/// `tc qdisc show`; `dev` is the one device that is asked for. The discipline of a device that has never been up (noop)
/// is not shown.
pub fn qdiscs(links: &[Link], dev: Option<&str>, format: Format) -> String {
    let mut p = Printer::new(format);
    for link in links.iter().filter(|l| l.qdisc != "noop" && dev.is_none_or(|d| d == l.name)) {
        p.object("");
        p.field("kind", link.qdisc, format_args!("qdisc {} ", link.qdisc));
        p.field("handle", "0:", format_args!("0: "));
        if dev.is_none() {
            p.field("dev", link.name.as_str(), format_args!("dev {} ", link.name));
        }
        p.field("root", true, format_args!("root "));
        p.field("refcnt", 2, format_args!("refcnt 2 "));
        p.object("options");
        if link.qdisc == "pfifo_fast" {
            p.field("bands", 3, format_args!("bands 3 priomap "));
            p.field("priomap", &PRIOMAP[..], format_args!("{}", PRIOMAP.map(|band| format!("{band} ")).concat()));
        }
        p.end();
        p.text(format_args!("\n"));
        if format.stats > 0 {
            stats(&mut p);
        }
        p.end();
    }
    p.finish()
}

/// Nothing is counted: noqueue has no queue that could count.
fn stats(p: &mut Printer) {
    p.field("bytes", 0, format_args!(" Sent 0 bytes"));
    p.field("packets", 0, format_args!(" 0 pkt"));
    p.field("drops", 0, format_args!(" (dropped 0"));
    p.field("overlimits", 0, format_args!(", overlimits 0"));
    p.field("requeues", 0, format_args!(" requeues 0) \n"));
    p.field("backlog", 0, format_args!(" backlog 0b"));
    p.field("qlen", 0, format_args!(" 0p requeues 0\n"));
}
