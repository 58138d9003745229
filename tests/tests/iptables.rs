//! The iptables front end: goldens from real nodes, messages, text round trips.

use podhop_tests::iptables::{Random, rule_set};
use podhop_tests::scenarios::root;
use proptest::prelude::*;
use sim_core::kernel::netfilter::error::Place;
use sim_core::kernel::netfilter::parse::parse;
use sim_core::kernel::netfilter::restore::Restore;
use sim_core::kernel::netfilter::save::Options;
use sim_core::kernel::netfilter::{Backend, Iptables};

const BACKENDS: [Backend; 2] = [Backend::Legacy, Backend::Nft];

fn golden(name: &str) -> String {
    std::fs::read_to_string(root().join("tests/iptables").join(name)).expect("a golden")
}

/// Runs a command; what it prints, or how it fails.
fn run(iptables: &mut Iptables, line: &str) -> String {
    let words = sim_core::lab::lex::words(line).expect("words");
    let words: Vec<&str> = words.iter().map(|w| w.text.as_str()).collect();
    let place = Place { program: "iptables", backend: iptables.backend(), line: None };
    let done = parse(&words, None).and_then(|command| iptables.run(command));
    done.unwrap_or_else(|e| {
        let text = e.text(place);
        // The advice is the same each time.
        text.lines().filter(|l| !l.starts_with("Try ")).map(|l| format!("{l}\n")).collect()
    })
}

fn restore(iptables: &mut Iptables, text: &str, options: &str) -> String {
    let restore = Restore {
        counters: options.contains('c'),
        noflush: options.contains('n'),
        test: options.contains('t'),
        table: None,
        text: text.to_owned(),
        ..Restore::default()
    };
    let backend = iptables.backend();
    match iptables.restore(&restore) {
        Ok(()) => String::new(),
        Err((line, e)) => {
            let text = e.text(Place { program: "iptables-restore", backend, line: Some(line) });
            text.lines().filter(|l| !l.starts_with("Try ")).map(|l| format!("{l}\n")).collect()
        }
    }
}

fn save(iptables: &Iptables, counters: bool) -> String {
    iptables.save(Options { counters, ..Options::default() }).expect("no table was asked for")
}

/// The jumps that kube-proxy inserts one by one, in its order: each comes to stand first.
const JUMPS: [(&str, &str, &str, &str); 14] = [
    ("INPUT", "NEW", "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
    ("FORWARD", "NEW", "kubernetes externally-visible service portals", "KUBE-EXTERNAL-SERVICES"),
    ("INPUT", "", "kubernetes health check service ports", "KUBE-NODEPORTS"),
    ("FORWARD", "NEW", "kubernetes service portals", "KUBE-SERVICES"),
    ("OUTPUT", "NEW", "kubernetes service portals", "KUBE-SERVICES"),
    ("FORWARD", "", "kubernetes forwarding rules", "KUBE-FORWARD"),
    ("INPUT", "NEW", "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("OUTPUT", "NEW", "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("FORWARD", "NEW", "kubernetes load balancer firewall", "KUBE-PROXY-FIREWALL"),
    ("OUTPUT -t nat", "", "kubernetes service portals", "KUBE-SERVICES"),
    ("PREROUTING -t nat", "", "kubernetes service portals", "KUBE-SERVICES"),
    ("POSTROUTING -t nat", "", "kubernetes postrouting rules", "KUBE-POSTROUTING"),
    ("INPUT", "", "", "KUBE-FIREWALL"),
    ("OUTPUT", "", "", "KUBE-FIREWALL"),
];

#[test]
fn kubeadm_loads_and_prints_back() {
    for backend in BACKENDS {
        let mut iptables = Iptables::new(backend);
        if backend == Backend::Legacy {
            // The table that was used last is printed first: nat and filter were there before kube-proxy came.
            assert_eq!(run(&mut iptables, "-t nat -S -v").lines().count(), 4);
            assert_eq!(run(&mut iptables, "-S -v").lines().count(), 3);
        }
        assert_eq!(restore(&mut iptables, &golden("kubeadm.restore"), "n"), "");
        for (chain, state, comment, to) in JUMPS {
            let state = if state.is_empty() { String::new() } else { format!("-m conntrack --ctstate {state}") };
            let comment = if comment.is_empty() { String::new() } else { format!("-m comment --comment '{comment}'") };
            for command in ["-I", "-C"] {
                let jump = format!("{command} {chain} {state} {comment} -j {to}");
                assert_eq!(run(&mut iptables, &jump), "", "{jump}");
            }
        }
        let want = golden(&format!("kubeadm.save.{}", if backend == Backend::Legacy { "legacy" } else { "nft" }));
        assert_eq!(save(&iptables, false), want);
        // What it prints loads and prints the same.
        let mut again = Iptables::new(backend);
        assert_eq!(restore(&mut again, &want, ""), "");
        let sorted = |text: &str| {
            let mut tables: Vec<String> = text.split_inclusive("COMMIT\n").map(str::to_owned).collect();
            tables.sort();
            tables
        };
        assert_eq!(sorted(&save(&again, false)), sorted(&want));
    }
}

/// Measured with iptables 1.8.9 on Linux 6.18: a new name is not checked as that of a chain to be made, and may be too
/// long to restore.
#[test]
fn new_names_may_be_longer() {
    let cases = [
        (Backend::Legacy, 31, ""),
        (Backend::Legacy, 32, "iptables: Invalid argument. Run `dmesg' for more information.\n"),
        (Backend::Nft, 255, ""),
        (
            Backend::Nft,
            256,
            "iptables v1.8.9 (nf_tables):  CHAIN_RENAME failed (Numerical result out of range): chain ",
        ),
    ];
    for (backend, len, want) in cases {
        let mut iptables = Iptables::new(backend);
        assert_eq!(run(&mut iptables, "-N A"), "");
        let said = run(&mut iptables, &format!("-E A {}", "x".repeat(len)));
        assert_eq!(said.get(..want.len()).filter(|_| !want.is_empty()).unwrap_or(&said), want, "{backend:?} {len}");
    }
}

#[test]
fn later_matches_are_refused_by_name() {
    let text = "*mangle\n-A PREROUTING -p tcp -m connbytes --connbytes 9 -j ACCEPT\nCOMMIT\n";
    for backend in BACKENDS {
        let said = restore(&mut Iptables::new(backend), text, "");
        assert!(said.contains("Couldn't load match `connbytes':No such file"), "{said}");
        assert!(said.contains("Error occurred at line: 2\n"), "{said}");
    }
}

/// istio-init's rules: loaded, they print as the real iptables-save printed them.
#[test]
fn istio_text_loads() {
    let lines = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    for backend in BACKENDS {
        let mut iptables = Iptables::new(backend);
        assert_eq!(restore(&mut iptables, &golden("istio.restore"), ""), "");
        let (mut ours, mut want) = (lines(&save(&iptables, false)), lines(&golden("istio.save")));
        if backend == Backend::Legacy {
            // It keeps the order in which chains were made.
            ours.sort_unstable();
            want.sort_unstable();
        }
        assert_eq!(ours, want, "{backend:?}");
    }
}

#[test]
fn kube_proxy_text_loads() {
    for file in ["node1-kubenet.restore", "node2-flannel.restore"] {
        for backend in BACKENDS {
            let mut iptables = Iptables::new(backend);
            assert_eq!(restore(&mut iptables, &golden(file), ""), "");
            let once = save(&iptables, false);
            assert_eq!(restore(&mut iptables, &once, ""), "");
            assert_eq!(save(&iptables, false), once);
        }
    }
}

/// Commands one after the other, and what the real iptables 1.8.9 said to each, for both backends.
#[test]
fn messages() {
    let text = golden("messages");
    for backend in BACKENDS {
        let mut iptables = Iptables::new(backend);
        let mut wrong = String::new();
        let section = if backend == Backend::Legacy { "=== legacy" } else { "=== nft" };
        let lines = text.lines().skip_while(|l| *l != section).skip(1).take_while(|l| !l.starts_with("==="));
        let mut cases: Vec<(String, String)> = Vec::new();
        for line in lines {
            match (line.strip_prefix("$ "), cases.last_mut()) {
                (Some(command), _) => cases.push((command.to_owned(), String::new())),
                (None, Some((_, said))) => *said += &format!("{line}\n"),
                (None, None) => {}
            }
        }
        assert!(cases.len() > 50);
        for (command, want) in cases {
            let said = match command.strip_prefix("restore") {
                Some(text) => {
                    let (options, text) = text.split_once(": ").expect("restore OPTIONS: TEXT");
                    restore(&mut iptables, &text.replace("\\n", "\n"), options)
                }
                None if command == "new" => {
                    iptables = Iptables::new(backend);
                    String::new()
                }
                None if command == "save" => save(&iptables, true),
                None => run(&mut iptables, &command),
            };
            if said != want {
                wrong += &format!("{backend:?}: {command}\n--- want\n{want}--- said\n{said}");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_printed_loads_and_prints_the_same(seed in any::<u64>()) {
        for backend in BACKENDS {
            let text = rule_set(&mut Random(seed));
            let mut first = Iptables::new(backend);
            prop_assert_eq!(restore(&mut first, &text, "c"), "", "{}", text);
            let printed = save(&first, true);
            let mut second = Iptables::new(backend);
            prop_assert_eq!(restore(&mut second, &printed, "c"), "", "{}", printed);
            for (a, _) in first.tables() {
                let b = second.tables().map(|(t, _)| t).find(|t| t.name() == a.name()).expect("it was loaded");
                for (a, b) in a.chains().iter().zip(b.chains()) {
                    prop_assert_eq!((&a.name, a.base.map(|b| b.policy)), (&b.name, b.base.map(|b| b.policy)));
                    let rules = |c: &sim_core::kernel::netfilter::table::Chain| {
                        c.rules.iter().map(|s| (s.rule.clone(), s.to)).collect::<Vec<_>>()
                    };
                    prop_assert_eq!(rules(a), rules(b));
                }
            }
            // The order of tables is turned around each time by the legacy backend.
            if backend == Backend::Nft {
                prop_assert_eq!(save(&second, true), printed);
            }
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        for backend in BACKENDS {
            let text = format!("*filter\n{text}\n-A INPUT {text}\n:{text}\nCOMMIT\n");
            let _ = restore(&mut Iptables::new(backend), &text, "c");
        }
    }

    #[test]
    fn no_words_panic(seed in any::<u64>()) {
        let mut random = Random(seed);
        let mut words = rule_set(&mut random);
        // A valid rule set with bytes and words changed here and there.
        for _ in 0..1 + random.below(8) {
            let at = random.below(words.len() as u64) as usize;
            if !words.is_char_boundary(at) { continue }
            match random.below(4) {
                0 => words.truncate(at),
                1 => words.insert_str(at, random.one(&[" ! ", "\"", "/", ":", "-", "é", "\n", "99999999999", ","])),
                2 if at < words.len() => { words.remove(at); }
                _ => words.insert_str(at, random.one(&[" -j ", " -m tcp ", " --set ", " -s ", " -p ", " -D ", " -X "])),
            }
            if words.is_empty() { break }
        }
        for backend in BACKENDS {
            let mut iptables = Iptables::new(backend);
            let _ = restore(&mut iptables, &words, "");
            let printed = save(&iptables, true);
            if !printed.lines().all(|line| line == "COMMIT" || line.starts_with(['*', ':', '[', '#'])) {
                // An open quote takes the end of the line into a name: the real tool's text does not restore either.
                continue;
            }
            prop_assert_eq!(restore(&mut Iptables::new(backend), &printed, "c"), "", "{}", printed);
        }
    }
}
