use super::*;

#[test]
fn positions_count_characters() {
    let file = SourceFile::new("f", "\u{feff}aé日x\r\n\nlast");
    for (needle, line, column) in [("a", 1, 1), ("é", 1, 2), ("日", 1, 3), ("x", 1, 4), ("last", 3, 1), ("st", 3, 3)]
    {
        let at = file.text().find(needle).unwrap();
        assert_eq!(file.position(at), Position { line, column }, "{needle}");
    }
    // Inside of a character, and behind the end.
    assert_eq!(file.position(2), Position { line: 1, column: 2 });
    assert_eq!(file.position(1000), Position { line: 3, column: 5 });
    assert_eq!(SourceFile::new("f", "").position(0), Position { line: 1, column: 1 });
    assert_eq!(SourceFile::new("f", "a\n").position(2), Position { line: 2, column: 1 });
}

#[test]
fn renders() {
    let file = SourceFile::new("dir/f.yaml", "a: 1\nbé: [x, 日本, y]\n\tc: \u{1b}[31m\n");
    let at = |needle: &str| {
        let start = file.text().find(needle).unwrap();
        start..start + needle.len()
    };
    for (diagnostic, want) in [
        (
            Diagnostic::new(&file, at("日本"), "no good").hint("a \u{1b}[31mhint"),
            concat!(
                "error: no good\n --> dir/f.yaml:2:9\n  |\n2 | bé: [x, 日本, y]\n",
                "  |         ^^^^\n  |\n  = help: a ␛[31mhint"
            ),
        ),
        (
            Diagnostic::new(&file, at("y"), "twice").note(at("a"), "first"),
            "error: twice\n --> dir/f.yaml:2:13\n  |\n1 | a: 1\n  | - first\n2 | bé: [x, 日本, y]\n  |               ^",
        ),
        // Several lines are cut to the first, what cannot be printed is shown.
        (
            Diagnostic::new(&file, at("c").start..1000, "\u{1b}[31m"),
            "error: ␛[31m\n --> dir/f.yaml:3:2\n  |\n3 |     c: ␛[31m\n  |     ^^^^^^^^",
        ),
        (Diagnostic::new(&file, 1000..2000, "end"), "error: end\n --> dir/f.yaml:4:1\n  |\n4 |\n  | ^"),
    ] {
        assert_eq!(diagnostic.render(false), want);
        let Position { line, column } = file.position(diagnostic.span.start);
        assert!(want.contains(&format!("dir/f.yaml:{line}:{column}\n")), "{want}");
        assert!(diagnostic.render(true).contains("\u{1b}[1m"));
    }
    let json = serde_json::to_string(&Diagnostic::new(&file, at("日本"), "m").note(at("a"), "n")).unwrap();
    let want = r#"{"severity":"error","file":"dir/f.yaml","line":2,"column":9,"endLine":2,"endColumn":11,"#;
    assert_eq!(json, format!(r#"{want}"message":"m","hint":null,"notes":[{{"line":1,"column":1,"message":"n"}}]}}"#));
}

/// Found by fuzzing: an error between the line and its last character.
#[test]
fn a_place_in_the_end_of_a_line() {
    let file = SourceFile::new("f", "?\r\r\nb\r");
    for (at, want) in [(3, "error: m\n --> f:1:2\n  |\n1 | ?\n  |  ^"), (6, "error: m\n --> f:2:2\n  |\n2 | b\n  |  ^")]
    {
        assert_eq!(Diagnostic::new(&file, at..at, "m").render(false), want);
    }
}

#[test]
fn far_notes_and_long_lines_have_no_long_snippets() {
    let file = SourceFile::new("f", format!("a: 1\n{}a: 2\n", "# c\n".repeat(100_000)));
    let twice = Diagnostic::new(&file, file.text().len() - 5..file.text().len() - 4, "twice").note(0..1, "first");
    let want = [
        "error: twice",
        "      --> f:100002:1",
        "       |",
        "100002 | a: 2",
        "       | ^",
        "       |",
        "      ::: f:1:1",
        "       |",
        "     1 | a: 1",
        "       | - first",
    ];
    assert_eq!(twice.render(false).lines().collect::<Vec<_>>(), want);
    let file = SourceFile::new("f", "x".repeat(1_000_000));
    assert_eq!(Diagnostic::new(&file, 5000..5001, "long").render(false), "error: long\n--> f:1:5001");
}

#[test]
fn lists_are_sorted_and_have_no_repetitions() {
    let file = SourceFile::new("f", "abc");
    let mut list = Diagnostics::default();
    for (at, message) in [(2, "c"), (0, "b"), (0, "a"), (2, "c")] {
        list.push(Diagnostic::new(&file, at..at + 1, message));
    }
    assert_eq!(list.iter().map(|d| d.message.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(list.to_string().matches("\n\nerror: ").count(), 2);
}

#[test]
fn quotes() {
    for (text, want) in [("a", "`a`"), ("a\nb\u{1b}", "`a\\nb\\u{1b}`"), ("", "``"), ("日", "`日`")] {
        assert_eq!(quote(text), want);
    }
    assert_eq!(quote(&"x".repeat(100)).chars().count(), MAX_QUOTED_CHARS + 3);
}
