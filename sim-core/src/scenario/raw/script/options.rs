//! The options that a script sets, by name.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;
use std::borrow::Cow;

use deserr::{Deserr, IntoValue, Sequence, Value, ValuePointerRef};

use crate::kernel::syscall::{PmtuDisc, SockOpt};
use crate::scenario::diag::{nearest, quote};
use crate::scenario::raw::problem::Problems;
use crate::scenario::raw::value::{MAX_INTERFACE_LEN, Read};
use crate::user::scripted::{Opt, OptValue};

/// The options by level and name, with how their value is read.
const OPTIONS: &[(&str, &str, ReadOption)] = &[
    ("ip", "ttl", |v| number(v, 255).map(|n| SockOpt::Ttl(n as u8))),
    ("ip", "tos", |v| number(v, 255).map(|n| SockOpt::Tos(n as u8))),
    ("ip", "pmtudisc", |v| pmtudisc(v).map(SockOpt::MtuDiscover)),
    ("ip", "recverr", |v| flag(v).map(SockOpt::RecvErr)),
    ("ip", "transparent", |v| flag(v).map(SockOpt::Transparent)),
    ("socket", "broadcast", |v| flag(v).map(SockOpt::Broadcast)),
    ("socket", "mark", |v| number(v, u32::MAX.into()).map(|n| SockOpt::Mark(n as u32))),
    ("socket", "reuseaddr", |v| flag(v).map(SockOpt::ReuseAddr)),
    ("socket", "dontroute", |v| flag(v).map(SockOpt::DontRoute)),
    ("socket", "rcvbuf", |v| number(v, u32::MAX.into()).map(|n| SockOpt::RecvBuf(n as u32))),
    ("socket", "rcvtimeo", |v| Ok(SockOpt::RecvTimeout(duration(v)?))),
    ("socket", "sndbuf", |v| number(v, u32::MAX.into()).map(|n| SockOpt::SendBuf(n as u32))),
    ("socket", "keepalive", |v| flag(v).map(SockOpt::KeepAlive)),
    ("socket", "linger", linger),
    ("tcp", "nodelay", |v| flag(v).map(SockOpt::NoDelay)),
    ("tcp", "cork", |v| flag(v).map(SockOpt::Cork)),
    ("tcp", "quickack", |v| flag(v).map(SockOpt::QuickAck)),
    ("tcp", "maxseg", |v| number(v, u16::MAX.into()).map(|n| SockOpt::MaxSeg(n as u16))),
    ("tcp", "user_timeout", |v| number(v, i32::MAX as u64).map(|n| SockOpt::UserTimeout(n as u32))),
    ("tcp", "keepidle", |v| number(v, i32::MAX as u64).map(|n| SockOpt::KeepIdle(n as u32))),
    ("tcp", "keepintvl", |v| number(v, i32::MAX as u64).map(|n| SockOpt::KeepInterval(n as u32))),
    ("tcp", "keepcnt", |v| number(v, u8::MAX.into()).map(|n| SockOpt::KeepCount(n as u8))),
];

/// The value of an option, or what it must be.
type ReadOption = fn(&str) -> Result<SockOpt, String>;

/// `[LEVEL, NAME, VALUE]`
impl Deserr<Problems> for Opt {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let items = match value {
            Value::Sequence(items) if items.len() == 3 => items,
            other => return Err(Problems::wrong_kind(at, &other, "a list of three: [ip, ttl, 1]")),
        };
        let mut words = Vec::with_capacity(3);
        for (n, item) in items.into_iter().enumerate() {
            words.push(String::read(item.into_value(), at.push_index(n))?);
        }
        let [level, name, value] = &words[..] else { return Err(Problems::bad(at, "an empty list".to_owned(), None)) };
        let text = words.join(" ");
        if (level.as_str(), name.as_str()) == ("socket", "bindtodevice") {
            if value.len() > MAX_INTERFACE_LEN {
                let message = format!("{} is too long for the name of a device", quote(value));
                return Err(Problems::bad(at.push_index(2), message, None));
            }
            return Ok(Opt { text, value: OptValue::BindToDevice(value.clone()) });
        }
        let Some((_, _, read)) = OPTIONS.iter().find(|(l, n, _)| l == level && n == name) else {
            return Err(unknown_option(level, name, at));
        };
        match read(value) {
            Ok(opt) => Ok(Opt { text, value: OptValue::Plain(opt) }),
            Err(must) => {
                let message = format!("{} is not a value of `{level} {name}`", quote(value));
                Err(Problems::bad(at.push_index(2), message, Some(must)))
            }
        }
    }
}

impl JsonSchema for Opt {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Option".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let values = json!({"type": ["string", "integer", "boolean"]});
        let of_level = |level: &str| {
            let names: Vec<_> = names().filter(|(l, _)| *l == level).map(|(_, name)| name).collect();
            json!({"type": "array", "prefixItems": [{"const": level}, {"enum": names}, values]})
        };
        let levels = ["ip", "socket", "tcp"].map(of_level);
        json_schema!({"oneOf": levels, "minItems": 3, "maxItems": 3})
    }
}

/// All options by level and name.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    OPTIONS.iter().map(|(level, name, _)| (*level, *name)).chain([("socket", "bindtodevice")])
}

fn unknown_option(level: &str, name: &str, at: ValuePointerRef<'_>) -> Problems {
    let known: Vec<String> = names().map(|(l, n)| format!("[{l}, {n}]")).collect();
    let same_level = names().filter(|(l, _)| *l == level).map(|(_, n)| n);
    let known = known.join(", ");
    let hint = match nearest(name, same_level) {
        Some(near) => format!("did you mean [{level}, {near}]? The options are {known}"),
        None => format!("the options are {known}"),
    };
    Problems::bad(at, format!("there is no option [{level}, {name}]"), Some(hint))
}

fn number(text: &str, max: u64) -> Result<u64, String> {
    text.parse().ok().filter(|n| *n <= max).ok_or_else(|| format!("write a number of 0 to {max}"))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "0" | "off" | "false" => Ok(false),
        "1" | "on" | "true" => Ok(true),
        _ => Err("write on or off".to_owned()),
    }
}

fn linger(text: &str) -> Result<SockOpt, String> {
    match text {
        "off" => Ok(SockOpt::Linger(None)),
        _ => match number(text, i32::MAX as u64) {
            Ok(seconds) => Ok(SockOpt::Linger(Some(seconds as u32))),
            Err(_) => Err("write how many seconds close waits, 0 to reset the connection, or off".to_owned()),
        },
    }
}

fn pmtudisc(text: &str) -> Result<PmtuDisc, String> {
    const MODES: [(&str, PmtuDisc); 6] = [
        ("dont", PmtuDisc::Dont),
        ("want", PmtuDisc::Want),
        ("do", PmtuDisc::Do),
        ("probe", PmtuDisc::Probe),
        ("interface", PmtuDisc::Interface),
        ("omit", PmtuDisc::Omit),
    ];
    let mode = MODES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode);
    mode.ok_or_else(|| format!("write one of {}", MODES.map(|(name, _)| name).join(", ")))
}

fn duration(text: &str) -> Result<u64, String> {
    let ns = crate::scenario::raw::text::parse_duration(text).and_then(|ns| u64::try_from(ns).ok());
    ns.ok_or_else(|| "write a duration: 1s, 200ms".to_owned())
}
