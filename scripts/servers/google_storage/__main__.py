"""A stand-in for Google Cloud Storage on loopback, in memory: python3 google_storage PORT. Buckets are made by their users."""

import email.utils
import json
import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.sax.saxutils import escape

from bucket import Object, Refused
from json_api import JsonApi
from xml_api import XmlApi, headers_of

_buckets = {}
_lock = threading.RLock()
_json, _xml = JsonApi(_buckets), XmlApi(_buckets)


def ranged(found, asked):
    """The status, headers and bytes that answer `Range: asked` on an object."""
    data, headers = found.data, {"Accept-Ranges": "bytes"}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", asked or "")
    if not wanted or not (wanted[1] or wanted[2]):
        return 200, headers, data
    if wanted[1]:
        start, end = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
    else:
        start, end = max(0, len(data) - int(wanted[2])), len(data) - 1
    if start >= len(data):
        raise Refused(416, "InvalidRange", "The requested range cannot be satisfied.")
    return 206, {**headers, "Content-Range": f"bytes {start}-{end}/{len(data)}"}, data[start : end + 1]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def read(self):
        """The request's body, whichever way its length is told."""
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        whole = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            whole += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, path, query, body):
        if path == "/token" or path.endswith("/service-accounts/default/token"):
            return 200, {}, {"access_token": "a-token-of-the-stand-in", "expires_in": 3600, "token_type": "Bearer"}
        api = _json if re.match(r"/(upload/|download/)?storage/v1/", path + "/") else _xml
        with _lock:
            found = api.answer(self.command, path, query, self.headers, body)
            if not isinstance(found, Object):
                return found
            status, headers, data = ranged(found, self.headers.get("range"))
            modified = email.utils.formatdate(found.updated, usegmt=True)
            return status, {"Last-Modified": modified, **headers_of(found), **headers}, data

    def refusal(self, path, refused):
        if re.match(r"/(upload/|download/)?storage/v1/", path + "/"):
            one = {"domain": "global", "reason": refused.reason, "message": str(refused)}
            return refused.status, {}, {"error": {"code": refused.status, "message": str(refused), "errors": [one]}}
        reason = "PreconditionFailed" if refused.reason == "conditionNotMet" else refused.reason
        reason = "NoSuchKey" if reason == "notFound" else reason
        inside = f"<Code>{reason}</Code><Message>{escape(str(refused))}</Message>"
        return refused.status, {}, f"<?xml version='1.0' encoding='UTF-8'?><Error>{inside}</Error>".encode()

    def serve(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        try:
            status, headers, body = self.answer(url.path, query, self.read())
        except Refused as refused:
            status, headers, body = self.refusal(url.path, refused)
        if isinstance(body, dict):
            headers = {"Content-Type": "application/json; charset=UTF-8", **headers}
            body = json.dumps(body).encode()
        elif body.startswith(b"<?xml"):
            headers = {"Content-Type": "application/xml; charset=UTF-8", **headers} if "content-type" not in headers else headers
        self.send_response(status)
        for name, value in headers.items():
            # Values are bytes of UTF-8, which the library writes as if they were Latin-1.
            self.send_header(name, value.encode().decode("latin-1"))
        if status not in (204, 304):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = serve


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
