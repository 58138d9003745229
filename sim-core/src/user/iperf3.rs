//! `iperf3`: iperf 3.12 of Debian 12 with one stream of TCP from the client to the server: the control connection with
//! its cookie, states and parameters, the blocks of the stream, the text that both print.
//!
//! Differs: it does not ask the kernel for TCP_INFO, so retransmissions and windows are not in its text, as on systems
//! without it; while it waits for the server's next state it sleeps in poll instead of asking select again and again.

mod client;
mod options;
mod report;
mod server;
#[cfg(test)]
mod tests;

use crate::base::words::{SyntaxError, Word};
use crate::engine::process::Program;
use crate::kernel::errno::Errno;
use crate::kernel::syscall::{Call, Fd, Ret};
use options::Mode;

pub use options::Options;

/// The states of a test, each a byte on the control connection (iperf_api.h).
mod state {
    pub(super) const TEST_START: u8 = 1;
    pub(super) const TEST_RUNNING: u8 = 2;
    pub(super) const TEST_END: u8 = 4;
    pub(super) const PARAM_EXCHANGE: u8 = 9;
    pub(super) const CREATE_STREAMS: u8 = 10;
    pub(super) const SERVER_TERMINATE: u8 = 11;
    pub(super) const EXCHANGE_RESULTS: u8 = 13;
    pub(super) const DISPLAY_RESULTS: u8 = 14;
    pub(super) const IPERF_DONE: u8 = 16;
    /// -1
    pub(super) const ACCESS_DENIED: u8 = 255;
}

/// A cookie with its final zero.
const COOKIE_SIZE: usize = 37;
/// The longest JSON text that is read.
const MAX_JSON: usize = 8 * 1024;

/// Reads the words behind the name.
///
/// # Errors
/// What iperf3 says about its words; that an option is not simulated.
pub(super) fn parse(name: &Word, words: &[Word]) -> Result<Box<dyn Program>, SyntaxError> {
    let o = options::parse(name, words)?;
    Ok(match o.mode {
        Mode::Client(addr) => Box::new(client::Client::new(o, addr)),
        Mode::Server => Box::new(server::Server::new(o)),
    })
}

/// Reads the words behind the name of a server.
///
/// # Errors
/// As for [`parse`]; they are those of a client.
pub(super) fn parse_server(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    match options::parse(name, words)? {
        o if o.mode == Mode::Server => Ok(o),
        _ => {
            Err(SyntaxError::at(name, "iperf3: this is a client")
                .hint("write `iperf3 -s`, and start clients in `traffic`"))
        }
    }
}

impl Options {
    /// The server that it describes, ready to start.
    pub(super) fn into_server(self) -> Box<dyn Program> {
        Box::new(server::Server::new(self))
    }
}

/// These words start a server that goes on with the next client.
pub(super) fn is_endless(name: &Word, words: &[Word]) -> bool {
    options::parse(name, words).is_ok_and(|o| o.mode == Mode::Server && !o.one_off)
}

/// Bytes that are read from the control connection, in as many calls as it takes.
#[derive(Clone, Debug, Default)]
struct Intake {
    bytes: Vec<u8>,
    size: usize,
}

/// What a call of an [`Intake`] came to.
enum Taken {
    /// There is more to come: the next call.
    More(Call),
    All(Vec<u8>),
    /// The connection is at its end.
    End,
    Failed(Errno),
}

impl Intake {
    /// Begins to read so many bytes.
    fn read(&mut self, fd: Fd, size: usize) -> Call {
        (self.bytes, self.size) = (Vec::with_capacity(size), size);
        Call::Recv { fd, size, dontwait: false, errqueue: false }
    }

    fn returned(&mut self, fd: Fd, ret: Ret) -> Taken {
        match ret {
            Ret::Data(data) => self.bytes.extend(data),
            Ret::Eof => return Taken::End,
            Ret::Err(Errno::EINTR | Errno::EAGAIN) => {}
            Ret::Err(e) => return Taken::Failed(e),
            _ => {}
        }
        match self.size.saturating_sub(self.bytes.len()) {
            0 => Taken::All(std::mem::take(&mut self.bytes)),
            size => Taken::More(Call::Recv { fd, size, dontwait: false, errqueue: false }),
        }
    }
}

fn send(fd: Fd, data: impl Into<Vec<u8>>) -> Call {
    Call::Send { fd, to: None, data: data.into() }
}

/// The length that goes before a JSON text; none if it is too long.
fn length(bytes: &[u8]) -> Option<usize> {
    let size = u32::from_be_bytes(bytes.try_into().ok()?) as usize;
    Some(size).filter(|size| *size <= MAX_JSON)
}

fn length_of(json: &str) -> [u8; 4] {
    (json.len() as u32).to_be_bytes()
}

/// A number in a JSON text that has the name once.
fn number<T: std::str::FromStr>(json: &[u8], name: &str) -> Option<T> {
    let text = String::from_utf8_lossy(json);
    let rest = text.split_once(&format!("\"{name}\":"))?.1;
    rest[..rest.find([',', '}']).unwrap_or(rest.len())].trim().parse().ok()
}
