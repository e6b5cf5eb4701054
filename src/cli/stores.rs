//! `kvfs stores`: what each kind of store can do, as its code says it.

use clap::Args;

use super::{Failure, Outcome, output};
use crate::config::source::known_kinds;
use crate::error::{Error, ErrorKind};
use crate::store::DRIVERS;
use crate::store::api::{Atomic, Pace, Rename};
use crate::store::driver::{Driver, Location};

/// List the kinds of store, and what each can do
#[derive(Debug, Args)]
pub struct Stores {
    /// Tell of this kind alone
    #[arg(value_name = "KIND")]
    kind: Option<String>,
}

impl Stores {
    pub fn run(self) -> Outcome {
        let Some(kind) = &self.kind else { return Ok(output::print(table())?) };
        let driver = DRIVERS.iter().find(|driver| driver.kind == kind).ok_or_else(|| {
            let sentence = format!("no kind of store is called {kind:?}; {}", known_kinds());
            Failure::Failed(Error::new(ErrorKind::Invalid, sentence))
        })?;
        let rights = driver.rights.map(|rights| ("a user needs", rights.to_owned()));
        let rows: Vec<Vec<String>> = properties(driver)
            .into_iter()
            .chain(rights)
            .map(|(name, value)| vec![format!("  {name}"), value])
            .collect();
        Ok(output::print(format_args!("{}: {}\n\n{}", driver.kind, driver.about, output::columns(&rows)))?)
    }
}

/// One column a kind, one row a property: this grows to the side, and stays readable.
fn table() -> String {
    let columns = || DRIVERS.iter().filter(|driver| driver.same_as.is_none());
    let all: Vec<Vec<(&str, String)>> = columns().map(|driver| properties(driver)).collect();
    let head = std::iter::once(String::new()).chain(columns().map(|driver| driver.kind.to_uppercase()));
    let mut rows: Vec<Vec<String>> = vec![head.collect()];
    for (index, (name, _)) in all.first().into_iter().flatten().enumerate() {
        let values =
            all.iter().filter_map(|properties| properties.get(index)).map(|(_, value)| value.clone());
        rows.push(std::iter::once((*name).to_owned()).chain(values).collect());
    }
    let about: Vec<String> =
        DRIVERS.iter().map(|driver| format!("{}: {}", driver.kind, driver.about)).collect();
    format!("{}\n\n{}", output::columns(&rows), about.join("\n"))
}

fn properties(driver: &Driver) -> Vec<(&'static str, String)> {
    let caps = (driver.caps)();
    let yes = |yes: bool| if yes { "yes" } else { "no" }.to_owned();
    let location = match driver.location {
        Location::None => driver.kind.to_owned(),
        Location::Folder => format!("{}:FOLDER", driver.kind),
        Location::File => format!("{}:FILE", driver.kind),
        Location::Bucket(form) => form.to_owned(),
        Location::Server(form) => format!("{form}; without one, that of this machine"),
        Location::FolderInPlace => format!("{0}:FOLDER, or {0} in place", driver.kind),
    };
    let atomic = match caps.atomic {
        Atomic::Key => "one key",
        Atomic::Batch => "everything put together",
    };
    let rename = match caps.rename {
        Rename::Tree => "files and directories, atomic",
        Rename::Leaf => "files, atomic",
        Rename::Copy => "files and directories, by copies in the store",
        Rename::No => "no",
    };
    let pace = match caps.pace {
        Pace::Memory => "microseconds",
        Pace::Disk => "microseconds to milliseconds",
        Pace::Network => "milliseconds and more",
    };
    let snapshot = match (caps.snapshot, caps.past) {
        (true, _) => "yes",
        (false, true) => "of the last second, where it keeps versions",
        (false, false) => "no",
    };
    let watch = if caps.watch { "as they happen" } else { "when a file is opened, and after a second" };
    vec![
        ("SOURCE", location),
        ("written", yes(caps.write)),
        ("directories made", yes(caps.branches)),
        ("renamed", rename.to_owned()),
        ("one transaction", atomic.to_owned()),
        ("--snapshot", snapshot.to_owned()),
        ("--snapshot TIME", if caps.past { "where it keeps versions" } else { "no" }.to_owned()),
        ("others' changes seen", watch.to_owned()),
        ("listed in order", yes(caps.ordered)),
        ("an answer takes", pace.to_owned()),
        ("keys split at", driver.separator.to_owned()),
        ("longest key", output::size(caps.key_max.into())),
        ("longest value", output::size(caps.value_max)),
    ]
}
