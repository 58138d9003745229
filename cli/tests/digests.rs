//! The same bytes for everybody: the program run by another user, under another path, in another locale and time zone
//! writes what tests/digests.txt says. PODHOP names another build of it: `.ci/run` asks the one that is optimised.

use podhop_tests::scenarios;
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What surrounds a run: two that have nothing in common, nor with whoever wrote the list.
const SURROUNDINGS: [Surroundings; 2] = [
    Surroundings { folder: "a", locale: "tr_TR.UTF-8", zone: "Pacific/Chatham", umask: "077" },
    Surroundings { folder: "other folder/\u{e9}", locale: "C", zone: "America/St_Johns", umask: "002" },
];

struct Surroundings {
    /// Where the scenarios lie, and where the user's own folder is.
    folder: &'static str,
    /// LC_ALL.
    locale: &'static str,
    /// TZ.
    zone: &'static str,
    umask: &'static str,
}

/// nobody, on every Linux.
const NOBODY: u32 = 65534;

#[test]
fn under_other_paths_locales_and_time_zones() {
    check(None);
}

#[cfg(target_os = "linux")]
#[test]
fn as_another_user() {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout != b"0\n" {
        assert!(env::var("CI").as_deref() != Ok("true"), "skipped: only root can become another user");
        println!("skipped: only root can become another user");
        return;
    }
    check(Some(NOBODY));
}

fn check(user: Option<u32>) {
    let committed = fs::read_to_string(scenarios::digest_list()).expect("the list");
    for surroundings in SURROUNDINGS {
        // Not below the project, which the user may not be allowed to enter.
        let temporary = tempfile::tempdir().expect("a temporary folder");
        let written = surroundings.run_all(temporary.path(), user);
        assert!(written == committed, "{} as {user:?}:\n{}", surroundings.folder, differences(&committed, &written));
    }
}

impl Surroundings {
    /// Runs copies of all scenarios in a folder below `top`; the digests of what they write.
    fn run_all(&self, top: &Path, user: Option<u32>) -> String {
        let home = &top.join(self.folder);
        let program = home.join("podhop");
        fs::create_dir_all(home).expect("a folder");
        let built = env::var_os("PODHOP").unwrap_or_else(|| env!("CARGO_BIN_EXE_podhop").into());
        fs::copy(built, &program).expect("a copy of the program");
        let all = scenarios::all();
        for path in &all {
            copy_files(&scenarios::root().join(path).with_file_name(""), &home.join(path).with_file_name(""));
        }
        if let Some(user) = user {
            let owner = format!("{user}:{user}");
            assert!(Command::new("chown").args(["-R", &owner]).arg(top).status().expect("chown").success());
        }
        all.iter().fold(String::new(), |list, path| list + &self.run(&program, home, path, user))
    }

    /// Runs one scenario; its part of the list.
    fn run(&self, program: &Path, home: &Path, path: &Path, user: Option<u32>) -> String {
        let out = home.join("out").join(path).with_file_name("");
        // umask is the shell's.
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask $0; exec \"$@\"", self.umask])
            .arg(program)
            .args(["run", "--quiet"])
            .arg(path)
            .arg("-o")
            .arg(&out);
        command.env_clear().env("HOME", home).env("LC_ALL", self.locale).env("LANG", self.locale).env("TZ", self.zone);
        #[cfg(unix)]
        if let Some(user) = user {
            use std::os::unix::process::CommandExt;
            command.uid(user).gid(user);
        }
        let done = command.current_dir(home).output().expect("sh runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success() && said.is_empty(), "{}: {}: {said}", path.display(), done.status);
        let folder = path.parent().unwrap_or(Path::new("")).display();
        let name = |file: &PathBuf| file.strip_prefix(&out).expect("found below it").display().to_string();
        // summary.json holds the digests.
        let mut names: Vec<String> = files(&out).iter().map(name).filter(|name| name != "summary.json").collect();
        names.sort();
        let mut list = String::new();
        for name in names {
            let digest = Sha256::digest(fs::read(out.join(&name)).expect("a file"));
            let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
            let _ = writeln!(list, "{digest}  {folder}/{name}");
        }
        list
    }
}

/// Copies the files of a folder.
fn copy_files(from: &Path, to: &Path) {
    for file in files(from) {
        let copy = to.join(file.strip_prefix(from).expect("found below it"));
        fs::create_dir_all(copy.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, copy).expect("a copy");
    }
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![];
    for entry in fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

/// The lines that only one of two lists has.
fn differences(old: &str, new: &str) -> String {
    let only = |mark: char, a: &str, b: &str| -> String {
        a.lines().filter(|l| !b.lines().any(|other| other == *l)).map(|l| format!("{mark} {l}\n")).collect()
    };
    only('-', old, new) + &only('+', new, old)
}
