//! Conditions, as far as the server honours them; what it does not is looked up before.

use super::bucket::{Condition, Copy, Object};
use super::reach::Reach;
use super::tree::Tree;
use crate::error::{Error, ErrorKind, Result};

impl Tree {
    /// The condition to send: the same where the server honours it, else none, once it was found to hold.
    ///
    /// # Errors
    /// `Exists`, `Stale` where it does not hold.
    pub(super) async fn looked_up(
        &self,
        key: &str,
        condition: Condition,
        honoured: bool,
    ) -> Result<Condition> {
        if honoured || condition == Condition::Always {
            return Ok(condition);
        }
        let found = self.reach.bucket.head(key).await?;
        check(key, &condition, found.as_ref())?;
        Ok(Condition::Always)
    }

    /// Removes an object under a condition; where the answer is lost, again: what is gone stays gone.
    ///
    /// # Errors
    /// `Stale` where the condition does not hold.
    pub(super) async fn delete_object(&self, key: &str, condition: &Condition) -> Result<()> {
        let mut waits = Reach::waits();
        let mut doubted = false;
        loop {
            let looked = self.looked_up(key, condition.clone(), self.reach.honoured.delete).await;
            let outcome = match looked {
                Ok(condition) => self.reach.bucket.delete(key, &condition).await,
                Err(error) => Err(error),
            };
            let Err(error) = outcome else { return Ok(()) };
            if doubted && self.reach.bucket.head(key).await?.is_none() {
                return Ok(());
            }
            match waits.next().filter(|_| error.kind() == ErrorKind::Uncertain) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
            doubted = true;
        }
    }

    /// Copies an object on the server; where the answer is lost, again. A copy over nothing may be there by then: it is
    /// known by its version, on services where copies have that of the bytes.
    pub(super) async fn copy_object(&self, copy: &Copy<'_>) -> Result<Object> {
        let mut waits = Reach::waits();
        loop {
            let error = match self.reach.bucket.copy(copy).await {
                Err(error) if error.kind() == ErrorKind::Uncertain => error,
                outcome => return outcome,
            };
            if copy.condition == Condition::Absent
                && let Some(found) = self.reach.bucket.head(copy.to).await?
            {
                return if copy.source_version == found.known_version() { Ok(found) } else { Err(error) };
            }
            match waits.next() {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }
}

/// Whether a condition holds of what was found.
fn check(key: &str, condition: &Condition, found: Option<&Object>) -> Result<()> {
    let (kind, sentence) = match (condition, found) {
        (Condition::Absent, Some(_)) => (ErrorKind::Exists, "is there already"),
        (Condition::Version(version), found) if found.is_none_or(|found| found.version != *version) => {
            (ErrorKind::Stale, "was replaced by somebody else")
        }
        _ => return Ok(()),
    };
    Err(Reach::about(key, Error::new(kind, sentence)))
}
