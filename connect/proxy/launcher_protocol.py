"""What agent and launcher say: lines of JSON over the launcher's Unix socket. Used by both ends.

| line | means |
|---|---|
| {"id": 1, "op": "launch", "proxy_id": "web-sidecar-proxy"} | fork it, unless it runs; reply {"id": 1, "pid": 4711} |
| {"id": 2, "op": "stop", "proxy_id": …} | SIGTERM, later SIGKILL; reply {"id": 2} at once |
| {"id": 3, "op": "list"} | reply {"id": 3, "proxies": [{"proxy_id": …, "pid": …}]} of those not told to stop |
| {"id": 4, "op": "shutdown"} | stop all proxies, then the launcher ends and the connection with it |
| {"event": "exit", "proxy_id": …, "pid": …, "status": -9} | to all: a proxy is gone; negative is the signal that killed it |
A reply may carry "error" instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

LAUNCH: Final = "launch"
STOP: Final = "stop"
LIST: Final = "list"
SHUTDOWN: Final = "shutdown"
LINE_BYTES_MAX: Final = 256 * 1024


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The line a launcher reads on stdin. `exit_with_parent`: the end of stdin ends it and all its proxies. `leaf_folder` is
    where proxies keep their leaves; "" is nowhere.
    """

    control_socket: str
    launcher_socket: str
    log_level: str = "info"
    log_json: bool = False
    exit_with_parent: bool = False
    leaf_folder: str = ""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """One proxy process."""

    proxy_id: str
    pid: int


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Any line; see the table above. `id` pairs replies with requests."""

    id: int = 0
    op: str = ""
    event: str = ""
    proxy_id: str = ""
    pid: int = 0
    status: int = 0
    error: str = ""
    proxies: tuple[Running, ...] = ()


_decoder = msgspec.json.Decoder(Line)


def encode(line: Line) -> bytes:
    """The bytes of a line."""
    return msgspec.json.encode(line) + b"\n"


def cut(buffer: bytearray) -> Iterator[Line]:
    """The complete lines of `buffer`, taken out of it. ValueError for what is no line of this protocol."""
    while (end := buffer.find(b"\n")) >= 0:
        raw = bytes(buffer[:end])
        del buffer[: end + 1]
        yield _decoder.decode(raw)
