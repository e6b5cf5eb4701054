//! Connections: TCP, TLS by rustls, proxies, and bodies that tell how they get on.

use std::convert::Infallible;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::Uri;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::{Client, Error as SendError};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::net::TcpStream;
use tower_service::Service;

use super::Counters;
use crate::env::{self, Deadline};
use crate::error::{Error, ErrorKind, Result};

/// Connections without use are closed after this: services close theirs after a minute or less.
const IDLE: Duration = Duration::from_secs(20);
/// Connections without use that are kept to one host.
const IDLE_MAX: usize = 64;
/// What a connection reads ahead of whoever reads from it, in bytes: there may be a hundred connections.
const CONNECTION_BUFFER: usize = 128 << 10;

/// Whom to trust besides the system's certificate authorities (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// A file with certificates, in PEM.
    pub bundle: Option<PathBuf>,
}

/// Connections, pooled by host. Clones share them.
#[derive(Clone)]
pub struct Transport {
    http: Client<HttpsConnector<Route>, Outgoing>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

impl Transport {
    /// A transport whose connections are there within `timeout` or not at all. Proxies are the environment's
    /// (`HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY`).
    ///
    /// # Errors
    /// The bundle's: it cannot be read, or has no certificate.
    pub fn new(timeout: Duration, trust: &Trust) -> Result<Transport> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(timeout / 2));
        tcp.set_keepalive(Some(IDLE));
        tcp.set_tcp_user_timeout(Some(timeout));
        let route = Route { tcp, proxies: Arc::new(Matcher::from_env()) };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::new(ErrorKind::Io, format!("TLS: {e}")))?
            .with_root_certificates(roots(trust)?)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(route);
        let http = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_MAX)
            .pool_timer(TokioTimer::new())
            .http1_max_buf_size(CONNECTION_BUFFER)
            .build(connector);
        Ok(Transport { http })
    }

    pub(super) fn send(
        &self,
        request: http::Request<Outgoing>,
    ) -> impl Future<Output = Result<http::Response<Incoming>, SendError>> + use<> {
        self.http.request(request)
    }

    /// A whole exchange, with a bounded answer.
    pub(super) async fn exchange(
        &self,
        request: http::Request<Bytes>,
        most: usize,
    ) -> Result<http::Response<Bytes>> {
        let failed = |why: &dyn std::error::Error| Error::new(ErrorKind::Io, super::tries::causes(why));
        let request = request.map(|body| Outgoing::new(body, &Arc::default()).0);
        let (head, body) = self.http.request(request).await.map_err(|e| failed(&e))?.into_parts();
        let body = Limited::new(body, most).collect().await.map_err(|e| failed(&*e))?;
        Ok(http::Response::from_parts(head, body.to_bytes()))
    }
}

fn roots(trust: &Trust) -> Result<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(bundle) = &trust.bundle {
        let wrong = |why: String| {
            Error::new(ErrorKind::Invalid, format!("the certificates in {}: {why}", bundle.display()))
        };
        let found = CertificateDer::pem_file_iter(bundle)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| wrong(e.to_string()))?;
        if roots.add_parsable_certificates(found).0 == 0 {
            return Err(wrong("there is none".to_owned()));
        }
    }
    Ok(roots)
}

/// Straight to the host, or through a proxy's tunnel where the environment names one for TLS.
#[derive(Clone)]
struct Route {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Service<Uri> for Route {
    type Response = TokioIo<TcpStream>;
    type Error = Failed;
    type Future = BoxFuture<'static, Result<Self::Response, Failed>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let encrypted = to.scheme() == Some(&http::uri::Scheme::HTTPS);
        match self.proxies.intercept(&to).filter(|_| encrypted) {
            None => self.tcp.call(to).map(|made| made.map_err(Into::into)).boxed(),
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
                if let Some(secret) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(secret.clone());
                }
                tunnel.call(to).map(|made| made.map_err(Into::into)).boxed()
            }
        }
    }
}

/// A body on its way out, in pieces, that notes when the connection last took one.
pub(super) struct Outgoing {
    left: Bytes,
    last: Arc<Mutex<Option<Instant>>>,
    counters: Arc<Counters>,
}

/// Bytes that are handed to a connection at once.
const PIECE: usize = 256 << 10;
/// Bodies longer than this may take longer than the deadline, as long as they get on.
const LONG: usize = 1 << 20;

impl Outgoing {
    pub(super) fn new(body: Bytes, counters: &Arc<Counters>) -> (Outgoing, Progress) {
        let last = Arc::new(Mutex::new(None));
        let progress = Progress { last: last.clone(), long: body.len() > LONG };
        (Outgoing { left: body, last, counters: counters.clone() }, progress)
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.left.len().min(PIECE);
        let piece = self.left.split_to(size);
        *self.last.lock() = Some(env::instant());
        self.counters.add_sent(size);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

/// How an [`Outgoing`] body gets on.
pub(super) struct Progress {
    last: Arc<Mutex<Option<Instant>>>,
    long: bool,
}

impl Progress {
    /// Waits for `exchange` until the deadline; of a long body, as long as no wait for it to get on is over `timeout`.
    /// `None`: it was given up.
    pub(super) async fn bounded<T>(
        &self,
        exchange: impl Future<Output = T>,
        deadline: Deadline,
        timeout: Duration,
    ) -> Option<T> {
        let mut exchange = std::pin::pin!(exchange);
        let mut limit = deadline.at();
        loop {
            if let Ok(done) = tokio::time::timeout_at(limit.into(), exchange.as_mut()).await {
                return Some(done);
            }
            let last = self.last.lock().filter(|_| self.long)?;
            if last + timeout <= env::instant() {
                return None;
            }
            limit = last + timeout;
        }
    }
}
