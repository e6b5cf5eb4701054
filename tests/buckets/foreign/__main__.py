"""Another program on the same buckets: does what it is told by lines of JSON, through the services' own clients or plain HTTP.

A line has `service`, `url`, `do`, `bucket`, and what the order needs; bytes are hexadecimal. The answer is a line: `{"ok": ...}`, or
`{"error": "..."}`.
"""

import json
import sys

import azure
import google
import s3

_SERVICES = {"s3": s3.S3, "google": google.Google, "azure": azure.Azure}
_clients = {}


def client(service, url):
    if url not in _clients:
        _clients[url] = _SERVICES[service](url)
    return _clients[url]


def main():
    for line in sys.stdin:
        order = json.loads(line)
        try:
            one = client(order.pop("service"), order.pop("url"))
            answer = {"ok": getattr(one, order.pop("do"))(**order)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()
