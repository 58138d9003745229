//! The JSON schema of scenario files, derived from the structs that they are read into. What the structs alone do not
//! say, how values are written as text, is here.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::{NonZeroU32, NonZeroU64};

use super::cluster::{Address, Mtu, Net, PortRange};
use super::cni::BlockSize;
use super::script::Byte;
use super::text::{Hex, Own};
use super::underlay::{Named, Percent, Rate};
use super::value::{Bounds, CapturePoint, Count, Duration, Hop, Interface, Label, Spanned, Timestamp};
use super::{
    API_VERSION, DEFAULT_JIFFIES, DEFAULT_SEED, DEFAULT_START_TIME, NamespaceBody, Namespaces, Scenario, Texts,
};
use crate::base::Mac;
use crate::kernel::frame::PacketType;
use crate::kernel::netlink::NudState;
use crate::kernel::profile::Profile;

/// What the schema is called.
pub const SCHEMA_ID: &str = "podhop/scenario/v1";

/// The JSON schema (2020-12) of scenario files.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Scenario>();
    schema.insert("$id".to_owned(), SCHEMA_ID.into());
    schema.insert("title".to_owned(), format!("A scenario of {API_VERSION}").into());
    schema.to_value()
}

pub(super) fn default_seed() -> u64 {
    DEFAULT_SEED
}

pub(super) fn default_true() -> bool {
    true
}

pub(super) fn default_start_time() -> Timestamp {
    DEFAULT_START_TIME
}

pub(super) fn default_jiffies() -> u64 {
    DEFAULT_JIFFIES
}

/// A value as it is written in a file.
pub(super) trait Written {
    /// What the schema calls the type; nothing for one that is described where it stands.
    const NAME: &'static str;

    fn written(generator: &mut SchemaGenerator) -> Value;
}

impl<T: Written> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::NAME.is_empty()
    }

    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }

    fn schema_id() -> Cow<'static, str> {
        std::any::type_name::<Self>().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Schema::try_from(T::written(generator)).unwrap_or_default()
    }
}

/// How types are written.
macro_rules! written {
    ($($type:ty $(as $name:literal)? => $schema:tt,)+) => {$(
        impl Written for $type {
            const NAME: &'static str = concat!($($name)?);

            fn written(_: &mut SchemaGenerator) -> Value {
                json!($schema)
            }
        }
    )+};
}

written! {
    // A number or a boolean is read as it is written.
    String => {"type": ["string", "number", "boolean"]},
    u64 => {"type": "integer", "minimum": 0},
    u8 => {"type": "integer", "minimum": 0, "maximum": 255},
    NonZeroU64 => {"type": "integer", "minimum": 1},
    NonZeroU32 => {"type": "integer", "minimum": 1, "maximum": 4294967295_u32},
    Byte => {"type": ["string", "integer"]},
    Label as "Label" => {
        "description": "A DNS label (RFC 1123): a-z, 0-9 and `-`.",
        "type": ["string", "number"], "pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"
    },
    Mac as "Mac" => {
        "description": "A MAC address: 0a:58:0a:f4:01:02.",
        "type": "string", "pattern": "^[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}$"
    },
    Ipv4Addr as "Address" => {
        "description": "An IPv4 address: 10.244.1.3.",
        "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}$"
    },
    SocketAddrV4 as "AddressAndPort" => {
        "description": "An IPv4 address and a port: 10.244.1.3:7.",
        "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,5}$"
    },
    Own as "OwnAddress" => {
        "description": "An IPv4 address and a port, or the name of a device: 10.244.1.3:7, eth0.",
        "type": "string", "pattern": "^([0-9]{1,3}(\\.[0-9]{1,3}){3}:[0-9]{1,5}|[A-Za-z][^:/ ]{0,14})$"
    },
    Hex as "Bytes" => {
        "description": "Bytes in hexadecimal, two digits each; blanks between them have no meaning.",
        "type": ["string", "integer"], "pattern": "^\\s*([0-9A-Fa-f]\\s*[0-9A-Fa-f]\\s*)*$"
    },
    Interface as "Interface" => {
        "description": "NAMESPACE/INTERFACE: node1/eth0, pod/default/web/eth0.",
        "type": "string", "pattern": "^(pod/[^/]+/[^/]+|[^/]+)/[^/:\\s]{1,15}$"
    },
    CapturePoint as "CapturePoint" => {
        "description": "NAMESPACE/INTERFACE, or NAMESPACE/any for all of them.",
        "type": "string", "pattern": "^(pod/[^/]+/[^/]+|[^/]+)/[^/:\\s]{1,15}$"
    },
    Hop as "Hop" => {
        "description": "NAMESPACE/INTERFACE and a direction: node1/eth0 Out.",
        "type": "string", "pattern": "^(pod/[^/]+/[^/]+|[^/]+)/[^/:\\s]{1,15} +(In|Out|B|M|P)$"
    },
    Duration as "Duration" => {
        "description": "A length of time: 47s, 200ms, 1m30s, 1.5s. The units are h, m, s, ms, us and ns.",
        "anyOf": [{"const": 0}, {"type": "string", "pattern": "^(0|([0-9.]+(h|m|s|ms|us|µs|μs|ns))+)$"}]
    },
    Rate as "Rate" => {
        "description": "Bits per second: 100mbit, 1.5gbit. The units are bit, kbit, mbit and gbit.",
        "type": "string", "pattern": "^[0-9]+(\\.[0-9]*)?[kmg]?bit$"
    },
    Net as "Network" => {
        "description": "A network: 10.244.1.0/24.",
        "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$"
    },
    Address as "AddressInNetwork" => {
        "description": "An address with the length of its network's prefix: 10.168.0.4/24.",
        "type": "string", "pattern": "^[0-9]{1,3}(\\.[0-9]{1,3}){3}/[0-9]{1,2}$"
    },
    PortRange as "PortRange" => {
        "description": "Ports from one to another: 30000-32767.",
        "type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"
    },
    BlockSize => {"type": "integer", "minimum": 20, "maximum": 32},
    Mtu as "Mtu" => {"type": "integer", "minimum": 68, "maximum": 65535},
    Percent as "Percent" => {
        "description": "A share: 1%, 0.5%.",
        "type": "string", "pattern": "^[0-9]+(\\.[0-9]*)?%$"
    },
    Timestamp as "Timestamp" => {
        "description": "Date, time and time zone (RFC 3339): 2022-06-01T10:00:00Z.",
        "type": "string", "format": "date-time"
    },
    PacketType as "Direction" => {
        "description": "As `tcpdump -i any` marks records: to us, from us, to everybody, to a group, to somebody else.",
        "enum": ["In", "Out", "B", "M", "P"]
    },
    Profile as "Profile" => {
        "description": "Which Linux a machine runs.",
        "enum": ["linux-6.18", "linux-4.18"]
    },
    NudState as "NeighbourState" => {
        "description": "The state of a neighbour, as `ip neigh` shows it.",
        "enum": ["NONE", "INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "NOARP", "PERMANENT"]
    },
}

impl Written for Count {
    const NAME: &'static str = "Count";

    fn written(generator: &mut SchemaGenerator) -> Value {
        let forms = [json!({"type": "integer", "minimum": 0}), generator.subschema_for::<Bounds>().to_value()];
        json!({"description": "How often: a number, or {min: 1, max: 3}.", "anyOf": forms})
    }
}

/// Those that stand without their place in the file.
macro_rules! without_place {
    ($($type:ty),+) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                Spanned::<$type>::inline_schema()
            }

            fn schema_name() -> Cow<'static, str> {
                Spanned::<$type>::schema_name()
            }

            fn schema_id() -> Cow<'static, str> {
                Spanned::<$type>::schema_id()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                Spanned::<$type>::json_schema(generator)
            }
        }
    )+};
}

without_place!(Timestamp, PacketType, NudState, Byte);

impl JsonSchema for super::script::Name {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Spanned::<String>::json_schema(generator)
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let text = Spanned::<String>::json_schema(generator);
        json_schema!({"anyOf": [text, {"type": "array", "minItems": 1, "items": text}]})
    }
}

impl JsonSchema for Namespaces {
    fn schema_name() -> Cow<'static, str> {
        "Namespaces".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let body = generator.subschema_for::<Option<NamespaceBody>>();
        json_schema!({"type": "object", "minProperties": 1, "additionalProperties": body})
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let body = generator.subschema_for::<Option<T>>();
        json_schema!({"type": "object", "additionalProperties": body})
    }
}
