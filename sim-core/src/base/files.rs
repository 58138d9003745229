//! The files of a namespace: what its programs read and its servers serve.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Files by their absolute path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Files(BTreeMap<String, Arc<File>>);

/// A file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct File {
    /// What it holds.
    pub content: Content,
    /// When it was changed last (st_mtime), in seconds since 1970.
    pub mtime_s: u64,
}

/// What a file holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// This text.
    Text(String),
    /// One byte again and again.
    Fill {
        /// How often.
        size: u64,
        /// Which.
        byte: u8,
    },
}

/// What stands at a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<'a> {
    /// A file.
    File(&'a Arc<File>),
    /// Files lie below it.
    Directory,
    /// ENOENT
    Nothing,
}

impl Files {
    /// Puts a file at `path`, in the place of one that was there.
    pub fn insert(&mut self, path: &str, file: File) {
        self.0.insert(path.to_owned(), Arc::new(file));
    }

    /// What stands at `path`. A directory is there if a file lies in it.
    pub fn find(&self, path: &str) -> Found<'_> {
        let inside = format!("{}/", path.trim_end_matches('/'));
        match self.0.get(path) {
            Some(file) => Found::File(file),
            None if self.0.range(inside.clone()..).next().is_some_and(|(p, _)| p.starts_with(&inside)) => {
                Found::Directory
            }
            None => Found::Nothing,
        }
    }

    /// All of them by path.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &File)> {
        self.0.iter().map(|(path, file)| (path.as_str(), &**file))
    }

    /// What lies in the directory `path`: names, those of directories with a slash behind.
    pub fn names(&self, path: &str) -> Vec<String> {
        let inside = format!("{}/", path.trim_end_matches('/'));
        let mut names: Vec<String> = vec![];
        for (p, _) in self.0.range(inside.clone()..).take_while(|(p, _)| p.starts_with(&inside)) {
            let rest = &p[inside.len()..];
            let name = rest.find('/').map_or(rest, |end| &rest[..=end]);
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

impl File {
    /// st_size, in bytes.
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Text(text) => text.len() as u64,
            Content::Fill { size, .. } => *size,
        }
    }

    /// pread(2): up to `max` bytes from `offset`; none at the end.
    pub fn read(&self, offset: u64, max: usize) -> Vec<u8> {
        let left = usize::try_from(self.size().saturating_sub(offset)).unwrap_or(usize::MAX).min(max);
        match &self.content {
            // What is left lies in memory, so the offset fits.
            Content::Text(text) => text.as_bytes().iter().skip(offset as usize).take(left).copied().collect(),
            Content::Fill { byte, .. } => vec![*byte; left],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> Files {
        let mut files = Files::default();
        for (path, text) in [("/www/index.html", "hello"), ("/www/a/b", "x"), ("/www/a/c", ""), ("/www-2/x", "")] {
            files.insert(path, File { content: Content::Text(text.into()), mtime_s: 1 });
        }
        files
    }

    #[test]
    fn what_stands_at_a_path() {
        let files = files();
        for (path, want) in [
            ("/www/index.html", "file"),
            ("/www", "directory"),
            ("/www/", "directory"),
            ("/www/a", "directory"),
            ("/ww", "nothing"),
            ("/", "directory"),
            ("/www/index.html/", "nothing"),
        ] {
            let got = match files.find(path) {
                Found::File(_) => "file",
                Found::Directory => "directory",
                Found::Nothing => "nothing",
            };
            assert_eq!(got, want, "{path}");
        }
        assert_eq!(files.names("/www"), ["a/", "index.html"]);
    }

    #[test]
    fn reading() {
        let fill = File { content: Content::Fill { size: 10, byte: b'x' }, mtime_s: 0 };
        assert_eq!(fill.read(8, 100), b"xx");
        assert_eq!(fill.read(10, 100), b"");
        let text = File { content: Content::Text("hello".into()), mtime_s: 0 };
        assert_eq!(text.read(1, 3), b"ell");
        assert_eq!(text.read(9, 3), b"");
    }
}
