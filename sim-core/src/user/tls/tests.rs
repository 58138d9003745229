//! Both ends of connections, without a network.

use super::{Authority, Certificate, Check, Client, Failure, Identity, Name, Roots, Server, Session, Verdict};
use crate::base::{Files, NsId, Pid, Prf, Salt, Time, hex};
use crate::engine::process::{Console, Env, Tasks};
use crate::engine::{Config, World};
use crate::kernel::printk::KernelLog;
use sha2::{Digest, Sha256};

/// 2026-11-21T00:00:00Z
const NOW_S: u64 = 1_795_219_200;

/// What programs find around them, at a time.
fn with_env<R>(seed: u64, now_s: u64, secrets: &mut String, run: impl FnOnce(&mut Env<'_>) -> R) -> R {
    let world = World::new(Config::default());
    let (tasks, log, files, prf) = (Tasks::new(), KernelLog::default(), Files::default(), Prf::new(seed));
    let mut console = Console::default();
    run(&mut Env {
        now: Time(0),
        epoch_ns: now_s * 1_000_000_000,
        pid: Pid(7),
        ns: NsId::default(),
        alarmed: false,
        interrupted: false,
        spaces: world.machine(NsId::default()).spaces(),
        tasks: &tasks,
        log: &log,
        files: &files,
        prf: &prf,
        salt: Salt::place(0),
        spent_ns: 0,
        secrets,
        proxied: &mut vec![],
        console: &mut console,
    })
}

/// Two ends, and what they said.
struct Talk {
    ends: [Session; 2],
    /// Who said what: the client is 0.
    flights: Vec<(usize, Vec<u8>)>,
    secrets: String,
    failures: [Option<Failure>; 2],
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Talk {
    /// A handshake.
    fn begin(client: &Client, server: impl Fn(&Env<'_>) -> Server, host: &str, seed: u64, now_s: u64) -> Talk {
        let mut secrets = String::new();
        let ends = with_env(seed, now_s, &mut secrets, |env| {
            let server = server(env);
            [Session::client(client, host, 1, env).unwrap(), Session::server(&server, 1, env).unwrap()]
        });
        let mut talk = Talk { ends, flights: vec![], secrets, failures: [None, None] };
        talk.settle(seed, now_s);
        talk
    }

    /// Carries what they have to say until nobody has anything. Who hears something is replaced by a copy, in the
    /// middle of a record too.
    fn settle(&mut self, seed: u64, now_s: u64) {
        let mut quiet = 0;
        for from in [CLIENT, SERVER].into_iter().cycle() {
            let bytes = self.ends[from].take_output();
            quiet = if bytes.is_empty() { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
            let to = 1 - from;
            for part in bytes.chunks((bytes.len() / 2).max(1)) {
                let end = &mut self.ends[to];
                *end = end.clone();
                let result = with_env(seed, now_s, &mut self.secrets, |env| end.receive(part, env));
                self.failures[to] = self.failures[to].take().or(result.err());
            }
            if !bytes.is_empty() {
                self.flights.push((from, bytes));
            }
        }
    }

    /// The lengths of what was said.
    fn lengths(&self) -> Vec<(usize, usize)> {
        self.flights.iter().map(|(from, bytes)| (*from, bytes.len())).collect()
    }
}

fn authority(now_s: u64) -> Authority {
    Authority::new(&Prf::new(1), "root", now_s).unwrap()
}

fn hosts() -> Vec<Name> {
    ["web.lab", "*.apps.lab", "10.0.0.2"].into_iter().map(|n| Name::host(n).unwrap()).collect()
}

fn web(identity: &Identity) -> impl Fn(&Env<'_>) -> Server + '_ {
    |env| Server::new(identity, Check::Nothing, &["http/1.1"], env).unwrap()
}

fn trusting(authority: &Authority) -> Client {
    let roots = Roots::from_pem(authority.root_pem()).unwrap();
    Client::new(Check::SignedBy(roots), None, &["h2", "http/1.1"]).unwrap()
}

#[test]
fn a_conversation() {
    let authority = authority(NOW_S);
    let identity = authority.issue(Some("web.lab"), &hosts()).unwrap();
    let mut digests = vec![];
    for seed in [1, 1, 2] {
        let mut talk = Talk::begin(&trusting(&authority), web(&identity), "web.lab", seed, NOW_S);
        assert_eq!(talk.failures, [None, None]);
        assert_eq!(talk.ends[CLIENT].alpn(), Some("http/1.1"));
        assert_eq!(talk.ends[CLIENT].tickets(), 2);
        for (host, name) in [
            ("web.lab", Some("web.lab")),
            ("x.apps.lab", Some("*.apps.lab")),
            ("10.0.0.2", Some("10.0.0.2")),
            ("apps.lab", None),
            ("10.0.0.3", None),
        ] {
            assert_eq!(talk.ends[CLIENT].peer_name(host).as_deref(), name, "{host}");
        }
        let shown = Certificate::read(talk.ends[CLIENT].peer_certificate().unwrap()).unwrap();
        let want = ["CN=web.lab", "CN=root", "20261121000000", "20271121000000"];
        assert_eq!([shown.subject, shown.issuer, shown.not_before, shown.not_after], want);
        // Lengths do not depend on the seed.
        let handshake = talk.lengths();
        talk.ends[CLIENT].send(b"GET / HTTP/1.1\r\n\r\n");
        talk.settle(seed, NOW_S);
        assert_eq!(talk.ends[SERVER].take_plain(), b"GET / HTTP/1.1\r\n\r\n");
        let long = vec![7; 40_000];
        talk.ends[SERVER].send(&long);
        talk.settle(seed, NOW_S);
        assert_eq!(talk.ends[CLIENT].take_plain(), long);
        talk.ends[SERVER].close();
        talk.settle(seed, NOW_S);
        assert!(talk.ends[CLIENT].is_closed() && !talk.ends[SERVER].is_closed());
        let said = &talk.lengths()[handshake.len()..];
        // A record adds 22 bytes; 40000 bytes are three records.
        assert_eq!(said, [(CLIENT, 18 + 22), (SERVER, 40_000 + 3 * 22), (SERVER, 24)]);
        assert_eq!(talk.secrets.lines().count(), 5);
        let mut hash = Sha256::new();
        talk.flights.iter().for_each(|(_, bytes)| hash.update(bytes));
        hash.update(&talk.secrets);
        digests.push((hash.finalize().to_vec(), handshake));
    }
    assert_eq!(digests[0], digests[1]);
    assert_ne!(digests[0].0, digests[2].0);
    assert_eq!(digests[0].1, digests[2].1);
    // What rustls says is a property of its version: a change here changes scenarios' outputs.
    assert_eq!(digests[0].1, [(CLIENT, 210), (SERVER, 1094), (CLIENT, 80), (SERVER, 352)]);
    assert_eq!(hex(&digests[0].0), "ec2123202ab7f97044226bc3f07551baf0fc6bbe1a7e52b7e2014e3c7c97e53a");
}

#[test]
fn whom_a_client_believes() {
    const YEAR_S: u64 = 365 * 86_400;
    let root = authority(NOW_S);
    let between = root.intermediate("between").unwrap();
    let other = Authority::new(&Prf::new(1), "other", NOW_S).unwrap();
    let nobody = Client::trusting(None, &[]).unwrap();
    let insecure = Client::insecure(&[]).unwrap();
    for (client, issuer, now_s, want) in [
        (trusting(&root), &root, NOW_S, None),
        (trusting(&root), &between, NOW_S + YEAR_S - 1, None),
        (trusting(&root), &root, NOW_S + YEAR_S + 1, Some(Verdict::Expired)),
        (trusting(&root), &root, NOW_S - 1, Some(Verdict::NotYetValid)),
        (trusting(&other), &root, NOW_S, Some(Verdict::SelfSignedInChain)),
        (nobody, &between, NOW_S, Some(Verdict::SelfSignedInChain)),
        (insecure, &root, NOW_S + 2 * YEAR_S, None),
    ] {
        let identity = issuer.issue(None, &hosts()).unwrap();
        let talk = Talk::begin(&client, web(&identity), "10.0.0.2", 1, now_s);
        assert_eq!(talk.failures[CLIENT], want.map(Failure::Certificate), "{now_s}");
        // The server is told why.
        let alert = want.map(|verdict| Failure::Alert(verdict.alert().0));
        assert_eq!(talk.failures[SERVER], alert, "{now_s}");
    }
    assert!(Client::trusting(Some("no PEM"), &[]).is_err());
}

/// Both ends show certificates with URIs, as sidecars of a mesh do.
#[test]
fn mutual() {
    let root = authority(NOW_S);
    let roots = || Roots::new([root.root()]);
    let uri = |account: &str| Name::Uri(format!("spiffe://cluster.local/ns/default/sa/{account}"));
    let identity = |account: &str| root.issue(None, &[uri(account)]).unwrap();
    let (web, sleep) = (identity("web"), identity("sleep"));
    let alpn = ["istio-peer-exchange", "istio"];
    let host = "outbound_.80_._.web.default.svc.cluster.local";
    let named = |account: &str| Check::Named(roots(), vec![uri(account)]);
    let required = Failure::Protocol("peer sent no certificates".into());
    let wrong = Failure::Certificate(Verdict::Name);
    for (asks, shows, client_wants, server_fails, client_fails) in [
        (Check::SignedBy(roots()), Some(&sleep), "web", None, None),
        (named("sleep"), Some(&sleep), "web", None, None),
        (named("other"), Some(&sleep), "web", Some(wrong.clone()), Some(Failure::Alert(42))),
        (Check::SignedBy(roots()), None, "web", Some(required), Some(Failure::Alert(116))),
        (Check::SignedBy(roots()), Some(&sleep), "other", Some(Failure::Alert(42)), Some(wrong)),
    ] {
        let client = Client::new(named(client_wants), shows, &alpn).unwrap();
        let server = |env: &Env<'_>| Server::new(&web, asks.clone(), &alpn, env).unwrap();
        let talk = Talk::begin(&client, server, host, 3, NOW_S);
        assert_eq!(talk.failures, [client_fails, server_fails.clone()]);
        if server_fails.is_none() {
            assert_eq!(talk.ends[SERVER].alpn(), Some("istio-peer-exchange"));
            assert!(talk.ends[SERVER].peer_certificate().is_some());
        }
    }
}

#[test]
fn what_is_no_tls() {
    let root = authority(NOW_S);
    let identity = root.issue(None, &hosts()).unwrap();
    let mut secrets = String::new();
    let end = with_env(1, NOW_S, &mut secrets, |env| Session::server(&web(&identity)(env), 1, env).unwrap());
    for bytes in [&b"GET / HTTP/1.1"[..], b"\x16\x02\x01\x00\x10", b"\x16\x03\x01\xff\xff"] {
        let result = with_env(1, NOW_S, &mut secrets, |env| end.clone().receive(bytes, env));
        assert_eq!(result, Err(Failure::NoTls), "{bytes:?}");
    }
    // A record that was changed on its way.
    let mut talk = Talk::begin(&trusting(&root), web(&identity), "web.lab", 1, NOW_S);
    talk.ends[CLIENT].send(b"hello");
    let mut bytes = talk.ends[CLIENT].take_output();
    bytes[7] ^= 1;
    let server = &mut talk.ends[SERVER];
    assert_eq!(with_env(1, NOW_S, &mut secrets, |env| server.receive(&bytes, env)), Err(Failure::BadRecord));
    assert_eq!(server.take_plain(), b"");
}

#[test]
fn names_of_hosts() {
    for text in ["web", "web.lab", "*.apps.lab", "a_b.c-d", "10.0.0.2"] {
        assert!(Name::host(text).is_some(), "{text}");
    }
    for text in ["", ".", "a..b", "*", "a.*.b", "ö.lab", "a b", &"a".repeat(254)] {
        assert_eq!(Name::host(text), None, "{text}");
    }
}
