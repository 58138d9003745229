//! Records under AES-GCM (RFC 8446 section 5.2), for rustls while it shakes hands.

use super::record::Suite;
use aes_gcm::aead::{AeadInOut, KeyInit, KeySizeUser, Nonce, Tag, consts::U12, consts::U16};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundOpaqueMessage,
    OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm, UnsupportedOperationError, make_tls13_aad,
};
use rustls::{ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion};
use std::marker::PhantomData;

/// AES-GCM with one size of keys.
pub(super) trait Gcm:
    AeadInOut<NonceSize = U12, TagSize = U16> + KeyInit + KeySizeUser + Send + Sync + 'static
{
    /// As rustls hands keys out.
    fn secrets(key: AeadKey, iv: Iv) -> ConnectionTrafficSecrets;
}

impl Gcm for Aes128Gcm {
    fn secrets(key: AeadKey, iv: Iv) -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
    }
}

impl Gcm for Aes256Gcm {
    fn secrets(key: AeadKey, iv: Iv) -> ConnectionTrafficSecrets {
        ConnectionTrafficSecrets::Aes256Gcm { key, iv }
    }
}

/// The algorithm of a cipher suite.
pub(super) struct Aead<C>(pub PhantomData<fn() -> C>);

/// One direction.
struct Half<C> {
    /// None: rustls gave a key of another length, which it never does.
    cipher: Option<C>,
    iv: Iv,
}

impl<C: Gcm> Half<C> {
    fn new(key: &AeadKey, iv: Iv) -> Box<Self> {
        Box::new(Half { cipher: C::new_from_slice(key.as_ref()).ok(), iv })
    }

    fn nonce(&self, seq: u64) -> Nonce<C> {
        rustls::crypto::cipher::Nonce::new(&self.iv, seq).0.into()
    }
}

impl<C: Gcm> Tls13AeadAlgorithm for Aead<C> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Half::<C>::new(&key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Half::<C>::new(&key, iv)
    }

    fn key_len(&self) -> usize {
        C::key_size()
    }

    fn extract_keys(&self, key: AeadKey, iv: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(C::secrets(key, iv))
    }
}

impl<C: Gcm> MessageEncrypter for Half<C> {
    fn encrypt(&mut self, message: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let total = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let cipher = self.cipher.as_ref().ok_or(Error::EncryptError)?;
        let tag = cipher.encrypt_inout_detached(&self.nonce(seq), &make_tls13_aad(total), payload.as_mut().into());
        payload.extend_from_slice(&tag.map_err(|_| Error::EncryptError)?);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, plain: usize) -> usize {
        plain + Suite::OVERHEAD
    }
}

impl<C: Gcm> MessageDecrypter for Half<C> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let aad = make_tls13_aad(message.payload.len());
        let length = message.payload.len().checked_sub(Suite::TAG).ok_or(Error::DecryptError)?;
        let (body, tag) = message.payload.split_at_mut(length);
        let tag = Tag::<C>::try_from(&tag[..]).map_err(|_| Error::DecryptError)?;
        let cipher = self.cipher.as_ref().ok_or(Error::DecryptError)?;
        let opened = cipher.decrypt_inout_detached(&self.nonce(seq), &aad, body.into(), &tag);
        opened.map_err(|_| Error::DecryptError)?;
        message.payload.truncate(length);
        message.into_tls13_unpadded_message()
    }
}
