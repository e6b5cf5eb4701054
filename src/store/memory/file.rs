//! A map in memory from a file and to a file, in the format of `mdb_dump` ([`dump`]).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufReader, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::map::{Map, Stored, Transaction};
use super::{KEY_MAX, Memory, VALUE_MAX};
use crate::env::{self, Folders};
use crate::error::{Error, ErrorKind, Result};
use crate::store::dump::{self, Limits};

/// Fills `memory` from the file at `path`. The values are as old as the file.
///
/// # Errors
/// `Invalid` where it is no such file, with the line; `NoSpace` where it does not fit; the file's.
pub(super) fn load(memory: &mut Memory, path: &Path) -> Result<()> {
    let loading = || format!("loading {}", path.display());
    let io = |error: std::io::Error| Error::io(loading(), &error);
    let file = File::open(path).map_err(io)?;
    let modified = file.metadata().and_then(|found| found.modified()).map_err(io)?.min(env::now());
    let limits = Limits { key: KEY_MAX.into(), value: VALUE_MAX };
    let mut map = Map::new(modified);
    dump::read(&mut BufReader::with_capacity(1 << 16, file), limits, &mut |key, value| {
        if map.values.contains_key(&*key) {
            let sentence = format!("the key \"{}\" is there twice", key.escape_ascii());
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let mut transaction = Transaction::begin(&mut map, modified, memory.limit);
        transaction.insert(&key, Stored { bytes: value.into(), modified })?;
        transaction.commit();
        Ok(())
    })
    .map_err(|error| error.context(loading()))?;
    *memory.map.get_mut() = Arc::new(map);
    Ok(())
}

/// The file that `--save` names, behind its symbolic links. What can never be saved is told now, and not when the
/// mount ends.
///
/// # Errors
/// `NotFound` without its folder, `IsDirectory` and the like where it is no file, `Denied` where no new file can be
/// made beside it.
pub(super) fn target(path: &Path) -> Result<PathBuf> {
    let io = |error: std::io::Error| Error::io(format_args!("saving to {}", path.display()), &error);
    let target = match fs::canonicalize(path) {
        Ok(target) if fs::metadata(&target).map_err(io)?.is_file() => target,
        Ok(target) => {
            let kind = if target.is_dir() { ErrorKind::IsDirectory } else { ErrorKind::Invalid };
            let sentence = format!("saving to {}: it is not a file, name another", path.display());
            return Err(Error::new(kind, sentence));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let name = path.file_name().ok_or_else(|| io(error))?;
            fs::canonicalize(folder_of(path)).map_err(io)?.join(name)
        }
        Err(error) => return Err(io(error)),
    };
    let beside = beside(&target);
    create(&beside).map_err(io)?;
    fs::remove_file(&beside).map_err(io)?;
    Ok(target)
}

/// Copies `map` to the file at `path`, which is replaced at once and only when all is on the disk.
///
/// # Errors
/// The file's; the old file is as it was then, and the map is in another one, which the sentence names.
pub(super) fn save(map: &Map, path: &Path) -> Result<()> {
    let Err(error) = replace(map, path) else { return Ok(()) };
    let error = Error::io(format_args!("saving to {}", path.display()), &error);
    let refuge = Folders::get().state.join(format!("memory-{}.dump", std::process::id()));
    let kept = env::private_folder(&Folders::get().state)
        .and_then(|()| replace(map, &refuge).map_err(|e| Error::io(refuge.display(), &e)));
    let outcome = match kept {
        Ok(()) => format!("{error}; the keys were saved to {} instead: move it from there", refuge.display()),
        Err(worse) => format!("{error}; and they could not be kept anywhere else: {worse}"),
    };
    Err(Error::new(error.kind(), outcome))
}

fn replace(map: &Map, path: &Path) -> std::io::Result<()> {
    let beside = beside(path);
    let written = write(map, &beside, path).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is left behind would only take room; the first error is the one to tell.
        drop(fs::remove_file(&beside));
    }
    written?;
    File::open(folder_of(path))?.sync_all()
}

fn write(map: &Map, beside: &Path, path: &Path) -> std::io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 16, create(beside)?);
    let size = dump::map_size(map.values.iter().map(|(key, stored)| (key.len(), stored.bytes.len())));
    dump::write(&mut file, size, map.values.iter().map(|(key, stored)| (&**key, &*stored.bytes)))?;
    file.flush()?;
    match fs::metadata(path) {
        Ok(old) => file.get_ref().set_permissions(Permissions::clone(&old.permissions()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    file.get_ref().sync_all()
}

/// A new file that its owner alone can read, since the keys may be secret.
fn create(path: &Path) -> std::io::Result<File> {
    // What another process of this number left behind.
    drop(fs::remove_file(path));
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.new", std::process::id()));
    path.with_file_name(name)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::payload::Payload;
    use crate::store::api::When;
    use crate::store::flat::{Edit, Kv};

    fn memory(keys: &[(&[u8], &[u8])]) -> Memory {
        let memory = Memory::new();
        for (key, value) in keys {
            let body = Payload::of(value).unwrap();
            let put = Edit::Put { key: key.to_vec(), body: Some(&body), when: When::Always };
            memory.write(&mut [put]).unwrap();
        }
        memory
    }

    fn loaded(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut memory = Memory::new();
        load(&mut memory, path).unwrap();
        let map = memory.map.get_mut();
        map.values.iter().map(|(key, stored)| (key.to_vec(), stored.bytes.to_vec())).collect()
    }

    #[test]
    fn what_is_saved_is_loaded_again_and_its_file_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let mut memory = memory(&[(b"", b"empty"), (b"a/", b""), (b"a/b", b"\0\n\\"), (b"z", &[7; 100_000])]);
        memory.save = Some(target(&path).unwrap());
        memory.close().unwrap();
        let found = loaded(&path);
        assert_eq!(found.len(), 4);
        assert_eq!(found[2], (b"a/b".to_vec(), b"\0\n\\".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_file_behind_a_link_is_replaced_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("keys"), folder.path().join("link"));
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("keys", &link).unwrap();
        let mut memory = memory(&[(b"a", b"new")]);
        memory.save = Some(target(&link).unwrap());
        memory.close().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(loaded(&path), [(b"a".to_vec(), b"new".to_vec())]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_failed_save_leaves_the_old_file_and_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "old").unwrap();
        let map = memory(&[(b"a", b"new")]).map.into_inner();
        assert!(replace(&map, &path).is_err());
        assert_eq!(fs::read(path.join("inside")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_can_never_be_saved_or_loaded_is_told_at_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(target(folder.path()).unwrap_err().kind(), ErrorKind::IsDirectory);
        assert_eq!(target(&folder.path().join("none/keys")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(target(Path::new("/dev/null")).unwrap_err().kind(), ErrorKind::Invalid);
        let twice = folder.path().join("twice");
        fs::write(&twice, "VERSION=3\nformat=bytevalue\nHEADER=END\n 61\n 62\n 61\n 63\nDATA=END\n").unwrap();
        let error = load(&mut Memory::new(), &twice).unwrap_err();
        assert!(error.to_string().ends_with("the key \"a\" is there twice"), "{error}");
        assert_eq!(load(&mut Memory::with_limit(10), &twice).unwrap_err().kind(), ErrorKind::NoSpace);
        let absent = load(&mut Memory::new(), &folder.path().join("absent")).unwrap_err();
        assert_eq!(absent.kind(), ErrorKind::NotFound);
    }
}
