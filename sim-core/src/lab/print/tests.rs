//! What is printed reads back as the same request.

use super::super::iptables::Task;
use super::super::{Action, parse};
use super::*;
use crate::base::Mac;
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netlink::{FdbRemote, NudState, RuleMatch, Scope};
use ipnet::Ipv4Net;
use proptest::prelude::*;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// The requests that `line` makes.
fn read(line: &str) -> Vec<Request> {
    match parse(line).unwrap_or_else(|e| panic!("{line}: {e}")).action {
        Action::Requests(r) => r.requests,
        Action::Sysctl(s) => {
            let write = |v: super::super::Variable| Request::Sysctl { name: v.name, value: v.value.unwrap() };
            s.variables.into_iter().map(write).collect()
        }
        Action::Iptables(call) => vec![match call.task {
            Task::Command(command) => Request::Iptables { backend: call.backend, command: Box::new(command.unwrap()) },
            Task::Restore(restore) => Request::IptablesRestore { backend: call.backend, restore },
            other @ Task::Save { .. } => panic!("{line}: {other:?}"),
        }],
        other => panic!("{line}: {other:?}"),
    }
}

/// Names that a kernel takes, keywords among them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9._@-]{0,14}",
        "[!-.0-~]{1,15}",
        proptest::sample::select(vec!["up", "dev", "a", "m", "type", "eth0", "default", "all", "help"])
            .prop_map(str::to_owned),
    ]
    .prop_filter("a file's name", |n| n != "." && n != "..")
}

fn mac() -> impl Strategy<Value = Mac> {
    any::<[u8; 6]>().prop_map(Mac)
}

fn ip() -> impl Strategy<Value = Ipv4Addr> {
    any::<u32>().prop_map(Ipv4Addr::from)
}

fn net() -> impl Strategy<Value = Ipv4Net> {
    (ip(), 0_u8..=32).prop_map(|(addr, len)| Ipv4Net::new(addr, len).unwrap())
}

/// A destination, often the default.
fn dst() -> impl Strategy<Value = Ipv4Net> {
    prop_oneof![Just(Ipv4Net::default()), net()]
}

fn maybe<T: std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Option<T>> {
    proptest::option::of(of)
}

fn scope() -> impl Strategy<Value = Scope> {
    proptest::sample::select(vec![Scope::Global, Scope::Site, Scope::Link, Scope::Host, Scope::Nowhere])
}

fn op() -> impl Strategy<Value = Op> {
    proptest::sample::select(vec![Op::Add, Op::Replace, Op::Append, Op::Change])
}

/// A subset in the kernel's order, each of a kind once.
fn bridge_changes() -> impl Strategy<Value = Vec<BridgeChange>> {
    let all = (any::<u32>(), any::<u32>(), any::<bool>(), any::<u16>(), any::<u16>(), any::<bool>()).prop_map(
        |(delay, ageing, stp, priority, mask, snooping)| {
            vec![
                BridgeChange::ForwardDelay(delay.into()),
                BridgeChange::AgeingTime(ageing.into()),
                BridgeChange::StpState(stp),
                BridgeChange::Priority(priority),
                BridgeChange::GroupFwdMask(mask),
                BridgeChange::FdbFlush,
                BridgeChange::McastSnooping(snooping),
            ]
        },
    );
    all.prop_flat_map(|all| proptest::sample::subsequence(all, 0..=7))
}

fn port_changes() -> impl Strategy<Value = Vec<PortChange>> {
    let all = (any::<[bool; 6]>(), 1..=u32::MAX, any::<u16>()).prop_map(|(on, cost, priority)| {
        vec![
            PortChange::Hairpin(on[0]),
            PortChange::Learning(on[1]),
            PortChange::Flood(on[2]),
            PortChange::McastFlood(on[3]),
            PortChange::BcastFlood(on[4]),
            PortChange::Isolated(on[5]),
            PortChange::Cost(cost),
            PortChange::Priority(priority),
            PortChange::Flush,
        ]
    });
    all.prop_flat_map(|all| proptest::sample::subsequence(all, 1..=9))
}

/// Changes of the device itself, then perhaps of it as a bridge or as a port.
fn changes() -> impl Strategy<Value = Vec<LinkChange>> {
    let all = (name(), mac(), any::<u32>(), name(), any::<[bool; 4]>(), maybe(name()), any::<u32>()).prop_map(
        |(netns, address, mtu, new_name, on, master, len)| {
            vec![
                LinkChange::Netns(netns),
                LinkChange::Address(address),
                LinkChange::Mtu(mtu),
                LinkChange::Name(new_name),
                LinkChange::Up(on[0]),
                LinkChange::Promisc(on[1]),
                LinkChange::Allmulti(on[2]),
                LinkChange::Arp(on[3]),
                LinkChange::Master(master),
                LinkChange::TxQueueLen(len),
            ]
        },
    );
    let own = all.prop_flat_map(|all| proptest::sample::subsequence(all, 0..=10));
    let of_type = prop_oneof![
        Just(Vec::new()),
        bridge_changes().prop_map(|c| c.into_iter().map(LinkChange::Bridge).collect()),
        port_changes().prop_map(|c| c.into_iter().map(LinkChange::Port).collect()),
    ];
    (of_type, own).prop_map(|(first, own): (Vec<_>, Vec<_>)| [first, own].concat())
}

fn link_add_request() -> impl Strategy<Value = Request> {
    let peer = (maybe(name()), maybe(mac()), maybe(any::<u32>()), maybe(name()))
        .prop_map(|(name, address, mtu, netns)| Box::new(LinkPeer { name, address, mtu, netns }));
    let kind = prop_oneof![
        maybe(peer).prop_map(|peer| LinkKind::Veth { peer }),
        bridge_changes().prop_map(LinkKind::Bridge),
        vxlan(),
    ];
    (maybe(name()), maybe(mac()), maybe(any::<u32>()), maybe(name()), maybe(name()), any::<bool>(), kind).prop_map(
        |(name, address, mtu, netns, master, up, kind)| {
            Request::LinkAdd(LinkAdd { name, address, mtu, netns, master, up, kind })
        },
    )
}

fn addr_requests() -> impl Strategy<Value = Request> {
    let sized = (net(), maybe(ip()), 1_u8..=32).prop_map(|(local, peer, len)| match peer {
        // With a peer there is one prefix length, the peer's.
        Some(peer) => (Ipv4Net::new(local.addr(), len).unwrap(), Ipv4Net::new(peer, len).ok()),
        None => (local, None),
    });
    (name(), sized, maybe(ip()), maybe(scope()), maybe(name()), any::<bool>()).prop_map(
        |(dev, (local, peer), broadcast, scope, label, add)| {
            if add {
                Request::AddrAdd(Addr { dev, local, peer, broadcast, scope, label })
            } else {
                Request::AddrDel(Addr { dev, local, peer, broadcast: None, scope: None, label })
            }
        },
    )
}

fn routes() -> impl Strategy<Value = Route> {
    use RouteType::{Blackhole, Broadcast, Local, Multicast, Prohibit, Throw, Unicast, Unreachable};
    let kinds = vec![Unicast, Local, Broadcast, Multicast, Blackhole, Unreachable, Prohibit, Throw];
    let hop = (maybe(ip()), maybe(name()), maybe(ip()), any::<bool>());
    let rest =
        (maybe(1..=u32::MAX), maybe(any::<u32>()), maybe(scope()), maybe(any::<u8>()), maybe(any::<(u32, bool)>()));
    (dst(), proptest::sample::select(kinds), hop, rest).prop_map(
        |(dst, kind, (via, dev, src, onlink), (table, metric, scope, proto, mtu))| Route {
            dst,
            kind,
            table,
            via,
            dev,
            src,
            metric,
            scope,
            proto,
            onlink,
            mtu,
        },
    )
}

fn route_requests() -> impl Strategy<Value = Request> {
    let flush = (any::<bool>(), maybe(1..=u32::MAX), maybe(name()), maybe(dst()))
        .prop_map(|(cache, table, dev, dst)| RouteFlush { cache, table, dev, dst });
    prop_oneof![
        (op(), routes()).prop_map(|(op, route)| Request::RouteAdd(op, route)),
        routes().prop_map(Request::RouteDel),
        flush.prop_map(Request::RouteFlush),
    ]
}

fn rule_requests() -> impl Strategy<Value = Request> {
    // Everything is the same as nothing.
    let part = || maybe((ip(), 1_u8..=32).prop_map(|(addr, len)| Ipv4Net::new(addr, len).unwrap()));
    let selector = (any::<bool>(), part(), part(), maybe(any::<(u32, u32)>()), maybe(name()), maybe(name()))
        .prop_map(|(not, from, to, fwmark, iif, oif)| RuleMatch { not, from, to, fwmark, iif, oif });
    let action = prop_oneof![
        (1..=u32::MAX).prop_map(RuleAction::Table),
        Just(RuleAction::Blackhole),
        Just(RuleAction::Unreachable),
        Just(RuleAction::Prohibit)
    ];
    (any::<bool>(), maybe(any::<u32>()), action, selector).prop_map(|(add, pref, action, selector)| {
        let rule = Rule { pref, action: Some(action), selector };
        if add { Request::RuleAdd(rule) } else { Request::RuleDel(rule) }
    })
}

fn neigh_requests() -> impl Strategy<Value = Request> {
    use NudState::{Delay, Failed, Incomplete, Noarp, None, Permanent, Probe, Reachable, Stale};
    let states = vec![None, Incomplete, Reachable, Stale, Delay, Probe, Failed, Noarp, Permanent];
    let neigh = (ip(), maybe(mac()), name(), maybe(proptest::sample::select(states)))
        .prop_map(|(addr, lladdr, dev, state)| Neigh { addr, lladdr, dev, state });
    // There is no `ip neigh append`.
    let op = proptest::sample::select(vec![Op::Add, Op::Replace, Op::Change]);
    prop_oneof![
        (op, neigh).prop_map(|(op, neigh)| Request::NeighAdd(op, neigh)),
        (ip(), name()).prop_map(|(addr, dev)| Request::NeighDel { addr, dev }),
        maybe(name()).prop_map(|dev| Request::NeighFlush { dev }),
    ]
}

fn fdb_requests() -> impl Strategy<Value = Request> {
    let states = proptest::sample::select(vec![FdbState::Local, FdbState::Static, FdbState::Dynamic]);
    // There is no `bridge fdb change`.
    let op = proptest::sample::select(vec![Op::Add, Op::Replace, Op::Append]);
    let remote = (ip(), maybe(any::<u16>()), maybe(0_u32..1 << 24), maybe(name()))
        .prop_map(|(dst, port, vni, via)| FdbRemote { dst, port, vni, via });
    (maybe(op), mac(), name(), any::<bool>(), states, maybe(remote)).prop_map(
        |(op, mac, dev, master, state, remote)| match op {
            Some(op) => Request::FdbAdd(op, Fdb { mac, dev, master, state, remote }),
            None => Request::FdbDel(Fdb { mac, dev, master, state, remote }),
        },
    )
}

fn vxlan() -> impl Strategy<Value = LinkKind> {
    let host = || ip().prop_filter("a host", |ip| !ip.is_multicast() && !ip.is_unspecified());
    let ttl = prop_oneof![Just(TunnelTtl::Auto), Just(TunnelTtl::Inherit), (1..=u8::MAX).prop_map(TunnelTtl::Fixed)];
    let df = proptest::sample::select(vec![TunnelDf::Unset, TunnelDf::Set, TunnelDf::Inherit]);
    let addrs = (maybe(name()), maybe(host()), maybe(host()));
    let numbers = (0_u32..1 << 24, maybe(1..=u16::MAX), any::<(u16, u16)>(), any::<u32>(), any::<u8>());
    (addrs, numbers, any::<[bool; 3]>(), ttl, df).prop_map(
        |((link, local, remote), (id, dst_port, src_ports, ageing, tos), [learning, udp_csum, external], ttl, df)| {
            let id = if external { 0 } else { id };
            let v = Vxlan {
                id,
                link,
                local,
                remote,
                dst_port,
                src_ports,
                learning,
                ageing,
                ttl,
                tos,
                df,
                udp_csum,
                external,
            };
            LinkKind::Vxlan(Box::new(v))
        },
    )
}

fn other_requests() -> impl Strategy<Value = Request> {
    use Feature::{Gro, Gso, Rx, Sg, Tso, Tx};
    let feature = proptest::sample::select(vec![Rx, Tx, Sg, Tso, Gso, Gro]);
    prop_oneof![
        name().prop_map(|dev| Request::LinkDel { dev }),
        name().prop_map(|dev| Request::AddrFlush { dev }),
        name().prop_map(|name| Request::NetnsAdd { name }),
        name().prop_map(|name| Request::NetnsDel { name }),
        ("[a-z0-9_-]{1,8}(\\.[a-z0-9_/-]{1,8}){0,4}", "([!-~]([ -~\t]{0,20}[!-~])?)?")
            .prop_map(|(name, value)| Request::Sysctl { name, value }),
        (name(), feature, any::<bool>()).prop_map(|(dev, feature, on)| Request::Feature { dev, feature, on }),
    ]
}

/// Commands of iptables, by what was typed.
fn iptables_requests() -> impl Strategy<Value = Request> {
    let commands = proptest::sample::select(vec![
        "-A INPUT -p tcp --dport 80 -m comment --comment 'its $5 \"b' -j ACCEPT",
        "-t nat -A PREROUTING ! -s 10.0.0.0/8 -i eth+ -p udp --dport 53 -c 7 8 -j DNAT --to-destination 10.0.0.9",
        "-I FORWARD 3 -m conntrack --ctstate NEW,INVALID -j DROP -v",
        "-I FORWARD -o cbr0 -g X",
        "-D OUTPUT 2",
        "-D OUTPUT -m statistic --mode random --probability 0.5 -j REJECT",
        "-R INPUT 2 -j RETURN",
        "-t mangle -C POSTROUTING -j MARK --set-xmark 0x1/0xff",
        "-L",
        "-t nat -L PREROUTING 2 -nvx --line-numbers",
        "-S",
        "-t raw -S PREROUTING 1 -v",
        "-F",
        "-Z INPUT",
        "-Z INPUT 3",
        "-N 'a;b'",
        "-X",
        "-X A",
        "-E A B",
        "-P FORWARD DROP -c 1 2",
        "-t nowhere -P INPUT ACCEPT",
    ]);
    let program = proptest::sample::select(vec!["iptables", "iptables-legacy", "iptables-nft"]);
    let restore = ("([ -~]{0,20}\n){0,5}", any::<[bool; 3]>(), maybe(name()));
    prop_oneof![
        (program, commands).prop_map(|(p, c)| read(&format!("{p} {c}")).remove(0)),
        restore.prop_map(|(text, [counters, noflush, test], table)| {
            let restore = Arc::new(Restore { counters, noflush, test, table, text, ..Restore::default() });
            Request::IptablesRestore { backend: Some(Backend::Legacy), restore }
        }),
    ]
}

fn requests() -> impl Strategy<Value = Request> {
    prop_oneof![
        iptables_requests(),
        link_add_request(),
        (name(), changes()).prop_map(|(dev, changes)| Request::LinkSet { dev, changes }),
        addr_requests(),
        route_requests(),
        rule_requests(),
        neigh_requests(),
        fdb_requests(),
        other_requests(),
    ]
}

proptest! {
    #[test]
    fn reads_back(request in requests()) {
        let line = command(&request);
        prop_assert_eq!(read(&line), [request], "{}", line);
    }
}

#[test]
fn as_a_person_types_it() {
    let set = |changes| Request::LinkSet { dev: "eth0".to_owned(), changes };
    let sysctl = |value: &str| Request::Sysctl { name: "net.ipv4.tcp_rmem".to_owned(), value: value.to_owned() };
    for (request, want) in [
        (set(vec![LinkChange::Up(true)]), "ip link set eth0 up"),
        (set(vec![LinkChange::Port(PortChange::Hairpin(true))]), "bridge link set dev eth0 hairpin on"),
        (
            set(vec![LinkChange::Bridge(BridgeChange::FdbFlush), LinkChange::Port(PortChange::Flush)]),
            "ip link set eth0 type bridge fdb_flush\nip link set eth0 type bridge_slave fdb_flush",
        ),
        (set(vec![LinkChange::Port(PortChange::Cost(2))]), "bridge link set dev eth0 cost 2"),
        (set(vec![LinkChange::Port(PortChange::Cost(0))]), "ip link set eth0 type bridge_slave cost 0"),
        (Request::Sysctl { name: "-x".to_owned(), value: "1 2".to_owned() }, "sysctl -w -- '-x=1 2'"),
        (Request::LinkSet { dev: "a/b".to_owned(), changes: vec![] }, "bridge link set dev a/b"),
        (sysctl("1"), "sysctl -w net.ipv4.tcp_rmem=1"),
        (sysctl("4096 131072\t6291456"), "sysctl -w net.ipv4.tcp_rmem=\"4096 131072\t6291456\""),
        (sysctl("it's"), "sysctl -w 'net.ipv4.tcp_rmem=it'\\''s'"),
        (Request::RouteFlush(RouteFlush::default()), "ip route flush all"),
        (Request::NetnsAdd { name: "a b".to_owned() }, "ip netns add 'a b'"),
    ] {
        assert_eq!(command(&request), want);
        assert_eq!(want.lines().flat_map(read).map(|r| command(&r)).collect::<Vec<_>>().join("\n"), want);
    }
}
