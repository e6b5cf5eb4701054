//! DeleteObjects, and single requests for what it cannot express.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use http::{Method, StatusCode};
use md5::{Digest, Md5};

use super::objects::lost;
use super::session::Session;
use super::xml;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::Condition;
use crate::store::object::client::Failure;

/// Requests in flight for keys that are removed one by one.
const SINGLE: usize = 16;

impl Session {
    pub(super) async fn delete_batch(&self, keys: &[&str]) -> Result<Vec<(String, Error)>> {
        let (together, mut single): (Vec<&str>, Vec<&str>) = keys.iter().partition(|key| is_plain(key));
        let mut failed = Vec::new();
        if let [only] = together[..] {
            single.push(only);
        } else if !together.is_empty() {
            match self.delete_together(&together).await {
                Ok(errors) => failed = errors,
                Err(failure) if is_unknown(&failure) => single.extend(together),
                Err(failure) => return Err(failure.into()),
            }
        }
        let single: Vec<String> = single.into_iter().map(str::to_owned).collect();
        let singly = stream::iter(single).map(|key| self.delete_one(key)).buffer_unordered(SINGLE);
        failed.extend(singly.filter_map(std::future::ready).collect::<Vec<_>>().await);
        Ok(failed)
    }

    async fn delete_one(&self, key: String) -> Option<(String, Error)> {
        let error = self.delete(&key, &Condition::Always).await.err()?;
        Some((key, error))
    }

    async fn delete_together(&self, keys: &[&str]) -> Result<Vec<(String, Error)>, Failure> {
        let mut body =
            String::from("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Quiet>true</Quiet>");
        for key in keys {
            body.push_str("<Object><Key>");
            body.push_str(&xml::escape(key));
            body.push_str("</Key></Object>");
        }
        body.push_str("</Delete>");
        let digest = STANDARD.encode(Md5::digest(body.as_bytes()));
        let request = self
            .request("DeleteObjects", Method::POST, "")
            .query("delete", "")
            .header("content-md5", &digest)?
            .header("content-type", "application/xml")?
            .body(body.into());
        let what = request.to_string();
        let text = self.send(request).await?.text().await.map_err(|error| lost(&error))?;
        if xml::is_error(&text) {
            return Err(Failure::Broken(Error::new(
                ErrorKind::Uncertain,
                format!("{what}: {}", text.escape_debug()),
            )));
        }
        let result: xml::DeleteResult = xml::parse(&what, &text).map_err(|error| lost(&error))?;
        let errors = result.errors.into_iter().filter(|error| error.code != "NoSuchKey");
        Ok(errors.map(|error| (error.key.clone(), self.undeleted(&error))).collect())
    }

    fn undeleted(&self, error: &xml::DeleteError) -> Error {
        let kind = match error.code.as_str() {
            "AccessDenied" => ErrorKind::Denied,
            "InternalError" => ErrorKind::Uncertain,
            "SlowDown" | "ServiceUnavailable" => ErrorKind::TimedOut,
            _ => ErrorKind::Io,
        };
        let subject = self.subject(&error.key);
        let (subject, message) = (subject.escape_debug(), error.message.escape_debug());
        Error::new(kind, format!("DeleteObjects: {subject} stays: {} {message}", error.code))
    }
}

/// Whether a server that has no DeleteObjects says so.
fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.status(), Some(StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED))
        || failure.code() == "NotImplemented"
}

/// Whether a key comes out of every XML reader as it went in: no control characters, which XML cannot hold, and no white
/// space at its ends, which some readers cut off.
fn is_plain(key: &str) -> bool {
    let odd = |character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}');
    !key.is_empty() && key.trim() == key && !key.contains(odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_hold_is_removed_one_by_one() {
        for key in ["a", "a b", "a&<b>\"'", "ü😀", "a//b", "..", "a\u{a0}b"] {
            assert!(is_plain(key), "{key:?}");
        }
        for key in ["a\tb", "a\u{1}", " a", "a ", "a\n", "\u{ffff}", "a\u{85}b"] {
            assert!(!is_plain(key), "{key:?}");
        }
    }
}
