//! One message of HTTP/1.1 on its way: its head is read, its body goes from one connection to the other.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::TcpStream;

/// Longer heads are nobody's.
const HEAD_MAX: u64 = 256 << 10;

/// The head of a request or of an answer.
#[derive(Clone, Debug)]
pub struct Head {
    /// The request line or the status line.
    pub first: String,
    /// Names as they were written, and values.
    pub headers: Vec<(String, String)>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// By its length in bytes.
    Sized(u64),
    /// By a chunk without bytes.
    Chunked,
    /// By the end of the connection.
    ToTheEnd,
}

impl Head {
    /// Reads a head; `None` where the connection ends before one begins.
    pub fn read(from: &mut BufReader<TcpStream>) -> Result<Option<Head>> {
        let mut lines = Vec::new();
        let mut from = from.take(HEAD_MAX);
        loop {
            let mut line = Vec::new();
            if from.read_until(b'\n', &mut line)? == 0 {
                let nothing = lines.is_empty();
                return if nothing { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
            }
            // Values may be UTF-8, which is passed on as it came; what is not would be a test's own mistake.
            let line = String::from_utf8(line).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            let line = line.trim_end_matches(['\r', '\n']).to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let mut lines = lines.into_iter();
        let first = lines.next().unwrap_or_default();
        let header = |line: String| line.split_once(':').map(|(n, v)| (n.to_owned(), v.trim().to_owned()));
        Ok(Some(Head { first, headers: lines.filter_map(header).collect() }))
    }

    /// The value of a header, whatever the case of its name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    /// Takes a header out.
    pub fn remove(&mut self, name: &str) {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// Puts a header in place of others of its name.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    /// The first and the second word of the first line: method and target, or version and status.
    pub fn words(&self) -> (&str, &str) {
        let mut words = self.first.split(' ');
        (words.next().unwrap_or_default(), words.next().unwrap_or_default())
    }

    /// The body that follows this head of a request.
    pub fn request_body(&self) -> Body {
        self.told_body().unwrap_or(Body::Sized(0))
    }

    /// The body that follows this head of an answer to `method`.
    pub fn answer_body(&self, method: &str) -> Body {
        let status = self.words().1;
        if method == "HEAD" || status == "204" || status == "304" {
            return Body::Sized(0);
        }
        self.told_body().unwrap_or(Body::ToTheEnd)
    }

    fn told_body(&self) -> Option<Body> {
        if self.get("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Some(Body::Chunked);
        }
        self.get("content-length").and_then(|length| length.parse().ok()).map(Body::Sized)
    }

    /// Whether the connection ends after this message.
    pub fn ends_connection(&self) -> bool {
        let word = self.get("connection").unwrap_or_default();
        let old = self.first.starts_with("HTTP/1.0") && !word.eq_ignore_ascii_case("keep-alive");
        old || word.eq_ignore_ascii_case("close")
    }

    /// Sends the head.
    pub fn write(&self, to: &mut impl Write) -> Result<()> {
        let mut text = format!("{}\r\n", self.first);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())
    }
}

/// Passes a body on, at most `most` bytes of it; whether that was all of it.
pub fn pass(
    from: &mut BufReader<TcpStream>,
    to: &mut impl Write,
    body: Body,
    most: Option<u64>,
) -> Result<bool> {
    let most = most.unwrap_or(u64::MAX);
    match body {
        Body::Sized(length) => {
            let size = length.min(most);
            exactly(from, to, size)?;
            Ok(size == length)
        }
        Body::ToTheEnd => {
            let copied = std::io::copy(&mut from.take(most), to)?;
            Ok(copied < most)
        }
        Body::Chunked => chunks(from, to, most),
    }
}

fn exactly(from: &mut BufReader<TcpStream>, to: &mut impl Write, size: u64) -> Result<()> {
    if std::io::copy(&mut from.take(size), to)? < size {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

fn chunks(from: &mut BufReader<TcpStream>, to: &mut impl Write, mut most: u64) -> Result<bool> {
    loop {
        let mut line = String::new();
        from.read_line(&mut line)?;
        let digits = line.trim_end().split(';').next().unwrap_or_default();
        let size =
            u64::from_str_radix(digits, 16).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        to.write_all(line.as_bytes())?;
        if size == 0 {
            // Trailers are nobody's here: an empty line follows.
            exactly(from, to, 2)?;
            return Ok(true);
        }
        if size > most {
            exactly(from, to, most)?;
            return Ok(false);
        }
        exactly(from, to, size + 2)?;
        most -= size;
    }
}
