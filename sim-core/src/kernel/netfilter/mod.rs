//! Packet filtering rules as iptables 1.8.9 knows them: four tables of chains of rules, their text both ways, the
//! commands that change them, and a packet's walk through them (net/netfilter/x_tables.c,
//! net/ipv4/netfilter/ip_tables.c; iptables(8), iptables-extensions(8)).
//!
//! A [`table::Table`] is built once, immutable and shared; what it remembers of packets is its [`eval::State`]. A
//! change edits a copy, which takes the old one's place if it is valid as a whole.

pub mod choices;
pub mod error;
pub mod eval;
mod extension;
pub mod hook;
mod index;
pub mod ipset;
pub mod list;
pub mod matches;
pub mod packet;
pub mod parse;
pub mod restore;
pub mod rule;
pub mod save;
pub mod table;
pub mod targets;
pub(crate) mod words;

use error::Error;
use eval::{Memory, State};
use hook::{Hook, Op, Ops, TableName};
use ipset::{Change, SetError, Sets};
use matches::RecentLists;
use parse::{Action, Command, Counters};
use rule::Rule;
use std::sync::Arc;
use table::{Edit, Table};

/// The version of iptables whose words and texts these are.
pub const VERSION: &str = "1.8.9";

/// Which of its two backends iptables uses. They differ in messages, and in what the functions here say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Backend {
    /// `iptables-legacy`: ip_tables.
    Legacy,
    /// `iptables-nft`: nf_tables.
    #[default]
    Nft,
}

impl Backend {
    /// As it stands in the program's version.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Legacy => "legacy",
            Backend::Nft => "nf_tables",
        }
    }

    /// The program that is always of this backend.
    pub fn program(self) -> &'static str {
        match self {
            Backend::Legacy => "iptables-legacy",
            Backend::Nft => "iptables-nft",
        }
    }

    /// What iptables-save adds to the version in its first line.
    fn save_suffix(self) -> &'static str {
        match self {
            Backend::Legacy => "",
            Backend::Nft => " (nf_tables)",
        }
    }

    /// A flush by iptables-restore leaves the policies of base chains that the text does not name.
    fn keeps_policies(self) -> bool {
        self == Backend::Legacy
    }

    /// iptables-save prints `! -i +`, a rule that never matches.
    fn prints_no_device(self) -> bool {
        self == Backend::Nft
    }

    /// The tables in the order in which iptables-save prints them: those of nf_tables by its own list
    /// (iptables/nft.h: enum nft_table_type), else the one that was used last first (`ip_tables_names`).
    fn fixed_order(self) -> Option<[TableName; 4]> {
        let list = [TableName::Mangle, TableName::Raw, TableName::Filter, TableName::Nat];
        Some(list).filter(|_| self == Backend::Nft)
    }

    /// The counters of policies start again with every change of the table.
    fn forgets_policy_counters(self) -> bool {
        self == Backend::Legacy
    }

    /// What `-P CHAIN POLICY` makes of the policy's counter, with or without `-c PACKETS BYTES`: nf_tables starts anew.
    fn policy_counters(self, given: Option<Counters>) -> Option<Counters> {
        match self {
            Backend::Legacy => given,
            Backend::Nft => Some((0, 0)),
        }
    }

    /// `:CHAIN POLICY` changes a policy: the legacy one's unless it is `-`, nf_tables' of each base chain, where `-` is
    /// the policy that it has.
    fn restores_policy(self, is_base: bool, policy: &str) -> bool {
        match self {
            Backend::Legacy => policy != "-",
            Backend::Nft => is_base,
        }
    }

    /// What `-S` says of a chain that does not exist.
    fn no_chain_to_list(self, chain: &str, table: TableName) -> Error {
        match self {
            Backend::Legacy => Error::NO_CHAIN,
            Backend::Nft => {
                let table = table.name();
                Error::Other(format!("chain `{chain}' in table `{table}' is incompatible, use 'nft' tool."))
            }
        }
    }

    fn no_table(self, name: &str) -> Error {
        Error::Version(match self {
            Backend::Legacy => {
                format!("can't initialize iptables table `{name}': Table does not exist (do you need to insmod?)")
            }
            Backend::Nft => format!("table '{name}' does not exist"),
        })
    }
}

/// A table and what it remembers.
#[derive(Clone, Debug)]
struct Loaded {
    table: Arc<Table>,
    state: State,
}

/// The tables of a namespace. A table exists from its first use on.
#[derive(Clone, Debug, Default)]
pub struct Iptables {
    backend: Backend,
    /// In the order of their first use.
    loaded: Vec<Loaded>,
    recent: RecentLists,
    sets: Sets,
    /// By the number of the hook.
    ops: [Ops; 5],
}

impl Iptables {
    /// No tables.
    pub fn new(backend: Backend) -> Self {
        Iptables { backend, ..Iptables::default() }
    }

    /// Which backend it uses.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Becomes a set of tables of that backend. The first program that made a table has decided which it is.
    ///
    /// # Errors
    /// There are tables of the other one.
    ///
    /// Differs: Linux keeps the tables of both side by side and walks through both.
    pub fn choose(&mut self, backend: Backend) -> Result<(), Error> {
        if self.backend != backend && !self.loaded.is_empty() {
            let (there, asked) = (self.backend.program(), backend.program());
            let text = format!("the tables here are {there}'s; {asked}'s beside them are not simulated");
            return Err(Error::Other(text));
        }
        self.backend = backend;
        Ok(())
    }

    /// The tables that exist, in the order in which iptables-save prints them.
    pub fn tables(&self) -> impl Iterator<Item = (&Table, &State)> {
        let mut sorted: Vec<&Loaded> = self.loaded.iter().rev().collect();
        if let Some(order) = self.backend.fixed_order() {
            sorted.sort_by_key(|l| order.iter().position(|name| *name == l.table.name()));
        }
        sorted.into_iter().map(|l| (&*l.table, &l.state))
    }

    /// The tables, to be kept by those who listen.
    pub(in crate::kernel) fn shared(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.loaded.iter().map(|l| &l.table)
    }

    /// A table, and all that a packet's walk through it may change; none if it does not exist.
    pub fn walked(&mut self, name: TableName) -> Option<(&Table, Memory<'_>)> {
        let loaded = self.loaded.iter_mut().find(|l| l.table.name() == name)?;
        Some((&loaded.table, Memory { state: &mut loaded.state, recent: &mut self.recent, sets: &self.sets }))
    }

    /// A walk that has stopped is not taken up again: the packet is gone.
    pub fn end_walk(&mut self, name: TableName) {
        if let Some((_, memory)) = self.walked(name) {
            memory.state.end_walk();
        }
    }

    /// Nothing is registered at any hook.
    pub fn is_idle(&self) -> bool {
        self.loaded.is_empty()
    }

    /// What is registered at a hook: what belongs to the tables that exist and, if a rule needs it, connection tracking
    /// (nf_ct_netns_get).
    pub fn ops(&self, hook: Hook) -> Ops {
        self.ops[hook as usize]
    }

    /// Runs a command; returns what it prints.
    ///
    /// # Errors
    /// What iptables says; nothing is changed.
    pub fn run(&mut self, command: Command) -> Result<String, Error> {
        if command.lists() {
            self.prepare(&command)?;
            return self.list(&command);
        }
        let name = self.table_name(&command.table)?;
        let mut edit = self.edit(name);
        self.knows_sets(command.action.rules())?;
        let changes = !matches!(command.action, Action::Check(..) | Action::Nothing);
        edit.apply(command.action)?;
        if changes {
            let table = edit.commit().map_err(|(e, _)| e)?;
            self.put(Arc::new(table), &edit.counters);
        }
        Ok(String::new())
    }

    /// A command is about to list a table: that makes it, if it is one of the legacy backend. A table of nf_tables is
    /// made by what changes it.
    ///
    /// # Errors
    /// There is no such table.
    pub fn prepare(&mut self, command: &Command) -> Result<(), Error> {
        let name = self.table_name(&command.table)?;
        if self.backend == Backend::Legacy {
            self.touch(name);
        }
        Ok(())
    }

    /// What a command prints that lists; nothing for another one. A table that does not exist has its built-in chains.
    ///
    /// # Errors
    /// There is no such table, chain or rule.
    pub fn list(&self, command: &Command) -> Result<String, Error> {
        let name = self.table_name(&command.table)?;
        let none;
        let (table, state) = match self.loaded.iter().find(|l| l.table.name() == name) {
            Some(l) => (&*l.table, &l.state),
            None => {
                none = (Table::new(name, self.backend), State::default());
                (&none.0, &none.1)
            }
        };
        match &command.action {
            Action::ListRules(chain, number) => {
                table.list_rules(state, chain.as_deref(), *number, command.verbose, self.backend)
            }
            Action::List(chain, number, format) => table.list(state, chain.as_deref(), *number, *format, self.backend),
            _ => Ok(String::new()),
        }
    }

    /// The sets that rules ask.
    pub fn sets(&self) -> &Sets {
        &self.sets
    }

    /// How many rules ask the set of that name.
    pub fn set_references(&self, name: &str) -> usize {
        self.loaded.iter().flat_map(|l| l.table.set_names()).filter(|asked| *asked == name).count()
    }

    /// What ipset(8) asks for; `initval` is drawn for a new set.
    ///
    /// # Errors
    /// As [`Sets::change`].
    pub fn change_sets(&mut self, change: &Change, initval: u32) -> Result<(), SetError> {
        let loaded = &self.loaded;
        let used = |name: &str| loaded.iter().flat_map(|l| l.table.set_names()).filter(|asked| *asked == name).count();
        self.sets.change(change, initval, used)
    }

    /// get_set_byname: the sets that rules ask exist.
    fn knows_sets(&self, rules: &[Rule]) -> Result<(), Error> {
        let missing = rules.iter().flat_map(Rule::set_names).find(|name| self.sets.get(name).is_none());
        missing.map_or(Ok(()), |name| Err(Error::usage(format!("Set {name} doesn't exist.\n"))))
    }

    fn table_name(&self, name: &str) -> Result<TableName, Error> {
        TableName::parse(name).ok_or_else(|| self.backend.no_table(name))
    }

    /// Makes the table if it does not exist.
    fn touch(&mut self, name: TableName) {
        if !self.loaded.iter().any(|l| l.table.name() == name) {
            let table = Arc::new(Table::new(name, self.backend));
            self.loaded.push(Loaded { table, state: State::default() });
            self.register();
        }
    }

    /// A copy of a table to be changed. The legacy backend makes the table even if nothing comes of it.
    fn edit(&mut self, name: TableName) -> Edit {
        if self.backend == Backend::Legacy {
            self.touch(name);
        }
        match self.loaded.iter().find(|l| l.table.name() == name) {
            Some(loaded) => Edit::new(&loaded.table, self.backend),
            None => Edit::new(&Table::new(name, self.backend), self.backend),
        }
    }

    /// Puts a table in its place. What the old one remembered of rules that are still there stays.
    fn put(&mut self, table: Arc<Table>, counters: &[(u32, Counters)]) {
        self.touch(table.name());
        let Some(loaded) = self.loaded.iter_mut().find(|l| l.table.name() == table.name()) else { return };
        if self.backend.forgets_policy_counters() {
            for base in loaded.table.chains().iter().filter_map(|c| c.base) {
                loaded.state.counters.remove(&base.handle);
            }
        }
        let state = &mut loaded.state;
        if !(counters.is_empty() && state.is_blank()) {
            let handles = table.handles();
            let live = |handle: &u32| handles.binary_search(handle).is_ok();
            state.counters.retain(|handle, _| live(handle));
            state.buckets.retain(|(handle, _), _| live(handle));
            state.nth.retain(|(handle, _), _| live(handle));
            for (handle, counters) in counters.iter().filter(|(handle, _)| live(handle)) {
                state.counters.insert(*handle, *counters);
            }
        }
        loaded.table = table;
        self.register();
    }

    /// nf_register_net_hooks: the tables or their rules have changed.
    fn register(&mut self) {
        let exists = |name| self.loaded.iter().any(|l| l.table.name() == name);
        let tracks = self.loaded.iter().any(|l| l.table.tracks());
        let defragments = tracks || self.loaded.iter().any(|l| l.table.defragments());
        self.ops = Hook::ALL.map(|hook| {
            hook.ops(|op| match op {
                Op::Table(name) => exists(name),
                Op::Nat => exists(TableName::Nat),
                Op::Defrag => defragments,
                Op::Conntrack | Op::Confirm => tracks,
            })
        });
    }
}

impl Edit {
    /// Does what a command says.
    fn apply(&mut self, action: Action) -> Result<(), Error> {
        match action {
            Action::Append(chain, rules, c) => rules.into_iter().try_for_each(|r| self.append(&chain, r, c)),
            Action::Insert(chain, at, rules, c) => rules.into_iter().try_for_each(|r| self.insert(&chain, at, r, c)),
            Action::Delete(chain, rules) => rules.iter().try_for_each(|r| self.delete(&chain, r)),
            Action::DeleteNumber(chain, number) => self.delete_number(&chain, number),
            Action::Check(chain, rules) => rules.iter().try_for_each(|r| self.check(&chain, r)),
            Action::Replace(chain, number, rule, c) => self.replace(&chain, number, *rule, c),
            Action::Flush(chain) => self.flush(chain.as_deref()),
            Action::Zero(chain, number) => self.zero(chain.as_deref(), number),
            Action::New(chain) => self.new_chain(&chain),
            Action::DeleteChain(chain) => self.delete_chain(chain.as_deref()),
            Action::Rename(from, to) => self.rename(&from, &to),
            Action::Policy(chain, policy, c) => self.policy(&chain, &policy, self.backend().policy_counters(c)),
            Action::List(..) | Action::ListRules(..) | Action::Nothing => Ok(()),
        }
    }
}
