//! What CoreDNS sees of the API server: Services, their endpoints, namespaces. In a lab it is a file of lines:
//!
//! ```text
//! # Services have ports: [NAME=]NUMBER[/tcp|udp|sctp]. A headless one has None instead of an address.
//! service default/web 10.96.0.80 http=80 https=443
//! service default/db None postgres=5432
//! endpoint default/db 10.244.1.5 db-0
//! endpoint default/db 10.244.2.6
//! # A Service of type ExternalName.
//! external default/search www.example.com
//! namespace wrk-1
//! ```

use super::super::message::{self, OwnName};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Where a lab has it.
pub const CLUSTER: &str = "/etc/coredns/cluster";

/// Namespaces that every cluster has.
const NAMESPACES: [&str; 4] = ["default", "kube-node-lease", "kube-public", "kube-system"];

/// What there is in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Cluster {
    /// In the order in which they came.
    pub services: Vec<Service>,
    /// Their names.
    pub namespaces: BTreeSet<String>,
}

/// A Service with its endpoints.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// None: headless.
    pub cluster_ip: Option<Ipv4Addr>,
    /// In the order of the object.
    pub ports: Vec<Port>,
    /// Those that are ready.
    pub endpoints: Vec<Endpoint>,
    /// `externalName`: the name that it stands for.
    pub external: Option<OwnName>,
}

/// A port of a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Port {
    /// Empty if it has none.
    pub name: String,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    /// The port.
    pub number: u16,
}

/// An address behind a Service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// The pod's.
    pub address: Ipv4Addr,
    /// Its name under the Service; without one, the address with dashes.
    pub hostname: Option<String>,
}

impl Endpoint {
    /// Its label in front of the Service's name (`endpointHostname`).
    pub(super) fn label(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.address.to_string().replace('.', "-"))
    }
}

impl Cluster {
    /// A cluster without Services.
    pub fn new() -> Self {
        Cluster { services: vec![], namespaces: NAMESPACES.map(str::to_owned).into() }
    }

    /// Reads the lines of a file.
    ///
    /// # Errors
    /// The number of the first line that is wrong, and what is.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let mut cluster = Cluster::new();
        for (n, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default();
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            cluster.line(&words).map_err(|message| (n + 1, message))?;
        }
        Ok(cluster)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        match *words {
            [] => Ok(()),
            ["namespace", name] => {
                self.namespaces.insert(label(name)?);
                Ok(())
            }
            ["service", key, address, ref ports @ ..] => {
                let (namespace, name) = self.new_key(key)?;
                let cluster_ip = if address == "None" { None } else { Some(parse_address(address)?) };
                let ports = ports.iter().map(|p| port(p)).collect::<Result<Vec<_>, _>>()?;
                if ports.is_empty() && cluster_ip.is_some() {
                    return Err(format!("service {key} has no port: write `service {key} {address} 80`"));
                }
                self.add(Service { namespace, name, cluster_ip, ports, endpoints: vec![], external: None });
                Ok(())
            }
            ["external", key, target] => {
                let (namespace, name) = self.new_key(key)?;
                let external = Some(message::name(target).ok_or_else(|| format!("{target} is no name"))?);
                self.add(Service { namespace, name, cluster_ip: None, ports: vec![], endpoints: vec![], external });
                Ok(())
            }
            ["endpoint", key, address, ref hostname @ ..] if hostname.len() <= 1 => {
                let (namespace, name) = split(key)?;
                let address = parse_address(address)?;
                let hostname = hostname.first().map(|h| label(h)).transpose()?;
                let found = self.services.iter_mut().find(|s| s.namespace == namespace && s.name == name);
                let Some(service) = found else { return Err(format!("there is no service {key} above")) };
                service.endpoints.push(Endpoint { address, hostname });
                Ok(())
            }
            _ => Err("a line is `service NAMESPACE/NAME ADDRESS|None [NAME=]PORT[/PROTOCOL]…`, \
                      `endpoint NAMESPACE/NAME ADDRESS [HOSTNAME]`, `external NAMESPACE/NAME NAME` or \
                      `namespace NAME`"
                .to_owned()),
        }
    }

    /// The namespace and name of a Service that is not there yet.
    fn new_key(&self, key: &str) -> Result<(String, String), String> {
        let (namespace, name) = split(key)?;
        match self.find(&namespace, &name) {
            Some(_) => Err(format!("service {key} is there already")),
            None => Ok((namespace, name)),
        }
    }

    fn add(&mut self, service: Service) {
        self.namespaces.insert(service.namespace.clone());
        self.services.push(service);
    }

    /// The Service of that name, given in small letters.
    pub(super) fn find(&self, namespace: &str, name: &str) -> Option<&Service> {
        self.services.iter().find(|s| s.namespace == namespace && s.name == name)
    }
}

fn split(key: &str) -> Result<(String, String), String> {
    let (namespace, name) = key.split_once('/').ok_or_else(|| format!("{key} is not NAMESPACE/NAME"))?;
    Ok((label(namespace)?, label(name)?))
}

/// A DNS label (RFC 1123), as Kubernetes wants names.
fn label(text: &str) -> Result<String, String> {
    /// A label has at most so many bytes.
    const MAX_LABEL: usize = 63;
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner);
    if good && text.len() <= MAX_LABEL {
        Ok(text.to_owned())
    } else {
        Err(format!("{text} is no name: small letters, digits and dashes between them"))
    }
}

fn parse_address(text: &str) -> Result<Ipv4Addr, String> {
    text.parse().map_err(|_| format!("{text} is no IPv4 address"))
}

fn port(text: &str) -> Result<Port, String> {
    let bad = || format!("{text} is no port: write `80`, `http=80` or `dns=53/udp`");
    let (name, rest) = match text.split_once('=') {
        Some((name, rest)) => (label(name).map_err(|_| bad())?, rest),
        None => (String::new(), text),
    };
    let (number, protocol) = rest.split_once('/').unwrap_or((rest, "tcp"));
    let protocol = ["tcp", "udp", "sctp"].into_iter().find(|p| *p == protocol).ok_or_else(bad)?;
    match number.parse::<u16>() {
        Ok(number) if number > 0 && number.to_string().len() == rest.split('/').next().map_or(0, str::len) => {
            Ok(Port { name, protocol, number })
        }
        _ => Err(bad()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file() {
        let text = "# all\nservice default/web 10.96.0.80 http=80 dns=53/udp\nservice wrk-1/db None\n\
                    endpoint wrk-1/db 10.244.1.5 db-0 # first\nendpoint wrk-1/db 10.244.2.6\nnamespace empty\n";
        let cluster = Cluster::parse(text).unwrap();
        let web = cluster.find("default", "web").unwrap();
        assert_eq!(web.ports[1], Port { name: "dns".into(), protocol: "udp", number: 53 });
        let db = cluster.find("wrk-1", "db").unwrap();
        assert_eq!(db.cluster_ip, None);
        assert_eq!(db.endpoints.iter().map(Endpoint::label).collect::<Vec<_>>(), ["db-0", "10-244-2-6"]);
        assert!(["default", "wrk-1", "empty", "kube-system"].iter().all(|n| cluster.namespaces.contains(*n)));
    }

    #[test]
    fn wrong_lines() {
        for (text, line, message) in [
            ("\nservice web 1.2.3.4 80", 2, "web is not NAMESPACE/NAME"),
            ("service a/b 1.2.3 80", 1, "1.2.3 is no IPv4 address"),
            ("service a/b 1.2.3.4", 1, "service a/b has no port: write `service a/b 1.2.3.4 80`"),
            ("service a/B 1.2.3.4 80", 1, "B is no name: small letters, digits and dashes between them"),
            ("service a/b None 0", 1, "0 is no port: write `80`, `http=80` or `dns=53/udp`"),
            ("service a/b None 80/icmp", 1, "80/icmp is no port: write `80`, `http=80` or `dns=53/udp`"),
            ("service a/b None +80", 1, "+80 is no port: write `80`, `http=80` or `dns=53/udp`"),
            ("service a/b None\nservice a/b None", 2, "service a/b is there already"),
            ("service a/b None\nexternal a/b example.com", 2, "service a/b is there already"),
            ("external a/b example..com", 1, "example..com is no name"),
            ("endpoint a/b 1.2.3.4", 1, "there is no service a/b above"),
            ("namespace -x", 1, "-x is no name: small letters, digits and dashes between them"),
        ] {
            assert_eq!(Cluster::parse(text), Err((line, message.to_owned())), "{text}");
        }
        assert!(Cluster::parse("pod a/b 1.2.3.4").unwrap_err().1.starts_with("a line is"));
    }
}
