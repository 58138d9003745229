//! The fields that the proxy adds, changes and takes away (source/common/http/conn_manager_utility.cc, Istio's
//! metadata_exchange), in Envoy's order.

use super::config::Node;
use super::head::{Request, Response};
use super::random::Random;
use crate::base::hex;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

const METADATA: &str = "x-envoy-peer-metadata";
const METADATA_ID: &str = "x-envoy-peer-metadata-id";
const DECORATOR: &str = "x-envoy-decorator-operation";
/// server_name of the listeners for what comes in.
pub(super) const INBOUND_SERVER: &str = "istio-envoy";
/// Envoy's own server_name.
pub(super) const OUTBOUND_SERVER: &str = "envoy";

/// Which way a request goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

/// A peer that has shown a certificate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer<'a> {
    /// Our own SPIFFE id.
    pub by: &'a str,
    /// The peer's.
    pub uri: &'a str,
    /// Its certificate in DER.
    pub certificate: &'a [u8],
}

/// What the proxy remembers of a request's fields for its response.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Told {
    /// The peer has told who it is, so we do.
    metadata: bool,
    /// The operation's name, if the peer has not given one.
    decorator: Option<String>,
}

/// A request, from mutateRequestHeaders to the router. `decorator` is how its route is called in traces.
pub(super) fn request(
    request: &mut Request,
    direction: Direction,
    node: &Node,
    decorator: Option<&str>,
    peer: Option<Peer<'_>>,
    random: &mut Random,
) -> Told {
    let mut told = Told::default();
    let fields = &mut request.fields;
    if fields.get("x-forwarded-proto").is_none() {
        let scheme = if peer.is_some() { "https" } else { "http" };
        fields.add("x-forwarded-proto", scheme);
    }
    if fields.get("x-request-id").is_none() {
        fields.add("x-request-id", uuid(random));
    }
    if let Some(peer) = peer {
        // APPEND_FORWARD
        let own = forwarded_cert(peer);
        let all = fields.get("x-forwarded-client-cert").map(|before| format!("{before},{own}"));
        fields.set("x-forwarded-client-cert", all.unwrap_or(own));
    }
    match direction {
        Direction::Outbound => {
            if let Some(operation) = decorator {
                fields.set(DECORATOR, operation);
            }
            fields.set(METADATA, metadata(node));
            fields.set(METADATA_ID, node.id.as_str());
        }
        Direction::Inbound => {
            if fields.get(DECORATOR).is_none() {
                told.decorator = decorator.map(str::to_owned);
            }
            told.metadata = fields.get(METADATA).is_some();
            fields.remove(&[DECORATOR, METADATA, METADATA_ID]);
        }
    }
    told
}

/// What the router adds when it sends a request: the B3 fields of Zipkin's tracer, which samples nothing here.
pub(super) fn trace(request: &mut Request, random: &mut Random) {
    let fields = &mut request.fields;
    let parent = fields.get("x-b3-spanid").map(str::to_owned);
    let span = random.draw();
    match parent.filter(|_| fields.get("x-b3-traceid").is_some()) {
        Some(parent) => {
            fields.set("x-b3-spanid", format!("{span:016x}"));
            fields.set("x-b3-parentspanid", parent);
        }
        None => {
            let high = random.draw();
            fields.set("x-b3-traceid", format!("{high:016x}{span:016x}"));
            fields.set("x-b3-spanid", format!("{span:016x}"));
        }
    }
    if fields.get("x-b3-sampled").is_none() {
        fields.set("x-b3-sampled", "0");
    }
}

/// A response of the upstream's, on its way to the downstream.
pub(super) fn response(
    response: &mut Response,
    direction: Direction,
    node: &Node,
    told: &Told,
    service_time_ms: u64,
    date: &str,
) {
    let fields = &mut response.fields;
    fields.set("x-envoy-upstream-service-time", service_time_ms.to_string());
    match direction {
        Direction::Inbound => {
            if told.metadata {
                fields.set(METADATA, metadata(node));
                fields.set(METADATA_ID, node.id.as_str());
            }
        }
        Direction::Outbound => fields.remove(&[METADATA, METADATA_ID, DECORATOR]),
    }
    own(response, direction, told, date);
}

/// What all responses have, those that the proxy makes itself too.
pub(super) fn own(response: &mut Response, direction: Direction, told: &Told, date: &str) {
    let fields = &mut response.fields;
    // The upstream's own stays (preserve_upstream_date).
    if fields.get("date").is_none() {
        fields.add("date", date);
    }
    let server = if direction == Direction::Inbound { INBOUND_SERVER } else { OUTBOUND_SERVER };
    fields.set("server", server);
    if let Some(operation) = &told.decorator {
        fields.set(DECORATOR, operation.as_str());
    }
}

/// A UUID of version 4, which says that there is no trace (UUIDRequestIDExtension).
fn uuid(random: &mut Random) -> String {
    let bits = u128::from(random.draw()) << 64 | u128::from(random.draw());
    let bits = bits & !(0xf << 76) & !(0xc << 60) | 4 << 76 | 8 << 60;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// x-forwarded-client-cert: who has shown which certificate to whom.
fn forwarded_cert(peer: Peer<'_>) -> String {
    let hash = hex(&Sha256::digest(peer.certificate));
    format!("By={};Hash={hash};Subject=\"\";URI={}", peer.by, peer.uri)
}

/// The node's metadata as `google.protobuf.Struct`, in base64.
fn metadata(node: &Node) -> String {
    let mut message = vec![];
    for (name, value) in &node.metadata {
        // Value.string_value is field 3; of an entry of Struct.fields (1), the key is field 1, the value field 2.
        let value = field(3, value.as_bytes());
        let entry = [field(1, name.as_bytes()), field(2, &value)].concat();
        message.extend(field(1, &entry));
    }
    STANDARD.encode(message)
}

/// A field of protocol buffers with bytes in it.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::super::head::Fields;
    use super::*;
    use crate::base::Prf;
    use crate::base::rng::Purpose;

    fn node() -> Node {
        Node {
            id: "sidecar~10.244.1.2~sleep.default~default.svc.cluster.local".into(),
            address: [10, 244, 1, 2].into(),
            identity: "spiffe://cluster.local/ns/default/sa/sleep".into(),
            metadata: vec![("NAME".into(), "sleep".into())],
        }
    }

    fn names(fields: &Fields) -> Vec<&str> {
        fields.0.iter().map(|(n, _)| n.as_str()).collect()
    }

    /// A request from the app to its peer's app: as Istio's documentation shows what arrives there.
    #[test]
    fn there() {
        let mut random = Random::new(&Prf::new(1), Purpose::EnvoyRandom, &[1]);
        let fields = Fields(vec![("user-agent".into(), b"curl/7.88.1".to_vec())]);
        let mut head = Request { fields, ..Request::default() };
        let web = "web.default.svc.cluster.local:80/*";
        request(&mut head, Direction::Outbound, &node(), Some(web), None, &mut random);
        head.fields.set("x-envoy-attempt-count", "1");
        trace(&mut head, &mut random);
        let sent = [
            "user-agent",
            "x-forwarded-proto",
            "x-request-id",
            DECORATOR,
            METADATA,
            METADATA_ID,
            "x-envoy-attempt-count",
            "x-b3-traceid",
            "x-b3-spanid",
            "x-b3-sampled",
        ];
        assert_eq!(names(&head.fields), sent);
        let (trace_id, span) = (head.fields.get("x-b3-traceid").unwrap(), head.fields.get("x-b3-spanid").unwrap());
        let span = span.to_owned();
        assert!(trace_id.len() == 32 && trace_id.ends_with(&span));
        let id = head.fields.get("x-request-id").unwrap();
        assert!(id.len() == 36 && id.as_bytes()[14] == b'4' && b"89ab".contains(&id.as_bytes()[19]), "{id}");
        // 0a 0f {0a 04 NAME 12 07 {1a 05 sleep}}
        let told = STANDARD.decode(head.fields.get(METADATA).unwrap()).unwrap();
        assert_eq!(told, b"\x0a\x0f\x0a\x04NAME\x12\x07\x1a\x05sleep");

        let uri = "spiffe://cluster.local/ns/default/sa/sleep";
        let by = "spiffe://cluster.local/ns/default/sa/web";
        let peer = Peer { by, uri, certificate: b"abc" };
        let told = request(&mut head, Direction::Inbound, &node(), Some(web), Some(peer), &mut random);
        assert_eq!(told, Told { metadata: true, decorator: None });
        trace(&mut head, &mut random);
        let arrives = [
            "user-agent",
            "x-forwarded-proto",
            "x-request-id",
            "x-envoy-attempt-count",
            "x-b3-traceid",
            "x-b3-spanid",
            "x-b3-sampled",
            "x-forwarded-client-cert",
            "x-b3-parentspanid",
        ];
        assert_eq!(names(&head.fields), arrives);
        assert_eq!(head.fields.get("x-b3-parentspanid"), Some(span.as_str()));
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let want = format!("By={by};Hash={hash};Subject=\"\";URI={uri}");
        assert_eq!(head.fields.get("x-forwarded-client-cert"), Some(want.as_str()));
    }

    #[test]
    fn and_back() {
        let fields = Fields(vec![("server".into(), b"nginx".to_vec()), ("date".into(), b"then".to_vec())]);
        let mut head = Response { status: 200, fields };
        let told = Told { metadata: true, decorator: None };
        response(&mut head, Direction::Inbound, &node(), &told, 3, "now");
        assert_eq!(names(&head.fields), ["server", "date", "x-envoy-upstream-service-time", METADATA, METADATA_ID]);
        assert_eq!(head.fields.get("server"), Some(INBOUND_SERVER));
        response(&mut head, Direction::Outbound, &node(), &Told::default(), 5, "now");
        assert_eq!(names(&head.fields), ["server", "date", "x-envoy-upstream-service-time"]);
        assert_eq!(head.fields.get("server"), Some(OUTBOUND_SERVER));
        assert_eq!(head.fields.get("x-envoy-upstream-service-time"), Some("5"));
        // Whoever has told nothing hears the operation's name, and no metadata.
        let mut plain = Response { status: 200, ..Response::default() };
        let told = Told { metadata: false, decorator: Some("web:80/*".into()) };
        response(&mut plain, Direction::Inbound, &node(), &told, 0, "now");
        assert_eq!(names(&plain.fields), ["x-envoy-upstream-service-time", "date", "server", DECORATOR]);
    }
}
