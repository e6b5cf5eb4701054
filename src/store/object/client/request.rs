//! One request, as a service's module puts it together.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::error::{Error, ErrorKind, Result};

/// Every byte but RFC 3986's unreserved ones.
const WORD: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// As [`WORD`], and slashes stay.
const PATH: &AsciiSet = &WORD.remove(b'/');

/// Percent-encodes a key for a path in which its slashes stand for themselves. Nothing is normalised: `a//b`, `..` stay.
pub fn encode_path(key: &str) -> String {
    utf8_percent_encode(key, PATH).to_string()
}

/// Percent-encodes all of a text, slashes too: for query values, and for paths whose segments are whole names.
pub fn encode_word(text: &str) -> String {
    utf8_percent_encode(text, WORD).to_string()
}

/// Whether a request may be sent again when its answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice is as once: it reads, or it has the same outcome.
    Safe,
    /// Only when it is certain that nothing was done; otherwise the error is `Uncertain`.
    OnlyIfRefused,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service's name of the operation, by which it is counted: `PutObject`.
    pub operation: &'static str,
    /// What it is about, in errors: `s3://bucket/key`.
    pub subject: String,
    /// `GET` and so on.
    pub method: Method,
    /// Scheme and authority: `https://bucket.s3.eu-west-1.amazonaws.com`.
    pub origin: String,
    /// Percent-encoded; with its first slash.
    pub path: String,
    /// In clear, in this order; a name without a value has an empty one.
    pub query: Vec<(&'static str, String)>,
    /// What the service asks for; signing adds its own.
    pub headers: HeaderMap,
    /// All of it.
    pub body: Bytes,
    /// Whether it may be repeated when its answer was lost.
    pub repeat: Repeat,
    /// The deadline, where it is not the client's.
    pub timeout: Option<Duration>,
}

impl Request {
    /// A request without query, headers and body, that may be repeated where its method only reads.
    pub fn new(operation: &'static str, method: Method, origin: &str, path: String) -> Request {
        let repeat =
            if matches!(method, Method::GET | Method::HEAD) { Repeat::Safe } else { Repeat::OnlyIfRefused };
        Request {
            operation,
            subject: String::new(),
            method,
            origin: origin.to_owned(),
            path,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            repeat,
            timeout: None,
        }
    }

    /// What it is about, in errors.
    #[must_use]
    pub fn about(mut self, subject: impl Into<String>) -> Request {
        self.subject = subject.into();
        self
    }

    /// Adds a query pair, in clear.
    #[must_use]
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Request {
        self.query.push((name, value.into()));
        self
    }

    /// Sets a header.
    ///
    /// # Errors
    /// `Invalid`: control characters, or others than ASCII.
    pub fn header(mut self, name: &str, value: &str) -> Result<Request> {
        let wrong = || Error::new(ErrorKind::Invalid, format!("the header {name} cannot hold {value:?}"));
        let name = http::HeaderName::try_from(name).map_err(|_| wrong())?;
        if !value.is_ascii() {
            return Err(wrong());
        }
        self.headers.insert(name, HeaderValue::try_from(value).map_err(|_| wrong())?);
        Ok(self)
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: Bytes) -> Request {
        self.body = body;
        self
    }

    /// Says whether it may be repeated when its answer was lost.
    #[must_use]
    pub fn repeat(mut self, repeat: Repeat) -> Request {
        self.repeat = repeat;
        self
    }

    /// Gives it a deadline of its own: for what a service takes long over.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// Its head, unsigned.
    pub(super) fn parts(&self) -> Result<Parts> {
        let mut uri = format!("{}{}", self.origin, self.path);
        for (at, (name, value)) in self.query.iter().enumerate() {
            uri.push(if at == 0 { '?' } else { '&' });
            uri.push_str(&encode_word(name));
            uri.push('=');
            uri.push_str(&encode_word(value));
        }
        let uri = Uri::try_from(uri).map_err(|e| {
            Error::new(ErrorKind::Invalid, format!("{self}: {} is no address: {e}", self.origin))
        })?;
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = uri;
        parts.headers = self.headers.clone();
        Ok(parts)
    }
}

impl fmt::Display for Request {
    /// For errors: the operation, and what it is about.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.operation, self.subject.escape_debug())
    }
}
