//! What can go wrong between kvfs and a server, and with which requests it does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is forwarded this much later.
    Late(Duration),
    /// It is answered without being forwarded.
    Refused(Refusal),
    /// The connection is reset before anything is forwarded.
    Lost,
    /// It is carried out, and the connection is reset in place of its answer.
    AnswerLost,
    /// It is carried out and answered, but for the connection's reset after so many bytes of the answer's body.
    Cut(u64),
    /// As [`Fault::Cut`], but the connection ends in order, as when a server believes that this was all.
    Short(u64),
    /// The answer's head and body agree on so many bytes, though the object has more.
    Understated(u64),
    /// The answer shows the version of another object.
    OtherTag,
    /// Nobody answers, until the client gives up or the proxy ends.
    Silence,
}

/// An answer that the server did not give.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Of HTTP.
    pub status: u16,
    /// The service's code, in the XML of S3 and of Azure.
    pub code: &'static str,
    /// What stands beside the usual headers.
    pub headers: Vec<(&'static str, String)>,
}

impl Fault {
    /// An answer with this status and code.
    pub fn refused(status: u16, code: &'static str) -> Fault {
        Fault::Refused(Refusal { status, code, headers: Vec::new() })
    }

    /// An answer with a header besides.
    #[must_use]
    pub fn with(self, name: &'static str, value: impl Into<String>) -> Fault {
        let Fault::Refused(mut refusal) = self else { panic!("{self:?} has no headers") };
        refusal.headers.push((name, value.into()));
        Fault::Refused(refusal)
    }
}

/// A fault, and what it befalls: the next so many requests of an operation whose target has a text in it.
#[derive(Debug)]
pub struct Rule {
    pub operation: &'static str,
    pub target: String,
    pub fault: Fault,
    /// How often it is still to happen.
    pub left: Arc<AtomicU64>,
}

impl Rule {
    /// Whether it befalls this request; one time less is left then.
    pub fn takes(&self, operation: &str, target: &str) -> bool {
        let meant = self.operation.is_empty() || self.operation == operation;
        meant
            && target.contains(&self.target)
            && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    }
}
