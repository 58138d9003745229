//! What names, labels, ports and addresses look like, in the API server's words
//! (staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go of Kubernetes 1.30). Each function says all that
//! is wrong with a value.

use std::net::{IpAddr, Ipv4Addr};

use crate::cluster::object::Labels;

/// The longest DNS label, in bytes.
const MAX_LABEL: usize = 63;
/// The longest DNS subdomain, in bytes.
const MAX_SUBDOMAIN: usize = 253;
/// The longest name of a port, in bytes (IANA_SVC_NAME).
const MAX_PORT_NAME: usize = 15;
/// Longer values are cut in messages, in characters.
const MAX_SHOWN: usize = 60;
/// Of longer lists the first are shown.
const MAX_SHOWN_ITEMS: usize = 10;

const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const SUBDOMAIN: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
     alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
     '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";

/// The name of a Namespace, a container, a port of a Service (IsDNS1123Label).
pub(super) fn dns1123_label(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_LABEL);
    if !is_dns_label(value) {
        wrong.push(if is_subdomain(value) {
            "must not contain dots".to_owned()
        } else {
            format!(
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start \
                 and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '{LABEL}')"
            )
        });
    }
    wrong
}

/// The name of most objects (IsDNS1123Subdomain).
pub(super) fn dns1123_subdomain(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_SUBDOMAIN);
    if !is_subdomain(value) {
        wrong.push(format!(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
             start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
             '{SUBDOMAIN}')"
        ));
    }
    wrong
}

/// The name of a Service (IsDNS1035Label).
pub(super) fn dns1035_label(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_LABEL);
    if !is_dns_label(value) || !value.starts_with(|c: char| c.is_ascii_lowercase()) {
        wrong.push(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic \
             character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for \
             validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
                .to_owned(),
        );
    }
    wrong
}

/// The key of a label or an annotation (IsQualifiedName).
pub(super) fn qualified_name(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let name = match value.split_once('/') {
        Some((_, name)) if name.contains('/') => {
            let prefix = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a qualified name {QUALIFIED} {prefix}")];
        }
        Some(("", name)) => {
            wrong.push("prefix part must be non-empty".to_owned());
            name
        }
        Some((prefix, name)) => {
            wrong.extend(dns1123_subdomain(prefix).iter().map(|message| format!("prefix part {message}")));
            name
        }
        None => value,
    };
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else {
        wrong.extend(at_most(name, MAX_LABEL).iter().map(|message| format!("name part {message}")));
    }
    if !is_qualified(name) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

/// The value of a label (IsValidLabelValue).
pub(super) fn label_value(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_LABEL);
    if !value.is_empty() && !is_qualified(value) {
        wrong.push(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must \
             start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used \
             for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
                .to_owned(),
        );
    }
    wrong
}

/// The name of a container's port (IsValidPortName).
pub(super) fn port_name(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_PORT_NAME);
    let mut check = |good: bool, message: &str| {
        if !good {
            wrong.push(message.to_owned());
        }
    };
    check(
        !value.is_empty() && value.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-')),
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    check(value.bytes().any(|b| b.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    check(!value.contains("--"), "must not contain consecutive hyphens");
    check(!value.starts_with('-') && !value.ends_with('-'), "must not begin or end with a hyphen");
    wrong
}

/// A key of a ConfigMap (IsConfigMapKey).
pub(super) fn config_map_key(value: &str) -> Vec<String> {
    let mut wrong = at_most(value, MAX_SUBDOMAIN);
    if value.is_empty() || !value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
        wrong.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match value {
        "." | ".." => wrong.push(format!("must not be '{value}'")),
        _ if value.starts_with("..") => wrong.push("must not start with '..'".to_owned()),
        _ => {}
    }
    wrong
}

/// The number of a port (IsValidPortNum).
pub(super) fn port_number(value: i64) -> Vec<String> {
    if (1..=65535).contains(&value) { Vec::new() } else { vec!["must be between 1 and 65535, inclusive".to_owned()] }
}

/// An address that may belong to an endpoint (ValidateNonSpecialIP).
pub(super) fn non_special_ip(address: Ipv4Addr) -> Vec<String> {
    let mut wrong = Vec::new();
    if address.is_unspecified() {
        wrong.push(format!("may not be unspecified ({address})"));
    }
    if address.is_loopback() {
        wrong.push("may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned());
    }
    if address.is_link_local() {
        wrong.push("may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned());
    }
    if address.octets()[..3] == [224, 0, 0] {
        wrong.push("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned());
    }
    wrong
}

/// It is an IPv6 address, or a network of them.
pub(super) fn is_ipv6(value: &str) -> bool {
    let address = value.split('/').next().unwrap_or(value);
    matches!(address.parse(), Ok(IpAddr::V6(_)))
}

/// A name close to `value` that is a good one: what to write instead.
pub(super) fn repair(value: &str, rule: fn(&str) -> Vec<String>) -> Option<String> {
    let replaced = |c: char| {
        let c = c.to_ascii_lowercase();
        if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' }
    };
    let name: String = value.chars().map(replaced).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    rule(&name).is_empty().then_some(name)
}

/// A string as Go's `%q` writes it, cut if it is long.
pub(super) fn go_string(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{:?}", format!("{}…", &value[..end])),
        None => format!("{value:?}"),
    }
}

/// Labels as Go's `%#v` writes them, cut if they are many.
pub(super) fn go_labels(labels: &Labels) -> String {
    if labels.is_empty() {
        return "map[string]string(nil)".to_owned();
    }
    let pairs = labels.iter().map(|(key, value)| format!("{}:{}", go_string(key), go_string(value)));
    format!("map[string]string{{{}}}", some(pairs))
}

/// Strings as Go's `%#v` writes them, cut if they are many.
pub(super) fn go_strings<'a>(values: impl Iterator<Item = &'a str>) -> String {
    format!("[]string{{{}}}", some(values.map(go_string)))
}

fn some(mut items: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<_> = items.by_ref().take(MAX_SHOWN_ITEMS).collect();
    shown.extend(items.next().map(|_| "…".to_owned()));
    shown.join(", ")
}

fn at_most(value: &str, max: usize) -> Vec<String> {
    if value.len() > max { vec![format!("must be no more than {max} characters")] } else { Vec::new() }
}

fn is_dns_label(value: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = value.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

fn is_subdomain(value: &str) -> bool {
    value.split('.').all(is_dns_label)
}

fn is_qualified(value: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        type Rule = fn(&str) -> Vec<String>;
        type Bad<'a> = &'a [(&'a str, &'a str)];
        let long = "a".repeat(254);
        // The rule, what it takes, and what it does not, with how its message begins.
        let table: [(Rule, &[&str], Bad<'_>); 7] = [
            (
                dns1123_label,
                &["a", "0", "a-0", &long[..63]],
                &[
                    ("", "a lowercase RFC 1123 label"),
                    ("a.b", "must not contain dots"),
                    ("a.", "a lowercase RFC 1123 label"),
                    ("-a", "a lowercase RFC 1123 label"),
                    ("A", "a lowercase RFC 1123 label"),
                    ("ä", "a lowercase RFC 1123 label"),
                    (&long[..64], "must be no more than 63 characters"),
                ],
            ),
            (
                dns1123_subdomain,
                &["a.b", "kube-dns", "0", &long[..253]],
                &[
                    ("Web_1", "a lowercase RFC 1123 subdomain"),
                    ("a..b", "a lowercase RFC 1123 subdomain"),
                    (&long, "must be no more than 253 characters"),
                ],
            ),
            (dns1035_label, &["web", "a0"], &[("0a", "a DNS-1035 label"), ("a.b", "a DNS-1035 label")]),
            (
                qualified_name,
                &["app", "app.kubernetes.io/name", "A_b.c-d"],
                &[
                    ("", "name part must be non-empty"),
                    ("/a", "prefix part must be non-empty"),
                    ("a/", "name part must be non-empty"),
                    ("A/b", "prefix part a lowercase RFC 1123 subdomain"),
                    ("a/b/c", "a qualified name must consist of"),
                    ("a b", "name part must consist of"),
                    (&long[..64], "name part must be no more than 63 characters"),
                ],
            ),
            (label_value, &["", "v1.10", "A_b"], &[("a b", "a valid label must be"), ("-", "a valid label must be")]),
            (
                port_name,
                &["http", "h2c-0"],
                &[
                    ("80", "must contain at least one letter"),
                    ("a--b", "must not contain consecutive"),
                    ("-a", "must not begin or end"),
                    ("Http", "must contain only"),
                    ("a-name-too-long-", "must be no more than 15"),
                ],
            ),
            (
                config_map_key,
                &["Corefile", "a.b_c-d", ".hidden"],
                &[("a/b", "a valid config key"), ("..", "must not be '..'"), ("..a", "must not start with '..'")],
            ),
        ];
        for (rule, good, bad) in table {
            for name in good {
                assert_eq!(rule(name), [""; 0], "{name}");
            }
            for (name, begins) in bad {
                assert!(rule(name).iter().any(|m| m.starts_with(begins)), "{name}: {:?}", rule(name));
            }
        }
    }

    #[test]
    fn repairs_are_good_names() {
        assert_eq!(repair("Web_1", dns1123_subdomain).as_deref(), Some("web-1"));
        assert_eq!(repair("_a b.", dns1123_label).as_deref(), Some("a-b"));
        assert_eq!(repair("___", dns1123_label), None);
        assert_eq!(repair("1a", dns1035_label), None);
    }

    #[test]
    fn special_addresses() {
        for (address, begins) in [
            ("0.0.0.0", "may not be unspecified (0.0.0.0)"),
            ("127.1.2.3", "may not be in the loopback range"),
            ("169.254.169.254", "may not be in the link-local range"),
            ("224.0.0.5", "may not be in the link-local multicast range"),
        ] {
            let wrong = non_special_ip(address.parse().expect("an address"));
            assert!(matches!(wrong.as_slice(), [one] if one.starts_with(begins)), "{address}: {wrong:?}");
        }
        assert!(non_special_ip(Ipv4Addr::new(10, 0, 0, 1)).is_empty());
    }
}
