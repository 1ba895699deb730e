"""RPC over TCP: one port for agents and servers. With gossip keys it is mutual TLS 1.3, and nothing else gets in.

Made by `server.server` (listening) and by whoever dials: the agents' client, and a server's transport to the others.
What a stranger can cost before it has proved itself is bounded here: connections (altogether, and of one address),
handshakes at a time, seconds of silence, bytes of the first frame.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from typing import Final

import structlog

from chowk.core import errors
from chowk.core.runtime.clock import Clock, SystemClock
from chowk.core.runtime.refusals import Refusals
from chowk.core.runtime.rpc import frames
from chowk.core.runtime.rpc.connection import Identify, RpcConnection
from chowk.core.runtime.rpc.endpoints import SERVER, Endpoints, Peer
from chowk.core.runtime.rpc.identity import ClusterIdentity
from chowk.core.runtime.rpc.reasons import (
    HANDSHAKE,
    HAS_NO_ENCRYPTION,
    KEYS_DIFFER,
    NOT_ENCRYPTED,
    PUSHED_OUT,
    SILENT,
    THE_KEYS_DIFFER,
    TOO_MANY,
    UNEXPECTED_ENCRYPTION,
    WANTS_ENCRYPTION,
    WRONG_MEMBER,
    words_of,
)
from chowk.core.runtime.sockets import bind_tcp
from chowk.core.runtime.tasks import TaskOwner

log = structlog.get_logger("chowk.rpc")

HANDSHAKE_TIMEOUT_S: Final = 5.0
"""For the first byte, then for the handshake, then for the first frame."""

DIAL_TIMEOUT_S: Final = 5.0
HANDSHAKES_MAX: Final = 16
"""At a time, each about two milliseconds of CPU; the others wait, so that open connections keep their latency."""

SILENT_MAX: Final = 1024
"""Accepted connections that have not sent a frame yet; a newer one pushes out the oldest."""

CONNECTIONS_MAX: Final = 10_000
CONNECTIONS_PER_CLIENT_MAX: Final = 256
BACKLOG: Final = 4096
ACCEPTS_PER_TURN: Final = 64
ACCEPT_PAUSE_S: Final = 0.5
KEEPALIVE_S: Final = 5
USER_TIMEOUT_S: Final = 15
"""Unanswered data ends a connection after this, on the end that does not watch the other."""

_TLS_HANDSHAKE: Final = 0x16
"""The first byte of a TLS connection (RFC 8446 5.1). A frame's first byte is at most 2 (FRAME_BYTES_MAX)."""


class TcpListener:
    """Serves `endpoints` at `host`:`port` (0: any; `port` says which after `start`) to members of the cluster alone.

    `identity` None or without keys: plain, and everybody is a server. `refusals.counts` says who was not let in, and why.
    """

    def __init__(
        self,
        host: str,
        port: int,
        endpoints: Endpoints,
        identity: ClusterIdentity | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.port = port
        self.connections: set[RpcConnection] = set()
        self.refusals = Refusals("rpc", clock or SystemClock())
        self._host = host
        self._endpoints = endpoints
        self._identity = identity
        self._tasks = TaskOwner("rpc-tcp")
        self._handshakes = asyncio.Semaphore(HANDSHAKES_MAX)
        self._clients: Counter[str] = Counter()
        self._accepted = 0
        self._silent: dict[_Newcomer, None] = {}
        self._socket: socket.socket | None = None

    async def start(self) -> None:
        """Bind and listen. OSError when the port is taken."""
        self._socket = bind_tcp(self._host, self.port, "ports.server", BACKLOG)
        self.port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    async def close(self) -> None:
        """Stop listening, end every connection."""
        if self._socket is None:
            return
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._socket = None
        await self._tasks.close()
        for newcomer in list(self._silent):
            newcomer.drop()
        await asyncio.gather(*(connection.close() for connection in list(self.connections)))

    def _accept(self) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if self._socket is None:
                return
            try:
                sock, address = self._socket.accept()
            except (BlockingIOError, ConnectionAbortedError, InterruptedError):
                return
            except OSError as error:
                # No descriptor or memory is left: the loop would call us again at once, for ever.
                log.error("cannot accept an rpc connection", error=str(error))
                self._pause()
                return
            self._admit(sock, address[0], f"{address[0]}:{address[1]}")

    def _pause(self) -> None:
        loop = asyncio.get_running_loop()
        if self._socket is not None:
            loop.remove_reader(self._socket.fileno())
            loop.call_later(ACCEPT_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket.fileno(), self._accept)

    def _admit(self, sock: socket.socket, client: str, name: str) -> None:
        if self._accepted >= CONNECTIONS_MAX or self._clients[client] >= CONNECTIONS_PER_CLIENT_MAX:
            self.refusals.add(TOO_MANY, name, f"over {CONNECTIONS_PER_CLIENT_MAX} of it, or {CONNECTIONS_MAX} in all")
            sock.close()
            return
        if len(self._silent) >= SILENT_MAX:
            self._push_out()
        self._clients[client] += 1
        self._accepted += 1
        sock.setblocking(False)
        prepare(sock)
        newcomer = _Newcomer(self, sock, client, name)
        self._silent[newcomer] = None
        newcomer.wait()

    def _push_out(self) -> None:
        for each in [each for each in self._silent if each.proved]:
            del self._silent[each]
        if len(self._silent) >= SILENT_MAX:
            oldest = next(iter(self._silent))
            self.refusals.add(PUSHED_OUT, oldest.name, "it had said nothing, and made room for a newer one")
            oldest.drop()

    def welcome(self, newcomer: _Newcomer) -> None:
        """Called when the first byte of a newcomer is there to be looked at."""
        encrypted = self._identity is not None and self._identity.encrypted
        try:
            first = newcomer.sock.recv(1, socket.MSG_PEEK)
        except OSError:
            first = b""
        if not first:
            newcomer.drop()  # what a TCP health check sends: nothing at all
        elif encrypted and first[0] != _TLS_HANDSHAKE:
            self.refusals.add(NOT_ENCRYPTED, newcomer.name, "it does not speak TLS, and the cluster is encrypted")
            _say(newcomer.sock, WANTS_ENCRYPTION)
            newcomer.drop()
        elif not encrypted and first[0] == _TLS_HANDSHAKE:
            self.refusals.add(
                UNEXPECTED_ENCRYPTION, newcomer.name, "it speaks TLS, and there is no key here (`encrypt`)"
            )
            _say(newcomer.sock, HAS_NO_ENCRYPTION)
            newcomer.drop()
        else:
            newcomer.handshake = self._tasks.spawn(self._greet(newcomer), "greet")

    async def _greet(self, newcomer: _Newcomer) -> None:
        connection = RpcConnection(
            self._endpoints,
            newcomer.lost,
            identify=identify_with(self._identity, newcomer.name, expect_server=False),
            frame_bytes_first=frames.FIRST_FRAME_BYTES_MAX,
        )
        encrypted = self._identity is not None and self._identity.encrypted
        try:
            async with self._handshakes:
                newcomer.taken()
                context = self._identity.server_context() if self._identity is not None and encrypted else None
                await asyncio.get_running_loop().connect_accepted_socket(
                    lambda: connection,
                    newcomer.sock,
                    ssl=context,
                    ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if context else None,
                )
        except ssl.SSLCertVerificationError as error:
            self.refusals.add(KEYS_DIFFER, newcomer.name, words_of(error))
            newcomer.refused()
        except (OSError, TimeoutError) as error:
            self.refusals.add(HANDSHAKE, newcomer.name, f"its TLS handshake failed: {error or 'too slow'}")
            newcomer.refused()
        except asyncio.CancelledError:
            newcomer.refused()
            raise
        else:
            if connection.refusal is not None:
                self.refusals.add(WRONG_MEMBER, newcomer.name, str(connection.refusal))
            elif not connection.closed:
                self.connections.add(connection)
                newcomer.connection = connection

    def forget(self, newcomer: _Newcomer) -> None:
        """Called when a newcomer's socket is gone."""
        self._silent.pop(newcomer, None)
        self._clients[newcomer.client] -= 1
        self._accepted -= 1
        if self._clients[newcomer.client] <= 0:
            del self._clients[newcomer.client]

    def judge(self, newcomer: _Newcomer) -> None:
        """Called when a newcomer has had its time: it stays when it has said something."""
        if newcomer.proved:
            self._silent.pop(newcomer, None)
            return
        self.refusals.add(SILENT, newcomer.name, f"it said nothing for {HANDSHAKE_TIMEOUT_S:g} s")
        newcomer.drop()


class _Newcomer:
    """An accepted socket until it is gone; among the silent ones until its peer has sent a frame."""

    def __init__(self, listener: TcpListener, sock: socket.socket, client: str, name: str) -> None:
        self.sock = sock
        self.client = client
        self.name = name
        self.done = False
        self.handshake: asyncio.Task[None] | None = None
        self.connection: RpcConnection | None = None
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._waiting = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def proved(self) -> bool:
        """Whether its peer has sent a frame."""
        return self.connection is not None and self.connection.proved

    def wait(self) -> None:
        """Wait for its first byte."""
        self._waiting = True
        self._timer = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self._listener.judge, self)
        self._loop.add_reader(self.sock.fileno(), self._readable)

    def taken(self) -> None:
        """Its handshake begins: it has its time for it, and for a first frame, anew."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(2 * HANDSHAKE_TIMEOUT_S, self._listener.judge, self)

    def _readable(self) -> None:
        self._stop_waiting()
        self._listener.welcome(self)

    def _stop_waiting(self) -> None:
        if self._waiting:
            self._waiting = False
            self._loop.remove_reader(self.sock.fileno())

    def lost(self, connection: RpcConnection) -> None:
        """Called when its connection has ended."""
        self._listener.connections.discard(connection)
        self.connection = connection
        self.drop()

    def refused(self) -> None:
        """Called when its handshake has ended badly."""
        self.handshake = None
        self.drop()
        self.sock.close()

    def drop(self) -> None:
        """Let go of it. Safe to call twice."""
        if self.done:
            return
        self.done = True
        self._stop_waiting()
        if self._timer is not None:
            self._timer.cancel()
        self._listener.forget(self)
        if self.connection is not None:
            self.connection.abort()
        elif self.handshake is not None:
            self.handshake.cancel()  # which closes the socket: the transport that is being made still uses it
        else:
            self.sock.close()


async def dial_tcp(
    address: str,
    identity: ClusterIdentity | None = None,
    *,
    expect_server: bool = True,
    endpoints: Endpoints | None = None,
    timeout_s: float = DIAL_TIMEOUT_S,
) -> RpcConnection:
    """Connect to `host:port` (`[v6]:port`); returns when the other end has taken us in. The connection is watched.

    Unavailable: nobody answers in time. PermissionDenied, with words for a person: one end does not trust the other.
    """
    host, port = _split(address)
    context = identity.client_context() if identity is not None and identity.encrypted else None
    connection: RpcConnection | None = None
    try:
        async with asyncio.timeout(timeout_s):
            transport, connection = await asyncio.get_running_loop().create_connection(
                lambda: RpcConnection(
                    endpoints or Endpoints(),
                    identify=identify_with(identity, address, expect_server=expect_server),
                    frame_bytes_first=frames.FIRST_FRAME_BYTES_MAX,
                ),
                host,
                port,
                ssl=context,
                server_hostname="" if context else None,
            )
            if not connection.closed:
                prepare(transport.get_extra_info("socket"))
            await connection.ping(timeout_s)
    except ssl.SSLError as error:
        raise errors.PermissionDenied(f"{address}: {words_of(error)}") from error
    except (OSError, TimeoutError) as error:
        _abandon(connection)
        raise errors.Unavailable(f"no server answers at {address}: {error or 'no answer in time'}") from error
    except errors.OutcomeUnknown as error:
        maybe = f"; perhaps {THE_KEYS_DIFFER}" if context else ""
        raise errors.Unavailable(f"{address} hung up before it took us in{maybe}") from error
    except errors.ChowkError as error:
        _abandon(connection)
        raise type(error)(f"{address}: {error}") from error
    except asyncio.CancelledError:
        _abandon(connection)
        raise
    connection.watch()
    return connection


def identify_with(identity: ClusterIdentity | None, address: str, *, expect_server: bool) -> Identify:
    """How a TCP connection tells who its peer is: by certificate, or, in a plain cluster, not at all."""

    def identify(transport: asyncio.Transport) -> Peer:
        tls = transport.get_extra_info("ssl_object")
        if tls is None:
            return Peer(address, role=SERVER)
        if identity is None:
            raise errors.InternalError("TLS without an identity")
        return identity.peer_of(tls, address, expect_server=expect_server)

    return identify


def prepare(sock: socket.socket) -> None:
    """No Nagle; a peer that is gone is noticed by the kernel."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_S * 1000)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise errors.InvalidRequest(f"{address!r} is not host:port")
    return host, int(port)


def _say(sock: socket.socket, words: str) -> None:
    """A last word in plain; what the peer sent is read first, since unread bytes would turn it into a reset."""
    frame = frames.encode(frames.ERROR, 0, errors.PermissionDenied.code, 0, words)
    with contextlib.suppress(OSError):
        sock.recv(frames.FIRST_FRAME_BYTES_MAX)
        sock.send(frame)


def _abandon(connection: RpcConnection | None) -> None:
    if connection is not None:
        connection.abort()
