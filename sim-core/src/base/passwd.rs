//! Users and groups that every Debian has (base-passwd: passwd.master and group.master).

/// /etc/passwd, as far as a number has a name.
const USERS: [(&str, u32); 18] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("sync", 4),
    ("games", 5),
    ("man", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("proxy", 13),
    ("www-data", 33),
    ("backup", 34),
    ("list", 38),
    ("irc", 39),
    ("_apt", 42),
    ("nobody", 65_534),
];

/// /etc/group
const GROUPS: [(&str, u32); 38] = [
    ("root", 0),
    ("daemon", 1),
    ("bin", 2),
    ("sys", 3),
    ("adm", 4),
    ("tty", 5),
    ("disk", 6),
    ("lp", 7),
    ("mail", 8),
    ("news", 9),
    ("uucp", 10),
    ("man", 12),
    ("proxy", 13),
    ("kmem", 15),
    ("dialout", 20),
    ("fax", 21),
    ("voice", 22),
    ("cdrom", 24),
    ("floppy", 25),
    ("tape", 26),
    ("sudo", 27),
    ("audio", 29),
    ("dip", 30),
    ("www-data", 33),
    ("backup", 34),
    ("operator", 37),
    ("list", 38),
    ("irc", 39),
    ("src", 40),
    ("shadow", 42),
    ("utmp", 43),
    ("video", 44),
    ("sasl", 45),
    ("plugdev", 46),
    ("staff", 50),
    ("games", 60),
    ("users", 100),
    ("nogroup", 65_534),
];

/// getpwnam(3): the number of a user.
pub fn user_id(name: &str) -> Option<u32> {
    number(&USERS, name)
}

/// getpwuid(3): the name of a user.
pub fn user_name(uid: u32) -> Option<&'static str> {
    name(&USERS, uid)
}

/// getgrnam(3): the number of a group.
pub fn group_id(name: &str) -> Option<u32> {
    number(&GROUPS, name)
}

/// getgrgid(3): the name of a group.
pub fn group_name(gid: u32) -> Option<&'static str> {
    name(&GROUPS, gid)
}

fn number(table: &[(&str, u32)], wanted: &str) -> Option<u32> {
    table.iter().find(|(name, _)| *name == wanted).map(|(_, id)| *id)
}

fn name(table: &[(&'static str, u32)], wanted: u32) -> Option<&'static str> {
    table.iter().find(|(_, id)| *id == wanted).map(|(name, _)| *name)
}
