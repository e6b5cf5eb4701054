//! The one HTTP client of the cloud buckets: signs, sends, tries again within the deadline, counts, and says in a
//! sentence what went wrong.
//!
//! It stands on hyper, whose `http::Uri` goes over the wire as it was written. Clients that parse URLs as browsers do
//! (reqwest among them) resolve `.` and `..` even when they are percent-encoded, so that the key `a/../b` would be `b`.

mod counters;
mod failure;
mod request;
mod response;
#[cfg(test)]
pub(super) mod script;
mod signing;
#[cfg(test)]
mod tests;
mod transport;
mod tries;

use std::sync::Arc;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use http::header::{CONTENT_LENGTH, USER_AGENT};
use http::request::Parts;
use http::{HeaderValue, Method};

use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

pub use counters::Counters;
pub use failure::{Failure, Refusal};
pub use request::{Repeat, Request, encode_path, encode_word};
pub use response::{Response, TEXT_MAX};
pub use signing::{Anonymous, Chain, Sign, context};
pub use transport::{Transport, Trust};

pub(in crate::store::object) use tries::causes;

use transport::Outgoing;
use tries::{Again, Trouble};

/// As what kvfs makes itself known.
const AGENT: HeaderValue = HeaderValue::from_static(concat!("kvfs/", env!("CARGO_PKG_VERSION")));

/// How much longer than the deadline a body may take in all before it is not sent again: a second for so many bytes.
const SLOW_BYTES_PER_SECOND: u64 = 1 << 20;

/// The client of one bucket. Clones share connections, credentials and counters.
#[derive(Clone)]
pub struct Client {
    transport: Transport,
    signing: Arc<dyn Sign>,
    counters: Arc<Counters>,
    timeout: Duration,
}

impl Client {
    /// A client that signs with `signing`; `timeout` bounds each request, tries and waits between them included.
    pub fn new(transport: Transport, signing: Arc<dyn Sign>, timeout: Duration) -> Client {
        Client { transport, signing, counters: Arc::default(), timeout }
    }

    /// The same client with another deadline.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Client {
        Client { timeout, ..self.clone() }
    }

    /// The deadline of each request that names none of its own.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How often each operation was sent, retries included, and how many bytes went which way.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sends a request and answers when the head of a successful response (2xx) is there.
    ///
    /// What the service says to be in its way for now (429, 503) and what was never sent is tried again, with waits
    /// that grow and jitter, until the deadline; 500, 502, 504 and lost answers too, if the request says that repeating it
    /// is safe. Credentials that have expired are loaded anew, once.
    ///
    /// # Errors
    /// What the service said; `Uncertain` inside where an answer was lost and the request may have been carried out.
    pub async fn send(&self, request: Request) -> Result<Response, Failure> {
        let timeout = request.timeout.unwrap_or(self.timeout);
        let allowance = Duration::from_secs(request.body.len() as u64 / SLOW_BYTES_PER_SECOND);
        let deadline = Deadline::after(timeout + allowance);
        let waits = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times();
        (|| self.attempt(&request, deadline, timeout))
            .retry(waits)
            .adjust(|trouble: &Trouble, wait| trouble.wait(wait, deadline))
            .notify(|trouble: &Trouble, wait| tracing::debug!(?wait, "again: {}", trouble.failure))
            .await
            .map_err(|trouble| trouble.failure)
    }

    /// One try; a second at once where credentials had expired.
    async fn attempt(
        &self,
        request: &Request,
        deadline: Deadline,
        timeout: Duration,
    ) -> Result<Response, Trouble> {
        let (used, tried) = self.once(request, deadline, timeout).await;
        match tried {
            Err(trouble) if trouble.failure.says_expired(&request.method) && self.signing.renew(used) => {
                self.once(request, deadline, timeout).await.1
            }
            tried => tried,
        }
    }

    /// Signs and sends once. Also answers which generation of the credentials was used.
    async fn once(
        &self,
        request: &Request,
        deadline: Deadline,
        timeout: Duration,
    ) -> (u64, Result<Response, Trouble>) {
        let (used, parts) = match self.signed(request, deadline).await {
            Ok(signed) => signed,
            Err(trouble) => return (0, Err(trouble)),
        };
        self.counters.count(request.operation);
        let (body, progress) = Outgoing::new(request.body.clone(), &self.counters);
        let sending = self.transport.send(http::Request::from_parts(parts, body));
        let answered = match progress.bounded(sending, deadline, timeout).await {
            None => Err(tries::unanswered(request, timeout)),
            Some(Err(error)) => Err(tries::broken(request, &error)),
            Some(Ok(response)) => {
                let response = Response::new(request, response, timeout, &self.counters);
                if response.status.is_success() {
                    Ok(response)
                } else {
                    Err(tries::refused(request, Refusal::read(request, response).await))
                }
            }
        };
        (used, answered)
    }

    async fn signed(&self, request: &Request, deadline: Deadline) -> Result<(u64, Parts), Trouble> {
        let fail = |error: Error, again| Trouble { failure: Failure::Broken(error), again };
        let mut parts = request.parts().map_err(|error| fail(error, Again::Never))?;
        if request.method != Method::GET && request.method != Method::HEAD {
            parts.headers.insert(CONTENT_LENGTH, request.body.len().into());
        }
        let signing = tokio::time::timeout_at(deadline.at().into(), self.signing.sign(&mut parts));
        let used = match signing.await {
            Ok(Ok(used)) => used,
            Ok(Err(error)) => {
                let again = if self.signing.worked() { Again::Soon } else { Again::Never };
                return Err(fail(error.context(request), again));
            }
            Err(_) => {
                let error = Error::new(ErrorKind::TimedOut, "no credentials before the deadline (--timeout)");
                return Err(fail(error.context(request), Again::Never));
            }
        };
        parts.headers.insert(USER_AGENT, AGENT);
        Ok((used, parts))
    }
}
