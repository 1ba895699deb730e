"""Both ends of HTTP over raw sockets: a backend that does what a script says, lies included, and a client that sends bytes
as they are, plainly or with a leaf of the mesh. Used by the tests that attack the proxies.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from harness.agent import AgentProcess

END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Reply(NamedTuple):
    """One answer. `body` is without chunks; `whole`: it came to its proper end."""

    status: int
    head: bytes
    body: bytes
    whole: bool

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return header_of(self.head, name)

    @property
    def error(self) -> str | None:
        return self.header("x-chowk-error")


def header_of(head: bytes, name: str) -> str | None:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower().decode("latin-1") == name.lower():
            return value.strip().decode("latin-1")
    return None


class Stream:
    """A connected socket with a buffer. Ends and resets are `b""`; a reset sets `was_reset`."""

    def __init__(self, sock: socket.socket, timeout_s: float = 15.0) -> None:
        self.sock = sock
        self.buffer = b""
        self.was_reset = False
        sock.settimeout(timeout_s)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def read(self) -> bytes:
        """What is there, or comes next; b"" at the end."""
        if self.buffer:
            data, self.buffer = self.buffer, b""
            return data
        try:
            return self.sock.recv(1 << 16)
        except (ConnectionResetError, ssl.SSLError, BrokenPipeError) as error:
            if isinstance(error, TimeoutError):
                raise
            self.was_reset = True
            return b""

    def until(self, mark: bytes) -> bytes:
        """As far as `mark`, or to the end."""
        got = b""
        while mark not in got:
            data = self.read()
            if not data:
                return got
            got += data
        end = got.index(mark) + len(mark)
        self.buffer = got[end:] + self.buffer
        return got[:end]

    def exactly(self, size: int) -> bytes:
        got = bytearray()
        while len(got) < size and (data := self.read()):
            got += data
        self.buffer = bytes(got[size:]) + self.buffer
        return bytes(got[:size])

    def rest(self) -> bytes:
        """All until the end."""
        got = b""
        while data := self.read():
            got += data
        return got

    def body(self, head: bytes) -> tuple[bytes, bool]:
        """The body that `head` announces, and whether it is whole."""
        if "chunked" in (header_of(head, "transfer-encoding") or ""):
            found = b""
            while True:
                line = self.until(b"\r\n")
                if not line.endswith(b"\r\n"):
                    return found, False
                size = int(line, 16)
                if not size:
                    while (trailer := self.until(b"\r\n")) != b"\r\n":
                        if not trailer:
                            return found, False
                    return found, True
                piece = self.exactly(size + 2)
                found += piece[:size]
                if len(piece) < size + 2:
                    return found, False
        length = header_of(head, "content-length")
        if length is not None:
            found = self.exactly(int(length))
            return found, len(found) == int(length)
        return b"", True

    def reset(self) -> None:
        """Close with a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


class Client(Stream):
    """A client of HTTP."""

    @classmethod
    def to(cls, port: int, timeout_s: float = 15.0) -> Client:
        return cls(socket.create_connection(("127.0.0.1", port), timeout_s), timeout_s)

    def reply(self, method: str = "GET") -> Reply:
        """The next answer; status 0 when there is none."""
        head = self.until(END)
        match = _STATUS.match(head)
        if match is None or not head.endswith(END):
            return Reply(0, head, b"", False)
        status = int(match[1])
        if method == "HEAD" or status < 200 or status in (204, 304):
            return Reply(status, head, b"", True)
        if header_of(head, "content-length") is None and header_of(head, "transfer-encoding") is None:
            return Reply(status, head, self.rest(), not self.was_reset)
        return Reply(status, head, *self.body(head))

    def ask(self, target: str = "/", method: str = "GET", headers: str = "", body: bytes = b"") -> Reply:
        """One request with Host and Content-Length. `headers` are whole lines."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self.send(f"{method} {target} HTTP/1.1\r\nHost: api\r\n{length}{headers}\r\n".encode() + body)
        return self.reply(method)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ask(port: int, target: str = "/", method: str = "GET", headers: str = "", body: bytes = b"") -> Reply:
    """One request on a connection of its own."""
    with Client.to(port) as client:
        return client.ask(target, method, headers, body)


Script = Callable[[Stream, bytes], Any]
"""Gets the connection and a request's head. What it returns: True when it has ended the connection."""


class Backend:
    """A server of HTTP. `scripts` by path prefix say what happens; others are answered 200 with the name and the target.

    `heads` are all heads received, `bodies` those of requests without a script, `connections` how many were made.
    """

    def __init__(self, name: str = "api") -> None:
        self.name = name
        self.scripts: dict[str, Script] = {}
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Backend:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def seen(self, mark: str) -> list[bytes]:
        """The heads whose first line holds `mark`."""
        return [head for head in list(self.heads) if mark.encode() in head.partition(b"\r\n")[0]]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(Stream(sock, 60.0),), daemon=True).start()

    def _serve(self, stream: Stream) -> None:
        try:
            while (head := stream.until(END)).endswith(END):
                self.heads.append(head)
                target = head.split(b" ")[1].decode("latin-1")
                script = next((found for prefix, found in self.scripts.items() if target.startswith(prefix)), None)
                if script is not None:
                    if script(stream, head):
                        return
                    continue
                body, _ = stream.body(head)
                self.bodies.append(body)
                text = f"{self.name} {target} {len(body)}".encode()
                shown = b"" if head.startswith(b"HEAD") else text
                stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), shown))
        except OSError:
            return
        finally:
            stream.close()


def says(text: bytes, *, close: bool = False, reset: bool = False) -> Script:
    """A script that sends these bytes, whatever was asked."""

    def script(stream: Stream, _head: bytes) -> bool:
        stream.send(text)
        if reset:
            stream.reset()
        elif close:
            stream.close()
        return close or reset

    return script


def public_port(agent: AgentProcess, service: str) -> int:
    """Where the sidecar of a service is reached by others."""
    port: int = agent.get(f"/v1/health/connect/{service}")[0]["Service"]["Port"]
    return port


def caller(agent: AgentProcess, service: str) -> ssl.SSLContext:
    """What proves to sidecars that a connection is of `service`: its leaf, got from the agent as applications get theirs."""
    leaf = agent.get(f"/v1/agent/connect/ca/leaf/{service}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaf.pem"
        path.write_text(leaf["CertPEM"] + leaf["PrivateKeyPEM"])
        context.load_cert_chain(path)
    return context


def inside(context: ssl.SSLContext, port: int, timeout_s: float = 15.0) -> Client:
    """A connection to the public port of a sidecar, as another service of the mesh."""
    sock = socket.create_connection(("127.0.0.1", port), timeout_s)
    return Client(context.wrap_socket(sock, suppress_ragged_eofs=False), timeout_s)
