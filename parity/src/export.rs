//! A plan as a script for the real kernel.

use crate::dns::{self, Table};
use crate::{STATE, Seen, file_name};
use serde_json::json;
use sim_core::base::files::{Content, File};
use sim_core::base::hex;
use sim_core::engine::World;
use sim_core::kernel::cred::Cred;
use sim_core::kernel::netlink::Feature;
use sim_core::kernel::show::{self, KindInfo};
use sim_core::kernel::syscall::Shutdown;
use sim_core::scenario::plan::{Namespace, Plan, Repeat, Run, ServerLine, Traffic};
use sim_core::scenario::{self, RunError};
use sim_core::user::scripted::{Payload, Step, Until};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What the script says of itself, and its functions.
const HEAD: &str = include_str!("export/lab.sh");
/// What it does when it is called.
const MAIN: &str = include_str!("export/main.sh");
/// podhop's own programs.
const PROGRAMS: &str = include_str!("export/programs.py");

/// Who reads it asks for names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// ARPHRD_ETHER
const ETHERNET: u16 = 1;

/// What machines may have set otherwise than a new one.
const SETTINGS: [&str; 7] = [
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ping_group_range",
];

/// Offloads as ethtool calls them.
const OFFLOADS: [(&str, Feature); 6] = [
    ("rx", Feature::Rx),
    ("tx", Feature::Tx),
    ("sg", Feature::Sg),
    ("tso", Feature::Tso),
    ("gso", Feature::Gso),
    ("gro", Feature::Gro),
];

/// What every script needs.
const TOOLS: [&str; 11] =
    ["unshare", "nsenter", "ip", "bridge", "ethtool", "iptables", "conntrack", "tcpdump", "taskset", "ss", "python3"];
/// What a script may need besides, and whose command it is.
const COMMANDS: [&str; 15] = [
    "arp", "arping", "brctl", "curl", "dig", "getent", "iperf3", "nc", "netstat", "nginx", "nslookup", "ping", "route",
    "sysctl", "tc",
];

/// A plan of [`load`](crate::load()) as a script. `seen` is what it shows here, from which the answers of its name
/// servers are taken.
///
/// # Errors
/// Its set-up failed.
pub fn script(plan: &Plan, seen: &Seen) -> Result<String, RunError> {
    let world = scenario::build(plan, &mut sim_core::kernel::trace::Mute).map_err(RunError::Setup)?;
    let mut text = head(plan);
    text += "\nbuild() {\n";
    let _ = writeln!(text, "  cat >/run/lab/programs.py <<'PROGRAMS'\n{PROGRAMS}PROGRAMS");
    for n in &plan.namespaces {
        let _ = writeln!(text, "  netns {}", n.netns);
    }
    for link in &plan.links {
        let [a, b] = &link.ends;
        let _ = writeln!(text, "  veth {} {} {} {}", a.namespace, a.device, b.namespace, b.device);
    }
    plan.namespaces.iter().for_each(|n| namespace(&mut text, n));
    plan.namespaces.iter().for_each(|n| like_ours(&mut text, &world, n));
    servers(&mut text, plan, seen);
    text += "}\n\ntraffic() {\n  :\n";
    plan.traffic.iter().enumerate().for_each(|(n, entry)| traffic(&mut text, n, entry));
    text += "}\n";
    let spaces: Vec<&str> = plan.namespaces.iter().map(|n| n.name.as_str()).collect();
    text += &MAIN.replace("@SPACES@", &spaces.join(" "));
    Ok(text)
}

fn head(plan: &Plan) -> String {
    let mut state = String::new();
    for (n, command) in STATE.iter().enumerate() {
        let _ = writeln!(state, "    in_ns \"$ns\" {command} >\"$out/{n}\" 2>&1");
    }
    let mut netns = String::new();
    for n in plan.namespaces.iter().filter(|n| n.name != n.netns) {
        let _ = writeln!(netns, "  [{}]={}", n.name, n.netns);
    }
    let title = plan.description.split_whitespace().collect::<Vec<_>>().join(" ");
    let title = if title.is_empty() { &plan.name } else { &title };
    HEAD.replace("@TITLE@", title)
        .replace("@NAME@", &plan.name)
        .replace("@NEEDS@", &needs(plan).join(" "))
        .replace("@NETNS@", &netns)
        .replace("@STATE@", &state)
}

/// The tools that a script needs: its own, and whatever a line begins with.
pub(crate) fn needs(plan: &Plan) -> Vec<&str> {
    let mut known = BTreeSet::new();
    let setup = plan.namespaces.iter().flat_map(|n| &n.setup).map(|line| &*line.text);
    let servers = plan.namespaces.iter().flat_map(|n| &n.servers).map(|server| server.text.as_str());
    let runs = plan.traffic.iter().filter_map(|t| if let Traffic::Run(run) = t { Some(&*run.line.text) } else { None });
    for text in setup.chain(servers).chain(runs) {
        known.extend(text.split_whitespace().filter_map(|w| COMMANDS.iter().find(|c| **c == w)));
    }
    TOOLS.into_iter().chain(known.into_iter().copied()).collect()
}

/// The files and the set-up of a namespace.
fn namespace(text: &mut String, n: &Namespace) {
    let etc = [RESOLV_CONF, "/etc/hosts"];
    for (path, file) in n.files.iter() {
        // What programs other than ours would read from the machine's own place is not of the network.
        let kept = etc.contains(&path) || !path.starts_with("/etc/");
        if kept {
            write_file(text, &n.name, path, file);
        }
    }
    // A machine's own names are none of a lab's.
    for path in etc.iter().filter(|path| n.files.iter().all(|(other, _)| other != **path)) {
        let _ = writeln!(text, "  file {} {path} 0 </dev/null", n.name);
    }
    if n.setup.is_empty() {
        return;
    }
    let _ = writeln!(text, "  setup {} <<'SETUP'", n.name);
    for line in &n.setup {
        let _ = writeln!(text, "{}", line.text.trim_end());
    }
    text.push_str("SETUP\n");
}

fn write_file(text: &mut String, ns: &str, path: &str, file: &File) {
    match &file.content {
        Content::Text(content) => {
            let _ = writeln!(text, "  printf %b '{}' | file {ns} {path} {}", octal(content), file.mtime_s);
        }
        Content::Fill { size, byte } => {
            let _ = writeln!(
                text,
                "  head -c {size} /dev/zero | tr '\\0' '\\{byte:o}' | file {ns} {path} {}",
                file.mtime_s
            );
        }
    }
}

/// Text in single quotes that printf's `%b` turns into the same.
fn octal(content: &str) -> String {
    let mut text = String::new();
    for byte in content.bytes() {
        match byte {
            b'\n' => text.push_str("\\n"),
            b'\'' | b'\\' => {
                let _ = write!(text, "\\0{byte:03o}");
            }
            b' '..=b'~' => text.push(byte as char),
            other => {
                let _ = write!(text, "\\0{other:03o}");
            }
        }
    }
    text
}

/// What the real namespace must have as ours: addresses that nobody chose, offloads, settings.
fn like_ours(text: &mut String, world: &World, n: &Namespace) {
    let Some(ns) = world.namespace(&n.name) else { return };
    let m = world.machine(ns);
    let mut links: Vec<_> = show::links(m.spaces(), ns, m.now());
    links.retain(|l| l.arphrd == ETHERNET);
    links.sort_by_key(|l| matches!(l.kind, KindInfo::Bridge(_)));
    for l in &links {
        let off = OFFLOADS.iter().filter(|(_, feature)| !l.features.contains(feature));
        let offloads = off.map(|(name, _)| format!("{name} off")).collect::<Vec<_>>().join(" ");
        let _ = writeln!(text, "  device {} {} {} \"{offloads}\"", n.name, l.name, l.address);
    }
    let _ = write!(text, "  settings {}", n.name);
    for name in SETTINGS {
        if let Some(value) = show::sysctl(m.spaces(), ns, name) {
            let _ = write!(text, " {name}='{}'", value.trim().replace('\t', " "));
        }
    }
    text.push('\n');
    if n.files.iter().any(|(path, _)| path == RESOLV_CONF) {
        let _ = writeln!(text, "  ipv6 {}", n.name);
    }
}

fn servers(text: &mut String, plan: &Plan, seen: &Seen) {
    for n in &plan.namespaces {
        let mut sockets = 0;
        for server in &n.servers {
            sockets += self::server(text, n, server, seen);
        }
        if sockets > 0 {
            let _ = writeln!(text, "  listening {} {sockets}", n.name);
        }
    }
}

/// Starts a server; how many sockets it binds.
fn server(text: &mut String, n: &Namespace, server: &ServerLine, seen: &Seen) -> usize {
    let name = &n.name;
    let ns = format!("{name}{}", run_as(server.cred));
    let words: Vec<&str> = server.text.split_whitespace().collect();
    match words[0] {
        "nginx" => {
            let port = words.get(1).unwrap_or(&"80");
            let root = words.get(2).unwrap_or(&"/usr/share/nginx/html");
            let _ = writeln!(text, "  serve {ns} nginx -c \"$(nginx_conf {name} {port} {root})\" -g 'daemon off;'");
        }
        "coredns" => {
            let mut table = Table::new();
            if let Some(pcap) = seen.case.files.get(&format!("{}.any.pcap", file_name(name))) {
                dns::add(&mut table, pcap);
            }
            let _ = writeln!(text, "  cat >/run/lab/names-{} <<'NAMES'\n{}\nNAMES", n.netns, names(&table));
            let program = format!("programs.py coredns /run/lab/names-{}", n.netns);
            // Both questions of a resolver are sent in one system call. A server that wakes up
            // interrupts it for certain if it is more urgent.
            let _ = writeln!(text, "  serve {ns} nice -n -20 python3 -SEs /run/lab/{program}");
            return 2;
        }
        "python3" => {
            let root = format!("/run/lab/files/{}", n.netns);
            let _ = writeln!(text, "  serve_nameless {ns} env -C {root} {}", below(&root, &words));
        }
        "iperf3" => {
            let _ = writeln!(text, "  serve {ns} {}", server.text);
        }
        _ => {
            let _ = writeln!(text, "  serve {ns} python3 -SEs /run/lab/programs.py {}", server.text);
            if words[0] == "tcpproxy" {
                return words.len() - 1;
            }
        }
    }
    1
}

/// The words of `python3 -m http.server`, its directory below another one.
fn below(root: &str, words: &[&str]) -> String {
    let mut said = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    for n in 0..said.len() {
        if n > 0 && ["-d", "--directory"].contains(&words[n - 1]) {
            said[n] = format!("{root}{}", words[n]);
        } else if let Some(directory) = words[n].strip_prefix("--directory=") {
            said[n] = format!("--directory={root}{directory}");
        }
    }
    said.join(" ")
}

/// What stands in front of a command that is not root's.
fn run_as(cred: Cred) -> String {
    let Cred { uid, gid } = cred;
    if cred == Cred::ROOT { String::new() } else { format!(" setpriv --reuid {uid} --regid {gid} --clear-groups") }
}

/// A table as JSON, bytes in hex.
fn names(table: &Table) -> String {
    let answers = |answers: &[Vec<u8>]| answers.iter().map(|a| json!(hex(a))).collect::<Vec<_>>();
    let rows = table.iter().map(|(question, all)| (hex(question), json!(answers(all))));
    serde_json::Value::Object(rows.collect()).to_string()
}

fn traffic(text: &mut String, n: usize, entry: &Traffic) {
    if let Some(at) = entry.at() {
        let _ = writeln!(text, "  at {}", at.0 / 1000);
    }
    match entry {
        Traffic::Run(run) => command(text, n, run),
        Traffic::Script(script) => {
            let how = if script.background { "start" } else { "run" };
            let program = "python3 -SEs /run/lab/programs.py script";
            let _ = writeln!(text, "  # {}", script.name);
            let _ = writeln!(text, "  {how} {n} {} {program} <<'SCRIPT'", script.from);
            let _ = writeln!(text, "{}SCRIPT", steps(&script.lines));
        }
        Traffic::Sleep(ns) => {
            let _ = writeln!(text, "  sleep {}", *ns as f64 / 1e9);
        }
    }
}

fn command(text: &mut String, n: usize, run: &Run) {
    let Run { from, line, repeat, background, .. } = run;
    let command = line.text.trim_end();
    let _ = match (repeat, background) {
        (Some(Repeat { every_ns, count }), _) => {
            let how = if *background { "start_again" } else { "again" };
            writeln!(text, "  {how} {n} {} {count} {from} {command}", every_ns / 1000)
        }
        (None, true) if line.command.is_endless() => writeln!(text, "  start_endless {n} {from} {command}"),
        (None, true) => writeln!(text, "  start {n} {from} {command}"),
        (None, false) => writeln!(text, "  run {n} {from} {command}"),
    };
}

/// The lines of a script as `programs.py` reads them.
fn steps(lines: &[Step]) -> String {
    let mut text = String::new();
    for line in lines {
        if let Step::Repeat(times, body) = line {
            (0..*times).for_each(|_| text += &steps(body));
        } else if let Some(call) = step(line) {
            let mut words = vec![json!(line.to_string())];
            words.extend(call.as_array().into_iter().flatten().cloned());
            text += &format!("{}\n", serde_json::Value::Array(words));
        }
    }
    text
}

/// A call with its arguments.
fn step(line: &Step) -> Option<serde_json::Value> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    Some(match line {
        Step::Socket { protocol, name } => {
            json!(["socket", protocol.name(), name.as_deref().unwrap_or("")])
        }
        Step::Use(name) => json!(["use", &**name]),
        Step::SetSockOpt(opt) => {
            let words: Vec<&str> = opt.text.split(' ').collect();
            json!(["setsockopt", words[0], words[1], words[2]])
        }
        Step::SetTimeout(ns) => json!(["settimeout", ns.map(seconds)]),
        Step::Bind(addr) => json!(["bind", addr.to_string()]),
        Step::Connect(addr) => json!(["connect", addr.to_string()]),
        Step::Listen(backlog) => json!(["listen", backlog]),
        Step::Accept { timeout_ns, name } => {
            json!(["accept", timeout_ns.map(seconds), name.as_deref().unwrap_or("")])
        }
        Step::BindDev(dev) => json!(["bind", dev]),
        Step::Send { payload: Payload { start, size, byte, end }, to } => {
            json!(["send", hex(start), size, byte, hex(end), to.map(|to| to.to_string())])
        }
        Step::Recv { timeout_ns, size, errqueue, until } => {
            let total = match until {
                Until::Once => None,
                Until::Total(bytes) => Some(*bytes),
                Until::End => Some(0),
            };
            json!(["recv", timeout_ns.map(seconds), size, total, errqueue])
        }
        Step::Shutdown(Shutdown::Read) => json!(["shutdown", "read"]),
        Step::Shutdown(Shutdown::Write) => json!(["shutdown", "write"]),
        Step::Shutdown(Shutdown::Both) => json!(["shutdown", "both"]),
        Step::Close => json!(["close"]),
        Step::Sleep(ns) => json!(["sleep", seconds(*ns)]),
        // A real processor takes its own time.
        Step::Repeat(..) | Step::Cost(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_below() {
        for (said, want) in [
            ("python3 -m http.server 8000", "python3 -m http.server 8000"),
            ("python3 -m http.server -d /www", "python3 -m http.server -d /files/www"),
            ("python3 -m http.server --directory /www 80", "python3 -m http.server --directory /files/www 80"),
            ("python3 -m http.server --directory=/www", "python3 -m http.server --directory=/files/www"),
        ] {
            assert_eq!(below("/files", &said.split(' ').collect::<Vec<_>>()), want);
        }
    }
}
