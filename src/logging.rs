//! The log: to the terminal in the foreground, to a file of bounded size in the background.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tracing_subscriber::EnvFilter;

use crate::env;
use crate::error::{Error, ErrorKind, Result};

/// A log file of this many bytes becomes `*.log.old`, which the next one replaces.
const FILE_MAX: u64 = 4 << 20;

/// What is logged where the user does not say.
pub const LEVEL: &str = "info";

/// Starts the log of this process, to its standard error or to a file. `level` is `error`, `warn`, `info`, `debug`,
/// `trace`, or directives such as `warn,kvfs::vfs=debug`. Colours never: logs are read by programs too.
///
/// # Errors
/// `Invalid` for a level that does not parse.
pub fn start(level: &str, file: Option<&Path>) -> Result<()> {
    let filter = EnvFilter::try_new(level)
        .map_err(|e| Error::new(ErrorKind::Invalid, format!("log level {level:?}: {e}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    let started = match file {
        None => log.without_time().with_target(false).with_writer(io::stderr).try_init(),
        Some(path) => {
            let file = LogFile::at(path);
            log.with_writer(move || file.clone()).try_init()
        }
    };
    // A process has one log; a test that starts a second one goes on with the first.
    drop(started);
    Ok(())
}

/// A file that is made when there is something to write, and starts anew when it is full.
#[derive(Clone)]
struct LogFile(Arc<Mutex<State>>);

struct State {
    path: PathBuf,
    open: Option<(File, u64)>,
}

impl LogFile {
    fn at(path: &Path) -> LogFile {
        LogFile(Arc::new(Mutex::new(State { path: path.to_owned(), open: None })))
    }
}

impl State {
    /// The file and its length.
    fn open(&mut self) -> io::Result<&mut (File, u64)> {
        if self.open.as_ref().is_some_and(|(_, size)| *size >= FILE_MAX) {
            self.open = None;
            fs::rename(&self.path, self.path.with_extension("log.old"))?;
        }
        let opened = match self.open.take() {
            Some(open) => open,
            None => open_file(&self.path)?,
        };
        Ok(self.open.insert(opened))
    }
}

fn open_file(path: &Path) -> io::Result<(File, u64)> {
    if let Some(folder) = path.parent() {
        env::private_folder(folder).map_err(io::Error::other)?;
    }
    let file =
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

impl Write for LogFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        let (file, size) = state.open()?;
        let written = file.write(line)?;
        *size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_log_starts_anew_and_keeps_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log/x.log");
        let mut log = LogFile::at(&path);
        let line = vec![b'x'; 1 << 20];
        for _ in 0..11 {
            log.write_all(&line).unwrap();
        }
        assert_eq!(fs::metadata(&path).unwrap().len(), 3 << 20);
        assert_eq!(fs::metadata(path.with_extension("log.old")).unwrap().len(), 4 << 20);
    }
}
