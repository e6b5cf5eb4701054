//! What a request asks for, in the words that the three services share.

use std::collections::BTreeSet;

use super::message::Head;

/// The operation of a request: `list`, `get`, `head`, `put`, `copy`, `delete`, `begin`, `part`, `complete`, ...
pub fn operation(request: &Head) -> &'static str {
    let (method, target) = request.words();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query: BTreeSet<&str> = query.split('&').filter(|word| !word.is_empty()).collect();
    if ["/storage/v1", "/upload/storage/v1", "/download/storage/v1", "/batch/"]
        .iter()
        .any(|start| path.starts_with(start))
    {
        return google(method, path, &query);
    }
    if request.get("x-ms-version").is_some() {
        return azure(request, method, path, &query);
    }
    s3(request, method, path, &query)
}

fn has(query: &BTreeSet<&str>, name: &str) -> bool {
    query.iter().any(|word| word.split('=').next() == Some(name))
}

/// The bucket is the first part of the path.
fn has_key(path: &str) -> bool {
    path.trim_start_matches('/').split_once('/').is_some_and(|(_, key)| !key.is_empty())
}

fn s3(request: &Head, method: &str, path: &str, query: &BTreeSet<&str>) -> &'static str {
    let copies = request.get("x-amz-copy-source").is_some() || request.get("x-goog-copy-source").is_some();
    match (method, has_key(path)) {
        ("GET", _) if path == "/" => "list-buckets",
        ("GET", false) if has(query, "uploads") => "list-uploads",
        ("GET", false) if has(query, "versions") => "list-versions",
        ("GET", false) if has(query, "location") || has(query, "versioning") => "ask-bucket",
        ("GET", false) => "list",
        ("GET", true) if has(query, "uploadId") => "list-parts",
        ("GET" | "PUT", true) if has(query, "tagging") => "tags",
        ("GET", true) => "get",
        ("HEAD", false) => "ask-bucket",
        ("HEAD", true) => "head",
        ("PUT", false) => "make-bucket",
        ("PUT", true) if has(query, "partNumber") && copies => "copy-part",
        ("PUT", true) if has(query, "partNumber") => "part",
        ("PUT", true) if copies => "copy",
        ("PUT", true) => "put",
        ("POST", _) if has(query, "delete") => "delete-batch",
        ("POST", _) if has(query, "uploads") => "begin",
        ("POST", _) if has(query, "uploadId") => "complete",
        ("DELETE", _) if has(query, "uploadId") => "abort",
        ("DELETE", _) => "delete",
        _ => "other",
    }
}

fn azure(request: &Head, method: &str, path: &str, query: &BTreeSet<&str>) -> &'static str {
    let comp = query.iter().find_map(|word| word.strip_prefix("comp="));
    // With an endpoint of one's own the account comes first.
    let is_container = query.contains("restype=container");
    match (method, comp) {
        ("GET", Some("list")) if is_container => "list",
        ("GET", Some("list")) => "list-buckets",
        (_, Some("batch")) => "delete-batch",
        ("PUT", Some("block")) if request.get("x-ms-copy-source").is_some() => "copy-part",
        ("PUT", Some("block")) => "part",
        ("PUT", Some("blocklist")) => "complete",
        ("GET", Some("blocklist")) => "list-parts",
        ("PUT", Some("metadata" | "properties")) => "set",
        ("PUT", Some("copy")) => "abort",
        ("GET" | "PUT", Some("tags")) => "tags",
        ("PUT", None) if is_container => "make-bucket",
        ("HEAD" | "GET", None) if is_container || !has_key(path) => "ask-bucket",
        ("PUT", None) if request.get("x-ms-copy-source").is_some() => "copy",
        ("PUT", None) => "put",
        ("GET", None) => "get",
        ("HEAD", None) => "head",
        ("DELETE", None) => "delete",
        _ => "other",
    }
}

fn google(method: &str, path: &str, query: &BTreeSet<&str>) -> &'static str {
    if path.starts_with("/batch/") {
        return "delete-batch";
    }
    if path.starts_with("/upload/") {
        return match method {
            _ if has(query, "upload_id") && method == "DELETE" => "abort",
            _ if has(query, "upload_id") => "part",
            _ if query.contains("uploadType=resumable") => "begin",
            _ => "put",
        };
    }
    let Some((_, key)) = path.split_once("/o/") else {
        let objects = path.ends_with("/o");
        return match method {
            "GET" if objects => "list",
            "POST" if !objects => "make-bucket",
            _ if path.ends_with("/b") => "list-buckets",
            _ => "ask-bucket",
        };
    };
    match method {
        "POST" if key.contains("/rewriteTo/") || key.contains("/copyTo/") => "copy",
        "POST" if key.ends_with("/compose") => "complete",
        "GET" if query.contains("alt=media") => "get",
        "GET" => "head",
        "PATCH" | "PUT" => "set",
        "DELETE" => "delete",
        _ => "other",
    }
}
