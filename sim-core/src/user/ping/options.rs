//! ping's command line.

use crate::base::words::{SyntaxError, Word};
use crate::kernel::syscall::PmtuDisc;
use crate::user::args::{Getopt, Opt, destination};
use std::net::Ipv4Addr;

const TOOL: &str = "ping";
/// All letters that the real program knows.
const SPEC: &str = "aABc:CdDe:fF:hI:i:Ll:m:M:nN:OqQ:p:Rs:S:t:T:UvVw:W:46b";
const INT_MAX: i64 = i32::MAX as i64;
/// A pattern is at most so many bytes; the rest is ignored.
const MAX_PATTERN: usize = 16;

/// What ping was asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::user) struct Options {
    /// The destination as it was written.
    pub host: String,
    pub dst: Ipv4Addr,
    /// -c
    pub count: Option<u64>,
    /// -i
    pub interval_ms: i64,
    /// -W
    pub linger_ms: i64,
    /// -w; zero is none.
    pub deadline_s: u64,
    /// -l
    pub preload: i64,
    /// -s: bytes behind the ICMP header.
    pub size: usize,
    /// -p
    pub pattern: Option<Vec<u8>>,
    /// -t
    pub ttl: Option<u8>,
    /// -Q
    pub tos: Option<u8>,
    /// -M
    pub pmtu: Option<PmtuDisc>,
    /// -I with an address.
    pub source: Option<Ipv4Addr>,
    /// -I with a device.
    pub device: Option<String>,
    /// -q
    pub quiet: bool,
    /// -D
    pub timestamps: bool,
    /// -O
    pub outstanding: bool,
    /// -b
    pub broadcast: bool,
}

/// Reads the words behind `name`.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    let mut o = Options {
        host: String::new(),
        dst: Ipv4Addr::UNSPECIFIED,
        count: None,
        interval_ms: 1000,
        linger_ms: 10_000,
        deadline_s: 0,
        preload: 1,
        size: 56,
        pattern: None,
        ttl: None,
        tos: None,
        pmtu: None,
        source: None,
        device: None,
        quiet: false,
        timestamps: false,
        outstanding: false,
        broadcast: false,
    };
    let mut getopt = Getopt::new(TOOL, SPEC, words);
    while let Some(opt) = getopt.next()? {
        o.set(&opt)?;
    }
    match getopt.operands[..] {
        [] => return Err(SyntaxError::at(name, "ping: usage error: Destination address required")),
        [host] => {
            o.host.clone_from(&host.text);
            o.dst = destination(TOOL, host)?;
        }
        [_, second, ..] => {
            return Err(SyntaxError::at(second, "ping: a route through several hosts is not simulated"));
        }
    }
    if o.interval_ms >= INT_MAX / o.preload {
        return Err(SyntaxError::at(name, format!("ping: illegal preload and/or interval: {}", o.interval_ms)));
    }
    Ok(o)
}

impl Options {
    fn set(&mut self, opt: &Opt<'_>) -> Result<(), SyntaxError> {
        match opt.letter {
            'c' => self.count = Some(opt.integer(TOOL, 1, i64::MAX)?.unsigned_abs()),
            'i' => self.interval_ms = opt.seconds(TOOL, "timing interval", INT_MAX as f64)?,
            // Whole seconds are compared here, so that the limit is a little lower.
            'W' => self.linger_ms = opt.seconds(TOOL, "linger time", (INT_MAX / 1000 * 1000) as f64)?,
            'w' => self.deadline_s = opt.integer(TOOL, 0, INT_MAX)?.unsigned_abs(),
            'l' => self.preload = opt.integer(TOOL, 1, 65_536)?,
            's' => self.size = opt.integer(TOOL, 0, INT_MAX)?.unsigned_abs() as usize,
            't' => self.ttl = Some(opt.integer(TOOL, 0, 255)? as u8),
            'Q' => self.tos = Some(tos(opt)?),
            'M' => self.pmtu = Some(pmtu(opt)?),
            'p' => self.pattern = Some(pattern(opt)?),
            'I' => match opt.arg.parse() {
                Ok(addr) => self.source = Some(addr),
                Err(_) => self.device = Some(opt.arg.to_owned()),
            },
            'q' => self.quiet = true,
            'D' => self.timestamps = true,
            'O' => self.outstanding = true,
            'b' => self.broadcast = true,
            // Addresses are never turned into names here, and there is only IPv4.
            'n' | '4' => {}
            _ => return Err(opt.not_simulated(TOOL)),
        }
        Ok(())
    }
}

/// -Q: decimal or hexadecimal.
fn tos(opt: &Opt<'_>) -> Result<u8, SyntaxError> {
    let parsed = match opt.arg.strip_prefix("0x").or_else(|| opt.arg.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => i64::from_str_radix(hex, 16),
        _ => opt.arg.parse(),
    };
    let Ok(value) = parsed else { return Err(opt.error(TOOL, format!("bad TOS value: {}", opt.arg))) };
    if value > 255 {
        let message = format!("the decimal value of TOS bits must be in range 0-255: {value}");
        return Err(opt.error(TOOL, message));
    }
    // The kernel keeps the low byte of a negative one.
    Ok(value as u8)
}

fn pmtu(opt: &Opt<'_>) -> Result<PmtuDisc, SyntaxError> {
    match opt.arg {
        "do" => Ok(PmtuDisc::Do),
        "want" => Ok(PmtuDisc::Want),
        "dont" => Ok(PmtuDisc::Dont),
        arg => Err(opt.error(TOOL, format!("invalid -M argument: {arg}"))),
    }
}

/// -p: pairs of hexadecimal digits; a single one at the end is a byte too.
fn pattern(opt: &Opt<'_>) -> Result<Vec<u8>, SyntaxError> {
    if let Some(at) = opt.arg.find(|c: char| !c.is_ascii_hexdigit()) {
        let message = format!("patterns must be specified as hex digits: {}", &opt.arg[at..]);
        return Err(opt.error(TOOL, message));
    }
    let digits: Vec<u8> = opt.arg.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    let byte = |pair: &[u8]| pair.iter().fold(0, |sum, d| sum << 4 | d);
    Ok(digits.chunks(2).take(MAX_PATTERN).map(byte).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::script::words;

    fn options(line: &str) -> Result<Options, SyntaxError> {
        let words = words(line);
        parse(&words[0], &words[1..])
    }

    #[test]
    fn options_are_kept() {
        let o = options(
            "ping -nqDO4b -c 3 -i0.2 10.8.1.2 -W .5 -w2 -l3 -s 100 -t5 -Q 0x10 -M do -p abc -I eth0 -I 10.8.0.2",
        );
        let want = Options {
            host: "10.8.1.2".into(),
            dst: [10, 8, 1, 2].into(),
            count: Some(3),
            interval_ms: 200,
            linger_ms: 500,
            deadline_s: 2,
            preload: 3,
            size: 100,
            pattern: Some(vec![0xab, 0x0c]),
            ttl: Some(5),
            tos: Some(16),
            pmtu: Some(PmtuDisc::Do),
            source: Some([10, 8, 0, 2].into()),
            device: Some("eth0".into()),
            quiet: true,
            timestamps: true,
            outstanding: true,
            broadcast: true,
        };
        assert_eq!(o, Ok(want));
    }

    /// The texts are the real program's, but for what is not simulated.
    #[test]
    fn errors() {
        for (line, want) in [
            ("ping", "ping: usage error: Destination address required"),
            ("ping -c", "ping: option requires an argument -- 'c'"),
            ("ping -Z 10.8.1.2", "ping: invalid option -- 'Z'"),
            ("ping -c x 10.8.1.2", "ping: invalid argument: 'x'"),
            ("ping -l 65537 10.8.1.2", "ping: invalid argument: '65537': out of range: 1 <= value <= 65536"),
            ("ping -w 0.5 10.8.1.2", "ping: invalid argument: '0.5'"),
            ("ping -w -1 10.8.1.2", "ping: invalid argument: '-1': out of range: 0 <= value <= 2147483647"),
            ("ping -t 256 10.8.1.2", "ping: invalid argument: '256': out of range: 0 <= value <= 255"),
            ("ping -i 99999999999 10.8.1.2", "ping: bad timing interval: 99999999999"),
            ("ping -W -1 10.8.1.2", "ping: bad linger time: -1"),
            ("ping -W 2147484 10.8.1.2", "ping: bad linger time: 2147484"),
            ("ping -M foo 10.8.1.2", "ping: invalid -M argument: foo"),
            ("ping -M probe 10.8.1.2", "ping: invalid -M argument: probe"),
            ("ping -Q x 10.8.1.2", "ping: bad TOS value: x"),
            ("ping -Q 0x 10.8.1.2", "ping: bad TOS value: 0x"),
            ("ping -Q 300 10.8.1.2", "ping: the decimal value of TOS bits must be in range 0-255: 300"),
            ("ping -Q 0x100 10.8.1.2", "ping: the decimal value of TOS bits must be in range 0-255: 256"),
            ("ping -p zz 10.8.1.2", "ping: patterns must be specified as hex digits: zz"),
            ("ping -p aäb 10.8.1.2", "ping: patterns must be specified as hex digits: äb"),
            ("ping -l2 -i 2147483 127.0.0.1", "ping: illegal preload and/or interval: 2147483000"),
            ("ping -c1 foo", "ping: foo: Name or service not known"),
            ("ping -c1 300.1.1.1", "ping: 300.1.1.1: Name or service not known"),
            ("ping -c1 ::1", "ping: IPv6 is not simulated"),
            ("ping -f 10.8.1.2", "ping: option -f is not simulated"),
            ("ping -A 10.8.1.2", "ping: option -A is not simulated"),
            ("ping -6 10.8.1.2", "ping: option -6 is not simulated"),
            ("ping 10.8.1.2 10.8.1.3", "ping: a route through several hosts is not simulated"),
        ] {
            assert_eq!(options(line).map_err(|e| e.message), Err(want.to_owned()), "{line}");
        }
    }

    #[test]
    fn numbers() {
        for (line, want) in [("-Q 010", Some(10)), ("-Q -1", Some(255)), ("-Q 0x1F", Some(31)), ("-n", None)] {
            assert_eq!(options(&format!("ping {line} 127.1")).unwrap().tos, want, "{line}");
        }
        for (line, want) in
            [("ff", vec![0xff]), ("f", vec![0x0f]), ("0102030405060708090a0b0c0d0e0f1011", (1..=16).collect())]
        {
            assert_eq!(options(&format!("ping -p {line} 127.1")).unwrap().pattern, Some(want), "{line}");
        }
    }
}
