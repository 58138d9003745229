use super::*;
use crate::kernel::conntrack::{Tuple, Zone};
use crate::testing::middlebox::icmp_error;
use proptest::prelude::*;

/// The oracle of that name says no.
fn broken(held: Held, oracle: &str) {
    assert_eq!(held.expect_err("it is broken").oracle, oracle);
}

/// A connection from 10.0.0.2 to 192.0.2.9 whose source port became another one.
fn info(proto: u8, port: u16, translated: u16) -> Info {
    let original =
        Tuple { src: [10, 0, 0, 2].into(), dst: [192, 0, 2, 9].into(), proto, sport: port, dport: 53, zone: 0 };
    let reply = Tuple { src: original.dst, dst: [192, 0, 2, 1].into(), sport: 53, dport: translated, ..original };
    Info {
        id: u32::from(port) << 16 | u32::from(translated),
        tuple: [original, reply],
        status: Status::default(),
        timeout_s: 30,
        mark: 0,
        zone: Zone::default(),
        tcp: None,
        acct: Some(Default::default()),
        start: None,
        age_ns: 0,
        users: 1,
    }
}

fn datagram() -> Vec<u8> {
    Packet::udp("10.0.0.2:5000", "192.0.2.9:53").payload(b"odd").bytes()
}

proptest! {
    /// A sum finds every single byte that is wrong.
    #[test]
    fn one_wrong_byte_is_seen(at in 0..31usize, by in 1..=255u8, tcp: bool) {
        let packet = if tcp { Packet::tcp("10.0.0.2:1", "10.0.0.3:2").bytes() } else { datagram() };
        prop_assert_eq!(checksums_right(&packet), Ok(()));
        let mut wrong = packet.clone();
        wrong[at] ^= by;
        // Bits that say that it is a fragment, or that there is no checksum, leave less to be looked at; so does
        // another protocol.
        let looked_at = !(6..10).contains(&at) && !(26..28).contains(&at);
        if looked_at || wrong[26..28] != [0, 0] && (26..28).contains(&at) {
            prop_assert!(checksums_right(&wrong).is_err());
        }
    }
}

#[test]
fn checksums() {
    let mut unchecked = datagram();
    unchecked[26..28].fill(0);
    assert_eq!(checksums_right(&unchecked), Ok(()));
    broken(udp_zero_kept(&unchecked, &datagram()), "udp_zero_kept");
    broken(udp_zero_kept(&datagram(), &unchecked), "udp_zero_kept");
    assert_eq!(udp_zero_kept(&unchecked, &unchecked), Ok(()));
    broken(checksums_right(&datagram()[..20]), "checksums_right");
    broken(checksums_right(&[]), "checksums_right");
    let mut quote = datagram();
    assert_eq!(checksums_right(&icmp_error([192, 0, 2, 7].into(), (3, 3), &quote)), Ok(()));
    quote[8] -= 1;
    broken(checksums_right(&icmp_error([192, 0, 2, 7].into(), (3, 3), &quote)), "checksums_right");
}

#[test]
fn replies_and_errors() {
    let question = Packet::udp("10.0.0.2:5000", "192.0.2.9:53");
    let answer = question.answer();
    assert_eq!(reply_restored(&question.bytes(), &answer.bytes()), Ok(()));
    for wrong in [
        Packet { src: [192, 0, 2, 8].into(), ..answer.clone() },
        Packet { sport: 54, ..answer.clone() },
        Packet { dport: 5001, ..answer },
    ] {
        broken(reply_restored(&question.bytes(), &wrong.bytes()), "reply_restored");
    }
    let ping = Packet::ping("10.0.0.2:7", "192.0.2.9");
    assert_eq!(reply_restored(&ping.bytes(), &ping.answer().bytes()), Ok(()));
    broken(reply_restored(&ping.bytes(), &Packet { sport: 8, ..ping.answer() }.bytes()), "reply_restored");
    let error = |quote: &[u8]| icmp_error([192, 0, 2, 7].into(), (3, 3), quote);
    assert_eq!(error_restored(&datagram(), &error(&datagram())), Ok(()));
    let translated = Packet { sport: 6000, ..question.clone() };
    broken(error_restored(&datagram(), &error(&translated.bytes())), "error_restored");
    let translated = Packet { src: [192, 0, 2, 1].into(), ..question };
    broken(error_restored(&datagram(), &error(&translated.bytes())), "error_restored");
    broken(error_restored(&datagram(), &datagram()), "error_restored");
}

#[test]
fn connections() {
    let (a, b) = (info(17, 5000, 5000), info(17, 5001, 5001));
    assert_eq!(tuples_unshared(&[a, b]), Ok(()));
    broken(tuples_unshared(&[a, info(17, 5001, 5000)]), "tuples_unshared");
    broken(nobody_holds(&[a, Info { users: 2, ..b }]), "nobody_holds");
    assert_eq!(ports_in_class(&[a, info(17, 300, 511), info(6, 1000, 600), info(17, 5000, 65535)]), Ok(()));
    for (old, new) in [(300, 512), (1000, 599), (5000, 1023)] {
        broken(ports_in_class(&[info(17, old, new)]), "ports_in_class");
    }
    assert_eq!(ports_in_range(&[a, b], 5000..=5001), Ok(()));
    broken(ports_in_range(&[a, b], 5000..=5000), "ports_in_range");
    assert_eq!(expires_in_time(&[a]), Ok(()));
    broken(expires_in_time(&[Info { timeout_s: 31, ..a }]), "expires_in_time");
    assert_eq!(gone_in_time(&[a], 30, &[a]), Ok(()));
    broken(gone_in_time(&[a], 31, &[a]), "gone_in_time");
    assert_eq!(established_survives(&[a], &[]), Ok(()));
    let assured = Info { status: Status::ASSURED, ..a };
    assert_eq!(established_survives(&[assured], &[assured, b]), Ok(()));
    broken(established_survives(&[assured], &[b]), "established_survives");
}

#[test]
fn counters_of_connections() {
    let before = info(17, 5000, 5000);
    let of = |original: u64, reply: u64, bytes: u64| {
        let acct = [original, reply].map(|packets| Counter { packets, bytes: packets * bytes });
        [Info { acct: Some(acct), ..before }]
    };
    let packet = datagram();
    let len = packet.len() as u64;
    assert_eq!(counted_once(&[before], &of(1, 0, len), &packet), Ok(()));
    for wrong in [of(0, 0, len), of(2, 0, len), of(1, 0, len - 20), of(0, 1, len), of(1, 1, len)] {
        broken(counted_once(&[before], &wrong, &packet), "counted_once");
    }
    assert_eq!(counted_once(&[before], &[Info { acct: None, ..before }], &packet), Ok(()));
}

#[test]
fn counters_of_rules() {
    let save = "*nat\nCOMMIT\n*filter\n:FORWARD DROP [2:80]\n:MORE - [0:0]\n[5:200] -A FORWARD\n\
                [1:40] -A FORWARD -p udp -j ACCEPT\n[3:120] -A FORWARD -j MORE\n[2:80] -A MORE -j REJECT\nCOMMIT\n";
    assert_eq!(counters_add_up(save, "filter"), Ok(()));
    broken(counters_add_up(&save.replace("[5:", "[6:"), "filter"), "counters_add_up");
    broken(counters_add_up(&save.replace("DROP [2:", "DROP [3:"), "filter"), "counters_add_up");
    broken(counters_add_up(&save.replace("[5:200] -A FORWARD\n", ""), "filter"), "counters_add_up");
}
