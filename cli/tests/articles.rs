//! docs/articles.md: what an article types is typed here, and prints what the table says.

use podhop_tests::scenarios::{has_form, root};
use std::process::Command;

/// Articles that have a table, and so many lines of it that are commands, at least.
const TABLES: [(&str, usize); 4] = [("## 000: ", 5), ("## 001: ", 20), ("## 002: ", 10), ("## 003: ", 3)];

/// A line of a table.
struct Line<'a> {
    lesson: &'a str,
    place: &'a str,
    command: &'a str,
    prints: Vec<&'a str>,
}

#[test]
fn commands_of_articles_print_what_their_table_says() {
    let text = std::fs::read_to_string(root().join("docs/articles.md")).expect("docs/articles.md");
    for (title, at_least) in TABLES {
        let (_, section) = text.split_once(title).expect(title);
        // A bar of an article's own command line has a backslash in front.
        let section = section.split("\n##").next().expect("there is a first").replace("\\|", "");
        let lines: Vec<Line<'_>> = section.lines().filter(|l| l.starts_with("| ")).skip(1).filter_map(line).collect();
        assert!(lines.len() >= at_least, "{title}: {} commands", lines.len());
        for line in lines {
            check(&line);
        }
    }
}

/// None for a command that is not simulated, which must say why.
fn line(text: &str) -> Option<Line<'_>> {
    let cells: Vec<&str> = text.trim().trim_matches('|').split('|').map(str::trim).collect();
    let [_, lesson, place, command, prints] = cells[..] else { panic!("five columns: {text}") };
    if lesson.is_empty() {
        let why = command.strip_prefix("not simulated: ").unwrap_or_default();
        assert!(place.is_empty() && prints.is_empty() && !why.is_empty(), "{text}");
        return None;
    }
    let lesson = lesson.split_once("](../").and_then(|(_, link)| link.strip_suffix("README.md)")).expect(text);
    Some(Line { lesson, place, command: code(command)[0], prints: code(prints) })
}

/// What stands in backquotes.
fn code(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn check(line: &Line<'_>) {
    let scenario = format!("{}scenario.yaml", line.lesson);
    let mut podhop = Command::new(env!("CARGO_BIN_EXE_podhop"));
    let out = podhop.args(["exec", "-q", &scenario, line.place, "--", line.command]).current_dir(root()).output();
    let out = out.expect("podhop runs");
    let text = String::from_utf8_lossy(&out.stdout);
    let what = format!("{scenario} {} -- {}", line.place, line.command);
    assert!(out.status.success(), "{what}: {}", String::from_utf8_lossy(&out.stderr));
    assert_eq!(text.is_empty(), line.prints.is_empty(), "{what}: {text}");
    let mut printed = text.lines().map(words);
    for pattern in &line.prints {
        let pattern = words(pattern);
        assert!(printed.any(|line| has_form(&line, &pattern)), "{what}: {pattern} is missing in\n{text}");
    }
}

/// The line with one blank between its words.
fn words(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
