use super::policy::{PolicyRule, Selector};
use super::*;
use crate::kernel::netfilter::restore::Restore;
use crate::kernel::netfilter::save::Options;
use crate::kernel::netfilter::{Backend, Iptables};

const PEERS: &str = "(projectcalico.org/namespace == \"default\" && (projectcalico.org/orchestrator == \"k8s\" && \
    networking/allow-db-access == \"true\"))";

/// The node of the golden file: two pods, of which the database may be asked by some.
fn golden() -> Felix {
    let workload = |interface: &str, ingress: &[&str]| Workload {
        interface: interface.to_owned(),
        namespace: "default".to_owned(),
        service_account: "default".to_owned(),
        ingress: ingress.iter().map(|s| (*s).to_owned()).collect(),
        egress: vec![],
    };
    let name = "default/knp.default.allow-db-access";
    let selector = Selector { text: PEERS.to_owned(), members: vec![[172, 30, 1, 7].into()] };
    let rule = PolicyRule { peers: Some(selector), ..PolicyRule::default() };
    Felix {
        workloads: vec![workload("cali2b1490aa46a", &[]), workload("cali95aa86cbb2a", &[name])],
        policies: vec![Policy { name: name.to_owned(), ingress: vec![rule], egress: vec![] }],
        pools: vec![Pool { cidr: "172.30.0.0/16".parse().expect("a network"), masquerade: true }],
        hosts: vec![[10, 0, 0, 1].into(), [10, 0, 0, 2].into()],
        ipip: true,
        vxlan: false,
    }
}

/// Felix's rules as iptables-save prints them; the sets that they ask are there.
fn saved(felix: &Felix) -> String {
    use crate::kernel::netfilter::ipset::{Change, SetType, Spec};
    let mut tables = Iptables::new(Backend::Nft);
    let texts = felix.render();
    for line in texts.sets.lines().filter(|l| l.starts_with("create ")) {
        let name = line.split(' ').nth(1).expect("a name").to_owned();
        let create = Change::Create { name, spec: Spec::new(SetType::HashNet), exist: false };
        tables.change_sets(&create, 0).expect("a new set");
    }
    let restore = Restore { text: texts.rules.clone(), noflush: true, ..Restore::default() };
    tables.restore(&restore).unwrap_or_else(|(line, e)| panic!("line {line}: {e:?}\n{}", texts.rules));
    tables.save(Options { counters: false, table: None, generated: None }).expect("all tables")
}

/// The rules of a chain.
fn rules<'a>(text: &'a str, chain: &str) -> Vec<&'a str> {
    let begins = format!("-A {chain} ");
    text.lines().filter(|l| l.starts_with(&begins)).collect()
}

/// A golden file's rules, by `goldens` of the recordings: tests/iptables/calico-np.rules of this repository.
const GOLDEN: &str = include_str!("../../../../../../tests/iptables/calico-np.rules");

/// Every chain of the golden file comes out of its workloads and its policy. Its node has no rule for IPIP in
/// cali-OUTPUT.
#[test]
fn a_real_node_s_filter_table() {
    let text = saved(&golden());
    let without = saved(&Felix { ipip: false, ..golden() });
    let mut chains: Vec<&str> = GOLDEN.lines().filter_map(|l| l.strip_prefix("-A ")?.split(' ').next()).collect();
    chains.dedup();
    assert_eq!(chains.len(), 18);
    for chain in chains {
        let ours = if chain == "cali-OUTPUT" { &without } else { &text };
        let filter = &ours[ours.find("*filter").expect("a table")..];
        let filter = &filter[..filter.find("COMMIT").expect("its end")];
        assert_eq!(rules(filter, chain), rules(GOLDEN, chain), "{chain}");
    }
}

/// Hashes as they stand on real nodes with Calico.
#[test]
fn hashes_of_static_chains() {
    let text = golden().render().rules;
    for hash in [
        // nat
        "6gwbT8clXdHdC1b1",
        "O3lYWMrLQYEMJtB5",
        "tVnHkvAo15HuiPy0",
        "r6XmIziWUJsdOK6Z",
        "GBTAv2p5CwevEyJm",
        "Z-c7XtVd2Bq7s_hA",
        "nYKhEzDlr11Jccal",
        "SXWvdsbh4Mw7wOln",
        "flqWnvo8yq4ULQLa",
        // raw
        "XFX5xbM8B9qR10JG",
        "EWMPb0zVROM-woQp",
        "PWuxTAIaFCtsg5Qa",
        "fSSbGND7dgyemWU7",
        "ImU0-4Rl2WoOI9Ou",
        "lV4V2MPoMBf0hl9T",
        "njdnLwYeGqBJyMxW",
        "rz86uTUcEZAfFsh7",
        "pN0F5zD0b8yf9W1Z",
        // mangle
        "6BJqBjBC7crtA-7-",
        "KX7AGNd6rMcDUai6",
        "wNH7KsA3ILKJBsY9",
        "Cg96MgVuoPm7UMRo",
        "NX-7roTexQ3fGRfU",
        "nnqPh8lh2VOogSzX",
        "nquN8Jw8Tz72pcBW",
        "jWrgvDQ0xEZHmta3",
        // filter, of a node with IPIP
        "AnEsmO6bDZbQntWW",
        "9e9Uf3GU5tX--Lxy",
        "0f3LDz_VKuHFaA2K",
    ] {
        assert!(text.contains(&format!("\"cali:{hash}\"")), "{hash}\n{text}");
    }
}

/// And those of nodes with VXLAN instead of IPIP.
#[test]
fn hashes_of_static_chains_with_vxlan() {
    let text = Felix { ipip: false, vxlan: true, ..golden() }.render().rules;
    for hash in [
        // cali-INPUT
        "J76FwxInZIsk7uKY",
        "EDCNTTxYfggApx8C",
        "H03xYXARh4e8pwd4",
        "MN6K3isIWBigb1Va",
        "OSYphBLwOgic22Hz",
        "F7Q8zu44qIbOVben",
        // cali-OUTPUT
        "-QZG79DohFjalQBb",
        "iC1pSPgbvgQzkUk_",
        "4Zh7KtRvt4W5AEBR",
        "Y0k-bqjt-5CUqyUq",
        // cali-POSTROUTING
        "e9dnSgSVNmIcpVhP",
    ] {
        assert!(text.contains(&format!("\"cali:{hash}\"")), "{hash}\n{text}");
    }
}

#[test]
fn names_of_chains_and_sets() {
    assert_eq!(limited("cali-pi-", "default/knp.default.allow-db-access"), "cali-pi-_tTE-E7yY40ogArNVgKt");
    assert_eq!(limited("cali-pi-", "default/knp.default.haejun-policy"), "cali-pi-_Eb-vckmN-lr2eREXQcs");
    assert_eq!(limited("cali-pri-", "kns.default"), "cali-pri-kns.default");
    assert_eq!(sets::selector(PEERS), "cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge");
    assert_eq!(sets::selector("all()"), "cali40s:5y5I3VdRZfDU01O--xXAPx2");
    let sets = golden().render().sets;
    assert!(sets.contains("create cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge hash:net family inet maxelem 1048576\n"), "{sets}");
    assert!(sets.contains("add cali40s:LrVD8vMIGQDyv8Y7sPFB1Ge 172.30.1.7\n"), "{sets}");
    assert!(sets.contains("add cali40all-hosts-net 10.0.0.2\n") && !sets.contains("vxlan"), "{sets}");
}

/// Two names that go on with the same digit share a chain.
#[test]
fn many_workloads_are_found_by_a_tree() {
    let mut felix = golden();
    let more = Workload { interface: "cali9f00000000a".to_owned(), ..felix.workloads[0].clone() };
    felix.workloads.push(more);
    let text = saved(&felix);
    let jumps = |chain: &str| -> Vec<String> {
        let target = |l: &str| l.rsplit("\" ").next().unwrap_or_default().to_owned();
        rules(&text, chain).into_iter().map(target).collect()
    };
    assert_eq!(jumps("cali-to-wl-dispatch"), ["-g cali-tw-cali2b1490aa46a", "-g cali-to-wl-dispatch-9", "-j DROP"]);
    let child = ["-g cali-tw-cali95aa86cbb2a", "-g cali-tw-cali9f00000000a", "-j DROP"];
    assert_eq!(jumps("cali-to-wl-dispatch-9"), child);
}

/// As many ports as a rule takes.
#[test]
fn ports_of_a_policy() {
    let mut felix = golden();
    let ports = (1..=16).map(|p| (p, p)).chain([(100, 200)]).collect();
    felix.policies[0].ingress = vec![PolicyRule {
        protocol: Some("tcp"),
        ports,
        net: Some("10.1.0.0/16".parse().expect("a network")),
        ..PolicyRule::default()
    }];
    let text = saved(&felix);
    let found = rules(&text, "cali-pi-_tTE-E7yY40ogArNVgKt");
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(
        found[0].contains("-s 10.1.0.0/16 -p tcp")
            && found[0].contains("--dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15 -j")
    );
    assert!(found[2].contains("--dports 16,100:200 -j MARK"), "{}", found[2]);
}
