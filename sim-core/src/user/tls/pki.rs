//! Certificates, made when they are needed: a key follows from the seed and from whose it is, all else from names and
//! the time, so that the same scenario has the same certificates everywhere. ECDSA with P-256 and SHA-256 throughout.

use super::context::Stream;
use super::name::Name;
use super::provider::{self, PrivateKey};
use crate::base::Prf;
use crate::base::rng::{self, Purpose};
use crate::base::time::SEC;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, Error, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

/// The name of the authority that every scenario has.
const SCENARIO_AUTHORITY: &str = "podhop CA";
const DAY_S: u64 = 86_400;
/// A certificate is good from the midnight before it is asked for, and so many days from then.
const VALID_DAYS: u64 = 365;
/// Bytes of a serial number, as openssl(1) makes them.
const SERIAL_LEN: usize = 16;
/// Bytes of a key's identifier (RFC 5280 section 4.2.1.2).
const KEY_ID_LEN: usize = 20;

/// A key with its certificates, its own first: what an endpoint shows of itself.
#[derive(Clone)]
pub struct Identity(pub(super) Arc<CertifiedKey>);

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity of {} certificates", self.0.cert.len())
    }
}

/// Who signs certificates.
pub struct Authority {
    issuer: Issuer<'static, Key>,
    /// Its own and those above it, up to the one that signed itself.
    chain: Vec<CertificateDer<'static>>,
    /// The last of them as text.
    root_pem: String,
    prf: Prf,
    name: String,
    now_s: u64,
}

impl Authority {
    /// The one whose certificates the servers of a scenario show, unless a mesh has its own. `epoch_ns` is when the
    /// scenario starts.
    ///
    /// # Errors
    /// None that is expected: its name can stand in a certificate.
    pub fn of_scenario(prf: &Prf, epoch_ns: u64) -> Result<Self, Error> {
        Authority::new(prf, SCENARIO_AUTHORITY, epoch_ns / SEC)
    }

    /// One that signs its own certificate, at `now_s` seconds since 1970. Its key follows from its name.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn new(prf: &Prf, name: &str, now_s: u64) -> Result<Self, Error> {
        let key = Key::new(prf, &[name]);
        let mut params = params(&key, &[name], Some(name), now_s);
        authority(&mut params);
        let certificate = params.self_signed(&key)?;
        let (chain, root_pem) = (vec![certificate.der().clone()], certificate.pem());
        Ok(Authority { issuer: Issuer::new(params, key), chain, root_pem, prf: *prf, name: name.to_owned(), now_s })
    }

    /// One that this one has signed: the next in a chain.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn intermediate(&self, name: &str) -> Result<Self, Error> {
        let key = Key::new(&self.prf, &[&self.name, name]);
        let mut params = params(&key, &[&self.name, name], Some(name), self.now_s);
        authority(&mut params);
        params.use_authority_key_identifier_extension = true;
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = std::iter::once(der).chain(self.chain.iter().cloned()).collect();
        let (issuer, name, root_pem) = (Issuer::new(params, key), name.to_owned(), self.root_pem.clone());
        Ok(Authority { issuer, chain, root_pem, prf: self.prf, name, now_s: self.now_s })
    }

    /// A key and a certificate for `names`, which its servers and clients show. Without a common name the subject is
    /// empty and the names are critical, as a mesh has it.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn issue(&self, common_name: Option<&str>, names: &[Name]) -> Result<Identity, Error> {
        let texts: Vec<String> = names.iter().map(Name::text).collect();
        let whose: Vec<&str> =
            [self.name.as_str(), "for"].into_iter().chain(texts.iter().map(String::as_str)).collect();
        let key = Key::new(&self.prf, &whose);
        let mut params = params(&key, &whose, common_name, self.now_s);
        params.subject_alt_names = names.iter().map(san).collect::<Result<_, _>>()?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        let chain = std::iter::once(der).chain(self.chain.iter().cloned()).collect();
        Ok(Identity(Arc::new(CertifiedKey::new(chain, Arc::new(PrivateKey(key.secret))))))
    }

    /// The certificate that a client must trust: of the one at the end of its chain.
    pub fn root(&self) -> CertificateDer<'static> {
        self.chain.last().cloned().unwrap_or_else(|| CertificateDer::from(Vec::new()))
    }

    /// The same as text: a file for `--cacert`.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }
}

/// A name as it stands in a certificate.
fn san(name: &Name) -> Result<SanType, Error> {
    Ok(match name {
        Name::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
        Name::Ip(address) => SanType::IpAddress(*address),
        Name::Uri(uri) => SanType::URI(uri.as_str().try_into()?),
    })
}

/// What makes a certificate one of an authority.
fn authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
}

/// What all certificates have. `whose` tells them apart.
fn params(key: &Key, whose: &[&str], common_name: Option<&str>, now_s: u64) -> CertificateParams {
    let from = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now_s / DAY_S * DAY_S);
    let mut serial = Sha256::digest(whose.join("\n"))[..SERIAL_LEN].to_vec();
    // Positive, and of the same length always.
    serial[0] = serial[0] & 0x3f | 0x40;
    let mut params = CertificateParams::default();
    params.not_before = from;
    params.not_after = from + Duration::from_secs(VALID_DAYS * DAY_S);
    params.serial_number = Some(SerialNumber::from(serial));
    params.key_identifier_method = KeyIdMethod::PreSpecified(Sha256::digest(&key.public)[..KEY_ID_LEN].to_vec());
    params.distinguished_name = DistinguishedName::new();
    if let Some(name) = common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    params
}

/// A key that signs certificates.
#[derive(Clone)]
struct Key {
    secret: p256::ecdsa::SigningKey,
    public: Vec<u8>,
}

impl Key {
    /// The key of whoever has these names.
    fn new(prf: &Prf, whose: &[&str]) -> Self {
        let mut stream = Stream::new(prf, Purpose::TlsKey, &rng::words(whose));
        let secret = loop {
            // A number that is no key comes once in four billion times.
            if let Ok(key) = p256::ecdsa::SigningKey::from_slice(&stream.array()) {
                break key;
            }
        };
        let public = secret.verifying_key().to_sec1_bytes().to_vec();
        Key { secret, public }
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(provider::sign(&self.secret, message))
    }
}
