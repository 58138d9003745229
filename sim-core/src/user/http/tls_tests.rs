//! curl against servers with TLS: what curl 7.88.1 with OpenSSL 3.0.19 printed, and the calls of both ends.

use super::net::{Fixed, Net, Part};
use crate::base::Prf;
use crate::base::files::{Content, File};
use crate::user::script::words;
use crate::user::tls::Authority;
use crate::user::{parse, parse_server};

const HELP: &str = "More details here: https://curl.se/docs/sslcerts.html\n\n\
    curl failed to verify the legitimacy of the server and therefore could not\n\
    establish a secure connection to it. To learn more about this situation and\n\
    how to fix it, please visit the web page mentioned above.\n";

/// nginx with TLS at 443 (program 0) and HAProxy at 8443 (program 1).
fn net() -> Net {
    let mut net = Net::new();
    let authority = Authority::of_scenario(&Prf::new(1), super::net::EPOCH_S * 1_000_000_000).unwrap();
    let page = "HTTP/1.0 503 Service Unavailable\r\nPragma: no-cache\r\nConnection: close\r\n\r\n<html>no\n";
    for (path, text) in [
        ("/etc/hosts", "10.0.0.1 web.lab other.lab x.apps.lab\n"),
        ("/ca.crt", authority.root_pem()),
        ("/bad.crt", "no PEM\n"),
        ("/503.http", page),
        ("/www/index.html", "hello over TLS\n"),
    ] {
        net.files.insert(path, File { content: Content::Text(text.into()), mtime_s: 0 });
    }
    net.files.insert("/www/big", File { content: Content::Fill { size: 100_000, byte: b'x' }, mtime_s: 0 });
    for line in ["nginx 443 ssl web.lab,*.apps.lab,10.0.0.1 /www", "haproxy 8443 ssl web.lab /503.http"] {
        net.serve(parse_server(&words(line)).unwrap().into_program());
    }
    net
}

fn run(net: &mut Net, line: &str) -> (String, i32) {
    let n = net.spawn(parse(&words(line)).unwrap());
    net.run(n)
}

#[test]
fn curl_says() {
    for (line, want, code) in [
        ("curl -k https://10.0.0.1", "hello over TLS\n".to_owned(), 0),
        ("curl --cacert /ca.crt https://web.lab https://x.apps.lab", "hello over TLS\nhello over TLS\n".into(), 0),
        (
            "curl https://web.lab",
            format!("curl: (60) SSL certificate problem: self-signed certificate in certificate chain\n{HELP}"),
            60,
        ),
        (
            "curl --cacert /ca.crt https://other.lab",
            format!(
                "curl: (60) SSL: no alternative certificate subject name matches target host name 'other.lab'\n{HELP}"
            ),
            60,
        ),
        ("curl --cacert /no.crt https://web.lab", "curl: (77) error setting certificate file: /no.crt\n".into(), 77),
        ("curl --cacert /bad.crt https://web.lab", "curl: (77) error setting certificate file: /bad.crt\n".into(), 77),
        (
            "curl -k -w %{http_code}-%{scheme}-%{ssl_verify_result} -o /dev/null https://web.lab/nope",
            "404-HTTPS-0".into(),
            0,
        ),
        (
            "curl -ik https://web.lab:8443",
            "HTTP/1.0 503 Service Unavailable\r\npragma: no-cache\r\n\r\n<html>no\n".into(),
            0,
        ),
    ] {
        assert_eq!(run(&mut net(), line), (want, code), "{line}");
    }
    let (text, code) = run(&mut net(), "curl http://web.lab:443/");
    assert!(text.contains("<title>400 The plain HTTP request was sent to HTTPS port</title>"), "{text}");
    assert_eq!(code, 0);
}

#[test]
fn curl_is_verbose() {
    let want = "*   Trying 10.0.0.1:443...\n* Connected to web.lab (10.0.0.1) port 443 (#0)\n\
        * ALPN: offers h2,http/1.1\n* TLSv1.3 (OUT), TLS handshake, Client hello (1):\n\
        *  CAfile: /ca.crt\n*  CApath: /etc/ssl/certs\n\
        * TLSv1.3 (IN), TLS handshake, Server hello (2):\n\
        * TLSv1.3 (IN), TLS handshake, Encrypted Extensions (8):\n\
        * TLSv1.3 (IN), TLS handshake, Certificate (11):\n\
        * TLSv1.3 (IN), TLS handshake, CERT verify (15):\n\
        * TLSv1.3 (IN), TLS handshake, Finished (20):\n\
        * TLSv1.3 (OUT), TLS change cipher, Change cipher spec (1):\n\
        * TLSv1.3 (OUT), TLS handshake, Finished (20):\n\
        * SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384\n* ALPN: server accepted http/1.1\n\
        * Server certificate:\n*  subject: CN=web.lab\n\
        *  start date: Nov 21 00:00:00 2026 GMT\n*  expire date: Nov 21 00:00:00 2027 GMT\n\
        *  subjectAltName: host \"web.lab\" matched cert's \"web.lab\"\n\
        *  issuer: CN=podhop CA\n*  SSL certificate verify ok.\n* using HTTP/1.1\n\
        > HEAD / HTTP/1.1\n> Host: web.lab\n> User-Agent: curl/7.88.1\n> Accept: */*\n> \n\
        * TLSv1.3 (IN), TLS handshake, Newsession Ticket (4):\n\
        * TLSv1.3 (IN), TLS handshake, Newsession Ticket (4):\n\
        * old SSL session ID is stale, removing\n\
        < HTTP/1.1 200 OK\n";
    let (text, code) = run(&mut net(), "curl -vI --cacert /ca.crt https://web.lab");
    assert!(text.starts_with(want), "{text}");
    assert!(text.ends_with("* Connection #0 to host web.lab left intact\n"), "{text}");
    assert_eq!(code, 0);

    let (text, _) = run(&mut net(), "curl -v https://web.lab:8443");
    let end = "*  CAfile: /etc/ssl/certs/ca-certificates.crt\n*  CApath: /etc/ssl/certs\n\
        * TLSv1.3 (IN), TLS handshake, Server hello (2):\n\
        * TLSv1.3 (IN), TLS handshake, Encrypted Extensions (8):\n\
        * TLSv1.3 (IN), TLS handshake, Certificate (11):\n* TLSv1.3 (OUT), TLS alert, unknown CA (560):\n\
        * SSL certificate problem: self-signed certificate in certificate chain\n* Closing connection 0\n";
    assert!(text.contains(end), "{text}");

    let (text, _) = run(&mut net(), "curl -vk https://web.lab:8443");
    for part in [
        "* ALPN: server did not agree on a protocol. Uses default.\n",
        "*  SSL certificate verify result: self-signed certificate in certificate chain (19), continuing anyway.\n",
        "* TLSv1.3 (IN), TLS alert, close notify (256):\n* Closing connection 0\n\
         * TLSv1.3 (OUT), TLS alert, close notify (256):\n",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// The calls of a request, as strace shows them of curl and nginx but for the lengths of the handshake.
#[test]
fn calls() {
    let mut net = net();
    let n = net.spawn(parse(&words("curl -k https://10.0.0.1/big -o /dev/null")).unwrap());
    net.run(n);
    net.run_all();
    let fits = |c: &&String| c.starts_with("Send") || c.starts_with("Recv");
    let curl: Vec<String> = net.calls(n).iter().filter(fits).cloned().collect();
    let (flight, tickets) = ("Recv(5, 967)", "Recv(5, 331)");
    // A record's header, then what it holds; twice it has not come yet. The last call but one is a look whether nginx
    // has gone.
    let header = "Recv(5, 5)";
    let handshake = ["Send(5, 194)", header, header, "Recv(5, 122)", header, "Recv(5, 1)", header, flight];
    let request = ["Send(5, 80)", "Send(5, 97)", header, tickets, header, header, "Recv(5, 16401)"];
    assert_eq!(curl[..15], [&handshake[..], &request].concat());
    assert_eq!(curl[curl.len() - 3..], ["Recv(5, 1950)", header, "Send(5, 24)"]);
    let sent: Vec<String> = net.calls(0).iter().filter(|c| c.starts_with("Send")).cloned().collect();
    // The flight, the tickets; then records of 16384 bytes, the head with the first.
    let records: Vec<String> = ["Send(6, 16406)"; 6].into_iter().chain(["Send(6, 1955)"]).map(str::to_owned).collect();
    assert_eq!(sent[2..], records);
}

/// What is written while TLS shakes hands goes through a buffer of 4096 bytes.
#[test]
fn a_long_chain() {
    let mut net = net();
    let names: Vec<String> = (0..120).map(|n| format!("app-{n}.apps.cluster.lab")).collect();
    let line = format!("haproxy 9443 ssl {}", names.join(","));
    net.serve(parse_server(&words(&line)).unwrap().into_program());
    assert_eq!(run(&mut net, "curl -sk -o /dev/null https://10.0.0.1:9443"), (String::new(), 0));
    net.run_all();
    let calls = net.calls(2);
    let sent: Vec<&str> = calls.iter().filter(|c| c.starts_with("Send(")).map(String::as_str).collect();
    let [first, rest, tickets, answer, notify] = sent[..] else { panic!("{sent:?}") };
    assert!(first.ends_with(", 4096)") && notify.ends_with(", 24)"), "{sent:?}");
    assert!(![rest, tickets, answer].iter().any(|c| c.ends_with(", 4096)")), "{sent:?}");
    // The socket is shut down, and closed when the client has ended its stream.
    let end: Vec<&str> = calls.iter().rev().skip(1).take(4).map(|c| c.split('(').next().unwrap()).collect();
    assert_eq!(end, ["Close", "Recv", "Recv", "Poll"], "{calls:?}");
}

/// Little room in the socket: what does not fit waits, in the handshake too.
#[test]
fn little_room() {
    for line in ["curl -sk -o /dev/null -w %{size_download} https://10.0.0.1/big", "curl -sk https://10.0.0.1:8443"] {
        let whole = run(&mut net(), line);
        let mut net = net();
        net.room = 300;
        assert_eq!(run(&mut net, line), whole, "{line}");
        assert_eq!(whole.1, 0);
    }
}

#[test]
fn servers_that_misbehave() {
    for (parts, want, code) in [
        (
            vec![Part::Recv, Part::Send("HTTP/1.1 400 Bad Request\r\n\r\n"), Part::Close],
            "curl: (35) OpenSSL/3.0.19: error:0A00010B:SSL routines::wrong version number\n",
            35,
        ),
        (
            vec![Part::Recv, Part::Close],
            "curl: (35) OpenSSL/3.0.19: error:0A000126:SSL routines::unexpected eof while reading\n",
            35,
        ),
        // alert(fatal, handshake_failure)
        (
            vec![Part::Recv, Part::Send("\x15\x03\x03\x00\x02\x02\x28"), Part::Close],
            "curl: (35) OpenSSL/3.0.19: error:0A000410:SSL routines::sslv3 alert handshake failure\n",
            35,
        ),
    ] {
        let mut net = net();
        net.serve(Fixed::new(444, &parts));
        assert_eq!(run(&mut net, "curl -k https://10.0.0.1:444"), (want.to_owned(), code));
    }
    let mut net = net();
    net.serve(Fixed::new(444, &[Part::Recv, Part::Sleep(10_000_000_000), Part::Close]));
    for limit in ["-m2", "--connect-timeout 2"] {
        let want = ("curl: (28) SSL connection timeout\n".to_owned(), 28);
        assert_eq!(run(&mut net, &format!("curl -k {limit} https://10.0.0.1:444")), want);
    }
}
