//! What the server or its client refuse, in the words of this project.

use std::fmt;

use redis::{ErrorKind as Kind, RedisError, ServerErrorKind};

use super::node::Role;
use crate::error::{Error, ErrorKind};

/// The failure of `what`.
pub(super) fn failure(what: impl fmt::Display, error: &RedisError) -> Error {
    let (kind, advice) = kind_of(error);
    Error::new(kind, format!("{what}: {}{advice}", shown(error)))
}

/// What the server said; never what it was asked, which may hold a password.
fn shown(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ => error.to_string(),
    }
}

fn kind_of(error: &RedisError) -> (ErrorKind, &'static str) {
    if error.is_timeout() {
        return (ErrorKind::TimedOut, " (--timeout)");
    }
    match error.kind() {
        Kind::AuthenticationFailed => (
            ErrorKind::Unauthenticated,
            "; the password comes from REDISCLI_AUTH, --password-file or --ask-password",
        ),
        Kind::Server(ServerErrorKind::ReadOnly) => (ErrorKind::ReadOnly, "; mount the primary to write"),
        Kind::Server(ServerErrorKind::NoPerm) => {
            (ErrorKind::Denied, "; kvfs stores redis shows the rights that it needs")
        }
        _ => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => (
                ErrorKind::Unauthenticated,
                "; the password comes from REDISCLI_AUTH, --password-file or --ask-password",
            ),
            Some("OOM") => (ErrorKind::NoSpace, ""),
            // It cannot write its snapshot, and takes no changes until it can.
            Some("MISCONF") => (ErrorKind::NoSpace, ""),
            Some("BUSY") => (ErrorKind::Busy, ""),
            Some("WRONGTYPE") => (ErrorKind::Exists, ""),
            Some("ERR") if error.detail().is_some_and(|detail| detail.contains("maximum allowed size")) => {
                (ErrorKind::TooBig, "")
            }
            _ => (ErrorKind::Io, ""),
        },
    }
}

/// Whether the server may not have done what it was asked, or may: no answer came.
pub(super) fn is_lost(error: &RedisError) -> bool {
    matches!(error.kind(), Kind::Io | Kind::Parse) || error.is_connection_dropped() || error.is_timeout()
}

/// Whether the server does not answer for the key, or not now, and has done nothing: it loads its data, the key is at
/// another one, or another one has taken its place.
pub(super) fn is_elsewhere(error: &RedisError, role: Role) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        Kind::Server(ReadOnly) => role == Role::Primary,
        Kind::Server(kind) => [Ask, BusyLoading, ClusterDown, MasterDown, Moved, TryAgain].contains(&kind),
        _ => error.code() == Some("NOREPLICAS"),
    }
}
