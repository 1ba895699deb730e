"""One end of a carried connection, plain or TLS: its transport, its pauses, how it ends. The base of `links`."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    from chowk.connect.proxy.links import Pipe

READ_BYTES: Final = 128 * 1024
WRITE_BUFFER_BYTES: Final = 256 * 1024
_RESET: Final = struct.pack("ii", 1, 0)
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


AnyLink = TypeVar("AnyLink", bound="Link")

# One buffer for all reads of the process: what is read is encrypted or decrypted before the loop reads again.
buffer = memoryview(bytearray(READ_BYTES))


class Link(asyncio.BufferedProtocol):
    """What both ends share. `pipe` is None until they are joined."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.pipe: Pipe | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self.transport = stream = cast(asyncio.Transport, transport)
        stream.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Called by the loop."""
        return buffer

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Called by the loop, once."""
        self.lost = True
        if self.pipe is not None:
            self.pipe.link_lost(self)

    def pause_reading(self) -> None:
        """Take no more bytes from the socket."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Take bytes again."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def close(self) -> None:
        """Send what is buffered, then end."""
        if self.transport is not None:
            self.transport.close()

    @property
    def unsent(self) -> bool:
        """Whether the peer still has to take what was written before."""
        return self.transport is not None and self.transport.get_write_buffer_size() > 0

    def reset(self) -> None:
        """End at once, so that the peer sees a reset rather than an end; also one that was to end when all is sent."""
        if self.transport is None or (self.transport.is_closing() and not self.unsent):
            return
        sock = self.transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:
                """The peer was faster."""
        self.transport.abort()


def keep_alive(sock: socket.socket) -> None:
    """Let the kernel find out that a silent peer is gone. What a listening TCP socket accepts, inherits it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


async def dial_tcp(link: AnyLink, address: str, port: int) -> AnyLink:
    """`link`, connected. OSError."""
    try:
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: link, address, port)
    except UnicodeError:  # a name with an empty label, or one of more than 63 characters
        raise OSError(f'"{address[:64]}" is no name of a host') from None
    keep_alive(transport.get_extra_info("socket"))
    return link
