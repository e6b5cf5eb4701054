//! The ways of profiles, against a home of their own and services that answer by a script.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqsign::{HttpSend, StaticEnv};
use reqsign_file_read_tokio::TokioFileRead;

use super::*;
use crate::env::{self, Deadline};
use crate::store::object::client::causes;

/// Answers every request alike, and notes them.
#[derive(Clone, Debug)]
struct Service {
    status: u16,
    answer: String,
    seen: Arc<Mutex<Vec<http::Request<Bytes>>>>,
}

impl HttpSend for Service {
    async fn http_send(&self, request: http::Request<Bytes>) -> Result<http::Response<Bytes>> {
        self.seen.lock().unwrap().push(request);
        Ok(http::Response::builder().status(self.status).body(self.answer.clone().into())?)
    }
}

fn service(status: u16, answer: &str) -> Service {
    Service { status, answer: answer.to_owned(), seen: Arc::default() }
}

/// The credentials in a home with this `config`.
fn found(home: &Path, config: &str, service: &Service, profile: Option<&str>) -> Result<Option<Credential>> {
    fs::create_dir_all(home.join(".aws/sso/cache")).unwrap();
    fs::write(home.join(".aws/config"), config).unwrap();
    let variables = HashMap::from([
        ("HOME".to_owned(), home.to_str().unwrap().to_owned()),
        ("AWS_EC2_METADATA_DISABLED".to_owned(), "true".to_owned()),
    ]);
    let context = Context::new()
        .with_file_read(TokioFileRead)
        .with_http_send(service.clone())
        .with_env(StaticEnv { home_dir: Some(home.to_owned()), envs: variables });
    let ways = Ways::new(profile.map(str::to_owned));
    let mut answer = None;
    let asked = async {
        answer = Some(ways.provide_credential(&context).await);
        Ok(())
    };
    env::wait(Deadline::after(Duration::from_secs(20)), asked).unwrap();
    answer.unwrap()
}

#[test]
fn a_role_is_taken_on_with_the_credentials_of_its_source() {
    let home = tempfile::tempdir().unwrap();
    let config = "[profile base]\naws_access_key_id = AKID\naws_secret_access_key = secret\n\
                  [profile middle]\nrole_arn = arn:aws:iam::111122223333:role/middle\nsource_profile = base\nregion = eu-west-1\n\
                  [profile loop]\nrole_arn = arn:aws:iam::111122223333:role/loop\nsource_profile = loop\n\
                  [profile code]\nrole_arn = arn:aws:iam::111122223333:role/code\nsource_profile = base\nmfa_serial = x\n";
    let answer = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAEXAMPLE000001</AccessKeyId><SecretAccessKey>s\
                  </SecretAccessKey><SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></Credentials>\
                  </AssumeRoleResult></AssumeRoleResponse>";
    let sts = service(200, answer);
    let taken = found(home.path(), config, &sts, Some("middle")).unwrap().unwrap();
    assert_eq!(
        (taken.access_key_id.as_str(), taken.session_token.as_deref()),
        ("ASIAEXAMPLE000001", Some("t"))
    );
    let seen = sts.seen.lock().unwrap();
    assert_eq!(seen[0].uri().host(), Some("sts.eu-west-1.amazonaws.com"));
    assert!(seen[0].headers()["authorization"].to_str().unwrap().contains("Credential=AKID/"));
    drop(seen);
    for (profile, word) in [("loop", "without an end"), ("code", "mfa_serial")] {
        let told = causes(&found(home.path(), config, &sts, Some(profile)).unwrap_err());
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn a_session_of_sso_login_gives_its_role() {
    let home = tempfile::tempdir().unwrap();
    let config = "[default]\nsso_session = work\nsso_account_id = 111122223333\nsso_role_name = reader\n\
                  [sso-session work]\nsso_region = eu-west-2\n";
    let answer = r#"{"roleCredentials":{"accessKeyId":"ASIA","secretAccessKey":"s","sessionToken":"t","expiration":32472144000000}}"#;
    let portal = service(200, answer);
    let told = found(home.path(), config, &portal, None).unwrap_err();
    assert!(told.to_string().contains("aws sso login --sso-session work"), "{told}");
    let token = home.path().join(".aws/sso/cache").join(format!("{}.json", reqsign::hash::hex_sha1(b"work")));
    fs::write(&token, r#"{"accessToken":"not-to-be-told","expiresAt":"2999-01-01T00:00:00Z"}"#).unwrap();
    let role = found(home.path(), config, &portal, None).unwrap().unwrap();
    assert_eq!(role.access_key_id, "ASIA");
    let seen = portal.seen.lock().unwrap();
    assert_eq!(seen[0].uri().host(), Some("portal.sso.eu-west-2.amazonaws.com"));
    assert_eq!(seen[0].headers()["x-amz-sso_bearer_token"], "not-to-be-told");
    drop(seen);
    fs::write(&token, r#"{"accessToken":"not-to-be-told","expiresAt":"2001-01-01T00:00:00Z"}"#).unwrap();
    assert!(found(home.path(), config, &portal, None).unwrap_err().to_string().contains("aws sso login"));
}

#[test]
fn keys_in_a_profile_are_found_and_nothing_is_nothing() {
    let home = tempfile::tempdir().unwrap();
    let config =
        "[default]\naws_access_key_id = AKID\naws_secret_access_key = secret\n[profile empty]\nregion = x\n";
    let nobody = service(404, "");
    let keys = found(home.path(), config, &nobody, None).unwrap().unwrap();
    assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.as_str()), ("AKID", "secret"));
    assert!(found(home.path(), config, &nobody, Some("empty")).unwrap().is_none());
    assert!(
        found(home.path(), config, &nobody, Some("none"))
            .unwrap_err()
            .to_string()
            .contains("no profile \"none\"")
    );
}
