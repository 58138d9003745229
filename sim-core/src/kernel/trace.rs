//! What happened, as data: `Copy`, ids only. Text is made in `observe/`.

use super::bpf::Program;
use super::conntrack::nat::Manip;
use super::dev::ARPHRD_TUNNEL;
use super::frame::{Frame, PacketType};
use super::netfilter::hook::{Hook, TableName};
use super::netfilter::table::Table;
use super::netlink::NudState;
use super::tc::Attach;
use crate::base::{FrameId, IfIndex, Mac, NsId, PacketId, Time};
use crate::wire;
use ipnet::Ipv4Net;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A stage hands the frame on, or says how its way ended here: a path is a row of `?`.
pub type Flow = ControlFlow<Fate, Frame>;

/// How a frame's way ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Not an end: it waits in a queue, or travels on as another stage's.
    Queued,
    /// Handed to a socket.
    Delivered,
    /// The kernel itself was meant.
    Consumed(Consumer),
    /// Lost, with the kernel's reason.
    Dropped(DropReason),
}

/// The part of the kernel that a frame was meant for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Consumer {
    /// arp_process
    Arp,
    /// icmp_rcv
    Icmp,
    /// ip_do_fragment: its fragments travel on.
    Fragmentation,
    /// ip_frag_reasm: the datagram that it is a part of travels on.
    Reassembly,
    /// skb_segment: its segments travel on.
    Segmentation,
    /// skb_gro_receive: the frame that it joined travels on.
    Gro,
    /// tcp_v4_rcv: it carried no data.
    Tcp,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $kernel:literal;)*) => {
        /// Why a frame was dropped: `SKB_DROP_REASON_*` of include/net/dropreason-core.h.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
        pub enum DropReason { $($(#[doc = $doc])* $name,)* }

        impl DropReason {
            /// All of them.
            pub const ALL: &'static [DropReason] = &[$(DropReason::$name),*];

            /// The kernel's name, without its prefix.
            pub fn name(self) -> &'static str {
                match self { $(DropReason::$name => $kernel,)* }
            }

            /// What it means, in a sentence.
            pub fn words(self) -> &'static str {
                match self { $(DropReason::$name => concat!($($doc),*).trim_ascii(),)* }
            }
        }
    };
}

drop_reasons! {
    /// No reason of its own in Linux.
    NotSpecified = "NOT_SPECIFIED";
    /// Shorter than its header says.
    PktTooSmall = "PKT_TOO_SMALL";
    /// Addressed to another host's hardware address.
    OtherHost = "OTHERHOST";
    /// Nobody takes this Ethertype.
    UnhandledProto = "UNHANDLED_PROTO";
    /// A bad IPv4 header checksum.
    IpCsum = "IP_CSUM";
    /// A bad IPv4 header.
    IpInHdr = "IP_INHDR";
    /// Addressed to nobody here, and this host does not forward (or no route leads on).
    IpInAddrErrors = "IP_INADDRERRORS";
    /// The source cannot be: broadcast, multicast or one of our own (martian source).
    IpInvalidSource = "IP_INVALID_SOURCE";
    /// Our own address as a source.
    IpLocalSource = "IP_LOCAL_SOURCE";
    /// 127/8 from outside.
    IpLocalnet = "IP_LOCALNET";
    /// The destination cannot be (martian destination).
    IpInvalidDest = "IP_INVALID_DEST";
    /// Reverse path filter.
    IpRpFilter = "IP_RPFILTER";
    /// No handler for the transport protocol.
    IpNoProto = "IP_NOPROTO";
    /// A router has no route on.
    IpInNoRoutes = "IP_INNOROUTES";
    /// No route out.
    IpOutNoRoutes = "IP_OUTNOROUTES";
    /// A bad ICMP checksum.
    IcmpCsum = "ICMP_CSUM";
    /// A bad TCP checksum.
    TcpCsum = "TCP_CSUM";
    /// TCP flags that say nothing, or not here.
    TcpFlags = "TCP_FLAGS";
    /// The receive window is closed.
    TcpZeroWindow = "TCP_ZEROWINDOW";
    /// Data that is here already.
    TcpOldData = "TCP_OLD_DATA";
    /// Data beyond the receive window.
    TcpOverwindow = "TCP_OVERWINDOW";
    /// Data that is here already, out of order.
    TcpOfomerge = "TCP_OFOMERGE";
    /// Its timestamp is older than one that was seen (PAWS).
    TcpRfc7323Paws = "TCP_RFC7323_PAWS";
    /// It lies before the receive window.
    TcpOldSequence = "TCP_OLD_SEQUENCE";
    /// It lies behind the receive window.
    TcpInvalidSequence = "TCP_INVALID_SEQUENCE";
    /// It ends behind the receive window.
    TcpInvalidEndSequence = "TCP_INVALID_END_SEQUENCE";
    /// It acknowledges what was not sent, in a handshake.
    TcpInvalidAckSequence = "TCP_INVALID_ACK_SEQUENCE";
    /// A reset.
    TcpReset = "TCP_RESET";
    /// A SYN in a connection.
    TcpInvalidSyn = "TCP_INVALID_SYN";
    /// The connection is closed.
    TcpClose = "TCP_CLOSE";
    /// It acknowledges what was acknowledged long ago.
    TcpOldAck = "TCP_OLD_ACK";
    /// It acknowledges what was acknowledged more than a window ago.
    TcpTooOldAck = "TCP_TOO_OLD_ACK";
    /// It acknowledges what was not sent.
    TcpAckUnsentData = "TCP_ACK_UNSENT_DATA";
    /// The queue of a listening socket is full.
    TcpListenOverflow = "TCP_LISTEN_OVERFLOW";
    /// Data for a connection that nobody reads any more.
    TcpAbortOnData = "TCP_ABORT_ON_DATA";
    /// A socket's backlog is full.
    SocketBacklog = "SOCKET_BACKLOG";
    /// No memory for the protocol.
    ProtoMem = "PROTO_MEM";
    /// A bad UDP checksum.
    UdpCsum = "UDP_CSUM";
    /// No socket is bound to the port.
    NoSocket = "NO_SOCKET";
    /// A socket's receive buffer is full.
    SocketRcvBuff = "SOCKET_RCVBUFF";
    /// The neighbour did not answer.
    NeighFailed = "NEIGH_FAILED";
    /// The neighbour's wait queue is full: the oldest goes.
    NeighQueueFull = "NEIGH_QUEUEFULL";
    /// The neighbour entry is gone.
    NeighDead = "NEIGH_DEAD";
    /// The neighbour table is full.
    NeighCreateFail = "NEIGH_CREATEFAIL";
    /// The CPU's backlog (net.core.netdev_max_backlog) is full.
    CpuBacklog = "CPU_BACKLOG";
    /// The device is down or has no carrier.
    DevReady = "DEV_READY";
    /// The queueing discipline drops: the device has no carrier.
    QdiscDrop = "QDISC_DROP";
    /// The transmit queue of a physical nic is full.
    QdiscOverlimit = "QDISC_OVERLIMIT";
    /// Lost on a link, or one frame more than a link holds: no reason of Linux's, which never sees such a frame.
    LinkLoss = "LINK_LOSS";
    /// A fragment that is there already.
    DupFrag = "DUP_FRAG";
    /// Too many other fragments came from the sender in between (ipfrag_max_dist).
    FragTooFar = "FRAG_TOO_FAR";
    /// The rest of its datagram did not come in time.
    FragReasmTimeout = "FRAG_REASM_TIMEOUT";
    /// Longer than the outgoing device allows.
    PktTooBig = "PKT_TOO_BIG";
    /// An invalid source hardware address.
    MacInvalidSource = "MAC_INVALID_SOURCE";
    /// A pause frame, or another of 802.1D's that bridges do not forward.
    MacIeeeControl = "MAC_IEEE_MAC_CONTROL";
    /// The bridge port is not forwarding.
    BridgeIngressStpState = "BRIDGE_INGRESS_STP_STATE";
    /// The bridge has no port to send it to, the tunnel no far end.
    NoTxTarget = "NO_TX_TARGET";
    /// A tunnel got back what it had sent itself.
    LocalMac = "LOCAL_MAC";
    /// No tunnel has this network identifier.
    VxlanVniNotFound = "VXLAN_VNI_NOT_FOUND";
    /// A VXLAN header that says nothing, or not here.
    VxlanInvalidHdr = "VXLAN_INVALID_HDR";
    /// The source was set by hand to be somewhere else.
    VxlanEntryExists = "VXLAN_ENTRY_EXISTS";
    /// Congestion was marked outside, where the packet inside cannot carry the mark.
    IpTunnelEcn = "IP_TUNNEL_ECN";
    /// A tunnel that has no far end of its own was told none.
    TunnelTxinfo = "TUNNEL_TXINFO";
    /// A program of tc on a frame that came in.
    TcIngress = "TC_INGRESS";
    /// A program of tc on a frame that was to go out.
    TcEgress = "TC_EGRESS";
    /// Tunnels in tunnels, deeper than Linux goes.
    RecursionLimit = "RECURSION_LIMIT";
    /// The TTL was used up.
    IpTtl = "IP_TTL";
    /// A rule, a policy, or a connection that finds no place in the table.
    NetfilterDrop = "NETFILTER_DROP";
    /// The table of connections is full. Linux says NETFILTER_DROP, and in its log: nf_conntrack: table full, dropping
    /// packet.
    ConntrackFull = "NF_CONNTRACK_TABLE_FULL";
}

/// What happened to a frame, where and when.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// When.
    pub at: Time,
    /// In which namespace.
    pub ns: NsId,
    /// On which device; zero where none is meant.
    pub dev: IfIndex,
    /// The buffer.
    pub frame: FrameId,
    /// Its datagram.
    pub packet: PacketId,
    /// What.
    pub what: What,
}

/// The kinds of steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A new frame, with where it came from.
    Made(Edge),
    /// One more frame that this one came from.
    Edge(Edge),
    /// netif_rx: queued for the device at the other end of a veth, or for lo.
    Queued {
        /// The receiver's namespace.
        ns: NsId,
        /// The receiver.
        dev: IfIndex,
    },
    /// ip_route_output: the route that a locally made packet takes.
    RouteOutput(RouteStep),
    /// ip_route_input: what is to become of a received packet.
    RouteInput(RouteStep),
    /// A route that was a candidate for the decision that follows: told to listeners who want details.
    RouteCandidate {
        /// The destination looked up.
        dst: Ipv4Addr,
        /// The route's prefix, with its length.
        prefix: (Ipv4Addr, u8),
        /// Its table.
        table: u32,
        /// The destination lies in it, and it is the longest such prefix.
        wins: bool,
    },
    /// A neighbour entry was looked up to send.
    Neigh {
        /// The next hop.
        addr: Ipv4Addr,
        /// Its state before.
        state: NudState,
        /// Its hardware address, if it is valid.
        lladdr: Option<Mac>,
    },
    /// The frame waits until its neighbour answers.
    NeighWait {
        /// The next hop.
        addr: Ipv4Addr,
    },
    /// A neighbour entry changed because of this frame.
    NeighUpdate {
        /// Whose.
        addr: Ipv4Addr,
        /// The new state.
        state: NudState,
        /// The new hardware address.
        lladdr: Mac,
    },
    /// The bridge learned or refreshed where an address is.
    FdbLearn {
        /// The address.
        mac: Mac,
        /// It was not known at this port.
        new: bool,
    },
    /// The bridge knows the destination's port.
    FdbHit {
        /// The destination.
        mac: Mac,
        /// The port.
        port: IfIndex,
    },
    /// The bridge sends it to all ports.
    Flood {
        /// Why.
        why: FloodWhy,
    },
    /// The bridge hands it to its own host.
    PassUp,
    /// A hook of netfilter at which something is registered.
    Hook {
        /// Which.
        hook: Hook,
        /// The device it came in by.
        indev: Option<IfIndex>,
        /// The device it is going out by.
        outdev: Option<IfIndex>,
        /// The bridge port it came in by.
        physin: Option<IfIndex>,
        /// The bridge port it is going out by.
        physout: Option<IfIndex>,
    },
    /// nf_conntrack_in: how the packet belongs to its connection.
    Conntrack {
        /// What iptables calls its state.
        state: CtLabel,
    },
    /// A rule's conditions held.
    Rule {
        /// The table.
        table: TableName,
        /// The chain, by its place in the table that was told last.
        chain: u32,
        /// The rule, by its place in the chain.
        rule: u32,
    },
    /// nf_nat_manip_pkt: one end of the packet was rewritten.
    Nat {
        /// Which.
        manip: Manip,
        /// Address and port as they were.
        from: SocketAddrV4,
        /// Address and port as they are.
        to: SocketAddrV4,
    },
    /// A tunnel wraps it: outer addresses and ports, which are zero where it has none.
    Encapsulated {
        /// Which.
        tunnel: Tunnel,
        /// From where.
        from: SocketAddrV4,
        /// To where.
        to: SocketAddrV4,
    },
    /// A tunnel took the outer headers off.
    Decapsulated {
        /// Which.
        tunnel: Tunnel,
        /// Who had wrapped it.
        from: Ipv4Addr,
    },
    /// A program of tc ran, or looked something up.
    Bpf(BpfStep),
    /// It waits in the queue of a physical nic that is busy.
    QdiscWait {
        /// So many frames wait before it.
        ahead: u32,
    },
    /// A physical nic sends it: its first bit leaves now or, if it waited, at the end of the one before.
    OnWire {
        /// Its last bit has left then.
        done: Time,
    },
    /// A protocol accepted it; the frame's end follows.
    Accept,
    /// The way ended.
    Ended(Fate),
}

/// What wraps packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tunnel {
    /// VXLAN (RFC 7348)
    Vxlan {
        /// Its network identifier.
        vni: u32,
    },
    /// IPv4 in IPv4 (RFC 2003)
    Ipip,
}

/// What a program does with a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BpfStep {
    /// It begins.
    Run {
        /// Which.
        program: Program,
        /// Where.
        attach: Attach,
    },
    /// cilium_lxc: the address is here.
    Endpoint {
        /// Whose.
        addr: Ipv4Addr,
        /// lxc_id; zero for the host.
        id: u16,
    },
    /// cilium_ipcache, and cilium_tunnel_map: whose address it is, and which node has it.
    Ipcache {
        /// Whose.
        addr: Ipv4Addr,
        /// The identity.
        identity: u32,
        /// The node.
        tunnel: Option<Ipv4Addr>,
    },
    /// cilium_lb4_services_v2: who serves it.
    Service {
        /// The Service's address and port.
        addr: SocketAddrV4,
        /// The backend that is chosen, or was chosen for this connection; none if there is none.
        backend: Option<SocketAddrV4>,
    },
    /// cilium_ct4_global, cilium_ct_any4_global
    Conntrack {
        /// How the packet belongs to its connection.
        state: BpfCt,
    },
    /// It answers an ARP request, by making an answer of it.
    Arp {
        /// Whose hardware address is asked for.
        addr: Ipv4Addr,
        /// The answer.
        mac: Mac,
    },
    /// It drops the frame.
    Drop(BpfDrop),
    /// bpf_redirect
    Redirect(IfIndex),
    /// bpf_redirect_peer: to the other end of this device.
    RedirectPeer(IfIndex),
    /// bpf_redirect_neigh: out of this device.
    RedirectNeigh(IfIndex),
}

/// enum ct_status of Cilium.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BpfCt {
    /// CT_NEW
    New,
    /// CT_ESTABLISHED
    Established,
    /// CT_REPLY
    Reply,
    /// CT_RELATED
    Related,
}

impl BpfCt {
    /// As `cilium-dbg monitor` writes it.
    pub fn name(self) -> &'static str {
        match self {
            BpfCt::New => "new",
            BpfCt::Established => "established",
            BpfCt::Reply => "reply",
            BpfCt::Related => "related",
        }
    }
}

/// DROP_*: why a program of Cilium drops a frame (bpf/lib/common.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BpfDrop {
    /// DROP_INVALID_SIP: the source is not the pod's own address.
    InvalidSourceIp,
    /// DROP_INVALID: no whole packet.
    Invalid,
    /// DROP_CT_UNKNOWN_PROTO
    CtUnknownProto,
    /// DROP_UNKNOWN_L3: neither IPv4 nor ARP.
    UnknownL3,
    /// DROP_NO_TUNNEL_KEY: the tunnel has not said who sent it.
    NoTunnelKey,
    /// DROP_UNROUTABLE: nobody known has the address.
    Unroutable,
    /// DROP_FRAG_NOT_FOUND: a fragment whose first one has not come by.
    FragNotFound,
    /// DROP_INVALID_IDENTITY: another node claims to be this one.
    InvalidIdentity,
    /// DROP_TTL_EXCEEDED
    TtlExceeded,
    /// DROP_WRITE_ERROR: the packet is too short to be translated.
    WriteError,
}

impl BpfDrop {
    /// As `cilium-dbg monitor --type drop` writes it (pkg/monitor/api/drop.go).
    pub fn text(self) -> &'static str {
        match self {
            BpfDrop::InvalidSourceIp => "Invalid source ip",
            BpfDrop::Invalid => "Invalid packet",
            BpfDrop::CtUnknownProto => "CT: Unknown L4 protocol",
            BpfDrop::UnknownL3 => "Unsupported L3 protocol",
            BpfDrop::NoTunnelKey => "No tunnel/encapsulation key (datapath BUG!)",
            BpfDrop::Unroutable => "Unknown L3 target address",
            BpfDrop::FragNotFound => "First logical datagram fragment not found",
            BpfDrop::InvalidIdentity => "Invalid identity",
            BpfDrop::TtlExceeded => "TTL exceeded",
            BpfDrop::WriteError => "Error writing to packet",
        }
    }
}

/// `--ctstate`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CtLabel {
    /// It starts a connection.
    New,
    /// It belongs to one that has seen packets both ways.
    Established,
    /// It has to do with one.
    Related,
    /// It belongs to none and cannot start one.
    Invalid,
    /// A rule said that it must not be looked at.
    Untracked,
}

impl CtLabel {
    /// All of them.
    pub const ALL: [CtLabel; 5] =
        [CtLabel::New, CtLabel::Established, CtLabel::Related, CtLabel::Invalid, CtLabel::Untracked];

    /// As `-m conntrack --ctstate` writes it.
    pub fn name(self) -> &'static str {
        match self {
            CtLabel::New => "NEW",
            CtLabel::Established => "ESTABLISHED",
            CtLabel::Related => "RELATED",
            CtLabel::Invalid => "INVALID",
            CtLabel::Untracked => "UNTRACKED",
        }
    }
}

/// Why a bridge floods.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FloodWhy {
    /// To everybody.
    Broadcast,
    /// To a group.
    Multicast,
    /// Nobody knows where the destination is.
    UnknownUnicast,
}

/// A routing decision.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RouteStep {
    /// The destination looked up.
    pub dst: Ipv4Addr,
    /// The prefix that won, with its length.
    pub prefix: (Ipv4Addr, u8),
    /// Its table.
    pub table: u32,
    /// Its type.
    pub kind: super::netlink::RouteType,
    /// The next hop, if it is a gateway.
    pub via: Option<Ipv4Addr>,
    /// The outgoing device.
    pub oif: IfIndex,
    /// The source address chosen.
    pub src: Ipv4Addr,
}

/// Where a new frame came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    /// A socket or the kernel made it.
    Origin,
    /// The same datagram once more: flooding, or a copy for a socket.
    Clone(FrameId),
    /// The kernel made it because of that one: an answer, an error, an ARP request.
    CausedBy(FrameId),
    /// A part of that datagram, which was too long.
    FragmentOf(FrameId),
    /// A datagram put together from that fragment and others.
    MergedFrom(FrameId),
    /// A segment cut from that one, which holds several.
    SegmentOf(FrameId),
    /// That one's data, sent again.
    RetransmitOf(FrameId),
}

/// A frame at a tap, where AF_PACKET sits.
#[derive(Clone, Copy, Debug)]
pub struct Tap<'a> {
    /// The record's time stamp.
    pub at: Time,
    /// The clock when the tap was reached: never falls on one machine, unlike `at` of a frame handed up.
    pub now: Time,
    /// The namespace.
    pub ns: NsId,
    /// The device.
    pub dev: IfIndex,
    /// In, Out, B, M or P.
    pub pkt_type: PacketType,
    /// The buffer.
    pub frame: FrameId,
    /// Its datagram.
    pub packet: PacketId,
    /// Bytes of the link-layer header in front.
    pub mac_len: usize,
    /// The whole frame.
    pub bytes: &'a [u8],
}

impl<'a> Tap<'a> {
    /// skb->protocol: an Ethertype.
    pub fn protocol(&self) -> u16 {
        wire::protocol(self.bytes, self.mac_len)
    }

    /// What follows the link-layer header.
    pub fn l3(&self) -> &'a [u8] {
        &self.bytes[self.mac_len..]
    }
}

/// A device as the listeners know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevName {
    /// The namespace.
    pub ns: NsId,
    /// Its index there.
    pub dev: IfIndex,
    /// Its name.
    pub name: String,
    /// ARPHRD_*
    pub arphrd: u16,
    /// Its hardware address.
    pub mac: Mac,
    /// Its addresses with their prefix lengths.
    pub addrs: Vec<Ipv4Net>,
}

impl DevName {
    /// Its frames begin with an Ethernet header; loopback's do, too.
    pub fn is_ether(&self) -> bool {
        self.arphrd != ARPHRD_TUNNEL
    }
}

/// Who listens to the datapath: the kernel's one open set. Sinks live outside the world.
pub trait Sink {
    /// Something happened to a frame.
    fn step(&mut self, step: &Step);
    /// A frame passed a tap.
    fn tap(&mut self, tap: &Tap<'_>);
    /// A namespace was made.
    fn namespace(&mut self, ns: NsId, name: &str);
    /// A device was made, renamed or moved here, or has other addresses.
    fn device(&mut self, dev: &DevName);
    /// A device was deleted or moved to another namespace.
    fn device_gone(&mut self, ns: NsId, dev: IfIndex) {
        let _ = (ns, dev);
    }
    /// A table of rules was loaded or changed.
    fn table(&mut self, ns: NsId, table: &Arc<Table>) {
        let _ = (ns, table);
    }
    /// A program told secrets by which packets that follow can be decrypted: lines of a key log (SSLKEYLOGFILE).
    fn secrets(&mut self, lines: &str) {
        let _ = lines;
    }
    /// A program goes on with one connection for another one.
    fn proxied(&mut self, edge: &Proxied) {
        let _ = edge;
    }
    /// It also wants what did not happen: the candidates of a decision.
    fn details(&self) -> bool {
        false
    }
    /// It wants steps at all; asked once for each event.
    fn hears_steps(&self) -> bool {
        true
    }
    /// It wants taps at all; asked once for each event.
    fn hears_taps(&self) -> bool {
        true
    }
}

/// An edge between connections of TCP: what came by one, a proxy sends on by another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Proxied {
    /// The connection that it has read.
    pub from: Connection,
    /// The one that it writes to because of that.
    pub to: Connection,
    /// The bytes that it has read and those that it writes because of them; none where it says of a connection that it
    /// has made for which one it is.
    pub bytes: Option<[Bytes; 2]>,
}

/// Bytes of one direction of a connection, counted from its first.
pub type Bytes = std::ops::Range<u64>;

/// A connection of TCP as the program at one of its ends knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// The other end.
    pub peer: SocketAddrV4,
    /// What the program's own end is called: where the peer meant to connect to, and where it was accepted. Both are
    /// the same where nobody has redirected it.
    pub names: [SocketAddrV4; 2],
}

/// A sink that hears nothing: set-up, replay, benches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mute;

impl Sink for Mute {
    fn step(&mut self, _: &Step) {}
    fn tap(&mut self, _: &Tap<'_>) {}
    fn namespace(&mut self, _: NsId, _: &str) {}
    fn device(&mut self, _: &DevName) {}
    fn hears_steps(&self) -> bool {
        false
    }
    fn hears_taps(&self) -> bool {
        false
    }
}
