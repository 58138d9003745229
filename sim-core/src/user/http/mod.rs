//! Programs that speak HTTP, with TLS or without: `curl` 7.88.1, and servers that behave as nginx 1.22.1, Python
//! 3.11.2's http.server (without TLS) and HAProxy 2.6 do.
//! httparse reads heads; what the programs make of them is here.

pub(super) mod chunked;
pub(super) mod curl;
pub(super) mod date;
pub(super) mod haproxy;
mod listen;
#[cfg(test)]
mod net;
pub(super) mod nginx;
mod path;
pub(super) mod python;
mod secure;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
#[cfg(test)]
mod tls_tests;
