"""Azure Blob Storage by its REST, with the development account's published key."""

import base64
import email.utils
import hashlib
import hmac
import urllib.parse
import xml.etree.ElementTree

from plain import Refused, ask, quote

ACCOUNT = "devstoreaccount1"
KEY = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")


class Azure:
    def __init__(self, url):
        self.url = url

    def _ask(self, method, path, query=(), body=b"", headers=None):
        sent = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02", **(headers or {})}
        own = "".join(f"{name.lower()}:{sent[name]}\n" for name in sorted(sent, key=str.lower) if name.lower().startswith("x-ms-"))
        target = f"/{ACCOUNT}/{path}"
        resource = f"/{ACCOUNT}{target}" + "".join(f"\n{name}:{value}" for name, value in sorted(query))
        length = str(len(body)) if body else ""
        kind = sent.get("Content-Type", "")
        signed = f"{method}\n\n\n{length}\n\n{kind}\n\n\n\n\n\n\n{own}{resource}"
        proof = base64.b64encode(hmac.new(KEY, signed.encode(), hashlib.sha256).digest()).decode()
        sent["Authorization"] = f"SharedKey {ACCOUNT}:{proof}"
        if query:
            target += "?" + urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
        return ask(self.url, method, target, body, sent)

    def make(self, bucket, versioning=False):
        assert not versioning, "Azurite keeps no versions"
        self._ask("PUT", bucket, [("restype", "container")])

    def put(self, bucket, key, body, metadata=None, content_type=None):
        headers = {"x-ms-blob-type": "BlockBlob", "Content-Type": content_type or "application/octet-stream"}
        headers.update({f"x-ms-meta-{name}": value for name, value in (metadata or {}).items()})
        self._ask("PUT", f"{bucket}/{quote(key)}", body=bytes.fromhex(body), headers=headers)

    def get(self, bucket, key):
        try:
            return self._ask("GET", f"{bucket}/{quote(key)}")[1].hex()
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    def head(self, bucket, key):
        try:
            found = self._ask("HEAD", f"{bucket}/{quote(key)}")[0]
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return {
            "size": int(found["content-length"]),
            "tag": found["etag"],
            "modified": email.utils.parsedate_to_datetime(found["last-modified"]).timestamp(),
            "content_type": found.get("content-type"),
            "metadata": {name[10:]: value for name, value in found.items() if name.startswith("x-ms-meta-")},
        }

    def keys(self, bucket, prefix=""):
        keys, marker = [], ""
        while True:
            query = [("comp", "list"), ("restype", "container"), ("prefix", prefix), ("marker", marker)]
            page = xml.etree.ElementTree.fromstring(self._ask("GET", bucket, query)[1])
            for name in page.iterfind("Blobs/Blob/Name"):
                text = name.text or ""
                keys.append(urllib.parse.unquote(text) if name.get("Encoded") == "true" else text)
            marker = page.findtext("NextMarker")
            if not marker:
                return keys

    def delete(self, bucket, key):
        self._ask("DELETE", f"{bucket}/{quote(key)}")

    def uploads(self, bucket):
        return []
