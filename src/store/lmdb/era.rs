//! The state of an environment as a whole: which file it is, and its last transaction (§5.4).

use super::behind::identity_of;
use super::engine::Engine;
use super::moment::Moment;
use super::transaction::Transaction;
use crate::error::Result;
use crate::store::api::Era;

impl Engine {
    /// The state that `moment` shows. What waits for its commit is not in it.
    ///
    /// # Errors
    /// As for reading.
    pub(super) fn era(&self, moment: &Moment) -> Result<Era> {
        let (id, modified) = match moment {
            // Beginning a transaction notices what others committed before it.
            Moment::Live => (self.begin()?.id(), self.environment().changes().modified()),
            Moment::Fixed(snapshot) => (snapshot.id, snapshot.foreign_change),
        };
        let file = identity_of(self.environment());
        let identity = format!("device {} inode {} born {}", file.device, file.inode, file.born);
        let mark = format!("{identity} transaction {id}").into_bytes();
        Ok(Era { identity: identity.into_bytes(), mark, modified })
    }

    /// Takes over the time of the last change by others, where there was none since `era`.
    ///
    /// # Errors
    /// As for reading.
    pub(super) fn resume(&self, era: &Era) -> Result<bool> {
        let same = self.era(&Moment::Live)?.mark == era.mark;
        Ok(same && self.environment().changes().resume(era.modified))
    }
}
