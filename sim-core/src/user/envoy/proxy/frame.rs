//! Frames of HTTP/2 (RFC 9113 section 4 and 6), as bytes and back.

/// SETTINGS_MAX_FRAME_SIZE: its default, which nobody here changes.
pub(super) const MAX_FRAME: usize = 16_384;
const HEADER: usize = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 0x20;

/// A frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Frame {
    Data {
        stream: u32,
        data: Vec<u8>,
        end: bool,
    },
    Headers {
        stream: u32,
        block: Vec<u8>,
        end: bool,
        whole: bool,
    },
    Continuation {
        stream: u32,
        block: Vec<u8>,
        whole: bool,
    },
    Reset {
        stream: u32,
        code: u32,
    },
    Settings {
        ack: bool,
        values: Vec<(u16, u32)>,
    },
    Ping {
        ack: bool,
        data: [u8; 8],
    },
    GoAway {
        last: u32,
        code: u32,
    },
    WindowUpdate {
        stream: u32,
        increment: u32,
    },
    /// PRIORITY, PUSH_PROMISE and what nobody knows.
    Other,
}

/// What has come is no frame: the error code (section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadFrame(pub u32);

pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const FLOW_CONTROL_ERROR: u32 = 3;
pub(super) const FRAME_SIZE_ERROR: u32 = 6;
pub(super) const REFUSED_STREAM: u32 = 7;
pub(super) const CANCEL: u32 = 8;
pub(super) const COMPRESSION_ERROR: u32 = 9;

/// Takes a frame from the front of `input`; none if it has not come whole.
pub(super) fn take(input: &mut Vec<u8>) -> Result<Option<Frame>, BadFrame> {
    let Some((header, rest)) = input.split_first_chunk::<HEADER>() else { return Ok(None) };
    let [a, b, c, kind, flags, s @ ..] = *header;
    let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
    if length > MAX_FRAME {
        return Err(BadFrame(FRAME_SIZE_ERROR));
    }
    let Some(payload) = rest.get(..length) else { return Ok(None) };
    let frame = read(kind, flags, u32::from_be_bytes(s) & 0x7fff_ffff, payload)?;
    input.drain(..HEADER + length);
    Ok(Some(frame))
}

fn read(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Result<Frame, BadFrame> {
    let size = BadFrame(FRAME_SIZE_ERROR);
    let needs_stream = matches!(kind, 0 | 1 | 3 | 9);
    if needs_stream && stream == 0 || matches!(kind, 4 | 6 | 7) && stream != 0 {
        return Err(BadFrame(PROTOCOL_ERROR));
    }
    Ok(match kind {
        0 => Frame::Data { stream, data: unpadded(flags, payload)?.to_vec(), end: flags & END_STREAM != 0 },
        1 => {
            let block = unpadded(flags, payload)?;
            let block = if flags & PRIORITY != 0 { block.get(5..).ok_or(size)? } else { block };
            let (end, whole) = (flags & END_STREAM != 0, flags & END_HEADERS != 0);
            Frame::Headers { stream, block: block.to_vec(), end, whole }
        }
        3 => Frame::Reset { stream, code: word(payload).filter(|_| payload.len() == 4).ok_or(size)? },
        4 => {
            let ack = flags & ACK != 0;
            if !payload.len().is_multiple_of(6) || ack && !payload.is_empty() {
                return Err(size);
            }
            let value = |v: &[u8]| Some((u16::from_be_bytes([v[0], v[1]]), word(&v[2..])?));
            Frame::Settings { ack, values: payload.chunks(6).filter_map(value).collect() }
        }
        6 => Frame::Ping { ack: flags & ACK != 0, data: payload.try_into().map_err(|_| size)? },
        7 => {
            let last = word(payload).ok_or(size)? & 0x7fff_ffff;
            Frame::GoAway { last, code: payload.get(4..).and_then(word).ok_or(size)? }
        }
        8 => {
            let increment = word(payload).filter(|_| payload.len() == 4).ok_or(size)? & 0x7fff_ffff;
            if increment == 0 {
                return Err(BadFrame(PROTOCOL_ERROR));
            }
            Frame::WindowUpdate { stream, increment }
        }
        9 => Frame::Continuation { stream, block: payload.to_vec(), whole: flags & END_HEADERS != 0 },
        _ => Frame::Other,
    })
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk::<4>().map(|w| u32::from_be_bytes(*w))
}

/// What stands between the padding.
fn unpadded(flags: u8, payload: &[u8]) -> Result<&[u8], BadFrame> {
    if flags & PADDED == 0 {
        return Ok(payload);
    }
    let padded = payload.split_first().and_then(|(pad, rest)| rest.get(..rest.len().checked_sub(usize::from(*pad))?));
    padded.ok_or(BadFrame(PROTOCOL_ERROR))
}

impl Frame {
    /// Puts it behind `out`. Nothing for [`Frame::Other`].
    pub fn write(&self, out: &mut Vec<u8>) {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let (kind, flags, stream, payload) = match self {
            Frame::Data { stream, data, end } => (0, flag(*end, END_STREAM), *stream, data.clone()),
            Frame::Headers { stream, block, end, whole } => {
                (1, flag(*end, END_STREAM) | flag(*whole, END_HEADERS), *stream, block.clone())
            }
            Frame::Reset { stream, code } => (3, 0, *stream, code.to_be_bytes().to_vec()),
            Frame::Settings { ack, values } => {
                let value = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
                (4, flag(*ack, ACK), 0, values.iter().flat_map(value).collect())
            }
            Frame::Ping { ack, data } => (6, flag(*ack, ACK), 0, data.to_vec()),
            Frame::GoAway { last, code } => (7, 0, 0, [last.to_be_bytes(), code.to_be_bytes()].concat()),
            Frame::WindowUpdate { stream, increment } => (8, 0, *stream, increment.to_be_bytes().to_vec()),
            Frame::Continuation { stream, block, whole } => (9, flag(*whole, END_HEADERS), *stream, block.clone()),
            Frame::Other => return,
        };
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_frame() -> impl Strategy<Value = Frame> {
        let stream = 1..0x8000_0000_u32;
        let bytes = || prop::collection::vec(any::<u8>(), 0..60);
        prop_oneof![
            (stream.clone(), bytes(), any::<bool>()).prop_map(|(stream, data, end)| Frame::Data { stream, data, end }),
            (stream.clone(), bytes(), any::<bool>(), any::<bool>())
                .prop_map(|(stream, block, end, whole)| Frame::Headers { stream, block, end, whole }),
            (stream.clone(), bytes(), any::<bool>()).prop_map(|(stream, block, whole)| Frame::Continuation {
                stream,
                block,
                whole
            }),
            (stream.clone(), any::<u32>()).prop_map(|(stream, code)| Frame::Reset { stream, code }),
            prop::collection::vec(any::<(u16, u32)>(), 0..5)
                .prop_map(|values| Frame::Settings { ack: values.is_empty(), values }),
            any::<(bool, [u8; 8])>().prop_map(|(ack, data)| Frame::Ping { ack, data }),
            (0..0x8000_0000_u32, any::<u32>()).prop_map(|(last, code)| Frame::GoAway { last, code }),
            (0..0x8000_0000_u32, stream).prop_map(|(stream, increment)| Frame::WindowUpdate { stream, increment }),
        ]
    }

    proptest! {
        #[test]
        fn there_and_back(frames in prop::collection::vec(any_frame(), 1..6), step in 1..40_usize) {
            let mut stream = vec![];
            frames.iter().for_each(|frame| frame.write(&mut stream));
            let (mut input, mut got) = (vec![], vec![]);
            for piece in stream.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(frame) = take(&mut input).unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn anything(kind in 0..10_u8, flags: u8, stream: u32, payload in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = read(kind, flags, stream, &payload);
        }
    }

    #[test]
    fn bad_frames() {
        for (bytes, code) in [
            (&b"\x00\x40\x01\x00\x00\x00\x00\x00\x01"[..], FRAME_SIZE_ERROR),
            (b"\x00\x00\x00\x00\x00\x00\x00\x00\x00", PROTOCOL_ERROR),
            (b"\x00\x00\x01\x00\x08\x00\x00\x00\x01\x05", PROTOCOL_ERROR),
            (b"\x00\x00\x01\x06\x00\x00\x00\x00\x00\x05", FRAME_SIZE_ERROR),
            (b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x00\x00\x00\x00", PROTOCOL_ERROR),
        ] {
            assert_eq!(take(&mut bytes.to_vec()), Err(BadFrame(code)), "{bytes:?}");
        }
        // Data with two bytes of padding.
        let padded = b"\x00\x00\x04\x00\x09\x00\x00\x00\x03\x02a\x00\x00";
        let want = Frame::Data { stream: 3, data: b"a".to_vec(), end: true };
        assert_eq!(take(&mut padded.to_vec()), Ok(Some(want)));
    }
}
