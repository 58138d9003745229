//! `netstat -i` (lib/interface.c: ife_print_short).

use super::super::View;
use crate::kernel::show::{self as kernel, Link};
use std::fmt::Write;

/// The interfaces that are up, or with `-a` all of them, by name.
pub(in super::super) fn interfaces(view: View<'_>, all: bool) -> String {
    let mut links = kernel::links(view.spaces, view.ns, view.now);
    links.retain(|l| all || l.flags.up);
    links.sort_by(|a, b| a.name.cmp(&b.name));
    let mut out = "Kernel Interface table\n".to_owned();
    out.push_str("Iface             MTU    RX-OK RX-ERR RX-DRP RX-OVR    TX-OK TX-ERR TX-DRP TX-OVR Flg\n");
    for link in &links {
        let (s, flags) = (&link.stats, flags(link));
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{:<15} {:>5} {:>8} {:>6} {:>6} {:<6} {:>8} {:>6} {:>6} {:>6} {flags}",
            link.name, link.mtu, s.rx_packets, s.rx_errors, s.rx_dropped, 0, s.tx_packets, s.tx_errors, s.tx_dropped, 0
        );
        // An address with a label is an interface to these tools.
        for addr in link.addrs.iter().filter(|a| a.label.contains(':')) {
            let none = "     - no statistics available -                        ";
            let _ = writeln!(out, "{:<15} {:>5} {none}{flags}", addr.label, link.mtu);
        }
    }
    out
}

fn flags(link: &Link) -> String {
    let f = link.flags;
    let letters = [
        (f.allmulti, 'A'),
        (f.broadcast, 'B'),
        (f.loopback, 'L'),
        (f.multicast, 'M'),
        (f.promisc, 'P'),
        (f.noarp, 'O'),
        (f.lower_up, 'R'),
        (f.up, 'U'),
    ];
    letters.iter().filter(|(set, _)| *set).map(|(_, letter)| *letter).collect()
}
