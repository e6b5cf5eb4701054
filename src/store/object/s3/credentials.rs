//! Credentials: reqsign's chain, and two ways of profiles that it does not know: `role_arn` with its source, and sessions of
//! `aws sso login`. What a profile says is meant: where it fails, nothing else is tried.

use std::path::PathBuf;

use bytes::Bytes;
use http::{Method, StatusCode};
use reqsign::aws::{
    AssumeRoleCredentialProvider, Credential, DefaultCredentialProvider, ECSCredentialProvider,
    EnvCredentialProvider, IMDSv2CredentialProvider, RequestSigner, StaticCredentialProvider,
};
use reqsign::time::Timestamp;
use reqsign::{Context, Error, ProvideCredential, ProvideCredentialDyn, Result, Signer};
use serde::Deserialize;

use super::profile::Profile;
use super::settings::USUAL_REGION;

/// Profiles that name one another as their source, at most.
const SOURCES_MAX: u32 = 5;

/// The credentials of a profile, or of the environment and the profile that it names.
#[derive(Debug)]
pub(super) struct Ways {
    /// Who names a profile means it, even where the environment has keys.
    profile: Option<String>,
    /// Roles that were passed through.
    depth: u32,
}

impl Ways {
    pub(super) fn new(profile: Option<String>) -> Ways {
        Ways { profile, depth: 0 }
    }
}

impl ProvideCredential for Ways {
    type Credential = Credential;

    async fn provide_credential(&self, context: &Context) -> Result<Option<Credential>> {
        if self.profile.is_none()
            && let Some(found) = EnvCredentialProvider::new().provide_credential(context).await?
        {
            return Ok(Some(found));
        }
        let profile = Profile::load(self.profile.as_deref(), &|name| context.env_var(name))
            .map_err(|error| Error::config_invalid(error.to_string()))?;
        // A role by a token in a file is in reqsign's own chain where the environment says so.
        if let (Some(role), None) = (profile.get("role_arn"), profile.get("web_identity_token_file")) {
            return self.role(context, &profile, role).await;
        }
        if let Some(session) = profile.get("sso_session") {
            return sso(context, &profile, &session).await.map(Some);
        }
        let usual = DefaultCredentialProvider::builder().no_env();
        let usual = match &self.profile {
            Some(name) => usual.with_profile(name),
            None => usual,
        };
        usual.build().provide_credential(context).await
    }
}

impl Ways {
    /// The role of a profile, taken on with the credentials of its source.
    async fn role(&self, context: &Context, profile: &Profile, role: String) -> Result<Option<Credential>> {
        if self.depth == SOURCES_MAX {
            return Err(Error::config_invalid(
                "the profiles name one another as their source without an end",
            ));
        }
        if profile.get("mfa_serial").is_some() {
            return Err(Error::config_invalid(
                "the profile's role asks for a code (mfa_serial), which nobody could enter while it is mounted",
            ));
        }
        let region = profile.get("region").unwrap_or_else(|| USUAL_REGION.to_owned());
        let source = self.source(profile)?.provide_credential_dyn(context).await?;
        let source = source
            .ok_or_else(|| Error::config_invalid("the source of the profile's role has no credentials"))?;
        let mut keys = StaticCredentialProvider::new(&source.access_key_id, &source.secret_access_key);
        if let Some(token) = &source.session_token {
            keys = keys.with_session_token(token);
        }
        let signer = Signer::new(context.clone(), keys, RequestSigner::new("sts", &region));
        let mut provider =
            AssumeRoleCredentialProvider::new(role, signer).with_region(region).with_regional_sts_endpoint();
        let session = profile.get("role_session_name").unwrap_or_else(|| "kvfs".to_owned());
        provider = provider.with_role_session_name(session);
        if let Some(id) = profile.get("external_id") {
            provider = provider.with_external_id(id);
        }
        provider.provide_credential(context).await
    }
}

impl Ways {
    /// Whose credentials a profile's role is taken on with.
    fn source(&self, profile: &Profile) -> Result<Box<dyn ProvideCredentialDyn<Credential = Credential>>> {
        if let Some(source) = profile.get("source_profile") {
            return Ok(Box::new(Ways { profile: Some(source), depth: self.depth + 1 }));
        }
        match profile.get("credential_source").as_deref() {
            Some("Environment") => Ok(Box::new(EnvCredentialProvider::new())),
            Some("EcsContainer") => Ok(Box::new(ECSCredentialProvider::new())),
            Some("Ec2InstanceMetadata") => Ok(Box::new(IMDSv2CredentialProvider::new())),
            _ => Err(Error::config_invalid(
                "the profile's role has neither source_profile nor credential_source",
            )),
        }
    }
}

/// What `aws sso login` leaves behind.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: String,
    expires_at: String,
}

/// What the portal answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Portal {
    role_credentials: RoleCredentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    /// Milliseconds since the epoch.
    expiration: i64,
}

/// The credentials of a role by a session of `aws sso login`.
async fn sso(context: &Context, profile: &Profile, session: &str) -> Result<Credential> {
    let missing =
        |what: &str| Error::config_invalid(format!("the profile with sso_session {session} has no {what}"));
    let account = profile.get("sso_account_id").ok_or_else(|| missing("sso_account_id"))?;
    let role = profile.get("sso_role_name").ok_or_else(|| missing("sso_role_name"))?;
    let region = profile.session(session, "sso_region").ok_or_else(|| missing("sso_region"))?;
    let token = token(context, session).await?;
    let words: String = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("role_name", &role)
        .append_pair("account_id", &account)
        .finish();
    let request = http::Request::builder()
        .method(Method::GET)
        .uri(format!("https://portal.sso.{region}.amazonaws.com/federation/credentials?{words}"))
        .header("x-amz-sso_bearer_token", token)
        .body(Bytes::new())?;
    let response = context.http_send(request).await?;
    if response.status() == StatusCode::UNAUTHORIZED {
        return Err(expired(session));
    }
    let answer: Portal = serde_json::from_slice(response.body()).map_err(|_| {
        Error::permission_denied(format!(
            "the portal of the SSO session {session} answers {}",
            response.status()
        ))
    })?;
    let found = answer.role_credentials;
    let expires =
        Timestamp::from_millisecond(found.expiration).map_err(|e| Error::unexpected(e.to_string()))?;
    Ok(Credential {
        access_key_id: found.access_key_id,
        secret_access_key: found.secret_access_key,
        session_token: Some(found.session_token),
        expires_in: Some(expires),
    })
}

async fn token(context: &Context, session: &str) -> Result<String> {
    let home =
        context.env_var("HOME").map(PathBuf::from).ok_or_else(|| Error::config_invalid("HOME is not set"))?;
    let name = format!("{}.json", reqsign::hash::hex_sha1(session.as_bytes()));
    let path = home.join(".aws/sso/cache").join(name);
    let text = context.file_read(&path.to_string_lossy()).await.map_err(|_| expired(session))?;
    let token: Token = serde_json::from_slice(&text).map_err(|_| expired(session))?;
    let until: Timestamp = token.expires_at.parse().map_err(|_| expired(session))?;
    if until <= Timestamp::now() {
        return Err(expired(session));
    }
    Ok(token.access_token)
}

fn expired(session: &str) -> Error {
    Error::credential_invalid(format!(
        "nobody is logged in to {session}: aws sso login --sso-session {session}"
    ))
}

#[cfg(test)]
mod tests;
