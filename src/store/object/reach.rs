//! What every part of an object store needs: the bucket, the names of its keys, and how long anybody waits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use super::ahead::Ahead;
use super::bucket::{Bucket, Object};
use super::honoured::Honoured;
use super::journal::Journal;
use super::metadata::{self, Style};
use super::names::Names;
use super::pages::Waiting;
use super::recent::Recent;
use crate::env::{self, Deadline};
use crate::error::{Error, Result};
use crate::store::attributes::Attributes;

/// A bucket within reach.
pub(super) struct Reach {
    pub bucket: Arc<dyn Bucket>,
    pub names: Names,
    /// In whose words attributes are kept; `None`: nowhere.
    pub style: Option<Style>,
    /// Objects as this mount saw or put them last.
    pub recent: Recent,
    /// Whether listing is denied, so that only whole paths can be opened.
    pub listing_denied: AtomicBool,
    /// Which conditions the server honours.
    pub honoured: Honoured,
    /// Uploads that run ahead of their puts.
    pub ahead: Ahead,
    /// Uploads that are under way.
    pub journal: Journal,
    /// Listings that stopped in the middle.
    pub waiting: Waiting,
    /// When it was opened: directories are as new as that.
    pub opened: SystemTime,
    pub timeout: Duration,
}

impl Reach {
    /// Waits for what the bucket is asked, within the deadline of a request.
    pub(super) fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        env::wait(Deadline::after(self.timeout), future)
    }

    /// The same, for what takes many requests: each has its own deadline, and all together this one.
    pub(super) fn wait_long<T>(&self, requests: u64, future: impl Future<Output = Result<T>>) -> Result<T> {
        let factor = u32::try_from(requests.max(1)).unwrap_or(u32::MAX);
        env::wait(Deadline::after(self.timeout.saturating_mul(factor)), future)
    }

    /// See the field.
    pub(super) fn listing_denied(&self) -> bool {
        self.listing_denied.load(Ordering::Relaxed)
    }

    /// What an object's headers tell of it.
    pub(super) fn attributes(&self, object: &Object) -> Attributes {
        match (self.style, &object.headers) {
            (Some(style), Some(headers)) => metadata::read(style, headers).attributes,
            _ => Attributes::default(),
        }
    }

    /// The failure with the key in front of it.
    pub(super) fn about(key: &str, error: Error) -> Error {
        error.context(format_args!("{key:?}"))
    }
}
