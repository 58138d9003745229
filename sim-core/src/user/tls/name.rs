//! Whom a certificate is for.

use std::net::IpAddr;

/// Somebody whom a certificate is for (RFC 5280 section 4.2.1.6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Name {
    /// A name in the DNS; the first label may be `*`.
    Dns(String),
    /// An address.
    Ip(IpAddr),
    /// A URI: `spiffe://cluster.local/ns/default/sa/web`.
    Uri(String),
}

impl Name {
    /// Reads the name of a host: an address, or a name in the DNS. None for what is neither.
    pub fn host(text: &str) -> Option<Name> {
        let label = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        match text.parse() {
            Ok(address) => Some(Name::Ip(address)),
            Err(_) => {
                let plain = text.strip_prefix("*.").unwrap_or(text);
                (text.len() < 254 && plain.split('.').all(label)).then(|| Name::Dns(text.to_owned()))
            }
        }
    }

    #[cfg(feature = "tls")]
    pub(super) fn text(&self) -> String {
        match self {
            Name::Dns(text) | Name::Uri(text) => text.clone(),
            Name::Ip(address) => address.to_string(),
        }
    }
}
