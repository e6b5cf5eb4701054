//! The word `mode`: file type and permissions in one number, decimal (s3fs) or octal (rclone).

use super::{Holder, Style};
use crate::store::attributes::FileType;

/// Permission bits, set-id bits and the sticky bit.
pub(super) const PERMISSIONS: u32 = 0o7777;
const TYPE: u32 = libc::S_IFMT;
/// What Linux says of every symbolic link.
const LINK_PERMISSIONS: u32 = 0o777;

/// What the word tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode {
    /// `None`: it tells no type, or one that is not kept.
    pub holder: Option<Holder>,
    pub permissions: u32,
}

/// Reads the word: as decimal where its type is valid then, else as octal.
pub(super) fn read(text: &str) -> Option<Mode> {
    let text = text.trim();
    let decimal = text.parse::<u32>().ok().filter(|mode| *mode <= TYPE | PERMISSIONS);
    let octal = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= TYPE | PERMISSIONS);
    let typed = |mode: u32| holder(mode).map(|holder| Mode { holder: Some(holder), ..untyped(mode) });
    let as_decimal = decimal.filter(|mode| !is_unlike_a_link(*mode)).and_then(typed);
    as_decimal
        .or_else(|| octal.and_then(typed))
        .or_else(|| octal.map(untyped))
        .or_else(|| decimal.map(untyped))
}

fn untyped(mode: u32) -> Mode {
    Mode { holder: None, permissions: mode & PERMISSIONS }
}

/// Octal words of directories with set-id or sticky bits (`41777`) are links in decimal, with permissions that none has.
fn is_unlike_a_link(mode: u32) -> bool {
    mode & TYPE == libc::S_IFLNK && mode & PERMISSIONS != LINK_PERMISSIONS
}

fn holder(mode: u32) -> Option<Holder> {
    Some(match mode & TYPE {
        libc::S_IFREG => Holder::File(FileType::Regular),
        libc::S_IFLNK => Holder::File(FileType::Symlink),
        libc::S_IFIFO => Holder::File(FileType::Fifo),
        libc::S_IFSOCK => Holder::File(FileType::Socket),
        libc::S_IFDIR => Holder::Directory,
        _ => return None,
    })
}

/// The word in this style.
pub(super) fn write(style: Style, holder: Holder, permissions: u32) -> String {
    let permissions = permissions & PERMISSIONS;
    let mode = match holder {
        Holder::File(FileType::Regular) => libc::S_IFREG | permissions,
        Holder::File(FileType::Symlink) => libc::S_IFLNK | LINK_PERMISSIONS,
        Holder::File(FileType::Fifo) => libc::S_IFIFO | permissions,
        Holder::File(FileType::Socket) => libc::S_IFSOCK | permissions,
        Holder::Directory => libc::S_IFDIR | permissions,
    };
    let octal = format!("{mode:o}");
    // A directory's 1471 in octal is a link in decimal: the one word that would be read as something else.
    let is_plain = read(&octal).is_some_and(|read| read.holder == Some(holder));
    if style != Style::S3fs && is_plain { octal } else { mode.to_string() }
}
