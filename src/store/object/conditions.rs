//! Conditions, as far as the server honours them; what it does not is looked up before.

use super::bucket::{Condition, Object};
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
