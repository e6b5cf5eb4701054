//! A store that fails, before or after the effect: after any error the mount and the store agree, what the failed
//! operation left is the state before it or after it, and what was accepted is there.

use std::sync::Arc;
use std::time::Duration;

use kvfs::env::Deadline;
use kvfs::error::ErrorKind;
use kvfs::layer::fault::{Call, Faulty, Moment};
use kvfs::store::api::Store;
use proptest::prelude::*;

use crate::direct::{Direct, memory, with_attributes};
use crate::operation::{self, Operation, carry_out};
use crate::reference::Reference;
use crate::{Seen, Tree};

/// A call that fails.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    call: Call,
    nth: usize,
    moment: Moment,
    kind: ErrorKind,
}

/// Operations, some of which meet a fault.
pub fn operations() -> impl Strategy<Value = Vec<(Operation, Option<Fault>)>> {
    let call = prop::sample::select(&[Call::Stat, Call::Open, Call::Read, Call::Apply, Call::Sync][..]);
    let moment = prop::sample::select(&[Moment::Before, Moment::After][..]);
    let kind = prop::sample::select(&[ErrorKind::Io, ErrorKind::TimedOut, ErrorKind::NoSpace][..]);
    let fault = (call, 1..4_usize, moment, kind).prop_map(|(call, nth, moment, kind)| Fault {
        call,
        nth,
        moment,
        kind,
    });
    prop::collection::vec((operation::of_paths(), prop::option::of(fault)), 1..20)
}

/// The files of a mount that begins now: what the store has.
fn files_of(layers: &Arc<dyn Store>, store: &Arc<Faulty>) -> Vec<(String, Seen)> {
    let mut fresh = Direct::over(Arc::clone(layers), Arc::clone(store));
    files(fresh.everything())
}

/// Files by their keys: a key is a value in a directory where that stays (§2.4), and a file where it does not.
fn files(all: Vec<(String, Seen)>) -> Vec<(String, Seen)> {
    let files = all.into_iter().filter(|(_, seen)| *seen != Seen::Directory);
    let mut files: Vec<_> =
        files.map(|(path, seen)| (path.trim_end_matches("/%value").to_owned(), seen)).collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    files
}

pub fn check(operations: &[(Operation, Option<Fault>)]) -> Result<(), TestCaseError> {
    let store = memory();
    let layers = with_attributes(&store);
    let mut mount = Direct::over(Arc::clone(&layers), Arc::clone(&store));
    let mut model = Reference::default();
    for (step, (operation, fault)) in operations.iter().enumerate() {
        let before = model.clone();
        let expected = carry_out(&mut model, operation, step);
        if let Some(Fault { call, nth, moment, kind }) = *fault {
            store.fail(call, nth, moment, kind);
        }
        let got = carry_out(&mut mount, operation, step);
        store.heal();
        // What is owed is put now that the store is back.
        mount.vfs.flush(Deadline::after(Duration::from_secs(5))).unwrap();
        mount.vfs.retry();
        let now = mount.everything();
        prop_assert_eq!(
            files(now.clone()),
            files_of(&layers, &store),
            "the store, step {}: {:?}",
            step,
            operation
        );
        if got == expected {
            prop_assert_eq!(&now, &model.everything(), "step {}: {:?}", step, operation);
            continue;
        }
        let Some(fault) = fault else {
            panic!("step {step}: {operation:?} answers {got:?}, not {expected:?}")
        };
        prop_assert_eq!(&got, &Err(fault.kind), "step {}: {:?}", step, operation);
        // Done, not done, or done by the store, of which the mount heard nothing.
        let done = model.clone();
        let done_below = model.clone().keeping_what(&before);
        let state = [before, done, done_below].into_iter().find(|state| state.clone().everything() == now);
        prop_assert!(state.is_some(), "step {}: {:?} with {:?} left {:?}", step, operation, fault, now);
        model = state.unwrap();
    }
    mount.check_end();
    Ok(())
}
