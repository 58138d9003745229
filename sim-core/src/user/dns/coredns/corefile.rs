//! The Corefile: server blocks with their plugins. What has no effect on answers is read and passed over; the texts for
//! what is wrong are CoreDNS's.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Where the server looks for it.
pub const COREFILE: &str = "/etc/coredns/Corefile";

/// kubeadm's, which is used where there is none.
pub const KUBEADM: &str = "\
.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
";

/// Plugins that change no answer here.
const PASSED_OVER: [&str; 10] =
    ["bind", "cache", "debug", "errors", "health", "log", "loop", "prometheus", "ready", "reload"];
/// Plugins of CoreDNS that are not simulated.
const NOT_SIMULATED: [&str; 26] = [
    "acl",
    "any",
    "auto",
    "autopath",
    "azure",
    "bufsize",
    "chaos",
    "clouddns",
    "dns64",
    "dnssec",
    "dnstap",
    "erratic",
    "etcd",
    "file",
    "grpc",
    "header",
    "import",
    "k8s_external",
    "metadata",
    "nsid",
    "rewrite",
    "root",
    "route53",
    "sign",
    "template",
    "tls",
];
/// The kubernetes plugin's TTL where its block says none, in seconds.
const DEFAULT_TTL: u32 = 5;
/// The hosts plugin's.
const HOSTS_TTL: u32 = 3600;
/// Deeper braces are refused.
const MAX_TOKENS: usize = 10_000;

/// A Corefile as understood.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Corefile {
    /// In the order of the file.
    pub blocks: Vec<Block>,
}

/// A server block.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Block {
    /// The zones that it serves, in small letters, without a final dot: empty for the root.
    pub zones: Vec<String>,
    /// `kubernetes`
    pub kubernetes: Option<Kubernetes>,
    /// `hosts`
    pub hosts: Option<HostsPlugin>,
    /// `forward`: zone and servers.
    pub forward: Option<Forward>,
    /// `loadbalance`: addresses in random order.
    pub loadbalance: bool,
}

/// The kubernetes plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kubernetes {
    /// Its zones, as those of a block.
    pub zones: Vec<String>,
    /// `pods insecure`: an answer for every address.
    pub pods_insecure: bool,
    /// `ttl`, in seconds.
    pub ttl: u32,
    /// Names of these zones that are not there are handed on.
    pub fallthrough: Vec<String>,
}

/// The hosts plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostsPlugin {
    /// A file like /etc/hosts besides.
    pub file: Option<String>,
    /// Only names in these; empty for all that the block serves.
    pub zones: Vec<String>,
    /// Lines of the block.
    pub inline: String,
    /// `ttl`, in seconds.
    pub ttl: u32,
    /// Names of these zones that are not there are handed on.
    pub fallthrough: Vec<String>,
}

/// The forward plugin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Names below this one, as a zone of a block.
    pub zone: String,
    /// Who is asked.
    pub to: Vec<Upstream>,
}

/// A server that is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Upstream {
    /// This one.
    Server(SocketAddrV4),
    /// Those that a resolv.conf names.
    File(String),
}

/// A word with its line.
struct Token<'a> {
    text: &'a str,
    line: usize,
}

/// A directive: its words, and the lines of its block.
struct Directive<'a> {
    line: usize,
    words: Vec<&'a str>,
    block: Vec<Vec<&'a str>>,
}

impl Corefile {
    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// What is wrong first, as CoreDNS says it.
    pub fn parse(path: &str, text: &str) -> Result<Self, String> {
        let fail = |line: usize, message: String| format!("{path}:{line} - Error during parsing: {message}");
        let tokens = tokens(text);
        if tokens.len() > MAX_TOKENS {
            return Err(fail(1, "too many words".to_owned()));
        }
        let mut corefile = Corefile::default();
        let mut rest = tokens.iter().peekable();
        while rest.peek().is_some() {
            let mut keys = vec![];
            let mut line = 0;
            loop {
                let Some(token) = rest.next() else { return Err(fail(line, "Unexpected EOF".to_owned())) };
                line = token.line;
                match token.text {
                    "{" => break,
                    "}" => return Err(fail(line, "Syntax error: Unexpected '}', expecting key".to_owned())),
                    key => keys.push(key.trim_end_matches(',')),
                }
            }
            let mut block = Block { zones: keys.iter().map(|k| zone_of_key(k)).collect(), ..Block::default() };
            if block.zones.is_empty() {
                return Err(fail(line, "Syntax error: Unexpected '{', expecting key".to_owned()));
            }
            for directive in directives(&mut rest).map_err(|line| fail(line, "Unexpected EOF".to_owned()))? {
                block.plugin(&directive).map_err(|message| fail(directive.line, message))?;
            }
            corefile.blocks.push(block);
        }
        Ok(corefile)
    }
}

impl Block {
    fn plugin(&mut self, directive: &Directive<'_>) -> Result<(), String> {
        let Some((name, args)) = directive.words.split_first() else { return Ok(()) };
        match *name {
            "kubernetes" => self.kubernetes = Some(self.kubernetes(args, &directive.block)?),
            "hosts" => self.hosts = Some(hosts(args, &directive.block)?),
            "forward" => self.forward = Some(forward(args)?),
            "loadbalance" => self.loadbalance = true,
            name if PASSED_OVER.contains(&name) => {}
            name if NOT_SIMULATED.contains(&name) => return Err(format!("plugin '{name}' is not simulated")),
            name => return Err(format!("Unknown directive '{name}'")),
        }
        Ok(())
    }

    fn kubernetes(&self, args: &[&str], block: &[Vec<&str>]) -> Result<Kubernetes, String> {
        let zones = if args.is_empty() { self.zones.clone() } else { args.iter().map(|z| zone(z)).collect() };
        let mut plugin = Kubernetes { zones, pods_insecure: false, ttl: DEFAULT_TTL, fallthrough: vec![] };
        let mut falls = None;
        for words in block {
            match words.as_slice() {
                ["pods", "insecure"] => plugin.pods_insecure = true,
                ["pods", "disabled"] => plugin.pods_insecure = false,
                ["pods", "verified"] => return Err("pods verified is not simulated".to_owned()),
                ["pods", other] => {
                    return Err(format!(
                        "wrong value for pods: {other},  must be one of: disabled, verified, insecure"
                    ));
                }
                ["ttl", ttl] => plugin.ttl = ttl_of(ttl)?,
                ["fallthrough", zones @ ..] => falls = Some(fall(zones)),
                ["endpoint_pod_names" | "noendpoints" | "ignore" | "namespaces" | "labels", ..] => {
                    return Err(format!("{} is not simulated", words[0]));
                }
                [
                    "endpoint" | "kubeconfig" | "tls" | "namespace_labels" | "multicluster" | "startup_timeout"
                    | "apiserver_qps",
                    ..,
                ] => {}
                _ => return Err(format!("unknown property '{}'", words.first().unwrap_or(&""))),
            }
        }
        plugin.fallthrough = falls.unwrap_or_default();
        Ok(plugin)
    }
}

fn hosts(args: &[&str], block: &[Vec<&str>]) -> Result<HostsPlugin, String> {
    let (file, zones) = match args {
        [file, zones @ ..] if file.starts_with('/') => (Some((*file).to_owned()), zones),
        zones => (None, zones),
    };
    let zones = zones.iter().map(|z| zone(z)).collect();
    let mut plugin = HostsPlugin { file, zones, inline: String::new(), ttl: HOSTS_TTL, fallthrough: vec![] };
    for words in block {
        match words.as_slice() {
            ["fallthrough", zones @ ..] => plugin.fallthrough = fall(zones),
            ["ttl", ttl] => plugin.ttl = ttl_of(ttl)?,
            ["reload", _] | ["no_reverse"] => {}
            [address, _, ..] if address.parse::<std::net::IpAddr>().is_ok() => {
                plugin.inline.push_str(&words.join(" "));
                plugin.inline.push('\n');
            }
            _ => return Err(format!("unknown property '{}'", words.first().unwrap_or(&""))),
        }
    }
    Ok(plugin)
}

fn forward(args: &[&str]) -> Result<Forward, String> {
    let [from, to @ ..] = args else {
        return Err("Wrong argument count or unexpected line ending after 'forward'".to_owned());
    };
    if to.is_empty() {
        return Err(format!("Wrong argument count or unexpected line ending after '{from}'"));
    }
    let upstream = |text: &&str| {
        let bare = text.strip_prefix("dns://").unwrap_or(text);
        if let Ok(address) = bare.parse::<Ipv4Addr>() {
            return Ok(Upstream::Server(SocketAddrV4::new(address, super::super::message::PORT)));
        }
        if let Ok(address) = bare.parse::<SocketAddrV4>() {
            return Ok(Upstream::Server(address));
        }
        if bare.starts_with('/') {
            return Ok(Upstream::File(bare.to_owned()));
        }
        Err(format!("not an IP address or file: \"{text}\""))
    };
    Ok(Forward { zone: zone(from), to: to.iter().map(upstream).collect::<Result<_, _>>()? })
}

fn fall(zones: &[&str]) -> Vec<String> {
    if zones.is_empty() { vec![String::new()] } else { zones.iter().map(|z| zone(z)).collect() }
}

fn ttl_of(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(ttl @ 0..=3600) => Ok(ttl),
        _ => Err(format!("ttl must be in range [0, 3600]: {text}")),
    }
}

/// A zone in small letters without a final dot.
fn zone(text: &str) -> String {
    let text = text.to_ascii_lowercase();
    text.strip_suffix('.').unwrap_or(&text).to_owned()
}

/// The zone of `dns://example.org:53`.
fn zone_of_key(key: &str) -> String {
    let key = key.strip_prefix("dns://").unwrap_or(key);
    zone(key.rsplit_once(':').map_or(key, |(zone, _)| zone))
}

fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut tokens = vec![];
    for (n, line) in text.lines().enumerate() {
        for word in line.split_whitespace() {
            if word.starts_with('#') {
                break;
            }
            tokens.push(Token { text: word, line: n + 1 });
        }
    }
    tokens
}

/// The directives up to the brace that ends the block; the last line if there is none.
fn directives<'a>(
    tokens: &mut std::iter::Peekable<std::slice::Iter<'_, Token<'a>>>,
) -> Result<Vec<Directive<'a>>, usize> {
    let mut all: Vec<Directive<'a>> = vec![];
    let mut depth = 0;
    let mut last = 0;
    for token in tokens.by_ref() {
        match (token.text, depth) {
            ("}", 0) => return Ok(all),
            ("}", _) => depth -= 1,
            ("{", _) => depth += 1,
            (text, 0) => match all.last_mut() {
                Some(d) if d.line == token.line => d.words.push(text),
                _ => all.push(Directive { line: token.line, words: vec![text], block: vec![] }),
            },
            (text, _) => {
                if let Some(d) = all.last_mut() {
                    if token.line != last || d.block.is_empty() {
                        d.block.push(vec![]);
                    }
                    if let Some(line) = d.block.last_mut() {
                        line.push(text);
                    }
                }
            }
        }
        last = token.line;
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Corefile, String> {
        Corefile::parse("Corefile", text)
    }

    #[test]
    fn kubeadms() {
        let corefile = parse(KUBEADM).unwrap();
        let [block] = corefile.blocks.as_slice() else { panic!("one block") };
        assert_eq!(block.zones, [""]);
        assert!(block.loadbalance);
        let kubernetes = block.kubernetes.as_ref().unwrap();
        assert_eq!(kubernetes.zones, ["cluster.local", "in-addr.arpa", "ip6.arpa"]);
        assert_eq!(kubernetes.fallthrough, ["in-addr.arpa", "ip6.arpa"]);
        assert_eq!((kubernetes.ttl, kubernetes.pods_insecure), (30, true));
        assert_eq!(block.forward.as_ref().unwrap().to, [Upstream::File("/etc/resolv.conf".into())]);
    }

    #[test]
    fn hosts_and_servers() {
        let text = "Example.org:53 a.b. {\n hosts {\n  10.0.0.1 www.example.org\n  ttl 60\n  fallthrough\n }\n \
                    forward . 10.0.0.9 10.0.0.8:5353\n}\n";
        let corefile = parse(text).unwrap();
        let block = &corefile.blocks[0];
        assert_eq!(block.zones, ["example.org", "a.b"]);
        let hosts = block.hosts.as_ref().unwrap();
        assert_eq!((hosts.inline.as_str(), hosts.ttl), ("10.0.0.1 www.example.org\n", 60));
        assert_eq!(hosts.fallthrough, [""]);
        let to = &block.forward.as_ref().unwrap().to;
        assert_eq!(to[1], Upstream::Server("10.0.0.8:5353".parse().unwrap()));
    }

    #[test]
    fn what_is_wrong() {
        for (text, message) in [
            (".:53 {\n    foo\n}", "Corefile:2 - Error during parsing: Unknown directive 'foo'"),
            (". {\n rewrite name a b\n}", "Corefile:2 - Error during parsing: plugin 'rewrite' is not simulated"),
            (". {\n errors\n", "Corefile:2 - Error during parsing: Unexpected EOF"),
            (".", "Corefile:1 - Error during parsing: Unexpected EOF"),
            ("}", "Corefile:1 - Error during parsing: Syntax error: Unexpected '}', expecting key"),
            (
                ". {\n kubernetes {\n  ttl 4000\n }\n}",
                "Corefile:2 - Error during parsing: ttl must be in range [0, 3600]: 4000",
            ),
            (". {\n forward . x\n}", "Corefile:2 - Error during parsing: not an IP address or file: \"x\""),
        ] {
            assert_eq!(parse(text), Err(message.to_owned()), "{text}");
        }
        assert_eq!(parse(""), Ok(Corefile::default()));
    }
}
