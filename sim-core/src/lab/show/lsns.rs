//! lsns(8) of util-linux 2.38: the network namespaces that a process is in, as a table of libsmartcols or as JSON.

use super::View;
use crate::base::{NsId, Pid, passwd};
use crate::kernel::show::{self as kernel, NetnsInfo};
use std::fmt::Write as _;

/// The inode number of the machine's own namespace (PROC_NET_INIT_INO of Linux 6.18).
const OWN_INODE: u64 = 4_026_531_833;

/// Those of the others follow each other at this distance, as on a machine that makes nothing else meanwhile: the
/// folders of a namespace's /proc/net have inode numbers too.
const FIRST_INODE: u64 = 4_026_532_177;
const INODES_OF_A_NAMESPACE: u64 = 69;

/// What `lsns -t net` is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// `-o`
    pub columns: Vec<Column>,
    /// Without `-n`.
    pub headings: bool,
    /// `-p`: the namespace of this process.
    pub pid: Option<u32>,
    /// `-J`
    pub json: bool,
}

impl Default for Query {
    fn default() -> Self {
        use Column::{Command, NetNsId, Nprocs, Ns, NsFs, Pid, Type, User};
        Query {
            columns: vec![Ns, Type, Nprocs, Pid, User, NetNsId, NsFs, Command],
            headings: true,
            pid: None,
            json: false,
        }
    }
}

/// What the table tells of a namespace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Column {
    /// Its inode number.
    Ns,
    /// Its kind.
    Type,
    /// A path to it.
    Path,
    /// How many processes are in it.
    Nprocs,
    /// The lowest of their numbers.
    Pid,
    /// What that process runs.
    Command,
    /// Whose that process is.
    Uid,
    /// The same by name.
    User,
    /// The id by which the namespace of lsns knows it.
    NetNsId,
    /// Its file.
    NsFs,
}

impl Column {
    /// All of them.
    pub const ALL: [Column; 10] = [
        Column::Ns,
        Column::Type,
        Column::Path,
        Column::Nprocs,
        Column::Pid,
        Column::Command,
        Column::Uid,
        Column::User,
        Column::NetNsId,
        Column::NsFs,
    ];

    /// The head of the column.
    pub fn name(self) -> &'static str {
        match self {
            Column::Ns => "NS",
            Column::Type => "TYPE",
            Column::Path => "PATH",
            Column::Nprocs => "NPROCS",
            Column::Pid => "PID",
            Column::Command => "COMMAND",
            Column::Uid => "UID",
            Column::User => "USER",
            Column::NetNsId => "NETNSID",
            Column::NsFs => "NSFS",
        }
    }

    fn to_the_right(self) -> bool {
        matches!(self, Column::Ns | Column::Nprocs | Column::Pid | Column::Uid | Column::NetNsId)
    }

    /// A number in JSON.
    fn is_number(self) -> bool {
        self.to_the_right() && self != Column::NetNsId
    }
}

/// A namespace that a process is in.
struct Row {
    info: NetnsInfo,
    inode: u64,
    processes: usize,
    pid: Pid,
    uid: u32,
    command: String,
}

/// `lsns -t net`
pub(super) fn lsns(view: View<'_>, query: &Query) -> String {
    let of = |pid| view.tasks.get(&Pid(pid)).map(|task| task.ns);
    let mut rows = rows(view);
    rows.retain(|row| query.pid.is_none_or(|pid| of(pid) == Some(row.info.id)));
    rows.sort_by_key(|row| row.inode);
    if query.json { json(&rows, &query.columns) } else { table(&rows, query) }
}

fn rows(view: View<'_>) -> Vec<Row> {
    let row = |info: NetnsInfo| {
        let mut processes = view.tasks.iter().filter(|(_, task)| task.ns == info.id);
        let (pid, first) = processes.next()?;
        let (pid, uid, command, processes) = (*pid, first.cred.uid, first.cmdline.clone(), 1 + processes.count());
        Some(Row { inode: inode(info.id, info.file.is_some()), info, processes, pid, uid, command })
    };
    kernel::namespaces(view.spaces, view.ns).into_iter().filter_map(row).collect()
}

fn inode(id: NsId, has_file: bool) -> u64 {
    if has_file { FIRST_INODE + INODES_OF_A_NAMESPACE * id.index() as u64 } else { OWN_INODE }
}

/// What a column tells of a namespace; nothing if there is nothing to tell.
fn cell(row: &Row, column: Column) -> Option<String> {
    Some(match column {
        Column::Ns => row.inode.to_string(),
        Column::Type => "net".to_owned(),
        Column::Path => format!("/proc/{}/ns/net", row.pid.0),
        Column::Nprocs => row.processes.to_string(),
        Column::Pid => row.pid.0.to_string(),
        Column::Command => row.command.clone(),
        Column::Uid => row.uid.to_string(),
        Column::User => passwd::user_name(row.uid).map_or(row.uid.to_string(), str::to_owned),
        Column::NetNsId => row.info.nsid.map_or("unassigned".to_owned(), |id| id.to_string()),
        Column::NsFs => format!("/run/netns/{}", row.info.file.as_ref()?),
    })
}

/// Columns as wide as their widest cell or their head, also where the head is not shown.
fn table(rows: &[Row], query: &Query) -> String {
    let Some(last) = query.columns.len().checked_sub(1).filter(|_| !rows.is_empty()) else { return String::new() };
    let heads = query.columns.iter().map(|c| c.name().to_owned()).collect();
    let cells = rows.iter().map(|row| query.columns.iter().map(|c| cell(row, *c).unwrap_or_default()).collect());
    let lines: Vec<Vec<String>> = std::iter::once(heads).chain(cells).collect();
    let mut text = String::new();
    for line in lines.iter().skip(usize::from(!query.headings)) {
        for (at, (cell, column)) in line.iter().zip(&query.columns).enumerate() {
            let width = lines.iter().map(|line| line[at].chars().count()).max().unwrap_or_default();
            // Writing to a string does not fail.
            let _ = match column.to_the_right() {
                true => write!(text, "{cell:>width$}"),
                false if at == last => write!(text, "{cell}"),
                false => write!(text, "{cell:<width$}"),
            };
            text.push(if at == last { '\n' } else { ' ' });
        }
    }
    text
}

fn json(rows: &[Row], columns: &[Column]) -> String {
    let object = |row: &Row| {
        let field = |column: &Column| {
            let value = match cell(row, *column) {
                Some(number) if column.is_number() => number,
                Some(text) => serde_json::Value::from(text).to_string(),
                None => "null".to_owned(),
            };
            format!("         \"{}\": {value}", column.name().to_ascii_lowercase())
        };
        columns.iter().map(field).collect::<Vec<_>>().join(",\n")
    };
    let objects: Vec<String> = rows.iter().map(|row| format!("{{\n{}\n      }}", object(row))).collect();
    let indent = if rows.is_empty() { "" } else { "      " };
    format!("{{\n   \"namespaces\": [\n{indent}{}\n   ]\n}}\n", objects.join(","))
}
