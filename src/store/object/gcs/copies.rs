//! Copies: rewrites, which go on with a token until they are done. What changes an object's headers alone copies nothing.

use http::{Method, StatusCode};
use serde_json::json;

use super::objects::{check, made};
use super::resource::{self, FIELDS, Rewritten};
use super::session::{Session, conditional, is_gone, on_condition};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Condition, Copy, Headers, Object};
use crate::store::object::client::Failure;

/// How many deadlines one step of a rewrite may take.
const LONG_WORK: u32 = 4;
/// So often a change of headers is begun anew where somebody else changes them at the same time.
const TRIES: usize = 5;

impl Session {
    pub(super) async fn copy(&self, copy: &Copy<'_>) -> Result<Object> {
        check(copy.to)?;
        match copy.headers {
            Some(headers) if copy.from == copy.to => self.set_headers(copy, headers).await,
            headers => self.rewrite(copy, headers).await,
        }
    }

    async fn rewrite(&self, copy: &Copy<'_>, headers: Option<&Headers>) -> Result<Object> {
        let after = format!("/rewriteTo/{}", self.resource(copy.to));
        let mut base = self
            .request("RewriteObject", Method::POST, copy.from, &after)
            .timeout(self.client().timeout() * LONG_WORK)
            .query("fields", format!("done,rewriteToken,resource({FIELDS})"));
        if let Some(version) = copy.source_version {
            base = base.query("ifSourceGenerationMatch", version);
        }
        base = on_condition(base, &copy.condition);
        if let Some(headers) = headers {
            // Fields that are given replace all of the source's; an empty object would be none given.
            let mut fields = resource::fields(headers);
            fields.entry("metadata").or_insert_with(|| serde_json::Map::new().into());
            let body = serde_json::Value::from(fields).to_string();
            base = base.header("content-type", "application/json")?.body(body.into());
        }
        let what = base.to_string();
        let mut token: Option<String> = None;
        loop {
            let mut request = base.clone();
            if let Some(token) = &token {
                request = request.query("rewriteToken", token);
            }
            let response = self.send(request).await.map_err(|failure| refused(failure, copy))?;
            let text = response.text().await.map_err(|error| lost(&error))?;
            let step: Rewritten = resource::parse(&what, &text).map_err(|error| lost(&error))?;
            match (step.done, step.resource, step.rewrite_token) {
                (true, Some(made), _) => return made.object(),
                (false, _, Some(next)) => token = Some(next),
                _ => {
                    return Err(lost(&Error::new(
                        ErrorKind::Io,
                        format!("{what}: neither done nor to go on"),
                    )));
                }
            }
        }
    }

    /// Joins two objects, each of the version that is known of it.
    pub(super) async fn compose(
        &self,
        key: &str,
        pieces: [&Object; 2],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        check(key)?;
        let sources = pieces.map(|piece| {
            let generation = piece.version.as_str();
            json!({
                "name": piece.key,
                "generation": generation,
                "objectPreconditions": { "ifGenerationMatch": generation },
            })
        });
        let body = json!({ "destination": resource::fields(headers), "sourceObjects": sources });
        let request = self
            .request("ComposeObject", Method::POST, key, "/compose")
            .timeout(self.client().timeout() * LONG_WORK)
            .query("fields", FIELDS)
            .header("content-type", "application/json")?
            .body(body.to_string().into());
        let request = on_condition(request, condition);
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| {
            let refused = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
            if is_gone(&failure) || refused && *condition != Condition::Absent {
                return Error::new(ErrorKind::Stale, Error::from(failure).to_string());
            }
            conditional(failure, condition)
        })?;
        made(&what, response).await
    }

    /// A copy onto itself: the generation stays, so that whoever reads the object reads on.
    async fn set_headers(&self, copy: &Copy<'_>, wanted: &Headers) -> Result<Object> {
        if copy.condition == Condition::Absent {
            return Err(ErrorKind::Exists.into());
        }
        let named = match (&copy.condition, copy.source_version) {
            (Condition::Version(version), _) => Some(version.as_str()),
            (_, version) => version,
        };
        for _ in 0..TRIES {
            let found = self.find(copy.to, None).await?.ok_or_else(|| {
                let kind = if named.is_some() { ErrorKind::Stale } else { ErrorKind::NotFound };
                Error::new(kind, format!("{}: there is no such object", self.subject(copy.to)))
            })?;
            if named.is_some_and(|version| version != found.generation) {
                return Err(ErrorKind::Stale.into());
            }
            let changes = serde_json::Value::from(resource::changes(&found, wanted)).to_string();
            let request = self
                .request("PatchObject", Method::PATCH, copy.to, "")
                .query("ifGenerationMatch", found.generation)
                .query("ifMetagenerationMatch", found.metageneration)
                .query("fields", FIELDS)
                .header("content-type", "application/json")?
                .body(changes.into());
            let what = request.to_string();
            match self.send(request).await {
                Ok(response) => return made(&what, response).await,
                Err(failure) if failure.status() == Some(StatusCode::PRECONDITION_FAILED) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        let sentence = format!("{}: others change it all the time", self.subject(copy.to));
        Err(Error::new(ErrorKind::Busy, sentence))
    }
}

fn lost(error: &Error) -> Error {
    Error::new(ErrorKind::Uncertain, error.to_string())
}

/// What a refusal of a copy means. Google does not say which of the two a condition failed on.
fn refused(failure: Failure, copy: &Copy<'_>) -> Error {
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
    let stale = (failed && copy.condition == Condition::Always) || is_gone(&failure);
    let kind = match copy.source_version {
        Some(_) if stale => ErrorKind::Stale,
        None if is_gone(&failure) => ErrorKind::NotFound,
        _ => return conditional(failure, &copy.condition),
    };
    Error::new(kind, Error::from(failure).to_string())
}
