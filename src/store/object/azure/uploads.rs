//! Uploads in parts: blocks under names that begin with the upload's, and the list that makes a blob of them.
//!
//! A part's tag is its block and its size, `block size`, so that the size of the whole is known.

use std::hash::{BuildHasher, Hasher, RandomState};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;

use super::objects::{conditional, made};
use super::session::Session;
use super::{headers, xml};
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::bucket::{Body, Condition, Headers, Object};
use crate::store::object::client::Repeat;

/// How many deadlines the service may take to put parts together.
const LONG_WORK: u32 = 4;

/// A name that no other upload has.
pub(super) fn new_name() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// The block of a part. All blocks of a blob have names of one length.
fn block(upload: &str, number: u32) -> String {
    STANDARD.encode(format!("kvfs-{upload:0>16.16}-{number:06}"))
}

impl Session {
    pub(super) async fn part(&self, key: &str, upload: &str, number: u32, body: Body) -> Result<String> {
        let size = body.len();
        let Body::Bytes(bytes) = body;
        let block = block(upload, number);
        let request = self
            .request("PutBlock", Method::PUT, key)?
            .query("comp", "block")
            .query("blockid", block.clone())
            .body(bytes)
            .repeat(Repeat::Safe);
        self.send(request).await?;
        Ok(format!("{block} {size}"))
    }

    pub(super) async fn complete(
        &self,
        key: &str,
        parts: &[String],
        headers: &Headers,
        condition: &Condition,
    ) -> Result<Object> {
        let wrong = |part: &str| {
            Error::new(ErrorKind::Invalid, format!("the part's tag {part:?} is none of Azure's"))
        };
        let mut size = 0;
        let mut blocks = Vec::with_capacity(parts.len());
        for part in parts {
            let (block, own) = part.split_once(' ').ok_or_else(|| wrong(part))?;
            size += own.parse::<u64>().map_err(|_| wrong(part))?;
            blocks.push(block);
        }
        let request = self
            .request("PutBlockList", Method::PUT, key)?
            .query("comp", "blocklist")
            .timeout(self.client().timeout() * LONG_WORK)
            .header("content-type", "application/xml")?
            .body(xml::block_list(blocks.into_iter()).into());
        let request = headers::on_condition(headers::write(request, headers)?, condition)?;
        let what = request.to_string();
        let response = self.send(request).await.map_err(|failure| conditional(failure, condition))?;
        made(&what, key, size, headers, &response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_a_blob_have_names_of_one_length() {
        let (one, other) = (new_name(), new_name());
        assert_ne!(one, other);
        let names = [block(&one, 1), block(&one, 50_000), block(&other, 1), block("1", 1)];
        assert!(names.iter().all(|name| name.len() == names[0].len() && name.len() <= 88), "{names:?}");
    }
}
