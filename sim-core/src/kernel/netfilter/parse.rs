//! The words of an iptables command become a request (iptables/xshared.c: do_parse; iptables/iptables.c: do_command4).

use super::error::Error;
use super::extension::{self, Extension, Given, Spec};
use super::hook::TableName;
use super::list::Format;
use super::matches::Match;
use super::rule::{Conditions, Iface, Rule};
use super::targets::Target;
use super::words::{self, Getopt, Long, Opt};

/// A chain's name is shorter than this, in bytes (`XT_EXTENSION_MAXNAMELEN`).
pub const MAX_CHAIN_NAME: usize = 29;
/// A rule is written for at most so many pairs of addresses.
pub const MAX_ADDRESSES: usize = 4096;

/// A command of iptables.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    /// The table's name as it was given; it may not exist.
    pub table: String,
    /// What it does there.
    pub action: Action,
    /// `-v`: `-S` prints counters.
    pub verbose: bool,
}

impl Command {
    /// It prints what is there.
    pub fn lists(&self) -> bool {
        matches!(self.action, Action::List(..) | Action::ListRules(..))
    }
}

/// What a command does. Chains are named; rule numbers count from 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// `-A`: one rule for each pair of addresses.
    Append(String, Vec<Rule>, Counters),
    /// `-I`, at that number.
    Insert(String, u32, Vec<Rule>, Counters),
    /// `-D` with a rule.
    Delete(String, Vec<Rule>),
    /// `-D` with a number.
    DeleteNumber(String, u32),
    /// `-C`
    Check(String, Vec<Rule>),
    /// `-R`
    Replace(String, u32, Box<Rule>, Counters),
    /// `-L`: of one chain, or one rule of it.
    List(Option<String>, Option<u32>, Format),
    /// `-S`: of one chain, or one rule of it.
    ListRules(Option<String>, Option<u32>),
    /// `-F`
    Flush(Option<String>),
    /// `-Z`
    Zero(Option<String>, Option<u32>),
    /// `-N`
    New(String),
    /// `-X`
    DeleteChain(Option<String>),
    /// `-E`, from and to.
    Rename(String, String),
    /// `-P`
    Policy(String, String, Option<Counters>),
    /// A line for another address family (`-6`).
    Nothing,
}

impl Action {
    /// The rules that it names in full.
    pub(super) fn rules(&self) -> &[Rule] {
        match self {
            Action::Append(_, rules, _)
            | Action::Insert(_, _, rules, _)
            | Action::Delete(_, rules)
            | Action::Check(_, rules) => rules,
            Action::Replace(_, _, rule, _) => std::slice::from_ref(rule),
            _ => &[],
        }
    }
}

/// Packets and bytes.
pub type Counters = (u64, u64);

/// Reads the words after the program's name. `restore` says that they are a line of iptables-restore for that table.
///
/// # Errors
/// What iptables says of them.
pub fn parse(words: &[&str], restore: Option<TableName>) -> Result<Command, Error> {
    let mut parser = Parser::new(words, restore);
    while let Some(opt) = parser.getopt.next(&parser.longs) {
        match opt {
            Opt::Own('4', _) => {}
            Opt::Own('6', _) if restore.is_some() => {
                return Ok(Command { table: parser.table, action: Action::Nothing, verbose: false });
            }
            Opt::Own(letter, arg) => parser.own(letter, arg)?,
            Opt::Extension(id, arg) => parser.extension(id, arg.unwrap_or_default())?,
            Opt::Word("!") if parser.invert => return Err(Error::usage("multiple consecutive ! not allowed")),
            Opt::Word("!") => {
                parser.invert = true;
                continue;
            }
            Opt::Word(word) => return Err(Error::Argument(format!("Bad argument `{word}'"))),
            Opt::Missing(word) => return Err(Error::usage(format!("option \"{word}\" requires an argument"))),
            Opt::Unknown(word) => {
                if parser.load_protocol() {
                    parser.getopt.again();
                    continue;
                }
                return Err(Error::usage(format!("unknown option \"{word}\"")));
            }
        }
        parser.invert = false;
    }
    parser.finish()
}

/// A match or target whose options are being read.
struct Loading<T> {
    what: T,
    /// Which options it has been given.
    seen: u32,
    /// By when its options were loaded; those of one name share it.
    id: usize,
}

struct Parser<'a> {
    getopt: Getopt<'a>,
    /// The options of extensions, those loaded last first.
    longs: Vec<Long>,
    loaded: usize,
    invert: bool,
    restore: Option<TableName>,
    table: String,
    table_set: bool,
    /// The commands given, by their letter.
    command: Option<char>,
    chain: Option<&'a str>,
    number: Option<u32>,
    second: &'a str,
    /// The options given, by their letter.
    options: String,
    conditions: Conditions,
    src: Option<&'a str>,
    dst: Option<&'a str>,
    protocol: Option<String>,
    /// The protocol's match was loaded for an option of its.
    protocol_used: bool,
    counters: Counters,
    jump: Option<&'a str>,
    goto: bool,
    matches: Vec<Loading<Match>>,
    target: Option<Loading<Target>>,
}

impl<'a> Parser<'a> {
    fn new(words: &'a [&'a str], restore: Option<TableName>) -> Self {
        Parser {
            getopt: Getopt::new(words),
            longs: Vec::new(),
            loaded: 0,
            invert: false,
            restore,
            table: restore.map_or("filter", TableName::name).to_owned(),
            table_set: false,
            command: None,
            chain: None,
            number: None,
            second: "",
            options: String::new(),
            conditions: Conditions::default(),
            src: None,
            dst: None,
            protocol: None,
            protocol_used: false,
            counters: (0, 0),
            jump: None,
            goto: false,
            matches: Vec::new(),
            target: None,
        }
    }

    /// An option of iptables itself.
    fn own(&mut self, letter: char, arg: Option<&'a str>) -> Result<(), Error> {
        let value = arg.unwrap_or_default();
        match letter {
            'A' | 'C' | 'D' | 'R' | 'I' | 'S' | 'L' | 'F' | 'Z' | 'N' | 'X' | 'E' | 'P' => self.command(letter, arg),
            'p' => self.protocol(value),
            's' => self.set(letter).map(|()| (self.conditions.not_src, self.src) = (self.invert, arg)),
            'd' => self.set(letter).map(|()| (self.conditions.not_dst, self.dst) = (self.invert, arg)),
            'i' | 'o' => self.device(letter, value),
            'f' => {
                self.set(letter)?;
                (self.conditions.fragment, self.conditions.not_fragment) = (true, self.invert);
                Ok(())
            }
            'j' => self.jump(value),
            'g' => {
                self.set('j')?;
                (self.jump, self.goto) = (Some(target_name(value)?), true);
                Ok(())
            }
            'm' => self.load_match(value),
            'c' => self.set_counters(value),
            't' if self.invert => Err(Error::usage("unexpected ! flag before --table")),
            't' if self.restore.is_some() => Err(Error::usage("The -t option cannot be used in iptables-restore.\n")),
            't' => {
                (self.table, self.table_set) = (value.to_owned(), true);
                Ok(())
            }
            'v' if self.options.contains('v') => Ok(()),
            'n' | 'v' | 'x' | '0' => self.set(letter),
            'w' | 'W' if self.restore.is_some() => {
                Err(Error::usage(format!("You cannot use `-{letter}' from iptables-restore")))
            }
            'w' | 'W' => {
                // How long to wait for the lock does not matter: nobody else holds it.
                if arg.is_none() {
                    self.getopt.operand();
                }
                Ok(())
            }
            'M' => Ok(()),
            _ => Err(Error::usage(format!("option \"-{letter}\" is not simulated"))),
        }
    }

    /// `add_command`, and what belongs to each command.
    fn command(&mut self, letter: char, arg: Option<&'a str>) -> Result<(), Error> {
        if letter == 'N' {
            chain_name(arg.unwrap_or_default())?;
        }
        if self.invert {
            return Err(Error::usage("unexpected '!' flag"));
        }
        if let Some(before) = self.command {
            return Err(Error::usage(format!("Cannot use -{letter} with -{before}")));
        }
        self.command = Some(letter);
        self.chain = arg;
        if "LSFZX".contains(letter) && arg.is_none() {
            self.chain = self.getopt.operand();
        }
        match letter {
            'D' | 'I' | 'L' | 'S' | 'Z' => {
                if let Some(number) = self.getopt.operand() {
                    self.number = Some(rule_number(number)?);
                }
            }
            'R' => {
                let needed = || Error::usage("-R requires a rule number");
                self.number = Some(rule_number(self.getopt.operand().ok_or_else(needed)?)?);
            }
            'E' => {
                let needed = || Error::usage("-E requires old-chain-name and new-chain-name");
                self.second = self.getopt.operand().ok_or_else(needed)?;
            }
            'P' => {
                let needed = || Error::usage("-P requires a chain and a policy");
                self.second = self.getopt.operand().ok_or_else(needed)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// `set_option`
    fn set(&mut self, letter: char) -> Result<(), Error> {
        if self.options.contains(letter) {
            return Err(Error::usage(format!("multiple -{letter} flags not allowed")));
        }
        self.options.push(letter);
        if self.invert && !"sdpiof".contains(letter) {
            return Err(Error::usage(format!("cannot have ! before -{letter}")));
        }
        Ok(())
    }

    fn protocol(&mut self, arg: &str) -> Result<(), Error> {
        self.set('p')?;
        let name = arg.to_ascii_lowercase();
        self.conditions.protocol = words::protocol(&name)?;
        self.conditions.not_protocol = self.invert;
        if self.conditions.protocol == 0 && self.invert {
            return Err(Error::usage("rule would never match protocol"));
        }
        self.protocol = Some(name);
        Ok(())
    }

    fn device(&mut self, letter: char, arg: &str) -> Result<(), Error> {
        if arg.is_empty() {
            return Err(Error::usage("Empty interface is likely to be undesired"));
        }
        self.set(letter)?;
        let dev = Iface::parse(arg)?;
        if letter == 'i' {
            (self.conditions.input, self.conditions.not_input) = (dev, self.invert);
        } else {
            (self.conditions.output, self.conditions.not_output) = (dev, self.invert);
        }
        Ok(())
    }

    fn set_counters(&mut self, arg: &'a str) -> Result<(), Error> {
        self.set('c')?;
        let needed = || Error::usage("-c requires packet and byte counter");
        let (packets, bytes) = match arg.split_once(',') {
            Some(both) => both,
            None => (arg, self.getopt.operand().ok_or_else(needed)?),
        };
        let read = |text: &str, what: &str| {
            let bad = || Error::usage(format!("-c {what} counter not numeric"));
            text.parse::<u64>().map_err(|_| bad())
        };
        self.counters = (read(packets, "packet")?, read(bytes, "byte")?);
        Ok(())
    }

    /// `command_jump`
    fn jump(&mut self, arg: &'a str) -> Result<(), Error> {
        self.set('j')?;
        self.jump = Some(target_name(arg)?);
        if Target::is_foreign(arg) {
            return Err(Error::usage(format!("the target `{arg}' is not simulated")));
        }
        if let Some(target) = Target::new(arg) {
            self.loaded += 1;
            self.add_longs(target.specs());
            self.target = Some(Loading { what: target, seen: 0, id: self.loaded });
        }
        Ok(())
    }

    /// `command_match`
    fn load_match(&mut self, name: &str) -> Result<(), Error> {
        if self.invert {
            return Err(Error::usage("unexpected ! flag before --match"));
        }
        if name.len() >= MAX_CHAIN_NAME {
            return Err(Error::usage(format!("Invalid match name \"{name}\" ({} chars max)", MAX_CHAIN_NAME - 1)));
        }
        let unknown = || Error::usage(format!("Couldn't load match `{name}':No such file or directory\n"));
        let m = Match::new(name).ok_or_else(unknown)?;
        self.push_match(m);
        Ok(())
    }

    /// The options of a second match of the same name go to the second one.
    fn push_match(&mut self, m: Match) {
        let before = self.matches.iter().find(|l| l.what.name() == m.name()).map(|l| l.id);
        let id = before.unwrap_or_else(|| {
            self.loaded += 1;
            self.add_longs(m.specs());
            self.loaded
        });
        self.matches.push(Loading { what: m, seen: 0, id });
    }

    fn add_longs(&mut self, specs: &'static [Spec]) {
        let id = self.loaded;
        let new = specs.iter().map(|s| Long { name: s.name, has_arg: s.kind != extension::Kind::None, id: (id, s.id) });
        self.longs = new.chain(self.longs.iter().copied()).collect();
    }

    /// `load_proto`: an unknown option may be one of the protocol's match.
    fn load_protocol(&mut self) -> bool {
        let Some(name) = self.protocol.as_deref().map(|_| words::protocol_name(self.conditions.protocol)) else {
            return false;
        };
        let Some(m) = name.and_then(Match::new).filter(|_| !self.protocol_used) else { return false };
        self.protocol_used = true;
        let loaded = self.matches.iter().any(|l| l.what.name() == m.name());
        if !loaded {
            self.push_match(m);
        }
        !loaded
    }

    /// An option of a match or target.
    fn extension(&mut self, (id, option): (usize, u8), arg: &'a str) -> Result<(), Error> {
        let protocol = (self.conditions.protocol, self.conditions.not_protocol);
        let invert = self.invert;
        let Parser { getopt, matches, target, .. } = self;
        let mut second = || getopt.operand();
        let (name, specs, seen, what): (String, _, _, &mut dyn Extension) = match target {
            Some(t) if t.id == id => {
                let (name, specs) = (t.what.name().to_owned(), t.what.specs());
                let Some(what) = t.what.extension_mut() else { return Ok(()) };
                (name, specs, &mut t.seen, what)
            }
            _ => {
                let Some(m) = matches.iter_mut().rev().find(|m| m.id == id) else { return Ok(()) };
                let (name, specs) = (m.what.name().to_owned(), m.what.specs());
                (name, specs, &mut m.seen, m.what.extension_mut())
            }
        };
        let Some(spec) = specs.iter().find(|s| s.id == option) else { return Ok(()) };
        let value = extension::read(&name, spec, spec.name, *seen, invert, arg)?;
        let given = &mut Given { id: option, invert, arg, value, seen: *seen, protocol, second: &mut second };
        what.option(given)?;
        *seen |= 1 << option;
        Ok(())
    }

    /// What is checked when all words have been read.
    fn finish(mut self) -> Result<Command, Error> {
        let drop = |name: Option<&str>| name == Some("DROP");
        let policy = Some(self.second).filter(|_| self.command == Some('P'));
        if self.table == "nat" && (drop(policy) || drop(self.jump)) {
            let text = "\nThe \"nat\" table is not intended for filtering, the use of DROP is therefore inhibited.\n\n";
            return Err(Error::usage(text));
        }
        for m in &mut self.matches {
            let (name, specs) = (m.what.name(), m.what.specs());
            m.what.extension_mut().check(m.seen)?;
            extension::final_check(name, specs, m.seen)?;
        }
        if let Some(t) = &mut self.target {
            t.what.check(t.seen)?;
            extension::final_check(t.what.name(), t.what.specs(), t.seen)?;
        }
        if self.getopt.left() {
            return Err(Error::usage("unknown arguments found on commandline"));
        }
        let command = self.command.ok_or_else(|| Error::usage("no command specified"))?;
        if self.invert {
            return Err(Error::usage("nothing appropriate following !"));
        }
        let has_rule = "AICR".contains(command) || command == 'D' && self.number.is_none();
        let rules = if has_rule { self.rules()? } else { Vec::new() };
        if command == 'R' && rules.len() != 1 {
            return Err(Error::usage("Replacement rule does not specify a unique address"));
        }
        self.check_options(command, has_rule)?;
        let verbose = self.options.contains('v');
        Ok(Command { table: self.table.clone(), verbose, action: self.action(command, rules)? })
    }

    /// `generic_opt_check`, and that a chain's packets have the devices that a rule asks for.
    fn check_options(&self, command: char, has_rule: bool) -> Result<(), Error> {
        let legal = match command {
            'A' | 'I' | 'R' => "sdpjviocf",
            'C' | 'D' if has_rule => "sdpjviof",
            'L' => "nvx0",
            'P' => "vc",
            _ => "v",
        };
        for letter in "nsdpjvxio0cf".chars().filter(|l| self.options.contains(*l)) {
            if !legal.contains(letter) {
                return Err(Error::usage(format!("Illegal option `-{letter}' with this command")));
            }
        }
        let chain = self.chain.unwrap_or_default();
        if chain.len() >= MAX_CHAIN_NAME {
            let text = format!("chain name `{chain}' too long (must be under {MAX_CHAIN_NAME} chars)");
            return Err(Error::usage(text));
        }
        let wrong = match chain {
            "PREROUTING" | "INPUT" => 'o',
            "POSTROUTING" | "OUTPUT" => 'i',
            _ => return Ok(()),
        };
        if has_rule && self.options.contains(wrong) {
            return Err(Error::usage(format!("Can't use -{wrong} with {chain}\n")));
        }
        Ok(())
    }

    /// The rule, for each pair of addresses.
    fn rules(&mut self) -> Result<Vec<Rule>, Error> {
        let (sources, destinations) = (networks(self.src)?, networks(self.dst)?);
        let many = sources.len() > 1 || destinations.len() > 1;
        if many && (self.conditions.not_src || self.conditions.not_dst) {
            let text = "! not allowed with multiple source or destination IP addresses";
            return Err(Error::usage(text));
        }
        if sources.len().saturating_mul(destinations.len()) > MAX_ADDRESSES {
            return Err(Error::usage(format!("more than {MAX_ADDRESSES} rules in one command (MAX_ADDRESSES)")));
        }
        let target = match (self.target.take(), self.jump) {
            (Some(target), _) => target.what,
            (None, None) => Target::None,
            (None, Some(chain)) if self.goto => Target::Goto(chain.to_owned()),
            (None, Some(chain)) => Target::Jump(chain.to_owned()),
        };
        let matches = std::mem::take(&mut self.matches).into_iter().map(|m| m.what).collect();
        let rule = Rule { conditions: self.conditions, matches, target };
        let pairs = sources.iter().flat_map(|s| destinations.iter().map(move |d| (*s, *d)));
        let with = |(src, dst)| Rule { conditions: Conditions { src, dst, ..rule.conditions }, ..rule.clone() };
        Ok(pairs.map(with).collect())
    }

    fn format(&self) -> Format {
        let given = |letter| self.options.contains(letter);
        Format { numeric: given('n'), exact: given('x'), numbers: given('0'), verbose: given('v') }
    }

    fn action(&self, command: char, mut rules: Vec<Rule>) -> Result<Action, Error> {
        let named = self.chain.map(str::to_owned);
        let chain = self.chain.unwrap_or_default().to_owned();
        let counted = Some(self.counters).filter(|_| self.options.contains('c'));
        Ok(match (command, self.number) {
            ('A', _) => Action::Append(chain, rules, self.counters),
            ('I', at) => Action::Insert(chain, at.unwrap_or(1), rules, self.counters),
            ('D', Some(number)) => Action::DeleteNumber(chain, number),
            ('D', None) => Action::Delete(chain, rules),
            ('C', _) => Action::Check(chain, rules),
            ('R', at) => Action::Replace(chain, at.unwrap_or(1), Box::new(rules.remove(0)), self.counters),
            ('S', number) => Action::ListRules(named, number),
            ('F', _) => Action::Flush(named),
            ('Z', number) => Action::Zero(named, number),
            ('N', _) => Action::New(chain),
            ('X', _) => Action::DeleteChain(named),
            ('E', _) => Action::Rename(chain, self.second.to_owned()),
            ('P', _) => Action::Policy(chain, self.second.to_owned(), counted),
            (_, number) => Action::List(named, number, self.format()),
        })
    }
}

fn networks(arg: Option<&str>) -> Result<Vec<(std::net::Ipv4Addr, std::net::Ipv4Addr)>, Error> {
    arg.unwrap_or("0.0.0.0/0").split(',').take(MAX_ADDRESSES + 1).map(|a| words::network(a.trim_start())).collect()
}

/// `parse_rulenumber`
fn rule_number(text: &str) -> Result<u32, Error> {
    let bad = || Error::usage(format!("Invalid rule number `{text}'"));
    words::number(text, 1, i32::MAX as u64).map(|n| n as u32).ok_or_else(bad)
}

/// `xt_parse_target`
fn target_name(name: &str) -> Result<&str, Error> {
    if name.is_empty() {
        return Err(Error::usage("Invalid target name (too short)"));
    }
    if name.len() >= MAX_CHAIN_NAME {
        let text = format!("Invalid target name `{name}' ({} chars max)", MAX_CHAIN_NAME - 1);
        return Err(Error::usage(text));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(Error::usage(format!("Invalid target name `{name}'")));
    }
    Ok(name)
}

/// `assert_valid_chain_name`
fn chain_name(name: &str) -> Result<(), Error> {
    if name.len() >= MAX_CHAIN_NAME {
        let text = format!("chain name `{name}' too long (must be under {MAX_CHAIN_NAME} chars)");
        return Err(Error::usage(text));
    }
    if name.starts_with(['-', '!']) {
        return Err(Error::usage(format!("chain name not allowed to start with `{}'", &name[..1])));
    }
    // XT_STANDARD_TARGET, what ACCEPT and the like are of, has no name at all.
    if name.is_empty() || Target::new(name).is_some() || Target::is_foreign(name) {
        return Err(Error::usage("chain name may not clash with target name"));
    }
    if name.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(Error::usage(format!("Invalid chain name `{name}'")));
    }
    Ok(())
}
