//! The fields that Kubernetes knows and their types: which are mistyped, and which have a value of the wrong kind.
//!
//! A manifest reaches the API server as JSON, and what a plain scalar becomes on the way is decided by YAML 1.1
//! (package sigs.k8s.io/yaml): `yes` and `on` are booleans, `0644` is octal, `1.10` a number. Where a string is wanted
//! these are errors, as they are there.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::reader::{Field, Reader, shown};
use crate::scenario::diag::{nearest, quote};
use crate::scenario::tree::{Kind, Node};

/// A hint lists the fields of a map if it has no more than this.
const MAX_LISTED_FIELDS: usize = 12;

/// The words that YAML 1.1 reads as true, and as false.
const TRUE: [&str; 11] = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"];
const FALSE: [&str; 11] = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"];

/// Types and their fields. A type's name is that of Kubernetes' OpenAPI document without its first words.
static TYPES: LazyLock<BTreeMap<&str, Vec<(&str, &str)>>> = LazyLock::new(|| {
    let mut types: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    let mut of = "";
    let kubernetes = include_str!("fields.txt").lines();
    let all = kubernetes.chain(include_str!("istio.txt").lines());
    for line in all.filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace();
        if !line.starts_with(' ') {
            of = words.next().unwrap_or_default();
        }
        types.entry(of).or_default().extend(words.filter_map(|word| word.split_once(':')));
    }
    types
});

/// A scalar as Kubernetes understands it.
pub(super) enum Scalar {
    Null,
    Boolean(bool),
    Integer(i128),
    Float,
    String,
    /// A list or a map.
    None,
}

/// What Kubernetes takes a scalar for.
pub(super) fn scalar(node: &Node) -> Scalar {
    match &node.kind {
        Kind::Null => Scalar::Null,
        Kind::Bool(value) => Scalar::Boolean(*value),
        Kind::Integer(number) => Scalar::Integer(i128::from(*number)),
        Kind::Negative(number) => Scalar::Integer(i128::from(*number)),
        Kind::String(text) if node.plain => plain(text),
        Kind::String(_) => Scalar::String,
        Kind::List(_) | Kind::Map(_) => Scalar::None,
    }
}

/// Text without quotes that is not null, `true`, `false` or a decimal number.
fn plain(text: &str) -> Scalar {
    if TRUE.contains(&text) || FALSE.contains(&text) {
        return Scalar::Boolean(TRUE.contains(&text));
    }
    let number = text.replace('_', "");
    let (negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(&number)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Scalar::String;
    }
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2), ("0", 8)];
    let (digits, radix) =
        prefixes.iter().find_map(|(p, radix)| Some((digits.strip_prefix(p)?, *radix))).unwrap_or((digits, 10));
    match i128::from_str_radix(digits, radix) {
        // A second sign is none.
        Ok(value) if !digits.starts_with(['+', '-']) => Scalar::Integer(if negative { -value } else { value }),
        _ if is_float(&number) => Scalar::Float,
        _ => Scalar::String,
    }
}

/// YAML 1.1's floating point numbers, with a digit at least.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(text, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    digits(whole)
        && digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && digits(exponent)
        && !exponent.is_empty()
}

/// Reports the fields of a document that Kubernetes does not know, and values of the wrong kind.
pub(super) fn check(of: &str, field: &Field<'_>, reader: &mut Reader<'_>) {
    let Some(node) = field.node else { return };
    if reader.is_full() {
        return;
    }
    if let Some(item) = of.strip_prefix('[').and_then(|of| of.strip_suffix(']')) {
        match &node.kind {
            Kind::List(_) => field.items().iter().for_each(|field| check(item, field, reader)),
            _ => wrong_kind("a list", field, node, reader),
        }
    } else if let Some(value) = of.strip_prefix('{').and_then(|of| of.strip_suffix('}')) {
        match &node.kind {
            Kind::Map(_) => field.entries().iter().for_each(|(_, field)| check(value, field, reader)),
            _ => wrong_kind("a map", field, node, reader),
        }
    } else if let Some(fields) = TYPES.get(of) {
        match &node.kind {
            Kind::Map(_) => {
                for (key, child) in field.children() {
                    match fields.iter().find(|(name, _)| *name == key) {
                        Some((_, of)) => check(of, &child, reader),
                        None if reader.is_full() => return,
                        None => unknown(of, fields, key, field, &child, reader),
                    }
                }
            }
            _ => wrong_kind("a map", field, node, reader),
        }
    } else {
        check_scalar(of, field, node, reader);
    }
}

fn unknown(
    of: &str,
    fields: &[(&str, &str)],
    name: &str,
    parent: &Field<'_>,
    child: &Field<'_>,
    reader: &mut Reader<'_>,
) {
    let names = || fields.iter().map(|(name, _)| *name);
    let near = names().find(|known| known.eq_ignore_ascii_case(name)).or_else(|| nearest(name, names()));
    let hint = match near {
        Some(near) => {
            // What is missing is what was mistyped.
            reader.is_broken(parent.child(near).path);
            format!("did you mean {}?", quote(near))
        }
        None if fields.len() <= MAX_LISTED_FIELDS => {
            let names: Vec<_> = names().map(quote).collect();
            format!("the fields here are {}", names.join(", "))
        }
        None => format!("a {} has no field of this name", of.rsplit('.').next().unwrap_or(of)),
    };
    reader.error(child.key(), format!("unknown field \"{}\"", shown(&child.path)), Some(hint));
}

fn check_scalar(of: &str, field: &Field<'_>, node: &Node, reader: &mut Reader<'_>) {
    let found = scalar(node);
    match (of, &found) {
        ("any", _)
        | (_, Scalar::Null)
        | ("boolean", Scalar::Boolean(_))
        | ("string", Scalar::String)
        | ("int-or-string", Scalar::Integer(_) | Scalar::String)
        | ("quantity" | "number", Scalar::Integer(_) | Scalar::Float)
        | ("quantity", Scalar::String) => {}
        ("int32", Scalar::Integer(number)) if i32::try_from(*number).is_ok() => {}
        ("int64", Scalar::Integer(number)) if i64::try_from(*number).is_ok() => {}
        ("int32" | "int64", Scalar::Integer(_)) => {
            let (bits, path) = (&of[3..], shown(&field.path));
            reader.error(field.place(), format!("`{path}` does not fit into {bits} bits"), None);
            reader.is_broken(field.path.clone());
        }
        _ => wrong_kind(expected(of), field, node, reader),
    }
}

fn expected(of: &str) -> &'static str {
    match of {
        "boolean" => "true or false",
        "int32" | "int64" => "a whole number",
        "int-or-string" => "a whole number or a string",
        "quantity" => "a quantity",
        "number" => "a number",
        _ => "a string",
    }
}

fn wrong_kind(expected: &str, field: &Field<'_>, node: &Node, reader: &mut Reader<'_>) {
    let written = shown(reader.written(node));
    let found = match (scalar(node), &node.kind) {
        (Scalar::Null, _) => "nothing",
        (Scalar::Boolean(_), _) => "true or false",
        (Scalar::Integer(_) | Scalar::Float, _) => "a number",
        (Scalar::String, _) => "a string",
        (Scalar::None, Kind::List(_)) => "a list",
        (Scalar::None, _) => "a map",
    };
    let hint = match (expected, found) {
        ("a string", "true or false" | "a number") => {
            Some(format!("put it in quotes: \"{written}\". Without them it is {found} for Kubernetes"))
        }
        ("true or false", "a string") => Some("write true or false, without quotes".to_owned()),
        ("a whole number", "a string") => Some("write digits, without quotes".to_owned()),
        ("a list", "a map" | "a string" | "a number") => Some("each item of a list begins with `- `".to_owned()),
        _ => None,
    };
    reader.error(field.place(), format!("`{}` must be {expected}, found {found}", shown(&field.path)), hint);
    reader.is_broken(field.path.clone());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_are_those_of_yaml_1_1() {
        let kind = |text: &str| match plain(text) {
            Scalar::Boolean(value) => value.to_string(),
            Scalar::Integer(number) => number.to_string(),
            Scalar::Float => "float".to_owned(),
            Scalar::String => "string".to_owned(),
            Scalar::Null | Scalar::None => unreachable!("not from plain text"),
        };
        for (text, want) in [
            ("yes", "true"),
            ("Off", "false"),
            ("oN", "string"),
            ("0644", "420"),
            ("0o17", "15"),
            ("0x1f", "31"),
            ("-0b11", "-3"),
            ("1_000", "1000"),
            ("+1", "1"),
            ("08", "float"),
            ("1.10", "float"),
            ("1.", "float"),
            (".5e-3", "float"),
            (".inf", "float"),
            ("1e3", "float"),
            ("-.nan", "float"),
            (".", "string"),
            ("--1", "string"),
            ("0x-1", "string"),
            ("1e", "string"),
            ("10.244.0.1", "string"),
            ("10:30", "string"),
            ("2024-01-01", "string"),
            ("500m", "string"),
            ("", "string"),
        ] {
            assert_eq!(kind(text), want, "{text}");
        }
    }

    #[test]
    fn every_type_of_the_table_is_known() {
        let simple = ["any", "boolean", "int32", "int64", "int-or-string", "number", "quantity", "string"];
        for (name, fields) in TYPES.iter() {
            assert!(!fields.is_empty(), "{name}");
            for (field, of) in fields {
                let inner = of.trim_matches(['[', ']', '{', '}']);
                assert!(simple.contains(&inner) || TYPES.contains_key(inner), "{name}.{field}: {of}");
            }
        }
    }
}
