//! Where a bucket is served, and by whose word: the address first, then the environment, then the profile.

use std::path::PathBuf;

use http::Uri;

use super::profile::Profile;
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::address::Address;

/// The region that signs where nobody names one: the one that knows where every bucket of Amazon's is, and what servers
/// of one's own call themselves.
pub(super) const USUAL_REGION: &str = "us-east-1";

/// Where a bucket is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings {
    /// A server of one's own; `None`: Amazon's.
    pub(super) endpoint: Option<Endpoint>,
    /// The region by somebody's word.
    pub(super) region: Option<String>,
    /// The profile that is named on the command line, which comes before the environment's credentials.
    pub(super) profile: Option<String>,
    /// Certificates to trust besides the system's.
    pub(super) bundle: Option<PathBuf>,
    path_style: Option<bool>,
    bucket: String,
}

/// A server that is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    scheme: String,
    authority: String,
    /// What stands before every path; without a slash at its end.
    path: String,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint> {
        let wrong = || {
            let sentence = format!("the endpoint {text:?} is no address such as https://s3.example.org:9000");
            Error::new(ErrorKind::Invalid, sentence)
        };
        let uri = Uri::try_from(text).map_err(|_| wrong())?;
        let scheme =
            uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https")).ok_or_else(wrong)?;
        let authority =
            uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        Ok(Endpoint {
            scheme: scheme.to_owned(),
            authority: authority.to_string(),
            path: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl Settings {
    pub(super) fn new(address: &Address) -> Result<Settings> {
        let profile = Profile::load(address.profile.as_deref(), &env::variable)?;
        let endpoint = address
            .endpoint
            .clone()
            .or_else(|| env::variable("AWS_ENDPOINT_URL_S3"))
            .or_else(|| env::variable("AWS_ENDPOINT_URL"))
            .or_else(|| profile.get("endpoint_url"));
        let region = address
            .region
            .clone()
            .or_else(|| env::variable("AWS_REGION"))
            .or_else(|| env::variable("AWS_DEFAULT_REGION"))
            .or_else(|| profile.get("region"));
        let bundle = env::variable("AWS_CA_BUNDLE").or_else(|| profile.get("ca_bundle"));
        Ok(Settings {
            endpoint: endpoint.as_deref().map(Endpoint::parse).transpose()?,
            region,
            profile: address.profile.clone(),
            bundle: bundle.map(PathBuf::from),
            path_style: address.path_style,
            bucket: address.bucket.clone(),
        })
    }

    /// Scheme and authority of requests about the bucket, and what their paths begin with.
    pub(super) fn origin(&self, region: &str) -> (String, String) {
        let (scheme, authority, path) = match &self.endpoint {
            Some(endpoint) => (endpoint.scheme.as_str(), endpoint.authority.clone(), endpoint.path.as_str()),
            None => {
                let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
                ("https", format!("s3.{region}.amazonaws.com{suffix}"), "")
            }
        };
        if self.bucket.is_empty() {
            (format!("{scheme}://{authority}"), path.to_owned())
        } else if self.in_path(scheme) {
            (format!("{scheme}://{authority}"), format!("{path}/{}", self.bucket))
        } else {
            (format!("{scheme}://{}.{authority}", self.bucket), path.to_owned())
        }
    }

    /// A certificate for `*.s3.amazonaws.com` does not hold for a bucket with a dot.
    fn in_path(&self, scheme: &str) -> bool {
        let dotted = scheme == "https" && self.bucket.contains('.');
        self.path_style.unwrap_or(self.endpoint.is_some() || dotted)
    }

    /// Whether the bodies of requests need no signature because the connection keeps them.
    pub(super) fn encrypted(&self) -> bool {
        self.endpoint.as_ref().is_none_or(|endpoint| endpoint.scheme == "https")
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(endpoint: Option<&str>, bucket: &str, path_style: Option<bool>) -> Settings {
        Settings {
            endpoint: endpoint.map(|text| Endpoint::parse(text).unwrap()),
            region: None,
            profile: None,
            bundle: None,
            path_style,
            bucket: bucket.to_owned(),
        }
    }

    #[test]
    fn buckets_are_in_the_host_at_amazon_and_in_the_path_elsewhere() {
        let at = |settings: Settings, region: &str| {
            let (origin, path) = settings.origin(region);
            format!("{origin}{path}")
        };
        assert_eq!(at(settings(None, "b", None), "eu-west-1"), "https://b.s3.eu-west-1.amazonaws.com");
        assert_eq!(at(settings(None, "b", None), "cn-north-1"), "https://b.s3.cn-north-1.amazonaws.com.cn");
        assert_eq!(at(settings(None, "a.b", None), "us-east-1"), "https://s3.us-east-1.amazonaws.com/a.b");
        assert_eq!(at(settings(Some("http://h:9000/"), "b", None), "x"), "http://h:9000/b");
        assert_eq!(at(settings(Some("https://h/s3"), "b", None), "x"), "https://h/s3/b");
        assert_eq!(at(settings(Some("https://h"), "b", Some(false)), "x"), "https://b.h");
        assert_eq!(at(settings(Some("https://h"), "", None), "x"), "https://h");
        for wrong in ["h:9000", "ftp://h", "", "https://user:secret@h", "/x"] {
            assert!(Endpoint::parse(wrong).is_err(), "{wrong}");
        }
    }
}
