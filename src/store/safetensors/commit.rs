//! The files written anew with all that was changed. Of a sharded model the files that have other tensors are written first,
//! all of them, and waited for; then each takes the place of the old one, and the index comes last. From the first to the last
//! of these steps the journal tells a later mount how to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::files::{Files, IndexFile, Part};
use super::index::Index;
use super::journal::{Journal, Note};
use super::layout::Layout;
use super::model::{Model, State};
use super::names::Names;
use super::replace::Filling;
use super::source::Source;
use super::tensor::Tensor;
use super::writer::{Net, Writer, read_only};
use crate::error::{Error, ErrorKind, Result};
use crate::store::local_file::draft::Draft;
use crate::store::local_file::place::{Place, Resolved, Stamp};

/// What one file becomes.
enum What {
    /// A file of this number with these tensors.
    Tensors(usize, Layout),
    Index(Box<Index>, Vec<u8>),
}

/// A file that is to be written.
struct Target {
    /// Its number among all files of the model.
    number: usize,
    file: Resolved,
    base: Arc<Source>,
    what: What,
}

impl Model {
    /// Writes the files anew with all that was changed, and waits for the disk; nothing where nothing was.
    ///
    /// # Errors
    /// `NoSpace`, `Stale`; the system's. What was changed stays in the journal then.
    pub fn commit(&self) -> Result<()> {
        self.commit_watched(&|_| Ok(()))
    }

    /// The same; `before` is called before each file takes the place of the old one, and before the journal goes, with the
    /// number of such steps until then.
    ///
    /// # Errors
    /// Also those of `before`.
    pub fn commit_watched(&self, before: &dyn Fn(usize) -> Result<()>) -> Result<()> {
        let mut writer = self.hold()?;
        if !self.known().pending {
            return writer.owed.take().map_or(Ok(()), Err);
        }
        // Where a file is not the one any more that the changes are about, they are kept elsewhere by this.
        self.look(&mut writer)?;
        if !self.known().pending {
            return writer.owed.take().map_or(Ok(()), Err);
        }
        self.commit_held(&mut writer, before)
    }

    /// The same, for whoever holds the writer and looked.
    ///
    /// # Errors
    /// As for [`Model::commit`].
    pub fn commit_held(&self, writer: &mut Writer, before: &dyn Fn(usize) -> Result<()>) -> Result<()> {
        let targets = self.targets(&writer.touched)?;
        let mut drafts = Vec::with_capacity(targets.len());
        for target in &targets {
            let draft = Draft::new(&target.file.place, &target.file.name)?;
            match &target.what {
                What::Tensors(_, layout) => Filling(&draft).fill(layout, &target.base)?,
                What::Index(_, text) => Filling(&draft).write(text)?,
            }
            draft.dress(target.base.file())?;
            let version = draft.sync()?;
            drafts.push((target, draft, version));
        }
        let journal = writer.journal.as_mut().ok_or_else(read_only)?;
        for (target, _, version) in &drafts {
            journal.note(&Note::Replaced { file: target.number, version: *version })?;
        }
        if drafts.len() > 1 {
            journal.sync()?;
        }
        let stamps = self.known().files.stamps(&self.location.place)?;
        if self.known().files.all().map(|file| file.stamp).ne(stamps) {
            return Err(self.changed_meanwhile());
        }
        let count = drafts.len();
        for (step, (target, draft, version)) in drafts.into_iter().enumerate() {
            before(step)?;
            if let What::Index(..) = &target.what {
                // It must not come to the disk before what it speaks of.
                self.sync_folders(&targets)?;
            }
            self.put_in_place(target, draft, version)?;
            if let What::Tensors(part, _) = &target.what {
                writer.touched.remove(part);
            }
            writer.half = true;
        }
        before(count)?;
        self.state.write().pending = false;
        // From here on the journal is of no use: what is put next must not come behind the note that all of it is there.
        let synced = self.sync_folders(&targets);
        (writer.net, writer.touched, writer.half) = (Net::default(), BTreeSet::new(), false);
        writer.journal.take().map_or(Ok(()), Journal::remove)?;
        synced
    }

    fn sync_folders(&self, targets: &[Target]) -> Result<()> {
        let mut synced: Vec<&Arc<Place>> = Vec::new();
        for Target { file, .. } in targets {
            if !synced.iter().any(|place| Arc::ptr_eq(place, &file.place)) {
                file.place.sync()?;
                synced.push(&file.place);
            }
        }
        Ok(())
    }

    fn changed_meanwhile(&self) -> Error {
        let sentence = format!("another program changed {} while it was written anew", self.location.shown());
        Error::new(ErrorKind::Stale, sentence)
    }

    /// What is to be written: the files that were touched, and the index where it says something else.
    fn targets(&self, touched: &BTreeSet<usize>) -> Result<Vec<Target>> {
        let state = self.state.read();
        let Files { index, parts } = &state.files;
        let before = usize::from(index.is_some());
        let mut targets = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let is_touched = if index.is_some() { touched.contains(&number) } else { number == 0 };
            if is_touched {
                let what = What::Tensors(number, state.layout(number, part)?);
                let (file, base) = (part.file.clone(), Arc::clone(&part.source));
                targets.push(Target { number: before + number, file, base, what });
            }
        }
        if let Some(IndexFile { file, source, index }) = index {
            let new = state.index(index, file)?;
            if !new.is(index) {
                let text = text_of(&new, file)?;
                let (file, base) = (file.clone(), Arc::clone(source));
                targets.push(Target { number: 0, file, base, what: What::Index(Box::new(new), text) });
            }
        }
        Ok(targets)
    }

    fn put_in_place(&self, target: &Target, draft: Draft<'_>, version: Stamp) -> Result<()> {
        let mut state = self.state.write();
        // As late as possible: only another program can come between this look and the name.
        if self.location.place.stamp(&target.file.link)? != target.file.stamp {
            return Err(self.changed_meanwhile());
        }
        let source = Source::new(draft.name_over()?, target.base.shown().to_owned(), Some(version));
        match &target.what {
            What::Tensors(part, layout) => {
                state.has_tensors(*part, layout, (Arc::new(source), version), &self.names);
            }
            What::Index(index, _) => state.has_index((**index).clone(), Arc::new(source), version),
        }
        Ok(())
    }

    /// The text of the header, or of the index, as it will be in the next file.
    ///
    /// # Errors
    /// `NoSpace` where it would be too long.
    pub fn next_header(&self, state: &State) -> Result<Vec<u8>> {
        match (&state.files.index, state.files.parts.first()) {
            (Some(IndexFile { file, index, .. }), _) => text_of(&state.index(index, file)?, file),
            (None, Some(part)) => Ok(state.layout(0, part)?.text().to_vec()),
            (None, None) => Ok(Vec::new()),
        }
    }
}

fn text_of(index: &Index, file: &Resolved) -> Result<Vec<u8>> {
    let text =
        index.text().map_err(|error| Error::new(ErrorKind::Io, format!("{}: {error}", file.shown())))?;
    if text.len() as u64 > super::header::HEADER_MAX {
        let sentence = format!("{}: the index would have {} bytes", file.shown(), text.len());
        return Err(Error::new(ErrorKind::NoSpace, sentence));
    }
    Ok(text)
}

impl State {
    /// How a file lies with the tensors that it is to have.
    fn layout(&self, number: usize, part: &Part) -> Result<Layout> {
        if self.files.index.is_none() {
            return Layout::of(self.contents.metadata.as_ref(), self.contents.tensors());
        }
        let own = self.contents.tensors().filter(|tensor| tensor.file == number);
        Layout::of(part.metadata.as_ref(), own.chain(&part.unlisted))
    }

    /// The index of what is there now.
    fn index(&self, before: &Index, shown: &Resolved) -> Result<Index> {
        let file = |tensor: &Tensor| {
            let part = self.files.parts.get(tensor.file)?;
            Some((tensor.name.clone(), part.file.link.to_string_lossy().into_owned()))
        };
        let weight_map: BTreeMap<_, _> = self.contents.tensors().filter_map(|tensor| file(tensor)).collect();
        let total = self.contents.tensors().map(|tensor| tensor.length).sum();
        let index = before.with(weight_map, self.contents.metadata.as_ref(), total);
        index.map_err(|error| Error::new(ErrorKind::Io, format!("{}: {error}", shown.shown())))
    }

    /// From now on, these tensors are in this new file.
    fn has_tensors(
        &mut self,
        number: usize,
        layout: &Layout,
        (source, stamp): (Arc<Source>, Stamp),
        names: &Names,
    ) {
        let data = layout.head.len() as u64;
        let Some(part) = self.files.parts.get_mut(number) else { return };
        let mut unlisted = Vec::new();
        for (begin, tensor) in &layout.tensors {
            let listed = !part.unlisted.iter().any(|other| Arc::ptr_eq(other, tensor));
            let tensor = Arc::new(Tensor {
                source: Arc::clone(&source),
                at: data + begin,
                offsets: Some((*begin, begin + tensor.length)),
                order: *begin,
                ..Tensor::clone(tensor)
            });
            if listed {
                self.contents.set(names, &tensor.name, Some(Arc::clone(&tensor)));
            } else {
                unlisted.push(tensor);
            }
        }
        (part.source, part.data, part.unlisted) = (source, data, unlisted);
        part.file.stamp = stamp;
        if self.files.index.is_none() {
            part.metadata.clone_from(&self.contents.metadata);
        }
    }

    fn has_index(&mut self, index: Index, source: Arc<Source>, stamp: Stamp) {
        self.contents.metadata = Some(index.metadata());
        if let Some(file) = &mut self.files.index {
            (file.index, file.source, file.file.stamp) = (index, source, stamp);
        }
    }
}
