//! Whether a request that failed is tried again, and when.

use std::error::Error as StdError;
use std::time::Duration;

use http::StatusCode;
use http::header::RETRY_AFTER;
use hyper_util::client::legacy::Error as SendError;

use super::{Failure, Refusal, Repeat, Request};
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind};

/// When a request is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    /// As the service asks.
    After(Duration),
}

/// A try that failed.
pub(super) struct Trouble {
    pub(super) failure: Failure,
    pub(super) again: Again,
}

impl Trouble {
    /// How long to wait before the next try; `None`: there is none.
    pub(super) fn wait(&self, usual: Option<Duration>, deadline: Deadline) -> Option<Duration> {
        let wait = match self.again {
            Again::Never => return None,
            Again::Soon => usual?,
            Again::After(asked) => usual?.max(asked),
        };
        (wait < deadline.left()).then_some(wait)
    }
}

/// The service answered, and not with success.
pub(super) fn refused(request: &Request, refusal: Refusal) -> Trouble {
    let lost = matches!(
        refusal.status,
        StatusCode::INTERNAL_SERVER_ERROR | StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT
    );
    let busy = matches!(refusal.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        || refusal.code == "RequestTimeout";
    let again = match (busy, lost, request.repeat) {
        (true, _, _) | (_, true, Repeat::Safe) => pause(&refusal).map_or(Again::Soon, Again::After),
        _ => Again::Never,
    };
    let failure = if lost && request.repeat == Repeat::OnlyIfRefused {
        let error = Error::from(Failure::Refused(Box::new(refusal)));
        Failure::Broken(Error::new(ErrorKind::Uncertain, error.to_string()))
    } else {
        Failure::Refused(Box::new(refusal))
    };
    Trouble { failure, again }
}

/// What `Retry-After` asks for: seconds, or a date.
fn pause(refusal: &Refusal) -> Option<Duration> {
    let asked = refusal.headers.get(RETRY_AFTER)?.to_str().ok()?;
    match asked.trim().parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(asked).ok()?.duration_since(env::now()).ok(),
    }
}

/// No answer came in time.
pub(super) fn unanswered(request: &Request, timeout: Duration) -> Trouble {
    let sentence = format!(
        "{request}: no answer within {} (--timeout)",
        humantime::format_duration(Duration::from_millis(timeout.as_millis() as u64))
    );
    Trouble {
        failure: Failure::Broken(Error::new(lost(request, ErrorKind::TimedOut), sentence)),
        again: Again::Never,
    }
}

/// The connection could not be made, or broke before the answer came.
pub(super) fn broken(request: &Request, error: &SendError) -> Trouble {
    let untrusted = caused_by::<rustls::Error>(error)
        .is_some_and(|e| matches!(e, rustls::Error::InvalidCertificate(_)))
        || causes(error).contains("invalid peer certificate");
    let never_sent =
        error.is_connect() || caused_by::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled);
    let (kind, again, advice) = if untrusted {
        let advice = "; trust its certificate authority by SSL_CERT_FILE, or correct the endpoint";
        (ErrorKind::Io, Again::Never, advice)
    } else if never_sent {
        (ErrorKind::Io, Again::Soon, "; is the endpoint right, and the network up?")
    } else {
        let again = if request.repeat == Repeat::Safe { Again::Soon } else { Again::Never };
        (lost(request, ErrorKind::Io), again, "")
    };
    let sentence = format!("{request} at {}: {}{advice}", request.origin, causes(error));
    Trouble { failure: Failure::Broken(Error::new(kind, sentence)), again }
}

/// The kind of a failure after which it is not known whether the request was carried out.
fn lost(request: &Request, otherwise: ErrorKind) -> ErrorKind {
    if request.repeat == Repeat::Safe { otherwise } else { ErrorKind::Uncertain }
}

/// An error and what caused it, each once.
pub(in crate::store::object) fn causes(error: &dyn StdError) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_told = cause.to_string();
        if !told.ends_with(&cause_told) {
            told.push_str(": ");
            told.push_str(&cause_told);
        }
        source = cause.source();
    }
    told
}

fn caused_by<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut source = Some(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref::<T>() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}
