//! A connection's version of HTTP.

use super::head::{Event, Head};
use super::http1::{self, Role};
use super::http2;
use super::sniff::Http;

/// What reads and writes messages.
#[derive(Clone, Debug)]
pub(super) enum Codec {
    One(http1::Codec),
    Two(Box<http2::Codec>),
}

impl Codec {
    /// HTTP/1.1
    pub fn one(role: Role) -> Self {
        Codec::One(http1::Codec::new(role))
    }

    /// An end in this version; what it says first goes to `out`.
    pub fn new(version: Http, role: Role, out: &mut Vec<u8>) -> Self {
        match version {
            Http::One => Codec::one(role),
            Http::Two => Codec::Two(Box::new(http2::Codec::new(role, out))),
        }
    }

    /// What has come, which is taken from `input`.
    pub fn receive(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Vec<Event> {
        match self {
            Codec::One(codec) => codec.receive(input),
            Codec::Two(codec) => codec.receive(input, out),
        }
    }

    /// The peer has ended its stream: what that ends.
    pub fn end_of_stream(&mut self) -> Vec<Event> {
        match self {
            Codec::One(codec) => codec.end_of_stream(),
            Codec::Two(_) => vec![],
        }
    }

    /// A client's next stream.
    pub fn open(&mut self) -> u32 {
        match self {
            Codec::One(codec) => codec.open(),
            Codec::Two(codec) => codec.open(),
        }
    }

    /// It can take another stream beside those that it has.
    pub fn has_room(&self, streams: usize) -> bool {
        match self {
            Codec::One(_) => false,
            Codec::Two(codec) => codec.has_room(streams),
        }
    }

    /// Writes a head; `end` if nothing follows.
    pub fn send_head(&mut self, stream: u32, head: &Head, end: bool, out: &mut Vec<u8>) {
        match self {
            Codec::One(codec) => codec.send_head(head, end, out),
            Codec::Two(codec) => codec.send_head(stream, head, end, out),
        }
    }

    /// Writes some of a body, or its end.
    pub fn send_data(&mut self, stream: u32, data: &[u8], end: bool, out: &mut Vec<u8>) {
        match self {
            Codec::One(codec) => codec.send_data(data, end, out),
            Codec::Two(codec) => codec.send_data(stream, data, end, out),
        }
    }

    /// Gives a stream up; false if that takes the connection with it.
    pub fn reset(&mut self, stream: u32, out: &mut Vec<u8>) -> bool {
        match self {
            Codec::One(_) => false,
            Codec::Two(codec) => {
                codec.reset(stream, out);
                true
            }
        }
    }

    /// An exchange is over.
    pub fn finish(&mut self) {
        if let Codec::One(codec) = self {
            codec.finish();
        }
    }

    /// The connection ends with the exchange that is under way.
    pub fn is_last(&self) -> bool {
        match self {
            Codec::One(codec) => codec.last,
            Codec::Two(codec) => codec.over,
        }
    }

    /// It is to end so. A stream of HTTP/2 ends without its connection.
    pub fn set_last(&mut self) {
        if let Codec::One(codec) = self {
            codec.last = true;
        }
    }

    /// What it keeps back until the peer has room.
    pub fn waiting(&self) -> usize {
        match self {
            Codec::One(_) => 0,
            Codec::Two(codec) => codec.waiting(),
        }
    }

    /// Which it is.
    pub fn version(&self) -> Http {
        match self {
            Codec::One(_) => Http::One,
            Codec::Two(_) => Http::Two,
        }
    }
}
