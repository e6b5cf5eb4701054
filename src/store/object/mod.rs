//! Cloud buckets: S3, Google Cloud Storage, Azure Blob. One object is one file.
//!
//! | file | holds |
//! |---|---|
//! | `account` | all buckets of somebody, each a directory |
//! | `address` | where a bucket is, and how it is reached |
//! | `bucket` | what one service can be asked: the trait that each implements |
//! | `s3`, `gcs`, `azure` | the three services; `endpoint`: a server that is named |
//! | `driver` | the services as kinds of store |
//! | `fetching` | what every answer to a read is held against |
//! | `client` | the HTTP client of all services |
//! | `metadata` | attributes in the words of objects' metadata |
//! | `names` | keys and the tree that they make |
//! | `tree` | the bucket as a store: stat, list, open |
//! | `pages` | listings, fetched ahead |
//! | `folder_markers` | Hadoop's `name_$folder$` |
//! | `value` | open objects |
//! | `change`, `moving`, `upload` | puts, deletes, renames, uploads in parts |
//! | `continuing` | objects that are made of what is there and of what is sent: appends |
//! | `honoured`, `conditions` | which conditions a server honours, and what is done about others |
//! | `renaming` | renames that were interrupted, and how far others have come |
//! | `ahead` | objects that are sent while they are written |
//! | `journal` | uploads that are under way |
//! | `versioned` | what a bucket that keeps old versions can be asked besides |
//! | `past`, `history` | a bucket as it was; all versions of all objects, as a store |
//! | `headers_on_disk` | headers that were asked for, for later mounts |
//! | `recent` | the versions that this mount put last |

mod account;
pub mod address;
mod ahead;
pub mod azure;
pub mod bucket;
mod change;
pub mod client;
mod conditions;
mod continuing;
pub mod driver;
pub mod endpoint;
mod fetching;
mod folder_markers;
pub mod gcs;
mod headers_on_disk;
mod history;
mod honoured;
mod journal;
#[cfg(test)]
mod meddled;
pub mod metadata;
mod moving;
mod names;
mod pages;
mod past;
mod reach;
mod recent;
mod renaming;
pub mod s3;
#[cfg(test)]
mod shelf;
#[cfg(test)]
mod tests;
mod tree;
mod upload;
mod value;
pub mod versioned;
