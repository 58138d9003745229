//! Every recorded case that is simulated, each a test: it must show what the real kernel showed.

use podhop_parity::judge::{self, Case};
use podhop_tests::lab::{self, Workload};
use podhop_tests::recordings::{LABS, Lab};
use podhop_tests::verdict::{self, RULE_COUNTERS, Way};
use podhop_tests::{live, scenarios};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// As many cases are pending. The number only falls: whoever simulates a case takes its line out of
/// recordings/pending.txt and lowers this.
const PENDING: usize = 19;

macro_rules! recorded {
    ($($lab:ident $name:literal { $($case:ident)* })*) => {
        $(mod $lab { $(#[test] fn $case() { super::check($name, stringify!($case)); })* })*
        const TESTED: &[(&str, &str)] = &[$($(($name, stringify!($case)),)*)*];
    };
}

recorded! {
    lab_a_off "labA-off" {
        apiserver
        arp_flux
        balance
        big_ping
        closed_tcp_node
        closed_tcp_other
        closed_tcp_same
        closed_tcp_svc
        closed_udp_other
        closed_udp_same
        closed_udp_svc
        delack
        dns_curl_name
        dns_dig
        dns_external
        dns_tcp
        egress_masq
        forward_drop
        get_conn_close
        get_keepalive
        get_py_http10
        get_svc_other
        hairpin_off
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        host_down_node
        host_down_same
        host_down_tcp
        host_down_tcp_same
        icmp_limit
        kubelet_probe
        mtu_1400
        nat_clash
        netpol_drop
        netpol_reject
        no_forward
        no_return_route
        node_to_svc
        nodeport_from_pod
        nodeport_local
        nodeport_local_none
        nodeport_localhost
        nodeport_other
        nodeport_same
        noep_from_node
        noep_nodeport
        noep_tcp
        noep_udp
        ping_clusterip
        ping_df_1472
        ping_df_toobig
        ping_gw
        ping_node_node
        ping_other
        ping_same
        ping_ttl1
        ping_ttl2
        ping_ttl3
        port_remap
        redirect
        route_types
        sticky
        tcp_abort
        tcp_big
        tcp_big_same
        tcp_halfclose
        tcp_halfslow
        tcp_nc_probe
        tcp_rstclose
        tcp_ttl1
        tcp_turns
        traceroute_udp
        udp_echo_hairpin
        udp_echo_svc_other
        udp_echo_svc_same
        udp_frag_direct
        udp_frag_other
        udp_frag_same
        udp_pmtu
        udp_stream
        unknown_unicast
        upload
        warm_svc_other
        warm_svc_same
    }
    lab_a_off_k618 "labA-off-k618" {
        closed_tcp_svc
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        nodeport_other
        ping_other
        ping_same
        tcp_big
        udp_echo_svc_other
        udp_echo_svc_same
    }
    lab_a_off_legacy "labA-off-legacy" {
        closed_tcp_svc
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        nodeport_other
        ping_other
        ping_same
        tcp_big
        udp_echo_svc_other
        udp_echo_svc_same
    }
    lab_a_off_nf0 "labA-off-nf0" {
        closed_tcp_svc
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        nodeport_other
        ping_other
        ping_same
        tcp_big
        udp_echo_svc_other
        udp_echo_svc_same
    }
    lab_a_off_slow "labA-off-slow" {
        arp_stale
        arp_steady
        arp_tcp
        ct_timeouts
        data_loss
        link_down
        mtu_blackhole
        syn_blackhole
    }
    lab_a_on "labA-on" {
        apiserver
        arp_flux
        balance
        big_ping
        closed_tcp_node
        closed_tcp_other
        closed_tcp_same
        closed_tcp_svc
        closed_udp_other
        closed_udp_same
        closed_udp_svc
        delack
        dns_curl_name
        dns_dig
        dns_external
        dns_tcp
        egress_masq
        forward_drop
        get_conn_close
        get_keepalive
        get_py_http10
        get_svc_other
        hairpin_off
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        host_down_node
        host_down_same
        host_down_tcp
        host_down_tcp_same
        icmp_limit
        kubelet_probe
        mtu_1400
        nat_clash
        netpol_drop
        netpol_reject
        no_forward
        no_return_route
        node_to_svc
        nodeport_from_pod
        nodeport_local
        nodeport_local_none
        nodeport_localhost
        nodeport_other
        nodeport_same
        noep_from_node
        noep_nodeport
        noep_tcp
        noep_udp
        ping_clusterip
        ping_df_1472
        ping_df_toobig
        ping_gw
        ping_node_node
        ping_other
        ping_same
        ping_ttl1
        ping_ttl2
        ping_ttl3
        port_remap
        redirect
        route_types
        sticky
        tcp_abort
        tcp_big
        tcp_big_same
        tcp_halfclose
        tcp_halfslow
        tcp_nc_probe
        tcp_rstclose
        tcp_ttl1
        tcp_turns
        traceroute_udp
        udp_echo_hairpin
        udp_echo_svc_other
        udp_echo_svc_same
        udp_frag_direct
        udp_frag_other
        udp_frag_same
        udp_pmtu
        udp_stream
        unknown_unicast
        upload
        warm_svc_other
        warm_svc_same
    }
    lab_b_off "labB-off" {
        apiserver
        arp_flux
        balance
        big_ping
        closed_tcp_node
        closed_tcp_other
        closed_tcp_same
        closed_tcp_svc
        closed_udp_other
        closed_udp_same
        closed_udp_svc
        data_loss
        delack
        dns_curl_name
        dns_dig
        dns_external
        dns_tcp
        egress_masq
        forward_drop
        get_conn_close
        get_keepalive
        get_py_http10
        get_svc_other
        hairpin_off
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        host_down_node
        host_down_other
        host_down_same
        host_down_tcp
        host_down_tcp_same
        icmp_limit
        kubelet_probe
        mtu_1400
        nat_clash
        netpol_drop
        netpol_reject
        no_forward
        no_return_route
        node_to_svc
        nodeport_from_pod
        nodeport_local
        nodeport_local_none
        nodeport_localhost
        nodeport_other
        nodeport_same
        noep_from_node
        noep_nodeport
        noep_tcp
        noep_udp
        ping_clusterip
        ping_df_1472
        ping_df_toobig
        ping_gw
        ping_node_node
        ping_other
        ping_same
        ping_ttl1
        ping_ttl2
        ping_ttl3
        port_remap
        redirect
        route_types
        sticky
        tcp_abort
        tcp_big
        tcp_big_same
        tcp_halfclose
        tcp_halfslow
        tcp_nc_probe
        tcp_rstclose
        tcp_ttl1
        tcp_turns
        traceroute_udp
        udp_echo_hairpin
        udp_echo_svc_other
        udp_echo_svc_same
        udp_frag_direct
        udp_frag_other
        udp_frag_same
        udp_pmtu
        udp_stream
        unknown_unicast
        upload
        vx_blackhole
        vx_nofdb
        vx_noneigh
        vx_noudpcsum
        vx_outerfrag
        vx_podmtu1500
        warm_svc_other
        warm_svc_same
    }
    lab_b_on "labB-on" {
        apiserver
        arp_flux
        balance
        big_ping
        closed_tcp_node
        closed_tcp_other
        closed_tcp_same
        closed_tcp_svc
        closed_udp_other
        closed_udp_same
        closed_udp_svc
        data_loss
        delack
        dns_curl_name
        dns_dig
        dns_external
        dns_tcp
        egress_masq
        forward_drop
        get_conn_close
        get_keepalive
        get_py_http10
        get_svc_other
        hairpin_off
        head_direct_other
        head_direct_same
        head_hairpin
        head_svc_other
        head_svc_same
        host_down_node
        host_down_same
        host_down_tcp
        host_down_tcp_same
        icmp_limit
        kubelet_probe
        mtu_1400
        nat_clash
        netpol_drop
        netpol_reject
        no_forward
        no_return_route
        node_to_svc
        nodeport_from_pod
        nodeport_local
        nodeport_local_none
        nodeport_localhost
        nodeport_other
        nodeport_same
        noep_from_node
        noep_nodeport
        noep_tcp
        noep_udp
        ping_clusterip
        ping_df_1472
        ping_df_toobig
        ping_gw
        ping_node_node
        ping_other
        ping_same
        ping_ttl1
        ping_ttl2
        ping_ttl3
        port_remap
        redirect
        route_types
        sticky
        tcp_abort
        tcp_big
        tcp_big_same
        tcp_halfclose
        tcp_halfslow
        tcp_nc_probe
        tcp_rstclose
        tcp_ttl1
        tcp_turns
        traceroute_udp
        udp_echo_hairpin
        udp_echo_svc_other
        udp_echo_svc_same
        udp_frag_direct
        udp_frag_other
        udp_frag_same
        udp_pmtu
        udp_stream
        unknown_unicast
        upload
        vx_blackhole
        vx_nofdb
        vx_noneigh
        vx_noudpcsum
        vx_outerfrag
        vx_podmtu1500
        warm_svc_other
        warm_svc_same
    }
    lab_c_off "labC-off" {
        c_as_proxy
        c_both
        c_closed
        c_in_plain
        c_node_probe
        c_noep
        c_out_plain
        c_self
        c_server_first
        c_udp
    }
    lab_c_on "labC-on" {
        c_as_proxy
        c_both
        c_closed
        c_in_plain
        c_node_probe
        c_noep
        c_out_plain
        c_self
        c_udp
    }
}

fn check(lab: &str, case: &str) {
    let all = lab::workloads();
    let workload = all.iter().find(|w| w.lab == lab && w.case == case).expect("an entry in recordings/workloads.yaml");
    let differences = verdict::differences(workload, lab::simulate(workload));
    assert!(differences.is_empty(), "{lab}/{case}\n{}", differences.join("\n"));
}

/// What the kernel draws at random is judged by ranges: its own two runs lie within them.
#[test]
fn the_recordings_are_steady() {
    for w in lab::workloads().iter().filter(|w| Way::of(&w.lab, &w.case) == Way::Steady) {
        let recorded = Lab::load(&w.lab);
        let (one, other) = (recorded.case(&w.case), recorded.second(&w.case));
        let (one, other) = (one.expect("a recording"), other.expect("a second recording"));
        for (one, other) in [(&one, &other), (&other, &one)] {
            let report = judge::compare_steady(one, other, one, w.case == "link_down");
            assert_eq!(report, Vec::<String>::new(), "{}/{}", w.lab, w.case);
        }
    }
}

#[test]
fn every_case_is_tested_or_pending() {
    let simulated: BTreeSet<String> = lab::workloads().iter().map(|w| format!("{}/{}", w.lab, w.case)).collect();
    let tested: BTreeSet<String> = TESTED.iter().map(|(lab, case)| format!("{lab}/{case}")).collect();
    assert_eq!(simulated, tested, "recordings/workloads.yaml and the list in this file");
    let pending: BTreeSet<String> = lab::pending().into_keys().collect();
    assert_eq!(pending.len(), PENDING, "recordings/pending.txt: the list may only shrink");
    let mut recorded = BTreeSet::new();
    for lab in LABS {
        recorded.extend(Lab::load(lab).cases().map(|c| format!("{lab}/{c}")));
    }
    let listed: BTreeSet<String> = pending.union(&simulated).cloned().collect();
    assert_eq!(recorded, listed, "recorded cases, and those simulated or pending");
    assert_eq!(pending.intersection(&simulated).count(), 0, "no case is both");
}

/// The judge in Python, over the files that `cargo xtask recordings` writes, comes to the same verdicts as its port.
#[test]
fn judge_py_agrees() {
    if Command::new("python3").arg("--version").output().is_err() {
        assert!(std::env::var("CI").is_err(), "skipped: needs python3");
        println!("skipped: needs python3");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary folder");
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    live::side_by_side(at_once, &lab::workloads(), |w| judge_py(w, dir.path()));
}

/// What judge.py says of a case in a folder of its own.
fn judge_py(w: &Workload, dir: &Path) {
    let way = Way::of(&w.lab, &w.case);
    if ![Way::Strict, Way::Names].contains(&way) {
        return;
    }
    let write = |to: &Path, case: Case| {
        fs::create_dir_all(to).expect("a folder");
        let order = case.order.map(|o| ("order.txt".to_owned(), o.into_bytes()));
        order.into_iter().chain(case.files).for_each(|(name, bytes)| fs::write(to.join(name), bytes).expect("a file"));
    };
    let recorded = Lab::load(&w.lab);
    let place = |which: &str| dir.join(which).join(&w.lab).join(&w.case);
    // judge.py looks for the second recording beside the first one's folder.
    let (want, second, got) = (place("recordings"), place("recordings/second"), place("ours"));
    write(&got, lab::simulate(w));
    recorded.case(&w.case).into_iter().for_each(|case| write(&want, case));
    recorded.second(&w.case).into_iter().for_each(|case| write(&second, case));
    let judge = scenarios::root().join("tests/oracles/judge.py");
    let mut how = if way == Way::Names {
        fs::remove_file(got.join(RULE_COUNTERS)).expect("counters");
        vec!["--ns", "p1a", "--free-length", "53"]
    } else {
        vec!["--strict"]
    };
    if verdict::times_are_stable(&w.lab, &w.case) {
        how.push("--times");
    }
    let out = Command::new("python3").arg(judge).arg("diff").args([&want, &got]).args(how).output();
    let out = out.expect("python3 runs");
    let text = String::from_utf8_lossy(&out.stdout);
    assert_eq!((text.trim(), out.status.code()), ("equal", Some(0)), "{}/{}", w.lab, w.case);
}
