//! The one table of error numbers: nothing below the door knows them.

use fuser::Errno;

use crate::error::{Error, ErrorKind};

/// The number that the kernel is told.
pub(super) fn errno(error: &Error) -> Errno {
    match error.kind() {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::Exists => Errno::EEXIST,
        ErrorKind::NotEmpty => Errno::ENOTEMPTY,
        ErrorKind::NotDirectory => Errno::ENOTDIR,
        ErrorKind::IsDirectory => Errno::EISDIR,
        ErrorKind::NameTooLong => Errno::ENAMETOOLONG,
        ErrorKind::NameEncoding => Errno::EILSEQ,
        ErrorKind::Invalid => Errno::EINVAL,
        ErrorKind::ReadOnly => Errno::EROFS,
        ErrorKind::Denied | ErrorKind::Unauthenticated => Errno::EACCES,
        ErrorKind::NotPermitted => Errno::EPERM,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::CrossDevice => Errno::EXDEV,
        ErrorKind::Stale => Errno::ESTALE,
        ErrorKind::TooBig => Errno::EFBIG,
        ErrorKind::NoSpace => Errno::ENOSPC,
        ErrorKind::TimedOut => Errno::ETIMEDOUT,
        ErrorKind::Busy => Errno::EBUSY,
        ErrorKind::NoAttribute => Errno::ENODATA,
        ErrorKind::Range => Errno::ERANGE,
        ErrorKind::BadHandle => Errno::EBADF,
        ErrorKind::PastEnd => Errno::ENXIO,
        // Readers or handles ran out: the caller may try again, and nothing is broken.
        ErrorKind::Exhausted => Errno::EAGAIN,
        ErrorKind::Uncertain | ErrorKind::Io => Errno::EIO,
    }
}
