"""What the stand-in keeps: buckets of objects, each with its generations, in memory."""

import base64
import hashlib
import itertools
import time

_generations = itertools.count(time.time_ns() // 1000)


class Refused(Exception):
    """What Google would refuse: a status of HTTP, and its reason in the words of the JSON API."""

    def __init__(self, status, reason, message=""):
        super().__init__(message or reason)
        self.status, self.reason = status, reason


class Object:
    """One generation of an object. Its bytes never change, its metadata does."""

    def __init__(self, name, data, fields):
        self.name, self.data = name, data
        self.generation, self.metageneration = next(_generations), 1
        self.created = self.updated = time.time()
        self.deleted = None
        self.fields = {"contentType": "application/octet-stream", "metadata": {}, **fields}
        self.composed_of = None

    @property
    def etag(self):
        return base64.b64encode(b"%d/%d" % (self.generation, self.metageneration)).decode()

    @property
    def md5(self):
        return hashlib.md5(self.data).digest()

    def patch(self, changes):
        """Merges changes as PATCH does: null removes."""
        for key, value in changes.items():
            if key == "metadata" and value is not None:
                merged = {**self.fields["metadata"], **value}
                self.fields["metadata"] = {k: v for k, v in merged.items() if v is not None}
            elif value is None:
                self.fields.pop(key, None)
            else:
                self.fields[key] = value
        self.fields.setdefault("metadata", {})
        self.metageneration += 1
        self.updated = time.time()


class Bucket:
    """Objects by name, and the generations that are no longer live where versioning is on."""

    def __init__(self, versioning=False):
        self.live, self.archive, self.versioning = {}, [], versioning

    def find(self, name, generation=None):
        """The live object, or the generation that is named; `None` where there is none."""
        live = self.live.get(name)
        if generation is None or (live and live.generation == int(generation)):
            return live
        return next((o for o in self.archive if o.name == name and o.generation == int(generation)), None)

    def get(self, name, generation=None):
        found = self.find(name, generation)
        if found is None:
            raise Refused(404, "notFound", f"No such object: {name}")
        return found

    def check(self, name, conditions):
        """Refuses unless the live object `name` is as the conditions of a write say."""
        check(self.live.get(name), conditions)

    def put(self, name, data, fields):
        legal(name)
        new = Object(name, data, {k: v for k, v in fields.items() if v is not None})
        self._retire(name)
        self.live[name] = new
        return new

    def delete(self, name, generation=None):
        found = self.get(name, generation)
        if found is self.live.get(name):
            self._retire(name, keep=generation is None)
        else:
            self.archive.remove(found)

    def _retire(self, name, keep=True):
        old = self.live.pop(name, None)
        if old and keep and self.versioning:
            old.deleted = time.time()
            self.archive.append(old)

    def list(self, prefix="", delimiter="", after="", start="", end="", most=1000, versions=False):
        """One page: objects, common prefixes, and the token that the next one comes after, if there is one."""
        every = list(self.live.values()) + (self.archive if versions else [])
        objects, prefixes, last, count = [], [], None, 0
        for found in sorted(every, key=lambda o: (o.name.encode(), o.generation)):
            name = found.name
            if not name.startswith(prefix) or name.encode() < start.encode() or (end and name.encode() >= end.encode()):
                continue
            at = name.find(delimiter, len(prefix)) if delimiter else -1
            entry = name if at < 0 else name[: at + len(delimiter)]
            if (after and entry.encode() <= after.encode()) or (prefixes and entry == prefixes[-1]):
                continue
            if count >= most and entry != last:
                return objects, prefixes, last
            count, last = count + 1, entry
            if at < 0:
                objects.append(found)
            else:
                prefixes.append(entry)
        return objects, prefixes, None


def check(found, conditions):
    """Refuses unless an object (or `None`) is as ifGenerationMatch and its kin say; 304 where a read asks for what it has."""
    generation = found.generation if found else 0
    metageneration = found.metageneration if found else None
    for name, actual, wanted in (
        ("ifGenerationMatch", generation, True),
        ("ifGenerationNotMatch", generation, False),
        ("ifMetagenerationMatch", metageneration, True),
        ("ifMetagenerationNotMatch", metageneration, False),
    ):
        if name in conditions and (str(actual) == str(conditions[name])) != wanted:
            raise Refused(412 if wanted else 304, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")


def legal(name):
    """Refuses a name that Google does not take."""
    if not 1 <= len(name.encode()) <= 1024 or name in (".", "..") or "\r" in name or "\n" in name:
        raise Refused(400, "invalid", "Invalid object name")
    if name.startswith(".well-known/acme-challenge/"):
        raise Refused(400, "invalid", "Invalid object name")
