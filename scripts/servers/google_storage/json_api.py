"""The JSON API: https://docs.cloud.google.com/storage/docs/json_api."""

import base64
import email
import email.policy
import json
import re
import secrets
import time
import urllib.parse

from bucket import Bucket, Refused, check

# Google copies in one call within one place and class; here larger objects take several, as between places.
REWRITTEN_PER_CALL = 4 << 20
COMPOSED_AT_MOST = 32


def rfc3339(seconds):
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1000):03}Z"


def resource(bucket, found):
    """The resource of an object, as listings and metadata requests show it."""
    shown = {
        "kind": "storage#object",
        "id": f"{bucket}/{found.name}/{found.generation}",
        "name": found.name,
        "bucket": bucket,
        "generation": str(found.generation),
        "metageneration": str(found.metageneration),
        "storageClass": "STANDARD",
        "size": str(len(found.data)),
        "etag": found.etag,
        "timeCreated": rfc3339(found.created),
        "updated": rfc3339(found.updated),
        **found.fields,
    }
    if found.composed_of:
        shown["componentCount"] = found.composed_of
    else:
        shown["md5Hash"] = base64.b64encode(found.md5).decode()
    if found.deleted:
        shown["timeDeleted"] = rfc3339(found.deleted)
    if not shown["metadata"]:
        del shown["metadata"]
    return shown


class JsonApi:
    """Answers (status, headers, body) to what is below /storage/v1, /upload and /download."""

    def __init__(self, buckets):
        self.buckets, self.uploads, self.rewrites = buckets, {}, {}

    def bucket(self, name):
        if name not in self.buckets:
            raise Refused(404, "notFound", "The specified bucket does not exist.")
        return self.buckets[name]

    def answer(self, method, path, query, headers, body):
        if path.startswith("/upload/"):
            return self.upload(method, path.removeprefix("/upload"), query, headers, body)
        rest = path.removeprefix("/download").removeprefix("/storage/v1/b").strip("/")
        bucket, _, rest = rest.partition("/")
        bucket = urllib.parse.unquote(bucket)
        if not bucket:
            return self.all_buckets(method, body)
        if not rest:
            return self.one_bucket(method, bucket, body)
        if rest == "o":
            return self.listing(bucket, query)
        words = [urllib.parse.unquote(word) for word in rest.removeprefix("o/").split("/")]
        if len(words) == 2 and words[1] == "compose":
            return self.compose(bucket, words[0], query, body)
        if len(words) == 6 and words[1] in ("rewriteTo", "copyTo"):
            return self.rewrite(bucket, words, query, body)
        return self.object(method, bucket, words[0], query, headers, body)

    def all_buckets(self, method, body):
        if method == "POST":
            asked = json.loads(body)
            if asked["name"] in self.buckets:
                raise Refused(409, "conflict", "Your previous request to create the named bucket succeeded and you already own it.")
            self.buckets[asked["name"]] = Bucket(asked.get("versioning", {}).get("enabled", False))
            return 200, {}, {"kind": "storage#bucket", "name": asked["name"]}
        return 200, {}, {"kind": "storage#buckets", "items": [{"name": name, "id": name} for name in sorted(self.buckets)]}

    def one_bucket(self, method, name, body):
        bucket = self.bucket(name)
        if method == "DELETE":
            if bucket.live:
                raise Refused(409, "conflict", "The bucket you tried to delete is not empty.")
            del self.buckets[name]
            return 204, {}, b""
        if method == "PATCH":
            bucket.versioning = json.loads(body).get("versioning", {}).get("enabled", bucket.versioning)
        shown = {"kind": "storage#bucket", "name": name, "id": name, "location": "US", "storageClass": "STANDARD"}
        return 200, {}, {**shown, "versioning": {"enabled": bucket.versioning}}

    def listing(self, name, query):
        objects, prefixes, following = self.bucket(name).list(
            query.get("prefix", ""),
            query.get("delimiter", ""),
            base64.urlsafe_b64decode(query.get("pageToken", "")).decode(),
            query.get("startOffset", ""),
            query.get("endOffset", ""),
            min(int(query.get("maxResults", 1000)), 1000),
            query.get("versions") == "true",
        )
        shown = {"kind": "storage#objects"}
        if objects:
            shown["items"] = [resource(name, found) for found in objects]
        if prefixes:
            shown["prefixes"] = prefixes
        if following is not None:
            shown["nextPageToken"] = base64.urlsafe_b64encode(following.encode()).decode()
        return 200, {}, shown

    def object(self, method, bucket, name, query, headers, body):
        store = self.bucket(bucket)
        if method == "GET":
            found = store.get(name, query.get("generation"))
            check(found, query)
            return found if query.get("alt") == "media" else (200, {}, resource(bucket, found))
        if method == "DELETE":
            found = store.get(name, query.get("generation"))
            check(found, query)
            store.delete(name, query.get("generation"))
            return 204, {}, b""
        if method in ("PATCH", "PUT"):
            found = store.get(name, query.get("generation"))
            check(found, query)
            if method == "PUT":
                found.fields = {"contentType": "application/octet-stream", "metadata": {}}
            found.patch(writable(json.loads(body or b"{}")))
            return 200, {}, resource(bucket, found)
        raise Refused(405, "methodNotAllowed")

    def compose(self, bucket, name, query, body):
        store, asked = self.bucket(bucket), json.loads(body)
        sources = asked.get("sourceObjects", [])
        if not 1 <= len(sources) <= COMPOSED_AT_MOST:
            raise Refused(400, "invalid", "The number of source components provided is not between 1 and 32.")
        parts = []
        for source in sources:
            part = store.get(source["name"], source.get("generation"))
            check(part, source.get("objectPreconditions", {}))
            parts.append(part)
        store.check(name, query)
        data = b"".join(part.data for part in parts)
        found = store.put(name, data, writable(asked.get("destination", {})))
        found.composed_of = sum(part.composed_of or 1 for part in parts)
        return 200, {}, resource(bucket, found)

    def rewrite(self, bucket, words, query, body):
        source = self.bucket(bucket).get(words[0], query.get("sourceGeneration"))
        check(source, {key.replace("Source", ""): value for key, value in query.items() if key.startswith("ifSource")})
        target, name = self.bucket(words[3]), words[5]
        target.check(name, {key: value for key, value in query.items() if not key.startswith("ifSource")})
        token, size = query.get("rewriteToken"), len(source.data)
        if token and self.rewrites.get(token, (None,))[0] != source.generation:
            raise Refused(400, "invalid", "Invalid rewrite token")
        done = (self.rewrites.pop(token)[1] if token else 0) + REWRITTEN_PER_CALL
        sizes = {"kind": "storage#rewriteResponse", "objectSize": str(size), "totalBytesRewritten": str(min(done, size))}
        if words[1] == "rewriteTo" and done < size:
            token = secrets.token_urlsafe()
            self.rewrites[token] = (source.generation, done)
            return 200, {}, {**sizes, "done": False, "rewriteToken": token}
        # A resource in the request replaces the source's own, whole.
        asked = json.loads(body or b"{}")
        found = target.put(name, source.data, writable(asked) if asked else dict(source.fields))
        found.composed_of = source.composed_of
        shown = resource(words[3], found)
        return 200, {}, {**sizes, "done": True, "resource": shown} if words[1] == "rewriteTo" else shown

    def upload(self, method, path, query, headers, body):
        name = urllib.parse.unquote(re.fullmatch(r"/storage/v1/b/([^/]+)/o", path)[1])
        store, kind = self.bucket(name), query.get("uploadType")
        if "upload_id" in query:
            return self.piece(method, name, query["upload_id"], headers, body)
        if kind == "resumable":
            fields = json.loads(body or b"{}")
            fields.setdefault("contentType", headers.get("x-upload-content-type"))
            key = query.get("name") or fields.get("name")
            store.check(key, query)
            upload = secrets.token_urlsafe()
            self.uploads[upload] = [key, fields, query, b""]
            place = f"http://{headers['host']}/upload/storage/v1/b/{name}/o?uploadType=resumable&upload_id={upload}"
            return 200, {"Location": place, "X-GUploader-UploadID": upload}, b""
        if kind == "multipart":
            whole = b"Content-Type: " + headers["content-type"].encode() + b"\r\n\r\n" + body
            first, second = email.message_from_bytes(whole, policy=email.policy.HTTP).iter_parts()
            fields = json.loads(first.get_payload(decode=True))
            fields.setdefault("contentType", second.get_content_type())
            # Not the mail parser's payload: it changes the ends of lines of bytes that only look like text.
            boundary = b"\r\n--" + re.search(r'boundary="?([^";]+)', headers["content-type"])[1].encode()
            data = (b"\r\n" + body).split(boundary)[2].split(b"\r\n\r\n", 1)[1]
        else:
            fields, data = {"contentType": headers.get("content-type")}, body
        key = query.get("name") or fields.get("name")
        store.check(key, query)
        return 200, {}, resource(name, store.put(key, data, writable(fields)))

    def piece(self, method, bucket, upload, headers, body):
        """A piece of a resumable upload, or the question how much has arrived."""
        if upload not in self.uploads:
            raise Refused(404, "notFound", "No such upload")
        if method == "DELETE":
            del self.uploads[upload]
            return 499, {}, b""
        key, fields, query, before = self.uploads[upload]
        asked = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", headers.get("content-range") or f"bytes *{'/'}{len(body)}")
        if asked is None:
            raise Refused(400, "invalid", "Failed to parse Content-Range header.")
        if body:
            start = int(asked[1] or 0)
            if start > len(before):
                raise Refused(503, "backendError", "A piece is missing before this one.")
            before = before[:start] + body
            if asked[3] == "*" and len(before) % (256 << 10):
                raise Refused(400, "invalid", "Pieces are multiples of 256 KiB, but for the last.")
            self.uploads[upload][3] = before
        if asked[3] == "*" or int(asked[3]) > len(before):
            return 308, {"Range": f"bytes=0-{len(before) - 1}"} if before else {}, b""
        store = self.bucket(bucket)
        store.check(key, query)
        del self.uploads[upload]
        return 200, {}, resource(bucket, store.put(key, before, writable(fields)))


def writable(fields):
    """What a client may say of an object."""
    words = ("contentType", "metadata", "cacheControl", "contentEncoding", "contentDisposition", "contentLanguage", "customTime")
    return {word: fields[word] for word in words if word in fields}
