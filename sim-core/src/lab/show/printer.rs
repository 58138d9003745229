//! What the tools of iproute2 print: a text, or with `-j` the same fields as JSON, from the same calls
//! (lib/json_print.c, lib/json_writer.c).

use super::Format;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::ser::Formatter;
use serde_json::{Serializer as JsonSerializer, Value};
use std::fmt::{Arguments, Write as _};
use std::io;

/// Collects what a command prints.
pub(super) struct Printer {
    format: Format,
    text: String,
    /// What is open in the document, the innermost last; the array of records is the first.
    open: Vec<(&'static str, Node)>,
}

/// A part of a document. Objects keep their order.
enum Node {
    Value(Value),
    Array(Vec<Node>),
    Object(Vec<(&'static str, Node)>),
}

impl Printer {
    /// With a document that is an array of records.
    pub(super) fn new(format: Format) -> Self {
        Printer { format, text: String::new(), open: vec![("", Node::Array(vec![]))] }
    }

    /// A field: in the document by its key, in the text as it is written there.
    pub(super) fn field(&mut self, key: &'static str, value: impl Into<Value>, text: Arguments<'_>) {
        self.text(text);
        self.json(key, value);
    }

    /// A word of the text that is an item of an array in the document.
    pub(super) fn item(&mut self, value: impl Into<Value>, text: Arguments<'_>) {
        self.field("", value, text);
    }

    /// What the text alone has.
    pub(super) fn text(&mut self, text: Arguments<'_>) {
        if !self.format.json {
            // Writing to a string does not fail.
            let _ = self.text.write_fmt(text);
        }
    }

    /// The end of a line inside a record.
    pub(super) fn newline(&mut self) {
        let newline = self.format.newline();
        self.text(format_args!("{newline}"));
    }

    /// What the document alone has.
    pub(super) fn json(&mut self, key: &'static str, value: impl Into<Value>) {
        if self.format.json {
            self.put(key, Node::Value(value.into()));
        }
    }

    /// Opens an object; its key is empty inside an array.
    pub(super) fn object(&mut self, key: &'static str) {
        self.open.push((key, Node::Object(vec![])));
    }

    /// Opens an array.
    pub(super) fn array(&mut self, key: &'static str) {
        self.open.push((key, Node::Array(vec![])));
    }

    /// Closes what was opened last.
    pub(super) fn end(&mut self) {
        if let Some((key, node)) = self.open.pop() {
            self.put(key, node);
        }
    }

    fn put(&mut self, key: &'static str, node: Node) {
        match self.open.last_mut() {
            Some((_, Node::Object(fields))) => fields.push((key, node)),
            Some((_, Node::Array(items))) => items.push(node),
            Some((_, Node::Value(_))) | None => {}
        }
    }

    /// All of it.
    pub(super) fn finish(mut self) -> String {
        let Some((_, document)) = self.open.pop().filter(|_| self.format.json) else { return self.text };
        let mut out = vec![];
        let layout = Layout { pretty: self.format.pretty, depth: 0, filled: false };
        // Writing to memory does not fail.
        let _ = document.serialize(&mut JsonSerializer::with_formatter(&mut out, layout));
        out.push(b'\n');
        String::from_utf8_lossy(&out).into_owned()
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Node::Value(value) => value.serialize(serializer),
            Node::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items.iter().try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Node::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                fields.iter().try_for_each(|(key, node)| map.serialize_entry(key, node))?;
                map.end()
            }
        }
    }
}

/// json_writer.c: where blanks and lines go.
struct Layout {
    /// `-p`
    pretty: bool,
    /// Objects and arrays that are open.
    depth: usize,
    /// Something stands in the innermost.
    filled: bool,
}

impl Layout {
    fn begin<W: io::Write + ?Sized>(&mut self, w: &mut W, bracket: &str) -> io::Result<()> {
        (self.depth, self.filled) = (self.depth + 1, false);
        w.write_all(bracket.as_bytes())
    }

    fn end<W: io::Write + ?Sized>(&mut self, w: &mut W, bracket: &str) -> io::Result<()> {
        self.filled = true;
        w.write_all(bracket.as_bytes())
    }

    fn line<W: io::Write + ?Sized>(&self, w: &mut W) -> io::Result<()> {
        if self.pretty { write!(w, "\n{:1$}", "", self.depth * 4) } else { Ok(()) }
    }
}

impl Formatter for Layout {
    /// Seconds with hundredths.
    fn write_f64<W: io::Write + ?Sized>(&mut self, w: &mut W, value: f64) -> io::Result<()> {
        write!(w, "{value:.2}")
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        let bracket = if self.pretty { "[ " } else { "[" };
        self.begin(w, bracket)
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.depth -= 1;
        let bracket = if self.pretty && self.filled { " ]" } else { "]" };
        self.end(w, bracket)
    }

    fn end_array_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.begin(w, "{")
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        self.depth -= 1;
        if self.filled {
            self.line(w)?;
        }
        self.end(w, "}")
    }

    fn begin_object_key<W: io::Write + ?Sized>(&mut self, w: &mut W, first: bool) -> io::Result<()> {
        if !first {
            w.write_all(b",")?;
        }
        self.line(w)
    }

    fn begin_object_value<W: io::Write + ?Sized>(&mut self, w: &mut W) -> io::Result<()> {
        w.write_all(if self.pretty { b": " } else { b":" })
    }

    fn end_object_value<W: io::Write + ?Sized>(&mut self, _: &mut W) -> io::Result<()> {
        self.filled = true;
        Ok(())
    }
}
