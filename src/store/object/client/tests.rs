//! The client against a server that answers by a script, byte for byte.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Method;
use http::request::Parts;

use super::script::{Answer, Server};
use super::*;
use crate::env;

const LIMIT: Duration = Duration::from_secs(20);
/// For what is to be given up.
const SHORT: Duration = Duration::from_millis(300);

fn wait<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    env::wait(Deadline::after(LIMIT), future)
}

fn client(timeout: Duration) -> Client {
    Client::new(Transport::new(timeout, &Trust::default()).unwrap(), Arc::new(Anonymous), timeout)
}

fn get(server: &Server) -> Request {
    Request::new("GetObject", Method::GET, &server.origin, "/b/k".to_owned()).about("s3://b/k")
}

fn put(server: &Server) -> Request {
    let body = Bytes::from_static(b"bytes");
    Request::new("PutObject", Method::PUT, &server.origin, "/b/k".to_owned()).about("s3://b/k").body(body)
}

/// Sends, and reads all of the answer.
fn send(client: &Client, request: Request) -> Result<String> {
    wait(async { client.send(request).await?.text().await })
}

#[test]
fn every_key_goes_over_the_wire_as_it_is() {
    for key in [
        "a/../b", "a/./b", "..", ".", "a//b", "/abs", "dir/", "a+b", "a%2Fb", "a\tb", "ü", "😀", "a?b#c",
        "a b",
    ] {
        let server = Server::new([Answer::ok("")]);
        let path = format!("/bucket/{}", encode_path(key));
        let request =
            Request::new("GetObject", Method::GET, &server.origin, path).query("versionId", "a/b+c");
        assert_eq!(send(&client(LIMIT), request).unwrap(), "");
        let lines = server.seen();
        let target = lines[0].split(' ').nth(1).unwrap().to_owned();
        let (path, query) = target.split_once('?').unwrap();
        let raw = path.strip_prefix("/bucket/").unwrap();
        let decoded = percent_encoding::percent_decode_str(raw).decode_utf8().unwrap();
        assert_eq!(decoded, key, "{target}");
        assert_eq!(raw.matches('/').count(), key.matches('/').count(), "{target}");
        assert_eq!(query, "versionId=a%2Fb%2Bc");
    }
}

#[test]
fn promise_8_1_what_was_refused_for_now_is_asked_again() {
    let slow = "<Error><Code>SlowDown</Code></Error>";
    let server = Server::new([Answer::status(503, slow), Answer::status(429, ""), Answer::ok("done")]);
    let client = client(LIMIT);
    assert_eq!(send(&client, put(&server)).unwrap(), "done");
    assert_eq!(client.counters().requests(), [("PutObject", 3)]);
    assert_eq!(client.counters().sent(), 15);
    assert_eq!(client.counters().received(), 4 + slow.len() as u64);
}

#[test]
fn promise_8_1_what_may_have_been_done_is_not_done_again() {
    for answer in
        [Answer::status(500, ""), Answer::status(502, ""), Answer::Close, Answer::Partial("HTTP/1.1 20")]
    {
        let server = Server::new([answer.clone(), Answer::ok("second")]);
        let told = send(&client(LIMIT), put(&server)).unwrap_err();
        assert_eq!(told.kind(), ErrorKind::Uncertain, "{answer:?}: {told}");
        assert_eq!(server.seen().len(), 1);
        let server = Server::new([answer.clone(), Answer::ok("second")]);
        assert_eq!(send(&client(LIMIT), get(&server)).unwrap(), "second", "{answer:?}");
        let server = Server::new([answer, Answer::ok("second")]);
        assert_eq!(send(&client(LIMIT), put(&server).repeat(Repeat::Safe)).unwrap(), "second");
    }
}

#[test]
fn promise_8_1_a_server_that_does_not_answer_is_given_up() {
    let server = Server::new([Answer::Silence]);
    assert_eq!(send(&client(SHORT), get(&server)).unwrap_err().kind(), ErrorKind::TimedOut);
    let server = Server::new([Answer::Silence]);
    assert_eq!(send(&client(SHORT), put(&server)).unwrap_err().kind(), ErrorKind::Uncertain);
    let server = Server::new([Answer::Partial("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")]);
    assert_eq!(send(&client(SHORT), get(&server)).unwrap_err().kind(), ErrorKind::Io);
    let server = Server::new([Answer::Stall("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")]);
    let told = send(&client(SHORT), get(&server)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::TimedOut);
    assert!(told.to_string().contains("3 of 10 bytes"), "{told}");
}

#[test]
fn promise_8_1_a_server_that_is_not_there_is_tried_until_the_deadline() {
    let server = Server::new([]);
    let request = put(&server);
    server.close();
    let client = client(SHORT);
    let told = send(&client, request).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Io, "nothing was sent: {told}");
    assert!(told.to_string().contains("refused") && told.to_string().contains("endpoint"), "{told}");
    assert!(client.counters().requests()[0].1 > 1);
}

#[test]
fn a_long_wait_that_the_service_asks_for_ends_at_the_deadline() {
    let server =
        Server::new([Answer::Full("HTTP/1.1 503 Busy\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n")]);
    let told = send(&client(LIMIT), get(&server)).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::TimedOut, "{told}");
    assert!(told.to_string().contains("503"), "{told}");
}

#[test]
fn refusals_are_told_in_one_sentence_without_secrets() {
    let server =
        Server::new([Answer::status(403, "<Error><Code>AccessDenied</Code><Message>No.</Message></Error>")]);
    let mut request = get(&server);
    request.headers.insert("authorization", "Bearer secret".parse().unwrap());
    let told = send(&client(LIMIT), request).unwrap_err();
    assert_eq!(told.kind(), ErrorKind::Denied);
    assert_eq!(
        told.to_string(),
        "GetObject of s3://b/k: 403 AccessDenied No.; these credentials have no right to do that"
    );
}

/// Credentials of which the first are no good.
#[derive(Default)]
struct Expiring(AtomicU64);

#[async_trait]
impl Sign for Expiring {
    async fn sign(&self, parts: &mut Parts) -> Result<u64> {
        let generation = self.0.load(Ordering::Relaxed);
        parts.headers.insert("authorization", generation.into());
        Ok(generation)
    }

    fn renew(&self, used: u64) -> bool {
        let renewed = self.0.compare_exchange(used, used + 1, Ordering::Relaxed, Ordering::Relaxed);
        renewed.is_ok() && used == 0
    }

    fn worked(&self) -> bool {
        true
    }
}

#[test]
fn expired_credentials_are_loaded_anew_once() {
    let expired = || Answer::status(400, "<Error><Code>ExpiredToken</Code></Error>");
    let signed = |server: &Server| {
        let seen = server.seen();
        seen.iter().map(|head| head.contains("authorization: 1")).collect::<Vec<_>>()
    };
    let with = |server: &Server| {
        let transport = Transport::new(LIMIT, &Trust::default()).unwrap();
        send(&Client::new(transport, Arc::new(Expiring::default()), LIMIT), put(server))
    };
    let server = Server::new([expired(), Answer::ok("done")]);
    assert_eq!(with(&server).unwrap(), "done");
    assert_eq!(signed(&server), [false, true]);
    let server = Server::new([expired(), expired(), Answer::ok("third")]);
    assert!(with(&server).unwrap_err().to_string().contains("log in again"));
    assert_eq!(server.seen().len(), 2);
}

#[test]
fn headers_that_cannot_be_are_refused_before_anything_is_sent() {
    let server = Server::new([]);
    assert_eq!(get(&server).header("x-a", "two\nlines").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(get(&server).header("x-a", "ü").unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(get(&server).header("no name", "v").unwrap_err().kind(), ErrorKind::Invalid);
}
