//! Why a request failed: what the service said, and what that means to a person.

use std::fmt;

use http::{HeaderMap, Method, StatusCode};
use serde::Deserialize;

use super::{Request, Response};
use crate::error::{Error, ErrorKind};

/// A request that did not succeed. `?` turns it into an [`Error`]; a service's module first looks at [`Failure::status`] and
/// [`Failure::code`] for what it expects.
#[derive(Debug)]
pub enum Failure {
    /// The service said no.
    Refused(Box<Refusal>),
    /// There was no answer, or no request.
    Broken(Error),
}

/// What a service said when it refused.
#[derive(Debug)]
pub struct Refusal {
    /// As the service says.
    pub status: StatusCode,
    /// The service's own word: `NoSuchKey`; empty where it has none, as in every answer to `HEAD`.
    pub code: String,
    /// The service's sentence, bounded; may be empty.
    pub message: String,
    /// As the service says.
    pub headers: HeaderMap,
    /// The body, bounded.
    pub body: String,
    what: String,
}

/// Bytes of a refusal's body that are read.
const BODY_MAX: usize = 64 << 10;
/// Words that say that a service does not know who asks, rather than that this one may not.
const UNAUTHENTICATED: &[&str] = &[
    "AuthenticationFailed",
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidAuthenticationInfo",
    "InvalidSecurity",
    "InvalidToken",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
];
/// Characters of a service's sentence that are told.
const MESSAGE_MAX: usize = 300;

impl Failure {
    /// The status, where the service answered.
    pub fn status(&self) -> Option<StatusCode> {
        self.refusal().map(|refusal| refusal.status)
    }

    /// The service's own word for it; empty where there is none.
    pub fn code(&self) -> &str {
        self.refusal().map_or("", |refusal| &refusal.code)
    }

    /// What the service said.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Failure::Refused(refusal) => Some(refusal),
            Failure::Broken(_) => None,
        }
    }

    /// Whether other credentials could help. An answer to `HEAD` has no code: it may be that.
    pub(super) fn says_expired(&self, method: &Method) -> bool {
        const CODES: &[&str] = &[
            "ExpiredToken",
            "ExpiredTokenException",
            "TokenRefreshRequired",
            "InvalidToken",
            "InvalidAccessKeyId",
            "AuthenticationFailed",
        ];
        let Some(refusal) = self.refusal() else { return false };
        let silent = *method == Method::HEAD
            && refusal.code.is_empty()
            && matches!(refusal.status, StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST);
        refusal.status == StatusCode::UNAUTHORIZED || CODES.contains(&refusal.code.as_str()) || silent
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Refused(refusal) => refusal.fmt(f),
            Failure::Broken(error) => error.fmt(f),
        }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        match failure {
            Failure::Refused(refusal) => Error::new(refusal.kind(), refusal.to_string()),
            Failure::Broken(error) => error,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Broken(error)
    }
}

impl Refusal {
    /// Reads what a response says; a body that breaks says nothing.
    pub(super) async fn read(request: &Request, response: Response) -> Refusal {
        let (status, headers) = (response.status, response.headers.clone());
        let body = response.collect(BODY_MAX).await.unwrap_or_default();
        Refusal::new(request.to_string(), status, headers, &body)
    }

    fn new(what: String, status: StatusCode, headers: HeaderMap, body: &[u8]) -> Refusal {
        let body = String::from_utf8_lossy(body).into_owned();
        let said = xml(&body).or_else(|| json(&body)).unwrap_or_default();
        let code = match headers.get("x-ms-error-code").and_then(|code| code.to_str().ok()) {
            Some(code) => code.to_owned(),
            None => said.code,
        };
        let message = said.message.lines().next().unwrap_or_default();
        Refusal { status, code, message: bounded(message), headers, body, what }
    }

    /// A refusal that came in the body of an answer whose status says success.
    pub fn within(what: impl fmt::Display, status: StatusCode, headers: HeaderMap, body: &str) -> Refusal {
        Refusal::new(what.to_string(), status, headers, body.as_bytes())
    }

    /// Which kind of error it is where nobody knows better.
    pub fn kind(&self) -> ErrorKind {
        match (self.status.as_u16(), self.code.as_str()) {
            (_, "QuotaExceeded" | "InsufficientStorage" | "XMinioStorageFull" | "InsufficientCapacity") => {
                ErrorKind::NoSpace
            }
            (_, "KeyTooLongError" | "KeyTooLong") => ErrorKind::NameTooLong,
            (_, "MetadataTooLarge") => ErrorKind::NoSpace,
            (_, "EntityTooLarge") | (413, _) => ErrorKind::TooBig,
            (404, _) => ErrorKind::NotFound,
            (401, _) => ErrorKind::Unauthenticated,
            (_, code) if UNAUTHENTICATED.contains(&code) => ErrorKind::Unauthenticated,
            (403, _) => ErrorKind::Denied,
            (405 | 501, _) => ErrorKind::Unsupported,
            (409, _) => ErrorKind::Busy,
            (412, _) => ErrorKind::Stale,
            (416, _) => ErrorKind::PastEnd,
            (408 | 429 | 503, _) => ErrorKind::TimedOut,
            (400..=499, _) => ErrorKind::Invalid,
            (507, _) => ErrorKind::NoSpace,
            _ => ErrorKind::Io,
        }
    }

    fn advice(&self) -> &'static str {
        match (self.status.as_u16(), self.code.as_str()) {
            (_, "RequestTimeTooSkewed") => "; this machine's clock is off: set it, or let it be kept by NTP",
            (_, "NoSuchBucket" | "ContainerNotFound") => {
                "; is its name right, and does the endpoint have it?"
            }
            (_, "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "InvalidAuthenticationInfo") => {
                "; the credentials are not those of this service: look at the profile and the environment"
            }
            (_, "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "InvalidToken") => {
                "; the credentials have expired: log in again, or renew them"
            }
            (_, "InvalidObjectState" | "BlobArchived") => {
                "; it is archived: restore it with the service's own tools first"
            }
            (301 | 307 | 308, _) | (_, "AuthorizationHeaderMalformed") => {
                "; the bucket is in another region, or at another endpoint: name it (--region, --endpoint)"
            }
            (401, _) => "; the credentials are missing or refused: look at the profile and the environment",
            (403, _) => "; these credentials have no right to do that",
            (429 | 503, _) => "; the service asked to be given time until the deadline (--timeout) was over",
            _ => "",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.status.as_u16())?;
        for part in [&self.code, &self.message] {
            if !part.is_empty() {
                write!(f, " {}", part.escape_debug())?;
            }
        }
        if self.code.is_empty() && self.message.is_empty() {
            write!(f, " {}", self.status.canonical_reason().unwrap_or("without a word"))?;
        }
        f.write_str(self.advice())
    }
}

fn bounded(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// What a service said, in any of their forms.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(rename = "Code", default)]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

fn xml(body: &str) -> Option<Said> {
    let body = body.trim_start_matches('\u{feff}').trim_start();
    if !body.starts_with('<') {
        return None;
    }
    quick_xml::de::from_str(body).ok()
}

fn json(body: &str) -> Option<Said> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    let error = &body["error"];
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    // An OAuth service says `{"error": "invalid_grant", "error_description": "..."}`.
    if error.is_string() {
        return Some(Said { code: text(error), message: text(&body["error_description"]) });
    }
    Some(Said { code: text(&error["errors"][0]["reason"]), message: text(&error["message"]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::within("GetObject of s3://b/k", status, HeaderMap::new(), body)
    }

    #[test]
    fn what_the_services_say_is_told_in_one_sentence() {
        let xml = "<?xml version=\"1.0\"?>\n<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is large\nand\
                   more</Message><RequestId>1</RequestId><HostId/></Error>";
        let s3 = refusal(403, xml);
        let sentence = s3.to_string();
        assert!(
            sentence.starts_with("GetObject of s3://b/k: 403 RequestTimeTooSkewed The difference"),
            "{sentence}"
        );
        assert!(sentence.contains("clock") && !sentence.contains('\n'), "{sentence}");
        assert_eq!(s3.kind(), ErrorKind::Unauthenticated);
        assert_eq!(refusal(403, "<Error><Code>AccessDenied</Code></Error>").kind(), ErrorKind::Denied);

        let gcs = refusal(
            404,
            r#"{"error":{"code":404,"message":"No such object","errors":[{"reason":"notFound"}]}}"#,
        );
        assert_eq!((gcs.code.as_str(), gcs.message.as_str()), ("notFound", "No such object"));
        assert_eq!(gcs.kind(), ErrorKind::NotFound);

        let mut headers = HeaderMap::new();
        headers.insert("x-ms-error-code", "BlobArchived".parse().unwrap());
        let azure = Refusal::within("Get Blob", StatusCode::CONFLICT, headers, "");
        assert!(azure.to_string().contains("restore"), "{azure}");

        assert_eq!(refusal(502, "<html>bad gateway").to_string(), "GetObject of s3://b/k: 502 Bad Gateway");
        assert_eq!(refusal(400, &"x".repeat(2000)).to_string(), "GetObject of s3://b/k: 400 Bad Request");
    }

    #[test]
    fn a_long_message_is_cut() {
        let told =
            refusal(400, &format!("<Error><Code>C</Code><Message>{}</Message></Error>", "ü".repeat(5000)));
        assert!(told.to_string().len() < 1000);
    }
}
