//! ethtool(8): `-k` and `-K`, the features of a device. `-K` prints nothing when it succeeds; the real tool lists which
//! of a driver's features changed.

use super::args::{Args, Keyword};
use super::args::{exact, keyword, names, not_simulated};
use super::show::{Format, Show, What};
use super::{Action, Check, Requests, SyntaxError, Tool, Word};
use crate::kernel::netlink::{Feature, Request};

/// The exit status of any netlink error.
const NETLINK_ERROR: i32 = 92;

#[rustfmt::skip]
const FEATURES: &[Keyword<Feature>] = &[
    exact("rx", Feature::Rx), exact("rx-checksumming", Feature::Rx),
    exact("tx", Feature::Tx), exact("tx-checksumming", Feature::Tx),
    exact("sg", Feature::Sg), exact("scatter-gather", Feature::Sg),
    exact("tso", Feature::Tso), exact("tcp-segmentation-offload", Feature::Tso),
    exact("gso", Feature::Gso), exact("generic-segmentation-offload", Feature::Gso),
    exact("gro", Feature::Gro), exact("generic-receive-offload", Feature::Gro),
];

/// Features that ethtool has a short name for and veth and bridge do not have.
const OTHERS: [&str; 6] = ["lro", "ufo", "rxvlan", "txvlan", "ntuple", "rxhash"];

pub(super) fn parse(words: &[Word]) -> Result<Action, SyntaxError> {
    let mut args = Args::new(words, 1);
    let usage = "ethtool: bad command line argument(s)";
    let hint = "an example: ethtool -K eth0 tx off rx off";
    let option = args.next().ok_or_else(|| args.error(usage).hint(hint))?;
    match option.text.as_str() {
        "-K" | "--features" | "--offload" => {}
        "-k" | "--show-features" | "--show-offload" => return list(&mut args),
        _ => return Err(not_simulated(option).hint("what is: -k DEV, and -K DEV FEATURE on or off")),
    }
    let dev = args.next().ok_or_else(|| args.error(usage).hint(hint))?;
    let mut requests = Vec::new();
    while let Some(word) = args.next() {
        let (feature, on) = (feature(word)?, on_off(word, args.next())?);
        requests.push(Request::Feature { dev: dev.text.clone(), feature, on });
    }
    if requests.is_empty() {
        return Err(args.error("Could not change any device features").hint(hint));
    }
    let checks = vec![find(dev, NETLINK_ERROR)];
    Ok(Action::Requests(Requests { tool: Tool::Ethtool, checks, requests, ignore: None }))
}

/// `-k DEV`
fn list(args: &mut Args<'_>) -> Result<Action, SyntaxError> {
    let hint = "an example: ethtool -k eth0";
    let dev = args.next().ok_or_else(|| args.error("ethtool: bad command line argument(s)").hint(hint))?;
    if let Some(word) = args.next() {
        return Err(SyntaxError::at(word, "ethtool: bad command line argument(s)").hint(hint));
    }
    let show = Show { format: Format::default(), what: What::Features { dev: dev.text.clone() } };
    Ok(Action::Show { checks: vec![find(dev, 1)], show })
}

fn find(dev: &Word, status: i32) -> Check {
    let missing = "netlink error: no device matches name (offset 24)\nnetlink error: No such device";
    Check::dev(&dev.text, missing.to_owned(), status)
}

fn feature(word: &Word) -> Result<Feature, SyntaxError> {
    keyword(FEATURES, &word.text).ok_or_else(|| {
        if OTHERS.contains(&word.text.as_str()) {
            return not_simulated(word);
        }
        SyntaxError::at(word, "netlink error: bit name not found")
            .hint("the features are: rx, tx, sg, tso, gso, gro")
            .hint_nearest(&word.text, names(FEATURES))
    })
}

fn on_off(feature: &Word, word: Option<&Word>) -> Result<bool, SyntaxError> {
    let flag = word.map_or("(null)", |w| &w.text);
    match flag {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(SyntaxError::at(
            word.unwrap_or(feature),
            format!("ethtool (-K): flag '{flag}' for parameter '(null)' is not followed by 'on' or 'off'"),
        )
        .hint(format!("write {} on or {0} off", feature.text))),
    }
}
