//! Programs: what runs in user space. A program is a plain state machine: the engine tells it how its last system call
//! ended, it answers with the next one.

use crate::base::{Files, NsId, Pid, Prf, Salt, Time};
use crate::kernel::cred::Cred;
use crate::kernel::netns::Spaces;
use crate::kernel::printk::KernelLog;
use crate::kernel::syscall::{Call, Ret};
use crate::kernel::trace::Proxied;
use std::collections::BTreeMap;

/// A program in user space. The one open set of the engine: implemented in `user/` and `lab/`.
pub trait Program: Send + Sync {
    /// Runs until the next system call. `ret` is what the last one returned, [`Ret::Start`] at first. After
    /// [`Call::Exit`] it is not called again.
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call;

    /// A copy that goes on from the same point: worlds can be cloned.
    fn boxed_clone(&self) -> Box<dyn Program>;

    /// What it works by, as JSON, if it shows that to people (Envoy's `/config_dump`).
    fn config_dump(&self) -> Option<String> {
        None
    }
}

/// What a program finds around it without a system call that could block.
pub struct Env<'a> {
    /// CLOCK_MONOTONIC.
    pub now: Time,
    /// CLOCK_REALTIME minus CLOCK_MONOTONIC: the scenario's start in nanoseconds since 1970.
    pub epoch_ns: u64,
    /// getpid(2).
    pub pid: Pid,
    /// The namespace that it runs in.
    pub ns: NsId,
    /// SIGALRM came since the last step.
    pub alarmed: bool,
    /// SIGINT came since the last step.
    pub interrupted: bool,
    /// Read-only state of the kernel, for [`crate::kernel::show`].
    pub spaces: &'a Spaces,
    /// The processes of its machine.
    pub tasks: &'a Tasks,
    /// The log of its machine's kernel.
    pub log: &'a KernelLog,
    /// The files of its namespace.
    pub files: &'a Files,
    /// The scenario's randomness.
    pub prf: &'a Prf,
    /// By which its machine draws.
    pub salt: Salt,
    /// What the program has computed since its last system call: the CPU is taken for so many nanoseconds before the
    /// next one.
    pub spent_ns: u64,
    /// Where it puts lines of a key log (SSLKEYLOGFILE), when it knows them.
    pub secrets: &'a mut String,
    /// Where a proxy puts which connection it has gone on with for which.
    pub proxied: &'a mut Vec<Proxied>,
    /// Standard output and standard error.
    pub console: &'a mut Console,
}

/// The processes of a machine that have not ended, as /proc lists them.
pub type Tasks = BTreeMap<Pid, Task>;

/// A process, as others see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Task {
    /// /proc/PID/ns/net
    pub ns: NsId,
    /// Uid and Gid of /proc/PID/status.
    pub cred: Cred,
    /// /proc/PID/cmdline with blanks; empty of a process that nobody named.
    pub cmdline: String,
}

impl Task {
    /// /proc/PID/comm: the name of its program, of at most 15 bytes (TASK_COMM_LEN).
    pub fn comm(&self) -> &str {
        let name = self.program();
        let name = name.strip_suffix(':').unwrap_or(name);
        name.get(..15).unwrap_or(name)
    }

    /// What netstat(8) takes from /proc/PID/cmdline: the name of the program, or all of the title that a server has put
    /// there (`nginx: master process …`).
    pub fn title(&self) -> &str {
        let name = self.program();
        if name.ends_with(':') { &self.cmdline } else { name }
    }

    fn program(&self) -> &str {
        let program = self.cmdline.split(' ').next().unwrap_or_default();
        program.rsplit('/').next().unwrap_or_default()
    }
}

/// What a program has printed, in order, with the stream that it went to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Console {
    chunks: Vec<(Stream, String)>,
    bytes: usize,
}

/// Where text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    /// File descriptor 1.
    Out,
    /// File descriptor 2.
    Err,
}

/// A program's output is kept up to this many bytes; the rest is dropped, and the text says so.
pub const MAX_CONSOLE_BYTES: usize = 16 << 20;

impl Console {
    /// Prints to standard output.
    pub fn out(&mut self, text: impl AsRef<str>) {
        self.write(Stream::Out, text.as_ref());
    }

    /// Prints to standard error.
    pub fn err(&mut self, text: impl AsRef<str>) {
        self.write(Stream::Err, text.as_ref());
    }

    /// Everything that went to standard output.
    pub fn stdout(&self) -> String {
        self.chunks.iter().filter(|(s, _)| *s == Stream::Out).map(|(_, t)| t.as_str()).collect()
    }

    /// Both streams as a terminal shows them.
    pub fn all(&self) -> String {
        self.chunks.iter().map(|(_, t)| t.as_str()).collect()
    }

    fn write(&mut self, stream: Stream, text: &str) {
        if text.is_empty() || self.bytes > MAX_CONSOLE_BYTES {
            return;
        }
        self.bytes += text.len();
        let cut = self.bytes > MAX_CONSOLE_BYTES;
        let text = if cut { "\npodhop: output limit (MAX_CONSOLE_BYTES) reached\n" } else { text };
        match self.chunks.last_mut() {
            Some((last, into)) if *last == stream => into.push_str(text),
            _ => self.chunks.push((stream, text.to_owned())),
        }
    }
}
