//! arping's command line.

use crate::base::words::{SyntaxError, Word};
use crate::user::args::{Getopt, Opt, destination};
use std::net::Ipv4Addr;

const TOOL: &str = "arping";
/// All letters that the real program knows.
const SPEC: &str = "h?bfDUAqc:w:i:s:I:V";
const INT_MAX: i64 = i32::MAX as i64;

/// What arping was asked to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::user) struct Options {
    pub dst: Ipv4Addr,
    /// -c
    pub count: Option<u64>,
    /// -w in seconds; zero is none.
    pub timeout_s: u64,
    /// -i in seconds; with zero the first probe is the last.
    pub interval_s: u64,
    /// -I
    pub device: Option<String>,
    /// -s
    pub source: Option<Ipv4Addr>,
    /// -f
    pub quit_on_reply: bool,
    /// -q
    pub quiet: bool,
    /// -b
    pub broadcast_only: bool,
    /// -D: duplicate address detection.
    pub dad: bool,
    /// -U and -A: tell the neighbours.
    pub unsolicited: bool,
    /// -A: by a reply instead of a request.
    pub advertise: bool,
}

/// Reads the words behind `name`.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    let mut o = Options {
        dst: Ipv4Addr::UNSPECIFIED,
        count: None,
        timeout_s: 0,
        interval_s: 1,
        device: None,
        source: None,
        quit_on_reply: false,
        quiet: false,
        broadcast_only: false,
        dad: false,
        unsolicited: false,
        advertise: false,
    };
    let mut getopt = Getopt::new(TOOL, SPEC, words);
    while let Some(opt) = getopt.next()? {
        o.set(&opt)?;
    }
    // The real program only prints how it is used.
    let usage = "usage: arping [options] <destination>";
    match getopt.operands[..] {
        [] => Err(SyntaxError::at(name, usage)),
        [host] => {
            o.dst = destination(TOOL, host)?;
            Ok(o)
        }
        [_, second, ..] => Err(SyntaxError::at(second, usage)),
    }
}

impl Options {
    fn set(&mut self, opt: &Opt<'_>) -> Result<(), SyntaxError> {
        match opt.letter {
            'c' => self.count = Some(opt.integer(TOOL, 1, INT_MAX)?.unsigned_abs()),
            'w' => self.timeout_s = opt.integer(TOOL, 0, INT_MAX)?.unsigned_abs(),
            'i' => self.interval_s = opt.integer(TOOL, 0, INT_MAX)?.unsigned_abs(),
            'I' => self.device = Some(opt.arg.to_owned()),
            's' => match opt.arg.parse() {
                Ok(addr) => self.source = Some(addr),
                Err(_) => return Err(opt.error(TOOL, format!("invalid source {}", opt.arg))),
            },
            'f' => self.quit_on_reply = true,
            'q' => self.quiet = true,
            'b' => self.broadcast_only = true,
            'D' => {
                self.dad = true;
                self.quit_on_reply = true;
            }
            'U' => self.unsolicited = true,
            'A' => {
                self.advertise = true;
                self.unsolicited = true;
            }
            _ => return Err(opt.not_simulated(TOOL)),
        }
        Ok(())
    }
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
        let o = options("arping -qfbc1 -w 3 -i2 -Ieth0 10.8.0.1 -s 10.8.0.2");
        let want = Options {
            dst: [10, 8, 0, 1].into(),
            count: Some(1),
            timeout_s: 3,
            interval_s: 2,
            device: Some("eth0".into()),
            source: Some([10, 8, 0, 2].into()),
            quit_on_reply: true,
            quiet: true,
            broadcast_only: true,
            dad: false,
            unsolicited: false,
            advertise: false,
        };
        assert_eq!(o, Ok(want));
        let kinds = |line: &str| options(line).map(|o| (o.dad, o.quit_on_reply, o.unsolicited, o.advertise));
        assert_eq!(kinds("arping -D 10.8.0.1"), Ok((true, true, false, false)));
        assert_eq!(kinds("arping -U 10.8.0.1"), Ok((false, false, true, false)));
        assert_eq!(kinds("arping -A 10.8.0.1"), Ok((false, false, true, true)));
    }

    #[test]
    fn errors() {
        for (line, want) in [
            ("arping", "usage: arping [options] <destination>"),
            ("arping -I eth0 10.8.0.1 10.8.0.3", "usage: arping [options] <destination>"),
            ("arping -z", "arping: invalid option -- 'z'"),
            ("arping -t 10.8.0.1", "arping: invalid option -- 't'"),
            ("arping -c", "arping: option requires an argument -- 'c'"),
            ("arping -c x -I eth0 10.8.0.1", "arping: invalid argument: 'x'"),
            ("arping -c 0 10.8.0.1", "arping: invalid argument: '0': out of range: 1 <= value <= 2147483647"),
            ("arping -w -1 10.8.0.1", "arping: invalid argument: '-1': out of range: 0 <= value <= 2147483647"),
            ("arping -w 0.5 10.8.0.1", "arping: invalid argument: '0.5'"),
            ("arping -i 0.5 10.8.0.1", "arping: invalid argument: '0.5'"),
            ("arping -s foo -I eth0 10.8.0.1", "arping: invalid source foo"),
            ("arping -c1 -I eth0 foo", "arping: foo: Name or service not known"),
            ("arping -c1 -I eth0 ::1", "arping: IPv6 is not simulated"),
            ("arping -V", "arping: option -V is not simulated"),
        ] {
            assert_eq!(options(line).map_err(|e| e.message), Err(want.to_owned()), "{line}");
        }
    }
}
