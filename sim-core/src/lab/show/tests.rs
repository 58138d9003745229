//! The texts against what the real tools printed (iproute2 6.1 on Linux 6.18), for devices, routes and neighbours made
//! by hand. `testdata/` holds the captures: a command after `$`, then its output.

use super::super::{Action, parse};
use super::*;
use crate::base::time::SEC;
use crate::base::{IfIndex, Mac};
use crate::kernel::netlink::{FdbState, RouteType, Scope, TABLE_LOCAL};
use crate::kernel::show::{
    AddrInfo, BridgeInfo, FdbInfo, Flags, KindInfo, Link, NeighInfo, Peer, PeerNetns, PortInfo, RouteInfo, Stats,
};

/// Compares the output of each command in `capture` with the text of what it shows.
fn check(capture: &str, text: impl Fn(&Show) -> String) {
    let mut commands = 0;
    for part in capture.split("$ ").skip(1) {
        let (command, want) = part.split_once('\n').unwrap();
        let Action::Show { show, .. } = parse(command).unwrap().action else { panic!("{command}") };
        let got = text(&show);
        assert_eq!(got.replace(' ', "·"), want.replace(' ', "·"), "{command}\n{got}\n{want}");
        commands += 1;
    }
    assert!(commands > 5);
}

fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

fn veth(index: u32, name: &str, address: &str, peer: Peer) -> Link {
    Link {
        index: IfIndex(index),
        name: name.to_owned(),
        peer: Some(peer),
        flags: Flags { broadcast: true, multicast: true, ..Flags::default() },
        mtu: 1500,
        qdisc: "noqueue",
        master: None,
        operstate: "DOWN",
        txqlen: 1000,
        arphrd: 1,
        address: mac(address),
        promiscuity: 0,
        allmulti: 0,
        kind: KindInfo::Veth,
        port: None,
        stats: Stats::default(),
        carrier_changes: 0,
        features: Vec::new(),
        addrs: Vec::new(),
    }
}

fn elsewhere(netns: &str) -> Peer {
    Peer { index: IfIndex(2), name: None, down: false, netns: Some(PeerNetns { name: Some(netns.to_owned()), id: 0 }) }
}

fn here(index: u32, name: &str, down: bool) -> Peer {
    Peer { index: IfIndex(index), name: Some(name.to_owned()), down, netns: None }
}

fn address(local: &str, peer: Option<&str>, broadcast: Option<&str>, scope: Scope, label: &str) -> AddrInfo {
    AddrInfo {
        local: local.parse().unwrap(),
        peer: peer.map(|p| p.parse().unwrap()),
        broadcast: broadcast.map(|b| b.parse().unwrap()),
        scope,
        secondary: false,
        label: label.to_owned(),
    }
}

fn port(number: u16) -> PortInfo {
    PortInfo {
        state: "forwarding",
        priority: 32,
        cost: 2,
        number,
        hairpin: false,
        learning: true,
        flood: true,
        mcast_flood: true,
        bcast_flood: true,
        isolated: false,
    }
}

fn all_links() -> Vec<Link> {
    let mut lo = veth(1, "lo", "00:00:00:00:00:00", elsewhere("x"));
    lo.peer = None;
    lo.flags = Flags { up: true, lower_up: true, loopback: true, ..Flags::default() };
    (lo.mtu, lo.operstate, lo.arphrd, lo.kind) = (65536, "UNKNOWN", 772, KindInfo::Loopback);
    lo.addrs = vec![address("127.0.0.1/8", None, None, Scope::Host, "lo")];

    let mut cbr0 = veth(2, "cbr0", "0a:58:0a:f4:01:01", elsewhere("x"));
    cbr0.peer = None;
    (cbr0.flags.up, cbr0.flags.lower_up, cbr0.operstate, cbr0.mtu) = (true, true, "UP", 1450);
    cbr0.kind = KindInfo::Bridge(BridgeInfo {
        ageing_time: 30000,
        forward_delay: 1500,
        priority: 32768,
        id_address: mac("0a:58:0a:f4:01:01"),
        group_fwd_mask: 0,
        mcast_snooping: true,
        gc_timer_ns: 283_984_000_000,
    });
    cbr0.stats = Stats { rx_packets: 3, rx_bytes: 140, tx_packets: 5, tx_bytes: 290, ..Stats::default() };
    let mut secondary = address("10.244.1.254/24", None, None, Scope::Global, "cbr0");
    secondary.secondary = true;
    cbr0.addrs = vec![
        address("10.244.1.1/24", None, Some("10.244.1.255"), Scope::Global, "cbr0"),
        address("10.9.0.1/32", Some("10.9.0.2/32"), None, Scope::Global, "cbr0:x"),
        secondary,
    ];

    let master = Some((IfIndex(2), "cbr0".to_owned()));
    let mut vethp1 = veth(3, "vethp1", "4e:00:00:00:01:02", elsewhere("p1"));
    (vethp1.flags.up, vethp1.flags.lower_up, vethp1.operstate) = (true, true, "UP");
    (vethp1.master, vethp1.port, vethp1.promiscuity, vethp1.allmulti) = (master.clone(), Some(port(1)), 1, 1);
    vethp1.stats = Stats { rx_packets: 3, rx_bytes: 182, tx_packets: 5, tx_bytes: 290, ..Stats::default() };

    let mut vethp2 = veth(4, "vethp2", "4e:00:00:00:01:03", elsewhere("p2"));
    (vethp2.flags.up, vethp2.operstate, vethp2.mtu) = (true, "LOWERLAYERDOWN", 1450);
    let settings = PortInfo { state: "disabled", hairpin: true, isolated: true, ..port(2) };
    (vethp2.master, vethp2.port, vethp2.promiscuity, vethp2.allmulti) = (master, Some(settings), 1, 1);

    let mut vb = veth(5, "vb", "4e:00:00:00:01:05", here(6, "va", false));
    vb.qdisc = "noop";
    let mut va = veth(6, "va", "4e:00:00:00:01:04", here(5, "vb", true));
    (va.flags.up, va.flags.noarp, va.flags.promisc, va.operstate) = (true, true, true, "LOWERLAYERDOWN");
    (va.txqlen, va.promiscuity) = (0, 1);
    vec![lo, cbr0, vethp1, vethp2, vb, va]
}

#[test]
fn links_and_addresses() {
    let all = all_links();
    check(include_str!("testdata/links.txt"), |show| match &show.what {
        What::Links(filter) => links(&all, filter, show.format),
        What::Addrs { filter, inet_only } => addrs(&all, filter, *inet_only, show.format),
        What::BridgeLinks { dev } => bridge_links(&all, dev.as_deref(), show.format),
        what => panic!("{what:?}"),
    });
}

/// Numbers wider than their columns, and a bridge without ports.
#[test]
fn wide_numbers_and_bare_bridge() {
    let mut link = all_links().swap_remove(1);
    link.stats = Stats {
        rx_bytes: 12_345_678_901,
        rx_packets: 123_456_789,
        rx_dropped: 12,
        multicast: 7,
        tx_bytes: 1,
        tx_errors: 3,
        ..Stats::default()
    };
    let format = Format { stats: 1, ..Format::default() };
    let text = links(std::slice::from_ref(&link), &LinkFilter::default(), format);
    let want = "    RX:   bytes   packets errors dropped  missed   mcast           \n    \
                12345678901 123456789      0      12       0       7 \n    \
                TX:   bytes   packets errors dropped carrier collsns           \n              \
                1         0      3       0       0       0 \n";
    assert!(text.ends_with(want), "{text}");

    let format = Format { details: true, ..Format::default() };
    let text = links(&[link], &LinkFilter::default(), format);
    assert!(text.contains(" tso_max_size 65536 "), "{text}");
}

#[test]
fn bridge_link_looks_a_foreign_peer_up_at_home() {
    let mut all = all_links();
    all[1].flags.up = false;
    let text = bridge_links(&all, Some("vethp1"), Format::default());
    assert!(
        text.starts_with("3: vethp1@cbr0: <BROADCAST,MULTICAST,UP,LOWER_UP,M-DOWN> mtu 1500 master cbr0 "),
        "{text}"
    );
    all[2].peer = Some(Peer { index: IfIndex(77), ..elsewhere("p1") });
    let text = bridge_links(&all, Some("vethp1"), Format::default());
    assert!(text.starts_with("3: vethp1@if77: <BROADCAST,MULTICAST,UP,LOWER_UP> "), "{text}");
}

#[test]
fn forwarding_database() {
    let all = all_links();
    let own = |mac_text: &str, dev: &str| FdbInfo {
        mac: mac(mac_text),
        dev: dev.to_owned(),
        master: None,
        state: FdbState::Local,
        remote: None,
        used_ns: 0,
        updated_ns: 0,
    };
    let bridged = |mac_text: &str, dev: &str, state, used, updated| FdbInfo {
        master: Some("cbr0".to_owned()),
        state,
        used_ns: used * SEC + 999_999_999,
        updated_ns: updated * SEC,
        ..own(mac_text, dev)
    };
    let entries = [
        own("33:33:00:00:00:01", "cbr0"),
        own("01:00:5e:00:00:6a", "cbr0"),
        own("33:33:00:00:00:6a", "cbr0"),
        own("01:00:5e:00:00:01", "cbr0"),
        bridged("0a:58:0a:f4:01:01", "cbr0", FdbState::Local, 16, 16),
        bridged("0a:00:00:00:00:aa", "vethp1", FdbState::Static, 0, 0),
        bridged("0a:58:0a:f4:01:02", "vethp1", FdbState::Dynamic, 16, 10),
        bridged("4e:00:00:00:01:02", "vethp1", FdbState::Local, 16, 16),
        own("0a:00:00:00:00:ab", "vethp1"),
        own("33:33:00:00:00:01", "vethp1"),
        own("01:00:5e:00:00:01", "vethp1"),
        bridged("4e:00:00:00:01:03", "vethp2", FdbState::Local, 16, 16),
        own("33:33:00:00:00:01", "vethp2"),
        own("01:00:5e:00:00:01", "vethp2"),
        own("33:33:00:00:00:01", "vb"),
        own("33:33:00:00:00:01", "va"),
        own("01:00:5e:00:00:01", "va"),
    ];
    check(include_str!("testdata/fdb.txt"), |show| match &show.what {
        What::Fdb(filter) => bridge_fdb(&entries, &all, filter, show.format),
        what => panic!("{what:?}"),
    });
}

#[test]
fn neighbours() {
    let neigh = |addr: &str, dev: &str, lladdr: &str, state, [used, confirmed, updated, probes]: [u64; 4]| NeighInfo {
        addr: addr.parse().unwrap(),
        dev: dev.to_owned(),
        lladdr: lladdr.parse().ok(),
        state,
        used_ns: used * SEC,
        confirmed_ns: confirmed * SEC + 7,
        updated_ns: updated * SEC,
        probes: probes as u32,
    };
    let all = [
        neigh("10.244.1.11", "cbr0", "", NudState::None, [0; 4]),
        neigh("10.244.1.2", "cbr0", "0a:58:0a:f4:01:02", NudState::Reachable, [12, 12, 12, 1]),
        neigh("224.0.0.22", "cbr0", "01:00:5e:00:00:16", NudState::Noarp, [1, 1, 1, 0]),
        neigh("10.244.1.12", "cbr0", "", NudState::Incomplete, [1, 61, 1, 5]),
        neigh("10.244.1.8", "cbr0", "0a:00:00:00:00:08", NudState::Stale, [1, 61, 1, 0]),
        neigh("10.244.1.7", "cbr0", "0a:00:00:00:00:07", NudState::Permanent, [1, 1, 1, 0]),
        neigh("10.244.1.10", "va", "0a:00:00:00:00:0a", NudState::Noarp, [1, 1, 1, 0]),
        neigh("10.244.1.9", "cbr0", "", NudState::Failed, [1, 61, 1, 0]),
    ];
    check(include_str!("testdata/neigh.txt"), |show| match &show.what {
        What::Neighs(filter) => neighs(&all, filter, show.format),
        what => panic!("{what:?}"),
    });
}

fn route(table: u32, words: &str, proto: u8, scope: Scope) -> RouteInfo {
    let mut words = words.split(' ');
    let mut next = || words.next().filter(|w| *w != "-");
    let (dst, via, dev, src) = (next().unwrap(), next(), next(), next());
    RouteInfo {
        table,
        kind: RouteType::Unicast,
        dst: dst.parse().unwrap(),
        via: via.map(|v| v.parse().unwrap()),
        dev: dev.map(str::to_owned),
        proto,
        scope,
        src: src.map(|s| s.parse().unwrap()),
        metric: 0,
        onlink: false,
        linkdown: false,
        mtu: None,
    }
}

fn all_routes() -> Vec<RouteInfo> {
    use Scope::{Global, Host, Link};
    let main = |words, proto, scope| route(TABLE_MAIN, words, proto, scope);
    let local = |words, kind, scope| RouteInfo { kind, ..route(TABLE_LOCAL, words, 2, scope) };
    let without = |words, kind| RouteInfo { kind, ..main(words, 3, Global) };
    vec![
        route(100, "10.61.0.0/16 - cbr0", 3, Link),
        main("0.0.0.0/0 10.244.1.2 cbr0", 3, Global),
        main("10.9.0.2/32 - cbr0 10.9.0.1", 2, Link),
        RouteInfo { onlink: true, ..main("10.51.0.0/26 192.168.7.7 cbr0", 12, Global) },
        RouteInfo {
            metric: 100,
            mtu: Some((1400, false)),
            ..main("10.53.0.0/16 10.244.1.3 cbr0 10.244.1.1", 16, Global)
        },
        RouteInfo { mtu: Some((1400, true)), ..main("10.54.0.0/16 10.244.1.3 cbr0", 3, Global) },
        main("10.55.0.5/32 - cbr0", 3, Link),
        RouteInfo { linkdown: true, ..main("10.60.0.0/16 - va", 77, Link) },
        RouteInfo { linkdown: true, ..main("10.70.0.0/24 - va 10.70.0.1", 2, Link) },
        main("10.244.1.0/24 - cbr0 10.244.1.1", 2, Link),
        without("172.20.1.0/24", RouteType::Blackhole),
        RouteInfo { metric: 7, ..without("172.20.2.0/24", RouteType::Unreachable) },
        without("172.20.3.0/24", RouteType::Prohibit),
        without("172.20.4.0/24", RouteType::Throw),
        local("10.9.0.1/32 - cbr0 10.9.0.1", RouteType::Local, Host),
        local("10.70.0.1/32 - va 10.70.0.1", RouteType::Local, Host),
        RouteInfo { linkdown: true, ..local("10.70.0.255/32 - va 10.70.0.1", RouteType::Broadcast, Link) },
        local("10.244.1.1/32 - cbr0 10.244.1.1", RouteType::Local, Host),
        local("10.244.1.254/32 - cbr0 10.244.1.1", RouteType::Local, Host),
        local("10.244.1.255/32 - cbr0 10.244.1.1", RouteType::Broadcast, Link),
        local("127.0.0.0/8 - lo 127.0.0.1", RouteType::Local, Host),
        local("127.0.0.1/32 - lo 127.0.0.1", RouteType::Local, Host),
        local("127.255.255.255/32 - lo 127.0.0.1", RouteType::Broadcast, Link),
    ]
}

#[test]
fn routing_tables() {
    let all = all_routes();
    check(include_str!("testdata/route.txt"), |show| {
        let What::Routes(filter) = &show.what else { panic!("{show:?}") };
        let wanted = match filter.tables {
            Tables::Main => Some(TABLE_MAIN),
            Tables::One(id) => Some(id),
            Tables::All => None,
        };
        let of: Vec<_> = all.iter().filter(|r| wanted.is_none_or(|t| r.table == t)).cloned().collect();
        routes(&of, filter, show.format)
    });
}

#[test]
fn namespaces() {
    let list = [("p1".to_owned(), Some(0)), ("node".to_owned(), None)];
    assert_eq!(netns(&list, Format::default()), "p1 (id: 0)\nnode\n");
    let json = Format { json: true, ..Format::default() };
    assert_eq!(netns(&list, json), "[{\"name\":\"p1\",\"id\":0},{\"name\":\"node\"}]\n");
}
