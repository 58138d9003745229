//! What the programs share when they read their words: getopt(3), numbers, addresses, the port of a server.

use crate::base::words::{SyntaxError, Word};
use std::net::{Ipv4Addr, Ipv6Addr};

/// getopt(3): options and operands in any order; `--` ends the options. Options come one by one, so that the first
/// error is the one that the real program reports.
pub(crate) struct Getopt<'a> {
    tool: &'static str,
    /// The letters; a colon follows those that take an argument.
    spec: &'static str,
    words: std::slice::Iter<'a, Word>,
    /// What is left of a cluster of letters (`-qc1`), with its word.
    cluster: Option<(&'a Word, &'a str)>,
    /// The words that are no options.
    pub operands: Vec<&'a Word>,
}

/// getopt_long(3): long options (`--numeric`) become the letters that they stand for; one that is not in the table, or
/// that stands for several, stays as it is.
pub(crate) fn short(words: &[Word], table: &[(&str, char)]) -> Vec<Word> {
    let letter = |name: &str| {
        let exact = table.iter().find(|(long, _)| *long == name);
        let mut begun = table.iter().filter(|(long, _)| long.starts_with(name));
        exact.or_else(|| begun.next().filter(|_| begun.next().is_none())).map(|(_, letter)| *letter)
    };
    let shorten = |word: &Word| match word.text.strip_prefix("--").filter(|name| !name.is_empty()).and_then(letter) {
        Some(letter) => Word { text: format!("-{letter}"), span: word.span.clone() },
        None => word.clone(),
    };
    words.iter().map(shorten).collect()
}

/// An option on the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opt<'a> {
    pub letter: char,
    /// Its argument; empty if it takes none.
    pub arg: &'a str,
    /// The word that holds the argument, or the option itself.
    pub word: &'a Word,
}

impl<'a> Getopt<'a> {
    pub(crate) fn new(tool: &'static str, spec: &'static str, words: &'a [Word]) -> Self {
        Getopt { tool, spec, words: words.iter(), cluster: None, operands: Vec::new() }
    }

    /// The next option; none when only operands are left, which stand in `operands` then.
    pub(crate) fn next(&mut self) -> Result<Option<Opt<'a>>, SyntaxError> {
        let Some((word, rest)) = self.cluster.take().or_else(|| self.next_cluster()) else { return Ok(None) };
        let Some(letter) = rest.chars().next() else { return Ok(None) };
        let rest = &rest[letter.len_utf8()..];
        let takes = self.spec.find(letter).filter(|_| letter != ':').map(|at| self.spec[at + 1..].starts_with(':'));
        match takes {
            None => Err(self.usage(word, format!("{}: invalid option -- '{letter}'", self.tool))),
            Some(false) => {
                self.cluster = (!rest.is_empty()).then_some((word, rest));
                Ok(Some(Opt { letter, arg: "", word }))
            }
            Some(true) if !rest.is_empty() => Ok(Some(Opt { letter, arg: rest, word })),
            Some(true) => match self.words.next() {
                Some(word) => Ok(Some(Opt { letter, arg: &word.text, word })),
                None => Err(self.usage(word, format!("{}: option requires an argument -- '{letter}'", self.tool))),
            },
        }
    }

    /// Skips over operands to the next word of option letters.
    fn next_cluster(&mut self) -> Option<(&'a Word, &'a str)> {
        for word in self.words.by_ref() {
            match word.text.strip_prefix('-') {
                Some("-") => {
                    self.operands.extend(self.words.by_ref());
                    return None;
                }
                Some(letters) if !letters.is_empty() => return Some((word, letters)),
                _ => self.operands.push(word),
            }
        }
        None
    }

    /// An error after which the real program prints its usage text.
    fn usage(&self, word: &Word, message: String) -> SyntaxError {
        let letters: Vec<String> = self.spec.chars().filter(|c| *c != ':').map(|c| format!("-{c}")).collect();
        SyntaxError::at(word, message).hint(format!("the options are: {}", letters.join(" ")))
    }
}

impl Opt<'_> {
    /// An error that blames this option.
    pub(crate) fn error(&self, tool: &str, message: impl std::fmt::Display) -> SyntaxError {
        SyntaxError::at(self.word, format!("{tool}: {message}"))
    }

    /// The error for what the real program can do and this one cannot.
    pub(crate) fn not_simulated(&self, tool: &str) -> SyntaxError {
        self.error(tool, format!("option -{} is not simulated", self.letter))
    }

    /// A whole number in decimal digits, from `min` to `max` (strtol(3) and iputils' checks).
    pub(super) fn integer(&self, tool: &str, min: i64, max: i64) -> Result<i64, SyntaxError> {
        let bad = |why: &str| self.error(tool, format!("invalid argument: '{}'{why}", self.arg));
        let text = self.arg.trim_start_matches(is_c_space);
        let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad(""));
        }
        let number: i64 = text.parse().map_err(|_| bad(": Numerical result out of range"))?;
        if number < min || number > max {
            return Err(bad(&format!(": out of range: {min} <= value <= {max}")));
        }
        Ok(number)
    }

    /// A number of seconds in milliseconds (strtod(3)); `what` names it in messages.
    pub(super) fn seconds(&self, tool: &str, what: &str, max_ms: f64) -> Result<i64, SyntaxError> {
        let bad = |why: &str| self.error(tool, format!("bad {what}: {}{why}", self.arg));
        let text = self.arg.trim_start_matches(is_c_space);
        let name = text.strip_prefix(['+', '-']).unwrap_or(text).to_ascii_lowercase();
        if ["inf", "infinity", "nan"].contains(&name.as_str()) {
            return Err(bad(": Numerical result out of range"));
        }
        if self.arg.is_empty() {
            return Err(bad(""));
        }
        let (number, garbage) = decimal_prefix(text);
        if !garbage.is_empty() {
            return Err(self.error(tool, format!("option argument contains garbage: {garbage}")));
        }
        let ms = number * 1000.0;
        if !(0.0..=max_ms).contains(&ms) {
            return Err(bad(""));
        }
        Ok(ms as i64)
    }
}

/// isspace(3) in the C locale.
fn is_c_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// The decimal number that `text` begins with, and what is behind it. A number too large is infinite.
fn decimal_prefix(text: &str) -> (f64, &str) {
    let bytes = text.as_bytes();
    let digits = |from: usize| from + bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let whole = digits(sign);
    let fraction = if bytes.get(whole) == Some(&b'.') { digits(whole + 1) } else { whole };
    if fraction - sign - usize::from(fraction > whole) == 0 {
        return (0.0, text);
    }
    let mut end = fraction;
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let from = end + 1 + usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if from <= bytes.len() && digits(from) > from {
            end = digits(from);
        }
    }
    (text[..end].parse().unwrap_or(f64::INFINITY), &text[end..])
}

/// The destination: an IPv4 address as inet_aton(3) reads it. There is no name service in user space.
pub(super) fn destination(tool: &str, word: &Word) -> Result<Ipv4Addr, SyntaxError> {
    if let Some(addr) = inet_aton(&word.text) {
        return Ok(addr);
    }
    if word.text.parse::<Ipv6Addr>().is_ok() {
        return Err(SyntaxError::at(word, format!("{tool}: IPv6 is not simulated")));
    }
    let message = format!("{tool}: {}: Name or service not known", word.text);
    Err(SyntaxError::at(word, message).hint("names are not resolved: give an IPv4 address"))
}

/// The one word of a server: its port.
pub(super) fn port(name: &Word, words: &[Word]) -> Result<u16, SyntaxError> {
    let server = &name.text;
    let hint = format!("write `{server} 7`");
    let port = match words {
        [port] => port,
        [] => return Err(SyntaxError::at(name, format!("{server}: the port is missing")).hint(hint)),
        [_, more, ..] => return Err(SyntaxError::at(more, format!("{server}: takes one port")).hint(hint)),
    };
    match port.text.parse::<u16>() {
        Ok(number) if number > 0 && port.text.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
        _ => Err(SyntaxError::at(port, format!("{server}: {} is not a port", port.text)).hint("a port is 1 to 65535")),
    }
}

/// inet_aton(3): one to four numbers, decimal, octal or hexadecimal; the last one fills what is left.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let mut parts = [0u32; 4];
    let mut count = 0;
    for part in text.split('.') {
        *parts.get_mut(count)? = c_number(part)?;
        count += 1;
    }
    let (last, heads) = parts[..count].split_last()?;
    let mut addr = *last;
    if u64::from(addr) >= 1 << (32 - 8 * heads.len()) {
        return None;
    }
    for (i, head) in heads.iter().enumerate() {
        addr |= u32::from(u8::try_from(*head).ok()?) << (24 - 8 * i);
    }
    Some(Ipv4Addr::from(addr))
}

/// A number as C writes it: 0x and hexadecimal, 0 and octal, or decimal.
fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::script::words;

    #[test]
    fn getopt_order_and_clusters() {
        for (line, want_options, want_operands) in [
            ("-qc1 10.0.0.1", "q= c=1", "10.0.0.1"),
            ("10.0.0.1 -c 3 -i0.2", "c=3 i=0.2", "10.0.0.1"),
            ("-q -- -c 1", "q=", "-c 1"),
            ("- -q", "q=", "-"),
            ("-c -1", "c=-1", ""),
        ] {
            let words = words(line);
            let mut g = Getopt::new("ping", "c:i:q", &words);
            let mut options = Vec::new();
            while let Some(o) = g.next().unwrap() {
                options.push(format!("{}={}", o.letter, o.arg));
            }
            let operands: Vec<&str> = g.operands.iter().map(|w| w.text.as_str()).collect();
            assert_eq!(
                (options.join(" ").as_str(), operands.join(" ").as_str()),
                (want_options, want_operands),
                "{line}"
            );
        }
    }

    #[test]
    fn getopt_errors() {
        for (line, want) in [
            ("-Z", "ping: invalid option -- 'Z'"),
            ("-qZ", "ping: invalid option -- 'Z'"),
            ("--foo", "ping: invalid option -- '-'"),
            ("-:", "ping: invalid option -- ':'"),
            ("-ä", "ping: invalid option -- 'ä'"),
            ("-q -c", "ping: option requires an argument -- 'c'"),
        ] {
            let words = words(line);
            let mut g = Getopt::new("ping", "c:q", &words);
            let mut last = g.next();
            while let Ok(Some(_)) = last {
                last = g.next();
            }
            assert_eq!(last.unwrap_err().message, want, "{line}");
        }
    }

    #[test]
    fn integers() {
        for (arg, want) in [
            ("3", "3"),
            ("010", "10"),
            (" +2", "2"),
            ("x", "t: invalid argument: 'x'"),
            ("1x", "t: invalid argument: '1x'"),
            ("2 ", "t: invalid argument: '2 '"),
            ("0x2", "t: invalid argument: '0x2'"),
            ("", "t: invalid argument: ''"),
            ("-", "t: invalid argument: '-'"),
            ("0", "t: invalid argument: '0': out of range: 1 <= value <= 9223372036854775807"),
            ("-1", "t: invalid argument: '-1': out of range: 1 <= value <= 9223372036854775807"),
            ("99999999999999999999", "t: invalid argument: '99999999999999999999': Numerical result out of range"),
        ] {
            let word = Word { text: arg.to_owned(), span: 0..0 };
            let opt = Opt { letter: 'c', arg, word: &word };
            let got = opt.integer("t", 1, i64::MAX).map_or_else(|e| e.message, |n| n.to_string());
            assert_eq!(got, want, "{arg}");
        }
    }

    #[test]
    fn seconds() {
        for (arg, want) in [
            ("1", "1000"),
            (".2", "200"),
            ("0.3", "300"),
            ("1.9999", "1999"),
            ("1e-1", "100"),
            ("0", "0"),
            ("2147483.647", "2147483647"),
            ("2147483.648", "t: bad timing interval: 2147483.648"),
            ("1e999", "t: bad timing interval: 1e999"),
            ("inf", "t: bad timing interval: inf: Numerical result out of range"),
            ("nan", "t: bad timing interval: nan: Numerical result out of range"),
            ("", "t: bad timing interval: "),
            ("-1", "t: bad timing interval: -1"),
            ("x", "t: option argument contains garbage: x"),
            ("0,2", "t: option argument contains garbage: ,2"),
            ("1e", "t: option argument contains garbage: e"),
            ("1e+", "t: option argument contains garbage: e+"),
            (".", "t: option argument contains garbage: ."),
            ("-", "t: option argument contains garbage: -"),
        ] {
            let word = Word { text: arg.to_owned(), span: 0..0 };
            let opt = Opt { letter: 'i', arg, word: &word };
            let got =
                opt.seconds("t", "timing interval", 2_147_483_647.0).map_or_else(|e| e.message, |n| n.to_string());
            assert_eq!(got, want, "{arg}");
        }
    }

    #[test]
    fn addresses() {
        for (text, want) in [
            ("10.8.1.2", Some([10, 8, 1, 2])),
            ("127.1", Some([127, 0, 0, 1])),
            ("10.258", Some([10, 0, 1, 2])),
            ("1.2.772", Some([1, 2, 3, 4])),
            ("0x7f.0.0.01", Some([127, 0, 0, 1])),
            ("2130706433", Some([127, 0, 0, 1])),
            ("0", Some([0, 0, 0, 0])),
            ("300.1.1.1", None),
            ("1.2.3.256", None),
            ("1.2.65536", None),
            ("1.2.3.4.5", None),
            ("1.2.3.", None),
            ("+1.2.3.4", None),
            ("09.1.1.1", None),
            ("foo", None),
            ("", None),
        ] {
            assert_eq!(inet_aton(text), want.map(Ipv4Addr::from), "{text}");
        }
    }
}
