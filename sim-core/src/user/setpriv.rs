//! `setpriv` of util-linux 2.38, in front of the command that it becomes: as whom that runs (sys-utils/setpriv.c).
//! Nobody has groups besides his own here.

use crate::base::passwd;
use crate::base::words::{SyntaxError, Word};
use crate::kernel::cred::Cred;

/// Its options with whether they take an argument.
const OPTIONS: [(&str, bool); 23] = [
    ("dump", false),
    ("nnp", false),
    ("no-new-privs", false),
    ("inh-caps", true),
    ("ambient-caps", true),
    ("list-caps", false),
    ("bounding-set", true),
    ("ruid", true),
    ("euid", true),
    ("rgid", true),
    ("egid", true),
    ("reuid", true),
    ("regid", true),
    ("clear-groups", false),
    ("keep-groups", false),
    ("init-groups", false),
    ("groups", true),
    ("reset-env", false),
    ("securebits", true),
    ("pdeathsig", true),
    ("selinux-label", true),
    ("apparmor-profile", true),
    ("help", false),
];

/// A command that runs as somebody: as whom, and its own words. None if the words do not begin with `setpriv`.
///
/// # Errors
/// What the real program says before it becomes the command, or that a part of it is not simulated.
pub fn split(words: &[Word]) -> Result<Option<(Cred, &[Word])>, SyntaxError> {
    let Some((name, mut rest)) = words.split_first().filter(|(name, _)| name.text == "setpriv") else {
        return Ok(None);
    };
    let (mut uid, mut gid, mut groups) = (None, None, None);
    while let Some((word, after)) = rest.split_first() {
        if word.text == "--" {
            rest = after;
            break;
        }
        let Some(given) = word.text.strip_prefix("--") else { break };
        let (given, attached) = given.split_once('=').map_or((given, None), |(name, arg)| (name, Some(arg)));
        let (option, takes) = option(word, given)?;
        rest = after;
        let arg = match (takes, attached, after.split_first()) {
            (false, None, _) => "",
            (false, Some(_), _) => {
                return Err(try_help(word, format!("option '--{option}' doesn't allow an argument")));
            }
            (true, Some(arg), _) => arg,
            (true, None, Some((arg, after))) => {
                rest = after;
                &arg.text
            }
            (true, None, None) => return Err(try_help(word, format!("option '--{option}' requires an argument"))),
        };
        match option {
            "reuid" if uid.is_some() => return Err(error(word, "duplicate ruid or euid")),
            "reuid" => uid = Some(number(word, option, arg, passwd::user_id)?),
            "regid" if gid.is_some() => return Err(error(word, "duplicate rgid or egid")),
            "regid" => gid = Some(number(word, option, arg, passwd::group_id)?),
            "clear-groups" | "keep-groups" if groups.is_some_and(|given| given != option) => {
                let text = "mutually exclusive arguments: --clear-groups --keep-groups --init-groups --groups";
                return Err(error(word, text));
            }
            "clear-groups" | "keep-groups" => groups = Some(option),
            _ => return Err(error(word, format!("--{option} is not simulated"))),
        }
    }
    let Some(first) = rest.first() else { return Err(error(name, "No program specified")) };
    if first.text == name.text {
        return Err(error(first, "one inside the other is not simulated"));
    }
    if gid.is_some() && groups.is_none() {
        let text = "--[re]gid requires --keep-groups, --clear-groups, --init-groups, or --groups";
        return Err(error(name, text));
    }
    Ok(Some((Cred { uid: uid.unwrap_or(0), gid: gid.unwrap_or(0) }, rest)))
}

/// getopt_long(3): an option by its name, or by how its name begins.
fn option(word: &Word, given: &str) -> Result<(&'static str, bool), SyntaxError> {
    if let Some(found) = OPTIONS.iter().find(|(name, _)| *name == given) {
        return Ok(*found);
    }
    let mut begun = OPTIONS.iter().filter(|(name, _)| name.starts_with(given));
    match (begun.next(), begun.next()) {
        (Some(found), None) => Ok(*found),
        (None, _) => Err(try_help(word, format!("unrecognized option '--{given}'"))),
        (Some(_), Some(_)) => Err(try_help(word, format!("option '--{given}' is ambiguous"))),
    }
}

/// get_user and get_group: a number, or a name.
fn number(word: &Word, option: &str, arg: &str, lookup: fn(&str) -> Option<u32>) -> Result<u32, SyntaxError> {
    let id = lookup(arg).or_else(|| arg.parse().ok()).filter(|id| *id != u32::MAX);
    id.ok_or_else(|| error(word, format!("failed to parse {option}: '{arg}'")))
}

fn error(word: &Word, text: impl std::fmt::Display) -> SyntaxError {
    SyntaxError::at(word, format!("setpriv: {text}"))
}

fn try_help(word: &Word, text: impl std::fmt::Display) -> SyntaxError {
    error(word, text).hint("--reuid USER --regid GROUP --clear-groups COMMAND")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<Word> {
        line.split(' ').map(|text| Word { text: text.to_owned(), span: 0..0 }).collect()
    }

    #[test]
    fn as_whom_a_command_runs() {
        for (line, uid, gid, command) in [
            ("setpriv --reuid 1337 --regid 1337 --clear-groups curl -I x", 1337, 1337, "curl"),
            ("setpriv --reuid=www-data --keep-groups ping", 33, 0, "ping"),
            ("setpriv --reu 5 -- ping", 5, 0, "ping"),
            ("setpriv --clear-groups ping", 0, 0, "ping"),
        ] {
            let words = words(line);
            let (cred, rest) = split(&words).unwrap().unwrap();
            assert_eq!((cred, rest[0].text.as_str()), (Cred { uid, gid }, command), "{line}");
        }
        assert_eq!(split(&words("curl -I x")), Ok(None));
    }

    /// As util-linux 2.38.1 says it.
    #[test]
    fn errors() {
        for (line, want) in [
            ("setpriv", "No program specified"),
            ("setpriv --reuid 5", "No program specified"),
            ("setpriv --reuid", "option '--reuid' requires an argument"),
            ("setpriv --reuid 5x id", "failed to parse reuid: '5x'"),
            ("setpriv --regid 5 id", "--[re]gid requires --keep-groups, --clear-groups, --init-groups, or --groups"),
            ("setpriv --reuid 5 --reuid 6 id", "duplicate ruid or euid"),
            (
                "setpriv --clear-groups --keep-groups id",
                "mutually exclusive arguments: --clear-groups --keep-groups --init-groups --groups",
            ),
            ("setpriv --foo id", "unrecognized option '--foo'"),
            ("setpriv --re 5 id", "option '--re' is ambiguous"),
            ("setpriv --nnp id", "--nnp is not simulated"),
        ] {
            let e = split(&words(line)).unwrap_err();
            assert_eq!(e.message, format!("setpriv: {want}"), "{line}");
        }
    }
}
