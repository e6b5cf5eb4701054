//! The listing of what a store tells in pages, in no order, and some names more than once: each is given once (§2.6).

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::given::Given;
use crate::error::{Error, ErrorKind, Result};

/// So often a listing begins to ask from the beginning, because another server answers.
const BEGINNINGS_MOST: u32 = 16;

/// A page: names and lengths, and where the next one begins; `None` at the end.
#[derive(Debug, Default)]
pub struct Page {
    /// Names, each with the length of its file in bytes.
    pub parts: Vec<(Vec<u8>, u64)>,
    /// Where the next one begins.
    pub next: Option<Vec<u8>>,
}

/// Tells a server from every other: its number, and how often it had to be connected with anew.
pub type Answering = (u64, u64);

/// How far such a listing has come; kept by its cursor, and gone with it.
#[derive(Clone, Debug, Default)]
pub struct Repeating(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    given: Given,
    /// What came with the last page and was not looked at yet.
    page: VecDeque<(Vec<u8>, u64)>,
    at: At,
    /// Who answered: where it is another one, places in the listing mean something else.
    server: Option<Answering>,
    beginnings: u32,
}

#[derive(Debug, Default)]
enum At {
    #[default]
    Beginning,
    Place(Vec<u8>),
    End,
}

impl PartialEq for Repeating {
    fn eq(&self, other: &Repeating) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Repeating {}

impl Repeating {
    /// Goes on behind the first `number` names that were given; answers how many that are now, and whether the end was
    /// reached. `fetch` gets the page that begins somewhere (at nothing: the first one); `server` tells who answers.
    ///
    /// # Errors
    /// What `fetch` answers; `Io` where other servers answer all the time; those of [`Given`].
    pub fn list(
        &self,
        number: u64,
        server: &dyn Fn() -> Answering,
        fetch: &mut dyn FnMut(&[u8]) -> Result<Page>,
        each: &mut dyn FnMut(&[u8], u64) -> ControlFlow<()>,
    ) -> Result<(u64, bool)> {
        let mut state = self.0.lock();
        let state = &mut *state;
        if number < state.given.count() {
            // Who goes back gets what was given since once more, from the first page on.
            state.given.go_back(number)?;
            (state.page, state.at) = Default::default();
        }
        loop {
            while let Some((name, size)) = state.page.front() {
                if !state.given.has(name)? {
                    if each(name, *size).is_break() {
                        return Ok((state.given.count(), false));
                    }
                    state.given.add(name)?;
                }
                state.page.pop_front();
            }
            let answering = server();
            let from: &[u8] = match &state.at {
                At::Beginning => &[],
                At::Place(_) if state.server != Some(answering) => &[],
                At::Place(place) => place,
                At::End => return Ok((state.given.count(), true)),
            };
            if from.is_empty() {
                state.beginnings += 1;
                if state.beginnings > BEGINNINGS_MOST {
                    let sentence = "the connection is lost again and again while this is listed";
                    return Err(Error::new(ErrorKind::Io, sentence));
                }
                state.server = Some(answering);
            }
            let page = fetch(from)?;
            state.page = page.parts.into();
            // The end that another one tells than the one before is not that of what was begun.
            let same = state.server == Some(server());
            state.at = match page.next {
                Some(place) => At::Place(place),
                None if same => At::End,
                None => At::Beginning,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::collections::BTreeSet;

    use super::*;

    /// Pages of ten names of 100, each page with three of the one before once more.
    fn fetch(from: &[u8]) -> Result<Page> {
        let at: u64 = str::from_utf8(from).unwrap().parse().unwrap_or(0);
        let parts = (at.saturating_sub(3)..at + 10).map(|number| (format!("{number}").into_bytes(), number));
        Ok(Page { parts: parts.collect(), next: (at < 90).then(|| format!("{}", at + 10).into_bytes()) })
    }

    /// All names from a number on, as often as they are given, in calls of so many each.
    fn all(
        listing: &Repeating,
        number: u64,
        together: usize,
        server: &dyn Fn() -> Answering,
    ) -> Vec<Vec<u8>> {
        let (mut names, mut number, mut done) = (Vec::new(), number, false);
        while !done {
            let mut left = together;
            (number, done) = listing
                .list(number, server, &mut fetch, &mut |name, _| {
                    if left == 0 {
                        return ControlFlow::Break(());
                    }
                    left -= 1;
                    names.push(name.to_vec());
                    ControlFlow::Continue(())
                })
                .unwrap();
        }
        names
    }

    fn distinct(names: &[Vec<u8>]) -> usize {
        names.iter().collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn promise_2_6_what_is_told_twice_is_given_once() {
        for together in [1, 7, 10, 1000] {
            let names = all(&Repeating::default(), 0, together, &|| (0, 0));
            assert_eq!((names.len(), distinct(&names)), (100, 100), "{together}");
        }
    }

    #[test]
    fn who_goes_back_is_given_the_rest_once_more() {
        let listing = Repeating::default();
        let first = all(&listing, 0, 7, &|| (0, 0));
        let mut again = first[..35].to_vec();
        again.extend(all(&listing, 35, 4, &|| (0, 0)));
        assert_eq!((again.len(), distinct(&again)), (100, 100));
    }

    #[test]
    fn another_server_is_asked_from_the_beginning() {
        let asked = Cell::new(0);
        let server = || {
            asked.set(asked.get() + 1);
            (0, u64::from(asked.get() > 9))
        };
        let names = all(&Repeating::default(), 0, 1000, &server);
        assert_eq!((names.len(), distinct(&names)), (100, 100));
        let turning = || {
            asked.set(asked.get() + 1);
            (asked.get(), 0)
        };
        let failed =
            Repeating::default().list(0, &turning, &mut fetch, &mut |_, _| ControlFlow::Continue(()));
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Io);
    }
}
