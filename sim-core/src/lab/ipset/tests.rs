use super::*;
use crate::lab;

fn fails(line: &str, want: &str) {
    let error = lab::parse(line).expect_err(line);
    assert_eq!(error.message, format!("ipset v7.17: {want}"), "{line}");
}

/// What ipset 7.17 says of words.
#[test]
fn words_as_the_real_tool_refuses_them() {
    let help = |text: &str| format!("{text}\n{HELP}");
    fails("ipset", &help("No command specified."));
    fails("ipset foo", &help("No command specified: unknown argument foo"));
    fails("ipset create x", &help("Missing second mandatory argument to command create"));
    fails("ipset add a", &help("Missing second mandatory argument to command add"));
    fails("ipset del", &help("Missing mandatory argument to command del"));
    fails("ipset create x hash:foo", "Syntax error: typename 'hash:foo' is unknown");
    fails("ipset create x hash:ip maxelem", &help("Missing mandatory argument of option `maxelem'"));
    fails("ipset create x hash:ip maxelem foo", "Syntax error: 'foo' is invalid as number");
    fails("ipset create x hash:net foo", &help("Unknown argument: `foo'"));
    fails("ipset create x bitmap:port", &help("Mandatory option `range' is missing"));
    fails("ipset list a foo", &help("Unknown argument foo"));
    let long = "toolongname012345678901234567890123";
    fails(
        &format!("ipset create {long} hash:ip"),
        &format!("Syntax error: setname '{long}' is longer than 31 characters"),
    );
}

#[test]
fn elements_as_they_are_typed() {
    let word = |text: &str| vec![Word { text: text.to_owned(), span: 0..text.len() }];
    for (kind, text, want) in [
        (SetType::HashIpPort, "10.0.0.1", "Syntax error: Second element is missing from 10.0.0.1."),
        (SetType::HashIpPort, "1.1.1.1,foo:3", "Syntax error: cannot parse 'foo' as a protocol"),
        (SetType::HashIpPort, "1.1.1.1,0:0", "Invalid protocol specified"),
        (SetType::BitmapPort, "1,2", "Syntax error: Elem separator in 1,2, but settype bitmap:port supports none."),
        (SetType::HashIp, "zz", "Syntax error: cannot parse zz: resolving to IPv4 address failed"),
        (SetType::HashIp, "0.0.0.0", "Null-valued element, cannot be stored in a hash type of set"),
        (SetType::HashNet, "1.1.1.1/33", "Syntax error: '33' is out of range 0-32"),
    ] {
        let error = element_of(kind, &word(text)).expect_err(text);
        assert_eq!(error.message, format!("ipset v7.17: {want}"), "{text}");
    }
    let element = element_of(SetType::HashIpPort, &word("10.0.0.1,udp:53-55")).expect("an element");
    assert_eq!((element.proto, element.ports), (17, (53, 55)));
}
