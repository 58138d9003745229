//! Dates as HTTP writes them (RFC 9110 section 5.6.7).

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_S: u64 = 86_400;
/// Days from 1970-01-01 to 9999-12-31: no date lies behind.
const LAST_DAY: u64 = 2_932_896;

/// IMF-fixdate: `Sun, 06 Nov 1994 08:49:37 GMT`; seconds since 1970.
pub(in crate::user) fn http(unix_s: u64) -> String {
    let (year, month, day) = civil(unix_s / DAY_S);
    let week_day = DAYS[(unix_s / DAY_S % 7) as usize];
    format!("{week_day}, {day:02} {} {year} {} GMT", MONTHS[month], clock(unix_s))
}

/// As Envoy's access log writes it: `1994-11-06T08:49:37.000Z`; milliseconds since 1970.
#[cfg(feature = "tls")]
pub(in crate::user) fn iso_ms(unix_ms: u64) -> String {
    let (unix_s, ms) = (unix_ms / 1000, unix_ms % 1000);
    let (year, month, day) = civil(unix_s / DAY_S);
    format!("{year:04}-{:02}-{day:02}T{}.{ms:03}Z", month + 1, clock(unix_s))
}

/// As Python's http.server writes it into its log: `06/Nov/1994 08:49:37`; the node's time zone is UTC.
pub(super) fn log(unix_s: u64) -> String {
    let (year, month, day) = civil(unix_s / DAY_S);
    format!("{day:02}/{}/{year:04} {}", MONTHS[month], clock(unix_s))
}

/// As OpenSSL prints the times of a certificate, which come as `YYYYMMDDhhmmss`: `Nov  6 08:49:37 1994 GMT`.
pub(super) fn certificate(text: &str) -> String {
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let month = part(4, 6).parse::<usize>().ok().and_then(|m| MONTHS.get(m.checked_sub(1)?)).unwrap_or(&"Bad");
    let day = part(6, 8).trim_start_matches('0');
    format!("{month} {day:>2} {}:{}:{} {} GMT", part(8, 10), part(10, 12), part(12, 14), part(0, 4))
}

/// Reads IMF-fixdate; none for what is no such date. The obsolete forms are none either.
pub(super) fn parse(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.trim().split_ascii_whitespace().collect();
    let [_, day, month, year, clock, "GMT"] = words[..] else { return None };
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
    let month = MONTHS.iter().position(|m| *m == month)?;
    let (day, year) = (number(day)?, number(year)?);
    let mut parts = clock.split(':').map(number);
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    Some(days_before(year, month) * DAY_S + (day - 1) * DAY_S + hour * 3600 + minute * 60 + second)
}

fn clock(unix_s: u64) -> String {
    let s = unix_s % DAY_S;
    format!("{:02}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
}

/// Year, month from 0 and day of the Gregorian calendar, of a day since 1970.
fn civil(days: u64) -> (u64, usize, u64) {
    let days = days.min(LAST_DAY);
    let mut year = 1970 + days / 366;
    while days_before(year + 1, 0) <= days {
        year += 1;
    }
    let month = (0..12).rev().find(|m| days_before(year, *m) <= days).unwrap_or(0);
    (year, month, days - days_before(year, month) + 1)
}

/// Days from 1970-01-01 to the first of a month, which counts from 0.
fn days_before(year: u64, month: usize) -> u64 {
    const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let leap = |y: u64| y.is_multiple_of(4) && (!y.is_multiple_of(100) || y.is_multiple_of(400));
    let past = year - 1;
    let leap_days = (past / 4 - past / 100 + past / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
    (year - 1970) * 365 + leap_days + BEFORE[month] + u64::from(month > 1 && leap(year))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (unix_s, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_704_067_199, "Sun, 31 Dec 2023 23:59:59 GMT"),
            (1_795_274_502, "Sat, 21 Nov 2026 15:21:42 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http(unix_s), text);
            assert_eq!(parse(text), Some(unix_s), "{text}");
        }
        assert_eq!(log(784_111_777), "06/Nov/1994 08:49:37");
        assert_eq!(http(u64::MAX).len(), 29);
    }

    #[test]
    fn no_dates() {
        for text in ["", "Sun, 06 Nov 1994", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse("Sun, 06 Nov 1994 08:49:61 GMT"), None);
        assert_eq!(parse("Sun, 06 Nov 0001 08:49:37 GMT"), None);
    }
}
