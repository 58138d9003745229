//! TLS in curl (lib/vtls/openssl.c): OpenSSL reads a record's header, then its body; what it says and how it ends are
//! those of OpenSSL 3.0.19.

use super::{After, At, Connection, Curl, Leaving, Transfer, show};
use crate::base::files::{Content, Found};
use crate::base::time::US;
use crate::engine::process::Env;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, Ret};
use crate::user::tls::{self, Failure, Session};

/// Where Debian's curl looks for certificates that it trusts.
const CA_FILE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What it offers, the best first.
const ALPN: [&str; 2] = ["h2", "http/1.1"];
/// The exit statuses CURLE_SSL_CONNECT_ERROR, CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE.
const CONNECT_ERROR: i32 = 35;
pub(super) const PEER_FAILED_VERIFICATION: i32 = 60;
const CACERT_BADFILE: i32 = 77;
/// What it computes for a hello and for the answer to the server's flight, as measured. Nanoseconds.
const HELLO_COST_NS: u64 = 1_200 * US;
const FLIGHT_COST_NS: u64 = 900 * US;

impl Curl {
    /// The connection stands: the hello.
    pub(super) fn secure(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let client = match self.client(env) {
            Ok(client) => client,
            Err((code, message)) => return self.broken(t, code, message, env),
        };
        let mut session = match Session::client(&client, &t.url.host, t.connection.number.into(), env) {
            Ok(session) => session,
            Err(failure) => return self.broken(t, CONNECT_ERROR, failure.text(), env),
        };
        env.spent_ns += HELLO_COST_NS;
        show::hello(&self.o, self.alpn(), self.ca_file(), env.console);
        t.out = session.take_output();
        t.connection.session = Some(session);
        self.call(At::HandshakeSend, Call::Send { fd: t.connection.fd, to: None, data: t.out.clone() })
    }

    fn alpn(&self) -> &'static [&'static str] {
        if self.o.http11 || self.o.http10 { &ALPN[1..] } else { &ALPN }
    }

    fn ca_file(&self) -> &str {
        self.o.ca_file.as_deref().unwrap_or(CA_FILE)
    }

    /// Whom it trusts, read once.
    fn client(&mut self, env: &Env<'_>) -> Result<tls::Client, (i32, String)> {
        if let Some(client) = &self.tls {
            return Ok(client.clone());
        }
        let client = if self.o.insecure {
            tls::Client::insecure(self.alpn()).map_err(|failure| (CONNECT_ERROR, failure.text()))?
        } else {
            let pem = match env.files.find(self.ca_file()) {
                Found::File(file) => match &file.content {
                    Content::Text(text) => Some(text.as_str()),
                    Content::Fill { .. } => Some(""),
                },
                // Whom a lab trusts is none of those whom a browser trusts.
                _ if self.o.ca_file.is_none() => None,
                _ => Some(""),
            };
            let bad = |_| (CACERT_BADFILE, format!("error setting certificate file: {}", self.ca_file()));
            tls::Client::trusting(pem, self.alpn()).map_err(bad)?
        };
        self.tls = Some(client.clone());
        Ok(client)
    }

    /// A call of the handshake returned.
    pub(super) fn handshaking(&mut self, at: At, ret: Ret, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        match (at, ret) {
            (At::HandshakeSend, Ret::Sent(n)) => {
                t.out.drain(..n.min(t.out.len()));
                self.handshake(t, env)
            }
            (_, Ret::Err(Errno::EAGAIN)) => self.wait(At::HandshakeWait, t, env),
            (At::HandshakeWait, _) => {
                t.timers.retain(|timer| *timer > env.now);
                let limit_ms = self.connect_timeout_ms();
                if self.late(t, env).is_some() || super::since(t.single, env.now) / 1000 >= limit_ms {
                    return self.close(t, After::End(28, "SSL connection timeout".to_owned()), env);
                }
                self.handshake(t, env)
            }
            (_, Ret::Data(data)) => {
                let session = t.connection.session.as_mut()?;
                match session.receive(&data, env) {
                    Ok(()) => {
                        t.out = session.take_output();
                        if !session.is_handshaking() {
                            env.spent_ns += FLIGHT_COST_NS;
                        }
                        self.handshake(t, env)
                    }
                    Err(failure) => self.refused(&failure, t, env),
                }
            }
            (_, Ret::Err(e)) => {
                let message =
                    format!("OpenSSL SSL_connect: {e} in connection to {}:{} ", t.url.host, t.connection.addr.port());
                t.connection.session = None;
                self.broken(t, CONNECT_ERROR, message, env)
            }
            // The stream has ended.
            _ => {
                t.connection.session = None;
                let message = format!("{OPENSSL}{UNEXPECTED_EOF}");
                self.broken(t, CONNECT_ERROR, message, env)
            }
        }
    }

    /// What the handshake does next.
    fn handshake(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let fd = t.connection.fd;
        if !t.out.is_empty() {
            return self.call(At::HandshakeSend, Call::Send { fd, to: None, data: t.out.clone() });
        }
        match &t.connection.session {
            Some(session) if session.is_handshaking() => {
                let size = session.wants();
                self.call(At::HandshakeRecv, Call::Recv { fd, size, dontwait: false, errqueue: false })
            }
            _ => self.secured(t, env),
        }
    }

    /// The handshake is over: is it the one who was meant?
    fn secured(&mut self, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        t.facts.secured_us = super::since(t.started, env.now);
        let session = t.connection.session.as_ref()?;
        let host = &t.url.host;
        show::secured(&self.o, session, host, env.console);
        if !self.o.insecure && session.peer_name(host).is_none() {
            let message = format!("SSL: no alternative certificate subject name matches target host name '{host}'");
            return self.broken(t, PEER_FAILED_VERIFICATION, message, env);
        }
        self.name(super::NAMES_BEFORE_TLS, t)
    }

    /// The handshake failed: the alert leaves, and the connection is closed.
    fn refused(&mut self, failure: &Failure, t: &mut Transfer, env: &mut Env<'_>) -> Option<Call> {
        let alert = t.connection.session.take().map(|mut s| s.take_output()).unwrap_or_default();
        let (code, message) = match failure {
            Failure::Certificate(verdict) => {
                env.spent_ns += FLIGHT_COST_NS;
                show::refused(&self.o, *verdict, env.console);
                (PEER_FAILED_VERIFICATION, failure.text())
            }
            _ => (CONNECT_ERROR, format!("{OPENSSL}{}", failure.text())),
        };
        self.info(&message, env);
        self.info(&format!("Closing connection {}", t.connection.number), env);
        t.after = After::End(code, message);
        let fd = t.connection.fd;
        match alert.is_empty() {
            true => self.call(At::Close, Call::Close { fd }),
            false => self.call(At::Leave, Call::Send { fd, to: None, data: alert }),
        }
    }

    /// Bytes of the stream have come: what they hold.
    pub(super) fn open(&self, data: &[u8], t: &mut Transfer, env: &mut Env<'_>) -> Opened {
        let Some(session) = &mut t.connection.session else { return Opened::Plain(data.to_vec()) };
        let before = session.tickets();
        if let Err(failure) = session.receive(data, env) {
            return Opened::Broken(format!("OpenSSL SSL_read: {}, errno 0", failure.text()));
        }
        show::tickets(&self.o, before, session.tickets(), env.console);
        let plain = session.take_plain();
        match plain.is_empty() {
            false => Opened::Plain(plain),
            true if session.is_closed() => {
                show::alert(&self.o, "IN", "close notify (256)", env.console);
                Opened::End
            }
            true => Opened::Nothing,
        }
    }

    /// The words for a stream that ended without a close_notify.
    pub(super) fn unexpected_eof() -> String {
        format!("OpenSSL SSL_read: {UNEXPECTED_EOF}, errno 0")
    }
}

/// What curl puts before an error of OpenSSL.
const OPENSSL: &str = "OpenSSL/3.0.19: ";
const UNEXPECTED_EOF: &str = "error:0A000126:SSL routines::unexpected eof while reading";

/// What came out of some bytes of a stream.
pub(super) enum Opened {
    Plain(Vec<u8>),
    /// Not a whole record, or one that holds nothing of the stream.
    Nothing,
    /// The peer has ended its stream.
    End,
    Broken(String),
}

impl Connection {
    /// Records for `plain`, or `plain` itself.
    pub(super) fn seal(&mut self, plain: Vec<u8>) -> Vec<u8> {
        match &mut self.session {
            Some(session) => {
                session.send(&plain);
                session.take_output()
            }
            None => plain,
        }
    }

    /// How much the next recv asks for, where `most` is wanted of the stream.
    pub(super) fn wants(&self, most: usize) -> usize {
        self.session.as_ref().map_or(most, Session::wants)
    }

    /// The next call on the way to close(2): a last look whether the peer has gone, then a close_notify.
    pub(super) fn leave(&mut self) -> Call {
        let fd: Fd = self.fd;
        let Some(session) = self.session.as_mut().filter(|s| !s.is_handshaking()) else { return Call::Close { fd } };
        if self.leaving == Leaving::No && !session.is_closed() {
            self.leaving = Leaving::Looked;
            return Call::Recv { fd, size: session.wants(), dontwait: false, errqueue: false };
        }
        session.close();
        let data = session.take_output();
        self.session = None;
        if data.is_empty() { Call::Close { fd } } else { Call::Send { fd, to: None, data } }
    }
}
