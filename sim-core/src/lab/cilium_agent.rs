//! What the agent of Cilium asks of the kernel by bpf(2), as text. Links are called as bpftool(8) calls them, maps and
//! the fields of their values as `cilium-dbg bpf … list` does.
//!
//! Differs: the daemon has no such command line; it makes the system calls itself.
//!
//! ```text
//!   cilium-agent attach tcx_ingress cil_from_container dev lxc7dc050ebabd6
//!   cilium-agent attach tcx_ingress cil_from_netdev dev ens4 host-routing ens4
//!   cilium-agent update cilium_lxc 10.0.1.15 id=1234 sec_id=256 dev=lxc7dc050ebabd6 mac=4e:… nodemac=a6:…
//!   cilium-agent update cilium_ipcache 10.0.2.17/32 identity=257 tunnelendpoint=10.168.0.5
//!   cilium-agent update cilium_tunnel_map 10.0.2.0/24 10.168.0.5
//!   cilium-agent update cilium_lb4_services_v2 10.96.0.10:53/UDP 1 backend=3 count=0 rev_nat=2
//!   cilium-agent update cilium_lb4_backends_v3 3 10.0.2.17:53/UDP
//!   cilium-agent update cilium_lb4_reverse_nat 2 10.96.0.10:53
//! ```

use super::args::{Args, address, network, unsigned};
use super::lex::quote;
use super::{Action, Requests, SyntaxError, Tool, Word};
use crate::base::Mac;
use crate::kernel::bpf::maps::{Backend, Endpoint, RemoteEndpoint, Service, ServiceKey};
use crate::kernel::bpf::{Entry, Key, Program};
use crate::kernel::netlink::{Bpf, Request};
use crate::kernel::tc::Attach;
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP};
use std::net::SocketAddrV4;

/// The maps that the agent writes.
const MAPS: [&str; 6] = [
    "cilium_lxc",
    "cilium_ipcache",
    "cilium_tunnel_map",
    "cilium_lb4_services_v2",
    "cilium_lb4_backends_v3",
    "cilium_lb4_reverse_nat",
];
/// Programs that route: the device to the network follows.
const HOST_ROUTING: &str = "host-routing";
/// What it does.
const VERBS: [&str; 4] = ["attach", "detach", "update", "delete"];

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let mut args = Args::new(words, 1);
    let verb = args.next().ok_or_else(|| args.error("cilium-agent: what is it to do?").hint(VERBS.join(", ")))?;
    let bpf = match verb.text.as_str() {
        "attach" => {
            let (attach, program) = (attach(&mut args)?, program(&mut args)?);
            let dev = dev(&mut args)?;
            let routes = args.peek().is_some_and(|word| word.text == HOST_ROUTING);
            let host_routing = if routes { args.next().map(|_| args.value()).transpose()? } else { None };
            Bpf::Link { dev, attach, program, host_routing: host_routing.map(|word| word.text.clone()) }
        }
        "detach" => {
            let attach = attach(&mut args)?;
            Bpf::Detach { dev: dev(&mut args)?, attach }
        }
        "update" => {
            let key = key(&mut args)?;
            Bpf::Update(entry(key, &mut args)?)
        }
        "delete" => Bpf::Delete(key(&mut args)?),
        text => {
            let message = format!("cilium-agent: unknown request \"{text}\"");
            return Err(SyntaxError::at(verb, message).hint_nearest(text, VERBS));
        }
    };
    if let Some(more) = args.next() {
        return Err(SyntaxError::at(more, format!("cilium-agent: \"{}\" is too much", more.text)));
    }
    let requests = vec![Request::Bpf(bpf)];
    Ok(Action::Requests(Requests { tool: Tool::CiliumAgent, checks: vec![], requests, ignore: None }))
}

fn bad(word: &Word, what: &str, example: &str) -> SyntaxError {
    let message = format!("cilium-agent: \"{}\" is no {what}", word.text);
    SyntaxError::at(word, message).hint(format!("an example: {example}"))
}

fn attach(args: &mut Args<'_>) -> Result<Attach, SyntaxError> {
    let word = args.value()?;
    Attach::from_name(&word.text).ok_or_else(|| bad(word, "type of attachment", "tcx_ingress"))
}

fn program(args: &mut Args<'_>) -> Result<Program, SyntaxError> {
    let word = args.value()?;
    let all = Program::ALL.map(Program::name);
    Program::from_name(&word.text)
        .ok_or_else(|| bad(word, "program", "cil_from_container").hint_nearest(&word.text, all))
}

fn dev(args: &mut Args<'_>) -> Result<String, SyntaxError> {
    let word = args.value()?;
    let name = if word.text == "dev" { args.value()? } else { word };
    Ok(name.text.clone())
}

/// A map and a key of it.
fn key(args: &mut Args<'_>) -> Result<Key, SyntaxError> {
    let map = args.value()?;
    let word = args.value()?;
    Ok(match map.text.as_str() {
        "cilium_lxc" => Key::Lxc(address(word, true)?),
        "cilium_ipcache" => Key::Ipcache(network(word, true)?),
        "cilium_tunnel_map" => Key::Tunnel(network(word, true)?),
        "cilium_lb4_services_v2" => {
            let (addr, protocol) = endpoint(word)?;
            let slot = unsigned(args.value()?, "slot")?;
            Key::Service(ServiceKey { addr: *addr.ip(), port: addr.port(), protocol, slot })
        }
        "cilium_lb4_backends_v3" => Key::Backend(unsigned(word, "backend id")?),
        "cilium_lb4_reverse_nat" => Key::RevNat(unsigned(word, "index")?),
        text => {
            let message = format!("cilium-agent: there is no map \"{text}\"");
            return Err(SyntaxError::at(map, message).hint_nearest(text, MAPS));
        }
    })
}

/// The value that goes with a key.
fn entry(key: Key, args: &mut Args<'_>) -> Result<Entry, SyntaxError> {
    Ok(match key {
        Key::Lxc(ip) => Entry::Lxc(ip, endpoint_info(args)?),
        Key::Ipcache(net) => {
            let identity = unsigned(&field(args, "identity")?, "identity")?;
            let tunnel = optional(args, "tunnelendpoint").map(|word| address(&word, true)).transpose()?;
            Entry::Ipcache(net, RemoteEndpoint { identity, tunnel })
        }
        Key::Tunnel(net) => Entry::Tunnel(net, address(args.value()?, true)?),
        Key::Service(key) => {
            let backend = unsigned(&field(args, "backend")?, "backend id")?;
            let count = unsigned(&field(args, "count")?, "count")?;
            let rev_nat = unsigned(&field(args, "rev_nat")?, "index")?;
            Entry::Service(key, Service { backend, count, rev_nat })
        }
        Key::Backend(id) => {
            let (addr, protocol) = endpoint(args.value()?)?;
            Entry::Backend(id, Backend { addr, protocol })
        }
        Key::RevNat(index) => {
            let word = args.value()?;
            let addr = word.text.parse().map_err(|_| bad(word, "address with a port", "10.96.0.10:53"))?;
            Entry::RevNat(index, addr)
        }
    })
}

/// `id=… sec_id=… [dev=…] mac=… nodemac=…`
fn endpoint_info(args: &mut Args<'_>) -> Result<Endpoint, SyntaxError> {
    let id = unsigned(&field(args, "id")?, "endpoint id")?;
    let identity = unsigned(&field(args, "sec_id")?, "identity")?;
    let dev = optional(args, "dev").map(|word| word.text);
    let mac = mac(&field(args, "mac")?)?;
    let node_mac = self::mac(&field(args, "nodemac")?)?;
    Ok(Endpoint { dev, id, identity, mac, node_mac })
}

fn mac(word: &Word) -> Result<Mac, SyntaxError> {
    super::args::lladdr(word, |_| format!("\"{}\" is invalid lladdr.", word.text))
}

/// `10.96.0.10:53/UDP`
fn endpoint(word: &Word) -> Result<(SocketAddrV4, u8), SyntaxError> {
    let parts = word.text.split_once('/').and_then(|(addr, protocol)| {
        let protocol = match protocol {
            "TCP" => IPPROTO_TCP,
            "UDP" => IPPROTO_UDP,
            _ => return None,
        };
        Some((addr.parse().ok()?, protocol))
    });
    parts.ok_or_else(|| bad(word, "address with a port and a protocol", "10.96.0.10:53/UDP"))
}

/// The value behind `name=`, which comes next.
fn field(args: &mut Args<'_>, name: &str) -> Result<Word, SyntaxError> {
    optional(args, name).ok_or_else(|| args.error(format!("cilium-agent: {name}= is missing")))
}

fn optional(args: &mut Args<'_>, name: &str) -> Option<Word> {
    let word = args.peek()?;
    let value = word.text.strip_prefix(name)?.strip_prefix('=')?;
    args.next();
    Some(Word { text: value.to_owned(), span: word.span.clone() })
}

/// The command that makes this request.
pub(super) fn command(bpf: &Bpf) -> String {
    match bpf {
        Bpf::Link { dev, attach, program, host_routing } => {
            let routing = host_routing.as_ref().map_or(String::new(), |dev| format!(" {HOST_ROUTING} {}", quote(dev)));
            format!("cilium-agent attach {} {} dev {}{routing}", attach.name(), program.name(), quote(dev))
        }
        Bpf::Detach { dev, attach } => format!("cilium-agent detach {} dev {}", attach.name(), quote(dev)),
        Bpf::Delete(key) => format!("cilium-agent delete {}", key_words(key)),
        Bpf::Update(entry) => {
            let (key, value) = match entry {
                Entry::Lxc(ip, e) => {
                    let dev = e.dev.as_ref().map_or(String::new(), |dev| quote(&format!("dev={dev}")) + " ");
                    let ids = format!("id={} sec_id={}", e.id, e.identity);
                    (Key::Lxc(*ip), format!("{ids} {dev}mac={} nodemac={}", e.mac, e.node_mac))
                }
                Entry::Ipcache(net, RemoteEndpoint { identity, tunnel }) => {
                    let tunnel = tunnel.map_or(String::new(), |node| format!(" tunnelendpoint={node}"));
                    (Key::Ipcache(*net), format!("identity={identity}{tunnel}"))
                }
                Entry::Tunnel(net, node) => (Key::Tunnel(*net), node.to_string()),
                Entry::Service(key, Service { backend, count, rev_nat }) => {
                    (Key::Service(*key), format!("backend={backend} count={count} rev_nat={rev_nat}"))
                }
                Entry::Backend(id, b) => (Key::Backend(*id), with_protocol(b.addr, b.protocol)),
                Entry::RevNat(index, addr) => (Key::RevNat(*index), addr.to_string()),
            };
            format!("cilium-agent update {} {value}", key_words(&key))
        }
    }
}

fn key_words(key: &Key) -> String {
    match key {
        Key::Lxc(ip) => format!("cilium_lxc {ip}"),
        Key::Ipcache(net) => format!("cilium_ipcache {net}"),
        Key::Tunnel(net) => format!("cilium_tunnel_map {net}"),
        Key::Service(ServiceKey { addr, port, protocol, slot }) => {
            let addr = with_protocol(SocketAddrV4::new(*addr, *port), *protocol);
            format!("cilium_lb4_services_v2 {addr} {slot}")
        }
        Key::Backend(id) => format!("cilium_lb4_backends_v3 {id}"),
        Key::RevNat(index) => format!("cilium_lb4_reverse_nat {index}"),
    }
}

fn with_protocol(addr: SocketAddrV4, protocol: u8) -> String {
    format!("{addr}/{}", if protocol == IPPROTO_TCP { "TCP" } else { "UDP" })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an agent asks for reads back from what is printed of it.
    #[test]
    fn requests_are_read_and_printed() {
        for line in [
            "cilium-agent attach tcx_ingress cil_from_container dev lxc7dc050ebabd6",
            "cilium-agent attach tcx_ingress cil_from_netdev dev eth0 host-routing eth0",
            "cilium-agent detach tcx_egress dev cilium_host",
            "cilium-agent update cilium_lxc 10.0.1.15 id=7 sec_id=256 dev=lxc1 mac=4e:e0:85:d5:68:f9 \
             nodemac=a6:8a:15:36:dc:cb",
            "cilium-agent update cilium_lxc 10.0.1.49 id=0 sec_id=1 mac=00:00:00:00:00:00 nodemac=00:00:00:00:00:00",
            "cilium-agent update cilium_ipcache 10.0.2.17/32 identity=257 tunnelendpoint=10.168.0.5",
            "cilium-agent update cilium_ipcache 0.0.0.0/0 identity=2",
            "cilium-agent update cilium_tunnel_map 10.0.2.0/24 10.168.0.5",
            "cilium-agent update cilium_lb4_services_v2 10.96.0.10:53/UDP 1 backend=3 count=0 rev_nat=2",
            "cilium-agent update cilium_lb4_backends_v3 3 10.0.2.17:53/TCP",
            "cilium-agent update cilium_lb4_reverse_nat 2 10.96.0.10:53",
            "cilium-agent delete cilium_lb4_services_v2 10.96.0.10:53/UDP 0",
            "cilium-agent delete cilium_lxc 10.0.1.15",
        ] {
            let Action::Requests(r) = crate::lab::parse(line).expect(line).action else { panic!("{line}") };
            assert_eq!(crate::lab::print::command(&r.requests[0]), line);
        }
        for (line, message) in [
            ("cilium-agent", "cilium-agent: what is it to do?"),
            ("cilium-agent load x", "cilium-agent: unknown request \"load\""),
            ("cilium-agent attach ingress x dev y", "cilium-agent: \"ingress\" is no type of attachment"),
            ("cilium-agent update cilium_lxc 10.0.1.15 sec_id=3", "cilium-agent: id= is missing"),
            ("cilium-agent delete cilium_ct 10.0.1.15", "cilium-agent: there is no map \"cilium_ct\""),
            ("cilium-agent delete cilium_lxc 10.0.1.15 7", "cilium-agent: \"7\" is too much"),
        ] {
            assert_eq!(crate::lab::parse(line).expect_err(line).message, message, "{line}");
        }
    }
}
