//! The lines of a script: each is a map with the one field that names its call.

use deserr::{Deserr, IntoValue, Map, Sequence, Value, ValuePointerRef};
use std::net::SocketAddrV4;
use std::num::NonZeroU64;

use super::Script;
use super::problem::Problems;
use super::value::{Duration, MAX_INTERFACE_LEN, Read, Spanned};
use crate::base::time::{SEC, US};
use crate::kernel::syscall::{PmtuDisc, Shutdown, SockOpt};
use crate::scenario::diag::{nearest, quote};
use crate::user::scripted::{DEFAULT_COST_NS, DEFAULT_RECV_SIZE, Opt, OptValue, Step};

/// The longest payload that a script sends: more than UDP can carry.
pub const MAX_SEND_SIZE: u64 = 1 << 17;
/// A script makes so many calls at most, repeats included.
pub const MAX_SCRIPT_CALLS: u64 = 10_000_000;
/// A call takes the CPU for so long at most.
const MAX_COST_NS: u64 = SEC;

const CALLS: &[&str] =
    &["socket", "setsockopt", "bind", "connect", "send", "recv", "shutdown", "close", "sleep", "repeat", "cost"];

/// Lines with a field of one kind.
macro_rules! lines {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),+ })+) => {$(
        #[derive(Deserr)]
        #[deserr(error = Problems, deny_unknown_fields)]
        struct $name { $($(#[$attribute])* $field: $type),+ }
    )+};
}

lines! {
    SocketLine { socket: Protocol }
    SetSockOptLine { setsockopt: Opt }
    BindLine { bind: Spanned<SocketAddrV4> }
    ConnectLine { connect: Spanned<SocketAddrV4> }
    SendLine { send: Send }
    RecvLine { recv: Recv }
    ShutdownLine { shutdown: How }
    CloseLine { close: Nothing }
    SleepLine { sleep: Spanned<Duration> }
    RepeatLine { repeat: Spanned<NonZeroU64>, #[deserr(rename = "do")] body: Vec<Step> }
    CostLine { cost: Spanned<Duration> }
    Send {
        size: Spanned<u64>,
        #[deserr(default)] byte: Option<Byte>,
        #[deserr(default)] to: Option<Spanned<SocketAddrV4>>
    }
    RecvFields {
        #[deserr(default)] timeout: Option<Spanned<Duration>>,
        #[deserr(default)] size: Option<Spanned<u64>>,
        #[deserr(default)] errqueue: bool
    }
}

#[derive(Deserr)]
#[deserr(error = Problems, rename_all = lowercase)]
enum Protocol {
    Udp,
}

#[derive(Deserr)]
#[deserr(error = Problems, rename_all = lowercase)]
enum Direction {
    Read,
    Write,
    Both,
}

struct Recv(RecvFields);
struct How(Shutdown);
struct Nothing;
pub(super) struct Byte(pub(super) u8);

impl Deserr<Problems> for Step {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let mut map = match value {
            Value::Map(map) => map,
            other => return Err(Problems::wrong_kind(at, &other, "a map: {send: {size: 32}}")),
        };
        let present: Vec<&str> = CALLS.iter().copied().filter(|field| map.remove(field).is_some()).collect();
        let [call] = present[..] else { return Err(Problems::not_one(at, CALLS)) };
        let map = Value::<V>::Map(map);
        Ok(match call {
            "socket" => {
                SocketLine::deserialize_from_value(map, at).map(|SocketLine { socket: Protocol::Udp }| Step::Socket)?
            }
            "setsockopt" => Step::SetSockOpt(SetSockOptLine::deserialize_from_value(map, at)?.setsockopt),
            "bind" => Step::Bind(BindLine::deserialize_from_value(map, at)?.bind.value),
            "connect" => Step::Connect(ConnectLine::deserialize_from_value(map, at)?.connect.value),
            "send" => send(SendLine::deserialize_from_value(map, at)?.send, at.push_key("send"))?,
            "recv" => recv(&RecvLine::deserialize_from_value(map, at)?.recv.0),
            "shutdown" => Step::Shutdown(ShutdownLine::deserialize_from_value(map, at)?.shutdown.0),
            "close" => CloseLine::deserialize_from_value(map, at).map(|CloseLine { close: Nothing }| Step::Close)?,
            "sleep" => Step::Sleep(SleepLine::deserialize_from_value(map, at)?.sleep.value.0),
            "repeat" => repeat(RepeatLine::deserialize_from_value(map, at)?, at)?,
            _ => cost(CostLine::deserialize_from_value(map, at)?.cost.value, at)?,
        })
    }
}

fn send(s: Send, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    let size = s.size.value;
    if size > MAX_SEND_SIZE {
        let message = format!("{size} bytes are more than {MAX_SEND_SIZE} (MAX_SEND_SIZE)");
        let hint = "a UDP datagram carries at most 65507".to_owned();
        return Err(Problems::bad(at.push_key("size"), message, Some(hint)));
    }
    let byte = s.byte.map_or(b'x', |b| b.0);
    Ok(Step::Send { size: size as usize, byte, to: s.to.map(|to| to.value) })
}

fn recv(r: &RecvFields) -> Step {
    let size = r.size.as_ref().map_or(DEFAULT_RECV_SIZE, |s| s.value.min(DEFAULT_RECV_SIZE as u64) as usize);
    Step::Recv { timeout_ns: r.timeout.as_ref().map(|t| t.value.0), size, errqueue: r.errqueue }
}

fn repeat(r: RepeatLine, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    if r.body.is_empty() {
        let hint = "write what is repeated: [{send: {size: 32}}, {sleep: 50ms}]".to_owned();
        return Err(Problems::bad(at.push_key("do"), "this list is empty".to_owned(), Some(hint)));
    }
    Ok(Step::Repeat(r.repeat.value.get(), r.body.into()))
}

fn cost(Duration(ns): Duration, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    if ns > MAX_COST_NS {
        let message = format!("no call takes the CPU for longer than {} s", MAX_COST_NS / SEC);
        let hint = format!("write {{cost: {}us}} for what Python takes, and `sleep` to wait", DEFAULT_COST_NS / US);
        return Err(Problems::bad(at.push_key("cost"), message, Some(hint)));
    }
    Ok(Step::Cost(ns))
}

/// A script that would run for ever is refused.
pub(super) fn not_too_long(script: Script, at: ValuePointerRef<'_>) -> Result<Script, Problems> {
    let calls = script.script.iter().fold(0, |n: u64, s| n.saturating_add(s.count()));
    if calls > MAX_SCRIPT_CALLS {
        let message = format!("this script makes more than {MAX_SCRIPT_CALLS} calls (MAX_SCRIPT_CALLS)");
        let hint = "the numbers of repeats inside each other multiply".to_owned();
        return Err(Problems::bad(at.push_key("script"), message, Some(hint)));
    }
    Ok(script)
}

impl Deserr<Problems> for Recv {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Null => Ok(Recv(RecvFields { timeout: None, size: None, errqueue: false })),
            other => RecvFields::deserialize_from_value(other, at).map(Recv),
        }
    }
}

impl Deserr<Problems> for How {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        Ok(How(match value {
            Value::Null => Shutdown::Both,
            other => match Direction::deserialize_from_value(other, at)? {
                Direction::Read => Shutdown::Read,
                Direction::Write => Shutdown::Write,
                Direction::Both => Shutdown::Both,
            },
        }))
    }
}

impl Deserr<Problems> for Nothing {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Null => Ok(Nothing),
            other => Err(Problems::wrong_kind(at, &other, "empty: {close: }")),
        }
    }
}

impl Deserr<Problems> for Byte {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let hint = "one character of ASCII: byte: \"@\"".to_owned();
        let text = String::read(value, at)?;
        match text.as_bytes() {
            [byte] if byte.is_ascii() => Ok(Byte(*byte)),
            _ => Err(Problems::bad(at, format!("{} is not one byte", quote(&text)), Some(hint))),
        }
    }
}

/// The options by level and name, with how their value is read.
const OPTIONS: &[(&str, &str, ReadOption)] = &[
    ("ip", "ttl", |v| number(v, 255).map(|n| SockOpt::Ttl(n as u8))),
    ("ip", "tos", |v| number(v, 255).map(|n| SockOpt::Tos(n as u8))),
    ("ip", "pmtudisc", |v| pmtudisc(v).map(SockOpt::MtuDiscover)),
    ("ip", "recverr", |v| flag(v).map(SockOpt::RecvErr)),
    ("socket", "broadcast", |v| flag(v).map(SockOpt::Broadcast)),
    ("socket", "reuseaddr", |v| flag(v).map(SockOpt::ReuseAddr)),
    ("socket", "dontroute", |v| flag(v).map(SockOpt::DontRoute)),
    ("socket", "rcvbuf", |v| number(v, u32::MAX.into()).map(|n| SockOpt::RecvBuf(n as u32))),
    ("socket", "rcvtimeo", |v| Ok(SockOpt::RecvTimeout(duration(v)?))),
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

fn unknown_option(level: &str, name: &str, at: ValuePointerRef<'_>) -> Problems {
    let names = || OPTIONS.iter().map(|(l, n, _)| (*l, *n)).chain([("socket", "bindtodevice")]);
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
        "0" | "false" => Ok(false),
        "1" | "true" => Ok(true),
        _ => Err("write 1 or 0".to_owned()),
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
    let ns = super::text::parse_duration(text).and_then(|ns| u64::try_from(ns).ok());
    ns.ok_or_else(|| "write a duration: 1s, 200ms".to_owned())
}
