//! HPACK (RFC 7541), as nghttp2 compresses (lib/nghttp2_hd.c), whose deflater Envoy uses: what is in a table is one
//! number, strings are in Huffman's code where that is shorter, and some fields are kept out of the dynamic table. The
//! code itself is httlib-huffman's.

use super::head::Fields;
use httlib_huffman::DecoderSpeed;
use std::collections::VecDeque;

/// SETTINGS_HEADER_TABLE_SIZE's default: of both tables.
const TABLE_SIZE: usize = 4096;
/// What an entry takes besides its name and value (section 4.1).
const OVERHEAD: usize = 32;
/// A block with more fields is none.
const MAX_FIELDS: usize = 200;
/// A block that grows to more bytes is none.
const MAX_BLOCK: usize = 256 * 1024;
/// Fields that are seldom the same twice (hd_deflate_decide_indexing).
const NOT_INDEXED: [&str; 8] =
    [":path", "age", "content-length", "etag", "if-modified-since", "if-none-match", "location", "set-cookie"];

/// The static table (appendix A).
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// What has come is no block of fields. The connection is of no use any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct BadBlock;

/// The fields that both ends remember, the newest first.
#[derive(Clone, Debug)]
struct Table {
    entries: VecDeque<(String, Vec<u8>)>,
    size: usize,
    max: usize,
}

impl Table {
    fn new() -> Self {
        Table { entries: VecDeque::new(), size: 0, max: TABLE_SIZE }
    }

    fn get(&self, index: usize) -> Option<(&str, &[u8])> {
        match index.checked_sub(1)? {
            n if n < STATIC.len() => Some((STATIC[n].0, STATIC[n].1.as_bytes())),
            n => self.entries.get(n - STATIC.len()).map(|(name, value)| (name.as_str(), value.as_slice())),
        }
    }

    /// Where a field is, and whether with its value.
    fn find(&self, name: &str, value: &[u8]) -> Option<(usize, bool)> {
        let all = || (1..=STATIC.len() + self.entries.len()).filter_map(|n| Some((n, self.get(n)?)));
        let whole = all().find(|(_, entry)| *entry == (name, value)).map(|(n, _)| (n, true));
        whole.or_else(|| all().find(|(_, (n, _))| *n == name).map(|(n, _)| (n, false)))
    }

    fn insert(&mut self, name: &str, value: &[u8]) {
        self.size += name.len() + value.len() + OVERHEAD;
        self.entries.push_front((name.to_owned(), value.to_vec()));
        self.shrink();
    }

    fn resize(&mut self, max: usize) {
        self.max = max;
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.max {
            let Some((name, value)) = self.entries.pop_back() else { return };
            self.size -= name.len() + value.len() + OVERHEAD;
        }
    }
}

/// Makes blocks.
#[derive(Clone, Debug)]
pub(super) struct Encoder {
    table: Table,
    /// The next block says how large the table is.
    resized: bool,
}

impl Encoder {
    pub fn new() -> Self {
        Encoder { table: Table::new(), resized: false }
    }

    /// The peer has said how large the table may be.
    pub fn resize(&mut self, max: usize) {
        self.table.resize(max.min(TABLE_SIZE));
        self.resized = true;
    }

    pub fn encode(&mut self, fields: &Fields) -> Vec<u8> {
        let mut out = vec![];
        if std::mem::take(&mut self.resized) {
            integer(&mut out, 0x20, 5, self.table.max);
        }
        for (name, value) in &fields.0 {
            let found = self.table.find(name, value);
            if let Some((index, true)) = found {
                integer(&mut out, 0x80, 7, index);
                continue;
            }
            let never = name == "authorization" || name == "cookie" && value.len() < 20;
            let size = name.len() + value.len() + OVERHEAD;
            let kept = !never && !NOT_INDEXED.contains(&name.as_str()) && size <= self.table.max * 3 / 4;
            let (first, bits) = match (kept, never) {
                (true, _) => (0x40, 6),
                (false, true) => (0x10, 4),
                (false, false) => (0, 4),
            };
            integer(&mut out, first, bits, found.map_or(0, |(index, _)| index));
            if found.is_none() {
                string(&mut out, name.as_bytes());
            }
            string(&mut out, value);
            if kept {
                self.table.insert(name, value);
            }
        }
        out
    }
}

/// Reads blocks.
#[derive(Clone, Debug)]
pub(super) struct Decoder {
    table: Table,
}

impl Decoder {
    pub fn new() -> Self {
        Decoder { table: Table::new() }
    }

    pub fn decode(&mut self, mut block: &[u8]) -> Result<Fields, BadBlock> {
        let (mut fields, mut bytes) = (Fields::default(), 0);
        while let Some(first) = block.first() {
            let field = match first {
                0x80.. => {
                    let index = take_integer(&mut block, 7)?;
                    let (name, value) = self.table.get(index).ok_or(BadBlock)?;
                    (name.to_owned(), value.to_vec())
                }
                0x40.. => {
                    let (name, value) = self.literal(&mut block, 6)?;
                    self.table.insert(&name, &value);
                    (name, value)
                }
                0x20.. => {
                    let max = take_integer(&mut block, 5)?;
                    if max > TABLE_SIZE {
                        return Err(BadBlock);
                    }
                    self.table.resize(max);
                    continue;
                }
                _ => self.literal(&mut block, 4)?,
            };
            bytes += field.0.len() + field.1.len();
            fields.0.push(field);
            if fields.0.len() > MAX_FIELDS || bytes > MAX_BLOCK {
                return Err(BadBlock);
            }
        }
        Ok(fields)
    }

    fn literal(&self, block: &mut &[u8], bits: u8) -> Result<(String, Vec<u8>), BadBlock> {
        let name = match take_integer(block, bits)? {
            0 => String::from_utf8(take_string(block)?).map_err(|_| BadBlock)?,
            index => self.table.get(index).ok_or(BadBlock)?.0.to_owned(),
        };
        Ok((name, take_string(block)?))
    }
}

/// An integer behind the first bits of a byte (section 5.1).
fn integer(out: &mut Vec<u8>, first: u8, bits: u8, mut value: usize) {
    let most = (1 << bits) - 1;
    if value < most {
        return out.push(first | value as u8);
    }
    out.push(first | most as u8);
    value -= most;
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn take_integer(block: &mut &[u8], bits: u8) -> Result<usize, BadBlock> {
    let most = (1 << bits) - 1;
    let mut take = || {
        let (first, rest) = block.split_first().ok_or(BadBlock)?;
        *block = rest;
        Ok(usize::from(*first))
    };
    let mut value = take()? & most;
    if value < most {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let byte = take()?;
        value += (byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(BadBlock)
}

/// A string, in Huffman's code if that is shorter (section 5.2).
fn string(out: &mut Vec<u8>, text: &[u8]) {
    let mut coded = vec![];
    let shorter = httlib_huffman::encode(text, &mut coded).is_ok() && coded.len() < text.len();
    let (first, bytes) = if shorter { (0x80, coded.as_slice()) } else { (0, text) };
    integer(out, first, 7, bytes.len());
    out.extend_from_slice(bytes);
}

fn take_string(block: &mut &[u8]) -> Result<Vec<u8>, BadBlock> {
    let coded = block.first().is_some_and(|first| first & 0x80 != 0);
    let length = take_integer(block, 7)?;
    let (bytes, rest) = block.split_at_checked(length).ok_or(BadBlock)?;
    *block = rest;
    if !coded {
        return Ok(bytes.to_vec());
    }
    let mut text = vec![];
    httlib_huffman::decode(bytes, &mut text, DecoderSpeed::FourBits).map_err(|_| BadBlock)?;
    // The padding is all ones and less than a byte, or it is an error: there is one code for a text.
    let mut again = vec![];
    let same = httlib_huffman::encode(&text, &mut again).is_ok() && again == bytes;
    if same { Ok(text) } else { Err(BadBlock) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(list: &[(&str, &str)]) -> Fields {
        Fields(list.iter().map(|(n, v)| ((*n).to_owned(), v.as_bytes().to_vec())).collect())
    }

    /// RFC 7541 appendix C.4: three requests, in Huffman's code.
    #[test]
    fn the_examples_of_the_rfc() {
        let mut decoder = Decoder::new();
        let common = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
        for (block, more) in [
            ("828684418cf1e3c2e5f23a6ba0ab90f4ff", vec![]),
            ("828684be5886a8eb10649cbf", vec![("cache-control", "no-cache")]),
        ] {
            let bytes: Vec<u8> =
                (0..block.len()).step_by(2).map(|n| u8::from_str_radix(&block[n..n + 2], 16).unwrap()).collect();
            let want = fields(&[&common[..], &more].concat());
            assert_eq!(decoder.decode(&bytes), Ok(want));
        }
        let mut encoder = Encoder::new();
        let first = encoder.encode(&fields(&common));
        assert_eq!(first, [&[0x82, 0x86, 0x84, 0x41, 0x8c][..], &first[5..]].concat());
        assert_eq!(first.len(), 17);
        let mut second = common.to_vec();
        second.push(("cache-control", "no-cache"));
        assert_eq!(encoder.encode(&fields(&second))[..5], [0x82, 0x86, 0x84, 0xbe, 0x58]);
    }

    #[test]
    fn what_is_no_block() {
        // A number without its end, an index that nobody has, a table too large, a string too long, a bad code.
        for block in [&b"\x3f"[..], b"\xff", b"\x80", b"\xbe", b"\x3f\xe2\x1f", b"\x00\x05ab", b"\x00\x01a\x81\x00"] {
            assert_eq!(Decoder::new().decode(block), Err(BadBlock), "{block:?}");
        }
    }

    proptest! {
        #[test]
        fn there_and_back(
            blocks in prop::collection::vec(
                prop::collection::vec(("[a-z:-]{1,12}", prop::collection::vec(any::<u8>(), 0..40)), 0..12), 1..8),
        ) {
            let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
            for (n, block) in blocks.into_iter().enumerate() {
                if n == 2 {
                    encoder.resize(100);
                }
                let fields = Fields(block);
                prop_assert_eq!(decoder.decode(&encoder.encode(&fields)), Ok(fields));
            }
        }

        #[test]
        fn anything(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::new();
            for block in blocks {
                let _ = decoder.decode(&block);
            }
        }
    }
}
