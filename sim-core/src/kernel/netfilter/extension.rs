//! What matches and targets have in common: tables of options with their rules, as libxtables' parser checks them
//! (libxtables/xtoptions.c), and how one option's argument is read.

use super::error::Error;
use super::list::Listing;
use super::words;
use std::net::Ipv4Addr;

/// The form of an option's argument (`XTTYPE_*`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// There is none.
    None,
    /// A string, which the extension reads itself.
    Str,
    /// A number within limits.
    Number(u32, u32),
    /// A number from zero to one, with a fraction.
    Fraction,
    /// `VALUE[/MASK]`
    Mark,
    /// A protocol.
    Protocol,
    /// `ADDRESS[/MASK]`
    HostMask,
    /// `ADDRESS`
    Host,
    /// `PORT`
    Port,
    /// `PORT[:PORT]`
    Ports,
    /// `NUMBER[:NUMBER]`
    Range,
    /// A level of syslog(3).
    Level,
}

/// An option of an extension (`struct xt_option_entry`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// Synonyms share it.
    pub(super) id: u8,
    pub(super) kind: Kind,
    /// `!` may stand before it.
    pub(super) invert: bool,
    /// It must be given.
    pub(super) mandatory: bool,
    /// The options that may not be given with it, as bits.
    pub(super) excludes: u32,
    /// The options that must be given with it, as bits.
    pub(super) requires: u32,
    /// The extension checks it itself (the older interface of libxtables).
    pub(super) unchecked: bool,
}

impl Spec {
    /// An option that is not special.
    pub(super) const fn new(name: &'static str, id: u8, kind: Kind) -> Self {
        Spec { name, id, kind, invert: false, mandatory: false, excludes: 0, requires: 0, unchecked: false }
    }

    pub(super) const fn invert(mut self) -> Self {
        self.invert = true;
        self
    }

    pub(super) const fn mandatory(mut self) -> Self {
        self.mandatory = true;
        self
    }

    pub(super) const fn excludes(mut self, bits: u32) -> Self {
        self.excludes = bits;
        self
    }

    pub(super) const fn requires(mut self, bits: u32) -> Self {
        self.requires = bits;
        self
    }

    pub(super) const fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }
}

/// An argument that has been read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Value {
    None,
    Number(u32),
    Fraction(f64),
    Mark(u32, u32),
    Host(Ipv4Addr),
    HostMask(Ipv4Addr, Ipv4Addr),
    Ports(u16, u16),
    Range(u32, u32),
}

impl Value {
    /// The number, of an option whose kind is one.
    pub(super) fn number(self) -> u32 {
        match self {
            Value::Number(n) => n,
            _ => 0,
        }
    }

    /// The address, of an option whose kind is one.
    pub(super) fn host(self) -> Ipv4Addr {
        match self {
            Value::Host(addr) => addr,
            _ => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// The mark and its mask.
    pub(super) fn mark(self) -> (u32, u32) {
        match self {
            Value::Mark(mark, mask) => (mark, mask),
            _ => (0, 0),
        }
    }
}

/// An option as it is handed to its extension.
pub(super) struct Given<'a, 'b> {
    pub(super) id: u8,
    pub(super) invert: bool,
    /// The argument's text; empty if there is none.
    pub(super) arg: &'a str,
    pub(super) value: Value,
    /// The options that were given before, as bits.
    pub(super) seen: u32,
    /// The rule's protocol and whether it is inverted.
    pub(super) protocol: (u8, bool),
    /// Takes the next word, for an option with two arguments.
    pub(super) second: &'b mut dyn FnMut() -> Option<&'a str>,
}

/// Checks an option and reads its argument (`xtables_option_parse`).
pub(super) fn read(name: &str, spec: &Spec, first: &str, seen: u32, invert: bool, arg: &str) -> Result<Value, Error> {
    if !spec.unchecked && seen & 1 << spec.id != 0 {
        return Err(Error::usage(format!("{name}: option \"--{first}\" can only be used once.\n")));
    }
    if invert && !spec.invert && !spec.unchecked {
        return Err(Error::usage(format!("{name}: option \"--{first}\" cannot be inverted.\n")));
    }
    value(name, spec, first, arg)
}

/// What must hold when all options are read (`xtables_options_fcheck`).
pub(super) fn final_check(name: &str, specs: &[Spec], seen: u32) -> Result<(), Error> {
    for spec in specs {
        let given = seen & 1 << spec.id != 0;
        if spec.mandatory && !given {
            return Err(Error::usage(format!("{name}: option \"--{}\" must be specified\n", spec.name)));
        }
        if !given {
            continue;
        }
        for id in (0..32).filter(|id| *id != spec.id) {
            let Some(other) = specs.iter().find(|s| s.id == id) else { continue };
            let there = seen & 1 << id != 0;
            let (own, other) = (spec.name, other.name);
            if spec.requires & 1 << id != 0 && !there {
                return Err(Error::usage(format!("{name}: option \"--{own}\" also requires \"--{other}\".\n")));
            }
            if spec.excludes & 1 << id != 0 && there {
                let text = format!("{name}: option \"--{own}\" cannot be used together with \"--{other}\".\n");
                return Err(Error::usage(text));
            }
        }
    }
    Ok(())
}

fn value(name: &str, spec: &Spec, first: &str, arg: &str) -> Result<Value, Error> {
    let range = |min: u32, max: u32| {
        let text = format!("{name}: bad value for option \"--{first}\", or out of range ({min}-{max}).\n");
        Error::usage(text)
    };
    Ok(match spec.kind {
        Kind::None | Kind::Str => Value::None,
        Kind::Number(min, max) => {
            let n = words::number(arg, min.into(), max.into()).ok_or_else(|| range(min, max))?;
            Value::Number(n as u32)
        }
        Kind::Fraction => {
            let p = arg.parse::<f64>().ok().filter(|p| (0.0..=1.0).contains(p));
            Value::Fraction(p.ok_or_else(|| range(0, 1))?)
        }
        Kind::Mark => {
            let bad =
                || Error::usage(format!("{name}: bad integer value for option \"--{first}\", or out of range.\n"));
            let (mark, mask) = words::mark(arg).map_err(|_| bad())?;
            Value::Mark(mark, mask)
        }
        Kind::Protocol => Value::Number(words::protocol(arg)?.into()),
        Kind::Host => Value::Host(host(arg)?),
        Kind::HostMask => host_mask(name, first, arg)?,
        Kind::Port => Value::Number(port(arg)?.into()),
        Kind::Ports => ports(name, first, arg)?,
        Kind::Range => numbers(name, first, arg)?,
        Kind::Level => Value::Number(level(arg)?),
    })
}

/// `xtopt_parse_host`
fn host(arg: &str) -> Result<Ipv4Addr, Error> {
    arg.parse().map_err(|_| Error::usage("getaddrinfo: Name or service not known\n"))
}

/// `xtopt_parse_port`: of a number that is too large, getaddrinfo(3) takes the lower half.
fn port(arg: &str) -> Result<u16, Error> {
    let number = words::number(arg, 0, i32::MAX as u64).map(|n| n as u16);
    let unknown = || Error::usage(format!("Port \"{arg}\" does not resolve to anything.\n"));
    number.or_else(|| words::port(arg)).ok_or_else(unknown)
}

/// `xtopt_parse_hostmask`: the address is not masked.
fn host_mask(name: &str, option: &str, arg: &str) -> Result<Value, Error> {
    let (host, mask) = arg.split_once('/').map_or((arg, None), |(h, m)| (h, Some(m)));
    let host = self::host(host)?;
    let bits = match mask {
        None => 32,
        Some(mask) => match (words::number(mask, 0, 32), mask.parse::<Ipv4Addr>()) {
            (Some(bits), _) => bits as u32,
            (None, Ok(mask)) if u32::from(mask).leading_ones() == 32 - u32::from(mask).trailing_zeros() => {
                u32::from(mask).leading_ones()
            }
            _ => {
                return Err(Error::usage(format!(
                    "{name}: bad value for option \"--{option}\", neither a valid network mask nor valid CIDR (0-32).\n"
                )));
            }
        },
    };
    Ok(Value::HostMask(host, crate::kernel::mask(Ipv4Addr::BROADCAST, bits as u8)))
}

/// `xtopt_parse_mport`
fn ports(name: &str, option: &str, arg: &str) -> Result<Value, Error> {
    let mut range = [0, u16::MAX];
    let mut count = 0;
    for part in arg.split(':') {
        let Some(slot) = range.get_mut(count) else {
            return Err(Error::usage(format!("{name}: Too many components for option \"--{option}\" (max: 2)\n")));
        };
        if !part.is_empty() {
            let unknown = || Error::usage(format!("Port \"{part}\" does not resolve to anything.\n"));
            *slot = words::port(part).ok_or_else(unknown)?;
        }
        count += 1;
    }
    if count == 1 {
        range[1] = range[0];
    }
    Ok(Value::Ports(range[0], range[1]))
}

/// `xtopt_parse_mint`
fn numbers(name: &str, option: &str, arg: &str) -> Result<Value, Error> {
    const MAX: u64 = u32::MAX as u64;
    let mut range = [0, u32::MAX];
    let mut count = 0;
    for part in arg.split(':') {
        let Some(slot) = range.get_mut(count) else {
            return Err(Error::usage(format!("{name}: Too many components for option \"--{option}\" (max: 2)\n")));
        };
        count += 1;
        if part.is_empty() {
            continue;
        }
        let (value, rest) = words::number_then(part, MAX).ok_or_else(|| {
            let text =
                format!("{name}: bad value for option \"--{option}\" near \"{part}\", or out of range (0-{MAX}).\n");
            Error::usage(text)
        })?;
        if !rest.is_empty() {
            let text = format!("{name}: Argument to \"--{option}\" has unexpected characters near \"{rest}\".\n");
            return Err(Error::usage(text));
        }
        *slot = value as u32;
    }
    if count == 1 {
        range[1] = range[0];
    }
    Ok(Value::Range(range[0], range[1]))
}

/// `xtopt_parse_sysloglevel`
fn level(arg: &str) -> Result<u32, Error> {
    const LEVELS: [(&str, u32); 9] = [
        ("alert", 1),
        ("crit", 2),
        ("debug", 7),
        ("emerg", 0),
        ("error", 3),
        ("info", 6),
        ("notice", 5),
        ("panic", 0),
        ("warning", 4),
    ];
    let named = || LEVELS.iter().find(|(n, _)| *n == arg).map(|(_, l)| *l);
    let level = words::number(arg, 0, 7).map(|n| n as u32).or_else(named);
    level.ok_or_else(|| Error::usage(format!("log level \"{arg}\" unknown\n")))
}

/// What every match and target with options does with them.
pub(super) trait Extension {
    /// Its options.
    fn specs(&self) -> &'static [Spec];

    /// Takes in an option.
    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error>;

    /// All options were read; `seen` has a bit for each.
    fn check(&mut self, seen: u32) -> Result<(), Error> {
        let _ = seen;
        Ok(())
    }

    /// Its options as iptables-save prints them, each with a blank before it.
    fn save(&self, out: &mut String);

    /// The options as `iptables -L` prints them.
    fn list(&self, out: &mut String, how: Listing);
}
