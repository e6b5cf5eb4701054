//! Sets: an empty file for each member.

use redis::{Cmd, Value as Reply};

use super::collection::Parts;
use super::hash::{nonsense, plain, with};
use super::known::of;
use super::link::Lost;
use super::session::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Segment;
use crate::store::repeating::Page;

/// Members that are asked for at once.
const TOGETHER: usize = 1000;

/// See the module.
pub(super) struct Sets;

impl Parts for Sets {
    fn get(&self, key: &[u8], name: &[u8]) -> Option<Cmd> {
        Some(with(of("SISMEMBER", key), name))
    }

    fn file(&self, reply: Reply) -> Result<Option<Vec<u8>>> {
        let is_member = matches!(reply, Reply::Int(1) | Reply::Boolean(true));
        Ok(is_member.then(Vec::new))
    }

    fn page(&self, session: &mut Session<'_>, key: &[u8], from: &[u8]) -> Result<Result<Page>, Lost> {
        let mut scan = of("SSCAN", key);
        scan.arg(if from.is_empty() { b"0" } else { from }).arg("COUNT").arg(TOGETHER);
        let (next, members): (Vec<u8>, Vec<Vec<u8>>) = match redis::from_redis_value(session.one(scan)?) {
            Ok(page) => page,
            Err(error) => return Ok(Err(nonsense("SSCAN", &error))),
        };
        let parts = members.into_iter().map(|name| (name, 0)).collect();
        Ok(Ok(Page { parts, next: Some(next).filter(|next| next != b"0") }))
    }

    fn put(&self, key: &[u8], part: Segment<'_>, body: &[u8], _there: bool, _count: u64) -> Result<Vec<Cmd>> {
        plain(part)?;
        if !body.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                "a member of a set has no content: its file is empty",
            ));
        }
        Ok(vec![with(of("SADD", key), part.bytes)])
    }

    fn delete(&self, key: &[u8], name: &[u8], _count: u64) -> Result<Cmd> {
        Ok(with(of("SREM", key), name))
    }

    fn count(&self, key: &[u8]) -> Cmd {
        of("SCARD", key)
    }
}
