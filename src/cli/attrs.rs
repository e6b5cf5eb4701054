//! `kvfs attrs`: what is kept of files besides their bytes, without a mount (§5.2).

mod line;

use std::ffi::OsString;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Failure, Outcome, output};
use crate::config::{MountSpec, Separator, Source};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::mount;
use crate::store::api::{Change, Cursor, Stat, Store};
use crate::store::attributes::{Attributes, FileType};
use line::{Line, Type, Wanted};

/// Export, import or drop what is kept of files besides their bytes
///
/// Mode, owner, times, symbolic links, named pipes, sockets, empty directories and extended attributes. For stores that
/// do not keep them themselves they are in a small database beside the store.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kvfs attrs export lmdb:./store > attributes.jsonl
  kvfs attrs import lmdb:./copy < attributes.jsonl
  kvfs attrs drop lmdb:./store")]
pub struct Attrs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print a line of JSON for each file or directory of which something is kept
    Export(Of),
    /// Set what lines of `kvfs attrs export` on standard input say; what is not there is told and left out
    Import(Of),
    /// Forget all of it; the store itself stays as it is
    Drop(Of),
}

#[derive(Debug, Args)]
struct Of {
    /// A store, as for `kvfs mount`; not mounted for writing
    #[arg(value_name = "SOURCE")]
    source: OsString,

    /// What splits keys into directories; `none`: each key is one file [default: as the kind of store usually has]
    #[arg(long, value_name = "S|none")]
    separator: Option<Separator>,
}

impl Of {
    fn spec(self, read_only: bool) -> Result<MountSpec, Failure> {
        let folder = std::path::absolute(".").map_err(|e| Error::io("the working folder", &e))?;
        let source = Source::parse(&self.source).map_err(Failure::Usage)?;
        let mut spec = MountSpec::new(source, PathBuf::from("/"));
        spec.separator = self.separator;
        spec.read_only = read_only;
        Ok(spec.absolute(&folder))
    }

    fn open(self, read_only: bool) -> Result<std::sync::Arc<dyn Store>, Failure> {
        let spec = self.spec(read_only)?;
        let place = spec.source.resolve()?;
        let opening = mount::opening(&spec, &place, Some(place.named_location()?.to_owned()));
        Ok(mount::open_store(&spec, &place, &opening)?.0)
    }
}

impl Attrs {
    pub fn run(self) -> Outcome {
        match self.action {
            Action::Export(of) => {
                let store = of.open(true)?;
                export(&*store)?;
                Ok(store.close()?)
            }
            Action::Import(of) => {
                let store = of.open(false)?;
                let refused = import(&*store, std::io::stdin().lock());
                let ended = store.sync().and(store.close());
                let refused = refused?;
                ended?;
                if refused > 0 { Err(Failure::Code(1)) } else { Ok(()) }
            }
            Action::Drop(of) => {
                let spec = of.spec(false)?;
                let place = spec.source.resolve()?;
                let opening = mount::opening(&spec, &place, Some(place.named_location()?.to_owned()));
                let said = mount::drop_attributes(&place, &opening)?;
                Ok(output::print(said)?)
            }
        }
    }
}

/// Prints what is kept in the whole store.
fn export(store: &dyn Store) -> Result<()> {
    let root = store.stat(&Key::root())?;
    let kept = root.map(|stat| stat.directory).unwrap_or_default();
    print(store, &Key::root(), true, &kept, false)?;
    let mut ahead = vec![Key::root()];
    while let Some(directory) = ahead.pop() {
        let mut cursor = Cursor::default();
        let mut any = false;
        while !cursor.done {
            for (key, stat) in page(store, &directory, &mut cursor)? {
                any = true;
                if stat.kind.has_value() {
                    print(store, &key, false, &stat.file, false)?;
                }
                if stat.kind.is_directory() {
                    print(store, &key, true, &stat.directory, false)?;
                    ahead.push(key);
                }
            }
        }
        if !any && !directory.is_root() {
            let stat = store.stat(&directory)?;
            print(store, &directory, true, &stat.map(|stat| stat.directory).unwrap_or_default(), true)?;
        }
    }
    Ok(())
}

/// So many names are held at a time.
const PAGE: usize = 1024;

fn page(store: &dyn Store, directory: &Key, cursor: &mut Cursor) -> Result<Vec<(Key, Stat)>> {
    let mut page = Vec::new();
    store.list_with_attributes(directory, cursor, &mut |entry| {
        if page.len() == PAGE {
            return ControlFlow::Break(());
        }
        page.push((directory.child(entry.segment), entry.stat));
        ControlFlow::Continue(())
    })?;
    Ok(page)
}

fn print(store: &dyn Store, key: &Key, directory: bool, kept: &Attributes, lasts: bool) -> Result<()> {
    let xattrs = store.xattrs(key, directory)?;
    let is_link = !directory && kept.file_type == FileType::Symlink;
    let target = if is_link { target_of(store, key)? } else { None };
    let Some(line) = Line::of(key, directory, kept, xattrs, target, lasts) else { return Ok(()) };
    let text = serde_json::to_string(&line).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
    output::print(text)
}

fn target_of(store: &dyn Store, key: &Key) -> Result<Option<Vec<u8>>> {
    let Some(link) = store.open(key)? else { return Ok(None) };
    let mut target = Vec::new();
    link.read(0, link.len(), &mut |piece| target.extend_from_slice(piece))?;
    Ok(Some(target))
}

/// Sets what the lines say; how many of them could not be followed.
fn import(store: &dyn Store, lines: impl BufRead) -> Result<usize> {
    let mut refused = 0;
    for (index, line) in lines.lines().enumerate() {
        let line = line.map_err(|e| Error::io("standard input", &e))?;
        if line.trim().is_empty() {
            continue;
        }
        let number = index + 1;
        let line: Line = serde_json::from_str(&line)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("line {number}: {e}")))?;
        let wanted = line.wanted().map_err(|e| e.context(format_args!("line {number}")))?;
        if let Err(error) = set(store, &wanted) {
            output::tell(format_args!("line {number}: {:?}: {error}", wanted.key));
            refused += 1;
        }
    }
    Ok(refused)
}

fn set(store: &dyn Store, wanted: &Wanted) -> Result<()> {
    let Wanted { key, file_type, target, setting } = wanted;
    let directory = *file_type == Type::Directory;
    let special = match file_type {
        Type::Symlink => Some(FileType::Symlink),
        Type::Fifo => Some(FileType::Fifo),
        Type::Socket => Some(FileType::Socket),
        Type::File | Type::Directory => None,
    };
    let set = Change::Set { key, directory, attributes: setting };
    if let Some(file_type) = special {
        return store.apply(&mut [Change::Make { key, file_type, target }, set]);
    }
    if directory && !key.is_root() && store.stat(key)?.is_none() {
        return store.apply(&mut [Change::Branch { key }, set]);
    }
    if setting.is_empty() { Ok(()) } else { store.apply(&mut [set]) }
}
