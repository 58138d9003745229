//! Reading argv as iproute2 does (lib/utils.c): keywords that may be abbreviated, numbers in three bases, addresses.

use crate::base::Mac;
use crate::base::words::{SyntaxError, Word};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;
use std::ops::Range;

/// The words of a command and how far it has been read.
#[derive(Clone, Copy)]
pub(super) struct Args<'a> {
    words: &'a [Word],
    at: usize,
}

impl<'a> Args<'a> {
    /// `words` from number `at` on; there is at least one before.
    pub(super) fn new(words: &'a [Word], at: usize) -> Self {
        Args { words, at }
    }

    /// The next word, left where it is.
    pub(super) fn peek(&self) -> Option<&'a Word> {
        self.words.get(self.at)
    }

    /// All words that are left.
    pub(super) fn rest(&self) -> &'a [Word] {
        self.words.get(self.at..).unwrap_or_default()
    }

    /// The value of the keyword that was read last (NEXT_ARG).
    pub(super) fn value(&mut self) -> Result<&'a Word, SyntaxError> {
        self.next().ok_or_else(|| self.error("Command line is not complete. Try option \"help\""))
    }

    /// An error about what is missing after the last word read.
    pub(super) fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError::new(self.last_span(), message)
    }

    fn last_span(&self) -> Range<usize> {
        let last = self.at.min(self.words.len()).checked_sub(1).and_then(|i| self.words.get(i));
        last.map_or(0..0, |w| w.span.clone())
    }
}

impl<'a> Iterator for Args<'a> {
    type Item = &'a Word;

    fn next(&mut self) -> Option<&'a Word> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }
}

/// A keyword of a command, and what it stands for.
pub(super) struct Keyword<T> {
    name: &'static str,
    abbreviated: bool,
    key: T,
}

impl<T> Keyword<T> {
    fn matches(&self, word: &str) -> bool {
        self.name == word || self.abbreviated && !word.is_empty() && self.name.starts_with(word)
    }
}

impl<T: Copy> Keyword<T> {
    /// What it stands for.
    pub(super) fn key(&self) -> T {
        self.key
    }
}

/// A keyword that must be written out (strcmp).
pub(super) const fn exact<T>(name: &'static str, key: T) -> Keyword<T> {
    Keyword { name, abbreviated: false, key }
}

/// A keyword of which the first letters are enough (matches).
pub(super) const fn prefix<T>(name: &'static str, key: T) -> Keyword<T> {
    Keyword { name, abbreviated: true, key }
}

/// What `word` stands for: the first keyword that it matches, so the order of the table decides.
pub(super) fn keyword<T: Copy>(table: &[Keyword<T>], word: &str) -> Option<T> {
    table.iter().find(|k| k.matches(word)).map(|k| k.key)
}

/// The names in a table, for hints.
pub(super) fn names<T>(table: &[Keyword<T>]) -> impl Iterator<Item = &'static str> {
    table.iter().map(|k| k.name)
}

/// invarg
pub(super) fn invalid(word: &Word, message: &str) -> SyntaxError {
    SyntaxError::at(word, format!("Error: argument \"{}\" is wrong: {message}", word.text))
}

/// duparg: an option was given twice.
pub(super) fn duplicate(option: &str, word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("Error: duplicate \"{option}\": \"{}\" is the second value.", word.text))
}

/// duparg2: a word that is no keyword, where the argument without a keyword was given already.
pub(super) fn garbage(option: &str, word: &Word) -> SyntaxError {
    let text = &word.text;
    SyntaxError::at(word, format!("Error: either \"{option}\" is duplicate, or \"{text}\" is a garbage."))
}

/// A word that the real tool knows.
pub(super) fn not_simulated(word: &Word) -> SyntaxError {
    SyntaxError::at(word, format!("\"{}\" is not simulated", word.text))
}

/// A keyword that the real tool knows; an abbreviation is explained.
pub(super) fn not_simulated_in<T>(table: &[Keyword<T>], word: &Word) -> SyntaxError {
    match table.iter().find(|k| k.matches(&word.text)).map(|k| k.name) {
        Some(name) if name != word.text && !word.text.starts_with("--") => {
            SyntaxError::at(word, format!("\"{}\" stands for \"{name}\" here, which is not simulated", word.text))
        }
        _ => not_simulated(word),
    }
}

/// `help`, which prints a text that is in the manual page.
pub(super) fn help(word: &Word, page: &str) -> SyntaxError {
    SyntaxError::at(word, "help texts are not simulated").hint(format!("see the manual page: man 8 {page}"))
}

/// strtoul and strtol with base 0: decimal, 0x hexadecimal, 0 octal; a sign is allowed. None if anything is left over.
pub(super) fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let (base, digits) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => (16, hex),
        None if digits.len() > 1 && digits.starts_with('0') => (8, &digits[1..]),
        None => (10, digits),
    };
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(digits, base).ok().map(|n| sign * n)
}

/// get_u8, get_u16, get_u32: an unsigned number that fits.
pub(super) fn unsigned<T: TryFrom<i128>>(word: &Word, message: &str) -> Result<T, SyntaxError> {
    number(&word.text).and_then(|n| n.try_into().ok()).ok_or_else(|| invalid(word, message))
}

/// get_integer; negative numbers are passed on as the kernel sees them.
pub(super) fn integer(word: &Word, message: &str) -> Result<u32, SyntaxError> {
    let n = number(&word.text).and_then(|n| i32::try_from(n).ok());
    n.map(i32::cast_unsigned).ok_or_else(|| invalid(word, message))
}

/// `on` or `off`, written out.
pub(super) fn on_off(option: &str, word: &Word) -> Result<bool, SyntaxError> {
    match word.text.as_str() {
        "on" => Ok(true),
        "off" => Ok(false),
        other => Err(SyntaxError::at(
            word,
            format!("Error: argument of \"{option}\" must be \"on\" or \"off\", not \"{other}\""),
        )),
    }
}

/// parse_on_off: `on` or `off`, or their first letters.
pub(super) fn on_off_short(option: &str, word: &Word) -> Result<bool, SyntaxError> {
    keyword(&[prefix("off", false), prefix("on", true)], &word.text).ok_or_else(|| {
        let text = &word.text;
        SyntaxError::at(word, format!("Error: argument of \"{option}\" must be one of \"off\", \"on\", not \"{text}\""))
    })
}

/// get_addr: an IPv4 address; `inet` says whether only that family can be meant here.
pub(super) fn address(word: &Word, inet: bool) -> Result<Ipv4Addr, SyntaxError> {
    ipv4(&word.text).ok_or_else(|| expected("address", word, inet))
}

/// get_prefix: an IPv4 address with a prefix length (32 if there is none), or `default`.
pub(super) fn network(word: &Word, inet: bool) -> Result<Ipv4Net, SyntaxError> {
    let text = word.text.as_str();
    if matches!(text, "default" | "any" | "all") {
        return Ok(Ipv4Net::default());
    }
    let (addr, len) = text.split_once('/').unwrap_or((text, "32"));
    let len = number(len).and_then(|n| u8::try_from(n).ok()).or_else(|| netmask(len));
    let net = ipv4(addr).zip(len).and_then(|(addr, len)| Ipv4Net::new(addr, len).ok());
    net.ok_or_else(|| expected("prefix", word, inet))
}

fn expected(what: &str, word: &Word, inet: bool) -> SyntaxError {
    let text = &word.text;
    if text.parse::<std::net::Ipv6Addr>().is_ok() || text.parse::<ipnet::Ipv6Net>().is_ok() {
        return SyntaxError::at(word, "IPv6 is not simulated");
    }
    let family = if inet { "inet" } else { "any valid" };
    let example = if what == "prefix" { "10.244.1.0/24" } else { "10.244.1.1" };
    SyntaxError::at(word, format!("Error: {family} {what} is expected rather than \"{text}\"."))
        .hint(format!("an example: {example}"))
}

/// get_addr_ipv4: up to four numbers; missing ones are zero.
fn ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        match parts.next() {
            Some(part) => *octet = number(part).and_then(|n| n.try_into().ok())?,
            None => break,
        }
    }
    if parts.next().is_some() { None } else { Some(octets.into()) }
}

/// A prefix length as a mask: 255.255.255.0.
fn netmask(text: &str) -> Option<u8> {
    ipnet::ipv4_mask_to_prefix(ipv4(text)?).ok()
}

/// ll_addr_a2n: an Ethernet address. `short` is what the real tool says of one that is longer or shorter than six
/// bytes; it is given the length.
pub(super) fn lladdr(word: &Word, short: impl Fn(usize) -> String) -> Result<Mac, SyntaxError> {
    const HINT: &str = "an Ethernet address has six bytes: 0a:58:0a:f4:01:02";
    if word.text.contains('.') && ipv4(&word.text).is_some() {
        return Err(SyntaxError::at(word, short(4)).hint(HINT));
    }
    let mut bytes = Vec::new();
    for part in word.text.split(':') {
        let Some(byte) = hex_byte(part) else {
            return Err(SyntaxError::at(word, format!("\"{part}\" is invalid lladdr.")).hint(HINT));
        };
        bytes.push(byte);
    }
    let len = bytes.len();
    bytes.try_into().map(Mac).map_err(|_| SyntaxError::at(word, short(len)).hint(HINT))
}

/// sscanf with %x: what follows the digits is ignored.
fn hex_byte(text: &str) -> Option<u8> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    u8::from_str_radix(&text[..digits], 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &str) -> Word {
        Word { text: text.to_owned(), span: 0..text.len() }
    }

    #[test]
    fn numbers() {
        for (text, want) in [
            ("0", Some(0)),
            ("1400", Some(1400)),
            ("+1400", Some(1400)),
            ("-5", Some(-5)),
            ("0x5dc", Some(1500)),
            ("010", Some(8)),
            ("08", None),
            ("", None),
            ("-", None),
            ("+-1", None),
            ("0x", None),
            ("1400x", None),
            ("1_000", None),
            ("99999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }

    #[test]
    fn abbreviations_take_the_first_of_the_table() {
        let table = [exact("up", 1), prefix("address", 2), prefix("alias", 3), prefix("addrgenmode", 4)];
        for (text, want) in [
            ("up", Some(1)),
            ("u", None),
            ("a", Some(2)),
            ("al", Some(3)),
            ("addrg", Some(4)),
            ("address", Some(2)),
            ("addressx", None),
            ("", None),
        ] {
            assert_eq!(keyword(&table, text), want, "{text}");
        }
    }

    #[test]
    fn networks() {
        for (text, want) in [
            ("10.0.0.1/24", Ok("10.0.0.1/24")),
            ("10.0.0.1", Ok("10.0.0.1/32")),
            ("10.1/16", Ok("10.1.0.0/16")),
            ("0/0", Ok("0.0.0.0/0")),
            ("default", Ok("0.0.0.0/0")),
            ("10.0.0.1/255.255.255.0", Ok("10.0.0.1/24")),
            ("0x0a.1.1.010", Ok("10.1.1.8/32")),
            ("10.0.0.1/33", Err("Error: any valid prefix is expected rather than \"10.0.0.1/33\".")),
            ("10.0.0.256/24", Err("Error: any valid prefix is expected rather than \"10.0.0.256/24\".")),
            ("10.0.0.1/0.0.0.255", Err("Error: any valid prefix is expected rather than \"10.0.0.1/0.0.0.255\".")),
            ("10.0.0.1/", Err("Error: any valid prefix is expected rather than \"10.0.0.1/\".")),
            ("10.0.0.0.1", Err("Error: any valid prefix is expected rather than \"10.0.0.0.1\".")),
            ("", Err("Error: any valid prefix is expected rather than \"\".")),
            ("foo", Err("Error: any valid prefix is expected rather than \"foo\".")),
            ("fe80::1/64", Err("IPv6 is not simulated")),
        ] {
            let got = network(&word(text), false).map(|n| n.to_string()).map_err(|e| e.message);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
        }
        let e = address(&word("10.0.0/24"), true).unwrap_err();
        assert_eq!(e.message, "Error: inet address is expected rather than \"10.0.0/24\".");
    }

    #[test]
    fn hardware_addresses() {
        for (text, want) in [
            ("0a:58:0a:f4:01:02", Ok("0a:58:0a:f4:01:02")),
            ("1:2:3:4:5:6", Ok("01:02:03:04:05:06")),
            ("0x1:0:0:0:0:2", Ok("01:00:00:00:00:02")),
            ("0a:58", Err("2 bytes")),
            ("10.0.0.1", Err("4 bytes")),
            ("foo", Err("1 bytes")),
            ("xyz", Err("\"xyz\" is invalid lladdr.")),
            ("00:00:00:00:00:100", Err("\"100\" is invalid lladdr.")),
            ("-1:0:0:0:0:0", Err("\"-1\" is invalid lladdr.")),
            ("", Err("\"\" is invalid lladdr.")),
        ] {
            let got = lladdr(&word(text), |n| format!("{n} bytes"));
            let got = got.map(|m| m.to_string()).map_err(|e| e.message);
            assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
        }
    }
}
