//! Another program on the same buckets: a Python process that all tests of this run share, with boto3 and plain HTTP.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::server::{Service, repository};

struct Foreign {
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// Ends when its input does. Nobody waits for it.
    _child: Child,
}

static FOREIGN: OnceLock<Mutex<Foreign>> = OnceLock::new();

impl Foreign {
    fn start() -> Foreign {
        let mut child = Command::new(repository("target/servers/python/bin/python"))
            .arg("-B")
            .arg(repository("tests/buckets/foreign"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python with boto3: run scripts/setup --buckets");
        let orders = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Foreign { orders, answers, _child: child }
    }

    fn ask(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").unwrap();
        self.orders.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).expect("an answer of the Python program")
    }
}

/// What other clients know of an object.
#[derive(Clone, Debug)]
pub struct Seen {
    /// In bytes.
    pub size: u64,
    /// Its ETag or generation.
    pub tag: String,
    /// When it was put, in seconds since 1970.
    pub modified: f64,
    /// `Content-Type`.
    pub content_type: Option<String>,
    /// Names in lower case, without the service's prefix.
    pub metadata: BTreeMap<String, String>,
}

/// Gives an order and answers what comes back, or the sentence with which it failed.
pub fn try_ask(service: Service, order: &str, mut more: Value) -> Result<Value, String> {
    let fields = more.as_object_mut().expect("fields of an order");
    fields.insert("service".into(), service.protocol().into());
    fields.insert("url".into(), service.server().url.clone().into());
    fields.insert("do".into(), order.into());
    let foreign = FOREIGN.get_or_init(|| Mutex::new(Foreign::start()));
    // A test that failed in between has left no half of an order behind.
    let mut answer = foreign.lock().unwrap_or_else(std::sync::PoisonError::into_inner).ask(&more);
    match answer.get("error") {
        Some(error) => Err(format!("{order}: {error}")),
        None => Ok(answer["ok"].take()),
    }
}

/// Gives an order that is to succeed.
#[track_caller]
pub fn ask(service: Service, order: &str, more: Value) -> Value {
    try_ask(service, order, more).unwrap()
}

/// What is known of an object; `None` where there is none.
#[track_caller]
pub fn head(service: Service, bucket: &str, key: &str) -> Option<Seen> {
    let found = ask(service, "head", json!({ "bucket": bucket, "key": key }));
    let metadata = found.get("metadata")?.as_object()?.iter();
    Some(Seen {
        size: found["size"].as_u64()?,
        tag: found["tag"].as_str()?.to_owned(),
        modified: found["modified"].as_f64()?,
        content_type: found["content_type"].as_str().map(str::to_owned),
        metadata: metadata.map(|(k, v)| (k.to_lowercase(), v.as_str().unwrap().to_owned())).collect(),
    })
}
