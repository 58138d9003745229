//! TLS 1.3 records when the handshake is over (RFC 8446 section 5): two keys, two counters. It is what a checkpoint
//! keeps of a connection, and writes the bytes that rustls would write.

use super::MAX_PLAIN;
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

/// Bytes of a record's header.
pub(super) const HEADER: usize = 5;
/// The most that a record may hold: the inner type, padding and the tag are in it.
const MAX_SEALED: usize = MAX_PLAIN + 256;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// The version that stands in all records.
const LEGACY_VERSION: [u8; 2] = [3, 3];
/// AlertLevel and AlertDescription of the alert that ends a stream.
const WARNING: u8 = 1;
const CLOSE_NOTIFY: u8 = 0;
/// A handshake message: new_session_ticket.
const NEW_SESSION_TICKET: u8 = 4;

/// A record that says nothing, for the sake of those who watch (RFC 8446 appendix D.4).
pub(super) const CHANGE_CIPHER_SPEC_RECORD: [u8; 6] =
    [CHANGE_CIPHER_SPEC, LEGACY_VERSION[0], LEGACY_VERSION[1], 0, 1, 1];

/// AES-GCM in TLS 1.3.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Suite {
    Aes128,
    Aes256,
}

impl Suite {
    /// Bytes of a tag.
    pub const TAG: usize = 16;
    /// What a record is longer than what it holds: the inner type and the tag.
    pub const OVERHEAD: usize = 1 + Suite::TAG;
}

/// One direction.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Half {
    suite: Suite,
    key: Vec<u8>,
    iv: [u8; 12],
    seq: u64,
}

/// What a record held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    Data(Vec<u8>),
    /// So many session tickets.
    Tickets(usize),
    CloseNotify,
    /// Another alert: its description.
    Alert(u8),
}

/// An established connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Records {
    tx: Half,
    rx: Half,
}

/// The length of the record that `bytes` begin with, header and all, if its header is there; or none for no TLS.
pub(super) fn length(bytes: &[u8]) -> Option<Option<usize>> {
    let known = |kind: u8| (CHANGE_CIPHER_SPEC..=APPLICATION_DATA).contains(&kind);
    match bytes {
        [kind, major, _, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            (known(*kind) && *major == LEGACY_VERSION[0] && length <= MAX_SEALED).then_some(Some(HEADER + length))
        }
        [kind, ..] => known(*kind).then_some(None),
        [] => Some(None),
    }
}

/// How many session tickets these handshake messages are; none if there is another among them.
fn tickets(mut messages: &[u8]) -> Option<usize> {
    let mut count = 0;
    while let [NEW_SESSION_TICKET, high, middle, low, rest @ ..] = messages {
        let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
        messages = rest.get(length..)?;
        count += 1;
    }
    messages.is_empty().then_some(count)
}

impl Records {
    /// Goes on with the keys of a connection; none for a cipher that is not AES-GCM.
    pub fn new(secrets: ExtractedSecrets) -> Option<Self> {
        Some(Records { tx: Half::new(secrets.tx)?, rx: Half::new(secrets.rx)? })
    }

    /// Records that hold `data`.
    pub fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        data.chunks(MAX_PLAIN).flat_map(|chunk| self.tx.seal(APPLICATION_DATA, chunk)).collect()
    }

    /// The alert that ends a stream.
    pub fn close_notify(&mut self) -> Vec<u8> {
        self.tx.seal(ALERT, &[WARNING, CLOSE_NOTIFY])
    }

    /// Opens a whole record; none for one that nobody with the key has made, or that has no place here.
    pub fn open(&mut self, record: &[u8]) -> Option<Record> {
        let mut body = self.rx.open(record)?;
        // Padding stands behind the type.
        let end = body.iter().rposition(|b| *b != 0)?;
        let kind = body[end];
        body.truncate(end);
        match (kind, body.as_slice()) {
            (APPLICATION_DATA, _) => Some(Record::Data(body)),
            (ALERT, [_, CLOSE_NOTIFY]) => Some(Record::CloseNotify),
            (ALERT, [_, description]) => Some(Record::Alert(*description)),
            (HANDSHAKE, messages) => tickets(messages).map(Record::Tickets),
            _ => None,
        }
    }
}

impl Half {
    fn new((seq, secrets): (u64, ConnectionTrafficSecrets)) -> Option<Self> {
        let (suite, key, iv) = match secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (Suite::Aes128, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (Suite::Aes256, key, iv),
            _ => return None,
        };
        Some(Half { suite, key: key.as_ref().to_vec(), iv: iv.as_ref().try_into().ok()?, seq })
    }

    fn seal(&mut self, kind: u8, data: &[u8]) -> Vec<u8> {
        let length = (data.len() + Suite::OVERHEAD) as u16;
        let [major, minor] = LEGACY_VERSION;
        let [high, low] = length.to_be_bytes();
        let head = [APPLICATION_DATA, major, minor, high, low];
        let mut body = [data, &[kind]].concat();
        let tag = match self.suite {
            Suite::Aes128 => self.tag::<Aes128Gcm>(&head, &mut body),
            Suite::Aes256 => self.tag::<Aes256Gcm>(&head, &mut body),
        };
        self.seq += 1;
        [&head[..], &body, &tag.unwrap_or_default()].concat()
    }

    fn open(&mut self, record: &[u8]) -> Option<Vec<u8>> {
        let (head, rest) = record.split_at_checked(HEADER)?;
        let (body, tag) = rest.split_at_checked(rest.len().checked_sub(Suite::TAG)?)?;
        let (mut body, tag) = (body.to_vec(), tag.try_into().ok()?);
        match self.suite {
            Suite::Aes128 => self.check::<Aes128Gcm>(head, &mut body, tag),
            Suite::Aes256 => self.check::<Aes256Gcm>(head, &mut body, tag),
        }?;
        self.seq += 1;
        Some(body)
    }

    /// Encrypts in place; the tag. None if the key has not the cipher's length, which it always has.
    fn tag<C: super::aead::Gcm>(&self, head: &[u8], body: &mut [u8]) -> Option<[u8; Suite::TAG]> {
        let cipher = C::new_from_slice(&self.key).ok()?;
        let tag = cipher.encrypt_inout_detached(&self.nonce().into(), head, body.into()).ok()?;
        Some(tag.into())
    }

    fn check<C: super::aead::Gcm>(&self, head: &[u8], body: &mut [u8], tag: [u8; Suite::TAG]) -> Option<()> {
        let cipher = C::new_from_slice(&self.key).ok()?;
        cipher.decrypt_inout_detached(&self.nonce().into(), head, body.into(), &tag.into()).ok()
    }

    fn nonce(&self) -> [u8; 12] {
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(self.seq.to_be_bytes()).for_each(|(n, s)| *n ^= s);
        nonce
    }
}
