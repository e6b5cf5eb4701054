//! What every part of an object store needs: the bucket, the names of its keys, and how long anybody waits.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use backon::{BackoffBuilder, ExponentialBuilder};

use super::ahead::Ahead;
use super::bucket::{Bucket, Object};
use super::headers_on_disk::HeadersOnDisk;
use super::honoured::Honoured;
use super::journal::Journal;
use super::metadata::{self, Style};
use super::names::Names;
use super::pages::Waiting;
use super::recent::Recent;
use super::renaming::{Progress, Renaming};
use super::upload::Unfinished;
use crate::env::{self, Deadline};
use crate::error::{Error, Result};
use crate::store::attributes::Attributes;

/// How much longer than the client's own deadline is waited.
const GRACE: Duration = Duration::from_secs(2);

/// So often something is done again whose answer was lost, or whose bytes broke off without a single one.
const AGAIN_MOST: usize = 4;

/// How many times longer than others a request may take in which the server works by itself: copies, and making an object of
/// its parts.
pub(super) const LONG_WORK: u64 = 4;

/// A bucket within reach.
pub(super) struct Reach {
    pub bucket: Arc<dyn Bucket>,
    pub names: Names,
    /// In whose words attributes are kept; `None`: nowhere.
    pub style: Option<Style>,
    /// Objects as this mount saw or put them last.
    pub recent: Recent,
    /// Headers that mounts asked for, where they are kept on disk.
    pub on_disk: Option<Arc<HeadersOnDisk>>,
    /// Whether listing is denied, so that only whole paths can be opened.
    pub listing_denied: AtomicBool,
    /// Whether markers as Hadoop writes them were met.
    pub folder_markers: AtomicBool,
    /// Which conditions the server honours.
    pub honoured: Honoured,
    /// Uploads that run ahead of their puts.
    pub ahead: Ahead,
    /// Uploads that are under way.
    pub uploads: Journal<Unfinished>,
    /// Renames of folders that are under way.
    pub renames: Journal<Renaming>,
    /// How far they have come.
    pub progress: Progress,
    /// Listings that stopped in the middle.
    pub waiting: Waiting,
    /// When it was opened: directories are as new as that.
    pub opened: SystemTime,
    pub timeout: Duration,
}

impl Reach {
    /// The same with another bucket behind it, which is only read: nothing that this one has under way is under way there.
    pub(super) fn over(&self, bucket: Arc<dyn Bucket>, opened: SystemTime) -> Reach {
        Reach {
            bucket,
            names: self.names.clone(),
            style: self.style,
            recent: Recent::default(),
            on_disk: None,
            listing_denied: AtomicBool::new(false),
            folder_markers: AtomicBool::new(self.folder_markers.load(Ordering::Relaxed)),
            honoured: Honoured::NONE,
            ahead: Ahead::default(),
            uploads: self.uploads.clone(),
            renames: self.renames.clone(),
            progress: Progress::default(),
            waiting: Waiting::default(),
            opened,
            timeout: self.timeout,
        }
    }

    /// Waits for what the bucket is asked. The client holds each request to its deadline, and knows then whether it may
    /// have been carried out; this wait is a little longer, so that its word comes first.
    pub(super) fn wait<T>(&self, future: impl Future<Output = Result<T>>) -> Result<T> {
        self.wait_long(1, future)
    }

    /// The same, for what may take as long as so many requests one after the other.
    pub(super) fn wait_long<T>(&self, requests: u64, future: impl Future<Output = Result<T>>) -> Result<T> {
        let factor = u32::try_from(requests.max(1)).unwrap_or(u32::MAX);
        env::wait(Deadline::after(self.timeout.saturating_mul(factor).saturating_add(GRACE)), future)
    }

    /// See the field.
    pub(super) fn listing_denied(&self) -> bool {
        self.listing_denied.load(Ordering::Relaxed)
    }

    /// The waits before something is done again: few, and growing.
    pub(super) fn waits() -> impl Iterator<Item = Duration> {
        let waits = ExponentialBuilder::default().with_jitter().with_min_delay(Duration::from_millis(100));
        waits.with_max_times(AGAIN_MOST).build()
    }

    /// Waits before something is done again.
    pub(super) fn pause(&self, wait: Duration) -> Result<()> {
        self.wait(async {
            tokio::time::sleep(wait).await;
            Ok(())
        })
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
