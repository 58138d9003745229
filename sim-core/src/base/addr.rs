//! Hardware addresses. IP addresses are `std::net::IpAddr`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Mac(pub [u8; 6]);

impl Ord for Mac {
    /// As numbers: bridges compare addresses on every frame's way.
    fn cmp(&self, other: &Self) -> Ordering {
        let number = |Mac([a, b, c, d, e, f]): &Mac| u64::from_be_bytes([0, 0, *a, *b, *c, *d, *e, *f]);
        number(self).cmp(&number(other))
    }
}

impl PartialOrd for Mac {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Mac {
    /// `ff:ff:ff:ff:ff:ff`
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    /// `00:00:00:00:00:00`
    pub const ZERO: Mac = Mac([0; 6]);

    /// The group bit is set (`is_multicast_ether_addr`); the broadcast address is a group address too.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// `is_broadcast_ether_addr`
    pub fn is_broadcast(self) -> bool {
        self == Mac::BROADCAST
    }

    /// Neither zero nor a group address: good as a source (`is_valid_ether_addr`).
    pub fn is_valid(self) -> bool {
        !self.is_multicast() && self != Mac::ZERO
    }

    /// `01:80:c2:00:00:00` to `0f`, which 802.1D bridges do not forward (`is_link_local_ether_addr`).
    pub fn is_link_local(self) -> bool {
        matches!(self.0, [0x01, 0x80, 0xc2, 0, 0, last] if last & 0xf0 == 0)
    }

    /// The first six bytes at `at`; zero where the slice is too short.
    pub fn read(bytes: &[u8], at: usize) -> Mac {
        let mut mac = [0; 6];
        if let Some(b) = bytes.get(at..at + 6) {
            mac.copy_from_slice(b);
        }
        Mac(mac)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for Mac {
    type Err = ();

    /// Six hexadecimal bytes of one or two digits between colons, as iproute2 reads them.
    fn from_str(s: &str) -> Result<Mac, ()> {
        let mut mac = [0; 6];
        let mut parts = s.split(':');
        for byte in &mut mac {
            let part = parts.next().ok_or(())?;
            if part.is_empty() || part.len() > 2 || part.starts_with('+') {
                return Err(());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| ())?;
        }
        if parts.next().is_some() { Err(()) } else { Ok(Mac(mac)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_and_print() {
        for (text, want) in [
            ("0a:58:0a:f4:01:02", Some("0a:58:0a:f4:01:02")),
            ("a:0:1:2:3:4", Some("0a:00:01:02:03:04")),
            ("0a:58:0a:f4:01", None),
            ("0a:58:0a:f4:01:02:03", None),
            ("0a:58:0a:f4:01:zz", None),
            ("0a:58:0a:f4:01:+2", None),
            ("", None),
        ] {
            let got = text.parse::<Mac>().ok().map(|m| m.to_string());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn kinds() {
        let mac = |s: &str| s.parse::<Mac>().unwrap();
        assert!(mac("01:80:c2:00:00:0e").is_link_local());
        assert!(!mac("01:80:c2:00:00:10").is_link_local());
        assert!(mac("33:33:00:00:00:01").is_multicast());
        assert!(!Mac::ZERO.is_valid());
        assert!(mac("02:00:00:00:00:01").is_valid());
    }
}
