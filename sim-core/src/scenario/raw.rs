//! A scenario as its file says it: structs that mirror the format `podhop/v1` field by field.
//!
//! deserr derives the structs from the tree and gathers all errors, each with its path; the path leads to the place in
//! the tree. The places of values come after: deserr cannot hand them to a field, so a second pass (`locate`) walks
//! structs and tree side by side and fills the [`Spanned`] ones in.
//!
//! An item of `traffic` and `expect` has one of several forms. The field that only one form has decides which.

mod asserts;
mod cluster;
mod cni;
mod faults;
mod files;
mod form;
mod locate;
mod manifests;
mod problem;
mod schema;
mod script;
mod text;
mod underlay;
mod value;

use std::net::Ipv4Addr;
use std::num::NonZeroU64;

use deserr::Deserr;
use schemars::JsonSchema;

use self::form::{
    exit_is_limit, fdb_has_or_lacks, neigh_has_or_lacks, one_check, some_check, some_counter, some_hop,
    something_to_run, whole_repeat,
};
use self::locate::Locate;
use self::problem::{Problems, Tree};
use self::script::whole;
use super::diag::{Diagnostic, Diagnostics, SourceFile, quote};
use super::tree::{self, Kind, Node};
use crate::base::Mac;
use crate::kernel::frame::PacketType;
use crate::kernel::netlink::NudState;
use crate::kernel::profile::Profile;
use crate::user::scripted;

pub use self::asserts::{Assertions, AssertionsKind, Expected, PacketAssertion, Protocol, Verdict};
pub use self::cluster::{
    Address, Cluster, ClusterNode, DetectLocalMode, Dns, Iptables, Istio, IstioMtls, IstioVersion, KubeProxy, Mtu, Net,
    PortRange, ProxyMode, ProxyVersion,
};
pub use self::cni::{
    BlockSize, CalicoCni, Cni, Encapsulation, FlannelBackend, FlannelCni, HairpinMode, KubenetCni, Plugin,
};
pub use self::faults::{ApplyFault, DeleteFault, Fault, LinkFault};
pub use self::files::{FileBody, FileMap, Holds, MAX_FILE_SIZE, MAX_FILES, Whose};
pub use self::form::POD;
pub use self::manifests::{AppliedFile, InlineManifest, ManifestItem};
pub use self::schema::{SCHEMA_ID, schema};
pub use self::script::{MAX_SCRIPT_CALLS, MAX_SEND_SIZE};
pub(super) use self::text::duration;
pub use self::underlay::{Link, MAX_RATE, Named, Percent, Rate, Router, Switch};
pub use self::value::{
    CapturePoint, Count, Duration, Hop, Interface, Label, MAX_INTERFACE_LEN, MAX_NAME_LEN, Spanned, Timestamp,
};

/// A command is started so often at most by one entry of `traffic`.
pub const MAX_REPEATS: u64 = 10_000;
/// The version of the format that this program reads.
pub const API_VERSION: &str = "podhop/v1";
/// The kind of object that a scenario file holds.
pub const KIND: &str = "Scenario";
/// The seed of a scenario without one.
pub const DEFAULT_SEED: u64 = 1;
/// 2022-01-01T00:00:00Z, when a scenario starts that does not say it.
pub const DEFAULT_START_TIME: Timestamp = Timestamp(1_640_995_200_000_000_000);
/// INITIAL_JIFFIES of Linux at HZ=250: 300 s before its low 32 bits wrap.
pub const DEFAULT_JIFFIES: u64 = 4_294_892_296;

/// A scenario file.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct Scenario {
    /// `podhop/v1`
    pub api_version: ApiVersion,
    /// `Scenario`
    pub kind: ObjectKind,
    /// What it is called.
    pub metadata: Metadata,
    /// What it is.
    pub spec: Spec,
}

/// The version of the format.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum ApiVersion {
    /// The only one.
    #[deserr(rename = "podhop/v1")]
    #[schemars(rename = "podhop/v1")]
    V1,
}

/// What the file holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum ObjectKind {
    /// The only one.
    Scenario,
}

/// What a scenario is called.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Metadata {
    /// A DNS label.
    pub name: Spanned<Label>,
    /// What it shows.
    #[deserr(default)]
    pub description: Option<Spanned<String>>,
}

/// What a scenario is.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase, validate = something_to_run -> Problems)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct Spec {
    /// What everything random depends on.
    #[deserr(default = DEFAULT_SEED)]
    #[schemars(default = "schema::default_seed")]
    pub seed: u64,
    /// The first instant of the captures.
    #[deserr(default = DEFAULT_START_TIME)]
    #[schemars(default = "schema::default_start_time")]
    pub start_time: Timestamp,
    /// The kernel's clock at the start, in ticks of 4 ms.
    #[deserr(default = DEFAULT_JIFFIES)]
    #[schemars(default = "schema::default_jiffies")]
    pub jiffies: u64,
    /// Which namespaces share a kernel.
    #[deserr(default)]
    #[schemars(default)]
    pub placement: Placement,
    /// When the run ends. Without it, it ends after the last program.
    #[deserr(default)]
    pub duration: Option<Spanned<Duration>>,
    /// What a run may cost.
    #[deserr(default)]
    #[schemars(default)]
    pub limits: Limits,
    /// Machines that forward packets.
    #[deserr(default)]
    #[schemars(default)]
    pub routers: Named<Router>,
    /// Machines that forward frames.
    #[deserr(default)]
    #[schemars(default)]
    pub switches: Named<Switch>,
    /// What joins the machines.
    #[deserr(default)]
    #[schemars(default)]
    pub links: Vec<Link>,
    /// A Kubernetes cluster.
    #[deserr(default)]
    pub cluster: Option<Cluster>,
    /// Kubernetes objects: names of files beside the scenario, or the objects themselves.
    #[deserr(default)]
    #[schemars(default)]
    pub manifests: Vec<ManifestItem>,
    /// In the order of the file. There is one, or a cluster. The names of its nodes (`node-1`) and pods
    /// (`pod/default/web`) may stand here, too: what is said of them comes after what the cluster does.
    #[deserr(default)]
    #[schemars(default)]
    pub namespaces: Namespaces,
    /// What happens, in the order of the file.
    #[deserr(default)]
    #[schemars(default)]
    pub traffic: Vec<Step>,
    /// What goes wrong meanwhile, in any order.
    #[deserr(default)]
    #[schemars(default)]
    pub faults: Vec<Fault>,
    /// What must come out.
    #[deserr(default)]
    #[schemars(default)]
    pub expect: Vec<Expect>,
}

/// Which namespaces share a kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Problems)]
pub enum Placement {
    /// All of them.
    #[deserr(rename = "one-kernel")]
    #[schemars(rename = "one-kernel")]
    OneKernel,
    /// Each node of a cluster has its own, with its pods, as has each router and switch. Namespaces share one, but for
    /// those that name a machine.
    #[default]
    #[deserr(rename = "nodes")]
    #[schemars(rename = "nodes")]
    Nodes,
}

/// What a run may cost, before it ends with exit code 3.
#[derive(Clone, PartialEq, Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct Limits {
    /// Frames received in one chain: what one event may cause before time goes on.
    #[deserr(default)]
    pub chain_frames: Option<Spanned<NonZeroU64>>,
    /// Frames made in the run.
    #[deserr(default)]
    pub frames: Option<Spanned<NonZeroU64>>,
    /// Events of the run.
    #[deserr(default)]
    pub events: Option<Spanned<NonZeroU64>>,
}

/// The limits of a run by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, rename_all = camelCase)]
#[schemars(rename_all = "camelCase")]
pub enum Limit {
    /// Frames received in one chain.
    ChainFrames,
    /// Frames made in the run.
    Frames,
    /// Events of the run.
    Events,
}

/// The namespaces of a scenario, in the order of the file.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Namespaces(pub Vec<Namespace>);

/// A network namespace.
#[derive(Clone, PartialEq, Debug)]
pub struct Namespace {
    /// The key that it stands behind.
    pub name: Spanned<String>,
    /// How it is set up.
    pub body: NamespaceBody,
}

/// How a network namespace is set up.
#[derive(Clone, PartialEq, Debug, Default, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct NamespaceBody {
    /// The machine whose kernel it belongs to. Namespaces that name none share one.
    #[deserr(default)]
    pub machine: Option<Spanned<Label>>,
    /// Which Linux its machine runs. All namespaces of a machine that say it say the same.
    #[deserr(default)]
    pub profile: Option<Spanned<Profile>>,
    /// A file beside the scenario with commands, a line each, that come before those of `setup`.
    #[deserr(default)]
    pub setup_file: Option<Spanned<String>>,
    /// Commands, one after the other.
    #[deserr(default)]
    #[schemars(default)]
    pub setup: Vec<Spanned<String>>,
    /// Files that its servers find.
    #[deserr(default)]
    #[schemars(default)]
    pub files: FileMap,
    /// Programs that run in the background when all is set up.
    #[deserr(default)]
    #[schemars(default)]
    pub servers: Vec<Spanned<String>>,
    /// Processes that only sleep, by their command lines: those of a cluster's pods. A file cannot name any.
    #[deserr(skip)]
    #[schemars(skip)]
    pub sleepers: Vec<String>,
}

/// An item of `traffic`.
#[derive(Clone, PartialEq, Debug)]
pub enum Step {
    /// A command is run.
    Run(Run),
    /// A script is run.
    Script(Script),
    /// Nothing happens for a while.
    Sleep(Sleep),
}

/// A command and where it is run.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = whole_repeat -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct Run {
    /// A namespace.
    pub from: Spanned<String>,
    /// A command.
    pub run: Spanned<String>,
    /// When, since the start of the run. Without it, after the step before.
    #[deserr(default)]
    pub at: Option<Spanned<Duration>>,
    /// It is started again, so long after the time before, whether or not that one has ended.
    #[deserr(default)]
    pub every: Option<Spanned<Duration>>,
    /// As often as this in all. It goes with `every`.
    #[deserr(default)]
    pub count: Option<Spanned<NonZeroU64>>,
    /// The next step does not wait for it.
    #[deserr(default)]
    #[schemars(default)]
    pub background: bool,
}

/// A script and where it is run.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = whole -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct Script {
    /// A namespace.
    pub from: Spanned<String>,
    /// System calls, one after the other.
    pub script: Vec<scripted::Step>,
    /// What `expect` calls it.
    #[deserr(default)]
    pub name: Option<Spanned<String>>,
    /// When, since the start of the run. Without it, after the step before.
    #[deserr(default)]
    pub at: Option<Spanned<Duration>>,
    /// The next step does not wait for it.
    #[deserr(default)]
    #[schemars(default)]
    pub background: bool,
}

/// A pause.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct Sleep {
    /// How long.
    pub sleep: Spanned<Duration>,
}

/// An item of `expect`.
#[derive(Clone, PartialEq, Debug)]
pub enum Expect {
    /// What a capture holds.
    Capture(CaptureExpect),
    /// What a command of `traffic` did.
    Command(CommandExpect),
    /// Entries of a bridge's forwarding database.
    Fdb(FdbExpect),
    /// Entries of a neighbour table.
    Neigh(NeighExpect),
    /// An interface's counters.
    Counters(CountersExpect),
    /// A packet's way.
    Journey(JourneyExpect),
    /// The run ends at a limit.
    Limit(LimitExpect),
}

/// What a capture holds: how many packets, or which.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = one_check -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct CaptureExpect {
    /// Where it is taken.
    pub capture: Spanned<CapturePoint>,
    /// A capture filter: only packets that match are looked at.
    #[deserr(default)]
    pub filter: Option<Spanned<String>>,
    /// Only packets that went this way are looked at.
    #[deserr(default)]
    pub direction: Option<PacketType>,
    /// So many. Either this or `sequence` is there.
    #[deserr(default)]
    pub count: Option<Spanned<Count>>,
    /// The first matches the first of these filters, and so on, and there are no more.
    #[deserr(default)]
    pub sequence: Option<Vec<Spanned<String>>>,
}

/// What a command of `traffic` did.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = some_check -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct CommandExpect {
    /// The command, as `run` has it, or the name of a script.
    pub command: Spanned<String>,
    /// The namespace that it ran in.
    #[deserr(default)]
    pub from: Option<Spanned<String>>,
    /// Which of its runs, counted from 1 in the order of their starts. The first.
    #[deserr(default)]
    pub nth: Option<Spanned<NonZeroU64>>,
    /// Its exit status.
    #[deserr(default)]
    pub exit: Option<Spanned<u8>>,
    /// Texts that it printed, in this order. This or `exit` is there, or both.
    #[deserr(default)]
    pub stdout: Option<Texts>,
}

/// One text or several; at least one.
#[derive(Clone, PartialEq, Debug)]
pub struct Texts(pub Vec<Spanned<String>>);

/// Entries of a bridge's forwarding database.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = fdb_has_or_lacks -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct FdbExpect {
    /// The bridge.
    pub fdb: Spanned<Interface>,
    /// When; without it, at the end.
    #[deserr(default)]
    pub at: Option<Spanned<Duration>>,
    /// Entries that are there.
    #[deserr(default)]
    #[schemars(default)]
    pub has: Vec<FdbEntry>,
    /// Addresses that it has no entry of.
    #[deserr(default)]
    #[schemars(default)]
    pub lacks: Vec<FdbAbsence>,
}

/// What an entry of a forwarding database has; what is not given is not compared.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct FdbEntry {
    /// The address.
    pub mac: Spanned<Mac>,
    /// The bridge's port that leads there.
    #[deserr(default)]
    pub port: Option<Spanned<String>>,
}

/// An address that a forwarding database has no entry of.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct FdbAbsence {
    /// The address.
    pub mac: Spanned<Mac>,
}

/// Entries of a neighbour table.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = neigh_has_or_lacks -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct NeighExpect {
    /// The device.
    pub neigh: Spanned<Interface>,
    /// When; without it, at the end.
    #[deserr(default)]
    pub at: Option<Spanned<Duration>>,
    /// Entries that are there.
    #[deserr(default)]
    #[schemars(default)]
    pub has: Vec<NeighEntry>,
    /// Addresses that it has no entry of.
    #[deserr(default)]
    #[schemars(default)]
    pub lacks: Vec<NeighAbsence>,
}

/// What an entry of a neighbour table has; what is not given is not compared.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct NeighEntry {
    /// Who.
    pub address: Spanned<Ipv4Addr>,
    /// The link layer address.
    #[deserr(default)]
    pub lladdr: Option<Spanned<Mac>>,
    /// The state.
    #[deserr(default)]
    pub state: Option<NudState>,
}

/// An address that a neighbour table has no entry of.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields)]
#[schemars(deny_unknown_fields)]
pub struct NeighAbsence {
    /// Who.
    pub address: Spanned<Ipv4Addr>,
}

/// An interface's counters at a time; at least one.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, rename_all = camelCase, validate = some_counter -> Problems)]
#[schemars(deny_unknown_fields, rename_all = "camelCase")]
pub struct CountersExpect {
    /// The interface.
    pub counters: Spanned<Interface>,
    /// When; without it, at the end.
    #[deserr(default)]
    pub at: Option<Spanned<Duration>>,
    /// Packets received.
    #[deserr(default)]
    pub rx_packets: Option<Spanned<Count>>,
    /// Packets sent.
    #[deserr(default)]
    pub tx_packets: Option<Spanned<Count>>,
    /// Bytes received.
    #[deserr(default)]
    pub rx_bytes: Option<Spanned<Count>>,
    /// Bytes sent.
    #[deserr(default)]
    pub tx_bytes: Option<Spanned<Count>>,
    /// Packets dropped on receipt.
    #[deserr(default)]
    pub rx_dropped: Option<Spanned<Count>>,
    /// Packets dropped when sent.
    #[deserr(default)]
    pub tx_dropped: Option<Spanned<Count>>,
}

/// The way of the first packet that matches a filter where it is first seen at an interface.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = some_hop -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct JourneyExpect {
    /// The interface.
    pub journey: Spanned<Interface>,
    /// A capture filter.
    pub filter: Spanned<String>,
    /// Every record of that packet, in order.
    pub hops: Vec<Spanned<Hop>>,
}

/// The run ends at a limit.
#[derive(Clone, PartialEq, Debug, Deserr, JsonSchema)]
#[deserr(error = Problems, deny_unknown_fields, validate = exit_is_limit -> Problems)]
#[schemars(deny_unknown_fields)]
pub struct LimitExpect {
    /// The exit code of the run: 3.
    pub exit: Spanned<u8>,
    /// Which.
    pub limit: Limit,
}

/// The exit code of a run that ends at a limit.
pub const EXIT_LIMIT: u8 = 3;

/// Reads a scenario.
///
/// # Errors
/// All that is wrong with the file and can be told from its fields alone. What is no YAML hides what follows.
pub fn parse(source: &SourceFile) -> Result<Scenario, Diagnostics> {
    source.check_size()?;
    let mut errors = Diagnostics::default();
    let Some(root) = tree::read(source, &mut errors) else { return Err(errors) };
    if let Some(error) = foreign(source, &root) {
        errors.push(error);
        return Err(errors);
    }
    match deserr::deserialize::<Scenario, _, Problems>(Tree(&root)) {
        Ok(mut scenario) if errors.is_empty() => {
            scenario.locate(&root);
            Ok(scenario)
        }
        Ok(_) => Err(errors),
        Err(problems) => {
            problems.report(source, &root, &mut errors);
            Err(errors)
        }
    }
}

/// The one error of a file that is not of this format at all, whose fields are not worth looking at.
fn foreign(source: &SourceFile, root: &Node) -> Option<Diagnostic> {
    let begin = format!("a scenario begins with `apiVersion: {API_VERSION}` and `kind: {KIND}`");
    if root.kind == Kind::Null {
        return Some(Diagnostic::new(source, 0..0, "there is nothing in this file").hint(begin));
    }
    for (field, known) in [("apiVersion", API_VERSION), ("kind", KIND)] {
        let Some(entry) = root.entry(field) else { continue };
        let Kind::String(text) = &entry.value.kind else { continue };
        if text != known {
            let message = format!("unknown {field} {}: this program reads {}", quote(text), quote(known));
            return Some(Diagnostic::new(source, entry.value.span.clone(), message).hint(begin));
        }
    }
    None
}

#[cfg(test)]
mod tests;
