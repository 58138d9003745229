//! `-m owner` (net/netfilter/xt_owner.c, extensions/libxt_owner.c).

use super::bang;
use crate::base::passwd;
use crate::kernel::frame::Sk;
use crate::kernel::netfilter::error::Error;
use crate::kernel::netfilter::extension::{Extension, Given, Kind, Spec};
use crate::kernel::netfilter::hook::Hook;
use crate::kernel::netfilter::list::Listing;
use crate::kernel::netfilter::packet::Packet;
use crate::kernel::netfilter::words;

const SPECS: [Spec; 4] = [
    Spec::new("uid-owner", 0, Kind::Str).invert(),
    Spec::new("gid-owner", 1, Kind::Str).invert(),
    Spec::new("socket-exists", 2, Kind::None).invert(),
    Spec::new("suppl-groups", 3, Kind::None),
];
/// The largest number of a user or a group: the next one stands for none.
const MAX_ID: u64 = u32::MAX as u64 - 1;

/// The first and the last number, and whether all others are meant.
type Ids = ((u32, u32), bool);

/// `-m owner`: who has the socket that sent the packet. Each condition with whether it is inverted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owner {
    /// Its user is one of these.
    pub uid: Option<Ids>,
    /// Its group is one of these.
    pub gid: Option<Ids>,
    /// There is one.
    pub socket: Option<bool>,
    /// The groups besides count, too. Here nobody has any.
    pub suppl_groups: bool,
}

impl Owner {
    /// `owner_mt`
    pub(super) fn matches(&self, packet: &Packet<'_>) -> bool {
        let inverted = |c: Option<Ids>| c.is_none_or(|(_, invert)| invert);
        let cred = match packet.sk {
            Sk::None | Sk::ToTcp(_) | Sk::ToUdp(_) => {
                let socket = self.socket.is_none_or(|invert| invert);
                return socket && inverted(self.uid) && inverted(self.gid) && !self.suppl_groups;
            }
            _ if self.socket == Some(true) => return false,
            Sk::Kernel => return inverted(self.uid) && inverted(self.gid),
            Sk::File(cred) => cred,
        };
        let is = |c: Option<Ids>, id: u32| c.is_none_or(|((low, high), invert)| (low <= id && id <= high) != invert);
        is(self.uid, cred.uid) && is(self.gid, cred.gid)
    }

    /// `owner_check`, and the hooks where packets have senders.
    pub(super) fn suits(&self, hooks: u8) -> bool {
        let upright = |c: Option<Ids>| c.is_none_or(|((low, high), _)| low <= high);
        hooks & !(Hook::Output.bit() | Hook::Postrouting.bit()) == 0 && upright(self.uid) && upright(self.gid)
    }
}

impl Extension for Owner {
    fn specs(&self) -> &'static [Spec] {
        &SPECS
    }

    fn option(&mut self, given: &mut Given<'_, '_>) -> Result<(), Error> {
        match given.id {
            0 => self.uid = Some((ids(given.arg, "--uid-owner", passwd::user_id)?, given.invert)),
            1 => self.gid = Some((ids(given.arg, "--gid-owner", passwd::group_id)?, given.invert)),
            2 => self.socket = Some(given.invert),
            _ if self.gid.is_none() => return Err(bad("--suppl-groups", "you need to use --gid-owner first")),
            _ => self.suppl_groups = true,
        }
        Ok(())
    }

    fn check(&mut self, seen: u32) -> Result<(), Error> {
        if seen != 0 {
            return Ok(());
        }
        Err(Error::usage("owner: At least one of --uid-owner, --gid-owner or --socket-exists is required"))
    }

    fn list(&self, out: &mut String, how: Listing) {
        if let Some(invert) = self.socket {
            bang(out, invert);
            out.push_str(" owner socket exists");
        }
        let name = |lookup: fn(u32) -> Option<&'static str>| move |id| lookup(id).filter(|_| !how.numeric);
        item(out, " owner UID match ", self.uid, name(passwd::user_name));
        item(out, " owner GID match ", self.gid, name(passwd::group_name));
        if self.suppl_groups {
            out.push_str(" incl. suppl. groups");
        }
    }

    fn save(&self, out: &mut String) {
        if let Some(invert) = self.socket {
            bang(out, invert);
            out.push_str(" --socket-exists");
        }
        item(out, " --uid-owner ", self.uid, |_| None);
        item(out, " --gid-owner ", self.gid, |_| None);
        if self.suppl_groups {
            out.push_str(" --suppl-groups");
        }
    }
}

/// A condition; the only number of one has a name where there is one.
fn item(out: &mut String, label: &str, ids: Option<Ids>, name: impl Fn(u32) -> Option<&'static str>) {
    let Some(((low, high), invert)) = ids else { return };
    bang(out, invert);
    out.push_str(label);
    out.push_str(&match name(low) {
        _ if low != high => format!("{low}-{high}"),
        Some(name) => name.to_owned(),
        None => low.to_string(),
    });
}

/// A name, a number, or the first and the last one (`owner_parse_range`).
fn ids(arg: &str, option: &str, lookup: fn(&str) -> Option<u32>) -> Result<(u32, u32), Error> {
    if let Some(id) = lookup(arg) {
        return Ok((id, id));
    }
    let (low, rest) = words::number_then(arg, MAX_ID).ok_or_else(|| bad(option, arg))?;
    let high = match rest.strip_prefix(['-', ':']) {
        Some(last) => words::number(last, 0, MAX_ID).ok_or_else(|| bad(option, arg))?,
        None if rest.is_empty() => low,
        None => return Err(bad(option, arg)),
    };
    Ok((low as u32, high as u32))
}

/// `XTF_BAD_VALUE`
fn bad(option: &str, arg: &str) -> Error {
    Error::usage(format!("owner: Bad value for \"{option}\" option: \"{arg}\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cred::Cred;
    use crate::kernel::netfilter::packet::Ct;

    /// What Linux 6.18 counted for a RST of nobody's, an ACK of a connection that was not accepted yet, and segments of
    /// a program's socket.
    #[test]
    fn senders_as_measured() {
        let ids = |id, invert| Some(((id, id), invert));
        let (uid, not_uid) =
            (Owner { uid: ids(1000, false), ..Owner::default() }, Owner { uid: ids(1000, true), ..Owner::default() });
        let both = Owner { gid: ids(1000, true), ..uid };
        let (exists, none) =
            (Owner { socket: Some(false), ..Owner::default() }, Owner { socket: Some(true), ..Owner::default() });
        let suppl = Owner { gid: ids(1000, true), suppl_groups: true, ..Owner::default() };
        let conditions = [uid, not_uid, both, exists, none, suppl];
        for (sk, want) in [
            (Sk::None, [false, true, false, false, true, false]),
            (Sk::Kernel, [false, true, false, true, false, true]),
            (Sk::File(Cred { uid: 1000, gid: 1000 }), [true, false, false, true, false, false]),
            (Sk::File(Cred { uid: 1000, gid: 0 }), [true, false, true, true, false, true]),
            (Sk::File(Cred::ROOT), [false, true, false, true, false, true]),
        ] {
            let packet = Packet {
                bytes: &[0; 20],
                indev: None,
                outdev: None,
                physin: None,
                physout: None,
                bridged: false,
                sk,
                mark: 0,
                ct: Ct::None,
                now: crate::base::Time(0),
            };
            assert_eq!(conditions.map(|c| c.matches(&packet)), want, "{sk:?}");
        }
    }
}
