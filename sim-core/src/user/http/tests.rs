//! The programs against each other, and against servers that misbehave, as curl 7.88.1, nginx 1.22.1 and Python 3.11.2
//! were seen to do.

use super::net::{Fixed, Net, Part};
use crate::base::files::{Content, File, Files};
use crate::base::time::SEC;
use crate::user::script::words;
use crate::user::{parse, parse_server};
use proptest::prelude::*;
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the servers serve.
fn put_files(files: &mut Files) {
    let mtime_s = 1_795_274_502;
    for (path, text) in [("/www/index.html", "hello from p1b\n"), ("/www/dir/f", "x\n"), ("/www/a.txt", "text\n")] {
        files.insert(path, File { content: Content::Text(text.into()), mtime_s });
    }
    files.insert("/www/big", File { content: Content::Fill { size: 100_000, byte: b'x' }, mtime_s });
}

/// A network with nginx (program 0) and http.server (program 1).
fn net() -> Net {
    let mut net = Net::new();
    // Nobody is asked for names.
    for (path, text) in
        [("/etc/resolv.conf", "options attempts:0\n"), ("/etc/hosts", "10.0.0.9 two\n10.0.0.1 two one\n")]
    {
        net.files.insert(path, File { content: Content::Text(text.into()), mtime_s: 0 });
    }
    put_files(&mut net.files);
    for line in ["nginx 80 /www", "python3 -m http.server 8000 --directory /www"] {
        net.serve(parse_server(&words(line)).unwrap().into_program());
    }
    net
}

/// What a command prints, and its exit status.
fn run(net: &mut Net, line: &[&str]) -> (String, i32) {
    let n = spawn(net, line);
    net.run(n)
}

fn spawn(net: &mut Net, line: &[&str]) -> usize {
    let words: Vec<_> = line
        .iter()
        .flat_map(|part| {
            // A part with blanks is one word.
            if part.starts_with('\'') {
                vec![crate::base::words::Word { text: part.trim_matches('\'').to_owned(), span: 0..0 }]
            } else {
                words(part)
            }
        })
        .collect();
    net.spawn(parse(&words).unwrap())
}

#[test]
fn nginx_answers() {
    let ok = |more: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
         Date: Sat, 21 Nov 2026 15:28:59 GMT\r\nContent-Type: text/html\r\n\
         Content-Length: 15\r\nLast-Modified: Sat, 21 Nov 2026 15:21:42 GMT\r\nConnection: {more}\r\n\
         ETag: \"6b01b706-f\"\r\nAccept-Ranges: bytes\r\n\r\n"
        )
    };
    let page = |title: &str, length: usize, more: &str| {
        format!(
            "HTTP/1.1 {title}\r\nServer: nginx/1.22.1\r\n\
         Date: Sat, 21 Nov 2026 15:28:59 GMT\r\nContent-Type: text/html\r\n\
         Content-Length: {length}\r\n{more}\r\n<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n\
         <center><h1>{title}</h1></center>\r\n<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
        )
    };
    let keep = "Connection: keep-alive\r\n";
    for (words, want) in [
        (vec!["curl -sI 10.0.0.1"], ok("keep-alive")),
        (vec!["curl -si 10.0.0.1"], ok("keep-alive") + "hello from p1b\n"),
        (vec!["curl -si -H", "'Connection: close'", "10.0.0.1"], ok("close") + "hello from p1b\n"),
        (vec!["curl -si --http1.0 10.0.0.1"], ok("close") + "hello from p1b\n"),
        (vec!["curl -si 10.0.0.1/nope"], page("404 Not Found", 153, keep)),
        (vec!["curl -si 10.0.0.1/dir/"], page("403 Forbidden", 153, keep)),
        (vec!["curl -si -X DELETE 10.0.0.1/"], page("405 Not Allowed", 157, keep)),
        (vec!["curl -si -d a=1 10.0.0.1/"], page("405 Not Allowed", 157, keep)),
        (
            vec!["curl -si 10.0.0.1/dir?x=1"],
            page("301 Moved Permanently", 169, "Location: http://10.0.0.1/dir/?x=1\r\nConnection: keep-alive\r\n"),
        ),
        (
            vec!["curl -si -H", "'If-Modified-Since: Sat, 21 Nov 2026 15:21:42 GMT'", "10.0.0.1"],
            "HTTP/1.1 304 Not Modified\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 15:28:59 GMT\r\n\
             Last-Modified: Sat, 21 Nov 2026 15:21:42 GMT\r\nConnection: keep-alive\r\nETag: \"6b01b706-f\"\r\n\r\n"
                .into(),
        ),
        (vec!["curl -s -X TRACE -i 10.0.0.1"], page("405 Not Allowed", 157, "Connection: close\r\n")),
    ] {
        assert_eq!(run(&mut net(), &words), (want, 0), "{words:?}");
    }
    // As recorded: heads of 235 bytes, 244 for the long file.
    assert_eq!(ok("keep-alive").len(), 235);
}

#[test]
fn http_server_answers() {
    let head = "Server: SimpleHTTP/0.6 Python/3.11.2\r\nDate: Sat, 21 Nov 2026 15:28:59 GMT\r\n";
    let ok = format!(
        "HTTP/1.0 200 OK\r\n{head}Content-type: text/html\r\nContent-Length: 15\r\n\
         Last-Modified: Sat, 21 Nov 2026 15:21:42 GMT\r\n\r\n"
    );
    assert_eq!(ok.len(), 185);
    let error = |code: u16, message: &str, length: usize| {
        format!(
            "HTTP/1.0 {code} {message}\r\n{head}Connection: close\r\nContent-Type: text/html;charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n"
        )
    };
    let mut n = net();
    assert_eq!(run(&mut n, &["curl -sI 10.0.0.1:8000"]), (ok.clone(), 0));
    assert_eq!(run(&mut n, &["curl -si 10.0.0.1:8000"]), (ok + "hello from p1b\n", 0));
    assert_eq!(run(&mut n, &["curl -sI 10.0.0.1:8000/nope"]), (error(404, "File not found", 335), 0));
    let (text, _) = run(&mut n, &["curl -si -X POST 10.0.0.1:8000/"]);
    assert!(text.starts_with(&error(501, "Unsupported method ('POST')", 357)), "{text}");
    let (text, _) = run(&mut n, &["curl -si 10.0.0.1:8000/dir"]);
    assert_eq!(text, format!("HTTP/1.0 301 Moved Permanently\r\n{head}Location: /dir/\r\nContent-Length: 0\r\n\r\n"));
    let (text, _) = run(&mut n, &["curl -si -L 10.0.0.1:8000/dir"]);
    let list = "<!DOCTYPE HTML>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
                <title>Directory listing for /dir/</title>\n</head>\n<body>\n\
                <h1>Directory listing for /dir/</h1>\n<hr>\n\
                <ul>\n<li><a href=\"f\">f</a></li>\n</ul>\n<hr>\n</body>\n</html>\n";
    assert!(text.ends_with(list) && text.contains("Content-Length: 222\r\n"), "{text}");
    assert_eq!(
        n.text(1),
        "Serving HTTP on 0.0.0.0 port 8000 (http://0.0.0.0:8000/) ...\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"HEAD / HTTP/1.1\" 200 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"GET / HTTP/1.1\" 200 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] code 404, message File not found\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"HEAD /nope HTTP/1.1\" 404 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] code 501, message Unsupported method ('POST')\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"POST / HTTP/1.1\" 501 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"GET /dir HTTP/1.1\" 301 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"GET /dir HTTP/1.1\" 301 -\n\
         127.0.0.1 - - [21/Nov/2026 15:28:59] \"GET /dir/ HTTP/1.1\" 200 -\n"
    );
}

/// strace of the real programs, without what is no socket.
#[test]
fn system_calls() {
    let mut n = net();
    let c = spawn(&mut n, &["curl -s -o /dev/null 10.0.0.1/ -o /dev/null 10.0.0.1/big"]);
    assert_eq!(n.run(c), (String::new(), 0));
    let options = ["NoDelay(true)", "KeepAlive(true)", "KeepIdle(60)", "KeepInterval(60)", "NonBlock(true)"];
    let options = options.map(|o| format!("SetSockOpt(5, {o})"));
    let calls = n.calls(c);
    assert_eq!(calls[0], "Socket(Tcp)");
    assert_eq!(calls[1..6], options);
    let rest: Vec<&str> = calls[6..].iter().map(String::as_str).collect();
    assert_eq!(
        rest[..11],
        [
            "Connect(5, 10.0.0.1:80)",
            "Poll(5w, 199)",
            "Poll(5w, 0)",
            "SocketError(5)",
            "SockName(5)",
            "PeerName(5)",
            "SockName(5)",
            "PeerName(5)",
            "SockName(5)",
            "Send(5, 72)",
            "Poll(5r, 0)",
        ]
    );
    let ends = ["Poll(5r, 0)", "Recv(5, 102400)", "Poll(5r, 0)", "Send(5, 75)", "Poll(5r, 0)"];
    assert!(rest.windows(5).any(|w| w == ends), "{rest:?}");
    assert_eq!(rest[rest.len() - 2..], ["Close(5)", "Exit(0)"]);
    // The server hears of the end.
    n.run_all();
    let c = spawn(&mut n, &["curl -s -H Connection:close 10.0.0.1/"]);
    n.run(c);
    n.run_all();
    let calls = n.calls(0);
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    assert_eq!(
        calls[..8],
        [
            "Socket(Tcp)",
            "SetSockOpt(3, ReuseAddr(true))",
            "SetSockOpt(3, NonBlock(true))",
            "Bind(3, 0.0.0.0:80)",
            "Listen(3, 511)",
            "Poll(3r, -1)",
            "Accept(3)",
            "Poll(3r 6r, 60000)",
        ]
    );
    assert_eq!(
        calls[8..],
        [
            "Recv(6, 1024)",
            "Send(6, 250)",
            "SetSockOpt(6, NoDelay(true))",
            "Poll(3r 6r, 75000)",
            "Recv(6, 1024)",
            "Send(6, 33012)",
            "Send(6, 32768)",
            "Send(6, 32768)",
            "Send(6, 1696)",
            "Poll(3r 6r, 75000)",
            "Recv(6, 1024)",
            "Close(6)",
            "Poll(3r, -1)",
            "Accept(3)",
            "Poll(3r 8r, 60000)",
            "Recv(8, 1024)",
            "Send(8, 245)",
            "Close(8)",
            "Poll(3r, -1)",
        ]
    );
}

#[test]
fn http_server_system_calls() {
    let mut n = net();
    let c = spawn(&mut n, &["curl -s -o /dev/null 10.0.0.1:8000/big"]);
    assert_eq!(n.run(c), (String::new(), 0));
    n.run_all();
    let calls = n.calls(1);
    let calls: Vec<&str> = calls.iter().map(String::as_str).filter(|c| !c.starts_with("Poll(4r, ")).collect();
    assert_eq!(
        calls,
        [
            "Socket(Tcp)",
            "SetSockOpt(4, ReuseAddr(true))",
            "Bind(4, 0.0.0.0:8000)",
            "SockName(4)",
            "Listen(4, 5)",
            "Accept(4)",
            "SockName(6)",
            "Recv(6, 8192)",
            "Send(6, 204)",
            "Send(6, 65536)",
            "Send(6, 34464)",
            "Shutdown(6, Write)",
            "Close(6)",
        ]
    );
}

/// A client that reads slowly: nginx fills its two buffers and waits.
#[test]
fn little_room() {
    for (room, port) in [(1000, ""), (40_000, ""), (100, ":8000"), (1000, ":8000")] {
        let mut n = net();
        n.room = room;
        let url = format!("10.0.0.1{port}/big");
        let got = run(&mut n, &["curl -s -o /dev/null -w %{http_code}:%{size_download}", &url]);
        assert_eq!(got, ("200:100000".to_owned(), 0), "{room}");
    }
    let mut n = net();
    n.room = 1000;
    let data = "x".repeat(200_000);
    let got = run(&mut n, &["curl -s -o /dev/null -w %{http_code}:%{size_upload} -d", &data, "10.0.0.1/"]);
    assert_eq!(got, ("405:200000".to_owned(), 0));
}

#[test]
fn keepalive_ends() {
    let mut n = net();
    let hold = n.spawn(Box::new(Holder::default()));
    n.run(hold);
    let closed = n.times_ms(0, "Close(");
    let answered = n.times_ms(0, "Send(");
    assert_eq!((answered.len(), closed[0] - answered[0]), (1, 75_000));
    // A head that does not come to its end.
    let mut n = net();
    let hold = n.spawn(Box::new(Holder { request: "GET / HT".into(), ..Holder::default() }));
    n.run(hold);
    assert_eq!(n.times_ms(0, "Close("), [60_000]);
}

/// A client that asks once and waits for the end.
#[derive(Clone)]
struct Holder {
    request: String,
    port: u16,
    /// It says that it is done.
    ends: bool,
    at: usize,
}

impl Default for Holder {
    fn default() -> Self {
        Holder { request: "GET / HTTP/1.1\r\nHost: a\r\n\r\n".into(), port: 80, ends: false, at: 0 }
    }
}

impl crate::engine::process::Program for Holder {
    fn step(
        &mut self,
        ret: crate::kernel::syscall::Ret,
        _: &mut crate::engine::process::Env<'_>,
    ) -> crate::kernel::syscall::Call {
        use crate::kernel::syscall::{Call, Fd, Ret};
        self.at += 1;
        let fd = Fd(5);
        match self.at {
            1 => Call::Socket(crate::kernel::syscall::SocketKind::Tcp),
            2 => Call::Connect { fd, addr: SocketAddrV4::new([10, 0, 0, 1].into(), self.port) },
            3 => Call::Send { fd, to: None, data: self.request.as_bytes().to_vec() },
            4 if self.ends => Call::Shutdown { fd, how: crate::kernel::syscall::Shutdown::Write },
            _ if matches!(ret, Ret::Eof | Ret::Err(_)) && self.at > 4 => Call::Exit(0),
            _ => Call::Recv { fd, size: 1000, dontwait: false, errqueue: false },
        }
    }

    fn boxed_clone(&self) -> Box<dyn crate::engine::process::Program> {
        Box::new(self.clone())
    }
}

/// What nginx makes of requests that curl does not send.
#[test]
fn hand_made_requests() {
    let long = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(9000));
    for (request, want) in [
        ("GARBAGE\r\n\r\n", &["Recv(6, 1024)", "Send(6, 309)", "Shutdown(6, Write)"][..]),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", &["Recv(6, 1024)", "Send(6, 354)", "Shutdown(6, Write)"]),
        ("GET / HTTP/1.1\r\n\r\n", &["Recv(6, 1024)", "Send(6, 309)", "Close(6)"]),
        (long.as_str(), &["Recv(6, 1024)", "Recv(6, 7193)", "Send(6, 385)", "Shutdown(6, Write)", "Recv(6, 4096)"]),
        (
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nHEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            &["Recv(6, 1024)", "Send(6, 250)", "Send(6, 230)", "Close(6)"],
        ),
    ] {
        let mut n = net();
        let hold = n.spawn(Box::new(Holder { request: request.into(), ..Holder::default() }));
        n.run(hold);
        n.run_all();
        let calls = n.calls(0);
        let calls: Vec<&str> = calls.iter().map(String::as_str).filter(|c| c.contains("(6")).collect();
        assert_eq!(calls[..want.len()], *want, "{request:?}");
    }
}

#[test]
fn curl_fails() {
    let w = "-w [%{http_code}:%{num_connects}:%{errormsg}:%{exitcode}]";
    for (line, want) in [
        ("curl -sS 10.0.0.1:81", "Failed to connect to 10.0.0.1 port 81 after 0 ms: Couldn't connect to server:7"),
        ("curl -sS http://web/", "Could not resolve host: web:6"),
        ("curl -sS -m 3 10.0.0.9", "Connection timed out after 3000 milliseconds:28"),
        (
            "curl -sS --connect-timeout 1 10.0.0.9",
            "Failed to connect to 10.0.0.9 port 80 after 1000 ms: Timeout was reached:28",
        ),
        ("curl -sS -m 0.5 --connect-timeout 1 10.0.0.9", "Connection timed out after 500 milliseconds:28"),
        ("curl -sS http://10.0.0.1:99999", "URL using bad/illegal format or missing URL:3"),
    ] {
        let mut n = net();
        n.black_hole = Some(Ipv4Addr::new(10, 0, 0, 9));
        let (message, code) = want.rsplit_once(':').unwrap();
        let code: i32 = code.parse().unwrap();
        let text = format!("curl: ({code}) {message}\n[000:0:{want}]");
        assert_eq!(run(&mut n, &[line, w]), (text, code), "{line}");
    }
    let mut n = net();
    assert_eq!(
        run(&mut n, &["curl -sSf 10.0.0.1/nope"]),
        ("curl: (22) The requested URL returned error: 404\n".into(), 22)
    );
    assert_eq!(run(&mut n, &["curl -s 10.0.0.1:81 10.0.0.1"]), ("hello from p1b\n".into(), 0));
    assert_eq!(run(&mut n, &["curl -s 10.0.0.1 10.0.0.1:81"]), ("hello from p1b\n".into(), 7));
}

#[test]
fn names() {
    let mut n = net();
    n.black_hole = Some(Ipv4Addr::new(10, 0, 0, 9));
    assert_eq!(
        run(&mut n, &["curl -s -o /dev/null -o /dev/null -w %{remote_ip}:%{num_connects}, http://one:80/ ONE/"]).0,
        "10.0.0.1:1,10.0.0.1:0,"
    );
    let (text, code) = run(&mut n, &["curl -sv --http1.0 one one"]);
    assert!(code == 0 && text.contains("* Closing connection 0\n* Hostname one was found in DNS cache\n"), "{text}");
    // The first address does not answer: it gets half of the time.
    let (text, code) = run(&mut n, &["curl -sv --connect-timeout 2 -w [%{time_connect}] two"]);
    assert!(code == 0 && text.contains("*   Trying 10.0.0.9:80...\n*   Trying 10.0.0.1:80...\n"), "{text}");
    assert!(text.contains("[1.0"), "{text}");
}

#[test]
fn odd_servers() {
    use Part::{Close, Recv, Send, Sleep};
    let w = "-w [%{http_code}:%{num_connects}:%{errormsg}:%{size_download}:%{size_header}:%{exitcode}]";
    let hello = Send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
    for (parts, want) in [
        (vec![Recv, Close], "curl: (52) Empty reply from server\n[000:1:Empty reply from server:0:0:52]"),
        (
            vec![Sleep(SEC), Close],
            "curl: (56) Recv failure: Connection reset by peer\n\
             [000:1:Recv failure: Connection reset by peer:0:0:56]",
        ),
        (
            vec![Recv, hello.clone(), Close],
            "hellocurl: (18) transfer closed with 95 bytes remaining to read\n\
             [200:1:transfer closed with 95 bytes remaining to read:5:40:18]",
        ),
        (
            vec![Recv, hello, Sleep(9 * SEC)],
            "hellocurl: (28) Operation timed out after 3000 milliseconds with 5 out of \
             100 bytes received\n[200:1:Operation timed out after 3000 milliseconds with 5 out of 100 bytes \
             received:5:40:28]",
        ),
        (
            vec![Recv, Sleep(9 * SEC)],
            "curl: (28) Operation timed out after 3000 milliseconds with 0 bytes received\n\
             [000:1:Operation timed out after 3000 milliseconds with 0 bytes received:0:0:28]",
        ),
    ] {
        let mut n = net();
        n.serve(Fixed::new(90, &parts));
        assert_eq!(run(&mut n, &["curl -sS -m 3 10.0.0.1:90", w]).0, want);
    }
}

/// A connection that its server closes after the answer without a word is not used again.
#[test]
fn dead_connections() {
    let mut n = net();
    let answer = Part::Send("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
    n.serve(Fixed::new(90, &[Part::Recv, answer, Part::Close]));
    for (line, want) in [
        (
            "curl -sv 10.0.0.1:90 10.0.0.1 10.0.0.1:90",
            "* Connection 0 seems to be dead!\n* Closing connection 0\n*   Trying",
        ),
        (
            "curl -sv 10.0.0.1:90 10.0.0.1:90",
            "* Connection died, retrying a fresh connect (retry count: 1)\n* Closing connection 0\n*   Trying",
        ),
    ] {
        let (text, code) = run(&mut n, &[line]);
        assert!(code == 0 && text.contains(want), "{text}");
    }
}

#[test]
fn verbose() {
    let mut n = net();
    let (text, _) = run(&mut n, &["curl -sv -o /dev/null 10.0.0.1 10.0.0.1/nope"]);
    let head = "* Connected to 10.0.0.1 (10.0.0.1) port 80 (#0)\n> GET / HTTP/1.1\n> Host: 10.0.0.1\n\
                > User-Agent: curl/7.88.1\n> Accept: */*\n> \n< HTTP/1.1 200 OK\n";
    assert!(text.starts_with(&format!("*   Trying 10.0.0.1:80...\n{head}")), "{text}");
    assert!(
        text.contains("< \n{ [15 bytes data]\n* Connection #0 to host 10.0.0.1 left intact\n* Found bundle"),
        "{text}"
    );
    let (text, _) = run(&mut n, &["curl -sv 10.0.0.1:81"]);
    assert_eq!(
        text,
        "*   Trying 10.0.0.1:81...\n* connect to 10.0.0.1 port 81 failed: Connection refused\n\
         * Failed to connect to 10.0.0.1 port 81 after 0 ms: Couldn't connect to server\n* Closing connection 0\n"
    );
    let (text, _) = run(&mut n, &["curl -sv -o /dev/null 10.0.0.1:8000"]);
    assert!(text.contains("> \n* HTTP 1.0, assume close after body\n< HTTP/1.0 200 OK\n"), "{text}");
    assert!(text.ends_with("< \n{ [15 bytes data]\n* Closing connection 0\n"), "{text}");
}

/// Pieces of requests and answers, in any order.
fn pieces() -> impl Strategy<Value = String> {
    const PIECES: [&str; 32] = [
        "GET ",
        "HEAD ",
        "POST ",
        "/",
        "/big",
        "/dir",
        "..",
        "%41",
        "%",
        "?x",
        "#",
        " HTTP/1.1",
        " HTTP/1.0",
        " HTTP/2.0",
        "\r\n",
        "\n",
        "\r\n\r\n",
        "Host: a",
        "Connection: close",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "If-None-Match: *",
        ": ",
        "hello",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 301 Moved\r\n",
        "Location: /x",
        "HTTP/1.0 100 Continue\r\n\r\n",
        "é",
        "\0",
    ];
    proptest::collection::vec(0..PIECES.len(), 0..24).prop_map(|all| all.into_iter().map(|n| PIECES[n]).collect())
}

proptest! {
    /// Whatever a client sends, a server ends the connection when the client has.
    #[test]
    fn servers_bear_anything(request in pieces(), room in 1usize..5000) {
        for port in [80, 8000] {
            let mut n = net();
            n.room = room.max(200);
            let hold = n.spawn(Box::new(Holder { request: request.clone(), port, ends: true, at: 0 }));
            prop_assert_eq!(n.run(hold).1, 0);
        }
    }

    /// Whatever a server sends, curl comes to its end.
    #[test]
    fn curl_bears_anything(answer in pieces(), more in pieces()) {
        let mut n = net();
        let leak = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
        n.serve(Fixed::new(90, &[Part::Recv, Part::Send(leak(answer)), Part::Send(leak(more)), Part::Close]));
        let (_, code) = run(&mut n, &["curl -sSiL --max-redirs 3 -m 9 10.0.0.1:90"]);
        prop_assert!([0, 1, 3, 6, 7, 8, 18, 28, 47, 52, 56].contains(&code), "{}", code);
    }
}
