"""The XML API: https://docs.cloud.google.com/storage/docs/xml-api/overview."""

import hashlib
import re
import secrets
import urllib.parse
from xml.sax.saxutils import escape

from bucket import Refused, check
from json_api import rfc3339, writable

_HEADERS = {
    "contentType": "content-type",
    "cacheControl": "cache-control",
    "contentEncoding": "content-encoding",
    "contentDisposition": "content-disposition",
    "contentLanguage": "content-language",
}


def fields_of(headers):
    """What the headers of a request say of the object that it makes."""
    metadata = {k.lower()[12:]: v for k, v in headers.items() if k.lower().startswith("x-goog-meta-")}
    fields = {field: headers[header] for field, header in _HEADERS.items() if header in headers}
    return {"metadata": metadata, **fields}


def conditions_of(headers):
    words = {"ifGenerationMatch": "x-goog-if-generation-match", "ifMetagenerationMatch": "x-goog-if-metageneration-match"}
    return {word: headers[header] for word, header in words.items() if header in headers}


def headers_of(found):
    """The headers that answers about an object carry."""
    shown = {_HEADERS[k]: v for k, v in found.fields.items() if k in _HEADERS}
    shown.update({f"x-goog-meta-{k}": v for k, v in found.fields["metadata"].items()})
    shown.update({
        "ETag": f'"{found.md5.hex()}"',
        "x-goog-generation": str(found.generation),
        "x-goog-metageneration": str(found.metageneration),
        "x-goog-stored-content-length": str(len(found.data)),
        "x-goog-storage-class": "STANDARD",
    })
    return shown


def document(name, inside):
    head = '<?xml version="1.0" encoding="UTF-8"?>'
    return f'{head}<{name} xmlns="http://doc.s3.amazonaws.com/2006-03-01">{inside}</{name}>'.encode()


class XmlApi:
    """Answers (status, headers, body) to what is below /BUCKET."""

    def __init__(self, buckets):
        self.buckets, self.uploads = buckets, {}

    def answer(self, method, path, query, headers, body):
        name, _, key = (urllib.parse.unquote(path[1:])).partition("/")
        if name not in self.buckets:
            raise Refused(404, "NoSuchBucket", "The specified bucket does not exist.")
        bucket, conditions = self.buckets[name], conditions_of(headers)
        if not key:
            return self.listing(name, query)
        if "uploads" in query and method == "POST":
            upload = secrets.token_urlsafe()
            self.uploads[upload] = (key, fields_of(headers), {})
            inside = f"<Bucket>{name}</Bucket><Key>{escape(key)}</Key><UploadId>{upload}</UploadId>"
            return 200, {}, document("InitiateMultipartUploadResult", inside)
        if "uploadId" in query:
            return self.part(method, bucket, name, query, conditions, body)
        if method == "PUT":
            bucket.check(key, conditions)
            found = self.copied(key, bucket, headers) or bucket.put(key, body, fields_of(headers))
            inside = f"<ETag>{escape(headers_of(found)['ETag'])}</ETag><LastModified>{rfc3339(found.updated)}</LastModified>"
            copied = document("CopyObjectResult", inside) if "x-goog-copy-source" in headers else b""
            return 200, headers_of(found), copied
        if method == "DELETE":
            check(bucket.get(key, query.get("generation")), conditions)
            bucket.delete(key, query.get("generation"))
            return 204, {}, b""
        found = bucket.find(key, query.get("generation"))
        if found is None:
            raise Refused(404, "NoSuchKey", "The specified key does not exist.")
        check(found, conditions)
        return found

    def copied(self, key, bucket, headers):
        """The copy that a PUT with a source makes; `None` for one without."""
        source = headers.get("x-goog-copy-source")
        if source is None:
            return None
        name, _, old = urllib.parse.unquote(source.lstrip("/")).partition("/")
        found = self.buckets[name].get(old, headers.get("x-goog-copy-source-generation"))
        replaces = headers.get("x-goog-metadata-directive", "COPY") == "REPLACE"
        return bucket.put(key, found.data, fields_of(headers) if replaces else dict(found.fields))

    def part(self, method, bucket, name, query, conditions, body):
        """One part of an upload, its end, or that it is given up."""
        if query["uploadId"] not in self.uploads:
            raise Refused(404, "NoSuchUpload", "The requested upload was not found.")
        key, fields, parts = self.uploads[query["uploadId"]]
        if method == "PUT":
            parts[int(query["partNumber"])] = body
            return 200, {"ETag": f'"{hashlib.md5(body).hexdigest()}"'}, b""
        if method == "DELETE":
            del self.uploads[query["uploadId"]]
            return 204, {}, b""
        asked = re.findall(r"<PartNumber>(\d+)</PartNumber>\s*<ETag>(?:&quot;|\")?(\w+)", body.decode().replace("&#34;", '"'))
        for number, tag in asked:
            if int(number) not in parts or hashlib.md5(parts[int(number)]).hexdigest() != tag:
                raise Refused(400, "InvalidPart", "The requested part was not found.")
        bucket.check(key, conditions)
        del self.uploads[query["uploadId"]]
        found = bucket.put(key, b"".join(parts[int(number)] for number, _ in asked), writable(fields) | {"metadata": fields["metadata"]})
        found.composed_of = len(asked)
        inside = f"<Bucket>{name}</Bucket><Key>{escape(key)}</Key><ETag>{escape(headers_of(found)['ETag'])}</ETag>"
        return 200, headers_of(found), document("CompleteMultipartUploadResult", inside)

    def listing(self, name, query):
        after = max(query.get("start-after", ""), query.get("continuation-token", ""), query.get("marker", ""))
        objects, prefixes, following = self.buckets[name].list(
            query.get("prefix", ""), query.get("delimiter", ""), after, most=min(int(query.get("max-keys", 1000)), 1000)
        )
        inside = f"<Name>{name}</Name><IsTruncated>{'true' if following else 'false'}</IsTruncated>"
        if following:
            inside += f"<NextContinuationToken>{escape(following)}</NextContinuationToken><NextMarker>{escape(following)}</NextMarker>"
        for found in objects:
            inside += (
                f"<Contents><Key>{escape(found.name)}</Key><Generation>{found.generation}</Generation>"
                f"<LastModified>{rfc3339(found.updated)}</LastModified><ETag>{escape(headers_of(found)['ETag'])}</ETag>"
                f"<Size>{len(found.data)}</Size></Contents>"
            )
        inside += "".join(f"<CommonPrefixes><Prefix>{escape(p)}</Prefix></CommonPrefixes>" for p in prefixes)
        return 200, {}, document("ListBucketResult", inside)
