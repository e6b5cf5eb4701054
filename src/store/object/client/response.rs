//! A response: its head, and its body as it comes.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use super::{Counters, Request};
use crate::error::{Error, ErrorKind, Result};

/// The longest answer in XML or JSON, in bytes: a page of 5000 keys of 1024 bytes, each percent-encoded, with metadata,
/// stays below.
pub const TEXT_MAX: usize = 32 << 20;

/// A response whose body has yet to be read.
pub struct Response {
    /// As the service says.
    pub status: StatusCode,
    /// As the service says.
    pub headers: HeaderMap,
    what: String,
    body: Incoming,
    announced: Option<u64>,
    timeout: Duration,
    counters: Arc<Counters>,
}

impl Response {
    pub(super) fn new(
        request: &Request,
        response: http::Response<Incoming>,
        timeout: Duration,
        counters: &Arc<Counters>,
    ) -> Response {
        let (head, body) = response.into_parts();
        let announced = match request.method {
            Method::HEAD => None,
            _ => head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok()),
        };
        Response {
            status: head.status,
            headers: head.headers,
            what: request.to_string(),
            body,
            announced,
            timeout,
            counters: counters.clone(),
        }
    }

    /// The value of a header; `None` where it is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// All of a body that is text.
    ///
    /// # Errors
    /// `TooBig` over [`TEXT_MAX`]; as for [`Response::stream`].
    pub async fn text(self) -> Result<String> {
        let what = self.what.clone();
        let bytes = self.collect(TEXT_MAX).await?;
        String::from_utf8(bytes.into())
            .map_err(|_| Error::new(ErrorKind::Io, format!("{what}: the answer is not UTF-8")))
    }

    /// All of a body of at most `most` bytes.
    ///
    /// # Errors
    /// `TooBig`; as for [`Response::stream`].
    pub async fn collect(self, most: usize) -> Result<Bytes> {
        let what = self.what.clone();
        let mut whole = BytesMut::new();
        let mut pieces = self.stream();
        while let Some(piece) = pieces.next().await {
            let piece = piece?;
            if whole.len() + piece.len() > most {
                return Err(Error::new(ErrorKind::TooBig, format!("{what}: an answer over {most} bytes")));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    /// The body in pieces, as they come.
    ///
    /// # Errors
    /// `Io` where the connection breaks, or where fewer bytes come than were announced; `TimedOut` where none comes for as
    /// long as the deadline.
    pub fn stream(self) -> BoxStream<'static, Result<Bytes>> {
        let reading = Reading { response: self, arrived: 0 };
        stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.piece().await {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

struct Reading {
    response: Response,
    arrived: u64,
}

impl Reading {
    async fn piece(&mut self) -> Result<Option<Bytes>> {
        loop {
            let frame = tokio::time::timeout(self.response.timeout, self.response.body.frame()).await;
            let Ok(frame) = frame else {
                return Err(self.broken(ErrorKind::TimedOut, "nothing came for as long as --timeout"));
            };
            match frame {
                None => break,
                Some(Err(error)) => return Err(self.broken(ErrorKind::Io, &super::tries::causes(&error))),
                Some(Ok(frame)) => {
                    let Ok(bytes) = frame.into_data() else { continue };
                    self.arrived += bytes.len() as u64;
                    self.response.counters.add_received(bytes.len());
                    return Ok(Some(bytes));
                }
            }
        }
        if self.response.announced.is_some_and(|announced| announced != self.arrived) {
            return Err(self.broken(ErrorKind::Io, "the body ended early"));
        }
        Ok(None)
    }

    fn broken(&self, kind: ErrorKind, why: &str) -> Error {
        let what = &self.response.what;
        let arrived = self.arrived;
        Error::new(
            kind,
            match self.response.announced {
                Some(announced) => format!("{what}: {why} (after {arrived} of {announced} bytes)"),
                None => format!("{what}: {why} (after {arrived} bytes)"),
            },
        )
    }
}
