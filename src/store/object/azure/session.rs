//! The client of one container, with its credentials.

use std::sync::Arc;

use http::Method;
use reqsign::Signer;
use reqsign::azure::RequestSigner;

use super::settings::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::address::Address;
use crate::store::object::client::{
    Anonymous, Chain, Client, Failure, Request, Response, Sign, Transport, Trust, context, encode_word,
};

/// What this speaks: what Azure has and Azurite takes.
const VERSION: &str = "2023-11-03";

const NO_CREDENTIALS: &str = "no credentials: log in with `az login`, set AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY, \
     AZURE_STORAGE_SAS_TOKEN or AZURE_STORAGE_CONNECTION_STRING, give the machine a managed identity, or ask for a public \
     container with --anonymous";

/// A client with credentials, for one container.
pub(super) struct Session {
    client: Client,
    settings: Settings,
    container: String,
}

impl Session {
    pub(super) fn new(address: &Address) -> Result<Session> {
        Session::with(address, Settings::new(address)?)
    }

    pub(super) fn with(address: &Address, settings: Settings) -> Result<Session> {
        let transport = Transport::new(address.timeout, &Trust::default())?;
        let signing: Arc<dyn Sign> = if address.anonymous {
            Arc::new(Anonymous)
        } else {
            let (transport, settings) = (transport.clone(), settings.clone());
            let make = move || Signer::new(context(&transport), settings.credentials(), RequestSigner::new());
            Arc::new(Chain::new(make, NO_CREDENTIALS))
        };
        let client = Client::new(transport, signing, address.timeout);
        Ok(Session { client, settings, container: address.bucket.clone() })
    }

    /// The client, for its counters.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// A key as people write it.
    pub(super) fn subject(&self, key: &str) -> String {
        format!("az://{}/{}/{key}", self.settings.account, self.container)
    }

    /// A request about a blob; about the container itself where the key is empty.
    ///
    /// # Errors
    /// `NameEncoding`: a key that no blob can have.
    pub(super) fn request(&self, operation: &'static str, method: Method, key: &str) -> Result<Request> {
        if let Some(why) = refuses(key) {
            return Err(Error::new(ErrorKind::NameEncoding, format!("{}: {why}", self.subject(key))));
        }
        let request = Request::new(operation, method, &self.settings.endpoint.origin, self.path(key));
        request.about(self.subject(key)).header("x-ms-version", VERSION)
    }

    pub(super) async fn send(&self, request: Request) -> Result<Response, Failure> {
        self.client.send(request).await
    }

    /// The address of a blob, as the source of a copy.
    pub(super) fn address(&self, key: &str) -> String {
        format!("{}{}", self.settings.endpoint.origin, self.path(key))
    }

    fn path(&self, key: &str) -> String {
        let slash = if key.is_empty() { "" } else { "/" };
        // Slashes in a key are encoded too, so that nobody on the way, nor whoever reads the source of a copy, tidies `..` up.
        format!("{}/{}{slash}{}", self.settings.endpoint.path, encode_word(&self.container), encode_word(key))
    }
}

/// Why no blob can have this key: asked for it, the service takes it for another one, and a put would replace that. (Azurite
/// keeps names with dots apart.)
pub(super) fn refuses(key: &str) -> Option<&'static str> {
    if key.contains('\\') {
        Some("Azure makes a slash of every backslash")
    } else if key.split('/').any(|name| name.ends_with('.')) {
        Some("Azure drops a dot at the end of a name")
    } else {
        None
    }
}

pub(super) fn is_possible(key: &str) -> bool {
    refuses(key).is_none()
}
