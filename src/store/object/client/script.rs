//! A server on loopback that answers each request with the next answer of its script.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;

/// What is answered to one request.
#[derive(Clone, Debug)]
pub(in crate::store::object) enum Answer {
    /// These bytes, and the connection stays.
    Full(&'static str),
    /// A status and a body, and the connection stays.
    Status(u16, &'static str),
    /// These bytes, and the connection ends.
    Partial(&'static str),
    /// These bytes, and nothing more.
    Stall(&'static str),
    /// Nothing; the connection ends.
    Close,
    /// Nothing; the connection stays.
    Silence,
}

impl Answer {
    pub(in crate::store::object) fn ok(body: &'static str) -> Answer {
        Answer::Status(200, body)
    }

    pub(in crate::store::object) fn status(status: u16, body: &'static str) -> Answer {
        Answer::Status(status, body)
    }
}

/// Ends when it is dropped.
pub(in crate::store::object) struct Server {
    pub(in crate::store::object) origin: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    answers: Mutex<std::collections::VecDeque<Answer>>,
    heads: Mutex<Vec<String>>,
    connections: Mutex<Vec<TcpStream>>,
    over: std::sync::atomic::AtomicBool,
}

impl Server {
    pub(in crate::store::object) fn new(answers: impl IntoIterator<Item = Answer>) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let shared =
            Arc::new(Shared { answers: Mutex::new(answers.into_iter().collect()), ..Shared::default() });
        let served = shared.clone();
        let thread = std::thread::spawn(move || {
            let mut connections = Vec::new();
            for stream in listener.incoming() {
                if served.over.load(std::sync::atomic::Ordering::SeqCst) {
                    break;
                }
                let stream = stream.unwrap();
                served.connections.lock().push(stream.try_clone().unwrap());
                let served = served.clone();
                connections.push(std::thread::spawn(move || serve(&served, stream)));
            }
            drop(listener);
            for connection in served.connections.lock().drain(..) {
                let _ = connection.shutdown(Shutdown::Both);
            }
            connections.into_iter().for_each(|connection| connection.join().unwrap());
        });
        Server { origin, shared, thread: Some(thread) }
    }

    /// The heads of the requests so far, headers in lower case.
    pub(in crate::store::object) fn seen(&self) -> Vec<String> {
        self.shared.heads.lock().clone()
    }

    /// Lets nobody in any longer.
    pub(in crate::store::object) fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.shared.over.store(true, std::sync::atomic::Ordering::SeqCst);
            let _ = TcpStream::connect(self.origin.trim_start_matches("http://"));
            thread.join().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Serves one connection to its end.
fn serve(shared: &Shared, mut stream: TcpStream) {
    while let Some(head) = request(&mut stream) {
        shared.heads.lock().push(head);
        let Some(answer) = shared.answers.lock().pop_front() else { break };
        let _ = match answer {
            Answer::Full(bytes) => stream.write_all(bytes.as_bytes()),
            Answer::Status(status, body) => {
                let length = body.len();
                write!(stream, "HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\n\r\n{body}")
            }
            Answer::Partial(bytes) => {
                let _ = stream.write_all(bytes.as_bytes());
                break;
            }
            Answer::Close => break,
            Answer::Stall(bytes) => stream.write_all(bytes.as_bytes()),
            Answer::Silence => Ok(()),
        };
    }
    let _ = stream.shutdown(Shutdown::Both);
}

/// Reads a request with its body; its head.
fn request(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).ok()?;
    Some(head)
}
