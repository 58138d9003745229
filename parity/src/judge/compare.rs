//! The comparison of two cases, and its report.

use std::collections::{BTreeMap, BTreeSet};

use super::canon::{Sequence, sequences};
use super::events::{counters, events};
use super::{BadCase, Case, Options, STATE, difflib};

/// The report on what differs: empty if `got` shows what the kernel showed, in `want` or in its `second` run, where
/// two runs of the kernel differ. Otherwise it tells the differences from the run that fits better.
///
/// A case that can't be read is never equal: the report is then one line, "judge: " and the reason.
#[must_use]
pub fn compare(want: &Case, second: Option<&Case>, got: &Case, options: &Options) -> Vec<String> {
    let reports = compare_one(want, got, options).and_then(|first| match second {
        Some(second) if first.differences > 0 => Ok((first, Some(compare_one(second, got, options)?))),
        _ => Ok((first, None)),
    });
    match reports {
        Ok((first, Some(other))) if other.differences < first.differences => other.lines,
        Ok((first, _)) => first.lines,
        Err(why) => vec![format!("judge: {why}")],
    }
}

#[derive(Default)]
struct Report {
    differences: usize,
    lines: Vec<String>,
}

impl Report {
    fn difference(&mut self, lines: impl IntoIterator<Item = String>) {
        self.differences += 1;
        self.lines.extend(lines);
    }
}

/// Where a namespace first shows another record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstDifference {
    /// Which.
    pub namespace: String,
    /// Which of its records, the first being 0.
    pub record: usize,
    /// The wanted one in canonical text, unless there are no more.
    pub want: Option<String>,
    /// The one that was seen.
    pub got: Option<String>,
}

/// The first different record of each namespace that has one; none of a case that can't be read.
#[must_use]
pub fn first_differences(want: &Case, got: &Case, options: &Options) -> Vec<FirstDifference> {
    let Ok(pairs) = pairs(want, got, options) else { return Vec::new() };
    let first = |(namespace, want, got): Pair| {
        let record = first_difference(&want, &got)?;
        let text = |lines: &[Line]| lines.get(record).map(|line| line.1.clone());
        Some(FirstDifference { namespace, record, want: text(&want), got: text(&got) })
    };
    pairs.into_iter().filter_map(first).collect()
}

fn compare_one(want: &Case, got: &Case, options: &Options) -> Result<Report, BadCase> {
    let mut report = Report::default();
    for (name, wanted, seen) in pairs(want, got, options)? {
        compare_sequence(&name, wanted, seen, options, &mut report);
    }
    compare_events(want, got, options, &mut report);
    compare_counters(want, got, &mut report);
    Ok(report)
}

/// Seconds and canonical text.
type Line = (f64, String);

/// A name, and what was wanted and seen there.
type Pair = (String, Vec<Line>, Vec<Line>);

/// The sequences of both by their names.
fn pairs(want: &Case, got: &Case, options: &Options) -> Result<Vec<Pair>, BadCase> {
    let of = |case: &Case, whose: &str| {
        let named = |sequence: Sequence| (sequence.name, sequence.lines);
        let sequences = sequences(case, options).map_err(|why| BadCase(format!("{whose}: {why}")))?;
        Ok(sequences.into_iter().map(named).collect::<BTreeMap<_, _>>())
    };
    let (mut wanted, mut seen) = (of(want, "wanted")?, of(got, "seen")?);
    let names: BTreeSet<String> = wanted.keys().chain(seen.keys()).cloned().collect();
    let pair = |name: String| {
        let (want, got) = (wanted.remove(&name).unwrap_or_default(), seen.remove(&name).unwrap_or_default());
        (name, want, got)
    };
    Ok(names.into_iter().map(pair).collect())
}

/// The first record that is another one, but for a surplus of ARP in the end.
fn first_difference(want: &[Line], got: &[Line]) -> Option<usize> {
    let common = want.len().min(got.len());
    let first = (0..common).find(|&i| want[i].1 != got[i].1);
    let is_arp = |line: &Line| line.1.contains(" ARP ");
    first.or_else(|| (!want[common..].iter().chain(&got[common..]).all(is_arp)).then_some(common))
}

fn compare_sequence(name: &str, mut want: Vec<Line>, mut got: Vec<Line>, options: &Options, report: &mut Report) {
    let Some(first) = first_difference(&want, &got) else {
        let common = want.len().min(got.len());
        want.truncate(common);
        got.truncate(common);
        if let Some(gap) =
            options.times.then(|| gap_difference(name, &want, &got, options.slack.as_secs_f64())).flatten()
        {
            report.difference([gap]);
        }
        return;
    };
    let text = |lines: &[Line], i: usize| lines.get(i).map_or("(nothing more)", |line| line.1.as_str()).to_owned();
    let (wanted, seen) = (want.len(), got.len());
    report.difference([format!(
        "{name}: {wanted} records wanted, {seen} seen; first difference at record {}",
        first + 1
    )]);
    report.lines.extend(want[first.saturating_sub(2)..first].iter().map(|line| format!("    = {}", line.1)));
    report.lines.push(format!("    - {}", text(&want, first)));
    report.lines.push(format!("    + {}", text(&got, first)));
    let all = |lines: &[Line]| lines.iter().map(|line| line.1.clone()).collect::<Vec<_>>();
    report.lines.push(format!("    {} lines differ in all", difflib::changed(&all(&want), &all(&got))));
}

/// The first gap between records that is another one.
fn gap_difference(name: &str, want: &[Line], got: &[Line], slack_s: f64) -> Option<String> {
    let gaps = want.windows(2).zip(got.windows(2)).map(|(want, got)| {
        let (wanted, seen) = (want[1].0 - want[0].0, got[1].0 - got[0].0);
        (wanted, seen, want[1].1.as_str())
    });
    let another = |&(wanted, seen, line): &(f64, f64, &str)| is_another_gap(wanted, seen, line, slack_s);
    let (wanted, seen, line) = gaps.into_iter().find(another)?;
    let line: String = line.chars().take(70).collect();
    Some(format!("{name}: gap before \"{line}\" is {seen:.3} s, wanted {wanted:.3} s"))
}

/// Timers are held to 2 % + 25 ms, a delayed ACK to 2 % + 12 ms; short gaps are free.
fn is_another_gap(wanted: f64, seen: f64, line: &str, slack_s: f64) -> bool {
    const TIMER_SECONDS: f64 = 0.15;
    const DELAYED_ACK_SECONDS: f64 = 0.03;
    let (longer, difference) = (wanted.max(seen), (wanted - seen).abs());
    let bare_ack = line.contains("Flags [.]") && line.contains("length 0");
    longer > TIMER_SECONDS && difference > 0.02 * wanted + 0.025 + slack_s
        || bare_ack && longer > DELAYED_ACK_SECONDS && difference > 0.02 * wanted + 0.012 + slack_s
}

/// Conntrack events, where both sides have them; under `strict` a file that is not there is an empty one, but ours
/// must have what the recording has.
fn compare_events(want: &Case, got: &Case, options: &Options, report: &mut Report) {
    let (wanted, seen) = (events(want), events(got));
    if options.strict {
        let missing = wanted.iter().filter(|(file, lines)| !lines.is_empty() && !seen.contains_key(*file));
        let mut missing: Vec<&str> = missing.map(|(file, _)| *file).collect();
        if counters(want).is_some() && counters(got).is_none() {
            missing.push(STATE);
        }
        if !missing.is_empty() {
            report.difference([format!("not written: {}", missing.join(" "))]);
        }
    }
    for (file, seen) in &seen {
        let wanted = match wanted.get(file) {
            Some(wanted) => wanted.as_slice(),
            None if options.strict => &[],
            None => continue,
        };
        if wanted != seen {
            let diff = difflib::unified(wanted, seen, "wanted", "seen", 1);
            report.difference([format!("{file}: differs")]);
            report.lines.extend(diff.iter().take(12).map(|line| format!("    {line}")));
        }
    }
}

fn compare_counters(want: &Case, got: &Case, report: &mut Report) {
    let (Some(wanted), Some(seen)) = (counters(want), counters(got)) else { return };
    if wanted == seen {
        return;
    }
    report.difference(["rule counters differ".to_owned()]);
    for (sign, these, others) in [('-', &wanted, &seen), ('+', &seen, &wanted)] {
        let alone = these.iter().filter(|rule| !others.contains(rule));
        report.lines.extend(alone.take(6).map(|rule| format!("    {sign} {rule}")));
    }
}
