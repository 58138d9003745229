//! Values that are written as text: addresses, times, names.

use std::net::{Ipv4Addr, SocketAddrV4};

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};

use super::problem::Problems;
use super::value::{CapturePoint, Duration, Hop, Interface, Label, MAX_INTERFACE_LEN, MAX_NAME_LEN, Read, Timestamp};
use crate::base::Mac;
use crate::base::time::{MS, SEC, US};
use crate::kernel::frame::PacketType;
use crate::kernel::netlink::NudState;
use crate::kernel::profile::Profile;
use crate::scenario::diag::{nearest, quote};

/// A type whose values are written as text.
pub(super) trait FromText: Sized {
    /// As in "must be a duration".
    const WHAT: &'static str;

    fn from_text(text: &str) -> Result<Self, Bad>;
}

/// Why a text is no value: a sentence and a hint.
pub(super) struct Bad(pub String, pub Option<String>);

impl<T: FromText> Read for T {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let text = match value {
            Value::String(text) => text,
            // The tree makes numbers and booleans of nothing that would not print the same.
            Value::Integer(number) => number.to_string(),
            Value::NegativeInteger(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
            other => return Err(Problems::wrong_kind(at, &other, T::WHAT)),
        };
        T::from_text(&text).map_err(|Bad(message, hint)| Problems::bad(at, message, hint))
    }
}

impl Deserr<Problems> for Timestamp {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        Timestamp::read(value, at)
    }
}

impl Deserr<Problems> for PacketType {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        PacketType::read(value, at)
    }
}

impl Deserr<Problems> for NudState {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        NudState::read(value, at)
    }
}

impl FromText for String {
    const WHAT: &'static str = "a string";

    fn from_text(text: &str) -> Result<Self, Bad> {
        Ok(text.to_owned())
    }
}

impl FromText for Label {
    const WHAT: &'static str = "a name";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = (1..=MAX_NAME_LEN).contains(&text.len())
            && text.bytes().all(|b| letter(b) || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if fits {
            return Ok(Label(text.to_owned()));
        }
        let hint = format!("a name has 1 to {MAX_NAME_LEN} of a-z, 0-9 and `-`, and no `-` first or last (RFC 1123)");
        Err(Bad(format!("{} is not a DNS label", quote(text)), Some(hint)))
    }
}

impl FromText for Mac {
    const WHAT: &'static str = "a MAC address";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = "six bytes in hexadecimal between colons: 0a:58:0a:f4:01:02";
        text.parse().map_err(|()| Bad(format!("{} is not a MAC address", quote(text)), Some(hint.to_owned())))
    }
}

impl FromText for Ipv4Addr {
    const WHAT: &'static str = "an IPv4 address";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = match text.split_once('/') {
            Some((address, _)) if address.parse::<Ipv4Addr>().is_ok() => {
                format!("without the prefix length: {address}")
            }
            _ => "four numbers of 0 to 255 between dots, without zeros in front: 10.244.1.3".to_owned(),
        };
        text.parse().map_err(|_| Bad(format!("{} is not an IPv4 address", quote(text)), Some(hint)))
    }
}

impl FromText for SocketAddrV4 {
    const WHAT: &'static str = "ADDRESS:PORT";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = "an IPv4 address, a colon and a port of 0 to 65535: 10.244.1.3:7".to_owned();
        text.parse().map_err(|_| Bad(format!("{} is not an address with a port", quote(text)), Some(hint)))
    }
}

/// Where a socket is bound.
pub(super) enum Own {
    /// An address and a port.
    Address(SocketAddrV4),
    /// A device.
    Device(String),
}

impl FromText for Own {
    const WHAT: &'static str = "ADDRESS:PORT or a device";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let name = !text.is_empty() && text.len() <= MAX_INTERFACE_LEN && text.starts_with(|c: char| c.is_alphabetic());
        if name && !text.contains([':', '/', ' ']) {
            return Ok(Own::Device(text.to_owned()));
        }
        SocketAddrV4::from_text(text).map(Own::Address)
    }
}

/// Bytes.
pub(super) struct Hex(pub(super) Vec<u8>);

impl FromText for Hex {
    const WHAT: &'static str = "bytes in hexadecimal";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let digits: Option<Vec<u8>> =
            text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        let pairs = digits.filter(|d| d.len() % 2 == 0);
        let bytes = pairs.map(|digits| digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
        let hint =
            "two digits of 0-9 and a-f for each byte, blanks between them as you like: \"45 00 00 1c\"".to_owned();
        bytes.map(Hex).ok_or_else(|| Bad(format!("{} is not bytes in hexadecimal", quote(text)), Some(hint)))
    }
}

impl FromText for PacketType {
    const WHAT: &'static str = "a direction";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let all = [
            PacketType::Host,
            PacketType::Outgoing,
            PacketType::Broadcast,
            PacketType::Multicast,
            PacketType::OtherHost,
        ];
        one_of(text, "a direction", all.map(|direction| (direction.label(), direction)))
    }
}

impl FromText for Profile {
    const WHAT: &'static str = "a kernel";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let names = Profile::ALL.map(Profile::name);
        let known = Profile::ALL.into_iter().find(|p| p.name() == text);
        known.ok_or_else(|| Bad(format!("there is no profile {}", quote(text)), Some(names.join(" or "))))
    }
}

impl FromText for NudState {
    const WHAT: &'static str = "a state";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let all = [
            NudState::None,
            NudState::Incomplete,
            NudState::Reachable,
            NudState::Stale,
            NudState::Delay,
            NudState::Probe,
            NudState::Failed,
            NudState::Noarp,
            NudState::Permanent,
        ];
        one_of(text, "a state of a neighbour", all.map(|state| (state.label(), state)))
    }
}

impl FromText for Interface {
    const WHAT: &'static str = "NAMESPACE/INTERFACE";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let point = CapturePoint::from_text(text)?;
        match point.interface {
            Some(name) => Ok(Interface { namespace: point.namespace, name }),
            None => Err(Bad(
                "`any` is not one interface".to_owned(),
                Some("only `capture` can be about all of them".to_owned()),
            )),
        }
    }
}

impl FromText for CapturePoint {
    const WHAT: &'static str = "NAMESPACE/INTERFACE";

    fn from_text(text: &str) -> Result<Self, Bad> {
        // A pod's own name has slashes: pod/default/web/eth0.
        let split = if text.starts_with("pod/") { text.rsplit_once('/') } else { text.split_once('/') };
        let Some((namespace, interface)) = split.filter(|(namespace, _)| !namespace.is_empty()) else {
            let message = format!("{} is not NAMESPACE/INTERFACE", quote(text));
            return Err(Bad(message, Some("write, for example, node1/eth0".to_owned())));
        };
        check_interface_name(interface)?;
        let interface = (interface != "any").then(|| interface.to_owned());
        Ok(CapturePoint { namespace: namespace.to_owned(), interface })
    }
}

impl FromText for Hop {
    const WHAT: &'static str = "NAMESPACE/INTERFACE DIRECTION";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let Some((interface, direction)) = text.trim().split_once(' ') else {
            let message = format!("{} is not NAMESPACE/INTERFACE DIRECTION", quote(text));
            return Err(Bad(message, Some("write, for example, node1/eth0 Out".to_owned())));
        };
        let interface = Interface::from_text(interface)?;
        Ok(Hop { interface, direction: PacketType::from_text(direction.trim_start())? })
    }
}

impl FromText for Duration {
    const WHAT: &'static str = "a duration";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let hint = "numbers with units, as 47s, 200ms, 1m30s or 1.5s; the units are h, m, s, ms, us and ns";
        match parse_duration(text) {
            Some(ns) => u64::try_from(ns).map(Duration).map_err(|_| Bad(format!("{} is too long", quote(text)), None)),
            None => Err(Bad(format!("{} is not a duration", quote(text)), Some(hint.to_owned()))),
        }
    }
}

impl FromText for Timestamp {
    const WHAT: &'static str = "a time";

    fn from_text(text: &str) -> Result<Self, Bad> {
        let Ok(time) = text.parse::<jiff::Timestamp>() else {
            let hint = "write date, time and time zone (RFC 3339): 2022-06-01T10:00:00Z";
            return Err(Bad(format!("{} is not a time", quote(text)), Some(hint.to_owned())));
        };
        if u32::try_from(time.as_second()).is_err() {
            let message = format!("{} does not fit a capture file", quote(text));
            return Err(Bad(message, Some("pcap counts the seconds from 1970 to 2106".to_owned())));
        }
        u64::try_from(time.as_nanosecond())
            .map(Timestamp)
            .map_err(|_| Bad(format!("{} lies before 1970", quote(text)), None))
    }
}

/// The one whose name is the text.
fn one_of<T: Copy, const N: usize>(text: &str, what: &str, all: [(&'static str, T); N]) -> Result<T, Bad> {
    if let Some((_, value)) = all.iter().find(|(name, _)| *name == text) {
        return Ok(*value);
    }
    let names = all.map(|(name, _)| name);
    let near = names.into_iter().find(|name| name.eq_ignore_ascii_case(text)).or_else(|| nearest(text, names));
    let known = names.map(quote).join(", ");
    let hint = match near {
        Some(name) => format!("did you mean {}? There are {known}", quote(name)),
        None => format!("write one of {known}"),
    };
    Err(Bad(format!("{} is not {what}", quote(text)), Some(hint)))
}

/// Whether Linux allows the name (dev_valid_name of net/core/dev.c).
fn check_interface_name(name: &str) -> Result<(), Bad> {
    let bad = |why: &str| Err(Bad(format!("{} is not a name of an interface: {why}", quote(name)), None));
    match name {
        "" => bad("it is empty"),
        "." | ".." => bad("it is a directory"),
        _ if name.len() > MAX_INTERFACE_LEN => bad(&format!("Linux allows {MAX_INTERFACE_LEN} bytes")),
        _ if name.contains(['/', ':']) => bad("it must not have `/` or `:` in it"),
        _ if name.bytes().any(|b| b.is_ascii_whitespace()) => bad("it must not have blanks in it"),
        _ => Ok(()),
    }
}

/// A duration that does not come from a file; what is wrong with it, and a hint.
pub(in crate::scenario) fn duration(text: &str) -> Result<Duration, (String, Option<String>)> {
    Duration::from_text(text).map_err(|Bad(message, hint)| (message, hint))
}

/// Go's time.ParseDuration without a sign: numbers with units, added up, or a plain 0. In nanoseconds, rounded down.
pub(super) fn parse_duration(text: &str) -> Option<u128> {
    if text == "0" {
        return Some(0);
    }
    let (mut rest, mut total) = (text, 0_u128);
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = after.strip_prefix('.').map_or(("", after), digits);
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let name_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let unit = match &after[..name_len] {
            "h" => 3600 * SEC,
            "m" => 60 * SEC,
            "s" => SEC,
            "ms" => MS,
            "us" | "µs" | "μs" => US,
            "ns" => 1,
            _ => return None,
        };
        let mut ns = number(whole).saturating_mul(unit.into());
        let mut scale = u128::from(unit);
        for digit in fraction.bytes() {
            scale /= 10;
            ns = ns.saturating_add(u128::from(digit - b'0') * scale);
        }
        total = total.saturating_add(ns);
        rest = &after[name_len..];
    }
    (!text.is_empty()).then_some(total)
}

pub(super) fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str) -> u128 {
    if digits.is_empty() { 0 } else { digits.parse().unwrap_or(u128::MAX) }
}
