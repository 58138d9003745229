//! The values that fields of a scenario have, from the words of a file.

use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::{Deref, Range};

use deserr::{Deserr, IntoValue, Value, ValuePointerRef};
use schemars::JsonSchema;

use super::problem::Problems;
use crate::kernel::frame::PacketType;
use crate::scenario::diag::SourceFile;

/// The longest name of a scenario or a namespace (RFC 1123 section 2.1, as Kubernetes reads it).
pub const MAX_NAME_LEN: usize = 63;
/// The longest name of an interface (IFNAMSIZ of Linux with its final zero is 16).
pub const MAX_INTERFACE_LEN: usize = 15;

/// A value and its place in the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place, in bytes, with the quotes of a string.
    pub span: Range<usize>,
}

impl<T> Deref for Spanned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl Spanned<String> {
    /// The place in the file of a part of the string, given in bytes of the string; the place of all of it where the
    /// file writes it with escapes or over several lines.
    pub fn part(&self, source: &SourceFile, part: Range<usize>) -> Range<usize> {
        let written = source.text().get(self.span.clone()).unwrap_or_default();
        match written.find(self.value.as_str()) {
            Some(at) => {
                let start = self.span.start + at;
                start + part.start.min(self.value.len())..start + part.end.min(self.value.len())
            }
            None => self.span.clone(),
        }
    }
}

/// The address of an interface in a scenario: NAMESPACE/INTERFACE.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Interface {
    /// The namespace.
    pub namespace: String,
    /// The interface in it.
    pub name: String,
}

/// Where a capture is taken: NAMESPACE/INTERFACE or NAMESPACE/any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CapturePoint {
    /// The namespace.
    pub namespace: String,
    /// The interface; none for all of them, as `tcpdump -i any`.
    pub interface: Option<String>,
}

/// One record of a packet's journey: NAMESPACE/INTERFACE and a direction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Hop {
    /// Where the packet was seen.
    pub interface: Interface,
    /// How it passed.
    pub direction: PacketType,
}

/// A length of time, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Duration(pub u64);

/// An instant, in nanoseconds since 1970-01-01T00:00:00Z. Its seconds fit the 32 bits that pcap has.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp(pub u64);

/// How often something is expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// At least so often.
    pub min: u64,
    /// At most so often; none for any number.
    pub max: Option<u64>,
}

/// A name that is a DNS label (RFC 1123 section 2.1).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Label(pub String);

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.interface, self.direction.label())
    }
}

/// A type that a [`Spanned`] can hold: `deserr` has its own idea of a string and a number.
pub(super) trait Read: Sized {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems>;
}

/// The place is not known here: [`super::locate::Locate`] fills it in.
impl<T: Read> Deserr<Problems> for Spanned<T> {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        T::read(value, at).map(|value| Spanned { value, span: 0..0 })
    }
}

impl Read for u64 {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Integer(number) => Ok(number),
            other => Err(Problems::wrong_kind(at, &other, "a whole number")),
        }
    }
}

impl Read for u8 {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let number = u64::read(value, at)?;
        number
            .try_into()
            .map_err(|_| Problems::bad(at, format!("{number} is more than {}, the largest here", u8::MAX), None))
    }
}

impl Read for NonZeroU64 {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let number = u64::read(value, at)?;
        NonZeroU64::new(number).ok_or_else(|| {
            Problems::bad(
                at,
                "0 is too small: the least is 1".to_owned(),
                Some("leave the field out for its default".to_owned()),
            )
        })
    }
}

impl Read for NonZeroU32 {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let number = NonZeroU64::read(value, at)?;
        number
            .try_into()
            .map_err(|_| Problems::bad(at, format!("{number} is more than {}, the largest here", u32::MAX), None))
    }
}

/// Bounds of a number.
#[derive(Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub(super) struct Bounds {
    /// At least so many.
    #[deserr(default)]
    min: Option<u64>,
    /// At most so many.
    #[deserr(default)]
    max: Option<u64>,
}

impl Read for Count {
    fn read<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let bad = |message: &str| Err(Problems::bad(at, message.to_owned(), Some("write {min: 1, max: 3}".to_owned())));
        match value {
            Value::Integer(number) => Ok(Count { min: number, max: Some(number) }),
            Value::Map(_) => match Bounds::deserialize_from_value(value, at)? {
                Bounds { min: None, max: None } => bad("these bounds have neither `min` nor `max`"),
                Bounds { min: Some(min), max: Some(max) } if min > max => bad("`min` is more than `max`"),
                Bounds { min, max } => Ok(Count { min: min.unwrap_or(0), max }),
            },
            other => Err(Problems::wrong_kind(at, &other, "a whole number or {min: 1, max: 3}")),
        }
    }
}
