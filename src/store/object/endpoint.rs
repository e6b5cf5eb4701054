//! A server that is named: where requests go instead of to the service's own.

use http::Uri;

use crate::error::{Error, ErrorKind, Result};

/// An address such as `http://127.0.0.1:10000/account`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Scheme and authority.
    pub origin: String,
    /// What stands before every path; without a slash at its end.
    pub path: String,
}

impl Endpoint {
    /// Reads an address; one without a scheme is HTTP, as Google's emulators are named.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn parse(text: &str) -> Result<Endpoint> {
        let wrong = || {
            let sentence = format!("the endpoint {text:?} is no address such as https://storage.example.org");
            Error::new(ErrorKind::Invalid, sentence)
        };
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri = Uri::try_from(whole).map_err(|_| wrong())?;
        let scheme =
            uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(wrong)?;
        let authority = uri.authority().filter(|name| !name.as_str().contains('@')).ok_or_else(wrong)?;
        let origin = format!("{scheme}://{authority}");
        Ok(Endpoint { origin, path: uri.path().trim_end_matches('/').to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let parse = |text| Endpoint::parse(text).map(|endpoint| (endpoint.origin, endpoint.path));
        let found = |origin: &str, path: &str| (origin.to_owned(), path.to_owned());
        assert_eq!(parse("http://127.0.0.1:1/a/").unwrap(), found("http://127.0.0.1:1", "/a"));
        assert_eq!(parse("localhost:4443").unwrap(), found("http://localhost:4443", ""));
        for wrong in ["", "ftp://x", "https://user:secret@host", "http:// x"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
