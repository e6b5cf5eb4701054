//! The proxy itself, in front of a server that answers every request with its own body.

#![cfg(test)]

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::message::{Body, Head, pass};
use super::operation::operation;
use super::{ALWAYS, Fault, Proxy};

/// A server that echoes, and counts what it was asked.
struct Echo {
    url: String,
    met: Arc<AtomicUsize>,
}

impl Echo {
    fn new() -> Echo {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let met = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&met);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || echo(stream.unwrap(), &counted));
            }
        });
        Echo { url, met }
    }

    fn met(&self) -> usize {
        self.met.load(Ordering::SeqCst)
    }
}

fn echo(stream: TcpStream, met: &AtomicUsize) {
    let mut stream = BufReader::new(stream);
    while let Ok(Some(head)) = Head::read(&mut stream) {
        let mut body = Vec::new();
        pass(&mut stream, &mut body, head.request_body(), None).unwrap();
        met.fetch_add(1, Ordering::SeqCst);
        let mut answer = Head { first: "HTTP/1.1 200 OK".into(), headers: Vec::new() };
        answer.set("ETag", "\"tag\"");
        if head.words().1 == "/chunked" {
            answer.set("Transfer-Encoding", "chunked");
            body = format!("{:x}\r\n{}\r\n0\r\n\r\n", body.len(), String::from_utf8(body).unwrap()).into();
        } else {
            answer.set("Content-Length", body.len().to_string());
        }
        answer.write(stream.get_mut()).unwrap();
        stream.get_mut().write_all(&body).unwrap();
    }
}

/// A client that keeps its connection.
struct Client(BufReader<TcpStream>);

impl Client {
    fn new(proxy: &Proxy) -> Client {
        Client(BufReader::new(TcpStream::connect(proxy.address).unwrap()))
    }

    fn send(&mut self, first: &str, body: &[u8]) -> std::io::Result<()> {
        let stream = self.0.get_mut();
        write!(stream, "{first} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n", body.len())?;
        stream.write_all(body)
    }

    /// The answer's head, and as much of its body as comes, with the error that ended it.
    fn receive(&mut self) -> std::io::Result<(Head, Vec<u8>, Option<ErrorKind>)> {
        let head = Head::read(&mut self.0)?.ok_or(ErrorKind::UnexpectedEof)?;
        let mut body = Vec::new();
        let ended = pass(&mut self.0, &mut body, head.answer_body("GET"), None).err();
        Ok((head, body, ended.map(|error| error.kind())))
    }

    fn ask(&mut self, first: &str, body: &[u8]) -> std::io::Result<(Head, Vec<u8>, Option<ErrorKind>)> {
        self.send(first, body)?;
        self.receive()
    }
}

#[test]
fn requests_go_through_on_one_connection_and_are_counted() {
    let (echo, body) = (Echo::new(), vec![b'x'; 300_000]);
    let proxy = Proxy::new(&echo.url);
    let mut client = Client::new(&proxy);
    for target in ["/bucket/key", "/chunked", "/bucket/key"] {
        let (head, found, ended) = client.ask(&format!("PUT {target}"), &body).unwrap();
        assert_eq!((head.words().1, ended), ("200", None));
        assert!(head.answer_body("GET") == Body::Chunked || found == body);
    }
    client.ask("GET /bucket?list-type=2&prefix=a", b"").unwrap();
    assert_eq!(echo.met(), 4);
    let counts: Vec<_> = proxy.counts().into_iter().collect();
    assert_eq!(counts, [("list", 1), ("make-bucket", 1), ("put", 2)]);
    assert_eq!(proxy.requests()[3], "list: GET /bucket?list-type=2&prefix=a");
    proxy.forget();
    assert!(proxy.counts().is_empty());
}

#[test]
fn refusals_come_as_often_as_they_were_asked_for() {
    let echo = Echo::new();
    let proxy = Proxy::new(&echo.url);
    let left = proxy.inject("get", "/key", 2, Fault::refused(503, "SlowDown").with("Retry-After", "1"));
    let mut client = Client::new(&proxy);
    assert_eq!(client.ask("PUT /bucket/key", b"body").unwrap().1, b"body", "another operation");
    assert_eq!(client.ask("GET /bucket/other", b"").unwrap().0.words().1, "200", "another key");
    for _ in 0..2 {
        let (head, text, _) = client.ask("GET /bucket/key", b"").unwrap();
        assert_eq!((head.words().1, head.get("retry-after")), ("503", Some("1")));
        assert!(String::from_utf8(text).unwrap().contains("<Code>SlowDown</Code>"));
    }
    assert_eq!(client.ask("GET /bucket/key", b"").unwrap().0.words().1, "200");
    assert_eq!((left.load(Ordering::SeqCst), echo.met()), (0, 3));
}

#[test]
fn a_lost_request_is_not_forwarded_and_a_lost_answer_is() {
    let echo = Echo::new();
    let proxy = Proxy::new(&echo.url);
    proxy.inject("", "", 1, Fault::Lost);
    proxy.inject("", "", 1, Fault::AnswerLost);
    for met in [0, 1] {
        let lost = Client::new(&proxy).ask("PUT /bucket/key", b"body").unwrap_err();
        assert!(matches!(lost.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof), "{lost}");
        assert_eq!(echo.met(), met);
    }
    assert_eq!(Client::new(&proxy).ask("PUT /bucket/key", b"body").unwrap().1, b"body");
}

#[test]
fn bodies_end_early_in_three_ways() {
    let (echo, body) = (Echo::new(), vec![b'x'; 100_000]);
    let proxy = Proxy::new(&echo.url);
    proxy.inject("", "", 1, Fault::Cut(70_000));
    proxy.inject("", "", 1, Fault::Short(70_000));
    proxy.inject("", "", 1, Fault::Understated(70_000));
    let ends = [Some(ErrorKind::ConnectionReset), Some(ErrorKind::UnexpectedEof), None];
    for expected in ends {
        let (head, found, ended) = Client::new(&proxy).ask("PUT /bucket/key", &body).unwrap();
        assert_eq!(ended, expected);
        let told = if ended.is_none() { 70_000 } else { body.len() };
        assert_eq!(head.answer_body("GET"), Body::Sized(told as u64));
        // A reset may take with it what the client had not read yet.
        assert!(found.len() == 70_000 || ended == Some(ErrorKind::ConnectionReset), "{}", found.len());
    }
}

#[test]
fn another_tag_and_a_late_answer_are_answers() {
    let echo = Echo::new();
    let proxy = Proxy::new(&echo.url);
    proxy.inject("", "", 1, Fault::OtherTag);
    proxy.inject("", "", 1, Fault::Late(Duration::from_millis(30)));
    let mut client = Client::new(&proxy);
    let (head, body, _) = client.ask("PUT /bucket/key", b"body").unwrap();
    assert!(head.get("etag") != Some("\"tag\"") && body == b"body");
    let started = kvfs::env::instant();
    assert_eq!(client.ask("PUT /bucket/key", b"body").unwrap().0.get("etag"), Some("\"tag\""));
    assert!(started.elapsed() >= Duration::from_millis(30));
}

#[test]
fn silence_ends_with_a_reset_when_the_client_gives_up_or_with_the_proxy() {
    let echo = Echo::new();
    let proxy = Proxy::new(&echo.url);
    let waits_for = |count| {
        crate::harness::until(crate::harness::PATIENCE, "so many wait", || {
            (proxy.unanswered() == count).then_some(())
        })
    };
    proxy.silence(true);
    let mut waiting = Client::new(&proxy);
    waiting.send("PUT /bucket/key", b"body").unwrap();
    waits_for(1);
    proxy.silence(false);
    assert!(waiting.receive().is_err());
    waits_for(0);
    proxy.inject("", "", ALWAYS, Fault::Silence);
    let mut gives_up = Client::new(&proxy);
    gives_up.send("PUT /bucket/key", b"body").unwrap();
    waits_for(1);
    drop(gives_up);
    waits_for(0);
    let mut last = Client::new(&proxy);
    last.send("PUT /bucket/key", b"body").unwrap();
    waits_for(1);
    drop(proxy);
    let mut rest = Vec::new();
    assert!(last.0.read_to_end(&mut rest).is_err() || rest.is_empty());
    assert_eq!(echo.met(), 0);
}

#[test]
fn operations_are_told_by_method_target_and_headers() {
    let told = |line: &str, header: &str| {
        let mut head = Head { first: format!("{line} HTTP/1.1"), headers: Vec::new() };
        if let Some((name, value)) = header.split_once(": ") {
            head.set(name, value);
        }
        operation(&head)
    };
    for (line, header, expected) in [
        ("GET /", "", "list-buckets"),
        ("GET /b?list-type=2&prefix=a%2F", "", "list"),
        ("GET /b/?list-type=2", "", "list"),
        ("GET /b?uploads", "", "list-uploads"),
        ("GET /b/k", "Range: bytes=0-9", "get"),
        ("HEAD /b/k", "", "head"),
        ("PUT /b/k", "", "put"),
        ("PUT /b/k", "x-amz-copy-source: /b/other", "copy"),
        ("POST /b/k?uploads", "", "begin"),
        ("PUT /b/k?partNumber=1&uploadId=u", "", "part"),
        ("PUT /b/k?partNumber=1&uploadId=u", "x-amz-copy-source: /b/other", "copy-part"),
        ("POST /b/k?uploadId=u", "", "complete"),
        ("DELETE /b/k?uploadId=u", "", "abort"),
        ("DELETE /b/k", "", "delete"),
        ("POST /b?delete", "", "delete-batch"),
        ("GET /a/c?restype=container&comp=list&delimiter=%2F", "x-ms-version: 2024", "list"),
        ("GET /a/c/k", "x-ms-version: 2024", "get"),
        ("PUT /a/c/k?comp=block&blockid=x", "x-ms-version: 2024", "part"),
        ("PUT /a/c/k?comp=blocklist", "x-ms-version: 2024", "complete"),
        ("PUT /a/c/k?comp=metadata", "x-ms-version: 2024", "set"),
        ("GET /storage/v1/b/b/o?delimiter=/", "", "list"),
        ("GET /storage/v1/b/b/o/k?alt=media", "", "get"),
        ("GET /storage/v1/b/b/o/k?ifGenerationMatch=1", "", "head"),
        ("POST /upload/storage/v1/b/b/o?uploadType=multipart", "", "put"),
        ("POST /upload/storage/v1/b/b/o?uploadType=resumable&name=k", "", "begin"),
        ("PUT /upload/storage/v1/b/b/o?uploadType=resumable&upload_id=u", "", "part"),
        ("POST /storage/v1/b/b/o/k/rewriteTo/b/b/o/l", "", "copy"),
        ("POST /storage/v1/b/b/o/k/compose", "", "complete"),
        ("DELETE /storage/v1/b/b/o/k", "", "delete"),
    ] {
        assert_eq!(told(line, header), expected, "{line} {header}");
    }
}
