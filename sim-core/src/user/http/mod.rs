//! Programs that speak HTTP: `curl` 7.88.1, and servers that behave as nginx 1.22.1 and Python 3.11.2's http.server do.
//! httparse reads heads; what the programs make of them is here.

mod chunked;
pub(super) mod curl;
mod date;
#[cfg(test)]
mod net;
pub(super) mod nginx;
mod path;
pub(super) mod python;
#[cfg(test)]
mod tests;
