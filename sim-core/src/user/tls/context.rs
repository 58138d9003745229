//! What a TLS endpoint would take from its machine: randomness, the time, a place for its secrets.
//!
//! rustls wants a source of randomness that lives for ever and never says which connection asks. So there is one for
//! all, which reads a slot of the thread; whoever calls into a connection lends its context to the slot for the length
//! of the call ([`Context::enter`]). Nothing outlives the call, threads do not meet, and a draw outside of a call is an
//! error, not hidden randomness.

use super::failure::Verdict;
use crate::base::Prf;
use crate::base::rng::Purpose;
use std::cell::RefCell;

/// A stream of random bytes: draws for one purpose, counted.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    prf: Prf,
    purpose: Purpose,
    /// Whose it is; the last word counts the draws.
    input: Vec<u64>,
}

impl Stream {
    /// The stream of `whose` for `purpose`, from its beginning.
    pub fn new(prf: &Prf, purpose: Purpose, whose: &[u64]) -> Self {
        Stream { prf: *prf, purpose, input: [whose, &[0]].concat() }
    }

    /// The next bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.prf.draw(self.purpose, &self.input).to_le_bytes()[..chunk.len()]);
            if let Some(count) = self.input.last_mut() {
                *count += 1;
            }
        }
    }

    /// The next 32 bytes.
    pub fn array(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

/// The surroundings of one endpoint.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub stream: Stream,
    /// Seconds since 1970.
    pub now_s: u64,
    /// What is wrong with the certificates that the peer has shown, where rustls does not tell it all.
    pub verdict: Option<Verdict>,
    /// Lines of the key log that nobody has taken.
    pub secrets: String,
}

thread_local! { static SLOT: RefCell<Option<Context>> = const { RefCell::new(None) } }

impl Context {
    /// Runs `call` with this context in the slot, and takes it back.
    pub fn enter<R>(&mut self, call: impl FnOnce() -> R) -> R {
        let outer = SLOT.replace(Some(self.clone()));
        let result = call();
        if let Some(after) = SLOT.replace(outer) {
            *self = after;
        }
        result
    }
}

/// What `ask` makes of the context of the connection that is running; none outside of a call.
pub(super) fn current<R>(ask: impl FnOnce(&mut Context) -> R) -> Option<R> {
    SLOT.with_borrow_mut(|slot| slot.as_mut().map(ask))
}
