//! Answers as text for people and as JSON for programs.

use super::{Answer, Ending, PathStep, Rule, Turn, Way};
use serde_json::{Value, json};
use std::fmt::Write as _;

impl Answer {
    /// For people: each way with its odds, and below it the path of each packet. `brief` leaves the paths out.
    pub fn text(&self, brief: bool) -> String {
        let mut out = String::new();
        for (n, way) in self.ways.iter().enumerate() {
            if n > 0 && !brief {
                out.push('\n');
            }
            out += &way.text(brief);
        }
        out
    }

    /// For programs: docs/schemas/iptables-eval.v1.json.
    pub fn json(&self) -> Value {
        json!({"format": "podhop/iptables-eval/v1", "ways": self.ways})
    }
}

impl Way {
    /// Its odds and its end, in one line.
    fn headline(&self) -> String {
        let odds = self.odds.map_or(String::new(), |odds| format!("{odds}: "));
        let end = self.turns.first().map_or(String::new(), |turn| turn.end.to_string());
        let endpoint = self.endpoint.as_ref().map_or(String::new(), |e| format!("to {e}, "));
        let masqueraded = if self.masqueraded { ", masqueraded" } else { "" };
        format!("{odds}{endpoint}{end}{masqueraded}\n")
    }

    fn text(&self, brief: bool) -> String {
        let mut out = self.headline();
        for turn in self.turns.iter().filter(|_| !brief) {
            turn.write(&mut out);
        }
        out
    }
}

impl Turn {
    fn write(&self, out: &mut String) {
        let Turn { device, protocol, source, destination, path, end } = self;
        let from = device.as_ref().map_or("a process of this node".to_owned(), Clone::clone);
        let _ = writeln!(out, "  {protocol} {source} > {destination} from {from}");
        for step in path {
            step.write(out);
        }
        let _ = writeln!(out, "    {end}");
    }
}

impl PathStep {
    fn write(&self, out: &mut String) {
        let PathStep { what, text, table, line } = self;
        let _ = match (*what, table) {
            ("hook", _) => writeln!(out, "    {text}"),
            (_, Some(table)) => {
                let line = line.map_or(String::new(), |line| line.to_string());
                writeln!(out, "    {line:>7}  {table}: {text}")
            }
            _ => writeln!(out, "             {text}"),
        };
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Rule { table, line, text, .. } = self;
        match line {
            Some(line) => write!(f, "line {line}: {table}: {text}"),
            None => write!(f, "{table}: {text}"),
        }
    }
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Sent { devices, source, destination } => {
                write!(f, "sent by {} as {source} > {destination}", devices.join(" and "))
            }
            Ending::Local { source, destination } => write!(f, "delivered to this node as {source} > {destination}"),
            Ending::Dropped { reason, by: Some(by), .. } => write!(f, "dropped ({reason}) by {by}"),
            Ending::Dropped { reason, meaning, by: None } => write!(f, "dropped ({reason}): {meaning}"),
            Ending::Rejected { by, .. } => write!(f, "rejected by {by}"),
            Ending::Waits => f.write_str("waits for its other fragments or for a neighbour"),
            Ending::NotSent { error } => write!(f, "not sent: {error}"),
        }
    }
}
