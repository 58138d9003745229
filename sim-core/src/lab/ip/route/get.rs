//! `ip route get` (ip/iproute.c: iproute_get).

use super::Context;
use crate::kernel::show::RouteQuery;
use crate::lab::args::{Args, Keyword, address, exact, help, keyword, not_simulated_in, prefix};
use crate::lab::show::What;
use crate::lab::{Action, Check, SyntaxError, ip::show};

#[derive(Clone, Copy)]
enum Key {
    From,
    Iif,
    Oif,
    To,
    Help,
    Other,
}

// In the order of iproute_get.
const KEYS: &[Keyword<Key>] = &[
    exact("tos", Key::Other),
    prefix("dsfield", Key::Other),
    prefix("iif", Key::Iif),
    prefix("mark", Key::Other),
    prefix("oif", Key::Oif),
    exact("dev", Key::Oif),
    prefix("notify", Key::Other),
    prefix("connected", Key::Other),
    prefix("vrf", Key::Other),
    prefix("uid", Key::Other),
    prefix("fibmatch", Key::Other),
    exact("as", Key::Other),
    prefix("sport", Key::Other),
    prefix("dport", Key::Other),
    prefix("ipproto", Key::Other),
    prefix("from", Key::From),
    exact("to", Key::To),
    prefix("help", Key::Help),
];

pub(super) fn parse(args: &mut Args<'_>, context: Context) -> Result<Action, SyntaxError> {
    let (mut dst, mut from, mut iif, mut oif) = (None, None, None, None);
    while let Some(word) = args.next() {
        match keyword(KEYS, &word.text) {
            Some(Key::From) => from = Some(address(args.value()?, context.inet)?),
            Some(Key::Iif) => iif = Some(args.value()?.text.clone()),
            Some(Key::Oif) => oif = Some(args.value()?.text.clone()),
            Some(Key::To) => dst = Some(address(args.value()?, context.inet)?),
            Some(Key::Help) => return Err(help(word, "ip-route")),
            Some(Key::Other) => return Err(not_simulated_in(KEYS, word)),
            None => dst = Some(address(word, context.inet)?),
        }
    }
    let dst = dst.ok_or_else(|| args.error("need at least a destination address"))?;
    let checks = iif.iter().chain(&oif).map(|dev: &String| Check::find_dev(dev, super::FAILED)).collect();
    Ok(show(checks, context.format, What::RouteGet(RouteQuery { dst, from, iif, oif })))
}
