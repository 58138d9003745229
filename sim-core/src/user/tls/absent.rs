//! What stands in the place of TLS in a build without it: nobody can start a session, so there is none.

use super::failure::{Failure, Verdict};
use super::name::Name;
use crate::engine::process::Env;

/// There is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Session {}

/// Nobody makes one.
#[derive(Clone, Debug)]
pub struct Client {}

/// Nobody makes one.
#[derive(Clone, Debug)]
pub struct Server {}

const WITHOUT: &str = "this build is without TLS (the feature `tls` of sim-core)";

fn without<T>() -> Result<T, Failure> {
    Err(Failure::Protocol(WITHOUT.to_owned()))
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::needless_pass_by_value, clippy::trivially_copy_pass_by_ref)]
impl Client {
    pub fn insecure(_: &[&str]) -> Result<Self, Failure> {
        without()
    }

    pub fn trusting(_: Option<&str>, _: &[&str]) -> Result<Self, Failure> {
        without()
    }
}

#[allow(missing_docs, clippy::missing_errors_doc)]
impl Server {
    pub fn named(_: &[Name], _: &[&str], _: &Env<'_>) -> Result<Self, Failure> {
        without()
    }

    pub fn mutual(_: &[Name], _: &[&str], _: &Env<'_>) -> Result<Self, Failure> {
        without()
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, clippy::trivially_copy_pass_by_ref)]
impl Session {
    pub fn client(_: &Client, _: &str, _: u64, _: &mut Env<'_>) -> Result<Self, Failure> {
        without()
    }

    pub fn server(_: &Server, _: u64, _: &mut Env<'_>) -> Result<Self, Failure> {
        without()
    }

    pub fn receive(&mut self, _: &[u8], _: &mut Env<'_>) -> Result<(), Failure> {
        match *self {}
    }

    pub fn send(&mut self, _: &[u8]) {
        match *self {}
    }

    pub fn close(&mut self) {
        match *self {}
    }

    pub fn take_output(&mut self) -> Vec<u8> {
        match *self {}
    }

    pub fn take_plain(&mut self) -> Vec<u8> {
        match *self {}
    }

    pub fn wants(&self) -> usize {
        match *self {}
    }

    pub fn is_handshaking(&self) -> bool {
        match *self {}
    }

    pub fn is_closed(&self) -> bool {
        match *self {}
    }

    pub fn tickets(&self) -> usize {
        match *self {}
    }

    pub fn alpn(&self) -> Option<&str> {
        match *self {}
    }

    pub fn peer_certificate(&self) -> Option<&[u8]> {
        match *self {}
    }

    pub fn peer_name(&self, _: &str) -> Option<String> {
        match *self {}
    }

    pub fn unverified(&self) -> Option<Verdict> {
        match *self {}
    }
}
