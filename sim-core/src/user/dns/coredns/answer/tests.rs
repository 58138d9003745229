//! Answers against CoreDNS's: sizes and header words of facts that were recorded in a cluster, and records.

use super::super::super::message::{HEADER_LEN, PORT};
use super::super::corefile::{Corefile, KUBEADM};
use super::*;

/// Ethernet, IPv4 and UDP headers.
const BELOW_DNS: usize = 14 + 20 + 8;

fn knowledge(corefile: &str) -> Knowledge {
    let cluster = Cluster::parse(
        "service wrk-2/node-wrk-2-ubuntu24 10.96.44.5 http=80 metrics=9100\n\
         service default/db None postgres=5432\n\
         endpoint default/db 10.244.1.5 db-0\n\
         endpoint default/db 10.244.2.6\n\
         service default/quiet None\n\
         endpoint default/quiet 10.244.1.7\n\
         service kube-system/kube-dns 10.96.0.10 dns=53/udp dns-tcp=53 metrics=9153\n\
         endpoint kube-system/kube-dns 10.244.2.3\n\
         external default/inner db-0.db.default.svc.cluster.local\n\
         external default/outer www.example.com\n\
         external default/chain outer.default.svc.cluster.local.\n\
         external default/round round.default.svc.cluster.local\n",
    );
    let blocks = Corefile::parse("Corefile", corefile).unwrap().blocks;
    let hosts = |b: &Block| b.hosts.as_ref().map_or(Hosts::default(), |h| Hosts::parse(&h.inline));
    let blocks = blocks.into_iter().map(|block| Served { hosts: hosts(&block), block }).collect();
    Knowledge { blocks, cluster: cluster.unwrap(), serial: 1_654_077_600, local: vec![[10, 244, 2, 3].into()] }
}

fn query(name: &str, kind: &str) -> Message {
    Message::query(7, flag::RD, message::name(name).unwrap(), message::type_by_name(kind).unwrap())
}

/// The bytes of the answer to a query, and the answer; nothing for what is forwarded or ignored.
fn ask(known: &Knowledge, query: &Message) -> Option<(Vec<u8>, Message)> {
    match known.answer(&query.write(false), &mut || 1) {
        Verdict::Reply(reply) => {
            let bytes = scrub(reply, false);
            let read = Message::parse(&bytes).unwrap();
            Some((bytes, read))
        }
        _ => None,
    }
}

fn lines(records: &[Record]) -> Vec<String> {
    let line = |r: &Record| {
        let kind = message::type_name(QTYPE::TYPE(r.rdata.type_code()));
        format!("{} {} {kind} {}", message::text(&r.name), r.ttl, message::rdata_text(&r.rdata))
    };
    records.iter().map(line).collect()
}

#[test]
fn frames_are_as_long_as_in_a_cluster() {
    let known = knowledge(KUBEADM);
    // The first name of the search list does not exist, the second does.
    let (wrong, right) =
        ("node-wrk-2-ubuntu24.wrk-2.wrk-1.svc.cluster.local", "node-wrk-2-ubuntu24.wrk-2.svc.cluster.local");
    for (name, kind, asked, answered, header) in [
        (wrong, "A", 109, 202, 0x8503),
        (wrong, "AAAA", 109, 202, 0x8503),
        (right, "A", 103, 162, 0x8500),
        (right, "AAAA", 103, 196, 0x8500),
    ] {
        let query = query(name, kind);
        assert_eq!(query.write(false).len() + BELOW_DNS, asked, "{name} {kind}");
        let (bytes, reply) = ask(&known, &query).unwrap();
        assert_eq!(bytes.len() + BELOW_DNS, answered, "{name} {kind}");
        assert_eq!(reply.flags, header, "{name} {kind}");
    }
    assert_eq!((HEADER_LEN, PORT), (12, 53));
}

#[test]
fn negative_answers_have_the_zones_soa() {
    let known = knowledge(KUBEADM);
    let (_, reply) = ask(&known, &query("nobody.default.svc.Cluster.local", "A")).unwrap();
    let soa = "Cluster.local. 30 SOA ns.dns.Cluster.local. hostmaster.Cluster.local. 1654077600 7200 1800 86400 30";
    assert_eq!(lines(&reply.authority), [soa]);
    assert_eq!(reply.rcode(), rcode::NXDOMAIN);
}

#[test]
fn records_of_the_cluster() {
    let known = knowledge(KUBEADM);
    let db = "db.default.svc.cluster.local";
    for (name, kind, code, answers) in [
        (
            "Node-WRK-2-ubuntu24.wrk-2.svc.cluster.local",
            "A",
            0,
            vec!["Node-WRK-2-ubuntu24.wrk-2.svc.cluster.local. 30 A 10.96.44.5"],
        ),
        (
            db,
            "A",
            0,
            vec!["db.default.svc.cluster.local. 30 A 10.244.1.5", "db.default.svc.cluster.local. 30 A 10.244.2.6"],
        ),
        ("db-0.db.default.svc.cluster.local", "A", 0, vec!["db-0.db.default.svc.cluster.local. 30 A 10.244.1.5"]),
        (
            "10-244-2-6.db.default.svc.cluster.local",
            "A",
            0,
            vec!["10-244-2-6.db.default.svc.cluster.local. 30 A 10.244.2.6"],
        ),
        ("quiet.default.svc.cluster.local", "A", 0, vec!["quiet.default.svc.cluster.local. 30 A 10.244.1.7"]),
        ("quiet.default.svc.cluster.local", "SRV", 0, vec![]),
        ("db-1.db.default.svc.cluster.local", "A", 3, vec![]),
        (
            "_http._tcp.node-wrk-2-ubuntu24.wrk-2.svc.cluster.local",
            "SRV",
            0,
            vec![
                "_http._tcp.node-wrk-2-ubuntu24.wrk-2.svc.cluster.local. 30 SRV \
                 0 100 80 node-wrk-2-ubuntu24.wrk-2.svc.cluster.local.",
            ],
        ),
        ("_http._udp.node-wrk-2-ubuntu24.wrk-2.svc.cluster.local", "SRV", 3, vec![]),
        (
            db,
            "SRV",
            0,
            vec![
                "db.default.svc.cluster.local. 30 SRV 0 50 5432 db-0.db.default.svc.cluster.local.",
                "db.default.svc.cluster.local. 30 SRV 0 50 5432 10-244-2-6.db.default.svc.cluster.local.",
            ],
        ),
        (db, "MX", 0, vec![]),
        ("x.default.svc.cluster.local", "MX", 3, vec![]),
        ("10-1-2-3.default.pod.cluster.local", "A", 0, vec!["10-1-2-3.default.pod.cluster.local. 30 A 10.1.2.3"]),
        ("10-1-2-300.default.pod.cluster.local", "A", 3, vec![]),
        ("10-1-2-3.nowhere.pod.cluster.local", "A", 3, vec![]),
        ("cluster.local", "A", 0, vec![]),
        ("svc.cluster.local", "A", 0, vec![]),
        ("default.svc.cluster.local", "A", 0, vec![]),
        ("nowhere.svc.cluster.local", "A", 3, vec![]),
        ("x.cluster.local", "A", 3, vec![]),
        ("a.b.c.db.default.svc.cluster.local", "A", 3, vec![]),
        ("dns-version.cluster.local", "TXT", 0, vec!["dns-version.cluster.local. 28800 TXT \"1.1.0\""]),
        (
            "5.44.96.10.in-addr.arpa",
            "PTR",
            0,
            vec!["5.44.96.10.in-addr.arpa. 30 PTR node-wrk-2-ubuntu24.wrk-2.svc.cluster.local."],
        ),
        (
            "5.1.244.10.in-addr.arpa",
            "PTR",
            0,
            vec!["5.1.244.10.in-addr.arpa. 30 PTR db-0.db.default.svc.cluster.local."],
        ),
        ("cluster.local", "NS", 0, vec!["cluster.local. 30 NS kube-dns.kube-system.svc.cluster.local."]),
        ("ns.dns.cluster.local", "A", 0, vec!["ns.dns.cluster.local. 30 A 10.244.2.3"]),
    ] {
        let (_, reply) = ask(&known, &query(name, kind)).unwrap();
        assert_eq!(lines(&reply.answers), answers, "{name} {kind}");
        assert_eq!(reply.flags, 0x8500 | code, "{name} {kind}");
        assert_eq!(reply.authority.len(), usize::from(answers.is_empty()), "{name} {kind}");
    }
}

#[test]
fn what_is_not_the_clusters_is_forwarded_or_refused() {
    let known = knowledge(KUBEADM);
    for (name, kind) in [("example.com", "A"), ("9.9.9.9.in-addr.arpa", "PTR"), ("5.1.244.10.in-addr.arpa", "A")] {
        assert!(ask(&known, &query(name, kind)).is_none(), "{name}");
    }
    let only = knowledge("cluster.local {\n kubernetes\n}\n");
    assert_eq!(ask(&only, &query("example.com", "A")).unwrap().1.flags, 0x8105);
    // The plugin's own TTL.
    assert_eq!(ask(&only, &query("db-0.db.default.svc.cluster.local", "A")).unwrap().1.answers[0].ttl, 5);
    let nothing_behind = knowledge(". {\n kubernetes cluster.local\n}\n");
    assert_eq!(ask(&nothing_behind, &query("example.com", "A")).unwrap().1.flags, 0x8102);
}

#[test]
fn the_hosts_plugin() {
    let text = ". {\n hosts {\n 10.0.0.1 www.example.org www\n 10.0.0.2 www.example.org\n FALL\n }\n \
                kubernetes cluster.local\n}\n";
    let falls = knowledge(&text.replace("FALL", "fallthrough"));
    let strict = knowledge(&text.replace("FALL", "ttl 60"));
    let (_, reply) = ask(&falls, &query("WWW.example.org", "A")).unwrap();
    assert_eq!(lines(&reply.answers), ["WWW.example.org. 3600 A 10.0.0.1", "WWW.example.org. 3600 A 10.0.0.2"]);
    let (_, reply) = ask(&strict, &query("www.example.org", "AAAA")).unwrap();
    assert_eq!((reply.flags, reply.answers.len(), reply.authority.len()), (0x8500, 0, 0));
    assert_eq!(ask(&strict, &query("x.example.org", "A")).unwrap().1.flags, 0x8102);
    assert_eq!(ask(&strict, &query("db.default.svc.cluster.local", "A")).unwrap().1.flags, 0x8102);
    assert_eq!(ask(&falls, &query("db.default.svc.cluster.local", "A")).unwrap().1.flags, 0x8500);
    let (_, reply) = ask(&strict, &query("1.0.0.10.in-addr.arpa", "PTR")).unwrap();
    assert_eq!(
        lines(&reply.answers),
        ["1.0.0.10.in-addr.arpa. 60 PTR www.example.org.", "1.0.0.10.in-addr.arpa. 60 PTR www."]
    );
}

#[test]
fn a_cookie_comes_back() {
    let mut query = query("db-0.db.default.svc.cluster.local", "A");
    let cookie = simple_dns::rdata::OPTCode { code: 10, data: vec![1, 2, 3, 4, 5, 6, 7, 8].into() };
    let other = simple_dns::rdata::OPTCode { code: 8, data: vec![0; 4].into() };
    query.opt = Some(OPT { opt_codes: vec![cookie.clone(), other], udp_packet_size: 1232, version: 0 });
    let (_, reply) = ask(&knowledge(KUBEADM), &query).unwrap();
    assert_eq!(reply.opt, Some(OPT { opt_codes: vec![cookie], udp_packet_size: 1232, version: 0 }));
}

#[test]
fn what_is_too_long_is_compressed_and_then_cut() {
    let mut known = knowledge(KUBEADM);
    let db = known.cluster.services.iter_mut().find(|s| s.name == "db").unwrap();
    for n in 0..8 {
        db.endpoints.push(super::super::cluster::Endpoint { address: [10, 0, 0, n].into(), hostname: None });
    }
    let ask_for = query("db.default.svc.cluster.local", "A");
    let (bytes, reply) = ask(&known, &ask_for).unwrap();
    // Ten records of 44 bytes would be 486; with names in full they still fit.
    assert_eq!((bytes.len(), reply.answers.len(), reply.flags & flag::TC), (46 + 10 * 44, 10, 0));
    let db = known.cluster.services.iter_mut().find(|s| s.name == "db").unwrap();
    for n in 0..30 {
        db.endpoints.push(super::super::cluster::Endpoint { address: [10, 0, 1, n].into(), hostname: None });
    }
    let (bytes, reply) = ask(&known, &ask_for).unwrap();
    assert_eq!((bytes.len(), reply.answers.len(), reply.flags & flag::TC), (46 + 29 * 16, 29, flag::TC));
    let Verdict::Reply(whole) = known.answer(&ask_for.write(false), &mut || 0) else { panic!("an answer") };
    assert_eq!(scrub(whole, true).len(), 46 + 40 * 44);
}

#[test]
fn what_is_no_query() {
    let known = knowledge(KUBEADM);
    let good = query("a.", "A").write(false);
    let mut response = good.clone();
    response[2] |= 0x80;
    let mut update = good.clone();
    update[2] |= 0x28;
    let mut two = good.clone();
    two[5] = 2;
    let word = |data: &[u8]| match known.answer(data, &mut || 0) {
        Verdict::Reply(reply) => Some(reply.flags),
        _ => None,
    };
    assert_eq!(word(&good[..11]), None);
    assert_eq!(word(&response), None);
    assert_eq!(word(&update), Some(0x8000 | 0x2800 | flag::RD | rcode::NOTIMP));
    assert_eq!(word(&two), Some(0x8100 | rcode::FORMERR));
    assert_eq!(word(&good[..14]), Some(0x8100 | rcode::FORMERR));
}

mod any_input {
    use super::*;
    use crate::user::dns::coredns::cluster::Cluster;
    use proptest::prelude::*;

    const FILE_WORD: &str = "[{}#]|[.]:53|kubernetes|hosts|forward|ttl|[a-z0-9./=:]{1,9}|\n";
    const LINE: &str = "(dig|nslookup|getent hosts|coredns)\
        ( ([-+@]?[a-z0-9=.]{0,9}|\\+no[a-z]{1,6}|-[46ptqx]|A|SRV|é))*";

    /// A query with some bytes changed, and some cut off.
    fn broken() -> impl Strategy<Value = Vec<u8>> {
        let names = [
            "db.default.svc.cluster.local",
            "5.44.96.10.in-addr.arpa",
            "a.b",
            ".",
            "_x._tcp.y.default.svc.cluster.local",
        ];
        let kinds = ["A", "SRV", "PTR", "TXT", "ANY", "SOA", "NS"];
        let edits = proptest::collection::vec((0..80usize, any::<u8>()), 0..6);
        (0..names.len(), 0..kinds.len(), edits, 0..80usize).prop_map(move |(name, kind, edits, cut)| {
            let mut bytes = query(names[name], kinds[kind]).write(false);
            for (at, byte) in edits {
                if let Some(b) = bytes.get_mut(at) {
                    *b = byte;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(60)));
            bytes
        })
    }

    proptest! {
        #[test]
        fn is_answered_or_ignored(data in broken()) {
            let known = knowledge(KUBEADM);
            if let Verdict::Reply(reply) = known.answer(&data, &mut || 3) {
                let id = reply.id.to_be_bytes();
                let bytes = scrub(reply, false);
                prop_assert_eq!(&bytes[..2], &id);
                prop_assert!(bytes.len() <= 65_535);
            }
        }

        #[test]
        fn is_read_as_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = knowledge(KUBEADM).answer(&data, &mut || 3);
            if let Some(message) = Message::parse(&data) {
                for record in message.answers.iter().chain(&message.authority).chain(&message.additional) {
                    let _ = (message::text(&record.name), message::rdata_text(&record.rdata));
                }
                let _ = (message.write(false), message.write(true));
            }
        }

        #[test]
        fn is_read_as_files(words in proptest::collection::vec(FILE_WORD, 0..40)) {
            let text = words.join(" ");
            let _ = Corefile::parse("Corefile", &text);
            let _ = Cluster::parse(&text);
            let _ = crate::user::dns::resolver::Etc::parse(Some(&text), Some(&text));
        }

        #[test]
        fn is_read_as_words(line in LINE) {
            let words = crate::user::script::words(&line);
            let _ = crate::user::parse(&words);
            let _ = crate::user::parse_server(&words);
        }
    }
}

#[test]
fn external_names_are_followed() {
    let known = knowledge(KUBEADM);
    let name = |service: &str| format!("{service}.default.svc.cluster.local");
    let (_, reply) = ask(&known, &query(&name("inner"), "A")).unwrap();
    let alias = "inner.default.svc.cluster.local. 30 CNAME db-0.db.default.svc.cluster.local.";
    assert_eq!(lines(&reply.answers), [alias, "db-0.db.default.svc.cluster.local. 30 A 10.244.1.5"]);
    let (_, reply) = ask(&known, &query(&name("inner"), "AAAA")).unwrap();
    assert_eq!(lines(&reply.answers), [alias], "it has no such address");
    let (_, reply) = ask(&known, &query(&name("outer"), "CNAME")).unwrap();
    assert_eq!(lines(&reply.answers), ["outer.default.svc.cluster.local. 30 CNAME www.example.com."]);
    let (_, reply) = ask(&known, &query(&name("outer"), "TXT")).unwrap();
    assert_eq!((reply.rcode(), reply.answers.len(), reply.authority.len()), (rcode::NOERROR, 0, 1));
    let (_, reply) = ask(&known, &query(&name("_http._tcp.outer"), "SRV")).unwrap();
    assert_eq!(reply.rcode(), rcode::NXDOMAIN, "it has no ports");
    let (_, reply) = ask(&known, &query(&name("round"), "A")).unwrap();
    assert_eq!(reply.answers.len(), 1 + MAX_ALIASES, "a circle ends");
    // What leads out of the cluster is asked elsewhere, and the reply begins with the aliases.
    let asked = query(&name("chain"), "A");
    let Verdict::Forward(outside) = known.answer(&asked.write(false), &mut || 1) else { panic!("it is not forwarded") };
    assert_eq!(message::text(&outside.query.questions[0].qname), "www.example.com.");
    let alias = outside.alias.expect("it is about an alias");
    assert!(alias.query.same_question(&asked));
    let aliases = [
        "chain.default.svc.cluster.local. 30 CNAME outer.default.svc.cluster.local.",
        "outer.default.svc.cluster.local. 30 CNAME www.example.com.",
    ];
    assert_eq!(lines(&alias.reply.answers), aliases);
}
