//! What curl prints (src/tool_cb_dbg.c, src/tool_operate.c).

use super::options::Options;
use super::secure::PEER_FAILED_VERIFICATION;
use super::write_out::{self, Facts, Piece};
use super::{Connection, Transfer};
use crate::engine::process::Console;
use crate::user::http::date;
use crate::user::tls::{Certificate, Session, Verdict};
use std::net::Ipv4Addr;

/// What the tool adds to the error of a certificate.
const NOT_VERIFIED: &str = "More details here: https://curl.se/docs/sslcerts.html\n\n\
    curl failed to verify the legitimacy of the server and therefore could not\n\
    establish a secure connection to it. To learn more about this situation and\n\
    how to fix it, please visit the web page mentioned above.\n";

/// Where curl would keep what it knows about a host: an address in its heap, which it prints.
const BUNDLE: &str = "0x55d05f8a8cb0";

/// A method that -X need not give, or should not.
pub(super) fn method(o: &Options, console: &mut Console) {
    let inferred = match (o.head, o.data.is_some()) {
        (true, _) => "HEAD",
        (false, true) => "POST",
        (false, false) => "GET",
    };
    match o.method.as_deref() {
        Some(method) if method == inferred && o.verbose => {
            console.err(format!("Note: Unnecessary use of -X or --request, {method} is already inferred.\n"));
        }
        Some("HEAD") if !o.head && !o.silent => {
            console.err(
                "Warning: Setting custom HTTP method to HEAD with -X/--request may not work the \n\
                 Warning: way you want. Consider using -I/--head instead.\n",
            );
        }
        _ => {}
    }
}

pub(super) fn reused(o: &Options, c: &Connection, console: &mut Console) {
    if o.verbose {
        console.err(format!(
            "* Found bundle for host: {BUNDLE} [serially]\n* Can not multiplex, even if we wanted to\n\
             * Re-using existing connection #{} with host {}\n",
            c.number, c.host
        ));
    }
}

pub(super) fn connected(o: &Options, c: &Connection, console: &mut Console) {
    if o.verbose {
        let ip = c.addr.ip();
        console.err(format!("* Connected to {} ({ip}) port {} (#{})\n", c.host, c.port, c.number));
    }
}

pub(super) fn request(o: &Options, t: &Transfer, head: &str, data: usize, console: &mut Console) {
    let (discard, secure) = (t.discard, t.connection.session.is_some() && !t.reused);
    if o.verbose {
        if secure {
            console.err("* using HTTP/1.1\n");
        }
        console.err(marked('>', head));
        // On a terminal, the data speak for themselves.
        if data > 0 && discard {
            console.err(format!("}} [{data} bytes data]\n"));
        }
    }
}

/// A head has come.
pub(super) fn head(o: &Options, t: &Transfer, head: &str, console: &mut Console) {
    if o.verbose {
        if t.response.minor == 0 {
            console.err("* HTTP 1.0, assume close after body\n");
        }
        console.err(marked('<', head));
    }
    if (o.include || o.head) && !t.discard {
        console.out(head);
    }
}

/// Some of a body has come; `shown` is whether that was said of these bytes.
pub(super) fn body(o: &Options, discard: bool, body: &[u8], shown: &mut bool, console: &mut Console) {
    if discard && o.verbose && !*shown {
        console.err(format!("{{ [{} bytes data]\n", body.len()));
        *shown = true;
    }
    if !discard {
        console.out(String::from_utf8_lossy(body));
    }
}

/// The hello of TLS leaves; `ca_file` is where those stand who are trusted.
pub(super) fn hello(o: &Options, alpn: &[&str], ca_file: &str, console: &mut Console) {
    if !o.verbose {
        return;
    }
    console.err(format!("* ALPN: offers {}\n* TLSv1.3 (OUT), TLS handshake, Client hello (1):\n", alpn.join(",")));
    if !o.insecure {
        console.err(format!("*  CAfile: {ca_file}\n*  CApath: /etc/ssl/certs\n"));
    }
}

/// The handshake with `host` is over.
pub(super) fn secured(o: &Options, session: &Session, host: &str, console: &mut Console) {
    if !o.verbose {
        return;
    }
    let messages = ["Server hello (2)", "Encrypted Extensions (8)", "Certificate (11)", "CERT verify (15)"];
    for message in messages.iter().chain(&["Finished (20)"]) {
        console.err(format!("* TLSv1.3 (IN), TLS handshake, {message}:\n"));
    }
    console.err(
        "* TLSv1.3 (OUT), TLS change cipher, Change cipher spec (1):\n* TLSv1.3 (OUT), TLS handshake, Finished (20):\n\
         * SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384\n",
    );
    match session.alpn() {
        Some(protocol) => console.err(format!("* ALPN: server accepted {protocol}\n")),
        None => console.err("* ALPN: server did not agree on a protocol. Uses default.\n"),
    }
    let Some(certificate) = session.peer_certificate().and_then(Certificate::read) else { return };
    let Certificate { subject, issuer, not_before, not_after } = certificate;
    console.err(format!(
        "* Server certificate:\n*  subject: {subject}\n*  start date: {}\n*  expire date: {}\n",
        date::certificate(&not_before),
        date::certificate(&not_after)
    ));
    if !o.insecure {
        let Some(name) = session.peer_name(host) else {
            return console.err(format!("*  subjectAltName does not match {host}\n"));
        };
        let matched = if host.parse::<Ipv4Addr>().is_ok() { "IP address!".to_owned() } else { format!("\"{name}\"") };
        console.err(format!("*  subjectAltName: host \"{host}\" matched cert's {matched}\n"));
    }
    console.err(format!("*  issuer: {issuer}\n"));
    match session.unverified().filter(|_| o.insecure) {
        Some(verdict) => console.err(format!(
            "*  SSL certificate verify result: {} ({}), continuing anyway.\n",
            verdict.text(),
            verdict.number()
        )),
        None => console.err("*  SSL certificate verify ok.\n"),
    }
}

/// The server's certificate was not accepted.
pub(super) fn refused(o: &Options, verdict: Verdict, console: &mut Console) {
    if !o.verbose {
        return;
    }
    for message in ["Server hello (2)", "Encrypted Extensions (8)", "Certificate (11)"] {
        console.err(format!("* TLSv1.3 (IN), TLS handshake, {message}:\n"));
    }
    let (number, name) = verdict.alert();
    // Level fatal, then the description.
    alert(o, "OUT", &format!("{name} ({})", 2 << 8 | u32::from(number)), console);
}

/// An alert of TLS.
pub(super) fn alert(o: &Options, direction: &str, alert: &str, console: &mut Console) {
    if o.verbose {
        console.err(format!("* TLSv1.3 ({direction}), TLS alert, {alert}:\n"));
    }
}

/// Session tickets have come: so many in all, so many before.
pub(super) fn tickets(o: &Options, before: usize, now: usize, console: &mut Console) {
    for number in before + 1..=now {
        if o.verbose {
            console.err("* TLSv1.3 (IN), TLS handshake, Newsession Ticket (4):\n");
            if number > 1 {
                console.err("* old SSL session ID is stale, removing\n");
            }
        }
    }
}

/// A transfer is over.
pub(super) fn end(o: &Options, facts: &Facts, console: &mut Console) {
    if facts.exit != 0 && (!o.silent || o.show_error) {
        console.err(format!("curl: ({}) {}\n", facts.exit, facts.error));
        if facts.exit == PEER_FAILED_VERIFICATION {
            console.err(NOT_VERIFIED);
        }
    }
    let Some(format) = &o.write_out else { return };
    for piece in write_out::write(format, facts) {
        match piece {
            Piece::Out(text) => console.out(text),
            Piece::Err(text) => console.err(text),
        }
    }
}

/// Each line with a mark before it.
fn marked(mark: char, text: &str) -> String {
    text.lines().map(|line| format!("{mark} {line}\n")).collect()
}
