//! What ipset(8) asks for (ip_set_core.c: ip_set_create, ip_set_uadd, ip_set_swap and the others), and how it is
//! refused.

use super::{Element, MAX_ELEMENTS, MAX_SETS, Set, Sets, Spec};
use crate::kernel::errno::{Errno, NlError};

/// A change of a namespace's sets. `exist` makes no error of what is as it is to be (`-exist`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// IPSET_CMD_CREATE
    Create {
        /// The new set.
        name: String,
        /// What it is made with.
        spec: Spec,
        /// `-exist`
        exist: bool,
    },
    /// IPSET_CMD_ADD
    Add {
        /// The set.
        set: String,
        /// What comes into it.
        element: Element,
        /// `-exist`
        exist: bool,
    },
    /// IPSET_CMD_DEL
    Del {
        /// The set.
        set: String,
        /// What goes.
        element: Element,
        /// `-exist`
        exist: bool,
    },
    /// IPSET_CMD_FLUSH of a set, or of all.
    Flush(Option<String>),
    /// IPSET_CMD_DESTROY of a set, or of all.
    Destroy(Option<String>),
    /// IPSET_CMD_SWAP: each has the other's name from then on.
    Swap(String, String),
    /// IPSET_CMD_RENAME
    Rename(String, String),
}

/// enum ipset_errno, with the command that it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "each is its sentence")]
pub enum SetError {
    NoSet,
    Exists,
    Added,
    NotAdded,
    Full,
    OutOfRange,
    Cidr,
    NoMemory,
    TooMany,
    DestroyBusy,
    RenameExists,
    RenameBusy,
    SwapSecond,
    SwapType,
}

impl SetError {
    /// What ipset(8) says (lib/errcode.c).
    pub fn text(self) -> &'static str {
        match self {
            SetError::NoSet => "The set with the given name does not exist",
            SetError::Exists => "Set cannot be created: set with the same name already exists",
            SetError::Added => "Element cannot be added to the set: it's already added",
            SetError::NotAdded => "Element cannot be deleted from the set: it's not added",
            SetError::Full => "Hash is full, cannot add more elements",
            SetError::OutOfRange => "Element is out of the range of the set",
            SetError::Cidr => "The value of the CIDR parameter of the IP address is invalid",
            SetError::NoMemory => "Kernel error received: Cannot allocate memory",
            SetError::TooMany => "Kernel error received: maximal number of sets reached, cannot create more.",
            SetError::DestroyBusy => "Set cannot be destroyed: it is in use by a kernel component",
            SetError::RenameExists => "Set cannot be renamed: a set with the new name already exists",
            SetError::RenameBusy => "Set cannot be renamed: it is in use by another system",
            SetError::SwapSecond => "Sets cannot be swapped: the second set does not exist",
            SetError::SwapType => "The sets cannot be swapped: their type does not match",
        }
    }
}

impl From<SetError> for NlError {
    fn from(e: SetError) -> Self {
        let errno = match e {
            SetError::NoSet | SetError::SwapSecond | SetError::NotAdded => Errno::ENOENT,
            SetError::Exists | SetError::Added | SetError::RenameExists => Errno::EEXIST,
            SetError::DestroyBusy | SetError::RenameBusy => Errno::EBUSY,
            SetError::NoMemory | SetError::Full | SetError::TooMany => Errno::ENOMEM,
            SetError::OutOfRange | SetError::Cidr | SetError::SwapType => Errno::EINVAL,
        };
        NlError::ext(errno, e.text())
    }
}

impl Sets {
    /// Makes a change. `initval` is drawn for a new set; `used` tells how many rules ask a set.
    ///
    /// # Errors
    /// What ipset(8) says. Of an element that stands for several, those before the one that fails are in the set.
    pub fn change(&mut self, change: &Change, initval: u32, used: impl Fn(&str) -> usize) -> Result<(), SetError> {
        match change {
            Change::Create { name, spec, exist } => self.create(name, *spec, initval, *exist),
            Change::Add { set, element, exist } => self.add(set, element, *exist),
            Change::Del { set, element, exist } => self.del(set, element, *exist),
            Change::Flush(name) => {
                if name.as_ref().is_some_and(|name| self.get(name).is_none()) {
                    return Err(SetError::NoSet);
                }
                let of = |s: &&mut Set| name.as_ref().is_none_or(|name| s.name == *name);
                self.list.iter_mut().flatten().filter(of).for_each(Set::flush);
                self.elements = self.iter().map(Set::len).sum();
                Ok(())
            }
            Change::Destroy(Some(name)) => {
                let at = self.at(name).ok_or(SetError::NoSet)?;
                if used(name) > 0 {
                    return Err(SetError::DestroyBusy);
                }
                self.elements -= self.list[at].take().map_or(0, |s| s.len());
                Ok(())
            }
            Change::Destroy(None) => {
                if self.iter().any(|s| used(&s.name) > 0) {
                    return Err(SetError::DestroyBusy);
                }
                *self = Sets::default();
                Ok(())
            }
            Change::Swap(from, to) => self.swap(from, to),
            Change::Rename(from, to) => {
                let at = self.at(from).ok_or(SetError::NoSet)?;
                if used(from) > 0 {
                    return Err(SetError::RenameBusy);
                }
                if self.at(to).is_some() {
                    return Err(SetError::RenameExists);
                }
                if let Some(set) = &mut self.list[at] {
                    set.name.clone_from(to);
                }
                Ok(())
            }
        }
    }

    /// ip_set_create: in the first place that is free.
    fn create(&mut self, name: &str, spec: Spec, initval: u32, exist: bool) -> Result<(), SetError> {
        if let Some(there) = self.get(name) {
            return if exist && there.spec.same(&spec) { Ok(()) } else { Err(SetError::Exists) };
        }
        let set = Some(Set::new(name, spec, initval));
        match self.list.iter().position(Option::is_none) {
            Some(free) => self.list[free] = set,
            None if self.list.len() >= MAX_SETS => return Err(SetError::TooMany),
            None => self.list.push(set),
        }
        Ok(())
    }

    fn add(&mut self, name: &str, element: &Element, exist: bool) -> Result<(), SetError> {
        let at = self.at(name).ok_or(SetError::NoSet)?;
        let Some(set) = &mut self.list[at] else { return Err(SetError::NoSet) };
        let bounded = set.spec.kind != super::SetType::BitmapPort;
        for entry in element.entries(&set.spec)? {
            if set.entries.contains_key(&entry) {
                if !exist {
                    return Err(SetError::Added);
                }
            } else if bounded && set.len() >= set.spec.maxelem as usize {
                return Err(SetError::Full);
            } else if self.elements >= MAX_ELEMENTS {
                return Err(SetError::NoMemory);
            } else {
                self.elements += 1;
            }
            set.put(entry, element.nomatch);
        }
        Ok(())
    }

    fn del(&mut self, name: &str, element: &Element, exist: bool) -> Result<(), SetError> {
        let at = self.at(name).ok_or(SetError::NoSet)?;
        let Some(set) = &mut self.list[at] else { return Err(SetError::NoSet) };
        for entry in element.entries(&set.spec)? {
            if set.take(&entry) {
                self.elements -= 1;
            } else if !exist {
                return Err(SetError::NotAdded);
            }
        }
        Ok(())
    }

    /// ip_set_swap: the names stay where they are, what they stand for changes places.
    fn swap(&mut self, from: &str, to: &str) -> Result<(), SetError> {
        let a = self.at(from).ok_or(SetError::NoSet)?;
        let b = self.at(to).ok_or(SetError::SwapSecond)?;
        let kind = |at: usize| self.list[at].as_ref().map(|s| s.spec.kind);
        if kind(a) != kind(b) {
            return Err(SetError::SwapType);
        }
        self.list.swap(a, b);
        for (at, name) in [(a, from), (b, to)] {
            if let Some(set) = &mut self.list[at] {
                name.clone_into(&mut set.name);
            }
        }
        Ok(())
    }
}
