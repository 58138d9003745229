//! What the ends of connections have in common: whom they trust, who they are, what they offer. Made once by a
//! program, shared by its connections.

use super::context::{self, Stream};
use super::failure::{Failure, Verdict};
use super::name::Name;
use super::pki::{Authority, Identity};
use super::provider::{ALGORITHMS, Clock, KeyLog, Tickets, provider};
use crate::base::rng::Purpose;
use crate::engine::process::Env;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, version,
};
use std::sync::Arc;

/// Session tickets that a server sends, as OpenSSL does.
const TICKETS: usize = 2;

/// Certificates that are trusted.
#[derive(Clone, Debug)]
pub struct Roots(Arc<RootCertStore>);

impl Roots {
    /// These; what is no certificate is left out.
    pub fn new(certificates: impl IntoIterator<Item = CertificateDer<'static>>) -> Self {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(certificates);
        Roots(Arc::new(store))
    }

    /// Those of a file with PEM; none if there is none in it.
    pub fn from_pem(text: &str) -> Option<Self> {
        let all = CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>().ok()?;
        let roots = Roots::new(all);
        (!roots.0.is_empty()).then_some(roots)
    }
}

/// What a client asks of its server, and a server of its clients.
#[derive(Clone, Debug)]
pub enum Check {
    /// Nothing: a client takes any certificate, a server asks for none.
    Nothing,
    /// A certificate that somebody among these has signed, directly or not, and that is valid now. The name that was
    /// meant is up to the program.
    SignedBy(Roots),
    /// The same, and one of these names in it.
    Named(Roots, Vec<Name>),
}

/// What the client's ends of connections have in common.
#[derive(Clone, Debug)]
pub struct Client(pub(super) Arc<ClientConfig>);

impl Client {
    /// One that takes any server, as `curl -k`.
    ///
    /// # Errors
    /// What rustls finds wrong with it.
    pub fn insecure(alpn: &[&str]) -> Result<Self, Failure> {
        Client::new(Check::Nothing, None, alpn).map_err(|e| Failure::new(&e, None))
    }

    /// One that trusts the certificates of a file with PEM, and nobody if there is no file.
    ///
    /// # Errors
    /// There is none in the file.
    pub fn trusting(pem: Option<&str>, alpn: &[&str]) -> Result<Self, Failure> {
        let no_certificate = || Failure::Protocol("there is no certificate".to_owned());
        let roots = pem.map_or_else(|| Some(Roots::new([])), Roots::from_pem).ok_or_else(no_certificate)?;
        Client::new(Check::SignedBy(roots), None, alpn).map_err(|e| Failure::new(&e, None))
    }

    /// Offers `alpn` in this order; shows `identity` to a server that asks.
    ///
    /// # Errors
    /// What rustls finds wrong with it.
    pub fn new(check: Check, identity: Option<&Identity>, alpn: &[&str]) -> Result<Self, Error> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(Clock));
        let builder = builder.with_protocol_versions(&[&version::TLS13])?;
        let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(Verifier(check)));
        let mut config = match identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(single(identity))),
            None => builder.with_no_client_auth(),
        };
        // Tickets are taken and not used: a connection's bytes do not depend on another one.
        config.resumption = Resumption::disabled();
        config.alpn_protocols = protocols(alpn);
        config.enable_secret_extraction = true;
        Ok(Client(Arc::new(config)))
    }
}

/// What the server's ends of connections have in common.
#[derive(Clone, Debug)]
pub struct Server {
    pub(super) config: Arc<ServerConfig>,
    pub(super) keeps_tickets: bool,
}

impl Server {
    /// One for these names, with a certificate of the scenario's authority.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn named(names: &[Name], alpn: &[&str], env: &Env<'_>) -> Result<Self, Failure> {
        let refused = |e: rcgen::Error| Failure::Protocol(e.to_string());
        let authority = Authority::of_scenario(env.prf, env.epoch_ns).map_err(refused)?;
        let common_name = names.first().map(Name::text);
        let identity = authority.issue(common_name.as_deref(), names).map_err(refused)?;
        Server::new(&identity, Check::Nothing, alpn, env).map_err(|e| Failure::new(&e, None))
    }

    /// The same, and asks its clients for a certificate of that authority.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn mutual(names: &[Name], alpn: &[&str], env: &Env<'_>) -> Result<Self, Failure> {
        let refused = |e: rcgen::Error| Failure::Protocol(e.to_string());
        let authority = Authority::of_scenario(env.prf, env.epoch_ns).map_err(refused)?;
        let identity = authority.issue(None, names).map_err(refused)?;
        let check = Check::SignedBy(Roots::new([authority.root()]));
        Server::new(&identity, check, alpn, env).map_err(|e| Failure::new(&e, None))
    }

    /// Shows `identity`; takes the first of the client's protocols that is among `alpn`, or none if that is empty.
    ///
    /// # Errors
    /// What rustls finds wrong with it.
    pub fn new(identity: &Identity, check: Check, alpn: &[&str], env: &Env<'_>) -> Result<Self, Error> {
        let builder = ServerConfig::builder_with_details(provider(), Arc::new(Clock));
        let builder = builder.with_protocol_versions(&[&version::TLS13])?;
        let builder = match &check {
            Check::Nothing => builder.with_no_client_auth(),
            Check::SignedBy(roots) | Check::Named(roots, _) => {
                let chain = WebPkiClientVerifier::builder_with_provider(roots.0.clone(), provider()).build();
                let chain = chain.map_err(|e| Error::General(e.to_string()))?;
                builder.with_client_cert_verifier(Arc::new(ClientVerifier { chain, check }))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(single(identity)));
        let whose = [env.salt.word(), u64::from(env.pid.0)];
        config.ticketer = Arc::new(Tickets::new(&mut Stream::new(env.prf, Purpose::TlsTicketKey, &whose)));
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = TICKETS;
        config.alpn_protocols = protocols(alpn);
        // The server knows the secrets before the first packet that needs them has left.
        config.key_log = Arc::new(KeyLog);
        config.enable_secret_extraction = true;
        Ok(Server { config: Arc::new(config), keeps_tickets: false })
    }

    /// As BoringSSL: session tickets leave with the first write, not when the handshake is over
    /// (do_send_new_session_ticket).
    #[must_use]
    pub fn keeping_tickets(self) -> Self {
        Server { keeps_tickets: true, ..self }
    }
}

fn single(identity: &Identity) -> SingleCertAndKey {
    SingleCertAndKey::from(identity.0.clone())
}

fn protocols(alpn: &[&str]) -> Vec<Vec<u8>> {
    alpn.iter().map(|p| p.as_bytes().to_vec()).collect()
}

/// The certificate has one of `names`.
fn named(leaf: &CertificateDer<'_>, names: &[Name]) -> Result<(), Error> {
    let parsed = webpki::EndEntityCert::try_from(leaf).map_err(|_| CertificateError::BadEncoding)?;
    let is = |name: &Name| match name {
        Name::Uri(uri) => parsed.valid_uri_names().any(|u| u == uri),
        Name::Dns(_) | Name::Ip(_) => name_for(leaf, &name.text()).is_some(),
    };
    names.iter().any(is).then_some(()).ok_or_else(|| CertificateError::NotValidForName.into())
}

/// The name in the certificate by which it is one for this host, a name or an address.
pub(super) fn name_for(leaf: &CertificateDer<'_>, host: &str) -> Option<String> {
    let name = ServerName::try_from(host).ok()?;
    let parsed = webpki::EndEntityCert::try_from(leaf).ok()?;
    parsed.verify_is_valid_for_subject_name(&name).ok()?;
    let wild = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
    let fits = |n: &&str| n.eq_ignore_ascii_case(host) || wild.as_ref().is_some_and(|w| n.eq_ignore_ascii_case(w));
    Some(parsed.valid_dns_names().find(fits).unwrap_or(host).to_owned())
}

/// Both ends check signatures alike.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls12_signature(message, cert, signed, &ALGORITHMS)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            rustls::crypto::verify_tls13_signature(message, cert, signed, &ALGORITHMS)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            ALGORITHMS.supported_schemes()
        }
    };
}

/// A client's check of its server.
#[derive(Debug)]
struct Verifier(Check);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let signed = |roots: &Roots| {
            let parsed = ParsedCertificate::try_from(leaf)?;
            let signed = verify_server_cert_signed_by_trust_anchor(&parsed, &roots.0, chain, now, ALGORITHMS.all);
            if signed == Err(CertificateError::UnknownIssuer.into()) {
                let last = chain.last().unwrap_or(leaf);
                context::current(|c| c.verdict = Some(Verdict::unknown(last)));
            }
            signed
        };
        match &self.0 {
            Check::Nothing => {}
            Check::SignedBy(roots) => signed(roots)?,
            Check::Named(roots, names) => {
                signed(roots)?;
                named(leaf, names)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    signatures!();
}

/// A server's check of its clients.
#[derive(Debug)]
struct ClientVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    check: Check,
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(leaf, chain, now)?;
        if let Check::Named(_, names) = &self.check {
            named(leaf, names)?;
        }
        Ok(verified)
    }

    signatures!();
}
