//! Which conditions a server honours. Some answer 200 to a condition that does not hold: found out at mount by an object of
//! our own, which is removed again. What a server does not honour is asked before, with a moment in between (§4.6).

use super::bucket::Body;
use super::bucket::{Bucket, Condition, Copy, Headers};
use crate::error::{ErrorKind, Result};
use bytes::Bytes;

/// Which conditions hold, each told by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Honoured {
    /// A put where there must be no object.
    pub absent: bool,
    /// A put over one version.
    pub version: bool,
    /// A copy where there must be no object.
    pub copy_absent: bool,
    /// Deleting one version.
    pub delete: bool,
}

impl Honoured {
    /// By services that are known to honour them.
    pub(super) const ALL: Honoured =
        Honoured { absent: true, version: true, copy_absent: true, delete: true };
    /// By those where nothing may be tried.
    pub(super) const NONE: Honoured =
        Honoured { absent: false, version: false, copy_absent: false, delete: false };

    /// Tries them out with an object `key`, which nobody else has, and removes it.
    ///
    /// # Errors
    /// The first put's: nothing may be written here.
    pub(super) async fn probe(bucket: &dyn Bucket, key: &str) -> Result<Honoured> {
        let headers = Headers::default();
        let body = |text: &'static str| Body::Bytes(Bytes::from_static(text.as_bytes()));
        let first = match bucket.put(key, body("1"), &headers, &Condition::Always).await {
            Ok(first) => first,
            Err(error) => {
                // Nobody knows whether it is there.
                if error.kind() == ErrorKind::Uncertain {
                    bucket.delete(key, &Condition::Always).await?;
                }
                return Err(error);
            }
        };
        let other = Condition::Version(other_than(&first.version));
        let refused = |outcome: Result<()>| match outcome {
            Err(error) => matches!(error.kind(), ErrorKind::Exists | ErrorKind::Stale),
            Ok(()) => false,
        };
        let absent = refused(bucket.put(key, body("2"), &headers, &Condition::Absent).await.map(drop));
        let version = refused(bucket.put(key, body("2"), &headers, &other).await.map(drop));
        let onto_itself = Copy {
            from: key,
            source_version: None,
            to: key,
            headers: Some(&headers),
            condition: Condition::Absent,
        };
        let copy_absent = refused(bucket.copy(&onto_itself).await.map(drop));
        let delete = refused(bucket.delete(key, &other).await);
        bucket.delete(key, &Condition::Always).await?;
        Ok(Honoured { absent, version, copy_absent, delete })
    }

    /// What is not honoured, in words; `None` where all is.
    pub(super) fn missing(self) -> Option<String> {
        let all = [
            (self.absent, "create only"),
            (self.version, "replace one version"),
            (self.copy_absent, "rename without replacing"),
            (self.delete, "delete one version"),
        ];
        let missing: Vec<&str> =
            all.iter().filter(|(honoured, _)| !honoured).map(|(_, what)| *what).collect();
        (!missing.is_empty()).then(|| missing.join(", "))
    }
}

/// A version that an object cannot have, in the form of the one that it has.
fn other_than(version: &str) -> String {
    match version.parse::<u64>() {
        Ok(generation) => (generation + 1).to_string(),
        Err(_) => "\"00000000000000000000000000000000\"".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        assert_eq!(Honoured::ALL.missing(), None);
        let some = Honoured { copy_absent: false, delete: false, ..Honoured::ALL };
        assert_eq!(some.missing().unwrap(), "rename without replacing, delete one version");
        assert_eq!(other_than("17"), "18");
    }
}
