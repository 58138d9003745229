//! The command line of curl 7.88.1 (src/tool_getparam.c).

use super::names::{OPTIONS, OTHER_LETTERS, OTHER_NAMES, Opt, SCHEMES};
use super::url::{BadUrl, Url};
use super::write_out;
use crate::base::words::{SyntaxError, Word};

/// As many URLs one command has.
const MAX_URLS: usize = 100;
/// --max-redirs when nothing is said.
const MAX_REDIRECTS: u32 = 50;

/// What a command line asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Options {
    pub targets: Vec<Target>,
    pub silent: bool,
    pub show_error: bool,
    pub verbose: bool,
    /// -i: the head is part of the output.
    pub include: bool,
    /// -I
    pub head: bool,
    /// -m
    pub max_time_ms: Option<u64>,
    pub connect_timeout_ms: Option<u64>,
    pub write_out: Option<String>,
    /// -H: lines as given.
    pub headers: Vec<String>,
    /// -X
    pub method: Option<String>,
    /// -d: what is posted.
    pub data: Option<String>,
    /// -G: the data go into the URL.
    pub get: bool,
    /// -A; empty for none.
    pub agent: Option<String>,
    pub http10: bool,
    pub http11: bool,
    /// -4
    pub ipv4: bool,
    /// -f
    pub fail: bool,
    /// -L
    pub follow: bool,
    pub max_redirects: u32,
    /// -k
    pub insecure: bool,
    /// --cacert
    pub ca_file: Option<String>,
    pub no_keepalive: bool,
    pub no_nodelay: bool,
}

/// A URL and where its body goes.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// As written.
    pub text: String,
    pub url: Result<Url, BadUrl>,
    /// -o /dev/null
    pub discard: bool,
}

/// Reads the words behind the name.
pub(super) fn parse(name: &Word, words: &[Word]) -> Result<Options, SyntaxError> {
    let mut p = Parser {
        o: Options { max_redirects: MAX_REDIRECTS, ..Options::default() },
        urls: vec![],
        outputs: vec![],
        globoff: false,
    };
    let (mut words, mut flags) = (words.iter(), true);
    while let Some(word) = words.next() {
        match word.text.as_str() {
            "--" if flags => flags = false,
            text if flags && text.starts_with("--") => p.long(word, &text[2..], &mut words)?,
            text if flags && text.starts_with('-') => p.cluster(word, &text[1..], &mut words)?,
            _ => p.urls.push(word),
        }
    }
    p.finish(name)
}

struct Parser<'a> {
    o: Options,
    urls: Vec<&'a Word>,
    outputs: Vec<bool>,
    globoff: bool,
}

type Words<'a> = std::slice::Iter<'a, Word>;

impl<'a> Parser<'a> {
    /// `--name`, `--no-name` or the beginning of a name that fits no other.
    fn long(&mut self, word: &'a Word, name: &str, words: &mut Words<'a>) -> Result<(), SyntaxError> {
        let known = || OPTIONS.iter().map(|o| o.1).chain(OTHER_NAMES.iter().copied());
        let find = |name: &str| -> Result<Option<&'static str>, SyntaxError> {
            let mut near = known().filter(|k| k.starts_with(name));
            match (known().find(|k| *k == name), near.next(), near.next()) {
                (Some(exact), ..) => Ok(Some(exact)),
                (None, Some(one), None) => Ok(Some(one)),
                (None, Some(_), Some(_)) => Err(bad(word, &word.text, "is ambiguous")),
                (None, None, _) => Ok(None),
            }
        };
        let negated = name.strip_prefix("no-").filter(|_| !known().any(|k| k == name));
        let Some(name) = find(negated.unwrap_or(name))? else {
            let e = bad(word, &word.text, "is unknown");
            return Err(e.hint_nearest(name, known()));
        };
        let Some((_, _, opt)) = OPTIONS.iter().find(|o| o.1 == name) else { return Err(other(word, &word.text)) };
        let argument = match (opt.takes_argument(), negated) {
            (true, Some(_)) => {
                return Err(bad(word, &word.text, "used '--no-' for option that isn't a boolean"));
            }
            (true, None) => match words.next() {
                Some(argument) => argument,
                None => return Err(bad(word, &word.text, "requires parameter")),
            },
            (false, _) => word,
        };
        self.set(*opt, negated.is_none(), &argument.text, argument, &word.text)
    }

    /// Letters behind one dash; the first that takes an argument takes the rest of the word, or the next one.
    fn cluster(&mut self, word: &'a Word, letters: &'a str, words: &mut Words<'a>) -> Result<(), SyntaxError> {
        if letters.is_empty() {
            return Err(bad(word, "-", "is unknown"));
        }
        for (at, letter) in letters.char_indices() {
            let name = format!("-{letter}");
            let Some((_, long, opt)) = OPTIONS.iter().find(|o| o.0 == letter && letter != ' ') else {
                let known = OTHER_LETTERS.contains(letter);
                return Err(if known { other(word, &name) } else { bad(word, &name, "is unknown") });
            };
            if !opt.takes_argument() {
                // -N is the one letter for an option that is switched off.
                self.set(*opt, *long != "buffer", "", word, &name)?;
                continue;
            }
            let rest = &letters[at + letter.len_utf8()..];
            let (text, argument) = match (rest, words.as_slice().first()) {
                ("", None) => return Err(bad(word, &name, "requires parameter")),
                ("", Some(next)) => {
                    words.next();
                    (next.text.as_str(), next)
                }
                (rest, _) => (rest, word),
            };
            return self.set(*opt, true, text, argument, &name);
        }
        Ok(())
    }

    fn set(&mut self, opt: Opt, on: bool, text: &str, word: &'a Word, name: &str) -> Result<(), SyntaxError> {
        let o = &mut self.o;
        let not_a_file = |what: &str| match text.strip_prefix('@') {
            Some(_) => Err(SyntaxError::at(word, format!("curl: {what} from a file is not simulated"))),
            None => Ok(text.to_owned()),
        };
        match opt {
            Opt::Agent => o.agent = Some(text.to_owned()),
            Opt::CaCert => o.ca_file = Some(text.to_owned()),
            Opt::ConnectTimeout => o.connect_timeout_ms = seconds(word, name, text)?,
            Opt::Data | Opt::DataRaw => {
                let data = if opt == Opt::DataRaw { text.to_owned() } else { not_a_file("data")? };
                o.data = Some(o.data.take().map_or(data.clone(), |first| format!("{first}&{data}")));
            }
            Opt::Ipv4 => o.ipv4 = on,
            // The body is never held back, and there is no .curlrc.
            Opt::Disable | Opt::NoBuffer | Opt::ProgressMeter | Opt::StyledOutput => {}
            Opt::Fail => o.fail = on,
            Opt::Get => o.get = on,
            Opt::GlobOff => self.globoff = on,
            Opt::Head => o.head = on,
            Opt::Header => o.headers.push(not_a_file("a header")?),
            Opt::Http10 => (o.http10, o.http11) = (on, false),
            Opt::Http11 => (o.http10, o.http11) = (false, on),
            Opt::Include => o.include = on,
            Opt::Insecure => o.insecure = on,
            Opt::Keepalive => o.no_keepalive = !on,
            Opt::Location => o.follow = on,
            Opt::MaxRedirs => {
                let number = text.parse::<u32>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
                o.max_redirects = number.ok_or_else(|| bad(word, name, "expected a proper numerical parameter"))?;
            }
            Opt::MaxTime => o.max_time_ms = seconds(word, name, text)?,
            Opt::Output => match text {
                "-" => self.outputs.push(false),
                "/dev/null" => self.outputs.push(true),
                file => {
                    let e = SyntaxError::at(word, format!("curl: there are no files to write to: {file}"));
                    return Err(e.hint("write `-o /dev/null`, or leave it out"));
                }
            },
            Opt::Request => o.method = Some(text.to_owned()),
            Opt::ShowError => o.show_error = on,
            Opt::Silent => o.silent = on,
            Opt::TcpNodelay => o.no_nodelay = !on,
            Opt::Url => self.urls.push(word),
            Opt::Verbose => o.verbose = on,
            Opt::WriteOut => {
                let format = not_a_file("a format")?;
                if let Some(variable) = write_out::not_simulated(&format) {
                    return Err(SyntaxError::at(word, format!("curl: the variable {variable} is not simulated")));
                }
                o.write_out = Some(format);
            }
        }
        Ok(())
    }

    fn finish(mut self, name: &Word) -> Result<Options, SyntaxError> {
        if self.urls.is_empty() {
            return Err(SyntaxError::at(name, "curl: no URL specified!").hint("write `curl http://10.0.0.1/`"));
        }
        if let Some(word) = self.urls.get(MAX_URLS) {
            return Err(SyntaxError::at(word, format!("curl: more than {MAX_URLS} URLs (MAX_URLS)")));
        }
        if self.o.head && self.o.data.is_some() && !self.o.get {
            let text = "curl: You can only select one HTTP request method! You asked for both POST (-d, --data) and \
                        HEAD (-I, --head).";
            return Err(SyntaxError::at(name, text));
        }
        let data = self.o.get.then(|| self.o.data.take()).flatten();
        for (n, word) in self.urls.iter().enumerate() {
            let text = word.text.clone();
            if !self.globoff && text.contains(['{', '}', '[', ']']) {
                return Err(
                    SyntaxError::at(word, "curl: patterns in URLs are not simulated").hint("use -g to switch them off")
                );
            }
            let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
            if SCHEMES.contains(&scheme.as_str()) {
                return Err(SyntaxError::at(word, format!("curl: {scheme} is not simulated")).hint("use http or https"));
            }
            if text.contains('@') {
                return Err(SyntaxError::at(word, "curl: a user in a URL is not simulated"));
            }
            let url = Url::parse(&text).map(|url| match &data {
                Some(data) => {
                    let with = if url.target.contains('?') { '&' } else { '?' };
                    Url { target: format!("{}{with}{data}", url.target), ..url }
                }
                None => url,
            });
            let discard = self.outputs.get(n).copied().unwrap_or(false);
            self.o.targets.push(Target { text, url, discard });
        }
        Ok(self.o)
    }
}

fn bad(word: &Word, name: &str, why: &str) -> SyntaxError {
    SyntaxError::at(word, format!("curl: option {name}: {why}"))
}

fn other(word: &Word, name: &str) -> SyntaxError {
    SyntaxError::at(word, format!("curl: option {name} is not simulated"))
}

/// A number of seconds in milliseconds; none for zero, which is no limit.
fn seconds(word: &Word, name: &str, text: &str) -> Result<Option<u64>, SyntaxError> {
    if text.starts_with('-') {
        return Err(bad(word, name, "expected a positive numerical parameter"));
    }
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.') && text.starts_with(|c: char| c.is_ascii_digit());
    let number = text.parse::<f64>().ok().filter(|n| plain && *n < u32::MAX.into());
    let number = number.ok_or_else(|| bad(word, name, "expected a proper numerical parameter"))?;
    let ms = (number * 1000.0) as u64;
    Ok((ms > 0).then_some(ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::script::words;

    fn read(line: &str) -> Result<Options, String> {
        let words = words(line);
        parse(&words[0], &words[1..]).map_err(|e| e.message)
    }

    #[test]
    fn clusters() {
        let o = read("curl -sSm2.5 -o /dev/null -I -HA:b 10.0.0.1 --max-redirs 3 10.0.0.2").unwrap();
        assert!(o.silent && o.show_error && o.head);
        assert_eq!((o.max_time_ms, o.max_redirects, o.headers), (Some(2500), 3, vec!["A:b".to_owned()]));
        let targets: Vec<_> = o.targets.iter().map(|t| (t.text.as_str(), t.discard)).collect();
        assert_eq!(targets, [("10.0.0.1", true), ("10.0.0.2", false)]);
        assert_eq!(read("curl -da -db 1.2.3.4").unwrap().data.as_deref(), Some("a&b"));
        assert_eq!(read("curl -G -d a=b 1.2.3.4").unwrap().targets[0].url.as_ref().unwrap().target, "/?a=b");
        assert!(read("curl --silent --no-silent --fail 1.2.3.4").is_ok_and(|o| !o.silent && o.fail));
        assert!(read("curl --max-ti 1 1.2.3.4").is_ok_and(|o| o.max_time_ms == Some(1000)));
        assert!(read("curl -- -x").is_ok_and(|o| o.targets[0].text == "-x"));
    }

    #[test]
    fn errors() {
        for (line, want) in [
            ("curl", "curl: no URL specified!"),
            ("curl --bogus", "curl: option --bogus: is unknown"),
            ("curl -m", "curl: option -m: requires parameter"),
            ("curl -m abc x", "curl: option -m: expected a proper numerical parameter"),
            ("curl -m -5 x", "curl: option -m: expected a positive numerical parameter"),
            ("curl -m 1e2 x", "curl: option -m: expected a proper numerical parameter"),
            ("curl --ret 3", "curl: option --ret: is ambiguous"),
            ("curl --no-max-time x", "curl: option --no-max-time: used '--no-' for option that isn't a boolean"),
            ("curl -s -o", "curl: option -o: requires parameter"),
            ("curl -", "curl: option -: is unknown"),
            ("curl -W x", "curl: option -W: is unknown"),
            ("curl -E x x", "curl: option -E is not simulated"),
            ("curl -o f x", "curl: there are no files to write to: f"),
            ("curl -d @f x", "curl: data from a file is not simulated"),
            ("curl ftps://x", "curl: ftps is not simulated"),
            ("curl http://[::1]/", "curl: patterns in URLs are not simulated"),
            ("curl -w %{certs} x", "curl: the variable certs is not simulated"),
        ] {
            assert_eq!(read(line).unwrap_err(), want, "{line}");
        }
    }
}
