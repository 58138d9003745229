//! bpf(2) and link_create of kernel/bpf/syscall.c, tcx_link_attach of kernel/bpf/tcx.c.

use super::{Bpf, find};
use crate::base::IfIndex;
use crate::kernel::bpf::{Consts, Program};
use crate::kernel::errno::{Errno, NlError};
use crate::kernel::netns::NetNs;
use crate::kernel::tc::{Attach, Link};

pub(super) fn request(ns: &mut NetNs, request: &Bpf) -> Result<(), NlError> {
    match request {
        Bpf::Link { dev, attach, program, host_routing } => {
            let index = find(ns, dev)?;
            let consts = Consts::of(ns, *program, host_routing.as_deref())?;
            link(ns, index, *attach, *program, consts)
        }
        Bpf::Detach { dev, attach } => detach(ns, dev, *attach),
        Bpf::Update(entry) => {
            let devs = &ns.devs;
            Ok(ns.bpf.update(entry, |name| devs.by_name(name))?)
        }
        Bpf::Delete(key) => Ok(ns.bpf.delete(key)?),
    }
}

/// tcx_link_attach
fn link(ns: &mut NetNs, index: IfIndex, attach: Attach, program: Program, consts: Consts) -> Result<(), NlError> {
    let id = ns.bpf.links_made + 1;
    let Some(d) = ns.dev_mut(index) else { return Err(Errno::ENODEV.into()) };
    let place = d.tcx.get_or_insert_default().at_mut(attach);
    if place.is_some() {
        return Err(Errno::EBUSY.into());
    }
    *place = Some(Link { id, program, consts });
    ns.bpf.links_made = id;
    Ok(())
}

/// tcx_link_detach
fn detach(ns: &mut NetNs, dev: &str, attach: Attach) -> Result<(), NlError> {
    let index = find(ns, dev)?;
    let Some(d) = ns.dev_mut(index) else { return Err(Errno::ENODEV.into()) };
    let tcx = d.tcx.as_mut().ok_or(Errno::ENOENT)?;
    tcx.at_mut(attach).take().ok_or(Errno::ENOENT)?;
    let other = if attach == Attach::Ingress { Attach::Egress } else { Attach::Ingress };
    if tcx.at(other).is_none() {
        d.tcx = None;
    }
    Ok(())
}
