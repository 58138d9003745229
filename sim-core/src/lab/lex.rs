//! A line as a POSIX shell cuts it into words: quotes, backslash and comments (sh(1p), "Quoting" and "Token
//! Recognition"). A line is one command and there is nothing to expand, so what would start another command or an
//! expansion is an error. `*`, `?` and `[` stay as they are: a pattern that matches no file does, and there are no
//! files.

use crate::base::words::{SyntaxError, Word};
use std::iter::Peekable;
use std::str::CharIndices;

/// The words of `line`; none for an empty line or a comment.
///
/// # Errors
/// An unclosed quote, or a character that a shell would act on.
pub fn words(line: &str) -> Result<Vec<Word>, SyntaxError> {
    let mut lexer = Lexer { line, chars: line.char_indices().peekable() };
    let mut words = Vec::new();
    while let Some(word) = lexer.word()? {
        words.push(word);
    }
    Ok(words)
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
}

impl Lexer<'_> {
    fn word(&mut self) -> Result<Option<Word>, SyntaxError> {
        let Some(start) = self.skip_blanks()? else { return Ok(None) };
        let mut text = String::new();
        while let Some(&(at, c)) = self.chars.peek() {
            match c {
                ' ' | '\t' | '\n' => break,
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
                '\n' if self.line[at..].trim().is_empty() => return Ok(None),
                '\n' => return Err(SyntaxError::new(at..at + 1, "a second command: write one command a line")),
                '#' => {
                    while self.chars.next_if(|&(_, c)| c != '\n').is_some() {}
                    continue;
                }
                _ => return Ok(Some(at)),
            }
            self.chars.next();
        }
        Ok(None)
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
    fn quoting_is_undone() {
        for word in ["eth0", "", "a b", "it's", "$x", "a\nb", "ü", "10.0.0.0/8", "a\\b", "#", "~"] {
            let line = format!("x {}", quote(word));
            assert_eq!(words(&line).unwrap()[1].text, word, "{line}");
        }
    }
}
