//! The recorded cases, simulated: the same lab from the same commands, the same workload, in the form that the judge
//! reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sim_core::engine::World;
use sim_core::kernel::netfilter::save;
use sim_core::kernel::show;
use sim_core::observe::{Memory, Outputs};
use sim_core::scenario::{self, Diagnostics, Disk, LOOKS, Options, Plan, Progress, SourceFile};

use crate::real::file_name;
use crate::recordings::Lab;
use podhop_parity::judge::Case;

/// A recorded case that is simulated.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The recorded lab: `labA-off`.
    pub lab: String,
    /// The case: `ping_same`.
    pub case: String,
    /// The file with the lab's commands.
    file: String,
    /// What happens before the captures begin, and then.
    prelude: Vec<Value>,
    traffic: Vec<Value>,
    /// Settings of `spec` that are chosen to fit: `seed`, `jiffies`.
    spec: serde_json::Map<String, Value>,
    /// Those that are others where a cluster builds the lab.
    cluster_spec: serde_json::Map<String, Value>,
    /// The backend of iptables: `nft`, `legacy`.
    backend: String,
    /// `tcpdump -s`: where the recording was cut at so many bytes a frame, so is ours.
    snaplen: Option<usize>,
    /// Servers of the lab that its file does not have, by namespace.
    servers: BTreeMap<String, Vec<String>>,
    /// Where `conntrack -E` listens and rules are counted: the nodes, and others.
    watched: Vec<String>,
}

impl Workload {
    /// The same with another value of a setting of `spec`.
    #[must_use]
    pub fn with_setting(&self, key: &str, value: u64) -> Self {
        let mut other = self.clone();
        other.spec.insert(key.to_owned(), value.into());
        other
    }

    /// The same in the lab that kubelet, kubenet and kube-proxy build, whose pods are called as in a cluster.
    #[must_use]
    pub fn in_cluster(&self) -> Self {
        let mut other = self.clone();
        CLUSTER.clone_into(&mut other.file);
        other.spec.extend(self.cluster_spec.clone());
        for step in other.prelude.iter_mut().chain(&mut other.traffic) {
            let pod = PODS.iter().find(|(name, _)| step["from"] == *name);
            if let Some((_, pod)) = pod {
                step["from"] = (*pod).into();
            }
        }
        other
    }
}

/// The file with lab A as a cluster.
pub const CLUSTER: &str = "labA-cluster.yaml";
/// Its pods, as the recordings call them and as a cluster does.
pub const PODS: [(&str, &str); 4] = [
    ("p1a", "pod/default/p1a"),
    ("p1b", "pod/default/p1b"),
    ("p2a", "pod/default/p2a"),
    ("p2b", "pod/kube-system/p2b"),
];

/// Where `conntrack -E` listens and rules are counted in all labs. Nothing is left there of what was before.
const NODES: [&str; 2] = ["node1", "node2"];
/// What it is called with.
const LISTENER: &str = "conntrack -E -o timestamp,id";

/// All cases of `recordings/workloads.yaml`, in file order within a lab: its own, then those of the labs that it is
/// `like`, as far as they are recorded in it and not pending. What one of its own does not say is as theirs. The
/// preludes of the labs that it comes `after` are first, then its own, then a case's.
///
/// # Panics
/// The file is broken: the checkout is not whole.
#[must_use]
pub fn workloads() -> Vec<Workload> {
    let text = fs::read_to_string(folder().join("workloads.yaml")).expect("recordings/workloads.yaml");
    let labs: BTreeMap<String, Value> = serde_yaml::from_str(&text).expect("recordings/workloads.yaml is YAML");
    let pending = pending();
    let prelude_of = |lab: &Value| lab["prelude"].as_array().cloned().unwrap_or_default();
    let mut all = vec![];
    for (lab, value) in &labs {
        let file = value["lab"].as_str().expect("`lab` names a file").to_owned();
        let backend = value["iptables"].as_str().unwrap_or("nft").to_owned();
        let own = value["cases"].as_object().expect("`cases` is a map");
        let mut cases: Vec<_> = own.iter().collect();
        let like: Vec<&str> = value["like"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let recorded: BTreeSet<String> = match like.is_empty() {
            true => BTreeSet::new(),
            false => Lab::load(lab).cases().map(str::to_owned).collect(),
        };
        for other in &like {
            let others = labs[*other]["cases"].as_object().expect("`like` names labs");
            for (case, what) in others {
                let listed = cases.iter().any(|(c, _)| *c == case) || pending.contains_key(&format!("{lab}/{case}"));
                if recorded.contains(case) && !listed {
                    cases.push((case, what));
                }
            }
        }
        let before = value["after"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let common: Vec<Value> = before.flat_map(|l| prelude_of(&labs[l])).chain(prelude_of(value)).collect();
        let history = History::of(&labs, lab);
        let (servers, watched) = (extra_servers(&labs, lab), watched(&labs, lab));
        for (case, what) in cases {
            let said = |key: &str| {
                let theirs = like.iter().map(|l| &labs[*l]["cases"][case][key]);
                std::iter::once(&what[key]).chain(theirs).find(|v| !v.is_null()).cloned()
            };
            let list = |key| said(key).and_then(|v| v.as_array().cloned()).unwrap_or_default();
            let map = |key| said(key).and_then(|v| v.as_object().cloned()).unwrap_or_default();
            let (spec, cluster_spec) = (map("spec"), map("clusterSpec"));
            let prelude = common.iter().cloned().chain(history.before(case)).chain(list("prelude")).collect();
            let traffic = list("traffic");
            let snaplen = said("snaplen").and_then(|v| v.as_u64()).map(|bytes| bytes as usize);
            let (lab, case, file, backend) = (lab.clone(), case.clone(), file.clone(), backend.clone());
            let (servers, watched) = (servers.clone(), watched.clone());
            all.push(Workload {
                lab,
                case,
                file,
                prelude,
                traffic,
                spec,
                cluster_spec,
                backend,
                snaplen,
                servers,
                watched,
            });
        }
    }
    all
}

/// What a lab says, or one that it is `like`.
fn of_lab<'a>(labs: &'a BTreeMap<String, Value>, lab: &str, key: &str) -> &'a Value {
    let own = &labs[lab];
    let like = own["like"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let theirs = like.map(|other| &labs[other][key]);
    std::iter::once(&own[key]).chain(theirs).find(|v| !v.is_null()).unwrap_or(&Value::Null)
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn extra_servers(labs: &BTreeMap<String, Value>, lab: &str) -> BTreeMap<String, Vec<String>> {
    let servers = of_lab(labs, lab, "servers").as_object().into_iter().flatten();
    servers.map(|(ns, lines)| (ns.clone(), strings(lines))).collect()
}

fn watched(labs: &BTreeMap<String, Value>, lab: &str) -> Vec<String> {
    NODES.iter().map(|n| (*n).to_owned()).chain(strings(of_lab(labs, lab, "watch"))).collect()
}

/// The cases of a lab in the order in which they were recorded, where it matters: counters went on from one to the
/// next.
struct History<'a> {
    cases: Vec<(String, &'a Value)>,
    /// What the recordings' script did before each case.
    between: Vec<Value>,
}

impl<'a> History<'a> {
    fn of(labs: &'a BTreeMap<String, Value>, lab: &str) -> Self {
        let order = strings(of_lab(labs, lab, "order"));
        let between = of_lab(labs, lab, "between").as_array().cloned().unwrap_or_default();
        let all = labs.values().map(|l| &l["cases"]);
        let find = |case: &String| all.clone().map(|c| &c[case]["traffic"]).find(|t| !t.is_null());
        History { cases: order.into_iter().filter_map(|case| Some((case.clone(), find(&case)?))).collect(), between }
    }

    /// What happened before a case.
    fn before(&self, case: &str) -> Vec<Value> {
        let earlier = self.cases.iter().take_while(|(other, _)| other != case);
        let traffic = earlier.flat_map(|(_, traffic)| traffic.as_array().into_iter().flatten().chain(&self.between));
        traffic.cloned().collect()
    }
}

/// The cases that are recorded and not simulated yet (`recordings/pending.txt`), with what they wait for.
///
/// # Panics
/// The file is missing: the checkout is not whole.
#[must_use]
pub fn pending() -> BTreeMap<String, String> {
    let text = fs::read_to_string(folder().join("pending.txt")).expect("recordings/pending.txt");
    let lines = text.lines().filter(|l| !l.starts_with('#'));
    lines.filter_map(|l| l.split_once('\t')).map(|(case, what)| (case.to_owned(), what.to_owned())).collect()
}

/// Runs a case: `NS.any.pcap` of every namespace that saw a frame, `ifmap`, `NODE.ctevents` of every node that had
/// events, and `state.diff` with the rules that counted.
///
/// # Panics
/// The lab's file or the workload is wrong; the message shows why.
#[must_use]
pub fn simulate(w: &Workload) -> Case {
    let plan = plan(w);
    let mut memory = Memory::default();
    let outputs = Outputs { captures: true, ..Outputs::NONE };
    let options = Options { outputs, journeys: 0, prelude: prelude(w).len() };
    let mut watched =
        Watched { plan: &plan, namespaces: &w.watched, ifmap: String::new(), before: vec![], counted: String::new() };
    let report =
        scenario::run(&plan, &mut memory, options, &mut watched).unwrap_or_else(|e| panic!("{}: {e:?}", w.case));
    assert_eq!(report.limit, None, "{}", w.case);
    let mut files: BTreeMap<String, Vec<u8>> = memory
        .files
        .into_iter()
        .filter_map(|(path, bytes)| {
            let ns = file_name(path.strip_suffix("/any.pcap")?);
            Some((format!("{ns}.any.pcap"), cut(bytes, w.snaplen)))
        })
        .collect();
    files.insert("ifmap".to_owned(), watched.ifmap.into_bytes());
    files.insert("state.diff".to_owned(), watched.counted.into_bytes());
    for c in report.commands.iter().filter(|c| c.command == LISTENER) {
        let is_event = |l: &&str| l.starts_with('[');
        let events: String = c.output.lines().filter(is_event).flat_map(|l| [l, "\n"]).collect();
        if !events.is_empty() {
            files.insert(format!("{}.ctevents", c.from), events.into_bytes());
        }
    }
    Case { order: None, files }
}

/// The records of a capture, each cut at `snaplen` bytes.
fn cut(pcap: Vec<u8>, snaplen: Option<usize>) -> Vec<u8> {
    /// Of the file; of a record, whose third word says how many bytes follow.
    const HEADERS: (usize, usize) = (24, 16);
    let Some(snaplen) = snaplen else { return pcap };
    let (mut out, mut rest) = (pcap[..HEADERS.0].to_vec(), &pcap[HEADERS.0..]);
    while let Some((header, bytes)) = rest.split_at_checked(HEADERS.1) {
        let len = u32::from_le_bytes([header[8], header[9], header[10], header[11]]) as usize;
        let kept = len.min(snaplen);
        out.extend_from_slice(&header[..8]);
        out.extend_from_slice(&(kept as u32).to_le_bytes());
        out.extend_from_slice(&header[12..]);
        out.extend_from_slice(&bytes[..kept]);
        rest = &bytes[len..];
    }
    out
}

/// What the recordings have besides the packets.
struct Watched<'a> {
    plan: &'a Plan,
    /// Those that are watched.
    namespaces: &'a [String],
    /// `NS INDEX NAME`, a line for every device of every namespace when the captures begin.
    ifmap: String,
    /// Their rules when the captures begin, as `iptables-save -c` has them.
    before: Vec<BTreeSet<String>>,
    /// Those whose counters are others when the last command has ended.
    counted: String,
}

impl Watched<'_> {
    /// The rules of a namespace with their counters.
    fn rules(world: &World, ns: &str) -> Vec<String> {
        let options = save::Options { counters: true, ..save::Options::default() };
        let Some(ns) = world.namespace(ns) else { return vec![] };
        let rules = show::iptables(world.machine(ns).spaces(), ns).save(options).expect("no table is asked for");
        rules.lines().filter(|l| l.starts_with('[')).map(str::to_owned).collect()
    }
}

impl Progress for Watched<'_> {
    fn commands(&mut self, _: usize, _: usize) {}

    fn began(&mut self, world: &World) {
        for n in &self.plan.namespaces {
            let name = file_name(&n.name);
            let Some(ns) = world.namespace(&n.name) else { continue };
            let machine = world.machine(ns);
            for link in show::links(machine.spaces(), ns, machine.now()) {
                self.ifmap += &format!("{name} {} {}\n", link.index, link.name);
            }
        }
        self.before = self.namespaces.iter().map(|ns| Self::rules(world, ns).into_iter().collect()).collect();
    }

    fn settled(&mut self, world: &World, look: usize) {
        // The recordings' script reads one namespace after the other, which takes it some 30 ms each.
        for (n, (ns, before)) in self.namespaces.iter().zip(&self.before).enumerate() {
            if look == if n == 0 { 0 } else { LOOKS - 1 } {
                let rules = Self::rules(world, ns).into_iter().filter(|rule| !before.contains(rule));
                self.counted.extend(rules.flat_map(|rule| ["+".to_owned(), rule, "\n".to_owned()]));
            }
        }
    }
}

/// Writes what our lab shows as `OUT/LAB/CASE/{NS.any.pcap, ifmap, NODE.ctevents, state.diff}`, of all cases or of
/// those named.
///
/// # Errors
/// The file system's; a name that is no case.
pub fn write(out: &Path, cases: &[String]) -> io::Result<usize> {
    let all = workloads();
    let known = |c: &&String| all.iter().any(|w| w.case == **c || format!("{}/{}", w.lab, w.case) == **c);
    if let Some(unknown) = cases.iter().find(|c| !known(c)) {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no simulated case is called {unknown}")));
    }
    let wanted =
        |w: &&Workload| cases.is_empty() || cases.iter().any(|c| *c == w.case || *c == format!("{}/{}", w.lab, w.case));
    let chosen: Vec<_> = all.iter().filter(wanted).collect();
    for w in &chosen {
        let dir = out.join(&w.lab).join(&w.case);
        fs::create_dir_all(&dir)?;
        for (name, bytes) in simulate(w).files {
            fs::write(dir.join(name), bytes)?;
        }
    }
    Ok(chosen.len())
}

/// The lab's scenario with the case's traffic.
///
/// # Panics
/// The lab's file or the workload is wrong; the message shows why.
#[must_use]
pub fn plan(w: &Workload) -> Plan {
    let source = source(w, &[prelude(w), w.traffic.clone()].concat());
    let plan = scenario::resolve_in(&Disk, &source, None);
    let mut plan = plan.unwrap_or_else(|e| panic!("{}\n{}", w.case, e.render(false)));
    // The cases' seeds stand for what the kernel drew in labs, which draw by place.
    plan.config.by_name = false;
    plan
}

/// The same for the real kernel of today: what happens before the captures begin is part of it.
///
/// # Errors
/// A lab of real namespaces cannot show the case.
pub fn live(w: &Workload) -> Result<Plan, Diagnostics> {
    let source = source(w, &[&w.prelude[..], &w.traffic].concat());
    podhop_parity::prepare(&Disk, &source, scenario::resolve_in(&Disk, &source, None)?)
}

/// JSON is YAML.
fn source(w: &Workload, traffic: &[Value]) -> SourceFile {
    let path = folder().join(&w.file);
    let mut text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    for (key, value) in &w.spec {
        text += &format!("  {key}: {value}\n");
    }
    for (ns, servers) in &w.servers {
        let place = text.find(&format!("\n    {ns}:\n")).expect("a namespace of the lab");
        let list = place + text[place..].find("servers: [").expect("its servers stand in one line");
        let end = list + text[list..].find(']').expect("the list ends");
        text.insert_str(end, &servers.iter().map(|line| format!(", {line}")).collect::<String>());
    }
    if w.backend != "nft" {
        for word in ["iptables-", "iptables: "] {
            text = text.replace(&format!("{word}nft"), &format!("{word}{}", w.backend));
        }
    }
    text += &format!("  traffic: {}\n", json!(traffic));
    SourceFile::new(path.display().to_string(), text)
}

/// What happens before the captures begin. What it did to the nodes' connections and counters is forgotten, then
/// somebody listens for events.
fn prelude(w: &Workload) -> Vec<Value> {
    let mut all = w.prelude.clone();
    for command in ["conntrack -F", "iptables -t nat -Z", "iptables -Z"] {
        all.extend(NODES.map(|n| json!({"from": n, "run": command})));
    }
    // They take no turn among the others: the next one starts when it would without them.
    let listen = |n: &String| json!({"from": n, "at": "0s", "background": true, "run": LISTENER});
    all.extend(w.watched.iter().map(listen));
    all
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings")
}
