//! The cryptography that rustls is given: X25519, ECDSA with P-256, AES-GCM, SHA-2, of the RustCrypto crates. Nothing
//! in here asks the machine for randomness or the time.

use super::aead::Aead;
use super::context::{self, Stream};
use super::record::Suite;
use crate::base::hex;
use ::hmac::{Hmac, Mac};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::crypto::{
    ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom, SharedSecret,
    SupportedKxGroup, WebPkiSupportedAlgorithms, hash, hmac,
};
use rustls::pki_types::{
    AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm, UnixTime, alg_id,
};
use rustls::{
    CipherSuite, Error, NamedGroup, PeerMisbehaved, SignatureAlgorithm, SignatureScheme, SupportedCipherSuite,
    Tls13CipherSuite,
};
use sha2::{Digest, Sha256, Sha384};
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// Every signature in DER has this length (see [`sign`]).
const SIGNATURE_LEN: usize = 71;

/// What can verify a signature.
pub(super) static ALGORITHMS: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&EcdsaP256Sha256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[&EcdsaP256Sha256])],
};

/// The provider of all endpoints.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![AES_256, AES_128],
        kx_groups: vec![&X25519],
        signature_verification_algorithms: ALGORITHMS,
        secure_random: &Random,
        key_provider: &NoFiles,
    })
}

/// Randomness of the connection that is running.
#[derive(Debug)]
struct Random;

impl SecureRandom for Random {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        context::current(|c| c.stream.fill(bytes)).ok_or(GetRandomFailed)
    }
}

/// The clock of the connection that is running.
#[derive(Debug)]
pub(super) struct Clock;

impl rustls::time_provider::TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        context::current(|c| UnixTime::since_unix_epoch(Duration::from_secs(c.now_s)))
    }
}

/// The key log of the connection that is running.
#[derive(Debug)]
pub(super) struct KeyLog;

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        context::current(|c| c.secrets += &format!("{label} {} {}\n", hex(client_random), hex(secret)));
    }
}

/// Session tickets that hold the session, under a key of the server's (RFC 5077 section 4).
pub(super) struct Tickets(Aes256Gcm);

impl Tickets {
    const NONCE: usize = 12;

    pub fn new(stream: &mut Stream) -> Self {
        Tickets(Aes256Gcm::new(&stream.array().into()))
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tickets")
    }
}

impl rustls::server::ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        7200
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; Tickets::NONCE];
        context::current(|c| c.stream.fill(&mut nonce))?;
        let mut body = plain.to_vec();
        let tag = self.0.encrypt_inout_detached(&nonce.into(), b"", body.as_mut_slice().into()).ok()?;
        Some([&nonce[..], &body, &tag].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = ticket.split_first_chunk::<{ Tickets::NONCE }>()?;
        let (body, tag) = rest.split_last_chunk::<{ Suite::TAG }>()?;
        let mut body = body.to_vec();
        let (nonce, tag) = ((*nonce).into(), (*tag).into());
        self.0.decrypt_inout_detached(&nonce, b"", body.as_mut_slice().into(), &tag).ok()?;
        Some(body)
    }
}

/// Keys are made, not read ([`super::pki`]).
#[derive(Debug)]
struct NoFiles;

impl KeyProvider for NoFiles {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn rustls::sign::SigningKey>, Error> {
        Err(Error::General("keys are not read from files".into()))
    }
}

/// RFC 7748
#[derive(Debug)]
struct X25519;

/// A key exchange under way: the secret, and what the peer is told.
struct Exchange(x25519_dalek::StaticSecret, [u8; 32]);

impl SupportedKxGroup for X25519 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let bytes = context::current(|c| c.stream.array()).ok_or(Error::FailedToGetRandomBytes)?;
        let secret = x25519_dalek::StaticSecret::from(bytes);
        let public = x25519_dalek::PublicKey::from(&secret).to_bytes();
        Ok(Box::new(Exchange(secret, public)))
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let bad = |_| Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare);
        let peer = <[u8; 32]>::try_from(peer).map_err(bad)?;
        Ok(self.0.diffie_hellman(&peer.into()).as_bytes()[..].into())
    }

    fn pub_key(&self) -> &[u8] {
        &self.1
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::X25519
    }
}

/// Signs with ECDSA, P-256 and SHA-256, the nonce after RFC 6979. In DER most signatures are 70 to 72 bytes long, by
/// chance. So that the length of a message does not depend on the seed, a number is added (section 3.6) until it is 71,
/// every second time.
pub(super) fn sign(key: &SigningKey, message: &[u8]) -> Vec<u8> {
    let digest = Sha256::digest(message);
    let mut attempt = 0_u32;
    loop {
        let added = if attempt == 0 { Vec::new() } else { attempt.to_be_bytes().to_vec() };
        let scalar = key.as_nonzero_scalar();
        let (signature, _) = ecdsa::hazmat::sign_prehashed_rfc6979::<p256::NistP256, Sha256>(scalar, &digest, &added);
        let der = signature.to_der();
        if der.as_bytes().len() == SIGNATURE_LEN {
            return der.as_bytes().to_vec();
        }
        attempt += 1;
    }
}

/// A private key as rustls takes it.
#[derive(Clone)]
pub(super) struct PrivateKey(pub SigningKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl rustls::sign::SigningKey for PrivateKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn rustls::sign::Signer>> {
        let signer: Box<dyn rustls::sign::Signer> = Box::new(self.clone());
        offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256).then_some(signer)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl rustls::sign::Signer for PrivateKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(sign(&self.0, message))
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}

#[derive(Debug)]
struct EcdsaP256Sha256;

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// A hash function, and HMAC with it.
struct Hash<D>(PhantomData<D>);

struct Hashing<D>(D);

macro_rules! hash {
    ($name:ident, $digest:ty, $length:expr) => {
        static $name: Hash<$digest> = Hash(PhantomData);

        impl hash::Hash for Hash<$digest> {
            fn start(&self) -> Box<dyn hash::Context> {
                Box::new(Hashing(<$digest>::new()))
            }
            fn hash(&self, data: &[u8]) -> hash::Output {
                hash::Output::new(&<$digest>::digest(data))
            }
            fn output_len(&self) -> usize {
                $length
            }
            fn algorithm(&self) -> hash::HashAlgorithm {
                hash::HashAlgorithm::$name
            }
        }

        impl hash::Context for Hashing<$digest> {
            fn fork_finish(&self) -> hash::Output {
                hash::Output::new(&self.0.clone().finalize())
            }
            fn fork(&self) -> Box<dyn hash::Context> {
                Box::new(Hashing(self.0.clone()))
            }
            fn finish(self: Box<Self>) -> hash::Output {
                hash::Output::new(&self.0.finalize())
            }
            fn update(&mut self, data: &[u8]) {
                self.0.update(data);
            }
        }

        impl hmac::Hmac for Hash<$digest> {
            fn with_key(&self, key: &[u8]) -> Box<dyn hmac::Key> {
                // A key may have any length (RFC 2104).
                let keyed = Hmac::<$digest>::new_from_slice(key).unwrap_or_else(|_| Hmac::new(&Default::default()));
                Box::new(Hashing(keyed))
            }
            fn hash_output_len(&self) -> usize {
                $length
            }
        }

        impl hmac::Key for Hashing<Hmac<$digest>> {
            fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> hmac::Tag {
                let mut mac = self.0.clone();
                mac.update(first);
                middle.iter().for_each(|part| mac.update(part));
                mac.update(last);
                hmac::Tag::new(&mac.finalize().into_bytes())
            }
            fn tag_len(&self) -> usize {
                $length
            }
        }
    };
}

hash!(SHA256, Sha256, 32);
hash!(SHA384, Sha384, 48);

/// Records under one key: a limit that no run reaches (RFC 8446 section 5.5).
const CONFIDENTIALITY_LIMIT: u64 = 1 << 24;

macro_rules! suite {
    ($name:ident, $suite:ident, $hash:ident, $cipher:ty) => {
        static $name: SupportedCipherSuite = SupportedCipherSuite::Tls13(&Tls13CipherSuite {
            common: CipherSuiteCommon {
                suite: CipherSuite::$suite,
                hash_provider: &$hash,
                confidentiality_limit: CONFIDENTIALITY_LIMIT,
            },
            hkdf_provider: &HkdfUsingHmac(&$hash),
            aead_alg: &Aead::<$cipher>(PhantomData),
            quic: None,
        });
    };
}

suite!(AES_256, TLS13_AES_256_GCM_SHA384, SHA384, Aes256Gcm);
suite!(AES_128, TLS13_AES_128_GCM_SHA256, SHA256, Aes128Gcm);
