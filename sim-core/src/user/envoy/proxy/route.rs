//! Where a request goes (source/common/router/config_impl.cc).

use super::config::{Filter, OutboundTrafficPolicy, RetryPolicy, Route, VirtualHost};
use super::downstream::{Down, Side};
use super::head::Request;
use super::log::Flag;
use super::program::Envoy;

/// Where a request or a connection goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Destination {
    /// To an endpoint of a cluster.
    Cluster(String),
    /// Where it was meant to go (PassthroughCluster).
    Passthrough,
    /// To the pod's own program.
    Inbound,
    /// To pilot-agent.
    Agent,
}

/// What a route says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Choice {
    pub name: String,
    pub to: Destination,
    pub decorator: Option<String>,
    pub retry: Option<RetryPolicy>,
}

/// What becomes of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Routed {
    To(Choice),
    /// The proxy answers itself: status, response flag, details.
    Own(u16, Flag, &'static str),
}

impl Envoy {
    /// Looks up the route of a request.
    pub(super) fn route(&self, down: &Down, request: &Request) -> Routed {
        let plain = |name: &str, to| Routed::To(Choice { name: name.into(), to, decorator: None, retry: None });
        match down.side {
            Side::Health => return plain("-", Destination::Agent),
            Side::Inbound => {
                let operation = self.inbound(down.original.port()).decorator;
                let decorator = Some(operation).filter(|o| !o.is_empty());
                let (name, to) = ("default".to_owned(), Destination::Inbound);
                return Routed::To(Choice { name, to, decorator, retry: None });
            }
            Side::Outbound | Side::Stats | Side::Agent => {}
        }
        let hosts: &[VirtualHost] = match self.filter(down.original) {
            Some(Filter::Http(hosts) | Filter::Sniff(hosts, _)) => hosts,
            _ => &[],
        };
        match virtual_host(hosts, &request.authority) {
            Some(host) => match host.routes.iter().find(|r| request.path.starts_with(&r.prefix)) {
                Some(Route { name, cluster, decorator, retry, .. }) => Routed::To(Choice {
                    name: name.clone(),
                    to: Destination::Cluster(cluster.clone()),
                    decorator: Some(decorator.clone()).filter(|d| !d.is_empty()),
                    retry: retry.clone(),
                }),
                None => Routed::Own(404, Flag::NR, "route_not_found"),
            },
            None => match self.config.as_ref().map(|c| c.outbound_traffic_policy) {
                Some(OutboundTrafficPolicy::AllowAny) => plain("allow_any", Destination::Passthrough),
                Some(OutboundTrafficPolicy::RegistryOnly) => Routed::Own(502, Flag::None, "direct_response"),
                None => Routed::Own(404, Flag::NR, "route_not_found"),
            },
        }
    }
}

/// The virtual host of a name: its own, then the longest `*.suffix`, then `*`.
fn virtual_host<'a>(hosts: &'a [VirtualHost], authority: &str) -> Option<&'a VirtualHost> {
    let name = authority.to_ascii_lowercase();
    let fits = |domain: &str| match domain.strip_prefix('*') {
        Some(suffix) => name.len() > suffix.len() && name.ends_with(suffix),
        None => name == domain,
    };
    let rank = |domain: &str| (!domain.starts_with('*'), domain.len());
    let all = hosts.iter().flat_map(|host| host.domains.iter().map(move |domain| (rank(domain), domain, host)));
    all.filter(|(_, domain, _)| fits(domain)).max_by_key(|(rank, ..)| *rank).map(|(.., host)| host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_hosts() {
        let host = |name: &str, domains: &[&str]| VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|d| (*d).to_owned()).collect(),
            routes: vec![],
        };
        let hosts = [
            host("all", &["*"]),
            host("web", &["web", "web:80", "10.96.5.5"]),
            host("lab", &["*.lab", "x.lab"]),
            host("y", &["*.y.lab"]),
        ];
        for (authority, want) in [
            ("web", "web"),
            ("WEB:80", "web"),
            ("web:81", "all"),
            ("10.96.5.5", "web"),
            ("a.lab", "lab"),
            ("a.y.lab", "y"),
            ("lab", "all"),
        ] {
            assert_eq!(virtual_host(&hosts, authority).unwrap().name, want, "{authority}");
        }
        assert_eq!(virtual_host(&hosts[1..], "lab"), None);
    }
}
