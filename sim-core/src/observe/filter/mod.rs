//! Capture filters: the language of pcap-filter(7), compiled to classic BPF.
//!
//! A filter means what it means to `tcpdump -r FILE EXPRESSION`: the same packets match, the same expressions are
//! errors. tests/tests/filter_libpcap.rs compares both with libpcap 1.10.
//!
//! ```text
//! text --lex--> tokens --parse--> expression --compile, arith, link--> conditions --code--> BPF --bpf--> verdict
//! ```
//!
//! The language is that of pcap-filter(7) for these link types; the keywords of others, of 802.11, ATM, SS7 and
//! firewall logs, are errors in libpcap too. There are the protocols `ether ip ip6 arp rarp tcp udp sctp icmp icmp6
//! igmp igrp pim vrrp carp ah esp`, those of older networks (`atalk`, `decnet`, `iso`, `stp`, …), IS-IS's packets
//! by type (`l1`, `lsp`, …), `llc`; `host`, `net`, `port`, `portrange`, `proto`, `protochain`, `broadcast` and
//! `multicast` with their directions and protocols; `vlan`, `mpls`, `pppoes`, `pppoed` and `geneve`; `inbound`,
//! `outbound` and `ifindex` in captures of `any`; `less`, `greater`, `len`; packet data (`tcp[13]`), arithmetic and
//! comparisons; `and`, `or`, `not` and parentheses.
//!
//! Differs:
//!
//! * Names of hosts and networks are errors: nothing is resolved, which `gateway` would need. Ports and protocols have
//!   the names that a table here lists, not those of the machine's `/etc/services`.
//! * `byte`, which libpcap knows and pcap-filter(7) does not, is an error.
//! * `portrange 1-5-7`, which libpcap reads as `1-5`, is an error.
//! * libpcap's optimiser finds contradictions, such as `tcp and udp`, and refuses the filter ("expression rejects all
//!   packets"). Here only a condition that is false by itself is refused (`arp` on a raw IP interface).
//! * The optimiser leaves loads out, moves them and takes them for others, which shows in packets that are too short
//!   for one: such a packet does not match if the program, in the order of the text, gets to the load. That is what
//!   `tcpdump -O` does. A computed constant that divides by zero or shifts too far is an error even in a part of the
//!   filter that the optimiser drops.
//! * Places in a tunnel are found by `geneve`. What looks at one where `geneve` was not asked or does not hold, such as
//!   `ip` in `geneve or ip`, finds it at 0; libpcap looks wherever its memory happens to point.
//! * `protochain` gives a packet up after 8192 headers, where libpcap's program never ends if they go in a circle.
//! * Expressions, programs and nesting have limits.

mod arith;
mod ast;
mod bpf;
mod code;
mod compile;
mod geneve;
mod lex;
mod link;
mod names;
mod parse;
mod place;

use std::fmt;
use std::ops::Range;

use bpf::Insn;
use code::Node;
use link::Link;

/// The longest expression, in bytes.
pub const MAX_EXPRESSION_LEN: usize = 8 * 1024;

/// How deep parentheses, brackets and operators on the right of an operator nest.
pub const MAX_NESTING: usize = 100;

/// The longest program, in instructions (BPF_MAXINSNS of Linux).
pub const MAX_INSTRUCTIONS: usize = 4096;

/// What the packets of a capture begin with; the numbers are the LINKTYPE_ values of capture files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum LinkType {
    /// An Ethernet header (LINKTYPE_ETHERNET).
    Ethernet = 1,
    /// An IPv4 or IPv6 header (LINKTYPE_RAW; libpcap calls it DLT_RAW, 12).
    Raw = 101,
    /// The pseudo header of `tcpdump -i any` (LINKTYPE_LINUX_SLL2).
    LinuxSll2 = 276,
}

/// A compiled filter. Its `Display` is the program as `tcpdump -d` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    program: Box<[Insn]>,
}

/// Why an expression is no filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Where in the expression, in bytes.
    pub span: Range<usize>,
    /// What is wrong.
    pub message: String,
    /// What could be written instead.
    pub hint: Option<String>,
}

impl Filter {
    /// Compiles a pcap-filter(7) expression for captures of a link type. An empty one matches every packet.
    ///
    /// # Errors
    ///
    /// What libpcap would refuse, but for the differences that the module's documentation lists, and what exceeds
    /// [`MAX_EXPRESSION_LEN`], [`MAX_NESTING`] or [`MAX_INSTRUCTIONS`].
    pub fn compile(expr: &str, link: LinkType) -> Result<Self, FilterError> {
        let whole = 0..expr.len();
        if expr.len() > MAX_EXPRESSION_LEN {
            return Err(FilterError::new(whole, format!("the filter is longer than {MAX_EXPRESSION_LEN} bytes")));
        }
        let node = match parse::parse(expr)? {
            Some(parsed) => compile::compile(&parsed, &mut Link::new(link))?,
            None => Node::Const(true),
        };
        if matches!(node, Node::Const(false)) {
            let error = FilterError::new(whole, "the filter rejects all packets");
            return Err(match link {
                LinkType::Raw => error.hint("the packets of this interface begin with an IP header"),
                LinkType::Ethernet | LinkType::LinuxSll2 => error,
            });
        }
        match code::assemble(&node, MAX_INSTRUCTIONS) {
            Some(program) => Ok(Self { program: program.into_boxed_slice() }),
            None => {
                let message = format!("the filter needs more than {MAX_INSTRUCTIONS} BPF instructions");
                Err(FilterError::new(whole, message))
            }
        }
    }

    /// Whether a packet matches: `bytes` are what was captured of it, `wire_len` is its length on the wire, in bytes.
    ///
    /// A packet that is too short for what the filter looks at does not match, as in bpf(4).
    #[must_use]
    pub fn matches(&self, bytes: &[u8], wire_len: u32) -> bool {
        bpf::run(&self.program, bytes, wire_len) != 0
    }
}

/// An expression for an interface whose link type shows when it is there, or for all of them (`-i any`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filters {
    first: Filter,
    /// For a capture without a link-layer header; none where it could match nothing.
    raw: Option<Filter>,
}

impl Filters {
    /// Compiles an expression.
    ///
    /// # Errors
    ///
    /// As [`Filter::compile`] for Ethernet, or for `any`.
    pub fn compile(expr: &str, any: bool) -> Result<Self, FilterError> {
        let link = if any { LinkType::LinuxSll2 } else { LinkType::Ethernet };
        Ok(Filters { first: Filter::compile(expr, link)?, raw: Filter::compile(expr, LinkType::Raw).ok() })
    }

    /// Whether a whole packet of a capture of `link` matches.
    #[must_use]
    pub fn matches(&self, link: LinkType, bytes: &[u8]) -> bool {
        let filter = if link == LinkType::Raw { self.raw.as_ref() } else { Some(&self.first) };
        filter.is_some_and(|f| f.matches(bytes, bytes.len() as u32))
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bpf::print(&self.program, f)
    }
}

impl FilterError {
    fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " ({hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for FilterError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// One packet of each kind: name, Ethernet type, network layer.
    fn packets() -> Vec<(&'static str, u16, Vec<u8>)> {
        let syn = tcp([0x9c, 0x40, 0, 80], 0x02);
        let query = [0x9c, 0x40, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
        let mut short = ip(6, 5, 0x4000, &syn);
        short.truncate(20);
        let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0x42, 10, 244, 1, 2, 10, 244, 1, 2, 0, 0, 0, 0, 0, 0];
        arp.extend([10, 244, 2, 3]);
        vec![
            ("arp", 0x0806, arp),
            ("echo", 0x0800, ip(1, 5, 0x4000, &[8, 0, 0, 0, 0, 1, 0, 1])),
            ("unreach", 0x0800, ip(1, 6, 0, &[3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 28])),
            ("query", 0x0800, ip(17, 5, 0, &query)),
            ("first", 0x0800, ip(17, 5, 0x2000, &query)),
            ("later", 0x0800, ip(17, 5, 0x00b9, &query)),
            ("syn", 0x0800, ip(6, 5, 0x4000, &syn)),
            ("synack", 0x0800, ip(6, 5, 0x4000, &tcp([0, 80, 0x9c, 0x40], 0x12))),
            ("options", 0x0800, ip(6, 7, 0x4000, &tcp([0x9c, 0x40, 1, 0xbb], 0x18))),
            ("short", 0x0800, short),
            ("syn6", 0x86dd, ip6(6, &syn)),
            ("frag6", 0x86dd, ip6(44, &[&[6, 0, 0, 1, 0, 0, 0, 1][..], &syn].concat())),
            ("lldp", 0x88cc, vec![2, 7, 4, 2, 0x42, 10, 244, 1, 2]),
        ]
    }

    fn ip(protocol: u8, words: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let options = vec![1; usize::from(words - 5) * 4];
        let len = u8::try_from(20 + options.len() + payload.len()).expect("short");
        let [high, low] = fragment.to_be_bytes();
        let head = [0x40 | words, 0, 0, len, 0, 1, high, low, 64, protocol, 0, 0, 10, 244, 1, 2, 10, 244, 2, 3];
        [&head[..], &options, payload].concat()
    }

    fn ip6(next_header: u8, payload: &[u8]) -> Vec<u8> {
        [&[0x60, 0, 0, 0, 0, 0, next_header, 64][..], &[0xfd; 32], payload].concat()
    }

    fn tcp(ports: [u8; 4], flags: u8) -> Vec<u8> {
        [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]].concat()
    }

    /// The packet with a header of the link type; `None` if it is not IP and the link has nothing else.
    fn framed(link: LinkType, ether_type: u16, payload: &[u8]) -> Option<Vec<u8>> {
        let ether_type = ether_type.to_be_bytes();
        let header = match link {
            LinkType::Ethernet => [&[2, 0x42, 10, 244, 1, 1, 2, 0x42, 10, 244, 1, 2][..], &ether_type].concat(),
            LinkType::LinuxSll2 => {
                [&ether_type[..], &[0, 0, 0, 0, 0, 2, 0, 1, 4, 6, 2, 0x42, 10, 244, 1, 2, 0, 0]].concat()
            }
            LinkType::Raw if matches!(ether_type, [8, 0] | [0x86, 0xdd]) => Vec::new(),
            LinkType::Raw => return None,
        };
        Some([&header[..], payload].concat())
    }

    fn matching(filter: &Filter, link: LinkType) -> Vec<&'static str> {
        let mut names = Vec::new();
        for (name, ether_type, payload) in packets() {
            let Some(frame) = framed(link, ether_type, &payload) else { continue };
            if filter.matches(&frame, u32::try_from(frame.len()).expect("short")) {
                names.push(name);
            }
        }
        names
    }

    // What matches is the same on every link that can carry it.
    #[test]
    fn expressions_match_the_packets_that_they_describe() {
        let all = "arp echo unreach query first later syn synack options short syn6 frag6 lldp";
        let ip = "echo unreach query first later syn synack options short";
        let cases = [
            ("", all),
            ("ip", ip),
            ("not ip", "arp syn6 frag6 lldp"),
            ("ip6", "syn6 frag6"),
            ("icmp", "echo unreach"),
            ("udp", "query first later"),
            ("tcp", "syn synack options short syn6 frag6"),
            ("ip proto 6", "syn synack options short"),
            ("ip proto \\udp or \\icmp", "echo unreach query first later"),
            ("proto 17 or icmp", "echo unreach query first later"),
            ("host 10.244.1.2", "arp echo unreach query first later syn synack options short"),
            ("ip src 10.244.1.2", ip),
            ("dst host 10.244.1.2", ""),
            ("src net 10.244.1 and dst net 10.244.2.0/24 and ip", ip),
            ("ip net 10.244.2.0 mask 255.255.255.0", ip),
            ("src and dst net 10.244 and icmp", "echo unreach"),
            ("src and dst net 10.244.1", ""),
            // A later fragment has no ports; what is too short for them does not match, negated or not.
            ("port 53", "query first"),
            ("not port 53", "arp echo unreach later syn synack options syn6 frag6 lldp"),
            ("udp src port 53", ""),
            ("port 80", "syn synack syn6"),
            ("tcp dst port 80 or 443", "syn options syn6"),
            ("port (80 or 443) and not src 10.244.1.2", "syn6"),
            ("src or dst port 80 and ip6", "syn6"),
            ("src and dst port 80", ""),
            ("tcp portrange 81-443", "options"),
            ("portrange 443-81", "options"),
            ("udp port domain", "query first"),
            ("port http", "syn synack syn6"),
            ("tcp[tcpflags] & tcp-syn != 0", "syn synack"),
            ("tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn", "syn"),
            ("tcp[13] & 8 != 0 and ip[0] & 0xf > 5", "options"),
            ("udp[2:2] = 53", "query first"),
            ("icmp[icmptype] = icmp-echo", "echo"),
            ("icmp[icmptype] == icmp-unreach && icmp[icmpcode] = 3", "unreach"),
            ("ip[6:2] & 0x1fff != 0", "later"),
            ("ip[6:2] & 0x4000 != 0", "echo syn synack options short"),
            ("ip[2:2] - ((ip[0] & 0xf) << 2) = 20", "syn synack options short"),
            ("ip[0] = 070", ""),
            ("tcp or icmp and host 10.244.2.3", "echo unreach syn synack options short"),
            ("tcp or (icmp and host 10.244.2.3)", "echo unreach syn synack options short syn6 frag6"),
            ("not (tcp or udp) and ip", "echo unreach"),
            ("!tcp && !udp && ip", "echo unreach"),
            ("5 > 4 and udp", "query first later"),
            ("geneve", ""),
            ("not geneve and tcp", ""),
            ("tcp and not geneve", "syn synack options short syn6 frag6"),
        ];
        for link in [LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw] {
            for (expr, expected) in cases {
                let filter = Filter::compile(expr, link).expect(expr);
                let expected: Vec<&str> = expected.split_whitespace().collect();
                let carried = |name: &&&str| link != LinkType::Raw || !matches!(**name, "arp" | "lldp");
                let expected: Vec<&str> = expected.iter().filter(carried).copied().collect();
                assert_eq!(matching(&filter, link), expected, "{link:?} {expr:?}\n{filter}");
            }
        }
    }

    #[test]
    fn behind_geneve_a_filter_is_about_what_the_tunnel_carries() {
        let inner = framed(LinkType::Ethernet, 0x0800, &ip(6, 7, 0, &tcp([0x9c, 0x40, 0, 80], 0x02)));
        let header = [0x9c, 0x40, 0x17, 0xc1, 0, 0, 0, 0, 1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 1, 1, 1];
        let packet = ip(17, 6, 0, &[&header[..], &inner.expect("a frame")].concat());
        let len = u32::try_from(packet.len()).expect("short");
        let matching = ["geneve", "geneve 7", "udp and geneve and tcp dst port 80", "geneve and ether[12:2] = 0x800"];
        for expr in matching {
            let filter = Filter::compile(expr, LinkType::Raw).expect(expr);
            assert!(filter.matches(&packet, len), "{expr}\n{filter}");
        }
        for expr in ["geneve 8", "tcp", "geneve and udp", "geneve 7 and tcp src port 80", "geneve and geneve"] {
            let filter = Filter::compile(expr, LinkType::Raw).expect(expr);
            assert!(!filter.matches(&packet, len), "{expr}\n{filter}");
        }
    }

    #[test]
    fn the_link_layer_is_that_of_the_link() {
        let (ethernet, sll2, raw) = (LinkType::Ethernet, LinkType::LinuxSll2, LinkType::Raw);
        let all = "arp echo unreach query first later syn synack options short syn6 frag6 lldp";
        let cases = [
            (ethernet, "ether src 02:42:0a:f4:01:02", Some(all)),
            (ethernet, "ether dst 02:42:0a:f4:01:02", Some("")),
            (ethernet, "ether host 0242.0af4.0101 and arp", Some("arp")),
            (ethernet, "ether proto 0x88cc", Some("lldp")),
            (ethernet, "ether[12:2] = 0x86dd", Some("syn6 frag6")),
            (ethernet, "ether broadcast", Some("")),
            (ethernet, "inbound", None),
            (ethernet, "ifindex 2", None),
            (ethernet, "net fdfd::/16 and not vlan", Some("syn6 frag6")),
            (ethernet, "ip6 protochain 6", Some("syn6 frag6")),
            (sll2, "inbound", Some("")),
            (sll2, "outbound and ifindex 2", Some(all)),
            (sll2, "vlan", None),
            (raw, "mpls", None),
            (ethernet, "not ether multicast and arp", Some("arp")),
            (sll2, "ether src 02:42:0a:f4:01:02", None),
            (sll2, "ether proto \\arp", Some("arp")),
            (sll2, "ether[0:2] = 0x86dd", Some("syn6 frag6")),
            (sll2, "broadcast", None),
            (sll2, "ip multicast", Some("")),
            (raw, "ether host 02:42:0a:f4:01:02", None),
            (raw, "ether proto \\ip6", Some("syn6 frag6")),
            (raw, "multicast", None),
            (raw, "arp", None),
            (raw, "arp or icmp", Some("echo unreach")),
        ];
        for (link, expr, expected) in cases {
            let found = Filter::compile(expr, link).ok().map(|filter| matching(&filter, link));
            assert_eq!(found, expected.map(|names| names.split_whitespace().collect()), "{link:?} {expr:?}");
        }
    }

    /// The length of an authentication header leads back to itself, as libpcap reads it.
    #[test]
    fn headers_in_a_circle_end() {
        let filter = Filter::compile("ip protochain 6", LinkType::Raw).expect("a filter");
        let packet = ip(51, 5, 0, &[51, 3, 0, 0, 0, 0, 0, 0]);
        assert!(!filter.matches(&packet, 28));
    }

    #[test]
    fn lengths_are_those_on_the_wire() {
        for (expr, wire_len, expected) in
            [("less 60", 60, true), ("less 60", 61, false), ("greater 60", 60, true), ("len > 60", 60, false)]
        {
            let filter = Filter::compile(expr, LinkType::Ethernet).expect(expr);
            assert_eq!(filter.matches(&[], wire_len), expected, "{expr} {wire_len}");
        }
    }

    #[test]
    fn errors_say_where_and_what() {
        let cases = [
            ("10.244.1.2", 0..10, "nothing says what `10.244.1.2` is"),
            ("tcp or 80", 7..9, "nothing says what `80` is"),
            ("ip proto tcp", 9..12, "expected a protocol number or name, found `tcp`"),
            ("net 10/8", 4..8, "expected a network such as `10.244.0.0/16`, found an expression"),
            ("net 10.244.1.0/16", 4..17, "the network has bits outside of its mask"),
            ("tcp host 10.0.0.1", 9..17, "`tcp` does not go with `host`"),
            ("udp port http", 9..13, "the port `http` is a tcp port"),
            ("port 70000", 5..10, "port 70000: more than 65535"),
            ("host web", 5..8, "unknown host `web`"),
            ("host", 4..4, "expected an address, found the end of the filter"),
            ("tcp udp", 4..7, "expected `and`, `or` or the end of the filter, found `udp`"),
            ("(tcp", 0..1, "this `(` has no `)`"),
            ("len > 5 and len", 12..15, "an arithmetic expression is neither true nor false"),
            ("ip[0:3] = 1", 5..6, "data size 3: it must be 1, 2 or 4"),
            ("len / 0 = 1", 0..7, "a division by zero"),
            ("5 = 6", 0..5, "the filter rejects all packets"),
        ];
        for (expr, span, message) in cases {
            let error = Filter::compile(expr, LinkType::Ethernet).expect_err(expr);
            assert_eq!((error.span, error.message.as_str()), (span, message), "{expr:?}");
        }
    }

    #[test]
    fn programs_print_as_tcpdump_prints_them() {
        let expected = "\
(000) ldh      [12]
(001) jeq      #0x800           jt 2\tjf 10
(002) ldb      [23]
(003) jeq      #0x6             jt 4\tjf 10
(004) ldh      [20]
(005) jset     #0x1fff          jt 10\tjf 6
(006) ldxb     4*([14]&0xf)
(007) ldb      [x + 27]
(008) jset     #0x2             jt 9\tjf 10
(009) ret      #262144
(010) ret      #0";
        let filter = Filter::compile("tcp[tcpflags] & tcp-syn != 0", LinkType::Ethernet).expect("a filter");
        assert_eq!(filter.to_string(), expected);
        assert_eq!(Filter::compile("", LinkType::Raw).expect("a filter").to_string(), "(000) ret      #262144");
    }

    #[test]
    fn long_programs_jump_far() {
        let ports: Vec<String> = (1..=80).map(|port| port.to_string()).collect();
        let expr = format!("port {}", ports.join(" or "));
        let filter = Filter::compile(&expr, LinkType::Ethernet).expect("a filter");
        assert!(filter.to_string().contains("ja"));
        assert_eq!(matching(&filter, LinkType::Ethernet), ["query", "first", "syn", "synack", "syn6"]);
    }

    #[test]
    fn limits_are_errors() {
        let long = format!("tcp{}", " ".repeat(MAX_EXPRESSION_LEN));
        let deep = [
            "(".repeat(4000),
            "- ".repeat(4000),
            "ip[".repeat(2000),
            format!("len{} = 1", " % len".repeat(1000)),
            format!("{}tcp", "not (".repeat(1500)),
        ];
        let large = format!("port 1{}", " or 2".repeat(1500));
        for (expr, message) in
            deep.iter().map(|expr| (expr, "nest deeper")).chain([(&long, "longer"), (&large, "4096")])
        {
            let error = Filter::compile(expr, LinkType::Ethernet).expect_err(message);
            assert!(error.message.contains(message), "{error}");
        }
        let wide = [
            "not ".repeat(2000) + "tcp",
            format!("len{} > 0", "+len".repeat(800)),
            "ip or arp and ".repeat(500) + "tcp",
        ];
        for expr in wide {
            Filter::compile(&expr, LinkType::Ethernet).expect("length is no depth");
        }
    }

    #[test]
    fn no_text_panics() {
        let pieces = [
            "tcp", "(", ")", "[", "]", "10.", "/", "\\", "é", "0x", "::", "-", "and", "not ", "=", "len", " ", "\0",
            "port ",
        ];
        let mut state = 1_u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..state % 9 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[usize::try_from(state >> 40).expect("24 bits") % pieces.len()]);
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if let Err(error) = Filter::compile(&text, LinkType::Ethernet) {
                assert!(text.get(error.span.clone()).is_some(), "{text:?} {error:?}");
            }
        }
    }
}
