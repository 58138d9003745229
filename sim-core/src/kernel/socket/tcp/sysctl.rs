//! Mirrors the TCP part of net/ipv4/sysctl_net_ipv4.c.

use super::congestion::Algorithm;
use super::linux_4_18;
use crate::kernel::errno::Errno;
use crate::kernel::profile::Profile;

/// The settings of net.ipv4.tcp_*, as one namespace has them.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the kernel's own names: Documentation/networking/ip-sysctl.rst")]
pub(in crate::kernel) struct TcpSysctl {
    /// No setting: which Linux it is.
    pub profile: Profile,
    pub abort_on_overflow: i64,
    pub backlog_ack_defer: i64,
    pub challenge_ack_limit: i64,
    pub comp_sack_delay_ns: i64,
    pub comp_sack_nr: i64,
    pub early_retrans: i64,
    pub ecn: i64,
    pub ecn_fallback: i64,
    pub fin_timeout: i64,
    pub frto: i64,
    pub fwmark_accept: i64,
    pub invalid_ratelimit: i64,
    pub keepalive_intvl: i64,
    pub keepalive_probes: i64,
    pub keepalive_time: i64,
    pub limit_output_bytes: i64,
    pub max_reordering: i64,
    pub max_syn_backlog: i64,
    pub max_tw_buckets: i64,
    pub min_snd_mss: i64,
    pub moderate_rcvbuf: i64,
    pub orphan_retries: i64,
    pub pingpong_thresh: i64,
    pub recovery: i64,
    pub reordering: i64,
    pub retries1: i64,
    pub retries2: i64,
    pub rfc1337: i64,
    pub rto_max_ms: i64,
    pub rto_min_us: i64,
    pub sack: i64,
    pub slow_start_after_idle: i64,
    pub syn_linear_timeouts: i64,
    pub syn_retries: i64,
    pub synack_retries: i64,
    pub syncookies: i64,
    pub thin_linear_timeouts: i64,
    pub timestamps: i64,
    pub tso_win_divisor: i64,
    pub tw_reuse: i64,
    pub window_scaling: i64,
    /// Least, first and largest receive buffer in bytes.
    pub rmem: [i64; 3],
    /// Least, first and largest send buffer in bytes.
    pub wmem: [i64; 3],
    pub congestion_control: Algorithm,
}

impl Default for TcpSysctl {
    /// tcp_sk_init, with the memory of Linux 6.18 (tcp_init).
    fn default() -> Self {
        TcpSysctl {
            profile: Profile::Linux618,
            abort_on_overflow: 0,
            backlog_ack_defer: 1,
            challenge_ack_limit: INT,
            comp_sack_delay_ns: 1_000_000,
            comp_sack_nr: 44,
            early_retrans: 3,
            ecn: 2,
            ecn_fallback: 1,
            fin_timeout: 60,
            frto: 2,
            fwmark_accept: 0,
            invalid_ratelimit: 500,
            keepalive_intvl: 75,
            keepalive_probes: 9,
            keepalive_time: 7200,
            limit_output_bytes: 4 << 20,
            max_reordering: 300,
            max_syn_backlog: 1024,
            max_tw_buckets: 131_072,
            min_snd_mss: 48,
            moderate_rcvbuf: 1,
            orphan_retries: 0,
            pingpong_thresh: 1,
            recovery: 1,
            reordering: 3,
            retries1: 3,
            retries2: 15,
            rfc1337: 0,
            rto_max_ms: 120_000,
            rto_min_us: 200_000,
            sack: 1,
            slow_start_after_idle: 1,
            syn_linear_timeouts: 4,
            syn_retries: 6,
            synack_retries: 5,
            syncookies: 1,
            thin_linear_timeouts: 0,
            timestamps: 1,
            tso_win_divisor: 3,
            tw_reuse: 2,
            window_scaling: 1,
            rmem: [4096, 131_072, 32 << 20],
            wmem: [4096, 16_384, 4 << 20],
            congestion_control: Algorithm::Cubic,
        }
    }
}

type Field = fn(&mut TcpSysctl) -> &mut i64;

const INT: i64 = i32::MAX as i64;

/// net.ipv4.tcp_NAME with the least and the largest value.
const FIELDS: &[(&str, Field, i64, i64)] = &[
    ("abort_on_overflow", |s| &mut s.abort_on_overflow, 0, 255),
    ("backlog_ack_defer", |s| &mut s.backlog_ack_defer, 0, 1),
    ("challenge_ack_limit", |s| &mut s.challenge_ack_limit, 0, INT),
    ("comp_sack_delay_ns", |s| &mut s.comp_sack_delay_ns, 0, INT),
    ("comp_sack_nr", |s| &mut s.comp_sack_nr, 0, 255),
    ("early_retrans", |s| &mut s.early_retrans, 0, 4),
    ("ecn", |s| &mut s.ecn, 0, 2),
    ("ecn_fallback", |s| &mut s.ecn_fallback, 0, 1),
    ("fin_timeout", |s| &mut s.fin_timeout, 0, INT / 1000),
    ("frto", |s| &mut s.frto, 0, 255),
    ("fwmark_accept", |s| &mut s.fwmark_accept, 0, 255),
    ("invalid_ratelimit", |s| &mut s.invalid_ratelimit, 0, INT),
    ("keepalive_intvl", |s| &mut s.keepalive_intvl, 0, INT / 1000),
    ("keepalive_probes", |s| &mut s.keepalive_probes, 0, 255),
    ("keepalive_time", |s| &mut s.keepalive_time, 0, INT / 1000),
    ("limit_output_bytes", |s| &mut s.limit_output_bytes, 0, INT),
    ("max_reordering", |s| &mut s.max_reordering, 0, INT),
    ("max_syn_backlog", |s| &mut s.max_syn_backlog, 0, INT),
    ("max_tw_buckets", |s| &mut s.max_tw_buckets, 0, INT),
    ("min_snd_mss", |s| &mut s.min_snd_mss, 48, 65_535),
    ("moderate_rcvbuf", |s| &mut s.moderate_rcvbuf, 0, 255),
    ("orphan_retries", |s| &mut s.orphan_retries, 0, 255),
    ("pingpong_thresh", |s| &mut s.pingpong_thresh, 1, 255),
    ("recovery", |s| &mut s.recovery, 0, 255),
    ("reordering", |s| &mut s.reordering, 0, INT),
    ("retries1", |s| &mut s.retries1, 0, 255),
    ("retries2", |s| &mut s.retries2, 0, 255),
    ("rfc1337", |s| &mut s.rfc1337, 0, 255),
    ("rto_max_ms", |s| &mut s.rto_max_ms, 1000, 120_000),
    ("rto_min_us", |s| &mut s.rto_min_us, 1, INT),
    ("sack", |s| &mut s.sack, 0, 255),
    ("slow_start_after_idle", |s| &mut s.slow_start_after_idle, 0, 255),
    ("syn_linear_timeouts", |s| &mut s.syn_linear_timeouts, 0, 127),
    ("syn_retries", |s| &mut s.syn_retries, 1, 127),
    ("synack_retries", |s| &mut s.synack_retries, 0, 255),
    ("syncookies", |s| &mut s.syncookies, 0, 255),
    ("thin_linear_timeouts", |s| &mut s.thin_linear_timeouts, 0, 255),
    ("timestamps", |s| &mut s.timestamps, 0, 255),
    ("tso_win_divisor", |s| &mut s.tso_win_divisor, 0, 255),
    ("tw_reuse", |s| &mut s.tw_reuse, 0, 2),
    ("window_scaling", |s| &mut s.window_scaling, 0, 255),
];

type Read = fn(&TcpSysctl) -> String;
type Write = fn(&mut TcpSysctl, &str) -> Result<(), Errno>;

/// net.ipv4.tcp_NAME: what is no number.
const TEXTS: &[(&str, Read, Write)] = &[
    ("available_congestion_control", |_| "reno cubic".to_owned(), |_, _| Err(Errno::EACCES)),
    (
        "congestion_control",
        |s| s.congestion_control.name().to_owned(),
        |s, value| {
            s.congestion_control = Algorithm::find(value).ok_or(Errno::ENOENT)?;
            Ok(())
        },
    ),
    ("rmem", |s| tabbed(&s.rmem), |s, value| three(&mut s.rmem, value)),
    ("wmem", |s| tabbed(&s.wmem), |s, value| three(&mut s.wmem, value)),
];

impl TcpSysctl {
    /// The settings that a kernel begins with.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::Linux618 => TcpSysctl::default(),
            Profile::Linux418 => linux_4_18::sysctl(),
        }
    }

    /// What follows `net.ipv4.tcp_` in the names of all that this kernel has.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields().map(|f| f.0).chain(TEXTS.iter().map(|t| t.0))
    }

    /// The numbers that this kernel has.
    fn fields(&self) -> impl Iterator<Item = &'static (&'static str, Field, i64, i64)> {
        let old = self.profile == Profile::Linux418;
        FIELDS.iter().filter(move |f| !(old && linux_4_18::lacks(f.0)))
    }

    /// The value of `net.ipv4.tcp_NAME`.
    pub fn get(&self, name: &str) -> Option<String> {
        if let Some((_, read, _)) = TEXTS.iter().find(|t| t.0 == name) {
            return Some(read(self));
        }
        let (_, field, ..) = self.fields().find(|f| f.0 == name)?;
        Some(field(&mut { *self }).to_string())
    }

    /// Sets `net.ipv4.tcp_NAME`.
    ///
    /// # Errors
    /// ENOENT if there is no such name, or no such congestion control; EINVAL if it is no number or out of range;
    /// EACCES if it can only be read.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        if let Some((_, _, write)) = TEXTS.iter().find(|t| t.0 == name) {
            return write(self, value);
        }
        let (_, field, min, max) = *self.fields().find(|f| f.0 == name).ok_or(Errno::ENOENT)?;
        let value: i64 = value.parse().map_err(|_| Errno::EINVAL)?;
        if !(min..=max).contains(&value) {
            return Err(Errno::EINVAL);
        }
        *field(self) = value;
        Ok(())
    }
}

/// As the kernel writes several numbers.
fn tabbed(numbers: &[i64; 3]) -> String {
    numbers.map(|n| n.to_string()).join("\t")
}

/// proc_dointvec_minmax: as many of the three as are written, none below one.
fn three(numbers: &mut [i64; 3], value: &str) -> Result<(), Errno> {
    let mut new = *numbers;
    let mut words = value.split_whitespace();
    for (place, word) in new.iter_mut().zip(&mut words) {
        *place = word.parse().ok().filter(|n| (1..=INT).contains(n)).ok_or(Errno::EINVAL)?;
    }
    if words.next().is_some() {
        return Err(Errno::EINVAL);
    }
    *numbers = new;
    Ok(())
}
