use super::*;

#[test]
fn restores_of_the_command_line() {
    let parse = |line: &str| {
        crate::lab::parse_with(line, &mut |file| match file.text.as_str() {
            "rules" => Ok("*nat\nCOMMIT\n".to_owned()),
            _ => Err(SyntaxError::at(file, "no such file")),
        })
    };
    let text = |line: &str| match parse(line).unwrap().action {
        crate::lab::Action::Iptables(call) => match call.task {
            Task::Restore(restore) => restore.text.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(text("iptables-restore -w 5 --noflush rules"), "*nat\nCOMMIT\n");
    assert_eq!(text("iptables-nft-restore < rules"), "*nat\nCOMMIT\n");
    assert_eq!(text("ip netns exec a iptables-restore <<EOF\n*raw\nCOMMIT\nEOF\n"), "*raw\nCOMMIT\n");
    assert_eq!(text("iptables-restore"), "");
    for (line, message) in [
        ("iptables-restore rules more", "Unknown arguments found on commandline"),
        ("iptables-restore more", "no such file"),
        ("iptables-restore rules < rules", "the command does not read its standard input"),
        ("iptables -S < rules", "the command does not read its standard input"),
        ("ip link < rules", "the command does not read its standard input"),
        ("iptables-restore -x", "\"-x\" is not simulated"),
        ("iptables-save -x", "\"-x\" is not simulated"),
        ("iptables-save -t", "option requires an argument -- '-t'"),
        ("iptables-sav", "iptables-sav: command not found"),
    ] {
        assert_eq!(parse(line).unwrap_err().message, message, "{line}");
    }
}
