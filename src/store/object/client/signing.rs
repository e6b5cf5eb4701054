//! Who asks: credentials from a service's own chain, and signatures.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use http::request::Parts;
use parking_lot::Mutex;
use reqsign::{Context, HttpSend, OsEnv, Signer, SigningCredential};
use reqsign_command_execute_tokio::TokioCommandExecute;
use reqsign_file_read_tokio::TokioFileRead;

use super::Transport;
use crate::env;
use crate::error::{Error, ErrorKind, Result};

/// What signs requests.
#[async_trait]
pub trait Sign: Send + Sync + 'static {
    /// Adds to a request what proves who asks; answers which generation of credentials that was.
    ///
    /// # Errors
    /// `Unauthenticated`, with a sentence that tells the ways to give credentials.
    async fn sign(&self, parts: &mut Parts) -> Result<u64>;

    /// Forgets the credentials of generation `used`, which the service says have expired; whether trying again makes sense.
    fn renew(&self, used: u64) -> bool;

    /// Whether there were credentials before: if so, that there are none now may pass.
    fn worked(&self) -> bool;
}

/// No credentials: what is open to everybody.
pub struct Anonymous;

#[async_trait]
impl Sign for Anonymous {
    async fn sign(&self, _parts: &mut Parts) -> Result<u64> {
        Ok(0)
    }

    fn renew(&self, _used: u64) -> bool {
        false
    }

    fn worked(&self) -> bool {
        false
    }
}

/// The least time between two loads of credentials because a service refused them: plain denials look like that too.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

/// Characters of a failure to find credentials that are told.
const TOLD_MAX: usize = 300;

/// One of reqsign's signers, made anew when its credentials have expired before it thought so.
pub struct Chain<K: SigningCredential> {
    make: Box<dyn Fn() -> Signer<K> + Send + Sync>,
    current: Mutex<Current<K>>,
    worked: AtomicBool,
    missing: &'static str,
}

struct Current<K: SigningCredential> {
    signer: Signer<K>,
    generation: u64,
    made: Option<Instant>,
}

impl<K: SigningCredential> Chain<K> {
    /// A chain; `missing` is the sentence for when it finds no credentials: which ways there are.
    pub fn new(make: impl Fn() -> Signer<K> + Send + Sync + 'static, missing: &'static str) -> Chain<K> {
        let current = Current { signer: make(), generation: 0, made: None };
        Chain { make: Box::new(make), current: Mutex::new(current), worked: AtomicBool::new(false), missing }
    }

    /// Makes the signer anew: for what `make` looks at and has changed.
    pub fn remake(&self) {
        let mut current = self.current.lock();
        current.signer = (self.make)();
        current.generation += 1;
    }
}

#[async_trait]
impl<K: SigningCredential> Sign for Chain<K> {
    async fn sign(&self, parts: &mut Parts) -> Result<u64> {
        let (signer, generation) = {
            let current = self.current.lock();
            (current.signer.clone(), current.generation)
        };
        match signer.sign(parts, None).await {
            Ok(()) => {
                self.worked.store(true, Ordering::Relaxed);
                Ok(generation)
            }
            Err(error) => Err(self.unsigned(&error)),
        }
    }

    fn renew(&self, used: u64) -> bool {
        let mut current = self.current.lock();
        if current.generation != used {
            return true;
        }
        let now = env::instant();
        if current.made.is_some_and(|made| now.saturating_duration_since(made) < RENEWAL_PAUSE) {
            return false;
        }
        *current = Current { signer: (self.make)(), generation: used + 1, made: Some(now) };
        true
    }

    fn worked(&self) -> bool {
        self.worked.load(Ordering::Relaxed)
    }
}

impl<K: SigningCredential> Chain<K> {
    /// What reqsign tells has no secrets in it, by its own rules.
    fn unsigned(&self, error: &reqsign::Error) -> Error {
        use reqsign::ErrorKind as Kind;
        let kind = error.kind();
        let error: String = super::causes(error).chars().take(TOLD_MAX).collect();
        let error = error.escape_debug();
        match kind {
            Kind::RequestInvalid => {
                Error::new(ErrorKind::Invalid, format!("the request cannot be signed: {error}"))
            }
            _ => Error::new(ErrorKind::Unauthenticated, format!("{} ({error})", self.missing)),
        }
    }
}

/// What reqsign's chains look for credentials with: files, the environment, commands, and our transport.
pub fn context(transport: &Transport) -> Context {
    Context::new()
        .with_file_read(TokioFileRead)
        .with_command_execute(TokioCommandExecute)
        .with_env(OsEnv)
        .with_http_send(Courier(transport.clone()))
}

/// How long a service of credentials may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same for the metadata of a machine, whose address leads nowhere on others.
const NEARBY_PATIENCE: Duration = Duration::from_secs(2);
/// The longest answer of a service of credentials, in bytes.
const ANSWER_MAX: usize = 1 << 20;

#[derive(Debug)]
struct Courier(Transport);

impl HttpSend for Courier {
    async fn http_send(&self, request: http::Request<Bytes>) -> reqsign::Result<http::Response<Bytes>> {
        let host = request.uri().host().unwrap_or_default();
        let nearby = host == "metadata.google.internal"
            || host.parse::<Ipv4Addr>().is_ok_and(|address| address.is_link_local());
        let patience = if nearby { NEARBY_PATIENCE } else { PATIENCE };
        let failed = |what: &str| reqsign::Error::unexpected(what.to_owned()).set_retryable(true);
        match tokio::time::timeout(patience, self.0.exchange(request, ANSWER_MAX)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failed(&error.to_string())),
            Err(_) => Err(failed("a service of credentials did not answer in time")),
        }
    }
}
