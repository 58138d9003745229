//! Mirrors net/ipv4/sysctl_net_ipv4.c and the sysctl tables of ip_fragment.c and route.c: numbers of one namespace.

use crate::kernel::errno::Errno;

/// The settings of net.ipv4 that are plain numbers.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the kernel's own names: Documentation/networking/ip-sysctl.rst")]
pub(in crate::kernel) struct Ipv4Sysctl {
    pub fwmark_reflect: i64,
    /// Milliseconds between errors to one destination.
    pub icmp_ratelimit: i64,
    /// A bit for each type that is limited.
    pub icmp_ratemask: i64,
    pub icmp_msgs_per_sec: i64,
    pub icmp_msgs_burst: i64,
    pub icmp_errors_use_inbound_ifaddr: i64,
    pub ip_forward_use_pmtu: i64,
    pub ip_no_pmtu_disc: i64,
    pub ip_nonlocal_bind: i64,
    /// Bytes of truesize.
    pub ipfrag_high_thresh: i64,
    /// **Recorded only**, as in Linux since 4.17.
    pub ipfrag_low_thresh: i64,
    /// Seconds.
    pub ipfrag_time: i64,
    pub ipfrag_max_dist: i64,
    pub min_pmtu: i64,
    /// Seconds.
    pub mtu_expires: i64,
}

impl Default for Ipv4Sysctl {
    fn default() -> Self {
        Ipv4Sysctl {
            fwmark_reflect: 0,
            icmp_ratelimit: 1000,
            icmp_ratemask: 6168,
            icmp_msgs_per_sec: 1000,
            icmp_msgs_burst: 50,
            icmp_errors_use_inbound_ifaddr: 0,
            ip_forward_use_pmtu: 0,
            ip_no_pmtu_disc: 0,
            ip_nonlocal_bind: 0,
            ipfrag_high_thresh: 4 << 20,
            ipfrag_low_thresh: 3 << 20,
            ipfrag_time: 30,
            ipfrag_max_dist: 64,
            min_pmtu: 552,
            mtu_expires: 600,
        }
    }
}

type Field = fn(&mut Ipv4Sysctl) -> &mut i64;

const INT: i64 = i32::MAX as i64;

/// net.ipv4.NAME with the least and the largest value.
const FIELDS: &[(&str, Field, i64, i64)] = &[
    ("fwmark_reflect", |s| &mut s.fwmark_reflect, 0, 255),
    ("icmp_errors_use_inbound_ifaddr", |s| &mut s.icmp_errors_use_inbound_ifaddr, 0, 1),
    ("icmp_msgs_burst", |s| &mut s.icmp_msgs_burst, 0, INT),
    ("icmp_msgs_per_sec", |s| &mut s.icmp_msgs_per_sec, 0, INT),
    ("icmp_ratelimit", |s| &mut s.icmp_ratelimit, 0, INT),
    ("icmp_ratemask", |s| &mut s.icmp_ratemask, 0, u32::MAX as i64),
    ("ip_forward_use_pmtu", |s| &mut s.ip_forward_use_pmtu, 0, 255),
    ("ip_no_pmtu_disc", |s| &mut s.ip_no_pmtu_disc, 0, 3),
    ("ip_nonlocal_bind", |s| &mut s.ip_nonlocal_bind, 0, 255),
    ("ipfrag_high_thresh", |s| &mut s.ipfrag_high_thresh, 0, i64::MAX),
    ("ipfrag_low_thresh", |s| &mut s.ipfrag_low_thresh, 0, i64::MAX),
    ("ipfrag_max_dist", |s| &mut s.ipfrag_max_dist, 0, INT),
    ("ipfrag_time", |s| &mut s.ipfrag_time, 0, INT),
    ("route.min_pmtu", |s| &mut s.min_pmtu, 68, INT),
    ("route.mtu_expires", |s| &mut s.mtu_expires, 0, INT),
];

impl Ipv4Sysctl {
    /// What follows `net.ipv4.` in the names of all.
    pub fn names() -> impl Iterator<Item = &'static str> {
        FIELDS.iter().map(|f| f.0)
    }

    /// inet_can_nonlocal_bind: a socket with or without IP_TRANSPARENT may have an address that is not ours.
    pub fn can_nonlocal_bind(&self, transparent: bool) -> bool {
        self.ip_nonlocal_bind != 0 || transparent
    }

    /// IP4_REPLY_MARK: of what the kernel itself answers to a packet with that mark.
    pub fn reply_mark(&self, mark: u32) -> u32 {
        if self.fwmark_reflect != 0 { mark } else { 0 }
    }

    /// The value of `net.ipv4.NAME`.
    pub fn get(&self, name: &str) -> Option<String> {
        let (_, field, ..) = FIELDS.iter().find(|f| f.0 == name)?;
        let mut copy = *self;
        Some(field(&mut copy).to_string())
    }

    /// Sets `net.ipv4.NAME`.
    ///
    /// # Errors
    /// ENOENT if there is no such name, EINVAL if it is no number or out of range.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Errno> {
        let (name, field, mut min, mut max) = *FIELDS.iter().find(|f| f.0 == name).ok_or(Errno::ENOENT)?;
        let value: i64 = value.parse().map_err(|_| Errno::EINVAL)?;
        match name {
            "ipfrag_high_thresh" => min = self.ipfrag_low_thresh,
            "ipfrag_low_thresh" => max = self.ipfrag_high_thresh,
            _ => {}
        }
        if !(min..=max).contains(&value) {
            return Err(Errno::EINVAL);
        }
        *field(self) = value;
        Ok(())
    }
}
