//! `getent hosts|ahosts|ahostsv4|ahostsv6 [NAME…]` of glibc 2.36: what the C library finds.

use super::conf::HostLine;
use super::resolver::{Etc, Family, Found, Progress, Resolver};
use crate::base::words::{SyntaxError, Word};
use crate::engine::process::{Env, Program};
use crate::kernel::syscall::{Call, Ret};
use std::net::Ipv4Addr;

/// A key was not found.
const NOT_FOUND: i32 = 2;
/// Databases that it knows besides.
const OTHERS: [&str; 14] = [
    "aliases",
    "ethers",
    "group",
    "gshadow",
    "initgroups",
    "netgroup",
    "networks",
    "passwd",
    "protocols",
    "rpc",
    "services",
    "shadow",
    "sgrp",
    "ahosts",
];

/// The program.
#[derive(Clone, Debug)]
pub(in crate::user) struct Getent {
    database: Database,
    keys: Vec<String>,
    next: usize,
    status: i32,
    etc: Option<Etc>,
    resolver: Option<Resolver>,
    /// `hosts` has looked for IPv6 addresses of this key.
    second: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Database {
    Hosts,
    Ahosts(Family),
}

/// Reads the words behind the name.
pub(in crate::user) fn parse(name: &Word, words: &[Word]) -> Result<Getent, SyntaxError> {
    let hint = "write `getent hosts NAME` or `getent ahosts NAME`";
    let Some((database, keys)) = words.split_first() else {
        return Err(SyntaxError::at(name, "getent: wrong number of arguments").hint(hint));
    };
    let known = match database.text.as_str() {
        "hosts" => Database::Hosts,
        "ahosts" => Database::Ahosts(Family::Unspec),
        "ahostsv4" => Database::Ahosts(Family::Inet),
        "ahostsv6" => Database::Ahosts(Family::Inet6),
        option if option.starts_with('-') => {
            return Err(SyntaxError::at(database, format!("getent: {option} is not simulated")).hint(hint));
        }
        other if OTHERS.contains(&other) => {
            return Err(SyntaxError::at(database, format!("getent: database {other} is not simulated")).hint(hint));
        }
        other => return Err(SyntaxError::at(database, format!("Unknown database: {other}")).hint(hint)),
    };
    let keys = keys.iter().map(|k| k.text.clone()).collect();
    Ok(Getent { database: known, keys, next: 0, status: 0, etc: None, resolver: None, second: false })
}

impl Program for Getent {
    fn step(&mut self, ret: Ret, env: &mut Env<'_>) -> Call {
        let etc = match &self.etc {
            Some(etc) => etc.clone(),
            None => {
                let etc = Etc::read(env);
                self.etc = Some(etc.clone());
                if self.keys.is_empty() {
                    etc.hosts.lines.iter().for_each(|l| print_line(l, env));
                }
                etc
            }
        };
        let mut ret = ret;
        loop {
            let Some(key) = self.keys.get(self.next).cloned() else { return Call::Exit(self.status) };
            let mut resolver = self.resolver.take().unwrap_or_else(|| self.look_up(&etc, &key));
            match resolver.step(ret, env) {
                Progress::Call(call) => {
                    self.resolver = Some(resolver);
                    return call;
                }
                Progress::Done(Ok(found)) => {
                    self.print(&found, env);
                    (self.next, self.second) = (self.next + 1, false);
                }
                Progress::Done(Err(_)) => {
                    let wanted = self.database == Database::Hosts && key.parse::<Ipv4Addr>().is_err();
                    if wanted && !self.second {
                        self.second = true;
                        self.resolver = Some(resolver.then_name(&key, Family::Inet));
                    } else {
                        self.status = NOT_FOUND;
                        (self.next, self.second) = (self.next + 1, false);
                    }
                }
            }
            ret = Ret::Start;
        }
    }

    fn boxed_clone(&self) -> Box<dyn Program> {
        Box::new(self.clone())
    }
}

impl Getent {
    /// `hosts` asks for IPv6 addresses first, then for IPv4 ones.
    fn look_up(&self, etc: &Etc, key: &str) -> Resolver {
        match (self.database, key.parse()) {
            (Database::Hosts, Ok(address)) => Resolver::by_address(etc, address),
            (Database::Hosts, Err(_)) => Resolver::by_name(etc, key, Family::Inet6),
            (Database::Ahosts(family), _) => Resolver::by_name(etc, key, family),
        }
    }

    fn print(&self, found: &Found, env: &mut Env<'_>) {
        for (n, address) in found.addresses.iter().enumerate() {
            let address = address.to_string();
            match self.database {
                Database::Hosts => {
                    let aliases: String = found.aliases.iter().map(|a| format!(" {a}")).collect();
                    env.console.out(format!("{address:<15} {}{aliases}\n", found.name));
                }
                Database::Ahosts(_) => {
                    let name = if n == 0 { found.name.as_str() } else { "" };
                    env.console.out(format!("{address:<15} STREAM {name}\n"));
                    env.console.out(format!("{address:<15} DGRAM  \n{address:<15} RAW    \n"));
                }
            }
        }
    }
}

fn print_line(line: &HostLine, env: &mut Env<'_>) {
    let address = line.address.to_string();
    env.console.out(format!("{address:<15} {}\n", line.names.join(" ")));
}
