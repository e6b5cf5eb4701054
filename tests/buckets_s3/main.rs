//! The requests of a bucket, against real S3 servers: each test runs against every server in [`server::SERVERS`].

mod conditions;
mod copying;
mod errors;
mod keys;
mod listing;
mod objects;
mod server;
mod uploads;
