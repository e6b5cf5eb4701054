//! Cloud buckets: S3, Google Cloud Storage, Azure Blob.

pub mod address;
pub mod bucket;
pub mod client;
pub mod s3;
