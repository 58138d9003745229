//! A conversation through a router.

use super::middlebox::Middlebox;
use super::oracle::Broken;
use super::packet::Packet;

/// A conversation: a first packet, its answer, and more of both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    /// What begins it.
    pub first: Packet,
    /// So often each end says something: none if nobody answers.
    pub exchanges: u8,
}

impl Flow {
    /// The conversation is held through a router, from a device of its; returns how many packets came through. It ends
    /// with the first that does not.
    ///
    /// # Errors
    /// An oracle of the router says so.
    pub fn play(&self, router: &mut Middlebox, dev: &str) -> Result<usize, Broken> {
        let mut question = self.first.clone();
        let mut passed = 0;
        for left in (0..=self.exchanges).rev() {
            let Some(there) = router.forward(dev, &question)? else { break };
            passed += 1;
            if left == 0 {
                break;
            }
            let Some(back) = router.answer(&there, &there.answer())? else { break };
            passed += 1;
            question = back.answer();
        }
        Ok(passed)
    }
}
