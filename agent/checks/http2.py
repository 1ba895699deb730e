"""The little of HTTP/2 that checks speak, over the `h2` state machine: a PING, and one unary request. Called by the grpc
and h2ping checks. What a target sends is bounded in bytes and can end in nothing worse than BadPeer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import hpack
import hyperframe.exceptions
import msgspec

from chowk.agent.checks.dial import open_stream
from chowk.core.definitions import CheckDefinition

BYTES_MAX: Final = 262_144
"""What is read of one target in one run."""

CHUNK_BYTES: Final = 16_384
PING_DATA: Final = b"chowk\x00\x00\x00"
PEER_FAULTS: Final = (
    h2.exceptions.H2Error,
    hpack.HPACKError,
    hyperframe.exceptions.HyperframeError,
)


class BadPeer(Exception):
    """The target does not speak HTTP/2, or not as it should; the text says how."""


class Answer(msgspec.Struct, kw_only=True):
    """What a request got: header and trailer fields, last wins, and the body."""

    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: bytes = b""
    ended: bool = False


class Exchange:
    """One connection to `target`. Use as an async context manager; OSError, ValueError, BadPeer."""

    def __init__(self, target: str, definition: CheckDefinition, *, tls: bool) -> None:
        self._target = target
        self._definition = definition
        self._tls = tls
        self._h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self._received = 0

    async def __aenter__(self) -> Exchange:
        self._reader, self._writer = await open_stream(self._target, self._definition, tls=self._tls, http2=True)
        self._h2.initiate_connection()
        self._flush()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.transport.abort()

    async def ping(self) -> None:
        """Send a PING and wait for its answer."""
        self._h2.ping(PING_DATA)
        self._flush()
        done = False

        def take(event: h2.events.Event) -> bool:
            nonlocal done
            done = done or (isinstance(event, h2.events.PingAckReceived) and event.ping_data == PING_DATA)
            return done

        await self._receive_until(take)

    async def request(self, headers: list[tuple[str, str]], body: bytes) -> Answer:
        """Send one request and wait for all of its answer."""
        stream = self._h2.get_next_available_stream_id()
        self._h2.send_headers(stream, headers)
        self._h2.send_data(stream, body, end_stream=True)
        self._flush()
        answer = Answer()
        await self._receive_until(lambda event: _take(answer, event, stream))
        return answer

    async def _receive_until(self, take: Callable[[h2.events.Event], bool]) -> None:
        while True:
            data = await self._reader.read(CHUNK_BYTES)
            if not data:
                raise BadPeer("the connection was closed")
            self._received += len(data)
            if self._received > BYTES_MAX:
                raise BadPeer(f"it sent more than {BYTES_MAX} bytes")
            try:
                events = self._h2.receive_data(data)
            except PEER_FAULTS as error:
                raise BadPeer(f"not HTTP/2: {error or type(error).__name__}") from error
            except (ValueError, LookupError, TypeError) as error:
                # What the library did not foresee of a peer is still the peer's fault.
                raise BadPeer(f"not HTTP/2: {type(error).__name__}") from error
            for event in events:
                if isinstance(event, h2.events.ConnectionTerminated):
                    raise BadPeer(f"GOAWAY, error {event.error_code}")
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self._acknowledge(event)
                if take(event):
                    return
            self._flush()

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        try:
            self._h2.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
        except PEER_FAULTS:
            return

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())


def _take(answer: Answer, event: h2.events.Event, stream: int) -> bool:
    if getattr(event, "stream_id", None) != stream:
        return False
    if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
        answer.headers.update((str(name), str(value)) for name, value in event.headers or ())
    elif isinstance(event, h2.events.DataReceived):
        answer.body += event.data or b""
    elif isinstance(event, h2.events.StreamReset):
        raise BadPeer(f"the stream was reset, error {event.error_code}")
    elif isinstance(event, h2.events.StreamEnded):
        answer.ended = True
    return answer.ended
