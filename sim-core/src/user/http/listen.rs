//! Where a server listens, and whether it speaks TLS there: `PORT`, or `PORT ssl NAME,NAME`.

use crate::base::words::{SyntaxError, Word};
use crate::user::tls::Name;

/// As many names a certificate has at most.
const MAX_NAMES: usize = 1000;

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Listen {
    pub port: u16,
    /// It speaks TLS, with a certificate for these.
    pub names: Option<Vec<Name>>,
}

impl Listen {
    /// Reads what begins the words behind a server's name; the words that follow.
    pub(super) fn parse<'a>(server: &str, words: &'a [Word], default: u16) -> Result<(Self, &'a [Word]), SyntaxError> {
        let Some((word, rest)) = words.split_first() else { return Ok((Listen { port: default, names: None }, words)) };
        let text = word.text.as_str();
        let port = match text.parse::<u16>() {
            Ok(port) if port > 0 && text.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return Err(SyntaxError::at(word, format!("{server}: {text} is not a port"))),
        };
        match rest {
            [ssl, names, rest @ ..] if ssl.text == "ssl" => {
                Ok((Listen { port, names: Some(read(server, names)?) }, rest))
            }
            [ssl] if ssl.text == "ssl" => {
                Err(SyntaxError::at(ssl, format!("{server}: ssl needs the names that the certificate is for")))
            }
            rest => Ok((Listen { port, names: None }, rest)),
        }
    }
}

/// Names with commas between them.
fn read(server: &str, word: &Word) -> Result<Vec<Name>, SyntaxError> {
    let refuse = |message: String| SyntaxError::at(word, format!("{server}: {message}"));
    if word.text.split(',').count() > MAX_NAMES {
        return Err(refuse(format!("a certificate for more than {MAX_NAMES} names (MAX_NAMES)")));
    }
    let name = |text: &str| Name::host(text).ok_or_else(|| refuse(format!("{text:?} is no name of a host")));
    word.text.split(',').map(name).collect()
}
