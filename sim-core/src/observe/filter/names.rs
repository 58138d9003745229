//! The words of the filter language and the numbers behind its names.
//!
//! Source: pcap-filter(7); `/etc/services` and `/etc/protocols` of Debian 12 for the names of ports and protocols.

/// A protocol word, which is a primitive (`tcp`), a qualifier (`tcp port 80`) or the base of an accessor (`tcp[13]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proto {
    Link,
    Ip,
    Ip6,
    Arp,
    Rarp,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    Icmp6,
    Igmp,
    Igrp,
    Pim,
    Vrrp,
    Carp,
    Ah,
    Esp,
    Atalk,
    Aarp,
    Decnet,
    Lat,
    Sca,
    Mopdl,
    Moprc,
    Iso,
    Clnp,
    Esis,
    Isis,
    /// Packets of IS-IS by their types (ISO/IEC 10589): those of level 1, of level 2, hellos, link states, sequence
    /// numbers, complete and partial ones.
    IsisL1,
    IsisL2,
    IsisIih,
    IsisLsp,
    IsisSnp,
    IsisCsnp,
    IsisPsnp,
    Stp,
    Ipx,
    Netbeui,
}

impl Proto {
    /// The word as it is written; `link` stands for its aliases too.
    pub(super) fn name(self) -> &'static str {
        PROTO_WORDS.iter().find(|(_, proto)| *proto == self).map_or("link", |(word, _)| word)
    }

    /// The value of the IPv4 protocol or IPv6 next header field; `None` for what is not carried in IP.
    pub(super) fn ip_number(self) -> Option<u32> {
        Some(match self {
            Self::Icmp => 1,
            Self::Igmp => 2,
            Self::Tcp => IPPROTO_TCP,
            Self::Igrp => 9,
            Self::Udp => IPPROTO_UDP,
            Self::Esp => 50,
            Self::Ah => 51,
            Self::Icmp6 => 58,
            Self::Pim => 103,
            Self::Vrrp | Self::Carp => 112,
            Self::Sctp => IPPROTO_SCTP,
            _ => return None,
        })
    }

    /// The Ethernet type or 802.2 service access point of what stands right behind the link layer.
    pub(super) fn ether_type(self) -> Option<u32> {
        Some(match self {
            Self::Ip => ETHERTYPE_IP,
            Self::Ip6 => ETHERTYPE_IP6,
            Self::Arp => ETHERTYPE_ARP,
            Self::Rarp => ETHERTYPE_RARP,
            Self::Atalk => ETHERTYPE_ATALK,
            Self::Aarp => ETHERTYPE_AARP,
            Self::Decnet => ETHERTYPE_DECNET,
            Self::Lat => ETHERTYPE_LAT,
            Self::Sca => ETHERTYPE_SCA,
            Self::Mopdl => ETHERTYPE_MOPDL,
            Self::Moprc => ETHERTYPE_MOPRC,
            Self::Iso => SAP_ISO,
            Self::Stp => SAP_STP,
            Self::Ipx => SAP_IPX,
            Self::Netbeui => SAP_NETBEUI,
            _ => return None,
        })
    }

    /// The types of IS-IS packets that the word stands for.
    pub(super) fn isis_types(self) -> Option<&'static [u32]> {
        Some(match self {
            Self::IsisL1 => &[15, 17, 18, 24, 26],
            Self::IsisL2 => &[16, 17, 20, 25, 27],
            Self::IsisIih => &[15, 16, 17],
            Self::IsisLsp => &[18, 20],
            Self::IsisSnp => &[24, 25, 26, 27],
            Self::IsisCsnp => &[24, 25],
            Self::IsisPsnp => &[26, 27],
            _ => return None,
        })
    }

    /// The protocol identifier of an OSI network layer (ISO/IEC TR 9577).
    pub(super) fn osi_number(self) -> Option<u32> {
        Some(match self {
            Self::Clnp => 0x81,
            Self::Esis => 0x82,
            Self::Isis => 0x83,
            _ => return None,
        })
    }
}

/// The words that are no protocol and no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    And,
    Or,
    Not,
    Src,
    Dst,
    Host,
    Net,
    Mask,
    Port,
    PortRange,
    Proto,
    ProtoChain,
    Broadcast,
    Multicast,
    Less,
    Greater,
    Len,
    Vlan,
    Mpls,
    PppoeDiscovery,
    PppoeSession,
    Geneve,
    Inbound,
    Outbound,
    IfIndex,
    Llc,
    /// A frame's name behind `llc`, and nothing elsewhere.
    Rnr,
}

/// What a word of the language is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Keyword(Keyword),
    Proto(Proto),
    Number(u32),
    /// A keyword of pcap-filter(7) that this module does not implement. It is no name either.
    Unsupported,
}

/// Looks `word` up; `None` if it is a name of the user's. Case matters, as it does to libpcap.
pub(super) fn word(word: &str) -> Option<Word> {
    find(KEYWORDS, word)
        .map(Word::Keyword)
        .or_else(|| find(PROTO_WORDS, word).map(Word::Proto))
        .or_else(|| find(CONSTANTS, word).map(Word::Number))
        .or_else(|| UNSUPPORTED.contains(&word).then_some(Word::Unsupported))
}

/// A port that has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) port: u16,
    /// The one protocol that the name is registered for; `None` if it is several.
    pub(super) only: Option<Proto>,
}

/// Looks a service name up, as getservbyname(3) does; a number in digits names itself.
pub(super) fn service(name: &str) -> Option<Service> {
    if let Some(port) = decimal(name) {
        return u16::try_from(port).ok().map(|port| Service { port, only: None });
    }
    SERVICES.iter().find(|(names, ..)| names.contains(&name)).map(|&(_, port, only)| Service { port, only })
}

/// Parses unsigned decimal digits and nothing else.
pub(super) fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Looks an IP protocol name up, as getprotobyname(3) does.
pub(super) fn ip_protocol(name: &str) -> Option<u32> {
    find(IP_PROTOCOLS, name)
}

/// Looks an `iso proto` name up.
pub(super) fn osi_protocol(name: &str) -> Option<u32> {
    let known = ["clnp", "esis", "isis"].contains(&name);
    known.then(|| find(PROTO_WORDS, name)).flatten().and_then(Proto::osi_number)
}

/// Frames of 802.2 by what `llc` calls them, in any case of letters: a mask of the control field's first byte, and what
/// it leaves (IEEE 802.2, 5.4).
pub(super) fn llc_frames(name: &str) -> Option<(u32, u32)> {
    find(LLC_FRAMES, &name.to_ascii_lowercase())
}

/// Looks an `ether proto` name up.
pub(super) fn ether_type(name: &str) -> Option<u32> {
    find(ETHER_TYPES, name)
}

fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(word, _)| *word == name).map(|&(_, value)| value)
}

pub(super) const ETHERTYPE_IP: u32 = 0x0800;
pub(super) const ETHERTYPE_ARP: u32 = 0x0806;
pub(super) const ETHERTYPE_RARP: u32 = 0x8035;
pub(super) const ETHERTYPE_ATALK: u32 = 0x809b;
pub(super) const ETHERTYPE_AARP: u32 = 0x80f3;
pub(super) const ETHERTYPE_IPX: u32 = 0x8137;
pub(super) const ETHERTYPE_DECNET: u32 = 0x6003;
const ETHERTYPE_MOPDL: u32 = 0x6001;
const ETHERTYPE_MOPRC: u32 = 0x6002;
const ETHERTYPE_LAT: u32 = 0x6004;
const ETHERTYPE_SCA: u32 = 0x6007;
pub(super) const ETHERTYPE_VLAN: u32 = 0x8100;
pub(super) const ETHERTYPE_VLAN_AD: u32 = 0x88a8;
pub(super) const ETHERTYPE_VLAN_QINQ: u32 = 0x9100;
pub(super) const ETHERTYPE_MPLS: u32 = 0x8847;
pub(super) const ETHERTYPE_PPPOE_DISCOVERY: u32 = 0x8863;
pub(super) const ETHERTYPE_PPPOE_SESSION: u32 = 0x8864;
/// 802.2 service access points.
pub(super) const SAP_STP: u32 = 0x42;
pub(super) const SAP_IPX: u32 = 0xe0;
pub(super) const SAP_NETBEUI: u32 = 0xf0;
pub(super) const SAP_ISO: u32 = 0xfe;
pub(super) const ETHERTYPE_IP6: u32 = 0x86dd;
pub(super) const IPPROTO_TCP: u32 = 6;
pub(super) const IPPROTO_UDP: u32 = 17;
pub(super) const IPPROTO_IP6_FRAGMENT: u32 = 44;
pub(super) const IPPROTO_SCTP: u32 = 132;

const KEYWORDS: &[(&str, Keyword)] = &[
    ("and", Keyword::And),
    ("or", Keyword::Or),
    ("not", Keyword::Not),
    ("src", Keyword::Src),
    ("dst", Keyword::Dst),
    ("host", Keyword::Host),
    ("net", Keyword::Net),
    ("mask", Keyword::Mask),
    ("port", Keyword::Port),
    ("portrange", Keyword::PortRange),
    ("proto", Keyword::Proto),
    ("protochain", Keyword::ProtoChain),
    ("broadcast", Keyword::Broadcast),
    ("multicast", Keyword::Multicast),
    ("less", Keyword::Less),
    ("greater", Keyword::Greater),
    ("len", Keyword::Len),
    ("length", Keyword::Len),
    ("vlan", Keyword::Vlan),
    ("mpls", Keyword::Mpls),
    ("pppoed", Keyword::PppoeDiscovery),
    ("pppoes", Keyword::PppoeSession),
    ("geneve", Keyword::Geneve),
    ("inbound", Keyword::Inbound),
    ("outbound", Keyword::Outbound),
    ("ifindex", Keyword::IfIndex),
    ("llc", Keyword::Llc),
    ("rnr", Keyword::Rnr),
];

// The first word of a protocol is the one that messages show.
const PROTO_WORDS: &[(&str, Proto)] = &[
    ("ether", Proto::Link),
    ("link", Proto::Link),
    ("fddi", Proto::Link),
    ("ppp", Proto::Link),
    ("slip", Proto::Link),
    ("tr", Proto::Link),
    ("wlan", Proto::Link),
    ("ip", Proto::Ip),
    ("ip6", Proto::Ip6),
    ("arp", Proto::Arp),
    ("rarp", Proto::Rarp),
    ("tcp", Proto::Tcp),
    ("udp", Proto::Udp),
    ("sctp", Proto::Sctp),
    ("icmp", Proto::Icmp),
    ("icmp6", Proto::Icmp6),
    ("igmp", Proto::Igmp),
    ("igrp", Proto::Igrp),
    ("pim", Proto::Pim),
    ("vrrp", Proto::Vrrp),
    ("carp", Proto::Carp),
    ("ah", Proto::Ah),
    ("esp", Proto::Esp),
    ("atalk", Proto::Atalk),
    ("aarp", Proto::Aarp),
    ("decnet", Proto::Decnet),
    ("lat", Proto::Lat),
    ("sca", Proto::Sca),
    ("mopdl", Proto::Mopdl),
    ("moprc", Proto::Moprc),
    ("iso", Proto::Iso),
    ("clnp", Proto::Clnp),
    ("es-is", Proto::Esis),
    ("esis", Proto::Esis),
    ("is-is", Proto::Isis),
    ("isis", Proto::Isis),
    ("l1", Proto::IsisL1),
    ("l2", Proto::IsisL2),
    ("iih", Proto::IsisIih),
    ("lsp", Proto::IsisLsp),
    ("snp", Proto::IsisSnp),
    ("csnp", Proto::IsisCsnp),
    ("psnp", Proto::IsisPsnp),
    ("stp", Proto::Stp),
    ("ipx", Proto::Ipx),
    ("netbeui", Proto::Netbeui),
];

const CONSTANTS: &[(&str, u32)] = &[
    ("icmptype", 0),
    ("icmpcode", 1),
    ("icmp-echoreply", 0),
    ("icmp-unreach", 3),
    ("icmp-sourcequench", 4),
    ("icmp-redirect", 5),
    ("icmp-echo", 8),
    ("icmp-routeradvert", 9),
    ("icmp-routersolicit", 10),
    ("icmp-timxceed", 11),
    ("icmp-paramprob", 12),
    ("icmp-tstamp", 13),
    ("icmp-tstampreply", 14),
    ("icmp-ireq", 15),
    ("icmp-ireqreply", 16),
    ("icmp-maskreq", 17),
    ("icmp-maskreply", 18),
    ("icmp6type", 0),
    ("icmp6code", 1),
    ("icmp6-destinationunreach", 1),
    ("icmp6-packettoobig", 2),
    ("icmp6-timeexceeded", 3),
    ("icmp6-parameterproblem", 4),
    ("icmp6-echo", 128),
    ("icmp6-echoreply", 129),
    ("icmp6-multicastlistenerquery", 130),
    ("icmp6-multicastlistenerreportv1", 131),
    ("icmp6-multicastlistenerdone", 132),
    ("icmp6-routersolicit", 133),
    ("icmp6-routeradvert", 134),
    ("icmp6-neighborsolicit", 135),
    ("icmp6-neighboradvert", 136),
    ("icmp6-redirect", 137),
    ("icmp6-routerrenum", 138),
    ("icmp6-nodeinformationquery", 139),
    ("icmp6-nodeinformationresponse", 140),
    ("icmp6-ineighbordiscoverysolicit", 141),
    ("icmp6-ineighbordiscoveryadvert", 142),
    ("icmp6-multicastlistenerreportv2", 143),
    ("icmp6-homeagentdiscoveryrequest", 144),
    ("icmp6-homeagentdiscoveryreply", 145),
    ("icmp6-mobileprefixsolicit", 146),
    ("icmp6-mobileprefixadvert", 147),
    ("icmp6-certpathsolicit", 148),
    ("icmp6-certpathadvert", 149),
    ("icmp6-multicastrouteradvert", 151),
    ("icmp6-multicastroutersolicit", 152),
    ("icmp6-multicastrouterterm", 153),
    ("tcpflags", 13),
    ("tcp-fin", 0x01),
    ("tcp-syn", 0x02),
    ("tcp-rst", 0x04),
    ("tcp-push", 0x08),
    ("tcp-ack", 0x10),
    ("tcp-urg", 0x20),
    ("tcp-ece", 0x40),
    ("tcp-cwr", 0x80),
];

const LLC_FRAMES: &[(&str, (u32, u32))] = &[
    ("i", (0x01, 0x00)),
    ("s", (0x03, 0x01)),
    ("u", (0x03, 0x03)),
    ("rr", (0x0f, 0x01)),
    ("rnr", (0x0f, 0x05)),
    ("rej", (0x0f, 0x09)),
    ("ui", (0xef, 0x03)),
    ("ua", (0xef, 0x63)),
    ("disc", (0xef, 0x43)),
    ("dm", (0xef, 0x0f)),
    ("sabme", (0xef, 0x6f)),
    ("test", (0xef, 0xe3)),
    ("xid", (0xef, 0xaf)),
    ("frmr", (0xef, 0x87)),
];

#[rustfmt::skip]
const UNSUPPORTED: &[&str] = &[
    "action", "addr1", "addr2", "addr3", "addr4", "address1", "address2", "address3", "address4", "bcc", "byte",
    "connectmsg", "dir", "direction", "dpc", "fisu", "gateway", "hdpc", "hfisu", "hlssu", "hmsu",
    "hopc", "hsio", "hsls", "ifname", "ilmic", "lane", "lssu", "lsu", "metac",
    "metaconnect", "msu", "oam", "oamf4", "oamf4ec", "oamf4sc", "on", "opc", "ra", "radio",
    "reason", "rset", "rulenum", "ruleset", "sc", "sio", "sls", "srnr", "subrulenum", "subtype", "ta",
    "type", "vci", "vpi",
];

/// Names of a service (the first is its own, the others are aliases), its port and what it is registered for alone.
type ServiceRow = (&'static [&'static str], u16, Option<Proto>);

const TCP: Option<Proto> = Some(Proto::Tcp);
const UDP: Option<Proto> = Some(Proto::Udp);

const SERVICES: &[ServiceRow] = &[
    (&["echo"], 7, None),
    (&["discard", "sink"], 9, None),
    (&["daytime"], 13, None),
    (&["chargen"], 19, None),
    (&["ftp-data"], 20, TCP),
    (&["ftp"], 21, TCP),
    (&["ssh"], 22, TCP),
    (&["telnet"], 23, TCP),
    (&["smtp", "mail"], 25, TCP),
    (&["time"], 37, None),
    (&["domain"], 53, None),
    (&["bootps"], 67, UDP),
    (&["bootpc"], 68, UDP),
    (&["tftp"], 69, UDP),
    (&["http", "www"], 80, TCP),
    (&["kerberos"], 88, None),
    (&["pop3"], 110, TCP),
    (&["sunrpc", "portmapper"], 111, None),
    (&["auth"], 113, TCP),
    (&["ntp"], 123, UDP),
    (&["netbios-ns"], 137, UDP),
    (&["netbios-dgm"], 138, UDP),
    (&["netbios-ssn"], 139, TCP),
    (&["imap2", "imap"], 143, TCP),
    (&["snmp"], 161, None),
    (&["snmp-trap", "snmptrap"], 162, None),
    (&["bgp"], 179, TCP),
    (&["ldap"], 389, None),
    (&["https"], 443, None),
    (&["microsoft-ds"], 445, TCP),
    (&["isakmp"], 500, UDP),
    (&["syslog"], 514, None),
    (&["dhcpv6-client"], 546, UDP),
    (&["dhcpv6-server"], 547, UDP),
    (&["rtsp"], 554, None),
    (&["submission"], 587, TCP),
    (&["ldaps"], 636, None),
    (&["domain-s"], 853, None),
    (&["rsync"], 873, TCP),
    (&["imaps"], 993, TCP),
    (&["pop3s"], 995, TCP),
    (&["openvpn"], 1194, None),
    (&["radius"], 1812, None),
    (&["nfs"], 2049, None),
    (&["mysql"], 3306, TCP),
    (&["ipsec-nat-t"], 4500, UDP),
    (&["sip"], 5060, None),
    (&["sip-tls"], 5061, None),
    (&["mdns"], 5353, UDP),
    (&["postgresql"], 5432, TCP),
    (&["redis"], 6379, TCP),
    (&["http-alt", "webcache"], 8080, TCP),
];

const IP_PROTOCOLS: &[(&str, u32)] = &[
    ("ip", 0),
    ("hopopt", 0),
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", IPPROTO_TCP),
    ("egp", 8),
    ("udp", IPPROTO_UDP),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", IPPROTO_IP6_FRAGMENT),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("eigrp", 88),
    ("ospf", 89),
    ("ipip", 94),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", IPPROTO_SCTP),
    ("udplite", 136),
];

const ETHER_TYPES: &[(&str, u32)] = &[
    ("ip", ETHERTYPE_IP),
    ("ip6", ETHERTYPE_IP6),
    ("arp", ETHERTYPE_ARP),
    ("rarp", ETHERTYPE_RARP),
    ("aarp", ETHERTYPE_AARP),
    ("atalk", ETHERTYPE_ATALK),
    ("decnet", ETHERTYPE_DECNET),
    ("lat", ETHERTYPE_LAT),
    ("loopback", 0x9000),
    ("mopdl", ETHERTYPE_MOPDL),
    ("moprc", ETHERTYPE_MOPRC),
    ("sca", ETHERTYPE_SCA),
    ("iso", SAP_ISO),
    ("stp", SAP_STP),
    ("ipx", SAP_IPX),
    ("netbeui", SAP_NETBEUI),
];
