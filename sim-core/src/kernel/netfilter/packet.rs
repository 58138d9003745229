//! What matches and targets see of a packet (`struct sk_buff` and `struct xt_action_param`; include/linux/skbuff.h,
//! include/linux/netfilter/x_tables.h), and what they ask of the namespace.

use super::targets::Log;
use crate::base::{IfIndex, Time};
use crate::kernel::conntrack::{CtInfo, Status, Template, Tuple};
use crate::kernel::frame::Sk;
use crate::wire::be16;
use std::fmt;
use std::net::Ipv4Addr;

/// A device's name, padded with zeros as in Linux (`IFNAMSIZ`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct IfName(pub [u8; 16]);

impl IfName {
    /// No device.
    pub const NONE: IfName = IfName([0; 16]);

    /// The device of that name; a longer name is cut at 15 bytes.
    pub fn new(name: &str) -> Self {
        let mut bytes = [0; 16];
        let length = name.len().min(15);
        bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
        IfName(bytes)
    }

    /// There is no device.
    pub fn is_none(&self) -> bool {
        self.0[0] == 0
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(16);
        f.write_str(&String::from_utf8_lossy(&self.0[..end]))
    }
}

/// What a packet's connection looks like to a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tracked {
    /// How the packet belongs to it.
    pub info: CtInfo,
    /// `ct->status`
    pub status: Status,
    /// `ct->mark`; CONNMARK writes it.
    pub mark: u32,
}

/// What few rules ask of a packet's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The tuples of both directions.
    pub tuple: [Tuple; 2],
    /// Seconds until it expires.
    pub expires_s: u32,
}

/// A packet's connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ct {
    /// It has none: not tracked yet, or invalid.
    #[default]
    None,
    /// A rule said that it must not have one (`IP_CT_UNTRACKED`).
    Untracked,
    /// A rule said where it is to be looked up (`nf_ct_is_template`).
    Template(Template),
    /// It has one.
    Tracked(Tracked),
}

/// The socket that a packet is for, as a rule sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receiver {
    /// It is bound to no address (`inet_rcv_saddr`).
    pub wildcard: bool,
    /// IP_TRANSPARENT (`inet_sk_transparent`).
    pub transparent: bool,
    /// SO_MARK; a request or what is left of a connection has none (`sk_fullsock`).
    pub mark: Option<u32>,
}

/// A packet at a hook, from its IPv4 header on.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The IPv4 header and what follows; the caller has checked that the header is whole.
    pub bytes: &'a [u8],
    /// The device it came in by.
    pub indev: Option<IfIndex>,
    /// The device it is going out by.
    pub outdev: Option<IfIndex>,
    /// The bridge port it came in by, if br_netfilter knows one.
    pub physin: Option<IfIndex>,
    /// The bridge port it is going out by, if br_netfilter knows one.
    pub physout: Option<IfIndex>,
    /// br_netfilter has been at work on it (`nf_bridge_info_exists`).
    pub bridged: bool,
    /// Who has the socket that sent it.
    pub sk: Sk,
    /// `skb->mark`; MARK, CONNMARK and `socket` write it.
    pub mark: u32,
    /// Its connection; CT writes it.
    pub ct: Ct,
    /// The time.
    pub now: Time,
}

impl<'a> Packet<'a> {
    /// The source address.
    pub fn src(&self) -> Ipv4Addr {
        self.address(12)
    }

    /// The destination address.
    pub fn dst(&self) -> Ipv4Addr {
        self.address(16)
    }

    /// The protocol.
    pub fn protocol(&self) -> u8 {
        self.byte(9)
    }

    /// The time to live.
    pub fn ttl(&self) -> u8 {
        self.byte(8)
    }

    /// The packet's length as its header says, in bytes.
    pub fn total_len(&self) -> u16 {
        be16(self.bytes, 2)
    }

    /// The fragment offset, in units of eight bytes.
    pub fn fragment_offset(&self) -> u16 {
        be16(self.bytes, 6) & 0x1fff
    }

    /// What follows the IPv4 header.
    pub fn payload(&self) -> &'a [u8] {
        let header = usize::from(self.byte(0) & 0xf) * 4;
        self.bytes.get(header..).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn address(&self, at: usize) -> Ipv4Addr {
        self.bytes.get(at..at + 4).map_or(Ipv4Addr::UNSPECIFIED, |b| Ipv4Addr::new(b[0], b[1], b[2], b[3]))
    }
}

/// How a match ended (`xt_action_param.hotdrop` is the third way).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Matched {
    /// The rule goes on.
    Yes,
    /// The next rule.
    No,
    /// The packet is malformed: drop it at once.
    Hotdrop,
}

impl From<bool> for Matched {
    fn from(yes: bool) -> Self {
        if yes { Matched::Yes } else { Matched::No }
    }
}

/// The routing type of an address (`enum` of `RTN_*`, include/uapi/linux/rtnetlink.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum AddrType {
    /// `RTN_UNSPEC`: of no address; the unspecified address is asked for by this name.
    Unspec = 0,
    /// `RTN_UNICAST`
    Unicast = 1,
    /// `RTN_LOCAL`
    Local = 2,
    /// `RTN_BROADCAST`
    Broadcast = 3,
    /// `RTN_ANYCAST`
    Anycast = 4,
    /// `RTN_MULTICAST`
    Multicast = 5,
    /// `RTN_BLACKHOLE`
    Blackhole = 6,
    /// `RTN_UNREACHABLE`
    Unreachable = 7,
    /// `RTN_PROHIBIT`
    Prohibit = 8,
    /// `RTN_THROW`
    Throw = 9,
}

/// What a walk through a table asks and tells.
pub trait Surroundings {
    /// The name of a device.
    fn name(&self, dev: IfIndex) -> IfName;

    /// More of the packet's connection, if it has one.
    fn connection(&self) -> Option<Connection>;

    /// The socket that the packet is for (`nf_sk_lookup_slow_v4`); none if there is none.
    fn receiver(&self, packet: &Packet<'_>) -> Option<Receiver> {
        let _ = packet;
        None
    }

    /// The routing type of an address in this namespace, of the device alone if one is given
    /// (`inet_addr_type_dev_table`).
    fn addr_type(&mut self, address: Ipv4Addr, dev: Option<IfIndex>) -> AddrType;

    /// The route by which an answer from `dst` to `src` would leave: its type and its device; none if there is none.
    fn route_back(&mut self, src: Ipv4Addr, dst: Ipv4Addr, mark: u32) -> Option<(AddrType, Option<IfIndex>)> {
        let _ = (src, dst, mark);
        None
    }

    /// 32 random bits for `statistic --mode random` (`get_random_u32`): the next draw of the packet's flow. `rule`
    /// names the rule.
    fn draw(&mut self, rule: u32) -> u32;

    /// Which way a match goes that is left to chance and holds in `odds` of `of` cases, if somebody decides it; none if
    /// it is to be drawn or counted.
    fn decide(&mut self, odds: u32, of: u32) -> Option<bool> {
        let _ = (odds, of);
        None
    }

    /// A rule's conditions held: chain and rule, by index, in the table that is walked.
    fn took(&mut self, chain: u32, rule: u32) {
        let _ = (chain, rule);
    }

    /// The rule's target is LOG.
    fn log(&mut self, how: &Log, packet: &Packet<'_>) {
        let _ = (how, packet);
    }
}
