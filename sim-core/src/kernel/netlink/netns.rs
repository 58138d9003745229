//! ip-netns(8): namespaces by name (net/core/net_namespace.c).

use super::link;
use crate::kernel::cx::Cx;
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::netns::{LOOPBACK, Spaces};

/// As long a name is as a file name may be.
const NAME_MAX: usize = 255;

pub(super) fn add(spaces: &mut Spaces, cx: &mut Cx<'_>, name: &str) -> Result<(), NlError> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains('/') || matches!(name, "." | "..") {
        return Err(Errno::EINVAL.into());
    }
    if spaces.by_name(name).is_some() {
        return Err(Errno::EEXIST.into());
    }
    spaces.create(cx, name).map(|_| ()).ok_or(Errno::ENFILE.into())
}

/// The machine's own namespace, in which it starts: the simulation calls it `name`, ip-netns(8) does not know it.
///
/// # Errors
/// As of [`super::Request::NetnsAdd`].
pub fn boot(spaces: &mut Spaces, cx: &mut Cx<'_>, name: &str) -> Result<(), NlError> {
    add(spaces, cx, name)?;
    if let Some(id) = spaces.by_name(name) {
        spaces.set_own(id);
    }
    Ok(())
}

/// cleanup_net: the namespace's devices go with it, and the other ends of its veth pairs.
pub(super) fn del(spaces: &mut Spaces, cx: &mut Cx<'_>, name: &str) -> Result<(), NlError> {
    let id = spaces.by_name(name).filter(|id| spaces.file(*id).is_some()).ok_or(Errno::ENOENT)?;
    loop {
        let next = spaces.get(id).devs().map(|d| d.index).find(|i| *i != LOOPBACK);
        let Some(dev) = next else { break };
        link::unregister(spaces, cx, id, dev);
    }
    link::close(spaces, cx, id, LOOPBACK);
    spaces.delete(id);
    Ok(())
}
