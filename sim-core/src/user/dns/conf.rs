//! `/etc/resolv.conf` (resolv.conf(5), res_init.c of glibc 2.36) and `/etc/hosts` (hosts(5), nss_files).

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where the resolver is told whom to ask.
pub const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Names that need no server.
pub const HOSTS: &str = "/etc/hosts";

/// RES_TIMEOUT in seconds.
const TIMEOUT_S: u32 = 5;
/// RES_DFLRETRY
const ATTEMPTS: u32 = 2;
/// RES_MAXNDOTS
const MAX_NDOTS: u32 = 15;
/// RES_MAXRETRANS in seconds.
const MAX_TIMEOUT_S: u32 = 30;
/// RES_MAXRETRY
const MAX_ATTEMPTS: u32 = 5;
/// MAXNS: more servers are not asked.
pub const MAX_SERVERS: usize = 3;

/// `/etc/resolv.conf` as understood. What glibc passes over is passed over.
///
/// Differs: servers with IPv6 addresses are passed over, too.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ResolvConf {
    /// `nameserver`: at most three.
    pub servers: Vec<Ipv4Addr>,
    /// `search`, or `domain`: tried behind a name.
    pub search: Vec<String>,
    /// A name with so many dots is first tried as it is.
    pub ndots: u32,
    /// How long the first server may take. Seconds.
    pub timeout_s: u32,
    /// So often every server is asked.
    pub attempts: u32,
    /// `rotate`: another server first each time.
    pub rotate: bool,
    /// `single-request`: AAAA only after the answer to A.
    pub single_request: bool,
    /// `single-request-reopen`: and from a new socket.
    pub single_request_reopen: bool,
    /// `use-vc`: TCP at once.
    pub use_vc: bool,
    /// `edns0`: queries say how long an answer may be.
    pub edns0: bool,
    /// `no-aaaa`: A only.
    pub no_aaaa: bool,
    /// `no-tld-query`: a name without a dot is not asked for as it is.
    pub no_tld_query: bool,
}

impl Default for ResolvConf {
    /// What holds without a file: the server of the machine itself.
    fn default() -> Self {
        ResolvConf {
            servers: vec![Ipv4Addr::LOCALHOST],
            search: vec![],
            ndots: 1,
            timeout_s: TIMEOUT_S,
            attempts: ATTEMPTS,
            rotate: false,
            single_request: false,
            single_request_reopen: false,
            use_vc: false,
            edns0: false,
            no_aaaa: false,
            no_tld_query: false,
        }
    }
}

impl ResolvConf {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        let mut conf = ResolvConf { servers: vec![], ..ResolvConf::default() };
        for line in text.lines() {
            // A keyword begins the line, and a blank ends it.
            let Some((keyword, rest)) = line.split_once([' ', '\t']) else { continue };
            let mut words = rest.split([' ', '\t']).filter(|w| !w.is_empty());
            match keyword {
                "domain" => {
                    if let Some(domain) = words.next() {
                        conf.search = vec![domain.to_owned()];
                    }
                }
                "search" => {
                    let list: Vec<String> = words.map(str::to_owned).collect();
                    if !list.is_empty() {
                        conf.search = list;
                    }
                }
                "nameserver" => {
                    if let Some(Ok(server)) = words.next().map(str::parse)
                        && conf.servers.len() < MAX_SERVERS
                    {
                        conf.servers.push(server);
                    }
                }
                "options" => words.for_each(|w| conf.option(w)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            conf.servers.push(Ipv4Addr::LOCALHOST);
        }
        conf
    }

    /// res_setoptions: a word counts by how it begins.
    fn option(&mut self, word: &str) {
        let number = |name: &str| word.strip_prefix(name).map(atoi);
        if let Some(n) = number("ndots:") {
            self.ndots = n.min(MAX_NDOTS);
        } else if let Some(n) = number("timeout:") {
            self.timeout_s = n.min(MAX_TIMEOUT_S);
        } else if let Some(n) = number("attempts:") {
            self.attempts = n.min(MAX_ATTEMPTS);
        } else if word.starts_with("rotate") {
            self.rotate = true;
        } else if word.starts_with("edns0") {
            self.edns0 = true;
        } else if word.starts_with("single-request-reopen") {
            self.single_request_reopen = true;
        } else if word.starts_with("single-request") {
            self.single_request = true;
        } else if word.starts_with("no_tld_query") || word.starts_with("no-tld-query") {
            self.no_tld_query = true;
        } else if word.starts_with("use-vc") {
            self.use_vc = true;
        } else if word.starts_with("no-aaaa") {
            self.no_aaaa = true;
        }
    }
}

/// atoi(3), without a sign: the digits in front; too many are the greatest number.
fn atoi(text: &str) -> u32 {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    text[..digits].parse().unwrap_or(if digits == 0 { 0 } else { u32::MAX })
}

/// `/etc/hosts` as understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hosts {
    /// In the order of the file.
    pub lines: Vec<HostLine>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostLine {
    /// ::1 counts as 127.0.0.1, an IPv4 address in an IPv6 one as itself.
    ///
    /// Differs: lines with other IPv6 addresses are passed over.
    pub address: Ipv4Addr,
    /// It was written as an IPv6 address.
    pub v6: bool,
    /// The canonical name, then aliases.
    pub names: Vec<String>,
}

impl Hosts {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Self {
        let mut hosts = Hosts::default();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            let Some(address) = words.next() else { continue };
            let (address, v6) = match (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>()) {
                (Ok(v4), _) => (v4, false),
                (_, Ok(Ipv6Addr::LOCALHOST)) => (Ipv4Addr::LOCALHOST, true),
                (_, Ok(v6)) => match v6.to_ipv4_mapped() {
                    Some(v4) => (v4, true),
                    None => continue,
                },
                _ => continue,
            };
            let names: Vec<String> = words.map(str::to_owned).collect();
            if !names.is_empty() {
                hosts.lines.push(HostLine { address, v6, names });
            }
        }
        hosts
    }

    /// The lines that have `name`, in either case.
    pub(super) fn by_name<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a HostLine> {
        self.lines.iter().filter(move |l| l.names.iter().any(|n| n.eq_ignore_ascii_case(name)))
    }

    /// The first line of an address.
    pub(super) fn by_address(&self, address: Ipv4Addr) -> Option<&HostLine> {
        self.lines.iter().find(|l| l.address == address && !l.v6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_file() {
        let text = "search default.svc.cluster.local svc.cluster.local cluster.local\n\
                    nameserver 10.96.0.10\noptions ndots:5\n";
        let conf = ResolvConf::parse(text);
        assert_eq!(conf.servers, [Ipv4Addr::new(10, 96, 0, 10)]);
        assert_eq!(conf.search, ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!((conf.ndots, conf.timeout_s, conf.attempts), (5, 5, 2));
    }

    #[test]
    fn odd_lines() {
        assert_eq!(ResolvConf::parse(""), ResolvConf::default());
        let servers = |text| ResolvConf::parse(text).servers.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>();
        assert_eq!(
            servers("nameserver 1.1.1.1 #one\nnameserver\t2.2.2.2\n# nameserver 3.3.3.3"),
            ["1.1.1.1", "2.2.2.2"]
        );
        assert_eq!(servers(" nameserver 1.1.1.1\nnameserver x\nnameserver fe80::1\nNAMESERVER 1.1.1.1"), ["127.0.0.1"]);
        assert_eq!(servers(&"nameserver 1.1.1.1\n".repeat(4)).len(), 3);
        let conf = ResolvConf::parse("search a b\ndomain c\nsearch \noptions ndots:99 timeout:0 attempts:9x rotate\n");
        assert_eq!((conf.search, conf.ndots, conf.timeout_s, conf.attempts), (vec!["c".to_owned()], 15, 0, 5));
        assert!(conf.rotate && !conf.single_request);
        let conf = ResolvConf::parse("options single-request-reopen ndots:\toptions use-vc no-aaaa no-tld-query edns0");
        assert!(conf.single_request_reopen && !conf.single_request && conf.use_vc && conf.no_aaaa && conf.edns0);
        assert_eq!(conf.ndots, 0);
    }

    #[test]
    fn hosts() {
        let hosts = Hosts::parse(
            "127.0.0.1 localhost\n::1\tlocalhost ip6-localhost # me\nfe80::1 x\n10.0.0.1 A.b a\n10.0.0.2 a\nz q",
        );
        let of = |name| hosts.by_name(name).map(|l| l.address.to_string()).collect::<Vec<_>>();
        assert_eq!(of("LOCALHOST"), ["127.0.0.1", "127.0.0.1"]);
        assert_eq!(of("a"), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(of("x"), <[&str; 0]>::default());
        assert_eq!(hosts.by_address([10, 0, 0, 1].into()).unwrap().names, ["A.b", "a"]);
        assert!(hosts.by_address([10, 0, 0, 9].into()).is_none());
    }
}
