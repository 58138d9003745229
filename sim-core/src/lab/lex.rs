//! A line as a POSIX shell cuts it into words: quotes, backslash and comments (sh(1p), "Quoting" and "Token
//! Recognition"). A line is one command and there is nothing to expand, so what would start another command or an
//! expansion is an error. `*`, `?` and `[` stay as they are: a pattern that matches no file does, and there are no
//! files.

use crate::base::words::{SyntaxError, Word};
use std::iter::Peekable;
use std::ops::Range;
use std::str::CharIndices;

const SECOND_COMMAND: &str = "a second command: write one command a line";

/// The words of `line`; none for an empty line or a comment.
///
/// # Errors
/// An unclosed quote, a NUL byte, or a character that a shell would act on.
pub fn words(line: &str) -> Result<Vec<Word>, SyntaxError> {
    no_nul(line)?;
    let mut lexer = Lexer::new(line, false);
    let mut words = Vec::new();
    while let Some(word) = lexer.word()? {
        words.push(word);
    }
    Ok(words)
}

/// execve(2): the words of a command end with a NUL byte and so cannot hold one.
fn no_nul(text: &str) -> Result<(), SyntaxError> {
    match text.find('\0') {
        Some(at) => Err(SyntaxError::new(at..at + 1, "a NUL byte is not possible in a command")),
        None => Ok(()),
    }
}

/// A line with what its standard input is redirected to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// The words of the command.
    pub words: Vec<Word>,
    /// What it reads, if that is said.
    pub input: Option<Input>,
}

/// The redirection of a standard input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// `< FILE`: the file's name.
    File(Word),
    /// A here-document: its text, where its delimiter stands.
    Here(Word),
}

impl Input {
    /// Where it stands in the line.
    pub fn span(&self) -> &Range<usize> {
        match self {
            Input::File(word) | Input::Here(word) => &word.span,
        }
    }
}

/// The words of `text` and its standard input: `< FILE`, or `<< END` with the lines that follow, up to one that is the
/// word `END` (sh(1p), "Redirection").
///
/// # Errors
/// As for [`words`]; a here-document without its end, or with something that a shell would expand.
pub fn line(text: &str) -> Result<Line, SyntaxError> {
    no_nul(text)?;
    let mut lexer = Lexer::new(text, true);
    let (mut words, mut input) = (Vec::new(), None);
    while lexer.skip_blanks()?.is_some() {
        match lexer.chars.next_if(|&(_, c)| c == '<') {
            Some((at, _)) => input = lexer.redirection(at, input.is_some())?,
            None => words.extend(lexer.word()?),
        }
    }
    match (lexer.document, input) {
        (Some(Document { delimiter, text: None }), _) => {
            Err(SyntaxError::at(&delimiter, format!("the here-document has no end: {}", delimiter.text)))
        }
        (Some(Document { delimiter, text: Some(text) }), _) => {
            Ok(Line { words, input: Some(Input::Here(Word { text, span: delimiter.span })) })
        }
        (None, input) => Ok(Line { words, input }),
    }
}

/// The delimiter of the here-document that `line` begins, if it is a line that begins one: more lines belong to it.
pub fn here_document(text: &str) -> Option<String> {
    let mut lexer = Lexer::new(text, true);
    while let Ok(Some(_)) = lexer.skip_blanks() {
        match lexer.chars.next_if(|&(_, c)| c == '<') {
            Some((at, _)) => drop(lexer.redirection(at, false).ok()?),
            None => drop(lexer.word().ok()?),
        }
    }
    lexer.document.map(|d| d.delimiter.text)
}

/// `word` as it must be typed, so that [`words`] gives it back: in single quotes if it needs any.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

struct Lexer<'a> {
    line: &'a str,
    chars: Peekable<CharIndices<'a>>,
    /// A standard input may be redirected.
    redirects: bool,
    document: Option<Document>,
}

/// A here-document.
struct Document {
    delimiter: Word,
    text: Option<String>,
}

impl<'a> Lexer<'a> {
    fn new(line: &'a str, redirects: bool) -> Self {
        Lexer { line, chars: line.char_indices().peekable(), redirects, document: None }
    }

    fn word(&mut self) -> Result<Option<Word>, SyntaxError> {
        let Some(start) = self.skip_blanks()? else { return Ok(None) };
        let mut text = String::new();
        while let Some(&(at, c)) = self.chars.peek() {
            match c {
                ' ' | '\t' | '\n' => break,
                '<' if self.redirects => break,
                '\'' => self.single_quoted(at, &mut text)?,
                '"' => self.double_quoted(at, &mut text)?,
                '\\' => self.escaped(at, &mut text)?,
                _ => {
                    self.plain(start, at, c)?;
                    text.push(c);
                    self.chars.next();
                }
            }
        }
        Ok(Some(Word { text, span: start..self.at() }))
    }

    /// The start of the next word, past blanks, escaped ends of line and a comment.
    fn skip_blanks(&mut self) -> Result<Option<usize>, SyntaxError> {
        while let Some(&(at, c)) = self.chars.peek() {
            match c {
                ' ' | '\t' => {}
                '\\' if self.line[at..].starts_with("\\\n") => {
                    self.chars.next();
                }
                '\n' if self.document.as_ref().is_some_and(|d| d.text.is_none()) => {
                    self.chars.next();
                    self.read_document()?;
                    continue;
                }
                '\n' if self.line[at..].trim().is_empty() => return Ok(None),
                '\n' => return Err(SyntaxError::new(at..at + 1, SECOND_COMMAND)),
                '#' => {
                    while self.chars.next_if(|&(_, c)| c != '\n').is_some() {}
                    continue;
                }
                _ if self.document.as_ref().is_some_and(|d| d.text.is_some()) => {
                    return Err(SyntaxError::new(at..at + c.len_utf8(), SECOND_COMMAND));
                }
                _ => return Ok(Some(at)),
            }
            self.chars.next();
        }
        Ok(None)
    }

    /// What follows a `<` at `at`.
    fn redirection(&mut self, at: usize, second: bool) -> Result<Option<Input>, SyntaxError> {
        let here = self.chars.next_if(|&(_, c)| c == '<').is_some();
        if let Some((end, _)) = self.chars.next_if(|&(_, c)| "<>-&(".contains(c)) {
            let message = format!("\"{}\" is not possible here: there is no shell", &self.line[at..=end]);
            return Err(SyntaxError::new(at..end + 1, message).hint("write `< FILE` or a here-document, `<< 'EOF'`"));
        }
        if second || self.document.is_some() {
            return Err(SyntaxError::new(at..at + 1, "a second standard input"));
        }
        let missing = || SyntaxError::new(at..at + 1, "the redirection names no file");
        let word = self.word()?.ok_or_else(missing)?;
        if !here {
            return Ok(Some(Input::File(word)));
        }
        self.document = Some(Document { delimiter: word, text: None });
        Ok(None)
    }

    /// The lines of the here-document, from where we are.
    fn read_document(&mut self) -> Result<(), SyntaxError> {
        let start = self.at();
        let Some(document) = &mut self.document else { return Ok(()) };
        let (span, mut text, mut ended) = (&document.delimiter.span, String::new(), None);
        let mut at = start;
        for line in self.line[start..].split_inclusive('\n') {
            at += line.len();
            if line.trim_end_matches('\n') == document.delimiter.text {
                ended = Some(at);
                break;
            }
            text.push_str(line);
        }
        let Some(ended) = ended else {
            self.chars = "".char_indices().peekable();
            return Ok(());
        };
        // An unquoted delimiter lets the shell expand the text.
        if self.line[span.clone()] == *document.delimiter.text
            && let Some((at, c)) = text.char_indices().find(|&(_, c)| "$`\\".contains(c))
        {
            let hint = format!("quote the delimiter if the text is meant as it is: '{}'", document.delimiter.text);
            return Err(expansion(start + at, c).hint(hint));
        }
        document.text = Some(text);
        while self.chars.next_if(|&(at, _)| at < ended).is_some() {}
        Ok(())
    }

    fn single_quoted(&mut self, open: usize, text: &mut String) -> Result<(), SyntaxError> {
        self.chars.next();
        loop {
            match self.chars.next() {
                Some((_, '\'')) => return Ok(()),
                Some((_, c)) => text.push(c),
                None => return Err(self.unclosed(open, '\'')),
            }
        }
    }

    fn double_quoted(&mut self, open: usize, text: &mut String) -> Result<(), SyntaxError> {
        self.chars.next();
        loop {
            match self.chars.next() {
                Some((_, '"')) => return Ok(()),
                // A backslash keeps its meaning before these four and an end of line only.
                Some((_, '\\')) => match self.chars.next_if(|&(_, c)| "$`\"\\\n".contains(c)) {
                    Some((_, '\n')) => {}
                    Some((_, c)) => text.push(c),
                    None => text.push('\\'),
                },
                Some((at, c @ ('$' | '`'))) => return Err(expansion(at, c)),
                Some((_, c)) => text.push(c),
                None => return Err(self.unclosed(open, '"')),
            }
        }
    }

    fn escaped(&mut self, at: usize, text: &mut String) -> Result<(), SyntaxError> {
        self.chars.next();
        match self.chars.next() {
            Some((_, '\n')) => Ok(()),
            Some((_, c)) => {
                text.push(c);
                Ok(())
            }
            None => Err(SyntaxError::new(at..at + 1, "nothing follows the backslash")),
        }
    }

    /// Whether `c`, unquoted at `at` in the word that began at `start`, is a letter like any other.
    fn plain(&self, start: usize, at: usize, c: char) -> Result<(), SyntaxError> {
        let what = match c {
            '$' | '`' => return Err(expansion(at, c)),
            '|' => "a pipe",
            '&' => "a background command",
            ';' => "a second command",
            '<' | '>' => "a redirection",
            '(' | ')' => "a subshell",
            '~' if at == start => "an expansion",
            '{' if brace_expands(&self.line[at..]) => "an expansion",
            _ => return Ok(()),
        };
        Err(SyntaxError::new(at..at + 1, format!("{what} (\"{c}\") is not possible here: there is no shell"))
            .hint(format!("write one command a line; quote the character if it is meant: '{c}'")))
    }

    fn unclosed(&self, open: usize, quote: char) -> SyntaxError {
        SyntaxError::new(open..self.line.len(), format!("the quote is not closed: {quote}"))
    }

    fn at(&mut self) -> usize {
        self.chars.peek().map_or(self.line.len(), |&(at, _)| at)
    }
}

fn expansion(at: usize, c: char) -> SyntaxError {
    SyntaxError::new(at..at + 1, format!("an expansion (\"{c}\") is not possible here: there is no shell"))
        .hint(format!("write the value; quote the character if it is meant: '{c}'"))
}

/// `{a,b}` and `{1..9}` expand, `{a}` does not.
fn brace_expands(rest: &str) -> bool {
    let inside = rest.split([' ', '\t', '\n', '}']).next().unwrap_or_default();
    rest[inside.len()..].starts_with('}') && (inside.contains(',') || inside.contains(".."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_words() {
        for (line, want) in [
            (
                "ip link set eth0 up",
                &[("ip", 0..2), ("link", 3..7), ("set", 8..11), ("eth0", 12..16), ("up", 17..19)][..],
            ),
            ("", &[]),
            ("  # a comment", &[]),
            (" a\tb # c", &[("a", 1..2), ("b", 3..4)]),
            ("a#b", &[("a#b", 0..3)]),
            ("'a b' \"c d\"", &[("a b", 0..5), ("c d", 6..11)]),
            (r#"x="1 2"'3'\4"#, &[("x=1 234", 0..12)]),
            (r#""\$a\b\"""#, &[(r#"$a\b""#, 0..9)]),
            ("''", &[("", 0..2)]),
            ("a\\\nb c\n", &[("ab", 0..4), ("c", 5..6)]),
            ("a \\\n b", &[("a", 0..1), ("b", 5..6)]),
            ("%{http_code} a{} http://x/?a=*", &[("%{http_code}", 0..12), ("a{}", 13..16), ("http://x/?a=*", 17..30)]),
            ("é 'ü' b", &[("é", 0..2), ("ü", 3..7), ("b", 8..9)]),
            ("a~ '~'", &[("a~", 0..2), ("~", 3..6)]),
        ] {
            let got = words(line).unwrap();
            let got: Vec<_> = got.iter().map(|w| (w.text.as_str(), w.span.clone())).collect();
            assert_eq!(got, want, "{line}");
        }
    }

    #[test]
    fn refuses_what_a_shell_would_act_on() {
        for (line, span, message) in [
            ("ip link | grep x", 8..9, "a pipe (\"|\") is not possible here: there is no shell"),
            ("a b\0c", 3..4, "a NUL byte is not possible in a command"),
            ("a; b", 1..2, "a second command (\";\") is not possible here: there is no shell"),
            ("a &", 2..3, "a background command (\"&\") is not possible here: there is no shell"),
            ("a >b", 2..3, "a redirection (\">\") is not possible here: there is no shell"),
            ("a $x", 2..3, "an expansion (\"$\") is not possible here: there is no shell"),
            ("\"$x\"", 1..2, "an expansion (\"$\") is not possible here: there is no shell"),
            ("(a)", 0..1, "a subshell (\"(\") is not possible here: there is no shell"),
            ("a {b,c}", 2..3, "an expansion (\"{\") is not possible here: there is no shell"),
            ("a x{1..3}", 3..4, "an expansion (\"{\") is not possible here: there is no shell"),
            ("~/x", 0..1, "an expansion (\"~\") is not possible here: there is no shell"),
            ("a 'b c", 2..6, "the quote is not closed: '"),
            ("a \"b", 2..4, "the quote is not closed: \""),
            ("a \\", 2..3, "nothing follows the backslash"),
            ("a\nb", 1..2, "a second command: write one command a line"),
            ("# c\nb", 3..4, "a second command: write one command a line"),
        ] {
            let e = words(line).unwrap_err();
            assert_eq!((e.span.clone(), e.message.as_str()), (span, message), "{line}");
        }
    }

    #[test]
    fn redirects_the_standard_input() {
        let text = "a < b/c 'd'";
        let got = line(text).unwrap();
        assert_eq!(got.words.iter().map(|w| w.text.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        assert_eq!(got.input, Some(Input::File(Word { text: "b/c".to_owned(), span: 4..7 })));
        for (text, want) in [
            ("a <<EOF -b # c\n*nat\n\n x\nEOF\n", "*nat\n\n x\n"),
            ("a -b <<'E F'\n$x\nE F", "$x\n"),
            ("a -b << \\E\n`\nE\n# c\n", "`\n"),
            ("a -b <<E\nE\n", ""),
        ] {
            let got = line(text).unwrap();
            assert_eq!(got.words.len(), 2, "{text}");
            assert!(matches!(got.input, Some(Input::Here(w)) if w.text == want), "{text}");
            assert!(here_document(text.lines().next().unwrap()).is_some());
        }
        assert_eq!(here_document("ip link set lo up"), None);
        for (text, span, message) in [
            ("a <<E\nb\n", 4..5, "the here-document has no end: E"),
            ("a <<E", 4..5, "the here-document has no end: E"),
            ("a <<E\nE\nb", 8..9, "a second command: write one command a line"),
            ("a <<E\n\n$x\nE\n", 7..8, "an expansion (\"$\") is not possible here: there is no shell"),
            ("a <<<E", 2..5, "\"<<<\" is not possible here: there is no shell"),
            ("a <&1", 2..4, "\"<&\" is not possible here: there is no shell"),
            ("a <b <c", 5..6, "a second standard input"),
            ("a <", 2..3, "the redirection names no file"),
            ("a > b", 2..3, "a redirection (\">\") is not possible here: there is no shell"),
        ] {
            let e = line(text).unwrap_err();
            assert_eq!((e.span.clone(), e.message.as_str()), (span, message), "{text}");
        }
    }

    #[test]
    fn quoting_is_undone() {
        for word in ["eth0", "", "a b", "it's", "$x", "a\nb", "ü", "10.0.0.0/8", "a\\b", "#", "~"] {
            let line = format!("x {}", quote(word));
            assert_eq!(words(&line).unwrap()[1].text, word, "{line}");
        }
    }
}
