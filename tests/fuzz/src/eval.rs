//! The dumps of a node, and assertions about it: parts of the input, between lines `%%`, in the order of [`Dumps`].

use sim_core::scenario::eval::{self, Dumps, Node, Origin, Question};
use sim_core::scenario::{Diagnostics, SourceFile};
use sim_core::testing::Packet;

/// What parts the dumps.
const BETWEEN: &str = "\n%%\n";
/// What is asked of a node: from where and to where.
const PACKETS: [(Option<&str>, &str, &str); 3] = [
    (Some("eth0"), "192.0.2.9:1000", "10.0.0.1:80"),
    (Some("br0"), "10.0.0.2:1000", "10.96.0.1:80"),
    (None, "10.0.0.1:1000", "10.96.0.1:80"),
];

/// Loads the dumps. All errors render, each in its file; a node that loads answers.
pub(crate) fn run(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut parts = text.split(BETWEEN);
    let rules = SourceFile::new("rules", parts.next().unwrap_or_default());
    let mut next = |name: &str| parts.next().map(|part| SourceFile::new(name, part));
    let dumps = Dumps {
        rules,
        addresses: next("addresses"),
        links: next("links"),
        routes: next("routes"),
        policy: next("rule"),
        sysctls: next("sysctl"),
    };
    let assertions = next("assertions");
    match Node::load(&dumps) {
        Ok(node) => {
            render(&node.warnings);
            ask(&node);
            if let Some(source) = assertions {
                let checked = eval::parse_assertions(&source).and_then(|all| eval::check(&node, &source, &all));
                checked.map_or_else(|errors| render(&errors), drop);
            }
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "no node, and no error");
            render(&errors);
        }
    }
}

fn ask(node: &Node) {
    for (dev, src, dst) in PACKETS {
        let from = dev.map_or(Origin::Local, |dev| Origin::Device(dev.to_owned()));
        for packet in [Packet::tcp(src, dst), Packet::udp(src, dst), Packet::ping(src, dst)] {
            let question =
                Question { from: from.clone(), packet, mark: 0, established: false, packets: 2, all_choices: true };
            if let Ok(answer) = node.ask(&question) {
                assert!(!answer.ways.is_empty(), "no way at all");
                assert!(!answer.text(false).is_empty() && answer.json().is_object());
            }
        }
    }
}

fn render(errors: &Diagnostics) {
    assert!(errors.is_empty() || !errors.render(false).is_empty());
}
