//! What hangs on what: the interfaces of a world as a graph, for people (Graphviz, Mermaid) and programs (JSON).

use super::names::Labels;
use crate::base::{IfIndex, MachineId, NicId, NsId};
use crate::engine::World;
use crate::kernel::show::{self, KindInfo, Link};
use petgraph::algo::astar;
use petgraph::dot::{Config, Dot};
use petgraph::graph::{EdgeReference, NodeIndex, UnGraph};
use petgraph::unionfind::UnionFind;
use petgraph::visit::{EdgeFiltered, EdgeRef, IntoNodeReferences};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// The version of the JSON.
pub const TOPOLOGY_VERSION: &str = "podhop/topology/v1";

/// The interfaces of a world and what joins them.
#[derive(Clone, Debug)]
pub struct Topology {
    title: String,
    namespaces: Vec<Namespace>,
    graph: UnGraph<Interface, Joint>,
}

/// A network namespace.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Namespace {
    /// What people call it.
    pub name: String,
    /// The machine that it is on.
    pub machine: MachineId,
}

/// An interface.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Interface {
    /// The place of its namespace in the list of namespaces.
    #[serde(skip)]
    space: usize,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its index there.
    pub index: u32,
    /// `bridge`, `veth`, `vxlan`, `nic`, `loopback`.
    pub kind: &'static str,
    /// Its hardware address.
    pub mac: String,
    /// Its addresses with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// It is up.
    pub up: bool,
}

/// How two interfaces are joined.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Joint {
    /// The two ends of a veth pair.
    Veth,
    /// The two ends of a link between machines.
    Link,
    /// A bridge and its port.
    Port,
    /// A synthetic interface and the physical one below it.
    Vf,
    /// A tunnel and the interface that its packets leave by.
    Tunnel,
}

impl Joint {
    /// Frames go from one end to the other as they are.
    fn is_layer2(self) -> bool {
        self != Joint::Tunnel
    }
}

impl fmt::Display for Joint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Joint::Veth => "veth",
            Joint::Link => "link",
            Joint::Port => "port",
            Joint::Vf => "vf",
            Joint::Tunnel => "tunnel",
        })
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

type Edge<'a> = EdgeReference<'a, Joint>;

/// Where a device is.
type Place = (NsId, IfIndex);

impl Topology {
    /// What the devices of `world` hang on. `labels` is how people call its namespaces, `title` the whole.
    pub fn of(world: &World, labels: &Labels, title: &str) -> Self {
        let mut topology = Topology { title: title.to_owned(), namespaces: vec![], graph: UnGraph::default() };
        let mut found = BTreeMap::new();
        let mut nics: BTreeMap<(MachineId, NicId), NodeIndex> = BTreeMap::new();
        for machine in world.machines() {
            for (ns, name) in machine.spaces().iter() {
                let name = labels.get(name).map_or(name, |label| &label.name).to_owned();
                topology.namespaces.push(Namespace { name, machine: ns.machine() });
                for link in show::links(machine.spaces(), ns, machine.now()).into_iter().filter(is_shown) {
                    let node = topology.graph.add_node(topology.interface(&link));
                    if let KindInfo::Nic(nic) = link.kind {
                        // Of a synthetic interface and the physical one below it, the latter has the link.
                        let of_nic = nics.entry((ns.machine(), NicId(nic))).or_insert(node);
                        if link.flags.slave {
                            *of_nic = node;
                        }
                    }
                    found.insert((ns, link.index), (node, link));
                }
            }
        }
        topology.join(world, &found);
        for (&(machine, nic), &node) in &nics {
            let far = world.far_end(machine, nic).and_then(|far| nics.get(&far));
            if let Some(&far) = far.filter(|far| node < **far) {
                topology.graph.add_edge(node, far, Joint::Link);
            }
        }
        topology
    }

    /// The interface, in the namespace that was found last.
    fn interface(&self, link: &Link) -> Interface {
        let namespace = self.namespaces.last().map_or("", |n| &n.name).to_owned();
        Interface {
            space: self.namespaces.len().saturating_sub(1),
            namespace,
            name: link.name.clone(),
            index: link.index.0,
            kind: match link.kind {
                KindInfo::Loopback => "loopback",
                KindInfo::Veth => "veth",
                KindInfo::Bridge(_) => "bridge",
                KindInfo::Vxlan(_) => "vxlan",
                KindInfo::Ipip(_) => "ipip",
                KindInfo::Nic(_) => "nic",
            },
            mac: link.address.to_string(),
            addresses: link.addrs.iter().map(|a| a.local.to_string()).collect(),
            mtu: link.mtu,
            up: link.flags.up,
        }
    }

    /// What the devices themselves say of each other.
    fn join(&mut self, world: &World, found: &BTreeMap<Place, (NodeIndex, Link)>) {
        for ((ns, index), (node, link)) in found {
            let spaces = world.machine(*ns).spaces();
            let at = |place: Place| found.get(&place).map(|(node, _)| *node);
            if let Some((master, _)) = &link.master {
                let joint = if link.flags.slave { Joint::Vf } else { Joint::Port };
                at((*ns, *master)).map(|master| self.graph.add_edge(master, *node, joint));
            }
            if let Some(peer) = show::veth_peer(spaces, *ns, *index).and_then(at).filter(|peer| node < peer) {
                self.graph.add_edge(*node, peer, Joint::Veth);
            }
            let lower = match &link.kind {
                KindInfo::Vxlan(v) => v.link.as_ref(),
                KindInfo::Ipip(t) => t.tunnel.link.as_ref(),
                _ => None,
            };
            if let Some(lower) = lower {
                let below = spaces.get(*ns).dev_by_name(lower);
                below.and_then(|dev| at((*ns, dev))).map(|below| self.graph.add_edge(*node, below, Joint::Tunnel));
            }
        }
    }

    /// The interfaces.
    pub fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.graph.node_weights()
    }

    /// What is joined, and how.
    pub fn joints(&self) -> impl Iterator<Item = (&Interface, &Interface, Joint)> {
        let graph = &self.graph;
        graph.edge_references().map(|e| (&graph[e.source()], &graph[e.target()], *e.weight()))
    }

    /// Loops of layer 2: a frame that is flooded there comes back and is flooded again. Each is the ways round through
    /// one joint too many.
    pub fn loops(&self) -> Vec<Vec<&Interface>> {
        let graph = &self.graph;
        let mut joined = UnionFind::new(graph.node_count());
        let works = |e: Edge<'_>| e.weight().is_layer2() && graph[e.source()].up && graph[e.target()].up;
        let closing: Vec<_> =
            graph.edge_references().filter(|e| works(*e) && !joined.union(e.source(), e.target())).collect();
        let is_closing = |e: Edge<'_>| closing.iter().any(|c| c.id() == e.id());
        let tree = EdgeFiltered::from_fn(graph, |e| works(e) && !is_closing(e));
        let round = |e: &Edge<'_>| {
            let target = e.target();
            let way = astar(&tree, e.source(), |at| at == target, |_| 1_u32, |_| 0)?.1;
            Some(way.into_iter().map(|node| &graph[node]).collect())
        };
        closing.iter().filter_map(round).collect()
    }

    /// For Graphviz.
    pub fn dot(&self) -> String {
        let text = |text: &str| text.replace('"', "\\\"");
        let edge = |_: &UnGraph<Interface, Joint>, e: Edge<'_>| {
            let style = match e.weight() {
                Joint::Veth => "solid",
                Joint::Link => "bold",
                Joint::Port | Joint::Vf => "dashed",
                Joint::Tunnel => "dotted",
            };
            format!("style={style} tooltip=\"{}\"", e.weight())
        };
        let node = |_: &UnGraph<Interface, Joint>, (_, i): (NodeIndex, &Interface)| {
            let colour = if i.up { "" } else { " color=gray fontcolor=gray" };
            format!("label=\"{}\"{colour}", text(&i.lines("\\n")))
        };
        let boxes = self.boxes(&Boxes {
            open: &|id, title| format!("subgraph cluster_{id} {{ label=\"{}\"", text(title)),
            node: &|n, _| n.to_string(),
            close: "}",
        });
        let content = [Config::GraphContentOnly, Config::NodeNoLabel, Config::EdgeNoLabel];
        let content = Dot::with_attr_getters(&self.graph, &content, &edge, &node);
        let style = "    rankdir=LR fontname=monospace\n    node [shape=box fontname=monospace]\n";
        format!("graph \"{}\" {{\n{style}{boxes}{content}}}\n", text(&self.title))
    }

    /// For Mermaid, which web pages and editors draw.
    pub fn mermaid(&self) -> String {
        let text = |text: &str| text.replace('"', "#quot;");
        let boxes = self.boxes(&Boxes {
            open: &|id, title| format!("subgraph {id}[\"{}\"]", text(title)),
            node: &|n, i| format!("i{n}[\"{}\"]", text(&i.lines("<br>"))),
            close: "end",
        });
        let mut s = format!("flowchart LR\n    accTitle: {}\n{boxes}", self.title);
        for e in self.graph.edge_references() {
            let line = match e.weight() {
                Joint::Veth => "---",
                Joint::Link => "===",
                Joint::Port | Joint::Vf | Joint::Tunnel => "-.-",
            };
            let _ = writeln!(s, "    i{} {line} i{}", e.source().index(), e.target().index());
        }
        s
    }

    /// For programs.
    pub fn json(&self) -> serde_json::Value {
        let joint = |(a, b, kind): (&Interface, &Interface, Joint)| {
            let between = [a.to_string(), b.to_string()];
            serde_json::json!({"kind": kind, "between": between})
        };
        let names = |way: &Vec<&Interface>| way.iter().map(ToString::to_string).collect::<Vec<_>>();
        serde_json::json!({
            "version": TOPOLOGY_VERSION,
            "scenario": self.title,
            "namespaces": self.namespaces,
            "interfaces": self.interfaces().collect::<Vec<_>>(),
            "joints": self.joints().map(joint).collect::<Vec<_>>(),
            "loops": self.loops().iter().map(names).collect::<Vec<_>>(),
        })
    }

    /// The namespaces with their interfaces; those of a machine in one more box, where there are several machines.
    fn boxes(&self, how: &Boxes<'_>) -> String {
        let mut s = String::new();
        let several = self.namespaces.windows(2).any(|two| two[0].machine != two[1].machine);
        let mut first = 0;
        for of_machine in self.namespaces.chunk_by(|a, b| a.machine == b.machine) {
            let boxed = several && of_machine.len() > 1;
            if boxed {
                let title = format!("the machine of {}", of_machine[0].name);
                let _ = writeln!(s, "    {}", (how.open)(&format!("m{}", of_machine[0].machine.0), &title));
            }
            for (n, space) in (first..).zip(of_machine) {
                let _ = writeln!(s, "    {}", (how.open)(&format!("n{n}"), &space.name));
                for (node, i) in self.graph.node_references().filter(|(_, i)| i.space == n) {
                    let _ = writeln!(s, "        {}", (how.node)(node.index(), i));
                }
                let _ = writeln!(s, "    {}", how.close);
            }
            if boxed {
                let _ = writeln!(s, "    {}", how.close);
            }
            first += of_machine.len();
        }
        s
    }
}

/// How a language writes boxes in boxes.
struct Boxes<'a> {
    /// The beginning of a box, by its id and title.
    open: &'a dyn Fn(&str, &str) -> String,
    /// An interface in a box, by its number.
    node: &'a dyn Fn(usize, &Interface) -> String,
    /// The end of a box.
    close: &'static str,
}

impl Interface {
    /// Its name, what it is, its addresses: a line each.
    fn lines(&self, separator: &str) -> String {
        let kind = if self.up { self.kind.to_owned() } else { format!("{}, down", self.kind) };
        let lines: Vec<&str> =
            [self.name.as_str(), &kind].into_iter().chain(self.addresses.iter().map(String::as_str)).collect();
        lines.join(separator)
    }
}

/// The loopback device is shown where it has an address that is not every host's own.
fn is_shown(link: &Link) -> bool {
    !link.flags.loopback || link.addrs.iter().any(|a| !a.local.addr().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(interfaces: &[(&str, bool)], joints: &[(usize, usize, Joint)]) -> Topology {
        let namespaces = vec![Namespace { name: "node".to_owned(), machine: MachineId(0) }];
        let mut t = Topology { title: "t".to_owned(), namespaces, graph: UnGraph::default() };
        for (name, up) in interfaces {
            t.graph.add_node(Interface {
                space: 0,
                namespace: "node".to_owned(),
                name: (*name).to_owned(),
                index: 1,
                kind: "veth",
                mac: String::new(),
                addresses: vec![],
                mtu: 1500,
                up: *up,
            });
        }
        for (a, b, joint) in joints {
            t.graph.add_edge(NodeIndex::new(*a), NodeIndex::new(*b), *joint);
        }
        t
    }

    #[test]
    fn a_loop_needs_every_one_of_its_interfaces() {
        use Joint::{Port, Tunnel, Veth};
        // Two bridges with two links between them.
        let joints = [(0, 1, Port), (0, 2, Port), (3, 4, Port), (3, 5, Port), (1, 4, Veth), (2, 5, Veth)];
        let mut names = [("a", true), ("a1", true), ("a2", true), ("b", true), ("b1", true), ("b2", true)];
        let t = topology(&names, &joints);
        let found: Vec<Vec<&str>> = t.loops().iter().map(|l| l.iter().map(|i| i.name.as_str()).collect()).collect();
        assert_eq!(found, [["a2", "a", "a1", "b1", "b", "b2"]]);
        let mut tunnelled = joints;
        tunnelled[5].2 = Tunnel;
        assert_eq!(topology(&names, &tunnelled).loops(), Vec::<Vec<&Interface>>::new(), "a tunnel is another network");
        names[5].1 = false;
        assert_eq!(topology(&names, &joints).loops(), Vec::<Vec<&Interface>>::new(), "b2 is down");
    }
}
