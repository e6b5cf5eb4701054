//! The door of mount(8): as `mount.kvfs`, this program takes the arguments of a mount helper, so that /etc/fstab can
//! have the line `lmdb:/srv/store /mnt/store kvfs nofail,x-systemd.automount 0 0`.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use super::Failure;
use crate::error::{Error, ErrorKind};

/// Makes `kvfs mount SOURCE DIR -o LIST` of `mount.kvfs SOURCE DIR [-sfnv] [-o LIST] [-t TYPE]`; `None` under another
/// name.
///
/// # Errors
/// An option that no mount helper has.
pub fn translate(arguments: &[OsString]) -> Result<Option<Vec<OsString>>, Failure> {
    let Some((program, rest)) = arguments.split_first() else { return Ok(None) };
    if Path::new(program).file_name() != Some(OsStr::new("mount.kvfs")) {
        return Ok(None);
    }
    let mut translated: Vec<OsString> = vec!["kvfs".into(), "mount".into()];
    let mut rest = rest.iter();
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("-o") => {
                translated.push(argument.clone());
                translated.extend(rest.next().cloned());
            }
            Some("-t") => drop(rest.next()),
            // Only try: nothing is mounted.
            Some("-f") => return Err(Failure::Code(0)),
            Some("-s" | "-n" | "-v") => {}
            Some(option) if option.starts_with('-') && option.len() > 1 => {
                let sentence =
                    format!("mount.kvfs: no option {option}; there are -o LIST, -t TYPE, -s, -f, -n, -v");
                return Err(Failure::Usage(Error::new(ErrorKind::Invalid, sentence)));
            }
            _ => translated.push(argument.clone()),
        }
    }
    Ok(Some(translated))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &str) -> Option<Vec<String>> {
        let arguments: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let translated = translate(&arguments).ok()??;
        Some(translated.into_iter().map(|argument| argument.into_string().unwrap()).collect())
    }

    #[test]
    fn mount_helpers_arguments_become_ours() {
        let expected = ["kvfs", "mount", "lmdb:/s", "/m", "-o", "rw,_netdev"].map(str::to_owned);
        let line = "/sbin/mount.kvfs lmdb:/s /m -n -v -o rw,_netdev -t kvfs";
        assert_eq!(translated(line).unwrap(), expected);
        assert_eq!(translated("kvfs mount x y"), None);
        assert!(translate(&["mount.kvfs".into(), "-z".into()]).is_err());
    }
}
