"""How checks reach their targets: `host:port` read, TLS contexts made, failures in words. Called by the kinds of check."""

from __future__ import annotations

import asyncio
import os
import ssl
from functools import lru_cache

from chowk.core.definitions import CheckDefinition


def split_target(target: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`. ValueError, naming the target, when it is not that."""
    host, colon, port = target.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"address {target}: too many colons in address")
    if not colon or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"address {target}: missing port in address")
    return host or "127.0.0.1", int(port)


@lru_cache(maxsize=8)
def tls_context(skip_verify: bool, http2: bool = False) -> ssl.SSLContext:
    """A client's context that verifies chain and name against the system's roots, unless the definition asked it not to."""
    context = ssl.create_default_context()
    if skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if http2:
        context.set_alpn_protocols(["h2"])
    return context


async def open_stream(
    target: str, definition: CheckDefinition, *, tls: bool, http2: bool = False, buffer_bytes: int = 65536
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to `target`, with TLS when asked. OSError, ssl.SSLError, ValueError."""
    host, port = split_target(target)
    if not tls:
        return await asyncio.open_connection(host, port, limit=buffer_bytes)
    context = tls_context(definition.tls_skip_verify, http2)
    name = definition.tls_server_name or host
    return await asyncio.open_connection(host, port, limit=buffer_bytes, ssl=context, server_hostname=name)


def in_words(error: BaseException) -> str:
    """Why a target could not be reached, as people know it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"tls: failed to verify certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"tls: {error.reason or error}"
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "connection reset by peer"
    if isinstance(error, OSError) and error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
