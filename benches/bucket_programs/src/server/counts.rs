//! What the server was asked.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};

/// Requests by operation, and the bytes that were sent.
#[derive(Default)]
pub struct Counts {
    requests: Mutex<BTreeMap<String, u64>>,
}

/// Under which name bytes are counted.
const BYTES: &str = "bytes sent";

impl Counts {
    /// Bytes of an answer.
    pub fn sent(&self, bytes: u64) {
        self.add(BYTES, bytes);
    }

    /// What was counted since this was asked last, as one line of JSON.
    pub fn take(&self) -> String {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        serde_json::json!(std::mem::take(&mut *requests)).to_string()
    }

    fn add(&self, name: &str, count: u64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry(name.to_owned()).or_default() += count;
    }
}

/// Each request that is signed well is asked here.
pub struct Counting(pub std::sync::Arc<Counts>);

#[async_trait::async_trait]
impl S3Access for Counting {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        self.0.add(request.s3_op().name(), 1);
        Ok(())
    }
}
