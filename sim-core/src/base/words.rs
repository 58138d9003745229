//! Commands as words: what the command interpreters (`lab/`, `user/`) share. A word knows where it stood in the line,
//! so that an error can point at it.

use std::ops::Range;

/// A word of a command line, with its quotes removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Word {
    /// The text that a program would find in argv.
    pub text: String,
    /// Where it stood in the line, in bytes, quotes included.
    pub span: Range<usize>,
}

/// A command that cannot be run as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SyntaxError {
    /// The words to blame, in bytes of the line.
    pub span: Range<usize>,
    /// What is wrong; the real tool's own sentence, where it has one.
    pub message: String,
    /// How to write it.
    pub hint: Option<String>,
}

impl SyntaxError {
    /// An error at `span` without a hint.
    pub fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        SyntaxError { span, message: message.into(), hint: None }
    }

    /// An error that blames `word`.
    pub fn at(word: &Word, message: impl Into<String>) -> Self {
        SyntaxError::new(word.span.clone(), message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error; if one of `known` is close to `word`, the hint names it.
    #[must_use]
    pub fn hint_nearest<'a>(self, word: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        match nearest(word, known) {
            Some(name) => self.hint(format!("did you mean \"{name}\"?")),
            None => self,
        }
    }
}

impl std::fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SyntaxError {}

/// Words longer than this are not compared.
const MAX_COMPARED: usize = 40;

/// The one of `known` that `word` was most likely meant to be, the first of equals; none if nothing is close.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > MAX_COMPARED {
        return None;
    }
    known
        .into_iter()
        .filter(|name| name.len() <= MAX_COMPARED)
        .map(|name| (distance(word, name), name))
        // A third of the word may differ.
        .filter(|(d, name)| *d * 3 <= word.len().max(name.len()))
        .min_by_key(|(d, _)| *d)
        .map(|(_, name)| name)
}

/// Letters to insert, delete, replace or swap with their neighbour, to get from one word to the other (optimal string
/// alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (above[j + 1] + 1).min(row[j] + 1).min(above[j] + usize::from(x != y));
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_name() {
        let known = ["link", "addr", "route", "neigh", "netns"];
        for (word, want) in [
            ("lnk", Some("link")),
            ("likn", Some("link")),
            ("rout", Some("route")),
            ("negih", Some("neigh")),
            ("foo", None),
            ("lo", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), want, "{word}");
        }
        assert_eq!(nearest(&"x".repeat(1000), known), None);
    }

    #[test]
    fn errors_point_and_hint() {
        let word = Word { text: "lnk".into(), span: 3..6 };
        let e = SyntaxError::at(&word, "Object \"lnk\" is unknown").hint_nearest("lnk", ["link"]);
        assert_eq!((e.span.clone(), e.hint.as_deref()), (3..6, Some("did you mean \"link\"?")));
        assert_eq!(e.to_string(), "Object \"lnk\" is unknown");
    }
}
