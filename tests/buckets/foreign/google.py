"""Google Cloud Storage through its JSON API."""

import datetime
import json

from plain import Refused, ask, quote


class Google:
    def __init__(self, url):
        self.url = url

    def _json(self, method, target, body=None):
        text = b"" if body is None else json.dumps(body).encode()
        found = ask(self.url, method, target, text, {"Content-Type": "application/json"})[1]
        return json.loads(found) if found else None

    def make(self, bucket, versioning=False):
        self._json("POST", "/storage/v1/b?project=kvfs", {"name": bucket, "versioning": {"enabled": versioning}})

    def put(self, bucket, key, body, metadata=None, content_type=None):
        fields = {"name": key, "metadata": metadata or {}, "contentType": content_type or "application/octet-stream"}
        boundary = "a-line-that-no-test-writes"
        whole = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{json.dumps(fields)}\r\n"
            f"--{boundary}\r\nContent-Type: {fields['contentType']}\r\n\r\n"
        ).encode() + bytes.fromhex(body) + f"\r\n--{boundary}--\r\n".encode()
        target = f"/upload/storage/v1/b/{bucket}/o?uploadType=multipart"
        ask(self.url, "POST", target, whole, {"Content-Type": f"multipart/related; boundary={boundary}"})

    def _object(self, bucket, key):
        return f"/storage/v1/b/{bucket}/o/{quote(key)}"

    def get(self, bucket, key):
        try:
            return ask(self.url, "GET", self._object(bucket, key) + "?alt=media")[1].hex()
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def head(self, bucket, key):
        try:
            found = self._json("GET", self._object(bucket, key))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return {
            "size": int(found["size"]),
            "tag": found["generation"],
            "modified": datetime.datetime.fromisoformat(found["updated"].replace("Z", "+00:00")).timestamp(),
            "content_type": found.get("contentType"),
            "metadata": found.get("metadata", {}),
        }

    def keys(self, bucket, prefix=""):
        keys, token = [], ""
        while True:
            page = self._json("GET", f"/storage/v1/b/{bucket}/o?prefix={quote(prefix)}&pageToken={quote(token)}")
            keys += [found["name"] for found in page.get("items", [])]
            token = page.get("nextPageToken")
            if token is None:
                return keys

    def delete(self, bucket, key):
        ask(self.url, "DELETE", self._object(bucket, key))

    def uploads(self, bucket):
        return []
