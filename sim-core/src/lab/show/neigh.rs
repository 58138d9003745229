//! `ip neigh show` (ip/ipneigh.c: print_neigh).

use super::{Format, NeighFilter};
use crate::base::time::SEC;
use crate::kernel::netlink::NudState;
use crate::kernel::show::NeighInfo;
use std::fmt::Write;

/// `ip neigh show`
pub fn neighs(neighs: &[NeighInfo], filter: &NeighFilter, format: Format) -> String {
    let mut out = String::new();
    for neigh in neighs.iter().filter(|n| selected(n, filter)) {
        let dev = Some(&neigh.dev).filter(|_| filter.dev.is_none());
        let lladdr = neigh.lladdr.map(|m| m.to_string());
        if format.brief {
            let dev = dev.map(|d| format!("{d:<16} ")).unwrap_or_default();
            let _ = writeln!(out, "{:<39} {dev}{}", neigh.addr, lladdr.unwrap_or_default());
            continue;
        }
        let _ = write!(out, "{} ", neigh.addr);
        if let Some(dev) = dev {
            let _ = write!(out, "dev {dev} ");
        }
        if let Some(lladdr) = lladdr {
            let _ = write!(out, "lladdr {lladdr} ");
        }
        if format.stats > 0 {
            stats(&mut out, neigh);
        }
        if neigh.state != NudState::None {
            let _ = write!(out, "{} ", neigh.state.label());
        }
        out.push('\n');
    }
    out
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

fn stats(out: &mut String, neigh: &NeighInfo) {
    // A timer holds a reference to its entry (NUD_IN_TIMER).
    let timed = NudState::Incomplete as u8 | NudState::Reachable as u8 | NudState::Delay as u8 | NudState::Probe as u8;
    if neigh.state as u8 & timed != 0 {
        out.push_str(" ref 1");
    }
    let [used, confirmed, updated] = [neigh.used_ns, neigh.confirmed_ns, neigh.updated_ns].map(|ns| ns / SEC);
    let _ = write!(out, " used {used}/{confirmed}/{updated}probes {} ", neigh.probes);
}
