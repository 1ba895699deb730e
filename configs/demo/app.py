"""A tiny real service of the demo: answers /health and /, and with --calls asks its upstreams for each answer.

python app.py NAME PORT [--calls NAME=URL ...]
"""

from __future__ import annotations

import argparse
import json
import os
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UPSTREAM_TIMEOUT_S = 3.0


def ask(url: str) -> dict[str, object]:
    """What an upstream answers, or why it did not."""
    started = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=UPSTREAM_TIMEOUT_S) as reply:  # noqa: S310 - http to our own sidecar
            body = json.loads(reply.read())
    except (OSError, ValueError, urllib.error.URLError) as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True, "answered_by": body.get("instance"), "ms": round((time.monotonic() - started) * 1000, 1)}


def make_handler(name: str, calls: dict[str, str]) -> type[BaseHTTPRequestHandler]:
    """The request handler of the service `name`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # one write a reply: two would wait for the client's delayed acknowledgement

        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(200, {"status": "ok"})
                return
            upstreams = {upstream: ask(url) for upstream, url in calls.items()}
            healthy = all(answer["ok"] for answer in upstreams.values())
            body: dict[str, object] = {"instance": name, "pid": os.getpid()}
            if upstreams:
                body |= {"approved": healthy, "upstreams": upstreams}
            self.answer(200 if healthy else 502, body)

        def answer(self, status: int, body: dict[str, object]) -> None:
            payload = json.dumps(body, indent=2).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, *_args: object) -> None:
            return

    return Handler


class Server(ThreadingHTTPServer):
    """Ends at once, whatever its connections do."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("port", type=int)
    parser.add_argument("--calls", nargs="*", default=[], metavar="NAME=URL")
    options = parser.parse_args()
    calls = dict(call.split("=", 1) for call in options.calls)
    server = Server(("127.0.0.1", options.port), make_handler(options.name, calls))
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
