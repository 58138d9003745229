//! Mirrors inet_lookup of net/ipv4/inet_hashtables.c and udp4_lib_lookup of net/ipv4/udp.c as rules call them: which
//! socket a packet is for, long before it gets there.

use super::tcp::Tuple;
use super::{Sockets, udp};
use crate::base::IfIndex;
use crate::kernel::cred::Cred;
use crate::kernel::frame::Sk;
use crate::wire::{IPPROTO_TCP, IPPROTO_UDP};
use std::net::SocketAddrV4;

/// A socket that a packet is for, with what rules ask of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) struct Found {
    pub sk: Sk,
    /// inet_rcv_saddr is not set.
    pub wildcard: bool,
    /// inet_sk_transparent
    pub transparent: bool,
    /// sk_mark, if it is a whole socket (sk_fullsock).
    pub mark: Option<u32>,
    /// TCP_TIME_WAIT: it is what is left of a connection.
    pub time_wait: bool,
    /// As whom its file was opened (sk_socket->file), if it has one.
    pub cred: Option<Cred>,
}

/// enum nf_tproxy_lookup_t: which sockets count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::kernel) enum Lookup {
    /// Connected ones.
    Established,
    /// Those that wait for whoever comes.
    Listener,
}

impl Sockets {
    /// nf_tproxy_get_sock_v4
    pub(in crate::kernel) fn find(
        &self,
        how: Lookup,
        protocol: u8,
        to: SocketAddrV4,
        from: SocketAddrV4,
        dev: IfIndex,
    ) -> Option<Found> {
        let tuple = Tuple::new(to, from);
        match (protocol, how) {
            (IPPROTO_TCP, Lookup::Established) => self.tcp.found(self.tcp.established(&tuple)?),
            (IPPROTO_TCP, Lookup::Listener) => self.tcp.found(self.tcp.listener(&tuple)?),
            (IPPROTO_UDP, _) => {
                let fd = udp::lookup(self, to, from, dev)?;
                let s = self.open.get(&fd)?;
                let counts = match how {
                    Lookup::Established => s.remote.is_some() && s.local.is_some(),
                    Lookup::Listener => s.remote.is_none(),
                };
                self.found(Sk::ToUdp(fd)).filter(|_| counts)
            }
            _ => None,
        }
    }

    /// nf_socket_get_sock_v4
    pub(in crate::kernel) fn lookup(
        &self,
        protocol: u8,
        to: SocketAddrV4,
        from: SocketAddrV4,
        dev: IfIndex,
    ) -> Option<Found> {
        self.found(match protocol {
            IPPROTO_TCP => Sk::ToTcp(self.tcp.lookup(&Tuple::new(to, from))?),
            IPPROTO_UDP => Sk::ToUdp(udp::lookup(self, to, from, dev)?),
            _ => return None,
        })
    }

    /// What rules ask of a socket that a packet was given to.
    pub(in crate::kernel) fn found(&self, sk: Sk) -> Option<Found> {
        match sk {
            Sk::ToTcp(id) => self.tcp.found(id),
            Sk::ToUdp(fd) => {
                let s = self.open.get(&fd)?;
                let (wildcard, transparent, mark) = (s.local.is_none(), s.transparent, Some(s.mark));
                let cred = if let Sk::File(cred) = s.sk() { Some(cred) } else { None };
                Some(Found { sk, wildcard, transparent, mark, time_wait: false, cred })
            }
            Sk::None | Sk::Kernel | Sk::File(_) => None,
        }
    }
}
