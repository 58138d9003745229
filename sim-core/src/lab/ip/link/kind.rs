//! What follows `type bridge` and `type bridge_slave`.

use crate::kernel::netlink::{BridgeChange, LinkChange, PortChange};
use crate::lab::args::{
    Args, Keyword, exact, help, keyword, names, not_simulated, not_simulated_in, on_off_short, prefix, unsigned,
};
use crate::lab::{SyntaxError, Word};

/// Link types that iproute2 knows and this kernel does not.
const OTHERS: [&str; 34] = [
    "amt",
    "bareudp",
    "batadv",
    "bond",
    "bond_slave",
    "can",
    "dsa",
    "dummy",
    "erspan",
    "geneve",
    "gre",
    "gretap",
    "gtp",
    "hsr",
    "ifb",
    "ip6gre",
    "ip6gretap",
    "ip6tnl",
    "ipoib",
    "ipvlan",
    "macsec",
    "macvlan",
    "macvtap",
    "netdevsim",
    "nlmon",
    "sit",
    "team",
    "vcan",
    "veth_slave",
    "vlan",
    "vrf",
    "vti",
    "wireguard",
    "xfrm",
];

/// A hint.
const LINK_TYPES: &str = "the link types are: bridge, ipip, veth, vxlan";

/// A value of `type` that is not simulated.
pub(super) fn unknown(word: &Word) -> SyntaxError {
    if OTHERS.contains(&word.text.as_str()) {
        return not_simulated(word).hint(LINK_TYPES);
    }
    SyntaxError::at(word, "Error: Unknown device type.")
        .hint(LINK_TYPES)
        .hint_nearest(&word.text, ["bridge", "veth", "vxlan", "ipip", "bridge_slave"])
}

/// The order in which the kernel makes the changes of one request (rtnl_changelink, then do_setlink).
pub(super) fn turn(change: &LinkChange) -> u8 {
    match change {
        LinkChange::Bridge(_) => 0,
        LinkChange::Port(_) => 1,
        LinkChange::Netns(_) => 2,
        LinkChange::Address(_) => 3,
        LinkChange::Mtu(_) => 4,
        LinkChange::Name(_) => 5,
        // One change of the flags.
        LinkChange::Up(_) => 6,
        LinkChange::Promisc(_) => 7,
        LinkChange::Allmulti(_) => 8,
        LinkChange::Arp(_) => 9,
        LinkChange::Master(_) => 10,
        LinkChange::TxQueueLen(_) => 11,
    }
}

#[derive(Clone, Copy)]
enum Bridge {
    ForwardDelay,
    AgeingTime,
    StpState,
    Priority,
    GroupFwdMask,
    FdbFlush,
    McastSnooping,
    Help,
    Other,
}

// In the order of bridge_parse_opt (ip/iplink_bridge.c).
const BRIDGE: &[Keyword<Bridge>] = &[
    prefix("forward_delay", Bridge::ForwardDelay),
    prefix("hello_time", Bridge::Other),
    prefix("max_age", Bridge::Other),
    prefix("ageing_time", Bridge::AgeingTime),
    prefix("stp_state", Bridge::StpState),
    prefix("priority", Bridge::Priority),
    prefix("vlan_filtering", Bridge::Other),
    prefix("vlan_protocol", Bridge::Other),
    prefix("group_fwd_mask", Bridge::GroupFwdMask),
    prefix("group_address", Bridge::Other),
    prefix("fdb_flush", Bridge::FdbFlush),
    prefix("vlan_default_pvid", Bridge::Other),
    prefix("vlan_stats_enabled", Bridge::Other),
    prefix("vlan_stats_per_port", Bridge::Other),
    prefix("mcast_router", Bridge::Other),
    prefix("mcast_snooping", Bridge::McastSnooping),
    exact("mcast_vlan_snooping", Bridge::Other),
    prefix("mcast_query_use_ifaddr", Bridge::Other),
    prefix("mcast_querier", Bridge::Other),
    prefix("mcast_hash_elasticity", Bridge::Other),
    prefix("mcast_hash_max", Bridge::Other),
    prefix("mcast_last_member_count", Bridge::Other),
    prefix("mcast_startup_query_count", Bridge::Other),
    prefix("mcast_last_member_interval", Bridge::Other),
    prefix("mcast_membership_interval", Bridge::Other),
    prefix("mcast_querier_interval", Bridge::Other),
    prefix("mcast_query_interval", Bridge::Other),
    prefix("mcast_query_response_interval", Bridge::Other),
    prefix("mcast_startup_query_interval", Bridge::Other),
    prefix("mcast_stats_enabled", Bridge::Other),
    prefix("mcast_igmp_version", Bridge::Other),
    prefix("mcast_mld_version", Bridge::Other),
    prefix("nf_call_iptables", Bridge::Other),
    prefix("nf_call_ip6tables", Bridge::Other),
    prefix("nf_call_arptables", Bridge::Other),
    exact("no_linklocal_learn", Bridge::Other),
    prefix("help", Bridge::Help),
];

/// The words after `type bridge`, in the order in which the kernel makes the changes (br_changelink).
pub(super) fn bridge(args: &mut Args<'_>) -> Result<Vec<BridgeChange>, SyntaxError> {
    let mut changes: Vec<BridgeChange> = Vec::new();
    while let Some(word) = args.next() {
        let change = match keyword(BRIDGE, &word.text) {
            Some(Bridge::ForwardDelay) => {
                BridgeChange::ForwardDelay(unsigned::<u32>(args.value()?, "invalid forward_delay")?.into())
            }
            Some(Bridge::AgeingTime) => {
                BridgeChange::AgeingTime(unsigned::<u32>(args.value()?, "invalid ageing_time")?.into())
            }
            Some(Bridge::StpState) => BridgeChange::StpState(unsigned::<u32>(args.value()?, "invalid stp_state")? != 0),
            Some(Bridge::Priority) => BridgeChange::Priority(unsigned(args.value()?, "invalid priority")?),
            Some(Bridge::GroupFwdMask) => {
                BridgeChange::GroupFwdMask(unsigned(args.value()?, "invalid group_fwd_mask")?)
            }
            Some(Bridge::FdbFlush) => BridgeChange::FdbFlush,
            Some(Bridge::McastSnooping) => {
                BridgeChange::McastSnooping(unsigned::<u8>(args.value()?, "invalid mcast_snooping")? != 0)
            }
            Some(Bridge::Help) => return Err(help(word, "ip-link")),
            Some(Bridge::Other) => return Err(not_simulated_in(BRIDGE, word)),
            None => {
                return Err(SyntaxError::at(word, format!("bridge: unknown command \"{}\"?", word.text))
                    .hint_nearest(&word.text, names(BRIDGE)));
            }
        };
        changes.retain(|c| std::mem::discriminant(c) != std::mem::discriminant(&change));
        changes.push(change);
    }
    changes.sort_by_key(|c| match c {
        BridgeChange::ForwardDelay(_) => 0,
        BridgeChange::AgeingTime(_) => 1,
        BridgeChange::StpState(_) => 2,
        BridgeChange::Priority(_) => 3,
        BridgeChange::GroupFwdMask(_) => 4,
        BridgeChange::FdbFlush => 5,
        BridgeChange::McastSnooping(_) => 6,
    });
    Ok(changes)
}

#[derive(Clone, Copy)]
enum Port {
    Flush,
    Priority,
    Cost,
    Hairpin,
    Learning,
    Flood,
    McastFlood,
    BcastFlood,
    Isolated,
    Help,
    Other,
}

// In the order of bridge_slave_parse_opt (ip/iplink_bridge_slave.c).
const PORT: &[Keyword<Port>] = &[
    prefix("fdb_flush", Port::Flush),
    prefix("state", Port::Other),
    prefix("priority", Port::Priority),
    prefix("cost", Port::Cost),
    prefix("hairpin", Port::Hairpin),
    prefix("guard", Port::Other),
    prefix("root_block", Port::Other),
    prefix("fastleave", Port::Other),
    prefix("learning", Port::Learning),
    prefix("flood", Port::Flood),
    prefix("mcast_flood", Port::McastFlood),
    prefix("bcast_flood", Port::BcastFlood),
    prefix("mcast_to_unicast", Port::Other),
    prefix("proxy_arp", Port::Other),
    prefix("proxy_arp_wifi", Port::Other),
    prefix("mcast_router", Port::Other),
    prefix("mcast_fast_leave", Port::Other),
    prefix("neigh_suppress", Port::Other),
    prefix("group_fwd_mask", Port::Other),
    prefix("vlan_tunnel", Port::Other),
    prefix("isolated", Port::Isolated),
    prefix("locked", Port::Other),
    prefix("backup_port", Port::Other),
    prefix("nobackup_port", Port::Other),
    prefix("help", Port::Help),
];

/// The words after `type bridge_slave`, in the order in which the kernel makes the changes.
pub(super) fn port(args: &mut Args<'_>) -> Result<Vec<PortChange>, SyntaxError> {
    let mut changes = Vec::new();
    while let Some(word) = args.next() {
        let change = match keyword(PORT, &word.text) {
            Some(Port::Flush) => PortChange::Flush,
            Some(Port::Priority) => PortChange::Priority(unsigned(args.value()?, "priority is invalid")?),
            Some(Port::Cost) => PortChange::Cost(unsigned(args.value()?, "cost is invalid")?),
            Some(Port::Hairpin) => PortChange::Hairpin(on_off_short("hairpin", args.value()?)?),
            Some(Port::Learning) => PortChange::Learning(on_off_short("learning", args.value()?)?),
            Some(Port::Flood) => PortChange::Flood(on_off_short("flood", args.value()?)?),
            Some(Port::McastFlood) => PortChange::McastFlood(on_off_short("mcast_flood", args.value()?)?),
            Some(Port::BcastFlood) => PortChange::BcastFlood(on_off_short("bcast_flood", args.value()?)?),
            Some(Port::Isolated) => PortChange::Isolated(on_off_short("isolated", args.value()?)?),
            Some(Port::Help) => return Err(help(word, "ip-link")),
            Some(Port::Other) => return Err(not_simulated_in(PORT, word)),
            None => {
                return Err(SyntaxError::at(word, format!("bridge_slave: unknown option \"{}\"?", word.text))
                    .hint_nearest(&word.text, names(PORT)));
            }
        };
        put_port(&mut changes, change);
    }
    Ok(changes)
}

/// Adds a change of a port where the kernel makes it (br_setport); of two of the same kind the last counts.
pub(in crate::lab) fn put_port(changes: &mut Vec<PortChange>, change: PortChange) {
    changes.retain(|c| std::mem::discriminant(c) != std::mem::discriminant(&change));
    let turn = |c: &PortChange| match c {
        PortChange::Hairpin(_) => 0,
        PortChange::Learning(_) => 1,
        PortChange::Flood(_) => 2,
        PortChange::McastFlood(_) => 3,
        PortChange::BcastFlood(_) => 4,
        PortChange::Isolated(_) => 5,
        PortChange::Cost(_) => 6,
        PortChange::Priority(_) => 7,
        PortChange::Flush => 8,
    };
    changes.push(change);
    changes.sort_by_key(turn);
}
