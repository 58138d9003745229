//! `ip neigh show` (ip/ipneigh.c: print_neigh).

use super::printer::Printer;
use super::{Format, NeighFilter};
use crate::base::time::SEC;
use crate::kernel::netlink::NudState;
use crate::kernel::show::NeighInfo;

/// `ip neigh show`
pub fn neighs(neighs: &[NeighInfo], filter: &NeighFilter, format: Format) -> String {
    let mut p = Printer::new(format);
    for neigh in neighs.iter().filter(|n| selected(n, filter)) {
        p.object("");
        line(&mut p, neigh, filter.dev.is_none(), format);
        p.text(format_args!("\n"));
        p.end();
    }
    p.finish()
}

fn line(p: &mut Printer, neigh: &NeighInfo, named: bool, format: Format) {
    let lladdr = neigh.lladdr.map(|m| m.to_string());
    let brief = format.brief;
    let width = if brief { 39 } else { 0 };
    p.field("dst", neigh.addr.to_string(), format_args!("{:<width$} ", neigh.addr.to_string()));
    if named && brief {
        p.field("dev", neigh.dev.as_str(), format_args!("{:<16} ", neigh.dev));
    } else if named {
        p.field("dev", neigh.dev.as_str(), format_args!("dev {} ", neigh.dev));
    }
    match lladdr {
        Some(lladdr) if brief => p.field("lladdr", lladdr.as_str(), format_args!("{lladdr}")),
        Some(lladdr) => p.field("lladdr", lladdr.as_str(), format_args!("lladdr {lladdr} ")),
        None => {}
    }
    if brief {
        return;
    }
    if format.stats > 0 {
        stats(p, neigh);
    }
    if neigh.state != NudState::None {
        p.array("state");
        p.item(neigh.state.label(), format_args!("{} ", neigh.state.label()));
        p.end();
    }
}

fn selected(neigh: &NeighInfo, filter: &NeighFilter) -> bool {
    let state = if filter.all_states {
        true
    } else if filter.states.is_empty() {
        !matches!(neigh.state, NudState::None | NudState::Noarp)
    } else {
        filter.states.contains(&neigh.state)
    };
    state
        && filter.dev.as_ref().is_none_or(|d| *d == neigh.dev)
        && filter.to.is_none_or(|net| net.contains(&neigh.addr))
}

/// print_cacheinfo
fn stats(p: &mut Printer, neigh: &NeighInfo) {
    // A timer holds a reference to its entry (NUD_IN_TIMER).
    let timed = NudState::Incomplete as u8 | NudState::Reachable as u8 | NudState::Delay as u8 | NudState::Probe as u8;
    if neigh.state as u8 & timed != 0 {
        p.field("refcnt", 1, format_args!(" ref 1"));
    }
    let [used, confirmed, updated] = [neigh.used_ns, neigh.confirmed_ns, neigh.updated_ns].map(|ns| ns / SEC);
    p.field("used", used, format_args!(" used {used}"));
    p.field("confirmed", confirmed, format_args!("/{confirmed}"));
    p.field("updated", updated, format_args!("/{updated}"));
    p.field("probes", neigh.probes, format_args!("probes {} ", neigh.probes));
}
