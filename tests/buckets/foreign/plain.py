"""Plain HTTP, a connection for each request."""

import http.client
import urllib.parse


class Refused(Exception):
    def __init__(self, status, body):
        super().__init__(f"{status}: {body[:500].decode(errors='replace')}")
        self.status = status


def ask(url, method, target, body=b"", headers=None):
    """The headers, in lower case, and the body of the answer."""
    place = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
    try:
        connection.request(method, target, body or None, {"Content-Length": str(len(body)), **(headers or {})})
        answer = connection.getresponse()
        found = answer.read()
        if answer.status >= 300:
            raise Refused(answer.status, found)
        return {name.lower(): value for name, value in answer.getheaders()}, found
    finally:
        connection.close()


def quote(text):
    """A key in a path or in a query. A part that is a dot or two is encoded too, or servers would walk it."""
    return urllib.parse.quote(text, safe="").replace(".", "%2E")
