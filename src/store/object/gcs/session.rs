//! The client of one bucket, with its credentials, and the paths of both APIs.

use std::sync::Arc;

use http::{Method, StatusCode};
use reqsign::Signer;
use reqsign::google::{DefaultCredentialProvider, RequestSigner};

use super::resource::{self, BucketResource};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::address::Address;
use crate::store::object::bucket::Condition;
use crate::store::object::client::{
    Anonymous, Chain, Client, Failure, Request, Response, Sign, Transport, Trust, context, encode_word,
};
use crate::store::object::endpoint::Endpoint;

/// Google's own.
const GOOGLE: &str = "https://storage.googleapis.com";

const NO_CREDENTIALS: &str = "no credentials: log in with `gcloud auth application-default login`, set \
     GOOGLE_APPLICATION_CREDENTIALS to a file of keys, give the machine a service account, or ask for a public bucket with \
     --anonymous";

/// A client with credentials, for one bucket.
pub(super) struct Session {
    client: Client,
    endpoint: Endpoint,
    bucket: String,
}

impl Session {
    pub(super) fn new(address: &Address) -> Result<Session> {
        // An emulator knows nobody.
        let emulator = env::variable("STORAGE_EMULATOR_HOST").filter(|_| address.endpoint.is_none());
        let anonymous = address.anonymous || emulator.is_some();
        let named = address.endpoint.clone().or(emulator);
        let endpoint = Endpoint::parse(named.as_deref().unwrap_or(GOOGLE))?;
        let transport = Transport::new(address.timeout, &Trust::default())?;
        let signing: Arc<dyn Sign> = if anonymous {
            Arc::new(Anonymous)
        } else {
            let transport = transport.clone();
            let make = move || {
                let credentials = DefaultCredentialProvider::new();
                Signer::new(context(&transport), credentials, RequestSigner::new("storage"))
            };
            Arc::new(Chain::new(make, NO_CREDENTIALS))
        };
        let client = Client::new(transport, signing, address.timeout);
        Ok(Session { client, endpoint, bucket: address.bucket.clone() })
    }

    /// The client, for its counters.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A key as people write it.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("gs://{}/{key}", self.bucket)
    }

    /// A request of the JSON API about an object, with `after` behind its path; about all where the key is empty.
    pub(super) fn request(&self, operation: &'static str, method: Method, key: &str, after: &str) -> Request {
        self.about(operation, method, key, &format!("/storage/v1/{}{after}", self.resource(key)))
    }

    /// Whether the bucket keeps the generations that are replaced.
    pub(super) async fn keeps_versions(&self) -> Result<bool> {
        let path = format!("/storage/v1/b/{}", encode_word(&self.bucket));
        let request = self.about("GetBucket", Method::GET, "", &path).query("fields", "versioning");
        let what = request.to_string();
        let found: BucketResource = resource::parse(&what, &self.send(request).await?.text().await?)?;
        Ok(found.versioning.is_some_and(|versioning| versioning.enabled))
    }

    /// A request of the JSON API that brings bytes.
    pub(super) fn upload(&self, operation: &'static str, key: &str) -> Request {
        self.about(operation, Method::POST, key, &format!("/upload/storage/v1/{}", self.resource("")))
    }

    /// A request of the XML API. Slashes in a key are encoded too, so that nobody on the way tidies `..` up.
    pub(super) fn xml(&self, operation: &'static str, method: Method, key: &str) -> Request {
        let path = format!("/{}/{}", encode_word(&self.bucket), encode_word(key));
        self.about(operation, method, key, &path)
    }

    fn about(&self, operation: &'static str, method: Method, key: &str, path: &str) -> Request {
        let path = format!("{}{path}", self.endpoint.path);
        Request::new(operation, method, &self.endpoint.origin, path).about(self.subject(key))
    }

    /// An object in the paths of the JSON API.
    pub(super) fn resource(&self, key: &str) -> String {
        let slash = if key.is_empty() { "" } else { "/" };
        format!("b/{}/o{slash}{}", encode_word(&self.bucket), encode_word(key))
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response, Failure> {
        self.client.send(request).await
    }
}

/// Asks for a condition on what the request changes.
pub(super) fn on_condition(request: Request, condition: &Condition) -> Request {
    match condition {
        Condition::Always => request,
        Condition::Absent => request.query("ifGenerationMatch", "0"),
        Condition::Version(version) => request.query("ifGenerationMatch", version),
    }
}

/// Whether there is no such object; that there is no such bucket is another matter.
pub(super) fn is_gone(failure: &Failure) -> bool {
    let about_object = |body: &str| body.contains("No such object") || body.contains("NoSuchKey");
    failure.status() == Some(StatusCode::NOT_FOUND)
        && failure.refusal().is_some_and(|refusal| about_object(&refusal.body))
}

/// What a refusal means under a condition.
pub(super) fn conditional(failure: Failure, condition: &Condition) -> Error {
    let failed = failure.status() == Some(StatusCode::PRECONDITION_FAILED);
    let kind = match condition {
        Condition::Absent if failed => ErrorKind::Exists,
        Condition::Version(_) if failed || is_gone(&failure) => ErrorKind::Stale,
        _ => return failure.into(),
    };
    Error::new(kind, Error::from(failure).to_string())
}
