//! Istio's objects: PeerAuthentication and DestinationRule (pkg/config/validation/validation.go of Istio 1.13.4, and
//! the words of its CustomResourceDefinitions).

use super::meta::{self, Scope};
use super::names::{self, go_string};
use super::reader::{Field, Reader};
use crate::cluster::istio::Mtls;
use crate::cluster::istio::policy::{DestinationRule, PeerAuthentication, TrafficPolicy};
use crate::cluster::object::Object;
use crate::user::envoy::config::{LbPolicy, UpstreamProtocol};
use std::collections::BTreeMap;

const MODES: [(&str, Option<Mtls>); 4] = [
    ("UNSET", None),
    ("DISABLE", Some(Mtls::Disable)),
    ("PERMISSIVE", Some(Mtls::Permissive)),
    ("STRICT", Some(Mtls::Strict)),
];
/// Of `tls.mode`: whether it is mutual TLS with Istio's certificates, if that is simulated.
const TLS_MODES: [(&str, Option<bool>); 4] =
    [("DISABLE", Some(false)), ("SIMPLE", None), ("MUTUAL", None), ("ISTIO_MUTUAL", Some(true))];
/// Of `loadBalancer.simple`; none for what is not simulated.
const BALANCERS: [(&str, Option<LbPolicy>); 6] = [
    ("UNSPECIFIED", None),
    ("LEAST_CONN", Some(LbPolicy::LeastRequest)),
    ("RANDOM", Some(LbPolicy::Random)),
    ("PASSTHROUGH", None),
    ("ROUND_ROBIN", Some(LbPolicy::RoundRobin)),
    ("LEAST_REQUEST", Some(LbPolicy::LeastRequest)),
];
const UPGRADES: [(&str, Option<UpstreamProtocol>); 3] =
    [("DEFAULT", None), ("DO_NOT_UPGRADE", Some(UpstreamProtocol::Http11)), ("UPGRADE", Some(UpstreamProtocol::Http2))];
/// Units of a duration, in milliseconds.
const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
/// A duration is no longer, in milliseconds: a hundred years.
const MAX_MS: u64 = 100 * 365 * 24 * 3_600_000;

/// Reads a PeerAuthentication.
pub(super) fn peer_authentication(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let spec = root.child("spec");
    let (at, ports_at) = (spec.child("selector").child("matchLabels"), spec.child("portLevelMtls"));
    let selector = meta::labels(reader, &at);
    for (entry, value) in at.entries() {
        let pair = format!("{}={}", entry.key, value.text().unwrap_or_default());
        if pair.contains('*') {
            reader.report(&value, format!("wildcard is not supported in selector: {pair:?}"), None);
        }
    }
    reader.note(&ports_at);
    let given = ports_at.entries();
    if ports_at.node.is_some() && given.is_empty() {
        reader.report(&ports_at, "port level mTLS, if defined, must have at least one element".to_owned(), None);
    }
    if selector.is_empty() && !given.is_empty() {
        let hint = "write `selector:` with `matchLabels:` for the pods that are meant".to_owned();
        let message = "mesh/namespace peer authentication cannot have port level mTLS".to_owned();
        reader.report(&ports_at, message, Some(hint));
    }
    let mut ports = BTreeMap::new();
    for (entry, field) in given {
        match entry.key.parse() {
            Ok(port) if port > 0 => {
                ports.insert(port, mode(reader, &field.child("mode")));
            }
            _ => reader.report(&field, "port must be in range 1..65535".to_owned(), None),
        }
    }
    let mtls = mode(reader, &spec.child("mtls").child("mode"));
    Object::PeerAuthentication(PeerAuthentication { meta, selector, mtls, ports })
}

fn mode(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<Mtls> {
    reader.one_of(field, &MODES, None)
}

/// Reads a DestinationRule.
pub(super) fn destination_rule(reader: &mut Reader<'_>, root: &Field<'_>) -> Object {
    let meta = meta::meta(reader, root, Scope::Namespace, names::dns1123_subdomain);
    let spec = root.child("spec");
    let at = spec.child("host");
    let host = reader.string(&at).unwrap_or_default().to_owned();
    if host.is_empty() {
        reader.required(&at, "");
    } else if host != "*" {
        // ValidateWildcardDomain
        let name = host.strip_prefix("*.").unwrap_or(&host);
        reader.check(&at, go_string(&host), names::dns1123_subdomain(name));
    }
    let exports = spec.child("exportTo");
    if reader.strings(&exports).iter().any(|to| to != "*") {
        reader.not_simulated(&exports, "a rule for some namespaces alone", "leave it out: all namespaces see the rule");
    }
    refuse(reader, &spec, &[("workloadSelector", "a rule for some clients alone")]);
    let policy = traffic_policy(reader, &spec.child("trafficPolicy"));
    Object::DestinationRule(DestinationRule { meta, host, policy })
}

fn traffic_policy(reader: &mut Reader<'_>, field: &Field<'_>) -> TrafficPolicy {
    if field.node.is_some() && field.children().next().is_none() {
        reader.report(field, "traffic policy must have at least one field".to_owned(), None);
    }
    let kinds = [
        ("outlierDetection", "outlier detection"),
        ("portLevelSettings", "a policy for one port"),
        ("proxyProtocol", "the PROXY protocol"),
        ("retryBudget", "a retry budget"),
        ("tunnel", "a tunnel"),
    ];
    refuse(reader, field, &kinds);
    let mut policy = TrafficPolicy::default();
    let tls = field.child("tls").child("mode");
    policy.mutual_tls = supported(reader, &tls, &TLS_MODES, "TLS with certificates of one's own");
    let balancer = field.child("loadBalancer");
    let kinds = [
        ("consistentHash", "consistent hashing"),
        ("localityLbSetting", "balancing by locality"),
        ("warmup", "warming up"),
        ("warmupDurationSecs", "warming up"),
    ];
    refuse(reader, &balancer, &kinds);
    policy.lb_policy = supported(reader, &balancer.child("simple"), &BALANCERS, "this way to balance");
    let pool = field.child("connectionPool");
    let (tcp, http) = (pool.child("tcp"), pool.child("http"));
    if pool.node.is_some() && tcp.node.is_none() && http.node.is_none() {
        reader.report(&pool, "connection pool must have at least one field".to_owned(), None);
    }
    policy.max_connections = count(reader, &tcp.child("maxConnections"), "max connections");
    policy.connect_timeout_ms = duration(reader, &tcp.child("connectTimeout"));
    http_settings(reader, &http, &mut policy);
    policy
}

fn http_settings(reader: &mut Reader<'_>, http: &Field<'_>, policy: &mut TrafficPolicy) {
    let mut limit = |name: &str, called: &str| count(reader, &http.child(name), called);
    policy.max_pending_requests = limit("http1MaxPendingRequests", "http1 max pending requests");
    policy.max_requests = limit("http2MaxRequests", "http2 max requests");
    policy.max_requests_per_connection = limit("maxRequestsPerConnection", "max requests per connection");
    policy.max_retries = limit("maxRetries", "max retries");
    policy.idle_timeout_ms = duration(reader, &http.child("idleTimeout"));
    let upgrade = reader.one_of(&http.child("h2UpgradePolicy"), &UPGRADES, None);
    let downstream = http.child("useClientProtocol");
    let follows = reader.boolean(&downstream) == Some(true);
    if follows && upgrade == Some(UpstreamProtocol::Http2) {
        let message = "use client protocol must not be true when H2UpgradePolicy is UPGRADE";
        reader.report(&downstream, message.to_owned(), None);
    }
    // DO_NOT_UPGRADE leaves a port's own protocol as it is.
    let upgraded = upgrade.filter(|to| *to == UpstreamProtocol::Http2);
    policy.protocol = if follows { Some(UpstreamProtocol::UseDownstream) } else { upgraded };
}

/// A word that is known, or none; one that is known and not simulated is refused.
fn supported<T: Copy>(
    reader: &mut Reader<'_>,
    field: &Field<'_>,
    known: &[(&str, Option<T>)],
    what: &str,
) -> Option<T> {
    let found = reader.one_of(field, known, None);
    let is_known = |word: &str| known.iter().any(|(name, _)| *name == word);
    if let Some(word) = field.text().filter(|word| found.is_none() && *word != "UNSPECIFIED" && is_known(word)) {
        let simulated = known.iter().filter(|(_, value)| value.is_some()).map(|(name, _)| format!("`{name}`"));
        let hint = format!("what is simulated is {}", simulated.collect::<Vec<_>>().join(", "));
        reader.not_simulated(field, &format!("`{word}`, {what},"), &hint);
    }
    found
}

/// Fields that would change what happens, and are not simulated.
fn refuse(reader: &mut Reader<'_>, parent: &Field<'_>, fields: &[(&str, &str)]) {
    for (name, what) in fields {
        let field = parent.child(name);
        if field.node.is_some() {
            reader.not_simulated(&field, what, "leave it out");
        }
    }
}

/// A limit by what Istio calls it.
fn count(reader: &mut Reader<'_>, field: &Field<'_>, called: &str) -> Option<u32> {
    let number = reader.integer(field)?;
    if number < 0 {
        reader.report(field, format!("{called} must be non-negative"), None);
    }
    u32::try_from(number).ok()
}

/// A duration as Go writes it, `1m30s`, in milliseconds (ValidateDuration).
fn duration(reader: &mut Reader<'_>, field: &Field<'_>) -> Option<u64> {
    let text = reader.string(field)?;
    match milliseconds(text) {
        None => {
            let hint = "write a number and its unit, as `30ms`, `10s` or `1h30m`".to_owned();
            reader.report(field, format!("bad Duration: time: invalid duration {}", go_string(text)), Some(hint));
        }
        Some(0) => reader.report(field, "duration must be greater than 1ms".to_owned(), None),
        Some(ms) => return Some(ms),
    }
    None
}

fn milliseconds(text: &str) -> Option<u64> {
    let (mut rest, mut sum) = (text, 0_u64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let length = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
        let (unit, next) = rest[digits..].split_at(length);
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit)?;
        sum = sum.checked_add(number.checked_mul(*ms)?).filter(|sum| *sum <= MAX_MS)?;
        rest = next;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::object::Labels;
    use crate::scenario::manifest::read;
    use crate::scenario::{Diagnostics, SourceFile};

    fn object(text: &str) -> Result<Object, Diagnostics> {
        read(&SourceFile::new("f.yaml", text)).map(|all| all.objects.into_iter().next().expect("one").object)
    }

    /// An object of Istio's around the lines of its spec.
    fn of(kind: &str, spec: &str) -> String {
        let group = if kind == "PeerAuthentication" { "security" } else { "networking" };
        format!(
            "apiVersion: {group}.istio.io/v1beta1\nkind: {kind}\nmetadata: {{name: x, namespace: shop}}\nspec: {spec}\n"
        )
    }

    #[test]
    fn what_people_write() {
        let text = of(
            "PeerAuthentication",
            "{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}, \
             portLevelMtls: {8080: {mode: DISABLE}, 81: {}}}",
        );
        let Ok(Object::PeerAuthentication(p)) = object(&text) else { panic!("{:?}", object(&text)) };
        assert_eq!(p.selector, Labels::from([("app".to_owned(), "web".to_owned())]));
        assert_eq!((p.mtls, p.ports), (Some(Mtls::Strict), [(8080, Some(Mtls::Disable)), (81, None)].into()));
        let text = of(
            "DestinationRule",
            "{host: web, trafficPolicy: {tls: {mode: ISTIO_MUTUAL}, loadBalancer: {simple: LEAST_CONN}, \
             connectionPool: {tcp: {maxConnections: 1, connectTimeout: 30ms}, \
             http: {http1MaxPendingRequests: 2, http2MaxRequests: 3, maxRequestsPerConnection: 4, \
             maxRetries: 5, idleTimeout: 1h30m, h2UpgradePolicy: UPGRADE}}}}",
        );
        let Ok(Object::DestinationRule(rule)) = object(&text) else { panic!("{:?}", object(&text)) };
        let want = TrafficPolicy {
            mutual_tls: Some(true),
            lb_policy: Some(LbPolicy::LeastRequest),
            max_connections: Some(1),
            connect_timeout_ms: Some(30),
            max_pending_requests: Some(2),
            max_requests: Some(3),
            max_requests_per_connection: Some(4),
            max_retries: Some(5),
            idle_timeout_ms: Some(5_400_000),
            protocol: Some(UpstreamProtocol::Http2),
        };
        assert_eq!((rule.host.as_str(), rule.policy), ("web", want));
    }

    #[test]
    fn what_istio_refuses() {
        let (peer, rule) = ("PeerAuthentication", "DestinationRule");
        for (kind, spec, want) in [
            (
                peer,
                "{mtls: {mode: STRCT}}",
                "spec.mtls.mode: Unsupported value: \"STRCT\": supported values: \"UNSET\", \"DISABLE\", \
                 \"PERMISSIVE\", \"STRICT\"",
            ),
            (
                peer,
                "{portLevelMtls: {80: {mode: STRICT}}}",
                "spec.portLevelMtls: mesh/namespace peer authentication cannot have port level mTLS",
            ),
            (
                peer,
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {}}",
                "spec.portLevelMtls: port level mTLS, if defined, must have at least one element",
            ),
            (
                peer,
                "{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}",
                "spec.portLevelMtls[http]: port must be in range 1..65535",
            ),
            (peer, "{mtsl: {mode: STRICT}}", "unknown field \"spec.mtsl\""),
            (rule, "{trafficPolicy: {tls: {mode: DISABLE}}}", "spec.host: Required value"),
            (rule, "{host: a, trafficPolicy: {}}", "spec.trafficPolicy: traffic policy must have at least one field"),
            (
                rule,
                "{host: a, trafficPolicy: {connectionPool: {}}}",
                "spec.trafficPolicy.connectionPool: connection pool must have at least one field",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {connectionPool: {tcp: {maxConnections: -1}}}}",
                "spec.trafficPolicy.connectionPool.tcp.maxConnections: max connections must be non-negative",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {connectionPool: {http: {idleTimeout: 5}}}}",
                "`spec.trafficPolicy.connectionPool.http.idleTimeout` must be a string, found a number",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {connectionPool: {tcp: {connectTimeout: 5x}}}}",
                "spec.trafficPolicy.connectionPool.tcp.connectTimeout: bad Duration: time: invalid duration \"5x\"",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {outlierDetection: {interval: 1s}}}",
                "spec.trafficPolicy.outlierDetection: outlier detection is not simulated",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {tls: {mode: SIMPLE}}}",
                "spec.trafficPolicy.tls.mode: `SIMPLE`, TLS with certificates of one's own, is not simulated",
            ),
            (
                rule,
                "{host: a, trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}}",
                "spec.trafficPolicy.loadBalancer.simple: `PASSTHROUGH`, this way to balance, is not simulated",
            ),
        ] {
            let errors = object(&of(kind, spec)).expect_err(spec);
            let messages: Vec<_> = errors.iter().map(|e| e.message.as_str()).collect();
            assert_eq!(messages, [want], "{spec}");
        }
    }

    #[test]
    fn durations() {
        for (text, want) in [
            ("30ms", Some(30)),
            ("10s", Some(10_000)),
            ("1h1m1s", Some(3_661_000)),
            ("0s", Some(0)),
            ("10", None),
            ("s", None),
            ("1.5s", None),
            ("1d", None),
            ("-1s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(milliseconds(text), want, "{text}");
        }
    }
}
