//! The files of a namespace.

use deserr::{Deserr, IntoValue, Map, Value, ValuePointerRef};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

use super::problem::Problems;
use super::script::Byte;
use super::value::{Spanned, Timestamp};
use crate::base::files::Content;
use crate::scenario::diag::quote;

/// A namespace has so many files at most.
pub const MAX_FILES: usize = 1000;
/// The longest file that is one byte again and again: 4 GiB.
pub const MAX_FILE_SIZE: u64 = 1 << 32;
/// The longest path (PATH_MAX of Linux without its final zero), and the longest name in it (NAME_MAX).
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;
/// What a file is made of that gives its size alone.
const DEFAULT_BYTE: u8 = b'x';

/// The files of a namespace by path, in the order of the file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct FileMap(pub Vec<(String, FileBody)>);

/// A file.
#[derive(Clone, PartialEq, Debug)]
pub struct FileBody {
    /// What it holds.
    pub holds: Holds,
    /// When it was changed last; without it, when the scenario starts.
    pub mtime: Option<Timestamp>,
}

/// What a file holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Holds {
    /// This.
    Content(Content),
    /// A certificate, as text.
    Certificate(Whose),
}

/// Whose certificate a file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = lowercase)]
#[schemars(rename_all = "lowercase")]
pub enum Whose {
    /// That of the authority that has signed the certificates of the scenario's servers.
    Authority,
}

/// A file: its text or its size, or whose certificate it holds.
#[derive(Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields, rename = "File")]
struct Fields {
    /// What it holds.
    #[deserr(default)]
    text: Option<Spanned<String>>,
    /// Its length in bytes.
    #[deserr(default)]
    size: Option<Spanned<u64>>,
    /// What its bytes are.
    #[deserr(default)]
    byte: Option<Byte>,
    /// Whose certificate it holds.
    #[deserr(default)]
    certificate: Option<Whose>,
    /// When it was changed last; without it, when the scenario starts.
    #[deserr(default)]
    mtime: Option<Timestamp>,
}

impl JsonSchema for FileMap {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "FileMap".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let file = [generator.subschema_for::<Spanned<String>>(), generator.subschema_for::<Fields>()];
        json_schema!({"type": "object", "additionalProperties": {"anyOf": file}})
    }
}

impl Deserr<Problems> for FileMap {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        let map = match value {
            Value::Map(map) => map,
            other => return Err(Problems::wrong_kind(at, &other, "a map of paths")),
        };
        if map.len() > MAX_FILES {
            return Err(Problems::bad(at, format!("there are more than {MAX_FILES} files here (MAX_FILES)"), None));
        }
        let (mut files, mut problems) = (Vec::with_capacity(map.len()), Problems::default());
        for (path, value) in map.into_iter() {
            let here = at.push_key(&path);
            let rule = "a path begins with `/` and names a file: /usr/share/nginx/html/index.html";
            let good = is_path(&path);
            let mut go_on = good
                || problems.add(Problems::bad_key(
                    here,
                    format!("{} cannot be the path of a file", quote(&path)),
                    rule.to_owned(),
                ));
            match FileBody::deserialize_from_value(value.into_value(), here) {
                Ok(body) if good => files.push((path, body)),
                Ok(_) => {}
                Err(new) => go_on &= problems.add(new),
            }
            if !go_on {
                break;
            }
        }
        for (path, _) in &files {
            let inside = format!("{path}/");
            if let Some((below, _)) = files.iter().find(|(p, _)| p.starts_with(&inside)) {
                let message = format!("{} cannot be a file and the directory of {}", quote(path), quote(below));
                let hint = "give one of them another name".to_owned();
                if !problems.add(Problems::bad_key(at.push_key(path), message, hint)) {
                    break;
                }
            }
        }
        if problems.is_empty() { Ok(FileMap(files)) } else { Err(problems) }
    }
}

/// An absolute path as it stands in a file system: no `.`, no `..`, no slash too many.
fn is_path(path: &str) -> bool {
    let name = |n: &str| !matches!(n, "" | "." | "..") && n.len() <= MAX_NAME && !n.contains(char::is_control);
    path.len() <= MAX_PATH && path.strip_prefix('/').is_some_and(|names| names.split('/').all(name))
}

impl FileBody {
    /// A file with a text.
    pub fn text(text: String) -> Self {
        FileBody { holds: Holds::Content(Content::Text(text)), mtime: None }
    }
}

impl Deserr<Problems> for FileBody {
    fn deserialize_from_value<V: IntoValue>(value: Value<V>, at: ValuePointerRef<'_>) -> Result<Self, Problems> {
        match value {
            Value::Map(_) => {}
            Value::String(text) => return Ok(FileBody::text(text)),
            other => return Err(Problems::wrong_kind(at, &other, "a text or a map: {size: 100000}")),
        }
        let Fields { text, size, byte, certificate, mtime } = Fields::deserialize_from_value(value, at)?;
        if let Some(whose) = certificate {
            if text.is_some() || size.is_some() || byte.is_some() {
                let message = "a file that holds a certificate holds nothing else".to_owned();
                let hint = Some("leave `text`, `size` and `byte` out".to_owned());
                return Err(Problems::bad(at.push_key("certificate"), message, hint));
            }
            return Ok(FileBody { holds: Holds::Certificate(whose), mtime });
        }
        let content = match (text, size) {
            (Some(text), None) if byte.is_none() => Content::Text(text.value),
            (Some(_), None) => {
                let message = "a file with a text has no `byte`".to_owned();
                return Err(Problems::bad(at.push_key("byte"), message, Some("`byte` goes with `size`".to_owned())));
            }
            (None, Some(size)) if size.value > MAX_FILE_SIZE => {
                let message = format!("{} bytes are more than {MAX_FILE_SIZE} (MAX_FILE_SIZE)", size.value);
                return Err(Problems::bad(at.push_key("size"), message, None));
            }
            (None, Some(size)) => Content::Fill { size: size.value, byte: byte.map_or(DEFAULT_BYTE, |b| b.0) },
            (Some(_), Some(_)) => {
                let message = "a file has a text or a size, not both".to_owned();
                return Err(Problems::bad(at.push_key("size"), message, Some("leave one of them out".to_owned())));
            }
            (None, None) => {
                let hint = Some("write a text, or {size: 100000, byte: x}".to_owned());
                return Err(Problems::missing(at, &["text", "size"], hint));
            }
        };
        Ok(FileBody { holds: Holds::Content(content), mtime })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, want) in [
            ("/a", true),
            ("/a/b.c", true),
            ("a", false),
            ("/", false),
            ("/a/", false),
            ("/a//b", false),
            ("/a/../b", false),
            ("/./a", false),
            ("/a\nb", false),
            ("", false),
        ] {
            assert_eq!(is_path(path), want, "{path:?}");
        }
        assert!(!is_path(&format!("/{}", "a".repeat(MAX_NAME + 1))));
    }
}
