//! What people tell Istio of their mesh: which pods ask for mutual TLS ([`PeerAuthentication`]), and how Services are
//! spoken to ([`DestinationRule`]). Who is told what is decided as istiod does (pilot/pkg/model/authentication.go,
//! push_context.go and pilot/pkg/security/authn/v1beta1 of Istio 1.13.4).
//!
//! Differs: of several objects for the same pods or host the first by name counts, not the oldest.

use super::Mtls;
use super::pilot::NAMESPACE as ROOT;
use crate::cluster::config::Config;
use crate::cluster::object::{Labels, Meta, Object, selects};
use crate::cluster::store::Problem;
use crate::user::envoy::config::{Cluster, LbPolicy, UpstreamProtocol};
use std::collections::BTreeMap;

/// A PeerAuthentication of security.istio.io: what proxies ask of who connects to their pods.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PeerAuthentication {
    /// Its `metadata`. In the namespace of the control plane it is for the whole mesh.
    pub meta: Meta,
    /// `spec.selector.matchLabels`; empty for all pods of its namespace.
    pub selector: Labels,
    /// `spec.mtls.mode`; none for what holds without it (`UNSET`).
    pub mtls: Option<Mtls>,
    /// `spec.portLevelMtls`: the same by the ports of containers.
    pub ports: BTreeMap<u16, Option<Mtls>>,
}

/// A DestinationRule of networking.istio.io: how proxies speak to a Service.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DestinationRule {
    /// Its `metadata`.
    pub meta: Meta,
    /// `spec.host`: a Service's name, whole or in the rule's own namespace, or one with a `*` in front.
    pub host: String,
    /// `spec.trafficPolicy`
    pub policy: TrafficPolicy,
}

/// How connections to a Service are made. What is not set has its default.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TrafficPolicy {
    /// `tls.mode`: mutual TLS with everybody (`ISTIO_MUTUAL`), or with nobody (`DISABLE`). Without it a proxy speaks it
    /// to who has a sidecar and takes it.
    pub mutual_tls: Option<bool>,
    /// `loadBalancer.simple`
    pub lb_policy: Option<LbPolicy>,
    /// `connectionPool.tcp.maxConnections`
    pub max_connections: Option<u32>,
    /// `connectionPool.tcp.connectTimeout`
    pub connect_timeout_ms: Option<u64>,
    /// `connectionPool.http.http1MaxPendingRequests`
    pub max_pending_requests: Option<u32>,
    /// `connectionPool.http.http2MaxRequests`
    pub max_requests: Option<u32>,
    /// `connectionPool.http.maxRequestsPerConnection`
    pub max_requests_per_connection: Option<u32>,
    /// `connectionPool.http.maxRetries`
    pub max_retries: Option<u32>,
    /// `connectionPool.http.idleTimeout`
    pub idle_timeout_ms: Option<u64>,
    /// `connectionPool.http.h2UpgradePolicy` and `useClientProtocol`
    pub protocol: Option<UpstreamProtocol>,
}

impl TrafficPolicy {
    /// Changes what holds without it (applyTrafficPolicy).
    pub fn apply(&self, cluster: &mut Cluster) {
        let breakers = &mut cluster.circuit_breakers;
        let limits = [
            (&mut breakers.max_connections, self.max_connections),
            (&mut breakers.max_pending_requests, self.max_pending_requests),
            (&mut breakers.max_requests, self.max_requests),
            (&mut breakers.max_retries, self.max_retries),
            (&mut cluster.max_requests_per_connection, self.max_requests_per_connection),
        ];
        // Zero is what an object has that does not say it.
        for (limit, set) in limits {
            *limit = set.filter(|set| *set > 0).unwrap_or(*limit);
        }
        cluster.connect_timeout_ms = self.connect_timeout_ms.unwrap_or(cluster.connect_timeout_ms);
        cluster.idle_timeout_ms = self.idle_timeout_ms.or(cluster.idle_timeout_ms);
        cluster.lb_policy = self.lb_policy.unwrap_or(cluster.lb_policy);
        cluster.protocol = self.protocol.unwrap_or(cluster.protocol);
    }
}

/// All of them, by namespace and name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::cluster) struct Policies {
    authentications: Vec<PeerAuthentication>,
    rules: Vec<DestinationRule>,
}

impl Policies {
    /// Those among the objects. Without Istio there are no such kinds.
    pub(in crate::cluster) fn new(config: &Config, objects: &[&Object], problems: &mut Vec<Problem>) -> Self {
        let mut policies = Policies::default();
        for (n, object) in objects.iter().enumerate() {
            match object {
                Object::PeerAuthentication(authentication) => policies.authentications.push(authentication.clone()),
                Object::DestinationRule(rule) => policies.rules.push(rule.clone()),
                _ => continue,
            }
            if config.istio.is_none() {
                problems.push(Problem {
                    object: Some(n),
                    field: "kind".to_owned(),
                    message: format!("no matches for kind \"{}\": it is one of Istio's", object.kind()),
                    hint: Some("write `istio: {}` in `cluster:` to install Istio".to_owned()),
                    warning: false,
                });
            }
        }
        let by_name = |meta: &Meta| (meta.namespace.clone(), meta.name.clone());
        policies.authentications.sort_by_key(|a| by_name(&a.meta));
        policies.rules.sort_by_key(|r| by_name(&r.meta));
        policies
    }

    /// What a pod with these labels asks for at a port of a container, or at any; `mesh` is what holds where nobody
    /// says anything (composePeerAuthentication).
    pub(super) fn mtls(&self, mesh: Mtls, namespace: &str, labels: &Labels, port: Option<u16>) -> Mtls {
        let of = |namespace: &str, for_pods: bool| {
            let all = self.authentications.iter().filter(move |a| a.meta.namespace == namespace);
            all.filter(move |a| a.selector.is_empty() != for_pods).find(|a| !for_pods || selects(&a.selector, labels))
        };
        let of_mesh = of(ROOT, false).and_then(|a| a.mtls).unwrap_or(mesh);
        let own = Some(namespace).filter(|n| *n != ROOT);
        let of_namespace = own.and_then(|n| of(n, false)?.mtls).unwrap_or(of_mesh);
        // One with a selector counts in its own namespace alone, and not in the control plane's.
        let Some(authentication) = own.and_then(|n| of(n, true)) else { return of_namespace };
        let of_pod = authentication.mtls.unwrap_or(of_namespace);
        port.and_then(|port| *authentication.ports.get(&port)?).unwrap_or(of_pod)
    }

    /// How the proxies of a namespace speak to a Service: by a rule of their own namespace, of the Service's, or of the
    /// mesh (PushContext.destinationRule).
    pub(super) fn traffic(&self, from: &str, service: &Meta, host: &str) -> TrafficPolicy {
        let own = Some(from).filter(|from| *from != ROOT);
        let places = own.into_iter().chain([service.namespace.as_str(), ROOT]);
        places.filter_map(|namespace| self.rule(namespace, host)).map(|rule| rule.policy).next().unwrap_or_default()
    }

    /// The rule of a namespace whose host fits best (MostSpecificHostMatch).
    fn rule(&self, namespace: &str, host: &str) -> Option<&DestinationRule> {
        let fits = |rule: &&DestinationRule| match rule.host.strip_prefix('*') {
            Some(end) => host.ends_with(end),
            // The name alone is one of the rule's own namespace (ResolveShortnameToFQDN).
            None if rule.host.contains('.') => rule.host == host,
            None => host.strip_prefix(&rule.host).is_some_and(|rest| rest.starts_with(&format!(".{namespace}.svc."))),
        };
        let rules = self.rules.iter().filter(|rule| rule.meta.namespace == namespace).filter(fits);
        // A name goes before a pattern, a longer one before a shorter one, the first before others.
        rules.rev().max_by_key(|rule| (!rule.host.starts_with('*'), rule.host.len()))
    }
}
