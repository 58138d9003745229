//! Reading the tree with deserr: the tree as deserr sees it, and its complaints as sentences.
//!
//! deserr knows where it is by keys and indices from the root. The tree knows which text that is.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};

use deserr::{DeserializeError, ErrorKind, IntoValue, Map, MergeWithError, Value, ValueKind, ValuePointerRef};

use crate::scenario::diag::{Diagnostic, Diagnostics, MAX_DIAGNOSTICS, SourceFile, nearest, quote};
use crate::scenario::tree::{Entry, Kind, Node};

/// What deserr found wrong.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

#[derive(Debug)]
struct Problem {
    path: Vec<Segment>,
    what: What,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Segment {
    Key(String),
    Index(usize),
}

#[derive(Debug)]
enum What {
    /// The value at the path is of the wrong kind.
    WrongKind { expected: String, found: &'static str, hint: Option<String> },
    /// The value at the path is of the right kind, but not good.
    Bad { message: String, hint: Option<String> },
    /// The map at the path has a field that it must not have.
    Unknown { field: String, known: Vec<String> },
    /// The key that the path ends with is not good.
    BadKey { message: String, hint: String },
    /// The map at the path lacks these fields, of which it needs one.
    Missing { fields: String, hint: Option<String> },
    /// The map at the path must have exactly one of these fields.
    NotOne { fields: &'static [&'static str] },
}

impl Problems {
    /// A value of the right kind that is not good.
    pub(super) fn bad(location: ValuePointerRef<'_>, message: String, hint: Option<String>) -> Self {
        Problems::one(location, What::Bad { message, hint })
    }

    /// A value of the wrong kind; `expected` as in "a string".
    pub(super) fn wrong_kind<V: IntoValue>(location: ValuePointerRef<'_>, value: &Value<V>, expected: &str) -> Self {
        let hint = kind_hint(value, expected);
        Problems::one(location, What::WrongKind { expected: expected.to_owned(), found: found(value.kind()), hint })
    }

    /// A key that is not good: the last of the location.
    pub(super) fn bad_key(location: ValuePointerRef<'_>, message: String, hint: String) -> Self {
        Problems::one(location, What::BadKey { message, hint })
    }

    /// A map that lacks all of these fields, of which it needs one.
    pub(super) fn missing(location: ValuePointerRef<'_>, fields: &[&str], hint: Option<String>) -> Self {
        Problems::one(location, What::Missing { fields: fields.join("` or `"), hint })
    }

    /// A map that does not have exactly one of these fields.
    pub(super) fn not_one(location: ValuePointerRef<'_>, fields: &'static [&'static str]) -> Self {
        Problems::one(location, What::NotOne { fields })
    }

    /// Adds more of them; false if there are enough.
    pub(super) fn add(&mut self, more: Problems) -> bool {
        self.0.extend(more.0);
        self.0.len() < MAX_DIAGNOSTICS
    }

    /// There are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds them to the errors of the file. A field that is missing because its name is mistyped is one error.
    pub(super) fn report(self, source: &SourceFile, root: &Node, errors: &mut Diagnostics) {
        let mistyped: BTreeSet<_> = self.0.iter().filter_map(Problem::mistyped).collect();
        let follows = |problem: &Problem| match &problem.what {
            What::Missing { fields, .. } => mistyped.contains(&(problem.path.as_slice(), fields.as_str())),
            _ => false,
        };
        for problem in self.0.iter().filter(|problem| !follows(problem)) {
            if errors.is_full() {
                return;
            }
            errors.push(problem.diagnostic(source, root));
        }
    }

    fn one(location: ValuePointerRef<'_>, what: What) -> Self {
        Problems(vec![Problem { path: path(location), what }])
    }
}

impl DeserializeError for Problems {
    fn error<V: IntoValue>(
        this: Option<Self>,
        error: ErrorKind<V>,
        at: ValuePointerRef<'_>,
    ) -> ControlFlow<Self, Self> {
        let new = match error {
            ErrorKind::IncorrectValueKind { actual, accepted } => {
                Problems::wrong_kind(at, &actual, &expected(accepted))
            }
            ErrorKind::MissingField { field } => Problems::missing(at, &[field], None),
            ErrorKind::UnknownKey { key, accepted } => {
                let known = accepted.iter().map(|name| (*name).to_owned()).collect();
                Problems::one(at, What::Unknown { field: key.to_owned(), known })
            }
            ErrorKind::UnknownValue { value, accepted } => {
                let message = format!("{} is not one of {}", quote(value), list(accepted));
                let hint = nearest(value, accepted.iter().copied()).map(did_you_mean);
                Problems::bad(at, message, hint)
            }
            ErrorKind::BadSequenceLen { expected, .. } => {
                Problems::bad(at, format!("this list must have {expected} items"), None)
            }
            ErrorKind::Unexpected { msg } => Problems::bad(at, msg, None),
        };
        Self::merge(this, new, at)
    }
}

impl MergeWithError<Problems> for Problems {
    fn merge(this: Option<Self>, other: Problems, _: ValuePointerRef<'_>) -> ControlFlow<Self, Self> {
        let mut all = this.unwrap_or_default();
        if all.add(other) { ControlFlow::Continue(all) } else { ControlFlow::Break(all) }
    }
}

impl Problem {
    /// The map and the field of it that an unknown one was probably meant to be.
    fn mistyped(&self) -> Option<(&[Segment], &str)> {
        let What::Unknown { field, known } = &self.what else { return None };
        nearest(field, known.iter().map(String::as_str)).map(|near| (self.path.as_slice(), near))
    }

    fn diagnostic(&self, source: &SourceFile, root: &Node) -> Diagnostic {
        let name = name(&self.path);
        let Place { node, key } = find(root, &self.path);
        let at = |span: &Range<usize>, message: String| Diagnostic::new(source, span.clone(), message);
        match &self.what {
            What::WrongKind { expected, found, hint } => {
                with_hint(at(&node.span, format!("{name} must be {expected}, found {found}")), hint.clone())
            }
            What::Bad { message, hint } => with_hint(at(&node.span, message.clone()), hint.clone()),
            What::Unknown { field, known } => {
                let span = node.entry(field).map_or(&node.span, |entry| &entry.key_span);
                let fields = list(known);
                let hint = match nearest(field, known.iter().map(String::as_str)) {
                    Some(near) => format!("{} The fields here are {fields}", did_you_mean(near)),
                    None => format!("the fields here are {fields}"),
                };
                at(span, format!("unknown field {}{}", quote(field), within(&self.path, &name))).hint(hint)
            }
            What::BadKey { message, hint } => at(key.unwrap_or(&node.span), message.clone()).hint(hint),
            What::Missing { fields, hint } => {
                let message = format!("missing field `{fields}`{}", within(&self.path, &name));
                with_hint(at(key.unwrap_or(&node.span), message), hint.clone())
            }
            What::NotOne { fields } => not_one(source, node, &name, fields),
        }
    }
}

fn not_one(source: &SourceFile, node: &Node, name: &str, fields: &[&str]) -> Diagnostic {
    let entries: &[Entry] = if let Kind::Map(entries) = &node.kind { entries } else { &[] };
    let mut present = entries.iter().filter(|entry| fields.contains(&entry.key.as_str()));
    if let (Some(first), Some(second)) = (present.next(), present.next()) {
        let message = format!("{name} has both {} and {}", quote(&first.key), quote(&second.key));
        return Diagnostic::new(source, second.key_span.clone(), message)
            .note(first.key_span.clone(), "it is this already")
            .hint(format!("make it two items: each has exactly one of {}", list(fields)));
    }
    let error = Diagnostic::new(source, node.span.clone(), format!("{name} has none of {}", list(fields)));
    let near = entries.iter().find_map(|entry| nearest(&entry.key, fields.iter().copied()));
    with_hint(error, near.map(did_you_mean))
}

/// A value and the key before it.
struct Place<'a> {
    node: &'a Node,
    key: Option<&'a Range<usize>>,
}

/// What stands at the path; the last that is there, if it leads nowhere.
fn find<'a>(root: &'a Node, path: &[Segment]) -> Place<'a> {
    let mut place = Place { node: root, key: None };
    for segment in path {
        let next = match segment {
            Segment::Key(key) => {
                place.node.entry(key).map(|entry| Place { node: &entry.value, key: Some(&entry.key_span) })
            }
            Segment::Index(index) => place.node.item(*index).map(|node| Place { node, key: None }),
        };
        match next {
            Some(next) => place = next,
            None => break,
        }
    }
    place
}

fn path(mut location: ValuePointerRef<'_>) -> Vec<Segment> {
    let mut path = Vec::new();
    loop {
        match location {
            ValuePointerRef::Origin => break,
            ValuePointerRef::Key { key, prev } => {
                path.push(Segment::Key(key.to_owned()));
                location = *prev;
            }
            ValuePointerRef::Index { index, prev } => {
                path.push(Segment::Index(index));
                location = *prev;
            }
        }
    }
    path.reverse();
    path
}

/// What a person would call the value at the path.
fn name(path: &[Segment]) -> String {
    match path {
        [] => "a scenario".to_owned(),
        [.., Segment::Key(key)] => quote(key),
        [before @ .., Segment::Index(index)] => format!("item {} of {}", index + 1, name(before)),
    }
}

fn within(path: &[Segment], name: &str) -> String {
    if path.is_empty() { String::new() } else { format!(" in {name}") }
}

fn with_hint(error: Diagnostic, hint: Option<String>) -> Diagnostic {
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn did_you_mean(name: &str) -> String {
    format!("did you mean {}?", quote(name))
}

fn list<S: AsRef<str>>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(|name| quote(name.as_ref())).collect();
    names.join(", ")
}

fn expected(accepted: &[ValueKind]) -> String {
    // A whole number may be two kinds for deserr: at least zero, and below.
    let first = accepted.first().map_or("something else", |kind| match kind {
        ValueKind::Null => "empty",
        ValueKind::Boolean => "true or false",
        ValueKind::Integer | ValueKind::NegativeInteger => "a whole number",
        ValueKind::Float => "a number",
        ValueKind::String => "a string",
        ValueKind::Sequence => "a list",
        ValueKind::Map => "a map",
    });
    first.to_owned()
}

fn found(kind: ValueKind) -> &'static str {
    match kind {
        ValueKind::Null => "nothing",
        ValueKind::Boolean => "true or false",
        ValueKind::Integer => "a number",
        ValueKind::NegativeInteger => "a number below zero",
        ValueKind::Float => "a fraction",
        ValueKind::String => "a string",
        ValueKind::Sequence => "a list",
        ValueKind::Map => "a map",
    }
}

/// What to write where a string stands instead of something else.
fn kind_hint<V: IntoValue>(value: &Value<V>, expected: &str) -> Option<String> {
    let Value::String(text) = value else { return None };
    let hint = match expected {
        "a list" => "write `[a, b]`, or each item on a line of its own after `- `",
        "true or false" => "write true or false, without quotes",
        "a whole number" => {
            let digits = text.replace(['_', '+'], "");
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            if digits.parse::<u64>().is_err() {
                return Some(format!("the largest number is {}", u64::MAX));
            }
            "write decimal digits only: no quotes, no `_`, no zeros in front"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The tree as deserr reads it.
#[derive(Clone, Copy)]
pub(super) struct Tree<'a>(pub(super) &'a Node);

/// A map's entries as deserr reads them.
pub(super) struct Fields<'a>(&'a [Entry]);

impl<'a> IntoValue for Tree<'a> {
    type Sequence = Vec<Tree<'a>>;
    type Map = Fields<'a>;

    fn kind(&self) -> ValueKind {
        self.into_value().kind()
    }

    fn into_value(self) -> Value<Self> {
        match &self.0.kind {
            Kind::Null => Value::Null,
            Kind::Bool(value) => Value::Boolean(*value),
            Kind::Integer(number) => Value::Integer(*number),
            Kind::Negative(number) => Value::NegativeInteger(*number),
            Kind::String(text) => Value::String(text.clone()),
            Kind::List(items) => Value::Sequence(items.iter().map(Tree).collect()),
            Kind::Map(entries) => Value::Map(Fields(entries)),
        }
    }
}

impl<'a> Map for Fields<'a> {
    type Value = Tree<'a>;
    type Iter = std::iter::Map<std::slice::Iter<'a, Entry>, fn(&'a Entry) -> (String, Tree<'a>)>;

    fn len(&self) -> usize {
        self.0.len()
    }

    /// deserr offers no way to look into a map and go on with it, which a choice by field needs. Nothing that is
    /// derived here removes fields, so this one does not either.
    fn remove(&mut self, key: &str) -> Option<Tree<'a>> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| Tree(&entry.value))
    }

    fn into_iter(self) -> Self::Iter {
        self.0.iter().map(|entry| (entry.key.clone(), Tree(&entry.value)))
    }
}
