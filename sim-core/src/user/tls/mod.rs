//! TLS 1.3 over a connection (RFC 8446): rustls shakes hands, with randomness and time of the simulation.
//!
//! A [`Session`] is one end. It knows no socket: a program hands it what it has received, and sends what it is given.
//! [`Client`] and [`Server`] say who trusts whom, also for both ends (mutual TLS, names as a mesh has them);
//! certificates are made by an `Authority`.
//!
//! Without the feature `tls` nobody can start a session (`absent.rs`).

mod certificate;
mod failure;
mod name;

#[cfg(feature = "tls")]
mod aead;
#[cfg(feature = "tls")]
mod config;
#[cfg(feature = "tls")]
mod context;
#[cfg(feature = "tls")]
mod pki;
#[cfg(feature = "tls")]
mod provider;
#[cfg(feature = "tls")]
mod record;
#[cfg(feature = "tls")]
mod session;
#[cfg(feature = "tls")]
#[cfg(test)]
mod tests;

#[cfg(not(feature = "tls"))]
mod absent;

pub use certificate::Certificate;
pub use failure::{Failure, Verdict};
pub use name::Name;

#[cfg(feature = "tls")]
pub use config::{Check, Client, Roots, Server};
#[cfg(feature = "tls")]
pub use pki::{Authority, Identity};
#[cfg(feature = "tls")]
pub use session::{MAX_HANDSHAKE, Session};

#[cfg(not(feature = "tls"))]
pub use absent::{Client, Server, Session};

/// The most that one record holds of a stream (RFC 8446 section 5.1).
pub const MAX_PLAIN: usize = 16_384;
