//! The sidecar proxy: Envoy 1.21 as Istio 1.13 runs it beside a pod's own programs, with pilot-agent, which asks
//! istiod.
//!
//! It listens where istio-init's rules redirect to, asks for the original destination, looks at the first bytes, and
//! becomes two connections: the downstream's and one to an endpoint that it chooses, from a pool that outlives the
//! downstream. Requests are what it balances; what is no HTTP it copies.
//!
//! | file | Envoy's |
//! |---|---|
//! | `config.rs`, `discovery.rs` | what it is told |
//! | in `proxy/`: | |
//! | `conn.rs` | connections and their transport sockets |
//! | `sniff.rs`, `downstream.rs` | listener filters, filter chains |
//! | `codec.rs`, `http1.rs`, `http2.rs` with `frame.rs` and `hpack.rs` | codecs |
//! | `head.rs`, `headers.rs` | heads of messages, the connection manager's fields |
//! | `exchange.rs`, `route.rs` | the router: routes, retries, its own responses |
//! | `balance.rs`, `pool.rs` | the cluster manager: endpoints, pools of connections |
//! | `tcp.rs` | tcp_proxy |
//! | `agent.rs` | pilot-agent |
//! | `log.rs` | the access log |
//!
//! Differs: a connection that finds no filter chain is reset by SO_LINGER; Envoy's socket has unread bytes then, since
//! it only peeks, which does the same. Streams of bytes in mutual TLS carry no `istio-peer-exchange` prologue. No
//! request is sampled for traces.

pub mod config;
pub mod discovery;
#[cfg(feature = "tls")]
mod proxy;

#[cfg(feature = "tls")]
pub use proxy::Envoy;
