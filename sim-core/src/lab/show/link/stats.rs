//! `-s`: what passed a device (ip/ipaddress.c: print_stats64).

use super::super::Format;
use super::super::printer::Printer;
use crate::kernel::show::Link;

/// The columns of a table of counters: heading, key, value.
type Columns = [(&'static str, &'static str, u64)];

/// The columns grow with the numbers. The record's last line is left open.
pub(super) fn stats(p: &mut Printer, link: &Link, format: Format) {
    let s = &link.stats;
    let rx = [
        ("bytes", "bytes", s.rx_bytes),
        ("packets", "packets", s.rx_packets),
        ("errors", "errors", s.rx_errors),
        ("dropped", "dropped", s.rx_dropped),
        ("missed", "over_errors", 0),
        ("mcast", "multicast", s.multicast),
    ];
    let tx = [
        ("bytes", "bytes", s.tx_bytes),
        ("packets", "packets", s.tx_packets),
        ("errors", "errors", s.tx_errors),
        ("dropped", "dropped", s.tx_dropped),
        ("carrier", "carrier_errors", s.tx_carrier_errors),
        ("collsns", "collisions", s.collisions),
    ];
    // No simulated driver counts these.
    let rx_errors = [
        ("length", "length_errors", 0),
        ("crc", "crc_errors", 0),
        ("frame", "frame_errors", 0),
        ("fifo", "fifo_errors", 0),
        ("overrun", "missed_errors", 0),
    ];
    let tx_errors = [
        ("aborted", "aborted_errors", 0),
        ("fifo", "fifo_errors", 0),
        ("window", "window_errors", 0),
        ("heartbt", "heartbeat_errors", 0),
        ("transns", "carrier_changes", u64::from(link.carrier_changes)),
    ];
    let mut widths = [10, 7, 6, 7, 7, 7];
    for table in [&rx[..], &tx, &rx_errors, &tx_errors] {
        // What has no detail leaves the first column out.
        let skipped = widths.len() - table.len();
        for (width, (.., value)) in widths[skipped..].iter_mut().zip(table) {
            *width = value.to_string().len().max(*width);
        }
    }
    p.object("stats64");
    for (key, name, table, errors, last) in [("rx", "RX", &rx, &rx_errors, false), ("tx", "TX", &tx, &tx_errors, true)]
    {
        p.object(key);
        p.text(format_args!("    {name}: {:>1$} ", "bytes", widths[0] - 4));
        for ((heading, ..), width) in table.iter().zip(&widths).skip(1) {
            p.text(format_args!("{heading:>width$} "));
        }
        p.text(format_args!("{:10}", ""));
        p.newline();
        p.text(format_args!("    "));
        values(p, table, &widths);
        if format.stats > 1 {
            p.newline();
            p.text(format_args!("    {name} errors:{:1$}", "", widths[0] - 10));
            for ((heading, ..), width) in errors.iter().zip(&widths[1..]) {
                p.text(format_args!(" {heading:>width$}"));
            }
            p.newline();
            p.text(format_args!("    {:1$} ", "", widths[0]));
            values(p, errors, &widths[1..]);
        }
        if !last {
            p.newline();
        }
        p.end();
    }
    p.end();
}

fn values(p: &mut Printer, columns: &Columns, widths: &[usize]) {
    for ((_, key, value), width) in columns.iter().zip(widths) {
        p.field(key, *value, format_args!("{value:>width$} "));
    }
}
