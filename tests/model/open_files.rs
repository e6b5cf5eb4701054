//! Open files of the model: those of a name share its bytes, those that lost it share what they had.

use std::cell::RefCell;
use std::rc::Rc;

use kvfs::error::ErrorKind;

use crate::{Answer, How, SLOTS};

type Name = Vec<&'static str>;

/// What handles of one file share.
#[derive(Clone, Debug)]
pub enum File {
    /// It is what has this name.
    Named(Name),
    /// Its name is gone, or another file's.
    Nameless(Vec<u8>),
}

#[derive(Clone, Debug)]
pub struct Open {
    pub file: Rc<RefCell<File>>,
    pub how: How,
}

/// Open files, by slot.
#[derive(Clone, Debug, Default)]
pub struct OpenFiles {
    slots: [Option<Open>; SLOTS],
}

impl OpenFiles {
    pub fn get(&self, slot: usize) -> Answer<&Open> {
        self.slots[slot].as_ref().ok_or(ErrorKind::BadHandle)
    }

    /// For writing.
    pub fn writable(&self, slot: usize) -> Answer<&Open> {
        self.get(slot)
            .and_then(|open| if open.how == How::Read { Err(ErrorKind::BadHandle) } else { Ok(open) })
    }

    pub fn close(&mut self, slot: usize) -> Answer<()> {
        self.slots[slot].take().map(drop).ok_or(ErrorKind::BadHandle)
    }

    pub fn open(&mut self, slot: usize, name: &Name, how: How) {
        let same = self.of(name).next().map(|open| Rc::clone(&open.file));
        let file = same.unwrap_or_else(|| Rc::new(RefCell::new(File::Named(name.clone()))));
        self.slots[slot] = Some(Open { file, how });
    }

    /// Those that have the file of this name open.
    fn of<'a>(&'a self, name: &'a Name) -> impl Iterator<Item = &'a Open> {
        self.slots
            .iter()
            .flatten()
            .filter(move |open| matches!(&*open.file.borrow(), File::Named(own) if own == name))
    }

    /// The name goes from its file; whoever has it open keeps the bytes.
    pub fn lose(&mut self, name: &Name, bytes: &[u8]) {
        let files: Vec<_> = self.of(name).map(|open| Rc::clone(&open.file)).collect();
        for file in files {
            *file.borrow_mut() = File::Nameless(bytes.to_vec());
        }
    }

    /// Files have other names now.
    pub fn rename(&mut self, renamed: impl Fn(&Name) -> Option<Name>) {
        let mut done: Vec<*const RefCell<File>> = Vec::new();
        for open in self.slots.iter().flatten() {
            if done.contains(&Rc::as_ptr(&open.file)) {
                continue;
            }
            done.push(Rc::as_ptr(&open.file));
            if let File::Named(name) = &mut *open.file.borrow_mut()
                && let Some(new) = renamed(name)
            {
                *name = new;
            }
        }
    }

    /// The names of files that are open, with or without writers.
    pub fn names(&self, writable: bool) -> Vec<Name> {
        let open = self.slots.iter().flatten().filter(|open| !writable || open.how != How::Read);
        open.filter_map(|open| match &*open.file.borrow() {
            File::Named(name) => Some(name.clone()),
            File::Nameless(_) => None,
        })
        .collect()
    }
}
