"""A gRPC service as others write them, on grpcio: it answers health checks too. Messages are plain bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

SERVING = b"\x08\x01"
NOT_SERVING = b"\x08\x02"


class GrpcApp:
    """`name` is what `/Test/Who` answers, `port` where it listens on loopback. `healthy` is what checks are told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.healthy = True
        self.server = grpc.server(ThreadPoolExecutor(16))
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("Test", {
                "Who": grpc.unary_unary_rpc_method_handler(self._who),
                "Echo": grpc.unary_unary_rpc_method_handler(self._echo),
                "Fail": grpc.unary_unary_rpc_method_handler(_fail),
                "Sleep": grpc.unary_unary_rpc_method_handler(_sleep),
                "Count": grpc.unary_stream_rpc_method_handler(_count),
                "Sum": grpc.stream_unary_rpc_method_handler(_sum),
                "Chat": grpc.stream_stream_rpc_method_handler(_chat),
            }),
            grpc.method_handlers_generic_handler(
                "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(self._health)}
            ),
        ))  # fmt: skip
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> GrpcApp:
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(0).wait()

    def _who(self, _request: bytes, _context: Any) -> bytes:
        return self.name.encode()

    @staticmethod
    def _echo(request: bytes, context: Any) -> bytes:
        context.set_trailing_metadata((("length", str(len(request))),))
        return request

    def _health(self, _request: bytes, _context: Any) -> bytes:
        return SERVING if self.healthy else NOT_SERVING


def call(channel: grpc.Channel, method: str, shape: str = "unary_unary") -> Callable[..., Any]:
    """A method of the service; `shape` is grpcio's name of it (`unary_stream`, …)."""
    made: Callable[..., Any] = getattr(channel, shape)(f"/Test/{method}")
    return made


def _fail(_request: bytes, context: Any) -> bytes:
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not now: § 7")
    return b""


def _sleep(_request: bytes, context: Any) -> bytes:
    ended = threading.Event()
    context.add_callback(ended.set)
    ended.wait(30)
    return b""


def _count(request: bytes, _context: Any) -> Iterator[bytes]:
    yield from (str(number).encode() for number in range(int(request)))


def _sum(requests: Iterator[bytes], _context: Any) -> bytes:
    return str(sum(len(each) for each in requests)).encode()


def _chat(requests: Iterator[bytes], _context: Any) -> Iterator[bytes]:
    for each in requests:
        yield each.upper()
