//! Reading a document field by field: where a field is, what was read, and what is wrong.
//!
//! Paths and messages are those of the API server (staging/src/k8s.io/apimachinery/pkg/util/validation/field):
//! `spec.ports[0].protocol: Unsupported value: "TPC": supported values: "SCTP", "TCP", "UDP"`.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::Range;

use ipnet::Ipv4Net;

use super::names::{self, go_string};
use super::schema::{Scalar, scalar};
use crate::scenario::diag::{Diagnostic, Diagnostics, SourceFile, nearest, quote};
use crate::scenario::tree::{Entry, Kind, Node};

/// Longer paths are cut in messages, in characters.
const MAX_SHOWN_PATH: usize = 200;

/// A value's place in its document, whether it is there or not.
#[derive(Clone)]
pub(super) struct Field<'a> {
    /// As the API server writes it: `spec.ports[0].port`.
    pub(super) path: String,
    /// Its value; none if it is not there or null.
    pub(super) node: Option<&'a Node>,
    /// What to point at if it is missing: its key, else that of the nearest field around it that has one.
    key: Range<usize>,
}

impl<'a> Field<'a> {
    /// A whole document.
    pub(super) fn root(node: &'a Node) -> Self {
        Field { path: String::new(), node: Some(node), key: node.span.clone() }
    }

    /// A field of this map.
    pub(super) fn child(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        match self.node.and_then(|node| node.entry(name)) {
            Some(entry) => Field { path, node: present(&entry.value), key: entry.key_span.clone() },
            None => Field { path, node: None, key: self.key.clone() },
        }
    }

    /// The fields of this map, in the order of the file.
    pub(super) fn children(&self) -> impl Iterator<Item = (&'a str, Field<'a>)> {
        let entries = match self.node {
            Some(Node { kind: Kind::Map(entries), .. }) => entries.as_slice(),
            _ => &[],
        };
        let prefix = if self.path.is_empty() { String::new() } else { format!("{}.", self.path) };
        entries.iter().map(move |entry| {
            let path = format!("{prefix}{}", entry.key);
            (entry.key.as_str(), Field { path, node: present(&entry.value), key: entry.key_span.clone() })
        })
    }

    /// The items of this list.
    pub(super) fn items(&self) -> Vec<Field<'a>> {
        let Some(Node { kind: Kind::List(items), .. }) = self.node else { return Vec::new() };
        let item = |(index, node): (usize, &'a Node)| Field {
            path: format!("{}[{index}]", self.path),
            node: present(node),
            key: node.span.clone(),
        };
        items.iter().enumerate().map(item).collect()
    }

    /// The entries of this map, whose keys are data.
    pub(super) fn entries(&self) -> Vec<(&'a Entry, Field<'a>)> {
        let Some(Node { kind: Kind::Map(entries), .. }) = self.node else { return Vec::new() };
        let entry = |entry: &'a Entry| {
            let path = format!("{}[{}]", self.path, entry.key);
            (entry, Field { path, node: present(&entry.value), key: entry.key_span.clone() })
        };
        entries.iter().map(entry).collect()
    }

    /// The same place by the path that the API server has for it.
    pub(super) fn called(&self, path: impl Into<String>) -> Field<'a> {
        Field { path: path.into(), ..self.clone() }
    }

    /// Its text, if it is a string that is not empty. It is not noted as read: for what is only checked.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node?.kind {
            Kind::String(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Its number, if it is one. It is not noted as read.
    pub(super) fn number(&self) -> Option<i64> {
        match scalar(self.node?) {
            Scalar::Integer(number) => i64::try_from(number).ok(),
            _ => None,
        }
    }

    /// What to point at.
    pub(super) fn place(&self) -> Range<usize> {
        self.node.map_or_else(|| self.key.clone(), |node| node.span.clone())
    }

    /// Its key.
    pub(super) fn key(&self) -> Range<usize> {
        self.key.clone()
    }
}

/// For the API server null is nothing.
fn present(node: &Node) -> Option<&Node> {
    (node.kind != Kind::Null).then_some(node)
}

/// What reads a document.
pub(super) struct Reader<'a> {
    source: &'a SourceFile,
    /// The namespace of an object that names none, if that is not `default`.
    pub(super) namespace: Option<&'a str>,
    errors: &'a mut Diagnostics,
    /// Paths that an error stands for already.
    broken: BTreeSet<String>,
    /// Paths of the fields that were read.
    read: BTreeSet<String>,
}

impl<'a> Reader<'a> {
    /// Of a document of this file, for a namespace if it is given.
    pub(super) fn new(source: &'a SourceFile, namespace: Option<&'a str>, errors: &'a mut Diagnostics) -> Self {
        Reader { source, namespace, errors, broken: BTreeSet::new(), read: BTreeSet::new() }
    }

    /// As many errors as are reported.
    pub(super) fn is_full(&self) -> bool {
        self.errors.is_full()
    }

    /// The field has an effect.
    pub(super) fn note(&mut self, field: &Field<'_>) {
        if field.node.is_some() {
            self.read.insert(field.path.clone());
        }
    }

    /// A string that is not empty.
    pub(super) fn string<'f>(&mut self, field: &Field<'f>) -> Option<&'f str> {
        self.note(field);
        field.text()
    }

    /// A list of strings.
    pub(super) fn strings(&mut self, field: &Field<'_>) -> Vec<String> {
        self.note(field);
        let text = |item: &Field<'_>| match item.node.map(|node| &node.kind) {
            Some(Kind::String(text)) => text.clone(),
            _ => String::new(),
        };
        field.items().iter().map(text).collect()
    }

    /// True or false.
    pub(super) fn boolean(&mut self, field: &Field<'_>) -> Option<bool> {
        self.note(field);
        match scalar(field.node?) {
            Scalar::Boolean(value) => Some(value),
            _ => None,
        }
    }

    /// A whole number.
    pub(super) fn integer(&mut self, field: &Field<'_>) -> Option<i64> {
        self.note(field);
        field.number()
    }

    /// A number that is not below zero.
    pub(super) fn non_negative(&mut self, field: &Field<'_>, default: u32) -> u32 {
        let Some(number) = self.integer(field) else { return default };
        if number < 0 {
            self.invalid(field, number, "must be greater than or equal to 0");
        }
        u32::try_from(number).unwrap_or(default)
    }

    /// The number of a port.
    pub(super) fn port(&mut self, field: &Field<'_>) -> Option<u16> {
        let number = self.integer(field)?;
        self.check(field, number, names::port_number(number));
        u16::try_from(number).ok().filter(|&port| port > 0)
    }

    /// One of these words, which are sorted; the default without it.
    pub(super) fn one_of<T: Copy>(&mut self, field: &Field<'_>, known: &[(&str, T)], default: T) -> T {
        let Some(word) = self.string(field) else { return default };
        if let Some((_, value)) = known.iter().find(|(name, _)| *name == word) {
            return *value;
        }
        self.unsupported(field, word, known.iter().map(|(name, _)| *name));
        default
    }

    /// An IPv4 address.
    pub(super) fn address(&mut self, field: &Field<'_>) -> Option<Ipv4Addr> {
        let text = self.string(field)?;
        let address = text.parse().ok();
        if address.is_none() {
            self.no_address(field, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
        }
        address
    }

    /// An IPv4 network.
    pub(super) fn network(&mut self, field: &Field<'_>) -> Option<Ipv4Net> {
        let text = self.string(field)?.trim();
        let network: Option<Ipv4Net> = text.parse().ok();
        if network.is_none() {
            self.no_address(field, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
        }
        network.map(|network| network.trunc())
    }

    /// A value that a rule of [`names`] holds for.
    pub(super) fn named<'f>(&mut self, field: &Field<'f>, rule: fn(&str) -> Vec<String>) -> Option<&'f str> {
        let name = self.string(field)?;
        self.check_name(field, name, rule);
        Some(name)
    }

    /// Checks a value by a rule of [`names`].
    pub(super) fn check_name(&mut self, field: &Field<'_>, name: &str, rule: fn(&str) -> Vec<String>) {
        for message in rule(name) {
            let hint = names::repair(name, rule).map(|good| format!("write {}", quote(&good)));
            self.report(field, format!("Invalid value: {}: {message}", go_string(name)), hint);
        }
    }

    /// Reports what a rule of [`names`] has found wrong with a value.
    pub(super) fn check(&mut self, field: &Field<'_>, value: impl std::fmt::Display, wrong: Vec<String>) {
        for message in wrong {
            self.report(field, format!("Invalid value: {value}: {message}"), None);
        }
    }

    /// A value that is not good; a string is given by [`go_string`].
    pub(super) fn invalid(&mut self, field: &Field<'_>, value: impl std::fmt::Display, detail: &str) {
        self.check(field, value, vec![detail.to_owned()]);
    }

    /// A value that is missing.
    pub(super) fn required(&mut self, field: &Field<'_>, detail: &str) {
        self.report(field, with_detail("Required value", detail), None);
    }

    /// A value that must not be here.
    pub(super) fn forbidden(&mut self, field: &Field<'_>, detail: &str) {
        self.report(field, with_detail("Forbidden", detail), None);
    }

    /// A value that is here twice.
    pub(super) fn duplicate(&mut self, field: &Field<'_>, value: impl std::fmt::Display) {
        self.report(field, format!("Duplicate value: {value}"), None);
    }

    /// A word that is none of those that are known.
    pub(super) fn unsupported<'k>(
        &mut self,
        field: &Field<'_>,
        word: &str,
        known: impl Iterator<Item = &'k str> + Clone,
    ) {
        let words: Vec<_> = known.clone().map(|name| format!("{name:?}")).collect();
        let of_case = known.clone().find(|name| name.eq_ignore_ascii_case(word));
        let hint = of_case.or_else(|| nearest(word, known)).map(|name| format!("did you mean {}?", quote(name)));
        let supported = words.join(", ");
        self.report(field, format!("Unsupported value: {}: supported values: {supported}", go_string(word)), hint);
    }

    /// Something good that podhop cannot do.
    pub(super) fn not_simulated(&mut self, field: &Field<'_>, what: &str, hint: &str) {
        self.report(field, format!("{what} is not simulated"), Some(hint.to_owned()));
    }

    /// An error at a field: its path, and `body`.
    pub(super) fn report(&mut self, field: &Field<'_>, body: String, hint: Option<String>) {
        if self.broken.iter().any(|broken| is_within(&field.path, broken)) {
            return;
        }
        let message = if field.path.is_empty() { body } else { format!("{}: {body}", shown(&field.path)) };
        self.error(field.place(), message, hint);
    }

    /// An error at a place.
    pub(super) fn error(&mut self, place: Range<usize>, message: String, hint: Option<String>) {
        if !self.errors.is_full() {
            let error = Diagnostic::new(self.source, place, message);
            self.errors.push(match hint {
                Some(hint) => error.hint(hint),
                None => error,
            });
        }
    }

    /// An error stands for this path: what is wrong with it or below it besides is not reported.
    pub(super) fn is_broken(&mut self, path: String) {
        self.broken.insert(path);
    }

    /// The text of the file at a value.
    pub(super) fn written(&self, node: &Node) -> &'a str {
        self.source.text().get(node.span.clone()).unwrap_or_default()
    }

    /// The fields of the document that are there and were not read, each without what is below it.
    pub(super) fn without_effect(&self, root: &Field<'_>) -> Vec<String> {
        let mut paths = Vec::new();
        let mut left = vec![root.clone()];
        while let Some(field) = left.pop() {
            let empty = match field.node.map(|node| &node.kind) {
                None => true,
                Some(Kind::Map(entries)) => entries.is_empty(),
                Some(Kind::List(items)) => items.is_empty(),
                Some(_) => false,
            };
            if empty || self.read.contains(&field.path) {
                continue;
            }
            if self.reads_below(&field.path) {
                let before = left.len();
                left.extend(field.children().map(|(_, field)| field));
                left.extend(field.items());
                left[before..].reverse();
            } else {
                paths.push(field.path);
            }
        }
        paths
    }

    /// Something below this path was read.
    fn reads_below(&self, path: &str) -> bool {
        path.is_empty()
            || ['.', '['].into_iter().any(|separator| {
                let start = format!("{path}{separator}");
                self.read.range(start.clone()..).next().is_some_and(|first| first.starts_with(&start))
            })
    }

    fn no_address(&mut self, field: &Field<'_>, text: &str, detail: &str) {
        if names::is_ipv6(text) {
            self.not_simulated(field, &format!("{} is IPv6, which", quote(text)), "write an IPv4 address");
        } else {
            self.invalid(field, go_string(text), detail);
        }
    }
}

/// A path is another one, or lies below it.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// A path in a message: on one line, cut if a key in it is very long.
pub(super) fn shown(path: &str) -> String {
    let mut shown: String = path.chars().take(MAX_SHOWN_PATH).flat_map(char::escape_debug).collect();
    if path.chars().nth(MAX_SHOWN_PATH).is_some() {
        shown.push('…');
    }
    shown
}

fn with_detail(what: &str, detail: &str) -> String {
    if detail.is_empty() { what.to_owned() } else { format!("{what}: {detail}") }
}
