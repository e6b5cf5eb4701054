//! `kvfs recover`: bytes that could not be put (§8.4).

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Outcome, output};
use crate::error::{Error, Result};
use crate::name;
use crate::spool::{Kept, Spool};

/// List, save or drop what could not be put into its store
///
/// When a put fails for good (a full disk, a key that somebody else changed, a daemon that was told to hurry), its bytes
/// are kept outside of the mount until you save them elsewhere or drop them.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  kvfs recover list
  kvfs recover save 18a3c5b2-1 ./draft.txt
  kvfs recover drop 18a3c5b2-1")]
pub struct Recover {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what is kept, oldest first
    List,
    /// Copy the bytes to a new file; they stay until they are dropped
    Save {
        /// As in the list
        id: String,
        /// A file that is not there yet, or `-` for standard output
        file: PathBuf,
    },
    /// Remove the bytes for good
    Drop {
        /// As in the list
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

impl Recover {
    pub fn run(self) -> Outcome {
        let spool = Spool::of_user();
        match self.action {
            Action::List => output::print(list(&spool.list()?))?,
            Action::Save { id, file } => save(&spool, &id, &file)?,
            Action::Drop { ids } => ids.iter().try_for_each(|id| spool.remove(id))?,
        }
        Ok(())
    }
}

fn list(kept: &[Kept]) -> String {
    if kept.is_empty() {
        return "nothing is kept".to_owned();
    }
    let mut rows = vec![["ID", "SINCE", "SIZE", "STORE", "PATH", "WHY"].map(str::to_owned).to_vec()];
    rows.extend(kept.iter().map(|kept| {
        let size = if kept.deletion { "a deletion".to_owned() } else { output::size(kept.size) };
        let since = humantime::format_rfc3339_seconds(kept.when).to_string();
        let path = name::path(&kept.key).escape_ascii().to_string();
        vec![kept.id.clone(), since, size, kept.store.clone(), path, kept.reason.clone()]
    }));
    output::columns(&rows)
}

fn save(spool: &Spool, id: &str, file: &PathBuf) -> Result<()> {
    let (_, mut bytes) = spool.open(id)?;
    if file.as_os_str() == "-" {
        return output::copy(&mut bytes);
    }
    let failed = |e: io::Error| Error::io(file.display(), &e);
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    let copied = io::copy(&mut bytes, &mut copy).and_then(|_| copy.flush()).and_then(|()| copy.sync_all());
    copied.map_err(|error| {
        // Half a copy looks like a whole one.
        drop(std::fs::remove_file(file));
        failed(error)
    })
}
