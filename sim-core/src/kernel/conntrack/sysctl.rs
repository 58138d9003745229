//! Mirrors net/netfilter/nf_conntrack_standalone.c: net.netfilter.nf_conntrack_*.
//!
//! Differs: `nf_conntrack_max` and `nf_conntrack_buckets` can be written in every namespace, since a node is one.

use super::table::Conntrack;
use crate::kernel::errno::Errno;
use crate::kernel::timer::HZ;

/// What all its names begin with.
const PREFIX: &str = "net.netfilter.nf_conntrack_";

/// Seconds that fit into an `int` of jiffies (proc_dointvec_jiffies).
const SECONDS: (u32, u32) = (0, i32::MAX as u32 / HZ as u32);
const FLAG: (u32, u32) = (0, 1);
const BYTE: (u32, u32) = (0, 255);
const NUMBER: (u32, u32) = (0, i32::MAX as u32);

macro_rules! settings {
    ($($name:ident = $default:literal, $range:ident;)*) => {
        /// The settings of one namespace; timeouts are in seconds.
        #[derive(Clone, Debug)]
        #[allow(missing_docs, reason = "the kernel's own names: Documentation/networking/nf_conntrack-sysctl.rst")]
        pub struct Settings { $(pub $name: u32,)* }

        impl Default for Settings {
            /// As measured in a fresh namespace of a machine with more than 4 GB.
            fn default() -> Self {
                Settings { $($name: $default,)* }
            }
        }

        type Field = fn(&mut Settings) -> &mut u32;

        const FIELDS: &[(&str, Field, (u32, u32))] = &[$((stringify!($name), |s| &mut s.$name, $range),)*];
    };
}

settings! {
    acct = 0, FLAG;
    buckets = 262_144, NUMBER;
    checksum = 1, FLAG;
    events = 2, EVENTS;
    expect_max = 4096, NUMBER;
    frag6_high_thresh = 4_194_304, NUMBER;
    frag6_low_thresh = 3_145_728, NUMBER;
    frag6_timeout = 60, SECONDS;
    generic_timeout = 600, SECONDS;
    gre_timeout = 30, SECONDS;
    gre_timeout_stream = 180, SECONDS;
    icmp_timeout = 30, SECONDS;
    icmpv6_timeout = 30, SECONDS;
    log_invalid = 0, BYTE;
    max = 262_144, NUMBER;
    sctp_timeout_closed = 10, SECONDS;
    sctp_timeout_cookie_echoed = 3, SECONDS;
    sctp_timeout_cookie_wait = 3, SECONDS;
    sctp_timeout_established = 210, SECONDS;
    sctp_timeout_heartbeat_sent = 30, SECONDS;
    sctp_timeout_shutdown_ack_sent = 3, SECONDS;
    sctp_timeout_shutdown_recd = 3, SECONDS;
    sctp_timeout_shutdown_sent = 3, SECONDS;
    tcp_be_liberal = 0, FLAG;
    tcp_ignore_invalid_rst = 0, FLAG;
    tcp_loose = 1, FLAG;
    tcp_max_retrans = 3, BYTE;
    tcp_timeout_close = 10, SECONDS;
    tcp_timeout_close_wait = 60, SECONDS;
    tcp_timeout_established = 432_000, SECONDS;
    tcp_timeout_fin_wait = 120, SECONDS;
    tcp_timeout_last_ack = 30, SECONDS;
    tcp_timeout_max_retrans = 300, SECONDS;
    tcp_timeout_syn_recv = 60, SECONDS;
    tcp_timeout_syn_sent = 120, SECONDS;
    tcp_timeout_time_wait = 120, SECONDS;
    tcp_timeout_unacknowledged = 300, SECONDS;
    timestamp = 0, FLAG;
    udp_timeout = 30, SECONDS;
    udp_timeout_stream = 120, SECONDS;
}

const EVENTS: (u32, u32) = (0, 2);

/// How many connections there are, which can only be read.
const COUNT: &str = "count";

impl Conntrack {
    /// The dotted names of all that can be read.
    pub fn sysctl_names() -> impl Iterator<Item = String> {
        FIELDS.iter().map(|f| f.0).chain([COUNT]).map(|leaf| format!("{PREFIX}{leaf}"))
    }

    /// Reads `net.netfilter.nf_conntrack_*` by its dotted name; none if there is no such name.
    pub fn sysctl_get(&self, name: &str) -> Option<String> {
        let leaf = name.strip_prefix(PREFIX)?;
        if leaf == COUNT {
            return Some(self.count().to_string());
        }
        let (_, field, _) = FIELDS.iter().find(|f| f.0 == leaf)?;
        Some(field(&mut self.settings.clone()).to_string())
    }

    /// Writes `net.netfilter.nf_conntrack_*` by its dotted name.
    ///
    /// # Errors
    /// ENOENT if there is no such name, EACCES if it can only be read, EINVAL if the value is none for it.
    pub fn sysctl_set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        let leaf = name.strip_prefix(PREFIX).ok_or(Errno::ENOENT)?;
        if leaf == COUNT {
            return Err(Errno::EACCES);
        }
        let (_, field, (min, max)) = FIELDS.iter().find(|f| f.0 == leaf).ok_or(Errno::ENOENT)?;
        let value: u32 = value.trim().parse().map_err(|_| Errno::EINVAL)?;
        if !(*min..=*max).contains(&value) {
            return Err(Errno::EINVAL);
        }
        *field(&mut self.settings) = value;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_values_and_refusals() {
        let mut ct = Conntrack::default();
        for (name, value) in [
            ("tcp_timeout_established", Some("432000")),
            ("udp_timeout", Some("30")),
            ("udp_timeout_stream", Some("120")),
            ("max", Some("262144")),
            ("count", Some("0")),
            ("nonsense", None),
        ] {
            assert_eq!(ct.sysctl_get(&format!("{PREFIX}{name}")).as_deref(), value, "{name}");
        }
        for (name, value, want) in [
            ("tcp_timeout_established", "86400", Ok(())),
            ("tcp_loose", "0", Ok(())),
            ("tcp_loose", "2", Err(Errno::EINVAL)),
            ("udp_timeout", "-1", Err(Errno::EINVAL)),
            ("udp_timeout", "9999999", Err(Errno::EINVAL)),
            ("count", "1", Err(Errno::EACCES)),
            ("nonsense", "1", Err(Errno::ENOENT)),
        ] {
            assert_eq!(ct.sysctl_set(&format!("{PREFIX}{name}"), value), want, "{name}={value}");
        }
        assert_eq!(ct.sysctl_get("net.netfilter.nf_conntrack_tcp_timeout_established").as_deref(), Some("86400"));
        assert_eq!(ct.sysctl_get("net.ipv4.ip_forward"), None);
    }
}
