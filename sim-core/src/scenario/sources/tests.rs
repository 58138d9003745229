use super::*;
use crate::scenario::diag::Position;

/// A file in the folder for such, removed in the end.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        Temporary(std::env::temp_dir().join(format!("podhop-sources-{}-{name}", std::process::id())))
    }

    fn read(&self) -> Diagnostic {
        read_file(&Disk, &self.0).expect_err("it cannot be read")
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn files_that_cannot_be_read() {
    let file = Temporary::new("large");
    fs::File::create(&file.0).unwrap().set_len(100_000_000).unwrap();
    let limit = "a scenario may have 16777216 (16 MiB, MAX_FILE_BYTES)";
    assert_eq!(file.read().message, format!("the file has 100000000 bytes, but {limit}"));
    assert_eq!(file.read().render(false).lines().nth(1).unwrap().trim(), format!("--> {}", file.0.display()));

    let file = Temporary::new("latin1");
    for (bytes, line, column, message) in [
        (&b"a: 1\nb: K\xf6ln # x\nc: 2\n"[..], 2, 5, "the file is not UTF-8: byte 9 (0xf6) begins no character"),
        (b"\xef\xbb\xbfa\xff", 1, 2, "the file is not UTF-8: byte 4 (0xff) begins no character"),
        (b"\xff", 1, 1, "the file is not UTF-8: byte 0 (0xff) begins no character"),
        (b"a: \xe6\x97", 1, 4, "the file is not UTF-8: byte 3 (0xe6) begins no character"),
    ] {
        fs::write(&file.0, bytes).unwrap();
        let error = file.read();
        assert_eq!(
            (error.file.position(error.span.start), error.message.as_str()),
            (Position { line, column }, message)
        );
        assert!(error.render(false).contains('\u{fffd}'), "{}", error.render(false));
    }

    assert_eq!(Temporary::new("missing").read().message, "the file cannot be read: there is none");
    assert_eq!(Temporary(std::env::temp_dir().join(".")).read().message, "this is not a regular file");
}

#[test]
fn files_that_can_be_read() {
    let file = Temporary::new("good");
    fs::write(&file.0, "\u{feff}a: é\n").unwrap();
    let source = read_file(&Disk, &file.0).unwrap();
    assert_eq!((source.text(), source.path()), ("a: é\n", file.0.to_str().unwrap()));
}

/// In memory a scenario and the files beside it are found by their names, and what is wrong is said in the same words.
#[test]
fn files_in_memory() {
    let mut memory = Memory::default();
    for (path, bytes) in [("a/s.yaml", &b"a: 1\n"[..]), ("a/b/rules", b"x"), ("latin1", b"\xe9")] {
        memory.files.insert(path.to_owned(), bytes.to_vec());
    }
    memory.files.insert("large".to_owned(), vec![0; MAX_FILE_BYTES as usize + 1]);
    let read = |path: &str| read_file(&memory, Path::new(path)).map(|f| f.text().to_owned()).map_err(|e| e.message);
    for path in ["a/s.yaml", "./a/s.yaml", "a/./s.yaml"] {
        assert_eq!(read(path), Ok("a: 1\n".to_owned()), "{path}");
    }
    for (path, message) in [
        ("a", "the file cannot be read: there is none"),
        ("a/../a/s.yaml", "the file cannot be read: there is none"),
        ("latin1", "the file is not UTF-8: byte 0 (0xe9) begins no character"),
        ("large", "the file has 16777217 bytes, but a scenario may have 16777216 (16 MiB, MAX_FILE_BYTES)"),
    ] {
        assert_eq!(read(path), Err(message.to_owned()), "{path}");
    }
    let scenario = read_file(&memory, Path::new("a/s.yaml")).unwrap();
    let near = |name: &str| beside(&memory, &scenario, name);
    assert_eq!(near("./b/rules").map(|path| memory.read(&path).unwrap()), Ok(b"x".to_vec()));
    for name in ["", "../latin1", "b/../../latin1", "/latin1"] {
        assert_eq!(near(name), Err(format!("{} lies outside the scenario's folder", quote(name))));
    }
}

/// A symbolic link that leads out of the folder is no way out.
#[cfg(unix)]
#[test]
fn links_that_lead_out() {
    let file = Temporary::new("links");
    fs::create_dir_all(file.0.join("in")).unwrap();
    fs::write(file.0.join("out"), "x").unwrap();
    fs::write(file.0.join("in/own"), "x").unwrap();
    for (link, target) in [("in/leads-out", "../out"), ("in/stays", "own")] {
        std::os::unix::fs::symlink(target, file.0.join(link)).unwrap();
    }
    let scenario = SourceFile::new(file.0.join("in/s.yaml").to_str().unwrap(), "");
    assert!(beside(&Disk, &scenario, "stays").is_ok() && beside(&Disk, &scenario, "none").is_ok());
    let said = beside(&Disk, &scenario, "leads-out");
    fs::remove_dir_all(&file.0).unwrap();
    assert_eq!(said, Err("`leads-out` lies outside the scenario's folder".to_owned()));
}
