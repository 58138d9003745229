//! `bpftool link` and `bpftool net` (tools/bpf/bpftool/link.c, net.c).

use crate::kernel::show::BpfLink;
use crate::kernel::tc::Attach;
use std::fmt::Write;

/// `bpftool link`: by number.
pub fn bpf_links(mut links: Vec<BpfLink>) -> String {
    links.sort_by_key(|l| l.id);
    let mut out = String::new();
    for BpfLink { id, prog_id, dev: (index, name), attach, .. } in &links {
        let _ = writeln!(out, "{id}: tcx  prog {prog_id}  ");
        let _ = writeln!(out, "\tifindex {name}({})  attach_type {}  ", index.0, attach.name());
    }
    out
}

/// `bpftool net`: by device.
pub fn bpf_net(links: &[BpfLink]) -> String {
    let mut out = "xdp:\n\ntc:\n".to_owned();
    for BpfLink { id, prog_id, dev: (index, name), attach, program } in links {
        let way = if *attach == Attach::Ingress { "ingress" } else { "egress" };
        let _ = writeln!(out, "{name}({}) tcx/{way} {} prog_id {prog_id} link_id {id} ", index.0, program.name());
    }
    out + "\nflow_dissector:\n\nnetfilter:\n\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::IfIndex;
    use crate::kernel::bpf::Program;

    /// Of article 002, whose numbers are other.
    #[test]
    fn as_bpftool_prints_them() {
        let link = |id, index, name: &str, attach, program| BpfLink {
            id,
            prog_id: id,
            dev: (IfIndex(index), name.to_owned()),
            attach,
            program,
        };
        let links = vec![
            link(2, 2, "ens4", Attach::Ingress, Program::CilFromNetdev),
            link(1, 5, "cilium_vxlan", Attach::Egress, Program::CilToOverlay),
        ];
        let net = "xdp:\n\ntc:\nens4(2) tcx/ingress cil_from_netdev prog_id 2 link_id 2 \n\
                   cilium_vxlan(5) tcx/egress cil_to_overlay prog_id 1 link_id 1 \n\n\
                   flow_dissector:\n\nnetfilter:\n\n";
        assert_eq!(bpf_net(&links), net);
        let list = "1: tcx  prog 1  \n\tifindex cilium_vxlan(5)  attach_type tcx_egress  \n\
                    2: tcx  prog 2  \n\tifindex ens4(2)  attach_type tcx_ingress  \n";
        assert_eq!(bpf_links(links), list);
    }
}
