//! What can go wrong, in the words of this project; `fuse/errno.rs` alone knows the number of each.

use std::borrow::Cow;
use std::fmt;

/// A result whose error is an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is. Each maps to one errno, in the one table in `fuse/errno.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such key, directory or attribute holder.
    NotFound,
    /// The name is taken.
    Exists,
    /// A directory with something in it.
    NotEmpty,
    /// A directory was needed.
    NotDirectory,
    /// A file was needed.
    IsDirectory,
    /// The store cannot hold a key this long.
    NameTooLong,
    /// The store cannot hold these bytes in a key.
    NameEncoding,
    /// The request makes no sense here.
    Invalid,
    /// The mount or the store is read-only.
    ReadOnly,
    /// The caller or the daemon lacks the right.
    Denied,
    /// The store does not know who asks: credentials are missing, wrong or expired.
    Unauthenticated,
    /// Nobody may do this here.
    NotPermitted,
    /// The store can never do this.
    Unsupported,
    /// A rename that the store can only do as a copy by the caller.
    CrossDevice,
    /// The version that was opened is gone, or somebody replaced it.
    Stale,
    /// Over the store's limit for a value.
    TooBig,
    /// The store, its disk or its map is full.
    NoSpace,
    /// The deadline passed.
    TimedOut,
    /// Somebody else holds it.
    Busy,
    /// No such extended attribute.
    NoAttribute,
    /// A buffer given by the caller is too small.
    Range,
    /// A handle that is not open, or not for this.
    BadHandle,
    /// An offset past the end of a file, where there is neither data nor a hole.
    PastEnd,
    /// Too many levels, handles or readers.
    Exhausted,
    /// The answer was lost: whether it was done is not known.
    Uncertain,
    /// The store or its medium failed.
    Io,
}

/// A failure: its kind, and what to tell a person (never with a secret).
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    detail: Option<Box<Cow<'static, str>>>,
}

impl Error {
    /// A failure with a sentence: what failed, on what, and what to do.
    pub fn new(kind: ErrorKind, detail: impl Into<Cow<'static, str>>) -> Error {
        Error { kind, detail: Some(Box::new(detail.into())) }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same failure with `what` and a colon before its sentence.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Error {
        Error::new(self.kind, format!("{what}: {self}"))
    }

    /// Turns an I/O error of the system into the nearest kind, with `what` before it.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Error {
        Error::new(kind_of_io(error), format!("{what}: {error}"))
    }
}

/// The kind that an operating system's error comes nearest to.
pub fn kind_of_io(error: &std::io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT) => ErrorKind::NotFound,
        Some(libc::EEXIST) => ErrorKind::Exists,
        Some(libc::ENOTEMPTY) => ErrorKind::NotEmpty,
        Some(libc::ENOTDIR) => ErrorKind::NotDirectory,
        Some(libc::EISDIR) => ErrorKind::IsDirectory,
        Some(libc::ENAMETOOLONG) => ErrorKind::NameTooLong,
        Some(libc::EILSEQ) => ErrorKind::NameEncoding,
        Some(libc::EINVAL) => ErrorKind::Invalid,
        Some(libc::EROFS) => ErrorKind::ReadOnly,
        Some(libc::EACCES) => ErrorKind::Denied,
        Some(libc::EPERM) => ErrorKind::NotPermitted,
        Some(libc::EOPNOTSUPP | libc::ENOSYS) => ErrorKind::Unsupported,
        Some(libc::EXDEV) => ErrorKind::CrossDevice,
        Some(libc::ESTALE) => ErrorKind::Stale,
        Some(libc::EFBIG) => ErrorKind::TooBig,
        Some(libc::ENOSPC | libc::EDQUOT) => ErrorKind::NoSpace,
        Some(libc::ETIMEDOUT) => ErrorKind::TimedOut,
        Some(libc::EBUSY | libc::EAGAIN) => ErrorKind::Busy,
        Some(libc::ENODATA) => ErrorKind::NoAttribute,
        Some(libc::ERANGE) => ErrorKind::Range,
        Some(libc::EBADF) => ErrorKind::BadHandle,
        Some(libc::ENXIO) => ErrorKind::PastEnd,
        Some(libc::ENOMEM | libc::EMFILE | libc::ENFILE) => ErrorKind::Exhausted,
        _ => ErrorKind::Io,
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error { kind, detail: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => f.write_str(detail),
            None => write!(f, "{:?}", self.kind),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl std::error::Error for Error {}
