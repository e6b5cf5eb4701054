//! The writer: one thread an environment, in which every write transaction runs. Whoever writes at the same time
//! shares a transaction (and its sync); a program that sits on LMDB's write lock costs a caller its deadline and
//! never a thread.
//!
//! ```text
//! caller: submit ── Waiting ──────────────┬─ deadline: Withdrawn (nothing was or will be done)
//! writer:        begin (may wait) ── Running ── commit ── Done
//! ```
//! A job that fails before it changed anything is answered and leaves the transaction to the others. One that
//! fails halfway ends it: it and all others run again, each in a transaction of its own.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::environment::Environment;
use super::pin::Pins;
use super::transaction::Writing;
use crate::env::Deadline;
use crate::error::{Error, ErrorKind, Result};

/// Jobs that wait at a time; more callers than session threads there cannot be.
const QUEUE_MAX: usize = 1024;
/// A transaction takes no further job above this many bytes of values: LMDB holds them in memory.
const BYTES_MAX: u64 = 32 << 20;
/// How long ending waits for a transaction that runs.
const END: Duration = Duration::from_secs(5);

/// What a caller lends to the writer thread.
pub(super) enum Work<'a> {
    /// Changes in a transaction shared with others; it may run again from the start, in another one. The number
    /// is [`Environment::handles_opened`] once its handle was open: an earlier transaction would not know that.
    Write(u64, &'a mut (dyn FnMut(&mut Writing<'_>) -> Result<()> + Send)),
    /// Something that no transaction of ours may run beside: opening and dropping handles, replacing the map.
    Alone(&'a mut (dyn FnMut(&Arc<Environment>) -> Result<()> + Send)),
}

/// The queue of one environment.
pub(super) struct Writer {
    environment: Arc<Environment>,
    pins: Arc<Pins>,
    queue: Mutex<Queue>,
    /// Told when there is a job, and at the end.
    work: Condvar,
    /// Told when the thread ended.
    ended: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Arc<Request>>,
    commits: u64,
    jobs: u64,
    closing: bool,
    running: bool,
}

struct Request {
    /// See [`Work::Write`]; `None` for work that runs alone.
    handles: Option<u64>,
    deadline: Deadline,
    work: UnsafeCell<Work<'static>>,
    state: Mutex<State>,
    done: Condvar,
}

enum State {
    Waiting,
    Running,
    Withdrawn,
    Done(Result<()>),
}

// SAFETY: `work` is used by the writer thread alone, and only between `Running` and `Done`, while the caller that
// lent it waits in `submit`; what it borrows is Send.
unsafe impl Send for Request {}
// SAFETY: as above.
unsafe impl Sync for Request {}

impl Writer {
    pub(super) fn new(environment: Arc<Environment>, pins: Arc<Pins>) -> Arc<Writer> {
        Arc::new(Writer {
            environment,
            pins,
            queue: Mutex::new(Queue::default()),
            work: Condvar::new(),
            ended: Condvar::new(),
        })
    }

    /// Hands `work` to the writer thread and returns when it is done, and committed where it is a change.
    ///
    /// # Errors
    /// `TimedOut` when the deadline passes before it could begin: nothing is done then, and nothing will be. What
    /// the work returns, and what the commit does. Once it has begun its outcome is waited for.
    pub(super) fn submit(&self, deadline: Deadline, work: Work<'_>) -> Result<()> {
        let handles = match &work {
            Work::Write(handles, _) => Some(*handles),
            Work::Alone(_) => None,
        };
        // SAFETY: only the lifetime is forgotten. The writer thread uses the work while its request is `Running`,
        // and this function does not return before it is `Done` or `Withdrawn`, so never after the borrow ended.
        let work = UnsafeCell::new(unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) });
        let state = Mutex::new(State::Waiting);
        let request = Arc::new(Request { handles, deadline, work, state, done: Condvar::new() });
        let mut queue = self.queue.lock();
        if queue.closing || !queue.running {
            return Err(Error::new(ErrorKind::Io, "the store is closed"));
        }
        if queue.waiting.len() >= QUEUE_MAX {
            return Err(Error::new(ErrorKind::Busy, "too many writes wait: try again"));
        }
        queue.waiting.push_back(Arc::clone(&request));
        drop(queue);
        self.work.notify_one();
        request.wait().map_err(|e| match e.kind() {
            ErrorKind::TimedOut => e.context(self.environment.place.shown.display()),
            _ => e,
        })
    }

    /// Commits made and jobs done in them.
    pub(super) fn counts(&self) -> (u64, u64) {
        let queue = self.queue.lock();
        (queue.commits, queue.jobs)
    }

    /// Starts the writer's thread.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn start(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let writer = Arc::clone(self);
        self.queue.lock().running = true;
        std::thread::Builder::new()
            .name("lmdb-writer".into())
            .spawn(move || {
                while let Some(alone) = writer.next() {
                    writer.serve(alone);
                }
                writer.queue.lock().running = false;
                writer.ended.notify_all();
            })
            .map_err(|e| Error::io("starting the writer's thread", &e))
    }

    /// Ends the thread after the jobs that wait; answers whether it did end (it may hang in another program's
    /// write lock).
    pub(super) fn stop(&self) -> bool {
        let deadline = Deadline::after(END);
        let mut queue = self.queue.lock();
        queue.closing = true;
        self.work.notify_all();
        while queue.running {
            if self.ended.wait_until(&mut queue, deadline.at()).timed_out() {
                return !queue.running;
            }
        }
        true
    }

    /// Waits for a job, and answers whether it runs alone; `None` at the end.
    fn next(&self) -> Option<bool> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(request) = queue.waiting.front() {
                return Some(request.handles.is_none());
            }
            if queue.closing {
                return None;
            }
            self.work.wait(&mut queue);
        }
    }

    fn serve(&self, alone: bool) {
        if alone {
            if let Some(request) = self.take(|handles| handles.is_none()) {
                // SAFETY: the request is `Running`: its caller waits, and this thread alone uses the work.
                let work = unsafe { &mut *request.work.get() };
                request.finish(match work {
                    Work::Alone(job) => job(&self.environment),
                    Work::Write(..) => Ok(()),
                });
            }
            return;
        }
        let opened = self.environment.handles_opened();
        self.transact(|handles| handles.is_some_and(|handles| handles <= opened));
    }

    /// Begins a transaction, waiting for whoever has it, and runs the jobs that `fit` in it.
    fn transact(&self, fit: impl Fn(Option<u64>) -> bool) {
        let mut writing = match self.begin() {
            Ok(writing) => writing,
            Err(error) => {
                if let Some(request) = self.take(&fit) {
                    request.finish(Err(error));
                }
                return;
            }
        };
        let mut done = Vec::new();
        while done.len() < QUEUE_MAX && writing.bytes() < BYTES_MAX {
            let Some(request) = self.take(&fit) else { break };
            let before = writing.changes();
            let result = self.run(&request, &mut writing);
            if let Err(error) = result {
                if writing.changes() == before {
                    request.finish(Err(error));
                    continue;
                }
                drop(writing);
                done.push(request);
                return self.one_by_one(done);
            }
            done.push(request);
        }
        if writing.changes() == 0 {
            drop(writing);
            done.iter().for_each(|request| request.finish(Ok(())));
            return;
        }
        match writing.commit() {
            Ok(()) => {
                let mut queue = self.queue.lock();
                queue.commits += 1;
                queue.jobs += done.len() as u64;
                drop(queue);
                done.iter().for_each(|request| request.finish(Ok(())));
            }
            // One may be too large for what room is left while the others are not.
            Err(error) if done.len() > 1 && error.kind() == ErrorKind::NoSpace => self.one_by_one(done),
            Err(error) => done.iter().for_each(|request| request.finish(Err(error.clone()))),
        }
    }

    /// Runs jobs each in a transaction of its own: the failure of one undoes nothing of another.
    fn one_by_one(&self, requests: Vec<Arc<Request>>) {
        for request in requests {
            let result = self.begin().and_then(|mut writing| {
                self.run(&request, &mut writing)?;
                writing.commit()
            });
            if result.is_ok() {
                let mut queue = self.queue.lock();
                queue.commits += 1;
                queue.jobs += 1;
            }
            request.finish(result);
        }
    }

    /// Begins the write transaction; where another program has outgrown our map, a larger one comes first.
    fn begin(&self) -> Result<Writing<'_>> {
        match self.environment.write() {
            Err(_) if self.environment.is_outgrown() => {
                self.grow(Deadline::after(END))?;
                self.environment.write()
            }
            result => result,
        }
    }

    /// Replaces the map by a larger one; on the writer thread.
    ///
    /// # Errors
    /// `Busy` while snapshots hold the old one.
    pub(super) fn grow(&self, deadline: Deadline) -> Result<()> {
        self.environment.quietly(deadline, &|| self.pins.retire_all(), || self.environment.grow())
    }

    fn take(&self, fit: impl Fn(Option<u64>) -> bool) -> Option<Arc<Request>> {
        let mut queue = self.queue.lock();
        while let Some(request) = queue.waiting.front() {
            if !fit(request.handles) {
                return None;
            }
            let request = queue.waiting.pop_front()?;
            let mut state = request.state.lock();
            if matches!(*state, State::Waiting) {
                *state = State::Running;
                drop(state);
                return Some(request);
            }
        }
        None
    }

    fn run(&self, request: &Request, writing: &mut Writing<'_>) -> Result<()> {
        // SAFETY: the request is `Running`: its caller waits, and this thread alone uses the work.
        let work = unsafe { &mut *request.work.get() };
        match work {
            Work::Write(_, job) => job(writing),
            Work::Alone(_) => Ok(()),
        }
    }
}

impl Request {
    fn wait(&self) -> Result<()> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Done(result) => return result.clone(),
                State::Withdrawn => return Err(Error::new(ErrorKind::TimedOut, "withdrawn")),
                // The writer thread has the job: its outcome is known soon, and must be.
                State::Running => self.done.wait(&mut state),
                State::Waiting => {
                    if self.done.wait_until(&mut state, self.deadline.at()).timed_out()
                        && matches!(*state, State::Waiting)
                    {
                        *state = State::Withdrawn;
                        return Err(Error::new(
                            ErrorKind::TimedOut,
                            "another program holds the write transaction: nothing was written; end that program, \
                             or try again",
                        ));
                    }
                }
            }
        }
    }

    fn finish(&self, result: Result<()>) {
        *self.state.lock() = State::Done(result);
        self.done.notify_all();
    }
}
