//! Where a bucket is, and how it is reached.

use std::time::Duration;

/// All that is needed to reach one bucket. It has no secret: credentials come from the service's own chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The bucket; of Azure, the container.
    pub bucket: String,
    /// Azure's storage account.
    pub account: Option<String>,
    /// The server, where it is not the service's own: `http://127.0.0.1:9000`.
    pub endpoint: Option<String>,
    /// S3's region, where it is named; else the environment's or the profile's, else the one that the bucket tells.
    pub region: Option<String>,
    /// The profile in the files of S3's chain.
    pub profile: Option<String>,
    /// Whether the bucket is in the path rather than in the host's name; `None`: in the path at endpoints of one's own.
    pub path_style: Option<bool>,
    /// Whether requests go without credentials: a public bucket.
    pub anonymous: bool,
    /// The deadline of each request (§8.1).
    pub timeout: Duration,
}
