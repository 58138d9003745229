//! What the programs print, against servers on a simulated network; the texts are the real programs'.

use super::testkit::{Bench, COREFILE, RESOLV_CONF};

/// What differs from run to run: ids and cookies.
fn masked(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let line = match (line.find("id: "), line.find("COOKIE: ")) {
            (Some(at), _) => format!("{}N", &line[..at + 4]),
            (None, Some(at)) => format!("{}C{}", &line[..at + 8], &line[at + 24..]),
            _ => line.to_owned(),
        };
        out.push_str(&line);
        out.push('\n');
    }
    out
}

fn check(line: &str, code: i32, text: &str) {
    let done = Bench::with_server().command(RESOLV_CONF, line);
    assert_eq!((masked(&done.text).as_str(), done.code), (text, code), "{line}");
}

#[test]
fn dig_in_full() {
    check(
        "dig other.default.svc.cluster.local",
        0,
        "
; <<>> DiG 9.18.49-1~deb12u3-Debian <<>> other.default.svc.cluster.local
;; global options: +cmd
;; Got answer:
;; WARNING: .local is reserved for Multicast DNS
;; You are currently testing what happens when an mDNS query is leaked to DNS
;; ->>HEADER<<- opcode: QUERY, status: NOERROR, id: N
;; flags: qr aa rd; QUERY: 1, ANSWER: 1, AUTHORITY: 0, ADDITIONAL: 1
;; WARNING: recursion requested but not available

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
; COOKIE: C (echoed)
;; QUESTION SECTION:
;other.default.svc.cluster.local. IN	A

;; ANSWER SECTION:
other.default.svc.cluster.local. 30 IN	A	10.96.0.82

;; Query time: 0 msec
;; SERVER: 10.9.0.1#53(10.9.0.1) (UDP)
;; WHEN: Sat Jan 01 00:00:00 UTC 2022
;; MSG SIZE  rcvd: 119

",
    );
}

#[test]
fn dig_of_a_name_that_is_not_there() {
    check(
        "dig @10.9.0.1 nx.cluster.local +nocookie",
        0,
        "
; <<>> DiG 9.18.49-1~deb12u3-Debian <<>> @10.9.0.1 nx.cluster.local +nocookie
; (1 server found)
;; global options: +cmd
;; Got answer:
;; WARNING: .local is reserved for Multicast DNS
;; You are currently testing what happens when an mDNS query is leaked to DNS
;; ->>HEADER<<- opcode: QUERY, status: NXDOMAIN, id: N
;; flags: qr aa rd; QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 1
;; WARNING: recursion requested but not available

;; OPT PSEUDOSECTION:
; EDNS: version: 0, flags:; udp: 1232
;; QUESTION SECTION:
;nx.cluster.local.		IN	A

;; AUTHORITY SECTION:
cluster.local.		30	IN	SOA	ns.dns.cluster.local. hostmaster.cluster.local. 1640995200 7200 1800 86400 30

;; Query time: 0 msec
;; SERVER: 10.9.0.1#53(10.9.0.1) (UDP)
;; WHEN: Sat Jan 01 00:00:00 UTC 2022
;; MSG SIZE  rcvd: 138

",
    );
}

#[test]
fn dig_in_short() {
    for (line, code, text) in [
        ("dig +short other.default.svc.cluster.local", 0, "10.96.0.82\n"),
        ("dig +short +search other", 0, "10.96.0.82\n"),
        ("dig +short other", 0, ""),
        ("dig -x 10.96.0.82 +short", 0, "other.default.svc.cluster.local.\n"),
        (
            "dig +noall +answer -x 10.96.0.82",
            0,
            "82.0.96.10.in-addr.arpa. 30\tIN\tPTR\tother.default.svc.cluster.local.\n",
        ),
        ("dig SRV +short _http._tcp.other.default.svc.cluster.local", 0, "0 100 80 other.default.svc.cluster.local.\n"),
        ("dig TXT +short dns-version.cluster.local", 0, "\"1.1.0\"\n"),
        ("dig AAAA +short other.default.svc.cluster.local", 0, ""),
        ("dig +identify +short other.default.svc.cluster.local", 0, "10.96.0.82 from server 10.9.0.1 in 0 ms.\n"),
        (
            "dig +nocomments +noquestion +nostats +nocmd other.default.svc.cluster.local",
            0,
            "other.default.svc.cluster.local. 30 IN\tA\t10.96.0.82\n",
        ),
        ("dig -t foo +short other.default.svc.cluster.local", 0, ";; Warning, ignoring invalid type foo\n10.96.0.82\n"),
        ("dig a..b", 10, "dig: 'a..b' is not a legal name (empty label)\n"),
        ("dig -v", 0, "DiG 9.18.49-1~deb12u3-Debian\n"),
        ("dig @nobody x", 1, "dig: couldn't get address for 'nobody': failure\n"),
        ("dig +short @localhost -p 53 x", 9, ""),
    ] {
        if line.contains("localhost") {
            let done = Bench::with_server().command(RESOLV_CONF, line);
            let refused = ";; communications error to 127.0.0.1#53: connection refused\n";
            assert_eq!(
                (done.text, done.code),
                (format!("{}{}", refused.repeat(3), ";; no servers could be reached\n"), code)
            );
            continue;
        }
        check(line, code, text);
    }
}

#[test]
fn dig_without_a_server() {
    let mut bench = Bench::new();
    bench.silence("10.9.0.1/24");
    let done = bench.command(RESOLV_CONF, "dig +time=1 +tries=2 foo");
    let text = ";; communications error to 10.9.0.1#53: timed out
;; communications error to 10.9.0.1#53: timed out

; <<>> DiG 9.18.49-1~deb12u3-Debian <<>> +time=1 +tries=2 foo
;; global options: +cmd
;; no servers could be reached
";
    assert_eq!((done.text.as_str(), done.code), (text, 9));
    // Every try has a socket of its own.
    assert_eq!((done.asked_ms(), done.ports().len()), (vec![0, 1000], 2));
    let done = Bench::new().command("nameserver 10.250.0.1\n", "dig +tries=1 +short foo");
    let text = ";; UDP setup with 10.250.0.1#53(10.250.0.1) for foo failed: network unreachable.
;; no servers could be reached
";
    assert_eq!((done.text.as_str(), done.code), (text, 9));
}

#[test]
fn dig_asks_the_second_server() {
    let mut bench = Bench::new();
    bench.silence("10.9.0.3/24");
    bench.serve("10.9.0.1/24", COREFILE);
    let conf = "nameserver 10.9.0.3\nnameserver 10.9.0.1\n";
    let done = bench.command(conf, "dig +short +time=2 +tries=1 other.default.svc.cluster.local");
    assert_eq!(done.text, ";; communications error to 10.9.0.3#53: timed out\n10.96.0.82\n");
    assert_eq!(done.asked_ms(), [0, 2000]);
}

#[test]
fn nslookup() {
    let server = "Server:\t\t10.9.0.1\nAddress:\t10.9.0.1#53\n\n";
    let no_recursion = ";; Got recursion not available from 10.9.0.1\n";
    let found = "Name:\tother.default.svc.cluster.local\nAddress: 10.96.0.82\n";
    check("nslookup other", 0, &format!("{no_recursion}{server}{found}{no_recursion}\n"));
    check("nslookup other 10.9.0.1", 0, &format!("{server}{found}\n"));
    check(
        "nslookup nx.cluster.local. 10.9.0.1",
        1,
        &format!("{server}** server can't find nx.cluster.local: NXDOMAIN\n\n"),
    );
    check("nslookup 10.96.0.82 10.9.0.1", 0, "82.0.96.10.in-addr.arpa\tname = other.default.svc.cluster.local.\n\n");
    check(
        "nslookup -type=srv _http._tcp.other.default 10.9.0.1",
        0,
        &format!(
            "{server}_http._tcp.other.default.svc.cluster.local\tservice = \
             0 100 80 other.default.svc.cluster.local.\n\n"
        ),
    );
    check("nslookup -type=mx other 10.9.0.1", 0, &format!("{server}*** Can't find other: No answer\n\n"));
}

#[test]
fn getent() {
    let one =
        "10.96.0.82      STREAM other.default.svc.cluster.local\n10.96.0.82      DGRAM  \n10.96.0.82      RAW    \n";
    for (line, code, text) in [
        ("getent hosts other", 0, "10.96.0.82      other.default.svc.cluster.local\n"),
        ("getent ahosts other", 0, one),
        ("getent ahostsv4 other", 0, one),
        ("getent hosts 10.96.0.82", 0, "10.96.0.82      other.default.svc.cluster.local\n"),
        ("getent hosts 10.96.0.99", 2, ""),
        ("getent hosts nobody other", 2, "10.96.0.82      other.default.svc.cluster.local\n"),
        ("getent hosts", 0, "127.0.0.1       localhost\n"),
        (
            "getent ahosts 10.1.1.1",
            0,
            "10.1.1.1        STREAM 10.1.1.1\n10.1.1.1        DGRAM  \n10.1.1.1        RAW    \n",
        ),
    ] {
        check(line, code, text);
    }
    // IPv6 addresses are looked for in the whole list before the first IPv4 one.
    let done = Bench::with_server().command(RESOLV_CONF, "getent hosts other");
    let kinds: Vec<&str> =
        done.what().iter().filter(|w| w.contains('?')).map(|w| w.split('?').next().unwrap()).collect();
    assert_eq!(kinds, ["AAAA", "AAAA", "AAAA", "AAAA", "AAAA", "A"]);
}

#[test]
fn what_cannot_be_read() {
    for (line, message) in [
        ("dig +foo", "Invalid option: +foo"),
        ("dig -z a", "Invalid option: -z"),
        ("dig +trace a", "dig: +trace is not simulated"),
        ("dig +time=x a", "invalid timeout 'x': not a valid number"),
        ("dig -p 99999 a", "invalid port number '99999': out of range"),
        ("dig -f x", "dig: option -f is not simulated"),
        ("dig CH TXT version.bind", "dig: class CH is not simulated"),
        ("nslookup", "nslookup: nobody types here"),
        ("nslookup a b c", "nslookup: takes a name and a server"),
        ("nslookup -foo a", "*** Invalid option: foo"),
        ("nslookup -type=foo a", "unknown query type: foo"),
        ("getent", "getent: wrong number of arguments"),
        ("getent foo x", "Unknown database: foo"),
        ("getent passwd", "getent: database passwd is not simulated"),
    ] {
        let words = crate::user::script::words(line);
        assert_eq!(crate::user::parse(&words).err().map(|e| e.message).as_deref(), Some(message), "{line}");
    }
}

/// coredns asks another server for what it does not know.
#[test]
fn forwarding() {
    let upstream = "example.com {\n hosts {\n 93.184.216.34 www.example.com\n }\n}\n";
    let first = ". {\n kubernetes cluster.local\n forward . 10.9.0.5\n}\n";
    let mut bench = Bench::new();
    bench.serve("10.9.0.5/24", upstream);
    bench.serve("10.9.0.1/24", first);
    let done = bench.command(RESOLV_CONF, "dig +noall +answer www.example.com");
    assert_eq!(done.text, "www.example.com.\t3600\tIN\tA\t93.184.216.34\n");
    // Nobody there: five seconds, then SERVFAIL.
    let mut bench = Bench::new();
    bench.silence("10.9.0.5/24");
    bench.serve("10.9.0.1/24", first);
    let done = bench.command(RESOLV_CONF, "dig +time=9 +noall +comments www.example.com");
    assert!(done.text.contains("status: SERVFAIL") && (2000..5100).contains(&done.ms), "{} {}", done.ms, done.text);
}

/// A server with more addresses than a datagram holds.
fn with_many() -> Bench {
    let mut cluster = String::from("service default/many None\n");
    for n in 0..40 {
        cluster.push_str(&format!("endpoint default/many 10.244.3.{n}\n"));
    }
    let mut bench = Bench::new();
    bench.serve_cluster("10.9.0.1/24", COREFILE, &cluster);
    bench
}

#[test]
fn long_answers_come_over_tcp() {
    let name = "many.default.svc.cluster.local.";
    let done = with_many().command(RESOLV_CONF, &format!("getent ahostsv4 {name}"));
    assert_eq!((done.text.lines().count(), done.code), (120, 0));
    // Cut at 512 bytes.
    assert_eq!(done.what(), [format!("A? {name}"), format!("A {name} 0 29")]);
    let done = with_many().command(RESOLV_CONF, &format!("getent ahosts {name}"));
    assert_eq!((done.text.lines().count(), done.code), (120, 0));
    let done = with_many().command(&format!("{RESOLV_CONF}options use-vc\n"), "getent ahosts many");
    assert_eq!((done.text.lines().count(), done.seen.len()), (120, 0));
    for (line, datagrams) in [("+bufsize=512", 2), ("+tcp", 0), ("", 2)] {
        let done = with_many().command(RESOLV_CONF, &format!("dig +short {line} {name}"));
        assert_eq!((done.text.lines().count(), done.seen.len()), (40, datagrams), "{line}");
    }
    let done = with_many().command(RESOLV_CONF, &format!("dig +bufsize=512 +noall +comments +stats {name}"));
    assert!(done.text.starts_with(";; Truncated, retrying in TCP mode.\n;; Got answer:\n"), "{}", done.text);
    assert!(done.text.contains("(TCP)"), "{}", done.text);
    let done = with_many().command(RESOLV_CONF, &format!("dig +bufsize=512 +ignore +short {name}"));
    assert!((20..40).contains(&done.text.lines().count()));
}

#[test]
fn dig_over_tcp_without_a_server() {
    let mut bench = Bench::new();
    bench.nobody("10.9.0.1/24");
    let done = bench.command(RESOLV_CONF, "dig +tcp +tries=2 +short foo");
    let once =
        ";; Connection to 10.9.0.1#53(10.9.0.1) for foo failed: connection refused.\n;; no servers could be reached\n";
    assert_eq!((done.text, done.code), (once.repeat(2), 9));
    let done = Bench::new().command(RESOLV_CONF, "dig +tcp +tries=1 +time=1 +short foo");
    let text = ";; Connection to 10.9.0.1#53(10.9.0.1) for foo failed: timed out.\n;; no servers could be reached\n";
    assert_eq!((done.text.as_str(), done.code), (text, 9));
}

#[test]
fn curl_asks_for_names() {
    let mut bench = Bench::new();
    bench.silence("10.9.0.1/24");
    let done = bench.command(RESOLV_CONF, "curl -sS -m 3 http://other/");
    assert_eq!((done.text.as_str(), done.code), ("curl: (28) Resolving timed out after 3000 milliseconds\n", 28));
    let done = Bench::with_server().command(RESOLV_CONF, "curl -sS http://nobody/");
    assert_eq!((done.text.as_str(), done.code), ("curl: (6) Could not resolve host: nobody\n", 6));
    let done = Bench::with_server().command(RESOLV_CONF, "curl -sS http://other/");
    assert_eq!(done.code, 7, "{}", done.text);
}
