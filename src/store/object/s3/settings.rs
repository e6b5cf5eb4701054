//! Where a bucket is served, and by whose word: the address first, then the environment, then the profile.

use std::collections::BTreeMap;
use std::path::PathBuf;

use http::Uri;

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
        let profile = Profile::load(address.profile.as_deref())?;
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

/// A profile of `~/.aws/config`.
#[derive(Debug, Default)]
struct Profile(BTreeMap<String, String>);

impl Profile {
    /// Reads the profile that is named, or the environment's; that one may be missing.
    fn load(named: Option<&str>) -> Result<Profile> {
        let name = named
            .map(str::to_owned)
            .or_else(|| env::variable("AWS_PROFILE"))
            .unwrap_or_else(|| "default".to_owned());
        let file = |variable: &str, usual: &str| {
            env::variable(variable)
                .map(PathBuf::from)
                .or_else(|| env::variable("HOME").map(|home| PathBuf::from(home).join(".aws").join(usual)))
                .and_then(|path| std::fs::read_to_string(path).ok())
        };
        let config = file("AWS_CONFIG_FILE", "config").and_then(|text| section(&text, &name, true));
        let credentials =
            file("AWS_SHARED_CREDENTIALS_FILE", "credentials").and_then(|text| section(&text, &name, false));
        if named.is_some() && config.is_none() && credentials.is_none() {
            let sentence = format!("no profile {name:?} in ~/.aws/config and ~/.aws/credentials");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Ok(Profile(config.unwrap_or_default()))
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

/// The pairs of one profile: in `config` all but the default are called `[profile NAME]`. Settings nested below another
/// (`s3 =`) count as the profile's own where it does not set them itself.
fn section(text: &str, name: &str, config: bool) -> Option<BTreeMap<String, String>> {
    let mut found: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let header = header.trim();
            let title = match header.strip_prefix("profile") {
                Some(title) if config && title.starts_with([' ', '\t']) => title.trim().trim_matches('"'),
                _ if config && header != "default" => "",
                _ => header,
            };
            inside = title == name;
            if inside {
                found.get_or_insert_default();
            }
        } else if let (true, Some((key, value))) = (inside, trimmed.split_once('='))
            && !trimmed.starts_with(['#', ';'])
        {
            let nested = line.starts_with([' ', '\t']);
            let (key, value) = (key.trim().to_ascii_lowercase(), value.trim().to_owned());
            let pairs = found.get_or_insert_default();
            if nested {
                pairs.entry(key).or_insert(value);
            } else {
                pairs.insert(key, value);
            }
        }
    }
    found
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

    #[test]
    fn a_profile_is_found_in_either_file() {
        let config = "[default]\nregion = eu-west-1\n[profile two]\n# region = no\nregion=eu-west-2\ns3 =\n  region = x\n  \
                      endpoint_url = http://h\n[three]\nregion = z\n";
        let get =
            |name: &str, key: &str| section(config, name, true).and_then(|pairs| pairs.get(key).cloned());
        assert_eq!(get("default", "region").as_deref(), Some("eu-west-1"));
        assert_eq!(get("two", "region").as_deref(), Some("eu-west-2"));
        assert_eq!(get("two", "endpoint_url").as_deref(), Some("http://h"));
        assert_eq!(get("three", "region"), None);
        assert!(section(config, "three", false).is_some());
        assert!(section(config, "four", true).is_none());
    }
}
