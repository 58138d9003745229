//! Why a session has failed, in the words of OpenSSL 3.0.

#[cfg(feature = "tls")]
use rustls::{CertificateError, Error};

/// Why a session is over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The peer's certificate was not accepted.
    Certificate(Verdict),
    /// What has come is no TLS.
    NoTls,
    /// A record that nobody with the key has made.
    BadRecord,
    /// The peer gave up: the description of its alert (RFC 8446 section 6.2).
    Alert(u8),
    /// What rustls says.
    Protocol(String),
}

/// What is wrong with a certificate (X509_V_ERR_*).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Its time has not come.
    NotYetValid,
    /// Its time is over.
    Expired,
    /// Whoever signed the last one shown signed it himself, and is not trusted.
    SelfSignedInChain,
    /// Nobody knows who signed the last one shown.
    UnknownIssuer,
    /// It is for somebody else.
    Name,
    /// A signature is not right, or something else.
    Other,
}

impl Verdict {
    /// The number that OpenSSL has for it.
    pub fn number(self) -> u32 {
        match self {
            Verdict::Other => 1,
            Verdict::NotYetValid => 9,
            Verdict::Expired => 10,
            Verdict::SelfSignedInChain => 19,
            Verdict::UnknownIssuer => 20,
            Verdict::Name => 62,
        }
    }

    /// What OpenSSL calls it (X509_verify_cert_error_string).
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Other => "unspecified certificate verification error",
            Verdict::NotYetValid => "certificate is not yet valid",
            Verdict::Expired => "certificate has expired",
            Verdict::SelfSignedInChain => "self-signed certificate in certificate chain",
            Verdict::UnknownIssuer => "unable to get local issuer certificate",
            Verdict::Name => "hostname mismatch",
        }
    }

    /// The alert that is sent for it, as curl names it. OpenSSL says "bad certificate" of one that is not yet valid.
    pub fn alert(self) -> (u8, &'static str) {
        match self {
            Verdict::SelfSignedInChain | Verdict::UnknownIssuer => (48, "unknown CA"),
            Verdict::NotYetValid | Verdict::Expired => (45, "certificate expired"),
            Verdict::Name | Verdict::Other => (42, "bad certificate"),
        }
    }

    /// Of certificates the last of which is this, when nobody who is trusted has signed it.
    #[cfg(feature = "tls")]
    pub(super) fn unknown(last: &[u8]) -> Self {
        let signed_itself = super::Certificate::read(last).is_some_and(|c| c.subject == c.issuer);
        if signed_itself { Verdict::SelfSignedInChain } else { Verdict::UnknownIssuer }
    }
}

impl Failure {
    /// What rustls says, and what is known besides of the peer's certificates.
    #[cfg(feature = "tls")]
    pub(super) fn new(error: &Error, verdict: Option<Verdict>) -> Self {
        match error {
            Error::InvalidCertificate(e) => Failure::Certificate(match e {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Verdict::Expired,
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Verdict::NotYetValid,
                CertificateError::UnknownIssuer => verdict.unwrap_or(Verdict::UnknownIssuer),
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => Verdict::Name,
                _ => Verdict::Other,
            }),
            Error::AlertReceived(description) => Failure::Alert(u8::from(*description)),
            Error::InvalidMessage(_) => Failure::NoTls,
            other => Failure::Protocol(other.to_string()),
        }
    }

    /// What curl says of it (`OpenSSL/3.0.19: …`).
    pub fn text(&self) -> String {
        match self {
            Failure::Certificate(verdict) => format!("SSL certificate problem: {}", verdict.text()),
            Failure::NoTls => "error:0A00010B:SSL routines::wrong version number".to_owned(),
            Failure::BadRecord => "error:0A000119:SSL routines::decryption failed or bad record mac".to_owned(),
            Failure::Alert(number) => {
                let name = match number {
                    40 => "sslv3 alert handshake failure",
                    42 => "sslv3 alert bad certificate",
                    45 => "sslv3 alert certificate expired",
                    48 => "tlsv1 alert unknown ca",
                    116 => "tlsv13 alert certificate required",
                    120 => "tlsv1 alert no application protocol",
                    _ => "reason",
                };
                // SSL_R_SSLV3_ALERT_CLOSE_NOTIFY is 1000.
                format!("error:0A{:06X}:SSL routines::{name}", 1000 + u32::from(*number))
            }
            Failure::Protocol(text) => text.clone(),
        }
    }
}
