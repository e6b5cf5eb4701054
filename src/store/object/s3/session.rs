//! Requests to one bucket: signed for its region, which is found where nobody names it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use reqsign::aws::{Credential, RequestSigner, StaticCredentialProvider};
use reqsign::{ProvideCredential, Signer};
use sha2::{Digest, Sha256};

use super::credentials::Ways;
use super::listing::Plus;
use super::settings::{Settings, USUAL_REGION};
use super::xml;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::address::Address;
use crate::store::object::client::{
    Anonymous, Chain, Client, Failure, Repeat, Request, Response, Sign, Transport, Trust, context,
    encode_path,
};

const NO_CREDENTIALS: &str = "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, write a profile with `aws configure` \
     (--profile NAME), log in with `aws sso login`, give the machine a role, or ask for a public bucket with --anonymous";

/// How many deadlines the service may take over what it does by itself: copies, putting parts together.
pub(super) const LONG_WORK: u32 = 4;

/// A client with credentials, for one bucket.
pub struct Session {
    client: Client,
    settings: Settings,
    region: Region,
    /// Whether the server takes ETags only without their quotes.
    bare_tags: AtomicBool,
    plus: AtomicU8,
}

/// The region that requests are signed for.
struct Region {
    name: Arc<Mutex<String>>,
    /// Whether somebody named it, so that the bucket does not decide.
    named: bool,
    /// What has to know when it changes; `None` without credentials.
    chain: Option<Arc<Chain<Credential>>>,
}

impl Region {
    fn get(&self) -> String {
        self.name.lock().clone()
    }

    fn set(&self, name: &str) {
        name.clone_into(&mut self.name.lock());
        if let Some(chain) = &self.chain {
            chain.remake();
        }
    }
}

impl Session {
    pub(super) fn new(address: &Address) -> Result<Session> {
        let settings = Settings::new(address)?;
        let profile = settings.profile.clone();
        Session::build(address, settings, move || Ways::new(profile.clone()))
    }

    pub(super) fn with_keys(address: &Address, id: &str, secret: &str) -> Result<Session> {
        let (id, secret) = (id.to_owned(), secret.to_owned());
        Session::build(address, Settings::new(address)?, move || StaticCredentialProvider::new(&id, &secret))
    }

    fn build<P: ProvideCredential<Credential = Credential>>(
        address: &Address,
        settings: Settings,
        credentials: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<Session> {
        let transport = Transport::new(address.timeout, &Trust { bundle: settings.bundle.clone() })?;
        let name = settings.region.clone().unwrap_or_else(|| USUAL_REGION.to_owned());
        let name = Arc::new(Mutex::new(name));
        let chain = (!address.anonymous).then(|| Arc::new(chain(&transport, credentials, name.clone())));
        let signing: Arc<dyn Sign> = match &chain {
            Some(chain) => chain.clone(),
            None => Arc::new(Anonymous),
        };
        let region = Region { name, named: settings.region.is_some(), chain };
        let client = Client::new(transport, signing, address.timeout);
        Ok(Session { client, settings, region, bare_tags: AtomicBool::new(false), plus: Plus::unknown() })
    }

    /// The client, for its counters.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// A key as people write it.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("s3://{}/{key}", self.settings.bucket())
    }

    /// The region that requests are signed for now.
    pub(super) fn region(&self) -> String {
        self.region.get()
    }

    pub(super) fn bucket(&self) -> &str {
        self.settings.bucket()
    }

    /// What `+` stands for in listings, as a [`Plus`].
    pub(super) fn plus(&self) -> &AtomicU8 {
        &self.plus
    }

    /// Whether the service is Amazon's own.
    pub(super) fn is_amazon(&self) -> bool {
        self.settings.endpoint.is_none()
    }

    /// A request about a key; about the bucket itself where the key is empty.
    pub(super) fn request(&self, operation: &'static str, method: Method, key: &str) -> Request {
        let request = Request::new(operation, method, "", format!("/{}", encode_path(key)));
        request.about(self.subject(key))
    }

    /// Sends a request to the bucket, where it is.
    pub(super) async fn send(&self, request: Request) -> Result<Response, Failure> {
        let region = self.region.get();
        let failure = match self.client.send(self.addressed(request.clone(), &region)?).await {
            Ok(response) => return Ok(response),
            Err(failure) => failure,
        };
        let Some(found) = self.other_region(&failure, &region).await else { return Err(failure) };
        if self.region.named {
            return Err(Failure::Broken(Error::new(
                ErrorKind::Invalid,
                format!(
                    "{request}: the bucket is in the region {found}, not in {region}: name that (--region)"
                ),
            )));
        }
        tracing::debug!(bucket = self.bucket(), region = found, "the bucket tells its region");
        self.region.set(&found);
        self.client.send(self.addressed(request, &found)?).await
    }

    fn addressed(&self, mut request: Request, region: &str) -> Result<Request> {
        let (origin, base) = self.settings.origin(region);
        request.origin = origin;
        // Of the bucket itself: `/bucket?list-type=2` and `/bucket/?list-type=2` are the same to all servers but for the
        // signature of some; this one is what Amazon's tools send.
        if request.path == "/" && !base.is_empty() {
            request.path = base;
        } else {
            request.path.insert_str(0, &base);
        }
        if !self.settings.encrypted() {
            let digest = hex::encode(Sha256::digest(&request.body));
            request = request.header("x-amz-content-sha256", &digest)?;
        }
        Ok(request)
    }

    /// The region that the bucket is in, where a refusal says that it is not this one.
    async fn other_region(&self, failure: &Failure, region: &str) -> Option<String> {
        let refusal = failure.refusal()?;
        let misdirected = matches!(refusal.status.as_u16(), 301 | 307 | 308)
            || refusal.code == "AuthorizationHeaderMalformed"
            || refusal.code == "IllegalLocationConstraintException"
            || (refusal.status == StatusCode::BAD_REQUEST
                && refusal.code.is_empty()
                && refusal.body.is_empty());
        if !misdirected {
            return None;
        }
        let told = |refusal: &crate::store::object::client::Refusal| {
            let header = refusal.headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
            header.map(str::to_owned).or_else(|| xml::region(&refusal.body))
        };
        let found = match told(refusal) {
            Some(found) => Some(found),
            None if self.is_amazon() => self.ask_region(region).await,
            None => None,
        };
        found.filter(|found| found != region && is_region(found))
    }

    /// Asks which region the bucket is in; Amazon says it with every answer.
    async fn ask_region(&self, region: &str) -> Option<String> {
        let request = self.request("HeadBucket", Method::HEAD, "");
        let name = "x-amz-bucket-region";
        match self.client.send(self.addressed(request, region).ok()?).await {
            Ok(response) => response.header(name).map(str::to_owned),
            Err(failure) => Some(failure.refusal()?.headers.get(name)?.to_str().ok()?.to_owned()),
        }
    }

    /// Sends a request that names a version of `key`, in the form that this server takes: RFC 9110 wants quotes around an
    /// ETag, Ceph finds only those without equal. It is told by an object that has the version and is said not to. Success
    /// tells nothing: some servers do not look.
    pub(super) async fn send_tagged(
        &self,
        key: &str,
        version: &str,
        build: impl Fn(&str) -> Result<Request>,
    ) -> Result<Response, Failure> {
        if self.bare_tags.load(Ordering::Relaxed) {
            return self.send(build(version)?).await;
        }
        let failure = match self.send(build(&format!("\"{version}\""))?).await {
            Err(failure) if failure.status() == Some(StatusCode::PRECONDITION_FAILED) => failure,
            sent => return sent,
        };
        if self.head(key).await?.is_none_or(|object| object.version != version) {
            return Err(failure);
        }
        let response = self.send(build(version)?).await?;
        self.bare_tags.store(true, Ordering::Relaxed);
        Ok(response)
    }
}

fn chain<P: ProvideCredential<Credential = Credential>>(
    transport: &Transport,
    credentials: impl Fn() -> P + Send + Sync + 'static,
    region: Arc<Mutex<String>>,
) -> Chain<Credential> {
    let transport = transport.clone();
    let make =
        move || Signer::new(context(&transport), credentials(), RequestSigner::new("s3", &region.lock()));
    Chain::new(make, NO_CREDENTIALS)
}

/// Whether it can be part of a host's name: a server's word is not trusted with more.
fn is_region(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// A request that may be repeated when its answer was lost.
pub(super) fn repeatable(request: Request) -> Request {
    request.repeat(Repeat::Safe)
}
