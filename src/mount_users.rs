//! Who keeps a mount busy, as far as /proc tells this user.

use std::fs;
use std::path::Path;

/// As many programs as a sentence names.
const NAMED: usize = 5;

/// Says who uses the mount: `it is used by vim (process 12)`.
pub fn sentence(mount_point: &Path) -> String {
    let users = users(mount_point);
    if users.is_empty() {
        return "a program uses it (a working directory, an open file, or a mount below it)".to_owned();
    }
    let more = if users.len() > NAMED { " and others" } else { "" };
    format!("it is used by {}{more}", users[..users.len().min(NAMED)].join(", "))
}

/// Programs with a working directory, a root or an open file below the mount point. Only links of /proc are read, so
/// that the mount is asked nothing.
fn users(mount_point: &Path) -> Vec<String> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter(|process| process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit))
        .filter(|process| uses(&process.path(), mount_point))
        .map(|process| {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            format!("{} (process {})", name.trim(), process.file_name().to_string_lossy())
        })
        .take(NAMED + 1)
        .collect()
}

fn uses(process: &Path, mount_point: &Path) -> bool {
    let below = |link: &Path| fs::read_link(link).is_ok_and(|target| target.starts_with(mount_point));
    let files = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    below(&process.join("cwd"))
        || below(&process.join("root"))
        || files.into_iter().any(|fd| below(&fd.path()))
}
