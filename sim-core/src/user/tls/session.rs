//! One end of a connection: bytes of the stream in, records and plain bytes out.
//!
//! While it shakes hands a session is rustls' connection, which cannot be copied. So it remembers what it was given,
//! and a copy is a new connection that is given the same, with the same randomness. Once the handshake is over the
//! keys are all that is kept ([`Records`]).

use super::config::{self, Client, Server};
use super::context::{Context, Stream};
use super::failure::{Failure, Verdict};
use super::record::{self, Record, Records};
use crate::base::rng::Purpose;
use crate::base::time::SEC;
use crate::engine::process::Env;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConnection, Connection, ServerConnection};
use std::io::Read;
use std::ops::Range;

/// A handshake that takes more bytes than this is given up.
pub const MAX_HANDSHAKE: usize = 1 << 18;

/// One end of a connection.
pub struct Session {
    state: State,
    /// Received, and no whole record.
    input: Vec<u8>,
    /// Received, and not taken.
    plain: Vec<u8>,
    /// So many bytes of the stream were whole records.
    opened: u64,
    /// The records in which the plain bytes came that were taken last.
    plain_in: Range<u64>,
    /// Session tickets that wait for the first write.
    tickets_to_send: Vec<u8>,
    /// To be sent, and not taken.
    output: Vec<u8>,
    /// The peer has ended its stream.
    closed: bool,
    tickets: usize,
    alpn: Option<String>,
    peer: Vec<CertificateDer<'static>>,
}

enum State {
    Handshake(Box<Handshake>),
    Established(Records),
    /// Nothing more is said.
    Over,
}

/// Who an endpoint is.
#[derive(Clone)]
enum Role {
    Client(Client, ServerName<'static>),
    Server(Server),
}

impl Role {
    fn is_client(&self) -> bool {
        matches!(self, Role::Client(..))
    }

    /// Its session tickets wait for its first write.
    fn keeps_tickets(&self) -> bool {
        matches!(self, Role::Server(server) if server.keeps_tickets)
    }
}

struct Handshake {
    role: Role,
    live: Connection,
    context: Context,
    /// As it was before the first draw.
    begin: Context,
    /// The records that it was given, and when, in seconds since 1970.
    given: Vec<(u64, Vec<u8>)>,
    bytes: usize,
}

impl Session {
    /// The client's end: its hello is what there is to send. `number` tells the sessions of a process apart. An
    /// address as `host` is not told to the server (RFC 6066 section 3).
    ///
    /// # Errors
    /// `host` is no name.
    pub fn client(config: &Client, host: &str, number: u64, env: &mut Env<'_>) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|e| Failure::Protocol(e.to_string()))?;
        Session::start(Role::Client(config.clone(), name), number, env)
    }

    /// The server's end. `number` tells the sessions of a process apart.
    ///
    /// # Errors
    /// What rustls finds wrong with the configuration.
    pub fn server(config: &Server, number: u64, env: &mut Env<'_>) -> Result<Self, Failure> {
        Session::start(Role::Server(config.clone()), number, env)
    }

    fn start(role: Role, number: u64, env: &mut Env<'_>) -> Result<Self, Failure> {
        let whose = [env.salt.word(), u64::from(env.pid.0), u64::from(role.is_client()), number];
        let stream = Stream::new(env.prf, Purpose::Tls, &whose);
        let (mut handshake, output) =
            Handshake::start(role, Context { stream, now_s: now_s(env), verdict: None, secrets: String::new() })?;
        *env.secrets += &std::mem::take(&mut handshake.context.secrets);
        Ok(Session {
            state: State::Handshake(Box::new(handshake)),
            input: Vec::new(),
            plain: Vec::new(),
            opened: 0,
            plain_in: 0..0,
            tickets_to_send: Vec::new(),
            output,
            closed: false,
            tickets: 0,
            alpn: None,
            peer: Vec::new(),
        })
    }

    /// Takes in bytes of the stream.
    ///
    /// # Errors
    /// The session is over; the alert that says why to the peer is to be sent, if there is one.
    pub fn receive(&mut self, bytes: &[u8], env: &mut Env<'_>) -> Result<(), Failure> {
        self.input.extend_from_slice(bytes);
        let result = self.records(env);
        if result.is_err() {
            self.state = State::Over;
        }
        result
    }

    fn records(&mut self, env: &mut Env<'_>) -> Result<(), Failure> {
        loop {
            let length = match record::length(&self.input) {
                Some(Some(length)) if length <= self.input.len() => length,
                Some(_) => return Ok(()),
                None => return Err(Failure::NoTls),
            };
            let record: Vec<u8> = self.input.drain(..length).collect();
            let begin = self.opened;
            self.opened += length as u64;
            match &mut self.state {
                State::Handshake(handshake) => {
                    let said = self.output.len();
                    let over = handshake.step(&record, now_s(env), &mut self.output, env.secrets)?;
                    if over {
                        if handshake.role.keeps_tickets() {
                            self.tickets_to_send = self.output.split_off(said);
                        }
                        self.establish()?;
                    }
                }
                State::Established(records) => match records.open(&record).ok_or(Failure::BadRecord)? {
                    Record::Data(data) => {
                        if self.plain.is_empty() {
                            self.plain_in.start = begin;
                        }
                        self.plain_in.end = self.opened;
                        self.plain.extend(data);
                    }
                    Record::Tickets(count) => self.tickets += count,
                    Record::CloseNotify => self.closed = true,
                    Record::Alert(description) => return Err(Failure::Alert(description)),
                },
                State::Over => return Ok(()),
            }
        }
    }

    /// The handshake is over: what is needed of it is kept.
    fn establish(&mut self) -> Result<(), Failure> {
        let State::Handshake(handshake) = std::mem::replace(&mut self.state, State::Over) else { return Ok(()) };
        let mut live = handshake.live;
        self.alpn = live.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
        self.peer = live.peer_certificates().unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
        // None: what follows comes in records of its own.
        let _ = live.reader().read_to_end(&mut self.plain);
        let secrets = live.dangerous_extract_secrets().map_err(|e| Failure::Protocol(e.to_string()))?;
        let records = Records::new(secrets).ok_or_else(|| Failure::Protocol("no AES-GCM".to_owned()))?;
        self.state = State::Established(records);
        Ok(())
    }

    /// Puts plain bytes among what is to be sent, in records of 16384 bytes and a last one, and says how long these
    /// are. Nothing while it shakes hands.
    pub fn send(&mut self, plain: &[u8]) -> usize {
        let State::Established(records) = &mut self.state else { return 0 };
        let sealed = records.seal(plain);
        self.output.append(&mut self.tickets_to_send);
        self.output.extend(&sealed);
        sealed.len()
    }

    /// Ends this end's stream: the alert is to be sent.
    pub fn close(&mut self) {
        if let State::Established(mut records) = std::mem::replace(&mut self.state, State::Over) {
            self.output.append(&mut self.tickets_to_send);
            self.output.extend(records.close_notify());
        }
    }

    /// What is to be sent.
    pub fn take_output(&mut self) -> Vec<u8> {
        // As OpenSSL does, it goes with what follows.
        if self.is_handshaking() && self.output == record::CHANGE_CIPHER_SPEC_RECORD {
            return Vec::new();
        }
        std::mem::take(&mut self.output)
    }

    /// What has come.
    pub fn take_plain(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.plain)
    }

    /// The records in which it has come: bytes of the stream.
    pub fn plain_in(&self) -> Range<u64> {
        self.plain_in.clone()
    }

    /// How many bytes are missing from the header of the next record, or from its end: what OpenSSL asks for when it
    /// does not read ahead.
    pub fn wants(&self) -> usize {
        match record::length(&self.input) {
            Some(Some(length)) => length.saturating_sub(self.input.len()),
            _ => record::HEADER - self.input.len().min(record::HEADER - 1),
        }
    }

    /// The handshake is not over.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, State::Handshake(_))
    }

    /// The peer has ended its stream.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Session tickets that have come so far.
    pub fn tickets(&self) -> usize {
        self.tickets
    }

    /// The protocol that both ends want, once the handshake is over.
    pub fn alpn(&self) -> Option<&str> {
        self.alpn.as_deref()
    }

    /// The peer's own certificate in DER, once the handshake is over, if it has shown one.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        self.peer.first().map(|leaf| &leaf[..])
    }

    /// The first URI in the peer's certificate: the SPIFFE id of a workload.
    pub fn peer_uri(&self) -> Option<String> {
        let leaf = webpki::EndEntityCert::try_from(self.peer.first()?).ok()?;
        leaf.valid_uri_names().next().map(str::to_owned)
    }

    /// The name in the peer's certificate by which it is one for this host, a name or an address.
    pub fn peer_name(&self, host: &str) -> Option<String> {
        config::name_for(self.peer.first()?, host)
    }

    /// What somebody who trusts nobody says of the peer's certificate.
    pub fn unverified(&self) -> Option<Verdict> {
        self.peer.last().map(|last| Verdict::unknown(last))
    }
}

impl Handshake {
    /// A connection, and what it sends first.
    fn start(role: Role, begin: Context) -> Result<(Self, Vec<u8>), Failure> {
        let mut context = begin.clone();
        let live = context.enter(|| match &role {
            Role::Client(config, name) => ClientConnection::new(config.0.clone(), name.clone()).map(Connection::from),
            Role::Server(config) => ServerConnection::new(config.config.clone()).map(Connection::from),
        });
        let live = live.map_err(|e| Failure::new(&e, None))?;
        let mut handshake = Handshake { role, live, context, begin, given: Vec::new(), bytes: 0 };
        let mut output = Vec::new();
        handshake.flush(&mut output);
        Ok((handshake, output))
    }

    /// Takes in a whole record; whether the handshake is over.
    fn step(&mut self, record: &[u8], now_s: u64, output: &mut Vec<u8>, secrets: &mut String) -> Result<bool, Failure> {
        self.bytes += record.len();
        if self.bytes > MAX_HANDSHAKE {
            return Err(Failure::Protocol(format!("a handshake of more than {MAX_HANDSHAKE} bytes (MAX_HANDSHAKE)")));
        }
        self.context.now_s = now_s;
        self.given.push((now_s, record.to_vec()));
        let (live, mut rest) = (&mut self.live, record);
        let result = self.context.enter(|| {
            while !rest.is_empty() && live.read_tls(&mut rest).is_ok_and(|taken| taken > 0) {
                live.process_new_packets()?;
            }
            Ok(())
        });
        self.flush(output);
        *secrets += &std::mem::take(&mut self.context.secrets);
        match result {
            Ok(()) => Ok(!self.live.is_handshaking()),
            Err(e) => Err(Failure::new(&e, self.context.verdict)),
        }
    }

    /// Takes what it wants to send.
    fn flush(&mut self, output: &mut Vec<u8>) {
        let live = &mut self.live;
        self.context.enter(|| while live.wants_write() && live.write_tls(output).is_ok_and(|n| n > 0) {});
    }

    /// The same once more, by what it was given. It went well the first time.
    fn again(&self) -> Option<Handshake> {
        let (mut copy, _) = Handshake::start(self.role.clone(), self.begin.clone()).ok()?;
        for (now_s, record) in &self.given {
            copy.step(record, *now_s, &mut Vec::new(), &mut String::new()).ok()?;
        }
        Some(copy)
    }
}

impl Clone for Session {
    fn clone(&self) -> Self {
        let state = match &self.state {
            State::Handshake(handshake) => {
                handshake.again().map_or(State::Over, |copy| State::Handshake(Box::new(copy)))
            }
            State::Established(records) => State::Established(records.clone()),
            State::Over => State::Over,
        };
        Session {
            state,
            input: self.input.clone(),
            plain: self.plain.clone(),
            opened: self.opened,
            plain_in: self.plain_in.clone(),
            tickets_to_send: self.tickets_to_send.clone(),
            output: self.output.clone(),
            closed: self.closed,
            tickets: self.tickets,
            alpn: self.alpn.clone(),
            peer: self.peer.clone(),
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.state {
            State::Handshake(_) => "Session, shaking hands",
            State::Established(_) => "Session, established",
            State::Over => "Session, over",
        })
    }
}

/// CLOCK_REALTIME in seconds.
fn now_s(env: &Env<'_>) -> u64 {
    (env.epoch_ns + env.now.0) / SEC
}
