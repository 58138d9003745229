//! docs/testing-kit.md followed word for word: an empty crate outside of the workspace, whose tests find what the guide
//! says, and nothing any more with the guide's corrections.

use podhop_tests::scenarios;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A fenced block of the guide: its language, the file that it is, its lines.
struct Block<'a> {
    language: &'a str,
    file: Option<&'a str>,
    text: String,
}

fn blocks(guide: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut file = None;
    let mut lines = guide.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = line.strip_prefix('`').and_then(|l| l.strip_suffix("`:")) {
            file = Some(name);
        } else if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().take_while(|l| *l != "```").fold(String::new(), |t, l| t + l + "\n");
            blocks.push(Block { language, file: file.take(), text });
        }
    }
    blocks
}

/// One side of a diff: the lines that begin with a sign, and those of both sides.
fn side(diff: &str, sign: char) -> String {
    diff.lines().filter_map(|l| l.strip_prefix([sign, ' '])).fold(String::new(), |t, l| t + l + "\n")
}

/// A crate with these files, beside podhop's folder.
struct Crate {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Crate {
    fn new(blocks: &[Block<'_>]) -> Crate {
        let root = scenarios::root();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("my-rules");
        for block in blocks {
            let Some(file) = block.file else { continue };
            let to = path.join(file);
            fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
            // Where podhop lies is the reader's.
            let text = block.text.replace("../podhop", &root.display().to_string());
            fs::write(to, text).expect(file);
        }
        // The versions that are there anyway: nothing is loaded.
        fs::copy(root.join("Cargo.lock"), path.join("Cargo.lock")).expect("Cargo.lock");
        Crate { _folder: folder, path }
    }

    /// Runs its tests; what they print.
    fn test(&self) -> (bool, String) {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let out = Command::new(cargo)
            .args(["test", "--offline", "--no-fail-fast"])
            .env("PROPTEST_RNG_SEED", "1")
            .env("CARGO_TARGET_DIR", target())
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.path)
            .output()
            .expect("cargo runs");
        let said = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
        (out.status.success(), said)
    }

    /// A diff is applied to the one file that has its lines.
    fn correct(&self, diff: &str, files: &[&str]) {
        let old = side(diff, '-');
        let read = |file: &str| fs::read_to_string(self.path.join(file)).expect(file);
        let found: Vec<_> = files.iter().filter(|file| read(file).contains(&old)).collect();
        let [file] = found[..] else { panic!("{old} stands in {found:?}") };
        fs::write(self.path.join(file), read(file).replacen(&old, &side(diff, '+'), 1)).expect(file);
    }
}

/// Where it is built: kept from run to run.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("testing-kit")
}

#[test]
fn the_guide_finds_what_it_says() {
    let guide = fs::read_to_string(scenarios::root().join("docs/testing-kit.md")).expect("the guide");
    let blocks = blocks(&guide);
    let of = |language: &str| blocks.iter().filter(|b| b.language == language).collect::<Vec<_>>();
    let examples: Vec<&str> = of("rust").iter().filter_map(|b| b.file).collect();
    assert_eq!((examples.len(), of("text").len(), of("diff").len()), (4, 3, 3));
    let project = Crate::new(&blocks);
    let (passed, said) = project.test();
    assert!(!passed, "nothing is found:\n{said}");
    for line in of("text").iter().flat_map(|b| b.text.lines()) {
        assert!(said.contains(line), "nobody says {line}:\n{said}");
    }
    of("diff").iter().for_each(|diff| project.correct(&diff.text, &examples));
    let (passed, said) = project.test();
    assert!(passed, "{said}");
}
