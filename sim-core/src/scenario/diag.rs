//! Errors in a scenario file: where, what, and what to write instead; as text with a snippet of the file and as JSON.
//!
//! The text depends on nothing but the file and its errors: not on the terminal, its width or the locale.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet, normalize_untrusted_str};
use serde::ser::{Serialize, SerializeStruct, Serializer};

pub use crate::base::words::nearest;

/// The largest scenario file, in bytes (16 MiB).
pub const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// So many errors of a file are reported; what follows is not looked at.
pub const MAX_DIAGNOSTICS: usize = 100;

/// Text of the file that is quoted in a message is cut after so many characters.
const MAX_QUOTED_CHARS: usize = 60;

/// Lines longer than this, in bytes, are not shown.
const MAX_SHOWN_LINE: usize = 4096;

/// A note is shown in one snippet with its error if no more lines than this lie between the first and the last.
const MAX_SNIPPET_LINES: usize = 200;

/// Snippets are cut to so many columns, whatever the terminal.
const RENDER_WIDTH: usize = 120;

/// A file's path, as the user gave it, and its text. Cheap to clone.
#[derive(Clone)]
pub struct SourceFile(Arc<Source>);

struct Source {
    path: String,
    text: String,
    /// The byte that each line starts at.
    line_starts: Vec<usize>,
}

/// A place in a file as people count.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Position {
    /// From 1; lines end with a line feed.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// The file.
    pub file: SourceFile,
    /// The text to blame, in bytes.
    pub span: Range<usize>,
    /// What is wrong: one sentence, without a full stop.
    pub message: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// Other places that matter, and why.
    pub notes: Vec<(Range<usize>, String)>,
    /// It is allowed all the same.
    pub warning: bool,
}

/// Errors in the order of the file, without repetitions.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
}

impl SourceFile {
    /// A text that was read already. A byte order mark at its start is dropped.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        let ends = text.bytes().enumerate().filter(|&(_, b)| b == b'\n').map(|(at, _)| at + 1);
        let line_starts = std::iter::once(0).chain(ends).collect();
        SourceFile(Arc::new(Source { path: path.into(), text, line_starts }))
    }

    /// The path, as the user gave it.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The place of a byte; the end of the text if it lies behind it.
    pub fn position(&self, at: usize) -> Position {
        let at = self.0.text.floor_char_boundary(at);
        let line = self.line_of(at);
        Position { line, column: self.0.text[self.0.line_starts[line - 1]..at].chars().count() + 1 }
    }

    /// Refuses a text that is larger than a file may be.
    pub(super) fn check_size(&self) -> Result<(), Diagnostic> {
        let size = self.0.text.len() as u64;
        if size <= MAX_FILE_BYTES {
            return Ok(());
        }
        Err(Diagnostic::new(&SourceFile::new(self.path(), ""), 0..0, too_large(size)).hint(TOO_LARGE_HINT))
    }

    /// The line, from 1, that a byte is in.
    fn line_of(&self, at: usize) -> usize {
        self.0.line_starts.partition_point(|&start| start <= at)
    }

    /// The bytes of a line, from 1, without its end.
    fn line_range(&self, line: usize) -> Range<usize> {
        let start = self.0.line_starts[line - 1];
        let end = self.0.line_starts.get(line).copied().unwrap_or(self.0.text.len());
        start..start + self.0.text[start..end].trim_end_matches(['\r', '\n']).len()
    }

    /// The part of a span that is in its first line: what a snippet underlines. A span in a line's end is at its end.
    fn first_line(&self, span: &Range<usize>) -> Range<usize> {
        let start = self.0.text.floor_char_boundary(span.start);
        let line_end = self.line_range(self.line_of(start)).end;
        let (start, end) = (start.min(line_end), span.end.min(line_end));
        start..self.0.text.floor_char_boundary(end.max(start))
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceFile").field(&self.0.path).finish()
    }
}

impl Diagnostic {
    /// An error at `span`, which is cut to the text.
    pub fn new(file: &SourceFile, span: Range<usize>, message: impl Into<String>) -> Self {
        let end = file.text().floor_char_boundary(span.end);
        let span = file.text().floor_char_boundary(span.start).min(end)..end;
        Diagnostic { file: file.clone(), span, message: message.into(), hint: None, notes: Vec::new(), warning: false }
    }

    /// The same as a warning: what is said is allowed.
    #[must_use]
    pub fn warning(mut self) -> Self {
        self.warning = true;
        self
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error with a note at another place.
    #[must_use]
    pub fn note(mut self, span: Range<usize>, note: impl Into<String>) -> Self {
        self.notes.push((span, note.into()));
        self
    }

    /// The error as text: what, where, the line and the hint.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
        let level = if self.warning { Level::WARNING } else { Level::ERROR };
        let mut group = Group::with_title(level.primary_title(self.message.as_str()));
        let near = self.notes.iter().all(|(span, _)| self.lines(span).len() <= MAX_SNIPPET_LINES);
        let notes = || self.notes.iter().map(|(span, note)| (span, normalize_untrusted_str(note)));
        if near {
            group = self.snippet(group, &self.span, &notes().collect::<Vec<_>>());
        } else {
            group = self.snippet(group, &self.span, &[]);
            for (span, note) in notes() {
                group = self.snippet(group, span, &[(span, note)]);
            }
        }
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(normalize_untrusted_str(hint)));
        }
        renderer.term_width(RENDER_WIDTH).render(&[group])
    }

    /// Adds a snippet of the lines of the error or of a far note.
    fn snippet<'a>(&'a self, group: Group<'a>, main: &Range<usize>, notes: &[(&Range<usize>, String)]) -> Group<'a> {
        if self.file.text().is_empty() {
            return group.element(Origin::path(self.file.path()));
        }
        let spans =
            || notes.iter().map(|(span, _)| self.file.line_of(span.start)).chain([self.file.line_of(main.start)]);
        let (first, last) = (spans().min().unwrap_or(1), spans().max().unwrap_or(1));
        if (first..=last).any(|line| self.file.line_range(line).len() > MAX_SHOWN_LINE) {
            let Position { line, column } = self.file.position(main.start);
            return group.element(Origin::path(self.file.path()).line(line).char_column(column));
        }
        let shown = self.file.line_range(first).start..self.file.line_range(last).end;
        let within = |span: &Range<usize>| {
            let Range { start, end } = self.file.first_line(span);
            start - shown.start..end - shown.start
        };
        // A far note is a snippet of its own: it has no error in it.
        let error = (*main == self.span).then(|| AnnotationKind::Primary.span(within(main)));
        let notes: Vec<Annotation<'_>> =
            notes.iter().map(|(span, note)| AnnotationKind::Context.span(within(span)).label(note.clone())).collect();
        group.element(
            Snippet::source(&self.file.text()[shown.clone()])
                .line_start(first)
                .path(self.file.path())
                .annotations(error.into_iter().chain(notes)),
        )
    }

    /// The lines from the error to `span`, or the other way round.
    fn lines(&self, span: &Range<usize>) -> Range<usize> {
        let (a, b) = (self.file.line_of(self.span.start), self.file.line_of(span.start));
        a.min(b)..a.max(b) + 1
    }

    fn sort_key(&self) -> (&str, usize, usize, &str) {
        (self.file.path(), self.span.start, self.span.end, &self.message)
    }
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (start, end) = (self.file.position(self.span.start), self.file.position(self.span.end));
        let mut out = serializer.serialize_struct("Diagnostic", 9)?;
        out.serialize_field("severity", if self.warning { "warning" } else { "error" })?;
        out.serialize_field("file", self.file.path())?;
        out.serialize_field("line", &start.line)?;
        out.serialize_field("column", &start.column)?;
        out.serialize_field("endLine", &end.line)?;
        out.serialize_field("endColumn", &end.column)?;
        out.serialize_field("message", &self.message)?;
        out.serialize_field("hint", &self.hint)?;
        let notes: Vec<Note<'_>> = self.notes.iter().map(|(span, text)| Note::new(&self.file, span, text)).collect();
        out.serialize_field("notes", &notes)?;
        out.end()
    }
}

#[derive(serde::Serialize)]
struct Note<'a> {
    line: usize,
    column: usize,
    message: &'a str,
}

impl<'a> Note<'a> {
    fn new(file: &SourceFile, span: &Range<usize>, message: &'a str) -> Self {
        let Position { line, column } = file.position(span.start);
        Note { line, column, message }
    }
}

impl Diagnostics {
    /// Adds an error at its place; one that is there already is not added again.
    pub fn push(&mut self, new: Diagnostic) {
        let at = self.list.partition_point(|old| old.sort_key() < new.sort_key());
        if self.list.get(at).is_none_or(|old| old.sort_key() != new.sort_key()) {
            self.list.insert(at, new);
        }
    }

    /// There are as many as are reported.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_DIAGNOSTICS
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// In the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// All of them as text, with an empty line between two.
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for (i, diagnostic) in self.list.iter().take(MAX_DIAGNOSTICS).enumerate() {
            if i > 0 {
                text.push('\n');
            }
            text.push_str(&diagnostic.render(color));
            text.push('\n');
        }
        if self.is_full() {
            text.push_str(&format!("\nThese are {MAX_DIAGNOSTICS} errors; there may be more.\n"));
        }
        text
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        Diagnostics { list: vec![diagnostic] }
    }
}

impl Serialize for Diagnostics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().take(MAX_DIAGNOSTICS))
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// Text of the file in a message: in backquotes, on one line, cut if it is long.
pub fn quote(text: &str) -> String {
    let mut quoted = String::from("`");
    for (i, c) in text.chars().enumerate() {
        if i == MAX_QUOTED_CHARS {
            quoted.push('…');
            break;
        }
        if c.is_control() { quoted.extend(c.escape_debug()) } else { quoted.push(c) }
    }
    quoted.push('`');
    quoted
}

pub(super) const TOO_LARGE_HINT: &str =
    "a scenario is written by hand or by a program, but it holds no data: is this the right file?";

pub(super) fn too_large(size: u64) -> String {
    let limit = MAX_FILE_BYTES >> 20;
    format!("the file has {size} bytes, but a scenario may have {MAX_FILE_BYTES} ({limit} MiB, MAX_FILE_BYTES)")
}

#[cfg(test)]
mod tests;
