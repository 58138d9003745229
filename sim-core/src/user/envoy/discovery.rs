//! How istiod tells a proxy what to do: messages in the TLS connection that the proxy keeps to istiod's port 15012.
//!
//! A message is a byte 0, its length in four bytes (the most significant first), and so many bytes of JSON: gRPC's
//! length-prefixed message with a body that people can read. The proxy sends a [`Request`] when the connection is up,
//! and one for each [`Response`] once it works by it, with its version (ACK). istiod sends a response to the first
//! request, and whenever something has changed.
//!
//! Differs: real ones speak Aggregated Discovery Service, gRPC over HTTP/2 with protocol buffers, and the connection is
//! pilot-agent's, which hands on what it hears to Envoy beside it.

use super::config::{Config, Endpoint};
use serde::{Deserialize, Serialize};

/// No message is longer: istiod's default for gRPC is 4 MiB, and it sends large clusters in several.
pub const MAX_MESSAGE: usize = 4 << 20;
/// The byte for "not compressed" and the length.
const PREFIX: usize = 5;

/// A message between a proxy and istiod.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Message {
    /// From the proxy.
    Request(Request),
    /// From istiod.
    Response(Response),
}

/// DiscoveryRequest: who asks, and what it works by.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// [`super::config::Node::id`]
    pub node: String,
    /// The last version that was taken over; zero for none.
    pub version: u64,
}

/// DiscoveryResponse: what is new.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Response {
    /// Counts from 1 in each connection.
    pub version: u64,
    /// What it brings.
    pub resources: Resources,
}

/// What a response brings.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resources {
    /// All that the proxy is told, in the place of what it knew (LDS, RDS, CDS and EDS at once).
    Config(Config),
    /// The endpoints of these clusters, in the place of those that they had (EDS). Others stay as they are.
    Endpoints(Vec<ClusterLoadAssignment>),
}

/// The endpoints of a cluster.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterLoadAssignment {
    /// The cluster's name.
    pub cluster: String,
    /// All of them.
    pub endpoints: Vec<Endpoint>,
}

impl Config {
    /// Takes over what istiod has sent. A cluster that is not there is passed over.
    pub fn update(&mut self, resources: Resources) {
        match resources {
            Resources::Config(config) => *self = config,
            Resources::Endpoints(assignments) => {
                for assignment in assignments {
                    if let Some(cluster) = self.clusters.iter_mut().find(|c| c.name == assignment.cluster) {
                        cluster.endpoints = assignment.endpoints;
                    }
                }
            }
        }
    }
}

/// Why what has come is no message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Malformed {
    /// Its first byte is not 0.
    Compressed,
    /// It says that it has so many bytes, which is more than [`MAX_MESSAGE`].
    TooLong(usize),
    /// It is not JSON, or not that of a message.
    Json(String),
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::Compressed => f.write_str("a compressed message"),
            Malformed::TooLong(length) => write!(f, "a message of {length} bytes, more than {MAX_MESSAGE}"),
            Malformed::Json(e) => write!(f, "no discovery message: {e}"),
        }
    }
}

/// A message as bytes.
///
/// # Errors
/// It is too long.
pub fn encode(message: &Message) -> Result<Vec<u8>, Malformed> {
    let json = serde_json::to_vec(message).map_err(|e| Malformed::Json(e.to_string()))?;
    let length = u32::try_from(json.len()).ok().filter(|_| json.len() <= MAX_MESSAGE);
    let length = length.ok_or(Malformed::TooLong(json.len()))?;
    Ok([&[0][..], &length.to_be_bytes(), &json].concat())
}

/// Takes a message from the front of `bytes`; none if it has not come whole.
///
/// # Errors
/// What has come is no message. The connection is of no use any more.
pub fn decode(bytes: &mut Vec<u8>) -> Result<Option<Message>, Malformed> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let [compressed, length @ ..] = *prefix;
    let length = u32::from_be_bytes(length) as usize;
    if compressed != 0 {
        return Err(Malformed::Compressed);
    }
    if length > MAX_MESSAGE {
        return Err(Malformed::TooLong(length));
    }
    let Some(json) = rest.get(..length) else { return Ok(None) };
    let message = serde_json::from_slice(json).map_err(|e| Malformed::Json(e.to_string()))?;
    bytes.drain(..PREFIX + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::super::config::{Cluster, Filter, Listener, Route, VirtualHost};
    use super::*;
    use proptest::prelude::*;

    const HOST: &str = "web.default.svc.cluster.local";

    fn config() -> Config {
        let route = Route {
            name: "default".into(),
            prefix: "/".into(),
            cluster: format!("outbound|80||{HOST}"),
            decorator: format!("{HOST}:80/*"),
            retry: Some(super::super::config::RetryPolicy::default()),
        };
        let host = VirtualHost { name: HOST.into(), domains: vec!["web".into(), HOST.into()], routes: vec![route] };
        let listener = Listener { address: [0, 0, 0, 0].into(), port: 80, filter: Filter::Http(vec![host]) };
        Config { outbound: vec![listener], clusters: vec![Cluster::outbound(HOST, 80)], ..Config::default() }
    }

    fn assignment(cluster: &str, hosts: &[u8]) -> ClusterLoadAssignment {
        let endpoint = |host: &u8| Endpoint {
            address: std::net::SocketAddrV4::new([10, 244, 1, *host].into(), 8080),
            identity: (*host > 4).then(|| "spiffe://cluster.local/ns/default/sa/web".to_owned()),
        };
        ClusterLoadAssignment { cluster: cluster.to_owned(), endpoints: hosts.iter().map(endpoint).collect() }
    }

    #[test]
    fn there_and_back_in_pieces() {
        let name = format!("outbound|80||{HOST}");
        let messages = [
            Message::Request(Request { node: "sidecar~10.244.1.2~a.default~default".into(), version: 0 }),
            Message::Response(Response { version: 1, resources: Resources::Config(config()) }),
            Message::Response(Response {
                version: 2,
                resources: Resources::Endpoints(vec![assignment(&name, &[3, 5]), assignment("no such", &[])]),
            }),
        ];
        let stream: Vec<u8> = messages.iter().flat_map(|m| encode(m).unwrap()).collect();
        for step in [1, 7, stream.len()] {
            let (mut buffer, mut got) = (vec![], vec![]);
            for piece in stream.chunks(step) {
                buffer.extend_from_slice(piece);
                while let Some(message) = decode(&mut buffer).unwrap() {
                    got.push(message);
                }
            }
            assert_eq!((got.as_slice(), buffer.len()), (&messages[..], 0));
        }
    }

    #[test]
    fn what_an_update_changes() {
        let mut config = config();
        let name = config.clusters[0].name.clone();
        config.update(Resources::Endpoints(vec![assignment(&name, &[3, 5]), assignment("no such", &[9])]));
        assert_eq!(config.clusters[0].endpoints, assignment("", &[3, 5]).endpoints);
        assert_eq!((config.clusters.len(), config.outbound.len()), (1, 1));
        config.update(Resources::Config(Config::default()));
        assert_eq!(config, Config::default());
    }

    #[test]
    fn no_messages() {
        for (bytes, want) in [
            (&b"\x01\x00\x00\x00\x02{}"[..], Err(Malformed::Compressed)),
            (b"\x00\xff\xff\xff\xff", Err(Malformed::TooLong(0xffff_ffff))),
            (b"\x00\x00\x00\x00", Ok(None)),
            (b"\x00\x00\x00\x00\x03{}", Ok(None)),
        ] {
            assert_eq!(decode(&mut bytes.to_vec()), want, "{bytes:?}");
        }
        for json in ["{}", "{\"request\":{}}", "[[[[", "{\"response\":{\"version\":1,\"resources\":{\"config\":{}}}}"] {
            let mut bytes = [&[0, 0, 0, 0, json.len() as u8][..], json.as_bytes()].concat();
            assert!(matches!(decode(&mut bytes), Err(Malformed::Json(_))), "{json}");
        }
        let node = "x".repeat(MAX_MESSAGE);
        let long = encode(&Message::Request(Request { node, version: 1 }));
        assert!(matches!(long, Err(Malformed::TooLong(_))));
    }

    proptest! {
        #[test]
        fn anything(bytes: Vec<u8>, json in "\\PC*") {
            let _ = decode(&mut bytes.clone());
            let length = (json.len() as u32).to_be_bytes();
            let _ = decode(&mut [&[0][..], &length, json.as_bytes()].concat());
        }
    }
}
