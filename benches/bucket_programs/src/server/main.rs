//! An S3 server in memory, on a free port of this machine: it prints its address, for each line of its standard input
//! what it was asked since the last one, and ends with its standard input.
//!
//! The protocol is the crate `s3s`'s, signatures included; the objects are in `objects`, and answered by `service`. It
//! is as quick as a server can be, so that what is measured is who asks.

mod counts;
mod objects;
mod service;

use std::io;
use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tokio::net::TcpListener;

use counts::{Counting, Counts};
use objects::Objects;
use service::Service;

#[tokio::main]
async fn main() -> io::Result<()> {
    let keys = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0);
    let objects = Arc::new(Objects::default());
    objects.fill(keys);
    let counts = Arc::new(Counts::default());
    let mut builder = S3ServiceBuilder::new(Service { objects, counts: Arc::clone(&counts) });
    builder.set_access(Counting(Arc::clone(&counts)));
    builder.set_auth(SimpleAuth::from_single("kvfs", "kvfssecret"));
    let service = builder.build();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = socket.set_nodelay(true);
            let service = service.clone();
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(socket), service).await;
            });
        }
    });
    let mut lines = BufReader::new(stdin()).lines();
    while lines.next_line().await?.is_some() {
        println!("{}", counts.take());
    }
    Ok(())
}
