//! A deadline for a test that hangs in the kernel: no signal ends a process that waits for a dead FUSE daemon, so
//! the test runs in a thread of its own, and when its time is up the connection of every mount below its folder is
//! aborted.

use std::any::Any;
use std::fs::OpenOptions;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::Duration;

use super::kernel;
use super::place::Place;

/// How long a body gets to unwind once its mounts were aborted.
const UNWINDING: Duration = Duration::from_secs(5);

/// What a test that cannot run here unwinds with.
struct Skip(String);

/// Ends the test as skipped.
pub fn skip(reason: impl Into<String>) -> ! {
    // Not panic!: this is no failure, and the hook would print one.
    resume_unwind(Box::new(Skip(reason.into())))
}

/// Runs `body` with a folder of its own, for at most `limit`.
///
/// # Panics
/// When `body` does; when its time is up, with the number of requests that the kernel was waiting for; when it
/// leaves a mount behind.
pub fn watched(limit: Duration, body: impl FnOnce(&Place) + Send + 'static) {
    watched_until(|_, outcome| outcome.recv_timeout(limit).ok(), body);
}

/// What became of a body.
type Outcome = Result<(), Box<dyn Any + Send>>;

/// As [`watched`], until `wait` answers: what became of the body, or nothing when its time is up.
fn watched_until(
    wait: impl FnOnce(&Place, &mpsc::Receiver<Outcome>) -> Option<Outcome>,
    body: impl FnOnce(&Place) + Send + 'static,
) {
    let folder = tempfile::Builder::new().prefix("kvfs-test-").tempdir().unwrap();
    let place = Place::new(folder.path());
    let inside = place.clone();
    let (sender, receiver) = mpsc::channel();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| body(&inside)));
            // Nobody listens any more when the time was up.
            let _ = sender.send(outcome);
        })
        .unwrap();
    let started = kvfs::env::instant();
    let outcome = wait(&place, &receiver);
    let waiting: Vec<String> = kernel::mounts_below(folder.path())
        .iter()
        .map(|mount| {
            format!("{} (connection {}, {} waiting)", mount.point.display(), mount.minor, mount.waiting())
        })
        .collect();
    if !waiting.is_empty() || outcome.is_none() {
        clean(&place);
    }
    match outcome {
        Some(Ok(())) => {
            kernel::kill_all_of(&place.runtime());
            assert!(waiting.is_empty(), "left mounted: {}", waiting.join(", "));
        }
        Some(Err(payload)) => {
            kernel::kill_all_of(&place.runtime());
            ended(&name, payload);
        }
        None => {
            let _ = receiver.recv_timeout(UNWINDING);
            panic!("not done after {:?}; mounts: [{}]", started.elapsed(), waiting.join(", "));
        }
    }
}

fn ended(name: &str, payload: Box<dyn Any + Send>) {
    let skip = match payload.downcast::<Skip>() {
        Ok(skip) => skip,
        Err(payload) => resume_unwind(payload),
    };
    let line = format!("{name}: {}\n", skip.0);
    match super::variable("KVFS_TEST_SKIPS") {
        Some(list) => {
            OpenOptions::new().append(true).open(list).unwrap().write_all(line.as_bytes()).unwrap();
        }
        None => eprint!("skipped {line}"),
    }
}

fn clean(place: &Place) {
    for mount in kernel::mounts_below(place.folder()) {
        mount.abort();
    }
    kernel::kill_all_of(&place.runtime());
    // A mount over a mount appears once the upper one has gone.
    for _ in 0..8 {
        for mount in kernel::mounts_below(place.folder()) {
            mount.detach();
        }
    }
}

#[test]
fn a_hung_mount_is_aborted_and_its_waiting_requests_are_told() {
    watched(super::LIMIT, |_| {
        super::needs_kvfs();
        let hung = catch_unwind(|| {
            // Its time is up as soon as somebody waits in it, however long a loaded machine takes to come there.
            let until_it_hangs = |place: &Place, outcome: &mpsc::Receiver<Outcome>| {
                loop {
                    let ended = outcome.recv_timeout(Duration::from_millis(20));
                    let waits =
                        |mount: &kernel::Mounted| mount.waiting().parse().is_ok_and(|count: u32| count > 0);
                    let stopped = place.at("stopped").exists();
                    if ended.is_ok() || stopped && kernel::mounts_below(place.folder()).iter().any(waits) {
                        return ended.ok();
                    }
                }
            };
            watched_until(until_it_hangs, |place| {
                let mount = super::Mount::new(place, super::Kind::Memory, &[]);
                mount.signal(nix::sys::signal::Signal::SIGSTOP);
                std::fs::write(place.at("stopped"), "").unwrap();
                // Nobody answers, and no signal ends this wait.
                let _ = std::fs::read(mount.at("hangs"));
            });
        });
        let told = hung.expect_err("a hung test cannot pass");
        let told = told.downcast_ref::<String>().expect("a sentence");
        assert!(told.contains("not done after") && told.contains(" waiting)"), "{told}");
        assert!(!told.contains(" 0 waiting"), "{told}");
    });
}
