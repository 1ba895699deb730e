"""A real HTTP server with canned answers, standing in for an agent; it remembers what it was asked. Used by CLI tests."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit


class Asked(NamedTuple):
    method: str
    path: str
    query: dict[str, list[str]]
    body: Any
    headers: dict[str, str]


class CannedAgent:
    """`answers` maps (method, path) to (status, value); a str or bytes value is sent as it is, others as JSON;
    `headers` are sent with each."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.answers: dict[tuple[str, str], tuple[int, Any]] = {}
        self.asked: list[Asked] = []
        self.headers: dict[str, str] = {}

    def on(self, method: str, path: str, value: Any = "", status: int = 200) -> None:
        self.answers[method, path] = (status, value)

    @property
    def last(self) -> Asked:
        return self.asked[-1]


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def _handler(agent: list[CannedAgent]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            parts = urlsplit(self.path)
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = parse_qs(parts.query, keep_blank_values=True)
            body = json.loads(data) if data else None
            agent[0].asked.append(Asked(self.command, parts.path, query, body, dict(self.headers)))
            missing = (404, "Invalid URL path: not a recognized HTTP API endpoint")
            status, value = agent[0].answers.get((self.command, parts.path), missing)
            raw = value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else None
            reply = raw if raw is not None else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(reply)))
            for name, text in agent[0].headers.items():
                self.send_header(name, text)
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_PUT = do_POST = do_DELETE = _answer

        def address_string(self) -> str:
            return "peer"

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler


@contextlib.contextmanager
def canned_agent(unix: Path | None = None, tls: Any = None) -> Iterator[CannedAgent]:
    """Serve until the block ends, on a free port, or on the Unix socket `unix`; over TLS with an SSLContext `tls`."""
    holder: list[CannedAgent] = []
    handler = _handler(holder)
    server: socketserver.BaseServer
    if unix is not None:
        server = _UnixServer(str(unix), handler)
        holder.append(CannedAgent(f"unix://{unix}"))
    else:
        tcp = _TcpServer(("127.0.0.1", 0), handler)
        if tls is not None:
            tcp.socket = tls.wrap_socket(tcp.socket, server_side=True)
        scheme = "https" if tls is not None else "http"
        holder.append(CannedAgent(f"{scheme}://127.0.0.1:{tcp.server_address[1]}"))
        server = tcp
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield holder[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
