//! HTTP/2 (RFC 9113) as Envoy speaks it (source/common/http/http2/codec_impl.cc): many streams on a connection, windows
//! so large that nobody waits for them.

use super::frame::{self, BadFrame, Frame, MAX_FRAME};
use super::head::{Event, Fields, Head, Request, Response};
use super::hpack::{Decoder, Encoder};
use super::http1::Role;
use super::sniff::PREFACE;
use std::collections::BTreeMap;

const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
/// What Envoy asks for: as many streams as there can be, and 256 MiB for each and for all together.
const STREAMS: u32 = 0x7fff_ffff;
const WINDOW: u32 = 1 << 28;
/// Both windows at first (section 6.9.2).
const FIRST_WINDOW: u32 = 65_535;
/// A head in more bytes is none.
const MAX_HEAD: usize = 64 * 1024;
/// Streams of a peer's that are open at once; more are refused.
const MAX_OPEN: usize = 1024;
/// What belongs to a connection of HTTP/1.1 alone.
const HOP_BY_HOP: [&str; 5] = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

/// An end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Codec {
    role: Role,
    encoder: Encoder,
    decoder: Decoder,
    streams: BTreeMap<u32, Stream>,
    /// A client's next stream; the last one of a server's peer.
    next: u32,
    /// Bytes that may be sent on all streams together, and first on each.
    window: i64,
    first_window: i64,
    /// Streams that the peer takes at once.
    peer_streams: u32,
    /// Bytes that were taken in since the last WINDOW_UPDATE.
    taken: u32,
    /// The preface has come, or is not expected.
    begun: bool,
    /// A head whose rest is to come.
    head: Option<(u32, Vec<u8>, bool)>,
    /// Nothing more is read or begun.
    pub over: bool,
}

#[derive(Clone, Debug)]
struct Stream {
    window: i64,
    taken: u32,
    /// To be sent when the windows allow it, and whether it ends with that.
    waits: Vec<u8>,
    ends: bool,
    /// The peer's head has come: another one holds trailers.
    headed: bool,
    /// Our message, and the peer's, have ended.
    sent: bool,
    received: bool,
}

impl Codec {
    /// An end; what it says first goes to `out`.
    pub fn new(role: Role, out: &mut Vec<u8>) -> Self {
        let mut values = vec![(HEADER_TABLE_SIZE, 4096)];
        if role == Role::Client {
            out.extend_from_slice(PREFACE);
            values.push((ENABLE_PUSH, 0));
        }
        values.extend([(MAX_CONCURRENT_STREAMS, STREAMS), (INITIAL_WINDOW_SIZE, WINDOW)]);
        Frame::Settings { ack: false, values }.write(out);
        Frame::WindowUpdate { stream: 0, increment: WINDOW - FIRST_WINDOW }.write(out);
        Codec {
            role,
            encoder: Encoder::new(),
            decoder: Decoder::new(),
            streams: BTreeMap::new(),
            next: if role == Role::Client { 1 } else { 0 },
            window: i64::from(FIRST_WINDOW),
            first_window: i64::from(FIRST_WINDOW),
            peer_streams: STREAMS,
            taken: 0,
            begun: role == Role::Client,
            head: None,
            over: false,
        }
    }

    /// What `input` has, which is taken from it.
    pub fn receive(&mut self, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Vec<Event> {
        let mut events = vec![];
        if !self.begun {
            let common = input.len().min(PREFACE.len());
            if input[..common] != PREFACE[..common] {
                return self.fail(frame::PROTOCOL_ERROR, input, out);
            }
            if common < PREFACE.len() {
                return events;
            }
            input.drain(..common);
            self.begun = true;
        }
        while !self.over {
            let result = match frame::take(input) {
                Ok(None) => break,
                Ok(Some(frame)) => self.frame(frame, &mut events, out),
                Err(bad) => Err(bad),
            };
            if let Err(BadFrame(code)) = result {
                events.extend(self.fail(code, input, out));
            }
        }
        events
    }

    /// The peer breaks the rules: it is told, and that is all.
    fn fail(&mut self, code: u32, input: &mut Vec<u8>, out: &mut Vec<u8>) -> Vec<Event> {
        input.clear();
        self.over = true;
        let last = if self.role == Role::Server { self.next } else { 0 };
        Frame::GoAway { last, code }.write(out);
        vec![Event::Bad(400)]
    }

    fn frame(&mut self, frame: Frame, events: &mut Vec<Event>, out: &mut Vec<u8>) -> Result<(), BadFrame> {
        let continues = matches!(frame, Frame::Continuation { .. });
        if self.head.is_some() != continues {
            return Err(BadFrame(frame::PROTOCOL_ERROR));
        }
        match frame {
            Frame::Headers { stream, block, end, whole } => {
                self.head = Some((stream, block, end));
                self.head_part(whole, events, out)?;
            }
            Frame::Continuation { stream, block, whole } => {
                if let Some((of, all, _)) = self.head.as_mut() {
                    if *of != stream || all.len() + block.len() > MAX_HEAD {
                        return Err(BadFrame(frame::PROTOCOL_ERROR));
                    }
                    all.extend(block);
                }
                self.head_part(whole, events, out)?;
            }
            Frame::Data { stream, data, end } => self.data(stream, data, end, events, out)?,
            Frame::Reset { stream, code } => {
                if self.streams.remove(&stream).is_some() {
                    events.push(Event::Reset { stream, refused: code == frame::REFUSED_STREAM });
                }
            }
            Frame::Settings { ack: false, values } => {
                self.settings(&values)?;
                Frame::Settings { ack: true, values: vec![] }.write(out);
                self.flush(out);
            }
            Frame::Ping { ack: false, data } => Frame::Ping { ack: true, data }.write(out),
            Frame::GoAway { last, .. } => {
                // Streams behind the last were not worked on.
                let refused: Vec<u32> = self.streams.keys().copied().filter(|s| *s > last).collect();
                if self.role == Role::Client {
                    for stream in refused {
                        self.streams.remove(&stream);
                        events.push(Event::Reset { stream, refused: true });
                    }
                }
                events.push(Event::GoAway);
            }
            Frame::WindowUpdate { stream: 0, increment } => {
                self.window = grown(self.window, increment)?;
                self.flush(out);
            }
            Frame::WindowUpdate { stream, increment } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.window = grown(stream.window, increment)?;
                }
                self.flush(out);
            }
            Frame::Settings { ack: true, .. } | Frame::Ping { ack: true, .. } | Frame::Other => {}
        }
        Ok(())
    }

    fn settings(&mut self, values: &[(u16, u32)]) -> Result<(), BadFrame> {
        for (id, value) in values {
            match *id {
                HEADER_TABLE_SIZE => self.encoder.resize(*value as usize),
                MAX_CONCURRENT_STREAMS => self.peer_streams = *value,
                INITIAL_WINDOW_SIZE if *value > STREAMS => return Err(BadFrame(frame::FLOW_CONTROL_ERROR)),
                INITIAL_WINDOW_SIZE => {
                    let change = i64::from(*value) - self.first_window;
                    self.first_window = i64::from(*value);
                    self.streams.values_mut().for_each(|stream| stream.window += change);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A head has come, if this was its last part.
    fn head_part(&mut self, whole: bool, events: &mut Vec<Event>, out: &mut Vec<u8>) -> Result<(), BadFrame> {
        if !whole {
            return Ok(());
        }
        let Some((stream, block, end)) = self.head.take() else { return Ok(()) };
        // The table is the connection's, so every block is read.
        let fields = self.decoder.decode(&block).map_err(|_| BadFrame(frame::COMPRESSION_ERROR))?;
        let known = self.streams.get(&stream).map(|s| s.received);
        if self.role == Role::Server && known.is_none() {
            if stream.is_multiple_of(2) || stream <= self.next {
                return Err(BadFrame(frame::PROTOCOL_ERROR));
            }
            self.next = stream;
            if self.streams.len() >= MAX_OPEN {
                Frame::Reset { stream, code: frame::REFUSED_STREAM }.write(out);
                return Ok(());
            }
            self.streams.insert(stream, self.stream());
        } else if known != Some(false) {
            return Ok(());
        }
        let Some(state) = self.streams.get_mut(&stream) else { return Ok(()) };
        if state.headed {
            // Trailers, of which only the end is kept.
            if !end {
                return Err(BadFrame(frame::PROTOCOL_ERROR));
            }
            events.push(Event::Data { stream, data: vec![], end });
            self.ended(stream, false, end);
            return Ok(());
        }
        match head(self.role, fields) {
            // Informational: the response itself is to come.
            Some(Head::Response(Response { status: 100..200, .. })) => return Ok(()),
            Some(head) => {
                state.headed = true;
                events.push(Event::Head { stream, head, end });
            }
            None => {
                self.streams.remove(&stream);
                Frame::Reset { stream, code: frame::PROTOCOL_ERROR }.write(out);
                events.push(Event::Reset { stream, refused: false });
            }
        }
        self.ended(stream, false, end);
        Ok(())
    }

    fn data(
        &mut self,
        stream: u32,
        data: Vec<u8>,
        end: bool,
        events: &mut Vec<Event>,
        out: &mut Vec<u8>,
    ) -> Result<(), BadFrame> {
        let length = data.len() as u32;
        self.taken += length;
        if self.taken >= WINDOW / 2 {
            Frame::WindowUpdate { stream: 0, increment: std::mem::take(&mut self.taken) }.write(out);
        }
        let idle = if self.role == Role::Server { stream > self.next } else { stream >= self.next };
        let Some(state) = self.streams.get_mut(&stream).filter(|s| !s.received) else {
            // It was given up a moment ago, or never was.
            return if idle { Err(BadFrame(frame::PROTOCOL_ERROR)) } else { Ok(()) };
        };
        state.taken += length;
        if state.taken >= WINDOW / 2 && !end {
            Frame::WindowUpdate { stream, increment: std::mem::take(&mut state.taken) }.write(out);
        }
        if end || !data.is_empty() {
            events.push(Event::Data { stream, data, end });
        }
        self.ended(stream, false, end);
        Ok(())
    }

    fn stream(&self) -> Stream {
        let window = self.first_window;
        Stream { window, taken: 0, waits: vec![], ends: false, headed: false, sent: false, received: false }
    }

    /// One of a stream's messages has ended, perhaps; it is gone when both have.
    fn ended(&mut self, stream: u32, ours: bool, end: bool) {
        let Some(state) = self.streams.get_mut(&stream) else { return };
        if ours {
            state.sent |= end;
        } else {
            state.received |= end;
        }
        if state.sent && state.received {
            self.streams.remove(&stream);
        }
    }

    /// The stream of the next request (of a client).
    pub fn open(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        self.streams.insert(stream, self.stream());
        stream
    }

    /// Another stream finds room beside so many.
    pub fn has_room(&self, streams: usize) -> bool {
        !self.over && self.next < STREAMS && streams < self.peer_streams as usize
    }

    /// Writes a head; `end` if nothing follows.
    pub fn send_head(&mut self, stream: u32, head: &Head, end: bool, out: &mut Vec<u8>) {
        if !self.streams.contains_key(&stream) {
            return;
        }
        let block = self.encoder.encode(&pseudo(head));
        let mut parts = block.chunks(MAX_FRAME);
        let first = parts.next().unwrap_or_default().to_vec();
        Frame::Headers { stream, block: first, end, whole: block.len() <= MAX_FRAME }.write(out);
        let count = parts.len();
        for (n, part) in parts.enumerate() {
            Frame::Continuation { stream, block: part.to_vec(), whole: n + 1 == count }.write(out);
        }
        let informational = matches!(head, Head::Response(Response { status: 100..200, .. }));
        self.finish(stream, end && !informational, out);
    }

    /// Writes some of a body, or its end.
    pub fn send_data(&mut self, stream: u32, data: &[u8], end: bool, out: &mut Vec<u8>) {
        if let Some(state) = self.streams.get_mut(&stream).filter(|s| !s.sent) {
            state.waits.extend_from_slice(data);
            state.ends |= end;
            self.flush(out);
        }
    }

    /// Our message has ended. A server that has answered wants no more of the request.
    fn finish(&mut self, stream: u32, end: bool, out: &mut Vec<u8>) {
        self.ended(stream, true, end);
        if end && self.role == Role::Server && self.streams.remove(&stream).is_some() {
            Frame::Reset { stream, code: 0 }.write(out);
        }
    }

    /// Sends what waits, as far as the windows allow.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let waiting: Vec<u32> =
            self.streams.iter().filter(|(_, s)| !s.waits.is_empty() || s.ends).map(|(id, _)| *id).collect();
        for id in waiting {
            while let Some(stream) = self.streams.get_mut(&id).filter(|s| !s.waits.is_empty() || s.ends) {
                let room = usize::try_from(self.window.min(stream.window)).unwrap_or(0).min(MAX_FRAME);
                if room == 0 && !stream.waits.is_empty() {
                    break;
                }
                let data: Vec<u8> = stream.waits.drain(..room.min(stream.waits.len())).collect();
                let end = stream.ends && stream.waits.is_empty();
                stream.ends &= !end;
                stream.window -= data.len() as i64;
                self.window -= data.len() as i64;
                Frame::Data { stream: id, data, end }.write(out);
                self.finish(id, end, out);
            }
        }
    }

    /// Gives a stream up.
    pub fn reset(&mut self, stream: u32, out: &mut Vec<u8>) {
        if self.streams.remove(&stream).is_some() {
            Frame::Reset { stream, code: frame::CANCEL }.write(out);
        }
    }

    /// How much waits for a window.
    pub fn waiting(&self) -> usize {
        self.streams.values().map(|s| s.waits.len()).sum()
    }
}

/// A window that has grown; it has 31 bits (section 6.9.1).
fn grown(window: i64, increment: u32) -> Result<i64, BadFrame> {
    let window = window + i64::from(increment);
    if window > i64::from(STREAMS) { Err(BadFrame(frame::FLOW_CONTROL_ERROR)) } else { Ok(window) }
}

/// The head with its first line as fields, in the order that Envoy's map has them.
fn pseudo(head: &Head) -> Fields {
    let (mut all, fields) = match head {
        Head::Request(r) => {
            let first =
                [(":authority", &r.authority), (":path", &r.path), (":method", &r.method), (":scheme", &r.scheme)];
            (first.map(|(n, v)| (n.to_owned(), v.clone().into_bytes())).to_vec(), &r.fields)
        }
        Head::Response(r) => (vec![(":status".to_owned(), r.status.to_string().into_bytes())], &r.fields),
    };
    all.extend(fields.0.iter().filter(|(n, _)| !HOP_BY_HOP.contains(&n.as_str())).cloned());
    Fields(all)
}

/// The head that fields make; none if they make none.
fn head(role: Role, mut fields: Fields) -> Option<Head> {
    let mut take = |name: &str| {
        let value = fields.get(name).map(str::to_owned);
        fields.remove(&[name]);
        value
    };
    let head = match role {
        Role::Server => {
            let (method, path, scheme) = (take(":method")?, take(":path")?, take(":scheme")?);
            let authority = take(":authority").or_else(|| take("host"))?;
            Head::Request(Request { method, path, authority, scheme, fields })
        }
        Role::Client => {
            let status = take(":status")?.parse().ok()?;
            Head::Response(Response { status, fields })
        }
    };
    let (Head::Request(Request { fields, .. }) | Head::Response(Response { fields, .. })) = &head;
    let bad = |name: &str| name.starts_with(':') || name.is_empty() || name.bytes().any(|b| b.is_ascii_uppercase());
    let hop = |name: &str| HOP_BY_HOP.contains(&name);
    (!fields.0.iter().any(|(name, _)| bad(name) || hop(name))).then_some(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Two ends, and what each has to say.
    struct Talk {
        ends: [Codec; 2],
        out: [Vec<u8>; 2],
    }

    impl Talk {
        fn new() -> Self {
            let mut out = [vec![], vec![]];
            let client = Codec::new(Role::Client, &mut out[0]);
            let server = Codec::new(Role::Server, &mut out[1]);
            Talk { ends: [client, server], out }
        }

        /// Carries what they say, in pieces, until nobody has anything: what each end finds.
        fn settle(&mut self) -> [Vec<Event>; 2] {
            let mut events = [vec![], vec![]];
            while self.out.iter().any(|o| !o.is_empty()) {
                for from in [0, 1] {
                    let said = std::mem::take(&mut self.out[from]);
                    let (mut input, to) = (vec![], 1 - from);
                    for piece in said.chunks(1000) {
                        input.extend_from_slice(piece);
                        events[to].extend(self.ends[to].receive(&mut input, &mut self.out[to]));
                    }
                }
            }
            events
        }

        fn request(&mut self, path: &str, end: bool) -> u32 {
            let stream = self.ends[0].open();
            let head = Request {
                method: "GET".into(),
                path: path.into(),
                authority: "web".into(),
                scheme: "http".into(),
                fields: Fields::default(),
            };
            self.ends[0].send_head(stream, &Head::Request(head), end, &mut self.out[0]);
            stream
        }

        fn answer(&mut self, stream: u32, end: bool) {
            let head = Head::Response(Response { status: 200, ..Response::default() });
            self.ends[1].send_head(stream, &head, end, &mut self.out[1]);
        }
    }

    fn body(events: &[Event], of: u32) -> (Vec<u8>, bool) {
        let mut whole = (vec![], false);
        for event in events {
            if let Event::Data { stream, data, end } = event
                && *stream == of
            {
                whole.0.extend(data);
                whole.1 |= end;
            }
        }
        whole
    }

    #[test]
    fn requests_side_by_side() {
        let mut talk = Talk::new();
        // Streams 1 and 3; the second has a body.
        assert_eq!([talk.request("/1", true), talk.request("/2", false)], [1, 3]);
        talk.ends[0].send_data(3, &[7; 40_000], true, &mut talk.out[0]);
        let [_, server] = talk.settle();
        let paths: Vec<&str> = server
            .iter()
            .filter_map(
                |e| if let Event::Head { head: Head::Request(r), .. } = e { Some(r.path.as_str()) } else { None },
            )
            .collect();
        assert_eq!((paths, body(&server, 3)), (vec!["/1", "/2"], (vec![7; 40_000], true)));
        // More than the first window of 65535 bytes, which the peer's SETTINGS have made larger.
        talk.answer(3, true);
        talk.answer(1, false);
        talk.ends[1].send_data(1, &vec![8; 300_000], true, &mut talk.out[1]);
        let [client, _] = talk.settle();
        assert_eq!(body(&client, 1), (vec![8; 300_000], true));
        assert!(talk.ends.iter().all(|end| end.streams.is_empty()), "{talk:?}", talk = talk.ends);
    }

    #[test]
    fn windows() {
        let (mut out, mut heard) = (vec![], vec![]);
        let mut client = Codec::new(Role::Client, &mut out);
        let stream = client.open();
        client.send_data(stream, &vec![1; 100_000], true, &mut heard);
        assert_eq!(client.waiting(), 100_000 - 65_535);
        let mut input = vec![];
        Frame::WindowUpdate { stream: 0, increment: 100_000 }.write(&mut input);
        Frame::WindowUpdate { stream, increment: 10 }.write(&mut input);
        assert_eq!(client.receive(&mut input, &mut heard), []);
        assert_eq!(client.waiting(), 100_000 - 65_545);
        Frame::Settings { ack: false, values: vec![(INITIAL_WINDOW_SIZE, 200_000)] }.write(&mut input);
        client.receive(&mut input, &mut heard);
        assert_eq!(client.waiting(), 0);
        // A window of more than 31 bits.
        Frame::WindowUpdate { stream: 0, increment: 0x7fff_ffff }.write(&mut input);
        assert_eq!(client.receive(&mut input, &mut heard), [Event::Bad(400)]);
    }

    #[test]
    fn ends_of_streams_and_connections() {
        let mut talk = Talk::new();
        let [first, second] = [talk.request("/1", true), talk.request("/2", true)];
        talk.settle();
        talk.ends[0].reset(first, &mut talk.out[0]);
        Frame::GoAway { last: 1, code: 0 }.write(&mut talk.out[1]);
        let [client, server] = talk.settle();
        assert_eq!(server, [Event::Reset { stream: first, refused: false }]);
        assert_eq!(client, [Event::Reset { stream: second, refused: true }, Event::GoAway]);
        // An answer before the request has ended.
        let mut talk = Talk::new();
        let stream = talk.request("/", false);
        talk.settle();
        talk.answer(stream, true);
        let [client, _] = talk.settle();
        assert_eq!(client[1..], [Event::Reset { stream, refused: false }]);
        assert!(matches!(client[0], Event::Head { end: true, .. }));
    }

    #[test]
    fn what_breaks_the_rules() {
        let mut preface = PREFACE.to_vec();
        Frame::Settings { ack: false, values: vec![] }.write(&mut preface);
        let after = |frames: &[Frame]| {
            let mut bytes = preface.clone();
            frames.iter().for_each(|f| f.write(&mut bytes));
            bytes
        };
        let headers = |stream, whole| Frame::Headers { stream, block: vec![0x82], end: true, whole };
        for mut bytes in [
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            after(&[headers(2, true)]),
            after(&[headers(1, false), Frame::Ping { ack: false, data: [0; 8] }]),
            after(&[Frame::Data { stream: 5, data: vec![], end: true }]),
            after(&[Frame::Continuation { stream: 1, block: vec![], whole: true }]),
            after(&[Frame::Headers { stream: 1, block: vec![0xff], end: true, whole: true }]),
        ] {
            let mut out = vec![];
            let mut server = Codec::new(Role::Server, &mut vec![]);
            assert_eq!(server.receive(&mut bytes, &mut out), [Event::Bad(400)]);
            assert!(server.over && out[out.len() - 17 + 3] == 7, "GOAWAY");
        }
        // A request without a path is only reset.
        let mut out = vec![];
        let events = Codec::new(Role::Server, &mut vec![]).receive(&mut after(&[headers(1, true)]), &mut out);
        assert_eq!(events, [Event::Reset { stream: 1, refused: false }]);
    }

    fn some_frame() -> impl Strategy<Value = (u8, u8, u8, Vec<u8>)> {
        (0..10_u8, any::<u8>(), 0..4_u8, prop::collection::vec(any::<u8>(), 0..20))
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, frames in prop::collection::vec(some_frame(), 0..8)) {
            let mut input = PREFACE.to_vec();
            for (kind, flags, stream, payload) in frames {
                input.extend([0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream]);
                input.extend(payload);
            }
            input.extend(bytes);
            Codec::new(Role::Server, &mut vec![]).receive(&mut input.clone(), &mut vec![]);
            let mut client = Codec::new(Role::Client, &mut vec![]);
            client.open();
            client.receive(&mut input.split_off(PREFACE.len()), &mut vec![]);
        }
    }
}
