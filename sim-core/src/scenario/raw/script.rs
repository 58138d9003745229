//! The lines of a script: each is a map with the one field that names its call.

mod options;

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::SocketAddrV4;
use std::num::NonZeroU64;
use std::sync::Arc;

use super::Script;
use super::form::check_name;
use super::problem::Problems;
use super::text::{Hex, Own};
use super::value::{Duration, Read, Spanned};
use crate::base::time::{SEC, US};
use crate::kernel::syscall::Shutdown;
use crate::scenario::diag::{nearest, quote};
use crate::user::scripted::{self, DEFAULT_COST_NS, DEFAULT_RECV_SIZE, Opt, Payload, Protocol, Step, Until};

/// The longest payload of one send of a script: more than UDP can carry, and than a stream's buffer holds.
pub const MAX_SEND_SIZE: u64 = 1 << 24;
/// A script makes so many calls at most, repeats included.
pub const MAX_SCRIPT_CALLS: u64 = 10_000_000;
/// A call takes the CPU for so long at most.
const MAX_COST_NS: u64 = SEC;

const CALLS: &[&str] = &[
    "socket",
    "use",
    "setsockopt",
    "settimeout",
    "bind",
    "connect",
    "listen",
    "accept",
    "send",
    "recv",
    "shutdown",
    "close",
    "sleep",
    "repeat",
    "cost",
];

/// The call that each line makes, with its fields.
macro_rules! lines {
    ($($(#[$about:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty),+ })+) => {$(
        $(#[$about])*
        #[derive(Deserr, JsonSchema)]
        #[deserr(error = Problems, deny_unknown_fields)]
        #[schemars(deny_unknown_fields)]
        struct $name { $($(#[$attribute])* $field: $type),+ }
    )+};
}

lines! {
    /// A new socket.
    SocketLine {
        /// Its kind.
        socket: Kind,
        /// What other lines call it.
        #[deserr(default, rename = "as")] #[schemars(rename = "as")] name: Option<Name>
    }
    /// The socket that the next lines are about.
    UseLine {
        /// Its name.
        #[deserr(rename = "use")] #[schemars(rename = "use")] name: Name
    }
    /// How long calls wait, as Python's settimeout.
    SetTimeoutLine {
        /// A duration; nothing to wait for ever.
        settimeout: Time
    }
    /// listen(2)
    ListenLine {
        /// As many connections wait to be accepted.
        listen: Spanned<u64>
    }
    /// accept(2)
    AcceptLine {
        /// How it waits; nothing to wait for ever.
        accept: Accept,
        /// What other lines call the new socket.
        #[deserr(default, rename = "as")] #[schemars(rename = "as")] name: Option<Name>
    }
    /// How accept waits.
    AcceptFields {
        /// For so long.
        #[deserr(default)] timeout: Option<Spanned<Duration>>
    }
    /// setsockopt(2)
    SetSockOptLine {
        /// Level, name and value: [ip, ttl, 1].
        setsockopt: Opt
    }
    /// bind(2)
    BindLine {
        /// The own address; of a packet socket, the device.
        bind: Spanned<Own>
    }
    /// connect(2)
    ConnectLine {
        /// The other end's address.
        connect: Spanned<SocketAddrV4>
    }
    /// send(2)
    SendLine {
        /// What is sent.
        send: Send
    }
    /// recv(2)
    RecvLine {
        /// How; nothing for one call that waits.
        recv: Recv
    }
    /// shutdown(2)
    ShutdownLine {
        /// Which direction; nothing for both.
        shutdown: How
    }
    /// close(2)
    CloseLine {
        /// Nothing.
        close: Nothing
    }
    /// A pause.
    SleepLine {
        /// How long.
        sleep: Spanned<Duration>
    }
    /// Lines that are run several times.
    RepeatLine {
        /// So often.
        repeat: Spanned<NonZeroU64>,
        /// The lines.
        #[deserr(rename = "do")] #[schemars(rename = "do")] body: Vec<Step>
    }
    /// What a call costs from here on.
    CostLine {
        /// It takes the CPU for so long before it is made.
        cost: Spanned<Duration>
    }
    /// What is sent: a text, then bytes, then an end.
    Send {
        /// The beginning.
        #[deserr(default)] text: Option<Spanned<String>>,
        /// The beginning as bytes, two hexadecimal digits each.
        #[deserr(default)] hex: Option<Spanned<Hex>>,
        /// So many bytes.
        #[deserr(default)] size: Option<Spanned<u64>>,
        /// What they are made of.
        #[deserr(default)] byte: Option<Byte>,
        /// The end.
        #[deserr(default)] end: Option<Spanned<String>>,
        /// To whom, as sendto(2).
        #[deserr(default)] to: Option<Spanned<SocketAddrV4>>
    }
    /// How something is received.
    RecvFields {
        /// Polls for so long.
        #[deserr(default)] timeout: Option<Spanned<Duration>>,
        /// At most so many bytes a call.
        #[deserr(default)] size: Option<Spanned<u64>>,
        /// From the error queue.
        #[deserr(default)] #[schemars(default)] errqueue: bool,
        /// Up to so many bytes in all.
        #[deserr(default)] total: Option<Spanned<NonZeroU64>>,
        /// To the end of the stream.
        #[deserr(default)] #[schemars(default)] all: bool
    }
}

#[derive(Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase")]
enum Kind {
    Udp,
    Tcp,
    Packet,
}

impl From<Kind> for Protocol {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Udp => Protocol::Udp,
            Kind::Tcp => Protocol::Tcp,
            Kind::Packet => Protocol::Packet,
        }
    }
}

#[derive(Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase", rename = "Shutdown")]
enum Direction {
    Read,
    Write,
    Both,
}

struct Recv(RecvFields);
struct Accept(AcceptFields);
pub(super) struct Name(scripted::Name);
struct Time(Option<u64>);
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
                let line = SocketLine::deserialize_from_value(map, at)?;
                Step::Socket { protocol: line.socket.into(), name: line.name.map(|n| n.0) }
            }
            "use" => Step::Use(UseLine::deserialize_from_value(map, at)?.name.0),
            "settimeout" => Step::SetTimeout(SetTimeoutLine::deserialize_from_value(map, at)?.settimeout.0),
            "listen" => listen(ListenLine::deserialize_from_value(map, at)?.listen.value, at)?,
            "accept" => {
                let line = AcceptLine::deserialize_from_value(map, at)?;
                let timeout_ns = line.accept.0.timeout.map(|t| t.value.0);
                Step::Accept { timeout_ns, name: line.name.map(|n| n.0) }
            }
            "setsockopt" => Step::SetSockOpt(SetSockOptLine::deserialize_from_value(map, at)?.setsockopt),
            "bind" => match BindLine::deserialize_from_value(map, at)?.bind.value {
                Own::Address(addr) => Step::Bind(addr),
                Own::Device(name) => Step::BindDev(name),
            },
            "connect" => Step::Connect(ConnectLine::deserialize_from_value(map, at)?.connect.value),
            "send" => send(SendLine::deserialize_from_value(map, at)?.send, at.push_key("send"))?,
            "recv" => recv(&RecvLine::deserialize_from_value(map, at)?.recv.0, at.push_key("recv"))?,
            "shutdown" => Step::Shutdown(ShutdownLine::deserialize_from_value(map, at)?.shutdown.0),
            "close" => CloseLine::deserialize_from_value(map, at).map(|CloseLine { close: Nothing }| Step::Close)?,
            "sleep" => Step::Sleep(SleepLine::deserialize_from_value(map, at)?.sleep.value.0),
            "repeat" => repeat(RepeatLine::deserialize_from_value(map, at)?, at)?,
            _ => cost(CostLine::deserialize_from_value(map, at)?.cost.value, at)?,
        })
    }
}

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Call".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        macro_rules! one_of {
            ($($line:ident),+) => { json_schema!({"oneOf": [$(generator.subschema_for::<$line>()),+]}) };
        }
        one_of!(
            SocketLine,
            UseLine,
            SetTimeoutLine,
            ListenLine,
            AcceptLine,
            SetSockOptLine,
            BindLine,
            ConnectLine,
            SendLine,
            RecvLine,
            ShutdownLine,
            CloseLine,
            SleepLine,
            RepeatLine,
            CostLine
        )
    }
}

/// Types that may be left empty: those of another, or null.
macro_rules! or_nothing {
    ($($name:ident: $full:ty),+) => {$(
        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                generator.subschema_for::<Option<$full>>()
            }
        }
    )+};
}

or_nothing!(Recv: RecvFields, Accept: AcceptFields, Time: Spanned<Duration>, How: Direction, Nothing: ());

fn listen(backlog: u64, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    let hint = || Some("as many connections wait to be accepted: {listen: 16}".to_owned());
    let fits = u32::try_from(backlog).ok().filter(|n| *n <= i32::MAX as u32);
    let too_large = || Problems::bad(at.push_key("listen"), format!("{backlog} is more than {}", i32::MAX), hint());
    fits.map(Step::Listen).ok_or_else(too_large)
}

fn send(s: Send, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    let start = match (s.text, s.hex) {
        (None, None) if s.size.is_none() => return Err(Problems::missing(at, &["text", "hex", "size"], None)),
        (Some(_), Some(_)) => {
            let hint = "both are what it begins with".to_owned();
            return Err(Problems::bad(
                at.push_key("hex"),
                "`hex` and `text` exclude each other".to_owned(),
                Some(hint),
            ));
        }
        (text, hex) => hex.map(|h| h.value.0).or(text.map(|t| t.value.into_bytes())).unwrap_or_default(),
    };
    let size = s.size.map_or(0, |size| size.value);
    let end = s.end.map_or_else(String::new, |t| t.value);
    let all = size.saturating_add((start.len() + end.len()) as u64);
    if all > MAX_SEND_SIZE {
        let message = format!("{all} bytes are more than {MAX_SEND_SIZE} (MAX_SEND_SIZE)");
        let hint = "a UDP datagram carries at most 65507; what a stream carries more is sent by `repeat`".to_owned();
        let at = if size > 0 { at.push_key("size") } else { at.push_key("text") };
        return Err(Problems::bad(at, message, Some(hint)));
    }
    let byte = s.byte.map_or(b'x', |b| b.0);
    let payload = Payload { start: start.into(), size: size as usize, byte, end: end.into_bytes().into() };
    Ok(Step::Send { payload, to: s.to.map(|to| to.value) })
}

fn recv(r: &RecvFields, at: ValuePointerRef<'_>) -> Result<Step, Problems> {
    let size = r.size.as_ref().map_or(DEFAULT_RECV_SIZE, |s| s.value.min(MAX_SEND_SIZE) as usize);
    let until = match (&r.total, r.all) {
        (None, false) => Until::Once,
        (Some(total), false) => Until::Total(total.value.get()),
        (None, true) => Until::End,
        (Some(_), true) => {
            let hint = "`total` is a number of bytes, `all` goes on to the end of the stream".to_owned();
            let message = "`all` and `total` exclude each other".to_owned();
            return Err(Problems::bad(at.push_key("all"), message, Some(hint)));
        }
    };
    if r.errqueue && until != Until::Once {
        let field = if r.all { "all" } else { "total" };
        let message = format!("`errqueue` and `{field}` exclude each other");
        return Err(Problems::bad(at.push_key(field), message, Some("a call reads one error".to_owned())));
    }
    Ok(Step::Recv { timeout_ns: r.timeout.as_ref().map(|t| t.value.0), size, errqueue: r.errqueue, until })
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

/// A script that would run for ever is refused, and one that uses a socket which it never makes.
pub(super) fn whole(script: Script, at: ValuePointerRef<'_>) -> Result<Script, Problems> {
    let calls = script.script.iter().fold(0, |n: u64, s| n.saturating_add(s.count()));
    if calls > MAX_SCRIPT_CALLS {
        let message = format!("this script makes more than {MAX_SCRIPT_CALLS} calls (MAX_SCRIPT_CALLS)");
        let hint = "the numbers of repeats inside each other multiply".to_owned();
        return Err(Problems::bad(at.push_key("script"), message, Some(hint)));
    }
    let mut names = BTreeSet::new();
    given(&script.script, &mut names);
    let mut problems = Problems::default();
    known(&script.script, &names, at.push_key("script"), &mut problems);
    if problems.is_empty() { Ok(script) } else { Err(problems) }
}

/// The names that lines give.
fn given(lines: &[Step], names: &mut BTreeSet<scripted::Name>) {
    for line in lines {
        match line {
            Step::Socket { name, .. } | Step::Accept { name, .. } => names.extend(name.clone()),
            Step::Repeat(_, body) => given(body, names),
            _ => {}
        }
    }
}

/// A name that is used is given somewhere.
fn known(lines: &[Step], names: &BTreeSet<scripted::Name>, at: ValuePointerRef<'_>, problems: &mut Problems) {
    for (n, line) in lines.iter().enumerate() {
        let at = at.push_index(n);
        match line {
            Step::Use(name) if !names.contains(name) => {
                let hint = match nearest(name, names.iter().map(|n| &**n)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("a socket gets a name by `as`: {{socket: tcp, as: {name}}}"),
                };
                let message = format!("no socket of this script is called {}", quote(name));
                problems.add(Problems::bad(at.push_key("use"), message, Some(hint)));
            }
            Step::Repeat(_, body) => known(body, names, at.push_key("do"), problems),
            _ => {}
        }
    }
}

impl Deserr<Problems> for Name {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let text = String::read(value, at)?;
        match check_name(&text) {
            Ok(()) => Ok(Name(Arc::from(text))),
            Err(rule) => Err(Problems::bad(at, format!("{} cannot be the name of a socket", quote(&text)), Some(rule))),
        }
    }
}

impl Deserr<Problems> for Time {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Null => Ok(Time(None)),
            other => Duration::read(other, at).map(|d| Time(Some(d.0))),
        }
    }
}

impl Deserr<Problems> for Accept {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Null => Ok(Accept(AcceptFields { timeout: None })),
            other => AcceptFields::deserialize_from_value(other, at).map(Accept),
        }
    }
}

impl Deserr<Problems> for Recv {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Null => Ok(Recv(RecvFields { timeout: None, size: None, errqueue: false, total: None, all: false })),
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
