//! The one asynchronous runtime of the process, for the clients of network stores; the one place that blocks on a future.

use std::future::Future;
use std::sync::OnceLock;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::Deadline;
use crate::error::{Error, ErrorKind, Result};

static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();

/// Threads that drive connections: their work is copying bytes and TLS.
const THREADS: usize = 4;
/// Threads for work that waits, such as fetching ahead; they are made when they are needed, and end when they are not.
const BLOCKING_THREADS: usize = 64;

fn runtime() -> Result<&'static Runtime> {
    let runtime = RUNTIME.get_or_init(|| {
        Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("kvfs-network")
            .max_blocking_threads(BLOCKING_THREADS)
            .enable_all()
            .build()
            .map_err(|e| Error::io("the network's threads", &e))
    });
    runtime.as_ref().map_err(Clone::clone)
}

/// Waits for a future on this thread, no longer than until the deadline: then it is dropped where it stands (§8.1).
///
/// # Errors
/// The future's; `TimedOut`.
#[allow(clippy::disallowed_methods, reason = "the one place that blocks on futures")]
pub fn wait<T>(deadline: Deadline, future: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(async {
        tokio::time::timeout_at(deadline.at().into(), future).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::TimedOut, "no answer before the deadline (--timeout)"))
        })
    })
}

/// Runs a future beside everything else.
///
/// # Errors
/// The system's, when the runtime cannot start.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<JoinHandle<T>> {
    Ok(runtime()?.spawn(future))
}

/// A runtime of its own, for work that others wait for with all threads of [`spawn_blocking`].
///
/// # Errors
/// The system's.
pub fn another_runtime(name: &str, blocking_threads: usize) -> Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(blocking_threads)
        .thread_name(name)
        .enable_all()
        .build()
        .map_err(|e| Error::io("the threads of a cache", &e))
}

/// Does something that waits, on a thread beside everything else.
///
/// # Errors
/// The system's, when the runtime cannot start.
pub fn spawn_blocking(work: impl FnOnce() + Send + 'static) -> Result<()> {
    drop(runtime()?.spawn_blocking(work));
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// §8.1
    #[test]
    fn a_future_that_never_ends_is_given_up() {
        let never = std::future::pending::<Result<()>>();
        let error = wait(Deadline::after(Duration::from_millis(10)), never).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let beside = spawn(async { 7 }).unwrap();
        let found = wait(Deadline::after(Duration::from_secs(5)), async { Ok(beside.await.unwrap()) });
        assert_eq!(found.unwrap(), 7);
    }
}
