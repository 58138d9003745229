//! `podhop iptables eval`

use crate::WRONG_INPUT;
use crate::args::{CtState, EvalArgs, Format};
use crate::print::{Ui, out};
use serde_json::json;
use sim_core::scenario::eval::{self, AskError, Dumps, Node, Origin, Question};
use sim_core::scenario::raw::Protocol;
use sim_core::scenario::{Diagnostics, Disk, SourceFile, sources};
use sim_core::testing::{Error, Packet, TcpFlags};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Exit statuses: an assertion failed, a limit was hit.
const FAILED: u8 = 1;
const LIMIT: u8 = 3;

pub(crate) fn eval(args: &EvalArgs, ui: &Ui) -> anyhow::Result<u8> {
    let node = match dumps(args).and_then(|dumps| Node::load(&dumps)) {
        Ok(node) => node,
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(WRONG_INPUT);
        }
    };
    if !node.warnings.is_empty() {
        ui.diagnostics(&node.warnings)?;
    }
    match &args.assert {
        Some(file) => assert(args, file, &node, ui),
        None => ask(args, &node, ui),
    }
}

fn ask(args: &EvalArgs, node: &Node, ui: &Ui) -> anyhow::Result<u8> {
    let answer = match node.ask(&question(args)?) {
        Ok(answer) => answer,
        Err(e @ AskError::Failed(Error::NoDevice(_))) => {
            let known: Vec<&str> = node.devices().collect();
            anyhow::bail!(
                "{e}: the dumps show {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            );
        }
        Err(e) => {
            ui.error(&e.to_string());
            return Ok(if matches!(e, AskError::TooManyWays | AskError::Failed(Error::Limit(_))) {
                LIMIT
            } else {
                WRONG_INPUT
            });
        }
    };
    out(&match args.format {
        Format::Text => answer.text(ui.quiet),
        Format::Json => format!("{:#}\n", answer.json()),
    })?;
    Ok(0)
}

fn question(args: &EvalArgs) -> anyhow::Result<Question> {
    let Protocol(protocol) = Protocol::parse(&args.proto)
        .ok_or_else(|| anyhow::anyhow!("--proto {}: tcp, udp, icmp, sctp or a number", args.proto))?;
    let flags = TcpFlags::parse(&args.tcp_flags)
        .ok_or_else(|| anyhow::anyhow!("--tcp-flags {}: letters of FSRPAUEW", args.tcp_flags))?;
    let address = |given: Option<Ipv4Addr>| given.unwrap_or(Ipv4Addr::UNSPECIFIED);
    let new = Packet::new(protocol, address(args.src), address(args.dst));
    let packet = Packet { sport: args.sport, dport: args.dport, icmp: (args.icmp_type, 0), flags, ..new };
    Ok(Question {
        from: args.device.clone().map_or(Origin::Local, Origin::Device),
        packet,
        mark: args.mark,
        established: args.ctstate == CtState::Established,
        packets: args.packets,
        all_choices: args.all_choices,
    })
}

fn assert(args: &EvalArgs, file: &Path, node: &Node, ui: &Ui) -> anyhow::Result<u8> {
    let checked = sources::read_file(&Disk, file).map_err(Diagnostics::from).and_then(|source| {
        let assertions = eval::parse_assertions(&source)?;
        eval::check(node, &source, &assertions)
    });
    let done = match checked {
        Ok(done) => done,
        Err(errors) => {
            ui.diagnostics(&errors)?;
            return Ok(WRONG_INPUT);
        }
    };
    let failed = done.iter().any(|a| !a.differences.is_empty());
    out(&match args.format {
        Format::Json => {
            format!("{:#}\n", json!({"format": "podhop/iptables-assert/v1", "passed": !failed, "assertions": done}))
        }
        Format::Text => done.iter().map(|a| asserted(a, ui.quiet)).collect(),
    })?;
    Ok(if failed { FAILED } else { 0 })
}

/// A line about an assertion, and one for each difference.
fn asserted(a: &eval::Asserted, quiet: bool) -> String {
    let said = match a.differences.is_empty() {
        true if quiet => return String::new(),
        true => "holds ",
        false => "FAILED",
    };
    let differences = a.differences.iter().map(|d| format!("        {d}\n"));
    format!("{said}  {}\n", a.name) + &differences.collect::<String>()
}

/// The dumps that the options name; what cannot be read of them, all at once.
fn dumps(args: &EvalArgs) -> Result<Dumps, Diagnostics> {
    let mut errors = Diagnostics::default();
    let mut read =
        |path: &PathBuf| -> Option<SourceFile> { sources::read_file(&Disk, path).map_err(|e| errors.push(e)).ok() };
    let rules = read(&args.rules);
    let mut optional = |path: &Option<PathBuf>| path.as_ref().and_then(&mut read);
    let dumps = Dumps {
        rules: rules.unwrap_or_else(|| SourceFile::new("", "")),
        addresses: optional(&args.addresses),
        links: optional(&args.links),
        routes: optional(&args.routes),
        policy: optional(&args.ip_rules),
        sysctls: optional(&args.sysctl),
    };
    if errors.is_empty() { Ok(dumps) } else { Err(errors) }
}
