//! Words as iptables reads them: getopt_long(3) with iptables' option string (iptables/xshared.c), and the numbers,
//! addresses, ports, marks and names of its options (libxtables/xtables.c, libxtables/xtoptions.c).

use super::error::Error;
use std::net::Ipv4Addr;

/// The options of one letter: those without an argument, with one, and with one that may be attached.
const FLAGS: &str = "Vnvxf46";
const WITH_ARG: &str = "ACDEIMNPRcdgijmopst";
const MAYBE_ARG: &str = "FLSXZhwW";

/// The long options of iptables itself, each with its letter.
const LONG: [(&str, char); 37] = [
    ("append", 'A'),
    ("delete", 'D'),
    ("check", 'C'),
    ("insert", 'I'),
    ("replace", 'R'),
    ("list", 'L'),
    ("list-rules", 'S'),
    ("flush", 'F'),
    ("zero", 'Z'),
    ("new-chain", 'N'),
    ("delete-chain", 'X'),
    ("rename-chain", 'E'),
    ("policy", 'P'),
    ("source", 's'),
    ("destination", 'd'),
    ("src", 's'),
    ("dst", 'd'),
    ("protocol", 'p'),
    ("in-interface", 'i'),
    ("jump", 'j'),
    ("table", 't'),
    ("match", 'm'),
    ("numeric", 'n'),
    ("out-interface", 'o'),
    ("verbose", 'v'),
    ("wait", 'w'),
    ("wait-interval", 'W'),
    ("exact", 'x'),
    ("fragments", 'f'),
    ("version", 'V'),
    ("help", 'h'),
    ("line-numbers", '0'),
    ("modprobe", 'M'),
    ("set-counters", 'c'),
    ("goto", 'g'),
    ("ipv4", '4'),
    ("ipv6", '6'),
];

/// A long option that an extension adds: its name, whether it takes an argument, and which extension's option it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Long {
    pub(super) name: &'static str,
    pub(super) has_arg: bool,
    /// The extension, by when it was loaded, and its option.
    pub(super) id: (usize, u8),
}

/// What getopt_long returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opt<'a> {
    /// An option of iptables.
    Own(char, Option<&'a str>),
    /// An option of an extension.
    Extension((usize, u8), Option<&'a str>),
    /// A word that is no option.
    Word(&'a str),
    /// An option that needs an argument and has none.
    Missing(&'a str),
    /// No such option.
    Unknown(&'a str),
}

/// The words of one command and how far they were read.
pub(super) struct Getopt<'a> {
    words: &'a [&'a str],
    /// `optind`
    at: usize,
    /// What is left of a word of several one-letter options.
    cluster: &'a str,
}

impl<'a> Getopt<'a> {
    pub(super) fn new(words: &'a [&'a str]) -> Self {
        Getopt { words, at: 0, cluster: "" }
    }

    /// The next option; none at the end or at `--`.
    pub(super) fn next(&mut self, more: &[Long]) -> Option<Opt<'a>> {
        if !self.cluster.is_empty() {
            return Some(self.short());
        }
        let word = *self.words.get(self.at)?;
        self.at += 1;
        if word == "--" {
            return None;
        }
        if let Some(long) = word.strip_prefix("--") {
            return Some(self.long(word, long, more));
        }
        match word.strip_prefix('-') {
            Some(letters) if !letters.is_empty() => {
                self.cluster = letters;
                Some(self.short())
            }
            _ => Some(Opt::Word(word)),
        }
    }

    /// Reads the same word again: an extension was loaded that may know it.
    pub(super) fn again(&mut self) {
        self.at -= 1;
    }

    /// The next word if it is neither an option nor `!` (`xs_has_arg`).
    pub(super) fn operand(&mut self) -> Option<&'a str> {
        let word = *self.words.get(self.at).filter(|w| !w.starts_with(['-', '!']))?;
        self.at += 1;
        Some(word)
    }

    /// Words are left after `--`.
    pub(super) fn left(&self) -> bool {
        self.at < self.words.len()
    }

    fn short(&mut self) -> Opt<'a> {
        let word = self.words.get(self.at - 1).copied().unwrap_or_default();
        let mut chars = self.cluster.chars();
        let letter = chars.next().unwrap_or('?');
        let rest = std::mem::take(&mut self.cluster).get(letter.len_utf8()..).unwrap_or_default();
        if WITH_ARG.contains(letter) {
            let arg = if rest.is_empty() { self.argument() } else { Some(rest) };
            return arg.map_or(Opt::Missing(word), |arg| Opt::Own(letter, Some(arg)));
        }
        if MAYBE_ARG.contains(letter) {
            return Opt::Own(letter, Some(rest).filter(|r| !r.is_empty()));
        }
        self.cluster = rest;
        if FLAGS.contains(letter) { Opt::Own(letter, None) } else { Opt::Unknown(word) }
    }

    fn long(&mut self, word: &'a str, text: &'a str, more: &[Long]) -> Opt<'a> {
        let (name, attached) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match find(name, more) {
            Some(Found::Own(letter)) if MAYBE_ARG.contains(letter) => Opt::Own(letter, attached),
            Some(Found::Own(letter)) => {
                let takes = WITH_ARG.contains(letter);
                self.argument_of(takes, attached, word, |arg| Opt::Own(letter, arg))
            }
            Some(Found::More(long)) => {
                self.argument_of(long.has_arg, attached, word, |arg| Opt::Extension(long.id, arg))
            }
            None => Opt::Unknown(word),
        }
    }

    fn argument_of(
        &mut self,
        takes: bool,
        attached: Option<&'a str>,
        word: &'a str,
        found: impl FnOnce(Option<&'a str>) -> Opt<'a>,
    ) -> Opt<'a> {
        match (takes, attached) {
            (false, Some(_)) => Opt::Unknown(word),
            (false, None) => found(None),
            (true, Some(arg)) => found(Some(arg)),
            (true, None) => match self.argument() {
                Some(arg) => found(Some(arg)),
                None => Opt::Missing(word),
            },
        }
    }

    fn argument(&mut self) -> Option<&'a str> {
        let word = self.words.get(self.at).copied()?;
        self.at += 1;
        Some(word)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Own(char),
    More(Long),
}

impl Found {
    /// Two options that an abbreviation may mean are the same if they do the same.
    fn same(self, other: Found) -> bool {
        match (self, other) {
            (Found::Own(a), Found::Own(b)) => a == b,
            (Found::More(a), Found::More(b)) => a.id == b.id,
            _ => false,
        }
    }
}

/// The option of that name, or the only one that it abbreviates. The options of iptables come first, then those of
/// the extension that was loaded last.
fn find(name: &str, more: &[Long]) -> Option<Found> {
    let own = LONG.iter().map(|(n, letter)| (*n, Found::Own(*letter)));
    let all = || own.clone().chain(more.iter().map(|l| (l.name, Found::More(*l))));
    if let Some((_, found)) = all().find(|(n, _)| *n == name) {
        return Some(found);
    }
    let mut near = all().filter(|(n, _)| n.starts_with(name)).map(|(_, found)| found);
    let first = near.next()?;
    near.all(|other| first.same(other)).then_some(first)
}

/// strtoul(3) with base 0: the number at the start of `text` and what follows; none if there is no number, it is
/// negative or does not fit 64 bits.
pub(super) fn strtoul(text: &str) -> Option<(u64, &str)> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r']);
    let digits = text.strip_prefix('+').unwrap_or(text);
    let hex = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"));
    let (radix, digits) = match hex {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (16, hex),
        _ if digits.starts_with('0') => (8, digits),
        _ => (10, digits),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    let value = u64::from_str_radix(digits.get(..end)?, radix).ok()?;
    Some((value, digits.get(end..)?))
}

/// A number with nothing behind it, within `min` and `max` (`xtables_strtoui`).
pub(super) fn number(text: &str, min: u64, max: u64) -> Option<u64> {
    strtoul(text).filter(|(v, rest)| rest.is_empty() && (min..=max).contains(v)).map(|(v, _)| v)
}

/// A number within `max`, and what follows it.
pub(super) fn number_then(text: &str, max: u64) -> Option<(u64, &str)> {
    strtoul(text).filter(|(v, _)| *v <= max)
}

/// An address of up to four numbers; what is missing is zero (`xtables_numeric_to_ipaddr`).
pub(super) fn address(text: &str) -> Option<Ipv4Addr> {
    dotted(text, false)
}

fn dotted(text: &str, whole: bool) -> Option<Ipv4Addr> {
    let mut bytes = [0_u8; 4];
    let mut parts = text.splitn(4, '.');
    let mut seen = 0;
    for (byte, part) in bytes.iter_mut().zip(&mut parts) {
        *byte = number(part, 0, 255)? as u8;
        seen += 1;
    }
    (seen == 4 || !whole).then(|| bytes.into())
}

/// `ADDRESS[/MASK]` with a mask as four numbers or as a length; the address is masked.
pub(super) fn network(text: &str) -> Result<(Ipv4Addr, Ipv4Addr), Error> {
    let (name, mask) = match text.rsplit_once('/') {
        Some((name, mask)) => (name, self::mask(mask)?),
        None => (text, u32::MAX),
    };
    if mask == 0 {
        return Ok((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
    }
    // Differs: there is no resolver, so a name is not found.
    let address = address(name).ok_or_else(|| Error::usage(format!("host/network `{name}' not found")))?;
    Ok(((u32::from(address) & mask).into(), mask.into()))
}

fn mask(text: &str) -> Result<u32, Error> {
    if let Some(mask) = dotted(text, true) {
        return Ok(mask.into());
    }
    let bits = number(text, 0, 32).ok_or_else(|| Error::usage(format!("invalid mask `{text}' specified")))?;
    Ok(crate::kernel::mask(Ipv4Addr::BROADCAST, bits as u8).into())
}

/// A mask as its length, or as four numbers if it is not contiguous (`mask_to_str`).
pub(super) fn mask_text(mask: Ipv4Addr) -> String {
    let bits = u32::from(mask);
    if bits.leading_ones() + bits.trailing_zeros() >= 32 { bits.leading_ones().to_string() } else { mask.to_string() }
}

/// `VALUE[/MASK]` (`xtables_parse_mark_mask`).
pub(super) fn mark(text: &str) -> Result<(u32, u32), Error> {
    let max = u64::from(u32::MAX);
    let (value, rest) =
        number_then(text, max).ok_or_else(|| Error::usage(format!("bad mark value for option \"--mark\": {text}")))?;
    let bad = || Error::usage(format!("bad mark value for option \"--mark\": {text}"));
    let mask = match rest.strip_prefix('/') {
        Some(mask) => number(mask, 0, max).ok_or_else(bad)?,
        None if rest.is_empty() => max,
        None => return Err(bad()),
    };
    Ok((value as u32, mask as u32))
}

/// ` VALUE` or ` VALUE/MASK`, hexadecimal (`xtables_print_mark_mask`).
pub(super) fn mark_text(mark: u32, mask: u32) -> String {
    if mask == u32::MAX { format!(" {mark:#x}") } else { format!(" {mark:#x}/{mask:#x}") }
}

/// A port by number or name.
pub(super) fn port(text: &str) -> Option<u16> {
    number(text, 0, 65535).map(|p| p as u16).or_else(|| service(text))
}

/// Which protocols a service is listed for.
const TCP: &[u8] = &[6];
const UDP: &[u8] = &[17];
const BOTH: &[u8] = &[6, 17];

/// services(5), the first of a port being the one printed. Differs: the well-known ones of the file only.
const SERVICES: [(&str, u16, &[u8]); 25] = [
    ("ftp", 21, TCP),
    ("ssh", 22, TCP),
    ("telnet", 23, TCP),
    ("smtp", 25, TCP),
    ("domain", 53, BOTH),
    ("bootps", 67, UDP),
    ("bootpc", 68, UDP),
    ("tftp", 69, UDP),
    ("http", 80, TCP),
    ("www", 80, TCP),
    ("kerberos", 88, BOTH),
    ("pop3", 110, TCP),
    ("sunrpc", 111, BOTH),
    ("ntp", 123, UDP),
    ("imap2", 143, TCP),
    ("snmp", 161, BOTH),
    ("bgp", 179, TCP),
    ("ldap", 389, BOTH),
    ("https", 443, BOTH),
    ("syslog", 514, UDP),
    ("ldaps", 636, BOTH),
    ("imaps", 993, TCP),
    ("mysql", 3306, TCP),
    ("postgresql", 5432, TCP),
    ("http-alt", 8080, TCP),
];

/// The port of a service, for whichever protocol.
pub(super) fn service(name: &str) -> Option<u16> {
    SERVICES.iter().find(|(n, ..)| *n == name).map(|(_, p, _)| *p)
}

/// The name of a port.
pub(super) fn service_name(port: u16, protocol: u8) -> Option<&'static str> {
    SERVICES.iter().find(|(_, p, of)| *p == port && of.contains(&protocol)).map(|(name, ..)| *name)
}

/// The protocols that iptables knows itself, in its order: the first of a number is the one printed.
const PROTOCOLS: [(&str, u8); 13] = [
    ("tcp", 6),
    ("sctp", 132),
    ("udp", 17),
    ("udplite", 136),
    ("icmp", 1),
    ("ipv6-icmp", 58),
    ("icmpv6", 58),
    ("esp", 50),
    ("ah", 51),
    ("mobility-header", 135),
    ("ipv6-mh", 135),
    ("mh", 135),
    ("all", 0),
];

/// protocols(5)
const MORE_PROTOCOLS: [(&str, u8); 46] = [
    ("ip", 0),
    ("igmp", 2),
    ("ggp", 3),
    ("ipencap", 4),
    ("st", 5),
    ("egp", 8),
    ("igp", 9),
    ("pup", 12),
    ("hmp", 20),
    ("xns-idp", 22),
    ("rdp", 27),
    ("iso-tp4", 29),
    ("dccp", 33),
    ("xtp", 36),
    ("ddp", 37),
    ("idpr-cmtp", 38),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("idrp", 45),
    ("rsvp", 46),
    ("gre", 47),
    ("skip", 57),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("rspf", 73),
    ("vmtp", 81),
    ("eigrp", 88),
    ("ospf", 89),
    ("ax.25", 93),
    ("ipip", 94),
    ("etherip", 97),
    ("encap", 98),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("isis", 124),
    ("fc", 133),
    ("mpls-in-ip", 137),
    ("manet", 138),
    ("hip", 139),
    ("shim6", 140),
    ("wesp", 141),
    ("rohc", 142),
    ("ethernet", 143),
];

/// A protocol by number or name.
pub(super) fn protocol(text: &str) -> Result<u8, Error> {
    if let Some(n) = number(text, 0, 255) {
        return Ok(n as u8);
    }
    let known = PROTOCOLS.iter().chain(&MORE_PROTOCOLS).find(|(name, _)| *name == text);
    known.map(|(_, n)| *n).ok_or_else(|| Error::usage(format!("unknown protocol \"{text}\" specified")))
}

/// A protocol's name, if it has one.
pub(super) fn protocol_name(number: u8) -> Option<&'static str> {
    let known = PROTOCOLS.iter().chain(&MORE_PROTOCOLS).find(|(_, n)| *n == number);
    known.map(|(name, _)| *name)
}

/// A string as it is saved: in double quotes if a character needs them (`xtables_save_string`).
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\' | '\'') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// The words of a line of iptables-restore (`add_param_to_argv`): blanks part them, and so does a closing quote.
///
/// # Errors
/// A word of [`MAX_WORD`] bytes, or more than [`MAX_WORDS`] words.
pub(crate) fn split(line: &str) -> Result<Vec<String>, Error> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut open, mut escaped) = (false, false);
    for c in line.chars() {
        let end = match c {
            _ if open && escaped => {
                escaped = false;
                false
            }
            '\\' if open => {
                escaped = true;
                continue;
            }
            '"' if open => {
                open = false;
                true
            }
            _ if open => false,
            '"' => {
                open = true;
                continue;
            }
            ' ' | '\t' | '\n' if word.is_empty() => continue,
            ' ' | '\t' | '\n' => true,
            _ => false,
        };
        if end {
            words.push(std::mem::take(&mut word));
        } else {
            word.push(c);
        }
        if word.len() >= MAX_WORD {
            return Err(Error::usage("Parameter too long!"));
        }
        if words.len() > MAX_WORDS {
            return Err(Error::usage("Parser cannot handle more arguments"));
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    Ok(words)
}

/// A word of a line is shorter than this, in bytes.
pub const MAX_WORD: usize = 1024;
/// A line has at most so many words (`MAX_ARGC`, less what iptables-restore adds itself).
pub const MAX_WORDS: usize = 250;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, want) in [
            ("12", Some((12, ""))),
            ("0x1f/", Some((31, "/"))),
            ("010", Some((8, ""))),
            ("08", Some((0, "8"))),
            ("0x", Some((0, "x"))),
            (" +5a", Some((5, "a"))),
            ("-1", None),
            ("", None),
            ("x", None),
            ("99999999999999999999999", None),
        ] {
            assert_eq!(strtoul(text), want, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, want) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1/16", "10.1.0.0/16"),
            ("1.2.3.4/255.0.255.0", "1.0.3.0/255.0.255.0"),
            ("any/0", "0.0.0.0/0"),
        ] {
            let (a, m) = network(text).unwrap();
            assert_eq!(format!("{a}/{}", mask_text(m)), want, "{text}");
        }
        assert!(network("1.2.3.4.5").is_err());
        assert!(network("1.2.3.4/33").is_err());
    }

    #[test]
    fn lines_split() {
        for (line, want) in [
            ("-A X -m comment --comment \"a b\"", vec!["-A", "X", "-m", "comment", "--comment", "a b"]),
            ("a\"b c\"d", vec!["ab c", "d"]),
            ("\"\" x", vec!["", "x"]),
            (r#""a\"\\b""#, vec![r#"a"\b"#]),
            ("  \t", vec![]),
        ] {
            assert_eq!(split(line).unwrap(), want, "{line}");
        }
        assert!(split(&"x".repeat(2000)).is_err());
        assert!(split(&"x ".repeat(2000)).is_err());
    }

    #[test]
    fn options() {
        let more = [
            Long { name: "sport", has_arg: true, id: (0, 1) },
            Long { name: "source-port", has_arg: true, id: (0, 1) },
            Long { name: "syn", has_arg: false, id: (0, 2) },
        ];
        let read = |words: &[&str]| {
            let mut opts = Getopt::new(words);
            std::iter::from_fn(|| opts.next(&more).map(|o| format!("{o:?}"))).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(read(&["-vnL", "x"]), "Own('v', None) Own('n', None) Own('L', None) Word(\"x\")");
        assert_eq!(read(&["-ptcp", "--spo=1"]), "Own('p', Some(\"tcp\")) Extension((0, 1), Some(\"1\"))");
        assert_eq!(read(&["--s"]), "Unknown(\"--s\")");
        assert_eq!(read(&["--sour", "a"]), "Unknown(\"--sour\") Word(\"a\")");
        assert_eq!(read(&["--syn=3", "-j"]), "Unknown(\"--syn=3\") Missing(\"-j\")");
    }
}
