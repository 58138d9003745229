use super::*;

fn net(text: &str) -> Ipv4Net {
    text.parse().expect("a network")
}

/// The rules of a table, without its chains.
fn of_table<'a>(text: &'a str, table: &str) -> Vec<&'a str> {
    let start = text.find(&format!("* {table}\n")).unwrap_or_else(|| panic!("no table {table} in\n{text}"));
    let lines = text[start..].lines().skip(1).take_while(|line| *line != "COMMIT");
    lines.filter(|line| !line.starts_with("-N ")).collect()
}

#[test]
fn as_istio_init_writes_them() {
    let want = "* nat\n\
        -N ISTIO_INBOUND\n\
        -N ISTIO_REDIRECT\n\
        -N ISTIO_IN_REDIRECT\n\
        -N ISTIO_OUTPUT\n\
        -A ISTIO_INBOUND -p tcp --dport 15008 -j RETURN\n\
        -A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports 15001\n\
        -A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports 15006\n\
        -A PREROUTING -p tcp -j ISTIO_INBOUND\n\
        -A ISTIO_INBOUND -p tcp --dport 15090 -j RETURN\n\
        -A ISTIO_INBOUND -p tcp --dport 15021 -j RETURN\n\
        -A ISTIO_INBOUND -p tcp --dport 15020 -j RETURN\n\
        -A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT\n\
        -A OUTPUT -p tcp -j ISTIO_OUTPUT\n\
        -A ISTIO_OUTPUT -o lo -s 127.0.0.6/32 -j RETURN\n\
        -A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT\n\
        -A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN\n\
        -A ISTIO_OUTPUT -m owner --uid-owner 1337 -j RETURN\n\
        -A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT\n\
        -A ISTIO_OUTPUT -o lo -m owner ! --gid-owner 1337 -j RETURN\n\
        -A ISTIO_OUTPUT -m owner --gid-owner 1337 -j RETURN\n\
        -A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\n\
        -A ISTIO_OUTPUT -j ISTIO_REDIRECT\n\
        COMMIT\n";
    assert_eq!(Arguments::new(Version::V1_13).rules(), want);
    let own_pod =
        |line: &str| line.replace("127.0.0.1/32 -m owner --", "127.0.0.1/32 -p tcp ! --dport 15008 -m owner --");
    let newer: Vec<String> = want.lines().map(|l| own_pod(l).replace("-A OUTPUT -p tcp", "-A OUTPUT")).collect();
    assert_eq!(Arguments::new(Version::V1_30).rules().lines().collect::<Vec<_>>(), newer);
}

#[test]
fn ports_and_networks() {
    let mut arguments = Arguments::new(Version::V1_13);
    arguments.inbound_ports = Ports::These(vec![80, 8080]);
    arguments.outbound_ports_exclude = vec![22];
    arguments.outbound_exclude = vec![net("10.9.0.0/16")];
    arguments.outbound_ports = vec![443];
    arguments.outbound_ranges = Ranges::These(vec![net("10.96.0.0/12"), net("192.168.0.0/16")]);
    let text = arguments.rules();
    let rules = of_table(&text, "nat");
    let of = |chain: &str| -> Vec<String> {
        let start = format!("-A {chain} ");
        rules.iter().filter_map(|r| r.strip_prefix(&start)).map(str::to_owned).collect()
    };
    // Ports that are chosen leave nothing to exclude.
    let inbound = [
        "-p tcp --dport 15008 -j RETURN",
        "-p tcp --dport 80 -j ISTIO_IN_REDIRECT",
        "-p tcp --dport 8080 -j ISTIO_IN_REDIRECT",
    ];
    assert_eq!(of("ISTIO_INBOUND"), inbound);
    let output = of("ISTIO_OUTPUT");
    assert_eq!(output[..2], ["-p tcp --dport 22 -j RETURN", "-o lo -s 127.0.0.6/32 -j RETURN"]);
    let last = [
        "-d 127.0.0.1/32 -j RETURN",
        "-d 10.9.0.0/16 -j RETURN",
        "-p tcp --dport 443 -j ISTIO_REDIRECT",
        "-d 10.96.0.0/12 -j ISTIO_REDIRECT",
        "-d 192.168.0.0/16 -j ISTIO_REDIRECT",
    ];
    assert_eq!(output[output.len() - 6..output.len() - 1], last);
    assert_eq!(output[output.len() - 1], "-j RETURN");

    arguments.version = Version::V1_30;
    let text = arguments.rules();
    let rules = of_table(&text, "nat");
    let excluded = ["-A ISTIO_OUTPUT -p tcp --dport 22 -j RETURN", "-A ISTIO_OUTPUT -p udp --dport 22 -j RETURN"];
    let at = rules.iter().position(|r| *r == excluded[0]).expect("it is there");
    assert_eq!(rules[at..at + 2], excluded);
    assert_eq!(rules.last(), Some(&"-A ISTIO_OUTPUT -d 192.168.0.0/16 -j ISTIO_REDIRECT"), "nothing behind it");
}

#[test]
fn no_ports_and_the_loopback() {
    let mut arguments = Arguments::new(Version::V1_13);
    arguments.inbound_ports = Ports::These(vec![]);
    assert!(!arguments.rules().contains("PREROUTING"));
    assert!(arguments.rules().contains("-A ISTIO_OUTPUT -o lo -m owner ! --uid-owner 1337 -j RETURN\n"));
    arguments.outbound_ranges = Ranges::These(vec![net("127.0.0.0/8")]);
    assert!(!arguments.rules().contains("! --uid-owner") && !arguments.rules().contains("! --gid-owner"));
    arguments.outbound_ranges = Ranges::These(vec![]);
    assert!(arguments.rules().ends_with("-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN\nCOMMIT\n"));
}

#[test]
fn questions_to_name_servers() {
    let mut arguments = Arguments::new(Version::V1_13);
    arguments.dns = vec![[10, 96, 0, 10].into()];
    let text = arguments.rules();
    let nat = of_table(&text, "nat");
    let has = |rule: &str| assert!(nat.contains(&rule), "{rule} in\n{text}");
    has("-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 53 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT");
    has("-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -m owner --gid-owner 1337 -j ISTIO_IN_REDIRECT");
    has("-A ISTIO_OUTPUT -o lo -p tcp ! --dport 53 -m owner ! --gid-owner 1337 -j RETURN");
    has("-A ISTIO_OUTPUT -p tcp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-ports 15053");
    let last = [
        "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
        "-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j RETURN",
        "-A OUTPUT -p udp --dport 53 -m owner --gid-owner 1337 -j RETURN",
        "-A OUTPUT -p udp --dport 53 -d 10.96.0.10/32 -j REDIRECT --to-port 15053",
    ];
    assert_eq!(nat[nat.len() - 4..], last);
    let zones = [
        "-A OUTPUT -p udp --dport 53 -m owner --uid-owner 1337 -j CT --zone 1",
        "-A OUTPUT -p udp --sport 15053 -m owner --uid-owner 1337 -j CT --zone 2",
        "-A OUTPUT -p udp --dport 53 -m owner --gid-owner 1337 -j CT --zone 1",
        "-A OUTPUT -p udp --sport 15053 -m owner --gid-owner 1337 -j CT --zone 2",
        "-A OUTPUT -p udp --dport 53 -d 10.96.0.10/32 -j CT --zone 2",
        "-A PREROUTING -p udp --sport 53 -s 10.96.0.10/32 -j CT --zone 1",
    ];
    assert_eq!(of_table(&text, "raw"), zones);

    arguments.version = Version::V1_30;
    let text = arguments.rules();
    let own = "-p tcp -m multiport ! --dports 53,15008 -m owner --uid-owner 1337 -j ISTIO_IN_REDIRECT";
    assert!(of_table(&text, "nat").contains(&format!("-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 {own}").as_str()));
    assert!(text.contains("-N ISTIO_OUTPUT\n-N ISTIO_OUTPUT_DNS\n"));
    let zones = [
        "-A OUTPUT -j ISTIO_OUTPUT_DNS".to_owned(),
        zones[0].replace("OUTPUT", "ISTIO_OUTPUT_DNS"),
        zones[1].replace("OUTPUT", "ISTIO_OUTPUT_DNS"),
        zones[2].replace("OUTPUT", "ISTIO_OUTPUT_DNS"),
        zones[3].replace("OUTPUT", "ISTIO_OUTPUT_DNS"),
        "-A PREROUTING -j ISTIO_INBOUND".to_owned(),
        zones[4].replace("OUTPUT", "ISTIO_OUTPUT_DNS"),
        zones[5].replace("PREROUTING", "ISTIO_INBOUND"),
    ];
    assert_eq!(of_table(&text, "raw"), zones);
}

#[test]
fn tproxy_mode() {
    let mut arguments = Arguments::new(Version::V1_30);
    arguments.mode = Mode::Tproxy;
    arguments.inbound_exclude = vec![];
    let text = arguments.rules();
    let mangle = [
        "-A ISTIO_DIVERT -j MARK --set-mark 1337",
        "-A ISTIO_DIVERT -j ACCEPT",
        "-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006",
        "-A PREROUTING -p tcp -j ISTIO_INBOUND",
        "-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
        "-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY",
        "-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
        "-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN",
        "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338",
        "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338",
        "-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark",
        "-I ISTIO_INBOUND 1 -p tcp -m mark --mark 1337 -j RETURN",
        "-I ISTIO_INBOUND 2 -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
        "-I ISTIO_INBOUND 3 -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
    ];
    assert_eq!(of_table(&text, "mangle"), mangle);
    assert!(text.starts_with("* mangle\n-N ISTIO_DIVERT\n-N ISTIO_TPROXY\n-N ISTIO_INBOUND\n"));
    assert!(!of_table(&text, "nat").iter().any(|r| r.contains("PREROUTING")), "it is mangle's");
}
