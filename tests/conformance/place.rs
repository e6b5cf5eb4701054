//! Where the stores of this suite are: in folders of this machine.

use std::path::Path;

use kvfs::store::driver::{Driver, Location, Opening};

/// The driver of `kind`, and how an empty store of it is opened, in `folder`; `None` where this build has no such kind.
pub fn find(kind: &str, folder: &Path) -> Option<(&'static Driver, Opening)> {
    let driver = kvfs::store::driver(kind)?;
    let location = (driver.location != Location::None).then(|| folder.to_owned());
    Some((driver, Opening { location, ..Opening::default() }))
}
