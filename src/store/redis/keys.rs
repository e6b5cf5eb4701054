//! Which keys there are: from the index, once it has them all, else from the server itself.

use super::direct::each_key;
use super::index::Ready;
use super::known::Known;
use super::shared::Shared;
use super::types::Type;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};
use crate::store::flat::{Keys, Step};

/// Keys that are handed out at once, at most, where all of them are needed.
const TOGETHER: usize = 1 << 20;

/// A key, and its type where it is known.
pub(super) type Typed = (Box<[u8]>, Option<Type>);

impl Shared {
    /// What is known of a key.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn known(&self, key: &[u8]) -> Result<Option<Known>> {
        Ok(self.look(Some(key), None)?.0)
    }

    /// What is known of a key, and whether there are keys that begin with `below`.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn look(&self, key: Option<&[u8]>, below: Option<&[u8]>) -> Result<(Option<Known>, bool)> {
        if self.index.ready() == Ready::Yes {
            return self.index.look(self, key, below);
        }
        let (known, any) = self.direct.look(self, key, below)?;
        // A directory that nobody met so far may be met yet.
        let deadline = Deadline::after(self.server.timeout());
        if below.is_some() && known.is_none() && !any && self.index.wait_until_found(deadline)? {
            return match self.index.ready() {
                Ready::Yes => self.index.look(self, key, below),
                Ready::No => self.direct.look(self, key, below),
            };
        }
        Ok((known, any))
    }

    /// Hands out the keys that a listing of the directory `prefix` needs, in order, from `from` on: of each directory in it
    /// at least one that is below.
    ///
    /// # Errors
    /// The server's.
    pub(super) fn scan(
        &self,
        prefix: &[u8],
        from: &[u8],
        each: &mut dyn FnMut(&[u8], &Known) -> Step,
    ) -> Result<()> {
        if self.index.ready() == Ready::Yes && self.index.scan(self, from, each)? {
            return Ok(());
        }
        self.direct.scan(self, prefix, from, each)
    }

    /// All keys that begin with these bytes, with their types where they are known.
    ///
    /// # Errors
    /// The server's; `TooBig` where they are too many to be handed out at once.
    pub(super) fn starting_with(&self, keys: &Keys) -> Result<Vec<Typed>> {
        let prefix = keys.bytes();
        let mut found = Vec::new();
        let mut take = |key: &[u8], known: &Known| {
            if !key.starts_with(prefix) {
                return Step::Stop;
            }
            found.push((key.into(), Some(known.kind)));
            Step::Next
        };
        if self.index.ready() == Ready::Yes && self.index.scan(self, prefix, &mut take)? {
            return Ok(found);
        }
        each_key(self, prefix, &mut |key| {
            if found.len() == TOGETHER {
                return Err(Error::new(ErrorKind::TooBig, format!("more than {TOGETHER} keys")));
            }
            found.push((key.into_boxed_slice(), None));
            Ok(())
        })?;
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found.dedup();
        Ok(found)
    }

    /// Asks about a key, and forgets what was known of it: for what is about to be changed, or was.
    pub(super) fn doubt(&self, key: &[u8]) {
        self.index.doubt(Some(std::iter::once(key)));
        if !self.index.is_known() {
            self.direct.doubt(self, key);
        }
    }
}
