//! Bytes that the store can never hold (§7.2): a document that is none, a tensor with half its head. The mount keeps them
//! where they were written, as it keeps scratch (§4.7), and the store has the old value; they are not put again before they
//! are written to again.

use std::sync::Arc;

use super::Vfs;
use super::buffer::{Buffer, State};
use super::node::Ino;
use super::put::is_rejection;
use crate::error::{Error, ErrorKind, Result};

impl State {
    /// Why the store cannot hold these bytes; `None` where it can, or nobody knows.
    pub(super) fn rejection(&self) -> Option<&Error> {
        self.error.as_ref().filter(|error| self.dirty && is_rejection(error))
    }
}

impl Vfs {
    /// Whether a file was made and nothing was written to it that the store could hold: what `touch` makes. Nothing is wrong
    /// with it before it has bytes.
    pub(super) fn is_placeholder(&self, ino: Ino, state: &State) -> bool {
        let linked = || self.table.lock().get(ino).is_some_and(|node| node.linked);
        state.begun && state.is_empty() && state.rejection().is_some() && linked()
    }

    /// Refuses as long as there are files with bytes that the store rejected.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong with the first of them.
    pub fn check_rejected(&self) -> Result<()> {
        let rejected = self.rejected();
        let Some(first) = rejected.first() else { return Ok(()) };
        let sentence = match rejected.len() {
            1 => first.clone(),
            count => format!("{first}; and {} files more", count - 1),
        };
        Err(Error::new(ErrorKind::Invalid, sentence))
    }

    /// What is wrong with each file whose bytes the store rejected, but for those that have none yet.
    pub(super) fn rejected(&self) -> Vec<String> {
        let dirty: Vec<(Ino, Arc<Buffer>)> = self.dirty();
        let told = dirty.iter().filter_map(|(_, buffer)| {
            let state = buffer.state.try_read()?;
            state.rejection().filter(|_| !state.begun).map(Error::to_string)
        });
        told.collect()
    }
}
