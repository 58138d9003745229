use super::*;
use proptest::prelude::*;

fn tree(text: &str) -> (Option<Node>, Diagnostics) {
    let mut errors = Diagnostics::default();
    let root = read(&SourceFile::new("f.yaml", text), &mut errors);
    (root, errors)
}

/// The tree on one line: what a scalar became, and `text` of its span after an `@`.
fn print(text: &str, node: &Node) -> String {
    let at = &text[node.span.clone()];
    match &node.kind {
        Kind::Null => "null".to_owned(),
        Kind::Bool(value) => value.to_string(),
        Kind::Integer(number) => number.to_string(),
        Kind::Negative(number) => number.to_string(),
        Kind::String(value) => format!("{value:?}@{at}"),
        Kind::List(items) => {
            let items: Vec<_> = items.iter().map(|item| print(text, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Kind::Map(entries) => {
            let entry = |e: &Entry| format!("{}@{}: {}", e.key, &text[e.key_span.clone()], print(text, &e.value));
            let entries: Vec<_> = entries.iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

#[test]
fn scalars() {
    let plain = |text: &str| tree(&format!("- {text}\n")).0.unwrap().item(0).unwrap().kind.clone();
    for text in ["", "~", "null", "Null", "NULL"] {
        assert_eq!(plain(text), Kind::Null, "{text}");
    }
    for (text, number) in [("0", 0), ("7", 7), ("18446744073709551615", u64::MAX)] {
        assert_eq!(plain(text), Kind::Integer(number), "{text}");
    }
    for (text, number) in [("-1", -1), ("-9223372036854775808", i64::MIN)] {
        assert_eq!(plain(text), Kind::Negative(number), "{text}");
    }
    assert_eq!([plain("true"), plain("false")], [Kind::Bool(true), Kind::Bool(false)]);
    for text in [
        "0777",
        "08",
        "-0",
        "+1",
        "1_000",
        "0x1f",
        "0o17",
        "1.10",
        "1e3",
        "1e999",
        ".inf",
        ".nan",
        "yes",
        "no",
        "on",
        "off",
        "True",
        "TRUE",
        "y",
        "12:30:45",
        "2022-06-01",
        "18446744073709551616",
        "-9223372036854775809",
        "<<",
        "-",
        "--",
    ] {
        if text != "-" {
            assert_eq!(plain(text), Kind::String(text.to_owned()));
        }
        assert_eq!(plain(&format!("\"{text}\"")), Kind::String(text.to_owned()));
    }
    for text in ["7", "true", "", "null"] {
        assert_eq!(plain(&format!("'{text}'")), Kind::String(text.to_owned()));
        assert_eq!(plain(&format!("!!str {text}")), Kind::String(text.to_owned()));
    }
}

#[test]
fn places() {
    for (text, want) in [
        ("a: 1\nbc:\n  d: [x, 'y']\n", r#"{a@a: 1, bc@bc: {d@d: ["x"@x, "y"@'y']}}"#),
        ("é: ü\nx: \"\\u00e9\"\r\n", r#"{é@é: "ü"@ü, x@x: "é"@"\u00e9"}"#),
        ("\"a b\": c d\n  e\n", "{a b@\"a b\": \"c d e\"@c d\n  e}"),
        ("a: |\n  \tb\n", "{a@a: \"\\tb\\n\"@\tb\n}"),
        ("a: &x {b: c}\nd: *x\n", r#"{a@a: {b@b: "c"@c}, d@d: {b@b: "c"@c}}"#),
        ("7: a\ntrue: b\n~: c\n", r#"{7@7: "a"@a, true@true: "b"@b, ~@~: "c"@c}"#),
        ("a: {b, c: }\n", "{a@a: {b@b: null, c@c: null}}"),
    ] {
        let (root, errors) = tree(text);
        assert!(errors.is_empty(), "{errors}");
        assert_eq!(print(text, &root.unwrap()), want, "{text}");
    }
}

#[test]
fn maps_begin_at_their_first_key_and_end_with_their_last_value() {
    for (text, want) in [
        ("# c\n\na:\n  # d\n  b: 1\n  c: xyz\n\n# e\n", "b: 1\n  c: xyz"),
        ("a: { b: 1 , }\n", "{ b: 1 , }"),
        ("a:\n  b:\n", "b"),
        ("a:\n- x\n- y\n\n", "x\n- y"),
        ("a: [ x ]\n", "[ x ]"),
    ] {
        let root = tree(text).0.unwrap();
        assert_eq!(&text[root.entry("a").unwrap().value.span.clone()], want, "{text}");
    }
    // What is not there has the place of its key.
    let root = tree("a: 1\nb:\n\n\nc: 2\n").0.unwrap();
    assert_eq!(root.entry("b").unwrap().value, Node { span: 5..6, kind: Kind::Null, plain: true });
}

#[test]
fn errors() {
    for (text, place, message) in [
        ("a:\n\tb: 1\n", "2:1", "a tab cannot indent a line"),
        ("a:\n  \tb: 1\n", "2:3", "a tab cannot indent a line"),
        ("a: b: c\n", "1:5", "a `:` cannot stand here"),
        ("a: [1, 2\n", "1:4", "this `[` is not closed"),
        ("a: {b: 2\n", "1:4", "this `{` is not closed"),
        ("a: [1]]\n", "1:7", "this bracket closes nothing"),
        ("a: [1}\n", "1:4", "this `[` is closed by `}`"),
        ("a: \"x\n", "2:1", "a quote that was opened before is not closed here"),
        ("a: 'x' y\n", "1:8", "something follows the closing quote"),
        ("a: \"x\" y\n", "1:8", "something follows the closing quote"),
        ("a: \"\\q\"\n", "1:4", "this string has an unknown `\\` escape"),
        ("a: @x\n", "1:4", "a value cannot begin with this character"),
        ("a: *x\n", "1:4", "this alias repeats nothing"),
        ("a: &x [*x]\n", "1:8", "this alias stands inside the value that it repeats"),
        ("- a\nb: 1\n", "2:1", "this line does not fit the lines above"),
        (" a: 1\nb: 1\n", "2:1", "this line does not fit the lines above"),
        ("a: - b\n", "1:4", "a list cannot begin here"),
        ("a: 1\nb\n", "2:1", "a `:` is missing after this key"),
        ("a: 1\n---\nb: 1\n", "2:1", "a second document begins here"),
        ("a: !x b\n", "1:4", "the tag `!x` has no meaning here"),
        ("a: !!int 7\n", "1:4", "the tag `tag:yaml.org,2002:int` has no meaning here"),
        ("<<: {a: 1}\n", "1:1", "merge keys (`<<`) are not read"),
        ("{a: b}: 1\n", "1:1", "a map cannot be a key"),
        ("[a]: 1\n", "1:1", "a list cannot be a key"),
        (": 1\n", "1:1", "there is no key before the `:`"),
        ("a: 1\nb: 2\na: 3\n", "3:1", "the key `a` stands twice in this map"),
        ("a: \u{1}\n", "1:4", "a value cannot begin with this character"),
    ] {
        let (_, errors) = tree(text);
        let got: Vec<_> = errors
            .iter()
            .map(|e| {
                let at = e.file.position(e.span.start);
                (format!("{}:{}", at.line, at.column), e.message.as_str())
            })
            .collect();
        assert_eq!(got, [(place.to_owned(), message)], "{text:?}");
    }
}

#[test]
fn keys_that_stand_twice_are_all_reported_and_the_first_stays() {
    let text = "a: 1\n'a': 2\nb: {c: 1, c: 2}\na: 3\n7: x\n\"7\": y\n";
    let (root, errors) = tree(text);
    let got: Vec<_> = errors.iter().map(|e| (e.span.clone(), e.notes[0].0.clone())).collect();
    assert_eq!(got, [(5..8, 0..1), (22..23, 16..17), (28..29, 0..1), (38..41, 33..34)]);
    assert_eq!(print(text, &root.unwrap()), "{a@a: 1, b@b: {c@c: 1}, 7@7: \"x\"@x}");
}

#[test]
fn limits() {
    let flow = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let block = |depth: usize| (0..depth).map(|i| format!("{}a:\n", " ".repeat(i))).collect::<String>();
    let too_deep = "lists and maps are nested more than 64 deep here (MAX_DEPTH)";
    let too_many = "anchors and aliases repeat more than 100000 values (MAX_ALIAS_NODES)";
    let deep_aliases = (1..70).fold("- &a0 []\n".to_owned(), |text, i| format!("{text}- &a{i} [*a{}]\n", i - 1));
    let bomb = (1..9).fold("- &a0 [x]\n".to_owned(), |text, i| {
        format!("{text}- &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "))
    });
    for (text, want) in [
        (flow(MAX_DEPTH), None),
        (flow(MAX_DEPTH + 1), Some(too_deep)),
        (flow(100_000), Some(too_deep)),
        (block(MAX_DEPTH), None),
        (block(MAX_DEPTH + 1), Some(too_deep)),
        (deep_aliases, Some(too_deep)),
        (bomb, Some(too_many)),
        ("- [".to_owned() + &"x,".repeat(MAX_NODES - 2) + "]", None),
        (
            "- [".to_owned() + &"x,".repeat(MAX_NODES - 1) + "]",
            Some("the file has more than 2000000 values (MAX_NODES)"),
        ),
    ] {
        let (root, errors) = tree(&text);
        assert_eq!(errors.iter().next().map(|e| e.message.as_str()), want, "{text:.40}");
        assert_eq!(root.is_some(), want.is_none());
    }
}

#[test]
fn many_errors_are_cut() {
    let (_, errors) = tree(&"a: 1\n".repeat(100_000));
    assert!(errors.is_full());
    assert!(errors.render(false).ends_with("\nThese are 100 errors; there may be more.\n"));
}

fn check_spans(text: &str, node: &Node) {
    assert!(text.get(node.span.clone()).is_some(), "{:?}", node.span);
    match &node.kind {
        Kind::List(items) => items.iter().for_each(|item| check_spans(text, item)),
        Kind::Map(entries) => entries.iter().for_each(|entry| {
            assert!(text.get(entry.key_span.clone()).is_some(), "{:?}", entry.key_span);
            check_spans(text, &entry.value);
        }),
        _ => {}
    }
}

/// The characters that mean something in YAML, and some others.
const ANY_TEXT: &str = concat!("(?s)[ \\n\\t:,\\-\\[\\]{}'\"#&*!|>%@~?<\\\\a-cé0-9\u{feff}\r]{0,60}", "|.{0,40}");

proptest! {
    #[test]
    fn any_text_is_a_tree_or_errors(text in ANY_TEXT) {
        let source = SourceFile::new("f.yaml", text);
        let mut errors = Diagnostics::default();
        let root = read(&source, &mut errors);
        let empty = source.text().trim().is_empty() || !source.text().contains(':');
        prop_assert!(root.is_some() || !errors.is_empty() || empty);
        if let Some(root) = root {
            check_spans(source.text(), &root);
        }
        for error in &errors {
            prop_assert!(source.text().get(error.span.clone()).is_some());
            prop_assert!(error.render(false).contains(&error.message[..1]));
        }
    }
}
