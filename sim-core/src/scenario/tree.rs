//! YAML text to one tree of nodes that know their place in the file.
//!
//! The tree is built from the parser's events and not by way of serde, which would lose what errors need: the spans of
//! keys and of whole maps, keys that stand twice, and the text of a value that looks like a number.
//!
//! What a plain (unquoted) scalar means is decided here, by fewer rules than YAML's, so that no text is lost where a
//! string is wanted: `true` and `false` are booleans; decimal integers without a plus sign or leading zeros are
//! numbers; nothing, `~` and `null` are null. All else is a string: `yes`, `on`, `0777`, `0x1f`, `1_000`, `1.10`,
//! `12:30:45`.
//!
//! Anchors and aliases work, within limits. Merge keys (`<<`) and tags other than `!!str` are errors.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_yaml::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span, StructureStyle, Tag};

use super::diag::{Diagnostic, Diagnostics, SourceFile, quote};

/// The most scalars, lists and maps of a file, with those that aliases repeat.
pub(super) const MAX_NODES: usize = 2_000_000;
/// The most of them that anchors keep and aliases repeat: a few lines of aliases of aliases can stand for any number.
pub(super) const MAX_ALIAS_NODES: usize = 100_000;
/// The most documents of a file that may have several.
pub(super) const MAX_DOCUMENTS: usize = 10_000;
/// How deep lists and maps are nested.
pub(super) const MAX_DEPTH: usize = 64;

/// A value and its place.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Node {
    /// A block map's begins at its first key and ends with its last value. A value that an alias repeats has the place
    /// where it was defined.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
    /// A scalar that is written without quotes and without a tag: other readers of YAML see more than a string in some.
    pub(super) plain: bool,
}

/// A value.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Kind {
    Null,
    Bool(bool),
    Integer(u64),
    /// Below zero.
    Negative(i64),
    String(String),
    List(Vec<Node>),
    /// In the order of the file. No key occurs twice.
    Map(Vec<Entry>),
}

/// A key and its value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Entry {
    /// As written: `7` and `true` are the strings.
    pub(super) key: String,
    pub(super) key_span: Range<usize>,
    pub(super) value: Node,
}

impl Node {
    /// A map's entry; none if this is no map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        let Kind::Map(entries) = &self.kind else { return None };
        entries.iter().find(|entry| entry.key == key)
    }

    /// A list's item; none if this is no list.
    pub(super) fn item(&self, index: usize) -> Option<&Node> {
        let Kind::List(items) = &self.kind else { return None };
        items.get(index)
    }
}

/// The tree of a file that is one document. What is wrong with it is added to `errors`; none if that leaves no tree.
pub(super) fn read(source: &SourceFile, errors: &mut Diagnostics) -> Option<Node> {
    let mut builder = Builder::new(source, errors, 1);
    match builder.run() {
        Ok(()) => Some(builder.roots.pop().unwrap_or(Node { span: 0..0, kind: Kind::Null, plain: false })),
        Err(error) => {
            errors.push(error);
            None
        }
    }
}

/// The trees of a file's documents. What is wrong with it is added to `errors`: nothing is read behind a place where
/// the text is no YAML.
pub(super) fn read_documents(source: &SourceFile, errors: &mut Diagnostics) -> Vec<Node> {
    let mut builder = Builder::new(source, errors, MAX_DOCUMENTS);
    if let Err(error) = builder.run() {
        builder.error(error);
    }
    builder.roots
}

struct Builder<'a> {
    source: &'a SourceFile,
    errors: &'a mut Diagnostics,
    /// The lists and maps around the next node.
    open: Vec<Open>,
    /// One for each document.
    roots: Vec<Node>,
    /// More documents than this are an error.
    max_documents: usize,
    /// The nodes that aliases can repeat, once they are complete.
    anchors: BTreeMap<usize, Done>,
    /// See [`MAX_NODES`].
    nodes: usize,
    /// See [`MAX_ALIAS_NODES`].
    kept: usize,
}

/// A complete node.
#[derive(Clone)]
struct Done {
    node: Node,
    /// The nodes in it, with itself.
    size: usize,
    /// The lists and maps in each other, with itself.
    height: usize,
}

/// A list or map that is not complete.
struct Open {
    start: usize,
    flow: bool,
    anchor: usize,
    /// [`Builder::nodes`] before it.
    nodes_before: usize,
    /// The height of its highest child.
    height: usize,
    children: Children,
}

enum Children {
    List(Vec<Node>),
    Map(Vec<Entry>, Key),
}

/// The key of the next entry.
enum Key {
    Awaited,
    Read(String, Range<usize>),
    /// It was an error: its value is dropped.
    Bad,
}

impl<'a> Builder<'a> {
    fn new(source: &'a SourceFile, errors: &'a mut Diagnostics, max_documents: usize) -> Self {
        let (open, roots, anchors) = (Vec::new(), Vec::new(), BTreeMap::new());
        Builder { source, errors, open, roots, max_documents, anchors, nodes: 0, kept: 0 }
    }

    fn run(&mut self) -> Result<(), Diagnostic> {
        let source = self.source;
        let mut options = Options::default();
        options.set_emit_comments(false);
        (options.flow_nesting_limit, options.block_nesting_limit) = (MAX_DEPTH, MAX_DEPTH);
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(source.text(), options) {
            let (event, span) = event.map_err(|error| syntax_error(source, &error))?;
            if let Event::DocumentStart(..) = event {
                documents += 1;
                if documents > self.max_documents {
                    return Err(too_many_documents(source, &span, self.max_documents));
                }
                // Anchors are a document's own (YAML 1.2.2 section 3.2.2.2).
                self.anchors.clear();
            }
            self.event(event, &span)?;
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_string = self.tag(tag.as_deref(), span) || style != ScalarStyle::Plain;
                let kind = if is_string { Kind::String(text.into_owned()) } else { resolve(&text) };
                self.count(1, span)?;
                self.complete(
                    Done { node: Node { span: bytes(span), kind, plain: !is_string }, size: 1, height: 0 },
                    anchor,
                )
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(style, anchor, Children::List(Vec::new()), span)
            }
            Event::MappingStart(style, anchor, tag) => {
                self.tag(tag.as_deref(), span);
                self.open(style, anchor, Children::Map(Vec::new(), Key::Awaited), span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Alias(id) => {
                let Some(done) = self.anchors.get(&id).cloned() else {
                    let message = "this alias stands inside the value that it repeats";
                    return Err(Diagnostic::new(self.source, bytes(span), message));
                };
                self.keep(done.size, &bytes(span))?;
                self.count(done.size, span)?;
                self.check_depth(done.height, span)?;
                self.complete(done, 0)
            }
            _ => Ok(()),
        }
    }

    /// Whether the tag makes a scalar a string.
    fn tag(&mut self, tag: Option<&Tag>, span: &Span) -> bool {
        let Some(tag) = tag else { return false };
        let is_string = tag.is_yaml_core_schema_tag("str");
        if !is_string {
            let at = span.tag_span().map_or(bytes(span), |tag| bytes(&tag));
            let message = format!("the tag {} has no meaning here", quote(&tag.to_string()));
            self.error(Diagnostic::new(self.source, at, message).hint("write the value without it"));
        }
        is_string
    }

    fn open(
        &mut self,
        style: StructureStyle,
        anchor: usize,
        children: Children,
        span: &Span,
    ) -> Result<(), Diagnostic> {
        self.check_depth(1, span)?;
        let nodes_before = self.nodes;
        self.count(1, span)?;
        let flow = style == StructureStyle::Flow;
        self.open.push(Open { start: bytes(span).start, flow, anchor, nodes_before, height: 0, children });
        Ok(())
    }

    fn close(&mut self, span: &Span) -> Result<(), Diagnostic> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let (start, end) = (open.start, bytes(span).end);
        let block = |first: Option<usize>, last: Option<usize>| {
            if open.flow { start..end.max(start) } else { first.unwrap_or(start)..last.unwrap_or(start) }
        };
        let node = match open.children {
            Children::List(items) => {
                let span = block(Some(start), items.last().map(|item| item.span.end.max(start)));
                Node { span, kind: Kind::List(items), plain: false }
            }
            Children::Map(mut entries, _) => {
                let first = entries.first().map(|entry| entry.key_span.start);
                let span = block(first, entries.iter().map(|entry| entry.value.span.end.max(entry.key_span.end)).max());
                self.drop_duplicates(&mut entries);
                Node { span, kind: Kind::Map(entries), plain: false }
            }
        };
        let done = Done { node, size: self.nodes - open.nodes_before, height: open.height + 1 };
        self.complete(done, open.anchor)
    }

    /// Keys must not occur twice. The first stays.
    fn drop_duplicates(&mut self, entries: &mut Vec<Entry>) {
        let mut seen: BTreeMap<&str, &Range<usize>> = BTreeMap::new();
        let mut is_first = Vec::with_capacity(entries.len());
        for entry in entries.iter() {
            let first = seen.get(entry.key.as_str()).copied();
            is_first.push(first.is_none());
            if let Some(first) = first {
                let message = format!("the key {} stands twice in this map", quote(&entry.key));
                let error = Diagnostic::new(self.source, entry.key_span.clone(), message);
                self.error(error.note(first.clone(), "it stands here first"));
            } else {
                seen.insert(&entry.key, &entry.key_span);
            }
        }
        let mut is_first = is_first.into_iter();
        entries.retain(|_| is_first.next().unwrap_or(true));
    }

    /// Puts a node where it belongs.
    fn complete(&mut self, done: Done, anchor: usize) -> Result<(), Diagnostic> {
        if anchor != 0 {
            self.keep(done.size, &done.node.span)?;
            self.anchors.insert(anchor, done.clone());
        }
        let Done { mut node, height, .. } = done;
        self.check_tabs(&node);
        let Some(open) = self.open.last_mut() else {
            self.roots.push(node);
            return Ok(());
        };
        open.height = open.height.max(height);
        match &mut open.children {
            Children::List(items) => items.push(node),
            Children::Map(_, key @ Key::Awaited) => match key_text(self.source, &node) {
                Ok(text) => *key = Key::Read(text, node.span),
                Err(error) => {
                    *key = Key::Bad;
                    self.error(error);
                }
            },
            Children::Map(entries, key) => {
                if let Key::Read(key, key_span) = std::mem::replace(key, Key::Awaited) {
                    if node.kind == Kind::Null && node.span.is_empty() {
                        // The place of a value that is not there says nothing; its key's does.
                        node.span = key_span.clone();
                    }
                    entries.push(Entry { key, key_span, value: node });
                }
            }
        }
        Ok(())
    }

    /// The parser lets tabs pass behind spaces. They are errors too: no two editors agree on their width.
    fn check_tabs(&mut self, node: &Node) {
        if self.open.last().is_some_and(|open| !open.flow)
            && let Some(tab) = tab_in_indentation(self.source.text(), node.span.start)
            // Text in a block scalar may begin with one.
            && tab < node.span.start
        {
            self.error(tab_error(self.source, tab));
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Diagnostic> {
        self.nodes += nodes;
        if self.nodes <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the file has more than {MAX_NODES} values (MAX_NODES)");
        Err(Diagnostic::new(self.source, first_char(self.source, bytes(span).start), message))
    }

    fn keep(&mut self, nodes: usize, span: &Range<usize>) -> Result<(), Diagnostic> {
        self.kept += nodes;
        if self.kept <= MAX_ALIAS_NODES {
            return Ok(());
        }
        let message = format!("anchors and aliases repeat more than {MAX_ALIAS_NODES} values (MAX_ALIAS_NODES)");
        let hint = "every alias `*x` repeats the whole value that is marked `&x`: write the values out";
        Err(Diagnostic::new(self.source, span.clone(), message).hint(hint))
    }

    fn check_depth(&self, more: usize, span: &Span) -> Result<(), Diagnostic> {
        if self.open.len() + more <= MAX_DEPTH {
            return Ok(());
        }
        Err(too_deep(self.source, bytes(span).start))
    }

    fn error(&mut self, error: Diagnostic) {
        if !self.errors.is_full() {
            self.errors.push(error);
        }
    }
}

/// What a plain scalar means: see the head of this file.
fn resolve(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Kind::Null,
        "true" => return Kind::Bool(true),
        "false" => return Kind::Bool(false),
        "0" => return Kind::Integer(0),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()) {
        if let Ok(number) = text.parse() {
            return Kind::Integer(number);
        }
        if let Ok(number) = text.parse() {
            return Kind::Negative(number);
        }
    }
    Kind::String(text.to_owned())
}

fn key_text(source: &SourceFile, node: &Node) -> Result<String, Diagnostic> {
    let written = source.text().get(node.span.clone()).unwrap_or_default();
    let bad = |message: &str, hint: &str| Err(Diagnostic::new(source, node.span.clone(), message).hint(hint));
    match &node.kind {
        Kind::String(text) if text == "<<" && written == "<<" => {
            bad("merge keys (`<<`) are not read", "write the fields out")
        }
        Kind::String(text) => Ok(text.clone()),
        Kind::Bool(value) => Ok(value.to_string()),
        Kind::Integer(number) => Ok(number.to_string()),
        Kind::Negative(number) => Ok(number.to_string()),
        Kind::Null if node.span.is_empty() => {
            bad("there is no key before the `:`", "put text that begins with `:` in quotes")
        }
        Kind::Null => Ok(written.to_owned()),
        Kind::List(_) => bad("a list cannot be a key", "put text that begins with `[` in quotes"),
        Kind::Map(_) => bad("a map cannot be a key", "put text that begins with `{` in quotes"),
    }
}

/// What the parser does not understand, in words for people who do not know YAML's grammar.
fn syntax_error(source: &SourceFile, error: &ScanError) -> Diagnostic {
    let at = error.marker().byte_offset().unwrap_or_default();
    if let Some(tab) = tab_in_indentation(source.text(), at) {
        return tab_error(source, tab);
    }
    let (message, hint) = match error.kind() {
        ErrorKind::RecursionLimitExceeded => return too_deep(source, at),
        ErrorKind::MappingValueNotAllowed => {
            ("a `:` cannot stand here", "put text that has a `: ` in it in quotes; or is the line indented too far?")
        }
        ErrorKind::UnclosedFlowCollection { open: '[' } => ("this `[` is not closed", "add the `]`"),
        ErrorKind::UnclosedFlowCollection { .. } => ("this `{` is not closed", "add the `}`"),
        ErrorKind::MismatchedFlowCollectionEnd { open: '[', .. } => ("this `[` is closed by `}`", "close it with `]`"),
        ErrorKind::MismatchedFlowCollectionEnd { .. } => ("this `{` is closed by `]`", "close it with `}`"),
        ErrorKind::MisplacedFlowCollectionEnd => ("this bracket closes nothing", "remove it, or add the opening one"),
        ErrorKind::ExpectedFlowSequenceSeparator => {
            ("a `,` or `]` is missing here", "text with `,`, `[` or `{` in it needs quotes in a list like this")
        }
        ErrorKind::ExpectedFlowMappingSeparator => {
            ("a `,` or `}` is missing here", "text with `,`, `[` or `{` in it needs quotes in a map like this")
        }
        ErrorKind::UnclosedQuotedScalar | ErrorKind::InvalidQuotedScalarIndent => (
            "a quote that was opened before is not closed here",
            "close it; lines of quoted text after the first are indented",
        ),
        ErrorKind::InvalidTrailingSingleQuotedScalar => {
            ("something follows the closing quote", "quote all of the value; a quote inside '...' is written ''")
        }
        ErrorKind::InvalidTrailingDoubleQuotedScalar => {
            ("something follows the closing quote", "quote all of the value; a quote inside \"...\" is written \\\"")
        }
        ErrorKind::UnknownQuotedScalarEscape => {
            ("this string has an unknown `\\` escape", "write `\\\\` for a backslash, or use single quotes")
        }
        ErrorKind::UnexpectedCharacter { .. } => {
            ("a value cannot begin with this character", "put the value in quotes")
        }
        ErrorKind::UnknownAnchor => (
            "this alias repeats nothing",
            "`*x` repeats a value that is marked `&x` above; quote text that begins with `*`",
        ),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::ExpectedDocumentStart
        | ErrorKind::InvalidIndentation => {
            ("this line does not fit the lines above", "the entries of a map or list begin in the same column")
        }
        ErrorKind::BlockSequenceEntryNotAllowed => ("a list cannot begin here", "begin it on a line of its own"),
        ErrorKind::SimpleKeyExpected => ("a `:` is missing after this key", "write `key: value`"),
        other => return Diagnostic::new(source, first_char(source, at), format!("this is no YAML: {other}")),
    };
    Diagnostic::new(source, first_char(source, at), message).hint(hint)
}

fn tab_error(source: &SourceFile, tab: usize) -> Diagnostic {
    let error = Diagnostic::new(source, tab..tab + 1, "a tab cannot indent a line");
    error.hint("YAML indents with spaces only: replace the tab")
}

/// The first tab of the blanks that the line of `at` begins with.
fn tab_in_indentation(text: &str, at: usize) -> Option<usize> {
    let at = text.floor_char_boundary(at);
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let line = &text[start..];
    let blanks = line.len() - line.trim_start_matches([' ', '\t']).len();
    line[..blanks].find('\t').map(|tab| start + tab)
}

fn too_deep(source: &SourceFile, at: usize) -> Diagnostic {
    let message = format!("lists and maps are nested more than {MAX_DEPTH} deep here (MAX_DEPTH)");
    Diagnostic::new(source, first_char(source, at), message)
}

fn too_many_documents(source: &SourceFile, span: &Span, max: usize) -> Diagnostic {
    if max == 1 {
        let error = Diagnostic::new(source, bytes(span), "a second document begins here");
        return error.hint("a scenario is one document: remove the `---` and what follows");
    }
    Diagnostic::new(source, bytes(span), format!("the file has more than {max} documents (MAX_DOCUMENTS)"))
}

fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or(0..0)
}

fn first_char(source: &SourceFile, at: usize) -> Range<usize> {
    let at = source.text().floor_char_boundary(at);
    at..at + source.text()[at..].chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests;
