//! Profiles of `~/.aws/config` and `~/.aws/credentials`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};

type Pairs = BTreeMap<String, String>;

/// A profile.
#[derive(Debug, Default)]
pub(super) struct Profile {
    pairs: Pairs,
    /// All of `~/.aws/config`, for what the profile refers to.
    config: String,
}

impl Profile {
    /// Reads the profile that is named, or the one of the environment's, which may be missing. `variable` knows the
    /// environment.
    ///
    /// # Errors
    /// `Invalid`: there is none of this name.
    pub(super) fn load(named: Option<&str>, variable: &dyn Fn(&str) -> Option<String>) -> Result<Profile> {
        let usual = || variable("AWS_PROFILE").filter(|name| !name.is_empty());
        let name = named.map(str::to_owned).or_else(usual).unwrap_or_else(|| "default".to_owned());
        let read = |named: &str, usual: &str| {
            let path = variable(named).filter(|path| !path.is_empty()).map(PathBuf::from);
            let path = path.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".aws").join(usual)));
            path.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
        };
        let config = read("AWS_CONFIG_FILE", "config");
        let titles = [format!("profile {name}"), name.clone()];
        let mut found = section(&config, if name == "default" { &titles } else { &titles[..1] });
        // What both files say is the credentials' word.
        let secret = read("AWS_SHARED_CREDENTIALS_FILE", "credentials");
        if let Some(pairs) = section(&secret, &titles[1..]) {
            found.get_or_insert_default().extend(pairs);
        }
        if named.is_some() && found.is_none() {
            let sentence = format!("no profile {name:?} in ~/.aws/config and ~/.aws/credentials");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        Ok(Profile { pairs: found.unwrap_or_default(), config })
    }

    /// A setting; `None` where it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.pairs.get(name).filter(|value| !value.is_empty()).cloned()
    }

    /// A setting of a session of `aws sso login`.
    pub(super) fn session(&self, session: &str, name: &str) -> Option<String> {
        section(&self.config, &[format!("sso-session {session}")])?.remove(name)
    }
}

/// The pairs below any of these titles. Settings nested below another (`s3 =`) count as the section's own where it does not
/// set them itself.
fn section(text: &str, titles: &[String]) -> Option<Pairs> {
    let mut found: Option<Pairs> = None;
    let mut inside = false;
    for line in text.lines() {
        let trimmed = line.trim();
        if let Some(title) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let words: Vec<&str> = title.split_whitespace().map(|word| word.trim_matches('"')).collect();
            inside = titles.contains(&words.join(" "));
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

    const CONFIG: &str = "[default]\nregion = eu-west-1\n[profile two]\n# region = no\nregion=eu-west-2\ns3 =\n  region = x\n  \
                          endpoint_url = http://h\n[three]\nregion = z\n[profile \"four 4\"]\nsso_session = s\n\
                          [sso-session s]\nsso_region = eu-west-4\n";

    fn load(named: Option<&str>) -> Result<Profile> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(".aws")).unwrap();
        std::fs::write(folder.path().join(".aws/config"), CONFIG).unwrap();
        std::fs::write(folder.path().join(".aws/credentials"), "[three]\nregion = from-credentials\n")
            .unwrap();
        let home = folder.path().to_str().unwrap().to_owned();
        Profile::load(named, &|name| (name == "HOME").then(|| home.clone()))
    }

    #[test]
    fn a_profile_is_found_in_either_file() {
        let get = |named: Option<&str>, key: &str| load(named).unwrap().get(key);
        assert_eq!(get(None, "region").as_deref(), Some("eu-west-1"));
        assert_eq!(get(Some("default"), "region").as_deref(), Some("eu-west-1"));
        assert_eq!(get(Some("two"), "region").as_deref(), Some("eu-west-2"));
        assert_eq!(get(Some("two"), "endpoint_url").as_deref(), Some("http://h"));
        assert_eq!(get(Some("three"), "region").as_deref(), Some("from-credentials"));
        let four = load(Some("four 4")).unwrap();
        assert_eq!(
            four.session(&four.get("sso_session").unwrap(), "sso_region").as_deref(),
            Some("eu-west-4")
        );
        assert_eq!(four.session("none", "sso_region"), None);
        let told = load(Some("five")).unwrap_err();
        assert!(told.kind() == ErrorKind::Invalid && told.to_string().contains("\"five\""), "{told}");
    }

    #[test]
    fn without_files_there_is_an_empty_profile() {
        assert_eq!(Profile::load(None, &|_| None).unwrap().get("region"), None);
    }
}
