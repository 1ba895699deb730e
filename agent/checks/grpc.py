"""The gRPC check: the target's `grpc.health.v1.Health/Check` says SERVING. Called by the scheduler.

The two messages of the protocol (a string out, an enum back) are read and written here by hand: protocol buffers' varints
and length-delimited fields, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from chowk.agent.checks.dial import in_words, split_target
from chowk.agent.checks.http2 import Answer, BadPeer, Exchange
from chowk.agent.checks.outcome import Outcome, critical, passing
from chowk.core.definitions import CheckDefinition

PATH: Final = "/grpc.health.v1.Health/Check"
STATUSES: Final = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")
SERVING: Final = 1


class GrpcCheck:
    """`definition.grpc` is `host:port`, or `host:port/service` to ask for one service."""

    def __init__(self, definition: CheckDefinition) -> None:
        self._definition = definition
        self._target, _slash, self._service = definition.grpc.partition("/")

    async def run(self) -> Outcome:
        """Ask once."""
        tls = self._definition.grpc_use_tls
        try:
            host, _port = split_target(self._target)
            authority = self._definition.tls_server_name or (self._target if not tls else host)
            headers = [
                (":method", "POST"),
                (":scheme", "https" if tls else "http"),
                (":path", PATH),
                (":authority", authority),
                ("content-type", "application/grpc"),
                ("te", "trailers"),
                ("user-agent", "chowk-health-check"),
            ]
            async with Exchange(self._target, self._definition, tls=tls) as exchange:
                answer = await exchange.request(headers, frame(encode_request(self._service)))
        except (OSError, ValueError, BadPeer) as error:
            return critical(f"gRPC check {self._definition.grpc}: {in_words(error)}")
        return self._judge(answer)

    def _judge(self, answer: Answer) -> Outcome:
        target = self._definition.grpc
        if answer.headers.get(":status") != "200":
            return critical(f"gRPC check {target}: HTTP status {answer.headers.get(':status', 'none')[:16]}")
        code = answer.headers.get("grpc-status", "")
        if code != "0":
            said = unquote(answer.headers.get("grpc-message", ""))[:500]
            return critical(f"gRPC check {target}: grpc-status {code[:16] or 'missing'} {said}".rstrip())
        try:
            status = decode_status(unframe(answer.body))
        except ValueError as error:
            return critical(f"gRPC check {target}: {error}")
        if status != SERVING:
            name = STATUSES[status] if status < len(STATUSES) else str(status)
            return critical(f"gRPC {self._service} serving status: {name}")
        return passing(f"gRPC check {target}: success")


def encode_request(service: str) -> bytes:
    """HealthCheckRequest{service = 1}."""
    name = service.encode()
    return b"\x0a" + _varint(len(name)) + name if name else b""


def frame(message: bytes) -> bytes:
    """A gRPC message on the wire: not compressed, its length in four bytes."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def unframe(body: bytes) -> bytes:
    """The one message of a reply. ValueError when there is not exactly one."""
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise ValueError("the reply is not one gRPC message")
    return body[5:]


def decode_status(message: bytes) -> int:
    """HealthCheckResponse{status = 1}; fields not known are passed over. ValueError when it is not such a message."""
    status, position = 0, 0
    while position < len(message):
        key, position = _read_varint(message, position)
        kind = key & 7
        if kind == 0:
            value, position = _read_varint(message, position)
            status = value if key >> 3 == 1 else status
        elif kind == 2:
            length, position = _read_varint(message, position)
            position += length
        elif kind in (1, 5):
            position += 8 if kind == 1 else 4
        else:
            raise ValueError("the reply is not a health status")
    if position != len(message):
        raise ValueError("the reply is not a health status")
    return status


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if position >= len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, position
    raise ValueError("the reply is not a health status")
