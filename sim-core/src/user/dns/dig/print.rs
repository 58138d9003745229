//! What dig prints (bin/dig/dig.c, lib/dns/message.c and masterdump.c of BIND 9.18).

use super::super::lookup::{Answer, class_name};
use super::super::message::{self, Message, Record, flag, rcode, type_name};
use crate::base::time::MS;
use simple_dns::rdata::{OPT, TYPE};
use simple_dns::{CLASS, QCLASS, QTYPE};
use std::fmt::Write as _;

/// The columns of TTL, class, type and data.
const COLUMNS: [usize; 4] = [24, 32, 40, 48];
const TAB: usize = 8;
/// The option of EDNS that holds a cookie.
const COOKIE: u16 = 10;
const NSID: u16 = 3;

/// `+short` and what is shown without it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Style {
    pub short: bool,
    pub comments: bool,
    pub question: bool,
    pub answer: bool,
    pub authority: bool,
    pub additional: bool,
    pub stats: bool,
    pub ttl: bool,
    pub class: bool,
    pub identify: bool,
}

/// A message, `query` if it is one that was sent.
pub(super) fn message(m: &Message, style: &Style, sent: Option<&Message>) -> String {
    let mut out = String::new();
    let long = style.comments && !style.short;
    if long {
        header(m, sent.is_none(), &mut out);
        out.push('\n');
        if let Some(opt) = &m.opt {
            pseudo_section(opt, sent.and_then(|q| q.opt.as_ref()), &mut out);
        }
    }
    if style.short {
        return out;
    }
    if style.question && !m.questions.is_empty() {
        title("QUESTION", style, &mut out);
        for q in &m.questions {
            let _ = write!(out, ";{}", question(&message::text(&q.qname), q.qclass, q.qtype, style));
        }
        end(style, &mut out);
    }
    let sections = [
        ("ANSWER", &m.answers, style.answer),
        ("AUTHORITY", &m.authority, style.authority),
        ("ADDITIONAL", &m.additional, style.additional),
    ];
    for (name, records, wanted) in sections {
        if wanted && !records.is_empty() {
            title(name, style, &mut out);
            records.iter().for_each(|r| out.push_str(&record(r, style)));
            end(style, &mut out);
        }
    }
    out
}

/// `+short`: the data alone.
pub(super) fn short(answer: &Answer, style: &Style) -> String {
    let mut out = String::new();
    for r in &answer.message.answers {
        out.push_str(&message::rdata_text(&r.rdata));
        if style.identify {
            let _ = write!(out, " from server {} in {} ms.", answer.server.ip(), took_ms(answer));
        }
        out.push('\n');
    }
    out
}

/// Behind an answer: how long it took, who gave it. `unix_s` is the time in seconds since 1970.
pub(super) fn stats(answer: &Answer, unix_s: u64) -> String {
    let server = format!("{}#{}", answer.server.ip(), answer.server.port());
    let protocol = if answer.tcp { "TCP" } else { "UDP" };
    format!(
        ";; Query time: {} msec\n;; SERVER: {server}({}) ({protocol})\n;; WHEN: {}\n;; MSG SIZE  rcvd: {}\n\n",
        took_ms(answer),
        answer.written,
        date(unix_s),
        answer.size
    )
}

/// In whole milliseconds.
pub(super) fn took_ms(answer: &Answer) -> u64 {
    (answer.received - answer.sent) / MS
}

fn header(m: &Message, sending: bool, out: &mut String) {
    out.push_str(if sending { ";; Sending:\n" } else { ";; Got answer:\n" });
    let local = |name: &simple_dns::Name<'_>| name.as_bytes().last().is_some_and(|l| l.eq_ignore_ascii_case(b"local"));
    if m.questions.iter().any(|q| local(&q.qname)) {
        out.push_str(";; WARNING: .local is reserved for Multicast DNS\n");
        out.push_str(";; You are currently testing what happens when an mDNS query is leaked to DNS\n");
    }
    let (opcode, status) = (opcode_name(m.flags), rcode_name(m.rcode()));
    let _ = write!(out, ";; ->>HEADER<<- opcode: {opcode}, status: {status}, id: {}\n;; flags:", m.id);
    let flags = [
        (flag::QR, "qr"),
        (flag::AA, "aa"),
        (flag::TC, "tc"),
        (flag::RD, "rd"),
        (flag::RA, "ra"),
        (flag::AD, "ad"),
        (flag::CD, "cd"),
    ];
    for (_, name) in flags.iter().filter(|(bit, _)| m.flags & bit != 0) {
        let _ = write!(out, " {name}");
    }
    if m.flags & flag::Z != 0 {
        out.push_str("; MBZ: 0x4");
    }
    let (q, an, au, ad) = (m.questions.len(), m.answers.len(), m.authority.len(), m.additional_count());
    let _ = writeln!(out, "; QUERY: {q}, ANSWER: {an}, AUTHORITY: {au}, ADDITIONAL: {ad}");
    if !sending && m.flags & flag::RD != 0 && m.flags & flag::RA == 0 {
        out.push_str(";; WARNING: recursion requested but not available\n");
    }
    if !sending && m.opt.is_none() && matches!(m.rcode(), rcode::FORMERR | rcode::NOTIMP) {
        let _ = writeln!(out, "\n;; WARNING: EDNS query returned status {status} - retry with '+noedns'");
    }
}

fn pseudo_section(opt: &OPT<'_>, sent: Option<&OPT<'_>>, out: &mut String) {
    let _ =
        write!(out, ";; OPT PSEUDOSECTION:\n; EDNS: version: {}, flags:; udp: {}\n", opt.version, opt.udp_packet_size);
    for option in &opt.opt_codes {
        match option.code {
            COOKIE => out.push_str("; COOKIE:"),
            NSID => out.push_str("; NSID:"),
            code => {
                let _ = write!(out, "; OPT={code}:");
            }
        }
        if !option.data.is_empty() {
            out.push(' ');
            let apart = option.code != COOKIE;
            for byte in option.data.iter() {
                let _ = write!(out, "{byte:02x}{}", if apart { " " } else { "" });
            }
            if option.code == COOKIE {
                let ours = sent.and_then(|o| o.opt_codes.iter().find(|c| c.code == COOKIE));
                out.push_str(verdict(&option.data, ours.map(|c| &*c.data)));
            } else {
                out.push_str("(\"");
                let shown = |b: &u8| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' };
                out.extend(option.data.iter().map(shown));
                out.push_str("\")");
            }
        }
        out.push('\n');
    }
}

/// What a cookie is worth: ours again, or one of the server's behind it.
fn verdict(cookie: &[u8], ours: Option<&[u8]>) -> &'static str {
    match ours {
        None => "",
        Some(ours) if cookie == ours => " (echoed)",
        Some(ours) if cookie.starts_with(ours) => " (good)",
        Some(_) => " (bad)",
    }
}

fn title(name: &str, style: &Style, out: &mut String) {
    if style.comments {
        let _ = writeln!(out, ";; {name} SECTION:");
    }
}

fn end(style: &Style, out: &mut String) {
    if style.comments {
        out.push('\n');
    }
}

fn question(name: &str, class: QCLASS, kind: QTYPE, style: &Style) -> String {
    let columns = columns(style);
    let mut line = Line { text: name.to_owned(), column: name.len() };
    line.put(columns[1], class_name(class));
    line.put(columns[2], &type_name(kind));
    line.text + "\n"
}

fn record(r: &Record, style: &Style) -> String {
    let columns = columns(style);
    let name = message::text(&r.name);
    let mut line = Line { column: name.len(), text: name };
    if style.ttl {
        line.put(columns[0], &r.ttl.to_string());
    }
    if style.class {
        line.put(columns[1], if r.class == CLASS::IN { "IN" } else { "CLASS" });
    }
    line.put(columns[2], &type_name(QTYPE::TYPE(TYPE::from(u16::from(r.rdata.type_code())))));
    line.put(columns[3], &message::rdata_text(&r.rdata));
    line.text + "\n"
}

/// Without TTL or class the others move.
fn columns(style: &Style) -> [usize; 4] {
    match (style.ttl, style.class) {
        (true, true) => COLUMNS,
        (false, false) => [24, 24, 24, 32],
        _ => [24, 24, 32, 40],
    }
}

/// A line with tabs.
struct Line {
    text: String,
    column: usize,
}

impl Line {
    /// `indent`: up to that column, at least one further.
    fn put(&mut self, to: usize, text: &str) {
        let to = to.max(self.column + 1);
        let tabs = to / TAB - self.column / TAB;
        let from = if tabs > 0 { to / TAB * TAB } else { self.column };
        self.text.push_str(&"\t".repeat(tabs));
        self.text.push_str(&" ".repeat(to - from));
        self.text.push_str(text);
        self.column = to + text.len();
    }
}

pub(in crate::user::dns) fn rcode_name(code: u16) -> &'static str {
    const NAMES: [&str; 11] = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH",
        "NOTZONE",
    ];
    NAMES.get(usize::from(code)).copied().unwrap_or("RESERVED")
}

fn opcode_name(flags: u16) -> &'static str {
    const NAMES: [&str; 6] = ["QUERY", "IQUERY", "STATUS", "RESERVED3", "NOTIFY", "UPDATE"];
    NAMES.get(usize::from((flags & flag::OPCODE) >> 11)).copied().unwrap_or("RESERVED")
}

/// `Sat Nov 21 15:23:42 UTC 2026`; nodes live in UTC.
fn date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    const DAY_S: u64 = 86_400;
    let days = unix_s / DAY_S;
    let (year, month, day) = civil(days);
    let (weekday, s) = (DAYS[(days % 7) as usize], unix_s % DAY_S);
    let clock = format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
    format!("{weekday} {} {day:02} {clock} UTC {year}", MONTHS[month])
}

/// Year, month from 0 and day from 1 of a day since 1970 (Howard Hinnant's civil_from_days).
fn civil(days: u64) -> (u64, usize, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = (mp + 2) % 12;
    let year = yoe + era * 400 + u64::from(month < 2);
    (year, month as usize, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (unix_s, text) in [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (1_795_274_622, "Sat Nov 21 15:23:42 UTC 2026"),
            (1_709_164_800, "Thu Feb 29 00:00:00 UTC 2024"),
            (1_735_689_599, "Tue Dec 31 23:59:59 UTC 2024"),
        ] {
            assert_eq!(date(unix_s), text);
        }
    }

    #[test]
    fn tabs_are_bind_s() {
        for (name, text) in [
            ("other.default.svc.cluster.local.", "other.default.svc.cluster.local. IN\tA\n"),
            ("nx.cluster.local.", "nx.cluster.local.\t\tIN\tA\n"),
            ("82.0.96.10.in-addr.arpa.", "82.0.96.10.in-addr.arpa.\tIN\tA\n"),
            ("two.default.svc.cluster.local.", "two.default.svc.cluster.local.\tIN\tA\n"),
            (".", ".\t\t\t\tIN\tA\n"),
        ] {
            let style = Style { ttl: true, class: true, ..super::super::options::ALL };
            let kind = message::type_by_name("A").unwrap();
            assert_eq!(question(name, QCLASS::CLASS(CLASS::IN), kind, &style), text);
        }
    }
}
