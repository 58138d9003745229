//! Names stand at the edges: what namespaces, devices and rules are called, gathered from what the kernel announces.

use crate::base::{IfIndex, NsId};
use crate::kernel::netfilter::Backend;
use crate::kernel::netfilter::hook::TableName;
use crate::kernel::netfilter::table::Table;
use crate::kernel::trace::DevName;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How people call a namespace, and where its captures are put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Label {
    /// `pod/default/web`
    pub name: String,
    /// Below `captures`: `pods/default/web`.
    pub folder: String,
}

/// The labels of namespaces that are not called as their machine calls them, by the machine's name.
pub type Labels = BTreeMap<String, Label>;

/// The names of namespaces and devices, and the texts of rules.
#[derive(Clone, Debug, Default)]
pub struct Names {
    namespaces: BTreeMap<NsId, Label>,
    labels: Labels,
    devices: BTreeMap<(NsId, IfIndex), DevName>,
    /// What a device was called stays known when it is gone: frames may still be on their way.
    gone: BTreeSet<(NsId, IfIndex)>,
    tables: BTreeMap<(NsId, TableName), Arc<Table>>,
}

impl Names {
    /// No names yet, but for these labels.
    pub fn with(labels: Labels) -> Self {
        Names { labels, ..Names::default() }
    }

    /// From now on people call a namespace so that its machine will call `netns`.
    pub fn label(&mut self, netns: &str, label: Label) {
        self.labels.insert(netns.to_owned(), label);
    }

    /// A namespace was made.
    pub fn namespace(&mut self, ns: NsId, name: &str) {
        let own = || Label { name: name.to_owned(), folder: format!("namespaces/{name}") };
        self.namespaces.insert(ns, self.labels.get(name).cloned().unwrap_or_else(own));
    }

    /// A device was made or changed.
    pub fn device(&mut self, dev: &DevName) {
        self.gone.remove(&(dev.ns, dev.dev));
        self.devices.insert((dev.ns, dev.dev), dev.clone());
    }

    /// A device left its namespace.
    pub fn device_gone(&mut self, ns: NsId, dev: IfIndex) {
        self.gone.insert((ns, dev));
    }

    /// A table of rules was loaded or changed.
    pub fn table(&mut self, ns: NsId, table: &Arc<Table>) {
        self.tables.insert((ns, table.name()), table.clone());
    }

    /// A rule by its place, as iptables-save prints it.
    pub fn rule(&self, ns: NsId, table: TableName, chain: u32, rule: u32) -> String {
        let text = self.tables.get(&(ns, table)).and_then(|t| t.rule_text(chain, rule, Backend::Nft));
        text.unwrap_or_else(|| "?".to_owned())
    }

    /// What a namespace is called.
    pub fn ns(&self, ns: NsId) -> &str {
        self.namespaces.get(&ns).map_or("?", |l| l.name.as_str())
    }

    /// The folder of a namespace's captures.
    pub fn folder(&self, ns: NsId) -> &str {
        self.namespaces.get(&ns).map_or("namespaces/?", |l| l.folder.as_str())
    }

    /// What a device is called.
    pub fn dev(&self, ns: NsId, dev: IfIndex) -> &str {
        self.devices.get(&(ns, dev)).map_or("?", |d| d.name.as_str())
    }

    /// What is known of a device.
    pub fn get(&self, ns: NsId, dev: IfIndex) -> Option<&DevName> {
        self.devices.get(&(ns, dev))
    }

    /// Its frames begin with an Ethernet header; loopback's do, too.
    pub fn is_ether(&self, ns: NsId, dev: IfIndex) -> bool {
        self.get(ns, dev).is_none_or(DevName::is_ether)
    }

    /// The devices that are there, by namespace and index.
    pub fn devices(&self) -> impl Iterator<Item = &DevName> {
        self.devices.iter().filter(|(id, _)| !self.gone.contains(id)).map(|(_, dev)| dev)
    }
}
