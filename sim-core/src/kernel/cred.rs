//! As whom a process acts (include/linux/cred.h, kernel/cred.c): a user and a group, no further groups. Root has all
//! capabilities, nobody else has any.

use crate::base::Pid;

/// struct cred: fsuid and fsgid, which are the same as the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Cred {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Cred {
    /// Who may do everything.
    pub const ROOT: Cred = Cred { uid: 0, gid: 0 };

    /// capable() and ns_capable(), of any capability.
    pub fn capable(self) -> bool {
        self.uid == 0
    }
}

/// struct task_struct: who makes a system call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Current {
    /// The process.
    pub pid: Pid,
    /// As whom it acts.
    pub cred: Cred,
}

impl Current {
    /// The kernel itself.
    pub const KERNEL: Current = Current { pid: Pid::KERNEL, cred: Cred::ROOT };
}
