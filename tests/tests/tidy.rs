//! What a test can keep of the conventions (CONTRIBUTING.md): sizes, floors, heads of files, words, links, and the
//! table of ARCHITECTURE.md.

use podhop_tests::scenarios::root;
use regex::Regex;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Longer files are split.
const MAX_FILE_LINES: usize = 800;
/// Longer functions are split.
const MAX_FUNCTION_LINES: usize = 70;
/// rustfmt keeps code within; comments are up to their authors.
const MAX_COLUMNS: usize = 120;

/// The floors of sim-core from bottom to top: a floor uses itself and lower ones.
const FLOORS: [&str; 10] =
    ["base", "wire", "kernel", "engine", "user", "lab", "cluster", "observe", "testing", "scenario"];
/// Listeners hear the kernel and know nothing of who configured it.
const OBSERVE_USES: [&str; 5] = ["base", "wire", "kernel", "engine", "observe"];

/// Kernel files that mirror no file of Linux: doors, and what the engine and the stages share.
const NOT_FROM_LINUX: [&str; 6] = ["mod.rs", "cx.rs", "netns.rs", "show.rs", "syscall.rs", "trace.rs"];

/// What no code holds, with what to use instead; clippy.toml knows more.
const NOWHERE: [(&str, &str); 6] = [
    (r"\btodo!", "finish it, or leave it out"),
    (r"\bunimplemented!", "finish it, or leave it out"),
    (r"\bdbg!", "remove it"),
    (r"(^|[^x])Hash(Map|Set)\b", "BTreeMap, or FxHashMap where it is only looked up"),
    (r"\bthread_rng\b", "base::Prf"),
    (r#"["'( ]/(home|root|Users|work)/"#, "a path of one machine: a relative one"),
];
/// The one file with a slot of the thread's: rustls never says which connection asks.
const SLOT: &str = "sim-core/src/user/tls/context.rs";
/// What sim-core holds nowhere.
const NOT_IN_THE_LIBRARY: [(&str, &str); 5] = [
    (r"\bRefCell\b", "one owner, `&mut`"),
    (r"\bthread_local!", "a parameter"),
    (r"\basync (fn|move)\b", "a state machine"),
    (r"\be?print(ln)?!", "the caller prints"),
    (r"\.(ln|log10|log2|exp|powf|powi)\(", "fixed point: floating point differs between machines"),
];

#[test]
fn files_and_lines_are_short() {
    check(|problems| {
        for file in rust_files("") {
            let lines = file.text.lines().count();
            if lines > MAX_FILE_LINES {
                problems.add(&file, 1, &format!("{lines} lines, at most {MAX_FILE_LINES}"));
            }
            for (number, line) in file.lines() {
                let columns = line.chars().count();
                if columns > MAX_COLUMNS {
                    problems.add(&file, number, &format!("{columns} columns, at most {MAX_COLUMNS}"));
                }
            }
        }
    });
}

#[test]
fn functions_are_short() {
    check(|problems| {
        for file in rust_files("") {
            // Tests are tables: as long as their data.
            let code = file.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&file.text);
            if is_test(&file.path) {
                continue;
            }
            for (number, name, lines) in functions(code) {
                if lines > MAX_FUNCTION_LINES {
                    let message = format!("fn {name} has {lines} lines, at most {MAX_FUNCTION_LINES}");
                    problems.add(&file, number, &message);
                }
            }
        }
    });
}

#[test]
fn lower_floors_do_not_know_upper_ones() {
    let path = Regex::new(r"\bcrate::([a-z_]+)").expect("a pattern");
    check(|problems| {
        for file in rust_files("sim-core/src") {
            let Some(own) = floor(&file.path) else { continue };
            let height = |name: &str| FLOORS.iter().position(|f| *f == name);
            for (number, line) in file.code() {
                for used in path.captures_iter(line).map(|c| c.get(1).expect("it is not optional").as_str()) {
                    let allowed =
                        if own == "observe" { OBSERVE_USES.contains(&used) } else { height(used) <= height(&own) };
                    if height(used).is_none() || !allowed {
                        problems.add(&file, number, &format!("{own} must not use crate::{used}"));
                    }
                }
            }
        }
    });
}

#[test]
fn kernel_files_name_what_they_mirror() {
    // A source file or folder of Linux, or a manual page.
    let source =
        Regex::new(r"\b(net|kernel|drivers|include)/[a-z]|\b\w+\.[ch]\b|\b[a-z-]+\([1-9]\)").expect("a pattern");
    let kernel = root().join("sim-core/src/kernel");
    check(|problems| {
        for file in rust_files("sim-core/src/kernel") {
            let head: String = file.text.lines().take_while(|l| l.starts_with("//!")).collect();
            let own = NOT_FROM_LINUX.iter().any(|name| root().join(&file.path) == kernel.join(name));
            if head.is_empty() {
                problems.add(&file, 1, "the file needs a head: //! and what it mirrors");
            } else if !own && !is_test(&file.path) && !source.is_match(&head) {
                problems.add(&file, 1, "its head names no file of Linux and no manual page");
            }
        }
        for name in NOT_FROM_LINUX.iter().filter(|name| !kernel.join(name).exists()) {
            problems.0 += &format!("NOT_FROM_LINUX lists {name}, which is gone\n");
        }
    });
}

#[test]
fn words_that_stay_out() {
    let compile = |words: &[(&str, &'static str)]| -> Vec<_> {
        words.iter().map(|(word, instead)| (Regex::new(word).expect("a pattern"), *instead)).collect()
    };
    let (nowhere, library) = (compile(&NOWHERE), compile(&NOT_IN_THE_LIBRARY));
    check(|problems| {
        for file in rust_files("").into_iter().filter(|f| !f.path.ends_with("tidy.rs")) {
            let inside = file.path.starts_with("sim-core/src");
            for (number, line) in file.code() {
                let allowed =
                    |word: &str| file.path == Path::new(SLOT) && !word.contains("async") && !word.contains("print");
                let words = nowhere.iter().chain(library.iter().filter(|(w, _)| inside && !allowed(w.as_str())));
                for (word, instead) in words.filter(|(word, _)| word.is_match(line)) {
                    problems.add(&file, number, &format!("{}: {instead}", word.find(line).map_or("", |m| m.as_str())));
                }
            }
        }
    });
}

/// The library runs in a browser, too: one file alone asks the machine for something, for those who have one.
#[test]
fn the_library_asks_no_machine() {
    const DOOR: &str = "sim-core/src/scenario/sources.rs";
    let machine = Regex::new(r"\bstd::(\{.*)?\b(env|fs|os|process|thread)\b").expect("a pattern");
    check(|problems| {
        for file in rust_files("sim-core/src").into_iter().filter(|f| f.path != Path::new(DOOR) && !is_test(&f.path)) {
            for (number, line) in file.code().filter(|(_, line)| machine.is_match(line)) {
                problems.add(&file, number, &format!("{}: only {DOOR} asks the machine", line.trim()));
            }
        }
    });
}

#[test]
fn where_is_it_decided() {
    const QUESTIONS: usize = 15;
    let file = read("ARCHITECTURE.md");
    let row =
        Regex::new(r"^\| (.+\?) \| `([^`]+)` \| `(fn|struct|enum|const|type|trait) (\w+)` \|").expect("a pattern");
    check(|problems| {
        let section = file.lines().skip_while(|(_, l)| *l != "## Where is it decided?").skip(1);
        let rows = section.take_while(|(_, l)| !l.starts_with("## ")).filter(|(_, l)| l.starts_with("| "));
        let mut questions = 0;
        // The first row is the table's head.
        for (number, line) in rows.skip(1) {
            questions += 1;
            let Some(cells) = row.captures(line) else {
                problems.add(&file, number, "not a question, a file and an item");
                continue;
            };
            let item =
                Regex::new(&format!(r"(?m)^ *(pub(\([^)]*\))? )?{} {}\b", &cells[3], &cells[4])).expect("a pattern");
            match fs::read_to_string(root().join(&cells[2])) {
                Ok(text) if item.is_match(&text) => {}
                Ok(_) => problems.add(&file, number, &format!("{} has no {} {}", &cells[2], &cells[3], &cells[4])),
                Err(e) => problems.add(&file, number, &format!("{}: {e}", &cells[2])),
            }
        }
        if questions != QUESTIONS {
            problems.add(&file, 1, &format!("{questions} questions, not {QUESTIONS}"));
        }
    });
}

#[test]
fn links_lead_somewhere() {
    let link = Regex::new(r"\]\(([^)#\s]+)[^)]*\)").expect("a pattern");
    check(|problems| {
        for file in files("", "md") {
            let folder = root().join(file.path.parent().unwrap_or(Path::new("")));
            for (number, line) in file.lines() {
                for target in link.captures_iter(line).map(|c| c[1].to_owned()) {
                    if !target.contains("://") && !folder.join(&target).exists() {
                        problems.add(&file, number, &format!("{target} does not exist"));
                    }
                }
            }
        }
    });
}

#[test]
fn lessons_are_whole() {
    check(|problems| {
        let mut lessons = 0;
        for part in ["scenarios/articles", "scenarios/labs"] {
            for folder in folders(part) {
                lessons += 1;
                let has = |file: &str, text: &str| {
                    fs::read_to_string(root().join(&folder).join(file)).is_ok_and(|t| t.contains(text))
                };
                for (file, text) in [("README.md", "# "), ("scenario.yaml", "\n  expect:")] {
                    if !has(file, text) {
                        let _ =
                            writeln!(problems.0, "{}: {file} with \"{}\" is missing", folder.display(), text.trim());
                    }
                }
            }
        }
        if lessons == 0 {
            problems.0 += "there are no lessons\n";
        }
    });
}

#[test]
fn functions_are_measured() {
    let text = "
impl A {
    pub(crate) const fn one() -> u8 {
        1
    }
}
trait B {
    fn declared(&self);

    fn two(
        &self,
    ) {
    }
    fn short() {}
}
";
    assert_eq!(functions(text), [(3, "one".to_owned(), 3), (10, "two".to_owned(), 4)]);
}

/// What is wrong, a line each.
struct Problems(String);

impl Problems {
    fn add(&mut self, file: &Text, line: usize, message: &str) {
        let _ = writeln!(self.0, "{}:{line}: {message}", file.path.display());
    }
}

/// Gathers all problems of one rule before it fails.
fn check(rule: impl FnOnce(&mut Problems)) {
    let mut problems = Problems(String::new());
    rule(&mut problems);
    assert!(problems.0.is_empty(), "\n{}", problems.0);
}

/// A file of the project.
struct Text {
    /// Relative to the project's folder.
    path: PathBuf,
    text: String,
}

impl Text {
    /// Lines with their numbers from 1.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }

    /// As [`Text::lines`], without comments. A string that holds two slashes is cut, which hides nothing that is looked
    /// for.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
    }
}

fn read(path: &str) -> Text {
    let text = fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Text { path: path.into(), text }
}

fn rust_files(below: &str) -> Vec<Text> {
    files(below, "rs")
}

/// The project's files below a folder with this extension, sorted.
fn files(below: &str, extension: &str) -> Vec<Text> {
    let mut found = vec![];
    let mut left = vec![root().join(below)];
    while let Some(folder) = left.pop() {
        for path in entries(&folder) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // What is built and what git and others keep for themselves.
            let foreign = name.starts_with('.') || name == "target" || name == "node_modules" || name == "podhop-out";
            if path.is_dir() && !foreign {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == extension) {
                let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
                found.push(Text { path: path.strip_prefix(root()).expect("found below it").to_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "no .{extension} below {below:?}");
    found
}

/// The folders in a folder of the project, relative to it.
fn folders(below: &str) -> Vec<PathBuf> {
    let all = entries(&root().join(below));
    all.iter().filter(|p| p.is_dir()).map(|p| p.strip_prefix(root()).expect("found below it").to_owned()).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|e| e.expect("a folder that can be read").path()).collect();
    paths.sort();
    paths
}

/// The floor of a file in sim-core/src; none for lib.rs.
fn floor(path: &Path) -> Option<String> {
    let first = path.strip_prefix("sim-core/src").ok()?.components().next()?;
    let name = first.as_os_str().to_string_lossy().into_owned();
    (name != "lib.rs").then_some(name)
}

/// In a folder of tests, or a file of them beside the code.
fn is_test(path: &Path) -> bool {
    path.with_extension("").components().skip(1).any(|part| part.as_os_str() == "tests")
}

/// The functions of a formatted file: line, name and length. rustfmt closes a body with a brace below the start of its
/// signature, and writes a short body in one line.
fn functions(text: &str) -> Vec<(usize, String, usize)> {
    let start = Regex::new(r"^( *)(?:pub(?:\([^)]*\))? )?(?:(?:const|unsafe|async) )*fn (\w+)").expect("a pattern");
    let lines: Vec<&str> = text.lines().collect();
    let mut found = vec![];
    for (at, line) in lines.iter().enumerate() {
        let Some(parts) = start.captures(line) else { continue };
        let (indent, name) = (&parts[1], &parts[2]);
        let ends = |l: &&str| {
            l.strip_prefix(indent).is_some_and(|l| l.starts_with('}') || l.starts_with(')') && l.ends_with(';'))
        };
        if line.ends_with(['}', ';']) {
            continue;
        }
        let Some(length) = lines[at + 1..].iter().position(ends) else { continue };
        if lines[at + 1 + length].ends_with(';') {
            continue;
        }
        found.push((at + 1, name.to_owned(), length + 2));
    }
    found
}
