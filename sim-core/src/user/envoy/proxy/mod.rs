//! The proxy itself, which needs TLS.

mod agent;
mod balance;
mod codec;
mod conn;
mod downstream;
mod exchange;
mod frame;
mod head;
mod headers;
mod hpack;
mod http1;
mod http2;
mod log;
mod pool;
mod program;
mod random;
mod route;
mod sniff;
mod tcp;

use super::{config, discovery};
pub use program::Envoy;
