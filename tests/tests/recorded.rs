//! Every recorded case that is simulated, each a test: it must show what the real kernel showed.

use podhop_tests::judge::{self, Case, Options};
use podhop_tests::recordings::{LABS, Lab, Stability, stable};
use podhop_tests::{lab, scenarios};
use std::collections::BTreeSet;
use std::process::Command;

/// As many cases are pending. The number only falls: whoever simulates a case takes its line out of
/// recordings/pending.txt and lowers this.
const PENDING: usize = 39;

/// The file of a case that has the counters of rules.
const RULE_COUNTERS: &str = "state.diff";

/// Cases in which a name server answers: dnsmasq in the recordings, ours as CoreDNS. What the client sees is compared,
/// but for the lengths of the messages, which is why the rules count other bytes.
fn names_are_asked(case: &str) -> bool {
    case.starts_with("dns_")
}

/// The case in which names are asked for over TCP: other lengths are other sequence numbers, too.
const OVER_TCP: &str = "dns_tcp";

/// What p1a sees, by interface, direction and flags.
fn shapes(case: &Case) -> Vec<String> {
    let options = Options { namespaces: vec!["p1a".to_owned()], ..Options::default() };
    let shape = |line: &str| {
        let flags = line.split_once("Flags [").and_then(|(_, rest)| rest.split(']').next());
        let words: Vec<&str> = line.split_whitespace().collect();
        match flags {
            Some(flags) => format!("{} [{flags}]", words[..words.len().min(2)].join(" ")),
            None => words.join(" "),
        }
    };
    judge::canon(case, &options).lines().map(shape).collect()
}

/// Cases in which the kernel draws at random: the same kinds of records, and probes within Linux's ranges.
const STEADY: [&str; 2] = ["arp_steady", "link_down"];

/// Cases that no two runs of the kernel show alike in every segment, since it depends on the processor when readers
/// read. TCP's own part of them is compared.
const BULK: [(&str, &str); 23] = [
    ("labA-off", "delack"),
    ("labA-off", "mtu_1400"),
    ("labA-off", "tcp_abort"),
    ("labA-off", "tcp_big"),
    ("labA-off", "upload"),
    ("labA-off-k618", "tcp_big"),
    ("labA-off-legacy", "tcp_big"),
    ("labA-off-nf0", "tcp_big"),
    ("labA-on", "delack"),
    ("labA-on", "tcp_abort"),
    ("labB-off", "delack"),
    ("labB-off", "mtu_1400"),
    ("labB-off", "tcp_abort"),
    ("labB-off", "tcp_big"),
    ("labB-off", "tcp_big_same"),
    ("labB-off", "upload"),
    ("labB-off", "vx_podmtu1500"),
    ("labB-on", "delack"),
    ("labB-on", "mtu_1400"),
    ("labB-on", "tcp_abort"),
    ("labB-on", "tcp_big"),
    ("labB-on", "upload"),
    ("labB-on", "vx_podmtu1500"),
];

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
}

/// The kernel's timing agreed in both of its runs.
fn times_are_stable(lab: &str, case: &str) -> bool {
    match stable().get(&format!("{lab}/{case}")) {
        Some(Stability::Equal { times }) => *times,
        // Either of the runs will do.
        Some(Stability::Differs { .. }) | None => true,
    }
}

fn check(lab: &str, case: &str) {
    let all = lab::workloads();
    let workload = all.iter().find(|w| w.lab == lab && w.case == case).expect("an entry in recordings/workloads.yaml");
    let recorded = Lab::load(lab);
    let want = recorded.case(case).expect("a recording");
    if STEADY.contains(&case) {
        let second = recorded.second(case).expect("a second recording");
        let disturbed = case == "link_down";
        for (one, other) in [(&want, &second), (&second, &want)] {
            assert_eq!(judge::compare_steady(one, other, one, disturbed), Vec::<String>::new(), "the recording itself");
        }
        assert_eq!(judge::compare_steady(&want, &second, &lab::simulate(workload), disturbed), Vec::<String>::new());
        return;
    }
    if BULK.contains(&(lab, case)) {
        let report = judge::compare_bulk(&want, recorded.second(case).as_ref(), &lab::simulate(workload));
        assert!(report.is_empty(), "{lab}/{case}\n{}", report.join("\n"));
        return;
    }
    if case == OVER_TCP {
        assert_eq!(shapes(&lab::simulate(workload)), shapes(&want), "{lab}/{case}");
        return;
    }
    let times = times_are_stable(lab, case);
    let options = if names_are_asked(case) {
        Options { times, namespaces: vec!["p1a".to_owned()], free_length: Some(53), ..Options::default() }
    } else {
        Options { times, strict: true, ..Options::default() }
    };
    let mut got = lab::simulate(workload);
    if names_are_asked(case) {
        got.files.remove(RULE_COUNTERS);
    }
    let differences = judge::compare(&want, recorded.second(case).as_ref(), &got, &options);
    assert!(differences.is_empty(), "{lab}/{case}\n{}", differences.join("\n"));
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
    lab::write(dir.path(), &[]).expect("it can be written");
    let otherwise = |w: &lab::Workload| {
        STEADY.contains(&w.case.as_str()) || BULK.contains(&(&w.lab, &w.case)) || w.case == OVER_TCP
    };
    for w in lab::workloads().into_iter().filter(|w| !otherwise(w)) {
        let recorded = Lab::load(&w.lab);
        let place = |which: &str| dir.path().join("recordings").join(which).join(&w.lab).join(&w.case);
        let want = place("").components().collect::<std::path::PathBuf>();
        let second = place("second");
        for (case, to) in [(recorded.case(&w.case), &want), (recorded.second(&w.case), &second)] {
            let Some(case) = case else { continue };
            std::fs::create_dir_all(to).expect("a folder");
            for (name, bytes) in
                case.order.map(|o| ("order.txt".to_owned(), o.into_bytes())).into_iter().chain(case.files)
            {
                std::fs::write(to.join(name), bytes).expect("a file");
            }
        }
        let judge = scenarios::root().join("tests/oracles/judge.py");
        let got = dir.path().join(&w.lab).join(&w.case);
        let mut how = if names_are_asked(&w.case) {
            std::fs::remove_file(got.join(RULE_COUNTERS)).expect("counters");
            vec!["--ns", "p1a", "--free-length", "53"]
        } else {
            vec!["--strict"]
        };
        if times_are_stable(&w.lab, &w.case) {
            how.push("--times");
        }
        let out = Command::new("python3").arg(judge).arg("diff").args([&want, &got]).args(how).output();
        let out = out.expect("python3 runs");
        let text = String::from_utf8_lossy(&out.stdout);
        assert_eq!((text.trim(), out.status.code()), ("equal", Some(0)), "{}/{}", w.lab, w.case);
    }
}
