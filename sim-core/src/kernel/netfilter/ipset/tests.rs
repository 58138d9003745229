//! Sets, as the real ones of ipset(8) behave.

use super::super::packet::{Ct, Packet};
use super::*;
use crate::base::Time;
use crate::kernel::frame::Sk;

fn changed(changes: &[Change]) -> Sets {
    let mut sets = Sets::default();
    for change in changes {
        sets.change(change, 7, |_| 0).unwrap_or_else(|e| panic!("{change:?}: {e:?}"));
    }
    sets
}

fn create(name: &str, kind: SetType) -> Change {
    Change::Create { name: name.to_owned(), spec: Spec::new(kind), exist: false }
}

fn add(set: &str, element: Element) -> Change {
    Change::Add { set: set.to_owned(), element, exist: false }
}

fn packet(proto: u8, src: [u8; 4], dst: [u8; 4], ports: [u16; 2]) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, proto, 0, 0];
    bytes.extend(src);
    bytes.extend(dst);
    bytes.extend(ports.map(u16::to_be_bytes).concat());
    bytes.extend([0; 4]);
    bytes
}

fn holds(sets: &Sets, name: &str, sources: &[bool], bytes: &[u8]) -> bool {
    let packet = Packet {
        bytes,
        indev: None,
        outdev: None,
        physin: None,
        physout: None,
        bridged: false,
        sk: Sk::None,
        mark: 0,
        ct: Ct::None,
        now: Time(0),
    };
    sets.match_set(name, sources, &packet)
}

/// As `ipset test` answered on Linux 6.18.
#[test]
fn the_longest_prefix_decides() {
    let net = |a: [u8; 4], len| Element::net(a.into(), len);
    let sets = changed(&[
        create("a", SetType::HashNet),
        add("a", net([10, 0, 0, 0], 8)),
        add("a", Element { nomatch: true, ..net([10, 1, 0, 0], 16) }),
        add("a", net([10, 1, 2, 0], 24)),
    ]);
    for (src, want) in [([10, 9, 9, 9], true), ([10, 1, 9, 9], false), ([10, 1, 2, 9], true), ([11, 0, 0, 1], false)] {
        assert_eq!(holds(&sets, "a", &[true], &packet(6, src, [1; 4], [1, 2])), want, "{src:?}");
    }
    assert!(!holds(&sets, "a", &[false], &packet(6, [10, 9, 9, 9], [1; 4], [1, 2])), "not the source");
    assert!(!holds(&sets, "b", &[true], &packet(6, [10, 9, 9, 9], [1; 4], [1, 2])), "there is no such set");
}

#[test]
fn address_and_port() {
    let web = Element { proto: 6, ports: (80, 82), ..Element::host([10, 0, 0, 1].into()) };
    let sets = changed(&[create("b", SetType::HashIpPort), add("b", web)]);
    let to = |proto, port| packet(proto, [1; 4], [10, 0, 0, 1], [9, port]);
    assert!(holds(&sets, "b", &[false, false], &to(6, 81)) && !holds(&sets, "b", &[false, false], &to(6, 83)));
    assert!(!holds(&sets, "b", &[false, false], &to(17, 80)), "another protocol");
    assert!(!holds(&sets, "b", &[false], &to(6, 80)), "a part is missing");
    assert!(holds(&sets, "b", &[false, false, true], &to(6, 80)), "one too many is none too few");
    assert!(!holds(&sets, "b", &[false, true], &to(6, 80)), "the source's port");
    let ports = changed(&[create("p", SetType::BitmapPort), add("p", Element { ports: (53, 53), ..web })]);
    assert!(holds(&ports, "p", &[false], &to(17, 53)) && !holds(&ports, "p", &[false], &to(132, 53)));
}

/// What `ipset add` of ranges and `ipset list` showed.
#[test]
fn a_range_is_cut_into_networks() {
    let range = Element { ips: ([10, 5, 0, 0].into(), [10, 5, 0, 10].into()), ..Element::host([0; 4].into()) };
    let sets = changed(&[create("a", SetType::HashNet), add("a", range)]);
    let set = sets.get("a").expect("it was made");
    let found: Vec<_> = set.entries().map(|(e, _)| (e.ip.octets(), e.len)).collect();
    assert_eq!(found, [([10, 5, 0, 0], 29), ([10, 5, 0, 8], 31), ([10, 5, 0, 10], 32)]);
    assert_eq!(set.memory(), 456 + 3 * 48);
    let hosts = changed(&[create("h", SetType::HashIp), add("h", Element::net([1, 1, 1, 1].into(), 30))]);
    assert_eq!(hosts.get("h").map(Set::len), Some(4));
}

#[test]
fn refusals() {
    let mut sets =
        changed(&[create("a", SetType::HashNet), create("b", SetType::HashNet), create("p", SetType::BitmapPort)]);
    let mut fails = |change: &Change, used: usize| sets.change(change, 1, |_| used).err();
    let host = Element::host([1, 1, 1, 1].into());
    assert_eq!(fails(&create("a", SetType::HashNet), 0), Some(SetError::Exists));
    let exist = |kind| Change::Create { name: "a".to_owned(), spec: Spec::new(kind), exist: true };
    assert_eq!(fails(&exist(SetType::HashNet), 0), None);
    assert_eq!(fails(&exist(SetType::HashIp), 0), Some(SetError::Exists));
    assert_eq!(fails(&add("x", host), 0), Some(SetError::NoSet));
    assert_eq!(fails(&add("a", host), 0), None);
    assert_eq!(fails(&add("a", host), 0), Some(SetError::Added));
    assert_eq!(fails(&add("a", Element::net([0; 4].into(), 0)), 0), Some(SetError::Cidr));
    let swap = |to: &str| Change::Swap("a".to_owned(), to.to_owned());
    assert_eq!(fails(&swap("p"), 0), Some(SetError::SwapType));
    assert_eq!(fails(&swap("x"), 0), Some(SetError::SwapSecond));
    assert_eq!(fails(&swap("b"), 0), None);
    assert_eq!(fails(&Change::Rename("a".to_owned(), "b".to_owned()), 0), Some(SetError::RenameExists));
    assert_eq!(fails(&Change::Rename("a".to_owned(), "c".to_owned()), 1), Some(SetError::RenameBusy));
    assert_eq!(fails(&Change::Destroy(Some("a".to_owned())), 1), Some(SetError::DestroyBusy));
    assert_eq!((sets.get("a").map(Set::len), sets.get("b").map(Set::len)), (Some(0), Some(1)));
}
