//! A plain program over `object_store`, without a mount: what a bucket gives to whoever writes a program for it.
//!
//! Does one piece of work on the bucket `bench` and prints its length as one line of JSON, as `benches/workloads` does.

use std::env::var;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use clap::{Parser, Subcommand};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The length of small objects, in bytes.
const SMALL: usize = 4096;

#[derive(Parser)]
struct Arguments {
    /// How many requests are under way at the same time.
    #[arg(long, default_value_t = 4, global = true)]
    concurrency: usize,
    /// Bytes of a request.
    #[arg(long, default_value_t = 8 << 20, global = true)]
    piece: usize,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Writes an object from its beginning to its end.
    Write { key: String, size: u64 },
    /// Reads one.
    Read { key: String },
    /// Makes small objects.
    Create { prefix: String, count: usize },
    /// Reads them.
    ReadSmall { prefix: String, count: usize },
    /// Removes them.
    Remove { prefix: String, count: usize },
    /// Lists all that begins with a prefix.
    List { prefix: String },
    /// Reads pieces here and there.
    Random { key: String, count: usize },
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name("bench")
        .with_endpoint(var("AWS_ENDPOINT_URL")?)
        .with_allow_http(true)
        .build()?;
    let start = Instant::now();
    let operations = carry_out(Arc::new(store), &arguments).await?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "operations": operations, "seconds": seconds }));
    Ok(())
}

/// Does the work; how many bytes or objects it was.
async fn carry_out(store: Arc<AmazonS3>, arguments: &Arguments) -> Outcome<u64> {
    let concurrency = arguments.concurrency;
    match &arguments.work {
        Work::Write { key, size } => write(&store, key, *size, arguments).await,
        Work::Read { key } => read(&store, key, arguments).await,
        Work::Create { prefix, count } => {
            let body = Bytes::from(vec![7_u8; SMALL]);
            let put = |path: Path| {
                let (store, body) = (Arc::clone(&store), PutPayload::from(body.clone()));
                async move { store.put(&path, body).await.map(drop) }
            };
            each(prefix, *count, concurrency, put).await
        }
        Work::ReadSmall { prefix, count } => {
            let get = |path: Path| {
                let store = Arc::clone(&store);
                async move { store.get(&path).await?.bytes().await.map(drop) }
            };
            each(prefix, *count, concurrency, get).await
        }
        Work::Remove { prefix, count } => {
            let remove = |path: Path| {
                let store = Arc::clone(&store);
                async move { store.delete(&path).await }
            };
            each(prefix, *count, concurrency, remove).await
        }
        Work::List { prefix } => {
            let listed = store.list(Some(&Path::from(prefix.as_str())));
            Ok(listed.try_fold(0, async |count, _| Ok(count + 1)).await?)
        }
        Work::Random { key, count } => {
            let path = Path::from(key.as_str());
            let size = store.head(&path).await?.size;
            for at in scattered(size, *count) {
                store.get_range(&path, at..at + SMALL as u64).await?;
            }
            Ok(*count as u64)
        }
    }
}

async fn write(store: &AmazonS3, key: &str, size: u64, arguments: &Arguments) -> Outcome<u64> {
    let upload = store.put_multipart(&Path::from(key)).await?;
    let mut writer = WriteMultipart::new_with_chunk_size(upload, arguments.piece);
    let block = Bytes::from(vec![7_u8; 1 << 20]);
    let mut left = size;
    while left > 0 {
        writer.wait_for_capacity(arguments.concurrency).await?;
        let length = left.min(block.len() as u64);
        writer.write(&block[..length as usize]);
        left -= length;
    }
    writer.finish().await?;
    Ok(size)
}

async fn read(store: &Arc<AmazonS3>, key: &str, arguments: &Arguments) -> Outcome<u64> {
    let path = Path::from(key);
    let size = store.head(&path).await?.size;
    let piece = arguments.piece as u64;
    let ranges = (0..size.div_ceil(piece)).map(|number| {
        let (store, path) = (Arc::clone(store), path.clone());
        async move { store.get_range(&path, number * piece..size.min((number + 1) * piece)).await }
    });
    let read = stream::iter(ranges).buffered(arguments.concurrency);
    Ok(read.try_fold(0, async |sum, bytes| Ok(sum + bytes.len() as u64)).await?)
}

/// Does something with each small object, several at a time.
async fn each<F, D>(prefix: &str, count: usize, concurrency: usize, deed: D) -> Outcome<u64>
where
    F: Future<Output = object_store::Result<()>>,
    D: Fn(Path) -> F,
{
    let paths = (0..count).map(|number| Path::from(format!("{prefix}/{number:06}")));
    stream::iter(paths.map(deed)).buffer_unordered(concurrency).try_collect::<Vec<()>>().await?;
    Ok(count as u64)
}

/// Places of small pieces, scattered over `size` bytes, the same in each run.
fn scattered(size: u64, count: usize) -> impl Iterator<Item = u64> {
    let pieces = size / SMALL as u64;
    (0..count as u64).map(move |number| number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % pieces * SMALL as u64)
}
